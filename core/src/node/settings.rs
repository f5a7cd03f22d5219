//! The configuration as slot migrations want it.

use crate::config::Config;
use crate::migration::export::Credentials;
use crate::migration::job::Timing;
use crate::time::Span;

/// The timeouts of slot migrations.
pub(super) fn of_migrations(config: &Config) -> Timing {
    let pause = config.cluster_manual_failover_timeout.saturating_mul(2);
    Timing {
        repl_timeout: Span::secs(u64::from(config.repl_timeout)),
        pause_limit: Span::ms(pause),
        max_failover_repl_bytes: u64::try_from(config.slot_migration_max_failover_repl_bytes).ok(),
        ..Timing::default()
    }
}

/// Which of the changed settings the driver has to make true first, if any.
pub(super) fn for_the_driver(old: &Config, new: &Config) -> Option<&'static str> {
    if old.port != new.port {
        Some("port")
    } else if old.bind != new.bind {
        Some("bind")
    } else {
        (new.maxclients > old.maxclients).then_some("maxclients")
    }
}

/// What a source of slots authenticates with.
pub(super) fn credentials(config: &Config) -> Option<Credentials> {
    let text = |s: &str| (!s.is_empty()).then(|| s.as_bytes().into());
    let password = text(&config.primaryauth)?;
    Some(Credentials { user: text(&config.primaryuser), password })
}
