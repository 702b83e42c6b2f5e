//! Transactions: reads at a point, writes kept until the commit, which looks at the reads again.

use super::state::{Put, View};
use super::writes::conflict;
use super::{Lie, Reference};
use crate::executor::yield_now;
use crate::fixture::{Key, Value};
use kv_trait::{KeyRange, Query, Result, Transaction, Transactions, Version, async_trait};
use std::collections::{BTreeMap, BTreeSet};

struct Under {
    store: Reference,
    view: View,
    keys: BTreeSet<Key>,
    ranges: Vec<KeyRange>,
    writes: BTreeMap<Key, Option<Value>>,
}

#[async_trait]
impl Transactions<Key, Value> for Reference {
    async fn begin(&self) -> Result<Box<dyn Transaction<Key, Value>>> {
        let view = self.open()?.view();
        Ok(Box::new(Under {
            store: self.clone(),
            view,
            keys: BTreeSet::new(),
            ranges: Vec::new(),
            writes: BTreeMap::new(),
        }))
    }
}

impl Under {
    /// A key that was read and has changed.
    fn changed(&self, state: &super::State) -> Option<Key> {
        let (store, lie) = (&self.store, self.store.shared.lie);
        let changed = |key: &&Key| state.changed(store.keyspace, key, self.view, lie);
        let read = self.keys.iter().filter(|_| lie != Some(Lie::WriteSkew));
        let scanned = state.keys(store.keyspace).filter(|key| {
            lie != Some(Lie::Phantom) && self.ranges.iter().any(|range| range.contains(key))
        });
        read.chain(scanned).find(changed).cloned()
    }

    fn write(&mut self, key: &Key, value: Option<&Value>) -> Result<()> {
        let mut state = self.store.holding(key)?;
        if self.store.lies(Lie::UncommittedSeen) {
            state.write(self.store.keyspace, key, Put::maybe(value.cloned()));
        }
        drop(state);
        self.writes.insert(key.clone(), value.cloned());
        Ok(())
    }
}

#[async_trait]
impl Transaction<Key, Value> for Under {
    async fn get(&mut self, key: &Key) -> Result<Option<Value>> {
        yield_now().await;
        if let Some(own) = self.writes.get(key)
            && !self.store.lies(Lie::OwnWritesUnseen)
        {
            return Ok(own.clone());
        }
        self.keys.insert(key.clone());
        let state = self.store.holding(key)?;
        Ok(state.value(self.store.keyspace, key, self.view))
    }

    async fn scan(&mut self, query: &Query) -> Result<Vec<(Key, Value)>> {
        yield_now().await;
        self.ranges.push(query.range().clone());
        let found = self
            .store
            .found(&Query::within(query.range().clone()), self.view)?;
        let mut found: BTreeMap<Key, Value> = found.into_iter().collect();
        if !self.store.lies(Lie::OwnWritesUnscanned) {
            for (key, value) in &self.writes {
                match value {
                    Some(value) if query.range().contains(key) => {
                        drop(found.insert(key.clone(), value.clone()));
                    }
                    _ => drop(found.remove(key)),
                }
            }
        }
        let limit = query.limited_to().unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found: Vec<_> = found.into_iter().collect();
        if query.is_reversed() {
            found.reverse();
        }
        found.truncate(limit);
        Ok(found)
    }

    fn put(&mut self, key: &Key, value: &Value) -> Result<()> {
        self.write(key, Some(value))
    }

    fn delete(&mut self, key: &Key) -> Result<()> {
        self.write(key, None)
    }

    async fn commit(self: Box<Self>) -> Result<Option<Version>> {
        yield_now().await;
        let store = &self.store;
        let mut state = store.open()?;
        if self.writes.is_empty() && !store.lies(Lie::ReadsConflict) {
            return Ok(None);
        }
        let changed = self.changed(&state);
        if changed.is_none() || store.lies(Lie::ConflictApplies) {
            for (key, value) in &self.writes {
                state.write(store.keyspace, key, Put::maybe(value.clone()));
            }
        }
        match changed {
            Some(key) => Err(conflict(&key)),
            None => Ok(Some(Version::from_u64(state.last))),
        }
    }
}
