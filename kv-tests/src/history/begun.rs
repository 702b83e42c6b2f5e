//! What is begun at one call and goes on behind it: scans, snapshots, transactions.

use super::recorder::Pending;
use crate::fixture::{Key, Value};
use kv_trait::{Items, Query, Result, Scans, Snapshot, Stream, Transaction, Version, async_trait};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

/// A stream that keeps what it yields, and gives it away at its end, if there was no error.
struct Noted<P, E> {
    items: Items<(Key, Value)>,
    /// `None` when nothing is to be noted any more.
    pending: Option<P>,
    end: E,
    query: Query,
    found: Vec<(Key, Value)>,
}

/// Notes in what is pending what these items are, when they have ended.
pub(super) fn noted<P: Send + Unpin + 'static>(
    items: Items<(Key, Value)>,
    pending: P,
    query: &Query,
    end: impl FnMut(P, &Query, &[(Key, Value)]) + Send + Unpin + 'static,
) -> Items<(Key, Value)> {
    Items::new(Noted {
        items,
        pending: Some(pending),
        end,
        query: query.clone(),
        found: Vec::new(),
    })
}

impl<P: Unpin, E> Stream for Noted<P, E>
where
    E: FnMut(P, &Query, &[(Key, Value)]) + Unpin,
{
    type Item = Result<(Key, Value)>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let item = ready!(Pin::new(&mut this.items).poll_next(cx));
        match &item {
            Some(Ok(found)) => this.found.push(found.clone()),
            Some(Err(_)) => drop(this.pending.take()),
            None => {
                if let Some(pending) = this.pending.take() {
                    (this.end)(pending, &this.query, &this.found);
                }
            }
        }
        Poll::Ready(item)
    }
}

/// A snapshot and the notes of what is read in it.
pub(super) struct RecordingSnapshot {
    snapshot: Box<dyn Snapshot<Key, Value>>,
    pending: Arc<Mutex<Pending>>,
}

impl RecordingSnapshot {
    pub(super) fn new(snapshot: Box<dyn Snapshot<Key, Value>>, pending: Pending) -> Self {
        Self {
            snapshot,
            pending: Arc::new(Mutex::new(pending)),
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Scans<Key, Value> for RecordingSnapshot {
    fn scan(&self, query: &Query) -> Items<(Key, Value)> {
        let pending = Arc::clone(&self.pending);
        noted(
            self.snapshot.scan(query),
            pending,
            query,
            |pending, query, found| {
                let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
                pending.scans(query, found);
            },
        )
    }

    fn scan_keys(&self, query: &Query) -> Items<Key> {
        self.snapshot.scan_keys(query)
    }
}

#[async_trait]
impl Snapshot<Key, Value> for RecordingSnapshot {
    async fn get(&self, key: &Key) -> Result<Option<Value>> {
        let answer = self.snapshot.get(key).await;
        if let Ok(found) = &answer {
            self.pending().reads(key, found.as_deref());
        }
        answer
    }

    fn version(&self) -> Option<Version> {
        self.snapshot.version()
    }
}

/// A transaction that keeps notes. Of one that is dropped stays what it read.
pub(super) struct RecordingTransaction {
    transaction: Option<Box<dyn Transaction<Key, Value>>>,
    pending: Option<Pending>,
}

const WHOLE: &str = "it is whole until it is committed or dropped";

impl RecordingTransaction {
    pub(super) fn new(transaction: Box<dyn Transaction<Key, Value>>, pending: Pending) -> Self {
        Self {
            transaction: Some(transaction),
            pending: Some(pending),
        }
    }

    fn parts(&mut self) -> (&mut dyn Transaction<Key, Value>, &mut Pending) {
        let transaction = self.transaction.as_deref_mut().expect(WHOLE);
        (transaction, self.pending.as_mut().expect(WHOLE))
    }
}

impl Drop for RecordingTransaction {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            pending.refused();
        }
    }
}

#[async_trait]
impl Transaction<Key, Value> for RecordingTransaction {
    async fn get(&mut self, key: &Key) -> Result<Option<Value>> {
        let (transaction, pending) = self.parts();
        let answer = transaction.get(key).await;
        if let Ok(found) = &answer {
            pending.reads(key, found.as_deref());
        }
        answer
    }

    async fn scan(&mut self, query: &Query) -> Result<Vec<(Key, Value)>> {
        let (transaction, pending) = self.parts();
        let answer = transaction.scan(query).await;
        if let Ok(found) = &answer {
            pending.scans(query, found);
        }
        answer
    }

    fn put(&mut self, key: &Key, value: &Value) -> Result<()> {
        let (transaction, pending) = self.parts();
        transaction.put(key, value)?;
        pending.intends(key, Some(value));
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<()> {
        let (transaction, pending) = self.parts();
        transaction.delete(key)?;
        pending.intends(key, None);
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<Option<Version>> {
        let transaction = self.transaction.take().expect(WHOLE);
        let mut pending = self.pending.take().expect(WHOLE);
        pending.commits();
        let answer = transaction.commit().await;
        if let Ok(version) = &answer {
            pending.is_version(*version);
        }
        pending.ended(&answer);
        answer
    }
}
