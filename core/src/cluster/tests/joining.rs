//! MEET and handshake, addresses, FORGET.

use std::string::ToString;
use std::vec::Vec;

use super::rig::{Peer, Rig, body, config, id, set};
use crate::cluster::{Action, ClusterConfig, Health, Input, Refused, ViewRole};
use crate::ids::LinkId;
use crate::wire::bus::{Body, Cast, Extension, Kind, Message, MessageFlags, NodeFlags, Talk};

#[test]
fn a_met_node_is_a_placeholder_until_it_tells_its_name() {
    // With an epoch of its own: a collision would be announced.
    let (mut rig, mut peer) = (Rig::new(), Peer { epoch: 1, current_epoch: 1, ..Peer::new(b'p') });
    let now = rig.now();
    rig.cluster.meet(now, b"10.0.0.12", peer.port, peer.port + 10_000, &mut rig.out).unwrap();
    rig.cluster.meet(now, b"10.0.0.12", peer.port, peer.port + 10_000, &mut rig.out).unwrap();
    let view = rig.cluster.view();
    assert_eq!(view.rows.len(), 2, "the second MEET found the first under way");
    assert!(view.rows[1].handshake && view.rows[1].id != peer.id);
    assert!(rig.dialed().is_none(), "the command answers before it connects");
    rig.wait(100);
    let (link, to) = rig.dialed().unwrap();
    assert_eq!(to.to_string(), std::format!("10.0.0.12:{}", peer.port + 10_000));
    rig.input(Input::Connected { link, local: "10.0.0.1:50000".parse().unwrap() });
    let meets = rig.sent_of(Kind::Meet);
    assert_eq!(meets.len(), 1);
    body(&meets[0], |header, body| {
        let Body::Meet(talk) = body else { panic!("not a meet") };
        assert_eq!(header.sender, rig.me());
        assert!(header.message_flags.has(MessageFlags::EXT_DATA), "tells that it understands extensions");
        assert!(talk.extensions.is_empty(), "sends none to a peer that may not");
    });
    rig.pong_on(link, &peer);
    let row = rig.row(peer.id);
    assert!(!row.handshake && row.role == ViewRole::Primary && row.connected);
    assert_eq!((row.ip.as_str(), row.port, row.bus_port), ("10.0.0.12", peer.port, peer.port + 10_000));
    assert_eq!(rig.cluster.view().rows.len(), 2);
    // Until the node speaks again as a member, a reconnect repeats the MEET.
    rig.out.clear();
    rig.input(Input::Closed { link });
    rig.wait(1000);
    let (link, _) = rig.dialed().unwrap();
    rig.out.clear();
    rig.input(Input::Connected { link, local: "10.0.0.1:50000".parse().unwrap() });
    assert_eq!(rig.sent(), [(link, Kind::Meet)]);
    rig.pong_on(link, &peer);
    let inbound = rig.open(&mut peer);
    rig.ping(&peer, &[]);
    assert_eq!(rig.sent(), [(inbound, Kind::Pong)]);
    rig.input(Input::Closed { link });
    rig.wait(1000);
    let (link, _) = rig.dialed().unwrap();
    rig.out.clear();
    rig.input(Input::Connected { link, local: "10.0.0.1:50000".parse().unwrap() });
    assert_eq!(rig.sent(), [(link, Kind::Ping)]);
}

#[test]
fn a_handshake_that_nobody_answers_ends() {
    let mut rig = Rig::new();
    let now = rig.now();
    rig.cluster.meet(now, b"10.0.0.12", 7001, 17001, &mut rig.out).unwrap();
    rig.wait(100);
    let (link, _) = rig.dialed().unwrap();
    rig.wait(1800);
    assert_eq!(rig.cluster.view().rows.len(), 2);
    rig.wait(300);
    assert_eq!(rig.cluster.view().rows.len(), 1);
    assert!(rig.out.contains(&Action::Close { link }));
    rig.input(Input::ConnectFailed { link, reason: "Connection timed out" });
    assert_eq!(rig.cluster.view().rows.len(), 1);
}

#[test]
fn a_stranger_that_sends_meet_is_taken_in_with_the_nodes_it_knows() {
    let (mut rig, mut peer, third) = (Rig::new(), Peer::new(b'p'), Peer::new(b't'));
    let link = rig.open(&mut peer);
    let own = rig.cluster.view().myself().ip;
    assert!(own.is_empty());
    rig.say(&peer, Body::Meet(peer.talk(&[third.gossip(NodeFlags::PRIMARY)])));
    assert_eq!(rig.sent(), [(link, Kind::Pong)]);
    assert_eq!(rig.cluster.view().myself().ip.as_str(), "10.0.0.1", "the socket told the own address");
    let view = rig.cluster.view();
    assert_eq!(view.rows.len(), 3);
    assert!(view.rows[1].handshake && !view.rows[1].noaddr);
    assert_eq!(view.rows[1].ip.as_str(), "10.0.0.12", "the address of the socket");
    assert_eq!(view.find(third.id).unwrap().ip.as_str(), "10.0.0.9");
    // A second MEET on the link adds nothing.
    rig.say(&peer, Body::Meet(peer.talk(&[])));
    assert_eq!(rig.cluster.view().rows.len(), 3);
    // This node connects back with a PING, and the answer tells the name.
    rig.wait(100);
    let connects: Vec<_> = rig
        .out
        .iter()
        .filter_map(|action| match action {
            Action::Connect { link, to } if to.port() == peer.port + 10_000 => Some(*link),
            _ => None,
        })
        .collect();
    rig.out.clear();
    rig.input(Input::Connected { link: connects[0], local: "10.0.0.1:50000".parse().unwrap() });
    assert_eq!(rig.sent(), [(connects[0], Kind::Ping)]);
    rig.pong_on(connects[0], &peer);
    assert!(!rig.row(peer.id).handshake);
    assert_eq!(rig.cluster.link_counts(), (2, 1));
}

#[test]
fn strangers_are_answered_and_otherwise_not_heard() {
    let (mut rig, mut peer, other) =
        (Rig::owning(1, &[(0, 99)]), Peer::owning(b'p', 9, &[(0, 99)]), Peer::new(b'o'));
    let link = rig.open(&mut peer);
    rig.ping(&peer, &[other.gossip(NodeFlags::PRIMARY)]);
    assert_eq!(rig.sent(), [(link, Kind::Pong)]);
    let (own, slots) = (rig.me(), peer.slots.clone());
    let words = [
        Body::Pong(peer.talk(&[other.gossip(NodeFlags::PRIMARY)])),
        Body::Fail(own),
        Body::AuthRequest,
        Body::AuthAck,
        Body::MfStart,
        Body::Update { node: own, config_epoch: 99, slots: crate::wire::bus::Bitmap(slots.as_bitmap()) },
        Body::Cast(Cast::Publish { channel: b"c", message: b"m" }),
        Body::Cast(Cast::Module { module: [0; 8], kind: 1, payload: b"p" }),
    ];
    for word in words {
        rig.say(&peer, word);
    }
    assert_eq!(rig.sent(), []);
    let view = rig.cluster.view();
    assert_eq!((view.rows.len(), view.current_epoch), (1, 1));
    assert_eq!(view.myself().slot_count, 100);
    assert_eq!(view.stats.received.iter().sum::<u64>(), 9, "but counted");
}

#[test]
fn a_light_message_of_a_stranger_ends_the_link_and_of_a_member_is_delivered() {
    let (mut rig, mut peer) = (Rig::new(), Peer::new(b'p'));
    let link = rig.open(&mut peer);
    let light = Message::Light(Cast::PublishShard { channel: b"c", message: b"m" }).encode();
    rig.input(Input::Filled { link, bytes: &light });
    assert!(rig.out.contains(&Action::Close { link }));
    rig.join(&mut peer);
    let link = peer.inbound.unwrap();
    rig.input(Input::Filled { link, bytes: &light });
    let published = |action: &Action| matches!(action, Action::Published { sharded: true, channel, message } if channel == "c" && message == "m");
    assert_eq!(rig.out.iter().filter(|a| published(a)).count(), 1);
    // Kinds that must not be light are ignored, and the link stays.
    let mut ping = Vec::from(&b"RCmb\0\0\0\x10\0\x01\0\0\x80\0\0\0"[..]);
    rig.out.clear();
    rig.input(Input::Filled { link, bytes: &ping });
    assert!(rig.out.is_empty());
    ping[7] = 15;
    rig.input(Input::Filled { link, bytes: &ping });
    assert_eq!(rig.out, [Action::Close { link }]);
}

#[test]
fn meeting_a_known_node_updates_its_address_and_drops_the_placeholder() {
    let (mut rig, mut peer) = (Rig::new(), Peer::new(b'p'));
    rig.join(&mut peer);
    let now = rig.now();
    rig.cluster.meet(now, b"10.0.7.7", 9999, 19999, &mut rig.out).unwrap();
    rig.wait(100);
    let (link, _) = rig.dialed().unwrap();
    rig.input(Input::Connected { link, local: "10.0.0.1:50000".parse().unwrap() });
    assert_eq!(rig.cluster.view().rows.len(), 3);
    peer.port = 9999;
    rig.pong_on(link, &peer);
    assert_eq!(rig.cluster.view().rows.len(), 2);
    let row = rig.row(peer.id);
    assert_eq!((row.ip.as_str(), row.port, row.connected), ("10.0.7.7", 9999, false));
    assert!(rig.out.contains(&Action::Close { link }));
}

#[test]
fn meeting_itself_leads_nowhere() {
    let mut rig = Rig::new();
    let now = rig.now();
    rig.cluster.meet(now, b"10.0.0.1", 7000, 17000, &mut rig.out).unwrap();
    rig.wait(100);
    let (out_link, _) = rig.dialed().unwrap();
    let in_link = LinkId::accepted(77);
    let (peer, local) = ("10.0.0.1:50000".parse().unwrap(), "10.0.0.1:17000".parse().unwrap());
    rig.input(Input::Opened { link: in_link, peer, local });
    rig.input(Input::Connected { link: out_link, local: peer });
    let meet = rig.sent_of(Kind::Meet).remove(0);
    rig.input(Input::Filled { link: in_link, bytes: &meet });
    let pong = rig.sent_of(Kind::Pong).remove(0);
    rig.input(Input::Filled { link: out_link, bytes: &pong });
    assert_eq!(rig.cluster.view().rows.len(), 1);
}

#[test]
fn a_repeated_meet_of_a_member_makes_this_node_connect_anew() {
    let (mut rig, mut peer) = (Rig::new(), Peer::new(b'p'));
    let outbound = rig.join(&mut peer);
    rig.say(&peer, Body::Meet(peer.talk(&[])));
    assert!(!rig.out.contains(&Action::Close { link: outbound }), "they met a moment ago");
    rig.wait_with(2500, &[(&peer, outbound)]);
    rig.out.clear();
    rig.say(&peer, Body::Meet(peer.talk(&[])));
    assert_eq!(rig.out[0], Action::Close { link: outbound });
    assert!(matches!(rig.out[1], Action::Send { .. }), "and it is answered");
}

#[test]
fn a_member_that_opens_no_link_gets_a_meet_if_it_can_bear_it() {
    for able in [true, false] {
        let (mut rig, mut peer) = (Rig::new(), Peer::new(b'p'));
        if !able {
            peer.flags = NodeFlags::default();
        }
        let outbound = rig.join(&mut peer);
        let link = peer.inbound.unwrap();
        rig.input(Input::Closed { link });
        let mut meets = 0;
        for _ in 0..8 {
            rig.wait(500);
            rig.pong_on(outbound, &peer);
            meets += rig.sent().iter().filter(|&&sent| sent == (outbound, Kind::Meet)).count();
        }
        assert_eq!(
            meets,
            usize::from(able),
            "once in a handshake timeout, when the peer can bear it: {able}"
        );
    }
}

#[test]
fn a_newer_inbound_link_replaces_the_older() {
    let (mut rig, mut peer) = (Rig::new(), Peer::new(b'p'));
    rig.join(&mut peer);
    let old = peer.inbound.unwrap();
    let new = rig.open(&mut peer);
    rig.ping(&peer, &[]);
    assert!(rig.out.contains(&Action::Close { link: old }));
    rig.out.clear();
    rig.ping(&peer, &[]);
    assert_eq!(rig.sent(), [(new, Kind::Pong)]);
}

#[test]
fn an_inbound_link_speaks_for_one_node_only() {
    let (mut rig, mut peer) = (Rig::new(), Peer::new(b'p'));
    rig.join(&mut peer);
    let mut imposter = Peer::owning(b'q', 50, &[(0, 10)]);
    imposter.inbound = peer.inbound;
    rig.ping(&imposter, &[]);
    let link = peer.inbound.unwrap();
    assert_eq!(rig.out, [Action::Close { link }]);
    assert_eq!(rig.row(peer.id).slot_count, 0);
}

#[test]
fn a_ping_from_elsewhere_moves_the_node() {
    let (mut rig, mut peer) = (Rig::new(), Peer::new(b'p'));
    let outbound = rig.join(&mut peer);
    peer.my_ip = "10.9.9.9";
    rig.pong_on(outbound, &peer);
    assert_eq!(rig.row(peer.id).ip.as_str(), "10.0.0.12", "a pong does not move it");
    rig.ping(&peer, &[]);
    assert_eq!(rig.row(peer.id).ip.as_str(), "10.9.9.9");
    assert!(rig.out.contains(&Action::Close { link: outbound }));
    rig.wait(1000);
    assert_eq!(rig.dialed().unwrap().1.ip().to_string(), "10.9.9.9");
}

#[test]
fn gossip_moves_a_node_only_while_it_cannot_be_reached() {
    let (mut rig, mut teller, mut lost) = (Rig::new(), Peer::new(b't'), Peer::new(b'l'));
    let link = rig.join(&mut teller);
    rig.join(&mut lost);
    let news = [lost.gossip(NodeFlags::PRIMARY)];
    rig.ping(&teller, &news);
    assert_eq!(rig.row(lost.id).ip.as_str(), "10.0.0.8");
    let inbound = lost.inbound.unwrap();
    rig.input(Input::Closed { link: inbound });
    rig.wait_with(4000, &[(&teller, link)]);
    assert_eq!(rig.row(lost.id).health, Health::Suspected);
    rig.ping(&teller, &[lost.gossip(NodeFlags::PRIMARY | NodeFlags::NOADDR)]);
    rig.ping(&teller, &[lost.gossip(NodeFlags::PRIMARY | NodeFlags::PFAIL)]);
    assert_eq!(rig.row(lost.id).ip.as_str(), "10.0.0.8");
    rig.ping(&teller, &news);
    assert_eq!(rig.row(lost.id).ip.as_str(), "10.0.0.9");
}

#[test]
fn another_name_at_a_known_address_means_that_the_node_is_gone() {
    let (mut rig, mut peer, mut witness) = (Rig::new(), Peer::new(b'p'), Peer::new(b'w'));
    let outbound = rig.join(&mut peer);
    let witness_link = rig.join(&mut witness);
    let reset = Peer { id: id(b'x'), ..peer.clone() };
    rig.pong_on(outbound, &reset);
    let row = rig.row(peer.id);
    assert!(row.noaddr && row.ip.is_empty() && row.port == 0 && row.health == Health::Failed);
    assert!(!rig.knows(reset.id));
    assert!(rig.out.contains(&Action::Close { link: outbound }));
    let fail = rig.sent();
    assert!(fail.contains(&(witness_link, Kind::Fail)));
    rig.wait_with(1000, &[(&witness, witness_link)]);
    assert!(rig.dialed().is_none(), "nobody knows where to connect");
    // The node speaks again: it is known where it is.
    rig.open(&mut peer);
    rig.ping(&peer, &[]);
    assert!(!rig.row(peer.id).noaddr);
    rig.wait(100);
    let (link, _) = rig.dialed().unwrap();
    rig.input(Input::Connected { link, local: "10.0.0.1:50000".parse().unwrap() });
    rig.pong_on(link, &peer);
    assert_eq!(rig.row(peer.id).health, Health::Up);
}

#[test]
fn a_forgotten_node_is_not_learned_again_for_a_while() {
    let (mut rig, mut teller, mut gone) = (Rig::new(), Peer::new(b't'), Peer::owning(b'g', 1, &[(0, 9)]));
    let link = rig.join(&mut teller);
    rig.join(&mut gone);
    let now = rig.now();
    assert_eq!(rig.cluster.forget(now, b"nobody", &mut rig.out), Err(Refused::UnknownNode("nobody".into())));
    let me = rig.me();
    assert_eq!(rig.cluster.forget(now, me.as_bytes(), &mut rig.out), Err(Refused::ForgetMyself));
    rig.cluster.forget(now, gone.id.as_bytes(), &mut rig.out).unwrap();
    assert!(!rig.knows(gone.id));
    assert!(rig.cluster.view().owner(crate::slots::Slot::new(5).unwrap()).is_none());
    rig.cluster.forget(now, gone.id.as_bytes(), &mut rig.out).expect("again within the time is fine");
    let news = [gone.gossip(NodeFlags::PRIMARY)];
    rig.ping(&teller, &news);
    assert!(!rig.knows(gone.id));
    // It is told with every ping, with the seconds that are left.
    rig.out.clear();
    rig.wait_with(2000, &[(&teller, link)]);
    let pings = rig.sent_of(Kind::Ping);
    body(&pings[0], |_, body| {
        let Body::Ping(talk) = body else { panic!("not a ping") };
        let ttl = talk.extensions.iter().find_map(|extension| match extension {
            Extension::Forgotten { node, ttl_s } if *node == gone.id => Some(*ttl_s),
            _ => None,
        });
        assert!((58..=60).contains(&ttl.unwrap()), "{ttl:?}");
        assert!(matches!(talk.extensions.last(), Some(Extension::Shard(_))));
    });
    rig.wait_with(59_000, &[(&teller, link)]);
    rig.ping(&teller, &news);
    assert!(rig.knows(gone.id));
}

#[test]
fn a_node_forgotten_elsewhere_is_forgotten_here() {
    let (mut rig, mut teller, mut gone) = (Rig::new(), Peer::new(b't'), Peer::new(b'g'));
    rig.join(&mut teller);
    rig.join(&mut gone);
    let me = rig.me();
    let forget = |node| Extension::Forgotten { node, ttl_s: 5 };
    let extensions = Vec::from([forget(me), forget(teller.id), forget(id(b'u')), forget(gone.id)]);
    rig.say(&teller, Body::Ping(Talk { extensions, ..Talk::default() }));
    assert!(!rig.knows(gone.id) && rig.knows(teller.id) && rig.knows(me));
    rig.ping(&teller, &[gone.gossip(NodeFlags::PRIMARY), Peer::new(b'u').gossip(NodeFlags::PRIMARY)]);
    assert!(!rig.knows(gone.id));
    assert!(rig.knows(id(b'u')), "a node that was not known is not blacklisted");
    rig.wait(5100);
    rig.ping(&teller, &[gone.gossip(NodeFlags::PRIMARY)]);
    assert!(rig.knows(gone.id));
}

#[test]
fn removing_a_node_leaves_nothing_that_names_it() {
    let (mut rig, mut primary, mut teller) = (Rig::owning(1, &[(0, 9)]), Peer::new(b'p'), Peer::new(b't'));
    rig.join(&mut primary);
    let link = rig.join(&mut teller);
    let mut replica = Peer::replica(b'r', &primary);
    rig.join(&mut replica);
    assert_eq!(rig.row(replica.id).role, ViewRole::Replica(Some(primary.id)));
    assert_eq!(rig.row(replica.id).shard, primary.shard);
    let (now, slot) = (rig.now(), crate::slots::Slot::new(5).unwrap());
    let text = primary.id;
    let migrating = crate::cluster::SetSlot::Migrating(text.as_bytes());
    rig.cluster.set_slot(now, slot, migrating, 1, &mut rig.out).unwrap();
    rig.cluster.forget(now, text.as_bytes(), &mut rig.out).unwrap();
    assert_eq!(rig.row(replica.id).role, ViewRole::Replica(None));
    assert!(rig.cluster.view().migrating.is_empty());
    // Its row is used again by somebody else.
    let mut next = Peer::new(b'n');
    rig.join(&mut next);
    assert_eq!(rig.row(replica.id).role, ViewRole::Replica(None));
    rig.wait_with(500, &[(&teller, link)]);
}

#[test]
fn what_a_node_does_not_say_about_itself_it_has_no_more() {
    let (mut rig, mut peer) = (Rig::new(), Peer::new(b'p'));
    rig.join(&mut peer);
    let all = Vec::from([
        Extension::Hostname(b"node-p.example"),
        Extension::Nodename(b"pea"),
        Extension::ClientIpv4(b"203.0.113.7"),
        Extension::ClientIpv6(b"2001:db8::7"),
        Extension::ClientPort(1),
        Extension::ClientTlsPort(2),
        Extension::Zone(b"zone-a"),
        Extension::Shard(super::rig::shard(b's')),
    ]);
    rig.say(&peer, Body::Ping(Talk { extensions: all, ..Talk::default() }));
    let row = rig.row(peer.id);
    assert_eq!(row.announced.hostname, "node-p.example");
    assert_eq!((row.announced.client_port, row.announced.zone.as_str()), (1, "zone-a"));
    assert_eq!(row.shard, super::rig::shard(b's'));
    let bad = Vec::from([Extension::Hostname(b"a b,c\n"), Extension::Zone(b"zone-b")]);
    rig.say(&peer, Body::Ping(Talk { extensions: bad, ..Talk::default() }));
    let row = rig.row(peer.id);
    assert_eq!((row.announced.hostname.as_str(), row.announced.zone.as_str()), ("", "zone-b"));
    assert_eq!(row.shard, super::rig::shard(b's'), "a shard not told is kept");
    rig.say(&peer, Body::Ping(Talk::default()));
    assert_eq!(rig.row(peer.id).announced, crate::cluster::Announced::default());
}

#[test]
fn the_shard_of_a_primary_is_that_of_its_replicas() {
    let (mut rig, mut primary) = (Rig::new(), Peer::new(b'p'));
    rig.join(&mut primary);
    let mut replica = Peer::replica(b'r', &primary);
    rig.join(&mut replica);
    replica.shard = super::rig::shard(b'z');
    rig.ping(&replica, &[]);
    assert_eq!(rig.row(replica.id).shard, primary.shard, "a replica's word does not count");
    primary.shard = super::rig::shard(b'y');
    rig.ping(&primary, &[]);
    assert_eq!(rig.row(replica.id).shard, primary.shard);
}

#[test]
fn extensions_go_to_those_that_understand_them() {
    let announced = crate::cluster::Announced { hostname: "me.example".into(), ..Default::default() };
    let config = ClusterConfig { announced, ..config() };
    let (mut rig, mut modern, mut old) = (Rig::with(config, None), Peer::new(b'm'), Peer::new(b'o'));
    (old.flags, old.message_flags) = (NodeFlags::default(), MessageFlags::default());
    rig.join(&mut modern);
    rig.join(&mut old);
    for (peer, count) in [(&modern, 2), (&old, 0)] {
        rig.out.clear();
        rig.ping(peer, &[]);
        let pong = rig.sent_of(Kind::Pong).remove(0);
        body(&pong, |_, body| {
            let Body::Pong(talk) = body else { panic!("not a pong") };
            assert_eq!(talk.extensions.len(), count);
        });
    }
    old.message_flags = MessageFlags::EXT_DATA;
    rig.ping(&old, &[]);
    let pong = rig.sent_of(Kind::Pong).remove(0);
    body(&pong, |_, body| assert!(matches!(body, Body::Pong(talk) if talk.extensions.len() == 2)));
}

#[test]
fn the_announced_address_is_told_and_not_overridden() {
    let config = ClusterConfig { announce_ip: "198.51.100.1".into(), announce_bus_port: 5, ..config() };
    let (mut rig, mut peer) = (Rig::with(config.clone(), None), Peer::new(b'p'));
    rig.open(&mut peer);
    rig.say(&peer, Body::Meet(peer.talk(&[])));
    assert_eq!(rig.cluster.view().myself().ip.as_str(), "198.51.100.1");
    let pong = rig.sent_of(Kind::Pong).remove(0);
    body(&pong, |header, _| {
        assert_eq!((header.my_ip.as_str(), header.port, header.bus_port), ("198.51.100.1", 7000, 5));
    });
    rig.cluster.configure(ClusterConfig { announce_ip: "198.51.100.2".into(), ..config });
    assert_eq!(rig.cluster.view().myself().ip.as_str(), "198.51.100.2");
}

#[test]
fn a_clogged_link_is_closed() {
    let config = ClusterConfig { link_sendbuf_limit: 1000, ..config() };
    let (mut rig, mut peer) = (Rig::with(config, None), Peer::new(b'p'));
    let outbound = rig.join(&mut peer);
    let inbound = peer.inbound.unwrap();
    rig.cluster.note_outbox(inbound, 0);
    rig.cluster.note_outbox(outbound, 1001);
    rig.wait(100);
    assert!(rig.out.contains(&Action::Close { link: outbound }));
    assert!(!rig.out.contains(&Action::Close { link: inbound }));
    assert_eq!(rig.cluster.view().links_over_limit, 1);
}

#[test]
fn publishing_takes_the_short_form_once_a_pong_came() {
    let (mut rig, mut modern, mut old) = (Rig::new(), Peer::new(b'm'), Peer::new(b'o'));
    old.flags = NodeFlags::default();
    rig.join(&mut modern);
    rig.join(&mut old);
    let now = rig.now();
    rig.cluster.publish(now, false, b"news", b"hello", &mut rig.out);
    let lens: Vec<_> = rig.sent_of(Kind::Publish).iter().map(Vec::len).collect();
    assert_eq!(lens, [16 + 8 + 9, 2256 + 8 + 9]);
    rig.cluster.publish(now, true, b"news", b"hello", &mut rig.out);
    assert_eq!(rig.sent_of(Kind::PublishShard).len(), 0, "nobody else is in this shard");
    assert_eq!(rig.cluster.view().stats.sent[Kind::Publish as usize], 2);
}

#[test]
fn the_slots_of_a_stranger_in_handshake_are_not_believed() {
    let (mut rig, mut peer) = (Rig::owning(1, &[(0, 9)]), Peer::owning(b'p', 9, &[(0, 9)]));
    rig.open(&mut peer);
    rig.say(&peer, Body::Meet(peer.talk(&[])));
    rig.ping(&peer, &[]);
    assert_eq!(rig.slots_of(rig.me()), set(&[(0, 9)]).to_ranges());
}
