//! kvlog on tokio: the durable key-value store for async Rust.
//!
//! [`KVLog::load`] opens or creates a store; `set` returns when the write survives a power cut; no reader ever sees a
//! value that would not.
//!
//! ```standalone_crate
//! use kv_runtime_tokio::KVLog;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # std::env::set_current_dir(&directory)?;
//! let store: KVLog<String, u64> = KVLog::load("counters.kv").await?; // opens or creates, recovers
//! let before = store.set("visits", &1).await?;                       // on disk when this returns
//! println!("was {before:?}, is {:?}", store.get("visits").await?);
//! store.close().await?;
//! # assert_eq!(before, None);
//! # let store: KVLog<String, u64> = KVLog::load("counters.kv").await?;
//! # assert_eq!(store.get("visits").await?, Some(1));
//! # Ok(()) }
//! ```
//!
//! Code that does not care which store it has takes the trait:
//!
//! ```
//! use kv_runtime_tokio::{KVLog, KVStore};
//! use std::sync::Arc;
//!
//! /// Signs a user in, and says on which machine he was before. However many sign in at once: what `set` answers with
//! /// is what it replaced. A `get` and then a `set` would lose what others write in between.
//! async fn sign_in(
//!     sessions: Arc<dyn KVStore<String, String>>,
//!     user: &str,
//!     machine: &str,
//! ) -> kv_runtime_tokio::Result<Option<String>> {
//!     sessions.set(&user.to_owned(), &machine.to_owned()).await
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("sessions.kv");
//! let store: KVLog<String, String> = KVLog::load(path).await?;
//! assert_eq!(sign_in(Arc::new(store.clone()), "ada", "desk").await?, None);
//! assert_eq!(sign_in(Arc::new(store.clone()), "ada", "phone").await?.as_deref(), Some("desk"));
//! # // As many as like: the answers form one chain, and no write is lost.
//! # let mut tasks = tokio::task::JoinSet::new();
//! # for task in 0..100 {
//! #     let sessions = Arc::new(store.clone());
//! #     tasks.spawn(async move { sign_in(sessions, "ada", &task.to_string()).await });
//! # }
//! # let mut machines: std::collections::BTreeSet<_> = (0..100).map(|task| task.to_string()).collect();
//! # machines.insert("phone".to_owned());
//! # while let Some(before) = tasks.join_next().await {
//! #     let before = before??.expect("somebody was there");
//! #     assert!(machines.remove(&before), "{before} was replaced twice");
//! # }
//! # assert_eq!(store.get("ada").await?, machines.pop_first());
//! # Ok(()) }
//! ```
//!
//! Everything is called from inside a tokio runtime, of either flavour; elsewhere it is refused as `Unavailable`. A
//! store outlives the runtime that opened it, and serves several at once.
//!
//! # Blocking threads
//! Where the system refuses a thread and the runtime has none left, calls are refused as `Unavailable` with effect
//! *nothing*, and work again when threads are to be had. tokio panics there; the panic is caught, which needs
//! `panic = "unwind"`, and the panic hook still reports it.
//!
//! Code on a blocking thread (in `spawn_blocking`) does not wait for a [`KVLog`] with `block_on`: it holds the thread that
//! the call needs. While all threads of the pool, 512 unless set otherwise, wait like that, nobody is left to write or to
//! read for them, and none of them ever gets an answer. Such code calls the blocking methods of [`KVLog::engine`], which
//! do the work on the thread they are called on; a test fills a pool of one thread with them.
#![forbid(unsafe_code)]

pub use kv_log_engine::{
    self as engine, Create, Engine, KVBatch, Options, RecordStream, Records, RecoveryReport, Stats,
};
pub use kv_trait::{
    ByteKey, Codec, Effect, Error, ErrorKind, Json, KVStore, KeyOf, Postcard, Raw, Result, Runtime,
    Version, Versioned, Written, key,
};

use kv_trait::{BlockingWork, PoolId};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// The durable store on tokio. See [`kv_log_engine::KVLog`].
pub type KVLog<K, V, C = Postcard> = kv_log_engine::KVLog<K, V, Tokio, C>;

/// Whatever tokio runtime the calling thread is in.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Tokio;

impl Tokio {
    fn handle() -> Result<Handle> {
        Handle::try_current().map_err(|source| {
            let message = "not inside a tokio runtime";
            Error::new(ErrorKind::Unavailable, message).with_source(source)
        })
    }
}

impl Runtime for Tokio {
    fn pool(&self) -> Result<PoolId> {
        let mut hasher = DefaultHasher::new();
        Self::handle()?.id().hash(&mut hasher);
        Ok(PoolId::of::<Self>(hasher.finish()))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
        let handle = Self::handle()?;
        let work = Arc::new(Mutex::new(Some(work)));
        let shared = Arc::clone(&work);
        let run = move || {
            let work = take(&shared);
            if let Some(work) = work {
                work();
            }
        };
        // Dropping the join handle detaches; a runtime that shuts down drops the work unrun.
        match catch_unwind(AssertUnwindSafe(|| drop(handle.spawn_blocking(run)))) {
            Ok(()) => Ok(()),
            Err(_panic) => refuse(take(&work)),
        }
    }

    fn poll_proceed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let proceed = pin!(tokio::task::consume_budget()).poll(cx);
        if proceed.is_pending() {
            // tokio calls the waker when it has control again. Somebody who polls inside the task with an executor of his
            // own gives it none, and would never be woken.
            cx.waker().wake_by_ref();
        }
        proceed
    }
}

/// The lock is let go before the work is run or dropped: both are foreign code.
fn take(work: &Mutex<Option<BlockingWork>>) -> Option<BlockingWork> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// tokio panics where the system has no thread for it, with the closure on its queue already: a later thread would run
/// what was refused, and until then nobody would know that it waits. So the work is taken out of the closure.
fn refuse(work: Option<BlockingWork>) -> Result<()> {
    if work.is_none() {
        return Ok(()); // another call has got a thread meanwhile, which began with this
    }
    drop(work);
    let message = "the system has no thread for blocking work";
    Err(Error::new(ErrorKind::Unavailable, message))
}
