//! Group commit: many callers, one sync.
//!
//! Owns the order append, sync, publish, resolve. A ticket resolves only after its batch is durable and in the index,
//! so a caller who was told "done" can read its own write. Assumes nothing of the threads it runs on: whoever waits
//! can lead.
//!
//! Each module uses those above it in its half, and none below. The halves know each other through `seam` alone.
//!
//! | who is next, who waits, who leads | what is done with a group |
//! |---|---|
//! | `cell`: one outcome, and whom to wake | `poison`: no more writes |
//! | `state`: what the queue's lock guards | `active`: the active segment, with what guards it |
//! | `queue`: places, room, the lead | `plan`: conditions and seqnos before, answers after |
//! | `term`, `lead`: groups, one after the other | `admission`: who goes on when the disk is full |
//! | `token`, `ticket`, `closing`: ways to the lead | `rotate`: seal and go on; the marks of a clean end |
//! | | `upkeep`: freezing, and giving way to chores |
//! | | `keeping`: the reserve, and who is let in |
//! | | `group`: the order of them all |
//!
//! Lock order: queue, then ticket. Neither is held when a waker is called, when a closure is handed to a runtime, or
//! while a group is written.

mod admission;
mod cell;
mod closing;
mod lead;
mod plan;
mod queue;
mod seam;
mod state;
mod term;
mod ticket;
mod token;

pub(crate) mod active;
pub(crate) mod group;
pub(crate) mod keeping;
pub(crate) mod poison;
pub(crate) mod rotate;
pub(crate) mod upkeep;

#[cfg(test)]
mod group_tests;
#[cfg(all(test, loom))]
mod model;
#[cfg(test)]
mod tests;

pub(crate) use queue::CommitQueue;
pub(crate) use state::Limits;
pub(crate) use ticket::Ticket;

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
