//! Commands that only the node can carry out: it changes the configuration, the cluster, the jobs, or stops.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::action::{Action, Actions};
use crate::cluster::admin::{self, KeyCounts};
use crate::cluster::{Cluster, ClusterConfig};
use crate::command::refused::lines;
use crate::config::Config;
use crate::ids::{JobName, NodeId, Ticket};
use crate::link::Outbox;
use crate::mail::{Asked, Order};
use crate::migration::job::{Job, Operation};
use crate::migration::request::{self, Ground, check_establish, check_migrateslots};
use crate::node::{Node, Trying, settings};
use crate::slots::Slot;
use crate::time::Now;
use crate::wire::resp::{Proto, Reply};
use crate::wire::syncslots::{Finish, Word};

/// What a client gets, and when.
enum Verdict {
    /// This reply.
    Reply(Bytes),
    /// A reply later, or none at all.
    Nothing,
}

/// A reply in the client's protocol version.
pub(super) fn write(proto: Proto, f: impl FnOnce(&mut Reply<'_>)) -> Bytes {
    let mut outbox = Outbox::default();
    f(&mut Reply::new(&mut outbox, proto));
    outbox.chunks().flatten().copied().collect::<Vec<u8>>().into()
}

impl Node {
    /// Carries out a command and answers it.
    pub(super) fn asked(&mut self, now: Now, asked: &Asked, out: &mut Actions) {
        let argv = asked.argv.argv();
        let words: Vec<&[u8]> = argv.iter().collect();
        let is = |i: usize, word: &[u8]| argv.opt(i).is_some_and(|w| w.eq_ignore_ascii_case(word));
        let about_settings = is(0, b"config") || is(0, b"acl");
        let verdict = if is(0, b"config") && is(1, b"set") {
            self.config_set(asked, &words[2..], out)
        } else if is(0, b"config") {
            if self.rewrite_config(asked.link, asked.proto, out) {
                Verdict::Nothing
            } else {
                refused(asked.proto, "ERR The server is running without a config file")
            }
        } else if is(0, b"acl") {
            match self.change_users(asked, &words[1..], out) {
                Some(reply) => Verdict::Reply(reply),
                None => Verdict::Nothing,
            }
        } else if is(0, b"shutdown") {
            self.shutdown(now, asked, &words[1..], out)
        } else if self.cluster.is_none() {
            refused(asked.proto, lines::NO_CLUSTER)
        } else if is(1, b"migrateslots") {
            self.migrate_slots(now, asked.proto, &words[2..], out)
        } else if is(1, b"cancelslotmigrations") {
            self.cancel(asked.proto, out)
        } else if is(1, b"syncslots") {
            self.syncslots(now, asked, &words[2..], out)
        } else {
            self.administer(now, asked, &words, out)
        };
        let Verdict::Reply(reply) = verdict else { return };
        if about_settings {
            self.answer(asked.link, reply, out);
        } else {
            self.post(Order::Answer { link: asked.link, reply }, out);
        }
    }

    fn config_set(&mut self, asked: &Asked, words: &[&[u8]], out: &mut Actions) -> Verdict {
        let proto = asked.proto;
        if !words.len().is_multiple_of(2) {
            return refused(proto, lines::SYNTAX);
        }
        let pairs: Vec<(&[u8], &[u8])> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let mut config = (*self.config).clone();
        if let Err(error) = config.set(&pairs, asked.local) {
            return refused(proto, &error.to_string());
        }
        if let Some(name) = settings::for_the_driver(&self.config, &config) {
            if self.trying.is_some() {
                return refused(
                    proto,
                    "ERR CONFIG SET failed - another change of where to listen is under way",
                );
            }
            self.next_ticket += 1;
            let (ticket, config) = (Ticket(self.next_ticket), Arc::new(config));
            out.push(Action::Listen { ticket, config: config.clone() });
            self.trying = Some(Trying { ticket, config, name, link: asked.link, proto });
            return Verdict::Nothing;
        }
        self.adopt(config.into(), out);
        Verdict::Reply(write(proto, |reply| reply.ok()))
    }

    /// From now on these settings are in force.
    fn adopt(&mut self, config: Arc<Config>, out: &mut Actions) {
        self.config = config;
        if let Some(cluster) = &mut self.cluster {
            cluster.configure(ClusterConfig::from(&*self.config));
        }
        self.configure_shards(out);
    }

    /// Tells the shards which settings are in force. None of them is in `nodes.conf`, so what is being saved there need
    /// not be waited for: a transaction that sets one holds every client of the process meanwhile.
    pub(super) fn configure_shards(&mut self, out: &mut Actions) {
        let order = Order::Configure(self.config.clone(), settings::of_migrations(&self.config));
        self.deliver(order, out);
    }

    /// The driver listens where settings that were tried say, or it cannot.
    pub(super) fn tried(&mut self, trying: Trying, result: Result<(), &str>, out: &mut Actions) {
        let Trying { config, name, link, proto, .. } = trying;
        let reply = match result {
            Ok(()) => {
                self.adopt(config, out);
                write(proto, |reply| reply.ok())
            }
            Err(why) => {
                let text = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
                write(proto, |reply| reply.error(&text))
            }
        };
        self.answer(link, reply, out);
    }

    fn shutdown(&mut self, now: Now, asked: &Asked, words: &[&[u8]], out: &mut Actions) -> Verdict {
        let known: [&[u8]; 5] = [b"nosave", b"save", b"now", b"force", b"safe"];
        let is_known = |w: &&[u8]| known.iter().any(|k| w.eq_ignore_ascii_case(k));
        if !words.is_empty() && words.iter().all(|w| w.eq_ignore_ascii_case(b"abort")) {
            return refused(asked.proto, "ERR No shutdown in progress.");
        }
        let saves = words.iter().any(|w| w.eq_ignore_ascii_case(b"save"));
        let keeps = words.iter().any(|w| w.eq_ignore_ascii_case(b"nosave"));
        if !words.iter().all(is_known) || (saves && keeps) {
            return refused(asked.proto, lines::SYNTAX);
        }
        if saves {
            return refused(
                asked.proto,
                "ERR SHUTDOWN SAVE is not available in Whimbrel yet: it keeps no snapshot files",
            );
        }
        self.stop(now, out);
        Verdict::Nothing
    }

    fn migrate_slots(&mut self, now: Now, proto: Proto, words: &[&[u8]], out: &mut Actions) -> Verdict {
        let moves = match self.on_ground(Operation::Export, |ground| check_migrateslots(words, ground)) {
            Ok(moves) => moves,
            Err(error) => return refused(proto, &error.to_string()),
        };
        let me = self.published.view().myself().id;
        let named = moves.into_iter().map(|m| {
            let name = JobName::random(&mut self.rng);
            Arc::new(Job { name, source: me, target: m.target, ranges: m.ranges })
        });
        let jobs: Vec<Arc<Job>> = named.collect();
        self.start_exports(now, jobs, out);
        Verdict::Reply(write(proto, |reply| reply.ok()))
    }

    fn cancel(&mut self, proto: Proto, out: &mut Actions) -> Verdict {
        if !self.jobs.any(Operation::Export) {
            return refused(proto, &request::Refused::NothingToCancel.to_string());
        }
        let exports = self.jobs.stoppable();
        if exports.is_empty() {
            return refused(proto, "ERR Too late to cancel: the slots were granted to the target");
        }
        for job in exports {
            self.post(Order::StopExport { job, failure: None }, out);
        }
        Verdict::Reply(write(proto, |reply| reply.ok()))
    }

    fn syncslots(&mut self, now: Now, asked: &Asked, words: &[&[u8]], out: &mut Actions) -> Verdict {
        let proto = asked.proto;
        match Word::of(words[0]) {
            Word::Establish => {
                let checked =
                    self.on_ground(Operation::Import, |ground| check_establish(&words[1..], ground));
                let offer = match checked {
                    Ok(offer) => offer,
                    Err(error) => return refused(proto, &error.to_string()),
                };
                // Valkey takes a second job of this name; here the name is what tells jobs apart.
                if self.jobs.find(offer.name).is_some() {
                    return refused(proto, &request::Refused::AlreadyImporting.to_string());
                }
                let me = self.published.view().myself().id;
                let job = Job { name: offer.name, source: offer.source, target: me, ranges: offer.ranges };
                self.start_import(now, job, asked.link, out);
                Verdict::Nothing
            }
            // Only replicas follow a job that FINISH could end; as in Valkey two replies answer one command.
            Word::Finish => Verdict::Reply(write(proto, |reply| match Finish::parse(&words[1..]) {
                Ok(_) => {
                    reply.ok();
                    reply.error(&request::Refused::NoSuchJob.to_string());
                }
                Err(_) => reply.error(lines::SYNTAX),
            })),
            Word::Capa => Verdict::Reply(Bytes::new()),
            Word::Control(control) => refused(proto, &request::Refused::NotMigrating(control).to_string()),
            Word::Lane | Word::Unknown => refused(proto, lines::SYNTAX),
        }
    }

    fn administer(&mut self, now: Now, asked: &Asked, words: &[&[u8]], out: &mut Actions) -> Verdict {
        let counts = KeyCounts {
            total: asked.keys,
            in_slot: asked.keys_in_slot,
            importing: self.jobs.any(Operation::Import),
            exporting: self.jobs.any(Operation::Export),
        };
        let Some(cluster) = &mut self.cluster else { return Verdict::Nothing };
        let result = admin::run(cluster, now, words, counts, &mut self.actions);
        self.carry_out(now, out);
        Verdict::Reply(match result {
            Ok(reply) => write(asked.proto, |r| reply.write(r)),
            Err(error) => write(asked.proto, |r| r.error(&error.to_string())),
        })
    }

    /// Runs a check of a migration request against what this node knows.
    fn on_ground<T>(&self, operation: Operation, check: impl FnOnce(&Ground<'_>) -> T) -> T {
        let view = self.cluster.as_ref().map_or_else(|| self.published.view(), Cluster::view);
        // What could still be forgotten in a crash cannot be given away, and jobs are settled by the published view,
        // which does not show it yet.
        let undurable = self.waiting.undurable();
        let durable = |slot: &Slot| !undurable.contains(*slot);
        let owner_of =
            |slot: Slot| Some(slot).filter(durable).and_then(|slot| view.owner(slot)).map(|row| row.id);
        let knows = |id: &NodeId| view.find(*id).is_some_and(|row| !row.handshake);
        let is_moving = |slot: Slot| self.jobs.moves(operation, slot);
        check(&Ground {
            me: view.myself().id,
            is_primary: true,
            importing_by_hand: !view.importing.is_empty(),
            migrating_by_hand: !view.migrating.is_empty(),
            owner_of: &owner_of,
            knows: &knows,
            is_moving: &is_moving,
        })
    }
}

fn refused(proto: Proto, error: &str) -> Verdict {
    Verdict::Reply(write(proto, |reply| reply.error(error)))
}
