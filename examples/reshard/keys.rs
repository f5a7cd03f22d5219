//! The keys of the show: which there are, what they hold, writing them all and reading them all back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use whimbrel_core::slots::{SLOTS, Slot};
use whimbrel_core::wire::resp::Value;

use crate::common::Trouble;
use crate::common::client::Connection;
use crate::common::figures::thousands;
use crate::display::Progress;

/// Commands that are sent before their replies are read.
const BATCH: usize = 500;
/// How often the display looks.
const LOOK: Duration = Duration::from_millis(100);

/// All keys, numbered from 0, and how long their values are.
#[derive(Clone, Copy)]
pub struct Keys {
    /// How many there are.
    pub count: u32,
    /// Bytes of a value.
    pub size: usize,
}

impl Keys {
    /// The name of a key.
    pub fn name(number: u32) -> Vec<u8> {
        format!("key:{number}").into_bytes()
    }

    /// The slot of a key.
    pub fn slot(number: u32) -> Slot {
        Slot::of(&Self::name(number))
    }

    /// What a key holds after so many writes: which key, which write, and filling.
    pub fn value(&self, number: u32, version: u32) -> Vec<u8> {
        let mut value = format!("{number} {version} ").into_bytes();
        value.resize(self.size.max(value.len()), b'.');
        value
    }

    /// The numbers of all keys, by the port of the node that serves them.
    fn by_port(&self, owners: &[u16; SLOTS]) -> HashMap<u16, Vec<u32>> {
        let mut found: HashMap<u16, Vec<u32>> = HashMap::new();
        for number in 0..self.count {
            found.entry(owners[Self::slot(number).index()]).or_default().push(number);
        }
        found
    }

    /// Writes every key for the first time, to each node over a connection of its own.
    pub fn load(&self, owners: &[u16; SLOTS]) -> Result<(), Trouble> {
        let write = |connection: &mut Connection, numbers: &[u32]| -> Result<(), Trouble> {
            for &number in numbers {
                connection.queue(&[&b"SET"[..], &Self::name(number), &self.value(number, 0)]);
            }
            connection.send().map_err(|e| e.to_string())?;
            for _ in numbers {
                match connection.receive().map_err(|e| e.to_string())? {
                    Value::Simple(_) => {}
                    other => return Err(format!("SET was answered {other:?}")),
                }
            }
            Ok(())
        };
        self.each("loading the keys", owners, write).map(drop)
    }

    /// Reads every key back. `versions` holds the last write of each key that was acknowledged. Returns the keys
    /// that hold something else, with what that is.
    pub fn read_back(&self, owners: &[u16; SLOTS], versions: &[u32]) -> Result<Vec<(u32, String)>, Trouble> {
        let read = |connection: &mut Connection, numbers: &[u32]| -> Result<Vec<(u32, String)>, Trouble> {
            numbers.iter().for_each(|&number| connection.queue(&[&b"GET"[..], &Self::name(number)]));
            connection.send().map_err(|e| e.to_string())?;
            let mut lost = Vec::new();
            for &number in numbers {
                let reply = connection.receive().map_err(|e| e.to_string())?;
                let expected = self.value(number, versions[number as usize]);
                match reply {
                    Value::Bulk(value) if value == expected => {}
                    Value::Bulk(value) => lost.push((number, shown(&value))),
                    other => lost.push((number, format!("{other:?}"))),
                }
            }
            Ok(lost)
        };
        let parts = self.each("reading everything back", owners, read)?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Does something for all keys in batches, one thread per node.
    fn each<T: Send>(
        &self,
        title: &'static str,
        owners: &[u16; SLOTS],
        act: impl Fn(&mut Connection, &[u32]) -> Result<T, Trouble> + Sync,
    ) -> Result<Vec<T>, Trouble> {
        let mut progress = Progress::begin(title, u64::from(self.count));
        let done = AtomicU64::new(0);
        let by_port = self.by_port(owners);
        let run = |port: u16, numbers: &[u32]| -> Result<Vec<T>, Trouble> {
            let mut connection = Connection::open(port).map_err(|e| format!("port {port}: {e}"))?;
            let mut found = Vec::new();
            for batch in numbers.chunks(BATCH) {
                found.push(act(&mut connection, batch).map_err(|e| format!("node at port {port}: {e}"))?);
                done.fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
            Ok(found)
        };
        let run = &run;
        let result = thread::scope(|scope| {
            let threads: Vec<_> =
                by_port.iter().map(|(&port, numbers)| scope.spawn(move || run(port, numbers))).collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                let at = done.load(Ordering::Relaxed);
                progress.at(at, format!("{} keys", thousands(at)));
                thread::sleep(LOOK);
            }
            let results = threads.into_iter().map(|thread| thread.join().expect("a thread without panics"));
            results.collect::<Result<Vec<_>, _>>()
        })?;
        progress.end(format!("{} keys", thousands(u64::from(self.count))));
        Ok(result.into_iter().flatten().collect())
    }
}

/// The beginning of a value that should not be.
fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.trim_end_matches('.').chars().take(60).collect()
}
