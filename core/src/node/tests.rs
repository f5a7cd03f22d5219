//! The node between the cluster machine, the disk and a shard: what is told when.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use super::*;
use crate::cluster::takeover;
use crate::ids::{JobName, NodeId};
use crate::mail::{Asked, Fact, Order};
use crate::migration::import;
use crate::migration::job::Outcome;
use crate::migration::log::Stage;
use crate::slots::{Slot, SlotSet};
use crate::time::Wall;
use crate::wire::bus;
use crate::wire::resp::ArgvBuf;

/// The other node, which owns slots 100 to 199.
const OTHER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
/// A third node, without slots.
const THIRD: &str = "cccccccccccccccccccccccccccccccccccccccc";
const ME: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

struct Bench {
    node: Node,
    now: Now,
    out: Actions,
}

impl Bench {
    fn new() -> Self {
        let now = Now { mono: Mono(1_000_000), wall: Wall(1_700_000_000_000_000) };
        let mut config = Config::default();
        config.cluster_enabled = true;
        let conf = format!(
            "{ME} 127.0.0.1:7000@17000,,tls-port=0,shard-id={ME} myself,master - 0 0 1 connected 0-99\n\
             {OTHER} 127.0.0.1:7001@17001,,tls-port=0,shard-id={OTHER} master - 0 0 2 connected 100-199\n\
             {THIRD} 127.0.0.1:7002@17002,,tls-port=0,shard-id={THIRD} master - 0 0 0 connected\n\
             vars currentEpoch 2 lastVoteEpoch 0\n"
        );
        let node = Node::new(Arc::new(config), None, Some(conf.as_bytes()), 7, now).expect("a nodes.conf");
        let mut bench = Self { node, now, out: Actions::default() };
        bench.node.handle(now, Input::Ticked, &mut bench.out);
        bench.write();
        bench.out.clear();
        bench
    }

    /// The disk does what it was asked for.
    fn write(&mut self) {
        let asked: Vec<Ticket> = self
            .out
            .list
            .iter()
            .filter_map(
                |action| if let Action::Persist { ticket, .. } = action { Some(*ticket) } else { None },
            )
            .collect();
        self.out.list.clear();
        for ticket in asked {
            self.node.handle(self.now, Input::Done { ticket, result: Ok(()) }, &mut self.out);
        }
    }

    /// As a disk thread does that answers once for all it was asked for.
    fn write_at_once(&mut self) {
        let persist =
            |action: &Action| if let Action::Persist { ticket, .. } = action { Some(*ticket) } else { None };
        let last = self.out.list.iter().filter_map(persist).max();
        self.out.list.clear();
        let ticket = last.expect("something to save");
        self.node.handle(self.now, Input::Done { ticket, result: Ok(()) }, &mut self.out);
    }

    /// A node says that exactly these slots are its own.
    fn claim(&mut self, node: &str, slots: &[u16], epoch: u64) {
        let link = LinkId::accepted(77);
        let slots: SlotSet = slots.iter().copied().filter_map(Slot::new).collect();
        let header = bus::Header {
            port: 7001,
            current_epoch: epoch,
            config_epoch: epoch,
            offset: 0,
            sender: NodeId::parse(node.as_bytes()).expect("a name"),
            slots: bus::Bitmap(slots.as_bitmap()),
            replica_of: None,
            my_ip: bus::IpText::new(b"").expect("no address"),
            other_port: 0,
            bus_port: 17001,
            flags: bus::NodeFlags::PRIMARY | bus::NodeFlags::MYSELF,
            state: bus::State::Ok,
            message_flags: bus::MessageFlags::default(),
        };
        let talk = bus::Talk { gossip: Vec::new(), spoiled: false, extensions: Vec::new() };
        let bytes = bus::Message::Full { header, body: bus::Body::Ping(talk) }.encode();
        let (peer, local) = (([127, 0, 0, 1], 40_000).into(), ([127, 0, 0, 1], 17_000).into());
        self.node.handle(
            self.now,
            Input::Opened { link, origin: Origin::Tcp { peer, local } },
            &mut self.out,
        );
        self.node.handle(self.now, Input::Filled { link, bytes: &bytes }, &mut self.out);
        self.node.handle(self.now, Input::Closed { link }, &mut self.out);
    }

    fn tell(&mut self, fact: Fact) {
        self.node.handle(self.now, Input::Mailed(fact.into()), &mut self.out);
    }

    fn ask(&mut self, link: u64, words: &str) {
        let argv: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let argv = ArgvBuf::of(&argv);
        let link = LinkId::accepted(link);
        let asked = Asked { link, proto: Proto::Resp2, local: true, argv, keys: 0, keys_in_slot: 0 };
        self.tell(Fact::Asked(Box::new(asked)));
    }

    fn establish(&mut self, link: u64, job: JobName, slot: u16) {
        self.ask(
            link,
            &format!("CLUSTER SYNCSLOTS ESTABLISH SOURCE {OTHER} NAME {job} SLOTSRANGE {slot} {slot}"),
        );
    }

    /// The orders to the shard since the last call, one line each.
    fn orders(&mut self) -> Vec<String> {
        let mail = core::mem::take(&mut self.out.mail);
        mail.into_iter()
            .filter_map(|letter| match letter.mail {
                Mail::Order(Order::Publish(view)) => {
                    let mine = Slot::all().filter(|s| view.is_mine(*s)).count();
                    Some(format!("publish {mine}"))
                }
                Mail::Order(Order::Answer { reply, .. }) => {
                    Some(String::from_utf8_lossy(&reply).trim_end().into())
                }
                Mail::Order(Order::StartImport { job, left, .. }) => Some(match left {
                    Some(left) => format!("drop {} and start {}", left.slots(), job.ranges),
                    None => format!("start {}", job.ranges),
                }),
                Mail::Order(Order::StartExport { job, .. }) => Some(format!("export {}", job.ranges)),
                Mail::Order(Order::StopExport { job, .. }) => Some(format!("stop {job}")),
                Mail::Order(Order::Settled { settlement, .. }) => Some(format!("settled {settlement:?}")),
                Mail::Order(Order::TakenOver { .. }) => Some("taken over".into()),
                Mail::Order(Order::Drop(confirmed)) => Some(format!("drop {}", confirmed.slots())),
                Mail::Order(Order::Configure(config, _)) => {
                    Some(format!("hz {}, {} users", config.hz, config.users.lines().count()))
                }
                _ => None,
            })
            .collect()
    }
}

fn name(n: u64) -> JobName {
    JobName::random(&mut Rng::new(n))
}

#[test]
fn slots_are_empty_before_they_are_imported() {
    let mut bench = Bench::new();
    bench.establish(1, name(1), 100);
    assert_eq!(bench.orders(), ["drop 100-100 and start 100-100"]);
}

#[test]
fn the_name_of_an_unfinished_job_is_not_taken_twice() {
    let mut bench = Bench::new();
    bench.establish(1, name(1), 100);
    bench.orders();
    bench.establish(2, name(1), 101);
    let refused = "-ERR Slot is already being imported on the target by a different migration";
    assert_eq!(bench.orders(), [refused]);
    bench.establish(2, name(2), 101);
    assert_eq!(bench.orders(), ["drop 101-101 and start 101-101"]);
}

#[test]
fn slots_taken_over_are_served_when_that_is_durable() {
    let mut bench = Bench::new();
    bench.establish(1, name(1), 100);
    bench.orders();
    bench.tell(Fact::Entered { job: name(1), stage: Stage::Import(import::State::FailoverGranted) });
    bench.tell(Fact::TakeOver { job: name(1) });
    assert_eq!(bench.orders(), ["publish 100"], "before the disk has it");
    // The source's time is over, and the import wants to withdraw: too late.
    bench.tell(Fact::Withdraw { job: name(1) });
    bench.ask(3, "CLUSTER BUMPEPOCH");
    assert_eq!(bench.orders(), [""; 0]);
    bench.write();
    assert_eq!(bench.orders(), ["publish 101", "taken over", "+STILL 3"]);
}

#[test]
fn a_permission_to_delete_never_covers_what_is_ours() {
    let bench = Bench::new();
    let cluster = bench.node.cluster.as_ref().expect("a cluster");
    let ranges = [crate::slots::SlotRange::new(98, 101).expect("a range")].into_iter().collect();
    let confirmed = takeover::confirm_failed_import(cluster, &ranges).expect("two of them");
    assert_eq!(format!("{}", confirmed.slots()), "100-101");
    assert_eq!(
        cluster.view().owner(Slot::new(100).expect("a slot")).map(|row| row.id),
        NodeId::parse(OTHER.as_bytes())
    );
}

#[test]
fn a_loss_is_obeyed_at_once_while_a_gain_is_being_saved() {
    let mut bench = Bench::new();
    bench.establish(1, name(1), 100);
    bench.tell(Fact::TakeOver { job: name(1) });
    bench.orders();
    bench.claim(THIRD, &[5, 6], 9);
    assert_eq!(bench.orders(), ["publish 98"], "without 100, which could still be forgotten");
    bench.now.mono = bench.now.mono + crate::time::Span::ms(150);
    bench.claim(THIRD, &[5, 6, 7], 9);
    assert_eq!(bench.orders(), ["publish 98", "publish 97"], "what is old is published again, too");
    bench.write();
    assert_eq!(bench.orders(), ["publish 98", "taken over", "drop 5-6", "drop 7-7"]);
}

#[test]
fn a_slow_disk_makes_no_heap_of_views() {
    let mut bench = Bench::new();
    bench.establish(1, name(1), 100);
    bench.tell(Fact::TakeOver { job: name(1) });
    bench.orders();
    for _ in 0..50 {
        bench.now.mono = bench.now.mono + crate::time::Span::ms(120);
        bench.node.handle(bench.now, Input::Ticked, &mut bench.out);
    }
    assert!(bench.orders().iter().all(|order| order == "publish 100"));
    bench.write();
    assert_eq!(bench.orders(), ["publish 101", "taken over"]);
}

/// Keys of a slot are deleted for an import, and the slot becomes ours by another way right after: whoever sees it as
/// ours before the deletion may write to it, and loses that.
#[test]
fn orders_keep_their_order_when_a_driver_reports_several_saves_at_once() {
    let mut bench = Bench::new();
    bench.ask(9, "CLUSTER BUMPEPOCH");
    bench.establish(1, name(1), 100);
    bench.node.hear(
        bench.now,
        Fact::Ended { job: name(1), outcome: Outcome::Cancelled, pause: None },
        &mut bench.out,
    );
    bench.ask(9, &format!("CLUSTER SETSLOT 100 NODE {ME}"));
    bench.orders();
    bench.write_at_once();
    assert_eq!(bench.orders(), ["+BUMPED 3", "drop 100-100 and start 100-100", "publish 101", "+OK"]);
}

#[test]
fn what_the_bus_says_of_a_job_comes_after_its_start() {
    let mut bench = Bench::new();
    bench.ask(9, "CLUSTER BUMPEPOCH");
    bench.ask(9, &format!("CLUSTER MIGRATESLOTS SLOTSRANGE 5 5 NODE {OTHER}"));
    bench.orders();
    bench.claim(OTHER, &[5], 9);
    assert_eq!(bench.orders(), ["publish 99"], "the job is not known to the shard yet");
    bench.write();
    assert_eq!(bench.orders(), ["+BUMPED 3", "export 5-5", "+OK", "settled OwnedByTarget", "drop 5-5"]);
}

#[test]
fn what_is_granted_cannot_be_cancelled() {
    let mut bench = Bench::new();
    bench.ask(9, &format!("CLUSTER MIGRATESLOTS SLOTSRANGE 5 5 NODE {OTHER} SLOTSRANGE 7 7 NODE {OTHER}"));
    let [first, second] = bench.node.jobs.stoppable()[..] else { panic!("two jobs") };
    bench.write();
    bench.orders();
    bench.tell(Fact::Granted { job: first });
    bench.ask(9, "CLUSTER CANCELSLOTMIGRATIONS");
    assert_eq!(bench.orders(), [&format!("stop {second}"), "+OK"]);
    bench.tell(Fact::Ended { job: second, outcome: Outcome::Cancelled, pause: None });
    bench.ask(9, "CLUSTER CANCELSLOTMIGRATIONS");
    assert_eq!(bench.orders(), ["-ERR Too late to cancel: the slots were granted to the target"]);
    bench.tell(Fact::Ended { job: first, outcome: Outcome::Success, pause: None });
    bench.ask(9, "CLUSTER CANCELSLOTMIGRATIONS");
    assert_eq!(bench.orders(), ["-ERR No migrations ongoing"]);
}

/// A client's transaction that sets one holds every write of the process until it is answered (seed 20194).
#[test]
fn settings_do_not_wait_until_something_else_is_saved() {
    let mut bench = Bench::new();
    bench.ask(9, "CLUSTER BUMPEPOCH");
    assert_eq!(bench.orders(), ["publish 100"], "and the answer waits for the disk");
    bench.ask(10, "CONFIG SET hz 12");
    assert_eq!(bench.orders(), ["hz 12, 1 users", "+OK", "publish 100"]);
    bench.ask(10, "CONFIG SET hz 12 hz 13");
    let orders = bench.orders();
    assert!(orders[0].starts_with("-ERR CONFIG SET failed"), "{orders:?}");
    bench.ask(11, "ACL SETUSER somebody on");
    assert_eq!(bench.orders(), ["hz 12, 2 users", "+OK"]);
    bench.write();
    assert_eq!(bench.orders(), ["+BUMPED 3", "publish 100"]);
}
