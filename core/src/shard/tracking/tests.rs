use alloc::vec;

use super::*;
use crate::link::Outbox;
use crate::wire::resp::{ArgvBuf, Proto};

fn link(n: u64) -> LinkId {
    LinkId::accepted(n)
}

/// A table and three clients, numbered from 1.
#[derive(Default)]
struct Bench {
    tracking: Tracking,
    trackers: [Option<Box<Tracker>>; 3],
}

impl Bench {
    fn set(&mut self, client: usize, options: &str) -> Result<(), String> {
        let line = format!("CLIENT TRACKING {options}");
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let owned = ArgvBuf::of(&words);
        let find = |id: u64| (1..=3).contains(&id).then(|| link(id));
        self.tracking.set(owned.argv(), link(client as u64), &mut self.trackers[client - 1], find)
    }

    fn read(&mut self, client: usize, key: &str) {
        let tracker = self.trackers[client - 1].as_deref().expect("a client that tracks");
        self.tracking.read(link(client as u64), tracker, core::iter::once(key.as_bytes()));
    }

    fn changed(&mut self, key: &str, by: u64) {
        self.tracking.changed(key.as_bytes(), Some(link(by)));
    }

    /// What everybody is told: client, and keys.
    fn told(&mut self) -> Vec<(u64, String)> {
        let trackers = &self.trackers;
        let noloop = |to: LinkId| trackers[to.number() as usize - 1].as_ref().is_some_and(|t| t.noloop);
        let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
        let notices = self.tracking.take(noloop).into_iter().map(|notice| {
            let keys = match notice.what {
                Gone::Key(key) => text(&key),
                Gone::Keys(keys) => keys.iter().map(|key| text(key)).collect::<Vec<_>>().join(","),
                Gone::All => "all".into(),
            };
            (notice.to.number(), keys)
        });
        notices.collect()
    }
}

#[test]
fn who_read_a_key_is_told_once() {
    let mut bench = Bench::default();
    bench.set(1, "on").unwrap();
    bench.set(2, "ON").unwrap();
    for (client, key) in [(1, "a"), (1, "a"), (2, "a"), (2, "b")] {
        bench.read(client, key);
    }
    assert_eq!((bench.tracking.clients(), bench.tracking.totals()), (2, [2, 3, 0]));
    bench.changed("a", 3);
    bench.changed("nobody's", 3);
    assert_eq!(bench.told(), [(1, "a".into()), (2, "a".into())]);
    bench.changed("a", 3);
    assert_eq!(bench.told(), []);
    assert_eq!(bench.tracking.totals(), [1, 1, 0]);
    bench.tracking.flushed(None);
    assert_eq!(bench.told(), [(1, "all".into()), (2, "all".into())]);
    assert_eq!(bench.tracking.totals(), [0, 0, 0]);
}

#[test]
fn optin_and_optout_remember_as_they_are_told() {
    let mut bench = Bench::default();
    bench.set(1, "on optin").unwrap();
    bench.set(2, "on optout").unwrap();
    for client in [1, 2] {
        bench.read(client, "k");
    }
    for (client, word) in [(1, b"yes".as_slice()), (2, b"no")] {
        caching(bench.trackers[client - 1].as_deref_mut(), word).unwrap();
        bench.read(client, "exception");
        bench.trackers[client - 1].as_mut().unwrap().forget_exception();
        bench.read(client, "later");
    }
    for key in ["k", "exception", "later"] {
        bench.changed(key, 3);
    }
    assert_eq!(bench.told(), [(2, "k".into()), (1, "exception".into()), (2, "later".into())]);
    let tracker = |bench: &mut Bench, n: usize| bench.trackers[n - 1].clone();
    for (client, word, error) in [
        (1, b"no".as_slice(), "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."),
        (2, b"yes", "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."),
        (1, b"x", lines::SYNTAX),
        (3, b"x", NOT_TRACKING),
    ] {
        let mut tracker = tracker(&mut bench, client);
        assert_eq!(caching(tracker.as_deref_mut(), word), Err(error));
    }
}

#[test]
fn prefixes_hear_of_all_their_keys_in_order() {
    let mut bench = Bench::default();
    bench.set(1, "on bcast prefix u: prefix v:").unwrap();
    bench.set(2, "on bcast noloop").unwrap();
    bench.set(3, "on").unwrap();
    bench.read(3, "u:2");
    bench.read(2, "u:2");
    for (key, by) in [("u:2", 2), ("w", 1), ("u:1", 1), ("v:9", 2), ("u:1", 2)] {
        bench.changed(key, by);
    }
    // The changes of its own that the second client made last are left out.
    assert_eq!(bench.told(), [(3, "u:2".into()), (2, "w".into()), (1, "u:1,u:2".into()), (1, "v:9".into())]);
    assert_eq!(bench.told(), []);
    assert_eq!(bench.tracking.totals(), [0, 0, 3]);
    let mut tracker = bench.trackers[0].take();
    bench.tracking.forget(link(1), &mut tracker);
    assert_eq!((bench.tracking.clients(), bench.tracking.totals()), (2, [0, 0, 1]));
}

#[test]
fn a_full_table_forgets_keys_and_says_so() {
    let mut bench = Bench::default();
    bench.set(1, "on").unwrap();
    let keys: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    keys.iter().for_each(|key| bench.read(1, key));
    let mut rng = Rng::new(1);
    bench.tracking.limit(0, &mut rng);
    assert_eq!(bench.tracking.totals(), [50, 50, 0]);
    bench.tracking.limit(20, &mut rng);
    assert_eq!(bench.tracking.totals(), [20, 20, 0]);
    let mut told: Vec<String> = bench.told().into_iter().map(|(_, key)| key).collect();
    assert_eq!(told.len(), 30);
    keys.iter().for_each(|key| bench.changed(key, 2));
    told.extend(bench.told().into_iter().map(|(_, key)| key));
    told.sort();
    let mut all = keys;
    all.sort();
    assert_eq!(told, all, "each key is told once");
}

/// As a Valkey 9.1 answers.
#[test]
fn errors_are_valkeys() {
    let mut bench = Bench::default();
    for (options, error) in [
        ("x", lines::SYNTAX),
        ("on x", lines::SYNTAX),
        ("on redirect", lines::SYNTAX),
        ("on redirect x", lines::NOT_AN_INTEGER),
        ("on redirect 999", "ERR The client ID you want redirect to does not exist"),
        ("on redirect 2 redirect 3", "ERR A client can only redirect to a single other client"),
        ("on prefix a", "ERR PREFIX option requires BCAST mode to be enabled"),
        ("on bcast optin", "ERR OPTIN and OPTOUT are not compatible with BCAST"),
        ("on optin optout", "ERR You can't specify both OPTIN mode and OPTOUT mode"),
        (
            "on bcast prefix a prefix ab",
            "ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap.",
        ),
    ] {
        assert_eq!(bench.set(1, options), Err(error.into()), "{options}");
    }
    assert_eq!((bench.tracking.clients(), bench.tracking.totals()), (0, [0, 0, 0]));
    bench.set(1, "on bcast prefix a").unwrap();
    for (options, error) in [
        (
            "on bcast prefix ab",
            "ERR Prefix 'ab' overlaps with an existing prefix 'a'. Prefixes for a single client must not overlap.",
        ),
        ("on", OTHER_MODE),
    ] {
        assert_eq!(bench.set(1, options), Err(error.into()), "{options}");
    }
    bench.set(2, "on optin").unwrap();
    assert_eq!(bench.set(2, "on optout"), Err(OTHER_CHOICE.into()));
    bench.set(2, "off").unwrap();
    bench.set(2, "on optout redirect 3").unwrap();
}

#[test]
fn a_client_is_described() {
    let mut bench = Bench::default();
    bench.set(1, "on bcast noloop prefix b prefix a redirect 2").unwrap();
    bench.set(2, "on optin").unwrap();
    caching(bench.trackers[1].as_deref_mut(), b"yes").unwrap();
    let said = |tracker: Option<&Tracker>| {
        let mut out = Outbox::default();
        describe(tracker, &mut Reply::new(&mut out, Proto::Resp3));
        let bytes: Vec<u8> = out.chunks().flatten().copied().collect();
        let text = String::from_utf8(bytes).unwrap();
        let words = text.split("\r\n").filter(|w| !w.starts_with('$')).collect::<Vec<_>>();
        words.join(" ")
    };
    let trackers = &bench.trackers;
    let shown: Vec<String> = trackers.iter().map(|t| said(t.as_deref())).collect();
    let rows = vec![
        "%3 flags ~3 on bcast noloop redirect :2 prefixes *2 a b ",
        "%3 flags ~3 on optin caching-yes redirect :0 prefixes *0 ",
        "%3 flags ~1 off redirect :-1 prefixes *0 ",
    ];
    assert_eq!(shown, rows);
}
