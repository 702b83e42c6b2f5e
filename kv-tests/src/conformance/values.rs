//! Large values, and callers who poll in ways of their own.

use super::help::{get, key, poll_once, put, value, with_store};
use crate::any::{AnyStore, Place};
use kv_trait::KVStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

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

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// More than a future that gives way out of politeness ever asks for.
const POLLS_MAX: usize = 100;

/// Polls as a `block_on` does that knows nothing of the executor around it: again, when it is woken. Returns whether the
/// answer came without waiting for anybody.
async fn read_on_foreign_executor(store: &AnyStore, name: &str) -> bool {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let k = key(name);
    let mut read = store.get(&k);
    for _ in 0..POLLS_MAX {
        let poll = read.as_mut().poll(&mut Context::from_waker(&waker));
        match poll {
            Poll::Ready(found) => {
                assert_eq!(found.expect("a read"), None);
                return true;
            }
            Poll::Pending if woken.0.swap(false, Ordering::SeqCst) => {}
            Poll::Pending => {
                assert_eq!(read.await.expect("a read"), None);
                return false;
            }
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
            // A store that has to ask somebody may need the executor for that, each time.
            if !read_on_foreign_executor(&store, "absent").await {
                return;
            }
            for round in 0..1_000 {
                let at_once = read_on_foreign_executor(&store, "absent").await;
                assert!(
                    at_once,
                    "read {round} of what is in memory waited for the executor"
                );
            }
        });
        task.await;
    });
}
