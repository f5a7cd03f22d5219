//! Keys in a few slots.

use std::ops::Range;
use std::sync::OnceLock;

use whimbrel_core::slots::{SLOTS, Slot};
use whimbrel_core::wire::resp::Value;

use crate::common::Trouble;
use crate::common::cluster::Node;

/// Commands that are sent before their replies are read.
const BATCH: usize = 500;

/// A hash tag for each slot.
fn tags() -> &'static [String] {
    static TAGS: OnceLock<Vec<String>> = OnceLock::new();
    TAGS.get_or_init(|| {
        let mut found = vec![String::new(); SLOTS];
        let mut left = SLOTS;
        for number in 0_u64.. {
            let tag = number.to_string();
            let slot = Slot::of(tag.as_bytes()).index();
            if found[slot].is_empty() {
                found[slot] = tag;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        found
    })
}

/// A hash tag of a slot.
pub fn tag(slot: u16) -> &'static str {
    &tags()[usize::from(slot)]
}

/// Keys spread evenly over slots.
#[derive(Clone)]
pub struct Keys {
    /// Which slots.
    pub slots: Range<u16>,
    /// How many keys there are in all.
    pub count: usize,
    /// Bytes of each value.
    pub size: usize,
}

impl Keys {
    /// A key and its slot.
    pub fn key(&self, number: usize) -> (Slot, Vec<u8>) {
        let slot = self.slots.start + (number % self.slots.len()) as u16;
        let slot = Slot::new(slot).expect("a slot");
        (slot, format!("{{{}}}{number}", tags()[slot.index()]).into_bytes())
    }

    /// A value.
    pub fn value(&self) -> Vec<u8> {
        vec![b'v'; self.size]
    }

    /// Writes them all to the node that has their slots.
    pub fn load(&self, node: &Node) -> Result<(), Trouble> {
        let mut connection = node.connect()?;
        let value = self.value();
        let trouble = |e: std::io::Error| format!("loading keys: {e}");
        for first in (0..self.count).step_by(BATCH) {
            let batch = first..self.count.min(first + BATCH);
            for number in batch.clone() {
                connection.queue(&[&b"SET"[..], &self.key(number).1, &value]);
            }
            connection.send().map_err(trouble)?;
            for _ in batch {
                match connection.receive().map_err(trouble)? {
                    Value::Simple(_) => {}
                    other => return Err(format!("loading keys: SET was answered {other:?}")),
                }
            }
        }
        Ok(())
    }
}
