//! Who tests the tests: stores that are broken on purpose, and what catches each, by name. A suite that passes one of
//! them is worth nothing; so is one that does not pass the good store, so each check is run on that one, too.
//!
//! Faults of the engine are planted in its own code ([`kv_log_engine::planted`]); lies of the storage and of the store
//! wrap the good ones.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]
#![expect(
    clippy::future_not_send,
    reason = "fixtures and their executors may belong to one thread"
)]

mod checks;
mod lies;
mod lying_storage;
mod lying_store;

use kv_log_engine::planted::{PlantedFault, plant};
use kv_tests::any::Place;
use kv_tests::conformance::PROPERTIES;
use kv_tests::fixture::Fixture;
use kv_tests::kvlog::OnSimDisk;
use kv_tests::stepped::Stepped;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One thread, every step in order: hangs are noticed at once.
type OneThread = OnSimDisk<Stepped>;

/// What is expected to catch a mutant.
#[derive(Clone, Copy)]
enum By {
    /// A property of the suite, on one thread.
    Property(&'static str),
    /// What is about kvlog alone.
    Check(fn()),
}

fn property<F: Fixture>(name: &str) -> Box<dyn Fn()> {
    let found = PROPERTIES.iter().find(|property| property.name == name);
    let found = found.unwrap();
    let can = |need| F::CAPABILITIES.contains(need);
    assert!(found.needs.iter().all(can), "{name} would be skipped");
    Box::new(|| (found.check)(&Place::of::<F>()))
}

fn fails(check: &dyn Fn()) -> bool {
    catch_unwind(AssertUnwindSafe(check)).is_err()
}

fn engine_mutants() -> Vec<(PlantedFault, By)> {
    use By::{Check, Property};
    use PlantedFault as P;
    vec![
        (P::NoSync, Property("acknowledged_is_durable")),
        (P::NoDirectorySync, Property("acknowledged_is_durable")),
        (
            P::NoChecksumCheck,
            Check(checks::flipped_bytes_are_never_served),
        ),
        (P::TailNotCut, Check(checks::a_torn_tail_is_cut_once)),
        (
            P::SyncRetried,
            Property("a_failed_sync_is_never_believed_later"),
        ),
        (
            P::RewriteSkipped,
            Property("a_failed_sync_is_never_believed_later"),
        ),
        (
            P::NamesBelieved,
            Check(checks::what_a_process_finds_survives_a_power_cut),
        ),
        (
            P::ZerosTrusted,
            Check(checks::what_an_open_found_absent_stays_absent),
        ),
        (
            P::EffectByErrno,
            Property("a_sync_without_space_is_unknown_too"),
        ),
        (P::NoAttempt, Check(checks::two_tries_at_one_place_differ)),
        (
            P::RecordUnbound,
            Check(checks::a_record_counts_only_where_it_was_written),
        ),
        (
            P::HalfBatch,
            Check(checks::every_crash_leaves_whole_batches),
        ),
        (P::WrongPrior, Property("prior_values_chain")),
        (
            P::ResurrectedDelete,
            Property("what_was_deleted_stays_deleted"),
        ),
        (P::SwappedOrder, Property("close_and_reopen")),
        (P::WaiterLeftHanging, Property("concurrent_access")),
        (P::LeadNeverHandedOver, Property("concurrent_access")),
        (
            P::ReadErrorAsTorn,
            Property("a_read_error_while_opening_loses_nothing"),
        ),
        (
            P::ProofIgnored,
            Check(checks::flipped_bytes_are_never_served),
        ),
        (P::UndoSkipped, Property("a_failed_write_leaves_nothing")),
        (
            P::NotPoisoned,
            Property("a_failed_sync_is_told_and_stops_writes"),
        ),
    ]
}

#[test]
fn every_fault_of_the_engine_is_caught_and_the_good_engine_passes() {
    let mutants = engine_mutants();
    for fault in PlantedFault::ALL {
        assert!(
            mutants.iter().any(|(known, _)| known == fault),
            "{fault:?} is not tried"
        );
    }
    let mut survivors = Vec::new();
    for (fault, by) in &mutants {
        let check: Box<dyn Fn()> = match by {
            By::Property(name) => property::<OneThread>(name),
            By::Check(check) => Box::new(*check),
        };
        let planted = plant(None);
        assert!(
            !fails(&*check),
            "what should catch {fault:?} fails on the good engine"
        );
        drop(planted);
        let planted = plant(Some(*fault));
        if !fails(&*check) {
            survivors.push(*fault);
        }
        drop(planted);
    }
    assert_eq!(survivors, [], "not caught");
    report("engine", mutants.len());
}

#[test]
fn every_lie_is_caught_and_the_truth_passes() {
    // Nothing else is planted meanwhile.
    let planted = plant(None);
    let lies = lies::lies();
    let mut survivors = Vec::new();
    for lie in &lies {
        assert!(
            !fails(&*lie.on_the_truth),
            "what should catch {} fails on the truth",
            lie.name
        );
        if !fails(&*lie.on_the_lie) {
            survivors.push(lie.name);
        }
    }
    drop(planted);
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    report("storage and store", lies.len());
}

fn report(of: &str, count: usize) {
    // Not the macro: the harness would swallow it.
    let said = writeln!(
        std::io::stdout(),
        "mutants of the {of}: {count}, each caught by name"
    );
    said.expect("standard output takes a line");
}
