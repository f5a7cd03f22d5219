//! What the program says where it cannot run.
#![cfg(target_os = "linux")]

use std::process::Command;

#[test]
fn one_line_says_what_is_missing_and_what_runs_anyway() {
    let program = env!("CARGO_BIN_EXE_whimbrel-glommio");
    let line = format!("ulimit -l 256; exec {program} --port 0 --unixsocket s --dir /tmp --loglevel warning");
    let output = Command::new("sh").args(["-c", &line]).output().expect("a shell");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    let reason = "whimbrel-glommio needs to lock 512 KiB of memory and may lock 256 (ulimit -l). whimbrel-mio runs anywhere.";
    assert!(said.ends_with(&format!(" # {reason}\n")) && said.lines().count() == 1, "{said}");
}
