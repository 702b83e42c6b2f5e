//! Batches, conditional writes, updates, range deletes, expiry.

use super::state::Put;
use super::{Lie, Reference};
use crate::executor::yield_now;
use crate::fixture::{Key, Value};
use kv_trait::{
    Batches, Change, Changes, Error, ErrorKind, Expiry, KeyRange, RangeDeletes, Result, Update,
    Updates, Version, Versioned, Versions, Written, async_trait,
};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

pub(super) fn conflict(key: &Key) -> Error {
    let shown = key.escape_ascii();
    Error::new(
        ErrorKind::Conflict,
        format!("the key \"{shown}\" has changed"),
    )
}

#[async_trait]
impl Batches<Key, Value> for Reference {
    async fn write(&self, changes: Changes<Key, Value>) -> Result<Written<Value>> {
        let wants_priors = changes.wants_priors();
        let (mut changes, conditions) = changes.into_parts();
        if self.lies(Lie::FirstChangeWins) {
            let mut seen = BTreeSet::new();
            changes.retain(|change| seen.insert(change.key().clone()));
        }
        let mut written = Written {
            versions: Vec::new(),
            priors: Vec::new(),
        };
        {
            for change in &changes {
                drop(self.holding(change.key())?);
            }
            let state = self.open()?;
            let view = state.view();
            let broken = conditions.iter().find(|condition| {
                state.version(self.keyspace, &condition.key, view) != condition.version
            });
            if let Some(broken) = broken
                && !self.lies(Lie::ConditionIgnored)
            {
                return Err(conflict(&broken.key));
            }
            if !self.lies(Lie::TornBatch) {
                self.apply(state, &changes, wants_priors, &mut written);
                return Ok(written);
            }
        }
        for change in changes {
            self.apply(self.open()?, &[change], wants_priors, &mut written);
            yield_now().await;
        }
        Ok(written)
    }
}

impl Reference {
    fn apply(
        &self,
        mut state: std::sync::MutexGuard<'_, super::State>,
        changes: &[Change<Key, Value>],
        wants_priors: bool,
        written: &mut Written<Value>,
    ) {
        for change in changes {
            let view = state.view();
            if wants_priors {
                let prior = state.value(self.keyspace, change.key(), view);
                let other = self.lies(Lie::PriorOfAnother);
                written.priors.push(if other {
                    written.priors.last().cloned().flatten()
                } else {
                    prior
                });
            }
            let put = Put::maybe(change.value().cloned());
            let version = state.write(self.keyspace, change.key(), put);
            if self.lies(Lie::BatchToldInPart) && !written.versions.is_empty() {
                state.log.pop();
            }
            written.versions.push(Version::from_u64(version));
        }
    }

    /// Writes if `key` has this version.
    fn put_if(
        &self,
        key: &Key,
        put: Put,
        expected: Option<Version>,
        always: bool,
    ) -> Result<Version> {
        let mut state = self.holding(key)?;
        let there = state.version(self.keyspace, key, state.view());
        if there != expected && !always {
            return Err(conflict(key));
        }
        Ok(Version::from_u64(state.write(self.keyspace, key, put)))
    }
}

#[async_trait]
impl Versions<Key, Value> for Reference {
    async fn get_versioned(&self, key: &Key) -> Result<Option<Versioned<Value>>> {
        yield_now().await;
        let state = self.holding(key)?;
        let view = state.view();
        let expired = self.lies(Lie::ExpiredHasVersion);
        let Some((version, put)) = state.live(self.keyspace, key, view) else {
            let value = state
                .even_expired(self.keyspace, key, view)
                .filter(|_| expired);
            let version = Version::from_u64(state.last);
            return Ok(value.map(|value| Versioned { value, version }));
        };
        let version = if self.lies(Lie::VersionOfAnother) {
            state.last
        } else {
            version
        };
        let version = Version::from_u64(version);
        let value = put.value.clone();
        Ok(value.map(|value| Versioned { value, version }))
    }

    async fn set_if(&self, key: &Key, value: &Value, expected: Option<Version>) -> Result<Version> {
        let always = if expected.is_some() {
            Lie::SetIfAlwaysSets
        } else {
            Lie::InsertReplaces
        };
        if self.lies(Lie::SameValueSameVersion) {
            let state = self.holding(key)?;
            let there = state.live(self.keyspace, key, state.view());
            if let Some((version, put)) = there
                && put.value.as_ref() == Some(value)
                && expected == Some(Version::from_u64(version))
            {
                return Ok(Version::from_u64(version));
            }
        }
        self.put_if(key, Put::value(value), expected, self.lies(always))
    }

    async fn delete_if(&self, key: &Key, expected: Version) -> Result<()> {
        let always = self.lies(Lie::DeleteIfAlwaysDeletes);
        self.put_if(key, Put::NOTHING, Some(expected), always)
            .map(drop)
    }
}

#[async_trait]
impl Updates<Key, Value> for Reference {
    async fn update(&self, key: &Key, mut update: Update<Value>) -> Result<Option<Value>> {
        loop {
            let view = self.holding(key)?.view();
            let found = self.lock().value(self.keyspace, key, view);
            let made = update(found.clone());
            yield_now().await;
            let mut state = self.open()?;
            let unchanged = !state.changed(self.keyspace, key, view, None);
            if unchanged || self.lies(Lie::LostUpdate) {
                if self.lies(Lie::UpdateNeverRemoves) && made.is_none() {
                    return Ok(found);
                }
                state.write(self.keyspace, key, Put::maybe(made.clone()));
                return Ok(made);
            }
        }
    }
}

#[async_trait]
impl RangeDeletes for Reference {
    async fn delete_range(&self, range: &KeyRange) -> Result<()> {
        let keys: Vec<Key> = {
            let mut state = self.open()?;
            let takes_end = self.lies(Lie::RangeDeleteTakesItsEnd);
            let at_end = |key: &Key| range.to() == std::ops::Bound::Excluded(&key[..]);
            let within = |key: &&Key| range.contains(key) || (takes_end && at_end(key));
            let keys: Vec<Key> = state.keys(self.keyspace).filter(within).cloned().collect();
            if !self.lies(Lie::TornRangeDelete) {
                for key in &keys {
                    self.erase(&mut state, key);
                }
                return Ok(());
            }
            keys
        };
        for key in keys {
            self.erase(&mut *self.open()?, &key);
            yield_now().await;
        }
        Ok(())
    }
}

impl Reference {
    pub(super) fn erase(&self, state: &mut super::State, key: &Key) {
        if state.live(self.keyspace, key, state.view()).is_some() {
            let mut put = Put::NOTHING;
            put.by_range = true;
            state.write(self.keyspace, key, put);
        }
    }
}

#[async_trait]
impl Expiry<Key, Value> for Reference {
    async fn put_with_ttl(&self, key: &Key, value: &Value, ttl: Duration) -> Result<()> {
        let mut state = self.holding(key)?;
        let expires = state.now.checked_add(ttl);
        let beyond = || {
            Error::new(
                ErrorKind::InvalidInput,
                "the time to live is beyond the clock",
            )
        };
        let mut put = Put::value(value);
        put.expires = Some(
            expires
                .filter(|at| SystemTime::UNIX_EPOCH.checked_add(*at).is_some())
                .ok_or_else(beyond)?,
        );
        state.write(self.keyspace, key, put);
        Ok(())
    }

    async fn expires_at(&self, key: &Key) -> Result<Option<SystemTime>> {
        let state = self.holding(key)?;
        let live = state.live(self.keyspace, key, state.view());
        let expires = live.and_then(|(_, put)| put.expires);
        Ok(expires.map(|at| SystemTime::UNIX_EPOCH + at))
    }
}
