//! Reads that tell the version, and writes that depend on it.

use crate::{Result, Version, Versioned};
use async_trait::async_trait;

/// A store that tells which write a value comes from, and writes only if that is still so.
///
/// [`Version`] says what versions are. A key that is absent has none, whyever it is.
#[async_trait]
pub trait Versions<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The value stored under `key` and its version.
    ///
    /// # Errors
    /// Those of any read.
    async fn get_versioned(&self, key: &K) -> Result<Option<Versioned<V>>>;

    /// Stores `value` if `key` has exactly this version, or is absent for `None`. Answers with the new version.
    ///
    /// # Errors
    /// `Conflict`, effect *nothing*: it has another version, or none; the refusal depends only on what is durable.
    async fn set_if(&self, key: &K, value: &V, expected: Option<Version>) -> Result<Version>;

    /// Removes `key` if it has exactly this version.
    ///
    /// # Errors
    /// As [`Versions::set_if`].
    async fn delete_if(&self, key: &K, expected: Version) -> Result<()>;

    /// Stores `value` if `key` is absent.
    ///
    /// # Errors
    /// As [`Versions::set_if`].
    async fn insert(&self, key: &K, value: &V) -> Result<Version> {
        self.set_if(key, value, None).await
    }
}
