//! W9: how long a get or a put takes while the store reclaims, beside the same store when it is quiet.
//!
//! One process: first nobody else uses the store; then one thread overwrites half of the keys once, as fast as it can,
//! so that there is something to reclaim, and goes on at a pace that everybody can keep, while the lanes are measured
//! again. Gets read any key; puts overwrite keys of the other half, so that nobody has conflicts.

use super::lanes::{self, Clock, Lane};
use super::life::{BATCH_RECORDS, COMPARED_MAX};
use crate::keys::{Random, Values, key};
use crate::protocol::{Better, Expected, Figure, Job, Reply};
use crate::store::{Change, Outcome, Store, TaskStore};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::yield_now;

/// What the writer beside overwrites in a second, if the store lets it.
const CHURN_A_SECOND: f64 = 50_000.0;
/// The second phase is so many times as long, for chores come and go.
const CHURNED_SECONDS: f64 = 10.0;
/// Reading the clock costs as much as a tenth of a read: one in so many is timed.
const READS_A_TIMED_ONE: u64 = 16;
/// Remembered for the check: this many keys of each lane.
const VERSIONS_MAX: u64 = 16;
/// Versions of the first phase are below, those of the second above.
const PHASE: u64 = 1 << 32;

/// The two measurements of one store.
#[derive(Clone, Copy, Debug)]
struct Phase {
    name: &'static str,
    churned: bool,
    first_version: u64,
    seconds: f64,
}

fn phases(job: &Job) -> [Phase; 2] {
    [
        Phase {
            name: "quiet",
            churned: false,
            first_version: 1,
            seconds: job.seconds,
        },
        Phase {
            name: "churned",
            churned: true,
            first_version: PHASE,
            seconds: job.seconds * CHURNED_SECONDS,
        },
    ]
}

/// The keys that lanes put: the lower half, each lane's own.
#[derive(Clone, Copy, Debug)]
struct Share {
    lane: u64,
    lanes: u64,
    keys: u64,
}

impl Share {
    fn of(lane: &Lane, job: &Job) -> Self {
        Self {
            lane: lane.number(),
            lanes: job.lanes,
            keys: (job.keys / 2 / job.lanes).max(1),
        }
    }

    const fn number(self, which: u64) -> u64 {
        self.lane + which * self.lanes
    }

    /// The newest versions of the first keys, as far as they were written.
    fn remember(self, versions: &[u64]) -> Vec<(u64, u64)> {
        let written = (0..VERSIONS_MAX).zip(versions);
        let written = written.filter(|(_, version)| **version > 0);
        written
            .map(|(which, version)| (self.number(which), *version))
            .collect()
    }
}

/// Gets or puts from tasks.
pub(super) async fn from_tasks<T: TaskStore>(job: &Job, puts: bool) -> Outcome<(Reply, T)> {
    let store = Arc::new(T::open(job.directory.clone()).await?);
    let values = Arc::new(Values::new(job.value_bytes));
    let mut outcome = Measured::default();
    for phase in phases(job) {
        let writer = if phase.churned {
            let (store, runtime) = (Arc::clone(&store), Handle::current());
            let write = move |changes| runtime.block_on(store.write(changes));
            Some(Writer::start(job, write)?)
        } else {
            None
        };
        let lane = |lane: Lane, clock: Clock| {
            let (store, values) = (Arc::clone(&store), Arc::clone(&values));
            let job = job.clone();
            async move {
                if puts {
                    put_task(&job, &*store, &values, phase, lane, clock).await
                } else {
                    get_task(&job, &*store, &values, lane, clock).await
                }
            }
        };
        let shorter = Job {
            seconds: phase.seconds,
            ..job.clone()
        };
        let done = lanes::tasks(&shorter, &metric(phase, puts), lane).await?;
        outcome.add(&done, writer)?;
    }
    let store = Arc::try_unwrap(store).map_err(|_shared| "somebody has kept the store")?;
    Ok((outcome.reply(job), store))
}

async fn put_task<T: TaskStore>(
    job: &Job,
    store: &T,
    values: &Values,
    phase: Phase,
    mut lane: Lane,
    clock: Clock,
) -> Outcome<Lane> {
    let share = Share::of(&lane, job);
    let mut random = Random::new(lane.number());
    let mut versions = vec![0_u64; usize::try_from(share.keys)?];
    while clock.runs() {
        let which = random.below(share.keys);
        let version = &mut versions[usize::try_from(which)?];
        *version = (*version + 1).max(phase.first_version);
        let key = key(0, share.number(which));
        let value = values.value(&key, *version);
        let begin = Instant::now();
        store.put(key, value).await?;
        lane.times.record(begin.elapsed());
        lane.writes += 1;
        lane.operations += 1;
    }
    lane.versions = share.remember(&versions);
    Ok(lane)
}

async fn get_task<T: TaskStore>(
    job: &Job,
    store: &T,
    values: &Values,
    mut lane: Lane,
    clock: Clock,
) -> Outcome<Lane> {
    let mut random = Random::new(lane.number());
    while clock.runs() {
        for turn in 0..READS_A_TIMED_ONE {
            let number = random.below(job.keys);
            let begin = (turn == 0).then(Instant::now);
            let read = store.get(key(0, number)).await?;
            if let Some(begin) = begin {
                lane.times.record(begin.elapsed());
            }
            check(job, values, number, read)?;
            lane.operations += 1;
        }
        // Reads that are ready at once would keep the store's own tasks, and the writer's, from the runtime.
        yield_now().await;
    }
    Ok(lane)
}

/// Gets or puts from threads.
pub(super) fn from_threads<S: Store>(job: &Job, puts: bool) -> Outcome<(Reply, S)> {
    let store = Arc::new(S::open(&job.directory)?);
    let values = Values::new(job.value_bytes);
    let mut outcome = Measured::default();
    for phase in phases(job) {
        let writer = if phase.churned {
            let (store, runtime) = (Arc::clone(&store), Handle::current());
            let write = move |changes: Vec<Change>| {
                let _context = runtime.enter();
                store.write(&changes)
            };
            Some(Writer::start(job, write)?)
        } else {
            None
        };
        let shorter = Job {
            seconds: phase.seconds,
            ..job.clone()
        };
        let done = lanes::threads(&shorter, &metric(phase, puts), |lane, clock| {
            if puts {
                put_thread(job, &*store, &values, phase, lane, clock)
            } else {
                get_thread(job, &*store, &values, lane, clock)
            }
        })?;
        outcome.add(&done, writer)?;
    }
    let store = Arc::try_unwrap(store).map_err(|_shared| "somebody has kept the store")?;
    Ok((outcome.reply(job), store))
}

fn put_thread<S: Store>(
    job: &Job,
    store: &S,
    values: &Values,
    phase: Phase,
    mut lane: Lane,
    clock: Clock,
) -> Outcome<Lane> {
    let share = Share::of(&lane, job);
    let mut random = Random::new(lane.number());
    let mut versions = vec![0_u64; usize::try_from(share.keys)?];
    while clock.runs() {
        let which = random.below(share.keys);
        let version = &mut versions[usize::try_from(which)?];
        *version = (*version + 1).max(phase.first_version);
        let key = key(0, share.number(which));
        let value = values.value(&key, *version);
        let begin = Instant::now();
        store.put(&key, &value)?;
        lane.times.record(begin.elapsed());
        lane.writes += 1;
        lane.operations += 1;
    }
    lane.versions = share.remember(&versions);
    Ok(lane)
}

fn get_thread<S: Store>(
    job: &Job,
    store: &S,
    values: &Values,
    mut lane: Lane,
    clock: Clock,
) -> Outcome<Lane> {
    let mut random = Random::new(lane.number());
    while clock.runs() {
        for turn in 0..READS_A_TIMED_ONE {
            let number = random.below(job.keys);
            let begin = (turn == 0).then(Instant::now);
            let read = store.get(&key(0, number))?;
            if let Some(begin) = begin {
                lane.times.record(begin.elapsed());
            }
            check(job, values, number, read)?;
            lane.operations += 1;
        }
    }
    Ok(lane)
}

/// Where gets are measured, nobody writes the lower half.
fn check(job: &Job, values: &Values, number: u64, read: Option<Vec<u8>>) -> Outcome {
    let value = read.ok_or("a key is missing")?;
    let is_loaded = number < job.keys / 2;
    let looked_at = is_loaded && number.is_multiple_of(256);
    if value.len() != job.value_bytes || looked_at && value != values.value(&key(0, number), 0) {
        return Err("a read returned another value".into());
    }
    Ok(())
}

fn metric(phase: Phase, puts: bool) -> String {
    let operation = if puts { "puts" } else { "gets" };
    format!("{}, {operation}/s", phase.name)
}

/// What both phases have come to.
#[derive(Debug, Default)]
struct Measured {
    figures: Vec<Figure>,
    versions: BTreeMap<u64, u64>,
}

impl Measured {
    fn add(&mut self, done: &lanes::Done, writer: Option<Writer>) -> Outcome {
        self.figures.push(done.figure_of_pauses());
        self.versions.extend(done.versions());
        if let Some(writer) = writer {
            let written = writer.stop()?;
            let rate = Figure::new("churn beside, changes/s", written.rate, Better::Higher);
            self.figures.push(rate);
            self.versions.extend(written.versions);
        }
        Ok(())
    }

    fn reply(self, job: &Job) -> Reply {
        let versions = self.versions.into_iter();
        let expected = Expected {
            records: job.keys,
            versions: versions
                .map(|(number, version)| (0, number, version))
                .collect(),
            ..Expected::default()
        };
        Reply {
            figures: self.figures,
            expected: Some(expected),
            ..Reply::default()
        }
    }
}

/// The thread that overwrites the upper half, again and again.
#[derive(Debug)]
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome<Written>>,
}

#[derive(Debug)]
struct Written {
    /// Changes a second, once it has kept its pace.
    rate: f64,
    /// Some numbers, and the versions that are acknowledged.
    versions: Vec<(u64, u64)>,
}

impl Writer {
    /// Returns when everything has been overwritten once.
    fn start<W>(job: &Job, write: W) -> Outcome<Self>
    where
        W: Fn(Vec<Change>) -> Outcome + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let (warm, is_warm) = mpsc::channel();
        let (job, stops) = (job.clone(), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("churn".to_owned())
            .spawn(move || overwrite(&job, &write, &stops, warm))?;
        // Whoever fails before has no answer; `stop` says why.
        let failed = is_warm.recv().is_err();
        let writer = Self { stop, thread };
        if failed {
            writer.stop()?;
            return Err("the writer beside has ended by itself".into());
        }
        Ok(writer)
    }

    fn stop(self) -> Outcome<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.join();
        joined.map_err(|_panic| "the writer beside panicked")?
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
fn overwrite(
    job: &Job,
    write: &dyn Fn(Vec<Change>) -> Outcome,
    stop: &AtomicBool,
    warm: mpsc::Sender<()>,
) -> Outcome<Written> {
    let values = Values::new(job.value_bytes);
    let mut random = Random::new(9);
    let mut numbers: Vec<u64> = (job.keys / 2..job.keys).collect();
    let mut newest = BTreeMap::new();
    let step = ((numbers.len() as u64) / COMPARED_MAX).max(1);
    let batch_records = usize::try_from(BATCH_RECORDS)?;
    let mut paced: Option<(Instant, u64)> = None;
    for version in 1.. {
        random.shuffle(&mut numbers);
        for batch in numbers.chunks(batch_records) {
            if let Some((begin, written)) = paced {
                let due = Duration::from_secs_f64(written as f64 / CHURN_A_SECOND);
                thread::sleep(due.saturating_sub(begin.elapsed()));
                if stop.load(Ordering::Relaxed) {
                    let rate = written as f64 / begin.elapsed().as_secs_f64();
                    let versions = newest.into_iter().collect();
                    return Ok(Written { rate, versions });
                }
            }
            let change = |number: &u64| {
                let key = key(0, *number);
                (key, Some(values.value(&key, version)))
            };
            write(batch.iter().map(change).collect())?;
            let compared = batch.iter().filter(|number| number.is_multiple_of(step));
            newest.extend(compared.map(|number| (*number, version)));
            paced = paced.map(|(begin, written)| (begin, written + batch.len() as u64));
        }
        if paced.is_none() {
            paced = Some((Instant::now(), 0));
            warm.send(())?;
        }
    }
    Err("the numbers have an end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_the_lower_half_and_nobody_has_a_key_twice() {
        let mut numbers = Vec::new();
        for lane in 0..64 {
            let share = Share {
                lane,
                lanes: 64,
                keys: 5000 / 2 / 64,
            };
            numbers.extend((0..share.keys).map(|which| share.number(which)));
        }
        assert!(numbers.iter().all(|number| *number < 2500));
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }

    #[test]
    fn a_lane_remembers_what_it_has_written() {
        let share = Share {
            lane: 3,
            lanes: 8,
            keys: 3,
        };
        assert_eq!(share.remember(&[2, 0, 5]), [(3, 2), (19, 5)]);
    }
}
