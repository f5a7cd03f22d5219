//! The program from outside: arguments, what it prints, how it ends.

#[path = "../../tests/peer/mod.rs"]
mod peer;

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use peer::{Folder, program};

/// Runs the program in a folder of its own until it ends.
fn run(arguments: &[&str]) -> Output {
    let folder = Folder::new();
    Command::new(program())
        .current_dir(folder.path())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn version_and_usage_are_printed() {
    for flag in ["-v", "--version"] {
        let output = run(&[flag]);
        assert!(output.status.success());
        assert!(text(&output.stdout).starts_with("Whimbrel server v=0.1.0 "), "{}", text(&output.stdout));
    }
    for flag in ["-h", "--help"] {
        let usage = format!("Usage: {} [/path/to/valkey.conf]", program().file_name().unwrap().display());
        let said = text(&run(&[flag]).stdout);
        assert!(said.contains(&usage), "{said}");
        assert_eq!(said.contains("--shards n"), program().ends_with("whimbrel-glommio"), "{said}");
    }
}

#[test]
fn a_wrong_configuration_ends_the_program_with_the_line_to_blame() {
    let fatal = |line: u32, text: &str, reason: &str| {
        format!(
            "\n*** FATAL CONFIG FILE ERROR (Version 0.1.0) ***\n\
             Reading the configuration file, at line {line}\n>>> '{text}'\n{reason}\n"
        )
    };
    let rows: [(&[&str], String); 5] = [
        (&["--port", "x"], fatal(2, "port \"x\"", "argument couldn't be parsed into an integer")),
        (&["--nope", "1"], fatal(2, "nope \"1\"", "Bad directive or wrong number of arguments")),
        (
            &["--hz", "5", "--appendonly", "yes"],
            fatal(3, "appendonly \"yes\"", "'appendonly' with this value is not available in Whimbrel yet"),
        ),
        (
            &["/nope.conf"],
            "Fatal error, can't open config file '/nope.conf': No such file or directory\n".into(),
        ),
        (
            &["--dir", "/nope"],
            "Fatal error, can't use the folder '/nope': No such file or directory\n".into(),
        ),
    ];
    for (arguments, expected) in rows {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(text(&output.stderr), expected, "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn files_standard_input_and_options_are_one_configuration() {
    let folder = Folder::new();
    let path = folder.path().join("a.conf");
    fs::create_dir(folder.path().join("more")).expect("a folder");
    fs::write(&path, "include more/*.conf\nhz 7\n").expect("a file");
    fs::write(folder.path().join("more/1.conf"), "timeout 1\n").expect("a file");
    fs::write(folder.path().join("more/2.conf"), "timeout x\n").expect("a file");
    let mut child = Command::new(program())
        .current_dir(folder.path())
        .arg(&path)
        .args(["--hz", "8", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    child.stdin.take().expect("its input").write_all(b"port 0").expect("to be heard");
    let output = child.wait_with_output().expect("its end");
    assert!(text(&output.stderr).contains(">>> 'timeout x'"), "{}", text(&output.stderr));
}

#[test]
fn more_shards_than_there_can_be_are_refused_in_one_line() {
    let output = run(&["--port", "0", "--shards", "2", "--loglevel", "warning"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    let why = match program().ends_with("whimbrel-mio") {
        true => "'shards' is 2, and whimbrel-mio has at most 1: set fewer, or start whimbrel-glommio.",
        false => {
            "'shards' is 2: slots are divided among shards, so set 'cluster-enabled yes' too, or 'shards 1'."
        }
    };
    assert!(said.ends_with(&format!("# {why}\n")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let output = run(&["--shards", "65"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("argument must be between 1 and 64 inclusive"));
}
