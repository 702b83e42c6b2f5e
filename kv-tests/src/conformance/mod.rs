//! The conformance suite: what every `KVStore` must do, one property a test.
//!
//! A property is one claim with its own assertion. Each makes a fresh [`Fixture`], and needs some of its
//! [capabilities](Capability); where one is missing it is skipped, and says so by name on the standard output. A property
//! that hangs fails by itself, with what it waited for.
//! [`crate::conformance!`] turns the table below into tests.

#![expect(
    clippy::missing_panics_doc,
    reason = "every property panics if the store does not have it"
)]

pub mod basics;
pub mod batches;
pub mod cancellation;
pub mod concurrency;
pub mod durability;
pub mod expiry;
pub mod extent;
pub mod failures;
mod help;
pub mod order;
pub mod recorded;
pub mod restarts;
pub mod scans;
pub mod values;
pub mod versions;
pub mod wakers;

use crate::any::Place;
use crate::fixture::{Capability, Fixture};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::time::Duration;

/// Changes after how many seconds without an answer a property is given up.
pub const HANG_SECONDS: &str = "KV_TESTS_HANG_SECONDS";

/// For how long nothing may begin or end, and an operation may go without an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A property that still goes on after so many times that long gets nowhere.
const PATIENCES: u32 = 20;
/// Looks at a property while its patience lasts once.
const TICKS: u32 = 60;

/// One property of a store.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// What it needs.
    pub needs: &'static [Capability],
    /// Panics if the store does not have it.
    pub check: fn(&Place),
}

/// Checks one property, or says that it is skipped.
///
/// # Panics
/// If the store does not have it, or if it hangs: then the message tells what it waited for.
pub fn check<F: Fixture>(name: &'static str, needs: &[Capability], property: fn(&Place)) {
    check_at(&Place::of::<F>(), name, needs, property);
}

/// The names of the properties that this fixture skips.
#[must_use]
pub fn skipped<F: Fixture>() -> Vec<&'static str> {
    let lacks = |need| !F::CAPABILITIES.contains(need);
    PROPERTIES
        .iter()
        .filter(|property| property.needs.iter().any(lacks))
        .map(|property| property.name)
        .collect()
}

/// Compares [`skipped`] with what is expected, in any order.
///
/// # Panics
/// If they differ; the message names the difference.
pub fn assert_skipped<F: Fixture>(expected: &[&str]) {
    let skipped: BTreeSet<&str> = skipped::<F>().into_iter().collect();
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    let (more, less) = (&skipped - &expected, &expected - &skipped);
    assert!(
        more.is_empty() && less.is_empty(),
        "skipped without being named: {more:?}; named and not skipped: {less:?}"
    );
}

fn check_at(place: &Place, name: &'static str, needs: &[Capability], property: fn(&Place)) {
    let missing: Vec<_> = needs
        .iter()
        .filter(|need| !place.capabilities.contains(need))
        .collect();
    if !missing.is_empty() {
        // Not the macro: the test harness would swallow it.
        let said = writeln!(std::io::stdout(), "skipped: {name} needs {missing:?}");
        said.expect("standard output takes a line");
        return;
    }
    check_within(place, property, patience(std::env::var_os(HANG_SECONDS)));
}

fn patience(chosen: Option<OsString>) -> Duration {
    let Some(chosen) = chosen else {
        return PATIENCE;
    };
    let seconds = chosen.to_str().and_then(|text| text.parse().ok());
    match seconds {
        Some(seconds @ 1..) => Duration::from_secs(seconds),
        _ => panic!("{HANG_SECONDS} is a number of seconds, 1 or more, and not {chosen:?}"),
    }
}

/// Checks one property on a thread of its own, which is left behind if it hangs.
///
/// # Panics
/// As the property does, if one of the suite's wakers did, or if for so long no operation began or ended, or one had no
/// answer.
pub fn check_within(place: &Place, property: fn(&Place), patience: Duration) {
    let watch = place.watch.clone();
    let own = place.clone();
    let (done, watched) = mpsc::channel::<()>();
    let name = std::thread::current()
        .name()
        .unwrap_or("kv-tests")
        .to_owned();
    // It has the name of its test, which a panic tells.
    let checked = std::thread::Builder::new().name(name).spawn(move || {
        let _done = done;
        property(&own);
    });
    let checked = checked.expect("the system gives a thread");
    let mut ticks = 0;
    while watched.recv_timeout(patience / TICKS) == Err(mpsc::RecvTimeoutError::Timeout) {
        ticks += 1;
        let still = watch.tick() >= u64::from(TICKS);
        if still || ticks >= TICKS * PATIENCES {
            let report = watch.report();
            watch.give_up();
            let what = if still {
                "for so long nothing began or ended, or an operation had no answer"
            } else {
                "operations go on, and it does not end"
            };
            panic!(
                "the property hangs: {what} ({:?}; {HANG_SECONDS} changes that)\n  {report}",
                patience * ticks / TICKS
            );
        }
    }
    if let Err(panic) = checked.join() {
        resume_unwind(panic);
    }
    watch.assert_no_waker_panicked();
}

/// One table: tests, their needs, and the list of all properties come from it.
macro_rules! properties {
    (($d:tt) $($module:ident::$name:ident [$($need:ident),*];)+) => {
        /// Every property.
        pub const PROPERTIES: &[Property] = &[$(Property {
            name: stringify!($name),
            needs: &[$(Capability::$need),*],
            check: $module::$name,
        },)+];

        /// Makes one `#[test]` of each property, for a [`Fixture`](crate::fixture::Fixture).
        ///
        /// ```
        /// use kv_tests::{executor::Task, fixture::{Capability, Fixture, Key, Value}, stepped::Stepped};
        /// use kv_trait::{Error, ErrorKind, KEY_BYTES_MAX, KVStore, Result, async_trait};
        /// use std::{collections::BTreeMap, future::Future, sync::{Arc, Mutex, MutexGuard, PoisonError}};
        ///
        /// #[derive(Clone, Default)]
        /// struct Map(Arc<Mutex<BTreeMap<Key, Value>>>);
        ///
        /// impl Map {
        ///     fn holding(&self, key: &Key) -> Result<MutexGuard<'_, BTreeMap<Key, Value>>> {
        ///         if key.len() > KEY_BYTES_MAX {
        ///             return Err(Error::new(ErrorKind::TooLarge, "the key is too long"));
        ///         }
        ///         Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner))
        ///     }
        /// }
        ///
        /// #[async_trait]
        /// impl KVStore<Key, Value> for Map {
        ///     async fn get(&self, key: &Key) -> Result<Option<Value>> {
        ///         Ok(self.holding(key)?.get(key).cloned())
        ///     }
        ///     async fn set(&self, key: &Key, value: &Value) -> Result<Option<Value>> {
        ///         Ok(self.holding(key)?.insert(key.clone(), value.clone()))
        ///     }
        ///     async fn delete(&self, key: &Key) -> Result<Option<Value>> {
        ///         Ok(self.holding(key)?.remove(key))
        ///     }
        /// }
        ///
        /// struct InMemory(Stepped);
        ///
        /// impl Fixture for InMemory {
        ///     type Store = Map;
        ///     const CAPABILITIES: &'static [Capability] = &[];
        ///
        ///     fn create() -> Self { Self(Stepped::default()) }
        ///     async fn open(&self) -> Result<Map> { Ok(Map::default()) }
        ///     fn block_on<T>(&self, future: impl Future<Output = T>) -> T { self.0.block_on(future) }
        ///     fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        ///         Box::pin(self.0.spawn(future))
        ///     }
        /// }
        ///
        /// kv_tests::conformance!(InMemory);
        /// # fn main() { // the harness of this page runs no tests: the same checks
        /// #     for property in kv_tests::conformance::PROPERTIES {
        /// #         kv_tests::conformance::check::<InMemory>(property.name, property.needs, property.check);
        /// #     }
        /// # }
        /// ```
        ///
        /// A skip looks like a pass. `conformance!(InMemory, skipping ["close_and_reopen", ...])`, with the names of all
        /// that the fixture skips, makes one more test, which fails when that is no longer so: for a capability that was
        /// lost as for a property that was added.
        #[macro_export]
        macro_rules! conformance {
            ($d fixture:ty, skipping $d names:expr) => {
                $d crate::conformance!($d fixture);

                #[test]
                fn exactly_what_is_named_is_skipped() {
                    $d crate::conformance::assert_skipped::<$d fixture>(&$d names);
                }
            };
            ($d fixture:ty) => {$(
                #[test]
                fn $name() {
                    $d crate::conformance::check::<$d fixture>(
                        stringify!($name),
                        &[$($d crate::fixture::Capability::$need),*],
                        $d crate::conformance::$module::$name,
                    );
                }
            )+};
        }
    };
}

properties! { ($)
    basics::set_get_delete [];
    basics::an_absent_key_is_none [];
    basics::set_answers_with_the_prior_value [];
    basics::delete_answers_with_the_prior_value [];
    basics::put_and_remove_are_set_and_delete_without_an_answer [];
    basics::values_of_every_size [];
    basics::keys_of_every_kind [];
    basics::keys_do_not_mix [];
    basics::values_of_every_kind [];
    basics::a_value_that_is_there_already_is_written_like_any [];
    basics::an_empty_value_is_not_an_absent_one [];
    basics::a_key_that_is_too_long_is_refused_and_nothing_happened [];
    basics::the_store_works_behind_a_trait_object [];
    basics::clones_share_one_store [];
    basics::the_store_agrees_with_a_map [];
    basics::a_scan_is_ordered_and_complete [Scan];
    basics::a_batch_is_applied_in_order [Batch];
    concurrency::concurrent_access [];
    concurrency::prior_values_chain [];
    concurrency::prior_values_chain_through_deletes [];
    concurrency::multi_threaded_executor [Threads];
    concurrency::operations_on_one_key_are_linearizable [];
    concurrency::a_write_is_read_by_whoever_is_told_of_it [];
    concurrency::reentrancy [];
    concurrency::reentrancy_from_a_waker [];
    concurrency::a_batch_is_whole_to_readers [Batch, Scan];
    order::prior_values_follow_the_order_of_first_polls [];
    order::the_write_that_was_polled_last_wins [];
    wakers::the_last_waker_is_the_one_that_is_called [];
    wakers::a_future_may_be_polled_without_being_woken [];
    wakers::a_future_may_move_to_another_task [];
    extent::keys_that_differ_in_one_byte_do_not_mix [];
    extent::keys_that_differ_in_one_byte_survive_a_restart [Reopen];
    extent::large_values_are_whole [];
    extent::large_values_survive_a_restart [Reopen];
    extent::a_large_batch_is_applied_whole [Batch];
    extent::a_batch_is_whole_to_point_reads [Batch];
    extent::a_batch_is_whole_at_each_of_its_syncs [Batch, HoldSyncs];
    extent::each_of_many_writes_is_durable_by_itself [PowerCut];
    extent::many_writes_survive_a_restart [Reopen];
    extent::many_writes_survive_a_power_cut [PowerCut];
    cancellation::a_future_that_is_never_polled_does_nothing [];
    cancellation::a_dropped_future_is_whole_or_nothing [];
    cancellation::a_dropped_future_harms_nobody_else [];
    cancellation::a_dropped_read_harms_nobody [];
    cancellation::a_future_dropped_while_its_sync_is_held_finishes [HoldSyncs];
    cancellation::a_future_dropped_behind_a_long_sync_needs_no_other_call [HoldSyncs];
    cancellation::an_abandoned_executor_harms_nobody [Abandon];
    cancellation::the_executor_is_never_blocked [HoldSyncs];
    cancellation::reads_go_on_while_a_sync_is_held [HoldSyncs];
    restarts::close_and_reopen [Reopen, Close];
    restarts::rude_restart [Reopen];
    restarts::what_was_deleted_stays_deleted [Reopen];
    restarts::a_closed_store_refuses_everything [Close];
    restarts::close_finishes_what_was_accepted [Close, Reopen];
    restarts::a_second_open_is_refused_with_the_holder_named [OneOwner];
    restarts::drop_then_open [OneOwner, Reopen];
    restarts::a_lock_timeout_waits_for_the_other_owner [OneOwner, LockTimeout];
    restarts::wrong_types_are_refused [OtherTypes, Reopen];
    restarts::persistence_verification [ReadFiles, Reopen];
    restarts::a_killed_process_loses_nothing_it_acknowledged [Processes, Reopen];
    durability::acknowledged_is_durable [PowerCut];
    durability::visible_is_durable [PowerCut];
    durability::an_answer_is_durable [PowerCut];
    durability::nothing_is_visible_before_it_is_durable [HoldSyncs];
    durability::what_recovery_showed_stays [PowerCut];
    durability::a_power_cut_in_a_burst_leaves_whole_writes_in_order [PowerCut];
    durability::a_power_cut_at_creation_leaves_a_store_that_opens [PowerCut];
    durability::a_batch_is_whole_after_a_power_cut [PowerCut, Batch];
    durability::a_deleted_key_stays_deleted_after_a_power_cut [PowerCut];
    failures::a_failed_sync_is_told_and_stops_writes [Faults, Reopen];
    failures::a_failed_sync_is_never_believed_later [Faults, PowerCut, Reopen];
    failures::a_sync_without_space_is_unknown_too [Faults];
    failures::a_failed_write_leaves_nothing [Faults, PowerCut];
    failures::a_failed_write_is_taken_back [Faults, Undo];
    failures::a_full_disk_refuses_and_recovers [Faults];
    failures::a_read_error_is_no_absence [Faults];
    failures::a_prior_value_that_cannot_be_read_is_no_refusal [Faults, PowerCut];
    failures::a_read_error_while_opening_loses_nothing [Faults, Reopen];
    expiry::what_has_expired_is_absent [Expiry, Clock];
    expiry::a_later_write_says_anew_when_a_value_goes [Expiry, Clock];
    expiry::when_a_value_goes_is_told [Expiry, Clock];
    expiry::a_snapshot_keeps_the_time_of_its_beginning [Expiry, Clock, Snapshots];
    expiry::a_time_to_live_beyond_the_clock_is_refused [Expiry];
    expiry::expiry_survives_a_restart [Expiry, Clock, Reopen];
    basics::a_store_says_what_it_can_do [];
    batches::a_batch_tells_what_its_changes_replaced [Batches];
    batches::a_batch_is_refused_where_a_condition_does_not_hold [Batches, Versions];
    batches::a_dropped_batch_is_whole_or_nothing [Batches];
    versions::a_version_belongs_to_one_write [Versions];
    versions::a_conditional_write_is_done_only_where_the_key_is_as_expected [Versions];
    versions::of_inserts_at_once_one_is_done [Versions];
    versions::updates_at_once_lose_none [Updates];
    versions::an_update_makes_of_a_value_the_next_one [Updates];
    scans::a_scan_of_an_interval_finds_what_a_map_finds [Scans];
    scans::a_scan_goes_both_ways_and_ends_at_its_limit [Scans];
    scans::a_scan_of_a_prefix_finds_what_begins_with_it [Scans];
    scans::a_scan_shows_one_point_however_long_it_takes [Scans];
    scans::a_scan_may_be_dropped_anywhere [Scans];
    scans::a_scan_of_a_closed_store_is_refused [Scans, Closing];
    recorded::a_history_of_single_calls_is_linearizable [];
    recorded::a_history_of_all_calls_is_serializable [];
    recorded::a_history_of_single_calls_is_linearizable_across_power_cuts [PowerCut];
    recorded::a_history_of_all_calls_is_serializable_across_power_cuts [PowerCut];
    values::a_large_value_keeps_its_place [];
    values::a_foreign_executor_inside_a_task_is_not_kept_waiting [];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_what_the_variable_says() {
        assert_eq!(patience(None), PATIENCE);
        assert_eq!(patience(Some("7".into())), Duration::from_secs(7));
    }

    #[test]
    #[should_panic(expected = "is a number of seconds, 1 or more, and not \"soon\"")]
    fn no_other_patience_is_taken_for_one() {
        patience(Some("soon".into()));
    }
}
