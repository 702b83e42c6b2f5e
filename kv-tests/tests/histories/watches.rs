//! Rules W1 to W4 of docs/DURABILITY.md.

use super::life::{Life, key, large, long, short, tuning};
use kv_log_engine::storage::sim::{EIO, Fault, FaultKind, OpKind};
use kv_log_engine::{Batch, Change, Engine, Missed, Seqno, Watch};
use kv_tests::executor::thread;
use kv_trait::{ErrorKind, EventKind, Fingerprint};
use std::time::{Duration, UNIX_EPOCH};

tests! {
    a_watch_shows_every_change_once_in_the_order_of_writes,
    nothing_is_watched_before_its_sync,
    a_change_that_is_shown_is_visible_and_survives_a_power_cut,
    a_group_whose_sync_failed_is_never_watched,
    a_batch_is_shown_to_its_end_and_marked_there,
    long_batches_and_large_values_are_shown_from_the_log,
    log_that_a_watch_has_not_read_is_kept_and_goes_behind_it,
    a_watch_that_is_too_slow_is_told_what_it_missed_and_holds_nobody,
    a_full_disk_takes_from_watches,
    a_watch_goes_on_behind_a_version_across_a_power_cut,
    a_watch_from_before_the_log_is_told_what_it_missed,
    a_version_of_the_future_is_refused,
    a_watch_ends_with_what_was_durable_at_the_close,
    a_watch_behind_a_close_goes_on_or_ends_as_closed,
    who_waits_for_a_change_is_woken_by_it_and_by_the_end,
    a_watch_sees_its_own_keys_of_its_own_keyspace,
    a_value_that_expires_is_shown_with_its_end,
    the_slowest_watch_is_named_with_what_it_keeps,
    damage_in_the_log_ends_a_watch_and_an_error_of_the_disk_does_not,
}

type Kind = EventKind<Vec<u8>, Vec<u8>>;

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Kind {
    Kind::put(key.as_ref().to_vec(), value.as_ref().to_vec())
}

fn remove(key: impl AsRef<[u8]>) -> Kind {
    let key = key.as_ref().to_vec();
    Kind::Remove { key }
}

/// What there is now, until nothing is.
fn rest(watch: &mut Watch) -> Vec<Change> {
    let changes = std::iter::from_fn(|| watch.try_next());
    changes.map(|change| change.unwrap()).collect()
}

fn kinds(changes: &[Change]) -> Vec<Kind> {
    changes.iter().map(|change| change.kind.clone()).collect()
}

/// The numbers from one on: no seqno is left out, and none comes twice.
fn ascend(changes: &[Change], from: u64, what: &str) {
    for (change, expected) in changes.iter().zip(from..) {
        assert_eq!(change.version.get(), expected, "{what}");
    }
}

/// Next is what is missing; and which.
fn missed(watch: &mut Watch) -> Missed {
    let error = watch.try_next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooOld, "{error}");
    *Missed::of(&error).unwrap()
}

/// Writes until chores have let a segment go, and a few more.
fn let_go(life: &mut Life, turns: u64) {
    for turn in 0..turns {
        for number in 0..20 {
            life.put(key(number), short(turn * 100 + number));
        }
        life.checkpoint_and_work();
    }
}

pub(crate) fn a_watch_shows_every_change_once_in_the_order_of_writes() {
    let mut life = Life::new();
    life.put(key(1), b"before");
    let mut all = life.store().watch(b"").unwrap();
    let mut some = life.store().watch(b"key 000").unwrap();
    let mut lazy = life.store().watch(b"").unwrap();
    let mut expected = Vec::new();
    let (mut shown, mut shown_of_some) = (Vec::new(), Vec::new());
    for turn in 0..400_u64 {
        let number = turn * 7 % 30;
        let (name, value) = match turn % 5 {
            0 => (key(number), Some(large(turn))),
            1 => (key(number), None),
            2 => (key(number), Some(long(turn))),
            _ => (key(number), Some(short(turn))),
        };
        match value {
            Some(value) => {
                life.put(&name, &value);
                expected.push(put(&name, &value));
            }
            None => {
                life.delete(&name);
                expected.push(remove(&name));
            }
        }
        if turn % 3 == 0 {
            shown.append(&mut rest(&mut all));
        }
        if turn % 50 == 49 {
            shown_of_some.append(&mut rest(&mut some));
            life.checkpoint_and_work();
        }
    }
    shown.append(&mut rest(&mut all));
    shown_of_some.append(&mut rest(&mut some));
    assert!(life.store().stats().rotations > 10);
    assert!(kinds(&shown) == expected, "something else is shown");
    assert!(shown.iter().all(|change| change.ends_batch));
    let first = shown.first().unwrap().version.get();
    ascend(&shown, first, "one after the other");
    let of_some = shown.iter().filter(|change| {
        let key = change.kind.key().unwrap();
        key.starts_with(b"key 000")
    });
    assert!(of_some.eq(&shown_of_some), "of some keys");
    assert!(rest(&mut lazy) == shown, "all at once, later");
}

pub(crate) fn nothing_is_watched_before_its_sync() {
    let life = Life::new();
    life.store().put(b"first", b"1").unwrap();
    let mut watch = life.store().watch(b"").unwrap();
    std::thread::scope(|scope| {
        let gate = life.disk.hold_on(OpKind::Sync, ".seg");
        let writer = scope.spawn(|| life.store().put(b"second", b"2").unwrap());
        gate.wait_until_held(1);
        let early = watch.try_next();
        gate.open();
        writer.join().unwrap();
        assert!(early.is_none(), "{early:?}");
    });
    assert_eq!(kinds(&rest(&mut watch)), [put(b"second", b"2")]);
}

pub(crate) fn a_change_that_is_shown_is_visible_and_survives_a_power_cut() {
    for round in 0..4 {
        let mut life = Life::new();
        life.put(b"first", b"1");
        let store = life.store().clone();
        let mut watch = store.watch(b"").unwrap();
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let store = store.clone();
                thread(move || {
                    let mut turn = 0_u64;
                    while store.put(&key(writer), &turn.to_le_bytes()).is_ok() {
                        turn += 1;
                    }
                })
            })
            .collect();
        let mut shown = Vec::new();
        while shown.len() < 100 + 50 * round {
            let change = watch.next_blocking().unwrap().unwrap();
            let (name, value) = (change.kind.key().unwrap(), change.kind.value().unwrap());
            let now = store.get(name).unwrap().unwrap();
            let turn = |value: &[u8]| u64::from_le_bytes(value.try_into().unwrap());
            assert!(turn(&now) >= turn(value), "shown, and not visible");
            shown.push(change);
        }
        life.disk.power_cut_losing_all();
        for writer in writers {
            writer.join().unwrap();
        }
        drop((store, watch));
        life.open();
        let before = Seqno::from(shown[0].version.get() - 1);
        let mut again = life.store().watch(b"").unwrap().after(before).unwrap();
        let there = rest(&mut again);
        assert!(
            there.len() >= shown.len() && there.iter().zip(&shown).all(|(a, b)| a == b),
            "{} of {} changes are there that were shown before the cut",
            there.iter().zip(&shown).filter(|(a, b)| a == b).count(),
            shown.len()
        );
    }
}

pub(crate) fn a_group_whose_sync_failed_is_never_watched() {
    let mut life = Life::new();
    let mut watch = life.store().watch(b"").unwrap();
    life.put(b"first", b"1");
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Sync);
    life.disk.inject(fault.path_contains(".seg"));
    life.store().put(b"second", b"2").unwrap_err();
    assert_eq!(kinds(&rest(&mut watch)), [put(b"first", b"1")]);
    life.store().close().unwrap_err();
    assert!(watch.next_blocking().is_none());
    assert!(watch.is_over());
}

pub(crate) fn a_batch_is_shown_to_its_end_and_marked_there() {
    let life = Life::new();
    let mut some = life.store().watch(b"a").unwrap();
    let mut all = life.store().watch(b"").unwrap();
    let mut batch = Batch::new();
    batch.put(b"a1", b"1").unwrap();
    batch.put(b"b", b"2").unwrap();
    batch.delete(b"a2").unwrap();
    batch.put(b"c", b"3").unwrap();
    let receipt = life.store().write(batch).unwrap();
    let mut batch = Batch::new();
    batch.put(b"b", b"4").unwrap();
    life.store().write(batch).unwrap();
    let ends = |changes: &[Change]| -> Vec<bool> {
        changes.iter().map(|change| change.ends_batch).collect()
    };
    let shown = rest(&mut some);
    assert_eq!(kinds(&shown), [put(b"a1", b"1"), remove(b"a2")]);
    assert_eq!(ends(&shown), [false, true]);
    let versions: Vec<_> = shown.iter().map(|change| Some(change.version)).collect();
    assert_eq!(versions, [receipt.version(0), receipt.version(2)]);
    let shown = rest(&mut all);
    assert_eq!(ends(&shown), [false, false, false, true, true]);
    // From the middle of a batch on.
    let middle = receipt.version(1).unwrap();
    let mut again = life.store().watch(b"").unwrap().after(middle).unwrap();
    assert!(rest(&mut again) == shown[2..], "behind the middle");
}

pub(crate) fn long_batches_and_large_values_are_shown_from_the_log() {
    let mut life = Life::with_segments(tuning(), 1024 * 1024);
    let mut watch = life.store().watch(b"").unwrap();
    let mut expected = Vec::new();
    let mut batch = Batch::new();
    for number in 0..5000 {
        batch.put(&key(number), &short(number)).unwrap();
        expected.push(put(key(number), short(number)));
    }
    life.store().write(batch).unwrap();
    let mut batch = Batch::new();
    for number in 0..6 {
        let value = vec![7; 100_000 * (number + 1)];
        batch.put(b"large", &value).unwrap();
        expected.push(put(b"large", value));
    }
    life.store().write(batch).unwrap();
    let shown = rest(&mut watch);
    assert!(kinds(&shown) == expected, "something else is shown");
    let ends = shown.iter().filter(|change| change.ends_batch);
    let ends: Vec<_> = ends.map(|change| change.version).collect();
    assert_eq!(ends, [shown[4999].version, shown[5005].version]);
    life.put(b"large", b"small");
    assert_eq!(kinds(&rest(&mut watch)), [put(b"large", b"small")]);
}

pub(crate) fn log_that_a_watch_has_not_read_is_kept_and_goes_behind_it() {
    let mut life = Life::new();
    let mut read = life.store().watch(b"").unwrap();
    let slow = life.store().watch(b"").unwrap();
    let mut shown = Vec::new();
    let_go(&mut life, 10);
    let kept = life.files(".seg").len();
    assert!(
        life.store().stats().slowest_watch.unwrap().kept_bytes > 4096,
        "nothing was let go"
    );
    shown.append(&mut rest(&mut read));
    assert_eq!(shown.len(), 200);
    drop(slow);
    life.wait();
    life.work();
    let left = life.files(".seg").len();
    assert!(left < kept, "{left} of {kept} segments are left");
    let slowest = life.store().stats().slowest_watch.unwrap();
    assert_eq!((slowest.watches, slowest.kept_bytes), (1, 0));
    drop(read);
    assert!(life.store().stats().slowest_watch.is_none());
}

/// A store whose watches keep as little as this.
fn keeping(bytes: u64) -> Life {
    let mut life = Life::new();
    life.close();
    let options = life.options(&life.disk).watch_bytes_max(bytes);
    life.open_with(options);
    life
}

pub(crate) fn a_watch_that_is_too_slow_is_told_what_it_missed_and_holds_nobody() {
    let mut life = keeping(8192);
    life.put(key(1), short(1));
    let mut watch = life.store().watch(b"").unwrap();
    let_go(&mut life, 1);
    let mut shown = vec![watch.try_next().unwrap().unwrap()];
    let_go(&mut life, 40);
    let kept = life.store().stats().slowest_watch.unwrap().kept_bytes;
    assert!(kept <= 8192, "{kept} bytes are kept");
    // What it had read of the log is shown; then it is told.
    let missed = loop {
        match watch.try_next().unwrap() {
            Ok(change) => shown.push(change),
            Err(error) => break *Missed::of(&error).unwrap(),
        }
    };
    ascend(&shown, 2, "before the gap");
    assert_eq!(missed.first.get(), 2 + shown.len() as u64);
    assert!(missed.last > missed.first);
    let behind = rest(&mut watch);
    ascend(&behind, missed.last.get() + 1, "behind the gap");
    assert_eq!(behind.last().unwrap().version.get(), 1 + 41 * 20);
    life.check("nobody was held");
}

pub(crate) fn a_full_disk_takes_from_watches() {
    let mut life = Life::new();
    let mut watch = life.store().watch(b"").unwrap();
    let_go(&mut life, 20);
    let kept = life.store().stats().slowest_watch.unwrap().kept_bytes;
    assert!(kept > 8192, "{kept} bytes are kept");
    // No room but for little: what the watch keeps has to go before writes are refused.
    let used = life.disk.used_bytes();
    life.disk.set_capacity(Some(used + 2048));
    for turn in 0..200 {
        life.put(key(turn % 20), short(turn));
        if turn % 20 == 19 {
            life.freeze();
            life.wait();
            life.work();
        }
    }
    life.check("written");
    let gap = missed(&mut watch);
    assert_eq!(gap.first, Seqno::from(1));
    let behind = rest(&mut watch);
    ascend(&behind, gap.last.get() + 1, "behind the gap");
}

pub(crate) fn a_watch_goes_on_behind_a_version_across_a_power_cut() {
    let mut life = Life::new();
    let mut watch = life.store().watch(b"").unwrap();
    for number in 0..100 {
        life.put(key(number), long(number));
    }
    let shown = rest(&mut watch);
    assert_eq!(shown.len(), 100);
    for at in [0, 1, 37, 98, 99] {
        life.cut();
        let mut again = life.store().watch(b"").unwrap();
        again = again.after(shown[at].version).unwrap();
        let behind = rest(&mut again);
        assert!(behind.starts_with(&shown[at + 1..]), "behind {at}");
        life.put(b"later", b"1");
        assert_eq!(kinds(&rest(&mut again)).last(), Some(&put(b"later", b"1")));
        life.cut();
    }
    let mut again = life.store().watch(b"").unwrap().after(Seqno::ZERO).unwrap();
    assert!(rest(&mut again).starts_with(&shown), "behind nothing");
}

pub(crate) fn a_watch_from_before_the_log_is_told_what_it_missed() {
    let mut life = Life::new();
    let_go(&mut life, 10);
    life.cut();
    let mut watch = life.store().watch(b"").unwrap().after(Seqno::ZERO).unwrap();
    let gap = missed(&mut watch);
    assert_eq!(gap.first, Seqno::from(1));
    assert!(gap.last.get() <= 200);
    life.put(b"later", b"1");
    let behind = rest(&mut watch);
    ascend(&behind, gap.last.get() + 1, "behind the gap");
    assert_eq!(behind.last().unwrap().kind, put(b"later", b"1"));
}

pub(crate) fn a_version_of_the_future_is_refused() {
    let mut life = Life::new();
    life.put(b"first", b"1");
    let watch = || life.store().watch(b"").unwrap();
    assert!(rest(&mut watch().after(Seqno::from(1)).unwrap()).is_empty());
    let refused = watch().after(Seqno::from(2)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

pub(crate) fn a_watch_ends_with_what_was_durable_at_the_close() {
    for closes in [true, false] {
        let mut life = Life::new();
        let mut watch = life.store().watch(b"").unwrap();
        for number in 0..50 {
            life.put(key(number), long(number));
        }
        if closes {
            life.close();
        } else {
            life.abandon();
            life.disk.clear_faults();
        }
        let shown: Vec<_> = watch
            .by_ref()
            .map(|change| change.map(|it| it.kind))
            .collect();
        if closes {
            assert_eq!(shown.len(), 50);
            assert!(shown.iter().all(Result::is_ok));
        }
        assert!(watch.is_over() && watch.next_blocking().is_none());
    }
    let life = Life::new();
    life.store().close().unwrap();
    let refused = life.store().watch(b"").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
}

pub(crate) fn a_watch_behind_a_close_goes_on_or_ends_as_closed() {
    let mut life = Life::new();
    let mut watch = life.store().watch(b"").unwrap();
    for number in 0..200 {
        life.put(key(number), long(number));
    }
    let first = watch.try_next().unwrap().unwrap();
    life.close();
    life.open();
    let_go(&mut life, 10);
    life.compact();
    life.work();
    let mut last = first.version.get();
    for change in watch.by_ref() {
        match change {
            Ok(change) => {
                assert_eq!(change.version.get(), last + 1);
                last += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                break;
            }
        }
    }
    assert!(last <= 200 && watch.next_blocking().is_none());
}

pub(crate) fn who_waits_for_a_change_is_woken_by_it_and_by_the_end() {
    let mut life = Life::new();
    let store = life.store().clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let (sender, watch) = (sender.clone(), store.watch(b"").unwrap());
            thread(move || {
                watch.for_each(|change| sender.send(change.unwrap().kind).unwrap());
            })
        })
        .collect();
    drop((store, sender));
    for number in 0..50 {
        life.put(key(number), short(number));
        for _ in 0..4 {
            let shown = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(shown, put(key(number), short(number)));
        }
    }
    life.close();
    for waiting in waiting {
        waiting.join().unwrap();
    }
}

pub(crate) fn a_watch_sees_its_own_keys_of_its_own_keyspace() {
    let life = Life::new();
    let store = life.store();
    let other = store.keyspace("other", &Fingerprint::raw()).unwrap();
    let watch = |store: &Engine| store.watch_range(..).unwrap();
    let (mut of_store, mut of_other) = (watch(store), watch(&other));
    let range = (
        std::ops::Bound::Excluded(&b"b"[..]),
        std::ops::Bound::Included(&b"d"[..]),
    );
    let mut of_range = store.watch_range(range).unwrap();
    let mut batch = Batch::new();
    for name in [b"a", b"b", b"c", b"d", b"e"] {
        batch.select(store).put(name, b"1").unwrap();
        batch.select(&other).put(name, b"2").unwrap();
    }
    store.write(batch).unwrap();
    store.keyspace("third", &Fingerprint::raw()).unwrap();
    let names = |watch: &mut Watch| -> Vec<u8> {
        let shown = rest(watch);
        let last = shown.last().unwrap();
        assert!(last.ends_batch);
        let keys = shown.iter().map(|change| change.kind.key().unwrap());
        keys.flatten().copied().collect()
    };
    assert_eq!(names(&mut of_store), b"abcde");
    assert_eq!(names(&mut of_range), b"cd");
    let shown = rest(&mut of_other);
    assert_eq!(shown.len(), 5);
    assert!(shown.iter().all(|it| it.kind.value().unwrap() == b"2"));
}

pub(crate) fn a_value_that_expires_is_shown_with_its_end() {
    let life = Life::new();
    life.host.set_unix_ms(5_000);
    let mut watch = life.store().watch(b"").unwrap();
    life.store().put_until(b"key", b"value", 6_000).unwrap();
    life.host.set_unix_ms(7_000);
    life.store().put(b"other", b"value").unwrap();
    let shown = kinds(&rest(&mut watch));
    let expiring = EventKind::Put {
        key: b"key".to_vec(),
        value: b"value".to_vec(),
        expires_at: Some(UNIX_EPOCH + Duration::from_secs(6)),
    };
    assert_eq!(shown, [expiring, put(b"other", b"value")]);
}

pub(crate) fn the_slowest_watch_is_named_with_what_it_keeps() {
    let mut life = Life::new();
    assert!(life.store().stats().slowest_watch.is_none());
    let _slow = life.store().watch(b"").unwrap();
    life.host.advance(Duration::from_secs(5));
    let mut quick = life.store().watch(b"").unwrap();
    let_go(&mut life, 10);
    assert_eq!(rest(&mut quick).len(), 200);
    let slowest = life.store().stats().slowest_watch.unwrap();
    assert_eq!((slowest.watches, slowest.behind), (2, 200));
    assert_eq!(slowest.next, Seqno::from(1));
    assert!(slowest.age >= Duration::from_secs(5));
    assert!(slowest.kept_bytes > 4096);
}

pub(crate) fn damage_in_the_log_ends_a_watch_and_an_error_of_the_disk_does_not() {
    let mut life = Life::new();
    for number in 0..100 {
        life.put(key(number), long(number));
    }
    let from_start = |life: &Life| life.store().watch(b"").unwrap().after(Seqno::ZERO).unwrap();
    let mut watch = from_start(&life);
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Read);
    life.disk.inject(fault);
    let failed = watch.try_next().unwrap().unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Io);
    life.disk.clear_faults();
    let shown = rest(&mut watch);
    assert_eq!(shown.len(), 100);
    ascend(&shown, 1, "behind the error");

    let segment = life.files(".seg").into_iter().nth(2).unwrap();
    let mut bytes = life.disk.read_file(&segment).unwrap();
    bytes[300] ^= 0x10;
    life.disk.write_file(&segment, &bytes).unwrap();
    let mut watch = from_start(&life);
    let mut last = 0;
    let damage = loop {
        match watch.try_next().unwrap() {
            Ok(change) => last = change.version.get(),
            Err(error) => break error,
        }
    };
    assert_eq!(damage.kind(), ErrorKind::Corrupt, "{damage}");
    assert!(last > 0 && last < 100);
    assert!(watch.try_next().is_none() && watch.is_over());
}
