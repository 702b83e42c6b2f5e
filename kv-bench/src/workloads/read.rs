//! Reads of what was loaded: points (W3), ranges (W7), and what a point costs when little is cached (W10).

use super::lanes::{self, Clock, Lane};
use super::life::ratio;
use crate::keys::{ABSENT_LANE, Choice, LANE_KEYS_MAX, Random, Values, key};
use crate::protocol::{Better, Figure, Job, Reply};
use crate::store::{Key, Outcome, Store, TaskStore};
use crate::system::{Traffic, forget_pages};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Reading the clock costs as much as a tenth of a read: one in so many is timed.
const READS_A_TIMED_ONE: u64 = 16;
/// One in so many values is compared byte by byte; all are looked at.
const READS_A_COMPARED_ONE: u64 = 256;

/// What a lane reads, and what it must get.
struct Reads {
    choice: Choice,
    values: Values,
}

impl Reads {
    fn new(job: &Job, zipf: bool) -> Self {
        Self {
            choice: if zipf {
                Choice::zipf(job.keys)
            } else {
                Choice::uniform(job.keys)
            },
            values: Values::new(job.value_bytes),
        }
    }

    fn key(&self, random: &mut Random) -> Key {
        key(0, self.choice.next(random))
    }

    fn check(&self, key: &Key, read: Option<Vec<u8>>, operations: u64, bytes: usize) -> Outcome {
        let value = read.ok_or("a key is missing")?;
        let wrong = value.len() != bytes
            || operations.is_multiple_of(READS_A_COMPARED_ONE)
                && value != self.values.value(key, 0);
        if wrong {
            return Err("a read returned another value".into());
        }
        Ok(())
    }
}

/// Point reads from tasks.
pub(super) async fn get_from_tasks<T: TaskStore>(job: &Job, zipf: bool) -> Outcome<(Reply, T)> {
    let store = Arc::new(T::open(job.directory.clone()).await?);
    let reads = Arc::new(Reads::new(job, zipf));
    let bytes = job.value_bytes;
    let lane = |mut lane: Lane, clock: Clock| {
        let (store, reads) = (Arc::clone(&store), Arc::clone(&reads));
        async move {
            let mut random = Random::new(lane.number());
            while clock.runs() {
                for turn in 0..READS_A_TIMED_ONE {
                    let key = reads.key(&mut random);
                    let begin = (turn == 0).then(Instant::now);
                    let read = store.get(key).await?;
                    if let Some(begin) = begin {
                        lane.times.record(begin.elapsed());
                    }
                    reads.check(&key, read, lane.operations, bytes)?;
                    lane.operations += 1;
                }
            }
            Ok(lane)
        }
    };
    let done = lanes::tasks(job, "gets/s", lane).await?;
    let store = Arc::try_unwrap(store).map_err(|_shared| "a lane has kept the store")?;
    Ok((figure(&done), store))
}

/// Point reads from threads.
pub(super) fn get_from_threads<S: Store>(job: &Job, zipf: bool) -> Outcome<(Reply, S)> {
    let store = S::open(&job.directory)?;
    let reads = Reads::new(job, zipf);
    let done = lanes::threads(job, "gets/s", |mut lane, clock| {
        let mut random = Random::new(lane.number());
        while clock.runs() {
            for turn in 0..READS_A_TIMED_ONE {
                let key = reads.key(&mut random);
                let begin = (turn == 0).then(Instant::now);
                let read = store.get(&key)?;
                if let Some(begin) = begin {
                    lane.times.record(begin.elapsed());
                }
                reads.check(&key, read, lane.operations, job.value_bytes)?;
                lane.operations += 1;
            }
        }
        Ok(lane)
    })?;
    Ok((figure(&done), store))
}

/// Records in order, from a random key on or all of them. An operation is a record; the times are whole scans.
pub(super) fn scan<S: Store>(job: &Job, limit: Option<u64>) -> Outcome<(Reply, S)> {
    let store = S::open(&job.directory)?;
    let record_bytes = (size_of::<Key>() + job.value_bytes) as u64;
    let done = lanes::threads(job, "records/s", |mut lane, clock| {
        let mut random = Random::new(lane.number());
        while clock.runs() {
            let from = match limit {
                Some(_) => key(0, random.below(job.keys)),
                None => [0; 16],
            };
            let begin = Instant::now();
            let scanned = store.scan(&from, limit.unwrap_or(u64::MAX))?;
            lane.times.record(begin.elapsed());
            let complete = limit.is_some() || scanned.records >= job.keys;
            if !complete || scanned.records == 0 {
                return Err("a scan has missed records".into());
            }
            if scanned.bytes != scanned.records * record_bytes {
                return Err("a scan has read other records".into());
            }
            black_box(scanned.sum);
            lane.operations += scanned.records;
        }
        Ok(lane)
    })?;
    Ok((figure(&done), store))
}

/// Point reads with little memory to cache in, of keys that are there or that are not: how much is read for one.
pub(super) fn lookup<S: Store>(job: &Job, absent: bool) -> Outcome<(Reply, S)> {
    forget_pages(&job.directory)?;
    let store = S::open(&job.directory)?;
    let reads = Reads::new(job, false);
    let before = (store.counts(), Traffic::now());
    let done = lanes::threads(job, "lookups/s", |mut lane, clock| {
        let mut random = Random::new(lane.number());
        while clock.runs() {
            let key = if absent {
                key(ABSENT_LANE, random.below(LANE_KEYS_MAX))
            } else {
                reads.key(&mut random)
            };
            let begin = Instant::now();
            let read = store.get(&key)?;
            lane.times.record(begin.elapsed());
            if absent && read.is_some() {
                return Err("a key is there that nobody has written".into());
            }
            if !absent {
                reads.check(&key, read, lane.operations, job.value_bytes)?;
            }
            lane.operations += 1;
        }
        Ok(lane)
    })?;
    let (counts, traffic) = before;
    let lookups = done.operations();
    let each = |metric, count| Figure::new(metric, ratio(count, lookups), Better::Lower);
    let mut reply = figure(&done);
    let blocks = store.counts().blocks.zip(counts.blocks);
    reply
        .figures
        .extend(blocks.map(|(now, before)| each("blocks a lookup", now.saturating_sub(before))));
    if let Some((now, before)) = Traffic::now().zip(traffic) {
        let traffic = now.since(before);
        reply.figures.extend([
            each("read calls a lookup", traffic.read_calls),
            each("bytes read a lookup", traffic.read_bytes),
            each("from the device", traffic.device_read_bytes),
        ]);
    }
    Ok((reply, store))
}

fn figure(done: &lanes::Done) -> Reply {
    Reply {
        figures: vec![done.figure()],
        ..Reply::default()
    }
}
