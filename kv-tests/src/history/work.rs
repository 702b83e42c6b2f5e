//! What tasks do whose history is recorded: seeded calls of everything that a store can do.

use crate::executor::yield_now;
use crate::fixture::{Key, Value};
use crate::workload::Random;
use kv_trait::{Changes, Effect, Error, ErrorKind, KVStore, KeyRange, Query, Result, Snapshot};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The calls of one task after the other: each has its own seed, and all write values that nobody else writes.
#[derive(Clone, Debug)]
pub struct Work {
    random: Random,
    keys: Vec<Key>,
    written: Arc<AtomicU64>,
    /// Whether calls of several keys are made.
    together: bool,
}

/// So many keys, of one letter.
#[must_use]
pub fn keys(count: u8) -> Vec<Key> {
    (0..count).map(|at| Key::from(vec![b'a' + at])).collect()
}

impl Work {
    /// On these keys; `together`: whatever the store can do, and not only calls of one key each.
    #[must_use]
    pub fn new(seed: u64, keys: Vec<Key>, together: bool) -> Self {
        Self {
            random: Random::new(seed),
            keys,
            written: Arc::default(),
            together,
        }
    }

    /// For another task.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        let seed = self.random.below(u64::MAX);
        Self {
            random: Random::new(seed),
            ..self.clone()
        }
    }

    fn key(&mut self) -> Key {
        let at = self.random.below(self.keys.len() as u64);
        self.keys[at as usize].clone()
    }

    fn value(&self) -> Value {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        number.to_string().into_bytes()
    }

    fn one_of(&mut self, count: u64) -> bool {
        self.random.below(count) == 0
    }

    fn range(&mut self) -> KeyRange {
        if self.one_of(3) {
            return KeyRange::all();
        }
        let (from, to) = (self.key(), self.key());
        KeyRange::of(from..=to).expect("a short key is one")
    }

    fn query(&mut self) -> Query {
        let mut query = Query::within(self.range());
        if self.one_of(3) {
            query = query.reversed();
        }
        if self.one_of(3) {
            query = query.limit(1 + self.random.below(2));
        }
        query
    }

    async fn wait(&mut self) {
        for _ in 0..self.random.below(3) {
            yield_now().await;
        }
    }

    /// Makes so many calls.
    ///
    /// # Panics
    /// If one fails otherwise than by a refusal that others caused.
    pub async fn run<S: KVStore<Key, Value>>(mut self, store: S, calls: u64) {
        for _ in 0..calls {
            self.wait().await;
            let outcome = self.call(&store).await;
            if let Err(error) = outcome {
                assert_refusal(&error);
            }
        }
    }

    async fn call(&mut self, store: &impl KVStore<Key, Value>) -> Result<()> {
        let kinds = if self.together { 14 } else { 7 };
        let key = self.key();
        match self.random.below(kinds) {
            0 | 1 => store.get(&key).await.map(drop),
            2 => store.set(&key, &self.value()).await.map(drop),
            3 => store.put(&key, &self.value()).await,
            4 if self.one_of(2) => store.delete(&key).await.map(drop),
            4 => store.remove(&key).await,
            5 => self.conditional(store, &key).await,
            6 => self.update(store, &key).await,
            7 | 8 => self.batch(store).await,
            9 => self.snapshot(store).await,
            10 => self.scan(store).await,
            11 => self.delete_range(store).await,
            _ => self.transaction(store).await,
        }
    }

    async fn conditional(&mut self, store: &impl KVStore<Key, Value>, key: &Key) -> Result<()> {
        let Some(versions) = store.versions() else {
            return Ok(());
        };
        let found = versions.get_versioned(key).await?;
        self.wait().await;
        let value = self.value();
        match found {
            None => versions.insert(key, &value).await.map(drop),
            Some(found) if self.one_of(3) => versions.delete_if(key, found.version).await,
            Some(found) => {
                let set = versions.set_if(key, &value, Some(found.version));
                set.await.map(drop)
            }
        }
    }

    async fn update(&mut self, store: &impl KVStore<Key, Value>, key: &Key) -> Result<()> {
        let Some(updates) = store.updates() else {
            return Ok(());
        };
        let (value, removes) = (self.value(), self.one_of(4));
        let update = updates.update(
            key,
            Box::new(move |found| {
                // What it makes depends on what it was given.
                let mut made = found.unwrap_or_default();
                made.truncate(12);
                made.push(b'+');
                made.extend_from_slice(&value);
                (!removes).then_some(made)
            }),
        );
        update.await.map(drop)
    }

    async fn batch(&mut self, store: &impl KVStore<Key, Value>) -> Result<()> {
        let Some(batches) = store.batches() else {
            return Ok(());
        };
        let mut changes = Changes::new();
        if self.one_of(2) {
            changes.want_priors();
        }
        for _ in 0..2 + self.random.below(2) {
            let key = self.key();
            if self.one_of(4) {
                changes.delete(key);
            } else {
                changes.put(key, self.value());
            }
        }
        batches.write(changes).await.map(drop)
    }

    async fn snapshot(&mut self, store: &impl KVStore<Key, Value>) -> Result<()> {
        let Some(snapshots) = store.snapshots() else {
            return Ok(());
        };
        let snapshot: Box<dyn Snapshot<Key, Value>> = snapshots.snapshot().await?;
        for _ in 0..2 {
            self.wait().await;
            snapshot.get(&self.key()).await?;
            snapshot.scan(&self.query()).all().await?;
        }
        Ok(())
    }

    async fn scan(&mut self, store: &impl KVStore<Key, Value>) -> Result<()> {
        let Some(scans) = store.scans() else {
            return Ok(());
        };
        let mut items = scans.scan(&self.query());
        while let Some(item) = items.next().await {
            item?;
            self.wait().await;
        }
        Ok(())
    }

    async fn delete_range(&mut self, store: &impl KVStore<Key, Value>) -> Result<()> {
        match store.range_deletes() {
            Some(range_deletes) => range_deletes.delete_range(&self.range()).await,
            None => Ok(()),
        }
    }

    async fn transaction(&mut self, store: &impl KVStore<Key, Value>) -> Result<()> {
        let Some(transactions) = store.transactions() else {
            return Ok(());
        };
        let mut transaction = transactions.begin().await?;
        for _ in 0..1 + self.random.below(2) {
            transaction.get(&self.key()).await?;
            self.wait().await;
        }
        if self.one_of(2) {
            transaction.scan(&self.query()).await?;
        }
        for _ in 0..self.random.below(3) {
            let key = self.key();
            if self.one_of(4) {
                transaction.delete(&key)?;
            } else {
                transaction.put(&key, &self.value())?;
            }
        }
        if self.one_of(2) {
            transaction.scan(&self.query()).await?;
        } else {
            transaction.get(&self.key()).await?;
        }
        self.wait().await;
        if self.one_of(8) {
            return Ok(());
        }
        transaction.commit().await.map(drop)
    }
}

/// What others may cause: a conflict, and a point that is not kept any more. Both without effect.
fn assert_refusal(error: &Error) {
    let refusal = matches!(error.kind(), ErrorKind::Conflict | ErrorKind::TooOld);
    assert!(
        refusal && error.effect() == Effect::Nothing,
        "a call of a store that works fails: {error:?}"
    );
}
