//! A token: the right to lead, inside a closure that a runtime was handed and may run or drop.

use super::cell::{Cell, wake_all};
use super::queue::CommitQueue;
use super::seam::{Answer, GroupWriter};
use kv_trait::PoolId;
use std::sync::{Arc, Weak};

/// A closure's right to start the lead that is offered when it runs. Holds nothing that keeps a store open.
#[derive(Debug)]
pub(super) struct LeadToken<W: GroupWriter> {
    queue: Weak<CommitQueue<W>>,
    cell: Arc<Cell<Answer<W>>>,
    pool: PoolId,
    started: bool,
}

impl<W: GroupWriter> LeadToken<W> {
    pub(super) fn new(
        queue: &Arc<CommitQueue<W>>,
        cell: Arc<Cell<Answer<W>>>,
        pool: PoolId,
    ) -> Self {
        Self {
            queue: Arc::downgrade(queue),
            cell,
            pool,
            started: false,
        }
    }

    /// On a thread that may block: leads, if the lead is offered.
    pub(super) fn run(mut self) {
        self.started = true;
        let Some(queue) = self.queue.upgrade() else {
            return;
        };
        queue.lock().handed.retain(|holder| *holder != self.pool);
        if let Some(writer) = queue.try_start() {
            queue.lead(writer, None);
        }
    }
}

impl<W: GroupWriter> Drop for LeadToken<W> {
    fn drop(&mut self) {
        if self.started {
            return;
        }
        let wake = self.cell.closure_dropped();
        if let Some(queue) = self.queue.upgrade() {
            queue.take_back(self.pool);
        }
        wake_all(wake);
    }
}
