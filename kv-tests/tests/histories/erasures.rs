//! What is erased at once, ranges and keyspaces: FORMAT.md, "Erasures".

use super::life::{Life, few, key, long, short};
use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{Batch, Engine};
use kv_tests::workload::Random;
use kv_trait::{Effect, ErrorKind, Fingerprint, Result};
use std::ops::Bound;

tests! {
    what_is_erased_is_absent_to_every_read_and_stays_so,
    a_power_cut_around_an_erasure_leaves_all_of_it_or_nothing,
    an_erasure_stays_as_long_as_a_run_has_what_it_covers,
    a_merge_leaves_out_what_is_erased_and_lets_the_erasure_go,
    what_was_erased_behind_the_checkpoint_is_erased_behind_a_crash,
    a_condition_notices_that_its_key_was_erased,
    a_run_of_which_nothing_counts_goes_without_another,
    a_queue_that_purges_its_front_keeps_one_erasure,
    erasures_far_apart_keep_to_their_bound,
    a_dropped_keyspace_answers_so_and_its_number_is_never_given_again,
    what_was_begun_before_an_erasure_goes_on,
}

type Bounds<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

fn erase(life: &mut Life, from: &[u8], to: &[u8]) {
    let range: Bounds<'_> = (Bound::Included(from), Bound::Excluded(to));
    life.store().delete_range(range).unwrap();
    life.model
        .retain(|key, _| key.as_slice() < from || to <= key.as_slice());
}

fn checkpoint_and_power_cut(life: &mut Life, what: &str) {
    life.check(what);
    life.checkpoint();
    life.check(what);
    life.cut();
    life.check(what);
}

pub(crate) fn what_is_erased_is_absent_to_every_read_and_stays_so() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut life = Life::new();
        for step in 0..900_u64 {
            let number = random.below(60);
            let one = key(number);
            match random.below(20) {
                0..2 => erase(&mut life, &one, &key(number + 1 + random.below(20))),
                2 => {
                    // What a batch writes behind its erasure is there, and what it wrote before is not.
                    let (from, to) = (key(10), key(10 + random.below(30)));
                    let mut batch = Batch::new().with_priors();
                    batch.put(&from, &short(step)).unwrap();
                    let range: Bounds<'_> = (Bound::Included(&from), Bound::Excluded(&to));
                    batch.delete_range(range).unwrap();
                    batch.put(&key(12), &short(step)).unwrap();
                    let priors = life.store().write(batch).unwrap().into_priors().unwrap();
                    assert_eq!(priors[0], life.model.get(&from).cloned());
                    life.model.insert(from.clone(), short(step));
                    life.model.retain(|key, _| *key < from || to <= *key);
                    let before = life.model.insert(key(12), short(step));
                    assert_eq!(priors.last(), Some(&before), "{seed} {step}");
                }
                3 => life.delete(&one),
                4 => assert_eq!(
                    life.store().delete(&one).unwrap(),
                    life.model.remove(&one),
                    "{seed} {step}"
                ),
                5 => life.put(&one, long(step)),
                6 if step % 7 == 0 => {
                    life.store().clear().unwrap();
                    life.model.clear();
                }
                7 => life.freeze(),
                8 => {
                    life.work();
                }
                9 => drop(life.slice()),
                10 if step % 3 == 0 => life.cut(),
                11 => assert_eq!(
                    life.store().get(&one).unwrap().as_ref(),
                    life.model.get(&one),
                    "{seed} {step}"
                ),
                _ => {
                    let before = life.store().set(&one, &short(step)).unwrap();
                    assert_eq!(before, life.model.insert(one, short(step)), "{seed} {step}");
                }
            }
            if step % 50 == 49 {
                life.check(&format!("seed {seed}, step {step}"));
                let mut backwards: Vec<_> = life.store().scan(..).unwrap().rev().collect();
                backwards.reverse();
                let backwards: Result<Vec<_>> = backwards.into_iter().collect();
                let expected: Vec<_> = life.model.clone().into_iter().collect();
                assert_eq!(backwards.unwrap(), expected);
            }
        }
        life.compact();
        life.check("compacted");
        let values = life.entries() - life.tombstones();
        assert_eq!(values, life.model.len() as u64, "seed {seed}");
        assert_eq!(life.store().stats().erased_ranges, 0);
    }
}

/// Forty keys in a run, ten more in memory.
fn filled() -> Life {
    let mut life = Life::new();
    for number in 0..40 {
        life.put(key(number), long(number));
    }
    life.checkpoint();
    for number in 30..50 {
        life.put(key(number), short(number));
    }
    life
}

pub(crate) fn a_power_cut_around_an_erasure_leaves_all_of_it_or_nothing() {
    let mut life = filled();
    let before = life.model.clone();
    life.disk.start_trace();
    let mut batch = Batch::new();
    let (from, to) = (key(5), key(45));
    let range: Bounds<'_> = (Bound::Included(&from), Bound::Excluded(&to));
    batch.delete_range(range).unwrap();
    batch.put(&key(20), b"behind it").unwrap();
    life.store().write(batch).unwrap();
    life.model.retain(|key, _| *key < from || to <= *key);
    life.model.insert(key(20), b"behind it".to_vec());
    life.check("erased");
    life.checkpoint_and_work();
    life.check("checkpoint");
    life.compact();
    life.check("compacted");
    let allowed = [&before, &life.model];
    assert!(life.cut_everywhere(&few(), &allowed) > 10);
    assert!(life.die_everywhere(&allowed) > 10);
}

pub(crate) fn an_erasure_stays_as_long_as_a_run_has_what_it_covers() {
    let mut life = filled();
    erase(&mut life, &key(3), &key(33));
    checkpoint_and_power_cut(&mut life, "a run has it");
    assert_eq!(life.store().stats().erased_ranges, 1);
    life.put(key(10), short(1));
    checkpoint_and_power_cut(&mut life, "and another has one behind it");
}

pub(crate) fn a_merge_leaves_out_what_is_erased_and_lets_the_erasure_go() {
    let mut life = filled();
    erase(&mut life, &key(3), &key(33));
    life.checkpoint();
    life.compact();
    life.check("compacted");
    assert_eq!(life.store().stats().erased_ranges, 0);
    assert_eq!(life.entries(), life.model.len() as u64);
    life.cut();
    life.check("cut");
}

pub(crate) fn what_was_erased_behind_the_checkpoint_is_erased_behind_a_crash() {
    let mut life = filled();
    erase(&mut life, &key(3), &key(33));
    life.put(key(7), short(1));
    life.die();
    life.check("died");
    life.cut();
    life.check("cut");
    checkpoint_and_power_cut(&mut life, "checkpoint");
}

pub(crate) fn a_condition_notices_that_its_key_was_erased() {
    for layers in 0..4 {
        let mut life = filled();
        let store = life.store().clone();
        let versions: Vec<_> = [2, 35, 48]
            .iter()
            .map(|number| store.get_versioned(&key(*number)).unwrap().unwrap().0)
            .collect();
        let expecting = |number: u64, at: usize| {
            let mut batch = Batch::new();
            batch.expect(&key(number), Some(versions[at])).unwrap();
            batch.put(b"result", b"holds").unwrap();
            batch
        };
        // In one group with what erases it.
        let mut erasing = Batch::new();
        let to = key(40);
        let range: Bounds<'_> = (Bound::Unbounded, Bound::Excluded(&to));
        erasing.delete_range(range).unwrap();
        let erased = store.submit(erasing).unwrap();
        let in_group = [(2, 0), (35, 1)].map(|(number, at)| store.submit(expecting(number, at)));
        let holds = store.submit(expecting(48, 2)).unwrap();
        erased.wait().unwrap();
        for refused in in_group {
            let refused = refused.unwrap().wait().unwrap_err();
            assert_eq!(
                (refused.kind(), refused.effect()),
                (ErrorKind::Conflict, Effect::Nothing)
            );
        }
        holds.wait().unwrap();
        life.model.retain(|known, _| *known >= key(40));
        life.model.insert(b"result".to_vec(), b"holds".to_vec());
        // Behind it, as the erasure goes from memory to the manifest, and away.
        for _ in 0..layers {
            life.put(b"another", b"value");
            life.checkpoint_and_work();
        }
        for (number, at) in [(2, 0), (35, 1)] {
            let refused = store.write(expecting(number, at)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Conflict, "{layers}");
            let mut absent = Batch::new();
            absent.expect(&key(number), None).unwrap();
            store.write(absent).unwrap();
        }
        life.check("at the end");
    }
}

pub(crate) fn a_run_of_which_nothing_counts_goes_without_another() {
    let mut life = Life::new();
    for number in 0..200 {
        life.put(key(number), short(number));
    }
    life.checkpoint_and_work();
    assert!(life.files(".run").len() > 2);
    let units = life.store().stats().merge_units;
    life.store().clear().unwrap();
    life.model.clear();
    life.checkpoint_and_work();
    assert_eq!(life.files(".run").len(), 0);
    let stats = life.store().stats();
    assert_eq!((stats.merge_units, stats.erased_ranges), (units, 0));
    life.check("cleared");
    life.cut();
    life.check("cut");
}

pub(crate) fn a_queue_that_purges_its_front_keeps_one_erasure() {
    let mut life = Life::new();
    let mut front = 0;
    for turn in 0..40 {
        for number in 0..25 {
            life.put(key(turn * 25 + number), short(number));
        }
        let to = turn * 25 + 10;
        erase(&mut life, &key(front), &key(to));
        front = to;
        if turn % 4 == 3 {
            life.checkpoint_and_work();
            life.check("purged");
        }
        assert!(life.store().stats().erased_ranges <= 10);
    }
    // From the first key on, each covers the one before.
    for turn in 0..20 {
        let to = front + turn;
        let to = key(to);
        let range: Bounds<'_> = (Bound::Unbounded, Bound::Excluded(&to));
        life.store().delete_range(range).unwrap();
        life.model.retain(|key, _| to <= *key);
    }
    life.check("from the first key on");
    assert!(life.store().stats().erased_ranges <= 10);
}

pub(crate) fn erasures_far_apart_keep_to_their_bound() {
    let mut life = Life::new();
    for number in 0..300 {
        life.put(key(number), short(number));
    }
    life.checkpoint();
    for turn in 0..2500_u64 {
        let number = turn * 7 % 3000;
        erase(&mut life, &key(number), &key(number + 1));
        let pieces = life.store().stats().erased_ranges;
        assert!(pieces <= 1024, "{pieces}");
    }
    life.check("erased");
    // What was frozen on the way, and then the rest.
    life.checkpoint_and_work();
    life.checkpoint_and_work();
    assert!(life.store().stats().erased_ranges < 128);
    life.cut();
    life.check("cut");
}

pub(crate) fn a_dropped_keyspace_answers_so_and_its_number_is_never_given_again() {
    let mut life = filled();
    let raw = Fingerprint::raw();
    let old = life.store().keyspace("one", &raw).unwrap();
    let other = life.store().keyspace("two", &raw).unwrap();
    for number in 0..30 {
        old.put(&key(number), &short(number)).unwrap();
        other.put(&key(number), &long(number)).unwrap();
    }
    let scan = old.scan(..).unwrap();
    assert!(life.store().drop_keyspace("one").unwrap());
    assert!(!life.store().drop_keyspace("one").unwrap());
    assert_eq!(scan.map(Result::unwrap).count(), 30, "it was begun before");
    let new = life.store().keyspace("one", &raw).unwrap();
    assert_eq!((old.keyspace_id(), new.keyspace_id()), (1, 3));
    let mut batch = Batch::new();
    batch.put(b"beside", b"it").unwrap();
    batch.select(&old).put(b"a", b"b").unwrap();
    let mut expecting = Batch::new();
    expecting.select(&old).expect(b"a", None).unwrap();
    let refused: Vec<ErrorKind> = [
        old.get(&key(1)).map(drop),
        old.get_versioned(&key(1)).map(drop),
        old.set(&key(1), b"v").map(drop),
        old.put(&key(1), b"v"),
        old.delete(&key(1)).map(drop),
        old.remove(&key(1)),
        old.clear(),
        old.scan(..).map(drop),
        old.snapshot().map(drop),
        life.store().write(batch).map(drop),
        life.store().write(expecting).map(drop),
    ]
    .into_iter()
    .map(|refused| {
        let refused = refused.unwrap_err();
        assert_eq!(refused.effect(), Effect::Nothing, "{refused}");
        refused.kind()
    })
    .collect();
    assert_eq!(refused, [ErrorKind::NotFound; 11]);
    let look = |store: &Engine, what: &str| {
        let new = store.keyspace("one", &raw).unwrap();
        assert_eq!(new.keyspace_id(), 3, "{what}");
        assert_eq!(new.scan(..).unwrap().count(), 0, "{what}");
        let other = store.keyspace("two", &raw).unwrap();
        assert_eq!(other.scan(..).unwrap().count(), 30, "{what}");
    };
    drop((old, other, new));
    look(life.store(), "dropped");
    life.checkpoint_and_work();
    look(life.store(), "checkpoint");
    life.cut();
    look(life.store(), "cut");
    life.compact();
    life.cut();
    look(life.store(), "compacted");
    assert_eq!(life.entries(), life.model.len() as u64 + 30);
    assert!(life.store().drop_keyspace("one").unwrap());
    life.put(b"tail", b"to have one");
    life.checkpoint_and_work();
    life.cut();
    let newest = life.store().keyspace("one", &raw).unwrap();
    assert_eq!(newest.keyspace_id(), 4);
    drop(newest);
    life.check("at the end");
}

pub(crate) fn what_was_begun_before_an_erasure_goes_on() {
    let mut life = filled();
    let before = life.model.clone();
    let snapshot = life.store().snapshot().unwrap();
    let mut scan = snapshot.scan(..).unwrap();
    assert!(scan.next().unwrap().is_ok());
    life.store().clear().unwrap();
    life.model.clear();
    life.put(key(0), b"new");
    life.checkpoint_and_work();
    life.compact();
    life.check("cleared");
    assert_eq!(scan.map(Result::unwrap).count(), before.len() - 1);
    for (key, value) in &before {
        assert_eq!(snapshot.get(key).unwrap().as_ref(), Some(value));
    }
    drop(snapshot);
    life.work();
    let disk: &SimDisk = &life.disk;
    assert!(!disk.files().is_empty());
    life.check("at the end");
}
