//! Walking keys in their order.

use super::help::{key, put, value, with_store};
use crate::any::{AnyStore, Place};
use crate::fixture::{Key, Value};
use crate::shown::assert_same;
use kv_trait::{ErrorKind, KVStore, KeyRange, Query, Scans};
use std::collections::BTreeMap;
use std::ops::Bound;

/// More than a store reads at once.
const MANY: u64 = 1_500;

fn scans(store: &AnyStore) -> &dyn Scans<Key, Value> {
    store.scans().expect("the fixture names it")
}

async fn all(store: &AnyStore, query: &Query) -> Vec<(Key, Value)> {
    scans(store).scan(query).all().await.unwrap()
}

/// Keys that are awkward in an order: none, one that begins with another, the last bytes there are.
fn awkward() -> BTreeMap<Key, Value> {
    let keys: [&[u8]; 9] = [
        b"",
        b"\0",
        b"a",
        b"a\0",
        b"ab",
        b"b",
        b"b\xff",
        b"\xff",
        b"\xff\xff",
    ];
    let numbered = keys.iter().zip(0..);
    numbered
        .map(|(name, number)| (Key::from(name.to_vec()), value(number)))
        .collect()
}

async fn with_awkward_keys(store: &AnyStore) -> BTreeMap<Key, Value> {
    let held = awkward();
    for (key, value) in &held {
        store.put(key, value).await.unwrap();
    }
    held
}

/// Whatever the bounds, a scan finds what a map finds: both ways, up to a limit, as keys, counted, its first and its last.
pub fn a_scan_of_an_interval_finds_what_a_map_finds(place: &Place) {
    with_store(place, async |_fixture, store| {
        let held = with_awkward_keys(&store).await;
        let mut bounds = vec![Bound::Unbounded];
        for name in held.keys().map(|key| key.to_vec()).chain([b"aa".to_vec()]) {
            bounds.extend([Bound::Included(name.clone()), Bound::Excluded(name)]);
        }
        for (from, to) in bounds
            .iter()
            .flat_map(|from| bounds.iter().map(move |to| (from.clone(), to.clone())))
        {
            let range = KeyRange::encoded(from, to);
            let within = held.iter().filter(|(key, _)| range.contains(key));
            let wanted: Vec<(Key, Value)> = within.map(|(k, v)| (k.clone(), v.clone())).collect();
            let query = Query::within(range.clone());
            assert_same!(all(&store, &query).await, wanted, "{range:?}");
            let first = scans(&store).first(&range).await.unwrap();
            assert_same!(first, wanted.first().cloned(), "the first of {range:?}");
            let last = scans(&store).last(&range).await.unwrap();
            assert_same!(last, wanted.last().cloned(), "the last of {range:?}");
            let count = scans(&store).count(&range).await.unwrap();
            assert_eq!(count, wanted.len() as u64, "{range:?}");
        }
    });
}

/// The first ones in its direction, as many as asked for.
pub fn a_scan_goes_both_ways_and_ends_at_its_limit(place: &Place) {
    with_store(place, async |_fixture, store| {
        let held = with_awkward_keys(&store).await;
        for range in [KeyRange::all(), KeyRange::of(key("a")..key("b")).unwrap()] {
            let within = held.iter().filter(|(key, _)| range.contains(key));
            let forwards: Vec<(Key, Value)> = within.map(|(k, v)| (k.clone(), v.clone())).collect();
            let backwards = forwards.iter().rev().cloned().collect();
            for (reversed, mut wanted) in [(false, forwards), (true, backwards)] {
                for limit in (0..=wanted.len()).rev() {
                    wanted.truncate(limit);
                    let mut query = Query::within(range.clone()).limit(limit as u64);
                    if reversed {
                        query = query.reversed();
                    }
                    assert_same!(all(&store, &query).await, wanted.clone(), "{query:?}");
                    let keys = scans(&store).scan_keys(&query).all().await.unwrap();
                    let wanted: Vec<Key> = wanted.iter().map(|(key, _)| key.clone()).collect();
                    assert!(keys == wanted, "the keys of {query:?}");
                }
            }
        }
    });
}

/// A prefix finds what begins with it, and nothing beside: where its last bytes have no successor, too.
pub fn a_scan_of_a_prefix_finds_what_begins_with_it(place: &Place) {
    with_store(place, async |_fixture, store| {
        let held = with_awkward_keys(&store).await;
        let prefixes: [&[u8]; 7] = [b"", b"\0", b"a", b"b\xff", b"\xff", b"\xff\xff", b"c"];
        for prefix in prefixes {
            let query = Query::within(KeyRange::encoded_prefix(prefix.to_vec()));
            let within = held.iter().filter(|(key, _)| key.starts_with(prefix));
            let wanted: Vec<_> = within.map(|(k, v)| (k.clone(), v.clone())).collect();
            assert_same!(all(&store, &query).await, wanted, "{prefix:?}");
        }
    });
}

/// Writes that are acknowledged while a scan is under way do not show in it, however long it is.
pub fn a_scan_shows_one_point_however_long_it_takes(place: &Place) {
    with_store(place, async |_fixture, store| {
        let name = |number: u64| format!("{number:06}");
        for number in 0..MANY {
            put(&store, &name(number), number).await;
        }
        let mut items = scans(&store).scan(&Query::all());
        for number in 0..MANY {
            let found = items.next().await.expect("all are there").unwrap();
            assert_same!(found, (key(&name(number)), value(number)));
            // Before the scan and behind it, overwritten, removed and new.
            if number % 100 == 0 {
                let (behind, before) = ((number + 700) % MANY, number / 2);
                put(&store, &name(behind), 0).await;
                store
                    .remove(&key(&name((number + 701) % MANY)))
                    .await
                    .unwrap();
                put(&store, &format!("{} and more", name(number + 50)), 0).await;
                store.remove(&key(&name(before))).await.unwrap();
            }
        }
        assert!(items.next().await.is_none(), "more than was there");
    });
}

/// A scan may be dropped anywhere: the store goes on, and the next scan finds all.
pub fn a_scan_may_be_dropped_anywhere(place: &Place) {
    with_store(place, async |_fixture, store| {
        for number in 0..MANY {
            put(&store, &format!("{number:06}"), number).await;
        }
        for taken in [0, 1, 2, 511, 512, 513, 1_024, MANY - 1] {
            let mut items = scans(&store).scan(&Query::all());
            for _ in 0..taken {
                items.next().await.expect("all are there").unwrap();
            }
            drop(items);
            put(&store, "last", taken).await;
        }
        let count = scans(&store).count(&KeyRange::all()).await.unwrap();
        assert_eq!(count, MANY + 1);
    });
}

/// A closed store is not scanned: one item says so.
pub fn a_scan_of_a_closed_store_is_refused(place: &Place) {
    with_store(place, async |_fixture, store| {
        put(&store, "a", 1).await;
        store.closing().expect("named").close().await.unwrap();
        let error = scans(&store).scan(&Query::all()).all().await;
        let error = error.expect_err("a closed store is scanned");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
        let error = scans(&store).count(&KeyRange::all()).await;
        let error = error.expect_err("a closed store is counted");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
    });
}
