//! Log lines in the shape that tools for Valkey read: `PID:M 21 Nov 2026 12:00:00.123 * text`.

use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use whimbrel_core::config::Loglevel;

/// Changes the level of the log that [`install`] made.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Sends log lines to standard output, or to the end of a file, which is opened anew for every line so that it can
/// be moved away. To be called once, by a program; embedders bring a subscriber of their own.
pub(crate) fn install(level: Loglevel, file: Option<PathBuf>) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer().event_format(Line).with_writer(Target { file });
    let subscriber = Registry::default().with(filter).with(lines);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let _ = LEVEL.set(handle);
    }
}

/// Changes the level, where the log is ours.
pub(crate) fn set_level(level: Loglevel) {
    if let Some(handle) = LEVEL.get() {
        let _ = handle.reload(filter(level));
    }
}

fn filter(level: Loglevel) -> LevelFilter {
    match level {
        Loglevel::Debug => LevelFilter::TRACE,
        Loglevel::Verbose => LevelFilter::DEBUG,
        Loglevel::Notice => LevelFilter::INFO,
        Loglevel::Warning => LevelFilter::WARN,
        Loglevel::Nothing => LevelFilter::OFF,
    }
}

struct Target {
    file: Option<PathBuf>,
}

impl<'a> MakeWriter<'a> for Target {
    type Writer = Box<dyn io::Write>;

    fn make_writer(&'a self) -> Self::Writer {
        let Some(path) = &self.file else { return Box::new(io::stdout()) };
        match OpenOptions::new().append(true).create(true).open(path) {
            Ok(file) => Box::new(file),
            Err(_) => Box::new(io::sink()),
        }
    }
}

/// The format of one line.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let sign = match *event.metadata().level() {
            Level::TRACE => '.',
            Level::DEBUG => '-',
            Level::INFO => '*',
            Level::WARN | Level::ERROR => '#',
        };
        let now = Zoned::now().strftime("%d %b %Y %H:%M:%S%.3f").to_string();
        write!(out, "{}:M {now} {sign} ", std::process::id())?;
        let mut text = Text { message: String::new(), fields: String::new() };
        event.record(&mut text);
        writeln!(out, "{}{}", text.message, text.fields)
    }
}

/// The message of an event, and its other fields as ` name=value`.
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
