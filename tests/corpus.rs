//! Every input in `fuzz/corpus/`, and what was recorded from real servers, against what has to hold for any bytes.
//! The fuzzer found them; this test keeps what it found, without a fuzzer.

#[path = "properties/mod.rs"]
mod properties;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use properties::{ALL, Property};

/// A corpus is small, so that it can be read and carried: files, and bytes.
const MOST_FILES: usize = 200;
const MOST_BYTES: u64 = 300 * 1024;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Runs a property on every input and names those that break it.
fn replay(property: Property, inputs: Vec<(String, Vec<u8>)>) {
    let broken: Vec<String> = inputs
        .into_iter()
        .filter(|(_, bytes)| catch_unwind(|| property(bytes)).is_err())
        .map(|(name, _)| name)
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn corpus(name: &str) {
    let (_, property) = ALL.into_iter().find(|(n, _)| *n == name).expect("a property of this name");
    let paths = files(&root().join("fuzz/corpus").join(name));
    let bytes: u64 = paths.iter().map(|path| fs::metadata(path).expect("a file").len()).sum();
    assert!(!paths.is_empty() && paths.len() <= MOST_FILES, "{} files", paths.len());
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
    replay(
        property,
        paths.iter().map(|p| (p.display().to_string(), fs::read(p).expect("an input"))).collect(),
    );
}

/// Recorded bytes behind each of the `choices` that the first byte of an input makes.
fn recorded(name: &str, folder: &str, choices: &[u8]) {
    let (_, property) = ALL.into_iter().find(|(n, _)| *n == name).expect("a property of this name");
    let mut inputs = Vec::new();
    for path in files(&root().join("tests/fixtures").join(folder)) {
        if path.extension().is_some_and(|e| e == "bin") {
            let bytes = fs::read(&path).expect("a recording");
            for choice in choices {
                inputs.push((format!("{choice} {}", path.display()), [&[*choice][..], &bytes].concat()));
            }
        }
    }
    assert!(inputs.len() > 10, "no recordings in {folder}");
    replay(property, inputs);
}

#[test]
fn each_target_is_replayed_here_and_has_its_inputs() {
    let mut folders: Vec<String> = files(&root().join("fuzz/targets"))
        .iter()
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    folders.sort();
    assert_eq!(folders, ALL.map(|(name, _)| name), "the targets of the fuzzer");
}

#[test]
fn bytes_of_the_bus() {
    corpus("bus");
    recorded("bus", "bus", &[0, 1, 2, 6]);
}

#[test]
fn configuration_files_and_settings() {
    corpus("config");
}

#[test]
fn bytes_of_lanes() {
    corpus("lanes");
    recorded("lanes", "syncslots", &[0, 1, 4, 5]);
}

#[test]
fn texts_of_nodes_conf() {
    corpus("nodes_conf");
}

#[test]
fn bytes_of_clients() {
    corpus("resp");
    recorded("resp", "syncslots", &[0, 1, 6]);
}

#[test]
fn sessions_of_clients() {
    corpus("session");
}

#[test]
fn bytes_of_migration_links() {
    corpus("syncslots");
    recorded("syncslots", "syncslots", &[0, 1]);
}
