//! Promises of what only some stores can do, broken one by one in a store in memory that has all of it, and the property
//! that catches each.

use super::Lied;
use crate::{Check, property};
use kv_tests::any::Place;
use kv_tests::conformance::recorded::{Kind, histories};
use kv_tests::reference::{InMemory, Lie, Says, Truth};
use kv_tests::stepped::Stepped;

macro_rules! broken {
    ($($lie:ident $property:literal;)+) => {
        /// Each fails its property, whenever it is tried.
        pub(super) fn broken_promises() -> Vec<Lied> {
            vec![$({
                enum Broken {}

                impl Says for Broken {
                    const LIE: Option<Lie> = Some(Lie::$lie);
                }

                Lied {
                    name: stringify!($lie),
                    by: $property,
                    on_the_truth: property::<InMemory<Stepped, Truth>>($property),
                    on_the_lie: property::<InMemory<Stepped, Broken>>($property),
                    hangs: false,
                }
            },)+]
        }
    };
}

/// As many histories as each of these lies needs to be noticed whatever the seeds.
const HISTORIES: u64 = 100;

fn together<S: Says>() -> Check {
    Box::new(|_| {
        histories(
            &Place::of::<InMemory<Stepped, S>>(),
            HISTORIES,
            Kind::Together,
            false,
        );
    })
}

macro_rules! unordered {
    ($($lie:ident)+) => {
        /// Each leaves a history that no order explains.
        pub(super) fn without_an_order() -> Vec<Lied> {
            vec![$({
                enum Broken {}

                impl Says for Broken {
                    const LIE: Option<Lie> = Some(Lie::$lie);
                }

                Lied {
                    name: stringify!($lie),
                    by: "histories of all calls",
                    on_the_truth: together::<Truth>(),
                    on_the_lie: together::<Broken>(),
                    hangs: false,
                }
            },)+]
        }
    };
}

unordered! {
    TornBatch
    ScanMoves
    ScanMissesTheLast
    SetIfAlwaysSets
    InsertReplaces
    LostUpdate
    SnapshotMoves
    SnapshotScanMoves
    WriteSkew
    Phantom
    ClearUnnoticed
    OwnWritesUnseen
    OwnWritesUnscanned
    UncommittedSeen
    ConflictApplies
    TornRangeDelete
}

broken! {
    LostUpdate "a_history_of_single_calls_is_linearizable";
    WriteSkew "a_history_of_all_calls_is_serializable";
    VersionOfAnother "a_version_belongs_to_one_write";
    SameValueSameVersion "a_version_belongs_to_one_write";
    SetIfAlwaysSets "a_conditional_write_is_done_only_where_the_key_is_as_expected";
    InsertReplaces "of_inserts_at_once_one_is_done";
    DeleteIfAlwaysDeletes "a_conditional_write_is_done_only_where_the_key_is_as_expected";
    LostUpdate "updates_at_once_lose_none";
    UpdateNeverRemoves "an_update_makes_of_a_value_the_next_one";
    TornBatch "a_dropped_batch_is_whole_or_nothing";
    FirstChangeWins "a_batch_tells_what_its_changes_replaced";
    PriorOfAnother "a_batch_tells_what_its_changes_replaced";
    ConditionIgnored "a_batch_is_refused_where_a_condition_does_not_hold";
    ScanMissesTheLast "a_scan_of_an_interval_finds_what_a_map_finds";
    ExcludedStartIsIn "a_scan_of_an_interval_finds_what_a_map_finds";
    IncludedEndIsOut "a_scan_of_an_interval_finds_what_a_map_finds";
    CountsAll "a_scan_of_an_interval_finds_what_a_map_finds";
    ReversedGoesForwards "a_scan_goes_both_ways_and_ends_at_its_limit";
    LimitTakesTheLast "a_scan_goes_both_ways_and_ends_at_its_limit";
    ScanMoves "a_scan_shows_one_point_however_long_it_takes";
    CloseDoesNothing "a_scan_of_a_closed_store_is_refused";
    ExpiredScanned "what_has_expired_is_absent";
    ExpiredIsPrior "what_has_expired_is_absent";
    ExpiredHasVersion "what_has_expired_is_absent";
    TtlStays "a_later_write_says_anew_when_a_value_goes";
    SnapshotExpires "a_snapshot_keeps_the_time_of_its_beginning";
}
