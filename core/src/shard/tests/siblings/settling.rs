//! Links that move to another shard.

use super::*;
use crate::shard::session::Waiting;
use crate::shard::visit::Unread;

fn clients(process: &Process) -> Vec<usize> {
    process.shards.iter().map(|shard| shard.links.len()).collect()
}

/// The memory that clients take, and what is left of moves.
fn taken(process: &Process) -> u64 {
    assert!(process.shards.iter().all(|shard| shard.settlers.is_empty() && shard.guests.is_empty()));
    let taken = |shard: &Shard| {
        let share =
            |link: &Link| if let Link::Client(session) = link { session.client.share.total } else { 0 };
        assert_eq!(shard.data.footprint.clients, shard.links.values().map(share).sum::<u64>());
        shard.data.footprint.clients
    };
    process.shards.iter().map(taken).sum()
}

#[test]
fn a_client_moves_with_all_that_it_is() {
    let mut process = Process::new(3, 1);
    let client = process.connect(0, 1);
    process.ask(client, "HELLO 3 SETNAME me\r\nCLIENT SETINFO LIB-NAME lib\r\nCLIENT NO-TOUCH ON\r\n");
    let before = process.ask(client, "CLIENT INFO\r\n");
    let (count, memory) = (clients(&process).iter().sum::<usize>(), taken(&process));
    for to in [1, 2, 2, 0] {
        let move_there = format!("SET a 1\r\nDEBUG MOVE-CLIENT {to}\r\nGET a\r\n");
        assert_eq!(process.ask(client, &move_there), "+OK\r\n+OK\r\n$1\r\n1\r\n");
        let link = process.link_of(client).expect("a link");
        assert_eq!(link.shard(), ShardIndex(to));
        assert!(process.shards[usize::from(to)].links.contains_key(&link));
        assert_eq!(clients(&process).iter().sum::<usize>(), count);
        assert_eq!(taken(&process), memory, "moved to {to}");
    }
    let after = process.ask(client, "CLIENT INFO\r\n");
    let field = |info: &str, name: &str| -> String {
        let at = info.find(&format!(" {name}=")).or(info.find(&format!("{name}="))).expect("a field");
        info[at..].trim_start().split(' ').next().expect("a value").into()
    };
    for name in ["id", "addr", "name", "age", "flags", "db", "user", "resp", "lib-name", "shard"] {
        assert_eq!(field(&before, name), field(&after, name));
    }
    for word in ["DEBUG MOVE-CLIENT 3", "DEBUG MOVE-CLIENT x", "DEBUG MOVE-CLIENT -1"] {
        assert_eq!(process.ask(client, &format!("{word}\r\n")), "-ERR There is no such shard\r\n");
    }
}

#[test]
fn who_is_known_elsewhere_stays() {
    for (before, word) in [
        ("MULTI", "MULTI"),
        ("WATCH a", "WATCH"),
        ("MONITOR", "MONITOR"),
        ("CLIENT TRACKING ON BCAST", "tracking"),
    ] {
        let mut process = Process::new(2, 1);
        let client = process.connect(0, 1);
        process.ask(client, &format!("HELLO 3\r\n{before}\r\n"));
        let said = process.ask(client, "DEBUG MOVE-CLIENT 1\r\n");
        let said = if before == "MULTI" { process.ask(client, "EXEC\r\n") } else { said };
        assert!(said.contains("-ERR This client cannot move now"), "{word}: {said}");
        assert_eq!(process.link_of(client), Some(client), "{word}");
        process.ask(client, "RESET\r\n");
        assert_eq!(process.ask(client, "DEBUG MOVE-CLIENT 1\r\n"), "+OK\r\n", "{word}");
    }
    let mut process = Process::new(2, 1);
    let (client, other) = (process.connect(0, 1), process.connect(1, 2));
    let id = process.ask(client, "CLIENT ID\r\n");
    process.ask(other, &format!("CLIENT TRACKING ON REDIRECT {}\r\n", id[1..].trim()));
    assert_eq!(process.ask(client, "DEBUG MOVE-CLIENT 1\r\n"), "-ERR This client cannot move now\r\n");
}

/// Moves a client to the shard so many behind its own, if it may; whether it does.
pub(super) fn send_away(process: &mut Process, client: LinkId, by: u16) -> bool {
    let Some(link) = process.link_of(client) else { return false };
    let shards = process.shards.len() as u16;
    let shard = &mut process.shards[usize::from(link.shard().0)];
    let Some(Link::Client(session)) = shard.links.get(&link) else { return false };
    if session.client.waiting != Waiting::Nothing || !session.client.may_move() {
        return false;
    }
    let mut out = Actions::default();
    shard.settle(link, ShardIndex((link.shard().0 + by) % shards), Unread::NOTHING, 0, &mut out);
    process.carry_out(Whose::Shard(link.shard().0.into()), out);
    true
}

#[test]
fn a_client_that_moves_in_its_pipeline_is_told_the_same() {
    let mut all_moves = 0;
    for seed in 0..60 {
        let script = script(&mut Rng::new(seed));
        let told = |shards: u16| {
            let mut process = Process::new(shards, seed);
            let client = process.connect((seed % u64::from(shards)) as u16, 1);
            let mut rng = Rng::new(seed);
            let (mut rest, mut said, mut moves) = (&script[..], String::new(), 0);
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(1 + rng.index(rest.len().min(150)));
                process.feed(client, piece);
                for _ in 0..rng.below(6) {
                    process.deliver();
                }
                said += &process.said(client);
                rest = after;
                // Where it cannot move, because of a transaction, say, it stays.
                if shards > 1 && rng.one_in(2) {
                    let by = 1 + rng.below(u64::from(shards) - 1) as u16;
                    moves += u64::from(send_away(&mut process, client, by));
                }
            }
            process.settle();
            (said + &process.said(client), moves)
        };
        let (alone, _) = told(1);
        for shards in [2, 3, 8] {
            let (said, moves) = told(shards);
            assert_eq!(said, alone, "seed {seed}, {shards} shards");
            all_moves += moves;
        }
    }
    assert!(all_moves > 100, "few links moved: {all_moves}");
}

#[test]
fn a_client_that_moves_is_killed_whoever_kills_it_and_listed_once() {
    let mut killed_on_its_way = 0;
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let shards = [2, 3, 4][rng.index(3)];
        let mut process = Process::new(shards, seed);
        let client = process.connect(0, 1);
        process.ask(client, "CLIENT SETNAME me\r\n");
        let operator = process.connect(rng.below(shards.into()) as u16, 2);
        let count = clients(&process).iter().sum::<usize>();
        let list = rng.one_in(2);
        let command = if list { "CLIENT LIST NAME me\r\n" } else { "CLIENT KILL NAME me\r\n" };
        let asks_at = rng.below(12);
        for step in 0..20 {
            if step == asks_at {
                process.feed(operator, command.as_bytes());
            }
            if rng.one_in(3) {
                send_away(&mut process, client, 1 + rng.below(u64::from(shards) - 1) as u16);
            }
            for _ in 0..rng.below(3) {
                process.deliver();
            }
        }
        process.settle();
        let said = process.said(operator);
        if list {
            assert_eq!(said.matches("name=me").count(), 1, "seed {seed}: {said}");
            assert_eq!(process.ask(client, "PING\r\n"), "+PONG\r\n", "seed {seed}");
            assert_eq!(clients(&process).iter().sum::<usize>(), count, "seed {seed}");
        } else {
            assert_eq!(said, ":1\r\n", "seed {seed}: it is there all the time");
            assert_eq!(process.ask(client, "PING\r\n"), "", "seed {seed}: it is gone");
            assert_eq!(clients(&process).iter().sum::<usize>(), count - 1, "seed {seed}");
            killed_on_its_way += u32::from(!process.moved.is_empty());
        }
        taken(&process);
    }
    assert!(killed_on_its_way > 40, "{killed_on_its_way}");
}

#[test]
fn a_client_that_leaves_while_it_moves_leaves_nothing_behind() {
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut process = Process::new(3, seed);
        let (count, memory) = (clients(&process).iter().sum::<usize>(), taken(&process));
        let client = process.connect(0, 1);
        process.feed(client, b"SET a 1\r\nSET b 1\r\nSET c 1\r\n");
        for _ in 0..10 {
            process.deliver();
            send_away(&mut process, client, 1 + rng.below(2) as u16);
        }
        if rng.one_in(3) {
            process.lose(client);
        } else {
            process.hang_up(client);
        }
        process.settle();
        assert_eq!(clients(&process).iter().sum::<usize>(), count, "seed {seed}");
        assert_eq!(taken(&process), memory, "seed {seed}");
    }
}

#[test]
fn who_is_deleted_while_it_moves_is_gone() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut process = Process::new(3, seed);
        let (admin, client) = (process.connect(0, 1), process.connect(1, 2));
        process.ask(admin, "ACL SETUSER u on nopass ~* +@all\r\n");
        assert_eq!(process.ask(client, "AUTH u x\r\n"), "+OK\r\n");
        let asks_at = rng.below(8);
        for step in 0..12 {
            if step == asks_at {
                process.feed(admin, b"ACL DELUSER u\r\n");
            }
            if rng.one_in(2) {
                send_away(&mut process, client, 1 + rng.below(2) as u16);
            }
            for _ in 0..rng.below(3) {
                process.deliver();
            }
        }
        process.settle();
        assert_eq!(process.said(admin), ":1\r\n", "seed {seed}");
        assert_eq!(process.ask(client, "PING\r\n"), "", "seed {seed}");
        assert!(!process.ask(admin, "CLIENT LIST\r\n").contains("user=u "), "seed {seed}");
        taken(&process);
    }
}

#[test]
fn who_is_new_may_move_to_a_shard_that_has_not_heard_of_it() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut process = Process::new(3, seed);
        let (admin, client) = (process.connect(0, 1), process.connect(1, 2));
        process.feed(admin, b"ACL SETUSER u on nopass ~* +@all\r\n");
        for _ in 0..20 {
            process.feed(client, b"AUTH u x\r\n");
            send_away(&mut process, client, 1 + rng.below(2) as u16);
            process.deliver();
        }
        process.settle();
        process.said(client);
        assert_eq!(process.ask(client, "AUTH u x\r\nACL WHOAMI\r\n"), "+OK\r\n$1\r\nu\r\n", "seed {seed}");
    }
}

/// A client asks for keys of one shard, one after another.
fn insist(process: &mut Process, client: LinkId, slot: Slot, times: usize) {
    let key =
        (0..).map(|n| format!("k{n}")).find(|key| Slot::of(key.as_bytes()).number() % 2 == slot.number() % 2);
    let get = format!("GET {}\r\n", key.expect("a key"));
    for _ in 0..times {
        assert_eq!(process.ask(client, &get), "$-1\r\n");
    }
}

#[test]
fn who_talks_to_one_other_shard_only_moves_there_and_no_other_does() {
    let home = |process: &Process, client| process.link_of(client).expect("a link").shard().0;
    let even = Slot::new(0).expect("a slot");
    let odd = Slot::new(1).expect("a slot");
    let mut process = Process::new(2, 1);
    let client = process.connect(0, 1);
    insist(&mut process, client, odd, 64);
    assert_eq!(home(&process, client), 0, "it stays for so long");
    insist(&mut process, client, odd, 1);
    assert_eq!(home(&process, client), 1);
    // Commands at home in between, or for other shards, keep it there.
    for _ in 0..5 {
        insist(&mut process, client, even, 60);
        process.ask(client, "PING\r\n");
    }
    insist(&mut process, client, odd, 500);
    assert_eq!(home(&process, client), 1);
    insist(&mut process, client, even, 65);
    assert_eq!(home(&process, client), 0, "it may change its mind");

    // Where there are more clients already, nobody goes.
    let mut process = Process::new(2, 1);
    let clients: Vec<LinkId> = (0..20).map(|n| process.connect((n % 2) as u16, n)).collect();
    for _ in 0..5 {
        process.pass(Span::ms(200));
        for client in &clients {
            insist(&mut process, *client, odd, 66);
        }
    }
    let there = clients.iter().filter(|client| home(&process, **client) == 1).count();
    assert!((10..=12).contains(&there), "{there} of 20 share a thread");

    // Half of them in the wrong place: they change places.
    let mut process = Process::new(2, 1);
    let clients: Vec<LinkId> = (0..20).map(|n| process.connect((n % 2) as u16, n)).collect();
    for _ in 0..30 {
        process.pass(Span::ms(200));
        for (n, client) in clients.iter().enumerate() {
            insist(&mut process, *client, if n % 4 < 2 { even } else { odd }, 66);
        }
    }
    let right =
        clients.iter().enumerate().filter(|(n, client)| home(&process, **client) == (n % 4 / 2) as u16);
    assert!(right.count() >= 19, "nearly all are where they want to be");
}
