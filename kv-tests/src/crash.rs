//! Crash enumeration: the power is cut at every point of a recorded run, in every way the medium allows.

use crate::oracle::{Allowed, Contents, hash};
use crate::workload::{Recorded, STORE, contents_of};
use kv_log_engine::storage::sim::{CrashPoint, CrashPolicy, SimDisk};
use kv_log_engine::{Batch, Engine};
use std::collections::{HashMap, HashSet};

/// A small store has no more chores to do than these at once.
const SLICES_MAX: u32 = 2_000;

/// How thorough an enumeration is.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a plain set of numbers, meant to be written out"
)]
pub struct Effort {
    /// What is tried at each crash point of the run.
    pub policy: CrashPolicy,
    /// What is tried at each crash point of a recovery.
    pub recovery_policy: CrashPolicy,
    /// Every n-th distinct image is also cut during its recovery; 0: none.
    pub recovery_every: u64,
}

impl Default for Effort {
    fn default() -> Self {
        let recovery_policy = CrashPolicy {
            exhaustive_units_max: 4,
            seeded: 2,
            garbled: 2,
            seed: 2,
        };
        Self {
            policy: CrashPolicy::default(),
            recovery_policy,
            recovery_every: 10,
        }
    }
}

/// What was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain set of counters")]
pub struct Explored {
    /// Crash points, those during recoveries included.
    pub points: u64,
    /// Disk images built.
    pub images: u64,
    /// Different ones among them: each was opened and judged, whether a run left it, a recovery, or both.
    pub distinct: u64,
}

impl std::ops::AddAssign for Explored {
    fn add_assign(&mut self, other: Self) {
        self.points += other.points;
        self.images += other.images;
        self.distinct += other.distinct;
    }
}

/// Cuts the power at every point of a recorded run.
///
/// # Panics
/// If a store does not open, or shows what the oracle does not allow. The message names seed, point and choice.
#[must_use]
pub fn explore(recorded: &Recorded, effort: &Effort) -> Explored {
    let mut explored = Explored::default();
    // What an image shows does not depend on the point it was found at; what it may show does.
    let mut known: HashMap<u64, u64> = HashMap::new();
    let mut counted = HashSet::new();
    let mut known_in_recovery = HashSet::new();
    let mut opened = 0_u64;
    for point in recorded.trace.crash_points() {
        explored.points += 1;
        let allowed = recorded.oracle.allowed(point.op());
        for choice in point.choices(&effort.policy) {
            explored.images += 1;
            let image = point.image(&choice);
            let context = || {
                let shown = shown_by(recorded, &point.image(&choice));
                format!(
                    "seed {}, after {} ops ({}), {choice:?}: {}",
                    recorded.seed,
                    point.op(),
                    recorded.trace.describe(point.op()),
                    recorded.oracle.explain_hash(point.op(), hash(&shown))
                )
            };
            let image_hash = image.image_hash();
            if let Some(shown) = known.get(&image_hash) {
                judge(&allowed, *shown, &context);
                continue;
            }
            counted.insert(image_hash);
            opened += 1;
            let during = effort.recovery_every > 0 && opened.is_multiple_of(effort.recovery_every);
            let shown = if during {
                cut_recovery(
                    recorded,
                    &image,
                    &allowed,
                    effort,
                    &mut explored,
                    (&mut known_in_recovery, &mut counted),
                    &context,
                )
            } else {
                open_and_judge(recorded, &image, &allowed, &context)
            };
            known.insert(image_hash, shown);
        }
    }
    explored.distinct = counted.len() as u64;
    explored
}

/// What an image shows, for the words of a failure; nothing if it does not open.
fn shown_by(recorded: &Recorded, image: &SimDisk) -> Contents {
    let opened = Engine::open(STORE, recorded.options(image, recorded.seed ^ 77));
    let scan = opened.and_then(|store| store.scan(..)?.collect());
    scan.unwrap_or_default()
}

fn judge(allowed: &Allowed<'_>, shown: u64, context: &impl Fn() -> String) {
    assert!(
        allowed.find_hash(shown).is_some(),
        "{}: the store shows what no allowed prefix of the writes leads to",
        context()
    );
}

fn open(recorded: &Recorded, disk: &SimDisk, context: &impl Fn() -> String) -> Engine {
    match Engine::open(STORE, recorded.options(disk, recorded.seed ^ 77)) {
        Ok(store) => store,
        Err(error) => panic!("{}: the store does not open: {error:?}", context()),
    }
}

/// Opens an image, judges what it shows, and now and then writes to it and cuts the power again.
fn open_and_judge(
    recorded: &Recorded,
    image: &SimDisk,
    allowed: &Allowed<'_>,
    context: &impl Fn() -> String,
) -> u64 {
    let store = open(recorded, image, context);
    let mut contents = contents_of(&store);
    let shown = hash(&contents);
    judge(allowed, shown, context);
    if recorded.shape.sizes.is_some() && shown % 3 == 1 {
        do_chores(&store, context);
        assert!(
            contents_of(&store) == contents,
            "{}: chores changed what the store shows",
            context()
        );
        image.power_cut(shown);
        drop(store);
        let again = contents_of(&open(recorded, image, context));
        assert!(
            again == contents,
            "{}: chores behind a recovery lost something",
            context()
        );
        return shown;
    }
    if shown.is_multiple_of(4) {
        let mut batch = Batch::new();
        batch.put(b"after the crash", b"1").expect("a small record");
        batch.put(b"key-1", b"again").expect("a small record");
        store
            .write(batch)
            .unwrap_or_else(|error| panic!("{}: {error:?}", context()));
        contents.insert(b"after the crash".to_vec(), b"1".to_vec());
        contents.insert(b"key-1".to_vec(), b"again".to_vec());
        image.power_cut(shown);
        drop(store);
        let again = contents_of(&open(recorded, image, context));
        assert!(
            again == contents,
            "{}: a write after recovery did not survive",
            context()
        );
    }
    shown
}

/// What is in memory becomes a run, and then everything that is due.
fn do_chores(store: &Engine, context: &impl Fn() -> String) {
    let sliced = store.freeze().and_then(|()| {
        for _ in 0..SLICES_MAX {
            if !store.run_slice()? {
                return Ok(true);
            }
        }
        Ok(false)
    });
    let ended = sliced.unwrap_or_else(|error| panic!("{}: a chore: {error:?}", context()));
    assert!(ended, "{}: chores do not end", context());
}

/// Opens an image with a trace, and cuts the power at every point of that recovery.
fn cut_recovery(
    recorded: &Recorded,
    image: &SimDisk,
    allowed: &Allowed<'_>,
    effort: &Effort,
    explored: &mut Explored,
    (known, counted): (&mut HashSet<(u64, u64, bool)>, &mut HashSet<u64>),
    context: &impl Fn() -> String,
) -> u64 {
    image.start_trace();
    let store = open(recorded, image, context);
    let contents = contents_of(&store);
    let shown = hash(&contents);
    judge(allowed, shown, context);
    let served_at = image.op_count();
    if recorded.shape.sizes.is_some() {
        // And its first chores.
        for _ in 0..4 {
            let sliced = store.run_slice();
            sliced.unwrap_or_else(|error| panic!("{}: a chore: {error:?}", context()));
        }
    }
    let trace = image.trace().expect("the trace was started");
    drop(store);
    for point in trace.crash_points() {
        explored.points += 1;
        let served = point.op() >= served_at;
        for choice in point.choices(&effort.recovery_policy) {
            explored.images += 1;
            let second = point.image(&choice);
            let image_hash = second.image_hash();
            if !known.insert((image_hash, shown, served)) {
                continue;
            }
            counted.insert(image_hash);
            let context = || {
                format!(
                    "{}; recovery cut after {} ops ({}), {choice:?}",
                    context(),
                    point.op(),
                    trace.describe(point.op())
                )
            };
            let found = contents_of(&open(recorded, &second, &context));
            judge(allowed, hash(&found), &context);
            // Once the store was open a reader may have seen it: it must not change any more.
            assert!(
                !served || found == contents,
                "{}: a state was seen and lost",
                context()
            );
        }
    }
    shown
}

/// The crash points of the present state of a disk, for histories that are written by hand.
#[must_use]
pub fn images(disk: &SimDisk, policy: &CrashPolicy) -> Vec<SimDisk> {
    let point: CrashPoint = disk.crash_point();
    point
        .choices(policy)
        .iter()
        .map(|choice| point.image(choice))
        .collect()
}
