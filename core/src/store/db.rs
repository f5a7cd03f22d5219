//! One numbered database: its slot tables and the sums over them.

use alloc::boxed::Box;

use super::slab::ForTables;
use super::table::Table;
use super::{Change, Layout};
use crate::slots::{SLOTS, Slot};

/// Slots of a group. Walks skip a group at a time.
pub(super) const GROUP: usize = 128;
const GROUPS: usize = SLOTS / GROUP;

/// The tables of one database.
pub(super) struct Db {
    /// One per slot, by groups; none of a group before its first key.
    tables: Box<[Box<[Table]>]>,
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

    /// Makes the tables of a slot's group at its first key: a node has a part of the slots, and most databases have few
    /// keys or none. Answers the memory that it took.
    pub(super) fn allocate(&mut self, slot: Slot, layout: Layout, memory: ForTables) -> u64 {
        let place = slot.index() / GROUP;
        if !self.group_tables(place).is_empty() {
            return 0;
        }
        let before = self.lists();
        let (groups, slots) = match layout {
            Layout::Cluster => (GROUPS, GROUP),
            Layout::Standalone => (1, 1),
        };
        if self.tables.is_empty() {
            self.tables = (0..groups).map(|_| Box::default()).collect();
            self.groups = Some(Box::new([Group::EMPTY; GROUPS]));
        }
        self.tables[place] = (0..slots).map(|_| Table::new(memory)).collect();
        let bytes = (size_of_val(&self.tables[place][..]) + self.lists() - before) as u64;
        self.bytes += bytes;
        bytes
    }

    /// Memory of the lists of groups.
    pub(super) fn lists(&self) -> usize {
        size_of_val(&self.tables[..]) + size_of_val(self.groups())
    }

    pub(super) fn has_tables(&self) -> bool {
        !self.tables.is_empty()
    }

    #[inline]
    pub(super) fn table(&self, slot: Slot) -> Option<&Table> {
        self.table_at(slot.index())
    }

    /// The table at the place of a slot.
    #[inline]
    pub(super) fn table_at(&self, index: usize) -> Option<&Table> {
        self.tables.get(index / GROUP)?.get(index % GROUP)
    }

    #[inline]
    pub(super) fn table_mut(&mut self, slot: Slot) -> Option<&mut Table> {
        self.tables.get_mut(slot.index() / GROUP)?.get_mut(slot.index() % GROUP)
    }

    /// How many slots may have a table.
    pub(super) fn slots(&self) -> usize {
        match self.tables.len() {
            GROUPS => SLOTS,
            few => few,
        }
    }

    /// The tables of a group, if it has any.
    pub(super) fn group_tables(&self, group: usize) -> &[Table] {
        self.tables.get(group).map_or(&[], |tables| tables)
    }

    /// The tables of all groups that have any.
    pub(super) fn into_tables(self) -> impl Iterator<Item = Box<[Table]>> {
        self.tables.into_iter().filter(|tables| !tables.is_empty())
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
        if let Some(table) = self.table(slot) {
            let (keys, expires) = (table.len() as i64, table.expires() as i64);
            self.show(slot, -keys, -expires, u64::MAX);
        }
    }

    /// Takes a slot into the visible sums.
    pub(super) fn reveal(&mut self, slot: Slot) {
        if let Some(table) = self.table(slot) {
            let (keys, expires) = (table.len() as i64, table.expires() as i64);
            let due_ms = table.due_ms();
            self.show(slot, keys, expires, due_ms);
        }
    }

    /// Takes the table of a slot out.
    pub(super) fn detach_slot(&mut self, slot: Slot, hidden: bool, memory: ForTables) -> Option<Table> {
        let table = core::mem::replace(self.table_mut(slot)?, Table::new(memory));
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
        if let Some(place) = self.table_mut(slot) {
            *place = table;
        }
    }
}
