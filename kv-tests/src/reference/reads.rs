//! Scans and snapshots.

use super::state::View;
use super::{Lie, Reference};
use crate::executor::yield_now;
use crate::fixture::{Key, Value};
use kv_trait::{
    Items, KeyRange, Query, Result, Scans, Snapshot, Snapshots, Stream, Version, async_trait,
};
use std::ops::Bound;
use std::pin::Pin;
use std::task::{Context, Poll};

impl Reference {
    fn is_within(&self, range: &KeyRange, key: &Key) -> bool {
        let at_start = range.from() == Bound::Excluded(&key[..]);
        let at_end = range.to() == Bound::Included(&key[..]);
        if at_start && self.lies(Lie::ExcludedStartIsIn) {
            return true;
        }
        range.contains(key) && !(at_end && self.lies(Lie::IncludedEndIsOut))
    }

    /// The records of a query at a point.
    pub(super) fn found(&self, query: &Query, view: View) -> Result<Vec<(Key, Value)>> {
        let state = self.open()?;
        let value = |key: &Key| {
            if self.lies(Lie::ExpiredScanned) {
                return state.even_expired(self.keyspace, key, view);
            }
            state.value(self.keyspace, key, view)
        };
        let within = state
            .keys(self.keyspace)
            .filter(|key| self.is_within(query.range(), key));
        let mut found: Vec<_> = within
            .filter_map(|key| Some((key.clone(), value(key)?)))
            .collect();
        if query.is_reversed() && !self.lies(Lie::ReversedGoesForwards) {
            found.reverse();
        }
        if self.lies(Lie::ScanMissesTheLast) {
            found.pop();
        }
        if let Some(limit) = query.limited_to() {
            let limit = usize::try_from(limit)
                .unwrap_or(usize::MAX)
                .min(found.len());
            if self.lies(Lie::LimitTakesTheLast) {
                found.drain(..found.len() - limit);
            }
            found.truncate(limit);
        }
        Ok(found)
    }
}

/// A scan under way: what is left of it once it was asked for.
struct Walk {
    store: Reference,
    query: Query,
    at: Option<View>,
    begun: Option<std::vec::IntoIter<(Key, Value)>>,
}

impl Walk {
    /// What is next, from the store as it is now.
    fn moving(&mut self, key: &Key) -> Option<Value> {
        let state = self.store.lock();
        state.value(self.store.keyspace, key, state.view())
    }
}

impl Stream for Walk {
    type Item = Result<(Key, Value)>;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.begun.is_none() {
            let view = this.at.unwrap_or_else(|| this.store.lock().view());
            match this.store.found(&this.query, view) {
                Ok(found) => this.begun = Some(found.into_iter()),
                Err(error) => {
                    this.begun = Some(Vec::new().into_iter());
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        let next = this.begun.as_mut().and_then(Iterator::next);
        let Some((key, value)) = next else {
            return Poll::Ready(None);
        };
        if this.store.lies(Lie::ScanMoves) && this.at.is_none() {
            let value = this.moving(&key).unwrap_or(value);
            return Poll::Ready(Some(Ok((key, value))));
        }
        Poll::Ready(Some(Ok((key, value))))
    }
}

/// The keys of a walk.
struct Keys(Walk);

impl Stream for Keys {
    type Item = Result<Key>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = Pin::new(&mut self.0).poll_next(cx);
        item.map(|item| item.map(|found| found.map(|(key, _)| key)))
    }
}

impl Reference {
    fn walk(&self, query: &Query, at: Option<View>) -> Walk {
        Walk {
            store: self.clone(),
            query: query.clone(),
            at,
            begun: None,
        }
    }
}

#[async_trait]
impl Scans<Key, Value> for Reference {
    fn scan(&self, query: &Query) -> Items<(Key, Value)> {
        Items::new(self.walk(query, None))
    }

    fn scan_keys(&self, query: &Query) -> Items<Key> {
        Items::new(Keys(self.walk(query, None)))
    }

    async fn count(&self, range: &KeyRange) -> Result<u64> {
        let all = self.lies(Lie::CountsAll);
        let range = if all { KeyRange::all() } else { range.clone() };
        let view = self.open()?.view();
        Ok(self.found(&Query::within(range), view)?.len() as u64)
    }
}

/// A point of the order.
struct Point {
    store: Reference,
    view: View,
}

impl Point {
    /// Where it reads.
    fn at(&self, moves: Lie) -> View {
        let state = self.store.lock();
        let mut view = self.view;
        if self.store.lies(moves) {
            view.at = state.last;
        }
        if self.store.lies(Lie::SnapshotExpires) {
            view.now = state.now;
        }
        view
    }
}

#[async_trait]
impl Scans<Key, Value> for Point {
    fn scan(&self, query: &Query) -> Items<(Key, Value)> {
        let view = self.at(Lie::SnapshotScanMoves);
        Items::new(self.store.walk(query, Some(view)))
    }

    fn scan_keys(&self, query: &Query) -> Items<Key> {
        let view = self.at(Lie::SnapshotScanMoves);
        Items::new(Keys(self.store.walk(query, Some(view))))
    }
}

#[async_trait]
impl Snapshot<Key, Value> for Point {
    async fn get(&self, key: &Key) -> Result<Option<Value>> {
        yield_now().await;
        let view = self.at(Lie::SnapshotMoves);
        let state = self.store.holding(key)?;
        Ok(state.value(self.store.keyspace, key, view))
    }

    fn version(&self) -> Option<Version> {
        (self.view.at > 0).then(|| Version::from_u64(self.view.at))
    }
}

#[async_trait]
impl Snapshots<Key, Value> for Reference {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot<Key, Value>>> {
        let view = self.open()?.view();
        let store = self.clone();
        Ok(Box::new(Point { store, view }))
    }
}
