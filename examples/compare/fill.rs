//! Many keys, written fast and in order.

use std::ops::Range;
use std::rc::Rc;

use whimbrel_core::wire::resp::encode_command;

use crate::common::Trouble;
use crate::lean::{Batches, Lean};

/// SETs in a batch.
const BATCH: u64 = 100;

/// SETs of keys that are numbered, all of one size.
pub struct Fill {
    /// What the keys begin with.
    pub prefix: String,
    /// Their numbers.
    pub numbers: Range<u64>,
    /// Bytes of a key, prefix included.
    pub key_len: usize,
    /// Bytes of a value.
    pub value_len: usize,
    /// When they expire, as `PXAT` has it.
    pub until_ms: Option<u64>,
}

impl Fill {
    /// A key.
    pub fn key(&self, number: u64) -> String {
        let width = self.key_len - self.prefix.len();
        format!("{}{number:0width$}", self.prefix)
    }

    /// Sends them all over a few connections; the longest that a batch had to wait, in microseconds.
    pub fn run(mut self, port: u16, connections: usize) -> Result<u32, Trouble> {
        // Each batch has the same number of replies.
        self.numbers.end -= (self.numbers.end - self.numbers.start) % BATCH;
        let mut lean = Lean::open(port, connections)?;
        lean.run(&mut self, &mut |_| Ok(false))?;
        Ok(lean.score.waits.iter().copied().max().unwrap_or_default())
    }
}

impl Batches for Fill {
    fn next(&mut self, _link: usize) -> Option<Rc<Vec<u8>>> {
        let first = self.numbers.start;
        if first >= self.numbers.end {
            return None;
        }
        self.numbers.start += BATCH;
        let value = vec![b'v'; self.value_len];
        let until = self.until_ms.map(|ms| ms.to_string());
        let mut batch = Vec::with_capacity(BATCH as usize * (self.key_len + self.value_len + 64));
        for number in first..first + BATCH {
            let key = self.key(number);
            match &until {
                None => encode_command(&mut batch, &[b"SET", key.as_bytes(), &value]),
                Some(until) => {
                    encode_command(&mut batch, &[b"SET", key.as_bytes(), &value, b"PXAT", until.as_bytes()]);
                }
            }
        }
        Some(Rc::new(batch))
    }

    fn replies(&self) -> (usize, u8) {
        (BATCH as usize * b"+OK\r\n".len(), b'+')
    }
}
