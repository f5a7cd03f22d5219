//! INFO: what the shard knows about its process, its clients, its memory and its work, in Valkey's sections and
//! words. What Whimbrel does not have (persistence, replicas, scripts, modules) reads as in an idle Valkey.

mod clients;
mod memory;
mod section;
mod server;
mod stats;
pub(crate) mod sums;
mod text;

use alloc::string::String;

use crate::shard::Shard;
use crate::shard::gather::Part;
use crate::shard::info::sums::Sums;
use crate::shard::memory::Figures;
use crate::shard::rates::Counters;
use crate::time::Now;
use crate::wire::resp::Argv;

use section::Section;
use text::Text;

/// Facts about the process that do not change while it runs and that only the driver knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Process {
    /// Its number at the operating system.
    pub pid: u32,
    /// Absolute path of the program.
    pub executable: String,
    /// Absolute path of the configuration file; empty when there is none.
    pub config_file: String,
    /// Name, release and machine of the operating system, as `uname -srm` prints them.
    pub os: String,
    /// What the driver waits with for events, for example `epoll` or `io_uring`.
    pub multiplexing_api: String,
    /// Where memory comes from, for example `mimalloc`.
    pub allocator: String,
}

/// Whether `argv`, INFO and the sections it asks for, shows how long single calls took.
pub(crate) fn shows_times(argv: Argv<'_>) -> bool {
    section::asked(argv.iter().skip(1)).any(|section| section == Section::Latencystats)
}

/// The text that answers `argv`: INFO and the sections it asks for; `others` are the parts of siblings.
pub(crate) fn render(now: Now, shard: &Shard, argv: Argv<'_>, others: &[Part]) -> String {
    let sums = &Sums::of_all(now, shard, others, shows_times(argv));
    let mut text = Text::default();
    for section in section::asked(argv.iter().skip(1)) {
        text.section(section.title());
        match section {
            Section::Server => server::server(&mut text, now, shard),
            Section::Tls => server::tls(&mut text),
            Section::Clients => clients::clients(&mut text, now, shard, sums),
            Section::Memory => memory::memory(&mut text, shard, sums),
            Section::Persistence => stats::persistence(&mut text, shard, sums),
            Section::Stats => stats::stats(&mut text, shard, sums),
            Section::Replication => stats::replication(&mut text, shard),
            Section::Cpu => server::cpu(&mut text, shard),
            Section::Commandstats => stats::commands(&mut text, &sums.tally),
            Section::Errorstats => stats::errors(&mut text, &sums.tally),
            Section::Latencystats => stats::latencies(&mut text, shard, &sums.tally),
            // There are no modules: the title stands alone, as in a Valkey that has none.
            Section::Modules => {}
            Section::Cluster => server::cluster(&mut text, shard),
            Section::ClusterInfo => server::cluster_info(&mut text, shard),
            Section::ScriptingEngines => server::engines(&mut text),
            Section::Keyspace => clients::keyspace(&mut text, sums),
        }
    }
    text.finish()
}

impl Shard {
    /// Notes what INFO shows over time: rates, and the most memory that was in use. Call it each 100 ms.
    pub(crate) fn sample(&mut self, now: Now) {
        self.rates.sample(now.mono, self.counters());
        self.peak_memory = self.peak_memory.max(Figures::of(self).used);
    }

    fn counters(&self) -> Counters {
        let totals = &self.data.totals;
        let export_bytes = self.data.exports.bytes_out();
        [totals.commands, totals.bytes_in, totals.bytes_out + export_bytes, totals.import_bytes, export_bytes]
    }
}

#[cfg(test)]
mod tests;
