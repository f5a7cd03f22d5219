//! A whole server in memory, and two clients that say anything.

use std::collections::VecDeque;
use std::sync::Arc;

use whimbrel_core::action::{Action, Actions, Ending, To};
use whimbrel_core::config::Config;
use whimbrel_core::ids::LinkId;
use whimbrel_core::input::{Input, Origin, Progress};
use whimbrel_core::node::Node;
use whimbrel_core::shard::Shard;
use whimbrel_core::time::{Mono, Now, Wall};
use whimbrel_core::wire::resp::Value;

use super::Cuts;

/// Settings that keep an input of a few hundred bytes from asking for gigabytes, as an operator would.
const SETTINGS: &str = "save \"\"\nprotected-mode no\nproto-max-bulk-len 1mb\nclient-query-buffer-limit 1mb\n\
    client-output-buffer-limit normal 4mb 0 0\n";
/// What may wait for a client: the limit, and the reply that overran it.
const MOST_UNSENT: usize = 4 << 20;
const LARGEST_REPLY: usize = 3 << 20;
/// Words of commands that show counts and times of the process, which pieces do change.
const TELLTALES: [&str; 8] =
    ["info", "client", "memory", "slowlog", "latency", "commandlog", "slot-stats", "monitor"];
/// Words that would lift the limits above.
const LIMITS: [&str; 2] = ["bulk", "limit"];

/// The first byte chooses cluster mode, the rest is said by the first client. In it, `0xFF` and a letter: `t` time
/// passes, `s` the other client speaks, `c` it hangs up and comes again, `d` it reads its replies.
pub(crate) fn holds(input: &[u8]) {
    let Some((&choice, script)) = input.split_first() else { return };
    let folded = String::from_utf8_lossy(script).to_ascii_lowercase();
    if LIMITS.iter().any(|word| folded.contains(word)) || folded.contains("\\x") {
        return;
    }
    let cluster = choice & 1 != 0;
    let whole = run(cluster, script, &mut Cuts::Whole);
    if !TELLTALES.iter().any(|word| folded.contains(word)) {
        let cut = run(cluster, script, &mut Cuts::seeded(script));
        assert_eq!(whole, cut, "the pieces make a difference");
    }
}

/// Both clients' replies.
fn run(cluster: bool, script: &[u8], cuts: &mut Cuts) -> [Vec<String>; 2] {
    let mut world = World::new(cluster);
    let empty = world.shape();
    let mut links = [world.open(), world.open()];
    let (mut at, mut rest) = (0, script);
    while !rest.is_empty() && !world.exited {
        let end = rest.iter().position(|b| *b == 0xff).unwrap_or(rest.len());
        for piece in cuts.pieces(&rest[..end]) {
            world.say(links[at], piece);
        }
        match rest.get(end + 1) {
            Some(b't') => world.pass(700_000),
            Some(b's') => at = 1 - at,
            Some(b'c') => {
                world.hang_up(links[at]);
                links[at] = world.open();
            }
            Some(b'd') => world.read(links[at]),
            Some(_) => world.say(links[at], &rest[end + 1..end + 2]),
            None => {}
        }
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    if world.exited {
        return Default::default();
    }
    let replies = links.map(|link| {
        world.read(link);
        world.replies(link)
    });
    links.into_iter().for_each(|link| world.hang_up(link));
    world.pass(100_000);
    let left = world.shape();
    // CLIENT PAUSE may outlast who said it: then nobody is told anything.
    let is_paused = left.is_empty() && script.to_ascii_lowercase().windows(5).any(|word| word == b"pause");
    assert!(is_paused || left == empty, "something of a client that hung up is left: {left}");
    replies
}

struct World {
    now: Now,
    node: Node,
    shard: Shard,
    opened: u64,
    exited: bool,
    heard: Vec<(LinkId, Vec<u8>)>,
    closed: Vec<LinkId>,
}

#[derive(Clone, Copy, PartialEq)]
enum Which {
    Node,
    Shard,
}

impl Which {
    fn of(to: To) -> Self {
        if to == To::Node { Self::Node } else { Self::Shard }
    }
}

impl World {
    fn new(cluster: bool) -> Self {
        let now = Now { mono: Mono(0), wall: Wall(1_800_000_000_000_000) };
        let text = format!("{SETTINGS}cluster-enabled {}\n", if cluster { "yes" } else { "no" });
        let config = Arc::new(Config::load(&text, &mut |_| Err("no files".into())).expect("a configuration"));
        let saved = cluster.then(|| {
            let id = "a".repeat(40);
            format!("{id} 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-16383\nvars currentEpoch 1 lastVoteEpoch 0\n")
        });
        let node =
            Node::new(config.clone(), None, saved.as_deref().map(str::as_bytes), 1, now).expect("a new node");
        let shard = Shard::new(config, node.view(), 2, now);
        let mut world =
            Self { now, node, shard, opened: 0, exited: false, heard: Vec::new(), closed: Vec::new() };
        world.settle(Which::Node, Input::Ticked);
        if cluster {
            let link = world.open();
            (0..3).for_each(|_| world.pass(1_000_000));
            world.say(link, b"SET k v\r\nDEL k\r\n");
            world.read(link);
            assert!(world.heard[0].1.ends_with(b"+OK\r\n:1\r\n"), "{}", world.heard[0].1.escape_ascii());
            world.hang_up(link);
        }
        world
    }

    fn open(&mut self) -> LinkId {
        self.opened += 1;
        let link = LinkId::accepted(self.opened);
        self.heard.push((link, Vec::new()));
        let origin = Origin::Tcp { peer: ([10, 0, 0, 9], 999).into(), local: ([10, 0, 0, 1], 6379).into() };
        self.settle(Which::Shard, Input::Opened { link, origin });
        link
    }

    fn say(&mut self, link: LinkId, bytes: &[u8]) {
        if self.closed.contains(&link) || self.exited {
            return;
        }
        self.settle(Which::Shard, Input::Filled { link, bytes });
        if let Some(outbox) = self.shard.outbox(link) {
            assert!(outbox.len() <= MOST_UNSENT + LARGEST_REPLY, "{} bytes wait for a client", outbox.len());
        }
    }

    fn read(&mut self, link: LinkId) {
        if self.closed.contains(&link) {
            return;
        }
        self.fetch(link);
        self.settle(Which::Shard, Input::Drained { link });
        self.fetch(link);
    }

    fn fetch(&mut self, link: LinkId) {
        let Some(outbox) = self.shard.outbox(link) else { return };
        let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
        outbox.advance(bytes.len());
        let (_, heard) = self.heard.iter_mut().find(|(l, _)| *l == link).expect("a link of ours");
        heard.extend_from_slice(&bytes);
    }

    fn hang_up(&mut self, link: LinkId) {
        if !self.closed.contains(&link) {
            self.closed.push(link);
            self.settle(Which::Shard, Input::Closed { link });
        }
        assert!(self.shard.outbox(link).is_none(), "a closed link has an outbox");
    }

    fn pass(&mut self, us: u64) {
        (self.now.mono.0, self.now.wall.0) = (self.now.mono.0 + us, self.now.wall.0 + us);
        self.settle(Which::Node, Input::Ticked);
        let mut turns = 0;
        while self.settle(Which::Shard, Input::Ticked) == Progress::More {
            turns += 1;
            assert!(turns < 100_000, "background work without end");
        }
    }

    /// What the machine has besides what keys and settings take.
    fn shape(&mut self) -> String {
        let link = self.open();
        self.say(link, b"RESET\r\nINFO clients\r\n");
        self.read(link);
        let text = String::from_utf8_lossy(&self.heard.pop().expect("a link").1).into_owned();
        self.hang_up(link);
        let told = ["connected_clients", "blocked_clients", "watching_clients", "total_watched_keys"];
        text.lines()
            .filter(|line| told.iter().any(|name| line.starts_with(name)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The replies a client read, each of which has to be one.
    fn replies(&self, link: LinkId) -> Vec<String> {
        let (_, heard) = self.heard.iter().find(|(l, _)| *l == link).expect("a link of ours");
        let (mut rest, mut replies) = (&heard[..], Vec::new());
        while !rest.is_empty() {
            match Value::parse(rest) {
                Ok(Some((value, used))) => {
                    replies.push(format!("{value:?}"));
                    rest = &rest[used..];
                }
                // A client that is thrown out may miss the end of a reply.
                Ok(None) if self.closed.contains(&link) => break,
                other => panic!("{other:?}: {}", rest[..rest.len().min(200)].escape_ascii()),
            }
        }
        replies
    }

    /// Gives a machine an input, then carries mail and answers actions until there are none.
    fn settle(&mut self, which: Which, input: Input<'_>) -> Progress {
        let (mut actions, mut mail, mut wants) = (Actions::default(), VecDeque::new(), VecDeque::new());
        let mut progress = self.handle(which, input, &mut actions);
        let mut which = which;
        loop {
            wants.extend(actions.list.drain(..).map(|action| (which, action)));
            mail.extend(actions.mail.drain(..).map(|letter| (Which::of(letter.to), letter.mail)));
            let (to, input) = match mail.pop_front() {
                Some((to, mail)) => (to, Input::Mailed(mail)),
                None => {
                    let Some((whose, action)) = wants.pop_front() else { return progress };
                    let Some(input) = self.carry_out(action) else { continue };
                    (whose, input)
                }
            };
            which = to;
            let more = self.handle(to, input, &mut actions);
            if which == Which::Shard {
                progress = more;
            }
        }
    }

    fn handle(&mut self, which: Which, input: Input<'_>, actions: &mut Actions) -> Progress {
        match which {
            Which::Node => self.node.handle(self.now, input, actions),
            Which::Shard => self.shard.handle(self.now, input, actions),
        }
    }

    /// The answer to an action, if it wants one.
    fn carry_out(&mut self, action: Action) -> Option<Input<'static>> {
        match action {
            Action::Persist { ticket, .. } | Action::Listen { ticket, .. } => {
                Some(Input::Done { ticket, result: Ok(()) })
            }
            Action::Connect { link, .. } => Some(Input::ConnectFailed { link, reason: "no network" }),
            Action::Close { link, ending } => {
                if ending == Ending::Flushed {
                    self.fetch(link);
                }
                self.closed.push(link);
                (ending == Ending::Flushed).then_some(Input::Closed { link })
            }
            Action::Exit { .. } => {
                self.exited = true;
                None
            }
            _ => None,
        }
    }
}
