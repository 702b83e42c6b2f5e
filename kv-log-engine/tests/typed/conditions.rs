//! Writes that depend on what a key holds.

use crate::{join, with};
use kv_trait::{Effect, ErrorKind, Result};

fn is_conflict<T: std::fmt::Debug>(outcome: Result<T>) -> bool {
    let error = outcome.unwrap_err();
    (error.kind(), error.effect()) == (ErrorKind::Conflict, Effect::Nothing)
}

#[test]
fn a_write_by_version_happens_only_if_nobody_wrote_since() {
    with::<String, u32>(async |store, _| {
        let first = store.insert("a", &1).await?;
        assert!(is_conflict(store.insert("a", &2).await));
        assert!(is_conflict(store.set_if("b", &2, Some(first)).await));
        let second = store.set_if("a", &2, Some(first)).await?;
        assert!(second > first);
        assert!(is_conflict(store.set_if("a", &3, Some(first)).await));
        assert!(is_conflict(store.delete_if("a", first).await));
        let seen = store.get_versioned("a").await?.unwrap();
        assert_eq!((seen.value, seen.version), (2, second));
        store.delete_if("a", second).await?;
        assert!(is_conflict(store.delete_if("a", second).await));
        assert_eq!(store.get("a").await?, None);
        store.insert("a", &5).await?;
        Ok(())
    });
}

#[test]
fn a_write_by_value_happens_only_if_the_value_is_equal() {
    with::<String, u32>(async |store, _| {
        assert!(is_conflict(store.set_if_value("a", &2, &1).await));
        store.put("a", &1).await?;
        assert!(is_conflict(store.set_if_value("a", &2, &9).await));
        store.set_if_value("a", &2, &1).await?;
        assert!(is_conflict(store.delete_if_value("a", &1).await));
        store.delete_if_value("a", &2).await?;
        assert_eq!(store.get("a").await?, None);
        Ok(())
    });
}

#[test]
fn of_many_who_insert_one_key_one_does() {
    with::<String, u32>(async |store, _| {
        for key in ["a", "b", "c"] {
            let inserts = (0..50_u32).map(|number| {
                let store = store.clone();
                async move { store.insert(key, &number).await.map(|_| number) }
            });
            let outcomes = join(inserts).await;
            let done: Vec<_> = outcomes.iter().flatten().collect();
            assert_eq!(done.len(), 1);
            assert_eq!(store.get(key).await?.as_ref(), Some(done[0]));
            store.engine().freeze()?;
            while store.engine().run_slice()? {}
        }
        Ok(())
    });
}
