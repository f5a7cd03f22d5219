//! The settings that are built, as typed fields.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::table::SETTINGS;
use crate::acl::Users;

/// A type of a field: read from and shown as the text of CONFIG GET, which is known to be right.
pub(super) trait Field: Sized {
    fn read(text: &str) -> Self;
    fn show(&self) -> String;
}

macro_rules! number_field {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn read(text: &str) -> Self {
                // A negative text of an unsigned setting is 2^64 less.
                text.parse().or_else(|_| text.parse::<i64>().map(|n| n as Self)).unwrap_or_default()
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

number_field!(u16 u32 u64 i32 i64);

impl Field for bool {
    fn read(text: &str) -> Self {
        text == "yes"
    }

    fn show(&self) -> String {
        (if *self { "yes" } else { "no" }).to_owned()
    }
}

impl Field for String {
    fn read(text: &str) -> Self {
        text.to_owned()
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Field for Vec<String> {
    fn read(text: &str) -> Self {
        text.split_whitespace().map(ToOwned::to_owned).collect()
    }

    fn show(&self) -> String {
        self.join(" ")
    }
}

/// Permission bits of a file, shown in octal; 0 leaves them as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Permissions(pub u32);

impl Field for Permissions {
    fn read(text: &str) -> Self {
        Self(u32::from_str_radix(text, 8).unwrap_or_default())
    }

    fn show(&self) -> String {
        format!("{:o}", self.0)
    }
}

/// How many bytes may wait for a client before it is disconnected; 0 means no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OutputLimit {
    /// At once above this many bytes.
    pub hard: u64,
    /// When above this many bytes …
    pub soft: u64,
    /// … for this many seconds on end.
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`: limits by class of client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OutputLimits {
    /// Of clients that send commands.
    pub normal: OutputLimit,
    /// Of replicas, and of targets of slot migrations.
    pub replica: OutputLimit,
    /// Of clients that are subscribed to something.
    pub pubsub: OutputLimit,
}

impl Field for OutputLimits {
    fn read(text: &str) -> Self {
        let mut limits = Self::default();
        let mut words = text.split_whitespace();
        while let Some(class) = words.next() {
            let mut next = || words.next().and_then(|w| w.parse().ok()).unwrap_or_default();
            let limit = OutputLimit { hard: next(), soft: next(), soft_seconds: next() };
            match class {
                "normal" => limits.normal = limit,
                "slave" => limits.replica = limit,
                _ => limits.pubsub = limit,
            }
        }
        limits
    }

    fn show(&self) -> String {
        let one = |class: &str, l: &OutputLimit| format!("{class} {} {} {}", l.hard, l.soft, l.soft_seconds);
        [one("normal", &self.normal), one("slave", &self.replica), one("pubsub", &self.pubsub)].join(" ")
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$word_doc])* $variant,)* }

        impl Field for $name {
            fn read(text: &str) -> Self {
                match text {
                    $($word => Self::$variant,)*
                    other => unreachable!("{}: {other}", stringify!($name)),
                }
            }

            fn show(&self) -> String {
                (match self { $(Self::$variant => $word,)* }).to_owned()
            }
        }
    };
}

words!(
    /// `loglevel`: the least important lines that are logged.
    Loglevel {
        /// Everything.
        Debug = "debug",
        /// Rarely useful things.
        Verbose = "verbose",
        /// What an operator wants to see.
        Notice = "notice",
        /// What an operator must see.
        Warning = "warning",
        /// Nothing at all.
        Nothing = "nothing",
    }
);

words!(
    /// `cluster-preferred-endpoint-type`: how clients are told where a node is.
    EndpointType {
        /// By address.
        Ip = "ip",
        /// By the announced host name.
        Hostname = "hostname",
        /// By `NULL`: the client takes the address it already knows.
        Unknown = "unknown-endpoint",
    }
);

words!(
    /// `cluster-config-save-behavior`: what a failed write of nodes.conf means.
    SaveBehavior {
        /// The process ends, because it could forget its promises.
        Sync = "sync",
        /// A line in the log.
        BestEffort = "best-effort",
    }
);

words!(
    /// Who may do something that is dangerous.
    Allowed {
        /// Nobody.
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Clients on the same machine.
        Local = "local",
    }
);

words!(
    /// `maxmemory-policy`: which keys go when there is no room.
    Policy {
        /// Of those that expire, the ones not used for longest.
        VolatileLru = "volatile-lru",
        /// Of those that expire, the ones used least often.
        VolatileLfu = "volatile-lfu",
        /// Of those that expire, any.
        VolatileRandom = "volatile-random",
        /// Those that expire first.
        VolatileTtl = "volatile-ttl",
        /// The ones not used for longest.
        AllkeysLru = "allkeys-lru",
        /// The ones used least often.
        AllkeysLfu = "allkeys-lfu",
        /// Any.
        AllkeysRandom = "allkeys-random",
        /// None: commands that need memory are refused.
        Noeviction = "noeviction",
    }
);

impl Policy {
    /// Whether entries remember how often they were used, instead of when.
    #[must_use]
    pub fn counts_accesses(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllkeysLfu)
    }

    /// Whether only keys that expire may go.
    #[must_use]
    pub fn is_volatile(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }
}

/// `maxmemory-clients`: how much memory all clients together may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientsLimit {
    /// So many bytes; 0 means no limit.
    Bytes(u64),
    /// A part of `maxmemory`, from 1 to 100.
    Percent(u64),
}

impl Field for ClientsLimit {
    fn read(text: &str) -> Self {
        match text.strip_suffix('%') {
            Some(percent) => Self::Percent(Field::read(percent)),
            None => Self::Bytes(Field::read(text)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Bytes(bytes) => bytes.to_string(),
            Self::Percent(percent) => format!("{percent}%"),
        }
    }
}

macro_rules! config {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $name:literal,)*) => {
        /// All settings of a process: typed fields for those that are built, text for the rest.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Config {
            $($(#[$doc])* pub $field: $type,)*
            /// Who may do what: `user` lines, `requirepass`, the ACL file, and what ACL SETUSER made of them.
            pub users: Arc<Users>,
            /// Path of the configuration file, absolute; empty when there is none.
            pub config_file: String,
            /// Settings that are not built and not at their default, as CONFIG GET shows them.
            pub(super) others: BTreeMap<&'static str, String>,
        }

        impl Config {
            /// The text of a field, `None` when the setting of this name has none.
            pub(super) fn field(&self, name: &str) -> Option<String> {
                match name {
                    $($name => Some(self.$field.show()),)*
                    _ => None,
                }
            }

            /// Sets a field from its text; false when the setting of this name has none.
            pub(super) fn set_field(&mut self, name: &str, text: &str) -> bool {
                match name {
                    $($name => self.$field = Field::read(text),)*
                    _ => return false,
                }
                true
            }
        }

        impl Default for Config {
            /// The configuration of a process that was told nothing.
            fn default() -> Self {
                let default = |name: &str| SETTINGS.iter().find(|s| s.name == name).map_or("", |s| s.default);
                Self {
                    $($field: Field::read(default($name)),)*
                    users: Arc::default(),
                    config_file: String::new(),
                    others: BTreeMap::new(),
                }
            }
        }

        #[cfg(test)]
        pub(super) const FIELDS: &[&str] = &[$($name,)*];
    };
}

config! {
    /// Port for clients; 0 means none.
    port: u16 = "port",
    /// Addresses to listen at: `*` and `-::*` mean all of IPv4 and IPv6, a leading `-` makes one optional.
    bind: Vec<String> = "bind",
    /// Address that outgoing connections come from; empty: the kernel's choice.
    bind_source_addr: String = "bind-source-addr",
    /// Path of the Unix socket; empty: none.
    unixsocket: String = "unixsocket",
    /// Permissions of the Unix socket.
    unixsocketperm: Permissions = "unixsocketperm",
    /// Seconds after which an idle client is disconnected; 0: never.
    timeout: u32 = "timeout",
    /// Seconds between TCP keepalive probes to clients; 0: none.
    tcp_keepalive: u32 = "tcp-keepalive",
    /// Length asked for the queue of connections not yet accepted.
    tcp_backlog: u32 = "tcp-backlog",
    /// Most clients at a time.
    maxclients: u32 = "maxclients",
    /// Machines of the data plane that the process has, one per core; see [`Shards`](crate::ids::Shards).
    shards: u16 = "shards",
    /// Number of databases outside of cluster mode; see [`databases_in_use`](Config::databases_in_use).
    databases: u32 = "databases",
    /// Number of databases in cluster mode.
    cluster_databases: u32 = "cluster-databases",
    /// Password of the default user; empty: none.
    requirepass: String = "requirepass",
    /// Path of a file with the users; empty: they are in the configuration file.
    aclfile: String = "aclfile",
    /// Most entries of ACL LOG.
    acllog_max_len: u64 = "acllog-max-len",
    /// Whether new users may use all channels (`allchannels`) or none (`resetchannels`).
    acl_pubsub_default: String = "acl-pubsub-default",
    /// Refuse clients of other machines when there is no password.
    protected_mode: bool = "protected-mode",
    /// Longest argument of a command in bytes.
    proto_max_bulk_len: u64 = "proto-max-bulk-len",
    /// Most bytes of unfinished commands per client.
    client_query_buffer_limit: u64 = "client-query-buffer-limit",
    /// Most bytes of unsent replies per client.
    client_output_buffer_limit: OutputLimits = "client-output-buffer-limit",
    /// Most bytes that the shard may ask for; 0: no limit.
    maxmemory: u64 = "maxmemory",
    /// Which keys go when there is no room.
    maxmemory_policy: Policy = "maxmemory-policy",
    /// Keys compared to find one to evict.
    maxmemory_samples: u32 = "maxmemory-samples",
    /// How long evictions may keep clients waiting, from 0 to 100.
    maxmemory_eviction_tenacity: u32 = "maxmemory-eviction-tenacity",
    /// Most bytes of all clients together.
    maxmemory_clients: ClientsLimit = "maxmemory-clients",
    /// How much harder each further step of a counter of accesses is.
    lfu_log_factor: u32 = "lfu-log-factor",
    /// Minutes without an access after which its counter falls by one; 0: never.
    lfu_decay_time: u32 = "lfu-decay-time",
    /// Rounds of periodic work per second.
    hz: u32 = "hz",
    /// Free expired values in the background.
    lazyfree_lazy_expire: bool = "lazyfree-lazy-expire",
    /// Free evicted values in the background.
    lazyfree_lazy_eviction: bool = "lazyfree-lazy-eviction",
    /// Free overwritten values in the background.
    lazyfree_lazy_server_del: bool = "lazyfree-lazy-server-del",
    /// DEL acts like UNLINK.
    lazyfree_lazy_user_del: bool = "lazyfree-lazy-user-del",
    /// FLUSHALL and FLUSHDB free in the background unless told otherwise.
    lazyfree_lazy_user_flush: bool = "lazyfree-lazy-user-flush",
    /// The working folder.
    dir: String = "dir",
    /// Path of the log; empty: standard output.
    logfile: String = "logfile",
    /// The least important lines that are logged.
    loglevel: Loglevel = "loglevel",
    /// Path of a file with the process id; empty: none.
    pidfile: String = "pidfile",
    /// No transparent huge pages for this process.
    disable_thp: bool = "disable-thp",
    /// Run in the background.
    daemonize: bool = "daemonize",
    /// Who may use DEBUG.
    enable_debug_command: Allowed = "enable-debug-command",
    /// Who may change protected settings.
    enable_protected_configs: Allowed = "enable-protected-configs",
    /// Be a node of a cluster.
    cluster_enabled: bool = "cluster-enabled",
    /// Path of nodes.conf.
    cluster_config_file: String = "cluster-config-file",
    /// Milliseconds without an answer after which a node counts as failing.
    cluster_node_timeout: u64 = "cluster-node-timeout",
    /// Port of the cluster bus; 0: `port` + 10000.
    cluster_port: u16 = "cluster-port",
    /// Address that other nodes are told; empty: what they see.
    cluster_announce_ip: String = "cluster-announce-ip",
    /// Client port that others are told; 0: the real one.
    cluster_announce_port: u16 = "cluster-announce-port",
    /// TLS port that others are told; 0: the real one.
    cluster_announce_tls_port: u16 = "cluster-announce-tls-port",
    /// Bus port that others are told; 0: the real one.
    cluster_announce_bus_port: u16 = "cluster-announce-bus-port",
    /// Host name that others are told.
    cluster_announce_hostname: String = "cluster-announce-hostname",
    /// Name for people, shown in logs.
    cluster_announce_human_nodename: String = "cluster-announce-human-nodename",
    /// IPv4 address that clients are told.
    cluster_announce_client_ipv4: String = "cluster-announce-client-ipv4",
    /// IPv6 address that clients are told.
    cluster_announce_client_ipv6: String = "cluster-announce-client-ipv6",
    /// Port that clients are told; 0: the real one.
    cluster_announce_client_port: u16 = "cluster-announce-client-port",
    /// TLS port that clients are told; 0: the real one.
    cluster_announce_client_tls_port: u16 = "cluster-announce-client-tls-port",
    /// Name of the availability zone, told to others.
    availability_zone: String = "availability-zone",
    /// How clients are told where a node is.
    cluster_preferred_endpoint_type: EndpointType = "cluster-preferred-endpoint-type",
    /// Serve nothing while a slot has no owner.
    cluster_require_full_coverage: bool = "cluster-require-full-coverage",
    /// Serve reads while the cluster is down.
    cluster_allow_reads_when_down: bool = "cluster-allow-reads-when-down",
    /// Serve shard channels while the cluster is down.
    cluster_allow_pubsubshard_when_down: bool = "cluster-allow-pubsubshard-when-down",
    /// Replicas may move to primaries that have none.
    cluster_allow_replica_migration: bool = "cluster-allow-replica-migration",
    /// Replicas that a primary keeps before one may move away.
    cluster_migration_barrier: u32 = "cluster-migration-barrier",
    /// Node timeouts of separation after which a replica is too old to be promoted; 0: never.
    cluster_replica_validity_factor: u32 = "cluster-replica-validity-factor",
    /// This replica never promotes itself.
    cluster_replica_no_failover: bool = "cluster-replica-no-failover",
    /// Most unsent bytes of a bus link; 0: no limit.
    cluster_link_sendbuf_limit: u64 = "cluster-link-sendbuf-limit",
    /// Milliseconds that a manual failover may take.
    cluster_manual_failover_timeout: u64 = "cluster-manual-failover-timeout",
    /// Seconds for which a forgotten node is not added again.
    cluster_blacklist_ttl: u64 = "cluster-blacklist-ttl",
    /// What a failed write of nodes.conf means.
    cluster_config_save_behavior: SaveBehavior = "cluster-config-save-behavior",
    /// Finished slot migrations that are remembered.
    cluster_slot_migration_log_max_len: u64 = "cluster-slot-migration-log-max-len",
    /// Whether CLUSTER SLOT-STATS shows CPU time and bytes.
    cluster_slot_stats_enabled: bool = "cluster-slot-stats-enabled",
    /// Milliseconds between pings of the bus; 0: the built-in choice.
    cluster_ping_interval: u64 = "cluster-ping-interval",
    /// Percentage of the known nodes in a gossip section.
    cluster_message_gossip_perc: u32 = "cluster-message-gossip-perc",
    /// Unsent bytes of a slot migration at which it asks for the pause; -1: as soon as possible.
    slot_migration_max_failover_repl_bytes: i64 = "slot-migration-max-failover-repl-bytes",
    /// Seconds without a byte after which a replication link is given up.
    repl_timeout: u32 = "repl-timeout",
    /// Bytes of the replication stream kept for replicas that come back.
    repl_backlog_size: u64 = "repl-backlog-size",
    /// Password sent to primaries; empty: none.
    primaryauth: String = "primaryauth",
    /// User sent to primaries; empty: the default user.
    primaryuser: String = "primaryuser",
    /// Microseconds from which on a command is slow (SLOWLOG); -1: none is.
    commandlog_execution_slower_than: i64 = "commandlog-execution-slower-than",
    /// Slow commands that are remembered.
    commandlog_slow_execution_max_len: u64 = "commandlog-slow-execution-max-len",
    /// Bytes from which on a command is large (COMMANDLOG); -1: none is.
    commandlog_request_larger_than: i64 = "commandlog-request-larger-than",
    /// Large commands that are remembered.
    commandlog_large_request_max_len: u64 = "commandlog-large-request-max-len",
    /// Bytes from which on a reply is large (COMMANDLOG); -1: none is.
    commandlog_reply_larger_than: i64 = "commandlog-reply-larger-than",
    /// Commands with large replies that are remembered.
    commandlog_large_reply_max_len: u64 = "commandlog-large-reply-max-len",
    /// Keys that are remembered for clients that track them; 0: no limit.
    tracking_table_max_keys: u64 = "tracking-table-max-keys",
    /// Milliseconds from which on LATENCY remembers an event; 0: none.
    latency_monitor_threshold: i64 = "latency-monitor-threshold",
    /// Whether the durations of each command are counted.
    latency_tracking: bool = "latency-tracking",
    /// The percentiles that INFO shows of them.
    latency_tracking_info_percentiles: Vec<String> = "latency-tracking-info-percentiles",
    /// Microseconds of delay per key of a snapshot, for tests; negative: one microsecond per that many keys.
    rdb_key_save_delay: i32 = "rdb-key-save-delay",
}

impl Config {
    /// Number of databases of this process.
    #[must_use]
    pub fn databases_in_use(&self) -> u32 {
        if self.cluster_enabled { self.cluster_databases } else { self.databases }
    }

    /// Port of the cluster bus.
    #[must_use]
    pub fn bus_port(&self) -> u16 {
        if self.cluster_port != 0 { self.cluster_port } else { self.port.saturating_add(BUS_OFFSET) }
    }
}

/// Distance of the bus port from the client port, unless `cluster-port` says otherwise.
pub const BUS_OFFSET: u16 = 10_000;
