//! The configuration as the machines below the node want it.

use crate::cluster::{Announced, ClusterConfig};
use crate::config::Config;
use crate::migration::export::Credentials;
use crate::migration::job::Timing;
use crate::time::Span;

/// The settings of the cluster machine.
pub(super) fn of_cluster(config: &Config) -> ClusterConfig {
    ClusterConfig {
        node_timeout_ms: config.cluster_node_timeout,
        port: config.port,
        tls_port: 0,
        tls_cluster: false,
        bus_port: config.cluster_port,
        announce_ip: config.cluster_announce_ip.clone(),
        announce_port: config.cluster_announce_port,
        announce_tls_port: config.cluster_announce_tls_port,
        announce_bus_port: config.cluster_announce_bus_port,
        announced: Announced {
            hostname: config.cluster_announce_hostname.clone(),
            nodename: config.cluster_announce_human_nodename.clone(),
            client_ipv4: config.cluster_announce_client_ipv4.clone(),
            client_ipv6: config.cluster_announce_client_ipv6.clone(),
            client_port: config.cluster_announce_client_port,
            client_tls_port: config.cluster_announce_client_tls_port,
            zone: config.availability_zone.clone(),
        },
        endpoint_type: config.cluster_preferred_endpoint_type,
        require_full_coverage: config.cluster_require_full_coverage,
        no_failover: config.cluster_replica_no_failover,
        link_sendbuf_limit: config.cluster_link_sendbuf_limit as usize,
        blacklist_ttl_s: config.cluster_blacklist_ttl,
        ping_interval_ms: config.cluster_ping_interval,
        gossip_perc: config.cluster_message_gossip_perc as u8,
    }
}

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

/// What a source of slots authenticates with.
pub(super) fn credentials(config: &Config) -> Option<Credentials> {
    let text = |s: &str| (!s.is_empty()).then(|| s.as_bytes().into());
    let password = text(&config.primaryauth)?;
    Some(Credentials { user: text(&config.primaryuser), password })
}
