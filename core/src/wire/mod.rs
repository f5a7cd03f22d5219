//! Bytes and their meaning, without state of ours: RESP, the cluster bus, slot migration.
