//! The lies, and the property that catches each.

mod answers;
mod data;
mod durability;
mod effects;
mod polls;
mod promises;

use crate::checks::{Threads, a_refusal_waits_for_the_sync_it_depends_on};
use crate::lying_storage::{NameSyncLies, SyncLies, SyncsLater, WritesGetLost};
use crate::lying_store::{Lying, Truth};
use crate::{Check, property};
use answers::*;
use data::*;
use durability::*;
use effects::*;
use kv_tests::kvlog::{Direct, OnSimDisk};
use kv_tests::stepped::Stepped;
use polls::*;

pub(crate) struct Lied {
    pub(crate) name: &'static str,
    pub(crate) by: &'static str,
    pub(crate) on_the_truth: Check,
    pub(crate) on_the_lie: Check,
    /// Whether the property hangs, and says so.
    pub(crate) hangs: bool,
}

macro_rules! lies {
    ($(#[$doc:meta])* $vis:vis fn $name:ident; $($fixture:ident<$executor:ident, $lie:ident> $how:ident $($by:ident)* $property:literal;)+) => {
        $(#[$doc])*
        $vis fn $name() -> Vec<Lied> {
            vec![$(Lied {
                name: stringify!($lie),
                by: $property,
                on_the_truth: property::<lies!(@truth $fixture $executor)>($property),
                on_the_lie: property::<$fixture<$executor, $lie>>($property),
                hangs: lies!(@hangs $how),
            },)+]
        }
    };
    (@truth Lying $executor:ident) => { Lying<$executor, Truth> };
    (@truth OnSimDisk $executor:ident) => { OnSimDisk<$executor> };
    (@hangs is) => { false };
    (@hangs hangs) => { true };
}

lies! {
    /// Each fails its property, whenever it is tried.
    fn lies_to_properties;
    OnSimDisk<Stepped, SyncLies> is caught by "acknowledged_is_durable";
    OnSimDisk<Threads, SyncsLater> is caught by "nothing_is_visible_before_it_is_durable";
    OnSimDisk<Stepped, NameSyncLies> is caught by "acknowledged_is_durable";
    OnSimDisk<Stepped, WritesGetLost> is caught by "values_of_every_size";
    Lying<Stepped, PriorIsNone> is caught by "set_answers_with_the_prior_value";
    Lying<Stepped, PriorIsReadBefore> is caught by "prior_values_chain";
    Lying<Stepped, PriorIsTheNewValue> is caught by "set_answers_with_the_prior_value";
    Lying<Stepped, StaleRead> is caught by "clones_share_one_store";
    Lying<Stepped, HalfBatch> is caught by "a_batch_is_whole_to_readers";
    Lying<Stepped, HalfBatch> is caught by "a_batch_is_whole_after_a_power_cut";
    Lying<Stepped, PutSwallowsErrors> is caught by "a_failed_sync_is_told_and_stops_writes";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_failed_sync_is_told_and_stops_writes";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_failed_sync_is_told_and_stops_writes";
    Lying<Stepped, RemoveSwallowsErrors> is caught by "a_failed_sync_is_told_and_stops_writes";
    Lying<Stepped, PutSwallowsErrors> is caught by "a_sync_without_space_is_unknown_too";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_sync_without_space_is_unknown_too";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_sync_without_space_is_unknown_too";
    Lying<Stepped, RemoveSwallowsErrors> is caught by "a_sync_without_space_is_unknown_too";
    Lying<Stepped, PutSwallowsErrors> is caught by "a_failed_sync_is_never_believed_later";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_failed_sync_is_never_believed_later";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_failed_sync_is_never_believed_later";
    Lying<Stepped, RemoveSwallowsErrors> is caught by "a_failed_sync_is_never_believed_later";
    Lying<Stepped, PutSwallowsErrors> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, RemoveSwallowsErrors> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, PutSwallowsErrors> is caught by "a_full_disk_refuses_and_recovers";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_full_disk_refuses_and_recovers";
    Lying<Stepped, UnknownIsToldAsNothing> is caught by "a_failed_sync_is_told_and_stops_writes";
    Lying<Stepped, NothingIsToldAsUnknown> is caught by "a_failed_write_is_taken_back";
    Lying<Stepped, AFailedPutLeavesHalf> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, AFailedRemoveFlickers> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, SetAppliedIsToldAsNothing> is caught by "a_prior_value_that_cannot_be_read_is_no_refusal";
    Lying<Stepped, DeleteAppliedIsToldAsNothing> is caught by "a_prior_value_that_cannot_be_read_is_no_refusal";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_prior_value_that_cannot_be_read_is_no_refusal";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_prior_value_that_cannot_be_read_is_no_refusal";
    Lying<Stepped, AcknowledgedBeforeItIsWritten> is caught by "acknowledged_is_durable";
    Lying<Stepped, LockAcrossAwait> is caught by "reentrancy";
    Lying<Threads, SetFailsForNoReason> is caught by "an_abandoned_executor_harms_nobody";
    Lying<Threads, BlocksTheExecutor> is caught by "the_executor_is_never_blocked";
    Lying<Stepped, ActsBeforeItsFirstPoll> is caught by "a_future_that_is_never_polled_does_nothing";
    Lying<Stepped, TwoWrites> is caught by "a_dropped_future_is_whole_or_nothing";
    Lying<Stepped, ReadErrorIsAbsence> is caught by "a_read_error_is_no_absence";
    Lying<Stepped, EmptyIsAbsent> is caught by "an_empty_value_is_not_an_absent_one";
    Lying<Stepped, KeysEndAtZero> is caught by "keys_do_not_mix";
    Lying<Stepped, DeleteOverwrites> is caught by "set_get_delete";
    Lying<Stepped, DeleteTellsNothing> is caught by "delete_answers_with_the_prior_value";
    Lying<Stepped, PriorIsFromTheOwnCache> is caught by "prior_values_chain";
    Lying<Stepped, EqualValueIsSkipped> is caught by "a_value_that_is_there_already_is_written_like_any";
    Lying<Stepped, RemoveOfNothingIsAnError> is caught by "an_absent_key_is_none";
    Lying<Stepped, ReadsLagBehind> is caught by "a_write_is_read_by_whoever_is_told_of_it";
    Lying<Stepped, AClosedStoreAnswers> is caught by "a_closed_store_refuses_everything";
    Lying<Stepped, ACloneIsACopy> is caught by "clones_share_one_store";
    Lying<Stepped, The256thWriteOfAKeyIsLost> is caught by "prior_values_chain";
    Lying<Stepped, TooLongIsUnknown> is caught by "a_key_that_is_too_long_is_refused_and_nothing_happened";
    Lying<Stepped, TooLongKeysAreCut> is caught by "a_key_that_is_too_long_is_refused_and_nothing_happened";
    Lying<Stepped, KeysEndAt4096Bytes> is caught by "keys_that_differ_in_one_byte_do_not_mix";
    Lying<Stepped, KeysEndAt4096Bytes> is caught by "keys_that_differ_in_one_byte_survive_a_restart";
    Lying<Stepped, KeysIgnoreCase> is caught by "keys_do_not_mix";
    Lying<Stepped, KeysArePaths> is caught by "keys_do_not_mix";
    Lying<Stepped, KeysAreHashed> is caught by "many_writes_survive_a_restart";
    Lying<Stepped, EmptyKeyIsForgotten> is caught by "keys_of_every_kind";
    Lying<Stepped, AnEmptyValueDeletes> is caught by "an_empty_value_is_not_an_absent_one";
    Lying<Stepped, ValuesEndAt512KiB> is caught by "large_values_are_whole";
    Lying<Stepped, ValuesEndAt512KiB> is caught by "large_values_survive_a_restart";
    Lying<Stepped, ValuesLoseTrailingZeros> is caught by "values_of_every_kind";
    Lying<Stepped, ValuesAreText> is caught by "values_of_every_kind";
    Lying<Stepped, LargeBatchIsCut> is caught by "a_large_batch_is_applied_whole";
    Lying<Stepped, BatchDeletesNothing> is caught by "a_batch_is_applied_in_order";
    Lying<Stepped, BatchIsReversed> is caught by "a_batch_is_applied_in_order";
    Lying<Stepped, BatchInTwoHalves> is caught by "a_batch_is_whole_to_point_reads";
    Lying<Threads, HalfBatch> is caught by "a_batch_is_whole_at_each_of_its_syncs";
    Lying<Threads, BatchInTwoHalves> is caught by "a_batch_is_whole_at_each_of_its_syncs";
    Lying<Stepped, ScanIsTwoReads> is caught by "a_batch_is_whole_to_readers";
    Lying<Stepped, ScanMissesTheLast> is caught by "a_scan_is_ordered_and_complete";
    Lying<Stepped, ScanIsByLength> is caught by "a_scan_is_ordered_and_complete";
    Lying<Stepped, Every2000thIsLost> is caught by "many_writes_survive_a_restart";
    Lying<Stepped, Every2000thIsLost> is caught by "many_writes_survive_a_power_cut";
    Lying<Stepped, Every2000thIsLate> is caught by "each_of_many_writes_is_durable_by_itself";
    Lying<Threads, SeenWhileItIsWritten> is caught by "nothing_is_visible_before_it_is_durable";
    Lying<Stepped, OpensOnce> is caught by "drop_then_open";
    Lying<Stepped, TheFirstWakerIsKept> is caught by "the_last_waker_is_the_one_that_is_called";
    Lying<Stepped, AWakeupGetsLost> is caught by "prior_values_chain";
    Lying<Threads, AWakeupGetsLost> hangs in "prior_values_chain";
    Lying<Stepped, PolledAgainWritesAgain> is caught by "a_future_may_be_polled_without_being_woken";
    Lying<Stepped, ADropTakesTheNextAlong> is caught by "a_dropped_future_harms_nobody_else";
    Lying<Stepped, ADroppedReadKeepsItsLock> is caught by "a_dropped_read_harms_nobody";
    Lying<Threads, AReadBlocksOnAWrite> hangs in "reads_go_on_while_a_sync_is_held";
    Lying<Threads, AReadWaitsForAWrite> hangs in "reads_go_on_while_a_sync_is_held";
    OnSimDisk<Stepped, SyncLies> is caught by "a_history_of_single_calls_is_linearizable_across_power_cuts";
    OnSimDisk<Stepped, SyncLies> is caught by "a_history_of_all_calls_is_serializable_across_power_cuts";
    Lying<Stepped, PriorIsReadBefore> is caught by "a_history_of_single_calls_is_linearizable";
    Lying<Stepped, StaleRead> is caught by "a_history_of_single_calls_is_linearizable";
    Lying<Stepped, ReadsLagBehind> is caught by "a_history_of_single_calls_is_linearizable";
    Lying<Stepped, AcknowledgedBeforeItIsWritten> is caught by "a_history_of_single_calls_is_linearizable_across_power_cuts";
}

lies! {
    /// Each depends on which thread comes first, and fails its property nine times of ten at least.
    pub(crate) fn races;
    Lying<Threads, AThreadForEachWrite> is caught by "prior_values_follow_the_order_of_first_polls";
    Lying<Threads, AThreadForEachWrite> is caught by "the_write_that_was_polled_last_wins";
    Lying<Threads, HalfBatch> is caught by "a_batch_is_whole_to_point_reads";
    Lying<Threads, BatchInTwoHalves> is caught by "a_batch_is_whole_to_point_reads";
}

pub(crate) fn lies() -> Vec<Lied> {
    let mut lies = lies_to_properties();
    lies.extend(promises::broken_promises());
    lies.extend(promises::without_an_order());
    lies.push(Lied {
        name: "SyncsLater",
        by: "a_refusal_waits_for_the_sync_it_depends_on",
        on_the_truth: Box::new(|_| a_refusal_waits_for_the_sync_it_depends_on::<Direct>()),
        on_the_lie: Box::new(|_| a_refusal_waits_for_the_sync_it_depends_on::<SyncsLater>()),
        hangs: false,
    });
    lies
}
