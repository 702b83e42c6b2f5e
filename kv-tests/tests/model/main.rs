//! Random histories against a plain map: sets, puts, puts that expire beside a clock that goes on and back, deletes, removes,
//! gets, scans, bursts that share groups, closes,
//! reopens, dead processes, power cuts between operations and in the middle of a burst, full disks, failed writes and
//! failed syncs; and, with budgets so tiny that chores never end, slices by hand and by whoever writes, freezes,
//! compactions, scans that are kept open, conditions, and calls of chores that fail. Everything runs on one thread, so a
//! case is its list of steps: it shrinks to a short one, and that list is printed.
//!
//! `KVLOG_MODEL_CASES` is the number of cases (256; 32 with chores), `KVLOG_MODEL_STEPS` the longest list (200), `KVLOG_MODEL_SEED` the
//! seed (1).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic like tests"
)]

mod kept;
mod run;
mod step;

use kv_tests::tiny::Sizes;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use run::{Done, Run};
use std::cell::Cell;
use std::io::Write;
use step::{Step, a_step, a_step_of_life, sizes};

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn run(sizes: Option<Sizes>, steps: &[Step]) -> Result<Done, TestCaseError> {
    let outcome = std::panic::catch_unwind(|| {
        let mut run = Run::new(sizes);
        for step in steps {
            run.step(step);
        }
        run.end()
    });
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        TestCaseError::fail(text.unwrap_or_else(|| "a panic without words".to_owned()))
    })
}

/// Runs so many histories; what they came to.
fn histories(
    name: &str,
    cases: u32,
    sizes: BoxedStrategy<Option<Sizes>>,
    step: BoxedStrategy<Step>,
) -> Done {
    let cases = number("KVLOG_MODEL_CASES", cases);
    let longest = number("KVLOG_MODEL_STEPS", 200) as usize;
    let seed = number("KVLOG_MODEL_SEED", 1);
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 600,
        ..Config::default()
    };
    let ran = Cell::new(0_u64);
    let done = Cell::new(Done::default());
    let outcome = TestRunner::new_with_rng(config, rng).run(
        &(sizes, proptest::collection::vec(step, 1..=longest)),
        |(sizes, steps)| {
            ran.set(ran.get() + steps.len() as u64);
            let mut sum = done.get();
            sum += run(sizes, &steps)?;
            done.set(sum);
            Ok(())
        },
    );
    // Not the macro: the figures are part of the result, and the harness would swallow them.
    let steps = ran.get();
    let told = format!(
        "{name}: seed {seed}, {cases} cases, {steps} steps, {:?}\n",
        done.get()
    );
    std::io::stdout().write_all(told.as_bytes()).unwrap();
    match outcome {
        Ok(()) => assert!(steps > u64::from(cases), "hardly a step was made"),
        Err(TestError::Fail(why, (sizes, steps))) => {
            let list: Vec<String> = steps.iter().map(|step| format!("    {step:?},")).collect();
            panic!(
                "{why}\nwith {sizes:?}\nafter these steps:\n{}",
                list.join("\n")
            );
        }
        Err(TestError::Abort(why)) => panic!("gave up: {why}"),
    }
    done.get()
}

#[test]
fn a_store_is_a_map_whatever_happens() {
    histories("model", 256, Just(None).boxed(), a_step());
}

#[test]
fn a_store_that_never_stops_merging_is_a_map_whatever_happens() {
    let sizes = sizes().prop_map(Some).boxed();
    let done = histories("model of chores", 32, sizes, a_step_of_life());
    let many = done.checkpoints > 100 && done.units > 100 && done.released > 100;
    assert!(many && done.expired > 5, "{done:?}");
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
            slices: 0,
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
    run(None, &steps).unwrap();
}

// A unit that ends between a put and a tombstone leaves a run of which only the tombstone is left.
#[test]
fn a_tombstone_that_is_all_a_cut_left_goes_too() {
    use Step::{Burst, Expect};
    let sizes = Sizes {
        segment_bytes: 1024,
        separation_bytes: 1024,
        memtable_bytes: 3000,
        log_bytes: 20_000,
        block_bytes: 64,
        run_bytes: 300,
        unit_bytes: 1,
        slice_bytes: 1,
        levels_max: 4,
        compress: false,
        by_hand: true,
    };
    let steps = [
        Burst(vec![(0, Some(0))]),
        Expect {
            write: (1, None),
            right: true,
        },
    ];
    run(Some(sizes), &steps).unwrap();
}
