//! The slab against a plain list of what it gave.

use alloc::vec::Vec;

use super::*;
use crate::rng::Rng;
use crate::store::entry::kept;

impl Slab {
    /// Recounts what the slab keeps by increments, as far as chunks lead to it: full ones do not.
    pub(in crate::store) fn audit(&self) {
        let state = self.state();
        let (mut roomy, mut in_roomy) = (0, 0);
        for class in 0..CLASSES {
            for (chunk, head) in members(&state.roomy[class]) {
                assert_eq!(head.class.get() as usize, class);
                assert!(head.live.get() > 0 && !head.is_full(class * UNIT));
                assert_eq!(head.state, self.state);
                assert_eq!(self.free_blocks(chunk) + head.live.get() as usize, cut(class, head));
                roomy += 1;
                in_roomy += head.live.get() as usize * class * UNIT;
            }
        }
        let mut room = 0;
        let open = members(&state.open);
        for (_, head) in &open {
            assert!(head.used.get() > 0 && !head.is_full());
            room += per_region(head) - head.used.get();
        }
        let empty = members(&state.empty);
        assert!(empty.iter().all(|(_, head)| head.used.get() == 0));
        assert_eq!(state.empties.get(), empty.len());
        assert!(state.idle.get() <= empty.len());
        // Full regions and full chunks are in no list: what they have is what is left.
        let full = state.regions.get() - open.len() - empty.len();
        let chunks = open.iter().map(|(_, head)| head.used.get()).sum::<usize>() + full * (REGION / CHUNK);
        let most = chunks - roomy;
        let in_full = state.in_blocks.get() - in_roomy;
        assert!(in_full <= most * (CHUNK - HEADER), "{in_full} bytes in {most} full chunks, {room} free");
        assert!(in_full >= most.saturating_sub(full) * (CHUNK - HEADER - LIMIT));
    }

    fn free_blocks(&self, chunk: NonNull<Chunk>) -> usize {
        // SAFETY: a linked chunk lives, and its freed blocks start with the offset of the next.
        unsafe {
            let (mut count, mut at) = (0, header(chunk).freed.get());
            while at != 0 {
                count += 1;
                at = chunk.cast::<u8>().add(at as usize).cast::<u32>().read();
            }
            count
        }
    }
}

/// The members of a list, which live, and whose links must agree.
fn members<'l, T: Linked + 'l>(list: &List<T>) -> Vec<(NonNull<T>, &'l T)> {
    let (mut found, mut prev, mut at) = (Vec::new(), None, list.first());
    while let Some(member) = at {
        // SAFETY: members live.
        let head: &T = unsafe { header(member) };
        assert_eq!(head.links().prev.get(), prev);
        found.push((member, head));
        (prev, at) = (Some(member), head.links().next.get());
    }
    found
}

/// How many chunks fit into a region, depending on where it lies.
fn per_region(region: &Region) -> usize {
    let start = region.start.addr().get();
    (start + REGION - start.next_multiple_of(CHUNK)) / CHUNK
}

/// Blocks that were cut from a chunk so far.
fn cut(class: usize, head: &Chunk) -> usize {
    (head.fresh.get() as usize - HEADER) / (class * UNIT)
}

struct Held {
    at: NonNull<u8>,
    size: usize,
    fill: u8,
}

impl Held {
    fn new(slab: &Slab, size: usize, fill: u8) -> Self {
        let at = slab.allocate(size);
        assert!(at.addr().get().is_multiple_of(UNIT));
        // SAFETY: the memory is for `size` bytes.
        unsafe { at.write_bytes(fill, size) };
        Self { at, size, fill }
    }

    /// What was written is still there: nobody else got the memory.
    fn free(self) {
        // SAFETY: the memory is held, and given back once.
        unsafe {
            assert!(core::slice::from_raw_parts(self.at.as_ptr(), self.size).iter().all(|&b| b == self.fill));
            release(self.at, self.size);
        }
    }
}

#[test]
fn memory_is_given_once_and_all_of_it_comes_back() {
    let (seeds, steps) = if cfg!(miri) { (3, 600) } else { (40, 8000) };
    for seed in 0..seeds {
        let ((), left) = kept(|| run(seed, steps));
        assert_eq!(left, (0, 0), "seed {seed}");
    }
}

fn run(seed: u64, steps: usize) {
    let rng = &mut Rng::new(seed);
    let slab = Slab::new();
    let mut held: Vec<Held> = Vec::new();
    let sizes: Vec<usize> = (0..1 + rng.index(12)).map(|_| 1 + rng.index(2500)).collect();
    for step in 0..steps {
        // Waves of more and of less.
        let grows = rng.below(10) < if step / 1000 % 2 == 0 { 7 } else { 3 };
        if grows || held.is_empty() {
            let size = sizes[rng.index(sizes.len())];
            held.push(Held::new(&slab, size, step as u8));
        } else {
            held.swap_remove(rng.index(held.len())).free();
        }
        if rng.one_in(200) {
            slab.give_back(rng.index(4));
        }
        if step % 500 == 0 {
            slab.audit();
            let entries: usize = held.iter().map(|h| footprint(h.size)).sum();
            assert_eq!(slab.figures().entries, entries as u64, "seed {seed}");
        }
    }
    // Whoever goes last, the slab or what it gave, gives everything back.
    let rest = if rng.one_in(2) { held.split_off(held.len() / 2) } else { Vec::new() };
    held.into_iter().for_each(Held::free);
    slab.audit();
    drop(slab);
    rest.into_iter().for_each(Held::free);
}

#[test]
fn little_is_lost_between_blocks() {
    for size in [8, 40, 128, 544, 1056, LIMIT] {
        let slab = Slab::new();
        let count: usize = if cfg!(miri) { 50 } else { 100_000 };
        let held: Vec<Held> = (0..count).map(|n| Held::new(&slab, size, n as u8)).collect();
        let asked = slab.figures().asked as usize - size_of::<State>();
        let regions = asked / (REGION + size_of::<Region>());
        let chunks = count.div_ceil((CHUNK - HEADER) / size);
        assert!(regions <= chunks.div_ceil(REGION / CHUNK - 1));
        let lost = asked as f64 / (count * size) as f64 - 1.0;
        assert!(cfg!(miri) || count * size < 10 * REGION || lost < 0.15, "{lost} of {size}");
        slab.audit();
        held.into_iter().for_each(Held::free);
        slab.audit();
    }
}

#[test]
fn full_chunks_are_filled_first() {
    let slab = Slab::new();
    let mut held: Vec<Held> = (0..200).map(|n| Held::new(&slab, 1000, n)).collect();
    let chunks = slab.figures().asked;
    // One hole in every chunk but the last, which is nearly empty.
    let holes: Vec<Held> = [0, 70, 150].map(|n: usize| held.remove(n)).into();
    let places: Vec<_> = holes.iter().map(|h| h.at).collect();
    holes.into_iter().for_each(Held::free);
    let again: Vec<Held> = (0..3).map(|n| Held::new(&slab, 999, n)).collect();
    assert!(again.iter().all(|h| places.contains(&h.at)));
    assert_eq!(slab.figures().asked, chunks);
    held.into_iter().chain(again).for_each(Held::free);
}
