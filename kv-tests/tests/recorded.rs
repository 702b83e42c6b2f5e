//! Recorded histories of kvlog on the simulated disk, on one thread, where a seed decides everything: in the usual sizes,
//! and with budgets so tiny that chores never end. The suites of the adapters look at some on threads.
//!
//! `KV_TESTS_HISTORIES` is the number of histories of each kind (100; 6 in the suites), `KV_TESTS_FIRST_HISTORY` the seed
//! of the first (1).

use kv_tests::any::Place;
use kv_tests::conformance::recorded::{Kind, histories};
use kv_tests::kvlog::{Direct, OnSimDisk, Tiny};
use kv_tests::stepped::Stepped;
use std::io::Write;

const HISTORIES: u64 = 100;

fn look(place: &Place, what: &str) {
    for kind in [Kind::Single, Kind::Together] {
        for cuts in [false, true] {
            let given_up = histories(place, HISTORIES, kind, cuts);
            // Not the macro: the figures are part of the result, and the harness would swallow them.
            let told = format!("{what}: {kind:?}, cuts {cuts}: {given_up} not judged\n");
            let said = std::io::stdout().write_all(told.as_bytes());
            said.expect("standard output takes a line");
            assert!(
                given_up * 10 < HISTORIES,
                "{given_up} of {HISTORIES} are too large"
            );
        }
    }
}

#[test]
fn histories_have_one_order_across_power_cuts() {
    look(&Place::of::<OnSimDisk<Stepped, Direct>>(), "usual sizes");
}

#[test]
fn histories_have_one_order_whatever_chores_do() {
    look(&Place::of::<OnSimDisk<Stepped, Tiny>>(), "tiny sizes");
}
