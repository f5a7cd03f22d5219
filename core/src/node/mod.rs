//! The control plane: the cluster view and its bus links, the table of slot migrations, the configuration.

mod asked;
mod bus;
mod facts;
mod jobs;
mod marks;
mod publish;
mod settings;
mod telling;
mod users;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::{Action, Actions, Ending, File};
use crate::cluster::takeover::Confirmed;
use crate::cluster::{self, Cluster, ClusterConfig, Corrupt};
use crate::config::{Config, SaveBehavior};
use crate::ids::{LinkId, Ticket};
use crate::input::{Input, Origin, Progress};
use crate::link::Outbox;
use crate::mail::Mail;
use crate::node::bus::Bus;
use crate::node::jobs::Jobs;
use crate::node::marks::Marks;
use crate::node::publish::Published;
use crate::node::telling::Waiting;
use crate::rng::Rng;
use crate::time::{Mono, Now};
use crate::wire::resp::Proto;

/// Tickets of files other than nodes.conf; the cluster machine counts its own from below.
const OTHER_TICKETS: u64 = 1 << 62;

/// The control plane of one process: see the [module](self).
#[derive(Debug)]
pub struct Node {
    /// Absent outside cluster mode.
    cluster: Option<Cluster>,
    config: Arc<Config>,
    bus: Bus,
    jobs: Jobs,
    rng: Rng,
    published: Published,
    waiting: Waiting,
    /// The newest save that must be durable before anything that follows it is told.
    saving: Option<Ticket>,
    /// Who waits for a file to be replaced or read.
    later: Vec<Later>,
    marks: Marks,
    trying: Option<Trying>,
    next_ticket: u64,
    /// The text of the configuration file the process was started with.
    config_file: Option<String>,
    stopping: Option<Ticket>,
    /// Slots lost in this step whose keys may go.
    losses: Vec<Confirmed>,
    topology_changed: bool,
    /// Scratch of the cluster machine's actions.
    actions: Vec<cluster::Action>,
}

/// Settings that are in force as soon as the driver listens where they say, and the client that waits for it.
#[derive(Debug)]
struct Trying {
    ticket: Ticket,
    config: Arc<Config>,
    /// The setting that is to blame if it cannot.
    name: &'static str,
    link: LinkId,
    proto: Proto,
}

/// A client that waits for a file.
#[derive(Debug)]
struct Later {
    ticket: Ticket,
    file: File,
    link: LinkId,
    proto: Proto,
}

impl Node {
    /// A node with this configuration. `nodes_conf` is the content of the cluster configuration file, `config_file`
    /// the text of the file the configuration came from, if there are any.
    ///
    /// # Errors
    /// When nodes.conf cannot be what a node wrote.
    pub fn new(
        config: Arc<Config>,
        config_file: Option<String>,
        nodes_conf: Option<&[u8]>,
        seed: u64,
        now: Now,
    ) -> Result<Self, Corrupt> {
        let mut rng = Rng::new(seed);
        let cluster = if config.cluster_enabled {
            Some(Cluster::new(ClusterConfig::from(&*config), rng.bits(), now, nodes_conf)?)
        } else {
            None
        };
        let published = Published::new(cluster.as_ref(), now);
        Ok(Self {
            cluster,
            config,
            bus: Bus::default(),
            jobs: Jobs::default(),
            rng,
            published,
            waiting: Waiting::default(),
            saving: None,
            later: Vec::new(),
            marks: Marks::default(),
            trying: None,
            next_ticket: OTHER_TICKETS,
            config_file,
            stopping: None,
            losses: Vec::new(),
            topology_changed: false,
            actions: Vec::new(),
        })
    }

    /// The view as it is published now; shards start with it.
    #[must_use]
    pub fn view(&self) -> Arc<cluster::View> {
        self.published.view()
    }

    /// Takes in one thing that happened. What has to be done is appended to `out`.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Actions) -> Progress {
        match input {
            Input::Opened { link, origin: Origin::Tcp { peer, local } } => {
                self.bus.open(link);
                self.tell_cluster(now, cluster::Input::Opened { link, peer, local }, out);
            }
            Input::Opened { link, origin: Origin::Unix } => {
                out.push(Action::Close { link, ending: Ending::Abrupt });
            }
            Input::Connected { link, local } => {
                self.tell_cluster(now, cluster::Input::Connected { link, local }, out);
            }
            Input::ConnectFailed { link, reason } => {
                self.bus.forget(link);
                self.tell_cluster(now, cluster::Input::ConnectFailed { link, reason }, out);
            }
            Input::Filled { link, bytes } => {
                self.tell_cluster(now, cluster::Input::Filled { link, bytes }, out);
            }
            Input::Closed { link } => {
                self.bus.forget(link);
                self.tell_cluster(now, cluster::Input::Closed { link }, out);
            }
            Input::Drained { link } => {
                let unsent = self.bus.unsent(link);
                if let Some(cluster) = &mut self.cluster {
                    cluster.note_outbox(link, unsent);
                }
            }
            Input::Done { ticket, result } => self.done(now, ticket, result, out),
            Input::Read { ticket, result } => self.users_read(ticket, result, out),
            Input::Ticked => {
                self.tell_cluster(now, cluster::Input::Ticked, out);
                self.jobs.trim(self.config.cluster_slot_migration_log_max_len);
            }
            Input::Mailed(Mail::Fact(fact)) => self.hear(now, fact, out),
            Input::Terminated { signal } => {
                tracing::warn!("Received {signal}, scheduling shutdown...");
                self.stop(now, out);
            }
            Input::InboxFilled { .. }
            | Input::Mailed(Mail::Order(_) | Mail::Pass(_))
            | Input::Introduced(_)
            | Input::Observed(_)
            | Input::Moved { .. }
            | Input::Turned { .. } => {}
        }
        self.publish(now, out);
        self.mark(out);
        Progress::Idle
    }

    /// When to call with [`Input::Ticked`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.cluster.as_ref().map(Cluster::poll_timeout)
    }

    /// Bus messages are small: the driver reads them into its own buffer.
    pub fn inbox(&mut self, _link: LinkId) -> Option<&mut [u8]> {
        None
    }

    /// Nobody on the bus waits for answers.
    pub fn put_off_end(&mut self, _link: LinkId) -> bool {
        false
    }

    /// What is to be sent on a bus link.
    pub fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
        self.bus.outbox(link)
    }

    fn done(&mut self, now: Now, ticket: Ticket, result: Result<(), &str>, out: &mut Actions) {
        if let Some(trying) = self.trying.take_if(|trying| trying.ticket == ticket) {
            self.tried(trying, result, out);
            return;
        }
        if ticket.0 >= OTHER_TICKETS {
            let users = self.later.iter().any(|later| later.ticket == ticket && later.file == File::Users);
            if users {
                self.users_written(ticket, result, out);
            } else {
                self.answer_ticket(ticket, result, out);
            }
            return;
        }
        if let Err(why) = result {
            let keep_going = self.config.cluster_config_save_behavior == SaveBehavior::BestEffort;
            tracing::error!("Could not save the cluster configuration file: {why}");
            if !keep_going || self.stopping.is_some() {
                let reason = format!("Fatal: can't update cluster config file: {why}");
                out.push(Action::Exit { code: 1, reason });
                return;
            }
        }
        self.bus.release(ticket, out);
        self.saving = self.saving.filter(|saving| *saving > ticket);
        self.tell_what_waited(now, ticket, out);
        self.tell_cluster(now, cluster::Input::Saved { ticket }, out);
        if self.stopping.is_some_and(|t| t <= ticket) {
            exit(out);
        }
    }

    /// Stops the process once its identity and epochs are on disk.
    fn stop(&mut self, now: Now, out: &mut Actions) {
        tracing::warn!("User requested shutdown...");
        if let Some(cluster) = &mut self.cluster {
            tracing::warn!("Saving the cluster configuration file before exiting.");
            cluster.save_config(now, &mut self.actions);
            self.carry_out(now, out);
            self.stopping = self.saving;
        }
        if self.stopping.is_none() {
            exit(out);
        }
    }

    /// A file other than nodes.conf was replaced or read, or was not: who asked for it is told.
    fn answer_ticket(&mut self, ticket: Ticket, result: Result<(), &str>, out: &mut Actions) {
        let due: Vec<Later> = self.later.extract_if(.., |later| later.ticket == ticket).collect();
        for Later { file, link, proto, .. } in due {
            let reply = asked::write(proto, |reply| match (result, file) {
                (Ok(()), _) => reply.ok(),
                (Err(why), File::Config) => reply.error(&format!("ERR Rewriting config file: {why}")),
                (Err(why), _) => reply.error(&format!("ERR {why}")),
            });
            self.answer(link, reply, out);
        }
    }

    /// A new ticket for a file; the client is answered when that is done.
    fn ticket_for(&mut self, file: File, link: LinkId, proto: Proto) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.later.push(Later { ticket, file, link, proto });
        ticket
    }

    /// CONFIG REWRITE: the file is replaced, the client is answered when it is durable.
    fn rewrite_config(&mut self, link: LinkId, proto: Proto, out: &mut Actions) -> bool {
        let Some(old) = &self.config_file else { return false };
        let text = self.config.rewrite(old);
        self.config_file = Some(text.clone());
        let ticket = self.ticket_for(File::Config, link, proto);
        out.push(Action::Persist { ticket, file: File::Config, bytes: text.into(), fsync: true });
        true
    }
}

fn exit(out: &mut Actions) {
    let reason = "Whimbrel is now ready to exit, bye bye...".into();
    out.push(Action::Exit { code: 0, reason });
}

#[cfg(test)]
mod tests;
