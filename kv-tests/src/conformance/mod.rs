//! The conformance suite: what every `KVStore` must do, one property a test.
//!
//! A property is one claim with its own assertion. Each makes a fresh [`Fixture`], and needs some of its
//! [capabilities](Capability); where one is missing it is skipped, and says so by name on the standard output.
//! [`crate::conformance!`] turns the table below into tests.

#![expect(
    clippy::missing_panics_doc,
    reason = "every property panics if the store does not have it"
)]

pub mod basics;
pub mod cancellation;
pub mod concurrency;
pub mod durability;
pub mod failures;
mod help;
pub mod restarts;

use crate::any::Place;
use crate::executor::thread;
use crate::fixture::{Capability, Fixture};
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

/// A property that has not ended by then hangs. Nothing but a hang takes nearly so long.
const PATIENCE: Duration = Duration::from_secs(600);

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
/// If the store does not have it. A property that hangs ends the process, with its name.
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
    // Not the macro: the test harness would swallow it.
    let mut out = std::io::stdout();
    if !missing.is_empty() {
        let said = writeln!(out, "skipped: {name} needs {missing:?}");
        said.expect("standard output takes a line");
        return;
    }
    let test = std::thread::current().name().unwrap_or(name).to_owned();
    let (done, watch) = mpsc::channel::<()>();
    let watchdog = thread(move || {
        if watch.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let said = writeln!(std::io::stderr(), "{test} hangs");
            drop(said); // the process ends either way
            std::process::abort();
        }
    });
    property(place);
    drop(done);
    watchdog.join().expect("the watchdog ends");
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
    cancellation::a_future_that_is_never_polled_does_nothing [];
    cancellation::a_dropped_future_is_whole_or_nothing [];
    cancellation::a_dropped_future_harms_nobody_else [];
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
}
