//! Limits of memory and of clients: the same scenes with our program and with a real Valkey, where one is installed.

use std::time::{Duration, Instant};

use crate::peer::{self, Client, Reply, Server, program};

const POLICIES: [&str; 7] = [
    "allkeys-random",
    "allkeys-lru",
    "allkeys-lfu",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];

/// Our program and, if it is installed, Valkey.
fn servers() -> Vec<Server> {
    let ours = Server::start(&program(), &["--save", ""]);
    std::iter::once(ours).chain(Server::start_peer("valkey-server", &["--save", ""])).collect()
}

fn info(client: &mut Client, field: &str) -> i64 {
    let reply = client.ask(&["INFO", "everything"]);
    let line = reply.text().lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}")).parse().expect("a number")
}

fn set(client: &mut Client, name: &str, value: &str) {
    assert!(client.ask(&["CONFIG", "SET", name, value]).is("OK"), "{name} {value}");
}

/// Leaves `room` bytes to `maxmemory`.
fn limit(client: &mut Client, room: i64, policy: &str) -> i64 {
    set(client, "maxmemory", "0");
    assert!(client.ask(&["FLUSHALL", "SYNC"]).is("OK"));
    let limit = info(client, "used_memory") + room;
    set(client, "maxmemory-policy", policy);
    set(client, "maxmemory", &limit.to_string());
    limit
}

/// Puts keys until there is hardly any room, every `nth` of them with an expiry. How many.
fn fill(client: &mut Client, limit: i64, nth: usize) -> usize {
    for n in 0.. {
        let key = format!("key{n}");
        let expiry: &[&str] = if n % nth == 0 { &["EX", "10000"] } else { &[] };
        assert!(client.ask(&[&["SET", &key, "x"], expiry].concat()).is("OK"), "{n}");
        if n % 20 == 0 && info(client, "used_memory") + 4096 > limit {
            return n + 1;
        }
    }
    unreachable!("there is always a limit")
}

#[test]
fn every_policy_honours_the_limit() {
    for server in servers() {
        let client = &mut server.client();
        for policy in POLICIES {
            let limit = limit(client, 100 * 1024, policy);
            let keys = fill(client, limit, 1);
            for n in 0..keys {
                assert!(client.ask(&["SET", &format!("new{n}"), "x", "EX", "10000"]).is("OK"), "{policy}");
            }
            assert!(info(client, "used_memory") < limit + 4096, "{policy}");
            assert!(info(client, "evicted_keys") > 0, "{policy}");
        }
    }
}

#[test]
fn volatile_policies_leave_other_keys_alone() {
    for server in servers() {
        let client = &mut server.client();
        for policy in POLICIES.iter().filter(|policy| policy.starts_with("volatile")) {
            let limit = limit(client, 200 * 1024, policy);
            let keys = fill(client, limit, 2);
            for n in 0..keys {
                client.ask(&["SET", &format!("new{n}"), "x", "EX", "10000"]);
            }
            assert!(info(client, "used_memory") < limit + 4096, "{policy}");
            for n in (1..keys).step_by(2) {
                assert_eq!(client.ask(&["EXISTS", &format!("key{n}")]).number(), 1, "{policy}: {n}");
            }
        }
    }
}

#[test]
fn commands_are_refused_in_the_same_words() {
    let mut answers: Vec<Vec<Reply>> = Vec::new();
    for server in servers() {
        let (client, other) = (&mut server.client(), &mut server.client());
        client.ask(&["SET", "a", "1"]);
        other.ask(&["MULTI"]);
        other.ask(&["SET", "q", "1"]);
        set(client, "maxmemory", "1");
        let mut said = vec![other.ask(&["EXEC"])];
        for line in [
            "SET a 2",
            "GET a",
            "INCR a",
            "APPEND a x",
            "SETRANGE a 0 x",
            "MSET a b",
            "SETNX z 1",
            "GETDEL z",
            "EXPIRE a 9",
            "PERSIST a",
            "DEL z",
            "COPY a b",
            "RENAME a b",
            "MULTI",
            "GET b",
            "EXEC",
            "MULTI",
            "SET b 1",
            "GET b",
            "EXEC",
            "OBJECT FREQ b",
            "MEMORY USAGE z",
            "MEMORY USAGE b SAMPLES",
            "MEMORY USAGE b SAMPLES -1",
            "MEMORY USAGE b SAMPLES x",
            "MEMORY USAGE b X 1",
            "MEMORY NOPE",
            "MEMORY STATS x",
            "MEMORY PURGE",
            "CONFIG SET maxmemory-policy allkeys-lfu",
            "CONFIG SET maxmemory 0",
            "SET b 1",
            "OBJECT FREQ b",
            "OBJECT IDLETIME b",
        ] {
            said.push(client.ask(&line.split(' ').collect::<Vec<_>>()));
        }
        let names = client.ask(&["MEMORY", "STATS"]);
        said.extend(names.list().iter().step_by(2).cloned());
        answers.push(said);
    }
    if let [ours, theirs] = &answers[..] {
        assert_eq!(ours, theirs);
    }
}

/// Whether the client with this name is gone before the time is over.
fn is_gone(client: &mut Client, name: &str, within: Duration) -> bool {
    let (start, name) = (Instant::now(), format!(" name={name} "));
    while start.elapsed() < within {
        if !client.ask(&["CLIENT", "LIST"]).text().contains(&name) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn clients_that_do_not_read_are_closed() {
    for server in servers() {
        let client = &mut server.client();
        client.ask(&["SET", "big", &"x".repeat(100_000)]);
        let get = peer::encode(&["GET", "big"]).repeat(400);
        for (limits, least, most) in [("normal 1000000 0 0", 0, 5), ("normal 0 100000 2", 2, 9)] {
            set(client, "client-output-buffer-limit", limits);
            let mut slow = server.client();
            slow.ask(&["CLIENT", "SETNAME", "slow"]);
            let start = Instant::now();
            slow.send(&get).expect("a link");
            assert!(is_gone(client, "slow", Duration::from_secs(most)), "{limits}");
            assert!(start.elapsed() >= Duration::from_secs(least), "{limits}: {:?}", start.elapsed());
        }
        assert_eq!(info(client, "client_output_buffer_limit_disconnections"), 2);
    }
}

#[test]
fn the_largest_clients_make_room_for_the_others() {
    for server in servers() {
        let client = &mut server.client();
        client.ask(&["CLIENT", "NO-EVICT", "ON"]);
        let mut others = Vec::new();
        for (name, size) in [("small", 10_000), ("large", 4_000_000), ("spared", 5_000_000)] {
            let mut other = server.client();
            other.ask(&["CLIENT", "SETNAME", name]);
            if name == "spared" {
                other.ask(&["CLIENT", "NO-EVICT", "ON"]);
            }
            let head = format!("*2\r\n$4\r\nECHO\r\n${}\r\n{}", size + 1000, "x".repeat(size));
            other.send(head.as_bytes()).expect("a link");
            others.push(other);
        }
        std::thread::sleep(Duration::from_millis(300));
        set(client, "maxmemory-clients", "7mb");
        assert!(is_gone(client, "large", Duration::from_secs(5)));
        let list = client.ask(&["CLIENT", "LIST"]);
        assert!(list.text().contains("name=spared") && list.text().contains("name=small"), "{}", list.text());
        assert_eq!(info(client, "evicted_clients"), 1);
    }
}
