//! Walking keys in their order.

use super::{Items, KeyRange};
use crate::Result;
use crate::key::Key;
use async_trait::async_trait;
use serde::Serialize;
use std::ops::RangeBounds;

/// What a scan walks over: an interval, in which direction, and how far.
///
/// ```
/// use kv_trait::Query;
///
/// let newest_three = Query::prefix(&("ann",))?.reversed().limit(3);
/// assert!(newest_three.is_reversed());
/// # Ok::<(), kv_trait::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    range: KeyRange,
    reversed: bool,
    limit: Option<u64>,
}

impl Query {
    /// All of an interval, in ascending order.
    #[must_use]
    pub const fn within(range: KeyRange) -> Self {
        Self {
            range,
            reversed: false,
            limit: None,
        }
    }

    /// Every key.
    #[must_use]
    pub const fn all() -> Self {
        Self::within(KeyRange::all())
    }

    /// As [`KeyRange::of`].
    ///
    /// # Errors
    /// As there.
    pub fn of<K: Key>(range: impl RangeBounds<K>) -> Result<Self> {
        KeyRange::of(range).map(Self::within)
    }

    /// As [`KeyRange::prefix`].
    ///
    /// # Errors
    /// As there.
    pub fn prefix<P: Serialize + ?Sized>(prefix: &P) -> Result<Self> {
        KeyRange::prefix(prefix).map(Self::within)
    }

    /// From the last key to the first.
    #[must_use]
    pub const fn reversed(mut self) -> Self {
        self.reversed = true;
        self
    }

    /// So many records at most: the first ones in its direction.
    #[must_use]
    pub const fn limit(mut self, records: u64) -> Self {
        self.limit = Some(records);
        self
    }

    /// The interval.
    #[must_use]
    pub const fn range(&self) -> &KeyRange {
        &self.range
    }

    /// Whether it goes from the last key to the first.
    #[must_use]
    pub const fn is_reversed(&self) -> bool {
        self.reversed
    }

    /// How many records at most.
    #[must_use]
    pub const fn limited_to(&self) -> Option<u64> {
        self.limit
    }
}

/// A store whose keys can be walked in their order.
#[async_trait]
pub trait Scans<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The keys and values of one point, which lies between this call and the first item: whatever is written meanwhile,
    /// and however long it takes.
    ///
    /// # Errors
    /// Items: `Codec`, `Corrupt`, `Io`: a record cannot be read or decoded; the others follow. `TooOld`: the scan was
    /// ended, because it kept too much or was open for too long.
    fn scan(&self, query: &Query) -> Items<(K, V)>;

    /// The same without the values, which spares reading them.
    ///
    /// # Errors
    /// As [`Scans::scan`].
    fn scan_keys(&self, query: &Query) -> Items<K>;

    /// How many keys lie within, at one point.
    ///
    /// # Errors
    /// As [`Scans::scan`].
    async fn count(&self, range: &KeyRange) -> Result<u64> {
        let mut keys = self.scan_keys(&Query::within(range.clone()));
        let mut count = 0;
        while let Some(key) = keys.next().await {
            key?;
            count += 1;
        }
        Ok(count)
    }

    /// The first record within.
    ///
    /// # Errors
    /// As [`Scans::scan`].
    async fn first(&self, range: &KeyRange) -> Result<Option<(K, V)>> {
        let query = Query::within(range.clone()).limit(1);
        self.scan(&query).next().await.transpose()
    }

    /// The last record within.
    ///
    /// # Errors
    /// As [`Scans::scan`].
    async fn last(&self, range: &KeyRange) -> Result<Option<(K, V)>> {
        let query = Query::within(range.clone()).reversed().limit(1);
        self.scan(&query).next().await.transpose()
    }
}
