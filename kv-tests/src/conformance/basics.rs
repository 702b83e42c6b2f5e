//! What a map does.

use super::help::{get, key, put, value, with_store};
use crate::any::Place;
use crate::fixture::{Key, Value};
use crate::shown::{Show, assert_same, assert_same_list};
use crate::workload::Random;
use kv_trait::{Effect, ErrorKind, KVStore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is set is there, and what is deleted is gone.
pub fn set_get_delete(place: &Place) {
    with_store(place, async |_, store| {
        let k = key("k");
        assert_same!(store.set(&k, &value(1)).await.unwrap(), None);
        assert_same!(store.get(&k).await.unwrap(), Some(value(1)));
        assert_same!(store.delete(&k).await.unwrap(), Some(value(1)));
        assert_same!(store.get(&k).await.unwrap(), None);
    });
}

/// Reading and deleting what is not there is no error.
pub fn an_absent_key_is_none(place: &Place) {
    with_store(place, async |_, store| {
        assert_same!(get(&store, "absent").await, None);
        assert_same!(store.delete(&key("absent")).await.unwrap(), None);
        store.remove(&key("absent")).await.unwrap();
        assert_same!(get(&store, "absent").await, None);
    });
}

/// `set` tells what it replaced, every time.
pub fn set_answers_with_the_prior_value(place: &Place) {
    with_store(place, async |_, store| {
        let mut prior = None;
        for number in 0..20 {
            let answer = store.set(&key("k"), &value(number)).await.unwrap();
            assert_same!(answer, prior, "the prior value of write {number}");
            assert_same!(get(&store, "k").await, Some(value(number)), "overwritten");
            prior = Some(value(number));
        }
    });
}

/// `delete` tells what it removed, once.
pub fn delete_answers_with_the_prior_value(place: &Place) {
    with_store(place, async |_, store| {
        put(&store, "k", 7).await;
        assert_same!(store.delete(&key("k")).await.unwrap(), Some(value(7)));
        assert_same!(store.delete(&key("k")).await.unwrap(), None);
        assert_same!(store.set(&key("k"), &value(8)).await.unwrap(), None);
    });
}

/// The same writes, without the answer.
pub fn put_and_remove_are_set_and_delete_without_an_answer(place: &Place) {
    with_store(place, async |_, store| {
        store.put(&key("k"), &value(1)).await.unwrap();
        store.put(&key("k"), &value(2)).await.unwrap();
        assert_same!(
            store.set(&key("k"), &value(3)).await.unwrap(),
            Some(value(2))
        );
        store.remove(&key("k")).await.unwrap();
        assert_same!(store.set(&key("k"), &value(4)).await.unwrap(), None);
    });
}

fn patterned(length: usize, seed: u64) -> Value {
    let mut random = Random::new(seed);
    (0..length)
        .map(|_| u8::try_from(random.below(256)).expect("below 256"))
        .collect()
}

/// From nothing to more than whatever unit the store writes in, around every power of two.
pub fn values_of_every_size(place: &Place) {
    with_store(place, async |_, store| {
        let mut sizes: Vec<usize> = (0..70).collect();
        let mut power = 128;
        // Larger ones have properties of their own.
        let largest = place.large_value_bytes.min(256 * 1024);
        while power < largest {
            sizes.extend([power - 1, power, power + 1]);
            power *= 2;
        }
        sizes.push(largest);
        for size in &sizes {
            let wanted = patterned(*size, *size as u64);
            let name = format!("size {size}");
            store.put(&key(&name), &wanted).await.unwrap();
            assert!(get(&store, &name).await == Some(wanted), "{size} bytes");
        }
        for size in &sizes {
            let wanted = patterned(*size, *size as u64);
            let name = format!("size {size}");
            assert!(
                get(&store, &name).await == Some(wanted),
                "{size} bytes, later"
            );
        }
    });
}

/// Empty, binary, unicode, long and longest keys, and each byte value on its own.
pub fn keys_of_every_kind(place: &Place) {
    with_store(place, async |_, store| {
        let mut keys: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).collect();
        keys.push(Vec::new());
        keys.push((0..=255_u8).collect());
        keys.push(vec![0; 300]);
        keys.push(vec![0xff; 300]);
        keys.extend(["Grüße", "日本語のキー", "🗝️", "a\0b"].map(|text| text.into()));
        keys.push(patterned(place.key_bytes_max - 1, 1));
        keys.push(patterned(place.key_bytes_max, 2));
        for (number, bytes) in keys.iter().enumerate() {
            let k = Key::from(bytes.clone());
            let prior = store.set(&k, &value(number as u64)).await.unwrap();
            assert_same!(prior, None, "a key of {} bytes", bytes.len());
        }
        for (number, bytes) in keys.iter().enumerate() {
            let k = Key::from(bytes.clone());
            let found = store.get(&k).await.unwrap();
            assert_same!(found, Some(value(number as u64)), "{} bytes", bytes.len());
            assert_same!(store.delete(&k).await.unwrap(), found);
        }
    });
}

/// Keys that begin alike, or differ in zeros, case or normal form, are different keys.
pub fn keys_do_not_mix(place: &Place) {
    with_store(place, async |_, store| {
        let names = [
            "", "\0", "\0\0", "a", "a\0", "a\0\0", "aa", "A", "é", "e\u{301}", "1", "01", "a ",
            " a", "a/", "/a", "a//", "a/b", "a//b", "a/./b", "a/c/../b", "a\\b", ".", "..", "a.b",
            "a%2fb", "a*", "a:b", "~", "CON", "con", "a\n", "a\r\n", "'a'", "\"a\"", "NULL",
            "null",
        ];
        for (number, name) in names.iter().enumerate() {
            put(&store, name, number as u64).await;
        }
        for (number, name) in names.iter().enumerate() {
            assert_same!(
                get(&store, name).await,
                Some(value(number as u64)),
                "{name:?}"
            );
        }
        assert_same!(store.delete(&key("a")).await.unwrap(), Some(value(3)));
        assert_same!(get(&store, "a\0").await, Some(value(4)));
        assert_same!(get(&store, "aa").await, Some(value(6)));
    });
}

/// Every byte, alone and all together; zeros, spaces and ends of lines, where they begin, end and fill a value; text,
/// and what is none.
pub fn values_of_every_kind(place: &Place) {
    with_store(place, async |_, store| {
        let mut values: Vec<Value> = (0..=255_u8).map(|byte| vec![byte]).collect();
        values.push((0..=255_u8).collect());
        for byte in [b'\0', b' ', b'\n', b'\r', b'"', 0x7f, 0x80, 0xff] {
            for length in [2, 16, 511, 4_096] {
                values.push(vec![byte; length]);
                let mut ends = vec![byte; length];
                ends[length / 2] = b'x';
                values.push(ends);
            }
        }
        values.extend(["Grüße", "日本語", "a\0b", "null", "-1"].map(|text| text.into()));
        for (number, v) in values.iter().enumerate() {
            let k = key(&format!("{number}"));
            assert_same!(store.set(&k, v).await.unwrap(), None, "value {number}");
            let found = store.get(&k).await.unwrap();
            assert_same!(found, Some(v.clone()), "value {number}");
        }
        for (number, v) in values.iter().enumerate() {
            let prior = store.delete(&key(&format!("{number}"))).await.unwrap();
            assert_same!(prior, Some(v.clone()), "value {number}, deleted");
        }
    });
}

/// Setting what is there already answers with it.
pub fn a_value_that_is_there_already_is_written_like_any(place: &Place) {
    with_store(place, async |_, store| {
        let k = key("k");
        for v in [value(1), Vec::new()] {
            store.put(&k, &v).await.unwrap();
            for _ in 0..3 {
                let prior = store.set(&k, &v).await.unwrap();
                assert_same!(prior, Some(v.clone()), "the same value again");
                store.put(&k, &v).await.unwrap();
                assert_same!(store.get(&k).await.unwrap(), Some(v.clone()), "read");
            }
            assert_same!(store.delete(&k).await.unwrap(), Some(v.clone()), "deleted");
            assert_same!(store.delete(&k).await.unwrap(), None, "deleted twice");
            assert_same!(store.set(&k, &v).await.unwrap(), None, "set after a delete");
        }
    });
}

/// An empty value is there.
pub fn an_empty_value_is_not_an_absent_one(place: &Place) {
    with_store(place, async |_, store| {
        assert_same!(store.set(&key("k"), &Vec::new()).await.unwrap(), None);
        assert_same!(get(&store, "k").await, Some(Vec::new()));
        assert_same!(
            store.set(&key("k"), &value(1)).await.unwrap(),
            Some(Vec::new())
        );
        store.put(&key("k"), &Vec::new()).await.unwrap();
        assert_same!(store.delete(&key("k")).await.unwrap(), Some(Vec::new()));
    });
}

/// One byte too many: an error that says so, effect *nothing*, and the store goes on.
pub fn a_key_that_is_too_long_is_refused_and_nothing_happened(place: &Place) {
    with_store(place, async |_, store| {
        let long = Key::from(vec![b'k'; place.key_bytes_max + 1]);
        for (operation, outcome) in [
            ("set", store.set(&long, &value(1)).await.map(drop)),
            ("put", store.put(&long, &value(1)).await),
            ("get", store.get(&long).await.map(drop)),
            ("delete", store.delete(&long).await.map(drop)),
            ("remove", store.remove(&long).await),
        ] {
            let Err(error) = outcome else {
                panic!(
                    "{operation} took a key of {} bytes: one of more than {} is to be refused as TooLarge",
                    place.key_bytes_max + 1,
                    place.key_bytes_max
                );
            };
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{operation}: {error:?}");
            assert_eq!(error.effect(), Effect::Nothing, "{operation}: {error:?}");
        }
        put(&store, "k", 1).await;
        assert_same!(get(&store, "k").await, Some(value(1)));
    });
}

/// `Arc<dyn KVStore>` is a store, and its futures can be sent.
pub fn the_store_works_behind_a_trait_object(place: &Place) {
    with_store(place, async |fixture, store| {
        let erased: Arc<dyn KVStore<Key, Value>> = Arc::new(store.clone());
        let task = fixture.spawn(async move {
            let k = key("k");
            let first = erased.set(&k, &value(1)).await.unwrap();
            erased.put(&k, &value(2)).await.unwrap();
            (first, erased.get(&k).await.unwrap())
        });
        assert_same!(task.await, (None, Some(value(2))));
        assert_same!(get(&store, "k").await, Some(value(2)));
    });
}

/// A clone is another handle, not another store; dropping one leaves the others alone.
pub fn clones_share_one_store(place: &Place) {
    with_store(place, async |_, store| {
        let other = store.clone();
        put(&store, "k", 1).await;
        assert_same!(get(&other, "k").await, Some(value(1)));
        drop(store);
        put(&other, "k", 2).await;
        assert_same!(get(&other, "k").await, Some(value(2)));
    });
}

/// Two thousand random operations on fifty keys, answers compared with a map's.
pub fn the_store_agrees_with_a_map(place: &Place) {
    with_store(place, async |_, store| {
        let mut map: BTreeMap<Key, Value> = BTreeMap::new();
        let mut random = Random::new(7);
        for step in 0..2_000_u64 {
            let k = key(&format!("key {}", random.below(50)));
            match random.below(5) {
                0 => {
                    let answer = store.delete(&k).await.unwrap();
                    assert_same!(answer, map.remove(&k), "step {step}: delete {}", k.show());
                }
                1 | 2 => {
                    let found = store.get(&k).await.unwrap();
                    assert_same!(found.as_ref(), map.get(&k), "step {step}: get {}", k.show());
                }
                _ => {
                    let answer = store.set(&k, &value(step)).await.unwrap();
                    let expected = map.insert(k.clone(), value(step));
                    assert_same!(answer, expected, "step {step}: set {}", k.show());
                }
            }
        }
    });
}

/// A scan shows every key once, in the order of the keys, and nothing else.
pub fn a_scan_is_ordered_and_complete(place: &Place) {
    with_store(place, async |fixture, store| {
        assert_same_list(&fixture.scan(&store).await.unwrap(), &[], "a new store");
        let mut map = BTreeMap::new();
        let mut random = Random::new(3);
        for number in 0..300 {
            let length = usize::try_from(random.below(6)).expect("below 6");
            let k = Key::from(patterned(length, number));
            store.put(&k, &value(number)).await.unwrap();
            map.insert(k, value(number));
            if number % 3 == 0 {
                let gone = map.keys().next().cloned().expect("one was just written");
                store.remove(&gone).await.unwrap();
                map.remove(&gone);
            }
        }
        let found = fixture.scan(&store).await.unwrap();
        let expected: Vec<_> = map.into_iter().collect();
        assert_same_list(&found, &expected, "a scan");
    });
}

/// Of two changes of one key in a batch the later one wins; an empty batch is fine.
pub fn a_batch_is_applied_in_order(place: &Place) {
    with_store(place, async |fixture, store| {
        fixture.write_batch(&store, Vec::new()).await.unwrap();
        let changes = vec![
            (key("a"), Some(value(1))),
            (key("b"), Some(value(2))),
            (key("a"), None),
            (key("b"), Some(value(3))),
            (key("c"), None),
        ];
        fixture.write_batch(&store, changes).await.unwrap();
        assert_same!(get(&store, "a").await, None);
        assert_same!(get(&store, "b").await, Some(value(3)));
        assert_same!(get(&store, "c").await, None);
    });
}

/// What the fixture names of the store the store says of itself, and has.
pub fn a_store_says_what_it_can_do(place: &Place) {
    let named = place.capabilities.iter();
    let named: BTreeSet<_> = named.filter_map(|named| named.of_the_store()).collect();
    with_store(place, async |_fixture, store| {
        let said: BTreeSet<_> = store.capabilities().into_iter().collect();
        let unsaid: Vec<_> = named.difference(&said).collect();
        assert!(
            unsaid.is_empty(),
            "named by the fixture, and not there: {unsaid:?}"
        );
    });
}
