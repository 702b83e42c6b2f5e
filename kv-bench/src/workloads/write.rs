//! Durable writes: new keys (W1, W2), half reads and half writes (W4), transfers that meet (W8).

use super::lanes::{self, Clock, Lane};
use crate::keys::{Random, Values, key, scramble};
use crate::protocol::{Better, Expected, Figure, Job, Reply};
use crate::store::{Key, Outcome, Record, Store, TaskStore};
use std::sync::Arc;
use std::time::Instant;
use tokio::task::yield_now;

/// New keys from tasks.
pub(super) async fn put_from_tasks<T: TaskStore>(job: &Job) -> Outcome<(Reply, T)> {
    let store = Arc::new(T::open(job.directory.clone()).await?);
    let values = Arc::new(Values::new(job.value_bytes));
    let lane = |mut lane: Lane, clock: Clock| {
        let (store, values) = (Arc::clone(&store), Arc::clone(&values));
        let number = lane.number();
        async move {
            while clock.runs() {
                let (key, value) = values.record(number, lane.writes);
                let begin = Instant::now();
                store.put(key, value).await?;
                lane.times.record(begin.elapsed());
                lane.writes += 1;
                lane.operations += 1;
            }
            Ok(lane)
        }
    };
    let done = lanes::tasks(job, "puts/s", lane).await?;
    let reply = Reply {
        figures: vec![done.figure()],
        expected: Some(done.expected_keys()),
        ..Reply::default()
    };
    Ok((reply, alone(store)?))
}

/// New keys from threads.
pub(super) fn put_from_threads<S: Store>(job: &Job) -> Outcome<(Reply, S)> {
    let store = S::open(&job.directory)?;
    let values = Values::new(job.value_bytes);
    let done = lanes::threads(job, "puts/s", |mut lane, clock| {
        while clock.runs() {
            let (key, value) = values.record(lane.number(), lane.writes);
            let begin = Instant::now();
            store.put(&key, &value)?;
            lane.times.record(begin.elapsed());
            lane.writes += 1;
            lane.operations += 1;
        }
        Ok(lane)
    })?;
    let reply = Reply {
        figures: vec![done.figure()],
        expected: Some(done.expected_keys()),
        ..Reply::default()
    };
    Ok((reply, store))
}

/// Remembered for the check: this many keys of each lane.
const VERSIONS_MAX: u64 = 16;

/// Reads of any key and writes of keys that no other lane writes, in turn. The times are the writes'.
pub(super) async fn mixed<T: TaskStore>(job: &Job) -> Outcome<(Reply, T)> {
    let store = Arc::new(T::open(job.directory.clone()).await?);
    let values = Arc::new(Values::new(job.value_bytes));
    let (keys, count) = (job.keys, job.lanes);
    let lane = |mut lane: Lane, clock: Clock| {
        let (store, values) = (Arc::clone(&store), Arc::clone(&values));
        let number = lane.number();
        async move {
            let mut random = Random::new(number);
            let own = keys / count; // keys number, number + count, number + 2 * count, ...
            let mut versions = vec![0_u64; usize::try_from(own)?];
            while clock.runs() {
                let read = store.get(key(0, random.below(keys))).await?;
                read.ok_or("a key is missing")?;
                let which = random.below(own);
                let version = &mut versions[usize::try_from(which)?];
                let key = key(0, number + which * count);
                let value = values.value(&key, *version + 1);
                let begin = Instant::now();
                store.put(key, value).await?;
                lane.times.record(begin.elapsed());
                *version += 1;
                lane.writes += 1;
                lane.operations += 2;
            }
            let written = (0..).zip(versions).filter(|(_, version)| *version > 0);
            let known = written.take(usize::try_from(VERSIONS_MAX)?);
            lane.versions = known
                .map(|(which, version)| (number + which * count, version))
                .collect();
            Ok(lane)
        }
    };
    let done = lanes::tasks(job, "operations/s", lane).await?;
    let reply = Reply {
        figures: vec![done.figure()],
        expected: Some(done.expected_versions(keys)),
        ..Reply::default()
    };
    Ok((reply, alone(store)?))
}

/// What the first account holds; the others hold other amounts.
fn accounts(keys: u64) -> Vec<Record> {
    let account = |number| (key(0, number), scramble(number).to_le_bytes().to_vec());
    (0..keys).map(account).collect()
}

fn expected_sum(keys: u64) -> Expected {
    let sum = (0..keys).map(scramble).fold(0, u64::wrapping_add);
    Expected {
        records: keys,
        sum: Some(sum),
        ..Expected::default()
    }
}

/// Two accounts, not the same one twice.
fn two(random: &mut Random, keys: u64) -> (Key, Key) {
    let from = random.below(keys);
    let to = (from + 1 + random.below(keys - 1)) % keys;
    (key(0, from), key(0, to))
}

/// Transfers from tasks. The times include all tries.
pub(super) async fn transfer_from_tasks<T: TaskStore>(job: &Job) -> Outcome<(Reply, T)> {
    let store = Arc::new(T::open(job.directory.clone()).await?);
    store.seed(accounts(job.keys)).await?;
    let keys = job.keys;
    let lane = |mut lane: Lane, clock: Clock| {
        let store = Arc::clone(&store);
        async move {
            let mut random = Random::new(lane.number());
            while clock.runs() {
                let (from, to) = two(&mut random, keys);
                let begin = Instant::now();
                while !store.transfer(from, to).await? {
                    lane.conflicts += 1;
                    yield_now().await;
                }
                lane.times.record(begin.elapsed());
                lane.writes += 1;
                lane.operations += 1;
            }
            Ok(lane)
        }
    };
    let done = lanes::tasks(job, "transfers/s", lane).await?;
    Ok((transferred(&done, keys), alone(store)?))
}

/// Transfers from threads. The times include all tries.
pub(super) fn transfer_from_threads<S: Store>(job: &Job) -> Outcome<(Reply, S)> {
    let store = S::open(&job.directory)?;
    store.seed(&accounts(job.keys))?;
    let done = lanes::threads(job, "transfers/s", |mut lane, clock| {
        let mut random = Random::new(lane.number());
        while clock.runs() {
            let (from, to) = two(&mut random, job.keys);
            let begin = Instant::now();
            while !store.transfer(&from, &to)? {
                lane.conflicts += 1;
                std::thread::yield_now();
            }
            lane.times.record(begin.elapsed());
            lane.writes += 1;
            lane.operations += 1;
        }
        Ok(lane)
    })?;
    Ok((transferred(&done, job.keys), store))
}

fn transferred(done: &lanes::Done, keys: u64) -> Reply {
    let conflicts = done.conflicts_a_write();
    let conflicts = Figure::new("conflicts a transfer", conflicts, Better::Lower);
    Reply {
        figures: vec![done.figure(), conflicts],
        expected: Some(expected_sum(keys)),
        ..Reply::default()
    }
}

fn alone<T>(store: Arc<T>) -> Outcome<T> {
    Arc::try_unwrap(store).map_err(|_shared| "a lane has kept the store".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_between_two_accounts() {
        let mut random = Random::new(3);
        for _ in 0..1000 {
            let (from, to) = two(&mut random, 2);
            assert_ne!(from, to);
        }
    }
}
