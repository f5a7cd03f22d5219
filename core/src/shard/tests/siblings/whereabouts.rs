//! Clients that move while others name them.

use super::settling::send_away;
use super::*;

/// The number of a client.
pub(super) fn number(process: &mut Process, client: LinkId) -> String {
    process.ask(client, "CLIENT ID\r\n").trim_matches([':', '\r', '\n']).into()
}

/// A moment in which clients move, if they may, and letters come.
pub(super) fn stir(process: &mut Process, rng: &mut Rng, clients: &[LinkId]) -> u32 {
    let mut moves = 0;
    for client in clients {
        let by = 1 + rng.below(process.shards.len() as u64 - 1) as u16;
        moves += u32::from(rng.one_in(2) && send_away(process, *client, by));
    }
    for _ in 0..rng.below(4) {
        process.deliver();
    }
    moves
}

pub(super) const KEYS: [&str; 4] = ["a", "b", "c", "d"];

fn of_all_keys(word: &str) -> String {
    KEYS.iter().map(|key| format!("{word} {key}\r\n")).collect()
}

#[test]
fn who_hears_for_others_is_found_while_it_moves() {
    let mut moves = 0;
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let shards = [2, 3, 4, 5][rng.index(4)];
        let mut process = Process::new(shards, seed);
        let [client, listener, writer] =
            [1, 2, 3].map(|n| process.connect(rng.below(shards.into()) as u16, n));
        process.ask(client, "HELLO 3\r\n");
        process.ask(listener, "HELLO 3\r\n");
        let id = number(&mut process, listener);
        let asks_at = rng.below(15);
        for step in 0..25 {
            if step == asks_at {
                let text = format!("CLIENT TRACKING on REDIRECT {id}\r\n{}", of_all_keys("GET"));
                process.feed(client, text.as_bytes());
            }
            moves += stir(&mut process, &mut rng, &[listener, client]);
        }
        process.settle();
        let said = process.said(client);
        assert_eq!(said, format!("+OK\r\n{}", "_\r\n".repeat(4)), "seed {seed}");
        process.feed(writer, of_all_keys("INCR").as_bytes());
        for _ in 0..10 {
            stir(&mut process, &mut rng, &[listener, client, writer]);
        }
        process.settle();
        let heard = process.said(listener);
        for key in KEYS {
            let told = heard.matches(&format!("$1\r\n{key}\r\n")).count();
            assert_eq!(told, 1, "seed {seed}: {key} in {heard}");
        }
        assert_eq!(heard.matches("invalidate").count(), 4, "seed {seed}");
    }
    assert!(moves > 1500, "{moves}");
}

#[test]
fn what_a_client_read_is_remembered_while_it_does_not_track() {
    let mut process = Process::new(2, 1);
    let (client, writer) = (process.connect(0, 1), process.connect(1, 2));
    process.ask(client, "HELLO 3\r\nCLIENT TRACKING on\r\n");
    process.ask(client, &of_all_keys("GET"));
    process.ask(client, "CLIENT TRACKING off\r\n");
    send_away(&mut process, client, 1);
    process.settle();
    process.ask(client, "CLIENT TRACKING on\r\n");
    process.ask(writer, &of_all_keys("INCR"));
    assert_eq!(process.said(client).matches("invalidate").count(), 4);
}

#[test]
fn who_moves_takes_one_place() {
    let mut moves = 0;
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let shards = [2, 3, 5][rng.index(3)];
        // The administrator of the process takes one.
        let (clients, free) = (2 + rng.below(5), 1 + rng.below(4));
        let mut process = Process::with(shards, seed, &format!("maxclients {}", 1 + clients + free));
        let mut clients: Vec<LinkId> =
            (0..clients).map(|n| process.connect(rng.below(shards.into()) as u16, n)).collect();
        process.pass(Span::ms(200));
        let door = rng.below(shards.into()) as u16;
        for n in 0..free + 2 {
            for _ in 0..rng.below(12) {
                moves += stir(&mut process, &mut rng, &clients);
            }
            let comes = process.connect(door, 100 + n);
            process.feed(comes, b"PING\r\n");
            assert_eq!(process.said(comes) == "+PONG\r\n", n < free, "seed {seed}: {n} of {free}");
        }
        // Who leaves, in the middle of it or not, leaves a place.
        let leaves = clients.swap_remove(rng.index(clients.len()));
        if rng.one_in(3) {
            process.lose(leaves);
        } else {
            process.hang_up(leaves);
        }
        process.settle();
        for n in 0..2 {
            let comes = process.connect(door, 200 + n);
            process.feed(comes, b"PING\r\n");
            assert_eq!(process.said(comes) == "+PONG\r\n", n < 1, "seed {seed}: {n} after one has left");
        }
        let here: usize = process.shards.iter().map(Shard::links_at_home).sum();
        assert_eq!(here as u64, 1 + clients.len() as u64 + free + 1, "seed {seed}");
    }
    assert!(moves > 1000, "{moves}");
}
