//! The tree against the standard library's map.

use super::*;
use crate::index::node::FANOUT;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::RangeBounds;

#[expect(
    clippy::big_endian_bytes,
    reason = "keys whose bytes sort as their numbers"
)]
fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

type Payload = Vec<u8>;

/// A payload whose length differs from number to number.
fn entry(number: u64) -> Payload {
    let (bytes, len) = crate::index::slot::number_bytes(number);
    bytes[..len].to_vec()
}

/// The same, and now and then a large one.
fn any_entry(number: u64) -> Payload {
    let mut payload = entry(number);
    if number % 17 == 5 {
        payload.resize(1000, 7);
    }
    payload
}

fn number_of(payload: &[u8]) -> u64 {
    crate::index::slot::number_at(payload, &mut 0)
}

fn insert<const F: usize>(tree: &mut TreeOf<F>, key: &[u8], payload: &[u8]) -> Option<Payload> {
    let mut replaced = None;
    let stamp = number_of(payload);
    tree.insert(key, payload, stamp, |before| {
        replaced = Some(before.to_vec());
    });
    replaced
}

fn remove<const F: usize>(tree: &mut TreeOf<F>, key: &[u8]) -> Option<Payload> {
    let removed = tree.get(key).map(<[u8]>::to_vec);
    assert_eq!(tree.remove(key), removed.is_some());
    removed
}

fn owned((key, payload): (Box<[u8]>, &[u8])) -> (Box<[u8]>, Payload) {
    (key, payload.to_vec())
}

fn forwards<const F: usize>(mut range: RangeOf<F>) -> Vec<(Box<[u8]>, Payload)> {
    std::iter::from_fn(|| range.next().map(owned)).collect()
}

fn all<const F: usize>(tree: &TreeOf<F>) -> Vec<(Box<[u8]>, Payload)> {
    forwards(tree.range(Bound::Unbounded, Bound::Unbounded))
}

fn model_all(model: &BTreeMap<Vec<u8>, Payload>) -> Vec<(Box<[u8]>, Payload)> {
    model
        .iter()
        .map(|(key, payload)| (key.clone().into(), payload.clone()))
        .collect()
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Vec<u8>, u64),
    Remove(Vec<u8>),
    /// Every key from here on, so that trees shrink.
    RemoveFrom(Vec<u8>, usize),
    Snapshot,
}

/// Short keys that meet often, keys with long prefixes in common, and keys of more bytes than a node likes to have.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let short = vec(0_u8..6, 0..5);
    let prefixed = (0_usize..3, vec(0_u8..3, 0..4)).prop_map(|(prefix, tail)| {
        let mut key = vec![7; [3, 40, 700][prefix]];
        key.extend(tail);
        key
    });
    let long = (0_u8..9, 0_usize..4).prop_map(|(byte, size)| vec![byte; size * 900]);
    prop_oneof![6 => short, 3 => prefixed, 1 => long]
}

fn op() -> impl Strategy<Value = Op> {
    let number = prop_oneof![0_u64..200, any::<u64>()];
    prop_oneof![
        10 => (any_key(), number).prop_map(|(key, number)| Op::Insert(key, number)),
        5 => any_key().prop_map(Op::Remove),
        1 => (any_key(), 0_usize..30).prop_map(|(key, count)| Op::RemoveFrom(key, count)),
        1 => Just(Op::Snapshot),
    ]
}

/// Between every two keys that are there or nearly, for several stamps.
fn finds_what_is_stamped_above<const F: usize>(
    tree: &TreeOf<F>,
    model: &BTreeMap<Vec<u8>, Payload>,
) -> Result<(), TestCaseError> {
    let some = model.keys().step_by(model.len() / 6 + 1);
    let mut bounds: Vec<Bound<&[u8]>> = vec![Bound::Unbounded];
    for key in some {
        bounds.push(Bound::Included(key));
        bounds.push(Bound::Excluded(key));
        bounds.push(Bound::Included(&key[..key.len() / 2]));
    }
    for lower in &bounds {
        for upper in &bounds {
            for stamp in [0, 20, 150, 1 << 40] {
                let expected = model.iter().find(|(key, payload)| {
                    <(Bound<&[u8]>, Bound<&[u8]>) as RangeBounds<[u8]>>::contains(
                        &(*lower, *upper),
                        key,
                    ) && number_of(payload) > stamp
                });
                let expected = expected.map(|(key, payload)| (key.as_slice(), number_of(payload)));
                let found = tree.first_above((*lower, *upper), stamp, number_of);
                let found = found.as_ref().map(|(key, stamp)| (&**key, *stamp));
                prop_assert_eq!(found, expected);
            }
        }
    }
    Ok(())
}

fn behaves_as_a_map<const F: usize>(ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut tree = TreeOf::<F>::new();
    let mut model = BTreeMap::new();
    let mut snapshots = Vec::new();
    for op in ops {
        match op {
            Op::Insert(key, number) => {
                let entry = any_entry(number);
                prop_assert_eq!(insert(&mut tree, &key, &entry), model.insert(key, entry));
            }
            Op::Remove(key) => prop_assert_eq!(remove(&mut tree, &key), model.remove(&key)),
            Op::RemoveFrom(key, count) => {
                let keys: Vec<_> = model
                    .range(key..)
                    .take(count)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in keys {
                    prop_assert_eq!(remove(&mut tree, &key), model.remove(&key));
                }
            }
            Op::Snapshot => snapshots.push((tree.clone(), model_all(&model))),
        }
        tree.check();
    }
    prop_assert_eq!(all(&tree), model_all(&model));
    for (key, entry) in &model {
        prop_assert_eq!(tree.get(key), Some(&**entry));
    }
    finds_what_is_stamped_above(&tree, &model)?;
    for (snapshot, expected) in snapshots {
        snapshot.check();
        prop_assert_eq!(all(&snapshot), expected);
    }
    while let Some((key, entry)) = model.pop_last() {
        prop_assert_eq!(remove(&mut tree, &key), Some(entry));
        tree.check();
    }
    prop_assert_eq!(tree.depth(), 0);
    Ok(())
}

fn within(key: &[u8], lower: &Bound<Vec<u8>>, upper: &Bound<Vec<u8>>) -> bool {
    let above = match lower {
        Bound::Included(low) => key >= &**low,
        Bound::Excluded(low) => key > &**low,
        Bound::Unbounded => true,
    };
    above
        && match upper {
            Bound::Included(high) => key <= &**high,
            Bound::Excluded(high) => key < &**high,
            Bound::Unbounded => true,
        }
}

fn any_bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        1 => Just(Bound::Unbounded),
        3 => any_key().prop_map(Bound::Included),
        3 => any_key().prop_map(Bound::Excluded),
    ]
}

proptest! {
    #[test]
    fn nodes_of_four_behave_as_a_map_and_snapshots_stay_as_they_were(ops in vec(op(), 0..400)) {
        behaves_as_a_map::<4>(ops)?;
    }

    #[test]
    fn nodes_of_nine_behave_as_a_map_and_snapshots_stay_as_they_were(ops in vec(op(), 0..600)) {
        behaves_as_a_map::<9>(ops)?;
    }

    #[test]
    fn behaves_as_a_map_and_snapshots_stay_as_they_were(ops in vec(op(), 0..1000)) {
        behaves_as_a_map::<FANOUT>(ops)?;
    }

    #[test]
    fn ranges_agree_with_the_model_from_both_ends(
        keys in vec(any_key(), 0..300), gone in vec(any_key(), 0..100),
        lower in any_bound(), upper in any_bound(), ends in vec(any::<bool>(), 0..300),
    ) {
        let mut tree = TreeOf::<4>::new();
        let mut model = BTreeMap::new();
        for (number, key) in keys.into_iter().enumerate() {
            insert(&mut tree, &key, &entry(number as u64));
            model.insert(key, entry(number as u64));
        }
        for key in gone {
            tree.remove(&key);
            model.remove(&key);
        }
        let range = || tree.range(lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
        let expected: Vec<_> =
            model_all(&model).into_iter().filter(|(key, _)| within(key, &lower, &upper)).collect();
        prop_assert_eq!(&forwards(range()), &expected);
        let mut from_the_back = range();
        let mut backwards: Vec<_> =
            std::iter::from_fn(|| from_the_back.next_back().map(owned)).collect();
        backwards.reverse();
        prop_assert_eq!(&backwards, &expected);
        let mut left = std::collections::VecDeque::from(expected);
        let mut range = range();
        for front in ends {
            if front {
                prop_assert_eq!(range.next().map(owned), left.pop_front());
            } else {
                prop_assert_eq!(range.next_back().map(owned), left.pop_back());
            }
        }
    }
}

/// Freezing a node is what a snapshot asks of a writer: each change must copy the whole path, and nothing else.
#[test]
fn a_snapshot_shares_all_that_was_not_changed_since() {
    let mut tree = Tree::new();
    for number in 0..100_000 {
        insert(&mut tree, &key(number), &entry(number));
    }
    let snapshot = tree.clone();
    insert(&mut tree, &key(5_000), &entry(1));
    let (copied, shared) = tree.nodes_unlike(&snapshot);
    assert_eq!(copied, tree.depth() + 1);
    assert!(shared > 1_000);
    assert_eq!(snapshot.get(&key(5_000)), Some(&*entry(5_000)));
    insert(&mut tree, &key(5_001), &entry(1));
    assert_eq!(
        tree.nodes_unlike(&snapshot).0,
        copied,
        "a node is copied once"
    );
}

#[test]
fn keys_that_rise_or_fall_leave_full_nodes_behind() {
    let rising = (0..100_000).collect::<Vec<u64>>();
    let falling = rising.iter().rev().copied().collect();
    // Many streams side by side, as of many users, each by time.
    let streams = (0..100_000)
        .map(|step| (step % 100) * 1_000_000 + step / 100)
        .collect();
    for (name, numbers, percent) in [
        ("rising", rising, 95),
        ("falling", falling, 95),
        ("streams", streams, 70),
    ] {
        let mut tree = Tree::new();
        for number in numbers {
            insert(&mut tree, &key(number), &entry(number));
        }
        tree.check();
        let (leaves, len) = (tree.leaves(), tree.len());
        assert!(
            leaves * FANOUT * percent / 100 <= len,
            "{name}: {leaves} leaves for {len} keys"
        );
    }
}

/// What splits at the ends of nodes must not make nodes of one key each.
#[test]
fn no_order_of_keys_leaves_nodes_nearly_empty() {
    let falling_between =
        (0..1_000_u64).flat_map(|block| (0..100).rev().map(move |step| block << 32 | step << 8));
    let zigzag = (0..50_000_u64).flat_map(|step| [step, u64::MAX - step]);
    let inward = (0..100_000_u64).map(|step| {
        if step % 2 == 0 {
            step << 20
        } else {
            (1 << 50) - (step << 20)
        }
    });
    let numbers: [Vec<u64>; 3] = [
        falling_between.collect(),
        zigzag.collect(),
        inward.collect(),
    ];
    for numbers in numbers {
        let mut tree = Tree::new();
        for number in numbers {
            insert(&mut tree, &key(number), &entry(number));
        }
        tree.check();
        let (leaves, len) = (tree.leaves(), tree.len());
        assert!(
            leaves * FANOUT * 4 / 10 <= len,
            "{leaves} leaves for {len} keys"
        );
    }
}

/// Each replaced entry leaves bytes behind that are squeezed out in time.
#[test]
fn replacing_entries_does_not_grow_the_tree() {
    let mut tree = Tree::new();
    let put_all = |tree: &mut Tree, round: u64| {
        for number in 0..10_000 {
            insert(tree, &key(number), &entry(round << (round % 40)));
        }
    };
    put_all(&mut tree, 0);
    let before = tree.heap_bytes();
    for round in 1..80 {
        put_all(&mut tree, round);
    }
    tree.check();
    assert!(
        tree.heap_bytes() < before * 5 / 2,
        "{} from {before}",
        tree.heap_bytes()
    );
}

#[test]
fn the_estimate_of_the_bytes_in_use_is_near_what_is_in_use() {
    for stride in [1_u64, 7_919] {
        let mut tree = Tree::new();
        for step in 0..100_000 {
            let number = step * stride % 100_000;
            insert(&mut tree, &key(number), &entry(number));
        }
        let (estimate, heap) = (tree.approximate_bytes(), tree.heap_bytes());
        assert!(
            estimate * 2 > heap && estimate < heap * 2,
            "{estimate} for {heap}"
        );
    }
}

#[test]
fn a_hundred_thousand_keys_in_any_order_stay_in_order() {
    for stride in [1_u64, 99_999, 7_919] {
        let mut tree = Tree::new();
        let count = 100_000_u64;
        for step in 0..count {
            let number = step * stride % count;
            assert_eq!(insert(&mut tree, &key(number), &entry(number)), None);
        }
        tree.check();
        assert_eq!(tree.len(), 100_000);
        assert!(
            all(&tree)
                .iter()
                .map(|(_, payload)| number_of(payload))
                .eq(0..count)
        );
        for number in (0..count).filter(|number| number % 10 != 3) {
            assert!(tree.remove(&key(number)));
        }
        tree.check();
        assert_eq!(tree.len(), 10_000);
    }
}
