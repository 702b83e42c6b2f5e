//! What a store can do beyond the contract, as code meets it that holds a trait object.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test helpers outside a #[test] function"
)]

use kv_trait::{
    Capability, Closing, Items, KVStore, KeyRange, Query, Result, Scans, async_trait, key,
};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Can be closed and scanned, and nothing else.
#[derive(Default)]
struct Two {
    map: Mutex<BTreeMap<String, u64>>,
    closed: AtomicBool,
}

#[async_trait]
impl KVStore<String, u64> for Two {
    async fn get(&self, key: &String) -> Result<Option<u64>> {
        Ok(self.map.lock().unwrap().get(key).copied())
    }

    async fn set(&self, key: &String, value: &u64) -> Result<Option<u64>> {
        Ok(self.map.lock().unwrap().insert(key.clone(), *value))
    }

    async fn delete(&self, key: &String) -> Result<Option<u64>> {
        Ok(self.map.lock().unwrap().remove(key))
    }

    fn closing(&self) -> Option<&dyn Closing> {
        Some(self)
    }

    fn scans(&self) -> Option<&dyn Scans<String, u64>> {
        Some(self)
    }
}

#[async_trait]
impl Closing for Two {
    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Scans<String, u64> for Two {
    fn scan(&self, query: &Query) -> Items<(String, u64)> {
        let map = self.map.lock().unwrap();
        let within = |key: &str| query.range().contains(&key::encode(key).unwrap());
        let mut found: Vec<_> = map.iter().filter(|(key, _)| within(key)).collect();
        if query.is_reversed() {
            found.reverse();
        }
        let limit = query
            .limited_to()
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
        let found = found.into_iter().take(limit);
        Items::of(found.map(|(key, value)| Ok((key.clone(), *value))))
    }

    fn scan_keys(&self, query: &Query) -> Items<String> {
        let mut records = self.scan(query);
        let all = std::iter::from_fn(|| ready(records.next()));
        let keys: Vec<_> = all.map(|found| found.map(|(key, _)| key)).collect();
        Items::of(keys)
    }
}

/// Has the contract and nothing else.
struct Plain;

#[async_trait]
impl KVStore<String, u64> for Plain {
    async fn get(&self, _key: &String) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn set(&self, _key: &String, _value: &u64) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn delete(&self, _key: &String) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// What a future answers that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a map in memory never waits"),
    }
}

#[test]
fn a_store_that_says_nothing_can_nothing_more() {
    assert_eq!(Plain.capabilities(), []);
    let plain: Arc<dyn KVStore<String, u64>> = Arc::new(Plain);
    assert!(plain.scans().is_none() && plain.transactions().is_none());
}

#[test]
fn every_pointer_to_a_store_says_what_the_store_can() {
    fn assert_says(store: &impl KVStore<String, u64>) {
        let can = [Capability::Closing, Capability::Scans];
        assert_eq!(store.capabilities(), can);
        assert!(store.closing().is_some() && store.scans().is_some());
        assert!(store.batches().is_none());
    }
    let store = Two::default();
    assert_says(&store);
    assert_says(&&store);
    assert_says(&Box::new(Two::default()));
    assert_says(&Arc::new(Two::default()));
    let erased: Arc<dyn KVStore<String, u64>> = Arc::new(Two::default());
    assert_says(&erased);
}

#[test]
fn close_and_scans_are_reached_from_a_trait_object() {
    let store = Arc::new(Two::default());
    let erased: Arc<dyn KVStore<String, u64>> = Arc::<Two>::clone(&store);
    for (name, number) in [("b", 2), ("a", 1), ("c", 3), ("ca", 4)] {
        ready(erased.put(&name.to_owned(), &number)).unwrap();
    }
    let scans = erased.scans().unwrap();
    let all = |query: Query| ready(scans.scan(&query).all()).unwrap();
    let owned = |found: &[(&str, u64)]| -> Vec<(String, u64)> {
        let found = found
            .iter()
            .map(|(name, number)| ((*name).to_owned(), *number));
        found.collect()
    };
    assert_eq!(
        all(Query::all()),
        owned(&[("a", 1), ("b", 2), ("c", 3), ("ca", 4)])
    );
    let prefix = Query::prefix("c").unwrap();
    assert_eq!(
        all(prefix.clone().reversed()),
        owned(&[("ca", 4), ("c", 3)])
    );
    assert_eq!(all(prefix.reversed().limit(1)), owned(&[("ca", 4)]));
    // What a store need not write itself.
    let some = KeyRange::of("b".to_owned()..="c".to_owned()).unwrap();
    assert_eq!(ready(scans.count(&some)).unwrap(), 2);
    assert_eq!(
        ready(scans.first(&some)).unwrap(),
        Some(("b".to_owned(), 2))
    );
    assert_eq!(ready(scans.last(&some)).unwrap(), Some(("c".to_owned(), 3)));
    let none = KeyRange::of("d".to_owned()..).unwrap();
    assert_eq!(ready(scans.first(&none)).unwrap(), None);
    ready(erased.closing().unwrap().close()).unwrap();
    assert!(store.closed.load(Ordering::SeqCst));
}
