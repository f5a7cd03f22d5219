//! A look at the commands of a pipeline before they are run: they are read and located together, and the memory of
//! their keys is fetched together.
//!
//! Where there are more keys than fit into the caches, most of a command's time is waiting for memory: the header of
//! its slot's table, a group of the table's tags, a bucket, and the entry, one after another. Looked for at once, many
//! keys wait together.

use smallvec::SmallVec;

use crate::command::table::{self, Command};
use crate::shard::route::Place;
use crate::slots::Slot;
use crate::store::Store;
use crate::wire::resp::plain::{self, Plain};
use crate::wire::resp::{Argv, Limits, Span};

/// Commands looked at together: enough to wait for memory together, few enough to find it in the nearest cache.
pub(super) const MOST: usize = 16;
/// Room for the arguments of that many usual commands.
const ARGUMENTS: usize = 3 * MOST;

/// A command that lies whole in the input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) command: &'static Command,
    pub(crate) place: Place,
    /// Its arguments are the spans from here …
    pub(super) first: u32,
    /// … to here.
    last: u32,
    /// Index of the input behind it.
    end: u32,
}

impl Call {
    /// One whose arguments lie in bytes that are not the input of a link.
    pub(super) fn found(command: &'static Command, place: Place, first: u32, last: u32) -> Self {
        Self { command, place, first, last, end: 0 }
    }

    /// The same, whose arguments are the spans so many further on.
    #[inline]
    pub(super) fn moved(self, by: u32) -> Self {
        Self { first: self.first.wrapping_add(by), last: self.last.wrapping_add(by), ..self }
    }

    /// Its words, where their `spans` are counted from the beginning of `bytes`.
    #[inline]
    pub(super) fn argv<'a>(&self, bytes: &'a [u8], spans: &'a [Span]) -> Argv<'a> {
        Argv::new(bytes, &spans[self.first as usize..self.last as usize])
    }
}

/// Calls behind one another.
pub(crate) struct Run<'a> {
    /// Where they lie in the input in which they were seen …
    pub(super) start: usize,
    /// … and what is there.
    pub(super) bytes: &'a [u8],
    pub(super) calls: &'a [Call],
    /// The arguments of the first and of all behind it.
    pub(super) spans: &'a [Span],
}

/// What a link has sent and what was seen of it ahead.
pub(crate) struct Upcoming<'i> {
    /// What is not taken yet.
    input: &'i [u8],
    /// The input in which the calls lie.
    looked_at: &'i [u8],
    calls: SmallVec<[Call; MOST]>,
    spans: [Span; ARGUMENTS],
    /// How many of the calls are taken.
    taken: usize,
}

impl<'i> Upcoming<'i> {
    pub(crate) fn new(input: &'i [u8]) -> Self {
        let spans = [Span::default(); ARGUMENTS];
        Self { input, looked_at: input, calls: SmallVec::new(), spans, taken: 0 }
    }

    /// What no command was taken from, for a reader to take one from its front.
    pub(crate) fn input(&mut self) -> &mut &'i [u8] {
        &mut self.input
    }

    /// The same, to be kept for later.
    pub(crate) fn rest(&self) -> &'i [u8] {
        self.input
    }

    /// Whether all that was seen is taken.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.calls.len()
    }

    /// Forgets what was seen: it has to be read in another way.
    pub(crate) fn forget(&mut self) {
        self.taken = self.calls.len();
    }

    /// Looks at the commands in front of the input, as far as they are plain, known, and placed by `place`, and not
    /// behind one about a slot that is not `here`: where that is, they are looked at again. Nothing may be unfinished before
    /// them.
    #[inline]
    pub(crate) fn look(
        &mut self,
        limits: &Limits,
        db: u32,
        store: &Store,
        here: impl Fn(Slot) -> bool,
        place: impl Fn(&'static Command, Argv<'_>) -> Option<Place>,
    ) {
        self.locate(limits, |slot| !here(slot), place);
        self.fetch(db, store, |_| true);
    }

    /// The same without fetching anything; a command about a slot that `ends` the look is the last one of it.
    #[inline]
    pub(crate) fn locate(
        &mut self,
        limits: &Limits,
        ends: impl Fn(Slot) -> bool,
        place: impl Fn(&'static Command, Argv<'_>) -> Option<Place>,
    ) {
        self.calls.clear();
        (self.looked_at, self.taken) = (self.input, 0);
        let (mut first, mut from) = (0, 0);
        while self.calls.len() < MOST
            && let Some(Plain { count, end }) =
                plain::command(self.input, from, limits, &mut self.spans[first..])
            && let last = first + count
            && let argv = Argv::new(self.input, &self.spans[first..last])
            && let Some(command) = self.like_the_last(argv).or_else(|| table::resolve(argv).ok())
            && let Some(place) = place(command, argv)
        {
            // An input of a link is far below 4 GB.
            let call = Call { command, place, first: first as u32, last: last as u32, end: end as u32 };
            self.calls.push(call);
            (first, from) = (last, end);
            if matches!(place, Place::One(Some(slot)) if ends(slot)) {
                break;
            }
        }
    }

    /// The command of the call before, if this is one of it too: pipelines tend to repeat themselves.
    #[inline]
    fn like_the_last(&self, argv: Argv<'_>) -> Option<&'static Command> {
        let last = self.calls.last()?;
        let same = self.argv(last).name() == argv.name() && last.command.name.len() == argv.name().len();
        // The full name of a subcommand is longer than the word that both begin with.
        (same && last.command.takes(argv.len())).then_some(last.command)
    }

    /// Touches what the commands about slots of this store will need.
    #[inline]
    pub(crate) fn fetch(&self, db: u32, store: &Store, is_ours: impl Fn(Slot) -> bool) {
        fetch(&self.calls, self.looked_at, &self.spans, db, store, is_ours);
    }

    /// The next command that was seen.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Call> {
        let call = *self.calls.get(self.taken)?;
        self.taken += 1;
        self.input = &self.looked_at[call.end as usize..];
        Some(call)
    }

    /// The command that would be taken next.
    #[inline]
    pub(crate) fn next(&self) -> Option<&Call> {
        self.calls.get(self.taken)
    }

    /// The next commands that were seen, up to one that is not wanted.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(&Call) -> bool) -> Run<'_> {
        let start = self.looked_at.len() - self.input.len();
        let left = &self.calls[self.taken..];
        let calls = &left[..left.iter().take_while(|call| wanted(call)).count()];
        let end = calls.last().map_or(start, |call| call.end as usize);
        let first = calls.first().map_or(0, |call| call.first as usize);
        let last = calls.last().map_or(0, |call| call.last as usize);
        self.taken += calls.len();
        self.input = &self.looked_at[end..];
        Run { start, bytes: &self.looked_at[start..end], calls, spans: &self.spans[first..last] }
    }

    /// The words of a command that was seen.
    #[inline]
    pub(crate) fn argv(&self, call: &Call) -> Argv<'_> {
        Argv::plain(self.looked_at, &self.spans[call.first as usize..call.last as usize])
    }
}

/// Touches what calls will need that are about slots of the store. Nothing here waits for what another key needs, so that
/// the processor fetches for as many keys at a time as it can.
#[inline]
pub(super) fn fetch(
    calls: &[Call],
    bytes: &[u8],
    spans: &[Span],
    db: u32,
    store: &Store,
    is_ours: impl Fn(Slot) -> bool,
) {
    if calls.len() < 2 {
        return;
    }
    let mut seen = 0;
    for call in calls {
        if let Place::One(Some(slot)) = call.place
            && is_ours(slot)
            && let Some(index) = call.command.sole_key()
        {
            seen |= store.peek(&store.at_in(db, slot, call.argv(bytes, spans).get(index)));
        }
    }
    core::hint::black_box(seen);
}
