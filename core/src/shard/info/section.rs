//! The sections of INFO and how a client names them.

/// One section, in the order they are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Section {
    Server,
    Tls,
    Clients,
    Memory,
    Persistence,
    Stats,
    Replication,
    Cpu,
    Modules,
    Commandstats,
    Errorstats,
    Latencystats,
    Cluster,
    ClusterInfo,
    ScriptingEngines,
    Keyspace,
}

impl Section {
    /// All sections in the order they are shown.
    pub(super) const ALL: [Self; 16] = [
        Self::Server,
        Self::Tls,
        Self::Clients,
        Self::Memory,
        Self::Persistence,
        Self::Stats,
        Self::Replication,
        Self::Cpu,
        Self::Modules,
        Self::Commandstats,
        Self::Errorstats,
        Self::Latencystats,
        Self::Cluster,
        Self::ClusterInfo,
        Self::ScriptingEngines,
        Self::Keyspace,
    ];

    /// Its name as an argument of INFO, lower case.
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Tls => "tls",
            Self::Clients => "clients",
            Self::Memory => "memory",
            Self::Persistence => "persistence",
            Self::Stats => "stats",
            Self::Replication => "replication",
            Self::Cpu => "cpu",
            Self::Modules => "modules",
            Self::Commandstats => "commandstats",
            Self::Errorstats => "errorstats",
            Self::Latencystats => "latencystats",
            Self::Cluster => "cluster",
            Self::ClusterInfo => "cluster_info",
            Self::ScriptingEngines => "scriptingengines",
            Self::Keyspace => "keyspace",
        }
    }

    /// The line above its fields, without the `# `.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Tls => "TLS",
            Self::Clients => "Clients",
            Self::Memory => "Memory",
            Self::Persistence => "Persistence",
            Self::Stats => "Stats",
            Self::Replication => "Replication",
            Self::Cpu => "CPU",
            Self::Modules => "Modules",
            Self::Commandstats => "Commandstats",
            Self::Errorstats => "Errorstats",
            Self::Latencystats => "Latencystats",
            Self::Cluster => "Cluster",
            Self::ClusterInfo => "Cluster Info",
            Self::ScriptingEngines => "Scripting Engines",
            Self::Keyspace => "Keyspace",
        }
    }

    /// Whether INFO without arguments shows it.
    fn by_default(self) -> bool {
        !matches!(
            self,
            Self::Tls | Self::Commandstats | Self::Latencystats | Self::ClusterInfo | Self::ScriptingEngines
        )
    }
}

/// The sections that these arguments of INFO ask for, in the order they are shown. Names are read in any case,
/// each section comes once, and an unknown name asks for nothing.
pub(super) fn asked<'a>(words: impl Iterator<Item = &'a [u8]> + Clone) -> impl Iterator<Item = Section> {
    let none = words.clone().next().is_none();
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    Section::ALL.into_iter().filter(move |section| {
        (none && section.by_default())
            || words.clone().any(|word| {
                is(word, section.name())
                    || is(word, "all")
                    || is(word, "everything")
                    || (section.by_default() && is(word, "default"))
            })
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn titles(arguments: &str) -> Vec<&'static str> {
        asked(arguments.split_whitespace().map(str::as_bytes)).map(Section::title).collect()
    }

    const DEFAULT: [&str; 11] = [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "Replication",
        "CPU",
        "Modules",
        "Errorstats",
        "Cluster",
        "Keyspace",
    ];

    /// What a Valkey 9.1.2 answered to the same arguments.
    #[test]
    fn arguments_ask_for_the_same_sections_as_in_valkey() {
        assert_eq!(titles(""), DEFAULT);
        assert_eq!(titles("default"), DEFAULT);
        let all: Vec<&str> = Section::ALL.into_iter().map(Section::title).collect();
        assert_eq!(titles("all"), all);
        assert_eq!(titles("EveryThing server"), all);
        for (arguments, sections) in [
            ("server clients", &["Server", "Clients"][..]),
            ("keyspace cluster", &["Cluster", "Keyspace"]),
            ("SERVER server", &["Server"]),
            ("nosuch", &[]),
            ("nosuch server", &["Server"]),
            ("cluster_info", &["Cluster Info"]),
            ("cluster info", &["Cluster"]),
            ("clusterinfo scripting_engines sentinel", &[]),
            ("scriptingengines", &["Scripting Engines"]),
            ("tls", &["TLS"]),
            ("latencystats commandstats", &["Commandstats", "Latencystats"]),
        ] {
            assert_eq!(titles(arguments), sections, "INFO {arguments}");
        }
        let mut more = DEFAULT.to_vec();
        more.insert(8, "Commandstats");
        assert_eq!(titles("commandstats default"), more);
    }
}
