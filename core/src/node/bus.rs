//! The links of the cluster bus: what the cluster machine wants sent, behind what has to be durable first.

use alloc::string::ToString;

use hashbrown::HashMap;

use crate::action::{Action, Actions, Ending, File, Purpose};
use crate::cluster;
use crate::ids::{LinkId, Ticket};
use crate::link::Outbox;
use crate::mail::Order;
use crate::node::Node;
use crate::time::Now;

/// The outboxes of all bus links.
#[derive(Debug, Default)]
pub(super) struct Bus {
    outboxes: HashMap<LinkId, Outbox, foldhash::fast::FixedState>,
}

impl Bus {
    pub(super) fn open(&mut self, link: LinkId) {
        self.outboxes.insert(link, Outbox::default());
    }

    pub(super) fn forget(&mut self, link: LinkId) {
        self.outboxes.remove(&link);
    }

    pub(super) fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
        self.outboxes.get_mut(&link)
    }

    pub(super) fn unsent(&self, link: LinkId) -> usize {
        self.outboxes.get(&link).map_or(0, Outbox::len)
    }

    /// `ticket` is durable: what waited for it may go.
    pub(super) fn release(&mut self, ticket: Ticket, out: &mut Actions) {
        for (link, outbox) in &mut self.outboxes {
            outbox.release(ticket);
            if outbox.sendable() > 0 {
                out.push(Action::Flush { link: *link });
            }
        }
    }
}

impl Node {
    /// Gives the cluster machine an input and carries out what it wants.
    pub(super) fn tell_cluster(&mut self, now: Now, input: cluster::Input<'_>, out: &mut Actions) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.handle(now, input, &mut self.actions);
        self.carry_out(now, out);
    }

    /// Carries out the collected actions of the cluster machine.
    pub(super) fn carry_out(&mut self, now: Now, out: &mut Actions) {
        let mut actions = core::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                cluster::Action::Connect { link, to } => {
                    self.bus.open(link);
                    out.push(Action::Connect { link, to, purpose: Purpose::Bus });
                }
                cluster::Action::Send { link, bytes } => {
                    let Some(outbox) = self.bus.outbox(link) else { continue };
                    if let Some(ticket) = self.saving {
                        outbox.hold(ticket);
                    }
                    outbox.push(bytes);
                    let unsent = outbox.len();
                    out.push(Action::Flush { link });
                    if let Some(cluster) = &mut self.cluster {
                        cluster.note_outbox(link, unsent);
                    }
                }
                cluster::Action::Close { link } => {
                    self.bus.forget(link);
                    out.push(Action::Close { link, ending: Ending::Abrupt });
                }
                cluster::Action::Save { ticket, bytes, fsync } => {
                    if fsync {
                        self.saving = Some(ticket);
                    }
                    out.push(Action::Persist { ticket, file: File::NodesConf, bytes, fsync });
                }
                cluster::Action::Lost { slots, to, reason, confirmed } => {
                    let owner = to.map_or_else(|| "nobody".into(), |owner| owner.to_string());
                    tracing::info!("Slots {slots} are no longer mine ({reason:?}), now of {owner}");
                    if let Some(confirmed) = confirmed {
                        self.losses.push(confirmed);
                    }
                    self.topology_changed = true;
                }
                cluster::Action::Gained { slots, .. } => {
                    self.gained(slots);
                    self.topology_changed = true;
                }
                cluster::Action::TopologyChanged => self.topology_changed = true,
                cluster::Action::Published { .. } => {} // pub/sub is not built yet
            }
        }
        self.actions = actions;
        if core::mem::take(&mut self.topology_changed) {
            self.after_topology_change(now, out);
        }
    }

    /// Shards learn the new owners first, then jobs learn that they are settled, then keys of lost slots go: a
    /// client that is let go by a finished export must be redirected, not served.
    fn after_topology_change(&mut self, now: Now, out: &mut Actions) {
        self.publish_at_once(now, out);
        self.settle_jobs(out);
        for confirmed in core::mem::take(&mut self.losses) {
            self.post_news(Order::Drop(confirmed), out);
        }
    }
}
