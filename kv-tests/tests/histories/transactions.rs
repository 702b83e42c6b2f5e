//! Rules T of docs/DURABILITY.md: transactions, and conditions on ranges.

use super::life::{Life, Model, few, key, large, short, wide, wide_of};
use super::snapshots::{from, up_to};
use kv_log_engine::storage::sim::OpKind;
use kv_log_engine::{Batch, Engine, Transaction};
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::ops::Bound;

tests! {
    an_update_that_was_overtaken_is_not_lost,
    of_two_that_read_what_the_other_writes_one_is_refused,
    a_phantom_in_a_range_that_was_read_is_a_conflict,
    what_a_scan_has_not_passed_is_not_read,
    a_deletion_that_left_no_trace_is_too_old_and_never_unchanged,
    a_range_is_judged_through_freezes_checkpoints_and_merges,
    a_range_changed_by_the_same_group_is_a_conflict,
    a_transaction_sees_its_own_writes_both_ways,
    a_transaction_that_only_read_is_not_judged,
    a_transaction_is_judged_without_a_read,
    a_transaction_spans_keyspaces,
    a_transaction_is_whole_or_absent_wherever_the_power_is_cut,
    a_transaction_that_ended_says_so,
    transfers_keep_their_sum_whoever_looks,
}

fn is_conflict(error: &Error, key: &[u8]) {
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(error.effect(), Effect::Nothing, "{error}");
    let named = String::from_utf8_lossy(key).into_owned();
    assert!(error.to_string().contains(&named), "{error}");
}

/// Where the records are that a transaction read, and where the change comes to lie that it must notice.
fn at_every_place(mut history: impl FnMut(&mut Life, &dyn Fn(&Life))) {
    let places: [fn(&Life); 4] = [
        |_| {},
        Life::freeze,
        Life::checkpoint_and_work,
        |life| {
            life.checkpoint_and_work();
            life.store().put(b"other", b"memtable").unwrap();
            life.checkpoint_and_work();
        },
    ];
    for read in &places {
        for changed in &places {
            let mut life = wide_of(40);
            life.put(key(30), b"10");
            life.put(key(31), b"10");
            life.delete(key(33));
            read(&life);
            history(&mut life, changed);
        }
    }
}

pub(crate) fn an_update_that_was_overtaken_is_not_lost() {
    at_every_place(|life, changed| {
        let update = |amount: u64| {
            let transaction = life.store().begin().unwrap();
            let before = transaction.get(&key(30)).unwrap().unwrap();
            let before: u64 = String::from_utf8(before).unwrap().parse().unwrap();
            let after = (before + amount).to_string();
            transaction.put(&key(30), after.as_bytes()).unwrap();
            transaction
        };
        let (first, second) = (update(1), update(2));
        assert!(first.commit().unwrap().is_some());
        changed(life);
        is_conflict(&second.commit().unwrap_err(), &key(30));
        update(5).commit().unwrap();
        assert_eq!(life.store().get(&key(30)).unwrap().unwrap(), b"16");
        // What was absent, and came.
        let claim = || {
            let transaction = life.store().begin().unwrap();
            assert_eq!(transaction.get(&key(33)).unwrap(), None);
            transaction.put(&key(33), b"mine").unwrap();
            transaction
        };
        let (first, second) = (claim(), claim());
        first.commit().unwrap();
        changed(life);
        is_conflict(&second.commit().unwrap_err(), &key(33));
    });
}

pub(crate) fn of_two_that_read_what_the_other_writes_one_is_refused() {
    at_every_place(|life, changed| {
        let spend = |own: u64, other: u64| {
            let transaction = life.store().begin().unwrap();
            assert!(transaction.get(&key(own)).unwrap().is_some());
            assert!(transaction.get(&key(other)).unwrap().is_some());
            transaction.delete(&key(own)).unwrap();
            transaction
        };
        let (first, second) = (spend(30, 31), spend(31, 30));
        first.commit().unwrap();
        changed(life);
        is_conflict(&second.commit().unwrap_err(), &key(30));
        assert!(life.store().get(&key(31)).unwrap().is_some());
    });
}

/// Scans keys 30 to 39 and writes how many there are.
fn count(life: &Life, backwards: bool) -> Transaction {
    let transaction = life.store().begin().unwrap();
    let (first, last) = (key(30), key(40));
    let range = (Bound::Included(&*first), Bound::Excluded(&*last));
    let scan = transaction.scan(range).unwrap();
    let found = if backwards {
        scan.rev().collect::<Result<Vec<_>>>()
    } else {
        scan.collect()
    };
    let number = found.unwrap().len().to_string();
    transaction.put(b"count", number.as_bytes()).unwrap();
    transaction
}

pub(crate) fn a_phantom_in_a_range_that_was_read_is_a_conflict() {
    for backwards in [false, true] {
        at_every_place(|life, changed| {
            let counting = count(life, backwards);
            life.store().put(&key(33), b"a phantom").unwrap();
            changed(life);
            is_conflict(&counting.commit().unwrap_err(), &key(33));
            let counting = count(life, backwards);
            life.store().put(&key(30), b"another value").unwrap();
            changed(life);
            is_conflict(&counting.commit().unwrap_err(), &key(30));
            // Around the range: nothing that it has read.
            let counting = count(life, backwards);
            life.store().put(&key(29), b"before it").unwrap();
            life.store().put(&key(40), b"behind it").unwrap();
            changed(life);
            counting.commit().unwrap();
            let counting = count(life, backwards);
            life.store().remove(&key(31)).unwrap();
            changed(life);
            let refused = counting.commit().unwrap_err();
            if refused.kind() != ErrorKind::TooOld {
                is_conflict(&refused, &key(31));
            }
            assert_eq!(refused.effect(), Effect::Nothing);
        });
    }
}

pub(crate) fn what_a_scan_has_not_passed_is_not_read() {
    let life = wide_of(40);
    let first = |transaction: &Transaction, back: bool| {
        let mut scan = transaction.scan(..).unwrap();
        let found = if back { scan.next_back() } else { scan.next() };
        transaction
            .put(&key(15), &found.unwrap().unwrap().0)
            .unwrap();
    };
    for (back, harmless, harmful) in [(false, "key 0020", "a"), (true, "key 0020", "z")] {
        let transaction = life.store().begin().unwrap();
        first(&transaction, back);
        life.store().put(harmless.as_bytes(), b"changed").unwrap();
        transaction.commit().unwrap();
        let transaction = life.store().begin().unwrap();
        first(&transaction, back);
        life.store().put(harmful.as_bytes(), b"changed").unwrap();
        is_conflict(&transaction.commit().unwrap_err(), harmful.as_bytes());
    }
}

pub(crate) fn a_deletion_that_left_no_trace_is_too_old_and_never_unchanged() {
    let mut life = wide_of(40);
    life.compact();
    let counting = count(&life, false);
    let at = counting.at();
    life.delete(key(30));
    life.compact();
    // Memory forgets what it has written before the last freeze.
    for turn in 0..2 {
        life.put(key(5), short(turn));
        life.checkpoint_and_work();
    }
    life.compact();
    assert_eq!(life.tombstones(), 0);
    let refused = counting.commit().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooOld, "{refused}");
    assert_eq!(refused.effect(), Effect::Nothing);
    let expecting = |life: &Life| {
        let mut batch = Batch::new();
        batch.expect_range(.., at).unwrap();
        batch.put(b"count", b"0").unwrap();
        life.store().write(batch).unwrap_err()
    };
    assert_eq!(expecting(&life).kind(), ErrorKind::Conflict);
    life.die();
    let refused = expecting(&life);
    assert!(matches!(
        refused.kind(),
        ErrorKind::Conflict | ErrorKind::TooOld
    ));
    life.check("refused");
    count(&life, false).commit().unwrap();
}

pub(crate) fn a_range_is_judged_through_freezes_checkpoints_and_merges() {
    for changes in [false, true] {
        let mut life = wide();
        life.compact();
        let counting = count(&life, false);
        for turn in 0..4 {
            life.put(key(5), short(turn));
            life.put(key(70), large(turn));
            if changes && turn == 0 {
                life.put(key(33), short(turn));
            }
            life.checkpoint_and_work();
        }
        life.compact();
        let committed = counting.commit();
        if changes {
            is_conflict(&committed.unwrap_err(), &key(33));
        } else {
            committed.unwrap();
        }
    }
}

pub(crate) fn a_range_changed_by_the_same_group_is_a_conflict() {
    let life = wide_of(8);
    let at = life.store().snapshot().unwrap().at();
    let expecting = |name: &str| {
        let mut batch = Batch::new();
        let range = (Bound::Excluded(&b"a"[..]), Bound::Included(&b"c"[..]));
        batch.expect_range(range, at).unwrap();
        batch.put(name.as_bytes(), b"v").unwrap();
        life.store().submit(batch).unwrap()
    };
    // One group: whoever waits first leads.
    let submitted: Vec<_> = ["a", "d", "c", "c\0", "b"]
        .map(expecting)
        .into_iter()
        .collect();
    let answers: Vec<Option<ErrorKind>> = submitted
        .into_iter()
        .map(|one| one.wait().err().map(|error| error.kind()))
        .collect();
    let conflict = Some(ErrorKind::Conflict);
    assert_eq!(answers, [None, None, None, conflict, conflict]);
    let mut empty = Batch::new();
    let range = (Bound::Included(&b"c"[..]), Bound::Excluded(&b"a"[..]));
    empty.expect_range(range, at).unwrap();
    life.store().write(empty).unwrap();
}

pub(crate) fn a_transaction_sees_its_own_writes_both_ways() {
    let mut life = wide_of(24);
    life.put(key(3), short(77));
    let transaction = life.store().begin().unwrap();
    let mut model = life.model.clone();
    for number in (0..30).step_by(2) {
        if number % 3 == 0 {
            transaction.delete(&key(number)).unwrap();
            model.remove(&key(number));
        } else {
            transaction.put(&key(number), &short(number)).unwrap();
            model.insert(key(number), short(number));
        }
    }
    life.store().put(&key(1), b"of somebody else").unwrap();
    let shown = |transaction: &Transaction, model: &Model| {
        for number in 0..32 {
            let found = transaction.get(&key(number)).unwrap();
            assert_eq!(found.as_ref(), model.get(&key(number)), "key {number}");
        }
        let expected: Vec<_> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let found = transaction.scan(..).unwrap().collect::<Result<Vec<_>>>();
        assert!(found.unwrap() == expected);
        let mut found: Vec<_> = transaction
            .scan(..)
            .unwrap()
            .rev()
            .map(Result::unwrap)
            .collect();
        found.reverse();
        assert!(found == expected);
        for turns in 1..5 {
            // From both ends until they meet.
            let mut scan = transaction.scan(..).unwrap();
            let (mut front, mut back) = (Vec::new(), Vec::new());
            for turn in 0.. {
                let next = if turn % turns == 0 {
                    scan.next_back().map(|found| back.push(found.unwrap()))
                } else {
                    scan.next().map(|found| front.push(found.unwrap()))
                };
                if next.is_none() {
                    break;
                }
            }
            assert!(scan.next().is_none() && scan.next_back().is_none());
            front.extend(back.into_iter().rev());
            assert!(front == expected, "{turns}");
        }
        for number in [0, 3, 7, 20, 40] {
            let above = transaction.scan(from(&key(number))).unwrap().count();
            let below = transaction.scan(up_to(&key(number))).unwrap().count();
            let both = usize::from(model.contains_key(&key(number)));
            assert_eq!(above + below, model.len() + both);
        }
    };
    shown(&transaction, &model);
    // A loop that writes what it walks over ends.
    for found in transaction.scan(..).unwrap() {
        let (mut name, value) = found.unwrap();
        name.push(b'+');
        transaction.put(&name, &value).unwrap();
        model.insert(name, value);
    }
    shown(&transaction, &model);
}

pub(crate) fn a_transaction_that_only_read_is_not_judged() {
    let life = wide_of(8);
    let transaction = life.store().begin().unwrap();
    assert!(transaction.get(&key(2)).unwrap().is_some());
    assert!(transaction.scan(..).unwrap().count() > 0);
    life.store().put(&key(2), b"changed").unwrap();
    let syncs = life.disk.calls().get(&OpKind::Sync).copied();
    assert_eq!(transaction.commit().unwrap(), None);
    assert_eq!(life.disk.calls().get(&OpKind::Sync).copied(), syncs);
}

pub(crate) fn a_transaction_is_judged_without_a_read() {
    let mut life = wide_of(40);
    life.die();
    let transaction = life.store().begin().unwrap();
    for number in 0..40 {
        transaction.get(&key(number)).unwrap();
    }
    let counted = transaction.scan(..).unwrap().count().to_string();
    transaction.put(b"counted", counted.as_bytes()).unwrap();
    // The first change pays for the open.
    life.store().put(b"", b"").unwrap_or_default();
    let transaction = life.store().begin().unwrap();
    for number in 0..40 {
        transaction.get(&key(number)).unwrap();
    }
    transaction.put(b"counted", counted.as_bytes()).unwrap();
    let reads = |life: &Life| life.disk.calls().get(&OpKind::Read).copied();
    let before = reads(&life);
    transaction.commit().unwrap();
    assert_eq!(reads(&life), before);
}

pub(crate) fn a_transaction_spans_keyspaces() {
    let life = wide_of(8);
    let fingerprint = life.store().fingerprint().clone();
    let other = life.store().keyspace("other", &fingerprint).unwrap();
    let move_one = |name: &[u8]| {
        let transaction = life.store().begin().unwrap();
        let there = transaction.of(&other).unwrap();
        assert_eq!(there.get(name).unwrap(), None);
        let value = transaction.get(name).unwrap().unwrap();
        transaction.delete(name).unwrap();
        there.put(name, &value).unwrap();
        assert_eq!(there.scan(..).unwrap().count(), 1);
        transaction
    };
    let (first, second) = (move_one(&key(2)), move_one(&key(2)));
    first.commit().unwrap();
    is_conflict(&second.commit().unwrap_err(), &key(2));
    assert_eq!(life.store().get(&key(2)).unwrap(), None);
    assert_eq!(
        other.get(&key(2)).unwrap(),
        life.model.get(&key(2)).cloned()
    );
    // A range of one keyspace has no phantom in another.
    let transaction = life.store().begin().unwrap();
    assert!(transaction.scan(..).unwrap().count() > 0);
    transaction.put(b"counted", b"all").unwrap();
    other.put(b"zzz", b"v").unwrap();
    transaction.commit().unwrap();
}

pub(crate) fn a_transaction_is_whole_or_absent_wherever_the_power_is_cut() {
    let mut life = wide_of(12);
    life.put(key(0), short(1));
    let before = life.model.clone();
    life.disk.start_trace();
    let transaction = life.store().begin().unwrap();
    for (number, value) in [(0, short(2)), (5, large(2)), (6, large(3)), (50, short(4))] {
        transaction.get(&key(number)).unwrap();
        transaction.put(&key(number), &value).unwrap();
        life.model.insert(key(number), value);
    }
    transaction.delete(&key(7)).unwrap();
    life.model.remove(&key(7));
    transaction.commit().unwrap();
    let seen = life.cut_everywhere(&few(), &[&before, &life.model]);
    assert!(seen > 3);
    life.cut();
    life.check("acknowledged");
}

pub(crate) fn a_transaction_that_ended_says_so() {
    let life = wide_of(8);
    let transaction = life.store().begin().unwrap();
    let clone = transaction.clone();
    clone.put(b"k", b"v").unwrap();
    let mut scan = clone.scan(..).unwrap();
    scan.next().unwrap().unwrap();
    transaction.commit().unwrap();
    let refused: Vec<Error> = vec![
        clone.put(b"k", b"w").unwrap_err(),
        clone.get(b"k").unwrap_err(),
        scan.next().unwrap().unwrap_err(),
        clone.commit().unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert_eq!(error.effect(), Effect::Nothing);
    }
    assert!(scan.next().is_none());
    assert_eq!(life.store().get(b"k").unwrap().unwrap(), b"v");
    let dropped = life.store().begin().unwrap();
    dropped.put(b"k", b"lost").unwrap();
    drop(dropped);
    assert_eq!(life.store().get(b"k").unwrap().unwrap(), b"v");
    let late = life.store().begin().unwrap();
    late.put(b"k", b"late").unwrap();
    life.store().close().unwrap();
    assert_eq!(late.commit().unwrap_err().kind(), ErrorKind::Closed);
}

fn balance(found: Option<Vec<u8>>) -> i64 {
    String::from_utf8(found.unwrap()).unwrap().parse().unwrap()
}

/// Moves one, if there is one, between two accounts; whether it was not in anybody's way.
fn transfer(store: &Engine, from: u64, to: u64) -> bool {
    let transaction = store.begin().unwrap();
    let (have, has) = (
        balance(transaction.get(&key(from)).unwrap()),
        balance(transaction.get(&key(to)).unwrap()),
    );
    if have > 0 && from != to {
        let put = |number, balance: i64| {
            let value = balance.to_string();
            transaction.put(&key(number), value.as_bytes()).unwrap();
        };
        put(from, have - 1);
        put(to, has + 1);
    }
    match transaction.commit() {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            false
        }
    }
}

pub(crate) fn transfers_keep_their_sum_whoever_looks() {
    const ACCOUNTS: u64 = 6;
    let life = Life::new();
    for number in 0..ACCOUNTS {
        life.store().put(&key(number), b"10").unwrap();
    }
    let sum = |found: &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>| {
        found
            .map(|item| balance(Some(item.unwrap().1)))
            .sum::<i64>()
    };
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let store = life.store();
            scope.spawn(move || {
                let mut done = 0;
                let mut turn = thread;
                while done < 150 {
                    turn = turn
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(17);
                    let (a, b) = ((turn >> 33) % ACCOUNTS, (turn >> 40) % ACCOUNTS);
                    done += u64::from(transfer(store, a, b));
                }
            });
        }
        for turn in 0..200 {
            let snapshot = life.store().snapshot().unwrap();
            assert_eq!(sum(&mut snapshot.scan(..).unwrap()), 60);
            let transaction = life.store().begin().unwrap();
            assert_eq!(sum(&mut transaction.scan(..).unwrap()), 60);
            if turn % 20 == 0 {
                life.store().freeze().unwrap();
            }
            life.slice();
        }
    });
    assert_eq!(sum(&mut life.store().scan(..).unwrap()), 60);
}
