//! The sections about the process and the cluster it is part of.

use alloc::format;
use alloc::string::String;

use crate::cluster::render;
use crate::shard::Shard;
use crate::shard::info::text::Text;
use crate::time::Now;

/// The version of Redis whose commands Valkey 9.1 says it has, for clients that look at nothing else.
const REDIS_VERSION: &str = "7.2.4";

pub(super) fn server(text: &mut Text, now: Now, shard: &Shard) {
    let (config, process) = (&shard.env.config, &shard.process);
    let uptime_secs = now.mono.since(shard.env.started.mono).as_ms() / 1000;
    text.field("redis_version", REDIS_VERSION);
    text.field("server_name", "valkey");
    text.field("valkey_version", crate::VALKEY_VERSION);
    text.field("valkey_release_stage", "ga");
    text.field("redis_git_sha1", "00000000");
    text.field("redis_git_dirty", 0);
    text.field("redis_build_id", 0);
    text.field("whimbrel_version", env!("CARGO_PKG_VERSION"));
    text.field("server_mode", if config.cluster_enabled { "cluster" } else { "standalone" });
    text.field("os", &process.os);
    text.field("arch_bits", usize::BITS);
    text.field("monotonic_clock", "POSIX clock_gettime");
    text.field("multiplexing_api", &process.multiplexing_api);
    text.field("gcc_version", "0.0.0");
    text.field("process_id", process.pid);
    text.field("process_supervised", "no");
    text.field("run_id", run_id(shard));
    text.field("tcp_port", config.port);
    text.field("server_time_usec", now.wall.0);
    text.field("uptime_in_seconds", uptime_secs);
    text.field("uptime_in_days", uptime_secs / (24 * 60 * 60));
    text.all(&["hz", "configured_hz", "clients_hz"], config.hz);
    text.field("lru_clock", shard.data.store.access().seconds());
    text.field("executable", &process.executable);
    text.field("config_file", &process.config_file);
    text.field("io_threads_active", 0);
    text.field("availability_zone", &config.availability_zone);
    listeners(text, shard);
}

/// The random name of this run of the process.
pub(super) fn run_id(shard: &Shard) -> &str {
    core::str::from_utf8(&shard.run_id).unwrap_or_default()
}

fn listeners(text: &mut Text, shard: &Shard) {
    let config = &shard.env.config;
    let mut count = 0;
    if config.port != 0 {
        let binds: String = config.bind.iter().map(|address| format!("bind={address},")).collect();
        text.field("listener0", format_args!("name=tcp,{binds}port={}", config.port));
        count = 1;
    }
    if !config.unixsocket.is_empty() {
        text.field(&format!("listener{count}"), format_args!("name=unix,bind={}", config.unixsocket));
    }
}

pub(super) fn tls(text: &mut Text) {
    for certificate in ["server", "client", "ca"] {
        text.field(&format!("tls_{certificate}_cert_serial"), "none");
        text.field(&format!("tls_{certificate}_cert_expires_in_seconds"), 0);
    }
}

pub(super) fn cpu(text: &mut Text, shard: &Shard) {
    let vitals = &shard.vitals;
    text.seconds("used_cpu_sys", vitals.cpu_sys_us);
    text.seconds("used_cpu_user", vitals.cpu_user_us);
    text.seconds("used_cpu_sys_children", 0);
    text.seconds("used_cpu_user_children", 0);
    text.seconds("used_cpu_sys_main_thread", vitals.cpu_sys_us);
    text.seconds("used_cpu_user_main_thread", vitals.cpu_user_us);
    text.seconds("used_active_time_main_thread", shard.loops.totals(vitals).1);
}

pub(super) fn cluster(text: &mut Text, shard: &Shard) {
    text.field("cluster_enabled", u8::from(shard.env.config.cluster_enabled));
}

/// The same lines as CLUSTER INFO.
pub(super) fn cluster_info(text: &mut Text, shard: &Shard) {
    if !shard.env.config.cluster_enabled {
        return;
    }
    text.lines(&render::info(&shard.env.view));
}

pub(super) fn engines(text: &mut Text) {
    text.all(&["engines_count", "engines_total_used_memory", "engines_total_memory_overhead"], 0);
}
