//! The I/O error loop over creation, writing, rotation, recovery and close.
#![expect(clippy::print_stdout, reason = "the figures are part of the result")]

use std::sync::mpsc;
use std::time::Duration;

#[test]
fn every_failed_call_gets_a_true_answer_and_the_store_opens_again() {
    let (done, watch) = mpsc::channel::<()>();
    let watchdog = std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || {
            // Last resort: hangs of futures are found by the stepped executor, without a clock.
            if watch.recv_timeout(Duration::from_secs(240)) == Err(mpsc::RecvTimeoutError::Timeout)
            {
                std::process::abort();
            }
        });
    let covered = kv_tests::error_loop::run();
    drop(done);
    watchdog.unwrap().join().unwrap();
    println!(
        "error loop: {} positions, {} faults hit",
        covered.positions, covered.hits
    );
    assert!(covered.hits > 1000, "only {} faults hit", covered.hits);
}
