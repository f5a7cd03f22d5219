//! Suspecting, agreeing, recovering; and what the cluster state makes of it.

use std::vec::Vec;

use super::rig::{Peer, Rig, TIMEOUT_MS, body, config};
use crate::cluster::{Action, ClusterConfig, Health, Input, Why};
use crate::ids::LinkId;
use crate::wire::bus::{Body, Kind, NodeFlags, State};

/// A machine with slots 0-99 and the others of `slots`, all joined; links in the same order.
fn cluster(slots: &[(u8, &[(u16, u16)])]) -> (Rig, Vec<(Peer, LinkId)>) {
    let mut rig = Rig::owning(1, &[(0, 99)]);
    let peers = slots.iter().enumerate().map(|(i, (letter, slots))| {
        let mut peer = Peer::owning(*letter, 2 + i as u64, slots);
        let link = rig.join(&mut peer);
        (peer, link)
    });
    let peers = peers.collect();
    (rig, peers)
}

/// Closes both links of a peer and refuses new ones, while the others keep talking.
fn silence(rig: &mut Rig, lost: &(Peer, LinkId), others: &[&(Peer, LinkId)], ms: u64) {
    rig.input(Input::Closed { link: lost.0.inbound.unwrap() });
    rig.input(Input::Closed { link: lost.1 });
    let others: Vec<_> = others.iter().map(|(peer, link)| (peer, *link)).collect();
    for _ in 0..ms / 500 {
        rig.wait_with(500, &others);
        let dialed: Vec<_> = rig.out.iter().filter_map(dialed).collect();
        for link in dialed {
            rig.input(Input::ConnectFailed { link, reason: "Connection refused" });
        }
    }
}

fn dialed(action: &Action) -> Option<LinkId> {
    match action {
        Action::Connect { link, .. } => Some(*link),
        _ => None,
    }
}

#[test]
fn a_silent_node_is_suspected_after_the_timeout_and_not_before() {
    let (mut rig, peers) = cluster(&[(b'b', &[(100, 199)]), (b'c', &[(200, 299)])]);
    silence(&mut rig, &peers[0], &[&peers[1]], TIMEOUT_MS - 500);
    assert_eq!(rig.row(peers[0].0.id).health, Health::Up);
    silence(&mut rig, &peers[0], &[&peers[1]], TIMEOUT_MS);
    assert_eq!(rig.row(peers[0].0.id).health, Health::Suspected);
    assert!(!rig.row(peers[0].0.id).connected);
    assert_eq!(rig.sent().iter().filter(|(_, kind)| *kind == Kind::Fail).count(), 0, "nobody agrees yet");
}

#[test]
fn a_connection_that_hangs_is_noticed() {
    let (mut rig, peers) = cluster(&[(b'b', &[(100, 199)])]);
    rig.input(Input::Closed { link: peers[0].0.inbound.unwrap() });
    rig.input(Input::Closed { link: peers[0].1 });
    rig.wait(2 * TIMEOUT_MS);
    assert_ne!(rig.row(peers[0].0.id).health, Health::Up);
}

#[test]
fn anything_heard_from_a_node_keeps_it_up() {
    let (mut rig, peers) = cluster(&[(b'b', &[(100, 199)])]);
    for _ in 0..10 {
        // It never answers our pings, but it speaks.
        rig.ping(&peers[0].0, &[]);
        rig.wait(500);
    }
    assert_eq!(rig.row(peers[0].0.id).health, Health::Up);
}

#[test]
fn a_majority_of_voters_declares_a_suspect_failed_and_says_so() {
    let slots: [(u8, &[(u16, u16)]); 4] =
        [(b'b', &[(100, 199)]), (b'c', &[(200, 299)]), (b'd', &[(300, 399)]), (b'e', &[(400, 499)])];
    let (mut rig, peers) = cluster(&slots);
    let (mut bystander, mut replica) = (Peer::new(b'n'), Peer::replica(b'r', &peers[1].0));
    let bystander_link = rig.join(&mut bystander);
    let replica_link = rig.join(&mut replica);
    let (bystander, replica) = ((bystander, bystander_link), (replica, replica_link));
    let (lost, others) = (&peers[0], [&peers[1], &peers[2], &peers[3], &bystander, &replica]);
    let report = [lost.0.gossip(NodeFlags::PRIMARY | NodeFlags::PFAIL)];
    rig.ping(&peers[1].0, &report);
    assert_eq!(rig.row(lost.0.id).health, Health::Up, "the word of others alone does not count");
    silence(&mut rig, lost, &others, 2 * TIMEOUT_MS);
    assert_eq!(rig.row(lost.0.id).health, Health::Suspected);
    rig.ping(&peers[1].0, &report);
    rig.ping(&peers[1].0, &report);
    rig.ping(&bystander.0, &report);
    rig.ping(&replica.0, &report);
    assert_eq!(rig.row(lost.0.id).health, Health::Suspected, "2 of 5 voters");
    let (now, id) = (rig.now(), lost.0.id);
    assert_eq!(rig.cluster.count_failure_reports(now, id.as_bytes()), Ok(1));
    rig.out.clear();
    rig.ping(&peers[2].0, &[lost.0.gossip(NodeFlags::PRIMARY | NodeFlags::FAIL)]);
    assert_eq!(rig.row(id).health, Health::Failed, "3 of 5 voters");
    let fails = rig.sent_of(Kind::Fail);
    assert_eq!(fails.len(), 5, "to every member that can be reached");
    body(&fails[0], |_, body| assert_eq!(*body, Body::Fail(id)));
}

#[test]
fn a_report_is_taken_back_or_expires() {
    let (mut rig, peers) = cluster(&[(b'b', &[(100, 199)]), (b'c', &[(200, 299)])]);
    let (lost, id) = (&peers[0].0, peers[0].0.id);
    let count = |rig: &mut Rig| {
        let now = rig.now();
        rig.cluster.count_failure_reports(now, id.as_bytes()).unwrap()
    };
    rig.ping(&peers[1].0, &[lost.gossip(NodeFlags::PRIMARY | NodeFlags::PFAIL)]);
    assert_eq!(count(&mut rig), 1);
    rig.ping(&peers[1].0, &[lost.gossip(NodeFlags::PRIMARY)]);
    assert_eq!(count(&mut rig), 0);
    rig.ping(&peers[1].0, &[lost.gossip(NodeFlags::PRIMARY | NodeFlags::PFAIL)]);
    rig.wait_with(2 * TIMEOUT_MS, &[(&peers[0].0, peers[0].1), (&peers[1].0, peers[1].1)]);
    assert_eq!(count(&mut rig), 1);
    rig.wait(100);
    assert_eq!(count(&mut rig), 0);
}

#[test]
fn suspicion_ends_with_the_next_pong() {
    let (mut rig, peers) = cluster(&[(b'b', &[(100, 199)]), (b'c', &[(200, 299)])]);
    silence(&mut rig, &peers[0], &[&peers[1]], 2 * TIMEOUT_MS);
    assert_eq!(rig.row(peers[0].0.id).health, Health::Suspected);
    rig.out.clear();
    rig.wait(1000);
    let link = rig.dialed_to(&peers[0].0).unwrap();
    rig.input(Input::Connected { link, local: "10.0.0.1:50000".parse().unwrap() });
    rig.pong_on(link, &peers[0].0);
    assert_eq!(rig.row(peers[0].0.id).health, Health::Up);
    assert_eq!(rig.row(peers[0].0.id).ping_sent_ms, 0);
}

#[test]
fn failure_is_taken_back_at_once_unless_slots_may_be_taken() {
    // (slots, replica, milliseconds after FAIL, still failed after a pong)
    let cases = [
        (true, false, 1000, true),
        (true, false, 2 * TIMEOUT_MS + 500, false),
        (false, false, 0, false),
        (false, true, 0, false),
    ];
    for (slots, replica, after_ms, still) in cases {
        let (mut rig, peers) = cluster(&[(b'b', &[(100, 199)])]);
        let mut peer = match (slots, replica) {
            (true, _) => Peer::owning(b'p', 3, &[(200, 299)]),
            (_, true) => Peer::replica(b'p', &peers[0].0),
            _ => Peer::new(b'p'),
        };
        let link = rig.join(&mut peer);
        rig.say(&peers[0].0, Body::Fail(peer.id));
        assert_eq!(rig.row(peer.id).health, Health::Failed);
        rig.wait_with(after_ms, &[(&peers[0].0, peers[0].1)]);
        let link = rig.dialed_to(&peer).unwrap_or(link);
        rig.input(Input::Connected { link, local: "10.0.0.1:50000".parse().unwrap() });
        rig.pong_on(link, &peer);
        assert_eq!(
            rig.row(peer.id).health == Health::Failed,
            still,
            "slots {slots} replica {replica} {after_ms}"
        );
    }
}

#[test]
fn a_fail_message_counts_from_members_and_about_others_only() {
    let (mut rig, peers) = cluster(&[(b'b', &[(100, 199)]), (b'c', &[(200, 299)])]);
    let me = rig.me();
    rig.say(&peers[0].0, Body::Fail(me));
    assert_eq!(rig.row(me).health, Health::Up);
    rig.say(&peers[0].0, Body::Fail(super::rig::id(b'u')));
    rig.say(&peers[0].0, Body::Fail(peers[1].0.id));
    assert_eq!(rig.row(peers[1].0.id).health, Health::Failed);
}

#[test]
fn a_stale_link_is_renewed_without_making_the_ping_look_younger() {
    let (mut rig, peers) = cluster(&[(b'b', &[(100, 199)]), (b'c', &[(200, 299)])]);
    rig.wait_with(3000, &[(&peers[0].0, peers[0].1), (&peers[1].0, peers[1].1)]);
    let old = peers[0].1;
    rig.out.clear();
    for _ in 0..4 {
        rig.wait_with(500, &[(&peers[1].0, peers[1].1)]);
    }
    let sent = rig.row(peers[0].0.id).ping_sent_ms;
    for _ in 0..2 {
        rig.wait_with(500, &[(&peers[1].0, peers[1].1)]);
    }
    assert!(rig.out.contains(&Action::Close { link: old }));
    let (link, _) = rig.dialed().unwrap();
    rig.input(Input::Connected { link, local: "10.0.0.1:50000".parse().unwrap() });
    assert_eq!(rig.row(peers[0].0.id).ping_sent_ms, sent);
    assert_ne!(sent, 0);
}

#[test]
fn pongs_heard_elsewhere_spare_pings() {
    for tells in [true, false] {
        let (mut rig, peers) = cluster(&[(b'b', &[(100, 199)]), (b'c', &[(200, 299)])]);
        rig.cluster.configure(ClusterConfig { ping_interval_ms: 250, ..config() });
        let (quiet, teller) = (&peers[0], &peers[1]);
        let mut pings = 0;
        for _ in 0..40 {
            rig.wait(100);
            if rig.sent().contains(&(quiet.1, Kind::Ping)) {
                pings += 1;
                rig.pong_on(quiet.1, &quiet.0);
            }
            let seconds = (rig.now().wall.as_ms() / 1000) as u32;
            let mut entry = quiet.0.gossip(NodeFlags::PRIMARY);
            // A clock that goes too fast is not believed.
            entry.pong_received_s =
                if tells { seconds + u32::from(rig.ms % 1000 >= 500) } else { seconds + 10 };
            rig.ping(&teller.0, &[entry]);
            rig.pong_on(teller.1, &teller.0);
        }
        let expected = if tells { 1..=9 } else { 10..=20 };
        assert!(expected.contains(&pings), "{pings} pings, told: {tells}");
    }
}

#[test]
fn gossip_speaks_of_some_nodes_and_of_all_suspects() {
    let mut rig = Rig::owning(1, &[(0, 99)]);
    let mut peers: Vec<(Peer, LinkId)> = Vec::new();
    for letter in b'b'..=b'k' {
        let first = u16::from(letter) * 100;
        let mut peer = Peer::owning(letter, u64::from(letter), &[(first, first)]);
        let link = rig.join(&mut peer);
        peers.push((peer, link));
    }
    let (listener, lost) = (peers.remove(0), peers.remove(0));
    let others: Vec<_> = peers.iter().chain([&listener]).collect();
    silence(&mut rig, &lost, &others, 2 * TIMEOUT_MS);
    rig.out.clear();
    rig.ping(&listener.0, &[]);
    let pong = rig.sent_of(Kind::Pong).remove(0);
    body(&pong, |_, body| {
        let Body::Pong(talk) = body else { panic!("not a pong") };
        assert_eq!(talk.gossip.len(), 4, "three by lot and the suspect");
        assert!(talk.gossip.iter().all(|entry| entry.node != listener.0.id && entry.node != rig.me()));
        let last = talk.gossip.last().unwrap();
        assert_eq!(last.node, lost.0.id);
        assert!(last.flags.has(NodeFlags::PFAIL) && last.ping_sent_s > 0);
        let mut names: Vec<_> = talk.gossip.iter().map(|entry| entry.node).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 4);
    });
}

#[test]
fn a_cluster_without_a_slot_or_a_majority_does_not_serve() {
    let third = |n: u16| (n * 5461, if n == 2 { 16383 } else { n * 5461 + 5460 });
    let build = |full: bool, cover: bool| {
        let mut rig = Rig::with(ClusterConfig { require_full_coverage: full, ..config() }, None);
        let now = rig.now();
        rig.cluster.set_config_epoch(now, 1, &mut rig.out).unwrap();
        rig.cluster.add_slots(now, &super::rig::ranges(&[third(0)]), &mut rig.out).unwrap();
        let last = if cover { third(2) } else { (third(2).0, 16382) };
        let mut b = Peer::owning(b'b', 2, &[third(1)]);
        let mut c = Peer::owning(b'c', 3, &[last]);
        let (lb, lc) = (rig.join(&mut b), rig.join(&mut c));
        rig.wait_with(TIMEOUT_MS + 500, &[(&b, lb), (&c, lc)]);
        (rig, (b, lb), (c, lc))
    };
    let state = |rig: &Rig| (rig.cluster.view().state, rig.cluster.view().why);
    let (mut rig, b, c) = build(true, true);
    assert_eq!(state(&rig), (State::Ok, None));
    // One failed owner.
    rig.say(&c.0, Body::Fail(b.0.id));
    assert_eq!(state(&rig), (State::Fail, Some(Why::NotCovered)));
    // Both lost: a minority of one.
    silence(&mut rig, &c, &[], 2 * TIMEOUT_MS);
    assert_eq!(state(&rig), (State::Fail, Some(Why::Minority)));
    // A hole matters only with full coverage.
    let (rig, ..) = build(true, false);
    assert_eq!(state(&rig), (State::Fail, Some(Why::NotCovered)));
    let (rig, ..) = build(false, false);
    assert_eq!(state(&rig), (State::Ok, None));
}

#[test]
fn a_node_that_was_in_a_minority_waits_before_it_serves() {
    let mut rig = Rig::owning(1, &[(0, 5460)]);
    let mut b = Peer::owning(b'b', 2, &[(5461, 10922)]);
    let mut c = Peer::owning(b'c', 3, &[(10923, 16383)]);
    let (lb, lc) = (rig.join(&mut b), rig.join(&mut c));
    rig.wait_with(2500, &[(&b, lb), (&c, lc)]);
    assert_eq!(rig.cluster.view().state, State::Ok);
    let (lost_b, lost_c) = ((b.clone(), lb), (c.clone(), lc));
    silence(&mut rig, &lost_b, &[], 0);
    silence(&mut rig, &lost_c, &[], 2 * TIMEOUT_MS);
    assert_eq!(rig.cluster.view().why, Some(Why::Minority));
    rig.out.clear();
    rig.wait(1000);
    let links: Vec<_> = rig
        .out
        .iter()
        .filter_map(|action| match action {
            Action::Connect { link, to } => Some((*link, to.port() - 10_000)),
            _ => None,
        })
        .collect();
    let back: Vec<_> = [&b, &c]
        .into_iter()
        .map(|peer| (peer, links.iter().rev().find(|(_, port)| *port == peer.port).unwrap().0))
        .collect();
    for &(peer, link) in &back {
        rig.input(Input::Connected { link, local: "10.0.0.1:50000".parse().unwrap() });
        rig.pong_on(link, peer);
    }
    assert_eq!(rig.cluster.view().why, Some(Why::Rejoining));
    for (peer, _) in &back {
        let mut peer = (*peer).clone();
        rig.open(&mut peer);
    }
    for waited in (0..TIMEOUT_MS).step_by(500) {
        assert_eq!(rig.cluster.view().state, State::Fail, "after {waited} ms");
        for &(peer, link) in &back {
            rig.pong_on(link, peer);
        }
        rig.wait(500);
    }
    rig.wait(100);
    assert_eq!(rig.cluster.view().state, State::Ok);
}

#[test]
fn a_node_that_just_started_does_not_serve() {
    let mut rig = Rig::new();
    let now = rig.now();
    rig.cluster.add_slots(now, &super::rig::ranges(&[(0, 16383)]), &mut rig.out).unwrap();
    assert_eq!(rig.cluster.view().why, Some(Why::Rejoining), "without a slot it was in no majority");
    rig.wait(2000);
    assert_eq!(rig.cluster.view().state, State::Ok);
    let saved = rig.out.iter().rev().find_map(|action| match action {
        Action::Save { bytes, .. } => Some(bytes.clone()),
        _ => None,
    });
    let now = super::rig::now_at(0);
    let mut cluster = crate::cluster::Cluster::new(config(), 5, now, saved.as_deref()).unwrap();
    let mut out = Vec::new();
    for ms in (0..=2000).step_by(100) {
        cluster.handle(super::rig::now_at(ms), Input::Ticked, &mut out);
        let expected = if ms < 2000 { (State::Fail, Some(Why::Starting)) } else { (State::Ok, None) };
        assert_eq!((cluster.view().state, cluster.view().why), expected, "after {ms} ms");
    }
}
