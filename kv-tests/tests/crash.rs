//! Crash enumeration over seeded workloads. `KVLOG_CRASH_SEEDS` raises the number of seeds, `KVLOG_CRASH_FIRST_SEED` moves
//! them.

use std::io::Write;

use kv_log_engine::storage::sim::CrashPolicy;
use kv_tests::crash::{Effort, Explored, explore};
use kv_tests::tiny::Sizes;
use kv_tests::workload::{self, Done, Met, Shape};

const SEEDS: &str = "KVLOG_CRASH_SEEDS";
const FIRST_SEED: &str = "KVLOG_CRASH_FIRST_SEED";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().expect(name))
}

/// Whether this is the run that the minima are about: other seeds explore what they explore.
fn is_default_run() -> bool {
    [SEEDS, FIRST_SEED]
        .iter()
        .all(|name| std::env::var_os(name).is_none())
}

fn say(line: &str) {
    // Not the macro: the figures are part of the result, and the test harness would swallow them.
    writeln!(std::io::stdout(), "{line}").expect("standard output takes a line");
}

fn campaign(name: &str, seeds: u64, distinct_min: u64, shape: Shape) -> Met {
    with_effort(name, seeds, distinct_min, shape, &Effort::default()).0
}

fn with_effort(
    name: &str,
    seeds: u64,
    distinct_min: u64,
    shape: Shape,
    effort: &Effort,
) -> (Met, Done) {
    let first = number(FIRST_SEED, 1);
    let seeds = number(SEEDS, seeds);
    let (mut explored, mut met) = (Explored::default(), Met::default());
    let mut done = Done::default();
    for seed in first..first + seeds {
        let recorded = workload::run(seed, shape);
        met += recorded.met;
        done += recorded.done;
        explored += explore(&recorded, effort);
    }
    say(&format!(
        "{name}: seeds {first}..{}, {} crash points, {} images, {} distinct states, 0 violations",
        first + seeds,
        explored.points,
        explored.images,
        explored.distinct
    ));
    if is_default_run() {
        let distinct = explored.distinct;
        assert!(distinct >= distinct_min, "only {distinct} distinct states");
    }
    (met, done)
}

#[test]
fn every_crash_of_ordinary_work_leaves_an_allowed_prefix() {
    let met = campaign("ordinary", 12, 15_000, Shape::default());
    assert_eq!(met, Met::default(), "nothing fails in ordinary work");
}

#[test]
fn every_crash_around_failed_writes_and_syncs_leaves_an_allowed_prefix() {
    let shape = Shape {
        steps: 16,
        faults: true,
        ..Shape::default()
    };
    let met = campaign("faults", 12, 10_000, shape);
    say(&format!("faults: {met:?}"));
    if is_default_run() {
        assert!(met.failed_syncs + met.syncs_without_space >= 30, "{met:?}");
        assert!(met.refused_groups >= 20, "{met:?}");
        let kinds = [
            met.failed_syncs,
            met.syncs_without_space,
            met.writes_without_space,
            met.broken_writes,
            met.short_writes,
        ];
        assert!(kinds.iter().all(|hits| *hits >= 10), "{met:?}");
    }
}

#[test]
fn every_crash_around_clean_closes_leaves_an_allowed_prefix() {
    let shape = Shape {
        closes: true,
        segment_bytes: 1024,
        ..Shape::default()
    };
    let met = campaign("closes", 1, 5_000, shape);
    assert_eq!(met, Met::default(), "nothing fails in ordinary work");
    let shape = Shape {
        faults: true,
        manifest_faults: true,
        ..shape
    };
    let met = campaign("closes and faults", 2, 5_000, shape);
    say(&format!("closes and faults: {met:?}"));
}

#[test]
fn every_crash_of_tiny_segments_leaves_an_allowed_prefix() {
    let shape = Shape {
        segment_bytes: 1024,
        value_bytes: 400,
        ..Shape::default()
    };
    campaign("rotations", 2, 5_000, shape);
}

// A large group makes its room itself: its frames extend the file, and the header of the first comes last.
#[test]
fn every_crash_of_large_groups_leaves_an_allowed_prefix() {
    let shape = Shape {
        steps: 7,
        records: 2,
        keys: 4,
        segment_bytes: 256 * 1024,
        large_every: 4,
        faults: true,
        ..Shape::default()
    };
    // Each image is large: fewer are cut again in their recovery.
    let effort = Effort {
        recovery_every: 150,
        ..Effort::default()
    };
    let (met, _) = with_effort("large groups", 3, 1_000, shape, &effort);
    say(&format!("large groups: {met:?}"));
    if is_default_run() {
        assert!(met.large_values >= 5, "{met:?}");
    }
}

/// Each image is opened anew, and some are cut again: with more of both a run of every seed would take too long.
fn of_life() -> Effort {
    let usual = Effort::default();
    Effort {
        policy: CrashPolicy {
            exhaustive_units_max: 3,
            seeded: 3,
            garbled: 1,
            ..usual.policy
        },
        recovery_every: 100,
        ..usual
    }
}

#[test]
fn every_crash_of_chores_leaves_an_allowed_prefix() {
    let shape = Shape::of_life();
    let (met, done) = with_effort("chores", 3, 1_000, shape, &of_life());
    say(&format!("chores: {done:?}"));
    assert_eq!(met, Met::default(), "nothing fails in ordinary work");
    if is_default_run() {
        let many = done.checkpoints >= 10 && done.units >= 10 && done.released >= 10;
        assert!(many && done.kept >= 3, "{done:?}");
    }
}

#[test]
fn every_crash_of_chores_that_writers_do_leaves_an_allowed_prefix() {
    let by_hand = Shape::of_life();
    let sizes = by_hand.sizes.map(|sizes| Sizes {
        by_hand: false,
        ..sizes
    });
    let shape = Shape {
        sizes,
        closes: true,
        ..by_hand
    };
    let (met, done) = with_effort("chores of writers", 2, 1_000, shape, &of_life());
    say(&format!("chores of writers: {done:?}"));
    assert_eq!(met, Met::default(), "nothing fails in ordinary work");
}

#[test]
fn every_crash_around_chores_that_fail_leaves_an_allowed_prefix() {
    let shape = Shape {
        faults: true,
        manifest_faults: true,
        ..Shape::of_life()
    };
    let (met, done) = with_effort("failing chores", 3, 1_000, shape, &of_life());
    say(&format!("failing chores: {met:?}, {done:?}"));
    if is_default_run() {
        let many = met.failed_slices >= 3 && met.refused_groups >= 3 && met.full_disks >= 2;
        assert!(many && done.units >= 3, "{met:?}, {done:?}");
    }
}
