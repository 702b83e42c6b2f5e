//! A leader's term: how long it has led, and whether it may stay when nobody comes for what is queued.

use super::cell::Cell;
use super::seam::GroupWriter;
use super::state::{Limits, State};
use std::sync::Arc;
use std::time::Duration;

/// One leader's time in office.
pub(super) struct Term<A> {
    pub(super) start: Duration,
    pub(super) groups: u32,
    /// Clamped average of what a group took: one slow sync does not make a leader wait long for callers.
    pub(super) average: Duration,
    /// The tickets of the group in hand: out of the queue, and not resolved.
    pub(super) in_hand: Vec<Arc<Cell<A>>>,
    /// The term is over, and there was nobody to hand over to.
    stay: Option<Stay>,
}

/// How long a leader whose term is over goes on for batches that nobody will come for.
struct Stay {
    /// The last batch that was queued then.
    last: u64,
    start: Duration,
    groups: u32,
}

impl<A> Term<A> {
    pub(super) const fn new() -> Self {
        Self {
            start: Duration::ZERO,
            groups: 0,
            average: Duration::ZERO,
            in_hand: Vec::new(),
            stay: None,
        }
    }

    /// Whether a leader whose term is over may go on: through what was queued when it was, and for one more term.
    pub(super) fn may_stay<W: GroupWriter>(
        &mut self,
        state: &State<W>,
        limits: &Limits,
        now: Duration,
    ) -> bool {
        let Some(first) = state.first() else {
            return false;
        };
        let groups = self.groups;
        let stay = self.stay.get_or_insert_with(|| Stay {
            last: state.last_number(),
            start: now,
            groups,
        });
        let second_term = groups - stay.groups < limits.term_groups
            && now.saturating_sub(stay.start) < limits.term;
        first.number <= stay.last || second_term
    }

    pub(super) fn learn(&mut self, took: Duration) {
        let took = took.min(Duration::from_millis(2));
        self.average = if self.average.is_zero() {
            took
        } else {
            (self.average * 7 + took) / 8
        };
    }
}
