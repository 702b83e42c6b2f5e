//! The store's life: loading, opening (W5), overwriting (W6), and what must be left of it.

use crate::keys::{Random, Values, key};
use crate::protocol::{Better, Expected, Figure, Job, Reply};
use crate::store::{Key, Outcome, Record, Store, balance, present};
use crate::system::{Meter, anonymous_bytes, disk_bytes, forget_pages};
use std::time::Instant;

/// Records of one batch of a load.
const BATCH_RECORDS: u64 = 1000;
/// Records that [`age`] adds.
pub(crate) const AGE_RECORDS: u64 = 1024;
/// Records of each lane that a check compares.
const COMPARED_MAX: u64 = 1000;

/// All keys in batches, and a clean close.
pub(super) fn load<S: Store>(job: &Job) -> Outcome<Reply> {
    let store = S::open(&job.directory)?;
    let values = Values::new(job.value_bytes);
    let meter = Meter::start(&job.directory);
    let begin = Instant::now();
    write_all(&store, &values, 0..job.keys, 0)?;
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
        compared: 0,
    })
}

fn write_all<S: Store>(
    store: &S,
    values: &Values,
    numbers: impl IntoIterator<Item = u64>,
    version: u64,
) -> Outcome {
    let mut numbers = numbers.into_iter().peekable();
    let mut batch: Vec<Record> = Vec::new();
    while let Some(number) = numbers.next() {
        let key = key(0, number);
        batch.push((key, values.value(&key, version)));
        if batch.len() as u64 == BATCH_RECORDS || numbers.peek().is_none() {
            store.write(&batch)?;
            batch.clear();
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

/// From nothing to the first answer.
pub(super) fn open<S: Store>(job: &Job, cold: bool) -> Outcome<(Reply, S)> {
    let values = Values::new(job.value_bytes);
    let (wanted, value) = values.record(0, job.keys / 2);
    if cold {
        forget_pages(&job.directory)?;
    }
    let before = anonymous_bytes();
    let begin = Instant::now();
    let store = S::open(&job.directory)?;
    let read = store.get(&wanted)?;
    let milliseconds = begin.elapsed().as_secs_f64() * 1000.0;
    if read.as_ref() != Some(&value) {
        return Err("the first read returned another value".into());
    }
    let mut figures = vec![Figure::new("open ms", milliseconds, Better::Lower)];
    let grown = before.zip(anonymous_bytes());
    if let Some((before, after)) = grown {
        let a_key = ratio(after.saturating_sub(before), job.keys);
        figures.push(Figure::new("memory, bytes a key", a_key, Better::Lower));
    }
    let reply = Reply {
        figures,
        ..Reply::default()
    };
    Ok((reply, store))
}

/// Everything written, and written again in other orders; a clean close.
pub(super) fn churn<S: Store>(job: &Job, rounds: u64) -> Outcome<Reply> {
    let store = S::open(&job.directory)?;
    let values = Values::new(job.value_bytes);
    let mut random = Random::new(6);
    let mut numbers: Vec<u64> = (0..job.keys).collect();
    let meter = Meter::start(&job.directory);
    let begin = Instant::now();
    for version in 0..=rounds {
        write_all(&store, &values, numbers.iter().copied(), version)?;
        random.shuffle(&mut numbers);
    }
    let rate = per_second(job.keys * (rounds + 1), begin);
    let reading = meter.read(&job.directory);
    let open = space(job, "disk per live byte, open")?;
    store.close()?;
    let closed = space(job, "disk per live byte, closed")?;
    let rate = Figure {
        cpu_own: reading.cpu_own,
        cpu_other: reading.cpu_other,
        ..Figure::new("writes/s", rate, Better::Higher)
    };
    let step = (job.keys / COMPARED_MAX).max(1);
    let compared = numbers.iter().filter(|number| number.is_multiple_of(step));
    Ok(Reply {
        figures: vec![rate, open, closed],
        expected: Some(Expected {
            records: job.keys,
            versions: compared.map(|number| (0, *number, rounds)).collect(),
            ..Expected::default()
        }),
        compared: 0,
    })
}

/// Whether everything that was acknowledged is there: the number of records, the sum of the accounts, and of each lane
/// some keys and the last one.
pub(super) fn check<S: Store>(job: &Job, expected: &Expected) -> Outcome<(Reply, S)> {
    let store = S::open(&job.directory)?;
    let values = Values::new(job.value_bytes);
    let records = store.scan(&[0; 16], u64::MAX)?.records;
    if records != expected.records {
        let due = expected.records;
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

fn space(job: &Job, metric: &str) -> Outcome<Figure> {
    let live_bytes = job.keys * (size_of::<Key>() + job.value_bytes) as u64;
    let a_byte = ratio(disk_bytes(&job.directory)?, live_bytes);
    Ok(Figure::new(metric, a_byte, Better::Lower))
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
fn per_second(count: u64, begin: Instant) -> f64 {
    count as f64 / begin.elapsed().as_secs_f64()
}
