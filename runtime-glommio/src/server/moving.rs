//! Links that move between threads, with machines made for the test: they say back what they hear, and give the link away
//! whenever a certain byte is among it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use whimbrel_core::action::{Action, Actions, Letter, To};
use whimbrel_core::ids::{LinkId, ShardIndex};
use whimbrel_core::input::{Input, Progress};
use whimbrel_core::link::Outbox;
use whimbrel_core::mail::{Mail, Order};
use whimbrel_core::rng::Rng;
use whimbrel_runtime::machine::Machine;

use super::tests::{Hands, node, puppet, run_all};

/// The byte that makes a link move.
const MOVE: u8 = 0;
/// The byte that makes the other thread give a link away, whatever comes on it at that time.
const NUDGE: u8 = 1;

/// What the machines of a test have seen.
#[derive(Default)]
struct Seen {
    opened: AtomicU64,
    closed: AtomicU64,
    moves: AtomicU64,
    /// Bytes that were said back.
    owed: AtomicU64,
    /// How often links go on as soon as they come.
    hops: AtomicU64,
}

/// The other shard of two is given a link, with what is not sent on it.
fn give(hands: &mut Hands, link: LinkId, out: &mut Actions) {
    let to = ShardIndex(1 - link.shard().0);
    let outbox = hands.outboxes.remove(&link).unwrap();
    let unsent: Vec<u8> = outbox.chunks().flatten().copied().collect();
    let mail = Mail::Order(Order::Answer { link, reply: unsent.into() });
    // As the core does: the action is carried out before the mail is sent, and the socket comes behind it all the same.
    out.push(Action::Move { link, to });
    out.mail.push(Letter { to: To::Shard(to), mail });
}

fn mover(seen: &Arc<Seen>) -> Box<dyn Machine> {
    let seen = seen.clone();
    let mut coming: HashMap<LinkId, Bytes> = HashMap::new();
    puppet(move |hands, _, input, out| {
        match input {
            Input::Opened { .. } => drop(seen.opened.fetch_add(1, Ordering::SeqCst)),
            Input::Mailed(Mail::Order(Order::Answer { link, reply })) => {
                assert!(coming.insert(link, reply).is_none());
            }
            Input::Mailed(Mail::Order(Order::Mark(_))) => {
                if let Some(link) = hands.outboxes.keys().min().copied() {
                    seen.moves.fetch_add(1, Ordering::SeqCst);
                    give(hands, link, out);
                }
            }
            Input::Moved { link, from } => {
                let mut outbox = Outbox::default();
                outbox.push(coming.remove(&from).expect("what is to be said is here before the socket"));
                hands.outboxes.insert(link, outbox);
                let hop = |hops: u64| hops.checked_sub(1);
                match seen.hops.fetch_update(Ordering::SeqCst, Ordering::SeqCst, hop) {
                    Ok(_) => give(hands, link, out),
                    Err(_) => out.push(Action::Flush { link }),
                }
            }
            Input::Filled { link, bytes } => {
                hands.outboxes.get_mut(&link).expect("a link that is here").write(bytes);
                seen.owed.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                if bytes.contains(&NUDGE) {
                    let to = To::Shard(ShardIndex(1 - link.shard().0));
                    out.mail.push(Letter { to, mail: Mail::Order(Order::Mark(0)) });
                }
                if bytes.contains(&MOVE) {
                    seen.moves.fetch_add(1, Ordering::SeqCst);
                    give(hands, link, out);
                } else {
                    out.push(Action::Flush { link });
                }
            }
            Input::Closed { link } => {
                assert!(hands.outboxes.contains_key(&link), "{link} is closed once, where it is");
                seen.closed.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
        Progress::Idle
    })
}

/// Bytes of which one in so many makes the link move.
fn stream(rng: &mut Rng, len: usize, one_in: u64) -> Vec<u8> {
    (0..len).map(|_| if rng.one_in(one_in) { MOVE } else { 1 + rng.below(255) as u8 }).collect()
}

#[test]
fn bytes_of_links_that_move_come_in_order_both_ways() {
    let seen = Arc::new(Seen::default());
    let mut server = run_all(node(), vec![mover(&seen), mover(&seen)]);
    let talk = |seed: u64| {
        let mut client = server.client();
        let mut writer = client.try_clone().unwrap();
        let mut rng = Rng::new(seed);
        // Some in small pieces, some so much that neither socket takes it at once.
        let (len, one_in) = if seed.is_multiple_of(2) { (20_000, 50) } else { (4_000_000, 20_000) };
        let said = stream(&mut rng, len, one_in);
        let saying = said.clone();
        thread::spawn(move || {
            let mut rest = &saying[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(1 + rng.index(len / 100)));
                writer.write_all(now).unwrap();
                rest = later;
            }
        });
        thread::spawn(move || {
            if seed.is_multiple_of(3) {
                thread::sleep(Duration::from_millis(50));
            }
            let mut heard = vec![0; said.len()];
            client.read_exact(&mut heard).unwrap_or_else(|e| panic!("client {seed}: {e}"));
            assert!(heard == said, "client {seed} hears what it said");
        })
    };
    let talks: Vec<_> = (0..8).map(talk).collect();
    talks.into_iter().for_each(|talk| talk.join().unwrap());
    assert!(seen.moves.load(Ordering::SeqCst) > 100, "{:?}", seen.moves);
    assert_eq!(server.end(), 7);
}

#[test]
fn a_client_that_goes_while_its_link_moves_is_closed_once() {
    let seen = Arc::new(Seen::default());
    let server = run_all(node(), vec![mover(&seen), mover(&seen)]);
    let mut rng = Rng::new(3);
    for n in 0..300 {
        let mut client = server.client();
        let bytes = stream(&mut rng, 100, 10);
        client.write_all(&bytes).unwrap();
        match n % 3 {
            // With replies unread, so that it is a reset.
            0 => {}
            1 => client.shutdown(Shutdown::Both).unwrap(),
            _ => client.read_exact(&mut [0; 10]).unwrap(),
        }
    }
    let end = Instant::now() + Duration::from_secs(10);
    while seen.closed.load(Ordering::SeqCst) < 300 {
        assert!(Instant::now() < end, "all are closed: {:?}", seen.closed);
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(seen.opened.load(Ordering::SeqCst), 300);
    // Whoever comes then is served.
    let mut client: TcpStream = server.client();
    client.write_all(&[MOVE, 2]).unwrap();
    let mut heard = [9; 2];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(heard, [MOVE, 2]);
}

#[test]
fn the_end_of_the_process_loses_nothing_of_a_link_that_moves() {
    for round in 0..10 {
        let seen = Arc::new(Seen::default());
        // It goes to and fro, and has nothing sent, for some tenths of a second.
        seen.hops.store(5_000, Ordering::SeqCst);
        let mut server = run_all(node(), vec![mover(&seen), mover(&seen)]);
        let mut client = server.client();
        let said = [[MOVE; 1].as_slice(), &[2; 99]].concat();
        client.write_all(&said).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while seen.owed.load(Ordering::SeqCst) < 100 {
            assert!(Instant::now() < end, "it is heard");
            thread::sleep(Duration::from_micros(100));
        }
        assert_eq!(server.end(), 7);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        assert!(heard == said, "round {round}: {} bytes", heard.len());
    }
}
