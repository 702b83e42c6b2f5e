//! Group commit: many callers, one sync.
//!
//! Owns the order append, sync, publish, resolve. A ticket resolves only after its batch is durable and in the index,
//! so a caller who was told "done" can read its own write. Assumes nothing of the threads it runs on: whoever waits
//! can lead. Queue, ticket and lead know a group only through [`GroupWriter`]; `group` and `rotate` are what it does.
//!
//! Lock order: queue, then ticket. Neither is held when a waker is called, when a closure is handed to a runtime, or
//! while a group is written.

mod lead;
mod queue;
mod ticket;

pub(crate) mod group;
pub(crate) mod poison;
pub(crate) mod rotate;

#[cfg(test)]
mod group_tests;
#[cfg(all(test, loom))]
mod model;
#[cfg(test)]
mod tests;

pub(crate) use queue::{CommitQueue, Limits};
pub(crate) use ticket::Ticket;

use kv_trait::{Error, Result};
use std::fmt::Debug;

/// One caller's batch, as the queue sees it.
pub(crate) trait Request: Debug + Send + 'static {
    /// What the caller gets when the batch is durable and visible.
    type Answer: Debug + Send + 'static;

    /// The room it takes in a segment.
    fn bytes(&self) -> u64;

    /// The room it takes in the queue, which holds what is never written, too.
    fn queue_bytes(&self) -> u64 {
        self.bytes()
    }
}

/// How a group ended, for those behind it.
#[derive(Debug)]
pub(crate) enum GroupEnd {
    /// The next group may come, whatever became of this one.
    Good,
    /// No group may come: every later request gets this refusal.
    Poisoned(Error),
}

/// What a leader does with a group. Only the leader calls it, one call at a time.
pub(crate) trait GroupWriter: Debug + Send + 'static {
    /// The batches it writes.
    type Request: Request;

    /// How many bytes the next group may have, given its first request: at least that one is taken.
    ///
    /// # Errors
    /// The first request is refused with this error. [`GroupWriter::refusal`] is asked afterwards.
    fn prepare(&mut self, first_bytes: u64) -> Result<u64>;

    /// Append, sync, publish: pushes one outcome for each request, in order.
    fn commit(
        &mut self,
        group: &mut [Self::Request],
        outcomes: &mut Vec<Result<<Self::Request as Request>::Answer>>,
    ) -> GroupEnd;

    /// What every request is refused with from now on, if the log is poisoned.
    fn refusal(&self) -> Option<Error>;

    /// What `RefusalBeforeSync` answers before the sync.
    #[cfg(feature = "planted-faults")]
    fn early_refusals(&self, _group: &[Self::Request]) -> Vec<(usize, Error)> {
        Vec::new()
    }

    /// The leader is about to resign with nothing queued.
    fn idle(&mut self);

    /// A leader panicked in here: poisons the log, and says what its group learns.
    fn panicked(&mut self) -> Error;
}

/// Bugs that the model checker must find, planted for its own test; absent from everything else.
#[cfg(all(test, loom))]
pub(crate) mod planted {
    use std::sync::atomic::{AtomicU8, Ordering};

    pub(crate) const NO_WAKE_ON_OFFER: u8 = 1;
    pub(crate) const NO_WAKE_OF_LINGERING_LEADER: u8 = 2;
    pub(crate) const NO_WAKE_OF_CLOSER: u8 = 3;

    static BUG: AtomicU8 = AtomicU8::new(0);

    pub(crate) fn plant(bug: u8) {
        BUG.store(bug, Ordering::SeqCst);
    }

    pub(crate) fn is(bug: u8) -> bool {
        BUG.load(Ordering::SeqCst) == bug
    }
}
