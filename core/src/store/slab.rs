//! Where entries and their tables lie: blocks of a multiple of eight bytes, cut from chunks that have blocks of one size each.
//!
//! General allocators round a size up by up to a quarter; here it is at most seven bytes. Every chunk starts with a
//! header and is aligned to its own size, so that a block alone leads to its chunk and from there to the slab. Chunks
//! are cut from regions, large enough that what is lost by alignment does not count: an allocator that aligns chunk by
//! chunk leaves as much empty as it gives, and huge pages make that real memory. Empty chunks serve every size, and
//! empty regions that were not needed for a while are given back to the allocator bit by bit. Sizes above [`LIMIT`] are
//! allocations of their own. Tables lie here because what growing leaves behind then serves entries.
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

use allocator_api2::alloc::{AllocError, Allocator};

/// Sizes of blocks are multiples of this, and so are their addresses.
pub(super) const UNIT: usize = 8;
/// The largest block cut from a chunk.
pub(super) const LIMIT: usize = 2048;
/// The size and the alignment of a chunk.
pub(super) const CHUNK: usize = 32 * 1024;
/// The size of a region. mimalloc cuts blocks of this size from whole megabytes; of other sizes it loses 2 to 9 %.
pub(super) const REGION: usize = 512 * 1024;
const PAGE: usize = 4096;
/// Of what is idle, one part in so many is given back at a time.
pub(super) const PATIENCE: usize = 64;
/// One class per multiple of [`UNIT`] up to [`LIMIT`]; that of size 0 stays empty.
const CLASSES: usize = LIMIT / UNIT + 1;
/// What lies before an allocation of its own: where its slab is. Also the alignment of such an allocation.
const PREFIX: usize = 16;

const HEADER: usize = size_of::<Chunk>();
// Blocks of a multiple of 16 bytes are aligned to that, as tables need it.
const _: () = assert!(HEADER.is_multiple_of(PREFIX) && PREFIX >= size_of::<NonNull<State>>());

const REGION_LAYOUT: Layout = match Layout::from_size_align(REGION, PAGE) {
    Ok(layout) => layout,
    Err(_) => panic!("a region is aligned to a power of two"),
};

/// What memory a slab has, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Figures {
    /// Blocks and allocations of their own that entries have.
    pub(super) entries: u64,
    /// Bytes that tables have.
    pub(super) tables: u64,
    /// What objects hold besides.
    pub(super) objects: u64,
    /// Asked of the allocator for regions, for allocations of their own, and for what keeps track of them.
    pub(super) asked: u64,
}

/// The memory of a store's entries and tables.
pub(super) struct Slab {
    /// Lives until the slab is dropped and no block is left.
    state: NonNull<State>,
}

// SAFETY: the state is reached from this slab and from entries. No entry ever leaves the store that owns the slab
// (the store's public functions lend entries, none gives one away), so that all of them move between threads
// together.
unsafe impl Send for Slab {}

/// Everything about a slab. Never borrowed exclusively, since every chunk leads to it.
struct State {
    /// Chunks of each class that have room.
    roomy: [List<Chunk>; CLASSES],
    /// Regions with chunks in use and room for more.
    open: List<Region>,
    /// Regions without chunks in use.
    empty: List<Region>,
    empties: Cell<usize>,
    /// The least that `empties` was since it was last looked at.
    idle: Cell<usize>,
    /// All regions.
    regions: Cell<usize>,
    /// Blocks and allocations of their own that are in use.
    live: Cell<usize>,
    in_blocks: Cell<usize>,
    /// Bytes in allocations of their own.
    apart: Cell<usize>,
    objects: Cell<usize>,
    /// Bytes that tables asked for, and what they got.
    tables: Cell<usize>,
    table_blocks: Cell<usize>,
    /// The slab was dropped: the state goes with the last block.
    orphaned: Cell<bool>,
}

/// A region, whose chunks lie at the multiples of [`CHUNK`] in it.
struct Region {
    links: Links<Region>,
    state: NonNull<State>,
    start: NonNull<u8>,
    /// Chunks that were in use once, linked by `next`.
    freed: Cell<Option<NonNull<Chunk>>>,
    /// Where the first chunk starts that was never in use, counted from the region's start.
    fresh: Cell<usize>,
    used: Cell<usize>,
}

/// The header of a chunk. Offsets count from the chunk's start.
struct Chunk {
    links: Links<Chunk>,
    region: NonNull<Region>,
    state: NonNull<State>,
    /// The block freed last, 0 when there is none. Free blocks start with the offset of the next one.
    freed: Cell<u32>,
    /// Where memory starts that was never a block.
    fresh: Cell<u32>,
    live: Cell<u32>,
    class: Cell<u32>,
}

/// The neighbours of a member of a [`List`].
struct Links<T> {
    prev: Cell<Option<NonNull<T>>>,
    next: Cell<Option<NonNull<T>>>,
}

/// A list of headers that link themselves.
struct List<T>(Cell<Option<NonNull<T>>>);

trait Linked: Sized {
    fn links(&self) -> &Links<Self>;
}

impl Linked for Chunk {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

impl Linked for Region {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

impl<T: Linked> List<T> {
    const fn new() -> Self {
        Self(Cell::new(None))
    }

    fn first(&self) -> Option<NonNull<T>> {
        self.0.get()
    }

    /// Puts a member first.
    ///
    /// # Safety
    /// It must live as long as it is in the list, as the others do, and be in no list yet.
    unsafe fn push(&self, member: NonNull<T>) {
        // SAFETY: the caller's promise.
        unsafe {
            let links = header(member).links();
            if let Some(second) = self.first() {
                header(second).links().prev.set(Some(member));
            }
            links.prev.set(None);
            links.next.set(self.0.replace(Some(member)));
        }
    }

    /// Takes a member out.
    ///
    /// # Safety
    /// It must be in this list.
    unsafe fn remove(&self, member: NonNull<T>) {
        // SAFETY: members live, as `push` asks.
        unsafe {
            let links = header(member).links();
            let (prev, next) = (links.prev.take(), links.next.take());
            match prev {
                Some(prev) => header(prev).links().next.set(next),
                None => self.0.set(next),
            }
            if let Some(next) = next {
                header(next).links().prev.set(prev);
            }
        }
    }
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

impl Region {
    /// Whether the region has no chunk to give.
    fn is_full(&self) -> bool {
        self.freed.get().is_none() && self.fresh.get() + CHUNK > REGION
    }
}

/// The header of a chunk or region.
///
/// # Safety
/// It must be written, and its memory not be given back while the reference is used. Headers are changed only through
/// cells, so that any number of references is fine.
unsafe fn header<'h, T>(at: NonNull<T>) -> &'h T {
    // SAFETY: the caller's promise.
    unsafe { at.as_ref() }
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
            roomy: [const { List::new() }; CLASSES],
            open: List::new(),
            empty: List::new(),
            empties: Cell::new(0),
            idle: Cell::new(0),
            regions: Cell::new(0),
            live: Cell::new(0),
            in_blocks: Cell::new(0),
            apart: Cell::new(0),
            objects: Cell::new(0),
            tables: Cell::new(0),
            table_blocks: Cell::new(0),
            orphaned: Cell::new(false),
        }
    }

    /// A new region, in no list.
    fn map(&self) -> NonNull<Region> {
        // SAFETY: the layout is not empty.
        let Some(start) = NonNull::new(unsafe { alloc(REGION_LAYOUT) }) else {
            handle_alloc_error(REGION_LAYOUT)
        };
        add(&self.regions, 1);
        let first = start.addr().get().next_multiple_of(CHUNK);
        NonNull::from(Box::leak(Box::new(Region {
            links: Links { prev: Cell::new(None), next: Cell::new(None) },
            state: NonNull::from(self),
            start,
            freed: Cell::new(None),
            fresh: Cell::new(first - start.addr().get()),
            used: Cell::new(0),
        })))
    }

    /// Gives empty regions back to the allocator.
    fn unmap(&self, count: usize) {
        for _ in 0..count {
            let Some(region) = self.empty.first() else { return };
            // SAFETY: an empty region has no chunk in use, and after this nothing leads to it; it was made by `Box::leak`.
            unsafe {
                self.empty.remove(region);
                let region = Box::from_raw(region.as_ptr());
                dealloc(region.start.as_ptr(), REGION_LAYOUT);
            }
            sub(&self.empties, 1);
            sub(&self.regions, 1);
        }
    }

    /// A chunk for a class that has no roomy one, linked.
    #[cold]
    fn open(&self, class: usize) -> NonNull<Chunk> {
        let region = self.open.first().unwrap_or_else(|| {
            let region = match self.empty.first() {
                Some(region) => {
                    // SAFETY: the region is in this list.
                    unsafe { self.empty.remove(region) };
                    sub(&self.empties, 1);
                    self.idle.set(self.idle.get().min(self.empties.get()));
                    region
                }
                None => self.map(),
            };
            // SAFETY: regions stay until they are empty, and this one is in no list.
            unsafe { self.open.push(region) };
            region
        });
        // SAFETY: an open region lives and has room for a chunk: one that was in use, or fresh memory inside the region.
        // Chunks are aligned to their size, headers to less.
        unsafe {
            let owner = header(region);
            let chunk = match owner.freed.get() {
                Some(chunk) => {
                    owner.freed.set(header(chunk).links.next.get());
                    chunk
                }
                None => {
                    let fresh = owner.fresh.get();
                    owner.fresh.set(fresh + CHUNK);
                    owner.start.add(fresh).cast()
                }
            };
            chunk.write(Chunk {
                links: Links { prev: Cell::new(None), next: Cell::new(None) },
                region,
                state: owner.state,
                freed: Cell::new(0),
                fresh: Cell::new(HEADER as u32),
                live: Cell::new(0),
                class: Cell::new(class as u32),
            });
            add(&owner.used, 1);
            if owner.is_full() {
                self.open.remove(region);
            }
            self.roomy[class].push(chunk);
            chunk
        }
    }

    /// Takes a chunk back that has no block in use and is in no list.
    ///
    /// # Safety
    /// The chunk must be one that `open` gave.
    unsafe fn close(&self, chunk: NonNull<Chunk>) {
        // SAFETY: a chunk lives in its region, which lives while chunks are in use. A region is in `open` unless it is
        // full or empty.
        unsafe {
            let region = header(chunk).region;
            let owner = header(region);
            let was_full = owner.is_full();
            header(chunk).links.next.set(owner.freed.replace(Some(chunk)));
            sub(&owner.used, 1);
            if owner.used.get() == 0 {
                if !was_full {
                    self.open.remove(region);
                }
                self.empty.push(region);
                add(&self.empties, 1);
            } else if was_full {
                // First in line: regions with little room are filled before emptier ones.
                self.open.push(region);
            }
        }
    }

    fn allocate(&self, size: usize) -> NonNull<u8> {
        add(&self.live, 1);
        if size <= LIMIT {
            add(&self.in_blocks, room(size));
            return self.take(size.div_ceil(UNIT));
        }
        let layout = apart(size);
        add(&self.apart, layout.size());
        // SAFETY: the layout is not empty, and has room and alignment for the prefix.
        unsafe {
            let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            start.cast::<NonNull<Self>>().write(NonNull::from(self));
            start.add(PREFIX)
        }
    }

    /// Gives a block of a class.
    fn take(&self, class: usize) -> NonNull<u8> {
        let chunk = self.roomy[class].first().unwrap_or_else(|| self.open(class));
        let block = class * UNIT;
        // SAFETY: the chunk is roomy, so it lives and has room: a freed block, whose first four bytes are the offset
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
                self.roomy[class].remove(chunk);
            }
            at
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// The block must be one that `take` gave from this chunk, and not be used any more.
    unsafe fn put_back(&self, chunk: NonNull<Chunk>, at: NonNull<u8>) {
        // SAFETY: a chunk with a block in use lives, and is roomy unless it is full. Blocks are at least `UNIT` bytes and
        // aligned to that.
        unsafe {
            let head = header(chunk);
            let class = head.class.get() as usize;
            let was_full = head.is_full(class * UNIT);
            at.cast::<u32>().write(head.freed.get());
            head.freed.set((at.addr().get() & (CHUNK - 1)) as u32);
            head.live.set(head.live.get() - 1);
            if head.live.get() == 0 {
                if !was_full {
                    self.roomy[class].remove(chunk);
                }
                self.close(chunk);
            } else if was_full {
                // First in line: chunks with little room are filled before emptier ones.
                self.roomy[class].push(chunk);
            }
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
        self.state().allocate(size)
    }

    /// Memory for tables.
    pub(super) fn tables(&self) -> ForTables {
        ForTables(self.state)
    }

    pub(super) fn figures(&self) -> Figures {
        let state = self.state();
        let regions = state.regions.get() * (REGION + size_of::<Region>());
        Figures {
            entries: (state.in_blocks.get() + state.apart.get() - state.table_blocks.get()) as u64,
            tables: state.tables.get() as u64,
            objects: state.objects.get() as u64,
            asked: (regions + size_of::<State>() + state.apart.get()) as u64,
        }
    }

    /// Gives some of the regions that were empty ever since the last call back to the allocator, at most `most`.
    pub(super) fn give_back(&self, most: usize) {
        let state = self.state();
        // A part of them at a time, so that memory that comes and goes in waves stays.
        let idle = state.idle.get().min(state.empties.get());
        state.unmap(idle.div_ceil(PATIENCE).min(most));
        state.idle.set(state.empties.get());
    }

    /// Gives all empty regions back to the allocator.
    pub(super) fn give_back_all(&self) {
        self.state().unmap(usize::MAX);
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

/// The slab as the tables of its store see it. Tables, like entries, never leave their store.
#[derive(Clone, Copy)]
pub(super) struct ForTables(NonNull<State>);

// SAFETY: as for `Slab`: tables move with their store.
unsafe impl Send for ForTables {}

impl ForTables {
    /// What an allocation takes: rounded up to its alignment, which makes the block aligned.
    fn block(layout: Layout) -> usize {
        assert!(layout.align() <= PREFIX, "tables are aligned to at most 16 bytes");
        layout.size().next_multiple_of(layout.align())
    }

    fn state(&self) -> &State {
        // SAFETY: whoever has a table has the store, whose slab keeps the state; after the slab the state stays as long
        // as there is memory from it to be given back.
        unsafe { self.0.as_ref() }
    }
}

// SAFETY: memory stays valid until it is given back, whichever copy of the handle does that: all lead to the same state.
unsafe impl Allocator for ForTables {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let (state, size) = (self.state(), Self::block(layout));
        let at = state.allocate(size);
        add(&state.tables, layout.size());
        add(&state.table_blocks, footprint(size));
        Ok(NonNull::slice_from_raw_parts(at, layout.size()))
    }

    unsafe fn deallocate(&self, at: NonNull<u8>, layout: Layout) {
        let (state, size) = (self.state(), Self::block(layout));
        sub(&state.tables, layout.size());
        sub(&state.table_blocks, footprint(size));
        // SAFETY: the caller's promise, and the same size as when it was allocated.
        unsafe { release(at, size) }
    }
}

/// The layout of an allocation of its own.
fn apart(size: usize) -> Layout {
    Layout::from_size_align(room(size) + PREFIX, PREFIX).expect("an entry smaller than the address space")
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
