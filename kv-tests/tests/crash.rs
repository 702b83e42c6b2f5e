//! Crash enumeration over seeded workloads. `KVLOG_CRASH_SEEDS` raises the number of seeds, `KVLOG_CRASH_FIRST_SEED` moves
//! them.

use std::io::Write;

use kv_tests::crash::{Effort, Explored, explore};
use kv_tests::workload::{self, Shape};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().expect(name))
}

fn campaign(name: &str, seeds: u64, shape: Shape) -> Explored {
    let first = number("KVLOG_CRASH_FIRST_SEED", 1);
    let seeds = number("KVLOG_CRASH_SEEDS", seeds);
    let mut explored = Explored::default();
    for seed in first..first + seeds {
        explored += explore(&workload::run(seed, shape), &Effort::default());
    }
    // Not the macro: the figures are part of the result, and the test harness would swallow them.
    let printed = writeln!(
        std::io::stdout(),
        "{name}: seeds {first}..{}, {} crash points, {} images, {} distinct states, 0 violations",
        first + seeds,
        explored.points,
        explored.images,
        explored.distinct
    );
    printed.expect("standard output takes a line");
    explored
}

#[test]
fn every_crash_of_ordinary_work_leaves_an_allowed_prefix() {
    let explored = campaign("ordinary", 12, Shape::default());
    assert!(
        explored.distinct >= 15_000,
        "only {} distinct states",
        explored.distinct
    );
}

#[test]
fn every_crash_around_failed_writes_and_syncs_leaves_an_allowed_prefix() {
    let shape = Shape {
        faults: true,
        ..Shape::default()
    };
    let explored = campaign("faults", 12, shape);
    assert!(
        explored.distinct >= 10_000,
        "only {} distinct states",
        explored.distinct
    );
}

#[test]
fn every_crash_of_tiny_segments_leaves_an_allowed_prefix() {
    let shape = Shape {
        segment_bytes: 1024,
        value_bytes: 400,
        ..Shape::default()
    };
    let explored = campaign("rotations", 6, shape);
    assert!(
        explored.distinct >= 5_000,
        "only {} distinct states",
        explored.distinct
    );
}
