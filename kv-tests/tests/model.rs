//! Random histories against a plain map: sets, puts, deletes, removes, gets, scans, bursts that share groups, closes,
//! reopens, dead processes, power cuts between operations and in the middle of a burst, full disks, failed writes and
//! failed syncs. Everything runs on one thread, so a case is its list of steps: it shrinks to a short one, and that list
//! is printed.
//!
//! `KVLOG_MODEL_CASES` is the number of cases (256), `KVLOG_MODEL_STEPS` the longest list (200), `KVLOG_MODEL_SEED` the
//! seed (1).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic like tests"
)]

use kv_log_engine::KVLog;
use kv_log_engine::storage::sim::{CrashPolicy, EIO, Fault, FaultKind, OpKind, SimDisk};
use kv_tests::oracle::{BatchId, Change, Contents, Oracle};
use kv_tests::stepped::Stepped;
use kv_tests::workload::{STORE, options};
use kv_trait::{ByteKey, Effect, Error, ErrorKind, Raw, Result};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::Cell;
use std::io::Write;
use std::pin::Pin;

/// Small enough that long values do not fit and rotations are frequent.
const SEGMENT_BYTES: u64 = 2048;

/// A value's length; `None` removes the key.
type Write1 = (u8, Option<u16>);

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u16),
    Put(u8, u16),
    Delete(u8),
    Remove(u8),
    Get(u8),
    Scan,
    /// Submitted before any of them is waited for.
    Burst(Vec<Write1>),
    Close,
    /// Dropped; with or without the death of the process.
    Reopen {
        dead: bool,
    },
    PowerCut {
        seed: u64,
    },
    /// The power goes at some operation of the disk inside a burst.
    PowerCutIn {
        burst: Vec<Write1>,
        at: u16,
        choice: u16,
    },
    DiskFull,
    DiskHasSpace,
    FailedSync(Write1),
    FailedWrite(Write1, u8),
}

fn a_write() -> impl Strategy<Value = Write1> {
    let length = prop_oneof![6 => 0..40_u16, 3 => 40..700_u16, 1 => 700..5_000_u16];
    (0..8_u8, proptest::option::weighted(0.8, length))
}

fn a_step() -> impl Strategy<Value = Step> {
    let length = || prop_oneof![6 => 0..40_u16, 3 => 40..700_u16, 1 => 700..5_000_u16];
    let burst = || proptest::collection::vec(a_write(), 1..12);
    prop_oneof![
        8 => (0..8_u8, length()).prop_map(|(key, length)| Step::Set(key, length)),
        5 => (0..8_u8, length()).prop_map(|(key, length)| Step::Put(key, length)),
        4 => (0..8_u8).prop_map(Step::Delete),
        2 => (0..8_u8).prop_map(Step::Remove),
        4 => (0..8_u8).prop_map(Step::Get),
        1 => Just(Step::Scan),
        4 => burst().prop_map(Step::Burst),
        1 => Just(Step::Close),
        2 => any::<bool>().prop_map(|dead| Step::Reopen { dead }),
        2 => any::<u64>().prop_map(|seed| Step::PowerCut { seed }),
        3 => (burst(), any::<u16>(), any::<u16>())
            .prop_map(|(burst, at, choice)| Step::PowerCutIn { burst, at, choice }),
        1 => Just(Step::DiskFull),
        2 => Just(Step::DiskHasSpace),
        1 => a_write().prop_map(Step::FailedSync),
        1 => (a_write(), any::<u8>()).prop_map(|(write, part)| Step::FailedWrite(write, part)),
    ]
}

type Store = KVLog<ByteKey, Vec<u8>, Stepped, Raw>;

/// What `set` and `delete` say.
type Answer = Result<Option<Vec<u8>>>;

struct Run {
    disk: SimDisk,
    runtime: Stepped,
    store: Option<Store>,
    /// What readers must see.
    map: Contents,
    /// What may be there after a crash.
    oracle: Oracle,
    serial: u64,
    full: bool,
    poisoned: bool,
}

fn key(number: u8) -> ByteKey {
    // The empty key is one of them, and one that begins like it.
    ByteKey::from(vec![b'k'; usize::from(number)])
}

fn change(key: &ByteKey, value: Option<&Vec<u8>>) -> Change {
    (key.as_ref().to_vec(), value.cloned())
}

impl Run {
    fn new() -> Self {
        Self {
            disk: SimDisk::new(),
            runtime: Stepped::default(),
            store: None,
            map: Contents::new(),
            oracle: Oracle::new(),
            serial: 0,
            full: false,
            poisoned: false,
        }
    }

    fn value(&mut self, length: u16) -> Vec<u8> {
        self.serial += 1;
        let mut value = self.serial.to_string().into_bytes();
        value.resize(value.len().max(usize::from(length)), b'.');
        value
    }

    /// The open store; `None` where a full disk is no place for a new one.
    fn store(&mut self) -> Option<Store> {
        if let Some(store) = &self.store {
            return Some(store.clone());
        }
        self.serial += 1;
        let options = options(&self.disk, self.serial, SEGMENT_BYTES);
        let opened = Store::load_on(self.runtime.clone(), STORE, options);
        let store = match self.runtime.block_on(opened) {
            Ok(store) => store,
            Err(error) if self.full && error.kind() == ErrorKind::StorageFull => return None,
            Err(error) => panic!("the store does not open: {error:?}"),
        };
        let contents = scan(&store);
        self.oracle.reopened(0, &contents, "open");
        self.restart_oracle(contents);
        self.poisoned = false;
        self.store = Some(store.clone());
        Some(store)
    }

    /// Everything so far is certain: these contents are there, whatever comes.
    fn restart_oracle(&mut self, contents: Contents) {
        self.oracle = Oracle::new();
        let all = contents.iter();
        let all = all.map(|(key, value)| (key.clone(), Some(value.clone())));
        let id = self.oracle.submitted(0, all.collect());
        self.oracle.acknowledged(0, id);
        self.map = contents;
    }

    fn refused(&mut self, id: BatchId, error: &Error, may_fail: bool) {
        let expected = match error.kind() {
            ErrorKind::StorageFull => self.full,
            ErrorKind::Poisoned => self.poisoned,
            ErrorKind::Io => may_fail,
            _ => false,
        };
        assert!(expected, "not the time for {error:?}");
        match error.effect() {
            Effect::Nothing => self.oracle.refused(0, id),
            Effect::Unknown => self.poisoned = true,
            Effect::Applied => panic!("every prior value can be read: {error:?}"),
        }
    }

    fn apply(&mut self, key: &ByteKey, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match value {
            Some(value) => self.map.insert(key.as_ref().to_vec(), value),
            None => self.map.remove(key.as_ref()),
        }
    }

    /// Writes submitted together, on `clock` as the moment of each answer. Checks each prior value.
    fn write(&mut self, writes: &[Write1], may_fail: bool, clock: impl Fn(&SimDisk) -> usize) {
        let Some(store) = self.store() else { return };
        let writes: Vec<(ByteKey, Option<Vec<u8>>)> = writes
            .iter()
            .map(|(number, length)| (key(*number), length.map(|length| self.value(length))))
            .collect();
        let ids: Vec<_> = writes
            .iter()
            .map(|(key, value)| self.oracle.submitted(0, vec![change(key, value.as_ref())]))
            .collect();
        let mut futures: Vec<Pin<Box<dyn Future<Output = Answer>>>> = writes
            .iter()
            .map(|(key, value)| {
                let (store, key, value) = (store.clone(), key.clone(), value.clone());
                Box::pin(async move {
                    match value {
                        Some(value) => store.set(&key, &value).await,
                        None => store.delete(&key).await,
                    }
                }) as Pin<Box<dyn Future<Output = _>>>
            })
            .collect();
        let pinned = futures
            .iter_mut()
            .map(|future| future.as_mut() as Pin<&mut dyn Future<Output = _>>);
        let outcomes: Vec<Answer> = self.runtime.join(pinned.collect());
        // Refusals first: a write acknowledged behind a refused one does not make that one true. And what is unknown
        // poisons, which explains the refusals behind it.
        self.poisoned |= outcomes.iter().any(|outcome| {
            outcome
                .as_ref()
                .is_err_and(|error| error.effect() == Effect::Unknown)
        });
        // A rotation before the group poisons, too, and the group was never handed over.
        self.poisoned |= may_fail && store.engine().stats().poisoned;
        for (id, outcome) in ids.iter().zip(&outcomes) {
            if let Err(error) = outcome {
                self.refused(*id, error, may_fail);
            }
        }
        for ((id, outcome), (key, value)) in ids.iter().zip(outcomes).zip(writes) {
            if let Ok(prior) = outcome {
                self.oracle.acknowledged(clock(&self.disk), *id);
                assert_eq!(prior, self.apply(&key, value), "the prior value of {key:?}");
            }
        }
    }

    /// Without asking for the prior value.
    fn write_blind(&mut self, number: u8, length: Option<u16>) {
        let Some(store) = self.store() else { return };
        let key = key(number);
        let value = length.map(|length| self.value(length));
        let id = self.oracle.submitted(0, vec![change(&key, value.as_ref())]);
        let outcome = match &value {
            Some(value) => self.runtime.block_on(store.put(&key, value)),
            None => self.runtime.block_on(store.remove(&key)),
        };
        match outcome {
            Ok(()) => {
                self.oracle.acknowledged(0, id);
                self.apply(&key, value);
            }
            Err(error) => self.refused(id, &error, false),
        }
    }

    fn power_cut_in(&mut self, burst: &[Write1], at: u16, choice: u16) {
        if self.store().is_none() || self.poisoned {
            return;
        }
        self.disk.start_trace();
        self.write(burst, false, SimDisk::last_sync);
        let trace = self.disk.trace().unwrap();
        let points: Vec<_> = trace.crash_points().collect();
        let point = &points[usize::from(at) % points.len()];
        let choices = point.choices(&CrashPolicy::default());
        let chosen = &choices[usize::from(choice) % choices.len()];
        let image = point.image(chosen);
        self.store = None;
        let capacity = self.full.then(|| image.used_bytes());
        image.set_capacity(capacity);
        self.disk = image;
        let opened = Store::load_on(
            self.runtime.clone(),
            STORE,
            options(&self.disk, self.serial, SEGMENT_BYTES),
        );
        // Quarantine needs room: a full disk may keep a torn store closed until there is some.
        let store = match self.runtime.block_on(opened) {
            Err(error) if self.full && error.kind() == ErrorKind::StorageFull => {
                self.full = false;
                self.disk.set_capacity(None);
                let options = options(&self.disk, self.serial, SEGMENT_BYTES);
                let again = Store::load_on(self.runtime.clone(), STORE, options);
                self.runtime.block_on(again).unwrap()
            }
            opened => opened.unwrap(),
        };
        let contents = scan(&store);
        assert!(
            self.oracle.allowed(point.op()).find(&contents).is_some(),
            "cut after {} operations of the burst ({}), {chosen:?}: no allowed prefix is there",
            point.op(),
            trace.describe(point.op())
        );
        self.restart_oracle(contents);
        self.store = Some(store);
        self.poisoned = false;
    }

    fn fail(&mut self, kind: FaultKind, on: OpKind, write: Write1) {
        if self.store().is_none() {
            return;
        }
        self.disk
            .inject(Fault::new(kind).on(on).path_contains(".seg"));
        self.write(&[write], true, |_| 0);
        self.disk.clear_faults();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Set(number, length) => self.write(&[(*number, Some(*length))], false, |_| 0),
            Step::Put(number, length) => self.write_blind(*number, Some(*length)),
            Step::Delete(number) => self.write(&[(*number, None)], false, |_| 0),
            Step::Remove(number) => self.write_blind(*number, None),
            Step::Get(number) => {
                let Some(store) = self.store() else { return };
                let key = key(*number);
                let found = self.runtime.block_on(store.get(&key)).unwrap();
                assert_eq!(found.as_ref(), self.map.get(key.as_ref()), "{key:?}");
            }
            Step::Scan => {
                let Some(store) = self.store() else { return };
                assert_eq!(scan(&store), self.map);
            }
            Step::Burst(writes) => self.write(writes, false, |_| 0),
            Step::Close => {
                let Some(store) = self.store() else { return };
                match self.runtime.block_on(store.close()) {
                    Ok(()) => assert!(!self.poisoned, "a poisoned store was closed without a word"),
                    Err(error) => {
                        assert!(self.poisoned, "close: {error:?}");
                        assert_eq!(error.kind(), ErrorKind::Poisoned);
                    }
                }
                self.store = None;
            }
            Step::Reopen { dead } => {
                if *dead {
                    self.disk.kill_process();
                }
                self.store = None;
            }
            Step::PowerCut { seed } => {
                self.disk.power_cut(*seed);
                self.store = None;
            }
            Step::PowerCutIn { burst, at, choice } => self.power_cut_in(burst, *at, *choice),
            Step::DiskFull => {
                self.full = true;
                self.disk.set_capacity(Some(self.disk.used_bytes()));
            }
            Step::DiskHasSpace => {
                self.full = false;
                self.disk.set_capacity(None);
            }
            Step::FailedSync(write) => self.fail(FaultKind::Errno(EIO), OpKind::Sync, *write),
            Step::FailedWrite(write, part) => {
                let part = FaultKind::PartThenErrno(usize::from(*part) * 4, EIO);
                self.fail(part, OpKind::Write, *write);
            }
        }
    }

    /// At the end everything must be there once more.
    fn end(mut self) {
        self.step(&Step::DiskHasSpace);
        self.step(&Step::Scan);
        self.step(&Step::Reopen { dead: true });
        self.step(&Step::Scan);
        self.step(&Step::PowerCut { seed: 7 });
        self.step(&Step::Scan);
    }
}

fn scan(store: &Store) -> Contents {
    let found = store.engine().scan(..).unwrap();
    found.map(|record| record.unwrap()).collect()
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn run(steps: &[Step]) -> std::result::Result<(), TestCaseError> {
    let outcome = std::panic::catch_unwind(|| {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.end();
    });
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        TestCaseError::fail(text.unwrap_or_else(|| "a panic without words".to_owned()))
    })
}

#[test]
fn a_store_is_a_map_whatever_happens() {
    let cases = number("KVLOG_MODEL_CASES", 256);
    let longest = number("KVLOG_MODEL_STEPS", 200) as usize;
    let seed = number("KVLOG_MODEL_SEED", 1);
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let ran = Cell::new(0_u64);
    let outcome = TestRunner::new_with_rng(config, rng).run(
        &proptest::collection::vec(a_step(), 1..=longest),
        |steps| {
            ran.set(ran.get() + steps.len() as u64);
            run(&steps)
        },
    );
    // Not the macro: the figures are part of the result, and the harness would swallow them.
    let steps = ran.get();
    writeln!(
        std::io::stdout(),
        "model: seed {seed}, {cases} cases, {steps} steps"
    )
    .unwrap();
    match outcome {
        Ok(()) => assert!(steps > u64::from(cases), "hardly a step was made"),
        Err(TestError::Fail(why, steps)) => {
            let list: Vec<String> = steps.iter().map(|step| format!("    {step:?}")).collect();
            panic!("{why}\nafter these steps:\n{}", list.join("\n"));
        }
        Err(TestError::Abort(why)) => panic!("gave up: {why}"),
    }
}

// A rotation that the full disk stopped half way is gone on with under the failed sync: sealing fails, which poisons, and
// nothing of the write was handed over.
#[test]
fn a_failed_sync_of_a_rotation_poisons_with_effect_nothing() {
    use Step::{Burst, DiskFull, DiskHasSpace, FailedSync, PowerCut, PowerCutIn, Put, Set};
    let steps = [
        PowerCutIn {
            burst: vec![
                (0, None),
                (0, Some(97)),
                (0, Some(233)),
                (1, None),
                (0, Some(9)),
                (0, Some(9)),
            ],
            at: 2691,
            choice: 3496,
        },
        Burst(vec![
            (0, Some(209)),
            (5, Some(36)),
            (0, Some(625)),
            (0, Some(545)),
            (4, Some(37)),
            (5, Some(4)),
            (0, Some(0)),
            (0, Some(9)),
            (0, None),
        ]),
        Set(3, 38),
        Put(0, 2153),
        DiskFull,
        PowerCut {
            seed: 7_980_212_004_321_860_266,
        },
        Set(0, 0),
        DiskHasSpace,
        FailedSync((0, None)),
        Set(0, 0),
    ];
    run(&steps).unwrap();
}
