//! Data commands: what they do to keys, what they reply, what of it others have to repeat.

pub mod extended;
pub mod glob;
pub mod introspect;
pub mod number;
pub mod table;
