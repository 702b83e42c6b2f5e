//! The contract of a durable key-value store for async Rust.
//!
//! [`KVStore`] is what every store offers, and [`capability`] what only some can do: batches, scans, versions, updates,
//! snapshots, transactions, expiry, watching, keyspaces. Around them stands what every store shares: the [`Error`] with its
//! [effect](Effect), the [`Runtime`] seam, the [limits](KEY_BYTES_MAX), the order-preserving encoding of [keys](key),
//! the [value codecs](codec) and the [`Fingerprint`] that keeps a store from being read with the wrong types.
//! No I/O happens here, no thread is started, and no executor is named.
//!
//! # Words
//! They are defined here once; everything else only says which applies.
//!
//! - **Acknowledged**: the call returned `Ok`.
//! - **Durable**: survives a loss of power at this instant. The bytes are synced, and so is every directory entry
//!   that leads to them. The operating system's page cache is not durable.
//! - **Visible**: some reader can see it, in this process or another.
//! - **Effect**: what an error says about the write it belongs to. *Nothing*: the write is in no later state of the
//!   store. *Unknown*: whether it happened shows only after the store was opened again; it is then whole or absent,
//!   never half. *Applied*: it is durable and visible, and only the answer could not be produced. See [`Effect`].
//! - **Cancel safe**: a future may be dropped at any time, and what that does is defined. The order of writes is the
//!   order in which their futures are first polled. Dropped before its first poll, or while still waiting in line for
//!   room: nothing happened. Dropped later: the operation finishes or fails as if it had been awaited, whole; only
//!   its answer is lost. It never harms other callers.
//!
//! - **Point**: a place in the order of writes. What is read at one point shows all writes before it and none behind.
//!
//! The first three are never synonyms. For a store that keeps the contract, acknowledged implies durable, and visible
//! implies durable.

pub mod capability;
pub mod codec;
mod error;
pub mod fingerprint;
pub mod key;
mod limits;
mod runtime;
mod shape;
mod store;
mod version;

pub use capability::{
    Batches, Capability, Change, Changes, Closing, Condition, Event, EventKind, Expiry, Items,
    KeyRange, Keyspaces, Query, RangeDeletes, Scans, Snapshot, Snapshots, Transaction,
    Transactions, Update, Updates, Versions, Watches, Written,
};
pub use codec::{Codec, Json, Postcard, Probed, Raw};
pub use error::{Effect, Error, ErrorKind, Result};
pub use fingerprint::{CodecId, Fingerprint};
pub use key::{ByteKey, Key, KeyOf};
pub use limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use runtime::{BlockingWork, PoolId, Runtime};
pub use shape::{SHAPE_BYTES_MAX, Shape};
pub use store::KVStore;
pub use version::{Version, Versioned};

/// Re-exported so that an implementor of [`KVStore`] writes the attribute of the same version as the trait.
pub use async_trait::async_trait;
/// Re-exported for the same reason.
pub use futures_core::Stream;
