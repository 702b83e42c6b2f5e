//! Closing: the last lead of a store, which finishes what was admitted and is kept to the end.

use super::lead::{Panicked, guarded};
use super::queue::CommitQueue;
use super::seam::GroupWriter;
use super::state::{Lead, Phase};
use super::term::Term;
use crate::fault;
use crate::sync::wait;
use kv_trait::Result;
use std::sync::Arc;

/// The lead of a store that closes, held to the end.
#[derive(Debug)]
pub(crate) struct Closer<W> {
    pub(crate) writer: W,
}

impl<W: GroupWriter> CommitQueue<W> {
    /// Begins a close: no new batches, the line is told; waits for the lead, and keeps it.
    ///
    /// # Errors
    /// `Closed`: another close came first. `InvalidInput`: a waker calls this on the thread that leads.
    pub(crate) fn begin_close(self: &Arc<Self>) -> Result<Closer<W>> {
        self.refuse_if_leading()?;
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Err(fault::closed());
        }
        state.phase = Phase::Closing;
        let line = std::mem::take(&mut state.line);
        drop(state);
        self.changed.notify_all();
        Self::resolve_all(line.into_values(), |_| Err(fault::closed()));
        let mut state = self.lock();
        let writer = loop {
            match state.lead {
                Lead::Running(_) => state = wait(&self.changed, state),
                Lead::None | Lead::Offered => break state.start(),
            }
        };
        drop(state);
        let writer = self.finish_admitted(writer);
        // Nobody can start any more, and this thread may be asked other things.
        self.lock().lead = Lead::None;
        Ok(Closer { writer })
    }

    /// Finishes what was admitted, under the closer's own lead.
    fn finish_admitted(&self, mut writer: W) -> W {
        let mut term = Term::new();
        let finished = guarded(|| {
            loop {
                let first = self.lock().take_first();
                let Some(first) = first else { break };
                if self.one_group(&mut writer, first, &mut term).is_none() {
                    break;
                }
            }
        });
        if let Err(Panicked) = finished {
            self.note_panic(&mut writer, term);
        }
        let mut state = self.lock();
        let queued = state.take_queued(); // nothing, unless the log is poisoned
        let refusal = state.refusal.clone();
        drop(state);
        Self::refuse_all(queued, refusal);
        writer
    }
}
