//! Many tasks and threads on one store.

use super::help::{chain, get, key, number, poll_once, put, value, with_store};
use crate::any::{AnyStore, AnyThread, Place};
use crate::executor::yield_now;
use crate::shown::{Show, assert_same};
use crate::watch::Watch;
use kv_trait::KVStore;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// Tasks at once; the largest is far beyond a pool of blocking threads.
const TASKS: [u64; 4] = [1, 8, 64, 512];

/// Each task has a key of its own: nobody's write is lost or mixed up.
pub fn concurrent_access(place: &Place) {
    with_store(place, async |fixture, store| {
        for count in TASKS {
            let tasks: Vec<_> = (0..count)
                .map(|task| {
                    let store = store.clone();
                    fixture.spawn(async move {
                        let name = format!("{count} tasks, task {task}");
                        for step in 0..4 {
                            put(&store, &name, task * 10 + step).await;
                            let seen = get(&store, &name).await;
                            assert_same!(seen, Some(value(task * 10 + step)), "its own write");
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            for task in 0..count {
                let name = format!("{count} tasks, task {task}");
                assert_same!(
                    get(&store, &name).await,
                    Some(value(task * 10 + 3)),
                    "{name}"
                );
            }
        }
    });
}

/// On one key every prior value is told exactly once, and they make a chain: no update is lost.
pub fn prior_values_chain(place: &Place) {
    with_store(place, async |fixture, store| {
        for count in TASKS {
            let name = format!("{count}");
            let tasks: Vec<_> = (0..count)
                .map(|task| {
                    let (store, name) = (store.clone(), name.clone());
                    fixture.spawn(async move {
                        let mut writes = Vec::new();
                        for step in 0..5 {
                            let own = task * 100 + step;
                            let prior = store.set(&key(&name), &value(own)).await.unwrap();
                            writes.push((own, prior.as_ref().map(number)));
                        }
                        writes
                    })
                })
                .collect();
            let mut writes = Vec::new();
            for task in tasks {
                writes.extend(task.await);
            }
            let last = get(&store, &name).await.as_ref().map(number);
            let order = chain(&writes, last);
            assert_eq!(order.len() as u64, count * 5, "{count} tasks");
            for task in 0..count {
                let own: Vec<u64> = order.iter().copied().filter(|n| n / 100 == task).collect();
                assert!(
                    own.is_sorted(),
                    "{count} tasks: task {task} was reordered: {own:?}"
                );
            }
        }
    });
}

/// Among sets and deletes of one key, each value that was set is answered to exactly one later write, or is there at
/// the end.
pub fn prior_values_chain_through_deletes(place: &Place) {
    with_store(place, async |fixture, store| {
        let tasks: Vec<_> = (0..32_u64)
            .map(|task| {
                let store = store.clone();
                fixture.spawn(async move {
                    let mut told = Vec::new();
                    for step in 0..10_u64 {
                        let k = key("k");
                        let prior = if (task + step) % 3 == 0 {
                            store.delete(&k).await
                        } else {
                            store.set(&k, &value(task * 100 + step)).await
                        };
                        told.extend(prior.unwrap());
                    }
                    told
                })
            })
            .collect();
        let mut told = Vec::new();
        for task in tasks {
            told.extend(task.await);
        }
        told.extend(get(&store, "k").await);
        let mut told: Vec<u64> = told.iter().map(number).collect();
        told.sort_unstable();
        let mut written: Vec<u64> = (0..32)
            .flat_map(|task| (0..10).map(move |step| (task, step)))
            .filter(|(task, step)| (task + step) % 3 != 0)
            .map(|(task, step)| task * 100 + step)
            .collect();
        written.sort_unstable();
        assert_eq!(told, written);
    });
}

/// Tasks on the executor and futures on threads of their own, up to 512 and 64, on one key: still one chain.
pub fn multi_threaded_executor(place: &Place) {
    with_store(place, async |fixture, store| {
        for (tasks, threads) in [(1_u64, 1_u64), (8, 8), (64, 64), (512, 16)] {
            let name = format!("{tasks} and {threads}");
            let work = |worker: u64| {
                let (store, k) = (store.clone(), key(&name));
                async move {
                    let mut writes = Vec::new();
                    for step in 0..5 {
                        let own = worker * 100 + step;
                        let prior = store.set(&k, &value(own)).await.unwrap();
                        writes.push((own, prior.as_ref().map(number)));
                    }
                    writes
                }
            };
            let on_threads: Vec<_> = (0..threads)
                .map(|worker| fixture.spawn_thread(work(worker)))
                .collect();
            let on_tasks: Vec<_> = (threads..threads + tasks)
                .map(|worker| fixture.spawn(work(worker)))
                .collect();
            let mut writes = Vec::new();
            for task in on_tasks {
                writes.extend(task.await);
            }
            while !on_threads.iter().all(AnyThread::is_finished) {
                yield_now().await;
            }
            for thread in on_threads {
                writes.extend(thread.join());
            }
            let last = get(&store, &name).await.as_ref().map(number);
            assert_eq!(chain(&writes, last).len() as u64, (tasks + threads) * 5);
        }
    });
}

/// One operation as its caller saw it: between which two ticks of a common clock, and what came of it.
struct Seen {
    began: u64,
    ended: u64,
    /// The place in the order of writes that it shows: its own for a write, of what was read for a read.
    shows: Option<u64>,
    is_write: bool,
}

/// Sets and gets of one key fit one order that agrees with real time. The prior values give the order of the writes; a
/// read must show a write that was not yet overwritten before the read began, and had begun before the read ended.
pub fn operations_on_one_key_are_linearizable(place: &Place) {
    with_store(place, async |fixture, store| {
        let clock = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..12_u64)
            .map(|task| {
                let (store, clock) = (store.clone(), Arc::clone(&clock));
                fixture.spawn(async move {
                    let tick = || clock.fetch_add(1, Ordering::SeqCst);
                    let (mut seen, mut writes) = (Vec::new(), Vec::new());
                    for step in 0..30_u64 {
                        let began = tick();
                        let is_write = (task + step) % 2 == 0;
                        let shows = if is_write {
                            let own = task * 100 + step;
                            let prior = store.set(&key("k"), &value(own)).await.unwrap();
                            writes.push((own, prior.as_ref().map(number)));
                            Some(own)
                        } else {
                            store.get(&key("k")).await.unwrap().as_ref().map(number)
                        };
                        let ended = tick();
                        seen.push(Seen {
                            began,
                            ended,
                            shows,
                            is_write,
                        });
                        yield_now().await;
                    }
                    (seen, writes)
                })
            })
            .collect();
        let (mut seen, mut writes) = (Vec::new(), Vec::new());
        for task in tasks {
            let (more_seen, more_writes) = task.await;
            seen.extend(more_seen);
            writes.extend(more_writes);
        }
        let last = get(&store, "k").await.as_ref().map(number);
        judge_history(&seen, &chain(&writes, last));
    });
}

fn judge_history(seen: &[Seen], order: &[u64]) {
    let place: BTreeMap<u64, usize> = order
        .iter()
        .enumerate()
        .map(|(at, written)| (*written, at + 1))
        .collect();
    // Place 0 is the store before the first write.
    let shown = |operation: &Seen| match operation.shows {
        None => 0,
        Some(written) => *place.get(&written).expect("a value that was written"),
    };
    for earlier in seen {
        for later in seen.iter().filter(|later| later.began > earlier.ended) {
            let (a, b) = (shown(earlier), shown(later));
            let fits = if later.is_write { a < b } else { a <= b };
            assert!(
                fits,
                "an operation that began at {} shows place {b} of the order, after one that ended at {} showed {a}",
                later.began, earlier.ended
            );
        }
    }
}

/// Whoever is told of an acknowledged write, by whatever way, reads it.
pub fn a_write_is_read_by_whoever_is_told_of_it(place: &Place) {
    with_store(place, async |fixture, store| {
        let newest = Arc::new(AtomicU64::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (store, newest) = (store.clone(), Arc::clone(&newest));
                let done = Arc::clone(&done);
                fixture.spawn(async move {
                    while !done.load(Ordering::SeqCst) {
                        let told = newest.load(Ordering::SeqCst);
                        let seen = get(&store, "k").await.as_ref().map_or(0, number);
                        assert!(seen >= told, "told of {told}, read {seen}");
                        yield_now().await;
                    }
                })
            })
            .collect();
        for count in 1..=100 {
            put(&store, "k", count).await;
            newest.store(count, Ordering::SeqCst);
            yield_now().await;
        }
        done.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.await;
        }
    });
}

/// A task that has begun an operation and not finished it may begin and finish others: nothing waits for a future that
/// nobody polls.
pub fn reentrancy(place: &Place) {
    with_store(place, async |fixture, store| {
        let store = &store;
        for round in 0..10 {
            let (k, one, two) = (key("k"), value(round * 10), value(round * 10 + 1));
            let mut first: Pin<Box<dyn Future<Output = _> + Send>> = store.set(&k, &one);
            // Polled once with a waker that wakes nobody; then others go first.
            let early = poll_once(&mut first);
            let other = store.set(&k, &two).await.unwrap();
            store.put(&key("other"), &two).await.unwrap();
            assert_same!(get(store, "other").await, Some(two.clone()));
            store.get(&k).await.unwrap();
            match early {
                std::task::Poll::Ready(answer) => drop(answer.unwrap()),
                std::task::Poll::Pending => drop(first.await.unwrap()),
            }
            assert_same!(
                other,
                Some(one.clone()),
                "the order is the order of first polls"
            );
        }
        // From inside another task, between its awaits, on the same key.
        let inner = store.clone();
        let nested = fixture.spawn(async move {
            put(&inner, "nested", 1).await;
            let again = inner.clone();
            let read = async move { get(&again, "nested").await };
            inner.set(&key("nested"), &value(2)).await.unwrap();
            read.await
        });
        assert_same!(nested.await, Some(value(2)));
    });
}

/// Uses the store when it is woken.
struct UsesStore {
    store: AnyStore,
    inner: Mutex<Option<Waker>>,
    /// Keeps a panic, which the store may swallow.
    watch: Watch,
}

impl UsesStore {
    fn use_it(&self) {
        let (k, v) = (key("from the waker"), value(1));
        let mut write = self.store.put(&k, &v);
        let mut read = self.store.get(&k);
        // Neither may deadlock; whether they are ready is the store's choice.
        drop(poll_once(&mut read));
        drop(poll_once(&mut write));
    }
}

impl Wake for UsesStore {
    fn wake(self: Arc<Self>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.use_it())) {
            self.watch.waker_panicked(&*panic);
        }
        let waker = self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A waker that uses the store, on whatever thread the store calls it, does not deadlock.
pub fn reentrancy_from_a_waker(place: &Place) {
    with_store(place, async |fixture, store| {
        for round in 0..5 {
            let (k, v) = (key("k"), value(round));
            let mut write = store.set(&k, &v);
            let uses = Arc::new(UsesStore {
                store: store.clone(),
                inner: Mutex::new(None),
                watch: fixture.watch().clone(),
            });
            let answer = std::future::poll_fn(|cx| {
                *uses.inner.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(cx.waker().clone());
                let waker = Waker::from(Arc::clone(&uses));
                write.as_mut().poll(&mut Context::from_waker(&waker))
            });
            answer.await.unwrap();
            fixture.watch().assert_no_waker_panicked();
            assert_same!(get(&store, "k").await, Some(value(round)));
        }
        put(&store, "after", 1).await;
        assert_same!(get(&store, "after").await, Some(value(1)));
    });
}

/// Readers, point reads one after the other and scans, never see a batch in part.
pub fn a_batch_is_whole_to_readers(place: &Place) {
    with_store(place, async |fixture, store| {
        let changes = |number: u64| {
            let keys = ["a", "b", "c"].map(key);
            keys.map(|k| (k, Some(value(number)))).to_vec()
        };
        fixture.write_batch(&store, changes(0)).await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let reader = {
            let (store, done) = (store.clone(), Arc::clone(&done));
            fixture.spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let first = get(&store, "a").await.as_ref().map(number);
                    let second = get(&store, "c").await.as_ref().map(number);
                    assert!(first <= second, "a {first:?}, then c {second:?}");
                    yield_now().await;
                }
            })
        };
        for number in 1..60 {
            let write = fixture.write_batch(&store, changes(number));
            let write = fixture.spawn(write);
            for _ in 0..3 {
                let seen = fixture.scan(&store).await.unwrap();
                let first = &seen[0].1;
                assert!(
                    seen.iter().all(|(_, value)| value == first),
                    "{}",
                    seen.show()
                );
            }
            write.await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        reader.await;
    });
}
