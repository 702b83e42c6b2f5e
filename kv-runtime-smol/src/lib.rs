//! kvlog on smol: the durable key-value store for async Rust. async-std runs on it unchanged.
//!
//! ```
//! use kv_runtime_smol::KVLog;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("counters.kv");
//! smol::block_on(async {
//!     let store: KVLog<String, u64> = KVLog::load(path).await?; // opens or creates, recovers
//!     let before = store.set("visits", &1).await?; // on disk when this returns
//!     println!("was {before:?}, is {:?}", store.get("visits").await?);
//!     store.close().await
//! })?;
//! # Ok(()) }
//! ```
//!
//! smol's pool of blocking threads belongs to the process, so a store works on every executor: `smol::block_on`, a
//! `LocalExecutor`, an `Executor` on several threads, async-std, or none.
//!
//! # Blocking threads
//! Where the system refuses a thread that smol's pool wants, because none is idle, smol tries again without a pause, on
//! the thread that polls and with the pool locked, until it gets one: the call does not return before, and whatever else
//! needs the pool waits. Nothing is lost, and nothing is refused. A program that may run out of threads limits the pool
//! to what it can count on (the environment variable `BLOCKING_MAX_THREADS`); threads that smol has started stay.
//!
//! Code on a blocking thread (in `smol::unblock`) does not wait for a [`KVLog`] with `block_on`: it holds the thread that
//! the call needs. While all threads of the pool, 500 unless set otherwise, wait like that, nobody is left to write or to
//! read for them, and none of them ever gets an answer. Such code calls the blocking methods of [`KVLog::engine`], which
//! do the work on the thread they are called on.
#![forbid(unsafe_code)]

pub use kv_log_engine::{
    self as engine, Create, Engine, KVBatch, Options, RecordStream, Records, RecoveryReport, Stats,
};
pub use kv_trait::{
    ByteKey, Codec, Effect, Error, ErrorKind, Json, KVStore, KeyOf, Postcard, Raw, Result, Runtime,
    Version, Versioned, Written, key,
};

use kv_trait::{BlockingWork, PoolId};
use std::task::{Context, Poll};

/// The durable store on smol. See [`kv_log_engine::KVLog`].
pub type KVLog<K, V, C = Postcard> = kv_log_engine::KVLog<K, V, Smol, C>;

/// The process's pool of blocking threads.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Smol;

impl Runtime for Smol {
    fn pool(&self) -> Result<PoolId> {
        Ok(PoolId::of::<Self>(0))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
        smol::unblock(work).detach();
        Ok(())
    }

    /// smol has no cooperative budget.
    fn poll_proceed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// The README's code, compiled with the documentation's tests: this crate's tests have every runtime that it shows.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
