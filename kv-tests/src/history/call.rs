//! One operation as its caller saw it.

use crate::fixture::{Key, Value};
use crate::shown::Text;
use kv_trait::{KeyRange, Query, Version};
use std::collections::BTreeMap;
use std::fmt;

/// What a store holds, at one point.
pub(super) type State = BTreeMap<Key, Value>;

/// Whether a call happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Certainty {
    /// It was acknowledged, or failed with effect *applied*.
    Surely,
    /// It may have happened at any instant between its beginning and its end, or not at all.
    Maybe,
}

/// A scan within a call, and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "tests make it by hand")]
pub struct Ranged {
    /// What was asked for.
    pub query: Query,
    /// What the call itself had written before it scanned: it sees that on top of the state.
    pub own: BTreeMap<Key, Option<Value>>,
    /// What was found, in the order of the query.
    pub found: Vec<(Key, Value)>,
}

/// One operation, batch or transaction: when it was, what it saw of the state before it, and what it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "tests make it by hand")]
pub struct Call {
    /// The tick of its beginning.
    pub began: u64,
    /// The tick of its end; of one that has none, when it can no longer happen. [`u64::MAX`]: it always can.
    pub ended: u64,
    /// Whether it happened.
    pub certainty: Certainty,
    /// Where it says it stands in the order of writes.
    pub version: Option<Version>,
    /// The keys that it read, and what they held.
    pub reads: BTreeMap<Key, Option<Value>>,
    /// The intervals that it read.
    pub ranges: Vec<Ranged>,
    /// The intervals of which it removed every key, before it wrote.
    pub erased: Vec<KeyRange>,
    /// What the keys that it wrote hold behind it.
    pub writes: BTreeMap<Key, Option<Value>>,
}

impl Call {
    /// A call that ended at once, has read nothing and written nothing.
    #[must_use]
    pub const fn at(began: u64, ended: u64) -> Self {
        Self {
            began,
            ended,
            certainty: Certainty::Surely,
            version: None,
            reads: BTreeMap::new(),
            ranges: Vec::new(),
            erased: Vec::new(),
            writes: BTreeMap::new(),
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.writes.is_empty() && self.erased.is_empty()
    }

    /// The keys that it names.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.reads.keys().chain(self.writes.keys())
    }

    /// What it is to this key alone; `None`: nothing. What scans found is left out.
    pub(super) fn of_key(&self, key: &Key) -> Option<Self> {
        let mut own = Self::at(self.began, self.ended);
        own.certainty = self.certainty;
        own.version = self.version;
        let only = |of: &BTreeMap<Key, Option<Value>>| {
            let held = of.get(key).cloned();
            held.map(|held| (key.clone(), held)).into_iter().collect()
        };
        own.reads = only(&self.reads);
        own.writes = only(&self.writes);
        if own.only_reads() && self.erased.iter().any(|range| range.contains(key)) {
            own.writes.insert(key.clone(), None);
        }
        (!own.only_reads() || !own.reads.is_empty()).then_some(own)
    }

    /// Whether `state` explains all that it read.
    pub(super) fn is_explained_by(&self, state: &State) -> bool {
        self.reads
            .iter()
            .all(|(key, value)| state.get(key) == value.as_ref())
            && self.ranges.iter().all(|range| range.is_explained_by(state))
    }

    pub(super) fn apply_to(&self, state: &mut State) {
        for range in &self.erased {
            state.retain(|key, _| !range.contains(key));
        }
        apply(&self.writes, state);
    }
}

fn apply(writes: &BTreeMap<Key, Option<Value>>, state: &mut State) {
    for (key, value) in writes {
        match value {
            Some(value) => drop(state.insert(key.clone(), value.clone())),
            None => drop(state.remove(key)),
        }
    }
}

impl Ranged {
    fn is_explained_by(&self, state: &State) -> bool {
        if self.own.is_empty() {
            return self.is_answer_of(state);
        }
        let mut seen = state.clone();
        apply(&self.own, &mut seen);
        self.is_answer_of(&seen)
    }

    fn is_answer_of(&self, state: &State) -> bool {
        let range = self.query.range();
        let within = || state.iter().filter(|(key, _)| range.contains(key));
        let limit = self.query.limited_to().unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let found = || self.found.iter().map(|(key, value)| (key, value));
        if self.query.is_reversed() {
            within().rev().take(limit).eq(found())
        } else {
            within().take(limit).eq(found())
        }
    }
}

/// In one line, for messages.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ended {
            u64::MAX => write!(f, "[{}, ...]", self.began)?,
            ended => write!(f, "[{}, {ended}]", self.began)?,
        }
        if self.certainty == Certainty::Maybe {
            f.write_str(" perhaps")?;
        }
        let value = |value: &Option<Value>| match value {
            Some(value) => Text(value).to_string(),
            None => "nothing".to_owned(),
        };
        for (key, read) in &self.reads {
            write!(f, " read {} = {}", Text(key), value(read))?;
        }
        for range in &self.ranges {
            write!(f, " scanned {:?} =", range.query)?;
            for (key, value) in &range.found {
                write!(f, " {}={}", Text(key), Text(value))?;
            }
        }
        for range in &self.erased {
            write!(f, " erased {range:?}")?;
        }
        for (key, written) in &self.writes {
            write!(f, " wrote {} = {}", Text(key), value(written))?;
        }
        if let Some(version) = self.version {
            write!(f, " as version {version}")?;
        }
        Ok(())
    }
}
