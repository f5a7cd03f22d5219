//! Clients that write all the time and remember what was acknowledged, to be compared with the nodes afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use whimbrel_core::rng::Rng;
use whimbrel_core::slots::Slot;

use super::router::Router;
use super::{Cluster, eventually, tag};
use crate::peer::{Client, Reply, encode};

/// What a key has to hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    value: String,
    expires: bool,
}

/// Everything that was acknowledged: by database and key.
#[derive(Default)]
pub struct Model {
    keys: BTreeMap<(u32, String), Held>,
    /// Keys of commands without an answer: either state is right.
    unsure: BTreeSet<(u32, String)>,
    /// How many writes were acknowledged.
    pub writes: u64,
    /// How many redirections were followed.
    pub redirections: u64,
}

/// Writers in threads of their own, stopped by [`stop`](Self::stop).
pub struct Load {
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Model>>,
}

impl Load {
    /// Starts closed-loop writers; each has keys of its own in the given slots and databases.
    pub fn start(cluster: &Cluster, writers: usize, slots: &[u16], databases: &[u32]) -> Self {
        let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tags: Vec<String> = slots.iter().map(|slot| tag(*slot)).collect();
        let threads = (0..writers).map(|number| {
            let writer = Writer {
                number,
                router: Router::new(cluster.nodes[number % cluster.nodes.len()].port()),
                tags: tags.clone(),
                databases: databases.to_vec(),
                rng: Rng::new(number as u64),
                model: Model::default(),
                written: writes.clone(),
            };
            let stop = stop.clone();
            thread::Builder::new().name(format!("writer {number}")).spawn(move || writer.run(&stop))
        });
        let threads = threads.map(|thread| thread.expect("a thread")).collect();
        let load = Self { stop, writes, threads };
        load.await_writes(50);
        load
    }

    /// Waits until so many more writes have been acknowledged.
    pub fn await_writes(&self, more: u64) {
        let goal = self.writes.load(Ordering::Relaxed) + more;
        eventually("writes go on", || {
            let writes = self.writes.load(Ordering::Relaxed);
            if let Some(dead) = self.threads.iter().find(|t| t.is_finished()) {
                panic!("{:?} has failed", dead.thread().name());
            }
            if writes >= goal { Ok(()) } else { Err(format!("{writes} of {goal}")) }
        });
    }

    /// Ends all writers; what they know together.
    pub fn stop(self) -> Model {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Model::default();
        for thread in self.threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            let model = thread.join().unwrap_or_else(|_| panic!("{name} has failed"));
            all.keys.extend(model.keys);
            all.unsure.extend(model.unsure);
            all.writes += model.writes;
            all.redirections += model.redirections;
        }
        all
    }
}

struct Writer {
    number: usize,
    router: Router,
    tags: Vec<String>,
    databases: Vec<u32>,
    rng: Rng,
    model: Model,
    written: Arc<AtomicU64>,
}

/// Keys of one writer in one slot and database.
const KEYS: u64 = 8;

impl Writer {
    fn run(mut self, stop: &AtomicBool) -> Model {
        while !stop.load(Ordering::Relaxed) {
            let db = self.databases[self.rng.index(self.databases.len())];
            let place = self.rng.index(self.tags.len());
            let key = format!("{{{}}}w{}k{}", self.tags[place], self.number, self.rng.below(KEYS));
            self.step(db, key);
        }
        self.model.redirections = self.router.redirections;
        self.model
    }

    /// One command, whose reply has to be what the acknowledged ones before it make it.
    fn step(&mut self, db: u32, key: String) {
        let place = (db, key.clone());
        if self.model.unsure.contains(&place) {
            return;
        }
        let held = self.model.keys.get(&place).cloned();
        let value = format!("v{}", self.model.writes);
        let (line, expected, after) = match self.rng.below(8) {
            0 | 1 => (
                vec!["SET", &key, &value],
                Reply::Simple("OK".into()),
                Some(Held { value: value.clone(), expires: false }),
            ),
            2 => {
                let after = Some(Held { value: value.clone(), expires: true });
                (vec!["SET", &key, &value, "PX", "1000000"], Reply::Simple("OK".into()), after)
            }
            3 => {
                let mut after = held.clone().unwrap_or(Held { value: String::new(), expires: false });
                after.value.push_str(&value);
                (vec!["APPEND", &key, &value], Reply::Integer(after.value.len() as i64), Some(after))
            }
            4 => (vec!["DEL", &key], Reply::Integer(i64::from(held.is_some())), None),
            5 => {
                let after = held.clone().map(|held| Held { expires: true, ..held });
                (vec!["EXPIRE", &key, "1000"], Reply::Integer(i64::from(held.is_some())), after)
            }
            6 => {
                let had = held.as_ref().is_some_and(|held| held.expires);
                let after = held.clone().map(|held| Held { expires: false, ..held });
                (vec!["PERSIST", &key], Reply::Integer(i64::from(had)), after)
            }
            _ => {
                let reply = held.as_ref().map_or(Reply::Null, |held| Reply::Bulk(held.value.clone()));
                (vec!["GET", &key], reply, held.clone())
            }
        };
        match self.router.ask(db, &line) {
            Ok(reply) => assert_eq!(reply, expected, "db {db}: {line:?}"),
            Err(_) => {
                self.model.keys.remove(&place);
                self.model.unsure.insert(place);
                return;
            }
        }
        match after {
            // A value that grows without end would make the test slower and slower.
            Some(held) if held.value.len() < 200 => drop(self.model.keys.insert(place, held)),
            Some(held) => {
                self.model.keys.insert(place.clone(), held);
                match self.router.ask(db, &["DEL", &key]) {
                    Ok(_) => drop(self.model.keys.remove(&place)),
                    Err(_) => {
                        self.model.keys.remove(&place);
                        self.model.unsure.insert(place);
                    }
                }
            }
            None => drop(self.model.keys.remove(&place)),
        }
        self.model.writes += 1;
        self.written.fetch_add(1, Ordering::Relaxed);
    }
}

impl Model {
    /// Adds a key that somebody else wrote.
    pub fn insert(&mut self, db: u32, key: &str, value: &str, expires: bool) {
        self.keys.insert((db, key.to_owned()), Held { value: value.to_owned(), expires });
    }

    /// How many keys there have to be in a database.
    pub fn count(&self, db: u32) -> usize {
        self.keys.keys().filter(|(of, _)| *of == db).count()
    }

    /// How many keys there have to be in a slot of a database.
    pub fn count_in_slot(&self, db: u32, slot: u16) -> usize {
        let is_there = |(of, key): &&(u32, String)| *of == db && Slot::of(key.as_bytes()).number() == slot;
        self.keys.keys().filter(is_there).count()
    }

    /// Every key is at the owner of its slot with its value, and at no other node is there any key.
    pub fn compare(&self, cluster: &Cluster) {
        let view = eventually("all nodes agree", || cluster.agreement());
        let mut databases: BTreeSet<u32> = self.keys.keys().map(|(db, _)| *db).collect();
        databases.insert(0);
        let mut found = 0;
        for node in &cluster.nodes {
            let slots = &view[&node.id()];
            for &db in &databases {
                let here = |key: &str| slots.contains(&Slot::of(key.as_bytes()).number());
                let keys: Vec<_> = self.keys.iter().filter(|((of, key), _)| *of == db && here(key)).collect();
                let unsure = self.unsure.iter().filter(|(of, key)| *of == db && here(key)).count() as i64;
                let place = format!("{:?} {} db {db}", node.kind, node.address());
                // Only Redis has no more than one database in a cluster.
                if node.kind == super::Kind::Redis && db > 0 {
                    assert!(keys.is_empty(), "{place} is given keys");
                    continue;
                }
                let mut client = node.client(db);
                for part in keys.chunks(200) {
                    compare_part(&mut client, part, &place);
                }
                found += keys.len();
                let size = eventually("keys of other nodes' slots are gone", || {
                    let size = client.ask(&["DBSIZE"]).number();
                    let right = (keys.len() as i64..=keys.len() as i64 + unsure).contains(&size);
                    if right { Ok(size) } else { Err(format!("{place}: {size} keys, not {}", keys.len())) }
                });
                let keys = client.ask(&["KEYS", "*"]).list().len() as i64;
                assert_eq!(keys, size, "{place}: KEYS against DBSIZE");
            }
        }
        assert_eq!(found, self.keys.len(), "keys that belong to no node");
    }
}

fn compare_part(client: &mut Client, part: &[(&(u32, String), &Held)], place: &str) {
    let mut bytes = Vec::new();
    for ((_, key), _) in part {
        bytes.extend(encode(&["GET", key]));
        bytes.extend(encode(&["PTTL", key]));
    }
    client.send(&bytes).expect("a node that reads");
    for ((_, key), held) in part {
        let value = client.read().expect("an answer to GET");
        let ttl = client.read().expect("an answer to PTTL").number();
        assert_eq!(value, Reply::Bulk(held.value.clone()), "{place}: {key}");
        assert_eq!(ttl >= 0, held.expires, "{place}: {key}: PTTL {ttl}");
    }
}
