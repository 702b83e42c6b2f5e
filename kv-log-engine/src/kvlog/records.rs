//! What a caller asks of a range of keys: which records, which way, how many, and what of them.

use super::piece::{Reader, Shape, Source, StopOnDrop};
use super::stream::{RecordIter, RecordStream};
use super::{resumed, version_of};
use crate::hop::caught;
use crate::hop::hop;
use crate::scan::{End, Record};
use kv_trait::key::{self, EncodedBounds, Key, KeyOf};
use kv_trait::{Codec, Result, Runtime, Versioned};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

/// Takes the point that is read from, and begins there.
type Open = Box<dyn FnOnce(EncodedBounds) -> Result<Box<dyn Source>> + Send>;

/// The records of a range of keys, before they are read: which way, how many, and what of them.
///
/// Made by [`KVLog::range`](super::KVLog::range), [`KVLog::prefix`](super::KVLog::prefix) and their like. Nothing is read yet.
/// [`Records::stream`] reads them as they are taken, [`Records::collect`], [`Records::first`], [`Records::last`],
/// [`Records::count`] and [`Records::is_empty`] with one call each, [`Records::blocking`] on a thread that may wait. Each takes
/// the one point of the order of writes that all of its records are from when it is called, the futures when they are first
/// polled. Errors of the range, a key that is too long say, are told by the first answer.
///
/// ```
/// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
/// # my::with_store(async |store| {
/// store.put_many([("a1", &1), ("a2", &2), ("a3", &3), ("b1", &9)]).await?;
/// let newest = store.prefix("a").reversed().limit(2).collect().await?;
/// assert_eq!(newest, [("a3".to_owned(), 3), ("a2".to_owned(), 2)]);
/// let next_page = store.range(..).keys().after("a2").limit(2).collect().await?;
/// assert_eq!(next_page, ["a3", "b1"]);
/// assert_eq!(store.prefix("a").count().await?, 3);
/// assert!(store.range("b2"..).is_empty().await?);
/// # Ok(()) });
/// ```
#[must_use = "nothing is read before one of its methods is called"]
pub struct Records<K, V, R, C, T = (K, V)> {
    open: Open,
    runtime: R,
    bounds: Result<EncodedBounds>,
    /// The key that was seen last.
    cursor: Option<Vec<u8>>,
    reversed: bool,
    limit: u64,
    shape: Shape<T>,
    types: PhantomData<fn(K, V, C)>,
}

impl<K, V, R: fmt::Debug, C, T> fmt::Debug for Records<K, V, R, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("runtime", &self.runtime)
            .field("bounds", &self.bounds)
            .field("reversed", &self.reversed)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<K, V, R, C> Records<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// The records within bounds, which `open` opens.
    pub(super) fn new(
        runtime: R,
        bounds: Result<EncodedBounds>,
        open: impl FnOnce(EncodedBounds) -> Result<Box<dyn Source>> + Send + 'static,
    ) -> Self {
        Self {
            open: Box::new(open),
            runtime,
            bounds,
            cursor: None,
            reversed: false,
            limit: u64::MAX,
            shape: Shape {
                reads_value: true,
                decode: |record| Ok((key::decode(&record.key)?, C::decode(&record.value)?)),
            },
            types: PhantomData,
        }
    }

    /// The keys alone: no value is read.
    pub fn keys(self) -> Records<K, V, R, C, K> {
        self.shaped(false, |record| key::decode(&record.key))
    }

    /// The values with their versions.
    pub fn versioned(self) -> Records<K, V, R, C, (K, Versioned<V>)> {
        self.shaped(true, |record| {
            let versioned = Versioned {
                value: C::decode(&record.value)?,
                version: version_of(record.version),
            };
            Ok((key::decode(&record.key)?, versioned))
        })
    }

    fn shaped<T>(
        self,
        reads_value: bool,
        decode: fn(&Record) -> Result<T>,
    ) -> Records<K, V, R, C, T> {
        Records {
            open: self.open,
            runtime: self.runtime,
            bounds: self.bounds,
            cursor: self.cursor,
            reversed: self.reversed,
            limit: self.limit,
            shape: Shape {
                reads_value,
                decode,
            },
            types: PhantomData,
        }
    }
}

impl<K, V, R, C, T> Records<K, V, R, C, T>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
    T: Send + 'static,
{
    /// From the last key to the first.
    pub fn reversed(mut self) -> Self {
        self.reversed = true;
        self
    }

    /// So many at most: the first ones, the way it goes.
    pub fn limit(mut self, records: u64) -> Self {
        self.limit = records;
        self
    }

    /// Those behind this key, the way it goes: the last key of one page leads to the next. The key need not be there, nor in
    /// the range.
    pub fn after<Q>(mut self, key: &Q) -> Self
    where
        Q: KeyOf<K> + ?Sized,
    {
        match key::encode_borrowed::<K, Q>(key) {
            Ok(cursor) => self.cursor = Some(cursor),
            Err(error) => self.bounds = self.bounds.and(Err(error)),
        }
        self
    }

    /// The records as a stream, from the point of now. Does not block.
    pub fn stream(self) -> RecordStream<T, R> {
        let runtime = self.runtime.clone();
        RecordStream::new(runtime, self.reader())
    }

    /// The records as an iterator that blocks, from the point of now: for threads that may wait. Making it does not block.
    #[must_use]
    pub fn blocking(self) -> RecordIter<T> {
        RecordIter::new(self.reader())
    }

    /// All of them at once, with one hop to a blocking thread. They take as much memory as they are.
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store, and the reading ends soon.
    ///
    /// # Errors
    /// The first that a record, or the range, gives: `Codec`, `Corrupt`, `Io`, `TooLarge`, `TooOld`, `Closed`,
    /// `Unavailable`.
    pub async fn collect(self) -> Result<Vec<T>> {
        self.read(|reader, stopped| {
            let mut records = Vec::new();
            loop {
                let (items, more) = reader.piece(stopped);
                for item in items {
                    match item {
                        Ok(record) => records.push(record?),
                        Err(panic) => std::panic::resume_unwind(panic),
                    }
                }
                if !more {
                    return Ok(records);
                }
            }
        })
        .await
    }

    /// The first of them, the way they go; `None`: there is none.
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// As for [`Records::collect`].
    pub async fn first(mut self) -> Result<Option<T>> {
        self.limit = self.limit.min(1);
        self.read(|reader, _| reader.item().transpose()).await
    }

    /// The last of them, the way they go and whatever the limit: the first one from the other end.
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// As for [`Records::collect`].
    pub async fn last(mut self) -> Result<Option<T>> {
        self.bounds = self.effective_bounds();
        self.cursor = None;
        self.reversed = !self.reversed;
        self.first().await
    }

    /// Whether there is none. Reads no value, and decodes nothing.
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// As for [`Records::collect`], never `Codec`.
    pub async fn is_empty(mut self) -> Result<bool> {
        self.limit = self.limit.min(1);
        self.count().await.map(|count| count == 0)
    }

    /// How many there are, by a walk over their keys: no value is read, and nothing is decoded. Takes a blocking thread for as
    /// long as that takes.
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store, and the walk ends soon.
    ///
    /// # Errors
    /// As for [`Records::collect`], never `Codec`.
    pub async fn count(mut self) -> Result<u64> {
        self.shape.reads_value = false;
        self.read(Reader::count).await
    }

    /// Reads on a blocking thread, which is told when nobody waits any more.
    async fn read<O: Send + 'static>(
        self,
        read: impl FnOnce(&mut Reader<T>, &std::sync::atomic::AtomicBool) -> Result<O> + Send + 'static,
    ) -> Result<O> {
        let runtime = self.runtime.clone();
        runtime.pool()?;
        let mut reader = self.reader()?;
        let stop = StopOnDrop::default();
        let stopped = Arc::clone(&stop.0);
        let work = move || Ok(caught(|| read(&mut reader, &stopped)));
        let outcome = hop(&runtime, work).await;
        drop(stop);
        resumed(outcome?)
    }

    fn reader(self) -> Result<Reader<T>> {
        let bounds = self.effective_bounds()?;
        let limit = if is_empty(&bounds) { 0 } else { self.limit };
        let source = (self.open)(bounds)?;
        let end = if self.reversed { End::Back } else { End::Front };
        Ok(Reader::new(source, self.shape, end, limit))
    }

    /// The range, as far as it lies behind the cursor.
    fn effective_bounds(&self) -> Result<EncodedBounds> {
        let (lower, upper) = self.bounds.clone()?;
        let Some(cursor) = self.cursor.clone() else {
            return Ok((lower, upper));
        };
        let bound = if self.reversed { &upper } else { &lower };
        // A cursor that the range has not come to yet leaves it as it is.
        let keeps = match bound {
            Bound::Included(bound) | Bound::Excluded(bound) if self.reversed => *bound < cursor,
            Bound::Included(bound) | Bound::Excluded(bound) => *bound > cursor,
            Bound::Unbounded => false,
        };
        Ok(match (keeps, self.reversed) {
            (true, _) => (lower, upper),
            (false, false) => (Bound::Excluded(cursor), upper),
            (false, true) => (lower, Bound::Excluded(cursor)),
        })
    }
}

/// Whether no key lies between two bounds: the start may lie above the end.
fn is_empty((lower, upper): &EncodedBounds) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
    }
}
