//! Real processes, and what users, operators and other nodes meet there. The package of each driver runs all of it.

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../surface/mod.rs"]
mod surface;

mod cluster_cli;
mod differential;
mod interop_redis;
mod interop_valkey;
mod memory;
mod migration;
mod program;
mod shards;
mod soak;
mod users;
