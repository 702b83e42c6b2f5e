//! Batches: whole or absent, on the line that single writes wait in.

use crate::{join, my, small, with};
use kv_log_engine::KVLog;
use kv_log_engine::storage::sim::{OpKind, SimDisk};
use kv_trait::{Effect, ErrorKind, Result};

#[test]
fn a_batch_tells_versions_and_what_was_asked_for() {
    with::<String, u32>(async |store, _| {
        store.put_many([("a", &1), ("b", &2)]).await?;
        let mut batch = store.batch();
        batch
            .set("a", &10)
            .put("b", &20)
            .delete("b")
            .delete("c")
            .set("a", &11);
        assert_eq!(batch.len(), 5);
        let written = batch.commit().await?;
        assert_eq!(written.priors, [Some(1), Some(20), None, Some(10)]);
        assert_eq!(written.versions.len(), 5);
        assert!(written.versions.is_sorted());
        let now = store.get_versioned("a").await?.unwrap();
        assert_eq!((now.value, now.version), (11, written.versions[4]));
        assert_eq!(store.get("b").await?, None);

        // It is empty again, and can be used again.
        assert!(batch.is_empty());
        let written = batch.put("d", &4).commit().await?;
        assert_eq!((written.priors.len(), written.versions.len()), (0, 1));
        let nothing = batch.commit().await?;
        assert!(nothing.versions.is_empty());
        Ok(())
    });
}

#[test]
fn a_condition_that_does_not_hold_leaves_everything_as_it_was() {
    with::<String, u32>(async |store, runtime| {
        store.put("a", &1).await?;
        let seen = store.get_versioned("a").await?.unwrap();
        store
            .batch()
            .expect("a", Some(seen.version))
            .put("a", &2)
            .commit()
            .await?;
        for _ in 0..2 {
            let mut batch = store.batch();
            let stale = batch
                .expect("a", Some(seen.version))
                .put("a", &3)
                .put("b", &3);
            let refused = stale.commit().await.unwrap_err();
            assert_eq!(
                (refused.kind(), refused.effect()),
                (ErrorKind::Conflict, Effect::Nothing)
            );
            let mut batch = store.batch();
            let there = batch.expect("a", None).put("b", &3).commit();
            assert_eq!(there.await.unwrap_err().kind(), ErrorKind::Conflict);
            assert_eq!(store.get_many(["a", "b"]).await?, [Some(2), None]);
            // Now with the key in a run, and forgotten by memory.
            for _ in 0..2 {
                store.put("other", &1).await?;
                store.engine().freeze()?;
                while store.engine().run_slice()? {}
            }
        }
        let now = store.get_versioned("a").await?.unwrap();
        store
            .batch()
            .expect("a", Some(now.version))
            .expect("b", None)
            .remove("a")
            .commit()
            .await?;
        assert_eq!(store.get("a").await?, None);

        // What memory knows takes no thread: the lead is one, and this task has let it go.
        let before = runtime.hops();
        store
            .batch()
            .expect("a", None)
            .put("a", &1)
            .commit()
            .await?;
        assert!(runtime.hops() - before <= 1);
        Ok(())
    });
}

#[test]
fn what_cannot_be_encoded_is_told_by_commit_and_nothing_is_written() {
    with::<String, u32>(async |store, _| {
        let long = "x".repeat(kv_trait::KEY_BYTES_MAX + 1);
        let mut batch = store.batch();
        batch.put("a", &1).put(&*long, &2).put("b", &3);
        let refused = batch.commit().await.unwrap_err();
        assert_eq!(
            (refused.kind(), refused.effect()),
            (ErrorKind::TooLarge, Effect::Nothing)
        );
        assert!(store.is_empty().await?);
        batch.put("b", &3).commit().await?;
        assert_eq!(store.count().await?, 1);
        Ok(())
    });
}

#[test]
fn a_future_of_commit_owns_all_it_needs() {
    with::<String, u32>(async |store, _| {
        let commit = {
            let key = "a".to_owned();
            store.batch().put(&key, &1).commit()
        };
        assert_eq!(store.get("a").await?, None); // never polled
        let other = std::thread::spawn(move || my::block_on(commit));
        other.join().unwrap()?;
        assert_eq!(store.get("a").await?, Some(1));
        drop(store.batch().put("b", &1).commit());
        assert_eq!(store.get("b").await?, None);
        Ok(())
    });
}

#[test]
fn four_thousand_batches_at_once_share_syncs_and_threads() {
    let disk = SimDisk::new();
    my::block_on(async {
        let runtime = crate::Counting::default();
        let store: KVLog<u32, u32, _> =
            KVLog::load_on(runtime.clone(), "/db", small(&disk).segment_bytes(4 << 20)).await?;
        let syncs = || disk.calls().get(&OpKind::Sync).copied().unwrap_or_default();
        let (hops_before, syncs_before) = (runtime.hops(), syncs());
        let batches = (0..4000_u32).map(|number| {
            let mut batch = store.batch();
            batch.put(&number, &1).put(&(number + 10_000), &2).commit()
        });
        for written in join(batches).await {
            assert_eq!(written?.versions.len(), 2);
        }
        let (hops, syncs) = (runtime.hops() - hops_before, syncs() - syncs_before);
        assert!(hops < 40, "{hops} hops");
        assert!(syncs < 400, "{syncs} syncs");
        assert_eq!(store.count().await?, 8000);
        Ok::<(), kv_trait::Error>(())
    })
    .unwrap();
}

#[test]
fn a_batch_that_the_line_cannot_hold_is_written_alone() {
    let disk = SimDisk::new();
    my::block_on(async {
        let store: KVLog<u32, String, crate::Counting> = KVLog::load_on(
            crate::Counting::default(),
            "/db",
            small(&disk).segment_bytes(64 << 20),
        )
        .await?;
        let value = "x".repeat(1 << 20);
        let mut large = store.batch();
        for number in 0..24_u32 {
            large.put(&number, &value); // more than the 16 MiB of the line
        }
        let small = (100..200_u32).map(|number| {
            let value = value[..10].to_owned();
            let store = store.clone();
            async move { store.put(&number, &value).await }
        });
        let large = async { large.commit().await.map(drop) };
        let mut all: Vec<std::pin::Pin<Box<dyn Future<Output = Result<()>>>>> = Vec::new();
        all.push(Box::pin(large));
        all.extend(small.map(|one| Box::pin(one) as _));
        for outcome in join(all).await {
            outcome?;
        }
        assert_eq!(store.count().await?, 124);
        Ok::<(), kv_trait::Error>(())
    })
    .unwrap();
}
