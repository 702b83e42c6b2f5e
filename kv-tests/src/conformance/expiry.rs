//! Values that go by themselves. Time passes by [`Fixture::pass`](crate::fixture::Fixture::pass) and not by waiting.

use super::help::{get, key, opened, put, value, with_store};
use crate::any::{AnyFixture, AnyStore, Place};
use crate::shown::assert_same;
use kv_trait::{Effect, ErrorKind, Expiry, KVStore, KeyRange, Query};
use std::time::{Duration, SystemTime};

const TTL: Duration = Duration::from_secs(100);

fn expiry(store: &AnyStore) -> &dyn Expiry<crate::fixture::Key, crate::fixture::Value> {
    store.expiry().expect("the fixture names it")
}

async fn put_for(store: &AnyStore, name: &str, number: u64, ttl: Duration) {
    let (key, value) = (key(name), value(number));
    let put = expiry(store).put_with_ttl(&key, &value, ttl);
    put.await.unwrap();
}

async fn expires_at(store: &AnyStore, name: &str) -> Option<SystemTime> {
    expiry(store).expires_at(&key(name)).await.unwrap()
}

/// A value is there until its time has come, and then absent to every read, as prior value and to conditions.
pub fn what_has_expired_is_absent(place: &Place) {
    with_store(place, async |fixture, store| {
        put_for(&store, "a", 1, TTL).await;
        put(&store, "b", 2).await;
        fixture.pass(&store, TTL / 2);
        assert_same!(get(&store, "a").await, Some(value(1)), "half of its time");
        fixture.pass(&store, TTL);
        assert_same!(get(&store, "a").await, None, "its time has come");
        assert_eq!(expires_at(&store, "a").await, None);
        if let Some(scans) = store.scans() {
            let all = scans.scan(&Query::all()).all().await.unwrap();
            assert_same!(all, vec![(key("b"), value(2))], "a scan");
            assert_eq!(scans.count(&KeyRange::all()).await.unwrap(), 1);
        }
        if let Some(versions) = store.versions() {
            let found = versions.get_versioned(&key("a")).await.unwrap();
            assert!(found.is_none(), "what has expired has a version");
            versions.insert(&key("a"), &value(3)).await.unwrap();
            assert_same!(get(&store, "a").await, Some(value(3)), "inserted anew");
        }
        put_for(&store, "c", 4, TTL).await;
        fixture.pass(&store, TTL * 2);
        let prior = store.set(&key("c"), &value(5)).await.unwrap();
        assert_same!(prior, None, "the prior value of what has expired");
    });
}

/// A write without a time to live ends that of the value before, and one with another one changes it.
pub fn a_later_write_says_anew_when_a_value_goes(place: &Place) {
    with_store(place, async |fixture, store| {
        for name in ["put", "set", "ttl"] {
            put_for(&store, name, 1, TTL).await;
        }
        put(&store, "put", 2).await;
        let prior = store.set(&key("set"), &value(2)).await.unwrap();
        assert_same!(prior, Some(value(1)));
        put_for(&store, "ttl", 2, TTL * 3).await;
        assert_eq!(expires_at(&store, "put").await, None);
        fixture.pass(&store, TTL * 2);
        for name in ["put", "set", "ttl"] {
            assert_same!(get(&store, name).await, Some(value(2)), "{name}");
        }
        fixture.pass(&store, TTL * 2);
        assert_same!(get(&store, "put").await, Some(value(2)));
        assert_same!(get(&store, "ttl").await, None);
    });
}

/// When a value goes is told: so long behind the write of it, and nothing of what stays.
pub fn when_a_value_goes_is_told(place: &Place) {
    with_store(place, async |fixture, store| {
        assert_eq!(expires_at(&store, "absent").await, None);
        put(&store, "stays", 1).await;
        assert_eq!(expires_at(&store, "stays").await, None);
        put_for(&store, "early", 1, TTL).await;
        put_for(&store, "late", 1, TTL * 2).await;
        let (early, late) = (
            expires_at(&store, "early").await,
            expires_at(&store, "late").await,
        );
        let apart = late.unwrap().duration_since(early.unwrap()).unwrap();
        assert!(
            (TTL..TTL * 2).contains(&apart),
            "two values that go {TTL:?} apart go {apart:?} apart"
        );
        fixture.pass(&store, TTL);
        assert_eq!(expires_at(&store, "late").await, late, "time passes");
        put_for(&store, "none", 1, Duration::ZERO).await;
        assert_same!(get(&store, "none").await, None, "no time at all");
    });
}

/// A snapshot has the time of its beginning: nothing goes from it.
pub fn a_snapshot_keeps_the_time_of_its_beginning(place: &Place) {
    with_store(place, async |fixture, store| {
        put_for(&store, "a", 1, TTL).await;
        let snapshot = store.snapshots().expect("named").snapshot().await.unwrap();
        fixture.pass(&store, TTL * 2);
        assert_same!(get(&store, "a").await, None);
        let kept = snapshot.get(&key("a")).await.unwrap();
        assert_same!(kept, Some(value(1)), "read in the snapshot");
        let kept = snapshot.scan(&Query::all()).all().await.unwrap();
        assert_same!(kept, vec![(key("a"), value(1))], "scanned in the snapshot");
        let later = store.snapshots().expect("named").snapshot().await.unwrap();
        assert_same!(later.get(&key("a")).await.unwrap(), None);
    });
}

/// A time that no clock can say is refused, and what was there stays.
pub fn a_time_to_live_beyond_the_clock_is_refused(place: &Place) {
    with_store(place, async |_fixture, store| {
        put(&store, "a", 1).await;
        let (k, v) = (key("a"), value(2));
        let refused = expiry(&store).put_with_ttl(&k, &v, Duration::MAX);
        let error = refused.await.expect_err("a time beyond the clock is taken");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert_eq!(error.effect(), Effect::Nothing, "{error:?}");
        assert_same!(get(&store, "a").await, Some(value(1)));
    });
}

/// What has expired is gone after a restart, and what has not is there, and goes in its time.
pub fn expiry_survives_a_restart(place: &Place) {
    async fn reopened(fixture: &AnyFixture, store: AnyStore) -> AnyStore {
        drop(store);
        opened(fixture.open().await)
    }
    with_store(place, async |fixture, store| {
        put_for(&store, "early", 1, TTL).await;
        put_for(&store, "late", 2, TTL * 4).await;
        let late = expires_at(&store, "late").await;
        fixture.pass(&store, TTL * 2);
        assert_same!(get(&store, "early").await, None);
        let store = reopened(fixture, store).await;
        assert_same!(get(&store, "early").await, None, "reopened");
        assert_same!(get(&store, "late").await, Some(value(2)), "reopened");
        assert_eq!(expires_at(&store, "late").await, late, "reopened");
        fixture.pass(&store, TTL * 4);
        assert_same!(get(&store, "late").await, None);
        let store = reopened(fixture, store).await;
        assert_same!(get(&store, "late").await, None, "reopened again");
    });
}
