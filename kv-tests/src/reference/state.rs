//! What the store holds: every version of every key.

use super::Lie;
use crate::fixture::{Key, Value};
use kv_trait::Version;
use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use std::time::Duration;

/// One write.
#[derive(Clone, Debug)]
pub(super) struct Put {
    pub(super) value: Option<Value>,
    /// From when on it is absent.
    pub(super) expires: Option<Duration>,
    pub(super) by_range: bool,
}

impl Put {
    pub(super) const NOTHING: Self = Self {
        value: None,
        expires: None,
        by_range: false,
    };

    pub(super) fn value(value: &Value) -> Self {
        Self {
            value: Some(value.clone()),
            ..Self::NOTHING
        }
    }

    pub(super) fn maybe(value: Option<Value>) -> Self {
        Self {
            value,
            ..Self::NOTHING
        }
    }
}

/// A point of the order, and the clock there.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) at: u64,
    pub(super) now: Duration,
}

/// A write, as watchers are told of it.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) keyspace: u32,
    pub(super) key: Key,
    pub(super) value: Option<Value>,
    pub(super) version: u64,
    /// The same for all that are written as one.
    pub(super) batch: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) last: u64,
    /// Since the store's own beginning of time.
    pub(super) now: Duration,
    pub(super) written: BTreeMap<(u32, Key), Vec<(u64, Put)>>,
    pub(super) log: Vec<Told>,
    /// One for each operation.
    pub(super) batch: u64,
    pub(super) names: BTreeMap<String, u32>,
    pub(super) spaces: u32,
    pub(super) dropped: BTreeSet<u32>,
    pub(super) closed: bool,
    waiting: Vec<Waker>,
}

impl State {
    pub(super) const fn view(&self) -> View {
        View {
            at: self.last,
            now: self.now,
        }
    }

    /// The write that a key comes from at a point, whether it is a value or not.
    fn entry(&self, keyspace: u32, key: &Key, view: View) -> Option<&(u64, Put)> {
        let entries = self.written.get(&(keyspace, key.clone()))?;
        entries
            .iter()
            .rev()
            .find(|(version, _)| *version <= view.at)
    }

    /// The value there, and its version.
    pub(super) fn live(&self, keyspace: u32, key: &Key, view: View) -> Option<(u64, &Put)> {
        let (version, put) = self.entry(keyspace, key, view)?;
        let is_there = put.value.is_some() && put.expires.is_none_or(|at| view.now < at);
        is_there.then_some((*version, put))
    }

    pub(super) fn value(&self, keyspace: u32, key: &Key, view: View) -> Option<Value> {
        self.live(keyspace, key, view)?.1.value.clone()
    }

    /// The same, whatever the time is.
    pub(super) fn even_expired(&self, keyspace: u32, key: &Key, view: View) -> Option<Value> {
        self.entry(keyspace, key, view)?.1.value.clone()
    }

    pub(super) fn version(&self, keyspace: u32, key: &Key, view: View) -> Option<Version> {
        let (version, _) = self.live(keyspace, key, view)?;
        Some(Version::from_u64(version))
    }

    /// The keys of a keyspace that were ever written, in their order.
    pub(super) fn keys(&self, keyspace: u32) -> impl Iterator<Item = &Key> {
        let all = self.written.range((keyspace, Key::from(Vec::new()))..);
        all.take_while(move |((of, _), _)| *of == keyspace)
            .map(|((_, key), _)| key)
    }

    pub(super) fn write(&mut self, keyspace: u32, key: &Key, put: Put) -> u64 {
        self.last += 1;
        self.log.push(Told {
            keyspace,
            key: key.clone(),
            value: put.value.clone(),
            version: self.last,
            batch: self.batch,
        });
        let entries = self.written.entry((keyspace, key.clone())).or_default();
        entries.push((self.last, put));
        self.wake();
        self.last
    }

    /// Whether a key was written behind a point.
    pub(super) fn changed(&self, keyspace: u32, key: &Key, view: View, lie: Option<Lie>) -> bool {
        let entries = self.written.get(&(keyspace, key.clone()));
        let last = entries.and_then(|entries| entries.last());
        let unnoticed = |put: &Put| put.by_range && lie == Some(Lie::ClearUnnoticed);
        last.is_some_and(|(version, put)| *version > view.at && !unnoticed(put))
    }

    pub(super) fn waits(&mut self, waker: &Waker) {
        self.waiting.push(waker.clone());
    }

    pub(super) fn wake(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }
}
