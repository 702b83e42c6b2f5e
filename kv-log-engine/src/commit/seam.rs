//! What the queue and the writer of groups know of each other: a request, its answer, and the duties of a writer.

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

/// What the callers of a writer's requests get.
pub(super) type Answer<W> = <<W as GroupWriter>::Request as Request>::Answer;

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

    /// How many bytes the next group may have, given its first request: at least that one is taken. Comes before each
    /// [`GroupWriter::commit`]; a writer that may not write refuses here.
    ///
    /// # Errors
    /// The first request is refused with this error. [`GroupWriter::refusal`] is asked afterwards.
    fn prepare(&mut self, first: &Self::Request) -> Result<u64>;

    /// Does a slice of what the next group would have to wait for. `false`: it need not wait, or nothing can be done.
    fn relieve(&mut self) -> bool {
        false
    }

    /// Append, sync, publish; then `resolve` gets one outcome for each request, in order, and how the group ended. The
    /// requests are freed behind that: nobody waits for it.
    fn commit(
        &mut self,
        group: Vec<Self::Request>,
        resolve: impl FnOnce(Vec<Result<Answer<Self>>>, GroupEnd),
    ) where
        Self: Sized;

    /// What every request is refused with from now on, if the log is poisoned.
    fn refusal(&self) -> Option<Error>;

    /// Nothing was queued for a while: the leader is about to resign.
    fn idle(&mut self);

    /// A leader panicked in here: poisons the log, and says what its group learns.
    fn panicked(&mut self) -> Error;
}
