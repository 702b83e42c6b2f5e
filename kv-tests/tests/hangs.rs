//! A property that hangs fails by itself, and says what it waited for; a panic that a store swallows is told.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use async_trait::async_trait;
use kv_tests::any::Place;
use kv_tests::conformance::{PROPERTIES, check_within};
use kv_tests::executor::Task;
use kv_tests::fixture::{Capability, Fixture, Key, Value};
use kv_trait::{KVStore, Result};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// What is wrong with a map in memory.
const FORGETS_THE_READER: u8 = 0;
const BLOCKS_THE_READER: u8 = 1;
const SWALLOWS_PANICS: u8 = 2;
const NOTHING: u8 = 3;

#[derive(Clone, Default)]
struct Map<const WRONG: u8>(Arc<Mutex<BTreeMap<Key, Value>>>);

#[async_trait]
impl<const WRONG: u8> KVStore<Key, Value> for Map<WRONG> {
    async fn get(&self, key: &Key) -> Result<Option<Value>> {
        match WRONG {
            FORGETS_THE_READER => std::future::pending().await,
            BLOCKS_THE_READER => loop {
                std::thread::park();
            },
            // Called from a waker, while the writer holds the map.
            _ => Ok(self
                .0
                .try_lock()
                .expect("not from a waker")
                .get(key)
                .cloned()),
        }
    }

    async fn set(&self, key: &Key, value: &Value) -> Result<Option<Value>> {
        let mut woken = false;
        poll_fn(|cx| {
            if WRONG != SWALLOWS_PANICS || woken {
                return Poll::Ready(());
            }
            woken = true;
            let waker = cx.waker().clone();
            let _held = self.0.lock().unwrap();
            drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
            Poll::Pending
        })
        .await;
        Ok(self.0.lock().unwrap().insert(key.clone(), value.clone()))
    }

    async fn delete(&self, key: &Key) -> Result<Option<Value>> {
        Ok(self.0.lock().unwrap().remove(key))
    }
}

struct InMemory<const WRONG: u8>;

impl<const WRONG: u8> Fixture for InMemory<WRONG> {
    type Store = Map<WRONG>;
    const CAPABILITIES: &'static [Capability] = &[];

    fn create() -> Self {
        Self
    }

    async fn open(&self) -> Result<Self::Store> {
        Ok(Map::default())
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        smol::block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        Box::pin(smol::spawn(future))
    }
}

fn failure_of<const WRONG: u8>(name: &str, patience: Duration) -> Option<String> {
    let property = PROPERTIES.iter().find(|property| property.name == name);
    let check = property.unwrap().check;
    let place = Place::of::<InMemory<WRONG>>();
    let panic = catch_unwind(AssertUnwindSafe(|| check_within(&place, check, patience))).err()?;
    Some(panic.downcast_ref::<String>().unwrap().clone())
}

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_future_that_nobody_wakes_is_named() {
    let told = failure_of::<FORGETS_THE_READER>("set_get_delete", SHORT).unwrap();
    assert!(told.contains("the property hangs"), "{told}");
    assert!(told.contains("KV_TESTS_HANG_SECONDS"), "{told}");
    assert!(
        told.contains("the last of them: set \"k\" to 1 bytes"),
        "{told}"
    );
    let waits = "waits: get \"k\": pending, polled 1 times, and its waker was not called";
    assert!(told.contains(waits), "{told}");
}

#[test]
fn a_poll_that_does_not_return_is_named_and_the_next_property_goes_on() {
    let told = failure_of::<BLOCKS_THE_READER>("set_get_delete", SHORT).unwrap();
    let blocked = "waits: get \"k\": its poll number 1 has not returned";
    assert!(told.contains(blocked), "{told}");
    assert_eq!(failure_of::<NOTHING>("set_get_delete", LONG), None);
}

#[test]
fn a_panic_of_a_waker_that_the_store_swallows_is_told() {
    let told = failure_of::<SWALLOWS_PANICS>("reentrancy_from_a_waker", LONG).unwrap();
    assert!(told.contains("a waker panicked"), "{told}");
    assert!(told.contains("not from a waker"), "{told}");
    assert_eq!(failure_of::<NOTHING>("reentrancy_from_a_waker", LONG), None);
}
