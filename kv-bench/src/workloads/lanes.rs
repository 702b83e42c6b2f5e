//! Lanes: tasks or threads that each do one thing after the other until the time is over.

use crate::histogram::Histogram;
use crate::protocol::{Better, Expected, Figure, Job};
use crate::store::Outcome;
use crate::system::Meter;
use std::future::Future;
use std::thread;
use std::time::{Duration, Instant};

/// What one lane has done.
#[derive(Debug)]
pub(crate) struct Lane {
    number: u64,
    /// Operations of all kinds.
    pub(crate) operations: u64,
    /// Acknowledged writes: as many keys of the lane are there, or as many transfers were made.
    pub(crate) writes: u64,
    /// Transfers that had to be tried again.
    pub(crate) conflicts: u64,
    /// The last version of some keys: number, version.
    pub(crate) versions: Vec<(u64, u64)>,
    pub(crate) times: Histogram,
}

impl Lane {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            operations: 0,
            writes: 0,
            conflicts: 0,
            versions: Vec::new(),
            times: Histogram::new(),
        }
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }
}

/// When the lanes stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    end: Instant,
}

impl Clock {
    fn start(seconds: f64) -> Self {
        Self {
            end: Instant::now() + Duration::from_secs_f64(seconds),
        }
    }

    pub(crate) fn runs(self) -> bool {
        Instant::now() < self.end
    }
}

/// What all lanes have done, and in which time: from before the first to after the last operation.
#[derive(Debug)]
pub(crate) struct Done {
    lanes: Vec<Lane>,
    figure: Figure,
    times: Histogram,
}

/// Runs each lane as a task.
pub(crate) async fn tasks<F, W>(job: &Job, metric: &str, lane: F) -> Outcome<Done>
where
    F: Fn(Lane, Clock) -> W,
    W: Future<Output = Outcome<Lane>> + Send + 'static,
{
    let meter = Meter::start(&job.directory);
    let begin = Instant::now();
    let clock = Clock::start(job.seconds);
    let spawned: Vec<_> = (0..job.lanes)
        .map(|number| tokio::spawn(lane(Lane::new(number), clock)))
        .collect();
    let mut lanes = Vec::new();
    for one in spawned {
        lanes.push(one.await??);
    }
    Ok(Done::new(job, metric, lanes, begin.elapsed(), &meter))
}

/// Runs each lane as a thread.
pub(crate) fn threads<F>(job: &Job, metric: &str, lane: F) -> Outcome<Done>
where
    F: Fn(Lane, Clock) -> Outcome<Lane> + Sync,
{
    let meter = Meter::start(&job.directory);
    let begin = Instant::now();
    let clock = Clock::start(job.seconds);
    let lanes = thread::scope(|scope| {
        let spawn = |number| {
            let lane = &lane;
            thread::Builder::new()
                .name(format!("lane {number}"))
                .spawn_scoped(scope, move || lane(Lane::new(number), clock))
        };
        let spawned = (0..job.lanes).map(spawn).collect::<Result<Vec<_>, _>>()?;
        let joined = spawned.into_iter().map(|one| one.join());
        joined
            .map(|joined| joined.map_err(|_panic| "a lane panicked")?)
            .collect::<Outcome<Vec<Lane>>>()
    })?;
    Ok(Done::new(job, metric, lanes, begin.elapsed(), &meter))
}

impl Done {
    #[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
    fn new(job: &Job, metric: &str, lanes: Vec<Lane>, time: Duration, meter: &Meter) -> Self {
        let reading = meter.read(&job.directory);
        let mut times = Histogram::new();
        for lane in &lanes {
            times.merge(&lane.times);
        }
        let operations: u64 = lanes.iter().map(|lane| lane.operations).sum();
        let writes: u64 = lanes.iter().map(|lane| lane.writes).sum();
        let flushes = reading.flushes.filter(|_| writes > 0);
        let rate = operations as f64 / time.as_secs_f64();
        let figure = Figure {
            p50_us: times.percentile_us(0.5),
            p99_us: times.percentile_us(0.99),
            flushes_per_write: flushes.map(|flushes| flushes as f64 / writes as f64),
            cpu_own: reading.cpu_own,
            cpu_other: reading.cpu_other,
            ..Figure::new(metric, rate, Better::Higher)
        };
        Self {
            lanes,
            figure,
            times,
        }
    }

    pub(crate) fn figure(&self) -> Figure {
        self.figure.clone()
    }

    /// Of all lanes.
    pub(crate) fn operations(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.operations).sum()
    }

    /// With the ends of the latencies, where pauses are.
    pub(crate) fn figure_of_pauses(&self) -> Figure {
        Figure {
            p999_us: self.times.percentile_us(0.999),
            longest_us: self.times.longest_us(),
            ..self.figure.clone()
        }
    }

    /// What the lanes remember of their keys: number, version.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (u64, u64)> {
        self.lanes.iter().flat_map(|lane| lane.versions.clone())
    }

    /// Conflicts for each transfer that was made.
    #[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
    pub(crate) fn conflicts_a_write(&self) -> f64 {
        let conflicts: u64 = self.lanes.iter().map(|lane| lane.conflicts).sum();
        let writes: u64 = self.lanes.iter().map(|lane| lane.writes).sum();
        conflicts as f64 / writes.max(1) as f64
    }

    /// Where each lane has put one new key after the other.
    pub(crate) fn expected_keys(&self) -> Expected {
        Expected {
            records: self.lanes.iter().map(|lane| lane.writes).sum(),
            lanes: self
                .lanes
                .iter()
                .map(|lane| (lane.number, lane.writes))
                .collect(),
            ..Expected::default()
        }
    }

    /// Where the lanes have written keys of lane 0 again.
    pub(crate) fn expected_versions(&self, records: u64) -> Expected {
        let versions = self.lanes.iter().flat_map(|lane| &lane.versions);
        Expected {
            records,
            versions: versions
                .map(|(number, version)| (0, *number, *version))
                .collect(),
            ..Expected::default()
        }
    }
}
