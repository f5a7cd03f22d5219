//! What is printed around the numbers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::time::Instant;

use crate::common::figures::{median, print_table, thousands};
use crate::common::{Trouble, cores};
use crate::pair::Pair;

/// How often a small file is replaced to see how long that takes.
const REPLACEMENTS: usize = 20;

/// Where the numbers come from: the machine.
pub fn machine() -> Result<(), Trouble> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    println!("machine: {} cores, {}", cores::available(), model.unwrap_or(std::env::consts::ARCH));
    if let Ok(load) = fs::read_to_string("/proc/loadavg") {
        println!("load average at the start: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
    }
    let folder = std::env::temp_dir();
    let ms =
        durable_write_ms().map_err(|e| format!("{}: {e}; set TMPDIR to another folder", folder.display()))?;
    println!("nodes.conf in {}: a durable write of such a file takes {ms:.2} ms there", folder.display());
    Ok(())
}

/// How long it takes to replace a small file so that it survives a power cut, in the folder for temporary files;
/// milliseconds, the median.
fn durable_write_ms() -> io::Result<f64> {
    let folder = std::env::temp_dir();
    let path = |end: &str| folder.join(format!("whimbrel-show-{}.{end}", std::process::id()));
    let mut taken = Vec::new();
    for _ in 0..REPLACEMENTS {
        let begun = Instant::now();
        let mut file = File::create(path("tmp"))?;
        file.write_all(&[b'.'; 2000])?;
        file.sync_all()?;
        fs::rename(path("tmp"), path("conf"))?;
        File::open(&folder)?.sync_all()?;
        taken.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    fs::remove_file(path("conf"))?;
    Ok(median(&taken))
}

/// Where the numbers come from: the servers and their cores.
pub fn servers(pairs: &mut [Pair], pinned: bool) -> Result<(), Trouble> {
    for pair in pairs {
        let name = pair.name;
        let node = pair.source();
        let valkey = node.info("server", "valkey_version")?;
        let version = valkey.or(node.info("server", "redis_version")?).unwrap_or_default();
        println!("{name}: valkey_version {version}");
    }
    match pinned {
        true => println!("source on core 0; target and client on core 1\n"),
        false => println!("not pinned to cores: expect more noise\n"),
    }
    Ok(())
}

/// A row of a table: a name, both servers, and how many times the second the first is.
pub fn row(name: &str, of: &dyn Fn(&str) -> f64, digits: usize) -> Vec<String> {
    let (ours, theirs) = (of("Whimbrel"), of("peer"));
    let cell = |value: f64| match (value.is_nan(), digits) {
        (true, _) => "-".to_owned(),
        (false, 0) => thousands(value as u64),
        (false, _) => format!("{value:.digits$}"),
    };
    let ratio = ours / theirs;
    let ratio = if ratio.is_finite() { format!("{ratio:.2}x") } else { "-".to_owned() };
    vec![name.to_owned(), cell(ours), cell(theirs), ratio]
}

/// Prints rows of [`row`].
pub fn table(rows: Vec<Vec<String>>) {
    let mut all = vec![["median", "Whimbrel", "peer", "ratio"].map(str::to_owned).to_vec()];
    all.extend(rows);
    print_table(&all);
}
