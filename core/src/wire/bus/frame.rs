//! Cutting a stream into messages.

use alloc::vec::Vec;

use super::{Broken, Ignored, Kind, LIGHT, LIGHT_LEN, NORMAL_LEN, SIGNATURE, u16_at, u32_at};

/// The longest message of a known node that is kept in memory, in bytes.
///
/// Neither Valkey nor Redis has a limit, so one header could make a node buffer 4 GiB. The longest message of the
/// cluster itself, a ping with 65535 gossip entries, takes 7 MiB; only pub/sub and module payloads can be longer,
/// and of those the bytes are skipped.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// The same for a peer that is no member: all it can say of use is PING and MEET. Enough for 10000 gossip entries.
pub const MAX_STRANGER_FRAME: usize = 1024 * 1024;

/// Signature, length, version, port and type: what must be there before a message can be judged.
const HEAD: usize = 14;

/// Cuts a stream of any chunks into frames, looking at every byte once.
///
/// A frame that lies whole in a chunk is lent from it; only an unfinished one is copied. With nothing unfinished
/// the framer owns no memory.
#[derive(Debug, Default)]
pub struct Framer {
    /// The beginning of an unfinished frame.
    pending: Vec<u8>,
    /// `pending` was lent as a frame by the last call.
    lent: bool,
    /// Bytes of an oversized message still to come.
    skip: usize,
}

impl Framer {
    /// The next frame of `input`, which is advanced; `None` when more bytes are needed.
    ///
    /// Call until `None`. `limit` is [`MAX_FRAME`] or [`MAX_STRANGER_FRAME`]. A frame is as long as its length
    /// field says and no shorter than its header; everything else is for [`decode`](super::decode) to judge.
    ///
    /// # Errors
    /// [`Broken`] ends the link. The inner [`Ignored`] tells of a message that is skipped unread.
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b [u8],
        limit: usize,
    ) -> Result<Option<Result<&'a [u8], Ignored>>, Broken> {
        if self.lent {
            self.pending = Vec::new();
            self.lent = false;
        }
        let skipped = self.skip.min(input.len());
        *input = &input[skipped..];
        self.skip -= skipped;
        if input.is_empty() {
            return Ok(None);
        }
        if self.pending.is_empty() && input.len() < HEAD || !self.complete_head(input) {
            self.take(input, input.len());
            return Ok(None);
        }
        let head: &[u8] = if self.pending.is_empty() { input } else { &self.pending };
        let total = match judge(head, limit)? {
            Ok(total) => total,
            Err((total, ignored)) => {
                let gone = core::mem::take(&mut self.pending).len();
                self.skip = total - gone;
                return Ok(Some(Err(ignored)));
            }
        };
        if self.pending.is_empty() && input.len() >= total {
            let (frame, rest) = input.split_at(total);
            *input = rest;
            return Ok(Some(Ok(frame)));
        }
        let missing = total - self.pending.len();
        self.take(input, missing.min(input.len()));
        if self.pending.len() < total {
            return Ok(None);
        }
        self.lent = true;
        Ok(Some(Ok(&self.pending)))
    }

    /// Bytes of memory held for an unfinished frame.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.pending.capacity()
    }

    /// Moves bytes from `input` to an already begun frame until its head is whole; whether it is.
    fn complete_head(&mut self, input: &mut &[u8]) -> bool {
        if !self.pending.is_empty() && self.pending.len() < HEAD {
            let missing = HEAD - self.pending.len();
            self.take(input, missing.min(input.len()));
        }
        self.pending.is_empty() || self.pending.len() >= HEAD
    }

    fn take(&mut self, input: &mut &[u8], n: usize) {
        let (now, rest) = input.split_at(n);
        self.pending.extend_from_slice(now);
        *input = rest;
    }
}

/// The length of the message whose head this is, or that length and why the message is not kept.
fn judge(head: &[u8], limit: usize) -> Result<Result<usize, (usize, Ignored)>, Broken> {
    if head[..4] != SIGNATURE {
        return Err(Broken::Signature);
    }
    let (total, kind) = (u32_at(head, 4), u16_at(head, 12));
    let least = if kind & LIGHT != 0 { LIGHT_LEN } else { NORMAL_LEN };
    let len = total as usize;
    if len < least {
        return Err(Broken::TooShort { total });
    }
    if len <= limit {
        return Ok(Ok(len));
    }
    match Kind::from_number(kind & !LIGHT) {
        Some(kind) if kind.may_be_light() => Ok(Err((len, Ignored::TooLong(total)))),
        _ => Err(Broken::TooLong { total }),
    }
}
