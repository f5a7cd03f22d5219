//! A node in memory with one client: all slots are its own, and there is no socket, thread or clock.

use std::collections::VecDeque;
use std::sync::Arc;

use whimbrel_core::action::{Action, Actions, To};
use whimbrel_core::config::Config;
use whimbrel_core::ids::{JobName, LinkId, NodeId};
use whimbrel_core::input::{Input, Origin, Progress};
use whimbrel_core::mail::{Mail, Order};
use whimbrel_core::migration::job::{Job, Timing};
use whimbrel_core::node::Node;
use whimbrel_core::shard::Shard;
use whimbrel_core::slots::{SlotRange, SlotRanges};
use whimbrel_core::time::{Mono, Now, Wall};
use whimbrel_core::wire::resp::encode_command;

/// The client.
const LINK: LinkId = LinkId::accepted(1);

/// The two machines of a process, and the smallest driver there can be.
pub(crate) struct Plane {
    node: Node,
    shard: Shard,
    now: Now,
    actions: Actions,
    /// The link of the migration that follows all slots, if one does.
    stream: Option<LinkId>,
}

impl Plane {
    /// A cluster of one node that serves all slots.
    pub(crate) fn new() -> Self {
        let now = Now { mono: Mono(0), wall: Wall(1_800_000_000_000_000) };
        let load = Config::load("cluster-enabled yes\n", &mut |_| Err("no files".into()));
        let config = Arc::new(load.expect("a configuration"));
        let node = Node::new(config.clone(), None, None, 1, now).expect("a new node");
        let shard = Shard::new(config, node.view(), 2, now);
        let mut plane = Self { node, shard, now, actions: Actions::default(), stream: None };
        plane.settle(false, Input::Opened { link: LINK, origin: Origin::Unix });
        plane.settle(false, Input::Filled { link: LINK, bytes: b"CLUSTER ADDSLOTSRANGE 0 16383\r\n" });
        for _ in 0..100 {
            (plane.now.mono.0, plane.now.wall.0) = (plane.now.mono.0 + 100_000, plane.now.wall.0 + 100_000);
            plane.settle(true, Input::Ticked);
            plane.settle(false, Input::Ticked);
        }
        plane.taken();
        plane
    }

    /// From now on a migration of all slots follows every write: its snapshot is over, and its target never asks for the
    /// pause.
    pub(crate) fn follow(&mut self) {
        let [name, source, target] = [b"a", b"b", b"c"].map(|byte| byte.repeat(40));
        let job = Job {
            name: JobName::parse(&name).expect("a name"),
            source: NodeId::parse(&source).expect("a name"),
            target: NodeId::parse(&target).expect("a name"),
            ranges: SlotRange::new(0, 16_383).into_iter().collect::<SlotRanges>(),
        };
        let to = "127.0.0.1:1".parse().ok();
        let (job, timing) = (Arc::new(job), Timing::default());
        let order = Order::StartExport { job, to, credentials: None, timing };
        self.shard.handle(self.now, Input::Mailed(Mail::Order(order)), &mut self.actions);
        let connect = self.actions.list.drain(..).find_map(|action| match action {
            Action::Connect { link, .. } => Some(link),
            _ => None,
        });
        let link = connect.expect("a link to the target");
        self.stream = Some(link);
        let local = "127.0.0.1:2".parse().expect("an address");
        self.shard.handle(self.now, Input::Connected { link, local }, &mut self.actions);
        self.send_stream();
        self.shard.handle(self.now, Input::Filled { link, bytes: b"+OK\r\n" }, &mut self.actions);
        self.send_stream();
        loop {
            let progress = self.shard.handle(self.now, Input::Ticked, &mut self.actions);
            (self.now.mono.0, self.now.wall.0) = (self.now.mono.0 + 100, self.now.wall.0 + 100);
            if !self.send_stream() && progress == Progress::Idle {
                break;
            }
        }
    }

    /// Takes what the stream has to send, if it is to be sent now, and says that it is sent. Whether it was.
    fn send_stream(&mut self) -> bool {
        let flushed =
            |action: &Action| matches!(action, Action::Flush { link } if Some(*link) == self.stream);
        let due = self.actions.list.iter().any(flushed);
        self.actions.clear();
        if let Some(link) = self.stream.filter(|_| due) {
            let outbox = self.shard.outbox(link).expect("the stream's outbox");
            outbox.advance(outbox.len());
            self.shard.handle(self.now, Input::Drained { link }, &mut self.actions);
            self.actions.clear();
        }
        due
    }

    /// Gives one machine an input; then mail goes back and forth, and files are written, until nobody wants anything.
    fn settle(&mut self, to_node: bool, input: Input<'_>) {
        let mut mail: VecDeque<(bool, Mail)> = VecDeque::new();
        let mut step = |plane: &mut Self, to_node: bool, input: Input<'_>| {
            let Self { node, shard, now, actions, .. } = plane;
            match to_node {
                true => node.handle(*now, input, actions),
                false => shard.handle(*now, input, actions),
            };
            mail.extend(actions.mail.drain(..).map(|letter| (letter.to == To::Node, letter.mail)));
            let persists = actions.list.drain(..).filter_map(|action| match action {
                Action::Persist { ticket, .. } => Some(ticket),
                _ => None,
            });
            let done: Vec<_> = persists.map(|ticket| (to_node, ticket)).collect();
            (done, mail.pop_front())
        };
        let (mut done, mut next) = step(self, to_node, input);
        loop {
            if let Some((who, ticket)) = done.pop() {
                let (more, mail) = step(self, who, Input::Done { ticket, result: Ok(()) });
                done.extend(more);
                next = next.or(mail);
            } else if let Some((who, mail)) = next.take() {
                (done, next) = step(self, who, Input::Mailed(mail));
            } else {
                return;
            }
        }
    }

    /// What a driver does when `bytes` came: hands them over, takes what there is to send, and says that it is sent. The
    /// number of bytes of the replies. Not inlined, so that a profiler can be told to look at nothing else.
    #[inline(never)]
    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> usize {
        // Where the core has memory to read into, the copy is what the kernel would do.
        let input = match self.shard.inbox(LINK).and_then(|inbox| inbox.get_mut(..bytes.len())) {
            Some(inbox) => {
                inbox.copy_from_slice(bytes);
                Input::InboxFilled { link: LINK, len: bytes.len() }
            }
            None => Input::Filled { link: LINK, bytes },
        };
        self.shard.handle(self.now, input, &mut self.actions);
        self.send_stream();
        let sent = self.taken();
        self.shard.handle(self.now, Input::Drained { link: LINK }, &mut self.actions);
        self.actions.clear();
        sent
    }

    /// The same; the replies themselves.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.shard.handle(self.now, Input::Filled { link: LINK, bytes }, &mut self.actions);
        self.actions.clear();
        let outbox = self.shard.outbox(LINK).expect("the client's outbox");
        let replies = outbox.chunks().flatten().copied().collect();
        self.taken();
        replies
    }

    /// Takes everything that is to be sent.
    fn taken(&mut self) -> usize {
        let outbox = self.shard.outbox(LINK).expect("the client's outbox");
        let sent = outbox.chunks().map(<[u8]>::len).sum();
        outbox.advance(sent);
        sent
    }
}

/// One command as clients write it.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(&mut bytes, words);
    bytes
}
