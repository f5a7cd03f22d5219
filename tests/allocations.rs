//! The way of a command from the bytes that came to the bytes that go asks for no memory, once everything is warm.

#[path = "../examples/datapath/plane.rs"]
mod plane;

use allocation_counter::measure;
use plane::{Plane, command};

/// How many allocations ten rounds of these bytes make.
fn allocations(plane: &mut Plane, bytes: &[u8]) -> u64 {
    // The first rounds make room for replies and for the figures of commands.
    (0..3).for_each(|_| assert!(plane.exchange(bytes) > 0, "a reply"));
    measure(|| (0..10).for_each(|_| assert!(plane.exchange(bytes) > 0, "a reply"))).count_total
}

#[test]
fn commands_on_keys_that_are_there_allocate_nothing() {
    let mut plane = Plane::new();
    let (small, large, long) = (vec![b'v'; 16], vec![b'v'; 4096], vec![b'v'; 100_000]);
    for n in 0..100 {
        let (a, b) = (format!("small:{n}"), format!("large:{n}"));
        assert_eq!(plane.ask(&command(&[b"SET", a.as_bytes(), &small])), b"+OK\r\n");
        assert_eq!(plane.ask(&command(&[b"SET", b.as_bytes(), &large])), b"+OK\r\n");
    }
    assert_eq!(plane.ask(&command(&[b"SET", b"counter", b"7"])), b"+OK\r\n");
    assert_eq!(plane.ask(&command(&[b"SET", b"long", &long])), b"+OK\r\n");
    let calls: [(&str, &[&[u8]]); 9] = [
        ("GET", &[b"GET", b"small:1"]),
        ("GET of 4 KiB", &[b"GET", b"large:1"]),
        ("GET of nothing", &[b"GET", b"missing"]),
        ("SET", &[b"SET", b"small:1", &small]),
        ("SET of 4 KiB", &[b"SET", b"large:1", &large]),
        ("INCR", &[b"INCR", b"counter"]),
        ("EXISTS", &[b"EXISTS", b"small:1", b"small:1"]),
        ("TTL", &[b"TTL", b"small:1"]),
        ("PING", &[b"PING"]),
    ];
    for (name, words) in calls {
        assert_eq!(allocations(&mut plane, &command(words)), 0, "{name}");
        assert_eq!(allocations(&mut plane, &command(words).repeat(100)), 0, "a hundred {name}");
    }
    assert_eq!(
        allocations(&mut plane, &command(&[b"GET", b"long"]).repeat(2)),
        0,
        "two GET of what is shared"
    );
    let each = |n: usize| {
        let (a, b) = (format!("small:{n}"), format!("large:{n}"));
        [
            command(&[b"GET", a.as_bytes()]),
            command(&[b"SET", a.as_bytes(), &small]),
            command(&[b"GET", b.as_bytes()]),
            command(&[b"SET", b.as_bytes(), &large]),
        ]
        .concat()
    };
    let mixed: Vec<u8> = (0..100).flat_map(each).collect();
    assert_eq!(allocations(&mut plane, &mixed), 0, "four hundred of four kinds");
}

#[test]
fn a_write_that_a_migration_follows_allocates_nothing() {
    let mut plane = Plane::new();
    let sets: Vec<u8> =
        (0..100).flat_map(|n| command(&[b"SET", format!("key:{n}").as_bytes(), &[b'v'; 512]])).collect();
    plane.exchange(&sets);
    plane.follow();
    // The stream's memory comes back with what is sent, every third time.
    (0..10).for_each(|_| assert!(plane.exchange(&sets) > 0, "replies"));
    assert_eq!(allocations(&mut plane, &sets), 0);
}

/// What the tests above would see if there were something to see.
#[test]
fn allocations_are_seen() {
    let mut plane = Plane::new();
    let set = |n: u32| command(&[b"SET", format!("new:{n}").as_bytes(), &[b'v'; 5000]]);
    let new: Vec<u8> = (0..100).flat_map(set).collect();
    assert!(measure(|| assert!(plane.exchange(&new) > 0, "replies")).count_total > 0);
}
