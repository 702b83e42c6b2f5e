//! Which changes left no trace: where a merge has dropped the last entry of a key, and how late that entry was written.
//!
//! A key that was deleted, and whose tombstone has reached the bottom, is in no memtable and in no run. Who asks whether a
//! range was changed behind a record S would be told "no" by all of them. So whatever drops the newest entry of a key says
//! so here, and such a question is answered *too old* where something later than S may be missing. In memory only, from the
//! open on: what was dropped before that is at or below C of the open, and everything at or below that counts as forgotten.

use super::source::Interval;
use crate::format::ids::Seqno;
use crate::format::run::KEYS_END;

/// More are not kept: the one of the oldest change then stands for all keys, which is too much and never too little.
const SPANS_MAX: usize = 64;

/// Full keys from the first up to the second, and the highest seqno of what was dropped between them.
type Span = (Vec<u8>, Vec<u8>, Seqno);

#[derive(Clone, Debug)]
pub(super) struct Forgotten {
    /// Of any key, changes up to here may be missing.
    everywhere: Seqno,
    spans: Vec<Span>,
}

impl Forgotten {
    /// At an open: C.
    pub(super) const fn up_to(covered: Seqno) -> Self {
        Self {
            everywhere: covered,
            spans: Vec::new(),
        }
    }

    /// Changes up to `seqno` of keys from `from` on, up to `to`, are in nothing any more.
    pub(super) fn add(&mut self, from: &[u8], to: Option<&[u8]>, seqno: Seqno) {
        if seqno <= self.everywhere {
            return;
        }
        let to = to.unwrap_or(&KEYS_END);
        let is_covered = |span: &Span| *from <= *span.0 && *span.1 <= *to && span.2 <= seqno;
        self.spans.retain(|span| !is_covered(span));
        self.spans.push((from.to_vec(), to.to_vec(), seqno));
        if self.spans.len() > SPANS_MAX {
            let oldest = self.spans.iter().map(|span| span.2).min();
            self.everywhere = oldest.unwrap_or_default().max(self.everywhere);
            let everywhere = self.everywhere;
            self.spans.retain(|span| span.2 > everywhere);
        }
    }

    /// Whether a change of this interval behind a record may be missing.
    pub(super) fn above(&self, interval: &Interval, seqno: Seqno) -> bool {
        let meets = |span: &Span| span.2 > seqno && interval.meets(&span.0, &span.1);
        seqno < self.everywhere || self.spans.iter().any(meets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval(from: u8, to: u8) -> Interval {
        Interval::between(&[from], &[to])
    }

    #[test]
    fn what_was_dropped_is_asked_for_where_it_was_and_when() {
        let mut forgotten = Forgotten::up_to(5.into());
        assert!(forgotten.above(&interval(0, 9), 4.into()));
        assert!(!forgotten.above(&interval(0, 9), 5.into()));
        forgotten.add(&[3], Some(&[6]), 10.into());
        for (from, to, at, missing) in [
            (0, 3, 9, false),
            (0, 4, 9, true),
            (0, 4, 10, false),
            (5, 9, 9, true),
            (6, 9, 9, false),
        ] {
            assert_eq!(forgotten.above(&interval(from, to), at.into()), missing);
        }
        forgotten.add(&[8], None, 12.into());
        assert!(forgotten.above(&interval(200, 201), 11.into()));
    }

    proptest! {
        #[test]
        fn nothing_that_was_dropped_is_forgotten_here(
            drops in proptest::collection::vec((0_u8..200, 1_u8..50, 1_u64..1000), 0..300),
            asked in (0_u8..200, 1_u8..50, 0_u64..1000),
        ) {
            let mut forgotten = Forgotten::up_to(Seqno::ZERO);
            for (from, len, seqno) in &drops {
                forgotten.add(&[*from], Some(&[from + len]), (*seqno).into());
            }
            let (from, len, at) = asked;
            let missing = drops.iter().any(|(start, length, seqno)| {
                *seqno > at && *start < from + len && from < start + length
            });
            let told = forgotten.above(&interval(from, from + len), at.into());
            prop_assert!(told || !missing);
            prop_assert!(forgotten.spans.len() <= SPANS_MAX);
            if drops.len() <= SPANS_MAX {
                prop_assert_eq!(told, missing);
            }
        }
    }
}
