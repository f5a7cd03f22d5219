//! Clients that move all the time while others name them, wait for them, or close them: each of that happens once.

use super::whereabouts::{KEYS, number, stir};
use super::*;

/// One that moves, an operator who does not, and others.
struct Scene {
    process: Process,
    rng: Rng,
    mover: LinkId,
    operator: LinkId,
    /// How many there are beside it.
    others: usize,
    moves: u32,
}

impl Scene {
    fn new(seed: u64, settings: &str) -> Self {
        let mut rng = Rng::new(seed);
        let shards = [2, 3, 4, 5][rng.index(4)];
        let mut process = Process::with(shards, seed, settings);
        let operator = process.connect(rng.below(shards.into()) as u16, 1);
        let shard = rng.below(shards.into()) as u16;
        let mover = LinkId::accepted(2).of(ShardIndex(shard));
        let at = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let origin = Origin::Tcp { peer: at(5000), local: at(7000) };
        process.step(Whose::Shard(shard.into()), Input::Opened { link: mover, origin });
        process.ask(operator, "CLIENT NO-EVICT on\r\n");
        process.ask(mover, "CLIENT SETNAME me\r\n");
        // The administrator of the process is there too.
        Self { process, rng, mover, operator, others: 2, moves: 0 }
    }

    /// The administrator of the process is gone.
    fn without_administrator(&mut self) {
        self.process.hang_up(LinkId::accepted(1_000).of(ShardIndex(0)));
        self.others -= 1;
    }

    fn stir(&mut self, times: u64) {
        for _ in 0..times {
            self.moves += stir(&mut self.process, &mut self.rng, &[self.mover]);
        }
    }

    /// What somebody is told who says something at any moment.
    fn told(&mut self, who: LinkId, line: &str) -> String {
        let before = self.rng.below(12);
        self.stir(before);
        self.process.feed(who, format!("{line}\r\n").as_bytes());
        self.stir(12);
        self.process.settle();
        self.process.said(who)
    }

    /// Time passes, and shards hear of it in any order.
    fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            let now = &mut self.process.now;
            (now.mono, now.wall.0) = (now.mono + Span::ms(50), now.wall.0 + 50_000);
            for _ in 0..self.process.shards.len() {
                let shard = self.rng.index(self.process.shards.len());
                self.process.step(Whose::Shard(shard), Input::Ticked);
            }
            self.stir(3);
        }
        self.process.settle();
        self.process.pass(Span::ms(200));
    }

    /// Whether the mover was closed, which is once.
    fn is_closed(&self, what: &str) -> bool {
        let link = self.process.link_of(self.mover).expect("it is not under way");
        let closed = self.process.ended.iter().filter(|ended| **ended == link).count();
        let is_there = self.process.shards[usize::from(link.shard().0)].links.contains_key(&link);
        assert_eq!(usize::from(!is_there), closed, "{what}");
        let rows: usize = self.process.shards.iter().map(|shard| shard.links.len()).sum();
        assert_eq!(rows, self.others + usize::from(is_there), "{what}: nothing is left of its moves");
        closed == 1
    }

    fn info(&mut self, field: &str) -> String {
        let info = self.process.ask(self.operator, "INFO everything\r\n");
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in {info}")).into()
    }
}

/// In so many scenes a client moves so often at least.
fn scenes(seeds: u64, settings: &str, mut act: impl FnMut(u64, &mut Scene)) {
    let mut moves = 0;
    for seed in 0..seeds {
        let mut scene = Scene::new(seed, settings);
        act(seed, &mut scene);
        moves += scene.moves;
    }
    assert!(u64::from(moves) > 2 * seeds, "{moves}");
}

#[test]
fn who_moves_is_killed_once_by_any_of_its_names() {
    scenes(400, "", |seed, scene| {
        let id = number(&mut scene.process, scene.mover);
        let (line, reply) = match seed % 10 {
            0 => (format!("CLIENT KILL ID {id}"), ":1\r\n"),
            1 => ("CLIENT KILL ADDR 127.0.0.1:5000".into(), ":1\r\n"),
            2 => ("CLIENT KILL 127.0.0.1:5000".into(), "+OK\r\n"),
            3 => ("CLIENT KILL LADDR 127.0.0.1:7000".into(), ":1\r\n"),
            4 => ("CLIENT KILL NAME me".into(), ":1\r\n"),
            5 => (format!("CLIENT KILL ID {id} TYPE normal USER default SKIPME yes"), ":1\r\n"),
            6 => ("CLIENT KILL FLAGS N".into(), ":1\r\n"),
            7 => ("CLIENT KILL NAME nobody".into(), ":0\r\n"),
            8 => (format!("CLIENT KILL NOT-ID {id} SKIPME yes ADDR 127.0.0.1:5000"), ":0\r\n"),
            _ => (format!("CLIENT KILL ID {id} LADDR 127.0.0.1:7001"), ":0\r\n"),
        };
        let said = scene.told(scene.operator, &line);
        assert_eq!(said, reply, "seed {seed}: {line}");
        assert_eq!(
            scene.is_closed(&format!("seed {seed}: {line}")),
            reply != ":0\r\n",
            "seed {seed}: {line}"
        );
    });
}

#[test]
fn who_moves_kills_whom_it_names() {
    scenes(300, "", |seed, scene| {
        let id = number(&mut scene.process, scene.mover);
        let spares_itself = !seed.is_multiple_of(3);
        let line = if spares_itself { "TYPE normal".into() } else { format!("ID {id} SKIPME no") };
        let said = scene.told(scene.mover, &format!("CLIENT KILL {line}"));
        let what = format!("seed {seed}: CLIENT KILL {line}");
        if spares_itself {
            scene.others = 0;
            assert_eq!(said, ":2\r\n", "{what}");
            assert!(!scene.is_closed(&what), "{what}");
            assert_eq!(scene.told(scene.mover, "CLIENT LIST SKIPME yes"), "$0\r\n\r\n", "{what}");
        } else {
            // It is closed behind its reply, which was taken from it by then.
            let link = scene.process.link_of(scene.mover).expect("it is not under way");
            assert!(!scene.process.ended.contains(&link), "{what}");
            assert_eq!(scene.process.shards.iter().map(Shard::links_at_home).sum::<usize>(), 2, "{what}");
        }
    });
}

#[test]
fn who_moves_is_listed_and_counted_once() {
    scenes(200, "", |seed, scene| {
        let id = number(&mut scene.process, scene.mover);
        for line in ["CLIENT LIST", &format!("CLIENT LIST ID {id}"), "CLIENT LIST NAME me"] {
            let said = scene.told(scene.operator, line);
            assert_eq!(said.matches(" name=me ").count(), 1, "seed {seed}: {line}");
        }
        let info = scene.told(scene.operator, "INFO clients");
        assert!(info.contains("connected_clients:3\r\n"), "seed {seed}: {info}");
        // What it was told to have said of itself is what others see from then on.
        for name in ["you", "her", "him", "all"] {
            scene.process.feed(scene.mover, format!("CLIENT SETNAME {name}\r\n").as_bytes());
            while scene.process.said(scene.mover).is_empty() {
                scene.stir(1);
            }
            let times = scene.rng.below(2);
            scene.stir(times);
            scene.process.feed(scene.operator, b"CLIENT LIST\r\n");
            scene.stir(12);
            scene.process.settle();
            let said = scene.process.said(scene.operator);
            assert_eq!(said.matches(&format!(" name={name} ")).count(), 1, "seed {seed}: {name} in {said}");
            assert_eq!(said.matches(&format!("id={id} ")).count(), 1, "seed {seed}: {name} in {said}");
        }
        assert!(!scene.is_closed(&format!("seed {seed}")));
    });
}

#[test]
fn who_moves_while_all_pause_does_what_it_said_once_and_in_order() {
    scenes(200, "", |seed, scene| {
        let mut said = String::new();
        let mut asked = 0;
        for round in 0..3 {
            for _ in 0..6 {
                asked += 1;
                scene.process.feed(scene.mover, format!("INCR {{k}}\r\nGET {}\r\n", asked % 4).as_bytes());
                let times = scene.rng.below(3);
                scene.stir(times);
                said += &scene.process.said(scene.mover);
                let line = match scene.rng.below(6) {
                    0 => "CLIENT PAUSE 100000 WRITE\r\n",
                    1 => "CLIENT UNPAUSE\r\n",
                    _ => "",
                };
                scene.process.feed(scene.operator, line.as_bytes());
            }
            scene.process.settle();
            assert_eq!(
                scene.told(scene.operator, "CLIENT UNPAUSE").lines().last(),
                Some("+OK"),
                "seed {seed}, {round}"
            );
            scene.process.pass(Span::ms(1));
        }
        said += &scene.process.said(scene.mover);
        let wanted: String = (1..=asked).map(|n| format!(":{n}\r\n$-1\r\n")).collect();
        assert_eq!(said, wanted, "seed {seed}");
    });
}

#[test]
fn who_moves_is_idle_for_as_long_as_it_is() {
    scenes(100, "timeout 2\n", |seed, scene| {
        scene.without_administrator();
        for _ in 0..10 {
            assert_eq!(scene.told(scene.mover, "PING"), "+PONG\r\n", "seed {seed}");
            scene.process.ask(scene.operator, "PING\r\n");
            scene.wait(400);
        }
        assert!(!scene.is_closed(&format!("seed {seed}")));
        for _ in 0..8 {
            scene.wait(400);
            scene.process.ask(scene.operator, "PING\r\n");
        }
        assert!(scene.is_closed(&format!("seed {seed}")), "seed {seed}");
    });
}

/// Replies of so many bytes that nobody reads.
fn burden(process: &mut Process, client: LinkId, bytes: usize) {
    let echo = format!("*2\r\n$4\r\nECHO\r\n${bytes}\r\n{}\r\n", "x".repeat(bytes));
    process.feed(client, echo.as_bytes());
    process.settle();
}

#[test]
fn who_moves_does_not_take_more_than_it_takes() {
    scenes(100, "", |seed, scene| {
        let what = format!("seed {seed}");
        scene.without_administrator();
        scene.told(scene.operator, "CONFIG SET maxmemory-clients 500000");
        burden(&mut scene.process, scene.mover, 300_000);
        for _ in 0..10 {
            scene.wait(100);
        }
        assert!(!scene.is_closed(&what), "{what}: there is room for it");
        let spared = seed.is_multiple_of(2);
        if spared {
            scene.process.feed(scene.mover, b"CLIENT NO-EVICT on\r\n");
            scene.stir(8);
        }
        scene.told(scene.operator, "CONFIG SET maxmemory-clients 150000");
        for _ in 0..10 {
            scene.wait(100);
        }
        assert_eq!(scene.is_closed(&what), !spared, "{what}");
        assert_eq!(scene.info("evicted_clients"), if spared { "0" } else { "1" }, "{what}");
    });
}

#[test]
fn who_moves_with_more_replies_than_it_may_have_is_closed_once() {
    scenes(100, "", |seed, scene| {
        let what = format!("seed {seed}");
        burden(&mut scene.process, scene.mover, 100_000);
        let soft = seed.is_multiple_of(2);
        let limit = if soft { "normal 0 50000 1" } else { "normal 50000 0 0" };
        scene.told(scene.operator, &format!("CONFIG SET client-output-buffer-limit \"{limit}\""));
        if soft {
            scene.wait(500);
            assert!(!scene.is_closed(&what), "{what}: not for long enough");
        }
        scene.wait(2000);
        assert!(scene.is_closed(&what), "{what}");
        assert_eq!(scene.info("client_output_buffer_limit_disconnections"), "1", "{what}");
    });
}

#[test]
fn who_monitors_between_its_moves_sees_every_command_once() {
    scenes(100, "", |seed, scene| {
        for round in 0..4 {
            scene.stir(10);
            assert!(scene.told(scene.mover, "MONITOR").starts_with("+OK\r\n"), "seed {seed}, {round}");
            let line = KEYS.iter().map(|key| format!("SET {key} {seed}.{round}\r\n")).collect::<String>();
            scene.told(scene.operator, line.trim_end());
            let lines = scene.process.said(scene.mover);
            for key in KEYS {
                let shown = format!("\"SET\" \"{key}\" \"{seed}.{round}\"");
                assert_eq!(lines.matches(&shown).count(), 1, "seed {seed}: {shown} in {lines}");
            }
            assert!(scene.told(scene.mover, "RESET").ends_with("+RESET\r\n"), "seed {seed}, {round}");
            scene.told(scene.operator, line.trim_end());
            assert_eq!(scene.process.said(scene.mover), "", "seed {seed}");
        }
        // It leaves in the middle of it.
        scene.process.feed(scene.mover, b"MONITOR\r\n");
        scene.stir(seed % 5);
        scene.process.hang_up(scene.mover);
        scene.process.settle();
        let watched = |shard: &Shard| !shard.data.scrutiny.monitors().is_empty();
        assert!(!scene.process.shards.iter().any(watched), "seed {seed}: nobody watches");
    });
}

#[test]
fn who_watches_keys_between_its_moves_hears_of_changes_once() {
    scenes(150, "", |seed, scene| {
        for round in 0..4 {
            let key = KEYS[scene.rng.index(KEYS.len())];
            scene.stir(10);
            assert_eq!(scene.told(scene.mover, &format!("WATCH {key}\r\nWATCH d")), "+OK\r\n+OK\r\n");
            let changes = scene.rng.one_in(2);
            if changes {
                scene.told(scene.operator, &format!("INCR {key}"));
            }
            let said = scene.told(scene.mover, &format!("MULTI\r\nGET {key}\r\nEXEC\r\nPING"));
            let is_null = said.starts_with("+OK\r\n+QUEUED\r\n*-1\r\n+PONG\r\n");
            assert_eq!(is_null, changes, "seed {seed}, {round}: {said}");
        }
        scene.told(scene.mover, "WATCH a\r\nWATCH b\r\nUNWATCH");
        scene.wait(50);
        assert!(scene.process.shards.iter().all(|shard| shard.data.effects.watched_keys() == 0));
    });
}

#[test]
fn who_waits_between_its_moves_is_woken_once() {
    scenes(200, "", |seed, scene| {
        let id = number(&mut scene.process, scene.mover);
        let unblock = format!("CLIENT UNBLOCK {id}");
        for round in 0..3 {
            scene.process.feed(scene.mover, b"GET a\r\nWAIT 1 0\r\nGET b\r\n");
            let woken = scene.told(scene.operator, &unblock) == ":1\r\n";
            let said = scene.process.said(scene.mover);
            let wanted = if woken { "$-1\r\n:0\r\n$-1\r\n" } else { "$-1\r\n" };
            assert_eq!(said, wanted, "seed {seed}, {round}");
            let later = scene.told(scene.operator, &unblock);
            assert_eq!(later == ":1\r\n", !woken, "seed {seed}, {round}");
            let said = scene.process.said(scene.mover);
            assert_eq!(said, if woken { "" } else { ":0\r\n$-1\r\n" }, "seed {seed}, {round}");
        }
    });
}
