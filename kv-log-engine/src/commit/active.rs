//! The active segment as the leader has it: with the poison, the attempt number and the counters that follow it. Says
//! what the failure of a step means for the store.

use super::poison::Poison;
use crate::host::Host;
use crate::log::followers::Followers;
use crate::log::scan::Boundary;
use crate::log::writer::{Failed, SegmentWriter};
use crate::stats::Counters;
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the leader writes to, and may not write to any more once it is poisoned.
#[derive(Debug)]
pub(crate) struct Active {
    pub(super) segment: SegmentWriter,
    pub(super) counters: Arc<Counters>,
    pub(super) host: Arc<dyn Host>,
    /// Who reads the log as it grows.
    pub(super) followers: Arc<Followers>,
    poison: Poison,
    /// Two tries at one place differ in this. Random at open, one higher with each write.
    attempt: u64,
    process_id: u32,
}

impl Active {
    pub(crate) fn new(
        segment: SegmentWriter,
        counters: Arc<Counters>,
        followers: Arc<Followers>,
        poison: Poison,
        host: Arc<dyn Host>,
        attempt: u64,
    ) -> Self {
        let active = Self {
            segment,
            counters,
            followers,
            poison,
            attempt,
            process_id: host.process_id(),
            host,
        };
        active.show_end();
        active
    }

    /// Poisoned, or a forked child that has inherited the handles but not the lock.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.poison.refusal().or_else(|| {
            (self.host.process_id() != self.process_id).then(|| {
                let message =
                    "this process is a fork of the one that opened the store; open it here";
                Error::new(ErrorKind::Unavailable, message)
            })
        })
    }

    pub(super) fn poison_refusal(&self) -> Option<Error> {
        self.poison.refusal()
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// The flag first, then the answers.
    pub(super) fn poisoned_by(&self, error: Error) -> Error {
        let error = error.with_effect(Effect::Unknown);
        self.poison.set(&error);
        error
    }

    /// The number of the next try.
    pub(super) fn next_attempt(&mut self) -> u64 {
        self.attempt = self.attempt.wrapping_add(1);
        self.attempt
    }

    /// The one sync of a group that ends at `end`; none where it wrote nothing.
    ///
    /// # Errors
    /// What the sync says, effect *unknown*: poisoned. Never synced or written again.
    pub(super) fn sync(&self, end: Boundary) -> Result<()> {
        if end.offset > self.segment.end().offset {
            self.segment
                .sync()
                .map_err(|error| self.sync_failed(error))?;
        }
        Ok(())
    }

    fn sync_failed(&self, error: Error) -> Error {
        if planted!(EffectByErrno) && error.kind() == ErrorKind::StorageFull {
            return error;
        }
        if planted!(NotPoisoned) {
            return error.with_effect(Effect::Unknown);
        }
        self.poisoned_by(error)
    }

    /// What was written behind END, up to `to`, is taken back; where that is not possible, the store is poisoned. From
    /// `own` on the group made its own room.
    pub(super) fn undo(&mut self, own: u64, to: u64, error: Error) -> Error {
        match self.segment.undo(own, to) {
            Ok(()) => error,
            Err(_also) => self.poisoned_by(error),
        }
    }

    /// What the failure of a mark or of a footer means.
    pub(super) fn failed(&self, failed: Failed) -> Error {
        match failed {
            Failed::Undone(error) => error,
            Failed::InDoubt(error) => self.poisoned_by(error),
        }
    }

    /// Tells whoever asks for counters and sizes where END is.
    pub(super) fn show_end(&self) {
        let end = self.segment.end();
        let last = end.next_seqno.previous();
        self.counters
            .last_seqno
            .store(last.get(), Ordering::Relaxed);
        self.counters
            .active_bytes
            .store(end.offset, Ordering::Relaxed);
    }
}
