//! Recorded packets of real servers against their expected decodes, then garbage.

use std::fs;
use std::path::PathBuf;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use serde_json::Value;

use super::*;
use crate::ids::NodeId;
use crate::rng::Rng;
use crate::slots::{BITMAP_LEN, SlotRange, SlotRanges, SlotSet};

fn packets() -> Vec<(String, Vec<u8>, Value)> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/bus"));
    let mut out = Vec::new();
    for server in ["redis", "valkey"] {
        for entry in fs::read_dir(root.join(server)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "bin") {
                let json = fs::read(path.with_extension("json")).unwrap();
                let expected: Value = serde_json::from_slice(&json).unwrap();
                let name = format!("{server}/{}", path.file_stem().unwrap().to_str().unwrap());
                out.push((name, fs::read(&path).unwrap(), expected["expected"].clone()));
            }
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(out.len(), 44);
    out
}

fn ranges(value: &Value) -> SlotRanges {
    let pair = |v: &Value| SlotRange::new(v[0].as_u64().unwrap() as u16, v[1].as_u64().unwrap() as u16);
    value.as_array().unwrap().iter().map(|v| pair(v).unwrap()).collect()
}

fn text(bytes: &[u8]) -> Value {
    Value::from(String::from_utf8_lossy(bytes))
}

fn check_header(name: &str, header: &Header<'_>, talk: Option<&Talk<'_>>, json: &Value) {
    let number = |key: &str| json[key].as_u64().unwrap();
    assert_eq!(u64::from(header.port), number("port"), "{name}");
    assert_eq!(header.current_epoch, number("currentEpoch"), "{name}");
    assert_eq!(header.config_epoch, number("configEpoch"), "{name}");
    assert_eq!(header.offset, number("offset"), "{name}");
    assert_eq!(header.sender.as_str(), json["sender"], "{name}");
    assert_eq!(SlotSet::from_bitmap(header.slots.0).to_ranges(), ranges(&json["slots"]), "{name}");
    assert_eq!(SlotSet::from_bitmap(header.slots.0).len() as u64, number("slot_count"), "{name}");
    assert_eq!(header.replica_of.map(|id| id.to_string()).as_deref(), json["replicaof"].as_str(), "{name}");
    assert_eq!(header.my_ip.as_str(), json["myip"], "{name}");
    assert_eq!(talk.map_or(0, |t| t.extensions.len() as u64), number("extensions"), "{name}");
    assert_eq!(u64::from(header.other_port), number("pport"), "{name}");
    assert_eq!(u64::from(header.bus_port), number("cport"), "{name}");
    assert_eq!(u64::from(header.flags.0), json["flags"]["value"].as_u64().unwrap(), "{name}");
    assert_eq!(header.state == State::Fail, json["state"]["value"] == 1, "{name}");
    assert_eq!(u64::from(header.message_flags.0), json["mflags"][0].as_u64().unwrap(), "{name}");
    assert_eq!(talk.map_or(0, |t| t.gossip.len() as u64), number("count"), "{name}");
}

fn check_talk(name: &str, talk: &Talk<'_>, json: &Value) {
    assert!(!talk.spoiled, "{name}");
    let expected = json["gossip"].as_array().unwrap();
    assert_eq!(talk.gossip.len(), expected.len(), "{name}");
    for (gossip, json) in talk.gossip.iter().zip(expected) {
        assert_eq!(gossip.node.as_str(), json["nodename"], "{name}");
        assert_eq!(gossip.ping_sent_s, json["ping_sent"], "{name}");
        assert_eq!(gossip.pong_received_s, json["pong_received"], "{name}");
        assert_eq!(gossip.ip.as_str(), json["ip"], "{name}");
        assert_eq!(gossip.port, json["port"], "{name}");
        assert_eq!(gossip.bus_port, json["cport"], "{name}");
        assert_eq!(gossip.flags.0, json["flags"]["value"], "{name}");
        assert_eq!(gossip.other_port, json["pport"], "{name}");
    }
    let none = Vec::new();
    let expected = json["extension_list"].as_array().unwrap_or(&none);
    assert_eq!(talk.extensions.len(), expected.len(), "{name}");
    for (extension, json) in talk.extensions.iter().zip(expected) {
        let (kind, value) = match extension {
            Extension::Hostname(t) => (0, text(t)),
            Extension::Nodename(t) => (1, text(t)),
            Extension::Forgotten { node, ttl_s } => {
                assert_eq!(*ttl_s, json["ttl_seconds"], "{name}");
                (2, json["node"].as_str().filter(|id| *id == node.as_str()).map(|_| Value::Null).unwrap())
            }
            Extension::Shard(shard) => (3, Value::from(shard.to_string())),
            Extension::ClientIpv4(t) => (4, text(t)),
            Extension::ClientIpv6(t) => (5, text(t)),
            Extension::ClientPort(port) => (6, Value::from(*port)),
            Extension::ClientTlsPort(port) => (7, Value::from(*port)),
            Extension::Zone(t) => (8, text(t)),
            Extension::Unknown { kind, .. } => panic!("{name}: unknown extension {kind}"),
        };
        assert_eq!(kind, json["type"], "{name}");
        assert_eq!(value, json["value"], "{name}");
    }
}

fn check_cast(name: &str, cast: &Cast<'_>, json: &Value) {
    match cast {
        Cast::Publish { channel, message } | Cast::PublishShard { channel, message } => {
            assert_eq!(text(channel), json["channel"], "{name}");
            assert_eq!(text(message), json["message"], "{name}");
        }
        Cast::Module { module, kind, payload } => {
            let hex: String = module.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, json["module_id_bytes_hex"], "{name}");
            assert_eq!(*kind, json["type"], "{name}");
            assert_eq!(text(payload), json["payload"], "{name}");
        }
    }
}

#[test]
fn recorded_packets_decode_as_expected_and_encode_to_the_same_bytes() {
    for (name, bytes, json) in packets() {
        let message = decode(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(message.kind() as u64, json["type"].as_u64().unwrap(), "{name}");
        assert_eq!(kind_of(&bytes), Some(message.kind()), "{name}");
        match &message {
            Message::Light(cast) => {
                assert_eq!(json["header"], "light", "{name}");
                check_cast(&name, cast, &json["data"]);
            }
            Message::Full { header, body } => {
                assert_eq!(json["header"], "normal", "{name}");
                let talk = match body {
                    Body::Ping(talk) | Body::Pong(talk) | Body::Meet(talk) => Some(talk),
                    _ => None,
                };
                check_header(&name, header, talk, &json);
                match body {
                    Body::Ping(talk) | Body::Pong(talk) | Body::Meet(talk) => check_talk(&name, talk, &json),
                    Body::Fail(node) => assert_eq!(node.as_str(), json["data"]["nodename"], "{name}"),
                    Body::Cast(cast) => check_cast(&name, cast, &json["data"]),
                    Body::Update { node, config_epoch, slots } => {
                        let data = &json["data"];
                        assert_eq!(node.as_str(), data["nodename"], "{name}");
                        assert_eq!(*config_epoch, data["configEpoch"], "{name}");
                        assert_eq!(
                            SlotSet::from_bitmap(slots.0).to_ranges(),
                            ranges(&data["slots"]),
                            "{name}"
                        );
                    }
                    Body::AuthRequest | Body::AuthAck | Body::MfStart => {}
                }
            }
        }
        assert!(message.encode() == bytes, "{name} differs after a round trip");
    }
}

/// All frames of `stream`, fed in chunks that `cut` chooses; `Err` holds the message that was skipped.
fn frames(
    stream: &[u8],
    limit: usize,
    mut cut: impl FnMut(usize) -> usize,
) -> Result<Vec<Result<Vec<u8>, Ignored>>, Broken> {
    let (mut framer, mut out, mut rest) = (Framer::default(), Vec::new(), stream);
    while !rest.is_empty() {
        let (mut now, later) = rest.split_at(cut(rest.len()).clamp(1, rest.len()));
        rest = later;
        while let Some(frame) = framer.next(&mut now, limit)? {
            out.push(frame.map(<[u8]>::to_vec));
        }
        assert!(now.is_empty());
    }
    assert_eq!(framer.memory(), 0, "nothing is pending");
    Ok(out)
}

#[test]
fn a_stream_is_cut_alike_whatever_its_chunks() {
    let packets: Vec<_> = packets().into_iter().map(|(_, bytes, _)| bytes).collect();
    let stream = packets.concat();
    let expected: Vec<_> = packets.into_iter().map(Ok).collect();
    assert_eq!(frames(&stream, MAX_FRAME, |n| n).unwrap(), expected);
    assert_eq!(frames(&stream, MAX_FRAME, |_| 1).unwrap(), expected);
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let chunk = 1 + rng.index(6000);
        assert_eq!(frames(&stream, MAX_FRAME, |_| 1 + rng.index(chunk)).unwrap(), expected, "seed {seed}");
    }
}

/// A publish of `len` bytes in all.
fn publish(len: usize) -> Vec<u8> {
    let payload = vec![b'x'; len - LIGHT_LEN - 8];
    Message::Light(Cast::Publish { channel: b"", message: &payload }).encode()
}

#[test]
fn a_payload_above_the_limit_is_skipped_and_the_stream_goes_on() {
    let stream = [publish(50), publish(200), publish(50)].concat();
    for chunk in [1, 7, 50, 51, 64, 300] {
        let got = frames(&stream, 100, |_| chunk).unwrap();
        assert_eq!(got, [Ok(publish(50)), Err(Ignored::TooLong(200)), Ok(publish(50))], "chunks of {chunk}");
    }
}

#[test]
fn what_cannot_be_cut_breaks_the_link() {
    let head = |total: u32, kind: u16| {
        let mut bytes = vec![0; 16];
        bytes[..4].copy_from_slice(b"RCmb");
        bytes[4..8].copy_from_slice(&total.to_be_bytes());
        bytes[9] = 1;
        bytes[12..14].copy_from_slice(&kind.to_be_bytes());
        bytes
    };
    let broken = |bytes: &[u8]| frames(bytes, MAX_FRAME, |_| 3).unwrap_err();
    assert_eq!(broken(b"RCmc456789abcdef"), Broken::Signature);
    assert_eq!(broken(&head(2255, 0)), Broken::TooShort { total: 2255 });
    assert_eq!(broken(&head(0, 4)), Broken::TooShort { total: 0 });
    assert_eq!(broken(&head(15, 0x8004)), Broken::TooShort { total: 15 });
    assert_eq!(broken(&head(u32::MAX, 0)), Broken::TooLong { total: u32::MAX });
    assert_eq!(broken(&head(u32::MAX, 0x7fff)), Broken::TooLong { total: u32::MAX });
}

fn packet(name: &str) -> Vec<u8> {
    packets().into_iter().find(|(n, ..)| n == name).unwrap().1
}

#[test]
fn malformed_messages_are_ignored_and_say_why() {
    let ping = packet("valkey/ping_all_extensions");
    let first_extension = NORMAL_LEN + 2 * GOSSIP_LEN;
    let patched = |at: usize, bytes: &[u8]| {
        let mut out = ping.clone();
        out[at..at + bytes.len()].copy_from_slice(bytes);
        out
    };
    let cases: [(&str, Vec<u8>, Ignored); 12] = [
        ("version", patched(8, &[0, 2]), Ignored::Version(2)),
        ("type", patched(12, &[0, 11]), Ignored::Type(11)),
        ("unknown light type", patched(12, &[0x80, 11]), Ignored::Type(0x800b)),
        ("light ping", patched(12, &[0x80, 0]), Ignored::NotLight(Kind::Ping)),
        ("count", patched(14, &[0xff, 0xff]), Ignored::Length { expected: 6_817_896, actual: 2664 }),
        ("fewer gossip", patched(14, &[0, 0]), Ignored::ExtensionLength(u32::from_be_bytes(*b"109b"))),
        ("a record too few", patched(2214, &[0, 7]), Ignored::Length { expected: 2616, actual: 2664 }),
        ("a record too many", patched(2214, &[0, 9]), Ignored::ExtensionLength(0)),
        ("record length 0", patched(first_extension, &[0, 0, 0, 0]), Ignored::ExtensionLength(0)),
        ("record length 12", patched(first_extension, &[0, 0, 0, 12]), Ignored::ExtensionLength(12)),
        ("record beyond", patched(first_extension, &[0, 1, 0, 0]), Ignored::ExtensionLength(65536)),
        ("sender", patched(40, b"A"), Ignored::NodeId),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(decode(&bytes), Err(expected), "{name}");
    }
    for (name, len) in [("valkey/fail", 2296), ("valkey/update", 4352), ("valkey/mfstart", 2256)] {
        let mut bytes = packet(name);
        bytes.push(0);
        bytes[4..8].copy_from_slice(&(len + 1u32).to_be_bytes());
        assert!(matches!(decode(&bytes), Err(Ignored::Length { .. })), "{name}");
    }
    let mut fail = packet("valkey/fail");
    fail[NORMAL_LEN] = b' ';
    assert_eq!(decode(&fail), Err(Ignored::NodeId));
    assert_eq!(decode(&patched(2168, b"1.2.3.4\n")), Err(Ignored::Address));
    assert_eq!(decode(&patched(2128, b"x")), Err(Ignored::NodeId));
}

#[test]
fn a_count_of_extensions_without_the_flag_means_nothing() {
    let mut meet = packet("redis/meet_plain");
    meet[2214..2216].copy_from_slice(&[0, 9]);
    assert_eq!(meet[2253], 0);
    let Ok(Message::Full { body: Body::Meet(talk), .. }) = decode(&meet) else { panic!("not a meet") };
    assert!(talk.extensions.is_empty());
}

#[test]
fn one_bad_entry_spoils_the_gossip_and_nothing_else() {
    let mut ping = packet("valkey/ping_all_extensions");
    for (at, byte) in [(NORMAL_LEN, b'_'), (NORMAL_LEN + GOSSIP_LEN + 48, b'\r')] {
        let before = core::mem::replace(&mut ping[at], byte);
        let Ok(Message::Full { body: Body::Ping(talk), .. }) = decode(&ping) else { panic!("not a ping") };
        assert!(talk.spoiled && talk.gossip.is_empty());
        assert_eq!(talk.extensions.len(), 8);
        ping[at] = before;
    }
}

#[test]
fn unknown_records_survive_a_round_trip() {
    let records = [
        Extension::Unknown { kind: 99, content: b"12345678" },
        Extension::Unknown { kind: 2, content: b"" },
        Extension::Shard(crate::ids::ShardId::from_bytes([b'f'; 40])),
        Extension::Hostname(b""),
    ];
    let mut bytes = Vec::new();
    for record in &records {
        record.encode(&mut bytes);
    }
    let mut rest = bytes.as_slice();
    for record in records {
        let (got, len) = Extension::decode(rest).unwrap();
        assert_eq!(got, record);
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
}

#[test]
fn no_bytes_make_the_codec_panic() {
    let packets = packets();
    for seed in 0..2000 {
        let mut rng = Rng::new(seed);
        let mut bytes = packets[rng.index(packets.len())].1.clone();
        for _ in 0..1 + rng.index(8) {
            // Mostly where lengths, counts and types live.
            let at = if rng.one_in(2) { rng.index(bytes.len()) } else { rng.index(16.min(bytes.len())) };
            bytes[at] = rng.bits() as u8;
        }
        let keep = if rng.one_in(3) { rng.index(bytes.len() + 1) } else { bytes.len() };
        bytes.truncate(keep);
        if let Ok(message) = decode(&bytes) {
            let again = message.encode();
            assert!(decode(&again).is_ok_and(|m| m.encode() == again), "seed {seed}");
        }
        let mut framer = Framer::default();
        let mut input = bytes.as_slice();
        while let Ok(Some(frame)) = framer.next(&mut input, MAX_STRANGER_FRAME) {
            let _ = frame.map(decode);
        }
        assert!(framer.memory() <= 2 * MAX_STRANGER_FRAME, "seed {seed}");
    }
}

#[test]
fn addresses_are_what_a_file_can_carry() {
    for good in ["", "127.0.0.1", "2001:db8::1", "fe80::1%eth0", "node.example"] {
        assert_eq!(IpText::new(good.as_bytes()).unwrap().as_str(), good);
    }
    for bad in ["a b", "a,b", "a@b", "a\n", "é", "1234567890123456789012345678901234567890123456"] {
        assert_eq!(IpText::new(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(IpText::from_ip("::ffff:10.0.0.1".parse().unwrap()).as_str(), "10.0.0.1");
}

#[test]
fn ids_and_bitmaps_are_lent_from_the_frame() {
    let bytes = packet("valkey/update");
    let Ok(Message::Full { header, .. }) = decode(&bytes) else { panic!("not a full message") };
    assert_eq!(header.slots.0.as_ptr(), bytes[80..].as_ptr());
    assert_eq!(header.slots.0.len(), BITMAP_LEN);
    assert_eq!(NodeId::parse(&bytes[40..80]), Some(header.sender));
}
