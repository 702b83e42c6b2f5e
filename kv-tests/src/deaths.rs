//! Process deaths: at every point of a recorded run the process dies and the power stays. The next one finds everything in
//! the page cache, serves it, writes on top of it; then the power is cut.
//!
//! This is where a store loses data that trusts what it reads: a name, a length or a zero that only the cache has.

use crate::oracle::{Contents, hash};
use crate::workload::{Recorded, STORE, contents_of};
use kv_log_engine::Engine;
use kv_log_engine::storage::sim::SimDisk;

/// What was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain set of counters")]
pub struct Died {
    /// Deaths.
    pub points: u64,
    /// Power cuts after them.
    pub cuts: u64,
}

impl std::ops::AddAssign for Died {
    fn add_assign(&mut self, other: Self) {
        self.points += other.points;
        self.cuts += other.cuts;
    }
}

/// Lets the process die at every point of a recorded run.
///
/// # Panics
/// If a store does not open, shows what the oracle does not allow, or loses what it showed or acknowledged.
#[must_use]
pub fn explore(recorded: &Recorded) -> Died {
    let mut died = Died::default();
    for point in recorded.trace.crash_points() {
        died.points += 1;
        let op = point.op();
        let context = format!(
            "seed {}, death after {op} ops ({})",
            recorded.seed,
            recorded.trace.describe(op)
        );
        let disk = point.died();
        let store = open(recorded, &disk, &context);
        let mut contents = contents_of(&store);
        assert!(
            recorded
                .oracle
                .allowed(op)
                .find_hash(hash(&contents))
                .is_some(),
            "{context}: the store shows what no allowed prefix of the writes leads to"
        );
        died.cuts += cut(recorded, &disk, &contents, &context);
        if recorded.shape.sizes.is_some() {
            died.cuts += slices(recorded, &store, &disk, &contents, 1 + op % 7, &context);
        }
        for key in [&b"key-1"[..], b"after the death"] {
            let value = format!("written after {op} ops").into_bytes();
            store
                .put(key, &value)
                .unwrap_or_else(|error| panic!("{context}: {error:?}"));
            contents.insert(key.to_vec(), value);
        }
        died.cuts += cut(recorded, &disk, &contents, &context);
        if recorded.shape.sizes.is_some() {
            store
                .freeze()
                .unwrap_or_else(|error| panic!("{context}: {error:?}"));
            died.cuts += slices(recorded, &store, &disk, &contents, 3 + op % 17, &context);
        }
    }
    died
}

/// Chores of the next process, cut somewhere.
fn slices(
    recorded: &Recorded,
    store: &Engine,
    disk: &SimDisk,
    contents: &Contents,
    count: usize,
    context: &str,
) -> u64 {
    for _ in 0..count {
        let sliced = store.run_slice();
        sliced.unwrap_or_else(|error| panic!("{context}: a chore: {error:?}"));
    }
    assert!(
        contents_of(store) == *contents,
        "{context}: chores changed what the store shows"
    );
    cut(recorded, disk, contents, context)
}

/// What was shown and acknowledged must be there, whatever the power cut takes.
fn cut(recorded: &Recorded, disk: &SimDisk, contents: &Contents, context: &str) -> u64 {
    let seeds = [None, Some(1), Some(2)];
    for seed in seeds {
        let disk = disk.fork();
        match seed {
            None => disk.power_cut_losing_all(),
            Some(seed) => disk.power_cut(seed),
        }
        let context = format!("{context}, then a power cut ({seed:?})");
        assert!(
            contents_of(&open(recorded, &disk, &context)) == *contents,
            "{context}: a state was seen and lost"
        );
    }
    seeds.len() as u64
}

fn open(recorded: &Recorded, disk: &SimDisk, context: &str) -> Engine {
    Engine::open(STORE, recorded.options(disk, recorded.seed ^ 99))
        .unwrap_or_else(|error| panic!("{context}: the store does not open: {error:?}"))
}
