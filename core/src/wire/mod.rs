//! Bytes and their meaning, without state of ours: RESP, the cluster bus, slot migration.

pub mod bus;
pub mod resp;
pub mod slotsrange;
pub mod syncslots;
