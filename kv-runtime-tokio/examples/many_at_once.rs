//! What many tasks at once cost: batches beside single writes, and updates of one counter beside a mutex around get and set.
//!
//! ```sh
//! cargo run --release -p kv-runtime-tokio --example many_at_once -- DIRECTORY
//! ```
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures time, and prints"
)]

use kv_runtime_tokio::KVLog;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const WRITERS: u64 = 4_000;
const TASKS: u32 = 100;
const ROUNDS: usize = 5;

async fn all(mut tasks: JoinSet<kv_trait::Result<()>>) -> Outcome<()> {
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// The time of 4,000 tasks that each write one record.
async fn puts(store: &KVLog<u64, u64>) -> Outcome<Duration> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move { store.put(&number, &number).await });
    }
    all(tasks).await?;
    Ok(start.elapsed())
}

/// The time of 4,000 tasks that each write two records as one.
async fn batches(store: &KVLog<u64, u64>) -> Outcome<Duration> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        let mut batch = store.batch();
        batch
            .put(&number, &number)
            .put(&(number + WRITERS), &number);
        let commit = batch.commit();
        tasks.spawn(async move { commit.await.map(drop) });
    }
    all(tasks).await?;
    Ok(start.elapsed())
}

/// The time of so many tasks that each raise a counter so often under a mutex.
async fn locked(store: &KVLog<u64, u64>, times: u32) -> Outcome<Duration> {
    let start = Instant::now();
    let lock = Arc::new(Mutex::new(()));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (store, lock) = (store.clone(), Arc::clone(&lock));
        tasks.spawn(async move {
            for _ in 0..times {
                let held = lock.lock().await;
                let count = store.get(&0).await?.unwrap_or(0);
                store.put(&0, &(count + 1)).await?;
                drop(held);
            }
            Ok(())
        });
    }
    all(tasks).await?;
    Ok(start.elapsed())
}

/// The same by `update`.
async fn updated(store: &KVLog<u64, u64>, times: u32) -> Outcome<Duration> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..times {
                store
                    .update(&0, |count| Some(count.unwrap_or(0) + 1))
                    .await?;
            }
            Ok(())
        });
    }
    all(tasks).await?;
    Ok(start.elapsed())
}

fn micros(time: Duration, count: u32) -> u128 {
    time.as_micros() / u128::from(count)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = std::env::args().nth(1).ok_or("a directory, please")?;
    let path = Path::new(&directory).join("many_at_once.kv");
    let store: KVLog<u64, u64> = KVLog::load(&path).await?;
    for _ in 0..ROUNDS {
        let (one, two) = (puts(&store).await?, batches(&store).await?);
        println!(
            "4,000 puts {:>5} ms, 4,000 batches of two {:>5} ms",
            one.as_millis(),
            two.as_millis()
        );
    }
    for _ in 0..ROUNDS {
        store.put(&0, &0).await?;
        let (locked, updated) = (locked(&store, 5).await?, updated(&store, 100).await?);
        assert_eq!(store.get(&0).await?, Some(u64::from(TASKS) * 105));
        let (locked, updated) = (micros(locked, TASKS * 5), micros(updated, TASKS * 100));
        println!("a count by 100 tasks: with a mutex {locked:>5} us, by update {updated:>5} us");
    }
    store.close().await?;
    Ok(())
}
