//! What is printed around the numbers.

use std::fs;

use crate::common::figures::{print_table, thousands};
use crate::common::{Trouble, cores, disk};
use crate::pair::Pair;

/// Where the numbers come from: the machine.
pub fn machine() -> Result<(), Trouble> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    println!("machine: {} cores, {}", cores::available(), model.unwrap_or(std::env::consts::ARCH));
    if let Ok(load) = fs::read_to_string("/proc/loadavg") {
        println!("load average at the start: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
    }
    println!("{}", disk::told(disk::durable_write()?));
    Ok(())
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
