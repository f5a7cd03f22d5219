//! Where the numbers come from: what is printed above them.

use std::fs;
use std::process::Command;

use crate::common::{Trouble, disk};
use crate::{OURS, PEER, Plan};

/// Tells what there is to know about the machine and the servers.
pub fn tell(plan: &Plan) -> Result<(), Trouble> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    println!("machine: {} cores, {}", plan.cores, model.unwrap_or(std::env::consts::ARCH));
    if let Ok(kernel) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        println!("kernel: {} {}", std::env::consts::OS, kernel.trim());
    }
    if let Ok(load) = fs::read_to_string("/proc/loadavg") {
        println!("load average at the start: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
    }
    let (runtime, rustc) = (plan.runtime.name(), said("rustc", "-V"));
    println!("{OURS}: {} on {runtime}, {rustc}", env!("CARGO_PKG_VERSION"));
    println!("{PEER}: {}", said(&plan.peer.display().to_string(), "--version"));
    println!("{}", disk::told(disk::durable_write()?));
    match plan.pinned {
        true => println!("source, or the only server, on core 0; target and clients on core 1\n"),
        false => println!("not pinned to cores: expect more noise\n"),
    }
    Ok(())
}

/// The first line that a program says about itself.
fn said(program: &str, word: &str) -> String {
    let output = Command::new(program).arg(word).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("does not tell its version").to_owned()
}
