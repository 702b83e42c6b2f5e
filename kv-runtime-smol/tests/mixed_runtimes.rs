//! One open store, several runtimes in one process: tokio of both flavours, smol, async-std, and no runtime at all.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use kv_log_engine::storage::sim::{OpKind, SimDisk};
use kv_runtime_smol::{KVLog, Options, Smol};
use kv_runtime_tokio::Tokio;
use kv_tests::executor::thread;
use kv_trait::{BlockingWork, PoolId, Result, Runtime};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tokio::runtime::Builder;

type OnSmol = KVLog<String, u64>;
type OnTokio = kv_runtime_tokio::KVLog<String, u64>;

fn on_disk(disk: &SimDisk) -> OnSmol {
    let options = Options::new().storage(disk.storage());
    smol::block_on(OnSmol::load_with("/db", options)).unwrap()
}

/// Sets one key again and again; the prior values that were told.
macro_rules! chain_of {
    ($store:expr, $base:expr) => {{
        let store = $store;
        async move {
            let mut told = Vec::new();
            for step in 0..25_u64 {
                let own = $base + step;
                told.push((own, store.set("k", &own).await.unwrap()));
            }
            told
        }
    }};
}

#[test]
fn every_runtime_at_once_makes_one_chain() {
    let disk = SimDisk::new();
    let store = on_disk(&disk);
    let multi = Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let tokio_store: OnTokio = store.on(Tokio::default());
    let mut threads = Vec::new();
    let on_tokio: Vec<_> = (0..4_u64)
        .map(|task| multi.spawn(chain_of!(tokio_store.clone(), 1_000 + task * 100)))
        .collect();
    for base in [2_000_u64, 2_100] {
        let own = store.clone();
        threads.push(thread(move || smol::block_on(chain_of!(own, base))));
        let own = store.clone();
        threads.push(thread(move || {
            async_std::task::block_on(chain_of!(own, base + 1_000))
        }));
        let own = store.clone();
        threads.push(thread(move || {
            futures_lite::future::block_on(chain_of!(own, base + 2_000))
        }));
        let own: OnTokio = store.on(Tokio::default());
        threads.push(thread(move || {
            let current = Builder::new_current_thread().build().unwrap();
            current.block_on(chain_of!(own, base + 3_000))
        }));
    }
    // And the synchronous engine, from a plain thread.
    let engine = store.engine().clone();
    let plain = thread(move || {
        for number in 0..25_u64 {
            engine
                .put(format!("plain {number}").as_bytes(), &[1])
                .unwrap();
        }
    });
    let mut told = Vec::new();
    for task in on_tokio {
        told.extend(multi.block_on(task).unwrap());
    }
    for thread in threads {
        told.extend(thread.join().unwrap());
    }
    plain.join().unwrap();
    let mut after: BTreeMap<Option<u64>, u64> = BTreeMap::new();
    for (own, prior) in told {
        assert_eq!(after.insert(prior, own), None, "{prior:?} was told twice");
    }
    let (mut at, mut length) = (None, 0);
    while let Some(next) = after.remove(&at) {
        at = Some(next);
        length += 1;
    }
    assert_eq!(length, 12 * 25, "the prior values make one chain");
    assert_eq!(smol::block_on(store.get("k")).unwrap(), at);
    assert_eq!(smol::block_on(store.get("plain 24")).unwrap(), Some(1));
}

#[test]
fn a_runtime_that_shuts_down_leaves_the_others_going() {
    let disk = SimDisk::new();
    let store = on_disk(&disk);
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicU64::new(0));
    let busy: Vec<_> = (0..3_u64)
        .map(|worker| {
            let (store, stop, begun) = (store.clone(), Arc::clone(&stop), Arc::clone(&begun));
            thread(move || {
                smol::block_on(async {
                    let mut count = 0;
                    while !stop.load(Ordering::SeqCst) {
                        store.put(&format!("busy {worker}"), &count).await.unwrap();
                        count += 1;
                        if count == 1 {
                            begun.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    count
                })
            })
        })
        .collect();
    while begun.load(Ordering::SeqCst) < 3 {
        std::thread::yield_now();
    }
    for round in 0..8_u64 {
        let short = Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let own: OnTokio = store.on(Tokio::default());
        for task in 0..4_u64 {
            let own = own.clone();
            short.spawn(
                async move { while own.put(&format!("short {task}"), &round).await.is_ok() {} },
            );
        }
        short.block_on(async { own.put("short", &round).await.unwrap() });
        // Waits for its blocking threads; one of them may be leading for the others.
        drop(short);
    }
    stop.store(true, Ordering::SeqCst);
    for worker in busy {
        let count = worker.join().unwrap();
        assert!(count > 1, "it went on while others shut down: {count}");
    }
    assert_eq!(smol::block_on(store.get("short")).unwrap(), Some(7));
}

#[test]
fn a_lead_offered_to_a_runtime_that_nobody_drives_is_taken_by_another() {
    let disk = SimDisk::new();
    let store = on_disk(&disk);
    // A task of a current-thread runtime that is polled once and then never again.
    let asleep = Builder::new_current_thread().build().unwrap();
    let own: OnTokio = store.on(Tokio::default());
    let gate = disk.hold(OpKind::Sync);
    let task = asleep.spawn(async move { own.put("asleep", &1).await });
    asleep.block_on(async { tokio::task::yield_now().await });
    gate.open();
    for number in 0..20 {
        smol::block_on(store.put("awake", &number)).unwrap();
    }
    assert_eq!(smol::block_on(store.get("awake")).unwrap(), Some(19));
    asleep.block_on(task).unwrap().unwrap();
    assert_eq!(smol::block_on(store.get("asleep")).unwrap(), Some(1));
}

/// Blocking threads that never get to anything, of somebody who numbers pools from 0.
#[derive(Clone, Debug, Default)]
struct Stuck(Arc<Mutex<Vec<Kept>>>);

struct Kept(#[expect(dead_code, reason = "kept, and never run")] BlockingWork);

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl Runtime for Stuck {
    fn pool(&self) -> Result<PoolId> {
        Ok(PoolId::new(0))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
        self.0.lock().unwrap().push(Kept(work));
        Ok(())
    }

    fn poll_proceed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// smol's pool was number 0 as well: the store took the two for one, and asked smol for nothing.
#[test]
fn a_stuck_pool_of_another_runtime_does_not_stop_smol() {
    let stuck = Stuck::default();
    assert_ne!(Smol::default().pool().unwrap(), stuck.pool().unwrap());
    let disk = SimDisk::new();
    let store = on_disk(&disk);
    let elsewhere: kv_log_engine::KVLog<String, u64, Stuck> = store.on(stuck.clone());
    let key = "stuck".to_owned();
    let mut waiting = Box::pin(elsewhere.put(&key, &1));
    while stuck.0.lock().unwrap().is_empty() {
        let polled = waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "nobody could have written it");
    }
    smol::block_on(store.put("k", &2)).unwrap();
    // Polled first, so first in the order of writes.
    assert_eq!(smol::block_on(store.get("stuck")).unwrap(), Some(1));
    drop(waiting);
}

#[test]
fn a_store_loaded_by_one_runtime_is_closed_by_another() {
    let disk = SimDisk::new();
    let store = on_disk(&disk);
    smol::block_on(store.put("k", &1)).unwrap();
    let current = Builder::new_current_thread().build().unwrap();
    let own: OnTokio = store.on(Tokio::default());
    current.block_on(own.close()).unwrap();
    let refused = smol::block_on(store.put("k", &2)).unwrap_err();
    assert_eq!(refused.kind(), kv_runtime_smol::ErrorKind::Closed);
    drop((own, store));
    let options = Options::new().storage(disk.storage());
    let again = current
        .block_on(OnTokio::load_with("/db", options))
        .unwrap();
    let again: OnSmol = again.on(Smol::default());
    assert_eq!(async_std::task::block_on(again.get("k")).unwrap(), Some(1));
}

/// The same user code, twice: one `use` tells the two apart.
macro_rules! user_code {
    ($name:ident, $adapter:ident) => {
        mod $name {
            use std::path::Path;
            use std::sync::Arc;
            use $adapter::{Create, Effect, KVLog, KVStore, Options, Result};

            async fn visit(counters: Arc<dyn KVStore<String, u64>>, page: &str) -> Result<u64> {
                let page = page.to_owned();
                let visits = counters.get(&page).await?.unwrap_or_default() + 1;
                counters.put(&page, &visits).await?;
                Ok(visits)
            }

            pub(super) async fn use_it(path: &Path) -> Result<()> {
                let refused =
                    KVLog::<String, u64>::load_with(path, Options::new().create(Create::Never));
                assert_eq!(refused.await.unwrap_err().effect(), Effect::Nothing);
                let store: KVLog<String, u64> = KVLog::load(path).await?;
                assert_eq!(store.set("direct", &1).await?, None);
                assert_eq!(visit(Arc::new(store.clone()), "/").await?, 1);
                assert_eq!(visit(Arc::new(store.clone()), "/").await?, 2);
                assert_eq!(store.delete("direct").await?, Some(1));
                assert_eq!(store.stats().live_keys, 1);
                store.close().await
            }
        }
    };
}

user_code!(with_tokio, kv_runtime_tokio);
user_code!(with_smol, kv_runtime_smol);

#[test]
fn one_use_line_tells_the_adapters_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let multi = Builder::new_multi_thread().build().unwrap();
    multi
        .block_on(with_tokio::use_it(&path("tokio mt")))
        .unwrap();
    let current = Builder::new_current_thread().build().unwrap();
    current
        .block_on(with_tokio::use_it(&path("tokio ct")))
        .unwrap();
    smol::block_on(with_smol::use_it(&path("smol"))).unwrap();
    async_std::task::block_on(with_smol::use_it(&path("async-std"))).unwrap();
    let local = smol::LocalExecutor::new();
    smol::future::block_on(local.run(with_smol::use_it(&path("local")))).unwrap();
    futures_lite::future::block_on(with_smol::use_it(&path("none"))).unwrap();
}
