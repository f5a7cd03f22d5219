//! Commands over all shards of a process: as one, and as if there were one.

use alloc::collections::BTreeSet;

use super::siblings::{Process, Whose};
use super::*;
use crate::slots::Slot;

/// Bulk strings of a reply.
fn words(reply: &str) -> Vec<String> {
    let mut lines = reply.split("\r\n");
    let mut words = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with('$') && line != "$-1" {
            words.extend(lines.next().map(String::from));
        }
    }
    words
}

fn filled(shards: u16, keys: usize) -> (Process, LinkId) {
    let mut process = Process::new(shards, 7);
    let client = process.connect(shards - 1, 1);
    for n in 0..keys {
        assert_eq!(process.ask(client, &format!("SET key:{n} {n}\r\n")), "+OK\r\n");
    }
    (process, client)
}

/// Walks with a command until its cursor is `0` again: each cursor but the last, and the keys that came with it.
fn walk_with(
    process: &mut Process,
    client: LinkId,
    command: &str,
    options: &str,
) -> Vec<(String, Vec<String>)> {
    let (mut cursor, mut steps) = (String::from("0"), Vec::new());
    loop {
        let mut reply = words(&process.ask(client, &format!("{command} {cursor} {options}\r\n"))).into_iter();
        cursor = reply.next().expect("a cursor");
        steps.push((cursor.clone(), reply.collect()));
        if cursor == "0" {
            return steps;
        }
        assert!(steps.len() < 40_000, "{command} {options} does not end");
    }
}

/// No shard has stopped, and nobody waits for that.
pub(super) fn assert_at_rest(process: &Process, what: &str) {
    for shard in &process.shards {
        assert!(shard.guests.is_empty() && shard.frozen.is_none(), "{what}");
        assert!(shard.gatherings.oldest().is_none() && shard.freezings.is_empty(), "{what}");
        assert_eq!(shard.data.holds.deadline(), None, "{what}");
    }
}

#[test]
fn a_walk_meets_all_keys_of_all_shards() {
    for shards in [1, 2, 3, 8] {
        let (mut process, client) = filled(shards, 300);
        let all: BTreeSet<String> = (0..300).map(|n| format!("key:{n}")).collect();
        assert_eq!(process.ask(client, "DBSIZE\r\n"), ":300\r\n");
        let found = words(&process.ask(client, "KEYS *\r\n"));
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (300, all.clone()));
        for (walk, expected) in [
            ("SCAN", 300),
            ("SCAN COUNT 3", 300),
            ("SCAN COUNT 10000", 300),
            ("SCAN MATCH key:1*", 111),
            ("SCAN MATCH key:17", 1),
            ("SCAN TYPE list", 0),
        ] {
            let (command, options) = walk.split_once(' ').unwrap_or((walk, ""));
            let steps = walk_with(&mut process, client, command, options);
            let found: BTreeSet<String> = steps.into_iter().flat_map(|(_, keys)| keys).collect();
            assert_eq!(found.len(), expected, "{shards} shards: {walk}");
        }
        assert_eq!(process.ask(client, "SCAN 99999999999999999 COUNT 5\r\n"), "*2\r\n$1\r\n0\r\n*0\r\n");
        assert_eq!(process.ask(client, "SCAN x\r\n"), "-ERR invalid cursor\r\n");
    }
}

#[test]
fn a_walk_over_the_cluster_meets_all_keys_of_all_shards() {
    for shards in [1, 2, 3, 8] {
        let (mut process, client) = filled(shards, 100);
        for n in 0..100 {
            process.ask(client, &format!("SET {{foo}}{n} 1\r\n"));
        }
        for count in [1, 10, 100_000] {
            let steps = walk_with(&mut process, client, "CLUSTERSCAN", &format!("COUNT {count}"));
            let cursors = steps.split_last().expect("a step").1.iter().map(|(cursor, _)| cursor.as_bytes());
            assert!(cursors.map(Slot::of).is_sorted(), "{shards} shards: a cursor goes back");
            let made = steps.len();
            let mut found: Vec<String> = steps.into_iter().flat_map(|(_, keys)| keys).collect();
            let slots: Vec<u16> = found.iter().map(|key| Slot::of(key.as_bytes()).number()).collect();
            assert!(shards > 1 || slots.is_sorted());
            found.sort_unstable();
            let met = found.len();
            found.dedup();
            assert_eq!((met, found.len()), (200, 200), "{shards} shards, COUNT {count}");
            assert!(made < 300 && (count < 100_000 || made == 2), "{shards} shards: {made} steps");
        }
        let one = "CLUSTERSCAN 0-{Qi}-0 SLOT 12182 COUNT 100\r\n";
        assert_eq!(words(&process.ask(client, &one.replace("Qi", "foo"))).len(), 101);
        let within = "MULTI\r\nSET a 1\r\nCLUSTERSCAN 0-{06S}-0 COUNT 100000\r\nEXEC\r\n";
        let crossed = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
        assert!(process.ask(client, within).ends_with(crossed));
        let within = "MULTI\r\nSET {06S} 1\r\nCLUSTERSCAN 0-{06S}-0 COUNT 100000\r\nEXEC\r\n";
        assert_eq!(words(&process.ask(client, within)).len(), 202, "{shards} shards");
        assert_at_rest(&process, "after an EXEC");
    }
}

#[test]
fn a_random_key_is_one_of_any_shard() {
    for shards in [1, 3] {
        let (mut process, client) = filled(shards, 0);
        assert_eq!(process.ask(client, "RANDOMKEY\r\n"), "$-1\r\n");
        process.ask(client, "SET a 1\r\n");
        for _ in 0..10 {
            assert_eq!(process.ask(client, "RANDOMKEY\r\n"), "$1\r\na\r\n");
        }
        for key in ["b", "c", "d", "e", "f"] {
            process.ask(client, &format!("SET {key} 1\r\n"));
        }
        let mut drawn = alloc::collections::BTreeMap::<String, u32>::new();
        for _ in 0..600 {
            *drawn.entry(process.ask(client, "RANDOMKEY\r\n")).or_default() += 1;
        }
        assert_eq!(drawn.len(), 6);
        assert!(drawn.values().all(|n| (50..160).contains(n)), "{drawn:?}");
    }
}

#[test]
fn commands_about_clients_are_about_those_of_all_shards() {
    for shards in [1, 2, 3, 8] {
        let mut process = Process::new(shards, 4);
        let clients: Vec<LinkId> =
            (0..6).map(|n| process.connect(n % shards, 10 + u64::from(n / shards))).collect();
        let ids: Vec<u64> = clients
            .iter()
            .map(|client| {
                process.ask(*client, "CLIENT ID\r\n").trim_matches([':', '\r', '\n']).parse().unwrap()
            })
            .collect();
        let list = process.ask(clients[0], "CLIENT LIST\r\n");
        let shown: Vec<u64> = list
            .lines()
            .filter_map(|line| line.strip_prefix("id=")?.split(' ').next()?.parse().ok())
            .collect();
        assert!(shown.is_sorted() && ids.iter().all(|id| shown.contains(id)), "{shards} shards: {list}");
        assert_eq!(shown.len(), 7);
        for client in &clients {
            let info = process.ask(*client, "CLIENT INFO\r\n");
            assert!(info.ends_with(&format!(" shard={}\n\r\n", client.shard().0)), "{shards} shards: {info}");
        }
        // One that waits is woken from any other shard.
        process.feed(clients[1], b"WAIT 1 0\r\n");
        let unblocked = process.ask(clients[2], &format!("CLIENT UNBLOCK {}\r\n", ids[1]));
        assert_eq!((unblocked.as_str(), process.said(clients[1]).as_str()), (":1\r\n", ":0\r\n"));
        // A pause is one of the process.
        assert_eq!(process.ask(clients[3], "CLIENT PAUSE 100000 WRITE\r\n"), "+OK\r\n");
        for client in &clients {
            assert_eq!(process.ask(*client, "GET a\r\nSET a 1\r\n"), "$-1\r\n");
        }
        let admin = process.connect(0, 90);
        assert_eq!(process.ask(admin, "CLIENT UNPAUSE\r\n"), "+OK\r\n");
        process.pass(Span::ms(1));
        assert!(clients.iter().all(|client| process.said(*client).starts_with("+OK\r\n")));
        let kill = format!("CLIENT KILL ID {} SKIPME yes\r\n", ids[4]);
        assert_eq!(process.ask(clients[5], &kill), ":1\r\n");
        assert_eq!(process.ask(clients[5], &kill), ":0\r\n");
        assert_eq!(process.ask(clients[0], "CLIENT KILL TYPE normal SKIPME yes\r\n"), ":6\r\n");
        assert_eq!(process.ask(clients[0], "CLIENT LIST\r\n").matches("id=").count(), 1);
    }
}

#[test]
fn logs_of_commands_are_those_of_all_shards_in_the_order_of_time() {
    let mut process = Process::new(3, 2);
    let clients = [process.connect(0, 1), process.connect(1, 2), process.connect(2, 3)];
    process.ask(clients[0], "CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 4\r\nSLOWLOG RESET\r\n");
    for (n, key) in ["a", "b", "c", "d"].iter().enumerate() {
        process.pass(Span::secs(1));
        process.ask(clients[n % 3], &format!("GET {key}\r\n"));
    }
    process.ask(clients[0], "CONFIG SET slowlog-log-slower-than -1\r\n");
    let said = process.ask(clients[2], "SLOWLOG GET -1\r\n");
    let keys: Vec<String> = words(&said).into_iter().filter(|word| word.len() == 1).collect();
    assert_eq!(keys, ["d", "c", "b", "a"], "{said}");
    assert_eq!(process.ask(clients[1], "SLOWLOG LEN\r\n"), ":4\r\n");
    assert!(process.ask(clients[1], "SLOWLOG GET 2\r\n").starts_with("*2\r\n"));
    assert_eq!(process.ask(clients[1], "SLOWLOG RESET\r\nSLOWLOG LEN\r\n"), "+OK\r\n:0\r\n");
}

/// The value of a field of INFO.
fn field(info: &str, name: &str) -> String {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {info}")).into()
}

#[test]
fn info_counts_what_all_shards_did() {
    for shards in [1, 2, 3, 8] {
        let mut process = Process::new(shards, 6);
        let clients: Vec<LinkId> =
            (0..8).map(|n| process.connect(n % shards, 10 + u64::from(n / shards))).collect();
        process.ask(clients[0], "CONFIG RESETSTAT\r\n");
        for (n, client) in clients.iter().enumerate() {
            process.ask(*client, &format!("SET {n} 1\r\nGET {n}\r\nGET x\r\nSET t{n} 1 EX 100\r\nNOPE\r\n"));
        }
        for client in [clients[0], clients[7]] {
            let info = process.ask(client, "INFO everything\r\n");
            for (name, value) in [
                ("connected_clients", "9"),
                ("keyspace_hits", "8"),
                ("keyspace_misses", "8"),
                ("errorstat_ERR", "count=8"),
                ("db0", "keys=16,expires=8,avg_ttl=0,keys_with_volatile_items=0"),
                ("total_error_replies", "8"),
            ] {
                assert_eq!(field(&info, name), value, "{shards} shards: {name}");
            }
            assert!(field(&info, "cmdstat_get").starts_with("calls=16,"), "{info}");
            assert!(field(&info, "latency_percentiles_usec_set").starts_with("p50="));
            let used: u64 = field(&info, "used_memory").parse().expect("a number");
            assert!(used > 1000);
            let info = process.ask(client, "INFO commandstats errorstats\r\n");
            assert!(field(&info, "cmdstat_get").starts_with("calls=16,"), "{info}");
            assert_eq!(field(&info, "errorstat_ERR"), "count=8", "{shards} shards");
        }
        let stats = process.ask(clients[3], "MEMORY STATS\r\n");
        assert!(stats.contains("$10\r\nkeys.count\r\n:16\r\n"), "{stats}");
        let histogram = process.ask(clients[5], "LATENCY HISTOGRAM set\r\n");
        assert!(histogram.contains("$5\r\ncalls\r\n:16\r\n"), "{histogram}");
        let slot = Slot::of(b"3").number();
        let stats = process.ask(clients[6], &format!("CLUSTER SLOT-STATS SLOTSRANGE {slot} {slot}\r\n"));
        assert!(stats.contains("$9\r\nkey-count\r\n:1\r\n"), "{stats}");
        let most = process.ask(clients[6], "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 16 DESC\r\n");
        assert_eq!(most.matches("key-count\r\n:1\r\n").count(), 16, "{most}");
        process.ask(clients[2], "CONFIG RESETSTAT\r\n");
        assert_eq!(field(&process.ask(clients[1], "INFO stats\r\n"), "keyspace_hits"), "0");
    }
}

#[test]
fn who_was_answered_finds_every_shard_obeying() {
    for seed in 0..60 {
        let mut process = Process::new(4, seed);
        let clients: Vec<LinkId> = (0..4).map(|shard| process.connect(shard, 5)).collect();
        let ask = |process: &mut Process, n: usize, line: &str| {
            process.feed(clients[n], line.as_bytes());
            loop {
                let said = process.said(clients[n]);
                if !said.is_empty() || !process.deliver() {
                    return said;
                }
            }
        };
        for n in 0..4 {
            let value = 7 + n;
            let set = format!("CONFIG SET maxmemory-samples {value}\r\n");
            assert_eq!(ask(&mut process, n, &set), "+OK\r\n");
            let got = ask(&mut process, (n + 1 + seed as usize) % 4, "CONFIG GET maxmemory-samples\r\n");
            assert!(got.ends_with(&format!("\r\n{value}\r\n")), "seed {seed}: {got}");
        }
        assert_eq!(ask(&mut process, 0, "ACL SETUSER u on nopass +@all\r\n"), "+OK\r\n");
        assert_eq!(ask(&mut process, 3, "AUTH u x\r\n"), "+OK\r\n");
        assert!(ask(&mut process, 1, "SET a 1\r\n").starts_with("+OK"));
        assert!(ask(&mut process, 2, "CLUSTER RESET\r\n").starts_with("-ERR CLUSTER RESET can't be called"));
        assert!(ask(&mut process, 2, "CLUSTER DELSLOTS 5\r\n").starts_with("+OK"));
    }
}

#[test]
fn the_limit_of_clients_is_that_of_the_process() {
    for shards in [1, 2, 3] {
        let mut process = Process::new(shards, 9);
        let admin = process.connect(0, 1);
        process.ask(admin, "CONFIG SET maxclients 5\r\n");
        process.pass(Span::ms(200));
        for n in 0..6 {
            process.connect(n % shards, 20 + u64::from(n));
            process.settle();
        }
        // There were two before.
        let info = process.ask(admin, "INFO\r\n");
        let counts = (field(&info, "rejected_connections"), field(&info, "connected_clients"));
        assert_eq!(counts, ("3".into(), "5".into()), "{shards} shards");
    }
}

/// Whatever the shards have not told each other, no client is let in too many, and none is sent away that has a place.
#[test]
fn the_limit_of_clients_is_kept_while_they_come_and_go() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let shards = 2 + rng.below(4) as u16;
        let most = 20 + rng.index(30);
        let mut process = Process::with(shards, seed, &format!("maxclients {most}"));
        let mut there: Vec<LinkId> = Vec::new();
        // The administrator of the process is there too.
        let others = 1;
        let (mut full, mut number) = (false, 2_000);
        for _ in 0..400 {
            // They come in floods and go in floods, of one shard or of any.
            let comes = if full { rng.one_in(4) } else { !rng.one_in(4) };
            if comes {
                number += 1;
                let shard = if rng.one_in(2) { 0 } else { rng.below(shards.into()) as u16 };
                let link = process.connect(shard, number);
                let said = process.ask(link, "PING\r\n");
                let has_place = there.len() + others < most;
                assert_eq!(said == "+PONG\r\n", has_place, "seed {seed}: {} of {most}, {said}", there.len());
                if has_place { there.push(link) } else { full = true }
            } else if !there.is_empty() {
                let link = there.swap_remove(rng.index(there.len()));
                process.step(Whose::Shard(link.shard().0.into()), Input::Closed { link });
                process.settle();
                full &= there.len() > most / 3;
            }
            if rng.one_in(50) {
                process.pass(Span::ms(30));
            }
        }
    }
}

#[test]
fn far_below_the_limit_of_clients_shards_seldom_tell_each_other_who_comes_and_goes() {
    let mut process = Process::with(4, 1, "maxclients 10000");
    let before = process.letters;
    for n in 0..1_000 {
        process.connect((n % 4) as u16, 2_000 + n);
        process.settle();
    }
    assert_eq!(process.letters, before);
    process.pass(Span::ms(100));
    let told = process.letters - before;
    assert!(told >= 12, "{told}: each tells the three others at the next tick");
    let links = (0..1_000).map(|n| LinkId::accepted(2_000 + n).of(ShardIndex((n % 4) as u16)));
    for link in links {
        process.step(Whose::Shard(link.shard().0.into()), Input::Closed { link });
        process.settle();
    }
    assert_eq!(process.letters, before + told);
}

#[test]
fn the_limit_of_memory_is_that_of_the_process() {
    for shards in [1, 2, 4] {
        let mut process = Process::new(shards, 9);
        let client = process.connect(0, 1);
        let used: u64 =
            field(&process.ask(client, "INFO memory\r\n"), "used_memory").parse().expect("a number");
        process.ask(
            client,
            &format!("CONFIG SET maxmemory {} maxmemory-policy allkeys-random\r\n", used + 4_000_000),
        );
        for n in 0..200 {
            process.ask(client, &format!("SETRANGE key:{n} 60000 x\r\n"));
            process.pass(Span::ms(20));
        }
        process.pass(Span::ms(500));
        let info = process.ask(client, "INFO all\r\n");
        let now: u64 = field(&info, "used_memory").parse().expect("a number");
        assert!(now < used + 5_000_000, "{shards} shards: {now} after {used}");
        assert!(now > used + 2_000_000, "{shards} shards: {now} after {used}: too much was evicted");
        assert_ne!(field(&info, "evicted_keys"), "0");
    }
}

#[test]
fn who_monitors_sees_the_commands_of_all_shards() {
    for shards in [1, 2, 4] {
        let mut process = Process::new(shards, 3);
        let (watcher, other) = (process.connect(0, 1), process.connect(shards - 1, 2));
        assert_eq!(process.ask(watcher, "MONITOR\r\n"), "+OK\r\n");
        process.ask(other, "SET a 1\r\nSET b 1\r\nSET c 1\r\nSET d 1\r\nPING\r\n");
        let lines = process.said(watcher);
        for shown in ["\"SET\" \"a\"", "\"SET\" \"b\"", "\"SET\" \"c\"", "\"SET\" \"d\"", "\"PING\""] {
            assert_eq!(lines.matches(shown).count(), 1, "{shards} shards: {shown} in {lines}");
        }
        assert_eq!(process.ask(watcher, "RESET\r\n"), "+RESET\r\n");
        process.ask(other, "SET a 1\r\nSET b 1\r\nSET c 1\r\nSET d 1\r\n");
        assert_eq!(process.said(watcher), "");
        assert!(process.shards.iter().all(|shard| shard.data.scrutiny.monitors().is_empty()));
        process.ask(watcher, "MONITOR\r\n");
        process.step(Whose::Shard(0), Input::Closed { link: watcher });
        process.settle();
        assert!(process.shards.iter().all(|shard| shard.data.scrutiny.monitors().is_empty()));
    }
}

#[test]
fn who_tracks_hears_of_changes_on_all_shards() {
    let keys = ["a", "b", "c", "d"];
    for shards in [1, 2, 4, 8] {
        let mut process = Process::new(shards, 3);
        let (client, other) = (process.connect(0, 1), process.connect(shards - 1, 2));
        let listener = process.connect(shards / 2, 3);
        let changes: String = keys.iter().map(|key| format!("INCR {key}\r\n")).collect();
        let reads: String = keys.iter().map(|key| format!("GET {key}\r\n")).collect();
        let told = |said: &str, what: &str| {
            for key in keys {
                let key = format!("$1\r\n{key}\r\n");
                assert_eq!(said.matches(&key).count(), 1, "{shards} shards, {what}: {key} in {said}");
            }
        };
        process.ask(client, "HELLO 3\r\n");
        process.ask(listener, "HELLO 3\r\n");
        assert_eq!(process.ask(client, "CLIENT TRACKING on\r\n"), "+OK\r\n");
        process.ask(client, &reads);
        process.ask(other, &changes);
        told(&process.said(client), "what it read");
        process.ask(other, &changes);
        assert_eq!(process.said(client), "", "{shards} shards: nothing was read since");
        process.ask(client, &reads);
        process.ask(other, "FLUSHALL\r\n");
        assert_eq!(process.said(client), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
        assert_eq!(
            process.ask(client, "CLIENT TRACKING off\r\nCLIENT TRACKING on BCAST NOLOOP\r\n"),
            "+OK\r\n+OK\r\n"
        );
        process.ask(other, &changes);
        told(&process.said(client), "all of them");
        assert_eq!(
            process.ask(client, &changes).matches("invalidate").count(),
            0,
            "{shards} shards: its own"
        );
        // Another client hears for it, wherever that is at home.
        assert_eq!(process.ask(client, "CLIENT TRACKING off\r\n"), "+OK\r\n");
        let id = process.ask(listener, "CLIENT ID\r\n");
        let id = id.trim_matches([':', '\r', '\n']);
        let redirect = format!("CLIENT TRACKING on REDIRECT {id}\r\n");
        assert_eq!(process.ask(client, &redirect), "+OK\r\n", "{shards} shards");
        process.ask(client, &reads);
        process.ask(other, &changes);
        told(&process.said(listener), "for another");
        assert_eq!(process.said(client), "");
        process.ask(client, &reads);
        process.step(Whose::Shard(listener.shard().0.into()), Input::Closed { link: listener });
        process.ask(other, &changes);
        assert!(process.said(client).contains("tracking-redir-broken"), "{shards} shards");
        let missing = "-ERR The client ID you want redirect to does not exist\r\n";
        assert_eq!(process.ask(client, &redirect), missing);
        process.step(Whose::Shard(0), Input::Closed { link: client });
        process.settle();
        assert!(process.shards.iter().all(|shard| shard.data.scrutiny.tracking.clients() == 0));
    }
}

#[test]
fn what_was_refused_is_one_log() {
    for shards in [1, 2, 4] {
        let mut process = Process::new(shards, 3);
        let clients: Vec<LinkId> =
            (0..4).map(|n| process.connect(n % shards, 10 + u64::from(n / shards))).collect();
        for client in &clients {
            process.pass(Span::secs(1));
            assert!(process.ask(*client, "AUTH nobody x\r\n").starts_with("-WRONGPASS"));
        }
        let said = process.ask(clients[1], "ACL LOG\r\n");
        assert_eq!(said.matches("entry-id").count(), 1, "{shards} shards: {said}");
        assert!(said.contains("$5\r\ncount\r\n:4\r\n"), "{shards} shards: {said}");
        assert_eq!(process.ask(clients[2], "ACL LOG RESET\r\nACL LOG 5\r\n"), "+OK\r\n*0\r\n");
    }
}

#[test]
fn the_fingerprint_of_all_keys_is_that_of_one_shard() {
    let of = |shards| {
        let (mut process, client) = filled(shards, 40);
        process.ask(client, "DEBUG DIGEST\r\n")
    };
    let alone = of(1);
    assert!(alone.len() == 43 && alone != format!("+{}\r\n", "0".repeat(40)), "{alone}");
    assert!([2, 3, 8].into_iter().all(|shards| of(shards) == alone));
}

#[test]
fn the_limit_of_what_clients_take_is_that_of_the_process() {
    for shards in [1, 2, 4] {
        let mut process = Process::new(shards, 9);
        let admin = process.connect(0, 1);
        process.ask(
            admin,
            "CONFIG SET maxmemory-clients 400000\r\nCLIENT NO-EVICT on\r\nSETRANGE big 100000 x\r\n",
        );
        process.pass(Span::ms(200));
        // Replies that nobody reads, at clients of all shards.
        let clients: Vec<LinkId> =
            (0..8).map(|n| process.connect(n % shards, 20 + u64::from(n / shards))).collect();
        for client in &clients {
            process.feed(*client, b"MULTI\r\nSETRANGE x 0 0123456789\r\n");
            let long = format!("*2\r\n$4\r\nECHO\r\n$100000\r\n{}\r\n", "x".repeat(100_000));
            process.feed(*client, long.as_bytes());
            process.settle();
            process.pass(Span::ms(150));
        }
        process.pass(Span::ms(200));
        process.pass(Span::ms(200));
        let evicted: u64 = field(&process.ask(admin, "INFO stats\r\n"), "evicted_clients").parse().unwrap();
        assert!((4..=6).contains(&evicted), "{shards} shards: {evicted} evicted");
    }
}
