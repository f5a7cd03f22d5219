//! nodes.conf: any bytes are refused with their line, or mean what is written back.

use whimbrel_core::cluster::{Action, Cluster, ClusterConfig, Input};
use whimbrel_core::time::{Mono, Now, Wall};

const NOW: Now = Now { mono: Mono(1_000_000_000), wall: Wall(1_800_000_000_000_000) };

/// The bytes are the file.
pub(crate) fn holds(input: &[u8]) {
    for tls_cluster in [false, true] {
        let config = ClusterConfig {
            port: 7000,
            tls_port: 7443,
            bus_port: 17000,
            tls_cluster,
            ..ClusterConfig::default()
        };
        let first = match written(&config, 1, input) {
            Ok(first) => first,
            Err((line, why)) => {
                assert!(
                    line <= input.split(|b| *b == b'\n').count() && !why.is_empty(),
                    "line {line}: {why}"
                );
                continue;
            }
        };
        assert!(first.len() <= 4096 + 64 * input.len() + 200_000, "{} bytes of {}", first.len(), input.len());
        let second = written(&config, 2, &first).expect("what was written can be read");
        assert_eq!(
            String::from_utf8_lossy(&first),
            String::from_utf8_lossy(&second),
            "written, read, written again"
        );
    }
}

/// What a node that starts with this file writes first.
fn written(config: &ClusterConfig, seed: u64, file: &[u8]) -> Result<Vec<u8>, (usize, String)> {
    let mut cluster = Cluster::new(config.clone(), seed, NOW, Some(file)).map_err(|e| (e.line, e.why))?;
    let mut out = Vec::new();
    cluster.handle(NOW, Input::Ticked, &mut out);
    match &out[..] {
        [Action::Save { bytes, fsync: true, .. }, ..] => {
            // An empty file is none: each node makes up its own name.
            Ok(bytes.to_vec())
        }
        other => panic!("the first thing a node does is to save what it knows: {other:?}"),
    }
}
