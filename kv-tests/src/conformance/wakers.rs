//! Who is woken: whoever polled last.

use super::help::{WRITES, key, number, poll_once, put, value, with_store};
use crate::any::Place;
use crate::executor::{thread, yield_now};
use crate::fixture::Value;
use crate::shown::assert_same;
use kv_trait::{KVStore, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// How long a waker may be late when another one of the same future was called: only a store that fails takes so long.
const GRACE: Duration = Duration::from_secs(2);

/// Remembers that it was called, and passes it on.
struct Marked {
    called: AtomicBool,
    task: Waker,
}

impl Marked {
    fn new(task: &Waker) -> Arc<Self> {
        Arc::new(Self {
            called: AtomicBool::new(false),
            task: task.clone(),
        })
    }

    fn was_called(&self) -> bool {
        self.called.load(Ordering::SeqCst)
    }
}

impl Wake for Marked {
    fn wake(self: Arc<Self>) {
        self.called.store(true, Ordering::SeqCst);
        self.task.wake_by_ref();
    }
}

type Operation<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// Polls with one waker and then with another, as happens when a future moves to another task, and waits for the second
/// to be called. `false`: the future was ready too early to tell.
async fn moved(name: &str, operation: &mut Operation<'_>) -> bool {
    let task = std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let (first, second) = (Marked::new(&task), Marked::new(&task));
    for marked in [&first, &second] {
        let waker = Waker::from(Arc::clone(marked));
        if let Poll::Ready(outcome) = operation.as_mut().poll(&mut Context::from_waker(&waker)) {
            outcome.unwrap();
            return false;
        }
    }
    let mut patience = None;
    let woken = std::future::poll_fn(|cx| {
        if second.was_called() {
            return Poll::Ready(true);
        }
        if first.was_called() {
            // It may have been called just before the second poll; then the second one is called as well.
            let timer = patience.get_or_insert_with(|| thread(|| std::thread::sleep(GRACE)));
            if timer.is_finished() {
                return Poll::Ready(false);
            }
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    });
    assert!(
        woken.await,
        "{name}: it was polled with a second waker, and only the first one was called"
    );
    operation.as_mut().await.unwrap();
    true
}

/// A future that was polled by one task and then by another wakes the second.
pub fn the_last_waker_is_the_one_that_is_called(place: &Place) {
    with_store(place, async |_, store| {
        let (k, v) = (key("k"), value(1));
        for _ in 0..10 {
            for write in WRITES {
                put(&store, "k", 0).await;
                let mut operation = write.start(&store, &k, &v);
                moved(&format!("{write:?}"), &mut operation).await;
            }
            let mut operation: Operation<'_> = Box::pin(async { store.get(&k).await.map(drop) });
            moved("Get", &mut operation).await;
        }
    });
}

/// A poll that nobody asked for changes nothing: the operation happens once, in its place. Between the polls other writes
/// are begun; the prior values tell whether anything came between them.
pub fn a_future_may_be_polled_without_being_woken(place: &Place) {
    with_store(place, async |_, store| {
        let k = key("k");
        for round in 0..20_u64 {
            let values: Vec<Value> = (0..12).map(|number| value(round * 100 + number)).collect();
            let before = store.get(&k).await.unwrap();
            let mut first = store.set(&k, &values[0]);
            let mut told = vec![poll_once(&mut first)];
            let mut others = Vec::new();
            for v in &values[1..] {
                yield_now().await;
                if told[0].is_pending() {
                    told[0] = poll_once(&mut first);
                }
                let mut other = store.set(&k, v);
                told.push(poll_once(&mut other));
                others.push(other);
            }
            let writes = std::iter::once(first).chain(others);
            let mut expected = before;
            for (number, (write, told)) in writes.zip(told).enumerate() {
                let prior = match told {
                    Poll::Ready(answer) => answer.unwrap(),
                    Poll::Pending => write.await.unwrap(),
                };
                assert_same!(
                    prior,
                    expected,
                    "round {round}: the prior value of write {number}"
                );
                expected = Some(values[number].clone());
            }
            assert_same!(
                store.get(&k).await.unwrap(),
                expected,
                "round {round}: the last one"
            );
        }
    });
}

/// Of many futures each is begun in one task and finished in another.
pub fn a_future_may_move_to_another_task(place: &Place) {
    with_store(place, async |fixture, store| {
        for round in 0..4_u64 {
            let begun: Vec<_> = (0..40_u64)
                .map(|task| {
                    let store = store.clone();
                    fixture.spawn(async move {
                        let name = format!("key {task}");
                        let mut write: Operation<'static> = Box::pin(async move {
                            store.set(&key(&name), &value(round)).await.map(drop)
                        });
                        let polled =
                            std::future::poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx)));
                        match polled.await {
                            Poll::Ready(outcome) => {
                                outcome.unwrap();
                                None
                            }
                            Poll::Pending => Some(write),
                        }
                    })
                })
                .collect();
            let mut moved = Vec::new();
            for task in begun {
                if let Some(write) = task.await {
                    moved.push(fixture.spawn(async move { write.await.unwrap() }));
                }
                yield_now().await;
            }
            for task in moved {
                task.await;
            }
            for task in 0..40 {
                let found = store.get(&key(&format!("key {task}"))).await.unwrap();
                assert_eq!(found.as_ref().map(number), Some(round), "key {task}");
            }
        }
    });
}
