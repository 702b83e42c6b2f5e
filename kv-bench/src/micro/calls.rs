//! What users reach for, beside what it stands in place of: batches at once, the last key, a short range.
#![expect(
    clippy::big_endian_bytes,
    reason = "the keys of a log are in the order of its numbers"
)]

use super::{Row, milliseconds, timed};
use crate::args::MicroOptions;
use crate::histogram::Histogram;
use crate::keys::{Random, Values, key};
use crate::store::{Failure, Outcome, present};
use kv_log_engine::{Batch, Engine, Options};
use kv_runtime_tokio::{ByteKey, KVLog, Raw};
use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Batches that two records each make, and puts, which are written at once.
const AT_ONCE: u64 = 4_000;
/// How often, one behind the other, in each round.
const BURSTS: u64 = 20;
/// Two records a batch may take at most so many times what one takes, and readers beside them as well.
const BATCH_MAX: f64 = 2.0;
/// Tasks that read meanwhile.
const READERS: u64 = 4;
/// A log of a consensus algorithm, as long as a snapshot lets it get.
const LOG_KEYS: u64 = 200_000;
const RANGE: usize = 300;
const CALLS: u64 = 2_000;
/// redb may be faster by this at most.
const PEER_MAX: f64 = 1.5;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("log");

type Store = KVLog<ByteKey, Vec<u8>, Raw>;

pub(super) fn measure(options: &MicroOptions, directory: &TempDir) -> Outcome<Vec<Row>> {
    let mut rows = bursts(options, &directory.path().join("bursts"))?;
    rows.extend(ends(options, &directory.path().join("ends"))?);
    Ok(rows)
}

/// One burst: how long until the last of them is durable, and how long gets took meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Puts,
    Batches,
}

fn bursts(options: &MicroOptions, path: &Path) -> Outcome<Vec<Row>> {
    std::fs::create_dir(path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut times = [Vec::new(), Vec::new()];
    let mut slow = [Vec::new(), Vec::new()];
    for round in 0..options.rounds {
        for (at, kind) in [Kind::Puts, Kind::Batches].into_iter().enumerate() {
            let path = path.join(format!("{round}-{at}"));
            let (time, p99) = runtime.block_on(burst(path, kind))?;
            times[at].push(time);
            slow[at].push(p99);
        }
    }
    let [puts, batches] = times;
    let [beside_puts, beside_batches] = slow;
    let name = format!("{AT_ONCE} batches of two records at once");
    Ok(vec![
        Row::new(name, "ms", batches.clone()).beside("as many puts", puts.clone()),
        Row::new("batches: times what puts take", "", ratios(&batches, &puts)).at_most(BATCH_MAX),
        Row::new(
            "batches: p99 of gets beside them",
            "ms",
            beside_batches.clone(),
        )
        .beside("beside puts", beside_puts.clone()),
        Row::new(
            "batches: gets, times what they take beside puts",
            "",
            ratios(&beside_batches, &beside_puts),
        )
        .at_most(BATCH_MAX),
    ])
}

fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

/// Milliseconds: the median burst, and the 99th of 100 gets beside them.
async fn burst(path: std::path::PathBuf, kind: Kind) -> Outcome<(f64, f64)> {
    let store: Store = KVLog::load(path).await?;
    let values = Values::new(100);
    for number in 0..1_000 {
        let (key, value) = values.record(9, number);
        store.put(&ByteKey(key.to_vec()), &value).await?;
    }
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS)
        .map(|reader| tokio::spawn(reads(store.clone(), reader, Arc::clone(&over))))
        .collect();
    let mut times = Vec::new();
    for burst in 0..BURSTS {
        let begin = Instant::now();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..AT_ONCE {
            let number = 2 * (burst * AT_ONCE + writer);
            let store = store.clone();
            let (first, second) = (values.record(0, number), values.record(0, number + 1));
            writers.spawn(async move {
                let (key, value) = first;
                let key = ByteKey(key.to_vec());
                match kind {
                    Kind::Puts => store.put(&key, &value).await?,
                    Kind::Batches => {
                        let mut batch = store.batch();
                        batch.put(&key, &value);
                        batch.put(&ByteKey(second.0.to_vec()), &second.1);
                        batch.commit().await?;
                    }
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(written) = writers.join_next().await {
            written??;
        }
        times.push(milliseconds(begin.elapsed()));
    }
    over.store(true, Ordering::Release);
    let mut gets = Histogram::new();
    for reader in readers {
        gets.merge(&reader.await??);
    }
    let records = BURSTS * AT_ONCE * if kind == Kind::Batches { 2 } else { 1 } + 1_000;
    if store.count().await? != records {
        return Err("records are missing behind the bursts".into());
    }
    store.close().await?;
    times.sort_by(f64::total_cmp);
    let p99 = present(gets.percentile_us(0.99))? / 1000.0;
    Ok((present(times.get(times.len() / 2).copied())?, p99))
}

async fn reads(store: Store, seed: u64, over: Arc<AtomicBool>) -> Outcome<Histogram> {
    let mut random = Random::new(seed);
    let mut gets = Histogram::new();
    while !over.load(Ordering::Acquire) {
        let key = ByteKey(key(9, random.below(1_000)).to_vec());
        let begin = Instant::now();
        store.get(&key).await?.ok_or("a key is missing")?;
        gets.record(begin.elapsed());
    }
    Ok(gets)
}

/// Microseconds a call.
#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
fn micros_each(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / CALLS as f64
}

/// The last key of a log, and some hundred entries from anywhere in it, on one thread.
fn ends(options: &MicroOptions, path: &Path) -> Outcome<Vec<Row>> {
    std::fs::create_dir(path)?;
    let values = Values::new(100);
    let entry = |number: u64| (number.to_be_bytes(), values.record(0, number).1);
    let engine = Engine::open(path.join("kvlog"), Options::new())?;
    let peer = Builder::new().create(path.join("redb"))?;
    for begin in (0..LOG_KEYS).step_by(1_000) {
        let mut batch = Batch::new();
        let mut transaction = peer.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut table = transaction.open_table(TABLE)?;
        for number in begin..begin + 1_000 {
            let (key, value) = entry(number);
            batch.put(&key, &value)?;
            table.insert(&key[..], &value[..])?;
        }
        drop(table);
        engine.write(batch)?;
        transaction.commit()?;
    }
    let (mut last, mut peer_last) = (Vec::new(), Vec::new());
    let (mut range, mut peer_range) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let seed = u64::from(round);
        let (time, done) = timed(|| lasts(&engine));
        done?;
        last.push(micros_each(time));
        let (time, done) = timed(|| peer_lasts(&peer));
        done?;
        peer_last.push(micros_each(time));
        let (time, done) = timed(|| ranges(&engine, seed));
        let bytes = done?;
        range.push(micros_each(time));
        let (time, done) = timed(|| peer_ranges(&peer, seed));
        if done? != bytes {
            return Err("the two stores hold different logs".into());
        }
        peer_range.push(micros_each(time));
    }
    engine.close()?;
    let row = |name: String, own: &[f64], peer: &[f64]| {
        [
            Row::new(name.clone(), "us", own.to_vec()).beside("redb", peer.to_vec()),
            Row::new(format!("{name}: times redb's"), "", ratios(own, peer)).at_most(PEER_MAX),
        ]
    };
    let mut rows = Vec::from(row(format!("last key of {LOG_KEYS}"), &last, &peer_last));
    rows.extend(row(
        format!("{RANGE} entries from any key on"),
        &range,
        &peer_range,
    ));
    Ok(rows)
}

fn is_last(key: &[u8]) -> Outcome {
    if key == (LOG_KEYS - 1).to_be_bytes() {
        Ok(())
    } else {
        Err("it is not the last key".into())
    }
}

fn lasts(engine: &Engine) -> Outcome {
    for _ in 0..CALLS {
        let (key, _) = present(engine.scan(..)?.next_back())??;
        is_last(&key)?;
    }
    Ok(())
}

fn peer_lasts(peer: &Database) -> Outcome {
    for _ in 0..CALLS {
        let table = peer.begin_read()?.open_table(TABLE)?;
        let (key, value) = present(table.last()?)?;
        // As the other one: the caller's own bytes.
        let (key, _value) = (key.value().to_vec(), value.value().to_vec());
        is_last(&key)?;
    }
    Ok(())
}

fn begins(seed: u64) -> impl Iterator<Item = [u8; 8]> {
    let mut random = Random::new(seed);
    (0..CALLS).map(move |_| random.below(LOG_KEYS - RANGE as u64).to_be_bytes())
}

fn ranges(engine: &Engine, seed: u64) -> Outcome<usize> {
    let mut bytes = 0;
    for begin in begins(seed) {
        let from = (Bound::Included(&begin[..]), Bound::Unbounded);
        for record in engine.scan(from)?.take(RANGE) {
            let (key, value) = record?;
            bytes += key.len() + value.len();
        }
    }
    Ok(bytes)
}

fn peer_ranges(peer: &Database, seed: u64) -> Outcome<usize> {
    let mut bytes = 0;
    for begin in begins(seed) {
        let table = peer.begin_read()?.open_table(TABLE)?;
        for record in table.range::<&[u8]>(&begin[..]..)?.take(RANGE) {
            let (key, value) = record?;
            let (key, value) = (key.value().to_vec(), value.value().to_vec());
            bytes += key.len() + value.len();
        }
    }
    Ok(bytes)
}
