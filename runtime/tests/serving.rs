//! The program as operators and tools meet it: ports, files, signals, the log.

#[path = "../../tests/peer/mod.rs"]
mod peer;

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use peer::{Client, Folder, Server, free_port, program};

fn start(arguments: &[&str]) -> Server {
    Server::start(&program(), arguments)
}

/// Runs the program in a folder until it ends.
fn run_in(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program())
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program")
}

fn until(what: &str, mut true_at_last: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !true_at_last() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The process id, sign and text of a log line of the right shape.
fn parts(line: &str) -> Option<(u32, char, &str)> {
    let (pid, rest) = line.split_once(":M ")?;
    let (time, rest) = rest.split_at_checked("21 Nov 2026 12:00:00.123".len())?;
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let month = shape.get(3..6)?;
    (shape.replacen(month, "Mmm", 1) == "99 Mmm 9999 99:99:99.999").then_some(())?;
    let mut rest = rest.strip_prefix(' ')?.chars();
    let sign = rest.next()?;
    Some((pid.parse().ok()?, sign, rest.as_str().strip_prefix(' ')?))
}

#[test]
fn the_log_has_valkeys_shape_and_the_lines_that_tools_wait_for() {
    let mut server = start(&["--io-threads", "4", "--unixsocket", "here.sock"]);
    let log = server.log();
    let mut found = Vec::new();
    for line in log.lines() {
        let (pid, sign, text) = parts(line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(pid, server.child().id());
        found.push((sign, text.to_owned()));
    }
    let port = server.port();
    for (sign, text) in [
        ('*', format!("Running mode=standalone, port={port}.")),
        ('#', "Settings that Whimbrel does not act on yet: io-threads".to_owned()),
        ('*', "Server initialized".to_owned()),
        ('*', "Ready to accept connections tcp".to_owned()),
        ('*', "Ready to accept connections unix".to_owned()),
    ] {
        assert!(found.contains(&(sign, text.clone())), "no {sign} {text} in:\n{log}");
    }
}

#[test]
fn clients_are_served_on_all_addresses_and_the_unix_socket() {
    let server = start(&["--bind", "127.0.0.1", "-::1", "-192.0.2.1", "--unixsocket", "here.sock"]);
    assert_eq!(server.ask(&["SET", "k", "v"]).text(), "OK");
    let mut unix = UnixStream::connect(server.folder().join("here.sock")).expect("the Unix socket");
    unix.write_all(b"GET k\r\n").expect("to be heard");
    let mut got = [0; 7];
    unix.read_exact(&mut got).expect("an answer");
    assert_eq!(&got, b"$1\r\nv\r\n");
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let mut six = TcpStream::connect((Ipv6Addr::LOCALHOST, server.port())).expect("IPv6");
        six.write_all(b"GET k\r\n").expect("to be heard");
        six.read_exact(&mut got).expect("an answer");
        assert_eq!(&got, b"$1\r\nv\r\n");
    }
}

#[test]
fn signals_end_the_program_in_order() {
    for (signal, arguments) in [("TERM", &["--pidfile", "pid"][..]), ("INT", &["--cluster-enabled", "yes"])] {
        let mut server = start(arguments);
        let pid = server.child().id();
        let pidfile = server.folder().join("pid");
        if arguments[0] == "--pidfile" {
            assert_eq!(fs::read_to_string(&pidfile).expect("a pid file").trim(), pid.to_string());
        }
        server.signal(signal);
        let status = server.child().wait().expect("its end");
        assert_eq!(status.code(), Some(0), "{}", server.log());
        assert!(server.log().contains(&format!("# Received SIG{signal}, scheduling shutdown...")));
        assert!(server.log().ends_with("# Whimbrel is now ready to exit, bye bye...\n"), "{}", server.log());
        assert!(!pidfile.exists());
    }
}

#[test]
fn the_level_of_the_log_changes_at_run_time() {
    let server = start(&["--loglevel", "warning", "--logfile", "server.log"]);
    let log = || fs::read_to_string(server.folder().join("server.log")).unwrap_or_default();
    assert_eq!(log(), "", "nothing to warn of");
    assert_eq!(server.log(), "", "nothing on standard output");
    assert_eq!(server.ask(&["CONFIG", "SET", "loglevel", "debug"]).text(), "OK");
    // A reset connection is worth a line to those who look for bugs only.
    let mut client = TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
    client.write_all(&vec![b'x'; 100_000]).expect("to be heard");
    drop(client);
    until("a line about the reset", || log().contains(" - "));
}

#[test]
fn what_cannot_be_had_ends_the_program_with_one_line() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let free = free_port().to_string();
    let on = ["--bind", "127.0.0.1"];
    fs::write(folder.path().join("corrupt.conf"), "this is no table of nodes\n").expect("a file");
    let cluster = ["--cluster-enabled", "yes", "--cluster-config-file"];
    let rows: [(&[&str], String); 5] = [
        (&["--port", &port], format!("# Failed listening on port {port} (tcp), aborting.")),
        (
            &["--port", &free, "--unixsocket", "/nope/sock"],
            "# Failed opening Unix socket: bind: No such file or directory".into(),
        ),
        (
            &["--port", &free, cluster[0], cluster[1], cluster[2], "/nope/nodes.conf"],
            "# Can't open /nope/nodes.conf in order to acquire a lock: No such file or directory".into(),
        ),
        (
            &["--port", &free, cluster[0], cluster[1], cluster[2], "corrupt.conf"],
            "# Unrecoverable error: corrupted cluster config file".into(),
        ),
        (
            &["--port", "60000", cluster[0], cluster[1]],
            "# Cluster port number too high: the cluster bus port, the client port plus 10000".into(),
        ),
    ];
    for (arguments, expected) in rows {
        let all: Vec<&str> = on.iter().chain(arguments).copied().collect();
        let output = run_in(folder.path(), &all);
        let log = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{all:?}: {log}");
        assert!(log.lines().last().is_some_and(|line| line.contains(&expected)), "{all:?}: {log}");
    }
    let log = run_in(folder.path(), &["--port", "0"]);
    assert!(String::from_utf8_lossy(&log.stdout).contains("Configured to not listen anywhere, exiting."));
}

#[test]
fn one_nodes_conf_belongs_to_one_process() {
    let server = start(&["--cluster-enabled", "yes"]);
    let port = free_port().to_string();
    let output = run_in(server.folder(), &["--port", &port, "--cluster-enabled", "yes"]);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(log.contains("already used by a different cluster node"), "{log}");
}

#[test]
fn a_node_keeps_its_name_over_a_kill() {
    let mut server = start(&["--cluster-enabled", "yes"]);
    let id = server.ask(&["CLUSTER", "MYID"]);
    assert_eq!(id.text().len(), 40);
    server.restart();
    assert_eq!(server.ask(&["CLUSTER", "MYID"]), id);
}

#[test]
fn the_configuration_file_is_rewritten_in_place() {
    let folder = Folder::new();
    let port = free_port();
    let path = folder.path().join("a.conf");
    fs::write(&path, format!("# mine\nport {port}\nmaxclients 200\n")).expect("a file");
    let arguments: Vec<OsString> = vec![path.clone().into()];
    let server = Server::start_in(&program(), folder, port, arguments);
    let mut client = server.client();
    assert_eq!(client.ask(&["CONFIG", "SET", "maxclients", "300", "timeout", "9"]).text(), "OK");
    assert_eq!(client.ask(&["CONFIG", "REWRITE"]).text(), "OK");
    let text = fs::read_to_string(&path).expect("the file");
    assert!(text.starts_with(&format!("# mine\nport {port}\nmaxclients 300\n# Generated")), "{text}");
    assert!(text.contains("\ntimeout 9\n"), "{text}");
}

#[test]
fn there_are_no_more_clients_than_descriptors() {
    // 40 descriptors: 8 clients by the reserve of 32.
    let folder = Folder::new();
    let port = free_port();
    let line = format!(
        "ulimit -n 40; exec {} --port {port} --maxclients 1000 --bind 127.0.0.1",
        program().display()
    );
    let arguments: Vec<OsString> = vec!["-c".into(), line.into()];
    let server = Server::start_in(Path::new("/bin/sh"), folder, port, arguments);
    assert!(server.log().contains("maxclients has been reduced to 8"), "{}", server.log());
    let refused = "ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not \
                   able to handle the specified number of clients, try with 8";
    assert_eq!(server.ask(&["CONFIG", "SET", "maxclients", "1000"]).text(), refused);
    assert_eq!(server.ask(&["CONFIG", "GET", "maxclients"]).list()[1].text(), "8");
    assert!(server.ask(&["CONFIG", "SET", "maxclients", "7"]).is("OK"));
}

#[test]
fn clients_are_listened_for_where_config_set_says() {
    let folder = Folder::new();
    let (port, other) = (free_port(), free_port());
    let file = folder.path().join("w.conf");
    fs::write(&file, format!("port {port}\nbind * -::*\n")).expect("a file");
    let server = Server::start_in(&program(), folder, port, vec![file.clone().into()]);
    let mut client = server.client();
    let blocker = TcpListener::bind(("0.0.0.0", 0)).expect("a port");
    let blocked = blocker.local_addr().expect("an address").port().to_string();
    let refused = "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check \
                   server logs.";
    assert_eq!(client.ask(&["CONFIG", "SET", "port", &blocked, "timeout", "77"]).text(), refused);
    drop(blocker);
    assert_eq!(client.ask(&["CONFIG", "GET", "timeout"]).list()[1].text(), "0", "all or nothing");
    assert!(Client::connect(port).expect("as before").ask(&["PING"]).is("PONG"));

    assert!(client.ask(&["CONFIG", "SET", "port", &other.to_string()]).is("OK"));
    assert!(Client::connect(other).expect("the new port").ask(&["PING"]).is("PONG"));
    assert!(Client::connect(port).is_err(), "the old port");
    assert!(client.ask(&["PING"]).is("PONG"), "who is there stays");
    assert!(client.ask(&["CONFIG", "SET", "bind", "127.0.0.1"]).is("OK"));
    assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, other)).is_err());
    let refused = "ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses.";
    assert_eq!(client.ask(&["CONFIG", "SET", "bind", "203.0.113.1"]).text(), refused);
    assert!(Client::connect(other).expect("as before").ask(&["PING"]).is("PONG"));
    assert_eq!(client.ask(&["CONFIG", "GET", "bind"]).list()[1].text(), "127.0.0.1");
    assert!(client.ask(&["INFO", "server"]).text().contains(&format!("tcp_port:{other}\r\n")));
    assert!(client.ask(&["CONFIG", "REWRITE"]).is("OK"));
    let text = fs::read_to_string(&file).expect("the file");
    assert!(text.starts_with(&format!("port {other}\nbind 127.0.0.1\n")), "{text}");
}

#[test]
fn a_process_out_of_descriptors_waits_for_one() {
    let mut server = start(&["--bind", "127.0.0.1"]);
    let port = server.port();
    let limit = ["--pid", &server.child().id().to_string(), "--nofile=40:40"].map(str::to_owned);
    assert!(Command::new("prlimit").args(limit).status().is_ok_and(|status| status.success()));
    let mut clients: Vec<Client> =
        (0..60).map(|_| Client::connect(port).expect("a place in the queue")).collect();
    until("a line about it", || server.log().contains("Error accepting a client connection"));
    let ticks = cpu_ticks(server.child().id());
    thread::sleep(Duration::from_millis(500));
    assert!(cpu_ticks(server.child().id()) - ticks < 20, "it spins");
    // The last one is served when the first ones have gone.
    let mut last = clients.pop().expect("sixty of them");
    clients.clear();
    assert_eq!(last.ask(&["PING"]).text(), "PONG");
}

/// CPU time of a process in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a live process");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

#[test]
fn a_daemon_runs_on_its_own() {
    let folder = Folder::new();
    let port = free_port().to_string();
    let output = run_in(
        folder.path(),
        &["--port", &port, "--daemonize", "yes", "--pidfile", "pid", "--logfile", "log"],
    );
    assert!(output.status.success());
    let port = port.parse().expect("a port");
    until("it answers", || Client::connect(port).is_ok_and(|mut c| c.try_ask(&["PING"]).is_ok()));
    let pid = fs::read_to_string(folder.path().join("pid")).expect("a pid file");
    assert!(fs::read_to_string(folder.path().join("log")).expect("a log").contains("Server initialized"));
    let _ = Client::connect(port).expect("a connection").try_ask(&["SHUTDOWN", "NOSAVE"]);
    until("it ends", || !Path::new(&format!("/proc/{}", pid.trim())).exists());
}

#[test]
fn real_clients_and_benchmarks_work() {
    let (Some(cli), Some(benchmark)) = (peer::tool("valkey-cli"), peer::tool("valkey-benchmark")) else {
        return;
    };
    let server = start(&[]);
    let port = server.port().to_string();
    let ping = Command::new(cli).args(["-p", &port, "--raw", "ping"]).output().expect("valkey-cli");
    assert_eq!(String::from_utf8_lossy(&ping.stdout), "PONG\n");
    let output = Command::new(benchmark)
        .args(["-p", &port, "-q", "-n", "20000", "-P", "16", "-t", "set,get"])
        .output()
        .expect("valkey-benchmark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stats = server.ask(&["INFO", "stats"]);
    let commands =
        stats.text().lines().find_map(|l| l.strip_prefix("total_commands_processed:")?.parse().ok());
    assert!(commands.is_some_and(|n: u64| n > 40_000), "{commands:?}");
}

/// Everything that a client reads until the other side is gone, however it goes.
fn read_to_the_end(stream: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    while let Ok(len @ 1..) = stream.read(&mut some) {
        all.extend_from_slice(&some[..len]);
    }
    all
}

#[test]
fn the_end_under_load_cuts_no_reply_and_leaves_nobody_listening() {
    const BATCH: usize = 20;
    let mut server = start(&["--bind", "127.0.0.1"]);
    let port = server.port();
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            stream.set_nodelay(true).expect("an option");
            thread::spawn(move || {
                let batch = peer::encode(&["INCR", &format!("key{n}")]).repeat(BATCH);
                let (mut replies, mut got) = (Vec::new(), 0);
                while stream.write_all(&batch).is_ok() {
                    let mut some = [0; 4096];
                    while got < BATCH {
                        let Ok(len @ 1..) = stream.read(&mut some) else { return replies };
                        got += some[..len].iter().filter(|byte| **byte == b'\n').count();
                        replies.extend_from_slice(&some[..len]);
                    }
                    got = 0;
                }
                replies.extend(read_to_the_end(&mut stream));
                replies
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(300));
    server.signal("TERM");
    assert_eq!(server.child().wait().expect("its end").code(), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "somebody listens");
    for client in clients {
        let replies = String::from_utf8(client.join().expect("a client")).expect("a text");
        assert!(replies.ends_with("\r\n"), "the last reply is whole");
        for (n, reply) in replies.lines().enumerate() {
            assert_eq!(reply, format!(":{}", n + 1), "each command once, in order");
        }
    }
    // The port can be had again at once.
    server.restart();
    assert!(server.ask(&["PING"]).is("PONG"));
}

#[test]
fn storms_of_connections_leave_no_descriptor_behind() {
    let mut server = start(&["--bind", "127.0.0.1"]);
    let fds = format!("/proc/{}/fd", server.child().id());
    let open = || fs::read_dir(&fds).expect("a live process").count();
    assert!(server.ask(&["PING"]).is("PONG"));
    let before = open();
    for storm in 0..5 {
        let mut clients: Vec<TcpStream> = (0..200)
            .map(|_| TcpStream::connect(("127.0.0.1", server.port())).expect("a connection"))
            .collect();
        for (n, client) in clients.iter_mut().enumerate() {
            // Some say nothing, some half a command, some leave with a reply unread, some hang up halfway.
            let words: &[u8] = [&b""[..], b"*2\r\n$3\r\nGE", b"PING\r\n", b"PING\r\n"][n % 4];
            client.write_all(words).expect("to be heard");
            if n % 4 == 3 {
                let _ = client.shutdown(std::net::Shutdown::Write);
            }
        }
        drop(clients);
        until(&format!("descriptors after storm {storm}"), || open() <= before + 1);
    }
    assert!(server.ask(&["PING"]).is("PONG"));
}
