//! Rules E1 to E7 of docs/DURABILITY.md.

use super::life::{Life, Model, few, key, large, long, short, tuning};
use kv_log_engine::{Batch, Seqno};
use kv_trait::{Effect, ErrorKind};
use std::time::Duration;

tests! {
    what_has_expired_is_absent_to_everybody_wherever_it_lies,
    a_scan_and_a_snapshot_keep_the_time_of_their_beginning,
    a_write_without_a_time_to_live_ends_the_one_before,
    a_clock_that_goes_back_revives_nothing_that_was_seen_to_be_gone,
    what_has_expired_hides_what_is_below_it_in_merges_too,
    a_merge_keeps_the_time_of_what_it_moves,
    what_expired_together_stays_away_together_where_a_clock_goes_back,
    a_bottom_that_has_mostly_expired_is_given_back_by_itself,
    a_compaction_leaves_nothing_that_has_expired,
    times_that_cannot_be_said_are_refused_and_no_time_is_none,
}

/// What the clock says when a history begins.
const NOON: u64 = 1_000_000;

fn at_noon(life: Life) -> Life {
    life.host.set_unix_ms(NOON);
    life
}

fn put_until(life: &mut Life, key: &[u8], value: &[u8], expiry_ms: u64) {
    life.store().put_until(key, value, expiry_ms).unwrap();
    life.model.insert(key.to_vec(), value.to_vec());
}

fn backwards(life: &Life) -> Model {
    let found = life.store().scan(..).unwrap().rev();
    found.map(|found| found.unwrap()).collect()
}

/// A step of a history, and what it is called.
type Layer = (&'static str, fn(&mut Life));

pub(crate) fn what_has_expired_is_absent_to_everybody_wherever_it_lies() {
    let layers: [Layer; 6] = [
        ("in memory", |_| ()),
        ("frozen", |life| life.freeze()),
        ("in a run", |life| life.checkpoint()),
        ("merged", |life| life.compact()),
        ("replayed", |life| life.die()),
        ("in a run of another process", |life| {
            life.checkpoint();
            life.cut();
        }),
    ];
    for (layer, put_away) in layers {
        let mut life = at_noon(Life::new());
        life.put(key(0), short(0));
        put_until(&mut life, &key(1), &short(1), NOON + 10);
        put_until(&mut life, &key(2), &large(2), NOON + 10);
        put_until(&mut life, &key(3), &large(3), NOON + 11);
        let (version, _) = life.store().get_versioned(&key(1)).unwrap().unwrap();
        put_away(&mut life);
        life.host.set_unix_ms(NOON + 9);
        life.check(layer);
        assert_eq!(backwards(&life), life.model, "{layer}");
        let until = |life: &Life, number| life.store().expires_at(&key(number)).unwrap();
        assert_eq!(until(&life, 0), None, "{layer}");
        assert_eq!(until(&life, 1), Some(NOON + 10), "{layer}");
        assert_eq!(until(&life, 3), Some(NOON + 11), "{layer}");
        life.host.set_unix_ms(NOON + 10);
        for number in [1, 2] {
            life.model.remove(&key(number));
            assert_eq!(until(&life, number), None, "{layer}");
            let found = life.store().get_versioned(&key(number)).unwrap();
            assert_eq!(found, None, "{layer}");
        }
        life.check(layer);
        assert_eq!(backwards(&life), life.model, "{layer}");
        // As a condition.
        let write = |life: &Life, expected: Option<Seqno>| {
            let mut batch = Batch::new().with_priors();
            batch.expect(&key(1), expected).unwrap();
            batch.put(&key(1), b"again").unwrap();
            life.store().write(batch)
        };
        let refused = write(&life, Some(version)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{layer}");
        assert_eq!(refused.effect(), Effect::Nothing, "{layer}");
        let taken = write(&life, None).unwrap();
        // As what was there before.
        assert_eq!(taken.priors().unwrap(), [None], "{layer}");
        assert_eq!(life.store().delete(&key(2)).unwrap(), None, "{layer}");
        life.model.insert(key(1), b"again".to_vec());
        life.check(layer);
    }
}

pub(crate) fn a_scan_and_a_snapshot_keep_the_time_of_their_beginning() {
    let mut life = at_noon(Life::new());
    for number in 0..40 {
        put_until(&mut life, &key(number), &short(number), NOON + 10);
    }
    life.checkpoint();
    for number in 20..60 {
        put_until(&mut life, &key(number), &large(number), NOON + 10);
    }
    let snapshot = life.store().snapshot().unwrap();
    let mut scan = life.store().scan(..).unwrap();
    assert_eq!(scan.next().unwrap().unwrap(), (key(0), short(0)));
    life.host.set_unix_ms(NOON + 10);
    assert_eq!(life.store().scan(..).unwrap().count(), 0);
    // Merges drop them meanwhile.
    life.compact();
    assert_eq!((life.entries(), life.levels()), (0, 0));
    let rest: Vec<_> = scan.map(|found| found.unwrap()).collect();
    let expected: Vec<_> = life.model.clone().into_iter().skip(1).collect();
    assert_eq!(rest, expected);
    assert_eq!(snapshot.get(&key(30)).unwrap(), Some(large(30)));
    assert_eq!(snapshot.scan(..).unwrap().count(), 60);
    let later = life.store().snapshot().unwrap();
    assert_eq!(later.get(&key(30)).unwrap(), None);
}

pub(crate) fn a_write_without_a_time_to_live_ends_the_one_before() {
    let mut life = at_noon(Life::new());
    put_until(&mut life, &key(1), &short(1), NOON + 10);
    put_until(&mut life, &key(2), &short(2), NOON + 10);
    life.checkpoint();
    life.put(key(1), short(3));
    put_until(&mut life, &key(2), &short(4), NOON + 20);
    life.host.set_unix_ms(NOON + 19);
    life.check("renewed");
    life.checkpoint_and_work();
    life.compact();
    life.check("merged");
    life.host.set_unix_ms(NOON + 20);
    life.model.remove(&key(2));
    life.check("over");
}

pub(crate) fn a_clock_that_goes_back_revives_nothing_that_was_seen_to_be_gone() {
    let mut life = at_noon(Life::new());
    put_until(&mut life, &key(1), &short(1), NOON + 10);
    life.check("seen");
    life.host.set_unix_ms(NOON + 10);
    life.model.clear();
    life.check("not seen");
    for back in [NOON + 9, NOON, 0] {
        life.host.set_unix_ms(back);
        life.check("seen again");
        assert_eq!(life.store().delete(&key(1)).unwrap(), None);
    }
    // What is written goes by the same clock.
    let store = life.store();
    store
        .put_with_ttl(&key(2), b"", Duration::from_millis(5))
        .unwrap();
    assert_eq!(store.expires_at(&key(2)).unwrap(), Some(NOON + 15));
}

pub(crate) fn what_has_expired_hides_what_is_below_it_in_merges_too() {
    let mut life = at_noon(Life::new());
    for number in 0..6000 {
        life.put(key(number), short(number));
    }
    life.compact();
    let units = life.store().stats().merge_units;
    for turn in 0..3 {
        for number in 0..10 {
            let number = turn * 50 + number;
            let value = if number % 2 == 0 { short(1) } else { large(1) };
            put_until(&mut life, &key(number), &value, NOON + 10);
            life.put(key(number + 20), short(turn));
        }
        life.checkpoint();
    }
    life.host.set_unix_ms(NOON + 10);
    for turn in 0..3 {
        for number in 0..10 {
            life.model.remove(&key(turn * 50 + number));
        }
    }
    life.check("expired");
    life.work();
    assert!(life.store().stats().merge_units > units);
    assert_eq!(life.levels(), 2, "the upper levels are merged into one");
    // The oldest of the three stays where it is: no key of it is above.
    let expired = life.store().stats().values_expired;
    assert_eq!((life.tombstones(), expired), (20, 20));
    life.check("merged");
    life.host.set_unix_ms(NOON);
    life.cut();
    life.check("cut, and the clock went back");
    life.compact();
    assert_eq!(life.tombstones(), 0);
    life.check("compacted");
}

pub(crate) fn a_merge_keeps_the_time_of_what_it_moves() {
    let mut life = at_noon(Life::with_segments(tuning(), 4096));
    for turn in 0..4 {
        for number in 0..40 {
            let value = if number < 30 {
                large(turn)
            } else {
                short(turn)
            };
            // A part of each segment lives on.
            match (turn == 0 || number % 3 > 0, number % 2) {
                (true, 0) => put_until(&mut life, &key(number), &value, NOON + 10),
                (true, _) => life.put(key(number), value),
                (false, _) => {}
            }
        }
        life.checkpoint();
    }
    life.compact();
    life.check("moved");
    assert!(life.store().stats().written.values > 0, "no value moved");
    life.host.set_unix_ms(NOON + 10);
    for number in 0..20 {
        life.model.remove(&key(number * 2));
    }
    life.check("over");
    life.die();
    life.check("opened behind it");
}

/// Two values of one batch go at the same instant. A merge drops one of them; the other still lies in the log when the
/// power goes and the clock goes back.
pub(crate) fn what_expired_together_stays_away_together_where_a_clock_goes_back() {
    let mut life = at_noon(Life::new());
    life.put(key(0), short(0));
    for number in 1..30 {
        put_until(&mut life, &key(number), &long(number), NOON + 10);
    }
    life.checkpoint();
    put_until(&mut life, &key(40), &short(40), NOON + 10);
    let both = life.model.clone();
    let neither: Model = both.clone().into_iter().take(1).collect();
    life.host.set_unix_ms(NOON + 10);
    life.disk.start_trace();
    life.work();
    assert_eq!(life.store().stats().values_expired, 29);
    life.host.set_unix_ms(NOON);
    assert!(life.cut_everywhere(&few(), &[&both, &neither]) > 5);
    assert!(life.die_everywhere(&[&both, &neither]) > 5);
    life.model = neither;
    life.cut();
    life.check("cut behind the merge");
}

pub(crate) fn a_bottom_that_has_mostly_expired_is_given_back_by_itself() {
    let mut life = at_noon(Life::with_segments(tuning(), 4096));
    for number in 0..400 {
        if number % 10 == 0 {
            life.put(key(number), large(number));
        } else {
            put_until(&mut life, &key(number), &large(number), NOON + 10);
        }
    }
    life.compact();
    let before = life.store().stats();
    life.host.set_unix_ms(NOON + 10);
    life.put(key(1000), short(1));
    life.checkpoint_and_work();
    life.model.retain(|_, value| *value == short(1));
    for number in (0..400).step_by(10) {
        life.model.insert(key(number), large(number));
    }
    life.check("given back");
    assert_eq!(life.entries(), 41);
    let after = life.store().stats();
    assert_eq!(after.values_expired, 360);
    // Of segments that are not full of garbage a part stays, as ever.
    assert!(after.segments_released > before.segments_released + 20);
    assert!(after.disk_bytes < before.disk_bytes);
}

pub(crate) fn a_compaction_leaves_nothing_that_has_expired() {
    let mut life = at_noon(Life::new());
    for number in 0..100 {
        life.put(key(number), short(number));
        let expiry_ms = NOON + 10 + number % 2 * 1000;
        if number % 10 < 2 {
            put_until(&mut life, &key(number), &short(number), expiry_ms);
        }
    }
    life.compact();
    assert_eq!(life.entries(), 100);
    life.host.set_unix_ms(NOON + 10);
    life.compact();
    assert_eq!(life.entries(), 90);
    life.model
        .retain(|name, _| (0..10).all(|ten| *name != key(ten * 10)));
    life.check("compacted");
    life.host.set_unix_ms(NOON + 1010);
    life.compact();
    assert_eq!((life.entries(), life.tombstones()), (80, 0));
}

pub(crate) fn times_that_cannot_be_said_are_refused_and_no_time_is_none() {
    let mut life = at_noon(Life::new());
    life.put(key(1), short(1));
    let store = life.store();
    for refused in [
        store.put_with_ttl(&key(1), b"", Duration::MAX),
        store.put_with_ttl(&key(1), b"", Duration::from_millis(u64::MAX - NOON)),
        store.put_until(&key(1), b"", u64::MAX),
        Batch::new().put_until(&key(1), b"", u64::MAX),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert_eq!(refused.effect(), Effect::Nothing);
    }
    life.check("refused");
    let store = life.store();
    let longest = Duration::from_millis(u64::MAX - 1 - NOON);
    store.put_with_ttl(&key(2), &short(2), longest).unwrap();
    assert_eq!(store.expires_at(&key(2)).unwrap(), Some(u64::MAX - 1));
    store.put_with_ttl(&key(1), b"", Duration::ZERO).unwrap();
    assert_eq!(store.get(&key(1)).unwrap(), None);
    assert_eq!(store.set(&key(1), b"").unwrap(), None);
    store.put_until(&key(1), b"", 0).unwrap();
    assert_eq!(store.get(&key(1)).unwrap(), None);
}
