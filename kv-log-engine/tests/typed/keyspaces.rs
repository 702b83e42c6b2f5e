//! Maps of their own types in one store.

use crate::{Counting, my, open, small, with};
use kv_log_engine::KVLog;
use kv_log_engine::storage::sim::SimDisk;
use kv_trait::{Effect, ErrorKind};

#[test]
fn every_operation_stays_within_its_keyspace() {
    with::<String, u32>(async |store, _| {
        let names = store.keyspace::<u32, String>("names").await?;
        store.put_many([("a", &1), ("b", &2)]).await?;
        names
            .put_many([
                (&1, &"one".to_owned()),
                (&2, &"two".to_owned()),
                (&3, &"three".to_owned()),
            ])
            .await?;
        assert_eq!((store.count().await?, names.count().await?), (2, 3));
        assert_eq!(names.last().await?, Some((3, "three".to_owned())));
        assert_eq!(names.range(2..).keys().collect().await?, [2, 3]);
        assert_eq!(names.delete(&1).await?.as_deref(), Some("one"));
        assert_eq!(
            names.set(&2, &"deux".to_owned()).await?.as_deref(),
            Some("two")
        );
        names.put_owned(&4, "four".to_owned()).await?;
        let one_hour = std::time::Duration::from_secs(3600);
        names.put_with_ttl(&5, &"five".to_owned(), one_hour).await?;
        assert_eq!(
            names.get_many(&[1, 4, 5]).await?,
            [None, Some("four".to_owned()), Some("five".to_owned())]
        );
        assert!(names.contains_key(&2).await? && names.expires_at(&5).await?.is_some());
        let there = names.get_versioned(&2).await?.unwrap();
        names
            .batch()
            .expect(&2, Some(there.version))
            .remove(&2)
            .commit()
            .await?;
        assert_eq!(names.range(..).stream().next().await.unwrap()?.0, 3);
        assert_eq!(
            store.range(..).collect().await?,
            [("a".to_owned(), 1), ("b".to_owned(), 2)]
        );
        Ok(())
    });
}

#[test]
fn a_batch_over_keyspaces_is_whole_or_absent_also_after_a_power_cut() {
    let disk = SimDisk::new();
    my::block_on(async {
        let store = open::<String, u32>(&disk).await?;
        let names = store.keyspace::<u32, String>("names").await?;
        let mut batch = store.batch();
        batch.set("ann", &1);
        batch.of(&names).put(&1, &"ann".to_owned()).remove(&2);
        batch.delete("bob").expect("bob", None);
        let written = batch.commit().await?;
        assert_eq!(
            (written.versions.len(), written.priors),
            (4, vec![None, None])
        );

        let mut refused = store.batch();
        refused
            .put("eve", &2)
            .of(&names)
            .expect(&1, None)
            .put(&2, &"eve".to_owned());
        assert_eq!(
            refused.commit().await.unwrap_err().kind(),
            ErrorKind::Conflict
        );

        disk.power_cut_losing_all();
        drop((store, names, batch, refused));
        let store = open::<String, u32>(&disk).await?;
        let names = store.keyspace::<u32, String>("names").await?;
        assert_eq!(store.range(..).keys().collect().await?, ["ann"]);
        assert_eq!(names.range(..).collect().await?, [(1, "ann".to_owned())]);
        assert_eq!(store.keyspaces()?.len(), 1);
        Ok::<(), kv_trait::Error>(())
    })
    .unwrap();
}

#[test]
fn a_keyspace_of_other_types_and_a_batch_over_two_stores_are_refused() {
    with::<String, u32>(async |store, _| {
        store.keyspace::<u32, String>("names").await?;
        let refused = store.keyspace::<u32, u64>("names").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnsupportedFormat);
        let refused = store.keyspace::<u32, String>("").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);

        let disk = SimDisk::new();
        let other: KVLog<String, u32, Counting> =
            KVLog::load_on(Counting::default(), "/db", small(&disk)).await?;
        let mut batch = store.batch();
        batch.put("a", &1).of(&other).put("b", &2);
        let refused = batch.commit().await.unwrap_err();
        assert_eq!(
            (refused.kind(), refused.effect()),
            (ErrorKind::InvalidInput, Effect::Nothing)
        );
        assert!(store.is_empty().await? && other.is_empty().await?);
        Ok(())
    });
}
