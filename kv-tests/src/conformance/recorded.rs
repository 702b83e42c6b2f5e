//! Histories of concurrent calls, recorded and judged: by seeds, with the power cut in between.
//!
//! [`HISTORIES`] says how many, [`FIRST_HISTORY`] from which seed on.

use super::help::opened;
use crate::any::{AnyFixture, AnyStore, Place};
use crate::executor::yield_now;
use crate::fixture::{Key, PowerCut, Value};
use crate::history::{Call, Recorder, Recording, Verdict, Work, keys, linearizable, serializable};
use crate::workload::Random;
use kv_trait::KVStore;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How many histories each property of this module looks at.
pub const HISTORIES: &str = "KV_TESTS_HISTORIES";
/// The seed of the first of them.
pub const FIRST_HISTORY: &str = "KV_TESTS_FIRST_HISTORY";

/// Few, since every suite has them.
const HISTORIES_DEFAULT: u64 = 6;
/// Steps of a search; a history of these sizes takes some thousands.
const STEPS_MAX: u64 = 400_000;
/// Calls of a history that a message shows.
const SHOWN: usize = 80;

/// What the calls of a history are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Of one key each: judged by [`linearizable`].
    Single,
    /// Whatever the store can do, batches, scans, snapshots and transactions too: judged by [`serializable`].
    Together,
}

/// How much is done, and on how many keys.
#[derive(Clone, Copy)]
struct Size {
    tasks: u64,
    calls: u64,
    keys: u8,
    kind: Kind,
}

impl Size {
    const fn of(kind: Kind) -> Self {
        let (tasks, calls, keys) = match kind {
            Kind::Single => (6, 10, 2),
            Kind::Together => (5, 6, 4),
        };
        Self {
            tasks,
            calls,
            keys,
            kind,
        }
    }

    fn work(self, seed: u64) -> Work {
        Work::new(seed, keys(self.keys), self.kind == Kind::Together)
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// Looks at so many histories, on a fresh place each, unless [`HISTORIES`] says otherwise; with the power cut in each of
/// three lives, if the place can. Answers with how many could not be judged.
pub fn histories(place: &Place, default: u64, kind: Kind, cuts: bool) -> u64 {
    let first = number(FIRST_HISTORY, 1);
    let mut given_up = 0;
    for seed in first..first + number(HISTORIES, default) {
        let fixture = place.create();
        given_up += fixture.block_on(async {
            if cuts {
                with_cuts(&fixture, seed, Size::of(kind)).await
            } else {
                undisturbed(&fixture, seed, Size::of(kind)).await
            }
        });
    }
    given_up
}

/// Calls of single keys, at once, have one order that explains all answers and agrees with real time.
pub fn a_history_of_single_calls_is_linearizable(place: &Place) {
    histories(place, HISTORIES_DEFAULT, Kind::Single, false);
}

/// So have all calls that a store can do: batches, updates, scans, snapshots, transactions, range deletes.
pub fn a_history_of_all_calls_is_serializable(place: &Place) {
    histories(place, HISTORIES_DEFAULT, Kind::Together, false);
}

/// And if the power is cut: what was acknowledged or seen before is there, what was under way is whole or absent.
pub fn a_history_of_single_calls_is_linearizable_across_power_cuts(place: &Place) {
    histories(place, HISTORIES_DEFAULT, Kind::Single, true);
}

/// The same for all calls.
pub fn a_history_of_all_calls_is_serializable_across_power_cuts(place: &Place) {
    histories(place, HISTORIES_DEFAULT, Kind::Together, true);
}

async fn undisturbed(fixture: &AnyFixture, seed: u64, size: Size) -> u64 {
    let store = opened(fixture.open().await);
    let mut work = size.work(seed);
    let recording = Recording::new(store, Recorder::default());
    run(fixture, &recording, &mut work, size, || async {}).await;
    end(&recording, size).await;
    judge(&BTreeMap::new(), &recording, &format!("seed {seed}"), size)
}

/// Three lives; each ends with a cut while tasks are at work.
async fn with_cuts(first: &AnyFixture, seed: u64, size: Size) -> u64 {
    let mut work = size.work(seed);
    let mut random = Random::new(seed ^ 0x0070_6f77_6572);
    let mut held = BTreeMap::new();
    let mut given_up = 0;
    let mut behind_cuts: Vec<AnyFixture> = Vec::new();
    for life in 0..3 {
        let what = format!("seed {seed}, life {life}");
        let fixture = behind_cuts.last().unwrap_or(first);
        let store = opened(fixture.open().await);
        let recording = Recording::new(store, Recorder::default());
        let (rounds, choice) = (random.below(60), random.below(u64::MAX));
        let mut cut = None;
        run(fixture, &recording, &mut work, size, || async {
            for _ in 0..rounds {
                yield_now().await;
            }
            let power_cut = || fixture.after_power_cut(PowerCut::Some(choice));
            cut = Some(recording.recorder().cut(power_cut));
        })
        .await;
        end(&recording, size).await;
        given_up += judge(&held, &recording, &what, size);
        let (recorder, after) = cut.expect("the power was cut");
        let store = opened(after.open().await);
        let recording = Recording::new(store, recorder);
        let found = end(&recording, size).await;
        given_up += judge(&held, &recording, &format!("{what}, behind the cut"), size);
        held = found;
        behind_cuts.push(after);
    }
    given_up
}

/// Runs the tasks, and `beside` beside them.
async fn run<B: Future<Output = ()>>(
    fixture: &AnyFixture,
    recording: &Recording<AnyStore>,
    work: &mut Work,
    size: Size,
    beside: impl FnOnce() -> B,
) {
    let tasks: Vec<_> = (0..size.tasks)
        .map(|_| fixture.spawn(work.fork().run(recording.clone(), size.calls)))
        .collect();
    beside().await;
    for task in tasks {
        task.await;
    }
}

/// Reads everything, and answers with it.
async fn end(recording: &Recording<AnyStore>, size: Size) -> BTreeMap<Key, Value> {
    let mut held = BTreeMap::new();
    for key in keys(size.keys) {
        let found = recording.get(&key).await;
        if let Some(value) = found.expect("a store that works can be read") {
            held.insert(key, value);
        }
    }
    held
}

/// 1 if the history is too large to be judged, which says nothing.
fn judge(
    held: &BTreeMap<Key, Value>,
    recording: &Recording<AnyStore>,
    what: &str,
    size: Size,
) -> u64 {
    let calls = recording.recorder().calls();
    let verdict = match size.kind {
        Kind::Single => linearizable(held, &calls, STEPS_MAX),
        Kind::Together => serializable(held, &calls, STEPS_MAX),
    };
    match verdict {
        Verdict::Fits => 0,
        Verdict::GaveUp => 1,
        Verdict::Broken(why) => panic!(
            "{what}: no order of the calls explains them: {why}\n{}",
            told(&calls)
        ),
    }
}

fn told(calls: &[Call]) -> String {
    let mut told = String::new();
    for call in calls.iter().take(SHOWN) {
        writeln!(told, "    {call}").expect("a string takes text");
    }
    told
}
