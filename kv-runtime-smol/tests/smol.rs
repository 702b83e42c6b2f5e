//! A first proof of the store on smol.

use kv_runtime_smol::{KVLog, KVStore};
use std::sync::Arc;

#[test]
fn many_tasks_share_a_store_and_it_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    smol::block_on(async {
        let store: KVLog<String, u64> = KVLog::load(&path).await.unwrap();
        let tasks: Vec<_> = (0..32_u64)
            .map(|number| {
                let store = store.clone();
                smol::spawn(async move { store.set(&format!("key {number}"), &number).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), None);
        }
        assert_eq!(store.delete("key 7").await.unwrap(), Some(7));
        drop(store);
        let store: Arc<dyn KVStore<String, u64>> =
            Arc::new(KVLog::<String, u64>::load(&path).await.unwrap());
        assert_eq!(store.get(&"key 31".to_owned()).await.unwrap(), Some(31));
        assert_eq!(store.get(&"key 7".to_owned()).await.unwrap(), None);
    });
}

#[test]
fn a_local_executor_and_no_executor_at_all_work_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let local = smol::LocalExecutor::new();
    let store: KVLog<String, u64> = smol::future::block_on(local.run(async {
        let store = KVLog::load(&path).await.unwrap();
        local
            .spawn({
                let store: KVLog<String, u64> = Clone::clone(&store);
                async move { store.put("k", &1).await.unwrap() }
            })
            .await;
        store
    }));
    assert_eq!(smol::future::block_on(store.get("k")).unwrap(), Some(1));
}
