//! The contract as a user meets it: generic code, trait objects, and stores that forward.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test helpers outside a #[test] function"
)]

use kv_trait::{Effect, Error, ErrorKind, KVStore, Result, async_trait};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Counts its calls by name; fails writes with `fail`, after doing them if the effect is *applied*.
#[derive(Default)]
struct Probe {
    map: Mutex<BTreeMap<String, u64>>,
    calls: Mutex<Vec<&'static str>>,
    fail: Option<Effect>,
}

impl Probe {
    fn failing(effect: Effect) -> Self {
        Self {
            fail: Some(effect),
            ..Self::default()
        }
    }

    fn note(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }

    fn write(&self, key: &str, value: Option<u64>) -> Result<Option<u64>> {
        let error = self
            .fail
            .map(|effect| Error::new(ErrorKind::Corrupt, "planted").with_effect(effect));
        if let Some(error) = error {
            if error.effect() != Effect::Applied {
                return Err(error);
            }
            self.apply(key, value);
            return Err(error);
        }
        Ok(self.apply(key, value))
    }

    fn apply(&self, key: &str, value: Option<u64>) -> Option<u64> {
        let mut map = self.map.lock().unwrap();
        match value {
            Some(value) => map.insert(key.to_owned(), value),
            None => map.remove(key),
        }
    }
}

#[async_trait]
impl KVStore<String, u64> for Probe {
    async fn get(&self, key: &String) -> Result<Option<u64>> {
        self.note("get");
        Ok(self.map.lock().unwrap().get(key).copied())
    }

    async fn set(&self, key: &String, value: &u64) -> Result<Option<u64>> {
        self.note("set");
        self.write(key, Some(*value))
    }

    async fn delete(&self, key: &String) -> Result<Option<u64>> {
        self.note("delete");
        self.write(key, None)
    }

    async fn put(&self, key: &String, value: &u64) -> Result<()> {
        self.note("put");
        self.write(key, Some(*value)).map(drop)
    }

    async fn remove(&self, key: &String) -> Result<()> {
        self.note("remove");
        self.write(key, None).map(drop)
    }
}

/// Has only the three required methods.
struct Plain(Probe);

#[async_trait]
impl KVStore<String, u64> for Plain {
    async fn get(&self, key: &String) -> Result<Option<u64>> {
        self.0.get(key).await
    }

    async fn set(&self, key: &String, value: &u64) -> Result<Option<u64>> {
        self.0.set(key, value).await
    }

    async fn delete(&self, key: &String) -> Result<Option<u64>> {
        self.0.delete(key).await
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing in these stores waits"),
    }
}

async fn prior_values<S: KVStore<String, u64> + ?Sized>(store: &S) -> Result<Vec<Option<u64>>> {
    let key = "k".to_owned();
    Ok(vec![
        store.get(&key).await?,
        store.set(&key, &1).await?,
        store.set(&key, &2).await?,
        store.get(&key).await?,
        store.delete(&key).await?,
        store.delete(&key).await?,
    ])
}

const PRIOR: [Option<u64>; 6] = [None, None, Some(1), Some(2), Some(2), None];

#[test]
fn generic_code_accepts_a_store_and_every_pointer_to_one() {
    let dynamic: Arc<dyn KVStore<String, u64>> = Arc::new(Probe::default());
    let boxed: Box<dyn KVStore<String, u64>> = Box::new(Arc::clone(&dynamic));
    assert_eq!(ready(prior_values(&dynamic)).unwrap(), PRIOR);
    assert_eq!(ready(prior_values(&*dynamic)).unwrap(), PRIOR);
    assert_eq!(ready(prior_values(&boxed)).unwrap(), PRIOR);
    assert_eq!(ready(prior_values(&&Probe::default())).unwrap(), PRIOR);
}

#[test]
fn a_task_may_own_a_store_and_move_between_threads() {
    fn crosses<T: Send + 'static>(_: T) {}
    let store: Arc<dyn KVStore<String, u64>> = Arc::new(Probe::default());
    crosses(async move { store.put(&"k".to_owned(), &1).await });
}

#[test]
fn pointers_forward_all_five_methods() {
    let probe = Arc::new(Probe::default());
    let store: Box<dyn KVStore<String, u64>> = Box::new(Arc::clone(&probe));
    let key = "k".to_owned();
    ready(async {
        let store = &store;
        store.put(&key, &1).await?;
        store.remove(&key).await?;
        store.get(&key).await?;
        store.set(&key, &1).await?;
        store.delete(&key).await
    })
    .unwrap();
    let calls = probe.calls.lock().unwrap();
    assert_eq!(*calls, ["put", "remove", "get", "set", "delete"]);
}

#[test]
fn put_and_remove_do_not_mind_a_prior_value_that_cannot_be_produced() {
    let store = Plain(Probe::failing(Effect::Applied));
    let key = "k".to_owned();
    assert_eq!(
        ready(store.set(&key, &1)).unwrap_err().effect(),
        Effect::Applied
    );
    ready(store.put(&key, &2)).unwrap();
    assert_eq!(ready(store.get(&key)).unwrap(), Some(2));
    ready(store.remove(&key)).unwrap();
    assert_eq!(ready(store.get(&key)).unwrap(), None);
}

#[test]
fn put_and_remove_pass_on_every_other_error() {
    for effect in [Effect::Nothing, Effect::Unknown] {
        let store = Plain(Probe::failing(effect));
        let key = "k".to_owned();
        assert_eq!(ready(store.put(&key, &1)).unwrap_err().effect(), effect);
        assert_eq!(ready(store.remove(&key)).unwrap_err().effect(), effect);
    }
}
