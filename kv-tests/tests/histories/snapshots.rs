//! Versions and snapshots: docs/DURABILITY.md, rules V and S.

use super::life::{Life, key, large, short, wide};
use kv_log_engine::{Batch, Seqno};

use std::ops::Bound;

/// Bounds, as scans take them.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

pub(crate) fn from(key: &[u8]) -> Bounds<'_> {
    (Bound::Included(key), Bound::Unbounded)
}

pub(crate) fn up_to(key: &[u8]) -> Bounds<'_> {
    (Bound::Unbounded, Bound::Included(key))
}

tests! {
    a_version_is_the_same_wherever_its_record_lies,
}

pub(crate) fn a_version_is_the_same_wherever_its_record_lies() {
    let mut life = wide();
    let mut batch = Batch::new();
    batch.put(&key(500), &short(1)).unwrap();
    batch.put(&key(501), &large(1)).unwrap();
    batch.delete(&key(2)).unwrap();
    let receipt = life.store().write(batch).unwrap();
    let versions: Vec<Seqno> = (0..4).map_while(|at| receipt.version(at)).collect();
    assert_eq!(versions.len(), 3);
    assert_eq!(versions.first(), Some(&receipt.first_seqno()));
    assert_eq!(versions.last(), Some(&receipt.last_seqno()));
    life.model.insert(key(500), short(1));
    life.model.insert(key(501), large(1));
    life.model.remove(&key(2));
    let check = |life: &Life, what: &str| {
        for (number, version, value) in [(500, versions[0], short(1)), (501, versions[1], large(1))]
        {
            let found = life.store().get_versioned(&key(number)).unwrap();
            assert_eq!(found, Some((version, value.clone())), "{what}");
            let mut scan = life.store().scan(from(&key(number))).unwrap();
            let found = scan.next_versioned().unwrap().unwrap();
            assert_eq!(
                found,
                (key(number), version, value.clone()),
                "{what}, forwards"
            );
            let mut scan = life.store().scan(up_to(&key(number))).unwrap();
            let found = scan.next_back_versioned().unwrap().unwrap();
            assert_eq!(found, (key(number), version, value), "{what}, backwards");
        }
        assert_eq!(life.store().get_versioned(&key(2)).unwrap(), None, "{what}");
        assert_eq!(
            life.store().get_versioned(b"never").unwrap(),
            None,
            "{what}"
        );
        life.check(what);
    };
    check(&life, "in memory");
    life.freeze();
    check(&life, "frozen");
    life.checkpoint_and_work();
    check(&life, "in a run");
    life.compact();
    check(&life, "merged");
    life.put(key(3), large(3));
    life.die();
    check(&life, "reopened");
}
