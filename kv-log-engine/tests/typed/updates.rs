//! Updates: read, decide and write as one step, however many at once.

use crate::{Counting, join, my, open, small, with};
use kv_log_engine::storage::sim::{OpKind, SimDisk};
use kv_log_engine::{Batch, KVLog};
use kv_trait::{BlockingWork, Error, ErrorKind, PoolId, Result, Runtime};
use serde::{Deserialize, Serialize, Serializer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn raised(value: Option<u32>) -> Option<u32> {
    Some(value.unwrap_or(0) + 1)
}

#[test]
fn a_thousand_updates_of_one_counter_all_count_and_share_syncs() {
    let disk = SimDisk::new();
    my::block_on(async {
        let store = open::<String, u32>(&disk).await?;
        let syncs = || disk.calls().get(&OpKind::Sync).copied().unwrap_or_default();
        let before = syncs();
        let updates = (0..1000).map(|_| {
            let store = store.clone();
            async move { store.update("visits", raised).await }
        });
        let mut answers = Vec::new();
        for answer in join(updates).await {
            answers.push(answer?.unwrap());
        }
        // In the order of first polls, each on what the one before answered.
        assert!(answers.iter().copied().eq(1..=1000));
        assert_eq!(store.get("visits").await?, Some(1000));
        let syncs = syncs() - before;
        assert!(syncs < 50, "{syncs} syncs");
        Ok::<(), Error>(())
    })
    .unwrap();
}

#[test]
fn updates_lose_nothing_to_other_writers_and_take_nothing_from_them() {
    with::<u32, u32>(async |store, _| {
        let engine = store.engine().clone();
        let key = kv_trait::key::encode(&7_u32)?;
        let other = std::thread::spawn(move || {
            let mut done = 0_u32;
            while done < 200 {
                let seen = engine.get_versioned(&key)?;
                let value = seen.as_ref().map_or(0, |(_, value)| {
                    u32::from(value[0] & 127) | u32::from(value.get(1).copied().unwrap_or(0)) << 7
                });
                let mut next = Vec::new();
                <kv_trait::Postcard as kv_trait::Codec<u32>>::encode(&(value + 1), &mut next)?;
                let mut batch = Batch::new();
                batch.expect(&key, seen.map(|(seqno, _)| seqno))?;
                batch.put(&key, &next)?;
                match engine.write(batch) {
                    Ok(_) => done += 1,
                    Err(error) if error.kind() == ErrorKind::Conflict => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        for _ in 0..10 {
            let updates = (0..30).map(|_| store.update(&7, raised));
            for answer in join(updates).await {
                answer?;
            }
        }
        other.join().unwrap()?;
        assert_eq!(store.get(&7).await?, Some(500));
        Ok(())
    });
}

#[test]
fn keys_are_updated_for_themselves() {
    with::<u32, String>(async |store, _| {
        let updates = (0..600_u32).map(|number| {
            let store = store.clone();
            async move {
                let grown = move |text: Option<String>| {
                    Some(text.unwrap_or_default() + &format!("{number},"))
                };
                store.update(&(number % 7), grown).await
            }
        });
        for answer in join(updates).await {
            answer?;
        }
        for key in 0..7_u32 {
            let expected: String = (0..600)
                .filter(|n| n % 7 == key)
                .map(|n| format!("{n},"))
                .collect();
            assert_eq!(store.get(&key).await?, Some(expected));
        }
        Ok(())
    });
}

#[test]
fn none_removes_and_what_stays_as_it_was_is_not_written() {
    with::<String, u32>(async |store, _| {
        assert_eq!(store.update("a", |_| None).await?, None);
        assert_eq!(store.update("a", |_| Some(3)).await?, Some(3));
        let before = store.get_versioned("a").await?;
        assert_eq!(store.update("a", |value| value).await?, Some(3));
        assert_eq!(store.get_versioned("a").await?, before);
        assert_eq!(store.update("a", |_| None).await?, None);
        assert_eq!(store.get("a").await?, None);
        Ok(())
    });
}

#[test]
fn a_value_in_a_run_is_updated_too() {
    with::<String, String>(async |store, _| {
        store
            .put("a", &"a value that lies in a segment".to_owned())
            .await?;
        for _ in 0..2 {
            store.put("b", &"another".to_owned()).await?;
            store.engine().freeze()?;
            while store.engine().run_slice()? {}
        }
        let longer = store
            .update("a", |text| text.map(|text| text + "!"))
            .await?;
        assert_eq!(longer.as_deref(), Some("a value that lies in a segment!"));
        assert_eq!(store.get("a").await?, longer);
        Ok(())
    });
}

#[test]
fn a_panic_reaches_its_own_caller_and_nobody_else() {
    with::<String, u32>(async |store, _| {
        let updates = (0..20_u32).map(|number| {
            let store = store.clone();
            let runs = Arc::new(AtomicU32::new(0));
            async move {
                let update = move |value| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    assert!(number % 5 != 3, "planned");
                    raised(value)
                };
                store.update("a", update).await
            }
        });
        let mut panics = 0;
        let mut caught = updates
            .map(|update| Box::pin(CatchUnwind(Box::pin(update))))
            .collect::<Vec<_>>();
        for outcome in join(caught.drain(..)).await {
            match outcome {
                Ok(answer) => drop(answer?),
                Err(_) => panics += 1,
            }
        }
        assert_eq!(panics, 4);
        assert_eq!(store.get("a").await?, Some(16));
        Ok(())
    });
}

/// A future whose panic is its outcome.
struct CatchUnwind<F>(std::pin::Pin<Box<F>>);

impl<F: Future> Future for CatchUnwind<F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// 13 cannot be encoded.
#[derive(Debug, Deserialize, PartialEq)]
struct Superstitious(u32);

impl Serialize for Superstitious {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0 == 13 {
            return Err(serde::ser::Error::custom("never"));
        }
        serializer.serialize_newtype_struct("Superstitious", &self.0)
    }
}

#[test]
fn an_answer_that_cannot_be_encoded_is_its_own_callers_error() {
    with::<u32, Superstitious>(async |store, _| {
        let answers = [1, 13, 2].map(|number| {
            store.update(&0, move |value| {
                Some(Superstitious(
                    value.map_or(0, |value| value.0) * 20 + number,
                ))
            })
        });
        // 1, then 33 and not 13; so ask for 13 directly.
        for answer in join(answers).await {
            answer?;
        }
        let answers = [Some(1), Some(13), None].map(|number: Option<u32>| {
            store.update(&1, move |value| {
                Some(Superstitious(
                    number.unwrap_or_else(|| value.map_or(0, |value| value.0) + 1),
                ))
            })
        });
        let answers = join(answers).await;
        assert_eq!(answers[0].as_ref().unwrap(), &Some(Superstitious(1)));
        assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::Codec);
        assert_eq!(answers[2].as_ref().unwrap(), &Some(Superstitious(2)));
        Ok(())
    });
}

#[test]
fn a_future_that_is_dropped_leaves_nothing_half_done() {
    with::<String, u32>(async |store, _| {
        drop(store.update("a", raised));
        assert_eq!(store.get("a").await?, None);
        let mut possible = 0;
        for _ in 0..50 {
            let mut update = Box::pin(store.update("a", raised));
            let polled = update
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
            drop(update);
            possible += 1;
        }
        let now = store.update("a", raised).await?.unwrap();
        assert!((1..=possible + 1).contains(&now));
        std::thread::sleep(Duration::from_millis(50));
        let later = store.get("a").await?.unwrap();
        assert!((now..=possible + 1).contains(&later));
        Ok(())
    });
}

/// Takes work and drops it.
#[derive(Clone, Debug)]
struct Dropping;

impl Runtime for Dropping {
    fn pool(&self) -> Result<PoolId> {
        Ok(PoolId::of::<Self>(0))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
        drop(work);
        Ok(())
    }

    fn poll_proceed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[test]
fn a_runtime_that_drops_its_work_fails_its_own_updates_alone() {
    with::<String, u32>(async |store, _| {
        let gone = store.on(Dropping);
        let refused = gone.update("a", raised).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert_eq!(store.update("a", raised).await?, Some(1));
        // While somebody else's runner runs, it is served by that.
        let mut count = 1;
        for _ in 0..20 {
            for outcome in join([store.update("a", raised), store.update("b", raised)]).await {
                outcome?;
            }
            count += 1;
            match gone.update("a", raised).await {
                Ok(_) => count += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
            }
        }
        assert_eq!(store.get("a").await?, Some(count));
        Ok(())
    });
}

#[test]
fn an_update_keeps_the_moment_at_which_a_value_expires() {
    with::<String, u32>(async |store, _| {
        store
            .put_with_ttl("a", &1, Duration::from_secs(3600))
            .await?;
        let moment = store.expires_at("a").await?;
        assert!(moment.is_some());
        assert_eq!(store.update("a", raised).await?, Some(2));
        assert_eq!(store.expires_at("a").await?, moment);
        store.put("a", &7).await?;
        store.update("a", raised).await?;
        assert_eq!(store.expires_at("a").await?, None);
        Ok(())
    });
}

#[test]
fn an_update_of_a_closed_store_is_closed() {
    let disk = SimDisk::new();
    my::block_on(async {
        let store: KVLog<String, u32, Counting> =
            KVLog::load_on(Counting::default(), "/db", small(&disk)).await?;
        store.close().await?;
        let refused = store.update("a", raised).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Closed);
        Ok::<(), Error>(())
    })
    .unwrap();
}
