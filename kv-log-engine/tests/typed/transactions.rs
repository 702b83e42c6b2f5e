//! Snapshots and transactions of typed stores.

use crate::{Counting, Store, join, my, open, with};
use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{KVSnapshot, KVTransaction};
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

type Tx = KVTransaction<String, u32, Counting>;

#[test]
fn a_snapshot_shows_one_point_in_every_keyspace() {
    with::<String, u32>(async |store, runtime| {
        let names = store.keyspace::<u32, String>("names").await?;
        store.put_many([("a1", &1), ("a2", &2), ("b1", &3)]).await?;
        names.put(&1, &"ann".to_owned()).await?;
        let hops = runtime.hops();
        let before = store.snapshot()?;
        assert_eq!(before.get("a1").await?, Some(1));
        assert_eq!(runtime.hops(), hops, "what memory has takes no thread");
        let names_before = before.of(&names)?;
        store.put("a1", &9).await?;
        store.remove("b1").await?;
        names.put(&2, &"bob".to_owned()).await?;
        for _ in 0..2 {
            assert_eq!(before.get("a1").await?, Some(1));
            let versioned = before.get_versioned("b1").await?.unwrap();
            assert!(versioned.version <= before.version());
            assert_eq!(
                before.get_many(["b1", "c", "a1"]).await?,
                [Some(3), None, Some(1)]
            );
            assert_eq!(before.range(..).keys().collect().await?, ["a1", "a2", "b1"]);
            assert_eq!(
                before.prefix("a").reversed().collect().await?[0],
                ("a2".to_owned(), 2)
            );
            assert_eq!(names_before.range(..).count().await?, 1);
            // Everything moves into runs.
            for number in 0..400_u32 {
                store.put(&format!("filler {number}"), &number).await?;
            }
        }
        assert!(store.snapshot()?.version() > before.version());
        Ok(())
    });
}

async fn raise(tx: &Tx, key: &str) -> Result<u32> {
    let raised = tx.get(key).await?.unwrap_or_default() + 1;
    tx.put(key, &raised)?;
    Ok(raised)
}

#[test]
fn a_transaction_sees_its_own_writes_and_is_whole() {
    with::<String, u32>(async |store, runtime| {
        let names = store.keyspace::<u32, String>("names").await?;
        store.put_many([("ann", &1), ("bob", &2)]).await?;
        let hops = runtime.hops();
        let tx = store.begin()?;
        assert_eq!(raise(&tx, "ann").await?, 2);
        tx.remove("bob")?;
        let there = tx.of(&names)?;
        there.put(&2, &"ann".to_owned())?;
        assert_eq!(runtime.hops(), hops);
        assert_eq!(tx.get("ann").await?, Some(2));
        assert_eq!(tx.get("bob").await?, None);
        assert_eq!(tx.range(..).collect().await?, [("ann".to_owned(), 2)]);
        assert_eq!(tx.prefix("b").count().await?, 0);
        assert_eq!(there.range(..).keys().first().await?, Some(2));
        assert_eq!(
            (store.get("bob").await?, names.get(&2).await?),
            (Some(2), None)
        );
        let version = tx.commit().await?.unwrap();
        assert_eq!(names.get_versioned(&2).await?.unwrap().version, version);
        assert_eq!(
            (store.get("ann").await?, store.get("bob").await?),
            (Some(2), None)
        );
        let ended = there.put(&3, &String::new()).unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::InvalidInput);
        Ok(())
    });
}

#[test]
fn what_was_read_and_has_changed_is_a_conflict() {
    with::<String, u32>(async |store, _| {
        store.put_many([("a1", &1), ("a3", &3), ("b", &0)]).await?;
        let count = async || {
            let tx = store.begin()?;
            let count = tx.prefix("a").count().await?;
            tx.put("b", &u32::try_from(count).unwrap())?;
            Ok::<_, Error>(tx)
        };
        for change in ["a1", "a2", "a9"] {
            let tx = count().await?;
            store.put(change, &7).await?;
            let refused = tx.commit().await.unwrap_err();
            assert_eq!(
                (refused.kind(), refused.effect()),
                (ErrorKind::Conflict, Effect::Nothing)
            );
            assert!(refused.to_string().contains(change), "{refused}");
        }
        let tx = count().await?;
        store.put("c", &7).await?;
        tx.commit().await?;
        assert_eq!(store.get("b").await?, Some(4));
        Ok(())
    });
}

#[test]
fn a_failing_closure_writes_nothing_and_is_not_run_again() {
    with::<String, u32>(async |store, _| {
        let runs = Cell::new(0);
        let failed = store
            .transaction(async |tx: Tx| {
                runs.set(runs.get() + 1);
                raise(&tx, "ann").await?;
                Err::<(), _>(Error::new(ErrorKind::Conflict, "of its own"))
            })
            .await
            .unwrap_err();
        assert_eq!((failed.to_string().as_str(), runs.get()), ("of its own", 1));
        assert_eq!(store.get("ann").await?, None);
        Ok(())
    });
}

#[test]
fn attempts_are_bounded() {
    with::<String, u32>(async |store, _| {
        let runs = Cell::new(0);
        let refused = store
            .transaction(async |tx: Tx| {
                runs.set(runs.get() + 1);
                raise(&tx, "ann").await?;
                store.put("ann", &runs.get()).await
            })
            .await
            .unwrap_err();
        assert_eq!(
            (refused.kind(), refused.effect()),
            (ErrorKind::Conflict, Effect::Nothing)
        );
        assert_eq!(runs.get(), 64);
        assert_eq!(store.get("ann").await?, Some(64));
        // Its turns have ended with it.
        store
            .transaction(async |tx: Tx| raise(&tx, "ann").await)
            .await?;
        Ok(())
    });
}

#[test]
fn a_counter_that_many_raise_comes_to_their_number() {
    with::<String, u32>(async |store, _| {
        let runs = AtomicUsize::new(0);
        let raised = join((0..100).map(|_| {
            store.transaction(async |tx: Tx| {
                runs.fetch_add(1, Ordering::SeqCst);
                raise(&tx, "all").await?;
                raise(&tx, "others").await
            })
        }))
        .await;
        let mut raised = raised.into_iter().collect::<Result<Vec<_>>>()?;
        raised.sort_unstable();
        assert!(raised.into_iter().eq(1..=100), "an update is lost");
        assert_eq!(store.get("others").await?, Some(100));
        let runs = runs.load(Ordering::SeqCst);
        assert!(runs < 1500, "{runs} runs for 100 transactions");
        Ok(())
    });
}

#[test]
fn a_transaction_inside_another_stands_still_for_nobody() {
    with::<String, u32>(async |store, _| {
        let outer = join((0..12).map(|_| {
            store.transaction(async |tx: Tx| {
                let raised = raise(&tx, "outer").await?;
                store
                    .transaction(async |tx: Tx| raise(&tx, "inner").await)
                    .await?;
                Ok(raised)
            })
        }))
        .await;
        let done = outer.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(store.get("outer").await?, u32::try_from(done).ok());
        assert!(done > 0 && store.get("inner").await? >= store.get("outer").await?);
        for error in outer.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        }
        Ok(())
    });
}

#[test]
fn a_future_that_nobody_polls_any_more_holds_nobody_up() {
    with::<String, u32>(async |store, _| {
        let raise_it = || store.transaction(async |tx: Tx| raise(&tx, "all").await);
        let mut left: Vec<_> = (0..20).map(|_| Box::pin(raise_it())).collect();
        // Somewhere in the middle, each of them.
        for rounds in 1..40 {
            let mut polls = 0;
            std::future::poll_fn(|cx| {
                polls += 1;
                for (number, future) in left.iter_mut().enumerate() {
                    if number * 2 < rounds {
                        continue;
                    }
                    if future.as_mut().poll(cx).is_ready() {
                        *future = Box::pin(raise_it());
                    }
                }
                cx.waker().wake_by_ref();
                if polls > 3 {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
        }
        let before = store.get("all").await?.unwrap_or_default();
        for _ in 0..5 {
            assert!(raise_it().await? > before);
        }
        drop(left);
        assert!(raise_it().await? > before + 5);
        Ok(())
    });
}

#[test]
fn they_go_into_tasks_of_other_threads() {
    fn goes<T: Send + 'static>(_: &T) {}
    fn is_shared<T: Send + Sync + Clone + 'static>() {}
    is_shared::<KVSnapshot<String, u32, Counting>>();
    is_shared::<Tx>();
    with::<String, u32>(async |store: Store<String, u32>, _| {
        let task = async move {
            store
                .transaction(async |tx| {
                    let ann: u32 = tx.get("ann").await?.unwrap_or_default();
                    let count = tx.range(..).count().await?;
                    tx.put("ann", &(ann + 1))?;
                    Ok(count)
                })
                .await
        };
        goes(&task);
        assert_eq!(task.await?, 0);
        Ok(())
    });
}

#[test]
fn a_transaction_over_keyspaces_is_whole_or_absent_after_a_power_cut() {
    let disk = SimDisk::new();
    my::block_on(async {
        let store = open::<String, u32>(&disk).await?;
        let names = store.keyspace::<u32, String>("names").await?;
        for turn in 0..20_u32 {
            store
                .transaction(async |tx| {
                    let there = tx.of(&names)?;
                    tx.put("turn", &turn)?;
                    there.put(&0, &format!("turn {turn}"))
                })
                .await?;
            let cut = disk.fork();
            cut.power_cut(turn.into());
            let again = open::<String, u32>(&cut).await?;
            let there = again.keyspace::<u32, String>("names").await?;
            assert_eq!(again.get("turn").await?, Some(turn));
            assert_eq!(there.get(&0).await?, Some(format!("turn {turn}")));
            // One that is given up in the middle.
            let tx = store.begin()?;
            tx.put("turn", &1000)?;
            tx.of(&names)?.put(&0, &"turn 1000".to_owned())?;
            let mut committing = Box::pin(tx.commit());
            let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
            let polled = committing.as_mut().poll(&mut nobody).is_pending();
            assert!(polled || turn < 20);
            drop(committing);
            let cut = disk.fork();
            cut.power_cut(turn.into());
            let again = open::<String, u32>(&cut).await?;
            let there = again.keyspace::<u32, String>("names").await?;
            let shown = again.get("turn").await?.unwrap();
            assert_eq!(there.get(&0).await?, Some(format!("turn {shown}")));
        }
        Ok::<(), Error>(())
    })
    .unwrap();
}
