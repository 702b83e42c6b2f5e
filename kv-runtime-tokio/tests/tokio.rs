//! The store on tokio: both flavours, many tasks, runtimes that go away, pools that are full.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use kv_log_engine::storage::sim::{OpKind, SimDisk};
use kv_runtime_tokio::{
    ByteKey, Codec, Effect, Engine, ErrorKind, KVLog, KVStore, Options, Raw, Runtime as _, Tokio,
};
use kv_trait::Shape;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

type Counters = KVLog<String, u64>;

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
}

fn both(test: impl Fn(Runtime)) {
    test(current_thread());
    test(multi_thread());
}

async fn on_disk(disk: &SimDisk) -> Counters {
    KVLog::load_with("/db", Options::new().storage(disk.storage()))
        .await
        .unwrap()
}

#[test]
fn prior_values_form_a_chain_without_gap_or_repeat() {
    both(|runtime| {
        for tasks in [1, 8, 64] {
            let disk = SimDisk::new();
            let mut seen = runtime.block_on(async {
                let store = on_disk(&disk).await;
                let tasks: Vec<_> = (0..tasks)
                    .map(|task| {
                        let store = store.clone();
                        tokio::spawn(async move {
                            let mut priors = Vec::new();
                            for step in 0..10_u64 {
                                priors
                                    .push(store.set("k", &(task * 100 + step + 1)).await.unwrap());
                            }
                            priors
                        })
                    })
                    .collect();
                let mut seen = Vec::new();
                for task in tasks {
                    seen.extend(task.await.unwrap());
                }
                seen.push(store.get("k").await.unwrap());
                store.close().await.unwrap();
                seen
            });
            let count = seen.len();
            assert_eq!(
                seen.iter().filter(|prior| prior.is_none()).count(),
                1,
                "one was first"
            );
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(
                seen.len(),
                count,
                "{tasks} tasks: a prior value was told twice"
            );
        }
    });
}

#[test]
fn everything_through_the_trait_object() {
    both(|runtime| {
        let disk = SimDisk::new();
        runtime.block_on(async {
            let store: Arc<dyn KVStore<String, u64>> = Arc::new(on_disk(&disk).await);
            let key = "k".to_owned();
            assert_eq!(store.get(&key).await.unwrap(), None);
            assert_eq!(store.set(&key, &1).await.unwrap(), None);
            assert_eq!(store.set(&key, &2).await.unwrap(), Some(1));
            store.put(&key, &3).await.unwrap();
            assert_eq!(store.delete(&key).await.unwrap(), Some(3));
            assert_eq!(store.delete(&key).await.unwrap(), None);
            store.remove(&key).await.unwrap();
        });
    });
}

#[test]
fn outside_a_runtime_everything_is_refused_as_unavailable() {
    let disk = SimDisk::new();
    let refused = futures_block_on(Counters::load_with(
        "/db",
        Options::new().storage(disk.storage()),
    ));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    let runtime = current_thread();
    let store = runtime.block_on(on_disk(&disk));
    for error in [
        futures_block_on(store.get("k")).unwrap_err(),
        futures_block_on(store.set("k", &1)).unwrap_err(),
        futures_block_on(store.put("k", &1)).unwrap_err(),
        futures_block_on(store.delete("k")).unwrap_err(),
        futures_block_on(store.remove("k")).unwrap_err(),
        futures_block_on(store.close()).unwrap_err(),
    ] {
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Unavailable, Effect::Nothing)
        );
    }
    runtime.block_on(async { assert_eq!(store.get("k").await.unwrap(), None) });
}

/// An executor that is no runtime.
fn futures_block_on<T>(future: impl Future<Output = T>) -> T {
    kv_tests::stepped::Stepped::default().block_on(future)
}

#[test]
fn a_runtime_is_dropped_while_another_keeps_the_queue_full() {
    let disk = SimDisk::new();
    let busy = multi_thread();
    let store = busy.block_on(on_disk(&disk));
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..16_u64)
        .map(|task| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            busy.spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::SeqCst) {
                    store.put(&format!("busy {task}"), &count).await.unwrap();
                    count += 1;
                }
            })
        })
        .collect();
    for round in 0..5_u64 {
        let short = multi_thread();
        for task in 0..4_u64 {
            let store = store.clone();
            short.spawn(async move {
                loop {
                    if store.put(&format!("short {task}"), &round).await.is_err() {
                        return;
                    }
                }
            });
        }
        short.block_on(async { store.put("short", &round).await.unwrap() });
        // Waits for its blocking threads: a leader's term must end although there is always work.
        drop(short);
    }
    stop.store(true, Ordering::SeqCst);
    busy.block_on(async {
        for worker in workers {
            worker.await.unwrap();
        }
        assert_eq!(store.get("short").await.unwrap(), Some(4));
        store.close().await.unwrap();
    });
}

#[test]
fn a_pool_of_one_thread_filled_with_blocking_calls_makes_progress() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let disk = SimDisk::new();
    runtime.block_on(async {
        let store = on_disk(&disk).await;
        let engine = store.engine().clone();
        let mut tasks = Vec::new();
        for number in 0..20_u64 {
            let engine = engine.clone();
            // Blocking calls of the same store, on the only thread that a leader could get.
            tasks.push(tokio::task::spawn_blocking(move || {
                engine
                    .put(format!("blocking {number}").as_bytes(), b"\x01")
                    .unwrap();
            }));
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                store
                    .put(&format!("async {number}"), &number)
                    .await
                    .unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(store.stats().live_keys, 40);
    });
}

/// No address space has room for such a stack, so the system refuses every thread of the pool.
fn without_threads() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .thread_stack_size(usize::MAX / 4)
        .build()
        .unwrap()
}

/// tokio's own panic used to pass through the task, and left the lead with a closure that nobody would run: every later
/// write waited for it.
#[test]
fn a_system_without_threads_refuses_calls_and_strands_nobody() {
    let disk = SimDisk::new();
    let starved = without_threads();
    starved.block_on(async {
        let options = Options::new().storage(disk.storage());
        let error = Counters::load_with("/db", options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    });
    let store = current_thread().block_on(async {
        let store = on_disk(&disk).await;
        store.put("before", &1).await.unwrap();
        store
    });
    // That runtime is gone and waited for its threads: no leader of its lingers and takes the next write.
    starved.block_on(async {
        for _ in 0..3 {
            for refused in [
                answer(store.put("k", &1)).await.map(|()| None),
                answer(store.set("k", &1)).await,
                answer(store.close()).await.map(|()| None),
            ] {
                let error = refused.unwrap_err();
                assert_eq!(
                    (error.kind(), error.effect()),
                    (ErrorKind::Unavailable, Effect::Nothing)
                );
            }
        }
        assert_eq!(store.get("k").await.unwrap(), None);
        let remembered = answer(store.get("before")).await.unwrap();
        assert_eq!(remembered, Some(1), "memory needs no thread");
    });
    current_thread().block_on(async {
        assert_eq!(answer(store.set("k", &2)).await.unwrap(), None);
        assert_eq!(answer(store.get("before")).await.unwrap(), Some(1));
    });
}

#[test]
fn refused_work_is_dropped_and_never_run() {
    let starved = without_threads();
    let _inside = starved.enter();
    let (sender, receiver) = std::sync::mpsc::channel();
    let work = Box::new(move || sender.send(()).unwrap());
    let error = Tokio::default().spawn_blocking(work).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        receiver.recv_timeout(PATIENCE),
        Err(RecvTimeoutError::Disconnected)
    );
}

enum Panicking {}

impl Codec<u64> for Panicking {
    const ID: &'static str = "panicking";
    const VERSION: u16 = 1;

    fn encode(_: &u64, _: &mut Vec<u8>) -> kv_runtime_tokio::Result<()> {
        Ok(())
    }

    fn decode(_: &[u8]) -> kv_runtime_tokio::Result<u64> {
        Ok(0)
    }

    #[expect(clippy::panic, reason = "it is what the test is about")]
    fn shape() -> Option<Shape> {
        panic!("planted: shape {}", 7)
    }
}

/// It used to be told as the shutdown of a runtime that was in best health.
#[test]
fn a_panic_on_a_blocking_thread_is_told_as_one() {
    let disk = SimDisk::new();
    current_thread().block_on(async {
        let options = Options::new().storage(disk.storage());
        let load = KVLog::<String, u64, Panicking>::load_with("/db", options);
        let error = answer(load).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Unavailable, Effect::Nothing)
        );
        let told = error.to_string();
        assert!(
            told.contains("panicked") && told.contains("planted: shape 7"),
            "{told}"
        );
        // It harmed nobody: the same path, a sound codec.
        answer(on_disk(&disk)).await.put("k", &1).await.unwrap();
    });
}

#[test]
fn work_that_a_runtime_drops_is_told_as_its_shutdown() {
    let disk = SimDisk::new();
    let runtime = current_thread();
    let handle = runtime.handle().clone();
    drop(runtime);
    let _inside = handle.enter();
    let load = Counters::load_with("/db", Options::new().storage(disk.storage()));
    let error = futures_block_on(load).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Unavailable, Effect::Nothing)
    );
    assert!(error.to_string().contains("shut down"), "{error}");
}

const PATIENCE: Duration = Duration::from_secs(20);

async fn answer<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, call)
        .await
        .expect("an answer")
}

#[test]
fn drop_then_load_at_once() {
    both(|runtime| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        runtime.block_on(async {
            for round in 0..20_u64 {
                let store = Counters::load(&path).await.unwrap();
                assert_eq!(
                    store.set("round", &round).await.unwrap(),
                    round.checked_sub(1)
                );
                drop(store);
            }
        });
    });
}

#[test]
fn another_task_goes_on_while_a_sync_is_held() {
    let runtime = current_thread();
    let disk = SimDisk::new();
    runtime.block_on(async {
        let store = on_disk(&disk).await;
        store.put("warm", &1).await.unwrap();
        let gate = disk.hold(OpKind::Sync);
        let writer = tokio::spawn({
            let store = store.clone();
            async move { store.put("k", &1).await }
        });
        while gate.held() == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!writer.is_finished());
        assert_eq!(
            store.get("k").await.unwrap(),
            None,
            "not visible before it is durable"
        );
        gate.open();
        writer.await.unwrap().unwrap();
        assert_eq!(store.get("k").await.unwrap(), Some(1));
    });
}

#[test]
fn a_dropped_future_takes_nobody_with_it() {
    let runtime = current_thread();
    let disk = SimDisk::new();
    runtime.block_on(async {
        let store = on_disk(&disk).await;
        // Never polled: nothing happened.
        drop(store.put("unpolled", &1));
        let gate = disk.hold(OpKind::Sync);
        let first = tokio::spawn({
            let store = store.clone();
            async move { store.put("first", &1).await }
        });
        while gate.held() == 0 {
            tokio::task::yield_now().await;
        }
        // Polled once, then dropped: it finishes as if awaited.
        let mut dropped = Box::pin(store.put("dropped", &2));
        let waker = std::task::Waker::noop();
        assert!(
            dropped
                .as_mut()
                .poll(&mut std::task::Context::from_waker(waker))
                .is_pending()
        );
        drop(dropped);
        gate.open();
        first.await.unwrap().unwrap();
        store.put("last", &3).await.unwrap();
        assert_eq!(store.get("dropped").await.unwrap(), Some(2));
        assert_eq!(store.get("unpolled").await.unwrap(), None);
    });
}

// R5
#[test]
fn a_prior_value_that_does_not_decode_is_an_applied_write() {
    let runtime = current_thread();
    let disk = SimDisk::new();
    runtime.block_on(async {
        let store: KVLog<String, String> =
            KVLog::load_with("/db", Options::new().storage(disk.storage()))
                .await
                .unwrap();
        store.engine().put(b"k", b"\xff\xff\xff").unwrap();
        assert_eq!(store.get("k").await.unwrap_err().kind(), ErrorKind::Codec);
        let error = store.set("k", &"new".to_owned()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Codec, Effect::Applied)
        );
        assert_eq!(store.get("k").await.unwrap().as_deref(), Some("new"));
        store.engine().put(b"k", b"\xff\xff\xff").unwrap();
        store.put("k", &"migrated".to_owned()).await.unwrap();
        store.engine().put(b"k", b"\xff\xff\xff").unwrap();
        let error = store.delete("k").await.unwrap_err();
        assert_eq!(error.effect(), Effect::Applied);
        assert_eq!(store.get("k").await.unwrap(), None);
    });
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    A { number: u64 },
}

// R16
#[test]
fn key_types_that_cannot_be_read_back_are_refused_at_load() {
    let runtime = current_thread();
    let disk = SimDisk::new();
    runtime.block_on(async {
        let options = Options::new().storage(disk.storage());
        let error = KVLog::<Tagged, u64>::load_with("/db", options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(disk.files().is_empty());
    });
}

#[test]
fn other_codecs_and_tags_are_refused_not_misread() {
    let runtime = current_thread();
    let disk = SimDisk::new();
    let options = || Options::new().storage(disk.storage());
    runtime.block_on(async {
        let store: Counters = KVLog::load_with("/db", options().tag("v1")).await.unwrap();
        store.put("k", &300).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let raw = KVLog::<ByteKey, Vec<u8>, Raw>::load_with("/db", options()).await;
        assert_eq!(raw.unwrap_err().kind(), ErrorKind::UnsupportedFormat);
        let ordered = KVLog::<(u8, u8), u64>::load_with("/db", options()).await;
        assert_eq!(ordered.unwrap_err().kind(), ErrorKind::UnsupportedFormat);
        let tagged = Counters::load_with("/db", options().tag("v2")).await;
        assert_eq!(tagged.unwrap_err().kind(), ErrorKind::UnsupportedFormat);
        let store: Counters = KVLog::load_with("/db", options().tag("v1")).await.unwrap();
        assert_eq!(store.get("k").await.unwrap(), Some(300));
    });
}

#[test]
fn keys_are_ordered_as_their_type_is() {
    let runtime = current_thread();
    let disk = SimDisk::new();
    runtime.block_on(async {
        let store: KVLog<(i64, String), u8> =
            KVLog::load_with("/db", Options::new().storage(disk.storage()))
                .await
                .unwrap();
        let mut keys = BTreeSet::new();
        for number in [-5_i64, 300, 0, -70_000, 1] {
            for text in ["", "a", "a\0", "b"] {
                keys.insert((number, text.to_owned()));
                store.put(&(number, text.to_owned()), &1).await.unwrap();
            }
        }
        let scan = store.engine().scan(..).unwrap();
        let found: Vec<(i64, String)> = scan
            .map(|record| kv_runtime_tokio::key::decode(&record.unwrap().0).unwrap())
            .collect();
        assert!(found.into_iter().eq(keys));
    });
}

#[test]
fn a_store_made_by_bytes_is_read_as_text() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let engine = Engine::open(&path, Options::new()).unwrap();
    engine.put(b"greeting", b"hello").unwrap();
    engine.close().unwrap();
    current_thread().block_on(async {
        let store: KVLog<String, String, Raw> = KVLog::load(&path).await.unwrap();
        assert_eq!(
            store.get("greeting").await.unwrap().as_deref(),
            Some("hello")
        );
    });
}

#[test]
fn other_types_are_refused_by_their_shape_unless_they_are_adopted() {
    let runtime = current_thread();
    let disk = SimDisk::new();
    let options = || Options::new().storage(disk.storage());
    runtime.block_on(async {
        let store: Counters = KVLog::load_with("/db", options()).await.unwrap();
        store.put("k", &300).await.unwrap();
        drop(store);
        // Postcard would read 300 as 150.
        let signed = KVLog::<String, i64>::load_with("/db", options()).await;
        let error = signed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
        let told = error.to_string();
        assert!(
            told.contains("values are u64, the caller's are i64"),
            "{told}"
        );
        // The owner knows better: a newtype with one more variant, say.
        let adopted = KVLog::<String, (u64,)>::load_with("/db", options().adopt_types()).await;
        assert_eq!(adopted.unwrap().get("k").await.unwrap(), Some((300,)));
        let back = KVLog::<String, u64>::load_with("/db", options()).await;
        assert_eq!(back.unwrap_err().kind(), ErrorKind::UnsupportedFormat);
        KVLog::<String, (u64,)>::load_with("/db", options())
            .await
            .unwrap();
    });
}
