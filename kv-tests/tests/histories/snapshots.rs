//! Versions and snapshots: docs/DURABILITY.md, rules V and S.

use super::life::{Life, Model, key, large, short, wide, wide_of};
use kv_log_engine::{Batch, Engine, Seqno, Snapshot};
use kv_tests::workload::STORE;
use kv_trait::{ErrorKind, Result};
use std::ops::Bound;
use std::time::Duration;

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
    a_snapshot_stands_still_wherever_its_records_go,
    a_snapshot_that_is_too_old_says_so_with_its_scans,
    a_snapshot_that_keeps_too_much_ends_and_gives_it_back,
    a_snapshot_behind_a_close_goes_on_or_ends_as_closed,
    a_snapshot_reads_keyspaces_of_its_own_store_only,
}

/// Scans both ways and reads each key, and some that were not there.
fn shows(snapshot: &Snapshot, model: &Model, what: &str) {
    let expected: Vec<_> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let found = snapshot.scan(..).unwrap().collect::<Result<Vec<_>>>();
    assert!(found.unwrap() == expected, "{what}: a scan shows another");
    let found = snapshot.scan(..).unwrap().rev().collect::<Result<Vec<_>>>();
    let found: Vec<_> = found.unwrap().into_iter().rev().collect();
    assert!(
        found == expected,
        "{what}: a scan from the end shows another"
    );
    for number in 0..200 {
        let name = key(number);
        let found = snapshot.get(&name).unwrap();
        assert!(
            found.as_ref() == model.get(&name),
            "{what}: key {number} has moved"
        );
    }
}

/// All keys get another value or go, and others come.
fn change_everything(life: &mut Life, turn: u64) {
    for number in 0..60 {
        match (number + turn) % 3 {
            0 => life.put(key(number), large(turn * 1000 + number)),
            1 => life.put(key(number), short(turn * 1000 + number)),
            _ => life.delete(key(number)),
        }
    }
    life.put(key(100 + turn), short(turn));
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

pub(crate) fn a_snapshot_stands_still_wherever_its_records_go() {
    let mut life = wide_of(60);
    let mut taken = Vec::new();
    let mut check = |life: &Life, what: &str| {
        let snapshot = life.store().snapshot().unwrap();
        taken.push((snapshot, life.model.clone()));
        for (number, (snapshot, model)) in taken.iter().enumerate() {
            shows(snapshot, model, &format!("{what}, snapshot {number}"));
            assert!(snapshot.at() <= taken.last().unwrap().0.at());
        }
    };
    check(&life, "in runs");
    change_everything(&mut life, 1);
    check(&life, "in memory");
    life.freeze();
    check(&life, "frozen");
    change_everything(&mut life, 2);
    check(&life, "changed above what is frozen");
    life.checkpoint_and_work();
    check(&life, "in another run");
    change_everything(&mut life, 3);
    life.compact();
    check(&life, "merged to the bottom");
    life.compact();
    check(&life, "unlinked what nobody holds");
    drop(taken);
    life.work();
    life.check("without snapshots");
}

pub(crate) fn a_snapshot_that_is_too_old_says_so_with_its_scans() {
    let life = wide_of(8);
    life.store().close().unwrap();
    let options = life.options(&life.disk);
    let options = options.view_age_max(Duration::from_secs(10));
    let store = Engine::open(STORE, options).unwrap();
    let snapshot = store.snapshot().unwrap();
    let clone = snapshot.clone();
    life.host.advance(Duration::from_secs(6));
    // It is as old as its snapshot.
    let mut scan = snapshot.scan(..).unwrap();
    scan.next().unwrap().unwrap();
    assert!(snapshot.get(&key(0)).unwrap().is_some());
    life.host.advance(Duration::from_secs(6));
    assert_eq!(scan.next().unwrap().unwrap_err().kind(), ErrorKind::TooOld);
    assert!(scan.next().is_none());
    for snapshot in [snapshot, clone] {
        let refused = snapshot.get(&key(0)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TooOld, "{refused}");
        assert_eq!(snapshot.scan(..).unwrap_err().kind(), ErrorKind::TooOld);
    }
    let fresh = store.snapshot().unwrap();
    assert!(fresh.get(&key(0)).unwrap().is_some());
}

pub(crate) fn a_snapshot_that_keeps_too_much_ends_and_gives_it_back() {
    let mut life = wide();
    let model = life.model.clone();
    life.close();
    let options = life.options(&life.disk).pinned_bytes_max(2000);
    life.open_with(options);
    let first = life.store().snapshot().unwrap();
    let scan = first.scan(..).unwrap();
    shows(&first, &model, "before anything is let go");
    for turn in 1..4 {
        change_everything(&mut life, turn);
        life.compact();
        life.work();
    }
    assert_eq!(first.get(&key(0)).unwrap_err().kind(), ErrorKind::TooOld);
    let ended = scan.collect::<Result<Vec<_>>>().unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::TooOld);
    life.work();
    assert!(life.store().stats().oldest_view.is_none());
    let fresh = life.store().snapshot().unwrap();
    shows(&fresh, &life.model, "a new one");
}

pub(crate) fn a_snapshot_behind_a_close_goes_on_or_ends_as_closed() {
    let mut life = wide_of(60);
    life.die();
    let model = life.model.clone();
    let snapshot = life.store().snapshot().unwrap();
    life.put(key(3), short(3));
    life.close();
    let found = snapshot.get(&key(3)).unwrap();
    assert!(found.as_ref() == model.get(&key(3)), "closed");
    life.open();
    change_everything(&mut life, 1);
    life.compact();
    let mut ended = 0;
    for number in 0..60 {
        match snapshot.get(&key(number)) {
            Ok(found) => assert!(found.as_ref() == model.get(&key(number))),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                ended += 1;
            }
        }
    }
    assert!(ended > 0, "no file that it needs is gone");
}

pub(crate) fn a_snapshot_reads_keyspaces_of_its_own_store_only() {
    let mut life = wide_of(8);
    let snapshot = life.store().snapshot().unwrap();
    let model = life.model.clone();
    life.put(key(1), short(9));
    shows(&snapshot.of(life.store()).unwrap(), &model, "the same one");
    let other = wide_of(8);
    let refused = snapshot.of(other.store()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
}
