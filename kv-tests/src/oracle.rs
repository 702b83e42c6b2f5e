//! What callers were told, and what a store may therefore look like after a crash at any moment.
//!
//! The order of writes is the order of submission. After a crash the state must be the effect of a prefix of it, no
//! shorter than the last write that was acknowledged or seen by a reader, no longer than what had been submitted. A
//! write that was refused with effect *nothing* leaves the order; one whose effect is *unknown* stays and may be cut.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Keys and values.
pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// One change of a batch: a value, or `None` for a removal.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Names a batch in the oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(usize);

#[derive(Clone, Debug)]
struct Branch {
    /// The batches in order.
    order: Vec<BatchId>,
    /// The hash of the contents after each prefix, the empty one first.
    hashes: Vec<u64>,
}

/// From this op on (until the next moment) prefixes of `branch` between the two lengths are allowed.
#[derive(Clone, Copy, Debug)]
struct Moment {
    op: usize,
    branch: usize,
    shortest: usize,
    longest: usize,
}

/// What a later refusal explains: from one op to before another a crash may leave these prefixes, too.
#[derive(Clone, Copy, Debug)]
struct Alternative {
    moment: Moment,
    until: usize,
}

/// Remembers what was submitted, acknowledged, refused and seen, against the clock of the disk's trace.
#[derive(Clone, Debug)]
pub struct Oracle {
    batches: Vec<Vec<Change>>,
    branches: Vec<Branch>,
    moments: Vec<Moment>,
    alternatives: Vec<Alternative>,
    /// The moment at which each batch was submitted, by its position.
    submitted: Vec<usize>,
}

/// What the oracle allows at a crash point.
#[derive(Clone, Debug)]
pub struct Allowed<'o> {
    hashes: &'o [u64],
    shortest: usize,
    /// Without batches that were being refused.
    others: Vec<&'o [u64]>,
}

impl Default for Oracle {
    fn default() -> Self {
        Self::new()
    }
}

impl Oracle {
    /// Nothing has happened.
    #[must_use]
    pub fn new() -> Self {
        let branch = Branch {
            order: Vec::new(),
            hashes: vec![hash(&Contents::new())],
        };
        let moment = Moment {
            op: 0,
            branch: 0,
            shortest: 0,
            longest: 0,
        };
        Self {
            batches: Vec::new(),
            branches: vec![branch],
            moments: vec![moment],
            alternatives: Vec::new(),
            submitted: Vec::new(),
        }
    }

    fn now(&self) -> Moment {
        *self.moments.last().expect("an oracle begins with a moment")
    }

    fn branch(&self) -> &Branch {
        &self.branches[self.now().branch]
    }

    fn push(&mut self, moment: Moment) {
        assert!(
            moment.op >= self.now().op,
            "the clock of the disk does not go back"
        );
        self.moments.push(moment);
    }

    /// A batch was submitted when so many ops had returned.
    pub fn submitted(&mut self, op: usize, changes: Vec<Change>) -> BatchId {
        let id = BatchId(self.batches.len());
        self.batches.push(changes);
        self.submitted.push(self.moments.len());
        let mut order = self.branch().order.clone();
        order.push(id);
        self.extend(op, order);
        id
    }

    fn extend(&mut self, op: usize, order: Vec<BatchId>) {
        let now = self.now();
        let longest = order.len();
        let branch = self.make_branch(order);
        self.push(Moment {
            op,
            branch,
            longest,
            ..now
        });
    }

    fn make_branch(&mut self, order: Vec<BatchId>) -> usize {
        let mut contents = Contents::new();
        let mut hashes = vec![hash(&contents)];
        for id in &order {
            apply(&mut contents, &self.batches[id.0]);
            hashes.push(hash(&contents));
        }
        self.branches.push(Branch { order, hashes });
        self.branches.len() - 1
    }

    /// A batch was acknowledged: it and everything before it survives from this op on.
    pub fn acknowledged(&mut self, op: usize, id: BatchId) {
        let at = self.position(id);
        let now = self.now();
        self.push(Moment {
            op: op.max(now.op),
            shortest: now.shortest.max(at + 1),
            ..now
        });
    }

    /// A batch was refused with effect *nothing*: it is in no later state.
    ///
    /// # Panics
    /// If it had been acknowledged.
    pub fn refused(&mut self, op: usize, id: BatchId) {
        let at = self.position(id);
        let now = self.now();
        assert!(
            at >= now.shortest,
            "a batch was refused after it had been acknowledged or seen"
        );
        self.may_have_been_left_out(op.max(now.op), id);
        let order = self.without(now.branch, id);
        self.extend(op.max(now.op), order);
    }

    fn without(&self, branch: usize, id: BatchId) -> Vec<BatchId> {
        let order = self.branches[branch].order.iter().copied();
        order.filter(|other| *other != id).collect()
    }

    /// A batch is refused before its group is written, and hears of it behind the group's sync: from its submission up to
    /// `op` those beside it may be there without it.
    fn may_have_been_left_out(&mut self, op: usize, id: BatchId) {
        let since = self.submitted[id.0];
        let ends = self.moments[since + 1..].iter().map(|next| next.op);
        let ends = ends.chain([op]);
        let moments = self.moments[since..].iter().copied().zip(ends);
        let moments: Vec<_> = moments
            .map(|(moment, until)| Alternative { moment, until })
            .collect();
        let begun = self.moments[since].op;
        let others = self.alternatives.iter().copied();
        let others: Vec<_> = others.filter(|other| other.until > begun).collect();
        for Alternative { moment, until } in moments.into_iter().chain(others) {
            let there = self.branches[moment.branch].order[..moment.longest].contains(&id);
            if !there || until <= moment.op {
                continue;
            }
            let order = self.without(moment.branch, id);
            let longest = moment.longest - 1;
            let branch = self.make_branch(order);
            let moment = Moment {
                branch,
                longest,
                ..moment
            };
            self.alternatives.push(Alternative { moment, until });
        }
    }

    fn position(&self, id: BatchId) -> usize {
        let at = self.branch().order.iter().position(|other| *other == id);
        at.expect("the batch is in the order")
    }

    /// A reader saw these contents: they survive from now on, and later writes continue them.
    ///
    /// # Panics
    /// If they are no prefix that is allowed now.
    pub fn seen(&mut self, op: usize, contents: &Contents, context: &str) {
        let now = self.now();
        let found = self.allowed_now().find(contents);
        let Some(length) = found else {
            panic!(
                "{context}: a reader saw what is no allowed prefix: {}",
                self.explain(contents)
            );
        };
        self.push(Moment {
            op: op.max(now.op),
            shortest: length,
            ..now
        });
    }

    /// The store was opened and shows these contents: what they lack of the order is gone for good.
    ///
    /// # Panics
    /// If they are no prefix that is allowed now.
    pub fn reopened(&mut self, op: usize, contents: &Contents, context: &str) {
        self.seen(op, contents, context);
        let now = self.now();
        let order = self.branch().order[..now.shortest].to_vec();
        self.extend(op.max(now.op), order);
    }

    /// For people: how a state that is not allowed at `op` could have come about, if one batch too few or too short a
    /// prefix explains it.
    #[must_use]
    pub fn explain_hash(&self, op: usize, shown: u64) -> String {
        let behind = self.moments.partition_point(|moment| moment.op <= op);
        let moment = self.moments[behind.max(1) - 1];
        let order = &self.branches[moment.branch].order[..moment.longest];
        for left_out in std::iter::once(None).chain(order.iter().map(Some)) {
            let mut contents = Contents::new();
            for (length, id) in order.iter().enumerate() {
                if hash(&contents) == shown {
                    return format!(
                        "it is the first {length} of {} batches without {left_out:?}, {} must be there",
                        order.len(),
                        moment.shortest
                    );
                }
                if Some(id) != left_out {
                    apply(&mut contents, &self.batches[id.0]);
                }
            }
            if hash(&contents) == shown {
                let all = order.len();
                return format!("it is all {all} batches without {left_out:?}");
            }
        }
        "no single batch explains it".to_owned()
    }

    fn allowed_now(&self) -> Allowed<'_> {
        self.allowed(usize::MAX)
    }

    /// What a crash may leave when so many ops have returned.
    #[must_use]
    pub fn allowed(&self, op: usize) -> Allowed<'_> {
        let behind = self.moments.partition_point(|moment| moment.op <= op);
        let moment = self.moments[behind.max(1) - 1];
        let hashes = &self.branches[moment.branch].hashes[..=moment.longest];
        let others = self
            .alternatives
            .iter()
            .filter(|other| (other.moment.op..other.until).contains(&op));
        let others = others.map(|Alternative { moment, .. }| {
            &self.branches[moment.branch].hashes[moment.shortest..=moment.longest]
        });
        Allowed {
            hashes,
            shortest: moment.shortest,
            others: others.collect(),
        }
    }

    /// Shows each state that a crash may leave when so many ops have returned: for whoever sees only a part of it.
    pub fn each_state(&self, op: usize, mut shown: impl FnMut(&Contents)) {
        let behind = self.moments.partition_point(|moment| moment.op <= op);
        let now = self.moments[behind.max(1) - 1];
        let others = self.alternatives.iter();
        let others = others.filter(|other| (other.moment.op..other.until).contains(&op));
        for moment in std::iter::once(now).chain(others.map(|other| other.moment)) {
            let order = &self.branches[moment.branch].order[..moment.longest];
            let mut contents = Contents::new();
            for length in 0..=order.len() {
                if length >= moment.shortest {
                    shown(&contents);
                }
                if let Some(id) = order.get(length) {
                    apply(&mut contents, &self.batches[id.0]);
                }
            }
        }
    }

    /// The contents that the order up to now leads to.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let mut contents = Contents::new();
        for id in &self.branch().order {
            apply(&mut contents, &self.batches[id.0]);
        }
        contents
    }

    fn explain(&self, contents: &Contents) -> String {
        let allowed = self.allowed_now();
        let known = self
            .branch()
            .hashes
            .iter()
            .position(|known| *known == hash(contents));
        format!(
            "{} keys, prefix {known:?}, allowed {}..={}",
            contents.len(),
            allowed.shortest,
            allowed.hashes.len() - 1
        )
    }
}

impl Allowed<'_> {
    /// The length of an allowed prefix with these contents.
    #[must_use]
    pub fn find(&self, contents: &Contents) -> Option<usize> {
        self.find_hash(hash(contents))
    }

    /// The same by [`hash`].
    #[must_use]
    pub fn find_hash(&self, wanted: u64) -> Option<usize> {
        let known = self.hashes[self.shortest..].iter();
        let at = known.enumerate().find(|(_, known)| **known == wanted);
        let other = || self.others.iter().find(|other| other.contains(&wanted));
        at.map(|(at, _)| self.shortest + at)
            .or_else(|| other().map(|other| other.len()))
    }
}

/// A number that stands for contents.
#[must_use]
pub fn hash(contents: &Contents) -> u64 {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    hasher.finish()
}

fn apply(contents: &mut Contents, changes: &[Change]) {
    for (key, value) in changes {
        match value {
            Some(value) => contents.insert(key.clone(), value.clone()),
            None => contents.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8, value: u8) -> Change {
        (vec![key], Some(vec![value]))
    }

    fn contents(pairs: &[(u8, u8)]) -> Contents {
        pairs
            .iter()
            .map(|(key, value)| (vec![*key], vec![*value]))
            .collect()
    }

    #[test]
    fn an_acknowledged_batch_must_survive_and_a_pending_one_may() {
        let mut oracle = Oracle::new();
        let first = oracle.submitted(0, vec![put(1, 1)]);
        oracle.submitted(0, vec![put(2, 2)]);
        oracle.acknowledged(3, first);
        assert!(oracle.allowed(2).find(&contents(&[])).is_some());
        assert!(oracle.allowed(3).find(&contents(&[])).is_none());
        assert!(oracle.allowed(3).find(&contents(&[(1, 1)])).is_some());
        assert!(
            oracle
                .allowed(3)
                .find(&contents(&[(1, 1), (2, 2)]))
                .is_some()
        );
        assert!(oracle.allowed(3).find(&contents(&[(2, 2)])).is_none());
    }

    #[test]
    fn a_refused_batch_may_show_before_the_refusal_and_never_after() {
        let mut oracle = Oracle::new();
        let refused = oracle.submitted(0, vec![put(1, 1)]);
        oracle.refused(5, refused);
        let next = oracle.submitted(6, vec![put(2, 2)]);
        oracle.acknowledged(9, next);
        assert!(oracle.allowed(4).find(&contents(&[(1, 1)])).is_some());
        assert!(oracle.allowed(5).find(&contents(&[(1, 1)])).is_none());
        assert!(
            oracle
                .allowed(9)
                .find(&contents(&[(1, 1), (2, 2)]))
                .is_none()
        );
        assert!(oracle.allowed(9).find(&contents(&[(2, 2)])).is_some());
    }

    #[test]
    fn those_beside_a_batch_that_is_being_refused_may_be_there_without_it() {
        let mut oracle = Oracle::new();
        let refused = oracle.submitted(1, vec![put(1, 1)]);
        let also = oracle.submitted(1, vec![put(2, 2)]);
        let beside = oracle.submitted(1, vec![put(3, 3)]);
        oracle.refused(5, refused);
        oracle.refused(5, also);
        oracle.acknowledged(5, beside);
        for at in [1, 4, 5, 9] {
            assert!(oracle.allowed(at).find(&contents(&[(3, 3)])).is_some());
        }
        assert!(
            oracle
                .allowed(4)
                .find(&contents(&[(2, 2), (3, 3)]))
                .is_some()
        );
        assert!(oracle.allowed(0).find(&contents(&[(3, 3)])).is_none());
        assert!(
            oracle
                .allowed(5)
                .find(&contents(&[(2, 2), (3, 3)]))
                .is_none()
        );
        assert!(oracle.allowed(5).find(&contents(&[])).is_none());
    }

    #[test]
    fn half_a_batch_is_never_allowed() {
        let mut oracle = Oracle::new();
        oracle.submitted(0, vec![put(1, 1), put(2, 2)]);
        assert!(oracle.allowed(0).find(&contents(&[(1, 1)])).is_none());
    }

    #[test]
    #[should_panic(expected = "no allowed prefix")]
    fn a_reader_who_saw_the_future_is_caught() {
        let mut oracle = Oracle::new();
        oracle.submitted(0, vec![put(1, 1)]);
        oracle.seen(1, &contents(&[(1, 2)]), "test");
    }
}
