//! Reads the sources the way a reviewer would: files of one idea, functions that fit a page, names from the field.

use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this (without its tests) holds more than one idea.
const FILE_LINES: usize = 600;
/// Words that name no thing of ours.
const BANNED: [&str; 3] = ["manager", "helper", "util"];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders =
        vec![root.join("core/src"), root.join("runtime-mio/src"), root.join("runtime-glommio/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder") {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                files.push((path, text));
            }
        }
    }
    assert!(files.len() > 10, "the sources were not found");
    files
}

/// The part of a file before its tests.
fn code(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests").map_or(text, |at| &text[..at])
}

#[test]
fn files_hold_one_idea() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, code(text).lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "over {FILE_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn names_are_the_fields() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in code(&text).lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
            for word in words {
                if BANNED.contains(&word.trim_end_matches('s')) {
                    found.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "banned words:\n{}", found.join("\n"));
}
