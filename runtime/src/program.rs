//! The server as a program: arguments, files, the log, the life of the process.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use whimbrel_core::config::{CommandLine, Config};

use crate::descriptors;
use crate::failure::words;
use crate::logging;
use crate::start::{Driver, Server};

/// Tells a process started by itself that it is the one in the background.
const DETACHED: &str = "WHIMBREL_DETACHED";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs a driver's server as a program with these arguments (without its name); the exit status.
///
/// Arguments are those of valkey-server: `[file] [--name value …]… [-]`, `--version`, `--help`.
pub fn run(driver: &Driver, arguments: impl IntoIterator<Item = String>) -> i32 {
    let arguments: Vec<String> = arguments.into_iter().collect();
    match arguments.first().map(String::as_str) {
        Some("-v" | "--version") => {
            println!(
                "Whimbrel server v={VERSION} sha=00000000:0 malloc={} bits={}",
                driver.allocator,
                usize::BITS
            );
            return 0;
        }
        Some("-h" | "--help") => {
            print!("{}", usage(driver));
            return 0;
        }
        _ => {}
    }
    let line = CommandLine::parse(&arguments);
    let mut from_stdin = String::new();
    if line.stdin
        && let Err(e) = io::stdin().read_to_string(&mut from_stdin)
    {
        eprintln!("Fatal error, can't read the configuration from standard input: {}", words(&e));
        return 1;
    }
    let config = match configuration(&line, &from_stdin) {
        Ok(config) => config,
        Err(text) => {
            eprintln!("{text}");
            return 1;
        }
    };
    if config.daemonize && env::var_os(DETACHED).is_none() {
        return detach(&arguments, &from_stdin);
    }
    serve(driver, config, line.file.is_some())
}

/// Has the kernel give us memory in pages of the usual size only. To clear a huge one takes milliseconds on some
/// machines, in which nobody is served.
fn disable_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(e) = nix::sys::prctl::set_thp_disable(true) {
        tracing::warn!("Transparent huge pages stay on: {e}");
    }
}

/// Reads all configuration there is; on failure, what to print.
fn configuration(line: &CommandLine, from_stdin: &str) -> Result<Config, String> {
    let mut text = String::new();
    let mut config_file = String::new();
    if let Some(path) = &line.file {
        let path = std::path::absolute(path).map_err(|e| format!("{path}: {}", words(&e)))?;
        text = read(&path)?;
        config_file = path.display().to_string();
    }
    if !text.is_empty() && !text.ends_with('\n') && !from_stdin.is_empty() {
        text.push('\n');
    }
    // As in Valkey, whose numbers of lines people know, options begin on a line of their own.
    text.extend([from_stdin, "\n", &line.options]);
    let mut config =
        Config::load(&text, &mut |pattern| included(pattern)).map_err(|fatal| fatal.to_string())?;
    config.config_file = config_file;
    let folder = fs::canonicalize(&config.dir)
        .map_err(|e| format!("Fatal error, can't use the folder '{}': {}", config.dir, words(&e)))?;
    config.dir = folder.display().to_string();
    Ok(config)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path)
        .map_err(|e| format!("Fatal error, can't open config file '{}': {}", path.display(), words(&e)))
}

/// The text of an included file, or of all that match a pattern in the last part of the path.
fn included(pattern: &str) -> Result<String, String> {
    if !pattern.contains(['*', '?', '[']) {
        return read(Path::new(pattern));
    }
    let path = Path::new(pattern);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default();
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let entry = entry.file_name();
            // As in a shell, a leading dot is matched by a dot only.
            let hidden = entry.as_bytes().starts_with(b".") && !name.as_bytes().starts_with(b".");
            !hidden && whimbrel_core::command::glob::matches(name.as_bytes(), entry.as_bytes())
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.iter().map(|path| read(path)).collect()
}

/// Starts the same program again in the background, and ends.
fn detach(arguments: &[String], from_stdin: &str) -> i32 {
    let child = env::current_exe().and_then(|program| {
        Command::new(program)
            .args(arguments)
            .env(DETACHED, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    });
    let result = child.and_then(|mut child| match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(from_stdin.as_bytes()),
        None => Ok(()),
    });
    match result {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("Can't run in the background: {}", words(&e));
            1
        }
    }
}

fn serve(driver: &Driver, mut config: Config, has_file: bool) -> i32 {
    if env::var_os(DETACHED).is_some() {
        // Fails only for the leader of a group, which a child is not.
        let _ = nix::unistd::setsid();
    }
    if let Err(e) = env::set_current_dir(&config.dir) {
        eprintln!("Fatal error, can't use the folder '{}': {}", config.dir, words(&e));
        return 1;
    }
    let logfile = (!config.logfile.is_empty()).then(|| Path::new(&config.dir).join(&config.logfile));
    if let Some(path) = &logfile
        && let Err(e) = fs::OpenOptions::new().append(true).create(true).open(path)
    {
        eprintln!(
            "\n*** FATAL CONFIG FILE ERROR (Version {VERSION}) ***\nCan't open the log file: {}",
            words(&e)
        );
        return 1;
    }
    logging::install(config.loglevel, logfile);
    report(&config, has_file);
    make_room(&mut config);
    if config.disable_thp {
        disable_huge_pages();
    }

    let pidfile = (!config.pidfile.is_empty()).then(|| Path::new(&config.dir).join(&config.pidfile));
    let server = match Server::bind(config, driver, true) {
        Ok(server) => server,
        Err(error) => {
            tracing::error!("{error}");
            return 1;
        }
    };
    if let Some(path) = &pidfile
        && let Err(e) = fs::write(path, format!("{}\n", std::process::id()))
    {
        tracing::warn!("Failed to write PID file: {}", words(&e));
    }
    let code = server.run();
    if let Some(path) = &pidfile {
        let _ = fs::remove_file(path);
    }
    code
}

/// The first lines of the log.
fn report(config: &Config, has_file: bool) {
    tracing::info!("oO0OoO0OoO0Oo Whimbrel is starting oO0OoO0OoO0Oo");
    tracing::info!(
        "Whimbrel version={VERSION}, bits={}, commit=00000000, modified=0, pid={}, just started",
        usize::BITS,
        std::process::id()
    );
    if has_file {
        tracing::info!("Configuration loaded");
    }
    let ignored = config.ignored();
    if !ignored.is_empty() {
        tracing::warn!("Settings that Whimbrel does not act on yet: {}", ignored.join(", "));
    }
    let mode = if config.cluster_enabled { "cluster" } else { "standalone" };
    tracing::info!("Running mode={mode}, port={}.", config.port);
}

/// Makes room for `maxclients` clients, or lowers it to as many as there is room for.
fn make_room(config: &mut Config) {
    if let Err(fewer) = descriptors::reserve(config.maxclients, config.shards) {
        let reachable = u64::from(fewer) + descriptors::reserved(config.shards);
        tracing::warn!(
            "Current maximum open files is {reachable}. maxclients has been reduced to {fewer} to compensate for \
             low ulimit. If you need higher maxclients increase 'ulimit -n'."
        );
        config.maxclients = fewer;
    }
}

fn usage(driver: &Driver) -> String {
    let Driver { name, max_shards, .. } = driver;
    let (mut settings, mut example) = (String::new(), String::new());
    if *max_shards > 1 {
        settings = format!(
            "`--shards n` (1 to {max_shards}) is our own: so many threads, each with its share of the slots; with\n\
             --cluster-enabled yes.\n\n"
        );
        example = format!("       {name} --port 7000 --cluster-enabled yes --shards 4\n");
    }
    format!(
        "Whimbrel {VERSION}: a Valkey-compatible cluster node\n\n\
         Usage: {name} [/path/to/valkey.conf] [--name value ...] [-]\n       \
         {name} -v | --version\n       {name} -h | --help\n\n\
         The file and the names are Valkey's; `-` reads more of the same from standard input.\n\n\
         {settings}Examples:\n       {name} --port 7000 --cluster-enabled yes\n{example}       \
         echo 'maxclients 100' | {name} -\n       {name} /etc/valkey/7000.conf --loglevel verbose\n"
    )
}
