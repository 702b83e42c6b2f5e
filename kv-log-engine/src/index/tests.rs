//! The tree against the standard library's map.

use super::*;
use crate::format::ids::{Location, SegmentId, Seqno};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[expect(
    clippy::big_endian_bytes,
    reason = "keys whose bytes sort as their numbers"
)]
fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

fn entry(number: u64) -> Entry {
    let location = Location {
        segment: SegmentId::new(1),
        offset: number,
        record_bytes: 24,
    };
    Entry {
        location,
        seqno: Seqno::new(number),
    }
}

fn all(tree: &Tree) -> Vec<(Box<[u8]>, Entry)> {
    tree.range(Bound::Unbounded, Bound::Unbounded).collect()
}

fn model_all(model: &BTreeMap<Vec<u8>, Entry>) -> Vec<(Box<[u8]>, Entry)> {
    model
        .iter()
        .map(|(key, entry)| (key.clone().into(), *entry))
        .collect()
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Vec<u8>),
    Remove(Vec<u8>),
    Snapshot,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || vec(0_u8..6, 0..5);
    prop_oneof![5 => key().prop_map(Op::Insert), 3 => key().prop_map(Op::Remove), 1 => Just(Op::Snapshot)]
}

proptest! {
    #[test]
    fn behaves_as_a_map_and_snapshots_stay_as_they_were(ops in vec(op(), 0..1500)) {
        let mut tree = Tree::new();
        let mut model = BTreeMap::new();
        let mut snapshots = Vec::new();
        for (number, op) in ops.into_iter().enumerate() {
            match op {
                Op::Insert(key) => {
                    let entry = entry(number as u64);
                    prop_assert_eq!(tree.insert(&key, entry), model.insert(key, entry));
                }
                Op::Remove(key) => prop_assert_eq!(tree.remove(&key), model.remove(&key)),
                Op::Snapshot => snapshots.push((tree.clone(), model_all(&model))),
            }
        }
        tree.check();
        prop_assert_eq!(all(&tree), model_all(&model));
        for (key, entry) in &model {
            prop_assert_eq!(tree.get(key), Some(*entry));
        }
        for (snapshot, expected) in snapshots {
            snapshot.check();
            prop_assert_eq!(all(&snapshot), expected);
        }
    }

    #[test]
    fn ranges_agree_with_the_model(
        keys in vec(vec(0_u8..4, 0..4), 0..400),
        low in vec(0_u8..4, 0..4), high in vec(0_u8..4, 0..4), kinds in 0_u8..9,
    ) {
        let mut tree = Tree::new();
        let mut model = BTreeMap::new();
        for (number, key) in keys.into_iter().enumerate() {
            tree.insert(&key, entry(number as u64));
            model.insert(key, entry(number as u64));
        }
        let bound = |kind: u8, key: &Vec<u8>| match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(key.clone()),
            _ => Bound::Excluded(key.clone()),
        };
        let (lower, upper) = (bound(kinds / 3, &low), bound(kinds % 3, &high));
        let found: Vec<_> =
            tree.range(lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice)).collect();
        let expected: Vec<_> = model_all(&model)
            .into_iter()
            .filter(|(key, _)| {
                (match &lower { Bound::Unbounded => true, Bound::Included(low) => **key >= **low, Bound::Excluded(low) => **key > **low })
                    && (match &upper { Bound::Unbounded => true, Bound::Included(high) => **key <= **high, Bound::Excluded(high) => **key < **high })
            })
            .collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_hundred_thousand_keys_in_any_order_stay_in_order() {
    for stride in [1_u64, 99_999, 7_919] {
        let mut tree = Tree::new();
        let count = 100_000_u64;
        for step in 0..count {
            let number = step * stride % count;
            assert_eq!(tree.insert(&key(number), entry(number)), None);
        }
        tree.check();
        assert_eq!(tree.len(), 100_000);
        assert!(
            all(&tree)
                .iter()
                .map(|(_, entry)| entry.seqno.get())
                .eq(0..count)
        );
        for number in (0..count).filter(|number| number % 10 != 3) {
            assert!(tree.remove(&key(number)).is_some());
        }
        tree.check();
        assert_eq!(tree.len(), 10_000);
    }
}
