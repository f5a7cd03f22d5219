//! How long the disk takes to make a small file durable: every hand-over of slots waits for that once.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::Trouble;

/// How often it is tried.
const TIMES: usize = 20;
/// About the size of nodes.conf.
const SIZE: usize = 2000;

/// The usual time to replace a small file so that it survives a power cut, where the nodes keep theirs.
pub fn durable_write() -> Result<Duration, Trouble> {
    let folder = env::temp_dir();
    let mut taken = Vec::new();
    for _ in 0..TIMES {
        let one =
            replace_once().map_err(|e| format!("{}: {e}; set TMPDIR to another folder", folder.display()))?;
        taken.push(one);
    }
    taken.sort();
    Ok(taken[TIMES / 2])
}

/// A line about it.
pub fn told(taken: Duration) -> String {
    let ms = taken.as_secs_f64() * 1000.0;
    format!(
        "nodes.conf is kept in {}, where a durable write takes {ms:.2} ms; each hand-over of slots waits for one",
        env::temp_dir().display()
    )
}

fn replace_once() -> io::Result<Duration> {
    let folder = env::temp_dir();
    let path = |end: &str| folder.join(format!("whimbrel-show-{}.{end}", std::process::id()));
    let begun = Instant::now();
    let mut file = File::create(path("tmp"))?;
    file.write_all(&[b'.'; SIZE])?;
    file.sync_all()?;
    fs::rename(path("tmp"), path("conf"))?;
    File::open(&folder)?.sync_all()?;
    let taken = begun.elapsed();
    fs::remove_file(path("conf"))?;
    Ok(taken)
}
