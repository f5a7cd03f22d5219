//! One numbered database: its slot tables and the sums over them.

use alloc::boxed::Box;
use core::mem::size_of;

use super::slab::ForTables;
use super::table::Table;
use super::{Change, Layout};
use crate::slots::{SLOTS, Slot};

/// Slots of a group. Walks skip a group at a time.
pub(super) const GROUP: usize = 128;
const GROUPS: usize = SLOTS / GROUP;

/// The tables of one database.
pub(super) struct Db {
    /// One per slot; none before the first key.
    tables: Box<[Table]>,
    /// Visible keys.
    keys: u64,
    /// Visible keys with an expiry.
    expires: u64,
    /// All keys.
    total: u64,
    /// Memory of all tables and of the list of them.
    bytes: u64,
    groups: Option<Box<[Group; GROUPS]>>,
}

/// Sums over the visible slots of a group.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) keys: u64,
    /// Keys with an expiry.
    pub(super) expires: u64,
    /// No entry is due before this.
    pub(super) due_ms: u64,
}

impl Group {
    const EMPTY: Self = Self { keys: 0, expires: 0, due_ms: u64::MAX };
}

impl Db {
    pub(super) fn new() -> Self {
        Self { tables: Box::default(), keys: 0, expires: 0, total: 0, bytes: 0, groups: None }
    }

    /// Makes the tables at the first key. Answers the memory that it took.
    pub(super) fn allocate(&mut self, layout: Layout, memory: ForTables) -> u64 {
        if self.has_tables() {
            return 0;
        }
        let count = match layout {
            Layout::Cluster => SLOTS,
            Layout::Standalone => 1,
        };
        self.tables = (0..count).map(|_| Table::new(memory)).collect();
        self.groups = Some(Box::new([Group::EMPTY; GROUPS]));
        let bytes = (count * size_of::<Table>() + size_of::<[Group; GROUPS]>()) as u64;
        self.bytes += bytes;
        bytes
    }

    pub(super) fn has_tables(&self) -> bool {
        !self.tables.is_empty()
    }

    #[inline]
    pub(super) fn table(&self, slot: Slot) -> Option<&Table> {
        self.tables.get(slot.index())
    }

    /// The table of a slot, once there are tables.
    pub(super) fn table_mut(&mut self, slot: Slot) -> &mut Table {
        &mut self.tables[slot.index()]
    }

    pub(super) fn tables(&self) -> &[Table] {
        &self.tables
    }

    pub(super) fn into_tables(self) -> Box<[Table]> {
        self.tables
    }

    pub(super) fn groups(&self) -> &[Group] {
        self.groups.as_ref().map_or(&[], |g| &g[..])
    }

    pub(super) fn groups_mut(&mut self) -> &mut [Group] {
        self.groups.as_mut().map_or(&mut [], |g| &mut g[..])
    }

    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    pub(super) fn expires(&self) -> u64 {
        self.expires
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a table's change to the sums.
    #[inline]
    pub(super) fn book(&mut self, slot: Slot, hidden: bool, change: &Change) {
        self.bytes = self.bytes.wrapping_add_signed(change.bytes);
        self.total = self.total.wrapping_add_signed(change.keys);
        if !hidden {
            self.show(slot, change.keys, change.expires, change.due_ms);
        }
    }

    fn show(&mut self, slot: Slot, keys: i64, expires: i64, due_ms: u64) {
        self.keys = self.keys.wrapping_add_signed(keys);
        self.expires = self.expires.wrapping_add_signed(expires);
        if let Some(groups) = &mut self.groups {
            let group = &mut groups[slot.index() / GROUP];
            group.keys = group.keys.wrapping_add_signed(keys);
            group.expires = group.expires.wrapping_add_signed(expires);
            group.due_ms = group.due_ms.min(due_ms);
        }
    }

    /// Takes a slot out of the visible sums.
    pub(super) fn conceal(&mut self, slot: Slot) {
        if let Some(table) = self.tables.get(slot.index()) {
            let (keys, expires) = (table.len() as i64, table.expires() as i64);
            self.show(slot, -keys, -expires, u64::MAX);
        }
    }

    /// Takes a slot into the visible sums.
    pub(super) fn reveal(&mut self, slot: Slot) {
        if let Some(table) = self.tables.get(slot.index()) {
            let (keys, expires) = (table.len() as i64, table.expires() as i64);
            let due_ms = table.due_ms();
            self.show(slot, keys, expires, due_ms);
        }
    }

    /// Takes the table of a slot out.
    pub(super) fn detach_slot(&mut self, slot: Slot, hidden: bool, memory: ForTables) -> Option<Table> {
        let table = core::mem::replace(self.tables.get_mut(slot.index())?, Table::new(memory));
        let change = Change {
            bytes: -(table.bytes() as i64),
            keys: -(table.len() as i64),
            expires: -(table.expires() as i64),
            ..Change::NONE
        };
        self.book(slot, hidden, &change);
        Some(table)
    }

    /// Puts a table back in place of an empty one.
    pub(super) fn attach_slot(&mut self, slot: Slot, hidden: bool, table: Table) {
        let change = Change {
            bytes: table.bytes() as i64,
            keys: table.len() as i64,
            expires: table.expires() as i64,
            due_ms: table.due_ms(),
            ..Change::NONE
        };
        self.book(slot, hidden, &change);
        self.tables[slot.index()] = table;
    }
}
