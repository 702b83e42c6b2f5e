//! Values that cannot be read again, large ones, and whose thread does what for them.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use kv_log_engine::storage::sim::SimDisk;
use kv_runtime_tokio::{Effect, Error, ErrorKind, Json, KVLog, Options};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, ThreadId, current, park};
use tokio::runtime::{Builder, Runtime};

fn current_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn options(disk: &SimDisk) -> Options {
    Options::new().storage(disk.storage())
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    first: Option<u64>,
    second: u64,
    third: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

/// They were stored, and every read failed.
#[test]
fn value_types_that_cannot_be_read_again_are_refused_at_load() {
    fn assert_refused(error: &Error, name: &str) {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let message = error.to_string();
        assert!(
            message.contains(name) && message.contains("`Json`"),
            "{message}"
        );
    }
    current_thread().block_on(async {
        let disk = SimDisk::new();
        let refused = KVLog::<String, Untagged>::load_with("/db", options(&disk)).await;
        assert_refused(&refused.unwrap_err(), "Untagged");
        let refused = KVLog::<String, Value>::load_with("/db", options(&disk)).await;
        assert_refused(&refused.unwrap_err(), "serde_json");
        assert!(disk.files().is_empty());
    });
}

/// It was stored, and came back as another value.
#[test]
fn a_value_with_a_skipped_field_is_refused_with_effect_nothing() {
    current_thread().block_on(async {
        let disk = SimDisk::new();
        let store: KVLog<String, Sparse> = KVLog::load_with("/db", options(&disk)).await.unwrap();
        let whole = Sparse {
            first: Some(1),
            second: 2,
            third: vec![3],
        };
        let lost = Sparse {
            first: None,
            second: 1,
            third: vec![65, 1, 90],
        };
        store.put("k", &whole).await.unwrap();
        for refused in [
            store.put("k", &lost).await,
            store.put_owned("k", lost.clone()).await,
            store.set("k", &lost).await.map(drop),
            store.set_owned("k", lost.clone()).await.map(drop),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(
                (error.kind(), error.effect()),
                (ErrorKind::Codec, Effect::Nothing)
            );
            assert!(error.to_string().contains("skip_serializing_if"), "{error}");
        }
        assert_eq!(store.get("k").await.unwrap(), Some(whole));
    });
}

#[test]
fn json_holds_what_postcard_refuses() {
    current_thread().block_on(async {
        let disk = SimDisk::new();
        let document = json!({"name": "a", "sizes": [1, -2, 0.1], "more": null});
        let store: KVLog<String, Value, Json> =
            KVLog::load_with("/db", options(&disk)).await.unwrap();
        store.put("k", &document).await.unwrap();
        let fingerprint = store.engine().fingerprint().to_text();
        assert!(fingerprint.contains("value=json/1"), "{fingerprint}");
        drop(store);
        let other = KVLog::<String, u64>::load_with("/db", options(&disk)).await;
        assert_eq!(other.unwrap_err().kind(), ErrorKind::UnsupportedFormat);
        let store: KVLog<String, Value, Json> =
            KVLog::load_with("/db", options(&disk)).await.unwrap();
        assert_eq!(store.get("k").await.unwrap(), Some(document));
        // Another type that reads the same bytes.
        drop(store);
        let store: KVLog<String, Sparse, Json> =
            KVLog::load_with("/db", options(&disk)).await.unwrap();
        assert_eq!(store.get("k").await.unwrap_err().kind(), ErrorKind::Codec);
        let sparse = Sparse {
            first: None,
            second: 1,
            third: vec![65, 1, 90],
        };
        store.put("k", &sparse).await.unwrap();
        assert_eq!(store.get("k").await.unwrap(), Some(sparse));
    });
}

/// Notes which thread it was encoded and decoded on.
#[derive(Clone, Debug)]
struct Noting {
    decoded: ThreadId,
}

thread_local! {
    static MAY_ENCODE: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
}

impl Serialize for Noting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(MAY_ENCODE.get(), "planned");
        serializer.serialize_u8(7)
    }
}

impl<'de> Deserialize<'de> for Noting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Ok(Self {
            decoded: current().id(),
        })
    }
}

#[test]
fn the_executors_thread_neither_decodes_nor_encodes_what_it_gave_away() {
    let runtime = current_thread();
    runtime.block_on(async {
        let disk = SimDisk::new();
        // What is in memory is decoded where it is asked for: here nothing is.
        let options = options(&disk).separation_bytes(1);
        let store: KVLog<String, Noting> = KVLog::load_with("/db", options).await.unwrap();
        let here = current().id();
        let noting = Noting { decoded: here };
        store.put("k", &noting).await.unwrap();
        MAY_ENCODE.set(false);
        store.put_owned("k", noting.clone()).await.unwrap();
        let prior = store.set_owned("k", noting).await.unwrap().unwrap();
        assert_ne!(prior.decoded, here);
        assert_ne!(store.get("k").await.unwrap().unwrap().decoded, here);
    });
}

/// Refuses to be read, and says so loudly.
#[derive(Debug)]
struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Panics {
    #[expect(clippy::panic, reason = "what it is for")]
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("planned: a value type may do this")
    }
}

#[test]
fn a_panic_while_decoding_unwinds_to_whoever_reads_and_harms_nobody() {
    let runtime = current_thread();
    let disk = SimDisk::new();
    let open = async || {
        KVLog::<String, Panics>::load_with("/db", options(&disk))
            .await
            .unwrap()
    };
    let store = runtime.block_on(open());
    store.engine().put(b"k", b"").unwrap();
    runtime.block_on(async {
        let reader = tokio::spawn({
            let store = store.clone();
            async move { store.get("k").await.map(drop) }
        });
        assert!(reader.await.unwrap_err().is_panic());
        store.remove("k").await.unwrap();
        assert!(store.get("k").await.unwrap().is_none());
    });
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor that knows nothing of the runtime around it.
fn foreign_block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(current())));
    let mut future = pin!(future);
    for _ in 0..1_000_000 {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => park(),
        }
    }
    unreachable!("woken a million times, and never got on");
}

/// The 129th call hung: tokio's budget for a task comes back when tokio polls it, which it does not meanwhile.
#[test]
fn a_block_on_inside_a_task_is_answered_every_time() {
    let multi_thread = Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    for runtime in [current_thread(), multi_thread] {
        runtime.block_on(async {
            let disk = SimDisk::new();
            let store: KVLog<String, u64> = KVLog::load_with("/db", options(&disk)).await.unwrap();
            let task = tokio::spawn(async move {
                for round in 0..1_000 {
                    assert_eq!(foreign_block_on(store.get("absent")).unwrap(), None);
                    if round % 10 == 0 {
                        foreign_block_on(store.put("k", &round)).unwrap();
                        assert_eq!(foreign_block_on(store.get("k")).unwrap(), Some(round));
                    }
                }
            });
            task.await.unwrap();
        });
    }
}
