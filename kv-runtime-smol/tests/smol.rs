//! A first proof of the store on smol.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

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

/// A value whose `Serialize` uses a store.
struct Curious {
    number: u64,
    store: Uses,
}

enum Uses {
    None,
    Another(KVLog<String, u64>),
    /// The one that it is written to.
    ItsOwn(KVLog<String, Curious>),
}

impl serde::Serialize for Curious {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = self.number;
        let seen = smol::block_on(async {
            match &self.store {
                Uses::None => number,
                Uses::Another(store) => {
                    store.put("from inside", &number).await.unwrap();
                    store.get("from inside").await.unwrap().unwrap()
                }
                Uses::ItsOwn(store) => {
                    let plain = Self {
                        number,
                        store: Uses::None,
                    };
                    store.put("from inside", &plain).await.unwrap();
                    store.get("from inside").await.unwrap().unwrap().number
                }
            }
        });
        assert_eq!(seen, number);
        number.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Curious {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Ok(Self {
            number,
            store: Uses::None,
        })
    }
}

#[test]
fn a_value_that_uses_the_store_while_it_is_encoded_does_not_deadlock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    smol::block_on(async {
        let counters: KVLog<String, u64> = KVLog::load(&path).await.unwrap();
        let curious = KVLog::<String, Curious>::load(directory.path().join("other"))
            .await
            .unwrap();
        for number in 0..10 {
            let value = Curious {
                number,
                store: Uses::Another(counters.clone()),
            };
            curious.put("k", &value).await.unwrap();
            assert_eq!(curious.get("k").await.unwrap().unwrap().number, number);
        }
        // On the very store that is being written.
        let own = KVLog::<String, Curious>::load(directory.path().join("own"))
            .await
            .unwrap();
        for number in 0..10 {
            let value = Curious {
                number,
                store: Uses::ItsOwn(own.clone()),
            };
            own.put("k", &value).await.unwrap();
            assert_eq!(own.get("k").await.unwrap().unwrap().number, number);
            let inside = own.get("from inside").await.unwrap().unwrap();
            assert_eq!(inside.number, number);
        }
    });
}
