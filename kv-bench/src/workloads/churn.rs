//! W6: histories that write a store over and over again, and what becomes of its space.
//!
//! A history knows which keys are there and in which version, so that live bytes are counted and not guessed, and the
//! check finds out whether reclaiming has lost or brought back anything.

use super::life::{BATCH_RECORDS, COMPARED_MAX, per_second, ratio};
use crate::histogram::Histogram;
use crate::keys::{QUEUE_LANE, Random, Values, key};
use crate::protocol::{Better, Churn, Expected, Figure, Job, Reply, Sample};
use crate::store::{Change, Key, Outcome, Store};
use crate::system::{Meter, Traffic, device_written_bytes, disk_bytes};
use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

/// Batches have about as many bytes with larger values as with small ones, but at least [`BATCH_RECORDS_MIN`] records.
const BATCH_BYTES: u64 = 128 * 1024;
const BATCH_RECORDS_MIN: u64 = 32;
/// How often space is looked at in a round.
const LOOKS_A_ROUND: usize = 20;
/// One key in so many is never written again, by [`Churn::OneStays`].
const ONE_STAYS_IN: u64 = 10_000;

/// A number, and its new version; `None`: it is deleted.
type Step = (u64, Option<u32>);

/// One of the histories, so far.
#[derive(Debug)]
struct History {
    churn: Churn,
    keys: u64,
    batch_records: usize,
    random: Random,
    /// What each number holds; a queue has its ends instead.
    versions: Vec<Option<u32>>,
    /// The numbers that a queue holds: from the first, up to but without the second.
    queue: (u64, u64),
}

impl History {
    fn new(churn: Churn, keys: u64, value_bytes: usize) -> Outcome<Self> {
        let record_bytes = (size_of::<Key>() + value_bytes) as u64;
        let records = (BATCH_BYTES / record_bytes).clamp(BATCH_RECORDS_MIN, BATCH_RECORDS);
        // So that a batch finds enough different keys, where few are written often.
        let records = records.min(keys / 20).max(1);
        let queued = churn == Churn::Queue;
        Ok(Self {
            churn,
            keys,
            batch_records: usize::try_from(records)?,
            random: Random::new(6),
            versions: vec![None; if queued { 0 } else { usize::try_from(keys)? }],
            queue: (0, 0),
        })
    }

    const fn lane(&self) -> u64 {
        match self.churn {
            Churn::Queue => QUEUE_LANE,
            _ => 0,
        }
    }

    /// The steps of a round; 0 is the load.
    fn round(&mut self, at: u64) -> Outcome<Vec<Step>> {
        let version = Some(u32::try_from(at)?);
        if at == 0 {
            return Ok((0..self.keys).map(|number| (number, version)).collect());
        }
        let mut numbers: Vec<u64> = match self.churn {
            Churn::Queue => {
                let (first, end) = self.queue;
                let put_and_delete = |turn| [(end + turn, Some(0)), (first + turn, None)];
                return Ok((0..self.keys / 2).flat_map(put_and_delete).collect());
            }
            Churn::Skewed => return self.skewed(),
            Churn::OneStays => {
                let stays = |number: &u64| number.is_multiple_of(ONE_STAYS_IN);
                (0..self.keys).filter(|number| !stays(number)).collect()
            }
            Churn::Uniform | Churn::DeleteAll => (0..self.keys).collect(),
        };
        self.random.shuffle(&mut numbers);
        let deletes = self.churn == Churn::DeleteAll && at % 2 == 1;
        let version = version.filter(|_| !deletes);
        Ok(numbers
            .into_iter()
            .map(|number| (number, version))
            .collect())
    }

    /// Nine of ten steps go to the first tenth; no number twice in a batch, whose changes have no order in some stores.
    fn skewed(&mut self) -> Outcome<Vec<Step>> {
        let hot = (self.keys / 10).max(1);
        let mut newest = self.versions.clone();
        let mut batch = HashSet::new();
        let mut steps = Vec::new();
        while (steps.len() as u64) < self.keys {
            let number = if self.random.below(10) < 9 {
                self.random.below(hot)
            } else {
                hot + self.random.below(self.keys - hot)
            };
            if !batch.insert(number) {
                continue;
            }
            if batch.len() == self.batch_records {
                batch.clear();
            }
            let version = &mut newest[usize::try_from(number)?];
            *version = Some(version.map_or(0, |version| version + 1));
            steps.push((number, *version));
        }
        Ok(steps)
    }

    /// A batch is acknowledged.
    fn apply(&mut self, steps: &[Step]) -> Outcome {
        for (number, version) in steps {
            match (self.churn, version) {
                (Churn::Queue, Some(_)) => self.queue.1 = number + 1,
                (Churn::Queue, None) => self.queue.0 = number + 1,
                _ => self.versions[usize::try_from(*number)?] = *version,
            }
        }
        Ok(())
    }

    fn expected(&self, live: u64) -> Expected {
        let mut expected = Expected {
            records: live,
            ..Expected::default()
        };
        if self.churn == Churn::Queue {
            let (first, end) = self.queue;
            let lane = QUEUE_LANE;
            let sampled = (first..end)
                .step_by(step(end - first))
                .chain(end.checked_sub(1));
            expected.versions = sampled.map(|number| (lane, number, 0)).collect();
            let gone = (0..first).step_by(step(first)).chain(first.checked_sub(1));
            expected.absent = gone.map(|number| (lane, number)).collect();
        } else {
            for (number, version) in (0..).zip(&self.versions).step_by(step(self.keys)) {
                match version {
                    Some(version) => expected.versions.push((0, number, u64::from(*version))),
                    None => expected.absent.push((0, number)),
                }
            }
        }
        expected
    }
}

/// Of so many keys every so many is compared.
fn step(keys: u64) -> usize {
    usize::try_from((keys / COMPARED_MAX).max(1)).unwrap_or(usize::MAX)
}

/// What has been written and what is live.
#[derive(Debug)]
struct Ledger {
    record_bytes: u64,
    /// Of all keys, when all are there.
    full_bytes: u64,
    live: u64,
    changes: u64,
    changed_bytes: u64,
    /// Disk per live byte at each look of a round, but for the load.
    spaces: Vec<f64>,
}

impl Ledger {
    fn count(&mut self, steps: &[Step], added: i64) -> Outcome {
        for (_, version) in steps {
            self.changed_bytes += match version {
                Some(_) => self.record_bytes,
                None => size_of::<Key>() as u64,
            };
        }
        self.changes += steps.len() as u64;
        self.live = self
            .live
            .checked_add_signed(added)
            .ok_or("fewer than no keys are live")?;
        Ok(())
    }

    const fn live_bytes(&self) -> u64 {
        self.live * self.record_bytes
    }

    /// Disk per live byte; `None` where less than half of the keys are there: a ratio to next to nothing says nothing.
    fn space(&self, disk_bytes: u64) -> Option<f64> {
        let live = self.live_bytes();
        (live * 2 >= self.full_bytes).then(|| ratio(disk_bytes, live))
    }
}

/// All keys loaded, and then rounds of as many changes. Space and writes after each, at rest, and after a clean close.
pub(super) fn churn<S: Store>(job: &Job, churn: Churn, rounds: u64) -> Outcome<Reply> {
    let store = S::open(&job.directory)?;
    let values = Values::new(job.value_bytes);
    let mut history = History::new(churn, job.keys, job.value_bytes)?;
    let record_bytes = (size_of::<Key>() + job.value_bytes) as u64;
    let mut ledger = Ledger {
        record_bytes,
        full_bytes: record_bytes * job.keys,
        live: 0,
        changes: 0,
        changed_bytes: 0,
        spaces: Vec::new(),
    };
    let mut samples = Vec::new();
    let mut times = Histogram::new();
    let meter = Meter::start(&job.directory);
    let start = Start::now(job);
    for at in 0..=rounds {
        let steps = history.round(at)?;
        let batches = steps.chunks(history.batch_records);
        let look_every = batches.len().div_ceil(LOOKS_A_ROUND).max(1);
        let mut peak: Option<f64> = None;
        let looks = batches.len();
        for (turn, batch) in (1..).zip(batches) {
            let added = write(&store, &history, &values, batch, &mut times)?;
            history.apply(batch)?;
            ledger.count(batch, added)?;
            if turn % look_every == 0 || turn == looks {
                let space = ledger.space(disk_bytes(&job.directory)?);
                peak = peak.into_iter().chain(space).reduce(f64::max);
                if at > 0 {
                    ledger.spaces.extend(space);
                }
            }
        }
        samples.push(start.sample(job, &store, &ledger, at, peak)?);
    }
    let rate = per_second(ledger.changes, start.begin);
    let reading = meter.read(&job.directory);
    thread::sleep(Duration::from_secs_f64(job.seconds));
    let rested = disk_bytes(&job.directory)?;
    store.close()?;
    let closed = disk_bytes(&job.directory)?;
    let rate = Figure {
        p50_us: times.percentile_us(0.5),
        p99_us: times.percentile_us(0.99),
        p999_us: times.percentile_us(0.999),
        longest_us: times.longest_us(),
        cpu_own: reading.cpu_own,
        cpu_other: reading.cpu_other,
        ..Figure::new("changes/s", rate, Better::Higher)
    };
    let mut figures = vec![rate];
    figures.extend(spaces(&ledger, rested, closed));
    figures.extend(amplifications(&samples));
    Ok(Reply {
        figures,
        expected: Some(history.expected(ledger.live)),
        samples,
        ..Reply::default()
    })
}

/// One batch; how many keys more there are.
fn write<S: Store>(
    store: &S,
    history: &History,
    values: &Values,
    batch: &[Step],
    times: &mut Histogram,
) -> Outcome<i64> {
    let mut changes: Vec<Change> = Vec::with_capacity(batch.len());
    let mut added = 0;
    for (number, version) in batch {
        let key = key(history.lane(), *number);
        let was = match history.churn {
            Churn::Queue => version.is_none(),
            _ => history.versions[usize::try_from(*number)?].is_some(),
        };
        added += i64::from(version.is_some()) - i64::from(was);
        let value = version.map(|version| values.value(&key, u64::from(version)));
        changes.push((key, value));
    }
    let begin = Instant::now();
    store.write(&changes)?;
    times.record(begin.elapsed());
    Ok(added)
}

/// The counters before the first change.
#[derive(Debug)]
struct Start {
    traffic: Option<Traffic>,
    device_bytes: Option<u64>,
    begin: Instant,
}

impl Start {
    fn now(job: &Job) -> Self {
        Self {
            traffic: Traffic::now(),
            device_bytes: device_written_bytes(&job.directory),
            begin: Instant::now(),
        }
    }

    fn sample<S: Store>(
        &self,
        job: &Job,
        store: &S,
        ledger: &Ledger,
        at: u64,
        space_peak: Option<f64>,
    ) -> Outcome<Sample> {
        let written = Traffic::now().zip(self.traffic);
        let device = device_written_bytes(&job.directory).zip(self.device_bytes);
        let counts = store.counts();
        Ok(Sample {
            at,
            live_bytes: ledger.live_bytes(),
            disk_bytes: disk_bytes(&job.directory)?,
            space_peak,
            changed_bytes: ledger.changed_bytes,
            changes: ledger.changes,
            written_bytes: written.map(|(now, before)| now.since(before).written_bytes),
            device_bytes: device.map(|(now, before)| now.saturating_sub(before)),
            counted_bytes: counts.written_bytes,
            entries: counts.entries,
            seconds: self.begin.elapsed().as_secs_f64(),
        })
    }
}

/// Of the rounds after the load: mean and peak; then what is left. Megabytes where nothing is live.
#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
fn spaces(ledger: &Ledger, rested: u64, closed: u64) -> Vec<Figure> {
    let lower = |metric: &str, value| Figure::new(metric, value, Better::Lower);
    let mut figures = Vec::new();
    if let Some(peak) = ledger.spaces.iter().copied().reduce(f64::max) {
        let mean = ledger.spaces.iter().sum::<f64>() / ledger.spaces.len() as f64;
        figures.push(lower("space, mean", mean));
        figures.push(lower("space, peak", peak));
    }
    for (disk, when) in [(rested, "at rest"), (closed, "closed")] {
        figures.push(match ledger.space(disk) {
            Some(space) => lower(&format!("space, {when}"), space),
            None => lower(&format!("left {when}, MB"), disk as f64 / 1e6),
        });
    }
    figures
}

/// Of the rounds after the load, for each byte of keys and values and for each change.
fn amplifications(samples: &[Sample]) -> Vec<Figure> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return Vec::new();
    };
    let figure = |metric, of: fn(&Sample) -> Option<u64>, to: fn(&Sample) -> u64| {
        let of = of(last)?.saturating_sub(of(first)?);
        let value = ratio(of, to(last).saturating_sub(to(first)));
        Some(Figure::new(metric, value, Better::Lower))
    };
    let figures = [
        figure(
            "bytes written a byte",
            |one| one.written_bytes,
            |one| one.changed_bytes,
        ),
        figure(
            "to the device, by all",
            |one| one.device_bytes,
            |one| one.changed_bytes,
        ),
        figure(
            "counted by the store",
            |one| one.counted_bytes,
            |one| one.changed_bytes,
        ),
        figure("entries a change", |one| one.entries, |one| one.changes),
    ];
    figures.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Churn; 5] = [
        Churn::Uniform,
        Churn::Skewed,
        Churn::Queue,
        Churn::DeleteAll,
        Churn::OneStays,
    ];

    fn after(churn: Churn, rounds: u64) -> (History, Vec<Vec<Step>>) {
        let mut history = History::new(churn, 1000, 100).unwrap();
        let mut all = Vec::new();
        for at in 0..=rounds {
            let steps = history.round(at).unwrap();
            history.apply(&steps).unwrap();
            all.push(steps);
        }
        (history, all)
    }

    #[test]
    fn a_round_has_as_many_changes_as_there_are_keys() {
        for churn in ALL {
            let (history, rounds) = after(churn, 3);
            let stays = u64::from(churn == Churn::OneStays);
            for (at, steps) in (0_u64..).zip(&rounds) {
                let due = 1000 - if at > 0 { stays } else { 0 };
                assert_eq!(steps.len() as u64, due, "{churn:?}");
                for batch in steps.chunks(history.batch_records) {
                    let different: HashSet<u64> = batch.iter().map(|(number, _)| *number).collect();
                    assert_eq!(different.len(), batch.len(), "{churn:?}");
                }
            }
        }
    }

    #[test]
    fn most_writes_of_the_skewed_history_go_to_a_tenth() {
        let (_, rounds) = after(Churn::Skewed, 1);
        let hot = rounds[1].iter().filter(|(number, _)| *number < 100);
        assert!((850..950).contains(&hot.count()));
    }

    #[test]
    fn a_queue_never_writes_a_key_again() {
        let (history, rounds) = after(Churn::Queue, 4);
        let puts = rounds.iter().flatten().filter(|(_, put)| put.is_some());
        let numbers: Vec<u64> = puts.map(|(number, _)| *number).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next));
        assert_eq!(history.queue, (2000, 3000));
        let expected = history.expected(1000);
        assert!(expected.absent.contains(&(QUEUE_LANE, 1999)));
        assert!(expected.versions.contains(&(QUEUE_LANE, 2999, 0)));
    }

    #[test]
    fn everything_is_deleted_in_every_other_round() {
        let (history, _) = after(Churn::DeleteAll, 3);
        assert!(history.versions.iter().all(Option::is_none));
        assert_eq!(history.expected(0).absent.len(), 1000);
        let (history, _) = after(Churn::DeleteAll, 4);
        assert!(history.versions.iter().all(|version| *version == Some(4)));
    }

    #[test]
    fn one_key_stays_as_it_was_loaded() {
        let (history, _) = after(Churn::OneStays, 5);
        assert_eq!(history.versions[0], Some(0));
        assert!(history.versions[1..].iter().all(|one| *one == Some(5)));
    }

    #[test]
    fn space_is_no_ratio_to_next_to_nothing() {
        let mut ledger = Ledger {
            record_bytes: 100,
            full_bytes: 1000,
            live: 0,
            changes: 0,
            changed_bytes: 0,
            spaces: Vec::new(),
        };
        ledger.count(&[(0, Some(0)), (1, Some(0))], 2).unwrap();
        assert_eq!((ledger.live_bytes(), ledger.changed_bytes), (200, 200));
        assert_eq!(ledger.space(1000), None);
        ledger.count(&[(0, None)], 8).unwrap();
        assert_eq!(ledger.changed_bytes, 216);
        assert_eq!(ledger.space(3000), Some(3.0));
        assert!(ledger.count(&[], -11).is_err());
    }

    #[test]
    fn amplification_leaves_the_load_out() {
        let sample = |at, changes, written| Sample {
            at,
            live_bytes: 0,
            disk_bytes: 0,
            space_peak: None,
            changed_bytes: changes * 100,
            changes,
            written_bytes: Some(written),
            device_bytes: None,
            counted_bytes: None,
            entries: Some(changes * 3),
            seconds: 1.0,
        };
        let figures = amplifications(&[sample(0, 10, 5000), sample(1, 20, 7000)]);
        let values: Vec<(&str, f64)> = figures
            .iter()
            .map(|one| (&*one.metric, one.value))
            .collect();
        let due = [("bytes written a byte", 2.0), ("entries a change", 3.0)];
        assert_eq!(values, due);
    }
}
