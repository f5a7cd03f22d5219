//! LATENCY: when commands and the work of the shard itself took long.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::command::table::{self, Command, Id, flags};
use crate::config::Config;
use crate::shard::gather::Part;
use crate::shard::latency::Advice::{
    BigValues, LoadedMachine, LookAtSlowlog, LowerSlowlog, RaiseHz, TurnOnSlowlog,
};
use crate::shard::tally::Tally;
use crate::time::Now;
use crate::wire::resp::{Argv, Reply, quote};

/// Seconds with something long that are remembered of each event.
const SAMPLES: usize = 160;
/// Samples side by side in a graph.
const COLUMNS: usize = 80;
/// Lines of a graph.
const ROWS: usize = 4;
/// The tops of columns in a graph, from low to high.
const TOPS: [u8; 3] = *b"_o#";

/// A command that is not marked as fast.
pub(crate) const COMMAND: &str = "command";
/// A command that should be fast.
pub(crate) const FAST_COMMAND: &str = "fast-command";
/// Deleting what is past its time.
pub(crate) const EXPIRE_CYCLE: &str = "expire-cycle";
/// Evicting keys to make room.
pub(crate) const EVICTION_CYCLE: &str = "eviction-cycle";

/// The longest time that an event took in a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sample {
    time_secs: u64,
    ms: u64,
}

/// What is known of one event.
#[derive(Clone, Debug)]
struct Series {
    event: &'static str,
    /// The oldest first, never empty.
    samples: VecDeque<Sample>,
    max_ms: u64,
    sum_ms: u64,
    count: u64,
}

/// The events that took long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latency {
    /// From how many nanoseconds on.
    threshold_nanos: Option<u64>,
    events: Vec<Series>,
}

/// The event that a command is.
pub(crate) fn event_of(command: &Command) -> &'static str {
    if command.is(flags::FAST) { FAST_COMMAND } else { COMMAND }
}

impl Latency {
    /// Takes over the settings.
    pub(crate) fn configure(&mut self, config: &Config) {
        let ms = u64::try_from(config.latency_monitor_threshold).unwrap_or(0);
        self.threshold_nanos = (ms > 0).then_some(ms.saturating_mul(1_000_000));
    }

    /// From how many nanoseconds on an event is remembered.
    pub(crate) fn threshold_nanos(&self) -> Option<u64> {
        self.threshold_nanos
    }

    /// Something took so long.
    pub(crate) fn took(&mut self, now: Now, event: &'static str, nanos: u64) {
        if self.threshold_nanos.is_none_or(|threshold| nanos < threshold) {
            return;
        }
        let sample = Sample { time_secs: now.wall.as_secs(), ms: nanos / 1_000_000 };
        let at = self.events.iter().position(|series| series.event == event).unwrap_or_else(|| {
            let samples = VecDeque::with_capacity(1);
            self.events.push(Series { event, samples, max_ms: 0, sum_ms: 0, count: 0 });
            self.events.len() - 1
        });
        let series = &mut self.events[at];
        series.max_ms = series.max_ms.max(sample.ms);
        series.sum_ms += sample.ms;
        series.count += 1;
        match series.samples.back_mut() {
            Some(last) if last.time_secs == sample.time_secs => last.ms = last.ms.max(sample.ms),
            _ => {
                if series.samples.len() == SAMPLES {
                    series.samples.pop_front();
                }
                series.samples.push_back(sample);
            }
        }
    }

    /// With what took long in siblings.
    pub(crate) fn with(&self, others: &[Part]) -> Self {
        let mut all = self.clone();
        for part in others {
            if let Part::Latency(other) = part {
                other.events.iter().for_each(|series| all.add(series));
            }
        }
        all
    }

    fn add(&mut self, other: &Series) {
        let Some(series) = self.events.iter_mut().find(|series| series.event == other.event) else {
            return self.events.push(other.clone());
        };
        series.max_ms = series.max_ms.max(other.max_ms);
        series.sum_ms += other.sum_ms;
        series.count += other.count;
        let samples = &mut series.samples;
        samples.extend(&other.samples);
        samples.make_contiguous().sort_by_key(|sample| (sample.time_secs, Reverse(sample.ms)));
        let mut seen = None;
        samples.retain(|sample| seen.replace(sample.time_secs) != Some(sample.time_secs));
        samples.drain(..samples.len().saturating_sub(SAMPLES));
    }

    /// The subcommands of LATENCY that look at events.
    pub(crate) fn show(&self, now: Now, id: Id, argv: Argv<'_>, config: &Config, reply: &mut Reply<'_>) {
        match id {
            Id::LatencyLatest => self.latest(reply),
            Id::LatencyHistory => {
                let samples = self.find(argv.get(2)).map(|series| &series.samples);
                reply.array(samples.map_or(0, VecDeque::len));
                for sample in samples.into_iter().flatten() {
                    reply.array(2);
                    reply.int(sample.time_secs as i64);
                    reply.int(sample.ms as i64);
                }
            }
            Id::LatencyGraph => match self.find(argv.get(2)) {
                Some(series) => reply.verbatim("txt", &graph(series, now)),
                None => {
                    let event = quote(argv.get(2));
                    reply.error(&format!("ERR No samples available for event '{event}'"));
                }
            },
            _ => reply.verbatim("txt", &self.report(now, config)),
        }
    }

    /// Forgets these events, or all when none is named; how many.
    pub(crate) fn reset(&mut self, names: Argv<'_>) -> usize {
        let events = self.events.len();
        self.events.retain(|series| {
            let named = |name: &[u8]| name.eq_ignore_ascii_case(series.event.as_bytes());
            !names.is_empty() && !names.iter().any(named)
        });
        events - self.events.len()
    }

    fn find(&self, event: &[u8]) -> Option<&Series> {
        self.events.iter().find(|series| series.event.as_bytes() == event)
    }

    fn latest(&self, reply: &mut Reply<'_>) {
        reply.array(self.events.len());
        for series in &self.events {
            let last = series.samples.back().map_or((0, 0), |sample| (sample.time_secs, sample.ms));
            reply.array(6);
            reply.bulk(series.event.as_bytes());
            for number in [last.0, last.1, series.max_ms, series.sum_ms, series.count] {
                reply.int(number as i64);
            }
        }
    }

    /// What LATENCY DOCTOR says.
    fn report(&self, now: Now, config: &Config) -> String {
        if self.events.is_empty() {
            return match self.threshold_nanos {
                None => "Latency monitoring is disabled in this Valkey instance: nothing is known. \
                         CONFIG SET latency-monitor-threshold <milliseconds> enables it.\n"
                    .into(),
                Some(_) => "Nothing took longer than latency-monitor-threshold so far.\n".into(),
            };
        }
        let mut report = String::from("Latency spikes are observed in this Valkey instance.\n\n");
        for (series, n) in self.events.iter().zip(1..) {
            let (count, average, deviation) = series.spread();
            let first = series.samples.front().map_or(0, |sample| sample.time_secs);
            let period = now.wall.as_secs().saturating_sub(first).max(1) as f64 / count as f64;
            report.push_str(&format!(
                "{n}. {}: {count} latency spikes (average {average}ms, mean deviation {deviation}ms, period \
                 {period:.2} sec). Worst all time event {}ms.\n",
                series.event, series.max_ms
            ));
        }
        report.push_str("\nWhat can be done:\n\n");
        for advice in self.advice(config) {
            report.push_str(&advice.text(config));
        }
        report
    }

    fn advice(&self, config: &Config) -> Vec<Advice> {
        let happened = |event: &str| self.events.iter().any(|series| series.event == event);
        let mut advice = Vec::new();
        if happened(COMMAND) {
            let slow_us = config.commandlog_execution_slower_than;
            if slow_us < 0 || config.commandlog_slow_execution_max_len == 0 {
                advice.push(TurnOnSlowlog);
            } else if slow_us / 1000 > config.latency_monitor_threshold {
                advice.push(LowerSlowlog);
            }
            advice.push(LookAtSlowlog);
        }
        if happened(FAST_COMMAND) {
            advice.push(LoadedMachine);
        }
        if happened(EXPIRE_CYCLE) && config.hz < 100 {
            advice.push(RaiseHz);
        }
        if happened(COMMAND) || happened(EXPIRE_CYCLE) {
            advice.push(BigValues);
        }
        advice
    }
}

impl Series {
    /// How many samples there are, their average, and how far they are from it on average.
    fn spread(&self) -> (u64, u64, u64) {
        let count = self.samples.len().max(1) as u64;
        let average = self.samples.iter().map(|sample| sample.ms).sum::<u64>() / count;
        let deviation = self.samples.iter().map(|sample| sample.ms.abs_diff(average)).sum::<u64>() / count;
        (count, average, deviation)
    }
}

/// What an operator could do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Advice {
    TurnOnSlowlog,
    LowerSlowlog,
    LookAtSlowlog,
    LoadedMachine,
    RaiseHz,
    BigValues,
}

impl Advice {
    fn text(self, config: &Config) -> String {
        let threshold_us = config.latency_monitor_threshold.saturating_mul(1000);
        match self {
            TurnOnSlowlog => format!(
                "- Let slow commands be remembered: CONFIG SET slowlog-log-slower-than {threshold_us}.\n"
            ),
            LowerSlowlog => format!(
                "- Only commands slower than the events above are remembered: CONFIG SET slowlog-log-slower-than \
                 {threshold_us}.\n"
            ),
            LookAtSlowlog => "- Look with SLOWLOG GET which commands are slow.\n".into(),
            LoadedMachine => {
                "- Commands that cannot take long by themselves did: the process does not get the CPU. \
                 Lower the load of the machine, or find who else uses it.\n"
                    .into()
            }
            RaiseHz => {
                "- Keys past their time are deleted in bursts: CONFIG SET hz 100 makes the bursts smaller.\n"
                    .into()
            }
            BigValues => {
                "- Very large values take long to delete: split them, or delete them with UNLINK.\n".into()
            }
        }
    }
}

/// The samples as columns, with their age below.
fn graph(series: &Series, now: Now) -> String {
    let (low, high) = series
        .samples
        .iter()
        .fold((u64::MAX, 0), |(low, high), sample| (low.min(sample.ms), high.max(sample.ms)));
    let mut text = format!(
        "{} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        series.event,
        series.max_ms,
        "-".repeat(COLUMNS)
    );
    let steps = ROWS * TOPS.len();
    let height = |sample: &Sample| {
        let relative = (sample.ms - low) as usize * steps / (high - low).max(1) as usize;
        relative.min(steps - 1)
    };
    for (n, part) in series.samples.iter().collect::<Vec<_>>().chunks(COLUMNS).enumerate() {
        if n > 0 {
            text.push('\n');
        }
        for row in (0..ROWS).rev() {
            let column = |sample: &&Sample| match height(sample).checked_sub(row * TOPS.len()) {
                None => ' ',
                Some(step) => TOPS.get(step).map_or('|', |top| char::from(*top)),
            };
            text.extend(part.iter().map(column));
            text.push('\n');
        }
        text.extend(core::iter::repeat_n(' ', part.len()));
        text.push('\n');
        let labels: Vec<String> = part.iter().map(|sample| age(now, sample.time_secs)).collect();
        let lines = labels.iter().map(String::len).max().unwrap_or(0);
        for line in 0..lines {
            text.extend(
                labels.iter().map(|label| label.as_bytes().get(line).map_or(' ', |b| char::from(*b))),
            );
            text.push('\n');
        }
    }
    text
}

/// How long ago a second was, in the largest unit that it reaches.
fn age(now: Now, time_secs: u64) -> String {
    let secs = now.wall.as_secs().saturating_sub(time_secs);
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m", secs / 60),
        3600..86_400 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// LATENCY HISTOGRAM of the named commands and their subcommands, or of all.
pub(crate) fn histograms(names: Argv<'_>, tally: &Tally, reply: &mut Reply<'_>) {
    let with_subcommands = |command: &'static Command| core::iter::once(command).chain(command.subcommands);
    let asked: Vec<&Command> = if names.is_empty() {
        table::all().flat_map(with_subcommands).collect()
    } else {
        names.iter().filter_map(table::by_full_name).flat_map(with_subcommands).collect()
    };
    let known = asked.iter().filter_map(|command| {
        let histogram = tally.calls(command.id).histogram.as_ref()?;
        (command.id != Id::Container).then_some((command.name, histogram))
    });
    reply.map(known.clone().count());
    for (name, histogram) in known {
        let ranges = histogram.ranges();
        reply.bulk(name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.int(histogram.total() as i64);
        reply.bulk(b"histogram_usec");
        reply.map(ranges.len());
        for (micros, calls) in ranges {
            reply.int(micros as i64);
            reply.int(calls as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Outbox;
    use crate::time::{Mono, Wall};
    use crate::wire::resp::{ArgvBuf, Proto};

    fn at(secs: u64) -> Now {
        Now { mono: Mono(0), wall: Wall(secs * 1_000_000) }
    }

    fn config(threshold: &str) -> Config {
        let mut config = Config::default();
        config.set(&[(b"latency-monitor-threshold", threshold.as_bytes())], true).expect("a threshold");
        config
    }

    fn watching(threshold: &str) -> Latency {
        let mut latency = Latency::default();
        latency.configure(&config(threshold));
        latency
    }

    fn words(line: &str) -> ArgvBuf {
        ArgvBuf::of(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    fn replied(write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut out = Outbox::default();
        write(&mut Reply::new(&mut out, Proto::Resp2));
        let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
        String::from_utf8(bytes).unwrap().replace("\r\n", " ")
    }

    fn ask(latency: &Latency, now: Now, line: &str) -> String {
        let words = words(line);
        let id = table::resolve(words.argv()).expect("a command").id;
        replied(|reply| latency.show(now, id, words.argv(), &config("10"), reply))
    }

    #[test]
    fn what_takes_long_is_remembered_by_the_second() {
        let mut latency = watching("10");
        for (secs, event, micros) in [
            (100, COMMAND, 9_999),
            (100, COMMAND, 10_000),
            (100, COMMAND, 30_999),
            (100, COMMAND, 20_000),
            (102, COMMAND, 15_000),
            (103, EXPIRE_CYCLE, 12_000),
        ] {
            latency.took(at(secs), event, micros * 1000);
        }
        let ask = |latency: &Latency, line: &str| ask(latency, at(110), line);
        assert_eq!(
            ask(&latency, "LATENCY LATEST"),
            "*2 *6 $7 command :102 :15 :30 :75 :4 *6 $12 expire-cycle :103 :12 :12 :12 :1 "
        );
        assert_eq!(ask(&latency, "LATENCY HISTORY command"), "*2 *2 :100 :30 *2 :102 :15 ");
        assert_eq!(ask(&latency, "LATENCY HISTORY Command"), "*0 ");
        assert_eq!(ask(&latency, "LATENCY GRAPH nosuch"), "-ERR No samples available for event 'nosuch' ");
        assert_eq!(latency.reset(words("nosuch COMMAND command").argv()), 1);
        assert_eq!(ask(&latency, "LATENCY HISTORY command"), "*0 ");
        assert_eq!(latency.reset(ArgvBuf::default().argv()), 1);
        assert_eq!(ask(&latency, "LATENCY LATEST"), "*0 ");
    }

    #[test]
    fn nothing_is_remembered_unless_wanted() {
        let mut latency = watching("0");
        latency.took(at(1), COMMAND, u64::MAX);
        assert_eq!(ask(&latency, at(1), "LATENCY LATEST"), "*0 ");
        assert!(latency.report(at(1), &config("0")).contains("monitoring is disabled"));
    }

    #[test]
    fn old_samples_are_forgotten() {
        let mut latency = watching("1");
        for secs in 1..=200 {
            latency.took(at(secs), FAST_COMMAND, secs * 1_000_000);
        }
        let samples = &latency.events[0].samples;
        assert_eq!((samples.len(), samples[0].ms, latency.events[0].count), (160, 41, 200));
    }

    /// As a Valkey 9.1 draws them.
    #[test]
    fn a_graph_has_a_column_for_each_sample() {
        let mut latency = watching("1");
        for (secs, ms) in [(1_000_000, 100), (1_090_000, 200), (1_099_000, 300), (1_099_990, 500)] {
            latency.took(at(secs), COMMAND, ms * 1_000_000);
        }
        let graph = graph(&latency.events[0], at(1_100_000));
        let lines: Vec<&str> = graph.lines().collect();
        assert_eq!(lines[0], "command - high 500 ms, low 100 ms (all time high 500 ms)");
        assert_eq!(lines[1], "-".repeat(80));
        assert_eq!(lines[2..], ["   #", "  _|", " _||", "_|||", "    ", "1211", "dh60", "  ms"]);
    }

    #[test]
    fn the_doctor_names_events_and_what_to_do() {
        let mut latency = watching("10");
        latency.took(at(100), COMMAND, 50_000_000);
        latency.took(at(104), COMMAND, 30_000_000);
        let mut config = config("10");
        let report = latency.report(at(110), &config);
        assert!(report.contains(
            "1. command: 2 latency spikes (average 40ms, mean deviation 10ms, period 5.00 sec). Worst all time event 50ms.\n"
        ));
        assert_eq!(latency.advice(&config), [LookAtSlowlog, BigValues]);
        config.set(&[(b"slowlog-log-slower-than", b"20000")], true).unwrap();
        assert_eq!(latency.advice(&config), [LowerSlowlog, LookAtSlowlog, BigValues]);
        config.set(&[(b"slowlog-log-slower-than", b"-1")], true).unwrap();
        assert_eq!(latency.advice(&config), [TurnOnSlowlog, LookAtSlowlog, BigValues]);
        let mut fast = watching("10");
        fast.took(at(1), FAST_COMMAND, 50_000_000);
        fast.took(at(1), EXPIRE_CYCLE, 50_000_000);
        assert_eq!(fast.advice(&config), [LoadedMachine, RaiseHz, BigValues]);
        assert!(fast.report(at(1), &config).contains("hz 100"));
    }

    #[test]
    fn histograms_are_shown_of_commands_that_ran() {
        let mut tally = Tally::default();
        let mut ran = |words: &[&[u8]], nanos| {
            let command = table::resolve(ArgvBuf::of(words).argv()).expect("a command");
            tally.ran(command, nanos, true, b"");
        };
        ran(&[b"GET", b"k"], 900);
        ran(&[b"GET", b"k"], 3_000);
        ran(&[b"CONFIG", b"GET", b"x"], 3_000);
        let ask = |line: &str| replied(|reply| histograms(words(line).argv().after(2), &tally, reply));
        let get = "$3 get *4 $5 calls :2 $14 histogram_usec *4 :1 :1 :4 :2 ";
        let config = "$10 config|get *4 $5 calls :1 $14 histogram_usec *2 :4 :1 ";
        assert_eq!(ask("LATENCY HISTOGRAM get set nosuch"), format!("*2 {get}"));
        assert_eq!(ask("LATENCY HISTOGRAM config"), format!("*2 {config}"));
        assert_eq!(ask("LATENCY HISTOGRAM CONFIG|GET GET"), format!("*4 {config}{get}"));
        assert_eq!(ask("LATENCY HISTOGRAM"), format!("*4 {get}{config}"));
    }

    use alloc::boxed::Box;

    #[test]
    fn events_of_several_shards_are_one() {
        let at = |secs: u64| Now { mono: Mono(0), wall: Wall(secs * 1_000_000) };
        let of = |took: &[(u64, u64)]| {
            let mut latency = Latency { threshold_nanos: Some(0), ..Latency::default() };
            took.iter().for_each(|(secs, ms)| latency.took(at(*secs), COMMAND, ms * 1_000_000));
            latency
        };
        let other = Part::Latency(Box::new(of(&[(2, 9), (3, 1), (5, 5)])));
        let all = of(&[(1, 4), (3, 7)]).with(&[other, Part::Done]);
        let samples: Vec<_> = all.events[0].samples.iter().map(|s| (s.time_secs, s.ms)).collect();
        assert_eq!(samples, [(1, 4), (2, 9), (3, 7), (5, 5)]);
        assert_eq!((all.events.len(), all.events[0].count, all.events[0].max_ms), (1, 5, 9));
        assert_eq!(Latency::default().with(&[Part::Latency(Box::new(all))]).events[0].sum_ms, 26);
    }
}
