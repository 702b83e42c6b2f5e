//! Rules V1 to V4 and P of docs/DURABILITY.md.

use super::life::{Life, check, few, key, large, long, short, tuning, wide};
use kv_log_engine::storage::sim::{EIO, Fault, FaultKind, OpKind};
use kv_log_engine::{Batch, Submitted, Tuning};
use kv_trait::{ErrorKind, Result};
use std::collections::BTreeMap;
use std::time::Duration;

tests! {
    a_chore_that_installs_beside_a_publish_loses_neither,
    a_prior_value_is_that_of_the_view_its_group_was_built_on,
    a_slow_scan_reads_files_that_were_let_go,
    an_unlinked_file_is_open_nowhere,
    kept_receipts_handles_and_errors_pin_nothing,
    a_caller_that_writes_while_it_scans_does_not_wait_for_itself,
    the_oldest_pin_is_named_with_what_it_holds,
    a_scan_behind_a_close_goes_on_or_ends_as_closed,
    a_scan_behind_the_last_handle_goes_on_or_ends_as_closed,
    a_condition_on_a_key_in_a_run_is_judged_without_the_leader_reading,
    a_condition_that_memory_cannot_judge_is_looked_up_again,
    a_batch_sent_back_without_a_caller_is_refused_with_effect_nothing,
    an_expectation_of_a_version_that_was_merged_away_is_a_conflict,
}

fn value(number: u64, turn: u64) -> Vec<u8> {
    if number.is_multiple_of(2) {
        long(turn)
    } else {
        short(turn)
    }
}

pub(crate) fn a_chore_that_installs_beside_a_publish_loses_neither() {
    let mut life = Life::new();
    let last: Vec<u64> = std::thread::scope(|scope| {
        let life = &life;
        let writers: Vec<_> = (0..2_u64)
            .map(|writer| {
                scope.spawn(move || {
                    for turn in 0..5000 {
                        for number in 0..20 {
                            let name = key(writer * 100 + number);
                            let value = value(number, turn);
                            life.store().put(&name, &value).unwrap();
                            assert_eq!(life.store().get(&name).unwrap(), Some(value));
                        }
                        life.freeze();
                        if turn > 20 && life.store().stats().checkpoints > 8 {
                            return turn;
                        }
                    }
                    panic!("no checkpoint ends beside writers");
                })
            })
            .collect();
        while !writers
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            life.slice();
        }
        writers.into_iter().map(|it| it.join().unwrap()).collect()
    });
    for (writer, last) in (0..).zip(last) {
        for number in 0..20 {
            life.model
                .insert(key(writer * 100 + number), value(number, last));
        }
    }
    life.check("written");
    let stats = life.store().stats();
    assert!(stats.rotations > 10);
    life.work();
    life.check("worked");
    life.cut();
    life.check("cut");
}

pub(crate) fn a_prior_value_is_that_of_the_view_its_group_was_built_on() {
    let mut life = wide();
    life.put(key(4), large(4));
    life.freeze();
    let written = life.model.clone();
    let (first, second) = (key(4), key(2));
    std::thread::scope(|scope| {
        let gate = life.disk.hold_on(OpKind::Sync, ".seg");
        let setting = scope.spawn(|| {
            let mut batch = Batch::new().with_priors();
            batch.put(&first, b"new").unwrap();
            batch.delete(&second).unwrap();
            batch.put(&first, b"newer").unwrap();
            life.store().write(batch).unwrap()
        });
        gate.wait_until_held(1);
        // The checkpoint of what is frozen ends, and so do merges, as far as no segment has to be written.
        life.finish_checkpoint();
        gate.open();
        while life.slice() {}
        let receipt = setting.join().unwrap();
        let expected = [
            written.get(&first).cloned(),
            written.get(&second).cloned(),
            Some(b"new".to_vec()),
        ];
        assert_eq!(receipt.priors().unwrap(), expected);
    });
    life.model.insert(first, b"newer".to_vec());
    life.model.remove(&second);
    life.check("set");
    // A chain of priors through checkpoints and merges.
    let mut before = life.store().get(&key(9)).unwrap();
    std::thread::scope(|scope| {
        let life = &life;
        let setting = scope.spawn(move || {
            for turn in 0..200_u64 {
                let value = if turn % 3 == 0 {
                    large(turn)
                } else {
                    short(turn)
                };
                assert_eq!(life.store().set(&key(9), &value).unwrap(), before);
                before = Some(value);
                if turn % 10 == 9 {
                    life.freeze();
                }
            }
        });
        while !setting.is_finished() {
            life.slice();
        }
        setting.join().unwrap();
    });
}

/// Overwrites everything, and empties what there was before.
fn replace_everything(life: &mut Life, turn: u64) {
    for number in 0..80 {
        life.put(
            key(number),
            if number % 3 == 0 {
                large(turn + number)
            } else {
                short(turn)
            },
        );
    }
    life.compact();
    life.work();
}

pub(crate) fn a_slow_scan_reads_files_that_were_let_go() {
    let mut life = wide();
    life.die(); // nothing is in memory
    let snapshot = life.model.clone();
    let old: Vec<_> = life
        .files(".run")
        .into_iter()
        .chain(life.files(".seg"))
        .collect();
    let mut forwards = life.store().scan(..).unwrap();
    let mut found = BTreeMap::new();
    found.extend(
        forwards
            .by_ref()
            .take(3)
            .collect::<Result<Vec<_>>>()
            .unwrap(),
    );
    let backwards = life.store().scan(..).unwrap();
    for turn in [1000, 2000] {
        replace_everything(&mut life, turn);
    }
    life.check("replaced");
    found.extend(forwards.by_ref().collect::<Result<Vec<_>>>().unwrap());
    assert!(found == snapshot, "the scan shows something else");
    let back = backwards.rev().collect::<Result<BTreeMap<_, _>>>().unwrap();
    assert!(back == snapshot, "backwards");
    drop(forwards);
    life.work();
    let now = life.disk.files();
    let left: Vec<_> = old.iter().filter(|name| now.contains(name)).collect();
    assert!(left.is_empty(), "{left:?} are kept");
    life.check("let go");
}

pub(crate) fn an_unlinked_file_is_open_nowhere() {
    let mut life = wide();
    life.check("everything was read");
    replace_everything(&mut life, 1000);
    life.check("replaced");
    let used = life.disk.used_bytes();
    // A directory ends in a slash.
    let files: Vec<_> = life
        .disk
        .files()
        .into_iter()
        .filter(|name| !name.ends_with('/'))
        .collect();
    let lengths = files
        .iter()
        .map(|name| life.disk.read_file(name).unwrap().len() as u64);
    let named: u64 = lengths.map(|length| length.next_multiple_of(512)).sum();
    assert!(
        used <= named,
        "{used} bytes are used, and names lead to {named}"
    );
    // The active segment is open twice, for its writer and for readers.
    let open = life.disk.open_files();
    assert!(
        open <= files.len() as u64 + 1,
        "{open} files are open, and {} have a name",
        files.len()
    );
}

pub(crate) fn kept_receipts_handles_and_errors_pin_nothing() {
    let mut life = wide();
    life.die();
    let handle = life.store().clone();
    let mut batch = Batch::new().with_priors();
    batch.put(&key(4), b"v").unwrap();
    batch.put(&key(6), b"v").unwrap();
    let receipt = life.store().write(batch).unwrap();
    let mut batch = Batch::new();
    batch.expect(&key(8), None).unwrap();
    batch.put(&key(8), b"v").unwrap();
    let refused = life.store().write(batch).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    life.model.insert(key(4), b"v".to_vec());
    life.model.insert(key(6), b"v".to_vec());
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Read);
    life.disk.inject(fault);
    let failed = (0..80).find_map(|number| life.store().get(&key(number)).err());
    assert!(failed.is_some());
    life.disk.clear_faults();
    let ended = life
        .store()
        .scan(..)
        .unwrap()
        .collect::<Result<Vec<_>>>()
        .unwrap();
    let old: Vec<_> = life
        .files(".run")
        .into_iter()
        .chain(life.files(".seg"))
        .collect();
    replace_everything(&mut life, 1000);
    replace_everything(&mut life, 2000);
    let now = life.disk.files();
    let left: Vec<_> = old.iter().filter(|name| now.contains(name)).collect();
    assert!(left.is_empty(), "{left:?} are kept");
    assert_eq!(receipt.priors().unwrap().len(), 2);
    drop((handle, refused, failed, ended, receipt));
}

pub(crate) fn a_caller_that_writes_while_it_scans_does_not_wait_for_itself() {
    let mut life = Life::with_segments(
        Tuning {
            memtable_bytes: Some(3000),
            log_bytes: Some(6000),
            by_hand: false,
            ..tuning()
        },
        4096,
    );
    for number in 0..60 {
        life.put(key(number), large(number));
    }
    for turn in 0..5 {
        let scan = life.store().scan(..).unwrap();
        let mut seen = 0;
        for found in scan {
            let (name, _) = found.unwrap();
            life.put(name, large(turn * 100 + seen));
            seen += 1;
        }
        assert_eq!(seen, 60);
    }
    life.check("written");
    assert!(life.store().stats().checkpoints > 10);
}

pub(crate) fn the_oldest_pin_is_named_with_what_it_holds() {
    let mut life = wide();
    assert!(life.store().stats().oldest_view.is_none());
    let first = life.store().scan(..).unwrap();
    life.host.advance(Duration::from_secs(5));
    let second = life.store().scan(..).unwrap();
    replace_everything(&mut life, 1000);
    let oldest = life.store().stats().oldest_view.unwrap();
    assert!(oldest.age >= Duration::from_secs(5), "{oldest:?}");
    assert!(oldest.pinned_bytes > 10_000, "{oldest:?}");
    drop(first);
    life.work();
    let oldest = life.store().stats().oldest_view.unwrap();
    assert!(oldest.age < Duration::from_secs(5), "{oldest:?}");
    drop(second);
    life.work();
    assert!(life.store().stats().oldest_view.is_none());
}

pub(crate) fn a_scan_behind_a_close_goes_on_or_ends_as_closed() {
    scan_behind(Life::close);
}

/// Nobody says to it that the store is gone.
pub(crate) fn a_scan_behind_the_last_handle_goes_on_or_ends_as_closed() {
    scan_behind(Life::drop_handles);
}

/// A scan that is open while a store ends, and while the next owner replaces all of it.
fn scan_behind(end: impl FnOnce(&mut Life)) {
    let mut life = wide();
    life.die();
    let snapshot = life.model.clone();
    let mut scan = life.store().scan(..).unwrap();
    let mut found = BTreeMap::new();
    found.extend(scan.by_ref().take(3).collect::<Result<Vec<_>>>().unwrap());
    life.put(key(3), short(3));
    end(&mut life);
    life.open();
    replace_everything(&mut life, 1000);
    for item in scan {
        match item {
            Ok((key, value)) => drop(found.insert(key, value)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                let held = |(key, value)| snapshot.get(key) == Some(value);
                assert!(found.iter().all(held));
                return;
            }
        }
    }
    assert!(found == snapshot, "the scan shows something else");
}

pub(crate) fn a_condition_on_a_key_in_a_run_is_judged_without_the_leader_reading() {
    let mut life = wide();
    let mut batch = Batch::new();
    batch.put(&key(500), b"v").unwrap();
    let version = life.store().write(batch).unwrap().last_seqno();
    life.checkpoint_and_work();
    life.die();
    life.model.insert(key(500), b"v".to_vec());
    for holds in [true, false] {
        let mut batch = Batch::new();
        let expected = if holds { Some(version) } else { None };
        batch.expect(&key(500), expected).unwrap();
        batch.expect(&key(501), None).unwrap();
        batch.put(&key(502), b"w").unwrap();
        let reads = |life: &Life| life.disk.calls().get(&OpKind::Read).copied();
        let before = reads(&life);
        let submitted = life.store().submit(batch).unwrap();
        let looked = reads(&life);
        // The second time everything is in memory already.
        assert!(looked > before || !holds);
        let answer = submitted.wait();
        assert_eq!(reads(&life), looked, "the leader has read");
        if holds {
            answer.unwrap();
            life.model.insert(key(502), b"w".to_vec());
        } else {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Conflict);
        }
        life.check("judged");
    }
}

/// A batch that expects a key as it was, and behind whose look the memtable is frozen twice before its turn comes. In between
/// the key is changed, or is not. `then` gets the batch behind that, whoever waits for it.
fn looked_before_two_freezes(changed: bool, then: impl FnOnce(&Life, Submitted, bool)) {
    // More than a group may have, so that each is one.
    let alone = vec![b'.'; 5 << 20];
    let mut life = Life::tuned(Tuning {
        memtable_bytes: Some(1),
        ..tuning()
    });
    let mut batch = Batch::new();
    batch.put(b"expected", b"old").unwrap();
    let version = life.store().write(batch).unwrap().last_seqno();
    life.put(b"other", b"old");
    for _ in 0..2 {
        life.freeze();
        life.work();
    }
    life.die(); // memory knows nothing
    let submitted = std::thread::scope(|scope| {
        let gate = life.disk.hold_on(OpKind::Sync, ".seg");
        let leader = scope.spawn(|| {
            let key: &[u8] = if changed { b"expected" } else { b"other" };
            life.store().put(key, b"new").unwrap();
        });
        gate.wait_until_held(1);
        let put = |key: &[u8], value: &[u8]| {
            let mut batch = Batch::new();
            batch.put(key, value).unwrap();
            batch
        };
        let mut conditional = put(b"written", b"by condition");
        conditional.expect(b"expected", Some(version)).unwrap();
        let between = [b"first", b"later"].map(|key| life.store().submit(put(key, &alone)));
        let submitted = life.store().submit(conditional).unwrap();
        gate.open();
        leader.join().unwrap();
        for one in between {
            one.unwrap().wait().unwrap();
        }
        submitted
    });
    then(&life, submitted, changed);
}

pub(crate) fn a_condition_that_memory_cannot_judge_is_looked_up_again() {
    for changed in [true, false] {
        looked_before_two_freezes(changed, |life, submitted, changed| {
            let answer = submitted.wait();
            let written = life.store().get(b"written").unwrap();
            if changed {
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::Conflict);
                assert_eq!(written, None);
            } else {
                answer.unwrap();
                assert!(written.is_some());
            }
        });
    }
}

pub(crate) fn a_batch_sent_back_without_a_caller_is_refused_with_effect_nothing() {
    for changed in [true, false] {
        looked_before_two_freezes(changed, |life, submitted, _| {
            drop(submitted);
            life.store().put(b"behind", b"it").unwrap();
            assert_eq!(life.store().get(b"written").unwrap(), None);
            life.disk.power_cut_losing_all();
            let again = life.try_open(&life.disk.fork()).unwrap();
            assert_eq!(again.get(b"written").unwrap(), None);
            assert!(again.get(b"behind").unwrap().is_some());
        });
    }
}

pub(crate) fn an_expectation_of_a_version_that_was_merged_away_is_a_conflict() {
    let mut life = wide();
    let mut batch = Batch::new();
    batch.put(&key(500), b"v").unwrap();
    let version = life.store().write(batch).unwrap().last_seqno();
    life.store().remove(&key(500)).unwrap();
    life.compact();
    life.put(key(1), short(1));
    life.compact();
    assert_eq!(life.tombstones(), 0);
    for lives in 0..2 {
        let mut batch = Batch::new();
        batch.expect(&key(500), Some(version)).unwrap();
        batch.put(&key(502), b"w").unwrap();
        let refused = life.store().write(batch).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "life {lives}");
        let mut batch = Batch::new();
        batch.expect(&key(500), None).unwrap();
        batch.put(&key(501), &short(lives)).unwrap();
        life.store().write(batch).unwrap();
        life.model.insert(key(501), short(lives));
        life.check("judged");
        life.die();
    }
    check(life.store(), &life.model, "at the end");
    life.disk.start_trace();
    life.compact();
    life.cut_everywhere(&few(), &[&life.model]);
}
