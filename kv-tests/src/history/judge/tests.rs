//! Histories made by hand: those that can be, and those that each known fault of a store leaves behind.

use super::*;
use crate::history::{Certainty, Ranged};
use kv_trait::{KeyRange, Query, Version};

const BOUND: u64 = 100_000;

fn key(name: &str) -> Key {
    Key::from(name.as_bytes().to_vec())
}

fn value(text: &str) -> Option<Vec<u8>> {
    (text != "-").then(|| text.as_bytes().to_vec())
}

/// `("x", "1")` is `x = 1`, and `("x", "-")` that it is absent.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn call(times: (u64, u64), reads: Pairs<'_>, writes: Pairs<'_>) -> Call {
    let mut call = Call::at(times.0, times.1);
    let pairs = |pairs: Pairs<'_>| pairs.iter().map(|(k, v)| (key(k), value(v))).collect();
    call.reads = pairs(reads);
    call.writes = pairs(writes);
    call
}

fn as_version(mut call: Call, version: u64) -> Call {
    call.version = Some(Version::from_u64(version));
    call
}

fn perhaps(mut call: Call) -> Call {
    call.certainty = Certainty::Maybe;
    call
}

fn scanning(mut call: Call, query: Query, found: Pairs<'_>) -> Call {
    call.ranges.push(Ranged {
        query,
        own: BTreeMap::new(),
        found: found
            .iter()
            .map(|(k, v)| (key(k), v.as_bytes().to_vec()))
            .collect(),
    });
    call
}

fn all() -> Query {
    Query::within(KeyRange::all())
}

fn assert_linearizable(calls: &[Call]) {
    assert_eq!(linearizable(&State::new(), calls, BOUND), Verdict::Fits);
}

fn assert_not_linearizable(calls: &[Call]) {
    let verdict = linearizable(&State::new(), calls, BOUND);
    assert!(matches!(verdict, Verdict::Broken(_)), "{verdict:?}");
    // What is wrong for a key alone is wrong for all together.
    assert_not_serializable(&[], calls);
}

fn of(initial: Pairs<'_>) -> State {
    let initial = initial.iter().map(|(k, v)| (key(k), v.as_bytes().to_vec()));
    initial.collect()
}

fn assert_serializable(initial: Pairs<'_>, calls: &[Call]) {
    assert_eq!(serializable(&of(initial), calls, BOUND), Verdict::Fits);
}

fn assert_not_serializable(initial: Pairs<'_>, calls: &[Call]) {
    let verdict = serializable(&of(initial), calls, BOUND);
    assert!(matches!(verdict, Verdict::Broken(_)), "{verdict:?}");
}

#[test]
fn calls_at_once_may_come_in_any_order() {
    assert_linearizable(&[
        call((1, 6), &[], &[("x", "1")]),
        call((2, 7), &[("x", "1")], &[("x", "2")]),
        call((3, 8), &[("x", "-")], &[]),
        call((9, 10), &[("x", "2")], &[]),
    ]);
    // The one that began last comes first.
    assert_linearizable(&[
        call((1, 9), &[("x", "2")], &[("x", "1")]),
        call((5, 6), &[("x", "-")], &[("x", "2")]),
        call((10, 11), &[("x", "1")], &[]),
    ]);
}

#[test]
fn a_lost_update_is_found() {
    // Both saw 0 and raised it by one.
    let raise = |times, to| call(times, &[("x", "-")], &[("x", to)]);
    assert_not_linearizable(&[raise((1, 4), "1"), raise((2, 3), "1")]);
    let versioned = [
        as_version(raise((1, 4), "1"), 5),
        as_version(raise((2, 3), "1"), 6),
    ];
    assert_not_serializable(&[], &versioned);
}

#[test]
fn a_stale_read_is_found() {
    let write = call((1, 2), &[], &[("x", "1")]);
    assert_not_linearizable(&[write.clone(), call((3, 4), &[("x", "-")], &[])]);
    assert_linearizable(&[write, call((2, 4), &[("x", "-")], &[])]);
    // Of two reads the later shows what is older.
    let writes = call((1, 9), &[("x", "-")], &[("x", "1")]);
    assert_not_linearizable(&[
        writes,
        call((2, 3), &[("x", "1")], &[]),
        call((4, 5), &[("x", "-")], &[]),
    ]);
}

#[test]
fn a_stale_read_is_found_in_the_order_of_versions() {
    let writers = |late_read| {
        [
            as_version(call((1, 2), &[], &[("x", "1")]), 3),
            as_version(call((3, 4), &[], &[("x", "2"), ("y", "2")]), 5),
            call((5, 6), &[("x", late_read)], &[]),
        ]
    };
    assert_serializable(&[], &writers("2"));
    assert_not_serializable(&[], &writers("1"));
}

#[test]
fn versions_that_disagree_with_real_time_are_found() {
    let first = as_version(call((1, 2), &[], &[("x", "1")]), 9);
    let second = as_version(call((3, 4), &[], &[("x", "2")]), 5);
    assert_not_serializable(&[], &[first.clone(), second.clone()]);
    let same = as_version(second, 9);
    assert_not_serializable(&[], &[first, same]);
}

#[test]
fn a_lost_acknowledged_write_is_found_and_a_write_in_doubt_may_be_lost() {
    let write = call((1, 2), &[], &[("x", "1")]);
    let lost = call((5, 6), &[("x", "-")], &[]);
    assert_not_linearizable(&[write.clone(), lost.clone()]);
    assert_linearizable(&[perhaps(write.clone()), lost.clone()]);
    assert_linearizable(&[perhaps(write.clone()), call((5, 6), &[("x", "1")], &[])]);
    // It cannot come and go.
    assert_not_linearizable(&[
        perhaps(write.clone()),
        call((3, 4), &[("x", "1")], &[]),
        lost.clone(),
    ]);
    // Nor happen behind the power cut that decided about it.
    assert_not_linearizable(&[
        perhaps(write),
        lost.clone(),
        call((7, 8), &[("x", "1")], &[]),
    ]);
    // One that has no end may.
    let late = perhaps(call((1, u64::MAX), &[], &[("x", "1")]));
    assert_linearizable(&[late, lost, call((7, 8), &[("x", "1")], &[])]);
}

#[test]
fn a_batch_in_part_is_found() {
    let batch = |times, to| call(times, &[], &[("x", to), ("y", to)]);
    let read = |times, x, y| call(times, &[("x", x), ("y", y)], &[]);
    let first = batch((1, 2), "1");
    assert_serializable(
        &[],
        &[first.clone(), batch((3, 9), "2"), read((4, 5), "1", "1")],
    );
    assert_not_serializable(
        &[],
        &[first.clone(), batch((3, 9), "2"), read((4, 5), "2", "1")],
    );
    // Also by two reads, one after the other, and of one that need not have happened.
    let torn = [
        first,
        perhaps(batch((3, 4), "2")),
        call((5, 6), &[("y", "2")], &[]),
        call((7, 8), &[("x", "1")], &[]),
    ];
    assert_not_serializable(&[], &torn);
    assert_eq!(
        linearizable(&State::new(), &torn, BOUND),
        Verdict::Fits,
        "each key by itself is well"
    );
}

#[test]
fn write_skew_is_found() {
    let both = [("a", "1"), ("b", "1")];
    let initial = [("a", "1"), ("b", "1")];
    // Each saw the other on duty, and left.
    let skew = [
        call((1, 5), &both, &[("a", "0")]),
        call((2, 6), &both, &[("b", "0")]),
    ];
    assert_not_serializable(&initial, &skew);
    let [first, second] = skew;
    assert_not_serializable(
        &initial,
        &[as_version(first.clone(), 1), as_version(second, 2)],
    );
    let noticed = call((2, 6), &[("a", "0"), ("b", "1")], &[("b", "2")]);
    assert_serializable(&initial, &[first, noticed]);
}

#[test]
fn a_phantom_is_found() {
    let insert = |times, name| scanning(call(times, &[], &[(name, "1")]), all(), &[]);
    // Each saw an empty range, and put something into it.
    let phantom = [insert((1, 5), "a"), insert((2, 6), "b")];
    assert_not_serializable(&[], &phantom);
    let [first, second] = phantom;
    assert_not_serializable(&[], &[as_version(first.clone(), 1), as_version(second, 2)]);
    let noticed = scanning(call((2, 6), &[], &[("b", "1")]), all(), &[("a", "1")]);
    assert_serializable(&[], &[first, noticed]);
}

#[test]
fn a_scan_is_of_one_point() {
    let (one, two) = (
        call((1, 2), &[], &[("a", "1")]),
        call((4, 5), &[], &[("c", "1")]),
    );
    let scan = |times, found| scanning(Call::at(times, 9), all(), found);
    // The later write without the earlier one.
    assert_not_serializable(&[], &[one.clone(), two.clone(), scan(3, &[("c", "1")])]);
    assert_serializable(&[], &[one.clone(), two.clone(), scan(3, &[("a", "1")])]);
    let reversed = scanning(Call::at(6, 9), all().reversed().limit(1), &[("c", "1")]);
    assert_serializable(&[], &[one.clone(), two.clone(), reversed]);
    let forward = scanning(Call::at(6, 9), all().limit(1), &[("c", "1")]);
    assert_not_serializable(&[], &[one, two, forward]);
}

#[test]
fn a_scan_shows_what_its_own_call_wrote() {
    let mut scan = scanning(
        call((1, 2), &[], &[("b", "2")]),
        all(),
        &[("a", "1"), ("b", "2")],
    );
    assert_not_serializable(&[("a", "1")], std::slice::from_ref(&scan));
    scan.ranges[0].own = scan.writes.clone();
    assert_serializable(&[("a", "1")], &[scan]);
}

#[test]
fn a_snapshot_that_moves_is_found() {
    let write = |times, to| call(times, &[], &[("x", to), ("y", to)]);
    // Read at two points, as one call.
    let moved = call((3, 8), &[("x", "1"), ("y", "2")], &[]);
    assert_not_serializable(
        &[],
        &[write((1, 2), "1"), write((4, 5), "2"), moved.clone()],
    );
    let versioned = [
        as_version(write((1, 2), "1"), 1),
        as_version(write((4, 5), "2"), 2),
        moved,
    ];
    assert_not_serializable(&[], &versioned);
}

#[test]
fn many_writes_in_doubt_are_judged_and_the_bound_is_kept() {
    let mut calls: Vec<Call> = (0..12)
        .map(|number| perhaps(call((1, 50), &[], &[("x", &number.to_string())])))
        .collect();
    calls.push(call((60, 61), &[("x", "7")], &[]));
    assert_linearizable(&calls);
    calls.push(call((62, 63), &[("x", "8")], &[]));
    assert_eq!(linearizable(&State::new(), &calls, 50), Verdict::GaveUp);
}

/// Against all orders, tried one by one: the search must say the same of small random histories.
#[test]
fn the_search_agrees_with_trying_every_order() {
    use crate::workload::Random;

    let (mut fits, mut broken) = (0, 0);
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let names = ["x", "y"];
        let count = 2 + random.below(4);
        let calls: Vec<Call> = (0..count)
            .map(|number| {
                let began = random.below(8);
                let mut made = Call::at(began, began + random.below(6));
                let name = |random: &mut Random| key(names[random.below(2) as usize]);
                let some = |random: &mut Random| {
                    (random.below(3) > 0).then(|| random.below(count).to_string().into_bytes())
                };
                if random.below(3) > 0 {
                    made.reads.insert(name(&mut random), some(&mut random));
                }
                if random.below(3) > 0 {
                    let written = number.to_string().into_bytes();
                    made.writes.insert(name(&mut random), Some(written));
                }
                if random.below(4) == 0 {
                    made.certainty = Certainty::Maybe;
                }
                made
            })
            .collect();
        let wanted = some_order(&State::new(), &calls, &mut vec![false; calls.len()]);
        let found = serializable(&State::new(), &calls, BOUND);
        match found {
            Verdict::Fits => fits += 1,
            Verdict::Broken(_) => broken += 1,
            Verdict::GaveUp => panic!("six calls are few"),
        }
        assert_eq!(found == Verdict::Fits, wanted, "seed {seed}: {calls:?}");
    }
    assert!(fits > 300 && broken > 300, "{fits} fit, {broken} do not");
}

/// Whether what is not settled can follow in some order.
fn some_order(state: &State, calls: &[Call], settled: &mut [bool]) -> bool {
    let open =
        |settled: &[bool]| -> Vec<usize> { (0..calls.len()).filter(|at| !settled[*at]).collect() };
    if open(settled).is_empty() {
        return true;
    }
    for at in open(settled) {
        let next = &calls[at];
        let first = open(settled)
            .into_iter()
            .all(|other| calls[other].ended >= next.began);
        settled[at] = true;
        let mut after = state.clone();
        next.apply_to(&mut after);
        let happened = first && next.is_explained_by(state) && some_order(&after, calls, settled);
        // One that did not happen has no place, and nothing to wait for.
        let left_out = || next.certainty == Certainty::Maybe;
        if happened || (left_out() && some_order(state, calls, settled)) {
            return true;
        }
        settled[at] = false;
    }
    false
}
