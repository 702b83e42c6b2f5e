//! Devices that fail: every error says what became of the write, and that is the truth.

use super::help::{get, key, opened, poll_once, put, value, with_store};
use crate::any::{AnyStore, Place};
use crate::fixture::{Misfortune, PowerCut};
use kv_trait::{Effect, Error, ErrorKind, KVStore, Result};
use std::task::Poll;

async fn failing_put(store: &AnyStore, name: &str, number: u64) -> Error {
    match store.put(&key(name), &value(number)).await {
        Ok(()) => panic!("{name}: acknowledged, although its sync or write failed"),
        Err(error) => error,
    }
}

/// A failed sync: effect *unknown*; no more writes, effect *nothing*; reads go on; opened again it works.
pub fn a_failed_sync_is_told_and_stops_writes(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "before", 1).await;
        fixture.inject(Misfortune::SyncFails);
        let error = failing_put(&store, "k", 2).await;
        assert_eq!(error.effect(), Effect::Unknown, "{error:?}");
        let error = failing_put(&store, "later", 3).await;
        assert_eq!(error.effect(), Effect::Nothing, "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error:?}");
        assert_eq!(get(&store, "before").await, Some(value(1)), "reads go on");
        assert_eq!(get(&store, "later").await, None);
        drop(store);
        fixture.inject(Misfortune::None);
        let store = opened(fixture.open().await);
        assert_eq!(get(&store, "before").await, Some(value(1)));
        assert_eq!(get(&store, "later").await, None, "it was refused");
        put(&store, "later", 4).await;
        assert_eq!(get(&store, "later").await, Some(value(4)));
    });
}

/// After a failed sync the pages are readable, not durable, and no second sync makes them so. Whatever the next open
/// shows must survive the power cut that follows.
pub fn a_failed_sync_is_never_believed_later(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "before", 1).await;
        fixture.inject(Misfortune::SyncFails);
        // More than a sector, so that no later write of its neighbour carries it along.
        let long = vec![b'v'; 5_000];
        let outcome = store.put(&key("k"), &long).await;
        if outcome.is_ok() {
            let cut = fixture.after_power_cut(PowerCut::LosingAll);
            let reopened = opened(cut.open().await);
            assert_eq!(get(&reopened, "k").await, Some(long), "acknowledged");
        }
        drop(store);
        fixture.inject(Misfortune::None);
        let store = opened(fixture.open().await);
        let seen = get(&store, "k").await;
        put(&store, "after", 3).await;
        let cut = fixture.after_power_cut(PowerCut::LosingAll);
        let reopened = opened(cut.open().await);
        assert_eq!(
            get(&reopened, "k").await,
            seen,
            "shown by an open, lost by a cut"
        );
        assert_eq!(get(&reopened, "before").await, Some(value(1)));
        assert_eq!(get(&reopened, "after").await, Some(value(3)));
    });
}

/// "No space" from the sync itself comes after the bytes were handed over: nobody can know.
pub fn a_sync_without_space_is_unknown_too(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "before", 1).await;
        fixture.inject(Misfortune::SyncFindsNoSpace);
        let error = failing_put(&store, "k", 2).await;
        assert_eq!(error.effect(), Effect::Unknown, "{error:?}");
        let error = failing_put(&store, "later", 3).await;
        assert_eq!(error.effect(), Effect::Nothing, "{error:?}");
        assert_eq!(get(&store, "before").await, Some(value(1)), "reads go on");
    });
}

/// A write that broke off is refused with effect *nothing*, and then it is in no later state: not before a cut, not
/// after, not when the same is tried again and the power goes.
pub fn a_failed_write_leaves_nothing(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "before", 1).await;
        for round in 0..4_u64 {
            let name = format!("k{round}");
            // Two at once, so that one of them may be there whole where the write broke off.
            let (k, beside, v) = (key(&name), key("beside"), vec![b'v'; 100]);
            fixture.inject(Misfortune::WriteFails);
            let (mut first, mut second) = (store.put(&k, &v), store.put(&beside, &v));
            let early = [poll_once(&mut first), poll_once(&mut second)];
            let mut outcomes = Vec::new();
            for (early, write) in early.into_iter().zip([first, second]) {
                outcomes.push(match early {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => write.await,
                });
            }
            let nothing = |outcome: &Result<()>| {
                let error = outcome.as_ref().err();
                error.is_some_and(|error| error.effect() == Effect::Nothing)
            };
            let failed = outcomes.iter().any(Result::is_err);
            assert!(failed, "a write that failed was acknowledged");
            if !nothing(&outcomes[0]) {
                return; // nobody said that nothing happened
            }
            assert_eq!(get(&store, &name).await, None);
            // Among the seeds are states between two writes to one place.
            let seeds = (0..24).map(|seed| PowerCut::Some(round * 24 + seed));
            for cut in [PowerCut::KeepingAll, PowerCut::LosingAll]
                .into_iter()
                .chain(seeds)
            {
                let after = fixture.after_power_cut(cut);
                let files = after.open().await;
                let reopened = opened(files);
                assert_eq!(get(&reopened, &name).await, None, "{cut:?}");
                assert_eq!(get(&reopened, "before").await, Some(value(1)), "{cut:?}");
            }
            fixture.inject(Misfortune::None);
            put(&store, "other", round).await;
            let after = fixture.after_power_cut(PowerCut::LosingAll);
            let reopened = opened(after.open().await);
            assert_eq!(
                get(&reopened, &name).await,
                None,
                "the refused write came back"
            );
            assert_eq!(get(&reopened, "other").await, Some(value(round)));
        }
    });
}

/// Without space writes are refused with effect *nothing*; reads go on; with space the store goes on by itself.
pub fn a_full_disk_refuses_and_recovers(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "before", 1).await;
        fixture.inject(Misfortune::DiskFull);
        let mut refused = 0;
        for number in 0..200_u64 {
            let (k, v) = (key(&format!("k{number}")), vec![b'v'; 2_000]);
            match store.put(&k, &v).await {
                Ok(()) => assert_eq!(store.get(&k).await.unwrap(), Some(v)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
                    assert_eq!(error.effect(), Effect::Nothing, "{error:?}");
                    assert_eq!(store.get(&k).await.unwrap(), None, "refused");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "the disk was never full");
        assert_eq!(get(&store, "before").await, Some(value(1)), "reads go on");
        fixture.inject(Misfortune::None);
        put(&store, "after", 2).await;
        assert_eq!(get(&store, "after").await, Some(value(2)));
    });
}

/// A read that fails is an error, never "absent", and the next one may go well.
pub fn a_read_error_is_no_absence(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "k", 1).await;
        fixture.inject(Misfortune::ReadFails(0));
        match store.get(&key("k")).await {
            Err(error) => assert_eq!(error.effect(), Effect::Nothing, "{error:?}"),
            // Memory answered.
            Ok(found) => assert_eq!(found, Some(value(1))),
        }
        fixture.inject(Misfortune::None);
        assert_eq!(get(&store, "k").await, Some(value(1)));
    });
}

/// An open that meets a read error is refused, or has read everything in the end: it never takes the error for the end
/// of the data.
pub fn a_read_error_while_opening_loses_nothing(place: &Place) {
    with_store(place, async |fixture, store| {
        for number in 0..20 {
            put(&store, &format!("k{number}"), number).await;
        }
        let mut store = store;
        for good in 0..6 {
            drop(store);
            fixture.inject(Misfortune::ReadFails(good));
            let first = fixture.open().await;
            fixture.inject(Misfortune::None);
            store = match first {
                Ok(store) => store,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
                    opened(fixture.open().await)
                }
            };
            for number in 0..20 {
                let found = get(&store, &format!("k{number}")).await;
                assert_eq!(found, Some(value(number)), "a read failed after {good}");
            }
        }
    });
}
