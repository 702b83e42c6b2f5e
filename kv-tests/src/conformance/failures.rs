//! Devices that fail: every error says what became of the write, and that is the truth.

use super::help::{WRITES, Writing, get, key, opened, poll_once, put, value, with_store};
use crate::any::{AnyFixture, AnyStore, Place};
use crate::fixture::{Key, Misfortune, PowerCut, Value};
use crate::shown::{Show, assert_same};
use kv_trait::{Effect, Error, ErrorKind, KVStore, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::task::Poll;

async fn failing(write: Writing, store: &AnyStore, name: &str, number: u64) -> Error {
    match write.start(store, &key(name), &value(number)).await {
        Ok(()) => panic!("{write:?} {name}: acknowledged, although its sync or write failed"),
        Err(error) => error,
    }
}

/// A failed sync: effect *unknown*; no more writes, effect *nothing*; reads go on; opened again it works.
pub fn a_failed_sync_is_told_and_stops_writes(place: &Place) {
    for write in WRITES {
        with_store(place, async |fixture, store| {
            put(&store, "before", 1).await;
            put(&store, "k", 1).await;
            put(&store, "later", 1).await;
            fixture.inject(Misfortune::SyncFails);
            let error = failing(write, &store, "k", 2).await;
            assert_eq!(error.effect(), Effect::Unknown, "{write:?}: {error:?}");
            for later in WRITES {
                let error = failing(later, &store, "later", 3).await;
                assert_eq!(error.effect(), Effect::Nothing, "{later:?}: {error:?}");
                assert_eq!(error.kind(), ErrorKind::Poisoned, "{later:?}: {error:?}");
            }
            assert_same!(get(&store, "before").await, Some(value(1)), "reads go on");
            assert_same!(get(&store, "later").await, Some(value(1)), "{write:?}");
            drop(store);
            fixture.inject(Misfortune::None);
            let store = opened(fixture.open().await);
            assert_same!(get(&store, "before").await, Some(value(1)));
            let found = get(&store, "k").await;
            assert!(
                found == Some(value(1)) || found == write.leaves(&value(2)),
                "{write:?}: neither the old state nor the new one: {found:?}"
            );
            let later = get(&store, "later").await;
            assert_same!(later, Some(value(1)), "{write:?}: it was refused");
            put(&store, "later", 4).await;
            assert_same!(get(&store, "later").await, Some(value(4)));
        });
    }
}

/// After a failed sync the pages are readable, not durable, and no second sync makes them so. Whatever the next open
/// shows must survive the power cut that follows.
pub fn a_failed_sync_is_never_believed_later(place: &Place) {
    for write in WRITES {
        with_store(place, async |fixture, store| {
            put(&store, "before", 1).await;
            // More than a sector, so that no later write of its neighbour carries it along.
            let (k, long) = (
                Key::from(vec![b'k'; place.key_bytes_max.min(5_000)]),
                vec![b'v'; 5_000],
            );
            let read = async |store: &AnyStore| match store.get(&k).await {
                Ok(found) => found,
                Err(error) => panic!("{write:?}: cannot read: {error:?}"),
            };
            if write.leaves(&long).is_none()
                && let Err(error) = store.put(&k, &value(1)).await
            {
                panic!("{write:?}: cannot write: {error:?}");
            }
            fixture.inject(Misfortune::SyncFails);
            if write.start(&store, &k, &long).await.is_ok() {
                let cut = fixture.after_power_cut(PowerCut::LosingAll);
                let reopened = opened(cut.open().await);
                let found = read(&reopened).await;
                assert_same!(found, write.leaves(&long), "{write:?}: acknowledged");
            }
            drop(store);
            fixture.inject(Misfortune::None);
            let store = opened(fixture.open().await);
            let seen = read(&store).await;
            put(&store, "after", 3).await;
            let cut = fixture.after_power_cut(PowerCut::LosingAll);
            let reopened = opened(cut.open().await);
            assert_same!(
                read(&reopened).await,
                seen,
                "{write:?}: shown by an open, lost by a cut"
            );
            assert_same!(get(&reopened, "before").await, Some(value(1)));
            assert_same!(get(&reopened, "after").await, Some(value(3)));
        });
    }
}

/// "No space" from the sync itself comes after the bytes were handed over: nobody can know.
pub fn a_sync_without_space_is_unknown_too(place: &Place) {
    for write in WRITES {
        with_store(place, async |fixture, store| {
            put(&store, "before", 1).await;
            put(&store, "k", 1).await;
            fixture.inject(Misfortune::SyncFindsNoSpace);
            let error = failing(write, &store, "k", 2).await;
            assert_eq!(error.effect(), Effect::Unknown, "{write:?}: {error:?}");
            let error = failing(write, &store, "before", 3).await;
            assert_eq!(error.effect(), Effect::Nothing, "{write:?}: {error:?}");
            assert_same!(get(&store, "before").await, Some(value(1)), "reads go on");
        });
    }
}

/// What became of two writes of which one or both broke off, and what their keys may hold from then on.
struct BrokenOff {
    /// Of the first write.
    effect: Option<Effect>,
    keys: [(Key, Vec<Option<Value>>); 2],
}

/// What a key may hold after a write of which `outcome` was told.
fn may_hold(
    outcome: &Result<()>,
    before: Option<Value>,
    after: Option<Value>,
) -> Vec<Option<Value>> {
    match outcome.as_ref().err().map(Error::effect) {
        None | Some(Effect::Applied) => vec![after],
        Some(Effect::Nothing) => vec![before],
        _ => vec![before, after],
    }
}

/// Two writes at once, so that one of them may be there whole where the device's write broke off.
async fn break_off(
    fixture: &AnyFixture,
    store: &AnyStore,
    write: Writing,
    round: u64,
) -> BrokenOff {
    let (k, beside) = (key(&format!("k{round}")), key(&format!("beside{round}")));
    let (old, new) = (value(round), vec![b'v'; 100]);
    for name in ["k", "beside"] {
        put(store, &format!("{name}{round}"), round).await;
    }
    fixture.inject(Misfortune::WriteFails);
    let mut writes = [write.start(store, &k, &new), store.put(&beside, &new)];
    let mut outcomes = writes.each_mut().map(poll_once).into_iter();
    let mut told = Vec::new();
    for write in writes {
        told.push(match outcomes.next() {
            Some(Poll::Ready(outcome)) => outcome,
            _ => write.await,
        });
    }
    let failed = told.iter().any(Result::is_err);
    assert!(failed, "{write:?}: a write that failed was acknowledged");
    let of_k = may_hold(&told[0], Some(old.clone()), write.leaves(&new));
    let of_beside = may_hold(&told[1], Some(old), Some(new.clone()));
    drop(outcomes);
    BrokenOff {
        effect: told[0].as_ref().err().map(Error::effect),
        keys: [(k.clone(), of_k), (beside.clone(), of_beside)],
    }
}

async fn assert_may_hold(store: &AnyStore, broken: &BrokenOff, when: &str) -> Vec<Option<Value>> {
    let mut found = Vec::new();
    for (k, may) in &broken.keys {
        let held = match store.get(k).await {
            Ok(held) => held,
            Err(error) => panic!("{when}: cannot read {}: {error:?}", k.show()),
        };
        assert!(
            may.contains(&held),
            "{when}: {} holds {}, and by what was told it may hold {}",
            k.show(),
            held.show(),
            may.show()
        );
        found.push(held);
    }
    found
}

/// A write that broke off is in no later state if its effect was told as *nothing*: not before a cut, not after, not
/// when the same is tried again and the power goes. If it was told as *unknown* it is whole or absent, and what the
/// first open shows of it stays.
pub fn a_failed_write_leaves_nothing(place: &Place) {
    for write in WRITES {
        with_store(place, async |fixture, store| {
            put(&store, "before", 1).await;
            for round in 0..2_u64 {
                let broken = break_off(fixture, &store, write, round).await;
                let nothing = broken.effect == Some(Effect::Nothing);
                if nothing {
                    assert_may_hold(&store, &broken, &format!("{write:?}")).await;
                }
                // Among the seeds are states between two writes to one place.
                let seeds = (0..24).map(|seed| PowerCut::Some(round * 24 + seed));
                for cut in [PowerCut::KeepingAll, PowerCut::LosingAll]
                    .into_iter()
                    .chain(seeds)
                {
                    let after = fixture.after_power_cut(cut);
                    let reopened = opened(after.open().await);
                    let when = format!("{write:?}, {cut:?}");
                    let shown = assert_may_hold(&reopened, &broken, &when).await;
                    assert_same!(get(&reopened, "before").await, Some(value(1)), "{when}");
                    if nothing {
                        continue;
                    }
                    let again = after.after_power_cut(PowerCut::LosingAll);
                    let again = opened(again.open().await);
                    let when = format!("{when}, opened and cut once more");
                    let stays = assert_may_hold(&again, &broken, &when).await;
                    assert_same!(stays, shown, "{when}: shown by an open, and changed");
                }
                if !nothing {
                    let said = writeln!(
                        std::io::stdout(),
                        "{write:?}: a write that broke off was never said to have done nothing"
                    );
                    said.expect("standard output takes a line");
                    return; // such a store may refuse all further writes
                }
                fixture.inject(Misfortune::None);
                put(&store, "other", round).await;
                let after = fixture.after_power_cut(PowerCut::LosingAll);
                let reopened = opened(after.open().await);
                let when = format!("{write:?}, after another write and a cut");
                assert_may_hold(&reopened, &broken, &when).await;
                assert_same!(get(&reopened, "other").await, Some(value(round)), "{when}");
            }
        });
    }
}

/// A write that broke off is taken back: it is refused with effect *nothing*, and the store goes on.
pub fn a_failed_write_is_taken_back(place: &Place) {
    for write in WRITES {
        with_store(place, async |fixture, store| {
            for round in 0..3_u64 {
                let broken = break_off(fixture, &store, write, round).await;
                assert_eq!(broken.effect, Some(Effect::Nothing), "{write:?}");
                assert_may_hold(&store, &broken, &format!("{write:?}")).await;
                fixture.inject(Misfortune::None);
                put(&store, "other", round).await;
            }
        });
    }
}

/// Without space writes are refused with effect *nothing*; reads go on; with space the store goes on by itself.
pub fn a_full_disk_refuses_and_recovers(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "before", 1).await;
        fixture.inject(Misfortune::DiskFull);
        let mut held = BTreeMap::new();
        let mut refused = BTreeSet::new();
        for number in 0..240_u64 {
            // Each way to write meets each key in turn: there is something to delete.
            let write = WRITES[(number + number / 40) as usize % WRITES.len()];
            let (k, v) = (key(&format!("k{}", number % 40)), vec![b'v'; 2_000]);
            match write.start(&store, &k, &v).await {
                Ok(()) => {
                    held.insert(k.clone(), write.leaves(&v));
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{write:?}: {error:?}");
                    assert_eq!(error.effect(), Effect::Nothing, "{write:?}: {error:?}");
                    refused.insert(write);
                }
            }
            let found = store.get(&k).await.unwrap();
            let expected = held.get(&k).cloned().flatten();
            assert_same!(found, expected, "what {write:?} said of {}", k.show());
        }
        let refused = [Writing::Set, Writing::Put]
            .iter()
            .all(|write| refused.contains(write));
        assert!(refused, "the disk was never full");
        assert_same!(get(&store, "before").await, Some(value(1)), "reads go on");
        fixture.inject(Misfortune::None);
        put(&store, "after", 2).await;
        assert_same!(get(&store, "after").await, Some(value(2)));
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
            Ok(found) => assert_same!(found, Some(value(1))),
        }
        fixture.inject(Misfortune::None);
        assert_same!(get(&store, "k").await, Some(value(1)));
    });
}

/// The prior value cannot be read: the write was made all the same, and the error says so. A store that reads before
/// it writes may say *nothing*, and then nothing changed. Whoever does not ask for the prior value need not be told.
pub fn a_prior_value_that_cannot_be_read_is_no_refusal(place: &Place) {
    for write in WRITES {
        with_store(place, async |fixture, store| {
            put(&store, "k", 1).await;
            let (k, v) = (key("k"), value(2));
            fixture.inject(Misfortune::ReadFails(0));
            let outcome = match write {
                Writing::Set => store.set(&k, &v).await,
                Writing::Delete => store.delete(&k).await,
                Writing::Put | Writing::Remove => {
                    write.start(&store, &k, &v).await.map(|()| Some(value(1)))
                }
            };
            fixture.inject(Misfortune::None);
            let expected = match outcome {
                Ok(prior) => {
                    assert_same!(prior, Some(value(1)), "{write:?}: the prior value");
                    write.leaves(&v)
                }
                Err(error) => match error.effect() {
                    Effect::Applied if write.tells_prior() => write.leaves(&v),
                    Effect::Nothing => Some(value(1)),
                    effect => panic!("{write:?}: {effect:?} after a read error: {error:?}"),
                },
            };
            assert_same!(get(&store, "k").await, expected, "{write:?}: what was told");
            let after = fixture.after_power_cut(PowerCut::LosingAll);
            let reopened = opened(after.open().await);
            assert_same!(
                get(&reopened, "k").await,
                expected,
                "{write:?}: what was told, after a power cut"
            );
        });
    }
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
                assert_same!(found, Some(value(number)), "a read failed after {good}");
            }
        }
    });
}
