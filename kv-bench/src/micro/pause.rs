//! How long one huge batch makes others wait: the longest time in which an executor that reads gets nothing done.
//!
//! A ticking task and a reading one share an executor of one thread. The noise is what the same machine does to them
//! while the same batch goes into *another* store: the same memory, processor and disk, but nothing shared.

use super::{Row, milliseconds};
use crate::args::MicroOptions;
use crate::keys::{Random, Values, key};
use crate::store::{Failure, Outcome};
use kv_log_engine::{Batch, Engine, Options};
use kv_runtime_tokio::{ByteKey, KVLog, Raw};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::yield_now;

/// Milliseconds beyond the noise.
const PAUSE_MAX: f64 = 20.0;
/// Keys that are there to be read.
const READ_KEYS: u64 = 1_000;

type Store = KVLog<ByteKey, Vec<u8>, Raw>;

pub(super) fn measure(options: &MicroOptions, directory: &TempDir) -> Outcome<Vec<Row>> {
    let (mut shared, mut noise, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let path = directory.path().join(format!("pause-{round}"));
        std::fs::create_dir(&path)?;
        // Lanes: a batch of new keys each time.
        let apart = longest_stall(&path, "other", 2, options.keys)?;
        let together = longest_stall(&path, "read", 3, options.keys)?;
        noise.push(milliseconds(apart));
        shared.push(milliseconds(together));
        beyond.push(milliseconds(together) - milliseconds(apart));
        std::fs::remove_dir_all(&path)?;
    }
    let keys = options.keys;
    Ok(vec![
        Row::new(
            format!("pause: longest stall of a reading executor, batch of {keys}"),
            "ms",
            shared,
        )
        .beside("into another store", noise),
        Row::new("pause: beyond that noise", "ms", beyond).at_most(PAUSE_MAX),
    ])
}

/// Readers of the store `read` while one batch goes into the store `written`, which may be the same one.
fn longest_stall(parent: &Path, written: &str, lane: u64, records: u64) -> Outcome<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let read: Store = runtime.block_on(KVLog::load(parent.join("read")))?;
    let values = Values::new(100);
    let mut batch = Batch::new();
    for number in 0..READ_KEYS {
        let (key, value) = values.record(0, number);
        batch.put(&key, &value)?;
    }
    read.engine().write(batch)?;
    let target = if written == "read" {
        read.engine().clone()
    } else {
        Engine::open(parent.join(written), Options::new())?
    };
    let mut batch = Batch::new();
    for number in 0..records {
        let (key, value) = values.record(lane, number);
        batch.put(&key, &value)?;
    }
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let over = Arc::clone(&over);
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || -> Outcome {
                let outcome = target.write(batch);
                over.store(true, Ordering::Release);
                outcome?;
                Ok(())
            })?
    };
    let stall = runtime.block_on(async {
        let reader = tokio::spawn(reads(read.clone(), Arc::clone(&over)));
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        while !over.load(Ordering::Acquire) {
            yield_now().await;
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
        }
        reader.await??;
        Ok::<_, Failure>(longest)
    })?;
    writer.join().map_err(|_panic| "the writer panicked")??;
    runtime.block_on(read.close())?;
    Ok(stall)
}

async fn reads(store: Store, over: Arc<AtomicBool>) -> Outcome {
    let mut random = Random::new(5);
    while !over.load(Ordering::Acquire) {
        let key = ByteKey(key(0, random.below(READ_KEYS)).to_vec());
        store.get(&key).await?.ok_or("a key is missing")?;
    }
    Ok(())
}
