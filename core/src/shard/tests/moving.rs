//! Slot migrations as one shard sees them.

use super::*;
use crate::cluster::{self, Cluster, ClusterConfig, takeover};
use crate::ids::NodeId;
use crate::migration::job::{Job, Outcome, Timing};
use crate::slots::{Slot, SlotRange, SlotRanges};

/// A key of every test is in this slot.
fn moved() -> Slot {
    Slot::of(b"{x}")
}

/// A cluster of one node that owns all slots but `not_mine` and serves since a while.
pub(super) fn alone(now: &mut Now, not_mine: Option<Slot>) -> Cluster {
    let settings = ClusterConfig { require_full_coverage: false, ..ClusterConfig::default() };
    let mut cluster = Cluster::new(settings, 1, *now, None).expect("a cluster of one node");
    let mut actions = Vec::new();
    let mine: SlotRanges = Slot::all().filter(|s| Some(*s) != not_mine).map(SlotRange::one).collect();
    cluster.add_slots(*now, &mine, &mut actions).expect("slots");
    for _ in 0..60 {
        now.mono = now.mono + Span::ms(100);
        cluster.handle(*now, cluster::Input::Ticked, &mut actions);
    }
    cluster
}

impl Bench {
    /// A shard of a cluster of one node, which serves and owns all slots but `not_mine`.
    pub(super) fn in_cluster(not_mine: Option<Slot>) -> Self {
        let mut bench = Self::new(&[]);
        let mut config = Config::default();
        config.cluster_enabled = true;
        config.enable_debug_command = crate::config::Allowed::Yes;
        let cluster = alone(&mut bench.now, not_mine);
        bench.shard = Shard::new(Arc::new(config), cluster.view(), 7, bench.now);
        bench.connect(1);
        bench.connect(2);
        bench
    }

    pub(super) fn order(&mut self, order: Order) {
        self.shard.handle(self.now, Input::Mailed(order.into()), &mut self.out);
    }

    fn job(n: u64) -> Arc<Job> {
        let mut rng = Rng::new(n);
        let ranges = [SlotRange::one(moved())].into_iter().collect();
        let (source, target) = (NodeId::random(&mut rng), NodeId::random(&mut rng));
        Arc::new(Job { name: JobName::random(&mut rng), source, target, ranges })
    }

    pub(super) fn start_export(&mut self) -> Arc<Job> {
        let (job, timing) = (Self::job(1), Timing::default());
        let to = Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7001));
        self.order(Order::StartExport { job: job.clone(), to, credentials: None, timing });
        job
    }

    /// The export's link comes up and the target agrees; its snapshot is sent.
    pub(super) fn stream(&mut self) -> String {
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7000);
        self.shard.handle(self.now, Input::Connected { link: LinkId::dialed(1), local }, &mut self.out);
        self.sent();
        self.target("+OK\r\n");
        self.sent();
        self.pass(Span::ms(1));
        self.sent()
    }

    /// The target says something.
    pub(super) fn target(&mut self, text: &str) {
        let input = Input::Filled { link: LinkId::dialed(1), bytes: text.as_bytes() };
        self.shard.handle(self.now, input, &mut self.out);
    }

    /// What the target gets, one command per line.
    pub(super) fn sent(&mut self) -> String {
        let Some(outbox) = self.shard.outbox(LinkId::dialed(1)) else { return String::new() };
        let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
        outbox.advance(bytes.len());
        self.shard.handle(self.now, Input::Drained { link: LinkId::dialed(1) }, &mut self.out);
        let text = String::from_utf8(bytes).expect("text");
        let words = text.split("\r\n").filter(|w| !w.starts_with('$'));
        let lines = words.collect::<Vec<_>>().join(" ").replace('*', "\n*");
        lines.lines().filter_map(|l| l.split_once(' ')).map(|(_, l)| format!("{}\n", l.trim())).collect()
    }

    /// An import of the moved slot comes in as client 2.
    pub(super) fn start_import(&mut self) -> Arc<Job> {
        self.feed(2, "CLUSTER SYNCSLOTS ESTABLISH x\r\n");
        let job = Self::job(2);
        self.order(Order::StartImport {
            link: link(2),
            job: job.clone(),
            timing: Timing::default(),
            left: None,
        });
        job
    }
}

pub(super) const REQUEST_PAUSE: &str = "*3\r\n$7\r\nCLUSTER\r\n$9\r\nSYNCSLOTS\r\n$13\r\nREQUEST-PAUSE\r\n";
const ACK: &str = "*3\r\n$7\r\nCLUSTER\r\n$9\r\nSYNCSLOTS\r\n$3\r\nACK\r\n";

#[test]
fn a_key_that_a_walk_found_expired_is_deleted_at_the_target_too() {
    // Seed 606005: the cursor of CLUSTERSCAN names a slot, and its walk goes on to others.
    for walk in ["SCAN 0 COUNT 20000", "RANDOMKEY", "CLUSTERSCAN 0-{06S}-0 COUNT 20000"] {
        let mut bench = Bench::in_cluster(None);
        bench.feed(1, "SET {x}n 41 PX 50\r\n");
        bench.start_export();
        assert!(bench.stream().contains("SET {x}n 41"));
        bench.shard.debugging.expires_by_itself = false;
        bench.pass(Span::ms(60));
        bench.feed(1, &format!("{walk}\r\nINCR {{x}}n\r\n"));
        assert_eq!(bench.sent(), "SELECT 0\nUNLINK {x}n\nINCR {x}n\n", "{walk}");
    }
}

#[test]
fn a_walk_deletes_nothing_where_writes_are_held() {
    let mut bench = Bench::in_cluster(None);
    bench.feed(1, "SET {x}n 41 PX 50\r\n");
    bench.start_export();
    bench.stream();
    bench.target(REQUEST_PAUSE);
    assert_eq!(bench.sent(), "CLUSTER SYNCSLOTS PAUSED\n");
    bench.pass(Span::ms(60));
    bench.feed(1, "SCAN 0 COUNT 20000\r\nRANDOMKEY\r\nCLUSTERSCAN 0-{06S}-0 COUNT 20000\r\n");
    assert_eq!(bench.sent(), "");
    assert_eq!(bench.shard.data.store.slot_len_all(moved()), 1);
}

#[test]
fn a_transaction_with_a_write_without_keys_waits_for_any_slot() {
    let mut bench = Bench::in_cluster(None);
    bench.feed(1, "SET {x}n 1\r\n");
    bench.start_export();
    bench.stream();
    bench.target(REQUEST_PAUSE);
    let said = bench.feed(1, "MULTI\r\nSET elsewhere 1\r\nFLUSHALL\r\nEXEC\r\n");
    assert_eq!(said, "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    assert_eq!(bench.shard.data.store.slot_len_all(moved()), 1);
}

/// A client's EXEC waits for the node with one of its two writes made, and the target asks for the pause.
fn in_the_middle_of_an_exec() -> Bench {
    let mut bench = Bench::in_cluster(None);
    bench.start_export();
    bench.stream();
    bench.feed(1, "MULTI\r\nSET {x}a 1\r\nCONFIG SET maxclients 5\r\nSET {x}b 2\r\nEXEC\r\n");
    assert_eq!(bench.sent(), "SELECT 0\nSET {x}a 1\n");
    bench.target(REQUEST_PAUSE);
    bench
}

#[test]
fn the_pause_waits_for_a_transaction_that_waits_for_the_node() {
    let mut bench = in_the_middle_of_an_exec();
    assert_eq!(bench.sent(), "", "PAUSED would be a lie: the transaction has another write to make");
    bench.feed(2, "SET {x}c 3\r\n");
    bench.order(Order::Answer { link: link(1), reply: "+OK\r\n".into() });
    assert_eq!(bench.sent(), "SET {x}b 2\nCLUSTER SYNCSLOTS PAUSED\n");
    assert_eq!(bench.said(2), "", "what came later waits");
}

#[test]
fn the_pause_comes_when_the_transaction_of_a_client_that_left_has_made_its_last_write() {
    let mut bench = in_the_middle_of_an_exec();
    bench.shard.handle(bench.now, Input::Closed { link: link(1) }, &mut bench.out);
    assert_eq!(bench.sent(), "", "half of it was done");
    bench.order(Order::Answer { link: link(1), reply: "+OK\r\n".into() });
    assert_eq!(bench.sent(), "SET {x}b 2\nCLUSTER SYNCSLOTS PAUSED\n");
    assert!(!bench.shard.links.contains_key(&link(1)));
}

#[test]
fn an_export_may_be_killed_while_it_connects() {
    let mut bench = Bench::in_cluster(None);
    let job = bench.start_export();
    assert_eq!(bench.feed(1, "CLIENT KILL ID 3\r\n"), ":1\r\n");
    assert!(
        bench
            .out
            .mail
            .iter()
            .any(|m| matches!(&m.mail, Mail::Fact(Fact::Ended { job: j, .. }) if *j == job.name))
    );
    assert!(!bench.shard.links.contains_key(&LinkId::dialed(1)));
}

#[test]
fn nothing_is_left_of_an_export_that_ended() {
    let mut bench = Bench::in_cluster(None);
    let job = bench.start_export();
    bench.stream();
    bench.order(Order::StopExport { job: job.name, failure: None });
    assert!(bench.out.list.contains(&Action::Close { link: LinkId::dialed(1), ending: Ending::Abrupt }));
    let (job, timing) = (Bench::job(3), Timing::default());
    bench.order(Order::StartExport { job, to: None, credentials: None, timing });
    assert_eq!(bench.shard.links.len(), 2, "only the clients");
    assert!(bench.shard.data.exports.iter().next().is_none());
}

#[test]
fn an_import_that_failed_over_its_stream_may_be_killed() {
    let mut bench = Bench::in_cluster(Some(moved()));
    let job = bench.start_import();
    bench.feed(2, &format!("{ACK}*1\r\n$4\r\nPING\r\n"));
    assert!(bench.out.mail.iter().any(|m| matches!(&m.mail, Mail::Fact(Fact::CleanUp { .. }))));
    bench.feed(1, "CLIENT KILL SKIPME yes\r\n");
    bench.order(Order::CleanUp { job: job.name, confirmed: None });
    assert!(bench.shard.importing().next().is_none());
    assert!(!bench.shard.data.store.is_hidden(moved()));
}

#[test]
fn keys_that_go_with_their_slot_are_changed_for_who_watches_them() {
    let mut bench = Bench::in_cluster(None);
    bench.feed(1, "SET {x}k 1\r\nWATCH {x}k\r\n");
    let lost = alone(&mut bench.now, Some(moved()));
    let confirmed = takeover::confirm_failed_import(&lost, &Bench::job(1).ranges).expect("not ours");
    bench.order(Order::Drop(confirmed));
    // The slot comes back without the key.
    assert_eq!(bench.feed(1, "MULTI\r\nSET {x}k 2\r\nEXEC\r\n").lines().last(), Some("*-1"));
}

/// A shard beside another node; `mark` says in which direction the moved slot is being moved by hand, if it is.
fn by_hand(mine: bool, mark: &str) -> Bench {
    let (me, other) = ("a".repeat(40), "b".repeat(40));
    let (ours, theirs) = if mine { ("0-16383", "") } else { ("0-16286", "16287-16383") };
    let line = |id: &str, port, flags, epoch, slots: &str| {
        format!(
            "{id} 127.0.0.1:{port}@1{port},,tls-port=0,shard-id={id} {flags} - 0 0 {epoch} connected {slots}\n"
        )
    };
    let open = if mark.is_empty() { String::new() } else { format!(" [16287{mark}{other}]") };
    let conf = line(&me, 7000, "myself,master", 1, &format!("{ours}{open}"))
        + &line(&other, 7001, "master", 2, theirs);
    let mut bench = Bench::in_cluster(None);
    let settings = ClusterConfig { require_full_coverage: false, ..ClusterConfig::default() };
    let mut cluster = Cluster::new(settings, 1, bench.now, Some(conf.as_bytes())).expect("a nodes.conf");
    for _ in 0..30 {
        bench.now.mono = bench.now.mono + Span::ms(100);
        cluster.handle(bench.now, cluster::Input::Ticked, &mut Vec::new());
    }
    bench.order(Order::Publish(cluster.view()));
    bench
}

#[test]
fn asking_is_for_a_whole_transaction_and_for_nothing_after_it() {
    assert_eq!(moved().number(), 16287);
    let mut bench = by_hand(false, "-<-");
    let moved = "-MOVED 16287 127.0.0.1:7001";
    assert_eq!(bench.feed(1, "SET {x}a 1\r\n").trim_end(), moved);
    let said = bench.feed(1, "ASKING\r\nMULTI\r\nSET {x}a 1\r\nSET {x}b 2\r\nEXEC\r\nGET {x}a\r\n");
    assert_eq!(said, format!("+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n{moved}\r\n"));
    let said = bench.feed(1, "ASKING\r\nMGET {x}a {x}c\r\nGET {x}a\r\n");
    assert!(said.starts_with("+OK\r\n-TRYAGAIN"), "{said}");
    assert_eq!(said.lines().last(), Some(moved), "a refused command is the next one too");
}

#[test]
fn a_transaction_runs_whole_in_a_slot_that_is_moved_away_by_hand() {
    let mut bench = by_hand(true, "->-");
    bench.order(Order::Publish(by_hand(true, "").shard.env.view.clone()));
    bench.feed(1, "SET {x}a 1\r\n");
    bench.order(Order::Publish(by_hand(true, "->-").shard.env.view.clone()));
    let said = bench.feed(1, "MULTI\r\nDEL {x}a\r\nSET {x}a 2\r\nEXEC\r\n");
    assert_eq!(said.lines().skip(3).collect::<Vec<_>>(), ["*2", ":1", "+OK"]);
    assert!(bench.feed(1, "GET {x}b\r\n").starts_with("-ASK 16287"));
}

#[test]
fn a_client_that_is_being_closed_may_not_owe_for_ever() {
    let mut bench = Bench::in_cluster(None);
    let ping = format!("PING {}\r\n", "x".repeat(20_000));
    let input = format!("{ping}QUIT\r\n");
    bench.shard.handle(bench.now, Input::Filled { link: link(1), bytes: input.as_bytes() }, &mut bench.out);
    assert!(bench.out.list.contains(&Action::Close { link: link(1), ending: Ending::Flushed }));
    let mut config = (*bench.shard.env.config).clone();
    config.set(&[(b"client-output-buffer-limit", b"normal 1000 0 0")], true).expect("settings");
    bench.order(Order::Configure(Arc::new(config), Timing::default()));
    bench.pass(Span::ms(200));
    assert!(bench.out.list.contains(&Action::Close { link: link(1), ending: Ending::Abrupt }));
}

#[test]
fn a_client_that_becomes_an_import_leaves_nothing_behind() {
    let mut bench = Bench::in_cluster(Some(moved()));
    bench.feed(2, "WATCH {y}k\r\n");
    bench.feed(2, "MULTI\r\nCLUSTER SYNCSLOTS ESTABLISH x\r\nEXEC\r\n");
    bench.feed(2, &"*1\r\n$4\r\nPING\r\n".repeat(100_000));
    assert!(bench.out.list.contains(&Action::PauseReading { link: link(2) }));
    let job = Bench::job(2);
    bench.order(Order::StartImport { link: link(2), job, timing: Timing::default(), left: None });
    assert!(bench.out.list.contains(&Action::ResumeReading { link: link(2) }));
    assert_eq!(bench.feed(1, "GET {y}k\r\n"), "$-1\r\n", "others go on");
    assert_eq!(bench.shard.data.effects.watched_keys(), 0);
}

/// The whole stream of a migration to us, up to the grant.
const GRANTED: &str = "ACK | SET {x}k 1 | SNAPSHOT-EOF | PAUSED | FAILOVER-GRANTED";

impl Bench {
    /// The source says these, one after another; its own words without CLUSTER SYNCSLOTS in front.
    fn source(&mut self, lines: &str) {
        for line in lines.split(" | ") {
            let words = line.starts_with("SET ").then(|| String::from(line));
            let words = words.unwrap_or_else(|| format!("CLUSTER SYNCSLOTS {line}"));
            let mut bytes = format!("*{}\r\n", words.split(' ').count());
            words.split(' ').for_each(|word| bytes += &format!("${}\r\n{word}\r\n", word.len()));
            let input = Input::Filled { link: link(2), bytes: bytes.as_bytes() };
            self.shard.handle(self.now, input, &mut self.out);
        }
    }

    /// Whether the shard has told the node such a fact; what it told is forgotten.
    fn told(&mut self, fact: impl Fn(&Fact) -> bool) -> bool {
        self.out.mail.drain(..).any(|letter| matches!(letter.mail, Mail::Fact(told) if fact(&told)))
    }
}

fn takes_over(fact: &Fact) -> bool {
    matches!(fact, Fact::TakeOver { .. })
}

#[test]
fn a_flush_does_not_reach_slots_that_are_being_taken_over() {
    for flush in ["FLUSHALL", "FLUSHDB", "CLUSTER FLUSHSLOT SLOT"] {
        let flush = flush.replace("SLOT SLOT", &format!("SLOT {}", moved()));
        let mut bench = Bench::in_cluster(Some(moved()));
        bench.feed(1, "SET {y}k 1\r\n");
        let job = bench.start_import();
        bench.source(GRANTED);
        assert!(bench.told(takes_over));
        assert_eq!(bench.feed(1, &format!("{flush}\r\n")), "+OK\r\n");
        assert!(!bench.told(|fact| matches!(fact, Fact::Withdraw { .. })), "{flush}");
        bench.order(Order::TakenOver { job: job.name });
        let left = if flush.contains("SLOT") { 2 } else { 1 };
        assert_eq!(bench.feed(1, "DBSIZE\r\n"), format!(":{left}\r\n"), "{flush}");
        assert!(bench.told(|fact| matches!(fact, Fact::Ended { outcome: Outcome::Success, .. })));
    }
    // Before the grant the import is worth nothing without what it brought, and ends.
    let mut bench = Bench::in_cluster(Some(moved()));
    bench.start_import();
    bench.source(GRANTED.trim_end_matches(" | FAILOVER-GRANTED"));
    bench.feed(1, "FLUSHALL\r\n");
    assert!(bench.told(|fact| matches!(fact, Fact::CleanUp { .. })));
}

#[test]
fn a_prevented_pause_comes_when_it_is_allowed() {
    let mut bench = Bench::in_cluster(None);
    let prevent = |bench: &mut Bench, on: u8| {
        assert_eq!(bench.feed(1, &format!("DEBUG SLOTMIGRATION PREVENT-PAUSE {on}\r\n")), "+OK\r\n");
    };
    prevent(&mut bench, 1);
    bench.start_export();
    bench.stream();
    bench.target(REQUEST_PAUSE);
    bench.pass(Span::ms(10));
    assert!(!bench.sent().contains("PAUSED"));
    assert_eq!(bench.feed(1, "SET {x}k 1\r\n"), "+OK\r\n", "nothing is held");
    bench.sent();
    prevent(&mut bench, 0);
    assert!(bench.sent().contains("PAUSED"));
    assert_eq!(bench.feed(1, "SET {x}k 2\r\n"), "", "now it is");
}

#[test]
fn a_prevented_pause_prevents_it_for_jobs_that_run_already() {
    let mut bench = Bench::in_cluster(None);
    bench.start_export();
    bench.stream();
    bench.feed(1, "DEBUG SLOTMIGRATION PREVENT-PAUSE 1\r\n");
    bench.target(REQUEST_PAUSE);
    assert!(!bench.sent().contains("PAUSED"));
}

#[test]
fn a_prevented_take_over_comes_when_it_is_allowed_and_never_when_the_job_is_over() {
    let prevented = || {
        let mut bench = Bench::in_cluster(Some(moved()));
        assert_eq!(bench.feed(1, "DEBUG SLOTMIGRATION PREVENT-FAILOVER 1\r\n"), "+OK\r\n");
        let job = bench.start_import();
        bench.source(GRANTED);
        assert!(!bench.told(takes_over));
        (bench, job)
    };
    let (mut bench, job) = prevented();
    assert_eq!(bench.feed(1, "DEBUG SLOTMIGRATION PREVENT-FAILOVER 0\r\n"), "+OK\r\n");
    assert!(bench.told(|fact| matches!(fact, Fact::TakeOver { job: of } if *of == job.name)));

    let (mut bench, _) = prevented();
    bench.shard.handle(bench.now, Input::Closed { link: link(2) }, &mut bench.out);
    assert!(bench.told(|fact| matches!(fact, Fact::Withdraw { .. })), "the source is gone");
    bench.feed(1, "DEBUG SLOTMIGRATION PREVENT-FAILOVER 0\r\n");
    assert!(!bench.told(takes_over));
}

#[test]
fn writes_are_gathered_for_the_target_until_the_end_is_near() {
    let flushes = |bench: &mut Bench| {
        let flush = Action::Flush { link: LinkId::dialed(1) };
        let found = bench.out.list.contains(&flush);
        bench.out.list.clear();
        found
    };
    let mut bench = Bench::in_cluster(None);
    bench.start_export();
    bench.stream();
    flushes(&mut bench);
    bench.feed(1, "SET {x}k 1\r\n");
    assert!(!flushes(&mut bench));
    assert_eq!(bench.shard.poll_timeout(), Some(bench.now.mono + Span::ms(2)));
    bench.pass(Span(1999));
    assert!(!flushes(&mut bench));
    bench.pass(Span(1));
    assert!(flushes(&mut bench), "it waited long enough");
    assert!(bench.sent().contains("SET {x}k 1"));
    bench.feed(1, "SET {x}k 1\r\n");
    bench.sent();
    bench.pass(Span::ms(2));
    assert!(bench.shard.poll_timeout() > Some(bench.now.mono), "nothing is left to wait for");
    bench.feed(1, &format!("SET {{x}}k {}\r\n", "v".repeat(65_000)));
    bench.feed(1, &format!("SET {{x}}k {}\r\n", "v".repeat(65_000)));
    assert!(!flushes(&mut bench));
    bench.feed(1, &format!("SET {{x}}k {}\r\n", "v".repeat(1000)));
    assert!(flushes(&mut bench), "it is enough for a packet");
    bench.feed(1, "SET {x}k 2\r\n");
    flushes(&mut bench);
    bench.target(REQUEST_PAUSE);
    assert!(flushes(&mut bench), "now the target waits for all of it");
    bench.sent();
    bench.feed(1, "DEBUG SLOTMIGRATION PREVENT-PAUSE 1\r\n");
    assert_eq!(bench.shard.poll_timeout().map(|at| at > bench.now.mono), Some(true));
}
