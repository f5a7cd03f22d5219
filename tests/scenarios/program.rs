//! The program as its users meet it: arguments and files, how it refuses, how it ends, and how it treats clients
//! that misbehave.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{self, Kind, Node, eventually, program, same};
use crate::peer::{self, Folder, Reply, Server, encode, free_port};

/// A server that is no cluster node.
fn start(arguments: &[&str]) -> Server {
    let all = [&["--bind", "127.0.0.1", "--save", ""], arguments].concat();
    Server::start(&program(), &all)
}

/// Runs the program to its end, which has to come soon.
fn run(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(program())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("it reads, or ends");
    let end = Instant::now() + cluster::PATIENCE;
    while child.try_wait().expect("a process to ask about").is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            panic!("{arguments:?}: it did not end: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("what it printed")
}

/// Everything that a program printed.
fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs the program, which has to refuse: exit status 1 and, somewhere in what it prints, all of `words`.
fn refused(arguments: &[&str], stdin: &str, words: &[&str]) {
    let output = run(arguments, stdin);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
    assert!(missing.is_empty(), "{arguments:?}: {missing:?} missing in: {said}");
}

/// Everything that comes until the other side closes.
fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        // Closed while bytes of ours were unread, as a client that is thrown out sees it.
        Err(e) if e.kind() == ErrorKind::ConnectionReset => bytes,
        Err(e) => panic!("{e} after {:?}", String::from_utf8_lossy(&bytes)),
    }
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
    stream.set_read_timeout(Some(cluster::PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(cluster::PATIENCE)).expect("a timeout");
    stream
}

fn clients(server: &Server) -> String {
    let info = server.ask(&["INFO", "clients"]);
    let line = info.text().lines().find_map(|line| line.strip_prefix("connected_clients:"));
    line.expect("the number of clients").to_owned()
}

#[test]
fn version_and_help_are_printed_and_nothing_is_started() {
    for flag in ["--version", "-v"] {
        let output = run(&[flag], "");
        assert!(output.status.success(), "{output:?}");
        let line = text(&output);
        assert!(line.starts_with("Whimbrel server v=") && line.lines().count() == 1, "{line}");
    }
    for flag in ["--help", "-h"] {
        let output = run(&[flag], "");
        assert!(output.status.success(), "{output:?}");
        let said = text(&output);
        assert!(said.contains("Usage:") && said.contains("--port 7000"), "{said}");
    }
}

#[test]
fn a_file_standard_input_and_options_are_read_in_this_order() {
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.path().join("a.conf");
    let more = folder.path().join("more.conf");
    fs::write(&more, "timeout 12\n").expect("a file");
    let content = format!("# a comment\nport 1\ntimeout 11\nmaxclients 50\ninclude {}\n", more.display());
    fs::write(&file, content).expect("a file");
    let dir = folder.path().to_owned();
    let options = ["--port", &port.to_string(), "--maxclients", "60", "--save", ""].map(OsString::from);
    let mut arguments = vec![file.clone().into(), OsString::from("--dir"), dir.into()];
    arguments.extend(options);
    let server = Server::start_in(&program(), folder, port, arguments);
    let mut client = server.client();
    let mut get = |name: &str| client.ask(&["CONFIG", "GET", name]).list()[1].text().to_owned();
    assert_eq!(
        (get("port"), get("timeout"), get("maxclients")),
        (port.to_string(), "12".into(), "60".into())
    );

    assert!(client.ask(&["CONFIG", "SET", "timeout", "13"]).is("OK"));
    assert!(client.ask(&["CONFIG", "REWRITE"]).is("OK"));
    let rewritten = fs::read_to_string(&file).expect("the file");
    assert!(rewritten.contains("timeout 13\n") && rewritten.contains("# a comment\n"), "{rewritten}");
}

#[test]
fn standard_input_is_a_configuration_too() {
    let (folder, port) = (Folder::new(), free_port());
    let mut child = Command::new(program())
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let text = format!("port {port}\nbind 127.0.0.1\ndir {}\nmaxclients 77\n", folder.path().display());
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let reply = eventually("it serves", || {
        let mut client = peer::Client::connect(port).map_err(|e| e.to_string())?;
        client.try_ask(&["CONFIG", "GET", "maxclients"]).map_err(|e| e.to_string())
    });
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(reply.list()[1].text(), "77");
}

#[test]
fn a_configuration_that_is_not_understood_is_refused_with_its_line() {
    let fatal = "*** FATAL CONFIG FILE ERROR (Version";
    let folder = Folder::new();
    let file = folder.path().join("bad.conf");
    let path = file.to_str().expect("a path");
    let cases = [
        ("port 7000\nno-such-thing 1\n", "at line 2", ">>> 'no-such-thing 1'", "Bad directive"),
        ("timeout soon\n", "at line 1", ">>> 'timeout soon'", "argument couldn't be parsed into an integer"),
        (
            "\n\nport 70000\n",
            "at line 3",
            ">>> 'port 70000'",
            "argument must be between 0 and 65535 inclusive",
        ),
        ("loglevel loud\n", "at line 1", ">>> 'loglevel loud'", "argument(s) must be one of the following"),
        ("port \"7000\n", "at line 1", ">>> 'port \"7000'", "Unbalanced quotes"),
    ];
    for (content, line, shown, why) in cases {
        fs::write(&file, content).expect("a file");
        refused(&[path], "", &[fatal, line, shown, why]);
        refused(&["-"], content, &[fatal, shown, why]);
    }
    refused(&["--no-such-thing", "1"], "", &[fatal, ">>> 'no-such-thing \"1\"'"]);
    refused(&["/no/such/file.conf"], "", &["/no/such/file.conf", "No such file or directory"]);
    refused(&["--dir", "/no/such/folder"], "", &["/no/such/folder"]);
}

#[test]
fn what_is_not_built_is_refused_in_one_clear_line() {
    let cases = [
        "appendonly yes",
        "save 900 1",
        "replicaof 127.0.0.1 7001",
        "tls-port 7000",
        "tls-cluster yes",
        "tls-replication yes",
        "rename-command FLUSHALL nothing",
        "loadmodule /some/module.so",
        "min-replicas-to-write 1",
        "notify-keyspace-events KEA",
    ];
    for line in cases {
        let output = run(&["-"], &format!("port 0\n{line}\n"));
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        let name = line.split(' ').next().unwrap_or_default();
        let why = said.lines().last().unwrap_or_default();
        assert!(why.contains(name) && why.contains("not available in Whimbrel yet"), "{line}: {said}");
    }
}

#[test]
fn a_port_in_use_ends_the_program() {
    let taken = loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", free_port())) {
            break listener;
        }
    };
    let port = taken.local_addr().expect("its address").port();
    let folder = Folder::new();
    let dir = folder.path().to_str().expect("a path");
    let port_text = port.to_string();
    let base = ["--bind", "127.0.0.1", "--dir", dir, "--save", ""];
    let words = ["Failed listening on port", &port_text];
    refused(&[&["--port", &port_text], &base[..]].concat(), "", &words);
    // The bus port of a node may be what is taken.
    let client_port = (port - 10_000).max(1_000).to_string();
    let node = ["--port", &client_port, "--cluster-enabled", "yes", "--cluster-port", &port_text];
    refused(&[&node, &base[..]].concat(), "", &words);
    refused(&["--port", "60000", "--cluster-enabled", "yes", "--dir", dir], "", &["port number too high"]);
}

#[test]
fn a_folder_that_cannot_be_written_ends_a_node_but_not_a_server_without_files() {
    if fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
        // Root may write everywhere; but not where there is no folder.
        let folder = Folder::new();
        let dir = folder.path().to_str().expect("a path");
        let conf = "no/such/folder/nodes.conf";
        let port = free_port().to_string();
        let arguments =
            ["--port", &port, "--cluster-enabled", "yes", "--dir", dir, "--cluster-config-file", conf];
        refused(&arguments, "", &[conf, "No such file or directory"]);
        return;
    }
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).expect("permissions");
    let dir = folder.path().to_str().expect("a path");
    let port = free_port().to_string();
    refused(&["--port", &port, "--cluster-enabled", "yes", "--dir", dir], "", &["nodes.conf"]);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn a_broken_nodes_conf_is_refused_and_left_alone() {
    let folder = Folder::new();
    let path = folder.path().join("nodes.conf");
    let dir = folder.path().to_str().expect("a path");
    let port = free_port().to_string();
    let id = "0123456789abcdef0123456789abcdef01234567";
    let cases = [
        "rubbish\n".to_owned(),
        format!(
            "{id} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-99999\nvars currentEpoch 1 lastVoteEpoch 0\n"
        ),
        // Nobody is myself.
        format!(
            "{id} 127.0.0.1:7000@17000 master - 0 0 1 connected 0-10\nvars currentEpoch 1 lastVoteEpoch 0\n"
        ),
        // Cut in the middle of a line.
        format!("{id} 127.0.0.1:7000@17000 myself,mas"),
    ];
    for content in cases {
        fs::write(&path, &content).expect("a file");
        refused(&["--port", &port, "--cluster-enabled", "yes", "--dir", dir], "", &["nodes.conf"]);
        assert_eq!(fs::read_to_string(&path).expect("the file"), content);
    }
}

#[test]
fn two_processes_cannot_share_one_nodes_conf() {
    let node = Node::start(Kind::Whimbrel, &[]).expect("the program");
    let dir = node.server.folder().to_str().expect("a path").to_owned();
    let port = free_port().to_string();
    let arguments = ["--port", &port, "--cluster-enabled", "yes", "--dir", &dir];
    refused(&arguments, "", &["nodes.conf is already used by a different cluster node"]);
    // Also after the first one has replaced the file.
    node.ok("CLUSTER ADDSLOTSRANGE 0 16383");
    node.ok("CLUSTER SAVECONFIG");
    refused(&arguments, "", &["nodes.conf is already used by a different cluster node"]);
    assert!(node.run("PING").is("PONG"));
}

#[test]
fn sigterm_sigint_and_shutdown_end_it_cleanly() {
    for how in ["TERM", "INT", "SHUTDOWN"] {
        for cluster in ["no", "yes"] {
            let mut server = start(&["--cluster-enabled", cluster, "--pidfile", "pid"]);
            let log = server.log();
            for line in ["Server initialized", "Ready to accept connections tcp"] {
                assert!(log.lines().any(|l| l.ends_with(&format!("* {line}"))), "{line} missing in:\n{log}");
            }
            let pid = fs::read_to_string(server.folder().join("pid")).expect("a pid file");
            assert_eq!(pid.trim(), server.child().id().to_string());
            let mut idle = server.client();
            if how == "SHUTDOWN" {
                let mut client = server.client();
                assert!(client.try_ask(&["SHUTDOWN", "NOSAVE"]).is_err(), "SHUTDOWN has no reply");
            } else {
                server.signal(how);
            }
            let status = eventually("it has ended", || {
                server.child().try_wait().expect("a process to ask about").ok_or("it runs")
            });
            assert_eq!(status.code(), Some(0), "{how}: {}", server.log());
            assert!(idle.read().is_err(), "connections are closed");
            assert!(!server.folder().join("pid").exists(), "the pid file is gone");
        }
    }
}

#[test]
fn a_node_is_who_it_was_after_a_crash() {
    let mut node = Node::start(Kind::Whimbrel, &[]).expect("the program");
    node.ok("CLUSTER ADDSLOTSRANGE 0 16383");
    node.ok("CLUSTER SET-CONFIG-EPOCH 7");
    let id = node.id();
    node.server.restart();
    let line = node.line_about(&id).expect("its own line");
    assert_eq!((line.slots.len(), line.epoch), (16384, 7));
    eventually("it serves", || same(node.info("cluster_state"), "ok".to_owned()));
    node.ok("SET a b");
}

#[cfg(target_os = "linux")]
#[test]
fn huge_pages_are_for_those_who_ask() {
    for (arguments, enabled) in [(&[][..], "0"), (&["--disable-thp", "no"], "1")] {
        let mut server = start(arguments);
        let status =
            fs::read_to_string(format!("/proc/{}/status", server.child().id())).expect("a process's status");
        let line = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
        assert_eq!(line.map(str::trim), Some(enabled), "{arguments:?}");
    }
}

#[test]
fn the_unix_socket_serves_and_disappears() {
    let mut server = start(&["--unixsocket", "sock", "--unixsocketperm", "700"]);
    let path = server.folder().join("sock");
    let mode = fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut stream = UnixStream::connect(&path).expect("a connection");
    stream.write_all(b"PING\r\nSET k v\r\nGET k\r\nQUIT\r\n").expect("it reads");
    let said = String::from_utf8(read_to_end(&mut stream)).expect("text");
    assert_eq!(said, "+PONG\r\n+OK\r\n$1\r\nv\r\n+OK\r\n");
    assert!(server.log().contains("Ready to accept connections unix"));
    server.signal("TERM");
    eventually("it has ended", || server.child().try_wait().expect("a process").ok_or("it runs"));
    assert!(!path.exists());
}

#[test]
fn one_client_more_than_maxclients_is_told_so() {
    let server = start(&["--maxclients", "5"]);
    eventually("nobody is left from the start", || same(clients(&server), "1".to_owned()));
    let mut inside: Vec<_> = (0..5).map(|_| server.client()).collect();
    for client in &mut inside {
        assert!(client.ask(&["PING"]).is("PONG"));
    }
    let mut outside = connect(&server);
    let said = String::from_utf8(read_to_end(&mut outside)).expect("text");
    assert_eq!(said, "-ERR max number of clients reached\r\n");
    inside.pop();
    eventually("there is room again", || {
        let mut client = server.client();
        match client.try_ask(&["PING"]) {
            Ok(reply) if reply.is("PONG") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(inside[0].ask(&["PING"]).is("PONG"));
}

#[test]
fn a_password_is_asked_for_and_limits_what_strangers_may_send() {
    let server = start(&["--requirepass", "secret"]);
    let mut client = server.client();
    let needed = Reply::Error("NOAUTH Authentication required.".into());
    assert_eq!(client.ask(&["GET", "a"]), needed);
    assert_eq!(client.ask(&["PING"]), needed);
    let wrong = Reply::Error("WRONGPASS invalid username-password pair or user is disabled.".into());
    assert_eq!(client.ask(&["AUTH", "guess"]), wrong);
    assert_eq!(client.ask(&["AUTH", "nobody", "secret"]), wrong);
    assert!(client.ask(&["AUTH", "secret"]).is("OK"));
    assert!(client.ask(&["SET", "a", "b"]).is("OK"));
    assert!(server.client().ask(&["AUTH", "default", "secret"]).is("OK"));

    let cases: [(&[u8], &str); 2] = [
        (b"*11\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"),
    ];
    for (bytes, expected) in cases {
        let mut stream = connect(&server);
        stream.write_all(bytes).expect("it reads");
        assert_eq!(String::from_utf8_lossy(&read_to_end(&mut stream)), expected);
    }
    // Those who are inside may.
    let mut words = vec!["DEL"];
    words.extend(["k"; 20]);
    assert_eq!(client.ask(&words), Reply::Integer(0));
    assert_eq!(client.ask(&["ECHO", &"x".repeat(20_000)]).text().len(), 20_000);
}

#[test]
fn idle_clients_are_closed_after_the_timeout_and_busy_ones_are_not() {
    let server = start(&["--timeout", "1"]);
    let mut busy = server.client();
    let mut idle = connect(&server);
    idle.write_all(b"PING\r\n").expect("it reads");
    let start = Instant::now();
    idle.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let mut bytes = Vec::new();
    loop {
        assert!(busy.ask(&["PING"]).is("PONG"));
        let mut part = [0; 100];
        match idle.read(&mut part) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&part[..n]),
            // A read with a timeout is not begun again where the machine itself was stopped for a moment.
            Err(e) => assert!(
                matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted),
                "{e}"
            ),
        }
        assert!(start.elapsed() < cluster::PATIENCE, "the idle client is still there");
    }
    assert_eq!(bytes, b"+PONG\r\n");
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn protected_mode_turns_clients_of_other_machines_away() {
    // No packet is sent: this asks for the address that packets to the world would come from.
    let route =
        UdpSocket::bind("0.0.0.0:0").and_then(|s| s.connect("192.0.2.1:9").and_then(|()| s.local_addr()));
    let Some(ip) = route.ok().map(|a| a.ip()).filter(|ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified())
    else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: this machine has no address but loopback");
        return;
    };
    let server = Server::start(&program(), &["--save", ""]);
    let from_outside = || {
        let mut stream = TcpStream::connect((ip, server.port())).expect("a connection");
        stream.set_read_timeout(Some(cluster::PATIENCE)).expect("a timeout");
        let _ = stream.write_all(b"PING\r\nQUIT\r\n");
        String::from_utf8(read_to_end(&mut stream)).expect("text")
    };
    let said = from_outside();
    assert!(
        said.starts_with("-DENIED ") && said.contains("protected mode") && said.ends_with("\r\n"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(server.ask(&["CONFIG", "SET", "protected-mode", "no"]).is("OK"));
    assert_eq!(from_outside(), "+PONG\r\n+OK\r\n");
    assert!(server.ask(&["CONFIG", "SET", "protected-mode", "yes"]).is("OK"));
    assert!(server.ask(&["CONFIG", "SET", "requirepass", "secret"]).is("OK"));
    assert!(from_outside().starts_with("-NOAUTH"));
}

#[test]
fn a_client_that_asks_for_much_and_reads_nothing_is_closed() {
    let server = start(&["--client-output-buffer-limit", "normal 4mb 0 0"]);
    let mut client = server.client();
    assert!(client.ask(&["SET", "big", &"x".repeat(10_000)]).is("OK"));
    let mut greedy = connect(&server);
    let end = Instant::now() + cluster::PATIENCE;
    let ask = encode(&["GET", "big"]).repeat(50);
    // The kernel's buffers swallow some megabytes first.
    while greedy.write_all(&ask).is_ok() {
        assert!(Instant::now() < end, "it was never closed");
        thread::sleep(Duration::from_millis(5));
    }
    eventually("it is counted", || {
        let info = server.ask(&["INFO", "stats"]);
        if info.text().contains("client_output_buffer_limit_disconnections:1") { Ok(()) } else { Err(info) }
    });
    assert!(client.ask(&["PING"]).is("PONG"));
}

#[test]
fn malformed_commands_are_answered_as_valkey_does() {
    let server = start(&[]);
    let closed: [(&[u8], &str); 15] = [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$+4\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$ 4\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$4\r\nPINGxx", "invalid CRLF in request"),
        (b"*1\r\n$4\rx", "invalid CRLF in request"),
        (b"SET k \"v\r\n", "unbalanced quotes in request"),
        (b"GET 'a\r\n", "unbalanced quotes in request"),
    ];
    for (bytes, why) in closed {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        // What came before is answered, what comes behind is not.
        let mut stream = connect(&server);
        stream.write_all(&[b"PING\r\n", bytes].concat()).expect("it reads");
        let said = String::from_utf8(read_to_end(&mut stream)).expect("text");
        assert_eq!(said, format!("+PONG\r\n-ERR Protocol error: {why}\r\n"), "{shown:?}");
    }
    let too_long: [(&[u8], u8, &str); 3] = [
        (b"", b'x', "too big inline request"),
        (b"*", b'1', "too big mbulk count string"),
        (b"*1\r\n$", b'1', "too big bulk count string"),
    ];
    for (start, filler, why) in too_long {
        let mut stream = connect(&server);
        stream.write_all(&[start, &vec![filler; 70_000]].concat()).expect("it reads");
        let said = String::from_utf8(read_to_end(&mut stream)).expect("text");
        assert_eq!(said, format!("-ERR Protocol error: {why}\r\n"));
    }
    for hello in ["POST / HTTP/1.1\r\n", "Host: localhost\r\n"] {
        let mut stream = connect(&server);
        stream.write_all(format!("{hello}SET stolen 1\r\n").as_bytes()).expect("it reads");
        assert_eq!(String::from_utf8_lossy(&read_to_end(&mut stream)), "", "{hello:?}");
    }
    assert_eq!(server.ask(&["EXISTS", "stolen"]), Reply::Integer(0));
}

#[test]
fn odd_commands_that_are_no_errors_are_served() {
    let server = start(&[]);
    let cases: [(&[u8], &str); 9] = [
        (b"\r\n\r\nPING\n", "+PONG\r\n"),
        (b"*0\r\n*-1\r\n*-5\r\nPING\r\n", "+PONG\r\n"),
        (b"  ECHO   a  \r\n", "$1\r\na\r\n"),
        (b"ECHO \"a\\x41\\n\"\r\n", "$3\r\naA\n\r\n"),
        (b"ECHO 'it\\'s'\r\n", "$4\r\nit's\r\n"),
        (b"ECHO \"a\"b\r\n", "$2\r\nab\r\n"),
        (b"foo bar baz\r\n", "-ERR unknown command 'foo', with args beginning with: 'bar' 'baz' \r\n"),
        (b"*1\r\n$0\r\n\r\n", "-ERR unknown command '', with args beginning with: \r\n"),
        (b"GET\r\n", "-ERR wrong number of arguments for 'get' command\r\n"),
    ];
    for (bytes, expected) in cases {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let mut stream = connect(&server);
        stream.write_all(&[bytes, b"QUIT\r\n"].concat()).expect("it reads");
        let said = String::from_utf8(read_to_end(&mut stream)).expect("text");
        assert_eq!(said, format!("{expected}+OK\r\n"), "{shown:?}");
        // The same in pieces of one byte.
        let mut stream = connect(&server);
        for byte in [bytes, b"QUIT\r\n"].concat() {
            stream.write_all(&[byte]).expect("it reads");
        }
        let said = String::from_utf8(read_to_end(&mut stream)).expect("text");
        assert_eq!(said, format!("{expected}+OK\r\n"), "{shown:?} in pieces");
    }
}

#[test]
fn half_a_command_leaves_nothing_behind() {
    let server = start(&[]);
    for part in [
        "*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\nvalu",
        "*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$100000000\r\nxxxx",
        "SET half v",
        "*3\r\n$3",
    ] {
        let mut stream = connect(&server);
        stream.write_all(part.as_bytes()).expect("it reads");
        drop(stream);
    }
    eventually("nobody but the asker is left", || same(clients(&server), "1".to_owned()));
    assert_eq!(server.ask(&["EXISTS", "half"]), Reply::Integer(0));
    // A half-closed connection is answered to its end.
    let mut stream = connect(&server);
    stream.write_all(b"SET whole v\r\nGET whole\r\n*1\r\n$4\r\nPI").expect("it reads");
    stream.shutdown(std::net::Shutdown::Write).expect("half a connection");
    let said = String::from_utf8(read_to_end(&mut stream)).expect("text");
    assert!(["+OK\r\n$1\r\nv\r\n", ""].contains(&said.as_str()), "{said}");
    assert_eq!(server.ask(&["EXISTS", "whole"]), Reply::Integer(1));
}

#[test]
fn oversized_values_keys_and_pipelines_pass_or_are_refused_whole() {
    let server = start(&["--proto-max-bulk-len", "64mb"]);
    let mut client = server.client();
    let (big_value, big_key) = ("v".repeat(40 << 20), "k".repeat(1 << 20));
    assert!(client.ask(&["SET", &big_key, &big_value]).is("OK"));
    assert_eq!(client.ask(&["STRLEN", &big_key]), Reply::Integer(40 << 20));
    assert!(client.ask(&["GET", &big_key]) == Reply::Bulk(big_value));
    let words: Vec<String> = (0..100_000).map(|n| format!("key{n}")).collect();
    let words: Vec<&str> = ["DEL"].into_iter().chain(words.iter().map(String::as_str)).collect();
    assert_eq!(client.ask(&words), Reply::Integer(0));

    let one = encode(&["INCR", "n"]);
    let many = 100_000;
    let mut stream = connect(&server);
    let mut reader = stream.try_clone().expect("a second handle");
    let bytes = one.repeat(many);
    let writing = thread::spawn(move || {
        stream.write_all(&bytes).expect("it reads");
        stream.write_all(b"QUIT\r\n").expect("it reads");
    });
    let said = String::from_utf8(read_to_end(&mut reader)).expect("text");
    writing.join().expect("the writer");
    let expected: String = (1..=many).map(|n| format!(":{n}\r\n")).collect();
    assert!(said == expected + "+OK\r\n", "replies of a long pipeline");

    let mut stream = connect(&server);
    stream.write_all(format!("*2\r\n$3\r\nGET\r\n${}\r\n", (64 << 20) + 1).as_bytes()).expect("it reads");
    let said = String::from_utf8(read_to_end(&mut stream)).expect("text");
    assert_eq!(said, "-ERR Protocol error: invalid bulk length\r\n");
    assert!(client.ask(&["SETRANGE", "k", "536870912", "x"]).is_error());
    assert!(client.ask(&["PING"]).is("PONG"));
}

#[test]
fn five_hundred_connections_come_and_go() {
    let server = start(&[]);
    for round in 0..2 {
        let mut all: Vec<TcpStream> = (0..500).map(|_| connect(&server)).collect();
        for stream in &mut all {
            stream.write_all(b"INCR n\r\n").expect("it reads");
        }
        for stream in &mut all {
            let mut reply = [0; 3];
            stream.read_exact(&mut reply).expect("a reply");
            assert_eq!(reply[0], b':');
        }
        assert_eq!(clients(&server), "501");
        assert_eq!(server.ask(&["GET", "n"]).text(), ((round + 1) * 500).to_string());
        drop(all);
        eventually("all are gone", || same(clients(&server), "1".to_owned()));
    }
}
