//! Batches of typed records, over one keyspace or several, as one write.

use super::{KVLog, version_of};
use crate::batch::Batch;
use crate::engine::Engine;
use kv_trait::codec::{Probed, encode_checked};
use kv_trait::key::{self, Key, KeyOf};
use kv_trait::{Codec, Effect, Error, ErrorKind, Result, Runtime, Version, Written};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// Changes that become durable and visible together or not at all, in the order they were added. Made by
/// [`KVLog::batch`], written by [`KVBatch::commit`].
///
/// Keys and values are encoded when they are added, on the caller's thread; it owns the bytes. What cannot be encoded, or is
/// too long, is told by `commit`, which then writes nothing: so calls can be chained.
///
/// [`KVBatch::set`] and [`KVBatch::delete`] ask for what was there before, [`KVBatch::put`] and [`KVBatch::remove`] do not,
/// as the methods of [`KVLog`] of these names.
///
/// ```
/// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
/// # my::with_store(async |store| {
/// store.put("ann", &10).await?;
/// let ann = store.get_versioned("ann").await?.expect("it was put");
///
/// let mut transfer = store.batch();
/// transfer.expect("ann", Some(ann.version)).expect("bob", None);
/// transfer.set("ann", &7).put("bob", &3);
/// let written = transfer.commit().await?;
/// assert_eq!(written.priors, [Some(10)]); // of the one `set`
///
/// let again = store.batch().expect("bob", None).put("bob", &3).commit().await;
/// assert_eq!(again.unwrap_err().kind(), kv_trait::ErrorKind::Conflict);
/// # Ok(()) });
/// ```
///
/// # Drop
/// Nothing was written.
pub struct KVBatch<K, V, R, C> {
    store: KVLog<K, V, R, C>,
    changes: Changes,
}

/// What was added, of whatever types.
#[derive(Debug)]
struct Changes {
    batch: Batch,
    /// Why it will not be written.
    refused: Option<Error>,
    /// Which records ask for what was there before.
    asked: Vec<usize>,
}

impl Changes {
    fn of(engine: &Engine) -> Self {
        Self {
            batch: engine.batch(),
            refused: None,
            asked: Vec::new(),
        }
    }

    /// Adds to the keyspace of this handle, unless something was refused before.
    fn add(&mut self, to: &Engine, add: impl FnOnce(&mut Batch) -> Result<()>) {
        if self.refused.is_none() {
            self.refused = add(self.batch.select(to)).err();
        }
    }

    fn put<V, C: Codec<V>>(
        &mut self,
        to: &Engine,
        key: Result<Vec<u8>>,
        value: &V,
        probed: Probed,
    ) {
        self.add(to, |batch| {
            batch.put_with(&key?, |out| encode_checked::<V, C>(value, probed, out))
        });
    }

    fn put_with_ttl<V, C: Codec<V>>(
        &mut self,
        to: &Engine,
        key: Result<Vec<u8>>,
        value: &V,
        probed: Probed,
        ttl: Duration,
    ) {
        self.add(to, |batch| {
            let expiry_ms = to.expiry_after(ttl)?;
            batch.put_until_with(&key?, expiry_ms, |out| {
                encode_checked::<V, C>(value, probed, out)
            })
        });
    }

    fn remove(&mut self, from: &Engine, key: Result<Vec<u8>>) {
        self.add(from, |batch| batch.delete(&key?));
    }

    fn expect(&mut self, of: &Engine, key: Result<Vec<u8>>, version: Option<Version>) {
        let seqno = version.map(|version| version.to_u64().into());
        self.add(of, |batch| batch.expect(&key?, seqno));
    }

    /// The next record will ask for what was there before.
    fn ask(&mut self) {
        self.asked.push(self.batch.len());
    }
}

impl<K, V, R, C> fmt::Debug for KVBatch<K, V, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KVBatch")
            .field("path", &self.store.handle().path())
            .field("records", &self.changes.batch.len())
            .field("refused", &self.changes.refused)
            .finish_non_exhaustive()
    }
}

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// A batch without changes yet.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.batch().put("ann", &1).put("bob", &2).commit().await?;
    /// # Ok(()) });
    /// ```
    #[must_use = "a batch writes nothing before it is committed"]
    pub fn batch(&self) -> KVBatch<K, V, R, C> {
        KVBatch {
            store: self.clone(),
            changes: Changes::of(self.handle()),
        }
    }
}

impl<K, V, R, C> KVBatch<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// Adds: `key` holds `value`.
    pub fn put<Q: KeyOf<K> + ?Sized>(&mut self, key: &Q, value: &V) -> &mut Self {
        let key = key::encode_borrowed::<K, Q>(key);
        let (store, probed) = (self.store.handle(), self.store.probed);
        self.changes.put::<V, C>(store, key, value, probed);
        self
    }

    /// Adds: `key` holds `value` for so long from this call, as [`KVLog::put_with_ttl`] does.
    pub fn put_with_ttl<Q>(&mut self, key: &Q, value: &V, ttl: Duration) -> &mut Self
    where
        Q: KeyOf<K> + ?Sized,
    {
        let key = key::encode_borrowed::<K, Q>(key);
        let (store, probed) = (self.store.handle(), self.store.probed);
        self.changes
            .put_with_ttl::<V, C>(store, key, value, probed, ttl);
        self
    }

    /// Adds: `key` is absent. Whether it was there before does not matter.
    pub fn remove<Q: KeyOf<K> + ?Sized>(&mut self, key: &Q) -> &mut Self {
        let key = key::encode_borrowed::<K, Q>(key);
        self.changes.remove(self.store.handle(), key);
        self
    }

    /// Like [`KVBatch::put`], and asks for the value that was there before ([`Written::priors`]).
    pub fn set<Q: KeyOf<K> + ?Sized>(&mut self, key: &Q, value: &V) -> &mut Self {
        self.changes.ask();
        self.put(key, value)
    }

    /// Like [`KVBatch::remove`], and asks for the value that was there ([`Written::priors`]).
    pub fn delete<Q: KeyOf<K> + ?Sized>(&mut self, key: &Q) -> &mut Self {
        self.changes.ask();
        self.remove(key)
    }

    /// Adds a condition: unless `key` has exactly this version when the batch's turn comes (`None`: is absent), nothing is
    /// written, and `commit` fails as `Conflict`. Conditions are about what was there before the batch.
    pub fn expect<Q>(&mut self, key: &Q, version: Option<Version>) -> &mut Self
    where
        Q: KeyOf<K> + ?Sized,
    {
        let key = key::encode_borrowed::<K, Q>(key);
        self.changes.expect(self.store.handle(), key, version);
        self
    }

    /// What is added through it goes to another keyspace of the same store, with its own types, in the same batch.
    pub fn of<'b, K2, V2, R2, C2>(
        &'b mut self,
        other: &'b KVLog<K2, V2, R2, C2>,
    ) -> KVBatchOf<'b, K2, V2, C2> {
        if !other.handle().is_same_store(self.store.handle()) {
            let message = format!(
                "a batch of the store {} was to write to another one, {}",
                self.store.handle().path().display(),
                other.handle().path().display()
            );
            let error = Error::new(ErrorKind::InvalidInput, message);
            self.changes.refused.get_or_insert(error);
        }
        KVBatchOf {
            changes: &mut self.changes,
            engine: other.handle(),
            probed: other.probed,
            types: PhantomData,
        }
    }

    /// How many changes were added.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.changes.batch.len()
    }

    /// Whether no change was added. A batch of conditions alone is a question: whether they hold.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.batch.is_empty()
    }

    /// Writes what was added, whole or not at all; resolves when it is durable and visible. The batch is empty then, and can be
    /// used again.
    ///
    /// The future owns all it needs: it may be spawned, or kept. It waits in the same line as all writes, and takes a blocking
    /// thread only where conditions ask for keys that memory does not know, or priors have to be read. One that is larger than
    /// what the line holds is written alone.
    ///
    /// [`Written::versions`] has one for each change, [`Written::priors`] one for each `set` and `delete`, in their order.
    ///
    /// # Cancel safety
    /// Dropped before its first poll, or while it waits in line for room: nothing happened. Dropped later: it finishes or
    /// fails whole, as if awaited.
    ///
    /// # Errors
    /// `Conflict`, effect *nothing*: a condition did not hold. `Codec`, `TooLarge`, effect *nothing*: a key or value cannot be
    /// encoded, or all of it is longer than 1 GiB; `InvalidInput`, effect *nothing*: a keyspace of another store, or a moment
    /// of expiry beyond what can be said. Otherwise as for [`KVLog::set`].
    pub fn commit(
        &mut self,
    ) -> impl Future<Output = Result<Written<V>>> + Send + 'static + use<K, V, R, C> {
        let store = self.store.clone();
        let empty = Changes::of(store.handle());
        let changes = std::mem::replace(&mut self.changes, empty);
        async move { store.commit(changes).await }
    }
}

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    async fn commit(&self, changes: Changes) -> Result<Written<V>> {
        let Changes {
            mut batch,
            refused,
            asked,
        } = changes;
        if let Some(refused) = refused {
            return Err(refused.with_effect(Effect::Nothing));
        }
        batch.wants_priors = !asked.is_empty();
        let records = batch.len() as u64;
        let committed = self.write(batch).await?;
        let first = committed.first_seqno.get();
        let versions = (first..first + records).map(|place| version_of(place.into()));
        let mut found = committed.priors.into_iter().map(Some).collect::<Vec<_>>();
        let asked = asked.into_iter();
        let asked = asked.filter_map(|record| found.get_mut(record)?.take());
        let priors = self.read_all(asked.collect()).await;
        Ok(Written {
            versions: versions.collect(),
            priors: priors.map_err(|error| error.with_effect(Effect::Applied))?,
        })
    }
}

/// Adds to a [batch](KVBatch) what goes to another keyspace of its store. Made by [`KVBatch::of`].
pub struct KVBatchOf<'b, K, V, C> {
    changes: &'b mut Changes,
    engine: &'b Engine,
    probed: Probed,
    types: PhantomData<fn(K, V, C)>,
}

impl<K, V, C> fmt::Debug for KVBatchOf<'_, K, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KVBatchOf")
            .field("keyspace", &self.engine.keyspace_id())
            .finish_non_exhaustive()
    }
}

impl<K: Key, V, C: Codec<V>> KVBatchOf<'_, K, V, C> {
    /// Adds: `key` of this keyspace holds `value`.
    pub fn put<Q: KeyOf<K> + ?Sized>(&mut self, key: &Q, value: &V) -> &mut Self {
        let key = key::encode_borrowed::<K, Q>(key);
        self.changes
            .put::<V, C>(self.engine, key, value, self.probed);
        self
    }

    /// Adds: `key` of this keyspace holds `value` for so long from this call, as [`KVLog::put_with_ttl`] does.
    pub fn put_with_ttl<Q>(&mut self, key: &Q, value: &V, ttl: Duration) -> &mut Self
    where
        Q: KeyOf<K> + ?Sized,
    {
        let key = key::encode_borrowed::<K, Q>(key);
        self.changes
            .put_with_ttl::<V, C>(self.engine, key, value, self.probed, ttl);
        self
    }

    /// Adds: `key` of this keyspace is absent.
    pub fn remove<Q: KeyOf<K> + ?Sized>(&mut self, key: &Q) -> &mut Self {
        let key = key::encode_borrowed::<K, Q>(key);
        self.changes.remove(self.engine, key);
        self
    }

    /// Adds a condition on a key of this keyspace, as [`KVBatch::expect`].
    pub fn expect<Q>(&mut self, key: &Q, version: Option<Version>) -> &mut Self
    where
        Q: KeyOf<K> + ?Sized,
    {
        let key = key::encode_borrowed::<K, Q>(key);
        self.changes.expect(self.engine, key, version);
        self
    }
}
