//! Where the keys of a command are, in the terms of Valkey's key specifications.

/// What happens to a key; a set of bits.
pub mod access {
    /// Its value is read.
    pub const RO: u16 = 1 << 0;
    /// Its value is read and changed.
    pub const RW: u16 = 1 << 1;
    /// Its value is overwritten without being read.
    pub const OW: u16 = 1 << 2;
    /// It is removed.
    pub const RM: u16 = 1 << 3;
    /// What the client gets depends on the value.
    pub const ACCESS: u16 = 1 << 4;
    /// What becomes of the value depends on the arguments or on itself.
    pub const UPDATE: u16 = 1 << 5;
    /// Something is added, nothing that was there is changed.
    pub const INSERT: u16 = 1 << 6;
    /// Something is taken out.
    pub const DELETE: u16 = 1 << 7;
    /// Routed like a key, but is none.
    pub const NOT_KEY: u16 = 1 << 8;
    /// There may be more keys than the specifications find.
    pub const INCOMPLETE: u16 = 1 << 9;
    /// The other bits depend on the arguments; the widest set is given.
    pub const VARIABLE_FLAGS: u16 = 1 << 10;

    /// The names that COMMAND shows, in its order.
    pub const NAMES: [(u16, &str); 11] = [
        (RO, "RO"),
        (RW, "RW"),
        (OW, "OW"),
        (RM, "RM"),
        (ACCESS, "access"),
        (UPDATE, "update"),
        (INSERT, "insert"),
        (DELETE, "delete"),
        (NOT_KEY, "not_key"),
        (INCOMPLETE, "incomplete"),
        (VARIABLE_FLAGS, "variable_flags"),
    ];
}

/// One rule that finds keys.
#[derive(Debug)]
pub struct KeySpec {
    /// Where to begin.
    pub begin: Begin,
    /// Which arguments from there on are keys.
    pub find: Find,
    /// A set of [`access`].
    pub access: u16,
    /// Why the access is as it is; empty if that is plain.
    pub note: &'static str,
}

/// Where a rule begins to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the argument of this index; the name is 0.
    Index(i32),
    /// Behind this word, looked for from this index on; a negative index counts from the end, and backwards.
    Keyword(&'static str, i32),
}

/// Which arguments are keys, counted from where the rule begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// From the beginning to `last`, every `step`.
    Range {
        /// The last key; if negative counted from the end of the arguments, -1 being the last one.
        last: i32,
        /// From one key to the next.
        step: i32,
        /// If `last` is -1: only the first 1/`limit` of the arguments that are left (0 and 1: all).
        limit: i32,
    },
    /// As many as an argument says.
    Counted {
        /// The argument that has the number of keys.
        count_at: i32,
        /// The first key.
        first: i32,
        /// From one key to the next.
        step: i32,
    },
}

impl KeySpec {
    /// The argument of index `at`.
    pub(super) const fn one(at: i32, access: u16) -> Self {
        Self::range(at, 0, 1, access)
    }

    /// All arguments from index `at` on, every `step`.
    pub(super) const fn rest(at: i32, step: i32, access: u16) -> Self {
        Self::range(at, -1, step, access)
    }

    /// The arguments from index `at` to `last`, which counts from there, every `step`.
    pub(super) const fn range(at: i32, last: i32, step: i32, access: u16) -> Self {
        Self { begin: Begin::Index(at), find: Find::Range { last, step, limit: 0 }, access, note: "" }
    }

    /// As many keys as the argument of index `at` says, behind it, every `step`.
    pub(super) const fn counted(at: i32, step: i32, access: u16) -> Self {
        let find = Find::Counted { count_at: 0, first: 1, step };
        Self { begin: Begin::Index(at), find, access, note: "" }
    }

    pub(super) const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}
