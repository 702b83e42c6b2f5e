//! What the queue's one lock guards: who is queued and in which order, who waits for room, who leads.

use super::cell::{Cell, Wake};
use super::seam::{Answer, GroupWriter, Request};
use crate::sync::{ThreadId, current};
use kv_trait::{Error, PoolId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The bounds of a queue and of a leader's work. `docs/DURABILITY.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Batches are admitted while the queue holds no more than this, in bytes; one larger batch is admitted alone.
    pub(crate) queue_bytes: u64,
    /// And no more than this many batches.
    pub(crate) queue_batches: usize,
    /// A group ends at this many bytes; one larger batch is a group alone.
    pub(crate) group_bytes: u64,
    /// A leader hands over after this time,
    pub(crate) term: Duration,
    /// or after this many groups.
    pub(crate) term_groups: u32,
    /// How long an idle leader waits for the next batch before it resigns.
    pub(crate) linger: Duration,
    /// The longest that a leader waits for the callers it has just answered.
    pub(crate) gather: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_bytes: 16 * 1024 * 1024,
            queue_batches: 16 * 1024,
            group_bytes: 4 * 1024 * 1024,
            term: Duration::from_millis(50),
            term_groups: 64,
            linger: Duration::from_millis(2),
            gather: Duration::from_micros(500),
        }
    }
}

/// A batch with the cell that its caller looks into.
#[derive(Debug)]
pub(super) struct Pending<R: Request> {
    /// Its place in the order: rises from batch to batch.
    pub(super) number: u64,
    pub(super) request: R,
    pub(super) cell: Arc<Cell<R::Answer>>,
    /// Admitted, and then its ticket was dropped: it finishes, but nobody comes to lead for it.
    pub(super) abandoned: bool,
}

/// Who leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// Nobody, and nothing is queued.
    None,
    /// Nobody yet: whoever waits may start.
    Offered,
    /// This thread.
    Running(ThreadId),
}

/// Where the store stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// No new batch; what was admitted is finished.
    Closing,
    /// The last handle is gone: nobody waits, what is queued is discarded.
    Dropped,
}

pub(super) struct State<W: GroupWriter> {
    /// By number: a caller who gives up finds its batch without a search through everybody else's, under a lock that
    /// every submit takes.
    pub(super) admitted: BTreeMap<u64, Pending<W::Request>>,
    pub(super) admitted_bytes: u64,
    /// How many of them are abandoned.
    pub(super) abandoned: usize,
    /// By number; each is higher than any that was admitted.
    pub(super) line: BTreeMap<u64, Pending<W::Request>>,
    pub(super) next_number: u64,
    pub(super) lead: Lead,
    /// The pools that hold a closure which has not run yet. It will start whatever lead is offered then, so one for each
    /// pool is enough, and a pool that is stuck does not gather more.
    pub(super) handed: Vec<PoolId>,
    pub(super) phase: Phase,
    pub(super) refusal: Option<Error>,
    /// In here while nobody leads.
    pub(super) writer: Option<W>,
    /// The leader waits for work.
    pub(super) lingering: bool,
}

impl<W: GroupWriter> State<W> {
    pub(super) const fn new(writer: W) -> Self {
        Self {
            admitted: BTreeMap::new(),
            admitted_bytes: 0,
            abandoned: 0,
            line: BTreeMap::new(),
            next_number: 0,
            lead: Lead::None,
            handed: Vec::new(),
            phase: Phase::Open,
            refusal: None,
            writer: Some(writer),
            lingering: false,
        }
    }

    pub(super) fn has_room(&self, pending: &Pending<W::Request>, limits: &Limits) -> bool {
        self.admitted.is_empty()
            || (self.admitted.len() < limits.queue_batches
                && self.admitted_bytes + pending.request.queue_bytes() <= limits.queue_bytes)
    }

    pub(super) fn admit(&mut self, pending: Pending<W::Request>) {
        self.admitted_bytes += pending.request.queue_bytes();
        self.admitted.insert(pending.number, pending);
    }

    /// The one way out of what was admitted, but for [`State::take_queued`].
    pub(super) fn remove_admitted(&mut self, number: u64) -> Option<Pending<W::Request>> {
        let removed = self.admitted.remove(&number)?;
        self.admitted_bytes -= removed.request.queue_bytes();
        self.abandoned -= usize::from(removed.abandoned);
        Some(removed)
    }

    /// The oldest batch that was admitted.
    pub(super) fn first(&self) -> Option<&Pending<W::Request>> {
        self.admitted.first_key_value().map(|(_, first)| first)
    }

    /// The number of the newest batch that was admitted; 0 if none is.
    pub(super) fn last_number(&self) -> u64 {
        self.admitted
            .last_key_value()
            .map_or(0, |(number, _)| *number)
    }

    pub(super) fn take_first(&mut self) -> Option<Pending<W::Request>> {
        let number = self.first()?.number;
        self.remove_admitted(number)
    }

    /// Whoever frees room admits from the head of the line. Nobody is woken: they wait for durability.
    pub(super) fn admit_from_line(&mut self, limits: &Limits) {
        while let Some((_, head)) = self.line.first_key_value() {
            if !self.has_room(head, limits) {
                break;
            }
            if let Some((_, head)) = self.line.pop_first() {
                self.admit(head);
            }
        }
    }

    /// Offered, or none for a closer, to running.
    pub(super) fn start(&mut self) -> W {
        self.lead = Lead::Running(current().id());
        self.writer
            .take()
            .expect("the writer is in its place while nobody leads")
    }

    /// Everything that no leader has taken.
    pub(super) fn take_queued(&mut self) -> Vec<Pending<W::Request>> {
        self.admitted_bytes = 0;
        self.abandoned = 0;
        let admitted = std::mem::take(&mut self.admitted);
        let line = std::mem::take(&mut self.line);
        admitted.into_values().chain(line.into_values()).collect()
    }
}

/// The oldest synchronous waiter and every asynchronous one: each of them can get a leader started.
pub(super) fn waiters<W: GroupWriter>(state: &State<W>) -> Vec<Wake<Answer<W>>> {
    let mut thread = true;
    let mut wakes = Vec::new();
    for pending in state.admitted.values().chain(state.line.values()) {
        if let Some(wake) = pending.cell.nudge(thread) {
            thread &= !matches!(wake, Wake::Thread(_));
            wakes.push(wake);
        }
    }
    wakes
}
