//! Watchers: a place in the list of all writes.

use super::{Lie, Reference};
use crate::fixture::{Key, Value};
use kv_trait::{Event, Items, KeyRange, Result, Stream, Version, Watches, async_trait};
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
        Poll::Ready(Some(Ok(Event {
            key: told.key.clone(),
            value: told.value.clone(),
            version: Version::from_u64(told.version),
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
                let place = |told: &super::state::Told| told.version + again <= after;
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
