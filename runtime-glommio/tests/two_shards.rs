//! The scenarios that have a cluster in them once more: every node of ours has two shards.

#[path = "../../tests/cluster/mod.rs"]
mod cluster;
#[path = "../../tests/peer/mod.rs"]
mod peer;
#[path = "../../tests/surface/mod.rs"]
mod surface;

#[path = "../../tests/scenarios/cluster_cli.rs"]
mod cluster_cli;
#[path = "../../tests/scenarios/differential.rs"]
mod differential;
#[path = "../../tests/scenarios/interop_redis.rs"]
mod interop_redis;
#[path = "../../tests/scenarios/interop_valkey.rs"]
mod interop_valkey;
#[path = "../../tests/scenarios/migration.rs"]
mod migration;

#[path = "../../tests/scenarios/shards.rs"]
mod shards;
#[path = "../../tests/scenarios/soak.rs"]
mod soak;
