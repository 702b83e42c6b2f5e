//! Who tests the tests: stores that are broken on purpose, and what catches each, by name. A suite that passes one of
//! them is worth nothing; so is one that does not pass the good store, so each check is run on that one, too.
//!
//! Faults of the engine are planted in its own code ([`kv_log_engine::planted`]); lies of the storage and of the store
//! wrap the good ones.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic like tests"
)]
#![expect(
    clippy::future_not_send,
    reason = "fixtures and their executors may belong to one thread"
)]

mod checks;
mod histories;
mod lies;
mod lying_storage;
mod lying_store;

use kv_log_engine::planted::{PlantedFault, plant};
use kv_tests::any::Place;
use kv_tests::conformance::{PROPERTIES, check_within};
use kv_tests::fixture::Fixture;
use kv_tests::kvlog::OnSimDisk;
use kv_tests::stepped::Stepped;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

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

/// Runs a property; panics if it fails.
type Check = Box<dyn Fn(Duration)>;

/// For how long a good store may do nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// And one that is known to hang.
const IMPATIENCE: Duration = Duration::from_secs(2);

fn property<F: Fixture>(name: &str) -> Check {
    let found = PROPERTIES.iter().find(|property| property.name == name);
    let found = found.unwrap();
    let can = |need| F::CAPABILITIES.contains(need);
    assert!(found.needs.iter().all(can), "{name} would be skipped");
    Box::new(|patience| check_within(&Place::of::<F>(), found.check, patience))
}

/// What a check says when it fails.
fn failure(check: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(check)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .or_else(|| Some("a panic without a message".into()))
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
        (P::OneCopyOnly, Check(checks::either_copy_holds_every_edit)),
        (
            P::EditNumberIgnored,
            Check(checks::an_edit_counts_only_behind_the_one_before_it),
        ),
        (
            P::CleanMarkBelieved,
            Check(checks::what_an_open_found_absent_stays_absent),
        ),
        (
            P::UnlinkedInDoubt,
            Check(checks::nothing_is_removed_while_the_manifest_is_in_doubt),
        ),
        (
            P::IdsNotRaised,
            Check(checks::a_rotation_that_was_cut_short_leaves_debris),
        ),
        (P::FenceOffByOne, Check(checks::every_key_of_a_run_is_found)),
        (
            P::FilterForgetsKey,
            Check(checks::every_key_of_a_run_is_found),
        ),
        (
            P::RunNotSynced,
            Check(checks::a_run_that_is_named_survives_a_power_cut),
        ),
    ]
    .into_iter()
    .chain(chore_mutants())
    .collect()
}

/// What is wrong in checkpoints, merges and views, and the history that notices it.
fn chore_mutants() -> Vec<(PlantedFault, By)> {
    use PlantedFault as P;
    use histories::{
        checkpoints as c, erasures as r, expiry as e, merges as m, snapshots as s,
        transactions as t, views as v, watches as w,
    };
    let mutants: [(PlantedFault, fn()); _] = [
        (
            P::RunNameNotSynced,
            c::a_run_and_its_name_are_durable_before_an_edit_names_it,
        ),
        (
            P::NameEpochIgnored,
            c::a_file_made_before_a_failed_directory_sync_is_never_named,
        ),
        (
            P::FrozenOutEarly,
            c::a_write_beside_the_begin_of_a_checkpoint_is_always_visible,
        ),
        (
            P::ReplayStartNotMoved,
            c::a_power_cut_around_the_edit_of_a_checkpoint_leaves_one_state_or_the_other,
        ),
        (
            P::CoveredReplayed,
            c::what_a_checkpoint_covers_is_not_replayed,
        ),
        (
            P::ReleasedWhileReferred,
            c::a_segment_that_a_run_refers_to_is_not_let_go,
        ),
        (
            P::ReplayStartReleased,
            c::a_segment_that_the_replay_start_is_in_keeps_its_tail,
        ),
        (
            P::UnlinkedBeforeEdit,
            c::inputs_are_unlinked_only_behind_a_durable_edit,
        ),
        (
            P::GivenUpInDoubt,
            c::nothing_is_unlinked_while_an_edit_of_a_chore_is_in_doubt,
        ),
        (
            P::ChoreBeforeSettled,
            c::a_chore_after_a_clean_open_pays_before_it_changes_anything,
        ),
        (
            P::FailedCheckpointSilent,
            c::a_checkpoint_that_fails_refuses_those_who_wait_for_it,
        ),
        (
            P::LevelLeftOut,
            m::the_newest_layer_is_right_whatever_is_merged_beside_it,
        ),
        (
            P::OutputTooNew,
            m::the_newest_layer_is_right_whatever_is_merged_beside_it,
        ),
        (
            P::TombstoneDroppedEarly,
            m::a_tombstone_above_the_bottom_hides_what_is_below,
        ),
        (
            P::TombstoneKept,
            m::a_queue_that_was_emptied_leaves_no_entry,
        ),
        (
            P::TombstoneOverHoleLost,
            m::a_tombstone_over_a_hole_goes_and_its_key_is_absent,
        ),
        (
            P::InputCutWhole,
            m::a_pass_over_keys_with_a_long_common_prefix_has_units_that_end,
        ),
        (
            P::ExpiryForgotten,
            e::a_merge_keeps_the_time_of_what_it_moves,
        ),
        (
            P::ExpiredDroppedEarly,
            e::what_has_expired_hides_what_is_below_it_in_merges_too,
        ),
        (
            P::ClockNotRecorded,
            e::what_expired_together_stays_away_together_where_a_clock_goes_back,
        ),
        (
            P::ClockGoesBack,
            e::a_clock_that_goes_back_revives_nothing_that_was_seen_to_be_gone,
        ),
        (
            P::ExpiredPrior,
            e::what_has_expired_is_absent_to_everybody_wherever_it_lies,
        ),
        (
            P::ValuesNotSynced,
            m::copied_values_are_durable_before_an_edit_names_them,
        ),
        (
            P::HoleDropped,
            m::a_block_that_does_not_verify_goes_on_as_a_hole,
        ),
        (
            P::SpoiledStaysVictim,
            m::a_value_that_does_not_verify_stays_where_it_is_and_merges_end,
        ),
        (
            P::ViewNotPinned,
            v::a_slow_scan_reads_files_that_were_let_go,
        ),
        (P::DescriptorKept, v::an_unlinked_file_is_open_nowhere),
        (
            P::LookBelieved,
            v::a_condition_that_memory_cannot_judge_is_looked_up_again,
        ),
        (
            P::SnapshotMoves,
            s::a_snapshot_stands_still_wherever_its_records_go,
        ),
        (
            P::LostUpdateAllowed,
            t::an_update_that_was_overtaken_is_not_lost,
        ),
        (
            P::WriteSkewAllowed,
            t::of_two_that_read_what_the_other_writes_one_is_refused,
        ),
        (
            P::PhantomAllowed,
            t::a_phantom_in_a_range_that_was_read_is_a_conflict,
        ),
        (
            P::DroppedIsUnchanged,
            t::a_deletion_that_left_no_trace_is_too_old_and_never_unchanged,
        ),
        (
            P::ErasureIgnoredByMerge,
            r::a_merge_leaves_out_what_is_erased_and_lets_the_erasure_go,
        ),
        (
            P::ErasureDroppedEarly,
            r::an_erasure_stays_as_long_as_a_run_has_what_it_covers,
        ),
        (
            P::ErasureNotReplayed,
            r::what_was_erased_behind_the_checkpoint_is_erased_behind_a_crash,
        ),
        (
            P::ErasureUnnoticed,
            r::a_condition_notices_that_its_key_was_erased,
        ),
        (P::WatchedBeforeSync, w::nothing_is_watched_before_its_sync),
        (
            P::RotationSkipped,
            w::a_watch_shows_every_change_once_in_the_order_of_writes,
        ),
        (
            P::MissedUntold,
            w::a_watch_that_is_too_slow_is_told_what_it_missed_and_holds_nobody,
        ),
    ];
    let mutants = mutants.into_iter();
    mutants
        .map(|(fault, history)| (fault, By::Check(history)))
        .collect()
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
        let check: Check = match by {
            By::Property(name) => property::<OneThread>(name),
            By::Check(check) => {
                let check = *check;
                Box::new(move |_| check())
            }
        };
        let planted = plant(None);
        assert_passes(|| check(PATIENCE), &format!("{fault:?}"));
        drop(planted);
        let planted = plant(Some(*fault));
        if failure(|| check(PATIENCE)).is_none() {
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
        assert_passes(|| (lie.on_the_truth)(PATIENCE), lie.name);
        let patience = if lie.hangs { IMPATIENCE } else { PATIENCE };
        match failure(|| (lie.on_the_lie)(patience)) {
            None => survivors.push(lie.name),
            Some(told) => assert_eq!(
                told.contains("the property hangs"),
                lie.hangs,
                "{} in {}: {told}",
                lie.name,
                lie.by
            ),
        }
    }
    drop(planted);
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    report("storage and store", lies.len());
}

/// What depends on threads is caught nine times of ten at least, and the truth is never blamed.
#[test]
fn every_race_is_caught_nine_times_of_ten() {
    const RUNS: usize = 20;
    let planted = plant(None);
    for lie in lies::races() {
        assert_passes(|| (lie.on_the_truth)(PATIENCE), lie.name);
        let caught = (0..RUNS).filter(|_| failure(|| (lie.on_the_lie)(PATIENCE)).is_some());
        let caught = caught.count();
        say(&format!(
            "{} is caught by {} {caught} times of {RUNS}",
            lie.name, lie.by
        ));
        assert!(
            caught * 10 >= RUNS * 9,
            "{} is caught {caught} times of {RUNS}",
            lie.name
        );
    }
    drop(planted);
}

fn assert_passes(check: impl FnOnce(), what: &str) {
    let told = failure(check);
    assert!(
        told.is_none(),
        "what should catch {what} fails on the truth: {told:?}"
    );
}

fn report(of: &str, count: usize) {
    say(&format!(
        "mutants of the {of}: {count}, each caught by name"
    ));
}

fn say(what: &str) {
    // Not the macro: the harness would swallow it.
    let said = writeln!(std::io::stdout(), "{what}");
    said.expect("standard output takes a line");
}
