//! Several changes as one write.

use crate::{Result, Version};
use async_trait::async_trait;

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<K, V> {
    /// Stores a value under a key.
    Put(K, V),
    /// Removes a key, if it is there.
    Delete(K),
}

impl<K, V> Change<K, V> {
    /// The key that is changed.
    pub const fn key(&self) -> &K {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    /// What the key holds afterwards.
    pub const fn value(&self) -> Option<&V> {
        match self {
            Self::Put(_, value) => Some(value),
            Self::Delete(_) => None,
        }
    }
}

/// What must hold when a batch's turn comes: a key has this version, or is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "authors of stores take it apart")]
pub struct Condition<K> {
    /// The key that is looked at.
    pub key: K,
    /// Its version; `None`: it is absent.
    pub version: Option<Version>,
}

/// A batch: changes that happen together, and what must hold for them.
///
/// It is data. Changes take effect in their order, so of two of one key the last counts; conditions are about what was
/// there before the first of them.
///
/// ```
/// use kv_trait::Changes;
///
/// let mut changes = Changes::new();
/// changes.expect("balance/a", None).put("balance/a", 70).put("balance/b", 30).delete("debt");
/// assert_eq!(changes.changes().len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<K, V> {
    changes: Vec<Change<K, V>>,
    conditions: Vec<Condition<K>>,
    wants_priors: bool,
}

impl<K, V> Default for Changes<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Changes<K, V> {
    /// No change yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            changes: Vec::new(),
            conditions: Vec::new(),
            wants_priors: false,
        }
    }

    /// Adds a value to store.
    pub fn put(&mut self, key: K, value: V) -> &mut Self {
        self.changes.push(Change::Put(key, value));
        self
    }

    /// Adds a key to remove.
    pub fn delete(&mut self, key: K) -> &mut Self {
        self.changes.push(Change::Delete(key));
        self
    }

    /// Adds a condition: unless `key` has exactly this version (`None`: is absent), the batch is refused as `Conflict`.
    pub fn expect(&mut self, key: K, version: Option<Version>) -> &mut Self {
        self.conditions.push(Condition { key, version });
        self
    }

    /// Asks for the values that were there before ([`Written::priors`]).
    pub const fn want_priors(&mut self) -> &mut Self {
        self.wants_priors = true;
        self
    }

    /// The changes, in their order.
    #[must_use]
    pub fn changes(&self) -> &[Change<K, V>] {
        &self.changes
    }

    /// The conditions.
    #[must_use]
    pub fn conditions(&self) -> &[Condition<K>] {
        &self.conditions
    }

    /// Whether the values before are asked for.
    #[must_use]
    pub const fn wants_priors(&self) -> bool {
        self.wants_priors
    }

    /// Changes and conditions, taken out.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Change<K, V>>, Vec<Condition<K>>) {
        (self.changes, self.conditions)
    }
}

/// Proof that a batch is durable and visible.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "authors of stores make it")]
pub struct Written<V> {
    /// The versions that the changes gave their keys, one for each change, rising; empty where the store lacks
    /// [`Versions`](crate::Versions). A version that a later change of the same batch replaced was never there.
    pub versions: Vec<Version>,
    /// What each change replaced, if that was asked for; empty otherwise.
    pub priors: Vec<Option<V>>,
}

/// A store that applies several changes as one.
#[async_trait]
pub trait Batches<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Applies all changes or none. Nobody sees some of them: no reader, no scan, nobody after a crash.
    ///
    /// A batch without changes is a question: whether its conditions hold.
    ///
    /// # Errors
    /// `Conflict`, effect *nothing*: a condition did not hold. `TooLarge`, effect *nothing*: the batch is longer than
    /// the store takes as one. `InvalidInput`, effect *nothing*: a condition where the store lacks
    /// [`Versions`](crate::Versions). Effect *applied*: all of it is durable, only the values before could not be
    /// produced.
    async fn write(&self, changes: Changes<K, V>) -> Result<Written<V>>;
}
