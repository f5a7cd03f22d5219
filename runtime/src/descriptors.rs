//! The limit of open files, which every client takes one of.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// File descriptors that are not clients: listeners, files, bus links of small clusters.
const RESERVED: u64 = 32;
/// The same of every shard but the first.
const RESERVED_EACH: u64 = 16;

/// File descriptors that so many shards need besides those of clients.
#[must_use]
pub fn reserved(shards: u16) -> u64 {
    RESERVED + RESERVED_EACH * u64::from(shards.saturating_sub(1))
}

/// Raises the limit to what so many clients need.
///
/// # Errors
/// With how many there can be, when that is fewer. The limit is then as high as it can be.
pub fn reserve(clients: u32, shards: u16) -> Result<(), u32> {
    let reserved = reserved(shards);
    let wanted = u64::from(clients) + reserved;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if soft >= wanted {
        return Ok(());
    }
    let reachable = if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok() {
        wanted
    } else if setrlimit(Resource::RLIMIT_NOFILE, hard.min(wanted), hard).is_ok() {
        hard.min(wanted)
    } else {
        soft
    };
    if reachable >= wanted {
        return Ok(());
    }
    let fewer = reachable.saturating_sub(reserved).max(1);
    Err(u32::try_from(fewer).unwrap_or(u32::MAX))
}
