//! What went wrong, in words for whoever reads the log.

use std::fmt;
use std::io;

/// The words of the operating system for what went wrong, without its number.
#[must_use]
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.find(" (os error").map_or(text.clone(), |at| text[..at].to_owned())
}

/// Why a server cannot start, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// The operating system refused.
    #[must_use]
    pub fn because(what: &str, error: &io::Error) -> Self {
        Self(format!("{what}: {}", words(error)))
    }
}
