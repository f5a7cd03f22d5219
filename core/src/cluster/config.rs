//! The settings that the cluster machine reads.

use alloc::string::String;

use crate::config::Config;
pub use crate::config::EndpointType;
use crate::time::Span;

/// What a node tells about itself beyond its address; empty texts and zero ports are not told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    /// `cluster-announce-hostname`.
    pub hostname: String,
    /// `cluster-announce-human-nodename`.
    pub nodename: String,
    /// `cluster-announce-client-ipv4`.
    pub client_ipv4: String,
    /// `cluster-announce-client-ipv6`.
    pub client_ipv6: String,
    /// `cluster-announce-client-port`.
    pub client_port: u16,
    /// `cluster-announce-client-tls-port`.
    pub client_tls_port: u16,
    /// `availability-zone`.
    pub zone: String,
}

/// The settings of the cluster machine. All may be replaced while it runs, see [`Cluster::configure`](super::Cluster::configure).
#[derive(Clone, PartialEq, Debug)]
pub struct ClusterConfig {
    /// `cluster-node-timeout`, milliseconds.
    pub node_timeout_ms: u64,
    /// The port of TCP clients, 0 if there is none.
    pub port: u16,
    /// The port of TLS clients, 0 if there is none.
    pub tls_port: u16,
    /// `tls-cluster`: the bus is TLS, and the port told first is the TLS one.
    pub tls_cluster: bool,
    /// `cluster-port`; 0: the client port plus 10000.
    pub bus_port: u16,
    /// `cluster-announce-ip`; empty: found out from the sockets of peers.
    pub announce_ip: String,
    /// `cluster-announce-port`; 0: `port`.
    pub announce_port: u16,
    /// `cluster-announce-tls-port`; 0: `tls_port`.
    pub announce_tls_port: u16,
    /// `cluster-announce-bus-port`; 0: `bus_port`.
    pub announce_bus_port: u16,
    /// The other `cluster-announce-*` settings and `availability-zone`.
    pub announced: Announced,
    /// `cluster-preferred-endpoint-type`.
    pub endpoint_type: EndpointType,
    /// `cluster-require-full-coverage`.
    pub require_full_coverage: bool,
    /// `cluster-replica-no-failover`, told to others as a flag.
    pub no_failover: bool,
    /// `cluster-link-sendbuf-limit`, bytes; 0: none.
    pub link_sendbuf_limit: usize,
    /// `cluster-blacklist-ttl`, seconds.
    pub blacklist_ttl_s: u64,
    /// `cluster-ping-interval`, milliseconds; 0: half of the node timeout.
    pub ping_interval_ms: u64,
    /// `cluster-message-gossip-perc`, 1 to 100.
    pub gossip_perc: u8,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            node_timeout_ms: 15_000,
            port: 6379,
            tls_port: 0,
            tls_cluster: false,
            bus_port: 0,
            announce_ip: String::new(),
            announce_port: 0,
            announce_tls_port: 0,
            announce_bus_port: 0,
            announced: Announced::default(),
            endpoint_type: EndpointType::Ip,
            require_full_coverage: true,
            no_failover: false,
            link_sendbuf_limit: 0,
            blacklist_ttl_s: 60,
            ping_interval_ms: 0,
            gossip_perc: 10,
        }
    }
}

/// The part of a node's settings that the machine reads.
impl From<&Config> for ClusterConfig {
    fn from(config: &Config) -> Self {
        Self {
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
            link_sendbuf_limit: usize::try_from(config.cluster_link_sendbuf_limit).unwrap_or(usize::MAX),
            blacklist_ttl_s: config.cluster_blacklist_ttl,
            ping_interval_ms: config.cluster_ping_interval,
            gossip_perc: config.cluster_message_gossip_perc.min(100) as u8,
        }
    }
}

/// Difference between the bus port and the client port when nothing else is set.
pub const BUS_PORT_OFFSET: u16 = 10_000;

impl ClusterConfig {
    /// The node timeout.
    #[must_use]
    pub fn timeout(&self) -> Span {
        Span::ms(self.node_timeout_ms)
    }

    /// How long a node may stay without its real name, and a one-sided link unrepaired.
    #[must_use]
    pub fn handshake_timeout(&self) -> Span {
        Span::ms(self.node_timeout_ms.max(1000))
    }

    /// The port to listen on for the bus; `None` when client port plus 10000 is no port.
    #[must_use]
    pub fn listen_port(&self) -> Option<u16> {
        let base = if self.tls_cluster { self.tls_port } else { self.port };
        if self.bus_port != 0 { Some(self.bus_port) } else { base.checked_add(BUS_PORT_OFFSET) }
    }

    /// The TCP port to tell.
    pub(super) fn told_port(&self) -> u16 {
        if self.announce_port != 0 { self.announce_port } else { self.port }
    }

    /// The TLS port to tell.
    pub(super) fn told_tls_port(&self) -> u16 {
        if self.announce_tls_port != 0 { self.announce_tls_port } else { self.tls_port }
    }

    /// The bus port to tell.
    pub(super) fn told_bus_port(&self) -> u16 {
        if self.announce_bus_port != 0 { self.announce_bus_port } else { self.listen_port().unwrap_or(0) }
    }
}
