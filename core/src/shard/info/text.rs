//! The form of INFO: sections of `key:value` lines.

use alloc::format;
use alloc::string::String;
use core::fmt::{Display, Write as _};

use crate::time::Span;

/// The text of an INFO reply while it is being written.
#[derive(Debug, Default)]
pub(super) struct Text {
    out: String,
}

impl Text {
    /// Begins a section.
    pub(super) fn section(&mut self, title: &str) {
        if !self.out.is_empty() {
            self.out.push_str("\r\n");
        }
        self.line(format_args!("# {title}"));
    }

    /// One line.
    pub(super) fn field(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name}:{value}"));
    }

    /// A size in bytes, and beside it the same for people.
    pub(super) fn size(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.human(name, bytes);
    }

    /// A size for people only: `name` gets `_human` appended.
    pub(super) fn human(&mut self, name: &str, bytes: u64) {
        self.line(format_args!("{name}_human:{}", human(bytes)));
    }

    /// A number with two digits after the point.
    pub(super) fn ratio(&mut self, name: &str, value: f64) {
        self.line(format_args!("{name}:{value:.2}"));
    }

    /// A percentage with its sign.
    pub(super) fn percent(&mut self, name: &str, share: f64) {
        self.line(format_args!("{name}:{:.2}%", share * 100.0));
    }

    /// CPU time in seconds, from microseconds.
    pub(super) fn seconds(&mut self, name: &str, micros: u64) {
        self.line(format_args!("{name}:{}.{:06}", micros / 1_000_000, micros % 1_000_000));
    }

    /// A time in milliseconds, with three digits after the point.
    pub(super) fn millis(&mut self, name: &str, span: Span) {
        self.line(format_args!("{name}:{}.{:03}", span.0 / 1000, span.0 % 1000));
    }

    /// Many fields that have one value.
    pub(super) fn all(&mut self, names: &[&str], value: impl Display + Copy) {
        for name in names {
            self.field(name, value);
        }
    }

    /// Lines that were written elsewhere, each with its line end.
    pub(super) fn lines(&mut self, lines: &str) {
        self.out.push_str(lines);
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.out
    }

    fn line(&mut self, line: core::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.out.write_fmt(line);
        self.out.push_str("\r\n");
    }
}

/// A size in the largest binary unit that it reaches, in Valkey's form: `336B`, `2.44M`.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let reached = (bytes.ilog2() / 10).min(UNITS.len() as u32);
    let unit = 1u64 << (10 * reached);
    format!("{:.2}{}", bytes as f64 / unit as f64, UNITS[reached as usize - 1])
}

/// `part / whole`, 0 when there is no whole.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs that a Valkey 9.1 showed, and the borders of the units.
    #[test]
    fn sizes_read_as_valkey_writes_them() {
        for (bytes, shown) in [
            (0, "0B"),
            (336, "336B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (33_792, "33.00K"),
            (69_632, "68.00K"),
            (2_563_000, "2.44M"),
            (15_282_176, "14.57M"),
            (1_048_576_000, "1000.00M"),
            (25_276_514_304, "23.54G"),
            ((1 << 20) - 1, "1024.00K"),
            (1 << 20, "1.00M"),
            (1 << 30, "1.00G"),
            (3 << 39, "1.50T"),
            (1 << 50, "1.00P"),
            (u64::MAX, "16384.00P"),
        ] {
            assert_eq!(human(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn sections_are_parted_by_an_empty_line_and_none_follows_the_last() {
        let mut text = Text::default();
        text.section("Cluster");
        text.field("cluster_enabled", 1);
        text.section("Keyspace");
        assert_eq!(text.finish(), "# Cluster\r\ncluster_enabled:1\r\n\r\n# Keyspace\r\n");
        assert_eq!(Text::default().finish(), "");
    }

    #[test]
    fn each_kind_of_value_has_its_form() {
        let mut text = Text::default();
        text.size("used_memory", 2_563_000);
        text.human("maxmemory", 0);
        text.ratio("mem_fragmentation_ratio", 6.0725);
        text.percent("used_memory_peak_perc", 1.0008);
        text.seconds("used_cpu_sys", 1_001_254);
        text.millis("pause_ms", Span(12_034));
        text.all(&["a", "b"], 0);
        text.lines("x:1\r\n");
        assert_eq!(
            text.finish(),
            "used_memory:2563000\r\nused_memory_human:2.44M\r\nmaxmemory_human:0B\r\nmem_fragmentation_ratio:6.07\r\n\
             used_memory_peak_perc:100.08%\r\nused_cpu_sys:1.001254\r\npause_ms:12.034\r\na:0\r\nb:0\r\nx:1\r\n"
        );
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert!(share(5, 0).abs() < f64::EPSILON);
        assert!((share(1, 4) - 0.25).abs() < f64::EPSILON);
    }
}
