//! Writes that depend on what is there: conditional ones, and updates.

use super::help::{get, key, number, put, value, with_store};
use crate::any::{AnyStore, Place};
use crate::fixture::{Key, Value};
use crate::shown::assert_same;
use kv_trait::{Effect, ErrorKind, KVStore, Result, Updates, Version, Versions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn versions(store: &AnyStore) -> &dyn Versions<Key, Value> {
    store.versions().expect("the fixture names it")
}

fn updates(store: &AnyStore) -> &dyn Updates<Key, Value> {
    store.updates().expect("the fixture names it")
}

async fn version(store: &AnyStore, name: &str) -> Option<Version> {
    let found = versions(store).get_versioned(&key(name)).await.unwrap();
    found.map(|found| found.version)
}

fn assert_conflict<T>(outcome: Result<T>, what: &str) {
    match outcome {
        Ok(_) => panic!("{what} is not refused"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{what}: {error:?}");
            assert_eq!(error.effect(), Effect::Nothing, "{what}: {error:?}");
        }
    }
}

/// A version belongs to one write: it changes with every write of the key, the same value included, rises, and does not
/// change with writes of others.
pub fn a_version_belongs_to_one_write(place: &Place) {
    with_store(place, async |_fixture, store| {
        assert_eq!(version(&store, "a").await, None, "an absent key");
        let mut last = None;
        for _ in 0..3 {
            put(&store, "a", 1).await;
            let now = version(&store, "a").await;
            assert!(now > last, "{now:?} behind {last:?}");
            last = now;
            put(&store, "b", 1).await;
            assert_eq!(version(&store, "a").await, last, "another key was written");
        }
        let (k, v) = (key("a"), value(1));
        let told = versions(&store).set_if(&k, &v, last).await.unwrap();
        assert!(Some(told) > last, "the same value again");
        assert_eq!(
            version(&store, "a").await,
            Some(told),
            "what was told is read"
        );
        store.remove(&k).await.unwrap();
        assert_eq!(version(&store, "a").await, None, "a removed key");
    });
}

/// A conditional write is done where the key is as expected, and refused with effect *nothing* where it is not.
pub fn a_conditional_write_is_done_only_where_the_key_is_as_expected(place: &Place) {
    with_store(place, async |_fixture, store| {
        let k = key("a");
        let (one, two) = (value(1), value(2));
        let first = versions(&store).insert(&k, &one).await.unwrap();
        assert_conflict(
            versions(&store).insert(&k, &two).await,
            "insert of what is there",
        );
        let second = versions(&store)
            .set_if(&k, &one, Some(first))
            .await
            .unwrap();
        assert_conflict(
            versions(&store).set_if(&k, &two, Some(first)).await,
            "an old version",
        );
        assert_conflict(
            versions(&store).set_if(&k, &two, None).await,
            "absence of what is there",
        );
        assert_conflict(
            versions(&store).delete_if(&k, first).await,
            "delete of an old version",
        );
        assert_same!(get(&store, "a").await, Some(value(1)), "all were refused");
        assert_eq!(version(&store, "a").await, Some(second));
        versions(&store).delete_if(&k, second).await.unwrap();
        assert_same!(get(&store, "a").await, None);
        assert_conflict(
            versions(&store).set_if(&k, &two, Some(second)).await,
            "a removed key",
        );
        assert_conflict(
            versions(&store).delete_if(&k, second).await,
            "delete of a removed key",
        );
        versions(&store).insert(&k, &two).await.unwrap();
        assert_same!(get(&store, "a").await, Some(value(2)));
    });
}

/// Of tasks that insert one key at once exactly one does.
pub fn of_inserts_at_once_one_is_done(place: &Place) {
    with_store(place, async |fixture, store| {
        for round in 0..10_u64 {
            let tasks: Vec<_> = (0..8_u64)
                .map(|task| {
                    let store = store.clone();
                    fixture.spawn(async move {
                        let (k, v) = (key(&format!("{round}")), value(task));
                        let outcome = versions(&store).insert(&k, &v).await;
                        outcome.is_ok().then_some(task)
                    })
                })
                .collect();
            let mut done = Vec::new();
            for task in tasks {
                done.extend(task.await);
            }
            let there = get(&store, &format!("{round}")).await.as_ref().map(number);
            assert_eq!(done.len(), 1, "round {round}: {done:?} were done");
            assert_eq!(there, done.first().copied(), "round {round}");
        }
    });
}

/// A counter that tasks raise at once comes to their number: no update is lost.
pub fn updates_at_once_lose_none(place: &Place) {
    with_store(place, async |fixture, store| {
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let store = store.clone();
                fixture.spawn(async move {
                    for _ in 0..5 {
                        let raise = |found: Option<Value>| {
                            let before = found.as_ref().map_or(0, number);
                            Some(value(before + 1))
                        };
                        let made = updates(&store).update(&key("n"), Box::new(raise)).await;
                        made.unwrap().expect("it makes a value");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_same!(get(&store, "n").await, Some(value(32 * 5)));
    });
}

/// An update answers with what the key holds then, removes it where the closure says so, and sees what is there.
pub fn an_update_makes_of_a_value_the_next_one(place: &Place) {
    with_store(place, async |_fixture, store| {
        let seen = Arc::new(AtomicBool::new(false));
        let k = key("a");
        let update = |wanted: Option<u64>, made: Option<u64>| {
            let seen = Arc::clone(&seen);
            let closure = move |found: Option<Value>| {
                seen.store(found == wanted.map(value), Ordering::SeqCst);
                made.map(value)
            };
            updates(&store).update(&k, Box::new(closure))
        };
        for (before, after) in [
            (None, Some(1)),
            (Some(1), Some(2)),
            (Some(2), None),
            (None, None),
        ] {
            let answer = update(before, after).await.unwrap();
            assert!(seen.load(Ordering::SeqCst), "not given {before:?}");
            assert_same!(answer, after.map(value), "behind {before:?}");
            assert_same!(
                get(&store, "a").await,
                after.map(value),
                "behind {before:?}"
            );
        }
    });
}
