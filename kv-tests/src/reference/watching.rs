//! Watchers: a place in the list of all writes.

use super::state::Told;
use super::{Lie, Reference};
use crate::fixture::{Key, Value};
use kv_trait::{Event, EventKind, Items, KeyRange, Result, Stream, Version, Watches, async_trait};
use std::pin::Pin;
use std::task::{Context, Poll};

struct Watcher {
    store: Reference,
    range: KeyRange,
    /// `None`: not before it is asked.
    next: Option<usize>,
}

impl Stream for Watcher {
    type Item = Result<Event<Key, Value>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let store = this.store.clone();
        let mut state = store.lock();
        let mut next = this.next.unwrap_or(state.log.len());
        let told = loop {
            let Some(told) = state.log.get(next) else {
                this.next = Some(next);
                if state.closed {
                    return Poll::Ready(None);
                }
                state.waits(cx.waker());
                return Poll::Pending;
            };
            next += 1;
            let within = this.range.contains(&told.key) || store.lies(Lie::WatchesAll);
            let untold = told.value.is_none() && store.lies(Lie::RemovalsUntold);
            if told.keyspace == store.keyspace && within && !untold {
                break told;
            }
        };
        this.next = Some(next);
        let same_batch = |later: &&Told| later.batch == told.batch;
        let mut later = state.log.iter().skip(next).take_while(same_batch);
        let is_own =
            |later: &Told| later.keyspace == store.keyspace && this.range.contains(&later.key);
        let key = told.key.clone();
        Poll::Ready(Some(Ok(Event {
            kind: match told.value.clone() {
                Some(value) => EventKind::put(key, value),
                None => EventKind::Remove { key },
            },
            version: Version::from_u64(told.version),
            ends_batch: !later.any(is_own),
        })))
    }
}

#[async_trait]
impl Watches<Key, Value> for Reference {
    async fn watch(
        &self,
        range: &KeyRange,
        after: Option<Version>,
    ) -> Result<Items<Event<Key, Value>>> {
        let state = self.open()?;
        let next = match after.map(Version::to_u64) {
            Some(after) => {
                let again = u64::from(self.lies(Lie::AfterIsIncluded));
                let place = |told: &Told| told.version + again <= after;
                Some(state.log.iter().take_while(|told| place(told)).count())
            }
            None if self.lies(Lie::WatchBeginsLate) => None,
            None => Some(state.log.len()),
        };
        Ok(Items::new(Watcher {
            store: self.clone(),
            range: range.clone(),
            next,
        }))
    }
}
