//! A lane of an export: the link on which a shard sends what it has for a job whose first link a sibling has.

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::action::{Action, Ending, Purpose};
use crate::ids::{JobName, LinkId, ShardIndex};
use crate::link::Outbox;
use crate::migration::export::Credentials;
use crate::migration::job::Timing;
use crate::migration::lane::{Sender, sender};
use crate::shard::errand::Errand;
use crate::shard::exporting::Surroundings;
use crate::shard::feed::Feed;
use crate::shard::limits;
use crate::shard::session::Client;
use crate::time::{Mono, Span};

/// How often the shard with the first link is told what is unsent here, while nothing depends on it.
const TELL_EVERY: Span = Span::ms(100);
/// It is told at once that so much waits, if the end of the job depends on it.
const MUCH: u64 = 64 * 1024;

/// What it takes to open a lane.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) to: SocketAddr,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) timing: Timing,
}

/// What is unsent of a lane, for the shard with the first link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unsent {
    pub(crate) bytes: u64,
    /// It is told from now on when that changes.
    pub(crate) at_end: bool,
}

/// The link of a lane.
pub(crate) struct Sending {
    sender: Sender,
    job: JobName,
    /// The shard with the first link.
    home: ShardIndex,
    pub(crate) link: LinkId,
    /// The link as CLIENT LIST shows it.
    pub(crate) client: Client,
    to: SocketAddr,
    /// What goes in front of the stream.
    greeting: Outbox,
    over_soft_since: Option<Mono>,
    /// What the home was told last, and when.
    told: Unsent,
    told_at: Mono,
    actions: Vec<sender::Action>,
}

impl Sending {
    /// Begins to connect.
    pub(crate) fn start(
        job: JobName,
        home: ShardIndex,
        opening: Opening,
        client: Client,
        feed: &mut Feed,
        s: &mut Surroundings<'_>,
    ) -> Self {
        let Opening { to, credentials, timing } = opening;
        let mut actions = Vec::new();
        let sender = Sender::new(job, s.index, credentials, timing, s.now, &mut actions);
        let mut sending = Self {
            sender,
            job,
            home,
            link: client.link,
            client,
            to,
            greeting: Outbox::default(),
            over_soft_since: None,
            told: Unsent { bytes: 0, at_end: false },
            told_at: s.now.mono,
            actions,
        };
        sending.carry_out(feed, s);
        sending
    }

    /// Whether the stream flows.
    pub(crate) fn is_open(&self) -> bool {
        self.sender.state() == sender::State::Streaming
    }

    /// Whether there is no link any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.sender.state() == sender::State::Lost
    }

    /// What is to be sent on the link.
    pub(crate) fn outbox<'a>(&'a mut self, feed: &'a mut Feed) -> &'a mut Outbox {
        if self.is_open() { &mut feed.outbox } else { &mut self.greeting }
    }

    /// Bytes that went in front of the stream.
    pub(crate) fn greeted(&self) -> u64 {
        self.greeting.sent()
    }

    /// When the link has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.sender.poll_timeout()
    }

    /// Other limits from now on.
    pub(crate) fn set_timing(&mut self, timing: Timing) {
        self.sender.set_timing(timing);
    }

    /// Something happened on the link.
    pub(crate) fn tell(&mut self, input: sender::Input<'_>, feed: &mut Feed, s: &mut Surroundings<'_>) {
        let bytes = feed.waiting() as u64;
        self.sender.handle(s.now, sender::Input::Pending { bytes }, &mut self.actions);
        self.sender.handle(s.now, input, &mut self.actions);
        self.carry_out(feed, s);
    }

    /// Closes the link if more waits than `client-output-buffer-limit replica` allows; whether it did.
    pub(crate) fn police(&mut self, feed: &mut Feed, s: &mut Surroundings<'_>) -> bool {
        let limit = s.config.client_output_buffer_limit.replica;
        let (bytes, floor) = (feed.waiting() as u64, s.config.repl_backlog_size);
        let is_over = limits::over(bytes, &limit, floor, &mut self.over_soft_since, s.now.mono);
        if is_over && !self.is_lost() {
            tracing::warn!("Slot export link closed for overcoming of output buffer limits.");
            s.out.push(Action::Close { link: self.link, ending: Ending::Abrupt });
            self.tell(sender::Input::Closed, feed, s);
        }
        is_over
    }

    /// Tells the home what is unsent, if it has to know.
    pub(crate) fn report(&mut self, bytes: u64, at_end: bool, has_sent: bool, s: &mut Surroundings<'_>) {
        let unsent = Unsent { bytes, at_end };
        let is_news = match at_end {
            _ if unsent == self.told => false,
            _ if at_end != self.told.at_end => true,
            // What was written a moment ago goes in this turn, as a rule.
            true => has_sent || bytes.abs_diff(self.told.bytes) > MUCH,
            false => s.now.mono.since(self.told_at) >= TELL_EVERY,
        };
        if is_news {
            (self.told, self.told_at) = (unsent, s.now.mono);
            s.out.pass(self.home, Errand::Unsent { by: s.index, job: self.job, unsent });
        }
    }

    /// The job is over, or the process's part in it.
    pub(crate) fn end(&self, s: &mut Surroundings<'_>) {
        if !self.is_lost() {
            s.out.push(Action::Close { link: self.link, ending: Ending::Abrupt });
        }
    }

    fn carry_out(&mut self, feed: &mut Feed, s: &mut Surroundings<'_>) {
        let link = self.link;
        for action in self.actions.drain(..) {
            match action {
                sender::Action::Connect => {
                    s.out.push(Action::Connect { link, to: self.to, purpose: Purpose::Migration });
                }
                sender::Action::Greet(bytes) => {
                    self.greeting.push(bytes);
                    s.out.push(Action::Flush { link });
                }
                sender::Action::Open => {
                    debug_assert!(self.greeting.is_empty(), "an answer to what was not said");
                }
                sender::Action::Send(bytes) => feed.send(bytes),
                sender::Action::Close => s.out.push(Action::Close { link, ending: Ending::Abrupt }),
                sender::Action::Entered(state) => {
                    tracing::debug!("Slot migration {}: lane {link} is {state}", self.job);
                }
                sender::Action::Failed(failure) => {
                    feed.cut();
                    s.out.pass(self.home, Errand::Stop { job: self.job, failure });
                }
            }
        }
    }
}
