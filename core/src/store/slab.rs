//! Where entries lie: blocks of a multiple of eight bytes, cut from chunks of one size each.
//!
//! General allocators round a size up by up to a quarter; here it is at most seven bytes. Every chunk starts with a
//! header and is aligned to its own size, so that a block alone leads to its chunk and from there to the slab. Empty
//! chunks go to a reserve that every class draws from; what the reserve has not needed for a while is given back to
//! the allocator in small portions. Sizes above [`LIMIT`] are allocations of their own.
//!
//! A slab belongs to one store and so do the blocks from it: both are used by one thread at a time.

#![allow(unsafe_code)]

use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use alloc::boxed::Box;
use core::alloc::Layout;
use core::cell::Cell;
use core::mem::size_of;
use core::num::NonZero;
use core::ptr::NonNull;

/// Sizes of blocks are multiples of this, and so are their addresses.
pub(super) const UNIT: usize = 8;
/// The largest block cut from a chunk.
pub(super) const LIMIT: usize = 2048;
/// The size and the alignment of a chunk.
pub(super) const CHUNK: usize = 64 * 1024;
/// One class per multiple of [`UNIT`] up to [`LIMIT`]; that of size 0 stays empty.
const CLASSES: usize = LIMIT / UNIT + 1;
/// What lies before an allocation of its own: where its slab is.
const PREFIX: usize = size_of::<NonNull<State>>();

const HEADER: usize = size_of::<Chunk>();
const _: () = assert!(HEADER.is_multiple_of(UNIT) && PREFIX.is_multiple_of(UNIT));

const CHUNK_LAYOUT: Layout = match Layout::from_size_align(CHUNK, CHUNK) {
    Ok(layout) => layout,
    Err(_) => panic!("a chunk is aligned to a power of two"),
};

/// What memory a slab has, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Figures {
    /// Blocks in use and allocations of their own.
    pub(super) entries: u64,
    /// What objects hold besides.
    pub(super) objects: u64,
    /// Asked of the allocator for chunks, for allocations of their own, and for the slab itself.
    pub(super) asked: u64,
}

/// The memory of a store's entries.
pub(super) struct Slab {
    /// Lives until the slab is dropped and no block is left.
    state: NonNull<State>,
}

// SAFETY: the state is reached from this slab and from entries. No entry ever leaves the store that owns the slab
// (the store's public functions lend entries, none gives one away), so that all of them move between threads
// together.
unsafe impl Send for Slab {}

/// Everything about a slab. Never borrowed exclusively, since every chunk points to it.
struct State {
    /// Chunks of each class that have room.
    roomy: [Cell<Option<NonNull<Chunk>>>; CLASSES],
    /// Empty chunks, linked by `next`.
    reserve: Cell<Option<NonNull<Chunk>>>,
    reserved: Cell<usize>,
    /// The least that the reserve had since it was last looked at.
    idle: Cell<usize>,
    /// All chunks, those of the reserve too.
    chunks: Cell<usize>,
    /// Blocks and allocations of their own that are in use.
    live: Cell<usize>,
    in_blocks: Cell<usize>,
    /// Bytes in allocations of their own.
    apart: Cell<usize>,
    objects: Cell<usize>,
    /// The slab was dropped: the state goes with the last block.
    orphaned: Cell<bool>,
}

/// The header of a chunk. Offsets count from the chunk's start.
struct Chunk {
    state: NonNull<State>,
    prev: Cell<Option<NonNull<Chunk>>>,
    next: Cell<Option<NonNull<Chunk>>>,
    /// The block freed last, 0 when there is none. Free blocks start with the offset of the next one.
    freed: Cell<u32>,
    /// Where memory starts that was never a block.
    fresh: Cell<u32>,
    live: Cell<u32>,
    class: Cell<u32>,
}

/// Bytes of the block that holds `size` bytes, or of an allocation of its own without what lies before it.
pub(super) const fn room(size: usize) -> usize {
    size.next_multiple_of(UNIT)
}

/// Bytes that an entry of `size` bytes takes.
pub(super) const fn footprint(size: usize) -> usize {
    if size > LIMIT { room(size) + PREFIX } else { room(size) }
}

fn add(cell: &Cell<usize>, n: usize) {
    cell.set(cell.get() + n);
}

fn sub(cell: &Cell<usize>, n: usize) {
    cell.set(cell.get() - n);
}

impl Chunk {
    /// Whether the chunk has no block to give.
    fn is_full(&self, block: usize) -> bool {
        self.freed.get() == 0 && self.fresh.get() as usize + block > CHUNK
    }
}

/// The header of a chunk.
///
/// # Safety
/// The chunk must be allocated and its header written; both are so from `State::open` to `State::unmap`. Headers are
/// changed only through cells, so that any number of references is fine.
unsafe fn header<'c>(chunk: NonNull<Chunk>) -> &'c Chunk {
    // SAFETY: the caller's promise.
    unsafe { chunk.as_ref() }
}

/// The chunk that a block was cut from. The result may be used for the whole chunk, as the block's pointer may.
fn chunk_of(block: NonNull<u8>) -> NonNull<Chunk> {
    let start =
        |at: NonZero<usize>| NonZero::new(at.get() & !(CHUNK - 1)).expect("no chunk lies at address 0");
    block.map_addr(start).cast()
}

impl State {
    fn new() -> Self {
        Self {
            roomy: [const { Cell::new(None) }; CLASSES],
            reserve: Cell::new(None),
            reserved: Cell::new(0),
            idle: Cell::new(0),
            chunks: Cell::new(0),
            live: Cell::new(0),
            in_blocks: Cell::new(0),
            apart: Cell::new(0),
            objects: Cell::new(0),
            orphaned: Cell::new(false),
        }
    }

    /// A chunk for a class that has no roomy one, linked.
    #[cold]
    fn open(&self, class: usize) -> NonNull<Chunk> {
        let chunk = self.reserve.get().unwrap_or_else(|| {
            // SAFETY: the layout is not empty.
            let Some(start) = NonNull::new(unsafe { alloc(CHUNK_LAYOUT) }) else {
                handle_alloc_error(CHUNK_LAYOUT)
            };
            add(&self.chunks, 1);
            let chunk = start.cast::<Chunk>();
            // SAFETY: new memory, large enough and aligned for the header.
            unsafe {
                chunk.write(Chunk {
                    state: NonNull::from(self),
                    prev: Cell::new(None),
                    next: Cell::new(None),
                    freed: Cell::new(0),
                    fresh: Cell::new(0),
                    live: Cell::new(0),
                    class: Cell::new(0),
                });
            }
            add(&self.reserved, 1);
            chunk
        });
        // SAFETY: a chunk of the reserve, or the one just made.
        let head = unsafe { header(chunk) };
        self.reserve.set(head.next.take());
        sub(&self.reserved, 1);
        self.idle.set(self.idle.get().min(self.reserved.get()));
        head.freed.set(0);
        head.fresh.set(HEADER as u32);
        head.class.set(class as u32);
        self.link(chunk);
        chunk
    }

    /// Puts a chunk first among those of its class that have room.
    fn link(&self, chunk: NonNull<Chunk>) {
        // SAFETY: chunks are linked while they live.
        unsafe {
            let head = header(chunk);
            let first = &self.roomy[head.class.get() as usize];
            if let Some(second) = first.get() {
                header(second).prev.set(Some(chunk));
            }
            head.prev.set(None);
            head.next.set(first.replace(Some(chunk)));
        }
    }

    /// Takes a chunk from those that have room.
    fn unlink(&self, chunk: NonNull<Chunk>) {
        // SAFETY: chunks are linked while they live, and so are their neighbours.
        unsafe {
            let head = header(chunk);
            let (prev, next) = (head.prev.take(), head.next.take());
            match prev {
                Some(prev) => header(prev).next.set(next),
                None => self.roomy[head.class.get() as usize].set(next),
            }
            if let Some(next) = next {
                header(next).prev.set(prev);
            }
        }
    }

    /// Gives a block of a class.
    fn take(&self, class: usize) -> NonNull<u8> {
        let chunk = self.roomy[class].get().unwrap_or_else(|| self.open(class));
        let block = class * UNIT;
        // SAFETY: the chunk is linked, so it lives and has room: a freed block, whose first four bytes are the offset
        // of the next one, or `block` bytes from `fresh` on. Both lie inside the chunk.
        unsafe {
            let head = header(chunk);
            let freed = head.freed.get();
            let at = if freed != 0 {
                let at = chunk.cast::<u8>().add(freed as usize);
                head.freed.set(at.cast::<u32>().read());
                at
            } else {
                let fresh = head.fresh.get();
                head.fresh.set(fresh + block as u32);
                chunk.cast::<u8>().add(fresh as usize)
            };
            head.live.set(head.live.get() + 1);
            if head.is_full(block) {
                self.unlink(chunk);
            }
            at
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// The block must be one that `take` gave from this chunk, and not be used any more.
    unsafe fn put_back(&self, chunk: NonNull<Chunk>, at: NonNull<u8>) {
        // SAFETY: a chunk with a block in use lives. Blocks are at least `UNIT` bytes and aligned to that.
        unsafe {
            let head = header(chunk);
            let was_full = head.is_full(head.class.get() as usize * UNIT);
            at.cast::<u32>().write(head.freed.get());
            head.freed.set((at.addr().get() & (CHUNK - 1)) as u32);
            head.live.set(head.live.get() - 1);
            if head.live.get() == 0 {
                if !was_full {
                    self.unlink(chunk);
                }
                head.next.set(self.reserve.replace(Some(chunk)));
                add(&self.reserved, 1);
            } else if was_full {
                // First in line: chunks with little room are filled before emptier ones.
                self.link(chunk);
            }
        }
    }

    /// Gives chunks of the reserve back to the allocator.
    fn unmap(&self, count: usize) {
        for _ in 0..count {
            let Some(chunk) = self.reserve.get() else { return };
            // SAFETY: a chunk of the reserve has no block in use, and after this nothing leads to it.
            unsafe {
                self.reserve.set(header(chunk).next.get());
                dealloc(chunk.cast::<u8>().as_ptr(), CHUNK_LAYOUT);
            }
            sub(&self.reserved, 1);
            sub(&self.chunks, 1);
        }
    }
}

impl Slab {
    pub(super) fn new() -> Self {
        Self { state: NonNull::from(Box::leak(Box::new(State::new()))) }
    }

    fn state(&self) -> &State {
        // SAFETY: the state lives as long as the slab, and is never borrowed exclusively.
        unsafe { self.state.as_ref() }
    }

    /// Memory for `size` bytes, at least 1, aligned to [`UNIT`]; [`release`] takes it back.
    pub(super) fn allocate(&self, size: usize) -> NonNull<u8> {
        let state = self.state();
        add(&state.live, 1);
        if size <= LIMIT {
            add(&state.in_blocks, room(size));
            return state.take(size.div_ceil(UNIT));
        }
        let layout = apart(size);
        add(&state.apart, layout.size());
        // SAFETY: the layout is not empty, and has room and alignment for the prefix.
        unsafe {
            let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            start.cast::<NonNull<State>>().write(self.state);
            start.add(PREFIX)
        }
    }

    pub(super) fn figures(&self) -> Figures {
        let state = self.state();
        let apart = state.apart.get() as u64;
        Figures {
            entries: state.in_blocks.get() as u64 + apart,
            objects: state.objects.get() as u64,
            asked: (state.chunks.get() * CHUNK + size_of::<State>()) as u64 + apart,
        }
    }

    /// Gives some of what the reserve has not needed since the last call back to the allocator, at most `most` chunks.
    pub(super) fn give_back(&self, most: usize) {
        let state = self.state();
        // An eighth at a time, so that memory that comes and goes in waves stays.
        let idle = state.idle.get().min(state.reserved.get());
        state.unmap(idle.div_ceil(8).min(most));
        state.idle.set(state.reserved.get());
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        let state = self.state();
        state.unmap(usize::MAX);
        state.orphaned.set(true);
        if state.live.get() == 0 {
            // SAFETY: made by `Box::leak`, and without blocks nothing else leads to it.
            drop(unsafe { Box::from_raw(self.state.as_ptr()) });
        }
    }
}

/// The layout of an allocation of its own.
fn apart(size: usize) -> Layout {
    Layout::from_size_align(room(size) + PREFIX, UNIT).expect("an entry smaller than the address space")
}

/// The state of the slab that memory of `size` bytes is from.
///
/// # Safety
/// The memory must be in use, from [`Slab::allocate`] with a size of the same room.
unsafe fn state_of(at: NonNull<u8>, size: usize) -> NonNull<State> {
    // SAFETY: the caller's promise: the memory lies in a chunk, or behind a prefix.
    unsafe {
        if size <= LIMIT {
            header(chunk_of(at)).state
        } else {
            at.sub(PREFIX).cast::<NonNull<State>>().read()
        }
    }
}

/// Books what an object that memory leads to holds, before and now.
///
/// # Safety
/// As for [`release`], but the memory stays in use.
pub(super) unsafe fn book_object(at: NonNull<u8>, size: usize, before: usize, now: usize) {
    // SAFETY: the caller's promise; a state lives as long as memory from it is in use.
    let objects = unsafe { &state_of(at, size).as_ref().objects };
    objects.set(objects.get() - before + now);
}

/// Takes memory back.
///
/// # Safety
/// `at` must be from [`Slab::allocate`] with a size of the same [`room`], and not be used any more; the slab's store
/// must be in the hands of this thread.
pub(super) unsafe fn release(at: NonNull<u8>, size: usize) {
    // SAFETY: the caller's promise; a state lives as long as memory from it is in use.
    unsafe {
        let owner = state_of(at, size);
        let state = owner.as_ref();
        if size <= LIMIT {
            sub(&state.in_blocks, room(size));
            state.put_back(chunk_of(at), at);
        } else {
            let layout = apart(size);
            sub(&state.apart, layout.size());
            dealloc(at.sub(PREFIX).as_ptr(), layout);
        }
        sub(&state.live, 1);
        if state.orphaned.get() {
            state.unmap(usize::MAX);
            if state.live.get() == 0 {
                // SAFETY: made by `Box::leak`; the slab and all blocks are gone.
                drop(Box::from_raw(owner.as_ptr()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
