//! Operators' work with `valkey-cli --cluster` on Whimbrel nodes: what it prints, and what the nodes say afterwards.

use crate::cluster::cli::{ATOMIC, Cli};
use crate::cluster::{Cluster, Kind, Node, eventually, same, tag};
use whimbrel_core::slots::Slot;

/// Nodes that know each other no better than `--cluster create` made them; `None` means: skip the test.
fn created(cli: &Cli, count: usize) -> Option<Cluster> {
    let nodes: Option<Vec<Node>> = (0..count).map(|_| Node::start_with_file(Kind::Whimbrel, &[])).collect();
    let nodes = nodes?;
    cli.create(&nodes);
    let cluster = Cluster { nodes };
    cluster.await_agreement();
    Some(cluster)
}

/// Two keys in each of some slots, in two databases; how many there are per database.
fn fill(cluster: &Cluster, slots: impl Iterator<Item = u16>) -> i64 {
    let mut keys = 0;
    for slot in slots {
        let node = &cluster.nodes[cluster.owner(slot)];
        for db in [0, 3] {
            let mut client = node.client(db);
            for name in ["a", "b"] {
                let key = format!("{{{}}}{name}", tag(slot));
                assert!(client.ask(&["SET", &key, &format!("{slot} {name} {db}")]).is("OK"));
            }
        }
        keys += 2;
    }
    keys
}

fn total(cluster: &Cluster, db: u32) -> i64 {
    cluster.nodes.iter().map(|node| node.dbsize(db)).sum()
}

#[test]
fn create_makes_a_cluster_that_check_info_and_call_can_read() {
    let Some(cli) = Cli::find() else { return };
    let Some(cluster) = created(&cli, 3) else { return };
    let view = cluster.agreement().expect("agreement");
    let mut shares: Vec<(u16, u16)> =
        view.values().map(|slots| (*slots.first().expect("slots"), *slots.last().expect("slots"))).collect();
    shares.sort_unstable();
    assert_eq!(shares, [(0, 5460), (5461, 10922), (10923, 16383)]);
    let epochs: Vec<u64> =
        cluster.nodes.iter().map(|n| n.line_about(&n.id()).expect("itself").epoch).collect();
    assert_eq!(epochs, [1, 2, 3]);

    for node in &cluster.nodes {
        cli.check(node);
    }
    fill(&cluster, [1, 2, 6000, 16383].into_iter());
    let text = cli.cluster(&format!("info {}", cluster.nodes[1].address()));
    assert!(text.contains("[OK] 8 keys in 3 primaries."), "{text}");
    let text = cli.cluster(&format!("call {} PING", cluster.nodes[2].address()));
    assert_eq!(text.matches(": PONG").count(), 3, "{text}");

    let said = cli.run(&format!("--cluster create {} --cluster-yes", cluster.nodes[0].address()));
    assert!(!said.success && said.text.contains("[ERR]"), "a node that has slots: {}", said.text);
}

#[test]
fn a_node_is_added_gets_its_share_atomically_and_leaves_again() {
    let Some(cli) = Cli::find() else { return };
    let Some(mut cluster) = created(&cli, 3) else { return };
    let keys = fill(&cluster, (0..16384).step_by(97));
    let new = Node::start_with_file(Kind::Whimbrel, &[]).expect("the others have started");
    let text = cli.cluster(&format!("add-node {} {}", new.address(), cluster.nodes[0].address()));
    assert!(text.contains("[OK] New node added correctly."), "{text}");
    cluster.nodes.push(new);
    cluster.await_agreement();

    let entry = cluster.nodes[1].address();
    let text = cli.cluster(&format!("rebalance {entry} --cluster-use-empty-primaries {ATOMIC}"));
    assert!(!text.contains("failed"), "{text}");
    cluster.await_agreement();
    let id = cluster.nodes[3].id();
    let share = cluster.agreement().expect("agreement")[&id].len();
    assert!((4095..=4097).contains(&share), "{share} slots: {text}");
    cli.check(&cluster.nodes[3]);
    for db in [0, 3] {
        eventually("no key is at two nodes", || same(total(&cluster, db), keys));
    }

    let first = cluster.nodes[0].id();
    cli.reshard(&cluster.nodes[1], &id, &first, share, ATOMIC);
    cluster.await_agreement();
    assert_eq!(cluster.agreement().expect("agreement")[&id].len(), 0);
    let gone = cluster.nodes.pop().expect("four nodes");
    let text = cli.cluster(&format!("del-node {entry} {id}"));
    assert!(text.contains("CLUSTER RESET SOFT"), "{text}");
    eventually("the node is alone", || same(gone.info("cluster_known_nodes"), "1".to_owned()));
    cluster.await_agreement();
    cli.check(&cluster.nodes[2]);
    for db in [0, 3] {
        eventually("no key is lost", || same(total(&cluster, db), keys));
    }
}

#[test]
fn set_timeout_reaches_every_node_and_its_configuration_file() {
    let Some(cli) = Cli::find() else { return };
    let Some(mut cluster) = created(&cli, 3) else { return };
    let text = cli.cluster(&format!("set-timeout {} 7654", cluster.nodes[0].address()));
    assert!(text.contains("New node timeout set. 3 OK, 0 ERR."), "{text}");
    for node in &mut cluster.nodes {
        assert_eq!(node.run("CONFIG GET cluster-node-timeout").list()[1].text(), "7654");
        let id = node.id();
        node.server.restart();
        assert_eq!(node.run("CONFIG GET cluster-node-timeout").list()[1].text(), "7654");
        assert_eq!(node.id(), id, "a restarted node is who it was");
    }
    cluster.await_agreement();
}

/// Walks the cluster by CLUSTERSCAN as a client does: each cursor is sent where its slot is. The keys found, and how many
/// times somebody was asked.
fn walk(cluster: &Cluster, options: &[&str]) -> (Vec<String>, usize) {
    let (mut found, mut asked, mut cursor) = (Vec::new(), 0, "0".to_owned());
    loop {
        // A cursor is `<node>-{<tag>}-<position>`, and routed like a key: its slot is that of the tag.
        let node = &cluster.nodes[cluster.owner(Slot::of(cursor.as_bytes()).number())];
        let reply = node.ask(&[&["CLUSTERSCAN", &cursor], options].concat());
        let [next, keys] = reply.list() else { panic!("{cursor}: {reply:?}") };
        found.extend(keys.list().iter().map(|key| key.text().to_owned()));
        asked += 1;
        assert!(asked < 10_000, "a walk without end");
        if next.text() == "0" {
            found.sort();
            return (found, asked);
        }
        let parts: Vec<&str> = next.text().split('-').collect();
        let is_tag = |tag: &str| (3..=6).contains(&tag.len()) && tag.starts_with('{') && tag.ends_with('}');
        assert!(parts.len() == 3 && is_tag(parts[1]), "{}", next.text());
        cursor = next.text().to_owned();
    }
}

#[test]
fn a_walk_over_the_cluster_finds_every_key_once() {
    let Some(cluster) = Cluster::form(&[Kind::Whimbrel; 3], 3, &[]) else { return };
    let mut keys: Vec<String> = (0..600).map(|n| format!("key:{n}")).collect();
    keys.extend((0..100).map(|n| format!("{{{}}}{n}", tag(9000))));
    keys.sort();
    for key in &keys {
        assert!(
            cluster.nodes[cluster.owner(Slot::of(key.as_bytes()).number())].ask(&["SET", key, "v"]).is("OK")
        );
    }
    for count in ["1", "10", "1000000"] {
        assert_eq!(walk(&cluster, &["COUNT", count]).0, keys, "COUNT {count}");
    }
    assert!(walk(&cluster, &["COUNT", "1000000"]).1 <= 8, "as much as was asked for at a time");
    let tagged = format!("{{{}}}*", tag(9000));
    let (found, asked) = walk(&cluster, &["MATCH", &tagged, "COUNT", "1000"]);
    assert_eq!((found.len(), asked), (100, 2), "a pattern with a tag is about one slot");
    assert_eq!(walk(&cluster, &["SLOT", "9000"]).0, found);
    assert_eq!(walk(&cluster, &["MATCH", "key:1?", "COUNT", "1000"]).0.len(), 10);
    assert_eq!(walk(&cluster, &["TYPE", "hash", "COUNT", "1000"]).0.len(), 0);
    // Where the slot is not, one is told where it is.
    let elsewhere = &cluster.nodes[(cluster.owner(9000) + 1) % 3];
    let cursor = format!("0-{{{}}}-0", tag(9000));
    let moved = format!("MOVED 9000 {}", cluster.nodes[cluster.owner(9000)].address());
    assert_eq!(elsewhere.ask(&["CLUSTERSCAN", &cursor]).text(), moved);
    // So is the first cursor, as in Valkey: as if it were a key.
    let elsewhere = &cluster.nodes[(cluster.owner(13907) + 1) % 3];
    let moved = format!("MOVED 13907 {}", cluster.nodes[cluster.owner(13907)].address());
    assert_eq!(elsewhere.ask(&["CLUSTERSCAN", "0"]).text(), moved);
    // The position of another node, or of one that has started anew, is none: the slot is begun again.
    let owner = &cluster.nodes[cluster.owner(9000)];
    let strange = format!("abcdef-{{{}}}-4000000000", tag(9000));
    let reply = owner.ask(&["CLUSTERSCAN", &strange, "SLOT", "9000", "COUNT", "1000"]);
    assert_eq!(reply.list()[1].list().len(), 100);
}

#[test]
fn links_are_shown_in_both_directions() {
    let Some(cluster) = Cluster::form(&[Kind::Whimbrel; 3], 3, &[]) else { return };
    let node = &cluster.nodes[0];
    let reply = node.run("CLUSTER LINKS");
    let mut seen = Vec::new();
    for link in reply.list() {
        let fields = link.list();
        let names: Vec<&str> = fields.iter().step_by(2).map(|name| name.text()).collect();
        let expected =
            ["direction", "node", "create-time", "events", "send-buffer-allocated", "send-buffer-used"];
        assert_eq!(names, expected);
        let created = fields[5].number();
        assert!(
            (1_700_000_000_000..4_000_000_000_000).contains(&created),
            "milliseconds since 1970: {created}"
        );
        assert!(matches!(fields[7].text(), "r" | "rw"), "{link:?}");
        assert!(fields[11].number() >= 0 && fields[9].number() >= fields[11].number(), "{link:?}");
        seen.push((fields[3].text().to_owned(), fields[1].text().to_owned()));
    }
    seen.sort();
    let mut expected: Vec<(String, String)> = cluster.nodes[1..]
        .iter()
        .flat_map(|other| ["from", "to"].map(|direction| (other.id(), direction.to_owned())))
        .collect();
    expected.sort();
    assert_eq!(seen, expected);
}
