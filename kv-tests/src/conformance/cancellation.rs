//! Futures that are dropped, executors that go away, and threads that must not wait.

use super::help::{get, key, poll_once, poll_until_held, put, value, with_store};
use crate::any::Place;
use crate::executor::{Task, thread, yield_now};
use crate::fixture::SyncGate;
use crate::shown::{Show, assert_same};
use kv_trait::{Effect, Error, ErrorKind, KVStore, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that ends after this time.
fn timer(time: Duration) -> JoinHandle<()> {
    thread(move || std::thread::sleep(time))
}

async fn wait(time: Duration) {
    let timer = timer(time);
    while !timer.is_finished() {
        yield_now().await;
    }
}

type Write<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// Making a future is not doing it.
pub fn a_future_that_is_never_polled_does_nothing(place: &Place) {
    with_store(place, async |_, store| {
        put(&store, "k", 1).await;
        drop(store.set(&key("k"), &value(2)));
        drop(store.put(&key("k"), &value(3)));
        drop(store.delete(&key("k")));
        drop(store.remove(&key("k")));
        drop(store.set(&key("new"), &value(4)));
        // A write behind them would be behind what they did.
        put(&store, "other", 5).await;
        assert_same!(get(&store, "k").await, Some(value(1)));
        assert_same!(get(&store, "new").await, None);
    });
}

/// Dropped after its first poll, a write happened whole or not at all, and later ones see which.
pub fn a_dropped_future_is_whole_or_nothing(place: &Place) {
    with_store(place, async |_, store| {
        for round in 0..40_u64 {
            put(&store, "k", 1).await;
            let (k, v) = (key("k"), value(2));
            let mut write = match round % 3 {
                0 => store.set(&k, &v),
                1 => store.delete(&k),
                _ => Box::pin(async { store.put(&k, &v).await.map(|()| None) }),
            };
            let early = poll_once(&mut write);
            drop(write);
            let expected = if round % 3 == 1 { None } else { Some(value(2)) };
            let prior = store.set(&key("k"), &value(3)).await.unwrap();
            if early.is_ready() {
                assert_same!(prior, expected, "it had finished");
            } else {
                assert!(
                    prior == expected || prior == Some(value(1)),
                    "round {round}: neither the old value nor the new one: {}",
                    prior.show()
                );
            }
            assert_same!(
                get(&store, "k").await,
                Some(value(3)),
                "a dropped write came late"
            );
        }
    });
}

/// Of many writers some give up: the others all get their answers, and all their writes are there.
pub fn a_dropped_future_harms_nobody_else(place: &Place) {
    with_store(place, async |fixture, store| {
        let tasks: Vec<_> = (0..60_u64)
            .map(|task| {
                let store = store.clone();
                fixture.spawn(async move {
                    let name = format!("task {task}");
                    for step in 0..5 {
                        let (k, v) = (key(&name), value(step));
                        if task % 3 == 0 {
                            let mut write = store.set(&k, &v);
                            drop(poll_once(&mut write));
                            drop(write);
                            yield_now().await;
                        } else {
                            let prior = store.set(&k, &v).await.unwrap();
                            let before = step.checked_sub(1).map(value);
                            assert_same!(prior, before, "task {task}, step {step}");
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        for task in (0..60_u64).filter(|task| task % 3 != 0) {
            assert_same!(get(&store, &format!("task {task}")).await, Some(value(4)));
        }
        put(&store, "after", 1).await;
    });
}

/// A read that is given up after any number of polls keeps nobody waiting.
pub fn a_dropped_read_harms_nobody(place: &Place) {
    with_store(place, async |fixture, store| {
        let k = key("k");
        for round in 0..30_u64 {
            store.put(&k, &value(round)).await.unwrap();
            let mut reads: Vec<_> = (0..8).map(|_| store.get(&k)).collect();
            for (polls, read) in reads.iter_mut().enumerate() {
                for _ in 0..=polls % 3 {
                    if let Poll::Ready(found) = poll_once(read) {
                        assert_same!(found.unwrap(), Some(value(round)), "a read");
                        break;
                    }
                    yield_now().await;
                }
            }
            drop(reads);
            let prior = store.set(&k, &value(1_000 + round)).await.unwrap();
            assert_same!(prior, Some(value(round)), "round {round}");
            let other = store.clone();
            let elsewhere = fixture.spawn(async move { get(&other, "k").await });
            assert_same!(elsewhere.await, Some(value(1_000 + round)), "round {round}");
        }
    });
}

/// Once a write's sync is under way, dropping its future does not stop it: it is there when the sync returns. One that
/// is queued behind it finishes too.
pub fn a_future_dropped_while_its_sync_is_held_finishes(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "deleted", 1).await;
        put(&store, "removed", 1).await;
        let operations: [&str; 4] = ["set", "put", "deleted", "removed"];
        for operation in operations {
            let gate = fixture.hold_syncs();
            let (k, v) = (key(operation), value(2));
            let mut write: Write<'_> = match operation {
                "set" => Box::pin(async { store.set(&k, &v).await.map(drop) }),
                "put" => store.put(&k, &v),
                "deleted" => Box::pin(async { store.delete(&k).await.map(drop) }),
                _ => store.remove(&k),
            };
            assert!(
                poll_once(&mut write).is_pending(),
                "{operation}: before its sync"
            );
            poll_until_held(&mut write, &*gate).await;
            assert!(
                poll_once(&mut write).is_pending(),
                "{operation}: while its sync is held"
            );
            let (late_key, late_value) = (key("late"), value(3));
            let mut late = store.put(&late_key, &late_value);
            assert!(poll_once(&mut late).is_pending());
            drop((late, write));
            gate.open();
            // Its place in the order was before this one.
            put(&store, "behind", 1).await;
            let expected = (operation == "set" || operation == "put").then(|| value(2));
            assert_same!(get(&store, operation).await, expected, "{operation}");
            assert_same!(
                get(&store, "late").await,
                Some(value(3)),
                "{operation}: the one behind"
            );
            store.remove(&key("late")).await.unwrap();
        }
    });
}

/// The same when nobody calls the store again: a write that has its place in the order is not left for the next one. The
/// sync before it takes long, so that whoever does the work for others has done its share by then.
pub fn a_future_dropped_behind_a_long_sync_needs_no_other_call(place: &Place) {
    with_store(place, async |fixture, store| {
        let gate = fixture.hold_syncs();
        let (k, v) = (key("first"), value(1));
        let mut first = store.put(&k, &v);
        poll_until_held(&mut first, &*gate).await;
        let (k, v) = (key("dropped"), value(2));
        let mut dropped = store.put(&k, &v);
        assert!(poll_once(&mut dropped).is_pending());
        drop(dropped);
        wait(Duration::from_millis(100)).await;
        gate.open();
        first.await.unwrap();
        let patience = timer(Duration::from_secs(60));
        while get(&store, "dropped").await.is_none() {
            assert!(!patience.is_finished(), "nobody writes it");
            yield_now().await;
        }
        assert_same!(get(&store, "dropped").await, Some(value(2)));
    });
}

/// Counts the futures that were begun and have come to their end, by being finished or by being dropped.
struct Ended(Arc<AtomicU64>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// An executor that is dropped with writes in flight takes nobody else's writes with it, and leaves the store usable.
pub fn an_abandoned_executor_harms_nobody(place: &Place) {
    with_store(place, async |fixture, store| {
        let ended = Arc::new(AtomicU64::new(0));
        let refusals: Arc<Mutex<Vec<Error>>> = Arc::default();
        for round in 0..5_u64 {
            let own: Vec<_> = (0..8_u64)
                .map(|task| {
                    let store = store.clone();
                    fixture.spawn(async move {
                        for step in 0..10 {
                            put(&store, &format!("own {task}"), round * 10 + step).await;
                        }
                    })
                })
                .collect();
            yield_now().await;
            let futures: Vec<Task<()>> = (0..16_u64)
                .map(|task| {
                    let (store, ended) = (store.clone(), Arc::clone(&ended));
                    let refusals = Arc::clone(&refusals);
                    Box::pin(async move {
                        let _ended = Ended(ended);
                        let k = key(&format!("abandoned {task}"));
                        // Its runtime may go away under it: then it is refused. Nothing else ends it.
                        for step in 0.. {
                            if let Err(error) = store.set(&k, &value(step)).await {
                                refusals.lock().expect("nobody panics with it").push(error);
                                return;
                            }
                        }
                    }) as Task<()>
                })
                .collect();
            fixture.abandon(futures);
            for task in own {
                task.await;
            }
            put(&store, "after", round).await;
        }
        for task in 0..8 {
            assert_same!(get(&store, &format!("own {task}")).await, Some(value(49)));
        }
        assert_same!(get(&store, "after").await, Some(value(4)));
        let ended = ended.load(Ordering::SeqCst);
        assert!(
            ended > 0,
            "no future ended with its executor: none was abandoned"
        );
        // What it was told is about the runtime alone, and true.
        for error in &*refusals.lock().expect("nobody panics with it") {
            let of_the_runtime = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Closed);
            assert!(of_the_runtime, "{error:?}");
            // Nothing happened, or all but the reading of the value before, which had no thread any more.
            assert_ne!(error.effect(), Effect::Unknown, "{error:?}");
        }
    });
}

/// While a sync is held, another task of the same executor runs a hundred times, although more writers wait than the
/// executor has threads. If they block them nobody would ever open the gate, so a helper does that in the end, and the
/// property has failed by then.
pub fn the_executor_is_never_blocked(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "warm", 1).await;
        let gate = Arc::new(Mutex::new(fixture.hold_syncs()));
        let open = |gate: &Mutex<Box<dyn SyncGate>>| {
            gate.lock().expect("nobody panics with it").open();
        };
        let yielded = Arc::new(AtomicBool::new(false));
        let (done, given_up) = mpsc::channel::<()>();
        let helper = {
            let (gate, yielded) = (Arc::clone(&gate), Arc::clone(&yielded));
            thread(move || {
                let waited = given_up.recv_timeout(Duration::from_secs(10));
                let late = waited == Err(mpsc::RecvTimeoutError::Timeout);
                let blocked = late && !yielded.load(Ordering::SeqCst);
                if blocked {
                    open(&gate);
                }
                blocked
            })
        };
        let writers: Vec<_> = (0..40_u64)
            .map(|writer| {
                let store = store.clone();
                let name = format!("k{writer}");
                fixture.spawn(async move { store.set(&key(&name), &value(1)).await })
            })
            .collect();
        let other = {
            let (gate, yielded) = (Arc::clone(&gate), Arc::clone(&yielded));
            let held = move || gate.lock().expect("nobody panics with it").held();
            fixture.spawn(async move {
                while held() == 0 {
                    yield_now().await;
                }
                for _ in 0..100 {
                    yield_now().await;
                }
                yielded.store(true, Ordering::SeqCst);
            })
        };
        while !yielded.load(Ordering::SeqCst) && !helper.is_finished() {
            yield_now().await;
        }
        drop(done);
        let blocked = helper.join().expect("the helper ends");
        assert!(
            !blocked,
            "a thread of the executor was blocked while a sync was held"
        );
        open(&gate);
        other.await;
        for writer in writers {
            assert_same!(writer.await.unwrap(), None);
        }
    });
}

/// Reads of what is there are answered while a write waits for its sync.
pub fn reads_go_on_while_a_sync_is_held(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "k", 1).await;
        let gate = fixture.hold_syncs();
        let (k, v) = (key("k"), value(2));
        let mut write = store.set(&k, &v);
        assert!(poll_once(&mut write).is_pending());
        poll_until_held(&mut write, &*gate).await;
        for _ in 0..50 {
            assert_same!(get(&store, "k").await, Some(value(1)));
            assert_same!(get(&store, "absent").await, None);
        }
        gate.open();
        let answer = match poll_once(&mut write) {
            Poll::Ready(answer) => answer,
            Poll::Pending => write.await,
        };
        assert_same!(answer.unwrap(), Some(value(1)));
    });
}
