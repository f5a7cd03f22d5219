//! Slot migrations between Whimbrel nodes, on sockets and under load: what was acknowledged is there afterwards, at
//! the owner of its slot and nowhere else, however the job ended.

use std::time::{Duration, Instant};

use crate::cluster::jobs::Job;
use crate::cluster::load::{Load, Model};
use crate::cluster::toll::Toll;
use crate::cluster::{self, Cluster, Kind, Node, eventually, same, tag};
use crate::peer::{Client, Reply, encode};

/// Three nodes; the first two own slots 0-8191 and 8192-16383.
fn three() -> Cluster {
    Cluster::form(&[Kind::Whimbrel; 3], 2, &[]).expect("the program")
}

/// Two nodes; the first owns all slots and the second none, and can be kept from answering.
fn tolled() -> (Cluster, Toll) {
    let cluster = Cluster::form(&[Kind::Whimbrel; 2], 1, &[]).expect("the program");
    let toll = Toll::build(&cluster, 1);
    (cluster, toll)
}

/// `count` keys of `size` bytes in a slot; what was written.
fn fill(node: &Node, db: u32, slot: u16, count: usize, size: usize) -> Vec<(String, String)> {
    let mut client = node.client(db);
    let tag = tag(slot);
    let written: Vec<_> = (0..count)
        .map(|n| (format!("{{{tag}}}fill{n}"), format!("{n:06}").repeat(size.div_ceil(6))[..size].to_owned()))
        .collect();
    for part in written.chunks(100) {
        let bytes: Vec<u8> = part.iter().flat_map(|(key, value)| encode(&["SET", key, value])).collect();
        client.send(&bytes).expect("a node that reads");
        part.iter().for_each(|_| assert!(client.read().expect("a reply").is("OK")));
    }
    written
}

fn count_in_slot(client: &mut Client, slot: u16) -> i64 {
    client.ask(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).number()
}

fn all_succeed(sources: &[&Node]) {
    for source in sources {
        let jobs = source.await_jobs_over();
        assert!(jobs.iter().all(|job| job.state() == "success"), "{jobs:#?}");
    }
}

/// Whether a reply comes within a moment.
fn answers_soon(client: &mut Client) -> Option<Reply> {
    client.read_within(Duration::from_millis(300))
}

#[test]
fn nothing_is_lost_while_slots_move_around_under_load() {
    let cluster = three();
    let [a, b, c] = [&cluster.nodes[0], &cluster.nodes[1], &cluster.nodes[2]];
    let slots = [0, 1, 50, 99, 200, 250, 5000, 8000, 8191, 8192, 9000, 9100, 16383];
    let load = Load::start(&cluster, 3, &slots, &[0, 1, 9, 15]);
    // Several ranges in one job, several jobs in one request, several sources at once.
    let (id_b, id_c) = (b.id(), c.id());
    a.ok(&format!(
        "CLUSTER MIGRATESLOTS SLOTSRANGE 0 99 200 299 NODE {id_c} SLOTSRANGE 8000 8099 NODE {id_b} \
         SLOTSRANGE 8100 8191 NODE {id_c}"
    ));
    all_succeed(&[a]);
    b.migrate("9000 9099 16383 16383", c);
    a.migrate("5000 5000", c);
    all_succeed(&[a, b]);
    load.await_writes(500);
    // On to the next node, and back to the first one.
    c.migrate("0 99 200 299", b);
    all_succeed(&[c]);
    b.migrate("0 99 200 299", a);
    c.migrate("5000 5000 9000 9099", a);
    all_succeed(&[b, c]);
    load.await_writes(500);
    let model = load.stop();
    assert!(model.redirections > 0, "nobody was redirected");
    cluster.await_owner(0, [0, 99, 200, 250, 5000, 9000]);
    cluster.await_owner(1, [8000, 8192, 9100]);
    cluster.await_owner(2, [8191, 16383]);
    model.compare(&cluster);
}

#[test]
fn nodes_give_and_take_at_the_same_time() {
    // Each take-over raises an epoch, which must not outbid a take-over that goes on elsewhere.
    let cluster = three();
    let [a, b, c] = [&cluster.nodes[0], &cluster.nodes[1], &cluster.nodes[2]];
    let slots: Vec<u16> = (0..16).map(|n| n * 1024).collect();
    let load = Load::start(&cluster, 2, &slots, &[0, 1]);
    let (id_b, id_c) = (b.id(), c.id());
    for round in 0..5 {
        let first = round * 1024;
        let range = |at: u16| format!("{} {}", at, at + 1023);
        a.ok(&format!(
            "CLUSTER MIGRATESLOTS SLOTSRANGE {} NODE {id_c} SLOTSRANGE {} {} NODE {id_b}",
            range(first),
            6144 + round * 10,
            6144 + round * 10
        ));
        b.migrate(&range(8192 + first), a);
        if round > 0 {
            c.migrate(&range(first - 1024), b);
        }
        all_succeed(&[a, b, c]);
        // A target refuses slots of which it has not heard yet whose they are now.
        cluster.await_agreement();
        load.await_writes(100);
    }
    let model = load.stop();
    cluster.await_owner(0, [8192, 12288, 13311]);
    cluster.await_owner(1, [0, 4095, 6144, 6184, 16383]);
    cluster.await_owner(2, [4096, 5119]);
    model.compare(&cluster);
}

#[test]
fn values_of_eight_megabytes_move_while_they_are_changed() {
    let cluster = three();
    let [a, c] = [&cluster.nodes[0], &cluster.nodes[2]];
    let load = Load::start(&cluster, 2, &[7, 8], &[0]);
    let mut big = fill(a, 0, 7, 5, 8 << 20);
    a.migrate("7 8", c);
    // Whatever the cursor is at, these are seen before it, behind it or in the middle of it.
    let mut router = cluster::router::Router::new(a.port());
    for (key, value) in &mut big {
        let reply = router.ask(0, &["APPEND", key, "tail"]).expect("a reply");
        value.push_str("tail");
        assert_eq!(reply, Reply::Integer(value.len() as i64));
    }
    a.await_outcome("success");
    let mut model = load.stop();
    big.iter().for_each(|(key, value)| model.insert(0, key, value, false));
    cluster.await_owner(2, [7, 8]);
    model.compare(&cluster);
}

#[test]
fn a_node_can_give_away_everything_and_get_it_back() {
    let cluster = three();
    let [a, c] = [&cluster.nodes[0], &cluster.nodes[2]];
    let load = Load::start(&cluster, 2, &[0, 4095, 4096, 8191, 12000], &[0, 2]);
    a.migrate("0 8191", c);
    a.await_outcome("success");
    cluster.await_owner(2, 0..8192);
    let flags = &a.line_about(&a.id()).expect("itself").flags;
    assert!(flags.contains("master"), "an empty primary stays one: {flags:?}");
    load.await_writes(200);
    c.migrate("0 8191", a);
    c.await_outcome("success");
    let model = load.stop();
    cluster.await_owner(0, 0..8192);
    model.compare(&cluster);
}

#[test]
fn imported_keys_are_hidden_until_the_slots_are_taken_over() {
    let (cluster, toll) = tolled();
    let [source, target] = [&cluster.nodes[0], &cluster.nodes[1]];
    source.migrate("100 100", target);
    source.await_outcome("success");
    let own = fill(target, 0, 100, 3, 10);
    let moved = fill(source, 0, 5, 1000, 100);
    fill(source, 4, 5, 10, 10);
    toll.to_target().stop_at("SNAPSHOT-EOF");
    source.migrate("5 5", target);
    let job = target.await_job("keys arrive", |job| job.state() == "receiving-snapshot");
    assert_eq!(job.get("slot_ranges"), "5-5");

    let mut client = target.client(0);
    eventually("keys of the slot are counted", || {
        let count = count_in_slot(&mut client, 5);
        if count >= 100 { Ok(()) } else { Err(count) }
    });
    assert_eq!(client.ask(&["DBSIZE"]).number(), 3);
    assert_eq!(client.ask(&["KEYS", "*"]).list().len(), 3);
    assert_eq!(client.ask(&["KEYS", &format!("{{{}}}*", tag(5))]).list().len(), 0);
    for _ in 0..50 {
        let key = client.ask(&["RANDOMKEY"]);
        assert!(own.iter().any(|(own, _)| key.is(own)), "{key:?}");
    }
    let (mut cursor, mut seen) = ("0".to_owned(), 0);
    loop {
        let reply = client.ask(&["SCAN", &cursor, "COUNT", "1000"]);
        seen += reply.list()[1].list().len();
        cursor = reply.list()[0].text().to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, 3);
    let keys = client.ask(&["CLUSTER", "GETKEYSINSLOT", "5", "10"]);
    assert_eq!(keys.list().len(), 10);
    let asked = Reply::Error(format!("MOVED 5 127.0.0.1:{}", source.port()));
    let (key, value) = &moved[0];
    assert_eq!(client.ask(&["GET", key]), asked);
    assert!(client.ask(&["ASKING"]).is("OK"));
    assert_eq!(client.ask(&["GET", key]), asked, "ASKING opens no importing slot");
    let keyspace = target.info("db0");
    assert!(keyspace.starts_with("keys=3,"), "{keyspace}");

    toll.open();
    source.await_outcome("success");
    cluster.await_owner(1, [5, 100]);
    assert!(client.ask(&["GET", key]).is(value));
    assert_eq!(client.ask(&["DBSIZE"]).number(), 1003);
    assert_eq!(target.dbsize(4), 10);
    eventually("the source has let them go", || same(source.dbsize(0) + source.dbsize(4), 0));
    let mut model = Model::default();
    own.iter().chain(&moved).for_each(|(key, value)| model.insert(0, key, value, false));
    model.compare(&cluster);
}

#[test]
fn only_writes_to_moving_slots_wait_and_not_for_long() {
    let (cluster, toll) = tolled();
    let [source, target] = [&cluster.nodes[0], &cluster.nodes[1]];
    fill(source, 0, 20, 10, 10);
    toll.to_source().stop_at("REQUEST-FAILOVER");
    source.migrate("20 20", target);
    source.await_job("writes are held", |job| job.state() == "failover-paused");
    assert_eq!(source.info("paused_reason"), "slot_migration_in_progress");
    assert_eq!(source.info("paused_actions"), "write");

    let (moving, other) = (format!("{{{}}}k", tag(20)), format!("{{{}}}k", tag(21)));
    let [mut stopped, mut free, mut reader] = [(); 3].map(|()| source.client(0));
    stopped.send(&encode(&["SET", &moving, "1"])).expect("it reads");
    assert_eq!(answers_soon(&mut stopped), None, "a write to the moving slot");
    let start = Instant::now();
    for n in 1..=100 {
        assert_eq!(free.ask(&["INCR", &other]).number(), n);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "writes to other slots: {:?}", start.elapsed());
    assert_eq!(reader.ask(&["GET", &moving]), Reply::Null, "reads of the moving slot are served");
    reader.ask(&["MULTI"]);
    reader.ask(&["SET", &moving, "2"]);
    reader.send(&encode(&["EXEC"])).expect("it reads");
    assert_eq!(answers_soon(&mut reader), None, "a transaction that writes to the moving slot");

    toll.open();
    let job = source.await_outcome("success");
    let moved = Reply::Error(format!(
        "MOVED 20 127.0.0.1:{}",
        target.line_about(&target.id()).expect("itself").port()
    ));
    assert_eq!(stopped.read().expect("a reply"), moved);
    assert_eq!(reader.read().expect("a reply"), moved, "the transaction moves as a whole");
    assert_eq!(source.info("paused_reason"), "none");
    let pause: u64 = job.get("pause_ms").parse().expect("a number");
    assert!((300..20_000).contains(&pause), "{pause} ms");
    let last: f64 = source.info("slot_migration_last_pause_ms").parse().expect("a number");
    assert!((last - pause as f64).abs() <= 1.0, "{last} against {pause}");
    cluster.await_owner(1, [20]);
    assert_eq!(target.ask(&["EXISTS", &moving]).number(), 0);
}

#[test]
fn a_pause_that_leads_nowhere_ends_by_itself() {
    let (cluster, toll) = tolled();
    let [source, target] = [&cluster.nodes[0], &cluster.nodes[1]];
    let written = fill(source, 0, 20, 10, 10);
    source.ok("CONFIG SET cluster-manual-failover-timeout 250");
    toll.to_source().stop_at("REQUEST-FAILOVER");
    source.migrate("20 20", target);
    source.await_job("writes are held", |job| job.state() == "failover-paused");
    let key = format!("{{{}}}late", tag(20));
    assert!(source.ask(&["SET", &key, "kept"]).is("OK"), "executed when the pause ends");
    let job = source.await_outcome("failed");
    assert_eq!(job.get("message"), "Timed out before streaming completed");
    let job = target.await_outcome("failed");
    assert!(job.get("message").starts_with("Connection lost to source."), "{job:?}");
    let mut model = Model::default();
    written.iter().for_each(|(key, value)| model.insert(0, key, value, false));
    model.insert(0, &key, "kept", false);
    cluster.await_owner(0, [20]);
    model.compare(&cluster);
}

/// Starts a job that hangs in its snapshot with writers at work, and lets `happen` end it; then the source has to have
/// everything and the target nothing. Returns how both ends report it, as far as they live.
fn ended_in_the_snapshot(state: &str, happen: impl FnOnce(&mut Cluster, &Toll)) -> (Job, Option<Job>) {
    let (mut cluster, toll) = tolled();
    let written = fill(&cluster.nodes[0], 3, 30, 2000, 1000);
    let load = Load::start(&cluster, 2, &[30, 31, 32], &[0, 3]);
    toll.to_target().allow(100_000);
    cluster.nodes[0].migrate("30 31", &cluster.nodes[1]);
    let arrived = |node: &Node| {
        let mut client = node.client(3);
        eventually("some keys have arrived", || {
            let count = count_in_slot(&mut client, 30);
            if count > 10 { Ok(()) } else { Err(count) }
        });
    };
    arrived(&cluster.nodes[1]);
    happen(&mut cluster, &toll);
    let exported = cluster.nodes[0].await_outcome(state);
    load.await_writes(100);
    let mut model = load.stop();
    written.iter().for_each(|(key, value)| model.insert(3, key, value, false));
    cluster.await_owner(0, [30, 31]);
    model.compare(&cluster);
    // What was under way arrives, and then the end of the link.
    if !toll.is_cut() {
        toll.open();
    }
    let imported = cluster.nodes[1].await_jobs_over().into_iter().next();
    for slot in [30, 31] {
        assert_eq!(count_in_slot(&mut cluster.nodes[1].client(3), slot), 0, "keys of a failed import");
    }
    // And the same job can be done afterwards.
    toll.open();
    cluster.nodes[0].migrate("30 31", &cluster.nodes[1]);
    cluster.nodes[0].await_outcome("success");
    cluster.await_owner(1, [30, 31]);
    model.compare(&cluster);
    (exported, imported)
}

#[test]
fn a_cancelled_migration_leaves_everything_at_the_source() {
    let (exported, imported) = ended_in_the_snapshot("cancelled", |cluster, _| {
        cluster.nodes[0].ok("CLUSTER CANCELSLOTMIGRATIONS");
        let again = cluster.nodes[0].run("CLUSTER CANCELSLOTMIGRATIONS");
        assert_eq!(again, Reply::Error("ERR No migrations ongoing".into()));
    });
    assert_eq!(exported.get("message"), "");
    let imported = imported.expect("the target remembers");
    assert_eq!(
        (imported.state(), imported.get("message")),
        (
            "failed",
            "Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information."
        )
    );
}

#[test]
fn a_link_that_breaks_leaves_everything_at_the_source() {
    let (exported, imported) = ended_in_the_snapshot("failed", |_, toll| toll.cut());
    assert_eq!(
        exported.get("message"),
        "Connection lost to target. Check CLUSTER GETSLOTMIGRATIONS on the target node for more information."
    );
    assert_eq!(imported.expect("the target remembers").state(), "failed");
}

#[test]
fn a_target_that_dies_midway_takes_nothing_with_it() {
    let (exported, _) = ended_in_the_snapshot("failed", |cluster, toll| {
        cluster.nodes[1].server.kill();
        toll.cut();
        cluster.nodes[1].server.restart();
        cluster.await_agreement();
    });
    assert!(exported.get("message").starts_with("Connection lost to target."), "{exported:?}");
}

#[test]
fn a_database_that_is_flushed_ends_the_migration() {
    let (cluster, toll) = tolled();
    let [source, target] = [&cluster.nodes[0], &cluster.nodes[1]];
    fill(source, 0, 40, 1000, 1000);
    toll.to_target().allow(50_000);
    source.migrate("40 40", target);
    target.await_job("keys arrive", |job| job.state() == "receiving-snapshot");
    source.ok("FLUSHDB");
    let job = source.await_outcome("failed");
    assert_eq!(job.get("message"), "Data was flushed");
    toll.open();
    target.await_outcome("failed");
    cluster.await_owner(0, [40]);
    Model::default().compare(&cluster);
}

#[test]
fn a_slot_that_is_flushed_on_its_way_arrives_empty() {
    let (cluster, toll) = tolled();
    let [source, target] = [&cluster.nodes[0], &cluster.nodes[1]];
    fill(source, 0, 40, 1000, 1000);
    fill(source, 2, 40, 10, 10);
    let kept = fill(source, 0, 41, 10, 10);
    toll.to_target().allow(50_000);
    source.migrate("40 41", target);
    target.await_job("keys arrive", |job| job.state() == "receiving-snapshot");
    source.ok("CLUSTER FLUSHSLOT 40");
    let late = format!("{{{}}}late", tag(40));
    assert!(source.ask(&["SET", &late, "1"]).is("OK"));
    toll.open();
    let job = source.await_job("the job is over", Job::is_over);
    let mut model = Model::default();
    kept.iter().for_each(|(key, value)| model.insert(0, key, value, false));
    model.insert(0, &late, "1", false);
    // Either way is right, as long as the flushed keys do not come back.
    cluster.await_owner(usize::from(job.state() == "success"), [40, 41]);
    model.compare(&cluster);
    assert_eq!(source.dbsize(2) + target.dbsize(2), 0);
}

#[test]
fn the_password_of_the_target_is_needed_and_used() {
    let cluster = three();
    let [a, c] = [&cluster.nodes[0], &cluster.nodes[2]];
    let written = fill(a, 0, 1, 100, 10);
    // A connection that was there before stays inside.
    let mut inside = c.client(0);
    assert!(inside.ask(&["CONFIG", "SET", "requirepass", "secret"]).is("OK"));
    let attempt = || {
        a.ok(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1 1 NODE {}", cluster_id(&mut a.client(0), c.port())));
        a.await_job("the job is over", Job::is_over)
    };
    let job = attempt();
    let refusal = "Received error during handshake to target: -NOAUTH Authentication required.\r\n";
    assert_eq!((job.state(), job.get("message")), ("failed", refusal));
    a.ok("CONFIG SET primaryauth guess");
    let job = attempt();
    let refusal =
        "Failed to AUTH to target node: -WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(job.state(), "failed");
    assert_eq!(job.get("message").trim_end(), refusal);
    a.ok("CONFIG SET primaryauth secret");
    let job = attempt();
    assert_eq!(job.state(), "success", "{job:?}");
    a.ok("CONFIG SET primaryuser default");
    assert!(inside.ask(&["CONFIG", "SET", "requirepass", ""]).is("OK"));
    cluster.await_owner(2, [1]);
    let mut model = Model::default();
    written.iter().for_each(|(key, value)| model.insert(0, key, value, false));
    model.compare(&cluster);
}

/// The id of the node at a port, as another node knows it.
fn cluster_id(client: &mut Client, port: u16) -> String {
    let nodes = client.ask(&["CLUSTER", "NODES"]);
    let line = nodes.text().lines().find(|line| line.contains(&format!(":{port}@"))).expect("a line");
    line.split(' ').next().expect("an id").to_owned()
}

#[test]
fn both_ends_report_a_job_as_valkey_does() {
    let cluster = three();
    let [a, c] = [&cluster.nodes[0], &cluster.nodes[2]];
    fill(a, 0, 60, 100, 100);
    a.migrate("60 69 100 100", c);
    let (export, import) = (a.await_outcome("success"), c.await_outcome("success"));
    let names = [
        "cow_size",
        "create_time",
        "last_ack_time",
        "last_update_time",
        "message",
        "name",
        "operation",
        "pause_ms",
        "remaining_repl_size",
        "slot_ranges",
        "source_node",
        "state",
        "target_node",
    ];
    for (job, operation) in [(&export, "EXPORT"), (&import, "IMPORT")] {
        assert_eq!(job.names(), names);
        assert_eq!(job.get("operation"), operation);
        assert_eq!(job.get("slot_ranges"), "60-69 100-100");
        assert_eq!((job.get("source_node"), job.get("target_node")), (&*a.id(), &*c.id()));
        assert_eq!((job.get("message"), job.get("remaining_repl_size")), ("", "0"));
        let [created, updated] =
            ["create_time", "last_update_time"].map(|n| job.get(n).parse::<u64>().expect("a time"));
        assert!(created > 1_700_000_000 && updated >= created && updated < created + 20, "{job:?}");
    }
    assert_eq!(export.get("name"), import.get("name"));
    assert_eq!(export.get("name").len(), 40);
    let pause: u64 = export.get("pause_ms").parse().expect("a number");
    assert!(pause < 2_000, "{pause} ms without a reason");

    let mut three = a.client(0);
    assert!(!three.ask(&["HELLO", "3"]).is_error());
    assert_eq!(three.ask(&["CLUSTER", "GETSLOTMIGRATIONS"]).list()[0].list().len(), 26);
    let refused = a.run(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 61 61 NODE {}", a.id()));
    assert_eq!(refused, Reply::Error("ERR Slots are not served by this node.".into()));
    let refused = a.run(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 70 70 NODE {}", a.id()));
    assert_eq!(refused, Reply::Error("ERR Target node can not be this node.".into()));
}

#[test]
fn a_target_that_is_not_there_is_reported_and_nothing_changes() {
    let mut cluster = three();
    let written = fill(&cluster.nodes[0], 0, 3, 10, 10);
    let id = cluster.nodes[2].id();
    cluster.nodes[2].server.kill();
    cluster.nodes[0].ok(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 3 3 NODE {id}"));
    let job = cluster.nodes[0].await_outcome("failed");
    assert_eq!(job.get("message"), "Unable to connect to target node: Connection refused");
    let (key, value) = &written[0];
    assert!(cluster.nodes[0].ask(&["GET", key]).is(value));
    assert!(cluster.nodes[0].ask(&["SET", key, "more"]).is("OK"));
}

#[test]
fn expired_keys_do_not_come_back_and_others_keep_their_time() {
    let cluster = three();
    let [a, c] = [&cluster.nodes[0], &cluster.nodes[2]];
    let tag = tag(77);
    let mut client = a.client(0);
    for n in 0..200 {
        let (short, long) = (format!("{{{tag}}}short{n}"), format!("{{{tag}}}long{n}"));
        assert!(client.ask(&["SET", &short, "v", "PX", &(n + 1).to_string()]).is("OK"));
        assert!(client.ask(&["SET", &long, "v", "PX", "500000"]).is("OK"));
    }
    a.migrate("77 77", c);
    a.await_outcome("success");
    cluster.await_owner(2, [77]);
    let mut client = c.client(0);
    eventually("short-lived keys are gone", || same(client.ask(&["DBSIZE"]).number(), 200));
    for n in 0..200 {
        let ttl = client.ask(&["PTTL", &format!("{{{tag}}}long{n}")]).number();
        assert!((450_000..=500_000).contains(&ttl), "{ttl}");
    }
    assert_eq!(a.dbsize(0), 0);
}

/// How many connections of a node CLIENT LIST shows with a flag.
fn links(node: &Node, flag: &str) -> usize {
    let flag = format!(" flags={flag} ");
    node.ask(&["CLIENT", "LIST"]).text().lines().filter(|line| line.contains(&flag)).count()
}

#[test]
fn a_job_between_two_nodes_has_a_link_for_every_shard_that_has_slots_of_it() {
    let cluster = Cluster::form(&[Kind::Whimbrel; 2], 1, &[]).expect("the program");
    let [source, target] = [&cluster.nodes[0], &cluster.nodes[1]];
    let shards =
        source.ask(&["CONFIG", "GET", "shards"]).list()[1].text().parse::<usize>().expect("a number");
    let mut model = Model::default();
    for slot in 60..64 {
        for (key, value) in fill(source, 0, slot, 500, 100) {
            model.insert(0, &key, &value, false);
        }
    }
    source.ok("DEBUG SLOTMIGRATION PREVENT-PAUSE 1");
    source.migrate("60 63", target);
    source.await_job("only the pause is missing", |job| job.state() == "waiting-to-pause");
    assert_eq!((links(source, "E"), links(target, "i")), (shards.min(4), shards.min(4)));
    // A job whose slots are all on one shard needs no second one.
    source.migrate("70 70", target);
    eventually("the other job waits too", || {
        let waiting = source.jobs().iter().filter(|job| job.state() == "waiting-to-pause").count();
        same(waiting, 2)
    });
    assert_eq!((links(source, "E"), links(target, "i")), (shards.min(4) + 1, shards.min(4) + 1));
    source.ok("DEBUG SLOTMIGRATION PREVENT-PAUSE 0");
    all_succeed(&[source]);
    cluster.await_owner(1, [60, 61, 62, 63, 70]);
    model.compare(&cluster);
    eventually("no link is left", || same((links(source, "E"), links(target, "i")), (0, 0)));
}

#[test]
fn a_killed_link_of_a_job_ends_it_at_both_ends() {
    let cluster = Cluster::form(&[Kind::Whimbrel; 2], 1, &[]).expect("the program");
    let [source, target] = [&cluster.nodes[0], &cluster.nodes[1]];
    fill(source, 0, 60, 100, 100);
    fill(source, 0, 61, 100, 100);
    for (node, flag) in [(source, "E"), (target, "i")] {
        source.ok("DEBUG SLOTMIGRATION PREVENT-PAUSE 1");
        source.migrate("60 61", target);
        source.await_job("only the pause is missing", |job| job.state() == "waiting-to-pause");
        let list = node.ask(&["CLIENT", "LIST"]).text().to_owned();
        let flag = format!(" flags={flag} ");
        // The last one is that of another shard, if there are several.
        let line = list.lines().rfind(|line| line.contains(&flag)).expect("a link");
        let id = line.split([' ', '=']).nth(1).expect("a number");
        assert_eq!(node.ask(&["CLIENT", "KILL", "ID", id]).number(), 1, "{line}");
        source.await_outcome("failed");
        target.await_outcome("failed");
        assert_eq!((links(source, "E"), links(target, "i")), (0, 0));
        assert_eq!(target.dbsize(0), 0);
        source.ok("DEBUG SLOTMIGRATION PREVENT-PAUSE 0");
    }
    source.migrate("60 61", target);
    source.await_outcome("success");
    cluster.await_owner(1, [60, 61]);
    assert_eq!((target.dbsize(0), source.ask(&["CLUSTER", "COUNTKEYSINSLOT", "60"]).number()), (200, 0));
}

#[test]
fn a_source_that_talks_nonsense_is_cut_off_and_its_keys_are_removed() {
    let cluster = three();
    let [a, c] = [&cluster.nodes[0], &cluster.nodes[2]];
    let establish = |client: &mut Client, slot: &str| {
        let name = "f".repeat(40);
        let words =
            ["CLUSTER", "SYNCSLOTS", "ESTABLISH", "SOURCE", &a.id(), "NAME", &name, "SLOTSRANGE", slot, slot];
        assert!(client.ask(&words).is("OK"));
        client.send(&encode(&["CLUSTER", "SYNCSLOTS", "ACK"])).expect("it reads");
    };
    let key = format!("{{{}}}k", tag(90));
    let garbage: [&[u8]; 5] = [
        b"PING\r\n",
        b"*1\r\n+x\r\n",
        &encode(&["NOSUCHCOMMAND", &key]),
        &encode(&["CLUSTER", "SYNCSLOTS", "FAILOVER-GRANTED"]),
        &encode(&["INCR", &key]),
    ];
    for bytes in garbage {
        let mut client = c.client(0);
        establish(&mut client, "90");
        client.send(&encode(&["SET", &key, "text"])).expect("it reads");
        let mut other = c.client(0);
        eventually("the key has arrived", || same(count_in_slot(&mut other, 90), 1));
        client.send(bytes).expect("it reads");
        assert!(
            client.read_within(Duration::from_secs(10)).is_none() && client.read().is_err(),
            "not cut off"
        );
        c.await_outcome("failed");
        eventually("the key is gone", || same(count_in_slot(&mut other, 90), 0));
    }
    cluster.await_owner(0, [90]);
}
