//! The arguments of a show: `--name value` and flags.

use std::collections::BTreeMap;
use std::env;
use std::process::exit;

/// The arguments this process was given.
pub struct Words {
    given: BTreeMap<String, String>,
}

impl Words {
    /// Reads them; with `--help`, or with a word that is not in `names` and `flags`, prints `usage` and ends.
    pub fn read(usage: &str, names: &[&str], flags: &[&str]) -> Self {
        let mut given = BTreeMap::new();
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--help" || word == "-h" {
                print!("{usage}");
                exit(0);
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            };
            let name = name.strip_prefix("--").unwrap_or_default().to_owned();
            if flags.contains(&name.as_str()) && value.is_none() {
                given.insert(name, String::new());
            } else if names.contains(&name.as_str()) {
                let value = value
                    .or_else(|| words.next())
                    .unwrap_or_else(|| wrong(usage, &format!("--{name} what?")));
                given.insert(name, value);
            } else {
                wrong(usage, &format!("unknown argument {word}"));
            }
        }
        Self { given }
    }

    /// Whether a flag was given.
    pub fn has(&self, flag: &str) -> bool {
        self.given.contains_key(flag)
    }

    /// The value of an argument.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// The number of an argument, or what it is when not given; ends the process when it is out of bounds.
    pub fn number(&self, name: &str, otherwise: usize, bounds: std::ops::RangeInclusive<usize>) -> usize {
        let Some(text) = self.value(name) else { return otherwise };
        let number = text.replace(['_', ','], "").parse().ok().filter(|number| bounds.contains(number));
        number.unwrap_or_else(|| {
            refuse(&format!("--{name} is a number from {} to {}, not {text}", bounds.start(), bounds.end()))
        })
    }
}

fn wrong(usage: &str, what: &str) -> ! {
    refuse(&format!("{what}\n\n{usage}"))
}

/// Says what is wrong with the arguments, and ends with status 2.
pub fn refuse(what: &str) -> ! {
    eprintln!("{what}");
    exit(2);
}
