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

/// Who ends its own link, or deletes its user, in the middle of its EXEC: it hears nothing of what comes after.
#[test]
fn an_exec_is_carried_out_whole_if_one_of_its_commands_ends_its_client() {
    for (shards, seed, deletes) in
        [1, 4].into_iter().flat_map(|n| (0..20).map(move |seed| (n, seed / 2, seed % 2 == 0)))
    {
        let mut process = Process::new(shards, seed);
        let (admin, other) = (process.connect(0, 1), process.connect(0, 2));
        process.ask(admin, "ACL SETUSER u on nopass +@all ~* &*\r\n");
        let client = process.connect((seed % u64::from(shards)) as u16, 3);
        let id = process.ask(client, "AUTH u x\r\nCLIENT ID\r\n");
        let id = id.trim_matches(|c: char| !c.is_ascii_digit());
        let last = if deletes { "ACL DELUSER u".into() } else { format!("CLIENT KILL ID {id} SKIPME no") };
        let exec = format!("MULTI\r\nSET a 1\r\n{last}\r\nSET {{a}}2 1\r\nEXEC\r\nSET {{a}}3 1\r\n");
        let mut said = String::new();
        process.feed(client, exec.as_bytes());
        while process.deliver() {
            said += &process.said(client);
        }
        let what = format!("{shards} shards, {last}, seed {seed}: {said}");
        assert!(!said.contains(":1\r\n+OK"), "{what}");
        assert_eq!(process.ask(other, "DBSIZE\r\n"), ":2\r\n", "{what}");
        assert_at_rest(&process, &what);
        let left = process.shards.iter().map(|shard| shard.links.len()).sum::<usize>();
        assert_eq!(left, 3, "{what}");
    }
}

#[test]
fn an_exec_is_carried_out_whole_even_if_its_client_is_no_user_any_more() {
    let (mut done, mut undone) = (0, 0);
    for seed in 0..400 {
        let mut process = Process::new(4, seed);
        let (admin, other) = (process.connect(0, 1), process.connect(1, 2));
        process.ask(admin, "ACL SETUSER u on nopass +@all ~* &*\r\n");
        let client = process.connect((seed % 4) as u16, 3);
        process.ask(client, "AUTH u x\r\n");
        process.feed(
            client,
            b"MULTI\r\nSET a 1\r\nDBSIZE\r\nSET {a}2 1\r\nCLIENT LIST\r\nSET {a}3 1\r\nEXEC\r\n",
        );
        for _ in 0..seed % 30 {
            process.deliver();
        }
        process.feed(admin, b"ACL DELUSER u\r\n");
        process.settle();
        match process.ask(other, "DBSIZE\r\n").as_str() {
            ":0\r\n" => undone += 1,
            ":3\r\n" => done += 1,
            some => panic!("seed {seed}: {some}"),
        }
        assert_at_rest(&process, &format!("seed {seed}"));
        let left = process.shards.iter().map(|shard| shard.links.len()).sum::<usize>();
        assert_eq!(left, 3, "seed {seed}");
    }
    assert!(done > 10 && undone > 10, "{done} done, {undone} not");
}

/// Who does not read its answers is given up again at every look, as long as its EXEC takes.
#[test]
fn an_exec_is_carried_out_whole_even_if_its_client_is_given_up_twice() {
    let (mut done, mut undone) = (0, 0);
    for seed in 0..200 {
        let mut process = Process::with(4, seed, "client-output-buffer-limit normal 0 1kb 1\n");
        let (client, other) = (process.connect((seed % 4) as u16, 1), process.connect(1, 2));
        let home = Whose::Shard(client.shard().0.into());
        process.feed(client, format!("ECHO {}\r\n", "x".repeat(20_000)).as_bytes());
        process.pass(Span::ms(200));
        process.feed(
            client,
            b"MULTI\r\nSET a 1\r\nDBSIZE\r\nSET {a}2 1\r\nCLIENT LIST\r\nSET {a}3 1\r\nEXEC\r\n",
        );
        for _ in 0..seed / 4 {
            process.deliver();
        }
        for _ in 0..2 {
            process.now.mono = process.now.mono + Span::ms(1100);
            process.step(home, Input::Ticked);
        }
        process.settle();
        match process.ask(other, "DBSIZE\r\n").as_str() {
            ":0\r\n" => undone += 1,
            ":3\r\n" => done += 1,
            some => panic!("seed {seed}: {some}"),
        }
        assert_at_rest(&process, &format!("seed {seed}"));
        let left = process.shards.iter().map(|shard| shard.links.len()).sum::<usize>();
        assert_eq!(left, 2, "seed {seed}");
    }
    assert!(done > 20 && undone > 20, "{done} done, {undone} not");
}
