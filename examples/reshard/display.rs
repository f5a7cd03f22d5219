//! What moves on the screen: bars in a terminal, lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Progress of one part of the show.
pub struct Progress {
    bar: Option<ProgressBar>,
    title: &'static str,
    total: u64,
    begun: Instant,
    line_at: Instant,
}

impl Progress {
    /// Begins a part that is over at `total`.
    pub fn begin(title: &'static str, total: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{prefix:<22} [{bar:32.cyan/blue}] {percent:>3}%  {msg}");
            let bar = ProgressBar::new(total).with_prefix(title);
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
            }
            bar
        });
        let now = Instant::now();
        if bar.is_none() {
            eprintln!("{title} …");
        }
        Self { bar, title, total, begun: now, line_at: now + LINE_EVERY }
    }

    /// How far it is, with a few words.
    pub fn at(&mut self, position: u64, words: String) {
        if let Some(bar) = &self.bar {
            bar.set_position(position.min(self.total));
            bar.set_message(words);
        } else if Instant::now() >= self.line_at {
            self.line_at += LINE_EVERY;
            let percent = position.min(self.total) * 100 / self.total.max(1);
            eprintln!("{:<22} {percent:>3}%  {words}", self.title);
        }
    }

    /// It is over.
    pub fn end(self, words: String) {
        if let Some(bar) = self.bar {
            bar.set_position(self.total);
            bar.finish_with_message(words);
        } else {
            let seconds = self.begun.elapsed().as_secs_f64();
            eprintln!("{:<22} done in {seconds:.1} s  {words}", self.title);
        }
    }
}
