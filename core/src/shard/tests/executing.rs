//! An EXEC over several shards: whole, uninterrupted, and never through a hold.

use super::siblings::{Process, Whose};
use super::together::assert_at_rest;
use super::*;
use crate::slots::Slot;

#[test]
fn an_exec_is_carried_out_whole_even_if_its_client_leaves() {
    let (mut done, mut undone) = (0, 0);
    for seed in 0..300 {
        let mut process = Process::new(4, seed);
        let (client, other) = (process.connect((seed % 4) as u16, 1), process.connect(1, 2));
        process.feed(
            client,
            b"MULTI\r\nSET a 1\r\nDBSIZE\r\nSET {a}2 1\r\nCLIENT LIST\r\nSET {a}3 1\r\nEXEC\r\n",
        );
        for _ in 0..seed / 5 {
            process.deliver();
        }
        process.step(Whose::Shard(client.shard().0.into()), Input::Closed { link: client });
        process.settle();
        match process.ask(other, "DBSIZE\r\n").as_str() {
            ":0\r\n" => undone += 1,
            ":3\r\n" => done += 1,
            some => panic!("seed {seed}: {some}"),
        }
        assert_at_rest(&process, &format!("seed {seed}"));
        let left = process.shards.iter().map(|shard| shard.links.len()).sum::<usize>();
        assert_eq!(left, 2, "seed {seed}: the client of the setting up and the other one");
    }
    assert!(done > 30 && undone > 30, "{done} done, {undone} not");
}

#[test]
fn nothing_comes_between_the_replies_of_an_exec_of_who_hears_for_another() {
    let mut heard = 0;
    for seed in 0..100 {
        let mut process = Process::new(4, seed);
        let (tracker, other) = (process.connect(0, 1), process.connect(1, 2));
        let listener = process.connect((seed % 4) as u16, 3);
        process.ask(listener, "HELLO 3\r\n");
        let id = process.ask(listener, "CLIENT ID\r\n");
        let redirect = format!("CLIENT TRACKING on REDIRECT {}\r\n", id.trim_matches([':', '\r', '\n']));
        process.ask(tracker, &redirect);
        process.ask(tracker, "GET a\r\nGET b\r\nGET c\r\nGET d\r\n");
        process.feed(other, b"SET a 1\r\nSET b 1\r\nSET c 1\r\nSET d 1\r\n");
        process.feed(listener, b"MULTI\r\nDBSIZE\r\nGET q\r\nDBSIZE\r\nGET q\r\nDBSIZE\r\nEXEC\r\n");
        process.settle();
        let said = process.said(listener);
        let replies = &said[said.find("*5\r\n").expect("an EXEC")..];
        let lines: Vec<&str> = replies.split("\r\n").take(6).collect();
        assert!(lines[1..].iter().all(|line| line.starts_with([':', '_'])), "seed {seed}: {said}");
        heard += said.matches("invalidate").count();
        assert_eq!(said.matches("invalidate").count(), 4, "seed {seed}: {said}");
    }
    assert!(heard > 0);
}

#[test]
fn an_exec_over_all_shards_waits_for_the_hold_of_a_migration() {
    let slots = |key: &[u8]| {
        let mut slots = crate::slots::SlotSet::default();
        slots.insert(Slot::of(key));
        Scope::Slots(slots.into())
    };
    for (seed, key) in (0..60).flat_map(|seed| ["a", "b", "c"].map(|key| (seed, key))) {
        let mut process = Process::new(4, seed);
        let (client, other) = (process.connect((seed % 4) as u16, 1), process.connect(1, 2));
        let held = usize::from(Slot::of(key.as_bytes()).number() % 4);
        let exec = format!("MULTI\r\nSET {key} 1\r\nDBSIZE\r\nSET {{{key}}}2 1\r\nEXEC\r\n");
        process.feed(client, exec.as_bytes());
        for _ in 0..seed / 3 {
            process.deliver();
        }
        // The hold begins at any point of it: before the EXEC writes, or after all of it.
        let until = Some(process.now.mono + Span::secs(60));
        let shard = &mut process.shards[held];
        let hold = shard.data.holds.begin(slots(key.as_bytes()), Class::Writes, Reason::Migration, until);
        let waits_for_exec = shard.data.holds.is_transaction_waiting();
        let before = shard.data.store.slot_len(0, Slot::of(key.as_bytes()));
        process.settle();
        let slot = Slot::of(key.as_bytes());
        let after = process.shards[held].data.store.slot_len(0, slot);
        assert!(after == before || waits_for_exec, "seed {seed}: a write came through the hold");
        assert!(after == 0 || after == 2, "seed {seed}: half of an EXEC");
        // Nobody else is held meanwhile.
        assert_eq!(process.ask(other, "SET q 1\r\nGET q\r\n"), "+OK\r\n$1\r\n1\r\n", "seed {seed}");
        let shard = &mut process.shards[held];
        shard.woken |= shard.data.holds.end(hold);
        process.pass(Span::ms(1));
        assert!(process.said(client).contains("*3\r\n+OK\r\n:"), "seed {seed}: it is done now");
        assert_at_rest(&process, &format!("seed {seed}"));
    }
}
