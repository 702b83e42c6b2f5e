//! Process deaths at every point of seeded workloads, with a power cut after the next process has written.
//! `KVLOG_CRASH_SEEDS` and `KVLOG_CRASH_FIRST_SEED` raise and move the seeds here, too.

use kv_tests::deaths::{Died, explore};
use kv_tests::workload::{self, Shape};
use std::io::Write;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect(name))
}

#[test]
fn whatever_the_next_process_saw_or_wrote_survives_a_power_cut() {
    let ordinary = Shape::default();
    let faults = Shape {
        faults: true,
        ..ordinary
    };
    let tiny = Shape {
        segment_bytes: 1024,
        value_bytes: 400,
        ..faults
    };
    let closes = Shape {
        closes: true,
        manifest_faults: true,
        ..tiny
    };
    let first = number("KVLOG_CRASH_FIRST_SEED").unwrap_or(1);
    let mut died = Died::default();
    for (shape, seeds) in [(ordinary, 6), (faults, 12), (tiny, 6), (closes, 8)] {
        let seeds = number("KVLOG_CRASH_SEEDS").unwrap_or(seeds);
        for seed in first..first + seeds {
            died += explore(&workload::run(seed, shape));
        }
    }
    let life = Shape {
        steps: 16,
        ..Shape::of_life()
    };
    let failing = Shape {
        faults: true,
        manifest_faults: true,
        ..life
    };
    for (shape, seeds) in [(life, 2), (failing, 2)] {
        let seeds = number("KVLOG_CRASH_SEEDS").unwrap_or(seeds);
        for seed in first..first + seeds {
            died += explore(&workload::run(seed, shape));
        }
    }
    // Not the macro: the test harness would swallow the figures.
    let printed = writeln!(
        std::io::stdout(),
        "deaths: {} points, {} power cuts after them, 0 violations",
        died.points,
        died.cuts
    );
    printed.expect("standard output takes a line");
    assert!(died.points > 500, "only {} points", died.points);
}
