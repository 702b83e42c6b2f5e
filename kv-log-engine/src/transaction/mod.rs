//! Transactions: reads of one point of the order of writes, and writes that are kept until all of them are written at once,
//! if what was read is still so.
//!
//! A transaction is a snapshot at S, what it has read of it, and what it wants to write; it holds no lock, and nobody knows of
//! it. Its commit is one batch: each key that was read is expected at the version that was found, each range unchanged behind
//! S. The leader judges both at the batch's turn, so the transaction is as if it had run there at once: no update is lost,
//! no phantom appears, and of two that each read what the other writes one is refused. A transaction that has only read is as
//! if it had run at S, and is not judged.
//!
//! | file | is for |
//! |---|---|
//! | `reads` | what was read, bounded |
//! | `state` | writes, reads and the end, shared by all handles |
//! | `scan` | ranges of the snapshot with the own writes over it |

mod reads;
mod scan;
mod state;

pub use scan::TransactionScan;

use crate::batch::{Batch, check_length};
use crate::clock::check_expiry;
use crate::engine::Engine;
use crate::format::ids::Seqno;
use crate::format::run::full_key;
use crate::index::Lookup;
use crate::index::source::Interval;
use crate::snapshot::Snapshot;
use kv_trait::{KEY_BYTES_MAX, Result, VALUE_BYTES_MAX};
use state::{Shared, Written};
use std::ops::RangeBounds;
use std::sync::Arc;

/// Reads and writes that happen at one point of the order of writes, or not at all. Made by [`Engine::begin`].
///
/// Serializable: reads and scans show one point, and the transaction's own writes; [`Transaction::commit`] writes all or
/// nothing, and only if everything that was read is as it was. Nobody waits for a transaction, and it waits for nobody:
/// where two are in each other's way, the one that commits later is refused, and may begin again.
///
/// Clones are handles to the same transaction, for several threads or keyspaces ([`Transaction::of`]).
///
/// ```
/// # use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
/// # use kv_trait::{Effect, ErrorKind};
/// # fn main() -> kv_trait::Result<()> {
/// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
/// store.put(b"ann", b"10")?;
/// store.put(b"bob", b"0")?;
///
/// let transfer = store.begin()?;
/// assert_eq!(transfer.get(b"ann")?.as_deref(), Some(&b"10"[..]));
/// transfer.put(b"ann", b"3")?;
/// transfer.put(b"bob", b"7")?;
/// assert_eq!(transfer.get(b"bob")?.as_deref(), Some(&b"7"[..])); // it sees its own
/// assert_eq!(store.get(b"bob")?.as_deref(), Some(&b"0"[..])); // and nobody else does
///
/// let other = store.begin()?;
/// other.get(b"ann")?;
/// other.put(b"eve", b"1")?;
///
/// transfer.commit()?;
/// let refused = other.commit().unwrap_err(); // what it has read has changed
/// assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Conflict, Effect::Nothing));
/// # Ok(()) }
/// ```
///
/// # Limits
/// Its snapshot keeps what it reads, and may be ended as any: `TooOld`. What it reads takes at most 16 MiB, at 40 bytes and a key
/// for each key, and 40 bytes and two keys for each range, which a scan makes one of; what it writes at most what a batch
/// does, 1 GiB. Beyond: `TooLarge`, and the transaction is as it was.
///
/// # Drop
/// Dropped with its last clone, nothing has happened.
#[derive(Clone, Debug)]
pub struct Transaction {
    shared: Arc<Shared>,
    snapshot: Snapshot,
}

/// Where the value of a key is to be found.
pub(crate) enum Seen {
    /// Written by the transaction itself; `None`: removed.
    Own(Option<Arc<[u8]>>),
    /// As the snapshot has it.
    Below(Lookup),
}

impl Engine {
    /// Begins a transaction on what there is now. Costs what a snapshot costs, and does not block.
    ///
    /// # Errors
    /// `Closed`.
    pub fn begin(&self) -> Result<Transaction> {
        let snapshot = self.snapshot()?;
        Ok(Transaction {
            shared: Shared::new(self.clone(), snapshot.at()),
            snapshot,
        })
    }
}

impl Transaction {
    /// The same transaction in the keyspace of this handle.
    ///
    /// # Errors
    /// `InvalidInput`: the handle is one of another store, or of another opening of it.
    pub fn of(&self, keyspace: &Engine) -> Result<Self> {
        Ok(Self {
            shared: Arc::clone(&self.shared),
            snapshot: self.snapshot.of(keyspace)?,
        })
    }

    /// The place of the last record that it sees of others, in the order of writes.
    #[must_use]
    pub fn at(&self) -> Seqno {
        self.shared.at
    }

    /// The value of `key`: what this transaction has written, else what was there when it began. Blocks.
    ///
    /// # Errors
    /// `TooLarge`, `TooOld`, `Closed`, `Io`, `Corrupt`; `InvalidInput`: it has ended.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.see(key)? {
            Seen::Own(value) => Ok(value.map(|value| value.to_vec())),
            Seen::Below(lookup) => {
                let found = self.snapshot.settle(lookup.read_versioned())?;
                self.has_read(key, found.as_ref().map(|(version, _)| *version))?;
                Ok(found.map(|(_, value)| value))
            }
        }
    }

    /// The keys and values in a range, in order of the keys. Owns what it reads from; blocks when it is iterated.
    ///
    /// # Errors
    /// `TooOld`; `InvalidInput`: it has ended.
    pub fn scan(&self, range: impl RangeBounds<[u8]>) -> Result<TransactionScan> {
        let keyspace = self.snapshot.keyspace();
        let whole = Interval::of_keyspace(keyspace, &range).ends();
        let own = self.shared.writes()?;
        let below = self.snapshot.scan(range)?;
        let now_ms = self.snapshot.now_ms();
        let shared = Arc::clone(&self.shared);
        Ok(TransactionScan::new(
            shared, keyspace, below, own, whole, now_ms,
        ))
    }

    /// Stores `value` under `key`, for this transaction now and for others once it has committed.
    ///
    /// # Errors
    /// `TooLarge`: the transaction is as it was. `InvalidInput`: it has ended.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        check_length("value", value.len(), VALUE_BYTES_MAX)?;
        self.write(key, Some(value.into()), None)
    }

    pub(crate) fn put_owned(&self, key: &[u8], value: Vec<u8>) -> Result<()> {
        check_length("value", value.len(), VALUE_BYTES_MAX)?;
        self.write(key, Some(value.into()), None)
    }

    /// The same until a moment, in milliseconds since 1970: see [`Batch::put_until`]. The transaction sees it by the clock of
    /// its start.
    ///
    /// # Errors
    /// As for [`Transaction::put`]; `InvalidInput`: 2^64 - 1.
    pub fn put_until(&self, key: &[u8], value: &[u8], expiry_ms: u64) -> Result<()> {
        check_length("value", value.len(), VALUE_BYTES_MAX)?;
        check_expiry(expiry_ms)?;
        self.write(key, Some(value.into()), Some(expiry_ms))
    }

    /// Removes `key`, likewise.
    ///
    /// # Errors
    /// As for [`Transaction::put`].
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.write(key, None, None)
    }

    /// Writes all that was written here, if all that was read is still so. Blocks until it is durable and visible. Returns the
    /// place of its last record in the order of writes; `None`: it wrote nothing, and was not judged.
    ///
    /// # Errors
    /// `Conflict`: a key or a range that was read has changed; the message names a key. `TooOld`: that cannot be told any more.
    /// Both have effect *nothing*: begin again. `InvalidInput`: it has ended before, or a keyspace was dropped. Otherwise as for
    /// [`Engine::write`].
    pub fn commit(self) -> Result<Option<Seqno>> {
        let (engine, batch) = self.into_batch()?;
        let Some(batch) = batch else {
            return Ok(None);
        };
        let receipt = engine.write(batch)?;
        Ok(Some(receipt.last_seqno()))
    }

    /// Ends it: what is to be written, and by whom.
    pub(crate) fn into_batch(self) -> Result<(Engine, Option<Batch>)> {
        let batch = self.shared.end()?;
        Ok((self.shared.engine.clone(), batch))
    }

    /// What memory says of `key`. Never blocks. What was read of it below has to be told.
    pub(crate) fn see(&self, key: &[u8]) -> Result<Seen> {
        check_length("key", key.len(), KEY_BYTES_MAX)?;
        let written = self.shared.written(&self.full_key(key))?;
        if let Some(written) = written {
            let now_ms = self.snapshot.now_ms();
            let value = written.value(now_ms).is_some();
            return Ok(Seen::Own(written.value.filter(|_| value)));
        }
        self.snapshot.lookup(key).map(Seen::Below)
    }

    /// What a reading below came to.
    pub(crate) fn settle<T>(&self, read: Result<T>) -> Result<T> {
        self.snapshot.settle(read)
    }

    /// A key was read below at this version.
    pub(crate) fn has_read(&self, key: &[u8], version: Option<Seqno>) -> Result<()> {
        self.shared.read_key(&self.full_key(key), version)
    }

    pub(crate) fn write(
        &self,
        key: &[u8],
        value: Option<Arc<[u8]>>,
        expiry_ms: Option<u64>,
    ) -> Result<()> {
        check_length("key", key.len(), KEY_BYTES_MAX)?;
        let written = Written { value, expiry_ms };
        self.shared.write(self.full_key(key), written)
    }

    fn full_key(&self, key: &[u8]) -> Vec<u8> {
        full_key(self.snapshot.keyspace(), key)
    }
}
