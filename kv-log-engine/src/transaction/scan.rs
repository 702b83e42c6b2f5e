//! Walking a range as a transaction sees it: its snapshot, with its own writes over it.

use super::state::{Shared, Writes};
use crate::format::ids::Seqno;
use crate::format::run::{full_key, split_key, successor};
use crate::scan::{End, Scan};
use kv_trait::Result;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

/// The keys and values of a range as a transaction sees them. Made by [`super::Transaction::scan`].
///
/// It shows what the transaction has written before the scan was made, and not what is written while it goes on: a loop that
/// writes what it walks over comes to an end. What it has passed, with all that was absent there, counts as read, and
/// nothing beyond. Otherwise it is as [`Scan`] is.
#[derive(Debug)]
pub struct TransactionScan {
    shared: Arc<Shared>,
    keyspace: u32,
    /// What the snapshot shows, and of each end the next of it, where it was looked at.
    below: Scan,
    ahead: [Option<(Vec<u8>, Vec<u8>)>; 2],
    own: Arc<Writes>,
    /// Full keys: what is left of the own writes, and the whole range.
    own_left: (Vec<u8>, Vec<u8>),
    whole: (Vec<u8>, Vec<u8>),
    now_ms: u64,
    ended: bool,
}

type Pair = (Vec<u8>, Vec<u8>);

impl TransactionScan {
    pub(super) fn new(
        shared: Arc<Shared>,
        keyspace: u32,
        below: Scan,
        own: Arc<Writes>,
        whole: (Vec<u8>, Vec<u8>),
        now_ms: u64,
    ) -> Self {
        Self {
            shared,
            keyspace,
            below,
            ahead: [None, None],
            own,
            own_left: whole.clone(),
            whole,
            now_ms,
            ended: false,
        }
    }

    /// The point that it shows, but for the own writes.
    pub(crate) fn at(&self) -> Seqno {
        self.shared.at
    }

    /// The next at one end. Values that lie elsewhere are read if `reads_values`, which stays the same.
    pub(crate) fn step(&mut self, end: End, reads_values: bool) -> Option<Result<Pair>> {
        if self.ended {
            return None;
        }
        loop {
            if let Err(error) = self.look_ahead(end, reads_values) {
                return Some(Err(error));
            }
            let own = self.own_next(end);
            let below = self.ahead[end as usize].as_ref().map(|(key, _)| &**key);
            let first = match (&own, below) {
                (None, None) => {
                    self.ended = true;
                    let (from, to) = &self.whole;
                    let noted = self.shared.read_range(from, to);
                    return noted.err().map(Err);
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((own, _)), Some(below)) => order(end, raw(own), below),
            };
            let found = match own.filter(|_| first.is_le()) {
                None => self.ahead[end as usize].take(),
                Some((key, value)) => {
                    if first.is_eq() {
                        self.ahead[end as usize] = None;
                    }
                    let found = value.map(|value| (raw(&key).to_vec(), value.to_vec()));
                    match end {
                        End::Front => self.own_left.0 = successor(&key),
                        End::Back => self.own_left.1 = key.to_vec(),
                    }
                    found
                }
            };
            if let Some(found) = found {
                return Some(self.passed(end, &found.0).map(|()| found));
            }
        }
    }

    /// The next of the snapshot at one end: what was looked at from the other end is the last of it.
    fn look_ahead(&mut self, end: End, reads_values: bool) -> Result<()> {
        if self.ahead[end as usize].is_none() {
            self.ahead[end as usize] = match self.below.record(end, reads_values) {
                Some(next) => next.map(|next| Some((next.key, next.value)))?,
                None => self.ahead[other(end) as usize].take(),
            };
        }
        Ok(())
    }

    /// The next of the own writes, with its full key. `None` in it: removed.
    #[expect(clippy::type_complexity, reason = "a key, and what it holds")]
    fn own_next(&self, end: End) -> Option<(Arc<[u8]>, Option<Arc<[u8]>>)> {
        let (from, to) = &self.own_left;
        if from >= to {
            return None;
        }
        let bounds = (Bound::Included(&**from), Bound::Excluded(&**to));
        let mut left = self.own.range::<[u8], _>(bounds);
        let (key, written) = match end {
            End::Front => left.next(),
            End::Back => left.next_back(),
        }?;
        let is_there = written.value(self.now_ms).is_some();
        let value = if is_there {
            written.value.clone()
        } else {
            None
        };
        Some((Arc::clone(key), value))
    }

    /// Everything up to this key has been read.
    fn passed(&mut self, end: End, key: &[u8]) -> Result<()> {
        let key = full_key(self.keyspace, key);
        let (from, to) = &self.whole;
        let noted = match end {
            End::Front => self.shared.read_range(from, &successor(&key)),
            End::Back => self.shared.read_range(&key, to),
        };
        self.ended |= noted.is_err();
        noted
    }
}

const fn other(end: End) -> End {
    match end {
        End::Front => End::Back,
        End::Back => End::Front,
    }
}

/// Which of two keys an end comes to first.
fn order(end: End, a: &[u8], b: &[u8]) -> Ordering {
    match end {
        End::Front => a.cmp(b),
        End::Back => b.cmp(a),
    }
}

fn raw(full_key: &[u8]) -> &[u8] {
    split_key(full_key).map_or(full_key, |(_, key)| key)
}

impl Iterator for TransactionScan {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(End::Front, true)
    }
}

impl DoubleEndedIterator for TransactionScan {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(End::Back, true)
    }
}
