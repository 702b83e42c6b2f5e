//! The store's life: loading and opening (W5), and what must be left of it.

use crate::keys::{Values, key};
use crate::protocol::{Better, Expected, Figure, Job, Reply, tell, wait_for_the_end};
use crate::store::{Change, Key, Outcome, Store, balance, present};
use crate::system::{Memory, Meter, Traffic, disk_bytes, drop_caches, forget_pages};
use std::time::Instant;

/// Records of one batch of a load.
pub(crate) const BATCH_RECORDS: u64 = 1000;
/// Records that [`age`] adds.
pub(crate) const AGE_RECORDS: u64 = 1024;
/// Records of each lane that a check compares.
pub(super) const COMPARED_MAX: u64 = 1000;

/// All keys in batches of [`BATCH_RECORDS`], and a clean close.
pub(super) fn load<S: Store>(job: &Job) -> Outcome<Reply> {
    let store = S::open(&job.directory)?;
    let values = Values::new(job.value_bytes);
    let meter = Meter::start(&job.directory);
    let begin = Instant::now();
    write_all(&store, &values, job.keys, &|_written| Ok(()))?;
    let rate = per_second(job.keys, begin);
    let reading = meter.read(&job.directory);
    store.close()?;
    let rate = Figure {
        cpu_own: reading.cpu_own,
        cpu_other: reading.cpu_other,
        ..Figure::new("loads/s", rate, Better::Higher)
    };
    Ok(Reply {
        figures: vec![rate, space(job, "disk per live byte after load")?],
        expected: Some(Expected {
            records: job.keys,
            lanes: vec![(0, job.keys)],
            ..Expected::default()
        }),
        ..Reply::default()
    })
}

/// The same, telling after each batch how many records are acknowledged; the parent kills it on the way.
pub(super) fn load_aloud<S: Store>(job: &Job) -> Outcome {
    let store = S::open(&job.directory)?;
    write_all(&store, &Values::new(job.value_bytes), job.keys, &tell)?;
    wait_for_the_end()
}

fn write_all<S: Store>(
    store: &S,
    values: &Values,
    keys: u64,
    written: &dyn Fn(u64) -> Outcome,
) -> Outcome {
    let mut batch: Vec<Change> = Vec::new();
    for number in 0..keys {
        let key = key(0, number);
        batch.push((key, Some(values.value(&key, 0))));
        if batch.len() as u64 == BATCH_RECORDS || number + 1 == keys {
            store.write(&batch)?;
            batch.clear();
            written(number + 1)?;
        }
    }
    Ok(())
}

/// Some more puts, one after the other; the child is killed before it closes.
pub(super) fn age<S: Store>(job: &Job) -> Outcome<(Reply, S)> {
    let store = S::open(&job.directory)?;
    let values = Values::new(job.value_bytes);
    let lane = job.lanes; // each round has keys of its own
    for number in 0..AGE_RECORDS {
        let (key, value) = values.record(lane, number);
        store.put(&key, &value)?;
    }
    let expected = Expected {
        lanes: vec![(lane, AGE_RECORDS)],
        ..Expected::default()
    };
    let reply = Reply {
        expected: Some(expected),
        ..Reply::default()
    };
    Ok((reply, store))
}

/// Whoever read from the store before was killed, and so was whoever wrote to it.
pub(super) fn settle<S: Store>(job: &Job) -> Outcome<Reply> {
    S::open(&job.directory)?.close()?;
    Ok(Reply::default())
}

/// From nothing to the first answer, and what that took.
pub(super) fn open<S: Store>(job: &Job, cold: bool) -> Outcome<(Reply, S)> {
    let values = Values::new(job.value_bytes);
    let (wanted, value) = values.record(0, job.keys / 2);
    if cold {
        forget_pages(&job.directory)?;
        if job.drop_caches {
            drop_caches()?;
        }
    }
    let meter = Meter::start(&job.directory);
    let (memory, traffic) = (Memory::now(), Traffic::now());
    let begin = Instant::now();
    let store = S::open(&job.directory)?;
    let read = store.get(&wanted)?;
    let milliseconds = begin.elapsed().as_secs_f64() * 1000.0;
    if read.as_ref() != Some(&value) {
        return Err("the first read returned another value".into());
    }
    let lower = |metric, value| Figure::new(metric, value, Better::Lower);
    let mut figures = vec![lower("open ms", milliseconds)];
    if let Some((traffic, before)) = Traffic::now().zip(traffic) {
        let traffic = traffic.since(before);
        figures.push(lower("device reads, KiB", kib(traffic.device_read_bytes)));
        figures.push(lower("written, KiB", kib(traffic.written_bytes)));
    }
    let flushes = meter.read(&job.directory).flushes;
    figures.extend(flushes.map(|flushes| lower("flushes", ratio(flushes, 1))));
    if let Some((memory, before)) = Memory::now().zip(memory) {
        let grown = memory.anonymous.saturating_sub(before.anonymous);
        figures.push(lower("memory, bytes a key", ratio(grown, job.keys)));
        figures.push(lower("RSS, MB", ratio(memory.resident, 1_000_000)));
    }
    let reply = Reply {
        figures,
        ..Reply::default()
    };
    Ok((reply, store))
}

/// Whether everything that was acknowledged is there: the number of records, the sum of the accounts, and of each lane
/// some keys and the last one.
pub(super) fn check<S: Store>(job: &Job, expected: &Expected) -> Outcome<(Reply, S)> {
    let store = S::open(&job.directory)?;
    let values = Values::new(job.value_bytes);
    let records = store.scan(&[0; 16], u64::MAX)?.records;
    let due = expected.records;
    if records != due && records != due + expected.in_flight {
        return Err(format!("{due} records were acknowledged, {records} are there").into());
    }
    let mut compared = 0;
    let mut compare = |lane: u64, number: u64, version: u64| -> Outcome {
        let key = key(lane, number);
        compared += 1;
        match store.get(&key)? {
            Some(value) if value == values.value(&key, version) => Ok(()),
            Some(_) => Err(format!("key {number} of lane {lane} has another value").into()),
            None => Err(format!("key {number} of lane {lane} is lost").into()),
        }
    };
    for (lane, count) in &expected.lanes {
        let step = usize::try_from((count / COMPARED_MAX).max(1))?;
        for number in (0..*count).step_by(step).chain(count.checked_sub(1)) {
            compare(*lane, number, 0)?;
        }
    }
    for (lane, number, version) in &expected.versions {
        compare(*lane, *number, *version)?;
    }
    for (lane, number) in &expected.absent {
        if store.get(&key(*lane, *number))?.is_some() {
            return Err(format!("key {number} of lane {lane} is back").into());
        }
        compared += 1;
    }
    if let Some(due) = expected.sum {
        let sum = sum(&store, expected.records)?;
        if sum != due {
            return Err(format!("the accounts held {due} together, and hold {sum}").into());
        }
        compared += expected.records;
    }
    let reply = Reply {
        compared,
        ..Reply::default()
    };
    Ok((reply, store))
}

fn sum<S: Store>(store: &S, accounts: u64) -> Outcome<u64> {
    (0..accounts).try_fold(0_u64, |sum, number| {
        let account = present(store.get(&key(0, number))?)?;
        Ok(sum.wrapping_add(balance(&account)?))
    })
}

/// Device blocks for each byte of keys and values.
fn space(job: &Job, metric: &str) -> Outcome<Figure> {
    let live_bytes = job.keys * (size_of::<Key>() + job.value_bytes) as u64;
    let a_byte = ratio(disk_bytes(&job.directory)?, live_bytes);
    Ok(Figure::new(metric, a_byte, Better::Lower))
}

fn kib(bytes: u64) -> f64 {
    ratio(bytes, 1024)
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
pub(super) fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
pub(super) fn per_second(count: u64, begin: Instant) -> f64 {
    count as f64 / begin.elapsed().as_secs_f64()
}
