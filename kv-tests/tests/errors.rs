//! The I/O error loop over creation, writing, rotation, recovery and close, and over all chores. `KVLOG_ERRORS_EVERY`
//! fails every n-th call of the second (11, one for all), `KVLOG_ERRORS_FIRST` from another one on.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

#[test]
fn an_open_that_repairs_loses_nothing_whichever_call_fails() {
    let covered = kv_tests::error_loop::run_repairs();
    let figures = format!(
        "repairs: {} positions, {} of them hit",
        covered.positions, covered.hits
    );
    writeln!(std::io::stdout(), "{figures}").unwrap();
    assert_eq!(covered.hits, covered.positions);
    assert!(covered.positions > 500, "only {}", covered.positions);
}

#[test]
fn every_failed_call_gets_a_true_answer_and_the_store_opens_again() {
    let (done, watch) = mpsc::channel::<()>();
    let watchdog = std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || {
            // Last resort: hangs of futures are found by the stepped executor, without a clock.
            if watch.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
                std::process::abort();
            }
        });
    let covered = kv_tests::error_loop::run();
    drop(done);
    watchdog.unwrap().join().unwrap();
    let figures = format!(
        "error loop: {} positions, {} of them hit",
        covered.positions, covered.hits
    );
    // Not the macro: the test harness would swallow the figures.
    writeln!(std::io::stdout(), "{figures}").unwrap();
    assert_eq!(
        covered.hits, covered.positions,
        "the script is deterministic: every call comes"
    );
    assert!(
        covered.positions > 2000,
        "only {} positions",
        covered.positions
    );
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[test]
fn every_failed_call_of_a_chore_gets_a_true_answer_and_the_work_goes_on() {
    let every = number("KVLOG_ERRORS_EVERY", 11);
    let first = number("KVLOG_ERRORS_FIRST", 0);
    let begun = Arc::new(AtomicU64::new(0));
    let (done, watch) = mpsc::channel::<()>();
    let watched = Arc::clone(&begun);
    let watchdog = std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || {
            let mut before = u64::MAX;
            let minute = Duration::from_secs(60);
            while watch.recv_timeout(minute) == Err(mpsc::RecvTimeoutError::Timeout) {
                let now = watched.load(Ordering::Relaxed);
                if now == before {
                    std::process::abort();
                }
                before = now;
            }
        });
    let covered = kv_tests::error_life::run(first, every, &begun);
    drop(done);
    watchdog.unwrap().join().unwrap();
    let figures = format!(
        "error loop of chores: {} positions, {} of them hit",
        covered.positions, covered.hits
    );
    writeln!(std::io::stdout(), "{figures}").unwrap();
    assert_eq!(
        covered.hits, covered.positions,
        "the script is deterministic: every call comes"
    );
    assert!(
        covered.positions * every > 3000,
        "only {} positions",
        covered.positions
    );
}
