//! The suite on one thread whose pool of blocking threads is a queue, run when nothing else is left: every order of
//! events follows from the test, and a future that nobody would wake again is noticed at once. And what only such a
//! runtime can do: drop each future at each poll, and every piece of blocking work unrun.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{KVLog, Options};
use kv_tests::fixture::{Key, Value};
use kv_tests::kvlog::OnSimDisk;
use kv_tests::stepped::{Stepped, idle_waker};
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

kv_tests::conformance!(OnSimDisk<Stepped>, skipping [
    "multi_threaded_executor",
    "a_future_dropped_while_its_sync_is_held_finishes",
    "a_future_dropped_behind_a_long_sync_needs_no_other_call",
    "an_abandoned_executor_harms_nobody",
    "the_executor_is_never_blocked",
    "reads_go_on_while_a_sync_is_held",
    "a_batch_is_whole_at_each_of_its_syncs",
    "a_lock_timeout_waits_for_the_other_owner",
    "persistence_verification",
    "a_killed_process_loses_nothing_it_acknowledged",
    "nothing_is_visible_before_it_is_durable",
    "a_snapshot_keeps_the_time_of_its_beginning",
]);

type Store = KVLog<Key, Value, Stepped>;
type Operation<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

const OPERATIONS: [&str; 6] = ["set", "put", "delete", "remove", "get", "close"];

fn options(disk: &SimDisk) -> Options {
    Options::new()
        .storage(disk.storage())
        .linger(Duration::ZERO)
}

fn open(runtime: &Stepped, disk: &SimDisk) -> Store {
    runtime
        .block_on(Store::load_on(runtime.clone(), "/db", options(disk)))
        .unwrap()
}

fn key(text: &str) -> Key {
    Key::from(text.as_bytes().to_vec())
}

fn start<'a>(store: &'a Store, operation: &str, k: &'a Key, v: &'a Value) -> Operation<'a> {
    match operation {
        "set" => Box::pin(async move { store.set(k, v).await.map(drop) }),
        "put" => Box::pin(async move { store.put(k, v).await }),
        "delete" => Box::pin(async move { store.delete(k).await.map(drop) }),
        "remove" => Box::pin(async move { store.remove(k).await }),
        "get" => Box::pin(async move { store.get(k).await.map(drop) }),
        _ => Box::pin(async move { store.close().await }),
    }
}

/// What `k` holds after an operation that was given up: the old value, or what the operation would have left. Nothing
/// if it was never polled, the new one for sure once its blocking work ran.
fn may_be(operation: &str, found: Option<&Value>, polls: usize, worked: bool) -> bool {
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    let after = match operation {
        "set" | "put" => new,
        "delete" | "remove" => None,
        _ => old.clone(),
    };
    let unchanged = !worked && found == old.as_ref();
    unchanged || polls > 0 && found == after.as_ref()
}

/// Freeing a large index takes longer than an executor's thread should be held up.
#[test]
fn a_large_index_is_freed_by_the_runtime_and_not_by_who_drops_the_store() {
    for (keys, pieces) in [(100_u32, 0), (40_000, 1)] {
        let (runtime, disk) = (Stepped::default(), SimDisk::new());
        let store = open(&runtime, &disk);
        let mut batch = kv_log_engine::Batch::new();
        for number in 0..keys {
            batch.put(&number.to_le_bytes(), b"").unwrap();
        }
        store.engine().write(batch).unwrap();
        let other = store.clone();
        drop(store);
        assert_eq!(runtime.queued(), 0);
        drop(other);
        assert_eq!(runtime.queued(), pieces, "{keys} keys");
        let again = open(&runtime, &disk);
        assert_eq!(again.stats().live_keys, u64::from(keys));
        runtime.block_on(again.close()).unwrap();
        drop(again);
        assert_eq!(runtime.queued(), 0, "a close has freed it");
    }
}

#[test]
fn each_future_may_be_dropped_at_each_poll() {
    let mut dropped = 0;
    for operation in OPERATIONS {
        for polls in 0.. {
            let (runtime, disk) = (Stepped::default(), SimDisk::new());
            let store = open(&runtime, &disk);
            let (k, v) = (key("k"), b"new".to_vec());
            runtime.block_on(store.put(&k, &b"old".to_vec())).unwrap();
            let mut future = start(&store, operation, &k, &v);
            let waker = idle_waker();
            let mut ended = false;
            let mut worked = false;
            for poll in 0..polls {
                // Between two polls one piece of blocking work: the finest steps there are.
                if poll > 0 {
                    worked |= runtime.run_one();
                }
                if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    outcome.unwrap();
                    ended = true;
                    break;
                }
            }
            drop(future);
            dropped += 1;
            // Others go on, and see one of two states; a close that was begun may be finished for all.
            let other = runtime.block_on(store.put(&key("other"), &v));
            if operation != "close" || polls == 0 {
                other.unwrap();
                let found = runtime.block_on(store.get(&k)).unwrap();
                assert!(
                    may_be(
                        operation,
                        found.as_ref(),
                        polls,
                        worked && operation != "get"
                    ),
                    "{operation} dropped after {polls} polls: {found:?}"
                );
            }
            // What is there now survives a power cut.
            let before = runtime.block_on(store.get(&k)).ok();
            disk.power_cut_losing_all();
            drop(store);
            let store = open(&Stepped::default(), &disk);
            let after = Stepped::default();
            let after = after.block_on(store.on(after.clone()).get(&k)).unwrap();
            if let Some(before) = before {
                assert_eq!(after, before, "{operation} dropped after {polls} polls");
            }
            if ended {
                assert!(
                    polls > 0,
                    "a future that was never polled cannot have ended"
                );
                break;
            }
        }
    }
    assert!(dropped > 15, "only {dropped} futures were dropped");
}

/// `Ok` and there, or `Unavailable` with effect nothing and not there.
fn is_true(outcome: Result<()>, found: Option<Value>) {
    match outcome {
        Ok(()) => assert_eq!(found.as_deref(), Some(&b"new"[..])),
        Err(error) => {
            let told: (ErrorKind, Effect) = (Error::kind(&error), error.effect());
            assert_eq!(told, (ErrorKind::Unavailable, Effect::Nothing), "{error:?}");
            assert_eq!(found, None);
        }
    }
}

#[test]
fn a_runtime_that_drops_its_work_unrun_is_answered_for_truthfully() {
    // The work of the n-th step is dropped, as by a runtime that shuts down; another runtime goes on with the store.
    for step in 0..6 {
        let (runtime, disk) = (Stepped::default(), SimDisk::new());
        let store = open(&runtime, &disk);
        let (k, v) = (key("k"), b"new".to_vec());
        let mut write = Box::pin(store.put(&k, &v));
        let waker = idle_waker();
        let mut outcome = None;
        for at in 0..20 {
            if let Poll::Ready(ready) = write.as_mut().poll(&mut Context::from_waker(&waker)) {
                outcome = Some(ready);
                break;
            }
            if at == step {
                runtime.drop_work();
            } else {
                let _ran = runtime.run_one();
            }
        }
        let outcome = outcome.expect("answered, although its runtime is gone");
        drop(write);
        let other = Stepped::default();
        let elsewhere = store.on(other.clone());
        let found = other.block_on(elsewhere.get(&k)).unwrap();
        is_true(outcome, found);
        other.block_on(elsewhere.put(&k, &v)).unwrap();
        assert_eq!(other.block_on(elsewhere.get(&k)).unwrap(), Some(v.clone()));
    }
}

#[test]
fn an_executor_that_is_dropped_with_tasks_in_it_strands_nobody() {
    let (runtime, disk) = (Stepped::default(), SimDisk::new());
    let store = open(&runtime, &disk);
    for round in 0..10_u64 {
        let gone = Stepped::default();
        let elsewhere = store.on(gone.clone());
        for task in 0..5_u64 {
            let elsewhere = elsewhere.clone();
            drop(gone.spawn(async move {
                let k = key(&format!("gone {task}"));
                elsewhere.put(&k, &round.to_string().into_bytes()).await
            }));
        }
        // Each task is polled once and hands out work that nobody will run.
        gone.block_on(async { kv_tests::executor::yield_now().await });
        let (k, v) = (key("mine"), b"1".to_vec());
        let waiting = store.put(&k, &v);
        if round % 2 == 0 {
            gone.drop_tasks();
            gone.drop_work();
        }
        // With its tasks alive and never polled again, too.
        runtime.block_on(waiting).unwrap();
    }
}
