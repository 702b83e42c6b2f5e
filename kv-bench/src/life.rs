//! W5: an engine's life, step by step: the load, opens warm and cold, opens after a kill, and a load that is killed on
//! the way. One store at a time is on the disk.

use crate::keys::Random;
use crate::peers::Contender;
use crate::plan::Case;
use crate::protocol::{self, Better, Expected, Figure, Job, Task};
use crate::run::Run;
use crate::store::Outcome;
use crate::workloads::life::{AGE_RECORDS, BATCH_RECORDS};
use std::fs;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Opens of a kind in a round: one takes milliseconds.
const OPENS: u32 = 3;
/// The load is killed up to so long after the batch that was drawn, so in the middle of another; a short load for less long.
const KILL_DELAY_MICROS_MAX: u64 = 20_000;
/// The lane that [`Task::Age`] writes first; the load has lane 0.
const FIRST_AGE_LANE: u64 = 1;

/// What of an open is noted: the columns are many enough.
const WARM: &[&str] = &[
    "open ms",
    "written, KiB",
    "flushes",
    "memory, bytes a key",
    "RSS, MB",
];
const COLD: &[&str] = &["open ms", "device reads, KiB"];
const KILLED: &[&str] = &["open ms", "written, KiB"];

impl Run {
    /// All of it with one engine; what was acknowledged is there after each kill.
    pub(crate) fn life(&mut self, case: &Case, contender: Contender, round: u32) -> Outcome {
        let directory = self.fresh_directory();
        let loaded = protocol::run(&self.job(case, contender, Task::Load, directory.clone()))?;
        self.note(&step(case, "load"), contender, round, loaded.figures, 0)?;
        let mut expected = loaded.expected.ok_or("nothing says what was loaded")?;
        for turn in 0..OPENS {
            let at = round * OPENS + turn;
            self.settle(case, contender, &directory)?;
            self.open(&step(case, "warm"), contender, at, &directory, WARM)?;
            self.settle(case, contender, &directory)?;
            let reads = self.open(&step(case, "cold"), contender, at, &directory, COLD)?;
            if reads == Some(0.0) {
                let row = contender.name();
                writeln!(stderr(), "{row}: nothing came from the device: not cold")?;
            }
        }
        for turn in 0..OPENS {
            let age = Job {
                lanes: FIRST_AGE_LANE + u64::from(turn),
                ..self.job(case, contender, Task::Age, directory.clone())
            };
            let aged = protocol::run(&age)?.expected.unwrap_or_default();
            expected.records += AGE_RECORDS;
            expected.lanes.extend(aged.lanes);
            let at = round * OPENS + turn;
            let killed = step(case, "after a kill");
            self.open(&killed, contender, at, &directory, KILLED)?;
        }
        self.check(case, contender, &directory, expected)?;
        fs::remove_dir_all(&directory)?;
        self.killed_load(case, contender, round)
    }

    /// The load is killed at a moment that nobody has chosen; then the first open of what it has left.
    fn killed_load(&mut self, case: &Case, contender: Contender, round: u32) -> Outcome {
        let directory = self.fresh_directory();
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut random = Random::new(u64::from(since.subsec_nanos()));
        // Between a quarter and three quarters of the way.
        let enough = case.keys / 4 + random.below((case.keys / 2).max(1));
        let delay_max = (case.keys / 50).clamp(1, KILL_DELAY_MICROS_MAX);
        let delay = Duration::from_micros(random.below(delay_max));
        let load = self.job(case, contender, Task::LoadAloud, directory.clone());
        let acknowledged = protocol::run_and_kill(&load, enough, delay)?;
        let left = Case {
            keys: acknowledged,
            ..step(case, "load killed")
        };
        self.open(&left, contender, round, &directory, KILLED)?;
        let at = Figure::new("acknowledged", as_float(acknowledged), Better::Higher);
        let expected = Expected {
            records: acknowledged,
            lanes: vec![(0, acknowledged)],
            in_flight: BATCH_RECORDS.min(case.keys - acknowledged),
            ..Expected::default()
        };
        let compared = self.check(case, contender, &directory, expected)?;
        self.note(&left, contender, round, vec![at], compared)?;
        Ok(fs::remove_dir_all(&directory)?)
    }

    fn settle(&self, case: &Case, contender: Contender, directory: &Path) -> Outcome {
        let job = self.job(case, contender, Task::Settle, directory.to_path_buf());
        protocol::run(&job).map(drop)
    }

    /// Opens once, and notes what of it is shown; what came from the device.
    fn open(
        &mut self,
        case: &Case,
        contender: Contender,
        round: u32,
        directory: &Path,
        shown: &[&str],
    ) -> Outcome<Option<f64>> {
        let cold = shown == COLD;
        let directory: PathBuf = directory.to_path_buf();
        let mut figures =
            protocol::run(&self.job(case, contender, Task::Open { cold }, directory))?.figures;
        let read = figures
            .iter()
            .find(|figure| figure.metric == "device reads, KiB");
        let read = read.map(|figure| figure.value);
        figures.retain(|figure| shown.contains(&&*figure.metric));
        self.note(case, contender, round, figures, 0)?;
        Ok(read)
    }

    fn check(
        &self,
        case: &Case,
        contender: Contender,
        directory: &Path,
        expected: Expected,
    ) -> Outcome<u64> {
        let check = Task::Check { expected };
        let job = self.job(case, contender, check, directory.to_path_buf());
        Ok(protocol::run(&job)?.compared)
    }
}

/// The same case, named for one of its steps.
fn step(case: &Case, name: &str) -> Case {
    Case {
        name: format!("{name}, {}", case.name),
        ..case.clone()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
const fn as_float(count: u64) -> f64 {
    count as f64
}
