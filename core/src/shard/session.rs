//! One client: what it said about itself, and what it is waiting for.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::acl::User;
use crate::command::effects::Watched;
use crate::command::table::Command;
use crate::ids::{ClientId, HoldId, LinkId, ShardIndex, Shards};
use crate::input::Origin;
use crate::link::Outbox;
use crate::shard::footprint::Share;
use crate::shard::settle::{Habit, Moves};
use crate::shard::tracking::Tracker;
use crate::shard::transaction::Transaction;
use crate::slots::Slot;
use crate::time::{Mono, Now};
use crate::wire::resp::{ArgvBuf, Proto, Reader, Reply};

/// A client's link: its bytes in, its bytes out, and the client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) reader: Reader,
    pub(crate) outbox: Outbox,
    pub(crate) client: Client,
}

/// What replies a client wants (CLIENT REPLY).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Replies {
    /// All of them.
    #[default]
    On,
    /// None until it says ON.
    Off,
    /// None for the next command.
    SkipNext,
    /// None for the command being run.
    Skipping,
}

/// What a client's commands wait for.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Waiting {
    /// Nothing: commands are run as they come.
    #[default]
    Nothing,
    /// A hold: the first of `backlog` is tried again when one ends.
    Hold,
    /// The node's answer.
    Answer,
    /// The end of a WAIT.
    Replicas,
    /// Other shards: their part of its command, or until they have stopped for it.
    Siblings,
    /// Its session, which is at work in this shard.
    Away(ShardIndex),
    /// Nothing any more: its session has its home in another shard now.
    Moving,
    /// Its link is being closed by us: nothing more is heard.
    Closing,
}

/// A command that could not be run when it came.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) command: &'static Command,
    pub(crate) words: ArgvBuf,
    /// It came as a line of words.
    pub(crate) is_line: bool,
}

/// A command that is with the node, or that waits.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) command: &'static Command,
    pub(crate) words: ArgvBuf,
    /// When it began, as the stopwatch says.
    pub(crate) mark: u64,
}

/// What the shard knows about a client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) link: LinkId,
    pub(crate) origin: Origin,
    pub(crate) name: Bytes,
    pub(crate) lib_name: Bytes,
    pub(crate) lib_ver: Bytes,
    pub(crate) db: u32,
    pub(crate) proto: Proto,
    pub(crate) authenticated: bool,
    /// Who it is.
    pub(crate) user: Arc<User>,
    /// Its user may not do everything.
    pub(crate) restricted: bool,
    /// It is disconnected after its command, or its EXEC.
    pub(crate) leaving: bool,
    /// Its link is gone in the middle of an EXEC, which comes to its end all the same.
    pub(crate) gone: bool,
    pub(crate) readonly: bool,
    pub(crate) asking: bool,
    pub(crate) no_touch: bool,
    pub(crate) no_evict: bool,
    pub(crate) capa_redirect: bool,
    /// It said, as the source of a migration, that it has lanes for so many shards.
    pub(crate) lanes: Option<Shards>,
    /// It watches all commands.
    pub(crate) monitors: bool,
    /// Where its session has been going lately.
    pub(crate) habit: Habit,
    /// How often its home became another shard.
    pub(crate) moves: Moves,
    /// Others have named it to hear what changes for them, or keys are remembered that it read.
    pub(crate) is_known_by_link: bool,
    /// It tracks keys.
    pub(crate) tracker: Option<Box<Tracker>>,
    pub(crate) replies: Replies,
    pub(crate) transaction: Transaction,
    /// MULTI or WATCH came once.
    pub(crate) had_transaction: bool,
    pub(crate) waiting: Waiting,
    /// All shards have stopped for its command.
    pub(crate) frozen: bool,
    /// The hold that the first queued command waits for, or waited for last.
    pub(crate) waited: Option<HoldId>,
    /// Commands to run before anything more is read: one that was held, or the rest of an EXEC.
    pub(crate) backlog: VecDeque<Queued>,
    /// Most of what it said last went into the stream of a migration.
    pub(crate) feeds_stream: bool,
    /// Reading is paused because too much waits in the reader.
    pub(crate) reading_paused: bool,
    pub(crate) opened: Mono,
    pub(crate) last_active: Mono,
    /// Since when its outbox is over the soft limit.
    pub(crate) over_soft_since: Option<Mono>,
    pub(crate) last_command: Option<&'static Command>,
    /// What it asked the node, or waits for.
    pub(crate) unanswered: Option<Box<Unanswered>>,
    /// When its EXEC began and where the reply to it begins.
    pub(crate) exec_begun: (u64, u64),
    /// What it took when that was looked at last.
    pub(crate) share: Share,
    /// Replies of this length are a reason to look at the limits of buffers.
    pub(crate) alarm: usize,
    /// The most that was unsent in the last seconds.
    pub(crate) peak_unsent: usize,
    /// The slot that its transaction is about, if it is about one.
    pub(crate) exec_slot: Option<Slot>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) commands: u64,
}

impl Session {
    pub(crate) fn new(id: ClientId, link: LinkId, origin: Origin, user: Arc<User>, now: Now) -> Self {
        let client = Client {
            id,
            link,
            origin,
            name: Bytes::new(),
            lib_name: Bytes::new(),
            lib_ver: Bytes::new(),
            db: 0,
            proto: Proto::Resp2,
            authenticated: user.is_open(),
            restricted: !user.may_everything(),
            user,
            leaving: false,
            gone: false,
            readonly: false,
            asking: false,
            no_touch: false,
            no_evict: false,
            capa_redirect: false,
            lanes: None,
            monitors: false,
            habit: Habit::default(),
            moves: 0,
            is_known_by_link: false,
            tracker: None,
            replies: Replies::On,
            transaction: Transaction::None,
            had_transaction: false,
            waiting: Waiting::Nothing,
            frozen: false,
            waited: None,
            backlog: VecDeque::new(),
            feeds_stream: false,
            reading_paused: false,
            opened: now.mono,
            last_active: now.mono,
            over_soft_since: None,
            last_command: None,
            unanswered: None,
            exec_begun: (0, 0),
            share: Share::default(),
            alarm: usize::MAX,
            peak_unsent: 0,
            exec_slot: None,
            bytes_in: 0,
            bytes_out: 0,
            commands: 0,
        };
        Self { reader: Reader::default(), outbox: Outbox::default(), client }
    }
}

impl Client {
    /// Writes the client's replies; silent when it asked for silence.
    pub(crate) fn reply<'o>(&self, outbox: &'o mut Outbox) -> Reply<'o> {
        let muted = matches!(self.replies, Replies::Off | Replies::Skipping);
        Reply::new(outbox, self.proto).mute(muted)
    }

    /// It was told what ends it, if that came: of the rest of its EXEC it hears nothing, as with Valkey.
    pub(crate) fn fall_silent(&mut self) {
        if self.leaving {
            self.replies = Replies::Off;
        }
    }

    /// A command is about to be replied to, which CLIENT REPLY SKIP may be about.
    pub(crate) fn begin_reply(&mut self) {
        self.replies = match self.replies {
            Replies::SkipNext => Replies::Skipping,
            Replies::Skipping => Replies::On,
            other => other,
        };
    }

    /// What stands for the client where it is at home while its session visits another shard: all that others see of it.
    pub(crate) fn stand_in(&self, away: ShardIndex) -> Self {
        Self {
            name: self.name.clone(),
            lib_name: self.lib_name.clone(),
            lib_ver: self.lib_ver.clone(),
            user: self.user.clone(),
            transaction: Transaction::None,
            waiting: Waiting::Away(away),
            backlog: VecDeque::new(),
            tracker: self.tracker.clone(),
            unanswered: None,
            ..*self
        }
    }

    /// Home again: what happened to the link and to the stand-in meanwhile is the client's.
    pub(crate) fn take_over(&mut self, stand_in: Self) {
        self.waiting = Waiting::Nothing;
        self.bytes_in = stand_in.bytes_in;
        self.last_active = stand_in.last_active;
        self.reading_paused = stand_in.reading_paused;
        self.share = stand_in.share;
        self.over_soft_since = stand_in.over_soft_since;
        self.peak_unsent = stand_in.peak_unsent;
        self.leaving |= stand_in.leaving;
        self.gone = stand_in.gone;
        self.is_known_by_link |= stand_in.is_known_by_link;
        if let (Some(tracker), Some(other)) = (&mut self.tracker, stand_in.tracker) {
            tracker.broken |= other.broken;
        }
    }

    /// Whether it is in the middle of an EXEC, or of what stops all shards.
    pub(crate) fn is_executing(&self) -> bool {
        self.transaction.is_running() || self.frozen
    }

    /// RESET: everything but the connection itself as at the start.
    pub(crate) fn reset(&mut self, user: &Arc<User>) {
        self.name = Bytes::new();
        self.db = 0;
        self.proto = Proto::Resp2;
        self.be(user.clone());
        self.authenticated = user.is_open();
        self.readonly = false;
        self.asking = false;
        self.no_touch = false;
        self.no_evict = false;
        if self.replies != Replies::Skipping {
            self.replies = Replies::On;
        }
    }

    /// The other end as it is shown.
    pub(crate) fn peer(&self) -> String {
        match self.origin {
            Origin::Tcp { peer, .. } => format!("{peer}"),
            Origin::Unix => "/unixsocket:0".into(),
        }
    }

    /// This end as it is shown.
    pub(crate) fn local(&self) -> String {
        match self.origin {
            Origin::Tcp { local, .. } => format!("{local}"),
            Origin::Unix => "/unixsocket:0".into(),
        }
    }

    /// From now on the client is this user.
    pub(crate) fn be(&mut self, user: Arc<User>) {
        self.restricted = !user.may_everything();
        self.user = user;
    }

    /// Flags of CLIENT LIST, `N` when there are none.
    pub(crate) fn flags(&self, watches: &Watched) -> Vec<u8> {
        let mut flags = Vec::new();
        if self.monitors {
            flags.push(b'O');
        }
        if self.transaction.is_open() || self.transaction.is_running() {
            flags.push(b'x');
        }
        if matches!(self.waiting, Waiting::Hold | Waiting::Replicas) {
            flags.push(b'b');
        }
        if let Some(tracker) = &self.tracker {
            flags.push(b't');
            flags.extend(tracker.broken.then_some(b'R'));
            flags.extend(tracker.bcast.then_some(b'B'));
        }
        if self.transaction.is_dirty() || self.transaction.is_overtaken(watches) {
            flags.push(b'd');
        }
        if matches!(self.origin, Origin::Unix) {
            flags.push(b'U');
        }
        if self.readonly {
            flags.push(b'r');
        }
        if self.no_evict {
            flags.push(b'e');
        }
        if self.no_touch {
            flags.push(b'T');
        }
        if flags.is_empty() {
            flags.push(b'N');
        }
        flags
    }
}
