//! The typed store beyond single keys, on the smallest runtime there is.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic like tests, and a thread for each piece of work is the simplest runtime"
)]

mod batches;
mod conditions;
mod keyspaces;
mod points;
mod scans;
mod transactions;
mod updates;
mod watches;

/// The runtime of the documentation's examples.
#[expect(dead_code, unreachable_pub, reason = "the examples need all of it")]
#[path = "../../doc/runtime.rs"]
mod my;

use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{KVLog, Options, Tuning};
use kv_trait::{BlockingWork, PoolId, Result, Runtime};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// A thread for each piece of blocking work, counted.
#[derive(Clone, Debug, Default)]
struct Counting {
    hops: Arc<AtomicUsize>,
}

impl Counting {
    fn hops(&self) -> usize {
        self.hops.load(Ordering::SeqCst)
    }
}

impl Runtime for Counting {
    fn pool(&self) -> Result<PoolId> {
        Ok(PoolId::of::<Self>(0))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
        self.hops.fetch_add(1, Ordering::SeqCst);
        drop(std::thread::spawn(work));
        Ok(())
    }

    fn poll_proceed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// All of them at once, in one task.
async fn join<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures
        .into_iter()
        .map(|one| (Box::pin(one), None))
        .collect();
    std::future::poll_fn(|cx| {
        let mut left = 0;
        for (future, outcome) in &mut waiting {
            if outcome.is_none() {
                match Pin::new(future).poll(cx) {
                    Poll::Ready(ready) => *outcome = Some(ready),
                    Poll::Pending => left += 1,
                }
            }
        }
        if left == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    waiting
        .into_iter()
        .filter_map(|(_, outcome)| outcome)
        .collect()
}

type Store<K, V> = KVLog<K, V, Counting>;

/// A store of which some hundred records lie in runs, and values from 8 bytes on in segments.
fn small(disk: &SimDisk) -> Options {
    Options::new()
        .storage(disk.storage())
        .segment_bytes(64 * 1024)
        .separation_bytes(8)
        .tuning(Tuning {
            memtable_bytes: Some(4096),
            block_bytes: Some(256),
            ..Tuning::default()
        })
}

async fn open<K: kv_trait::key::Key, V>(disk: &SimDisk) -> Result<Store<K, V>>
where
    V: Send + Sync + 'static,
    kv_trait::Postcard: kv_trait::Codec<V>,
{
    KVLog::load_on(Counting::default(), "/db", small(disk)).await
}

/// Opens a store, and runs what needs one.
fn with<K, V>(test: impl AsyncFnOnce(Store<K, V>, Counting) -> Result<()>)
where
    K: kv_trait::key::Key,
    V: Send + Sync + 'static,
    kv_trait::Postcard: kv_trait::Codec<V>,
{
    let runtime = Counting::default();
    my::block_on(async {
        let disk = SimDisk::new();
        let store = KVLog::load_on(runtime.clone(), "/db", small(&disk)).await?;
        test(store, runtime.clone()).await
    })
    .unwrap();
}
