//! Large values, and callers who poll in ways of their own.

use super::help::{get, key, poll_once, put, value, with_store};
use crate::any::{AnyStore, Place};
use kv_trait::KVStore;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Encoding takes time, wherever it is done: the order is that of the first polls all the same.
pub fn a_large_value_keeps_its_place(place: &Place) {
    let bytes = place.large_value_bytes;
    with_store(place, async |_, store| {
        let k = key("k");
        for round in 0..8_u64 {
            let (large, small) = (vec![b'l'; bytes], value(round));
            let mut first = store.put(&k, &large);
            let first_poll = poll_once(&mut first);
            let prior = store
                .set(&k, &small)
                .await
                .expect("the small value is stored");
            if first_poll.is_pending() {
                first.await.expect("the large value is stored");
            }
            assert!(
                prior.as_ref() == Some(&large),
                "what was polled first came later"
            );
            assert_eq!(get(&store, "k").await, Some(small));
        }
    });
}

/// What the waker of a `block_on` wakes: a thread.
#[derive(Debug, Default)]
struct Woken {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.lock() = true;
        self.changed.notify_all();
    }
}

impl Woken {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was woken since it was asked last, or is within `patience`. Blocks the thread.
    fn wait(&self, patience: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), patience, |woken| !*woken);
        let (mut woken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut woken)
    }
}

/// More than a future that gives way out of politeness ever asks for.
const POLLS_MAX: usize = 100;

/// How long the thread waits for whoever works for the store on another one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads an absent key as a `block_on` does that knows nothing of the executor around it: polls again when it is woken,
/// for which it waits up to `patience`. Returns whether the answer came; if not, the executor around it gets it.
async fn read_on_foreign_executor(store: &AnyStore, patience: Duration) -> bool {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let k = key("absent");
    let mut read = store.get(&k);
    for _ in 0..POLLS_MAX {
        let poll = read.as_mut().poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(found) = poll {
            assert_eq!(found.expect("a read"), None);
            return true;
        }
        if !woken.wait(patience) {
            assert_eq!(read.await.expect("a read"), None);
            return false;
        }
    }
    panic!("woken {POLLS_MAX} times, and never got on");
}

/// A runtime may limit what a task does before it gives way, and count anew when it polls the task again. Somebody who
/// polls inside the task does not give way: a store that waits for the count, or for a waker that the runtime calls
/// when it has control again, waits for ever.
pub fn a_foreign_executor_inside_a_task_is_not_kept_waiting(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "other", 1).await;
        let task = fixture.spawn(async move {
            // A store that has to ask somebody may need this very executor for that, each time.
            if !read_on_foreign_executor(&store, Duration::ZERO).await {
                return;
            }
            for round in 0..1_000 {
                let answered = read_on_foreign_executor(&store, PATIENCE).await;
                assert!(answered, "read {round} waited for the executor");
            }
        });
        task.await;
    });
}
