//! The I/O error loop over creation, writing, rotation, recovery and close.

use std::io::Write;
use std::sync::mpsc;
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
