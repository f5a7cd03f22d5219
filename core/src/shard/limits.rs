//! Limits of output buffers.

use crate::config::OutputLimit;
use crate::time::{Mono, Span};

/// Whether a link that has `pending` unsent bytes is over its `client-output-buffer-limit`: over the hard limit now,
/// or over the soft one for its whole time. `floor` raises both, as the backlog size does for replicas.
pub(crate) fn over(
    pending: u64,
    limit: &OutputLimit,
    floor: u64,
    over_soft_since: &mut Option<Mono>,
    now: Mono,
) -> bool {
    let raised = |bytes: u64| if bytes == 0 { 0 } else { bytes.max(floor) };
    let (hard, soft) = (raised(limit.hard), raised(limit.soft));
    if hard > 0 && pending >= hard {
        return true;
    }
    if soft == 0 || pending < soft {
        *over_soft_since = None;
        return false;
    }
    let since = *over_soft_since.get_or_insert(now);
    now.since(since) >= Span::secs(limit.soft_seconds)
}
