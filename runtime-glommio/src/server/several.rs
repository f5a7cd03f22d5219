//! Several threads with machines made for the test: their mail, their sockets, their end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mio::Poll;
use whimbrel_core::action::{Action, Actions, Ending, Letter, To};
use whimbrel_core::ids::{LinkId, ShardIndex, Ticket};
use whimbrel_core::input::{Input, Progress};
use whimbrel_core::mail::{Mail, Order};
use whimbrel_core::rng::Rng;
use whimbrel_runtime::listen::Listeners;
use whimbrel_runtime::machine::Machine;
use whimbrel_runtime::turn::FIRST;

use super::tests::{Running, free_port, node, puppet, run_all};

/// A message with a number, from one shard to another.
fn numbered(from: u16, to: u16, number: u64) -> Letter {
    let link = LinkId::accepted(1).of(ShardIndex(from));
    let reply = number.to_le_bytes().to_vec().into();
    Letter { to: To::Shard(ShardIndex(to)), mail: Mail::Order(Order::Answer { link, reply }) }
}

/// The sender and the number of such a message.
fn read(mail: &Mail) -> Option<(u16, u64)> {
    let Mail::Order(Order::Answer { link, reply }) = mail else { return None };
    Some((link.shard().0, u64::from_le_bytes(reply.as_ref().try_into().ok()?)))
}

#[test]
fn mail_between_any_two_threads_keeps_its_order_however_much_it_is() {
    const THREADS: u16 = 3;
    const EACH: u64 = 30_000;
    let (tell, told) = mpsc::channel();
    let shard = |me: u16| {
        let tell = tell.clone();
        let mut rng = Rng::new(u64::from(me));
        let (mut sent, mut heard) = (0, [0; THREADS as usize]);
        puppet(move |_, _, input, out| {
            if let Input::Mailed(mail) = &input {
                let (from, number) = read(mail).unwrap();
                assert_eq!(heard[usize::from(from)], number, "from {from} to {me}");
                heard[usize::from(from)] += 1;
                if heard.iter().sum::<u64>() == EACH * u64::from(THREADS - 1) {
                    tell.send(me).unwrap();
                }
            }
            if matches!(input, Input::Ticked | Input::Observed(_)) {
                // More at once than there is room for, now and then.
                for _ in 0..rng.below(4000).min(EACH - sent) {
                    out.mail.extend((0..THREADS).filter(|to| *to != me).map(|to| numbered(me, to, sent)));
                    sent += 1;
                }
            }
            if sent < EACH { Progress::More } else { Progress::Idle }
        })
    };
    let mut server = run_all(node(), (0..THREADS).map(shard).collect());
    let mut done: Vec<u16> =
        (0..THREADS).map(|_| told.recv_timeout(Duration::from_secs(20)).expect("all mail")).collect();
    done.sort_unstable();
    assert_eq!(done, [0, 1, 2]);
    assert_eq!(server.end(), 7);
}

/// A shard that greets with its index and then answers every byte with what `act` appends.
fn greeter(
    me: u16,
    mut act: impl FnMut(&mut Vec<u8>, Input<'_>, &mut Actions) + Send + 'static,
) -> Box<dyn Machine> {
    puppet(move |hands, _, input, out| {
        let link = match input {
            Input::Opened { link, .. } => {
                assert_eq!(link.shard(), ShardIndex(me));
                hands.outboxes.get_mut(&link).unwrap().write(&[me as u8]);
                Some(link)
            }
            Input::Filled { link, .. } => Some(link),
            _ => None,
        };
        let mut reply = Vec::new();
        act(&mut reply, input, out);
        if let Some(link) = link {
            hands.outboxes.get_mut(&link).unwrap().write(&reply);
            out.push(Action::Flush { link });
        }
        Progress::Idle
    })
}

/// A client of each thread.
fn clients(server: &Running, threads: usize) -> Vec<TcpStream> {
    let mut found: Vec<Option<TcpStream>> = (0..threads).map(|_| None).collect();
    let end = Instant::now() + Duration::from_secs(10);
    while found.iter().any(Option::is_none) {
        assert!(Instant::now() < end, "all threads take in clients");
        let mut client = server.client();
        let mut index = [0];
        client.read_exact(&mut index).unwrap();
        found[usize::from(index[0])].get_or_insert(client);
    }
    found.into_iter().flatten().collect()
}

#[test]
fn what_was_said_before_bytes_were_sent_is_known_before_their_answer_comes() {
    let mut rng = Rng::new(1);
    let mut sent = 0;
    let teller = greeter(1, move |reply, input, out| {
        if let Input::Filled { .. } = input {
            // Often one, sometimes more than there is room for.
            let many = if rng.below(20) == 0 { 3000 } else { rng.below(3) };
            for _ in 0..many {
                out.mail.push(numbered(1, 0, sent));
                sent += 1;
            }
            reply.extend(u64::to_le_bytes(sent));
        }
    });
    let mut heard = 0;
    let listener = greeter(0, move |reply, input, _| match input {
        Input::Mailed(mail) => {
            assert_eq!(read(&mail), Some((1, heard)));
            heard += 1;
        }
        Input::Filled { .. } => reply.extend(u64::to_le_bytes(heard)),
        _ => {}
    });
    let server = run_all(node(), vec![listener, teller]);
    let mut clients = clients(&server, 2);
    let mut ask = |which: usize| {
        let mut got = [0; 8];
        clients[which].write_all(b"x").unwrap();
        clients[which].read_exact(&mut got).unwrap();
        u64::from_le_bytes(got)
    };
    for round in 0..3000 {
        let said = ask(1);
        assert_eq!(ask(0), said, "round {round}");
    }
}

#[test]
fn mail_that_comes_in_the_middle_of_a_turn_is_known_before_bytes_that_come_later() {
    const LONG: Duration = Duration::from_millis(5);
    let mut sent = 0;
    let teller = greeter(1, move |reply, input, out| {
        if let Input::Filled { .. } = input {
            out.mail.push(numbered(1, 0, sent));
            sent += 1;
            reply.extend(u64::to_le_bytes(sent));
        }
    });
    let mut heard = 0_u64;
    let listener = greeter(0, move |reply, input, _| match input {
        Input::Mailed(_) => heard += 1,
        // One client makes turns long …
        Input::Filled { bytes, .. } if bytes.contains(&b'n') => thread::sleep(LONG),
        // … and the other one's question comes when its socket is about to be read.
        Input::Filled { bytes, .. } if bytes.contains(&b'?') => reply.extend(heard.to_le_bytes()),
        _ => {}
    });
    let server = run_all(node(), vec![listener, teller]);
    let [mut asker, mut other] = <[TcpStream; 2]>::try_from(clients(&server, 2)).unwrap();
    let mut noise = clients(&server, 2).remove(0);
    let mut got = [0; 8];
    for round in 0..40 {
        // In a first turn nothing happens; that leaves a second one with two sockets to read.
        noise.write_all(b"n").unwrap();
        thread::sleep(LONG / 4);
        noise.write_all(b"n").unwrap();
        asker.write_all(b".").unwrap();
        thread::sleep(LONG);
        other.write_all(b"x").unwrap();
        other.read_exact(&mut got).unwrap();
        let said = u64::from_le_bytes(got);
        asker.write_all(b"?").unwrap();
        asker.read_exact(&mut got).unwrap();
        assert_eq!(u64::from_le_bytes(got), said, "round {round}");
    }
}

#[test]
fn the_end_of_one_is_the_end_of_all_and_nobody_listens_then() {
    let big = vec![7; 6_000_000];
    let owed = big.clone();
    let shards = (0..3).map(|me| {
        let big = big.clone();
        greeter(me, move |reply, input, _| {
            if let Input::Filled { .. } = input {
                reply.extend(&big);
            }
        })
    });
    let mut server = run_all(node(), shards.collect());
    let readers: Vec<_> = clients(&server, 3)
        .into_iter()
        .map(|mut client| {
            client.write_all(b"x").unwrap();
            // The first bytes are there, so the reply is made.
            client.read_exact(&mut [0]).unwrap();
            thread::spawn(move || {
                let mut got = Vec::new();
                let _ = client.read_to_end(&mut got);
                got.len() + 1
            })
        })
        .collect();
    let port = server.config.port;
    assert_eq!(server.end(), 7);
    readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), owed.len()));
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    let poll = Poll::new().unwrap();
    let mut config = server.config.clone();
    config.unixsocket.clear();
    drop(Listeners::open(&config, poll.registry(), FIRST).expect("the port is free at once"));
}

#[test]
fn what_another_thread_was_asked_before_the_end_is_answered() {
    let answered = Arc::new(AtomicU64::new(0));
    let counted = answered.clone();
    // The second answers for the first, and takes its time.
    let second = greeter(1, move |_, input, out| {
        if let Input::Mailed(Mail::Order(order)) = input {
            thread::sleep(Duration::from_millis(1));
            counted.fetch_add(1, Ordering::SeqCst);
            out.mail.push(Letter { to: To::Shard(ShardIndex(0)), mail: Mail::Order(order) });
        }
    });
    let first = puppet(|hands, _, input, out| {
        let (link, reply) = match input {
            Input::Opened { link, .. } => (link, 0),
            Input::Mailed(Mail::Order(Order::Answer { link, .. })) => (link, 1),
            Input::Filled { link, bytes } => {
                let reply = bytes::Bytes::new();
                let ask = || Letter {
                    to: To::Shard(ShardIndex(1)),
                    mail: Mail::Order(Order::Answer { link, reply: reply.clone() }),
                };
                out.mail.extend(bytes.iter().map(|_| ask()));
                return Progress::Idle;
            }
            _ => return Progress::Idle,
        };
        hands.outboxes.get_mut(&link).unwrap().write(&[reply]);
        out.push(Action::Flush { link });
        Progress::Idle
    });
    let mut server = run_all(node(), vec![first, second]);
    let mut asker = clients(&server, 2).remove(0);
    asker.write_all(&[1; 100]).unwrap();
    asker.read_exact(&mut [0; 10]).unwrap();
    assert_eq!(server.end(), 7);
    let mut rest = Vec::new();
    let _ = asker.read_to_end(&mut rest);
    assert_eq!((rest.len() + 10) as u64, answered.load(Ordering::SeqCst));
    assert_eq!(rest.len(), 90, "all that was asked before");
}

#[test]
fn a_port_where_several_threads_listen_is_in_use() {
    let server = run_all(node(), (0..2).map(|me| greeter(me, |_, _, _| {})).collect());
    let poll = Poll::new().unwrap();
    let mut config = server.config.clone();
    config.unixsocket.clear();
    for shards in [1, 2] {
        config.shards = shards;
        let trouble = Listeners::open(&config, poll.registry(), FIRST).map(|_| ()).unwrap_err();
        assert_eq!(trouble, format!("Failed listening on port {} (tcp), aborting.", config.port));
    }
}

#[test]
fn all_threads_listen_elsewhere_when_one_is_told_to() {
    let (tell, told) = mpsc::channel();
    let ports = [free_port(), free_port()];
    let moves = Arc::new(AtomicU64::new(0));
    let mut settings = None;
    let first = greeter(0, move |_, input, out| match input {
        Input::Filled { bytes, .. } => {
            let mut config: whimbrel_core::config::Config = Option::take(&mut settings).unwrap_or_default();
            config.port = ports[usize::from(bytes[0])];
            (config.bind, config.shards) = (vec!["127.0.0.1".into()], 2);
            settings = Some(config.clone());
            let ticket = Ticket(moves.fetch_add(1, Ordering::Relaxed) + 1);
            out.push(Action::Listen { ticket, config: Arc::new(config) });
        }
        Input::Done { result, .. } => tell.send(result.is_ok()).unwrap(),
        _ => {}
    });
    let mut server = run_all(node(), vec![first, greeter(1, |_, _, _| {})]);
    let mut teller = clients(&server, 2).remove(0);
    for to in [0, 1, 0] {
        let before = server.config.port;
        teller.write_all(&[to]).unwrap();
        assert!(told.recv().unwrap());
        server.config.port = ports[usize::from(to)];
        clients(&server, 2);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, before)).is_err(), "nobody listens at {before}");
    }
    // Where somebody else is, it cannot go, and stays.
    let _other = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, ports[1])).unwrap();
    teller.write_all(&[1]).unwrap();
    assert!(!told.recv().unwrap());
    clients(&server, 2);
}

#[test]
fn a_link_of_another_thread_may_be_closed_by_mail() {
    // The second shard closes its only client when the first says so, whatever the client is just sending.
    let mut links = Vec::new();
    let second = puppet(move |hands, _, input, out| {
        match input {
            Input::Opened { link, .. } => {
                hands.outboxes.get_mut(&link).unwrap().write(&[1]);
                out.push(Action::Flush { link });
                links.push(link);
            }
            Input::Filled { link, .. } => assert!(links.contains(&link), "it is heard after its end"),
            Input::Mailed(_) => {
                for link in links.drain(..) {
                    out.push(Action::Close { link, ending: Ending::Abrupt });
                }
            }
            _ => {}
        }
        Progress::Idle
    });
    let mut number = 0;
    let first = greeter(0, move |_, input, out| {
        if let Input::Filled { .. } = input {
            out.mail.push(numbered(0, 1, number));
            number += 1;
        }
    });
    let server = run_all(node(), vec![first, second]);
    let mut closer = clients(&server, 2).remove(0);
    for _ in 0..200 {
        let mut victim = clients(&server, 2).remove(1);
        let writer = thread::spawn(move || while victim.write_all(&[0; 100]).is_ok() {});
        closer.write_all(b"x").unwrap();
        // More may have been opened meanwhile, which the next one closes.
        writer.join().unwrap();
    }
}
