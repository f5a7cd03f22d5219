//! The peers that the other tests talk to start, answer and are of the versions the tests were written for.

mod peer;

use peer::Server;

#[test]
fn valkey_starts_and_answers() {
    let Some(valkey) = Server::start_peer("valkey-server", &["--save", ""]) else { return };
    let info = valkey.ask(&["INFO", "server"]);
    let version = info.text().lines().find_map(|line| line.strip_prefix("valkey_version:"));
    println!("Valkey {}", version.expect("a version"));
    assert!(version.is_some_and(|v| v.starts_with("9.1.")), "{version:?}");
    assert_eq!(valkey.ask(&["SET", "a", "b"]).text(), "OK");
    assert_eq!(valkey.ask(&["GET", "a"]).text(), "b");
}

#[test]
fn redis_starts_and_answers() {
    let Some(redis) = Server::start_peer("redis-server", &["--save", ""]) else { return };
    let info = redis.ask(&["INFO", "server"]);
    let version = info.text().lines().find_map(|line| line.strip_prefix("redis_version:"));
    println!("Redis {}", version.expect("a version"));
    assert!(version.is_some_and(|v| v.starts_with("7.0.")), "{version:?}");
}
