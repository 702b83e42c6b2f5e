//! Keys one by one and many at once.

use crate::{Store, with};
use kv_trait::{Effect, ErrorKind};

#[test]
fn a_version_is_of_the_write_that_a_value_comes_from_wherever_it_lies() {
    with::<u32, String>(async |store, _| {
        assert_eq!(store.get_versioned(&7).await?, None);
        for (number, value) in ["here", "a value that lies in a segment"]
            .iter()
            .enumerate()
        {
            let key = u32::try_from(number).unwrap();
            store.put(&key, &(*value).to_owned()).await?;
            let fresh = store.get_versioned(&key).await?.unwrap();
            assert_eq!(fresh.value, *value);
            store.engine().freeze()?;
            while store.engine().run_slice()? {}
            assert_eq!(store.get_versioned(&key).await?, Some(fresh));
        }
        let first = store.get_versioned(&0).await?.unwrap();
        let second = store.get_versioned(&1).await?.unwrap();
        assert!(first.version < second.version);
        store.remove(&0).await?;
        assert_eq!(store.get_versioned(&0).await?, None);
        Ok(())
    });
}

#[test]
fn contains_key_knows_without_reading_the_value() {
    with::<u32, String>(async |store, _| {
        store
            .put(&1, &"a value that lies in a segment".to_owned())
            .await?;
        store.put(&2, &String::new()).await?;
        store.remove(&2).await?;
        for _ in 0..2 {
            assert!(store.contains_key(&1).await?);
            assert!(!store.contains_key(&2).await?);
            assert!(!store.contains_key(&3).await?);
            store.engine().freeze()?;
            while store.engine().run_slice()? {}
        }
        Ok(())
    });
}

#[test]
fn many_keys_take_one_hop_at_most() {
    with::<u32, String>(async |store, runtime| {
        let values: Vec<_> = (0..1000_u32)
            .map(|number| (number, format!("value {number}, long enough for a segment")))
            .collect();
        store
            .put_many(values.iter().map(|(key, value)| (key, value)))
            .await?;
        store.put(&5, &"short".to_owned()).await?;
        assert_eq!(store.count().await?, 1000);

        let before = runtime.hops();
        let found = store.get_many(&[5]).await?;
        assert_eq!(found, [Some("short".to_owned())]);
        assert_eq!(runtime.hops() - before, 0);

        let keys: Vec<_> = (0..2000_u32).rev().collect();
        let found = store.get_many(&keys).await?;
        assert_eq!(runtime.hops() - before, 1);
        for (key, found) in keys.iter().zip(found) {
            let expected = match key {
                5 => Some("short".to_owned()),
                0..1000 => Some(format!("value {key}, long enough for a segment")),
                _ => None,
            };
            assert_eq!(found, expected);
        }
        assert_eq!(store.get_many::<u32, [&u32; 0]>([]).await?, []);
        Ok(())
    });
}

#[test]
fn put_many_puts_all_or_nothing() {
    with::<String, u32>(async |store, _| {
        let long = "x".repeat(kv_trait::KEY_BYTES_MAX + 1);
        let refused = store.put_many([("a", &1), (&*long, &2)]).await.unwrap_err();
        assert_eq!(
            (refused.kind(), refused.effect()),
            (ErrorKind::TooLarge, Effect::Nothing)
        );
        assert!(store.is_empty().await?);
        store.put_many([("a", &1), ("b", &2), ("a", &3)]).await?;
        assert_eq!(store.get_many(["a", "b"]).await?, [Some(3), Some(2)]);
        Ok(())
    });
}

#[test]
fn writes_and_reads_of_a_clone_can_be_spawned() {
    fn spawned<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
        crate::my::block_on(future)
    }
    with::<String, u32>(async |store, _| {
        let mine: Store<String, u32> = store.clone();
        spawned(async move {
            mine.put("a", &1).await?;
            mine.put_many([("b", &2)]).await?;
            assert_eq!(mine.get_many(["a", "b"]).await?, [Some(1), Some(2)]);
            assert_eq!(mine.range("a"..).reversed().collect().await?.len(), 2);
            let mut records = mine.prefix("").stream();
            while let Some(record) = records.next().await {
                record?;
            }
            Ok::<(), kv_trait::Error>(())
        })
    });
}
