//! A store that keeps notes of all that is asked of it.

use super::begun::{RecordingSnapshot, RecordingTransaction, noted};
use super::recorder::{Pending, Recorder};
use crate::fixture::{Key, Value};
use kv_trait::{
    Batches, Change, Changes, Items, KVStore, KeyRange, Query, RangeDeletes, Result, Scans,
    Snapshot, Snapshots, Transaction, Transactions, Update, Updates, Version, Versioned, Versions,
    Written, async_trait,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// A store, and the notes of what is done through this handle and its clones.
///
/// A call begins when its future is first polled, and has no end if that is dropped. Of what the store can do, expiry,
/// watching, keyspaces and closing are left out: clocks and other maps are not in a history.
#[derive(Clone, Debug)]
pub struct Recording<S> {
    store: S,
    recorder: Recorder,
}

impl<S: KVStore<Key, Value>> Recording<S> {
    /// Notes in `recorder` what is done to `store`.
    pub const fn new(store: S, recorder: Recorder) -> Self {
        Self { store, recorder }
    }

    /// The store itself: what is done to it is not noted.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The notes.
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    fn write(&self, key: &Key, value: Option<&Value>) -> Pending {
        let mut pending = self.recorder.begin();
        pending.writes(key, value.map(Vec::as_slice));
        pending
    }

    /// Notes that a condition on `key` held.
    fn held(&self, pending: &mut Pending, key: &Key, version: Option<Version>) {
        let value = version.map(|version| self.recorder.value_of(key, version));
        match value {
            None => pending.replaced(key, None),
            Some(Some(value)) => pending.replaced(key, Some(&value)),
            Some(None) => {}
        }
    }
}

/// Notes the answer of a call that tells what `key` held.
fn answered(mut pending: Pending, key: &Key, answer: &Result<Option<Value>>) {
    if let Ok(prior) = answer {
        pending.replaced(key, prior.as_deref());
    }
    pending.ended(answer);
}

/// What was asked for before it was used.
fn there<T: ?Sized>(capability: Option<&T>) -> &T {
    capability.expect("a store has what it says")
}

#[async_trait]
impl<S: KVStore<Key, Value>> KVStore<Key, Value> for Recording<S> {
    async fn get(&self, key: &Key) -> Result<Option<Value>> {
        let pending = self.recorder.begin();
        let answer = self.store.get(key).await;
        answered(pending, key, &answer);
        answer
    }

    async fn set(&self, key: &Key, value: &Value) -> Result<Option<Value>> {
        let pending = self.write(key, Some(value));
        let answer = self.store.set(key, value).await;
        answered(pending, key, &answer);
        answer
    }

    async fn delete(&self, key: &Key) -> Result<Option<Value>> {
        let pending = self.write(key, None);
        let answer = self.store.delete(key).await;
        answered(pending, key, &answer);
        answer
    }

    async fn put(&self, key: &Key, value: &Value) -> Result<()> {
        let pending = self.write(key, Some(value));
        let answer = self.store.put(key, value).await;
        pending.ended(&answer);
        answer
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        let pending = self.write(key, None);
        let answer = self.store.remove(key).await;
        pending.ended(&answer);
        answer
    }

    fn batches(&self) -> Option<&dyn Batches<Key, Value>> {
        self.store.batches().map(|_| self as _)
    }

    fn scans(&self) -> Option<&dyn Scans<Key, Value>> {
        self.store.scans().map(|_| self as _)
    }

    fn range_deletes(&self) -> Option<&dyn RangeDeletes> {
        self.store.range_deletes().map(|_| self as _)
    }

    fn versions(&self) -> Option<&dyn Versions<Key, Value>> {
        self.store.versions().map(|_| self as _)
    }

    fn updates(&self) -> Option<&dyn Updates<Key, Value>> {
        self.store.updates().map(|_| self as _)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots<Key, Value>> {
        self.store.snapshots().map(|_| self as _)
    }

    fn transactions(&self) -> Option<&dyn Transactions<Key, Value>> {
        self.store.transactions().map(|_| self as _)
    }
}

/// Whether conditions held is not in a history: a batch that was refused is one that did not happen.
#[async_trait]
impl<S: KVStore<Key, Value>> Batches<Key, Value> for Recording<S> {
    async fn write(&self, changes: Changes<Key, Value>) -> Result<Written<Value>> {
        let mut pending = self.recorder.begin();
        for change in changes.changes() {
            pending.writes(change.key(), change.value().map(Vec::as_slice));
        }
        let changed: Vec<_> = changes.changes().iter().map(Change::key).cloned().collect();
        let answer = there(self.store.batches()).write(changes).await;
        if let Ok(written) = &answer {
            pending.is_version(written.versions.last().copied());
            let mut seen = BTreeSet::new();
            for (key, prior) in changed.iter().zip(&written.priors) {
                // What a later change of the same key replaced is the batch's own.
                if seen.insert(key) {
                    pending.replaced(key, prior.as_deref());
                }
            }
        }
        pending.ended(&answer);
        answer
    }
}

/// A scan is noted when it was walked to its end; one of keys alone is not.
#[async_trait]
impl<S: KVStore<Key, Value>> Scans<Key, Value> for Recording<S> {
    fn scan(&self, query: &Query) -> Items<(Key, Value)> {
        // Before the store may take its point.
        let pending = self.recorder.begin();
        let items = there(self.store.scans()).scan(query);
        noted(items, pending, query, |mut pending, query, found| {
            pending.scans(query, found);
            pending.happened();
        })
    }

    fn scan_keys(&self, query: &Query) -> Items<Key> {
        there(self.store.scans()).scan_keys(query)
    }
}

#[async_trait]
impl<S: KVStore<Key, Value>> RangeDeletes for Recording<S> {
    async fn delete_range(&self, range: &KeyRange) -> Result<()> {
        let mut pending = self.recorder.begin();
        pending.erases(range);
        let answer = there(self.store.range_deletes()).delete_range(range).await;
        pending.ended(&answer);
        answer
    }
}

/// A condition that held is a read of what the key held as that version, if somebody read that before.
#[async_trait]
impl<S: KVStore<Key, Value>> Versions<Key, Value> for Recording<S> {
    async fn get_versioned(&self, key: &Key) -> Result<Option<Versioned<Value>>> {
        let mut pending = self.recorder.begin();
        let answer = there(self.store.versions()).get_versioned(key).await;
        if let Ok(found) = &answer {
            pending.replaced(key, found.as_ref().map(|found| found.value.as_slice()));
        }
        if let Ok(Some(found)) = &answer {
            self.recorder.note_version(key, found);
        }
        pending.ended(&answer);
        answer
    }

    async fn set_if(&self, key: &Key, value: &Value, expected: Option<Version>) -> Result<Version> {
        let mut pending = self.write(key, Some(value));
        let versions = there(self.store.versions());
        let answer = versions.set_if(key, value, expected).await;
        if let Ok(version) = &answer {
            pending.is_version(Some(*version));
            self.held(&mut pending, key, expected);
        }
        pending.ended(&answer);
        answer
    }

    async fn delete_if(&self, key: &Key, expected: Version) -> Result<()> {
        let mut pending = self.write(key, None);
        let answer = there(self.store.versions()).delete_if(key, expected).await;
        if answer.is_ok() {
            self.held(&mut pending, key, Some(expected));
        }
        pending.ended(&answer);
        answer
    }
}

/// What the closure was given last and what it made of it is what was read and written.
#[async_trait]
impl<S: KVStore<Key, Value>> Updates<Key, Value> for Recording<S> {
    async fn update(&self, key: &Key, mut update: Update<Value>) -> Result<Option<Value>> {
        let pending = Arc::new(Mutex::new(Some(self.recorder.begin())));
        let own = (Arc::clone(&pending), key.clone());
        let update: Update<Value> = Box::new(move |found| {
            let made = update(found.clone());
            let (pending, key) = &own;
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(pending) = pending.as_mut() {
                pending.replaced(key, found.as_deref());
                pending.writes(key, made.as_deref());
            }
            made
        });
        let answer = there(self.store.updates()).update(key, update).await;
        let ended = pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        ended.expect("it ends once").ended(&answer);
        answer
    }
}

#[async_trait]
impl<S: KVStore<Key, Value>> Snapshots<Key, Value> for Recording<S> {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot<Key, Value>>> {
        // Before the store takes its point.
        let mut pending = self.recorder.begin();
        let snapshot = there(self.store.snapshots()).snapshot().await?;
        pending.has_its_point();
        Ok(Box::new(RecordingSnapshot::new(snapshot, pending)))
    }
}

#[async_trait]
impl<S: KVStore<Key, Value>> Transactions<Key, Value> for Recording<S> {
    async fn begin(&self) -> Result<Box<dyn Transaction<Key, Value>>> {
        let pending = self.recorder.begin();
        let transaction = there(self.store.transactions()).begin().await?;
        Ok(Box::new(RecordingTransaction::new(transaction, pending)))
    }
}
