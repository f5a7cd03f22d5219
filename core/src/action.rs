//! What a machine wants done: the words are imperative.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use crate::config::Config;
use crate::ids::{LinkId, ShardIndex, Ticket};
use crate::mail::{Fact, Mail, Order};
use crate::time::Span;

/// What a link is for, as far as a socket cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A stream of the cluster bus.
    Bus,
    /// A slot migration: both socket buffers are [`MIGRATION_BUFFER`] bytes, because what lies in them is lag.
    Migration,
}

/// Size in bytes asked for SO_SNDBUF and SO_RCVBUF of a migration link. Left alone the kernel takes several
/// megabytes after the reader stops, all of which must drain during the pause.
pub const MIGRATION_BUFFER: usize = 256 * 1024;

/// How a link ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Send what its outbox holds, then close.
    Flushed,
    /// Close at once; unsent bytes are lost.
    Abrupt,
}

/// Files a machine owns. The driver knows where they live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum File {
    /// `cluster-config-file`: replaced as a whole by write, fsync, rename, fsync of the directory.
    NodesConf,
    /// The configuration file the process was started with (CONFIG REWRITE).
    Config,
    /// `aclfile`, the users (ACL SAVE and ACL LOAD).
    Users,
}

/// One thing the driver shall do. Reply bytes are not actions: they wait in the link's outbox.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Open a TCP connection; answered by `Connected` or `ConnectFailed`.
    Connect {
        /// Its name, from [`LinkId::dialed`].
        link: LinkId,
        /// Where to.
        to: SocketAddr,
        /// What for.
        purpose: Purpose,
    },
    /// The outbox of this link has bytes to send. At most once per link and step.
    Flush {
        /// The link.
        link: LinkId,
    },
    /// End the link. After [`Ending::Abrupt`] the machine has forgotten it: no input about it may follow. With
    /// [`Ending::Flushed`] the driver sends what `outbox()` still holds, closes, and then tells `Closed`; what it
    /// reads in between is not heard.
    Close {
        /// The link.
        link: LinkId,
        /// What happens to unsent bytes.
        ending: Ending,
    },
    /// Read no more from the link until `ResumeReading`.
    PauseReading {
        /// The link.
        link: LinkId,
    },
    /// Read again, beginning with what the socket already holds.
    ResumeReading {
        /// The link.
        link: LinkId,
    },
    /// The link is another shard's from now on: take its socket to the thread of that shard, in order behind the mail of
    /// this step. There it is a new link, told with `Moved`; of the old one nothing is heard any more. If it cannot be
    /// taken in there, that shard is told `Closed` with the old name.
    Move {
        /// The link, one that was accepted.
        link: LinkId,
        /// Whose it is.
        to: ShardIndex,
    },
    /// An accepted link turned out to have this purpose: set its socket up for it.
    Tune {
        /// The link.
        link: LinkId,
        /// What for.
        purpose: Purpose,
    },
    /// Make a file's new content durable; answered by `Done`. Tickets are served in order.
    Persist {
        /// Names the request.
        ticket: Ticket,
        /// Which file.
        file: File,
        /// Its whole content.
        bytes: Bytes,
        /// Whether `Done` means "survives a power cut" or only "written".
        fsync: bool,
    },
    /// Read a file; answered by `Read`.
    Read {
        /// Names the request; it comes after all that was asked before.
        ticket: Ticket,
        /// Which file.
        file: File,
    },
    /// Listen where these settings say, and make room for as many clients; answered by `Done`, whose reason for a failure
    /// is what the client is told. After a failure everything is as it was.
    Listen {
        /// Names the request.
        ticket: Ticket,
        /// The settings as they shall be.
        config: Arc<Config>,
    },
    /// Do nothing at all for so long, neither read nor write nor tick: a test wants the process to hang. It comes
    /// before the reply to whoever asked for it is sent.
    Sleep {
        /// For how long.
        time: Span,
    },
    /// End the process at once, as if it had crashed: nothing is sent or saved any more. A test wants it.
    Abort {
        /// For the log.
        reason: String,
    },
    /// End the process after the outboxes are flushed.
    Exit {
        /// Exit status.
        code: i32,
        /// The last line of the log.
        reason: String,
    },
}

/// Mail and whom it is for.
#[derive(Debug)]
pub struct Letter {
    /// Whom it is for.
    pub to: To,
    /// What it says.
    pub mail: Mail,
}

/// A machine of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum To {
    /// The control plane.
    Node,
    /// One shard of the data plane.
    Shard(ShardIndex),
}

/// The list of actions and mail that the driver lends to every step and empties after it.
#[derive(Debug, Default)]
pub struct Actions {
    /// Actions in the order they have to be carried out.
    pub list: Vec<Action>,
    /// Mail to other machines of the process, in order.
    pub mail: Vec<Letter>,
}

impl Actions {
    /// Appends an action.
    pub fn push(&mut self, action: Action) {
        self.list.push(action);
    }

    /// Appends what a shard tells the node.
    pub fn report(&mut self, fact: Fact) {
        self.mail.push(Letter { to: To::Node, mail: Mail::Fact(fact) });
    }

    /// Appends what the node tells a shard.
    pub fn order(&mut self, shard: ShardIndex, order: Order) {
        self.mail.push(Letter { to: To::Shard(shard), mail: Mail::Order(order) });
    }

    /// Empties both lists, keeping their memory.
    pub fn clear(&mut self) {
        self.list.clear();
        self.mail.clear();
    }
}
