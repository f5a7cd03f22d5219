//! The machines as the event loop sees them.

use whimbrel_core::action::Actions;
use whimbrel_core::ids::LinkId;
use whimbrel_core::input::{Input, Progress};
use whimbrel_core::link::Outbox;
use whimbrel_core::time::{Mono, Now};

/// What a node and a shard have in common: see the boundary in `whimbrel_core::{input, action}`.
pub trait Machine: Send {
    /// Takes in one thing that happened; what has to be done is appended to `out`.
    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Actions) -> Progress;

    /// When to call with [`Input::Ticked`].
    fn poll_timeout(&self) -> Option<Mono>;

    /// The machine's own memory to read into, while it waits for the rest of a large value.
    fn inbox(&mut self, link: LinkId) -> Option<&mut [u8]>;

    /// What is to be sent on a link.
    fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox>;

    /// The peer will say no more: whether that is to be told later, because answers to what it said are on their way.
    /// Reading is paused then, as if it had been asked for.
    fn put_off_end(&mut self, link: LinkId) -> bool;
}

/// Which machine a link, file or message belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Which {
    /// The control plane.
    Node,
    /// The data plane.
    Shard,
}

/// The machines of a thread.
pub struct Machines {
    /// The control plane, on the first.
    pub node: Option<Box<dyn Machine>>,
    /// The data plane, or a part of it.
    pub shard: Box<dyn Machine>,
}

impl Machines {
    /// One of them. Who asks for a node that is elsewhere, which nobody does, gets the shard.
    #[inline]
    pub fn get(&mut self, which: Which) -> &mut dyn Machine {
        match (which, &mut self.node) {
            (Which::Node, Some(node)) => node.as_mut(),
            _ => self.shard.as_mut(),
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (Which, &dyn Machine)> {
        let node = self.node.as_deref().map(|node| (Which::Node, node));
        node.into_iter().chain([(Which::Shard, self.shard.as_ref())])
    }
}

macro_rules! machine {
    ($type:ty) => {
        impl Machine for $type {
            fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Actions) -> Progress {
                self.handle(now, input, out)
            }

            fn poll_timeout(&self) -> Option<Mono> {
                self.poll_timeout()
            }

            fn inbox(&mut self, link: LinkId) -> Option<&mut [u8]> {
                self.inbox(link)
            }

            fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
                self.outbox(link)
            }

            fn put_off_end(&mut self, link: LinkId) -> bool {
                self.put_off_end(link)
            }
        }
    };
}

machine!(whimbrel_core::node::Node);
machine!(whimbrel_core::shard::Shard);
