//! kvlog: the engine from threads, its async skin on tokio from tasks.

use crate::protocol::cache_bytes_default;
use crate::store::{
    Change, Counts, Key, Outcome, Record, Scanned, Store, TaskStore, moved, present,
};
use kv_log_engine::{Batch, Engine, Options, Seqno};
use kv_runtime_tokio::{ByteKey, Error, ErrorKind, KVLog, Raw};
use kv_trait::Fingerprint;
use std::collections::HashMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::spawn_blocking;

pub(crate) const SETTINGS: &str =
    "defaults; acknowledged after one write and fdatasync of its group";

/// What the process knows of the accounts. There is no read that tells a version yet, so the only writer remembers what
/// its receipts told; that is a hint, and `Batch::expect` decides.
type Accounts = Mutex<HashMap<Key, (Seqno, Vec<u8>)>>;

/// The engine.
#[derive(Clone, Debug)]
pub(crate) struct Kvlog {
    engine: Engine,
    accounts: Arc<Accounts>,
}

/// The defaults, but where the others' caches are small: then as much, for reading and for writing together.
fn options() -> Options {
    match super::cache_bytes() {
        bytes if bytes == cache_bytes_default() => Options::new(),
        bytes => Options::new().memory_bytes(bytes),
    }
}

impl Kvlog {
    fn new(engine: Engine) -> Self {
        Self {
            engine,
            accounts: Arc::default(),
        }
    }

    fn remember(&self, key: Key, version: Seqno, value: Vec<u8>) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = accounts.get(&key);
        if known.is_none_or(|(known, _)| *known < version) {
            accounts.insert(key, (version, value));
        }
    }

    fn recall(&self, key: &Key) -> Option<(Seqno, Vec<u8>)> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get(key).cloned()
    }
}

impl Store for Kvlog {
    fn open(path: &Path) -> Outcome<Self> {
        // The types of the async skin, so that tasks can open what threads have loaded.
        let fingerprint = Fingerprint::of::<ByteKey, Vec<u8>, Raw>(None)?;
        let engine = Engine::open(path, options().fingerprint(fingerprint))?;
        Ok(Self::new(engine))
    }

    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        Ok(self.engine.put(key, value)?)
    }

    fn write(&self, changes: &[Change]) -> Outcome {
        self.engine.write(batch(changes)?)?;
        Ok(())
    }

    fn get(&self, key: &Key) -> Outcome<Option<Vec<u8>>> {
        Ok(self.engine.get(key)?)
    }

    fn scan(&self, from: &Key, limit: u64) -> Outcome<Scanned> {
        let mut scanned = Scanned::default();
        let range = (Bound::Included(&from[..]), Bound::Unbounded);
        let mut records = self.engine.scan(range)?;
        while scanned.records < limit
            && let Some(record) = records.next()
        {
            let (key, value) = record?;
            scanned.add(&key, &value);
        }
        Ok(scanned)
    }

    fn seed(&self, accounts: &[Record]) -> Outcome {
        let submitted = accounts.iter().map(|(key, value)| {
            let mut batch = Batch::new();
            batch.put(key, value)?;
            self.engine.submit(batch)
        });
        let submitted: Vec<_> = submitted.collect::<Result<_, Error>>()?;
        for (one, (key, value)) in submitted.into_iter().zip(accounts) {
            self.remember(*key, one.wait()?.first_seqno(), value.clone());
        }
        Ok(())
    }

    fn transfer(&self, from: &Key, to: &Key) -> Outcome<bool> {
        let (from_version, from_value) = present(self.recall(from))?;
        let (to_version, to_value) = present(self.recall(to))?;
        let (from_value, to_value) = moved(&from_value, &to_value)?;
        let mut batch = Batch::new();
        batch.expect(from, Some(from_version))?;
        batch.expect(to, Some(to_version))?;
        batch.put(from, &from_value)?;
        batch.put(to, &to_value)?;
        match self.engine.write(batch) {
            Ok(receipt) => {
                self.remember(*from, receipt.first_seqno(), from_value.to_vec());
                self.remember(*to, receipt.last_seqno(), to_value.to_vec());
                Ok(true)
            }
            Err(refused) if refused.kind() == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// An entry is written by the log, by a checkpoint, and by each merge. The engine does not count the blocks that
    /// lookups need.
    fn counts(&self) -> Counts {
        let stats = self.engine.stats();
        Counts {
            written_bytes: Some(stats.written.total()),
            entries: Some(stats.records + stats.entries_written),
            ..Counts::default()
        }
    }

    fn close(self) -> Outcome {
        Ok(self.engine.close()?)
    }
}

fn batch(changes: &[Change]) -> Result<Batch, Error> {
    let mut batch = Batch::new();
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(key, value)?,
            None => batch.delete(key)?,
        }
    }
    Ok(batch)
}

/// The async skin: `put`, or `set` where `SET`, which also produces the value that was there before.
#[derive(Debug)]
pub(crate) struct KvlogTasks<const SET: bool> {
    store: KVLog<ByteKey, Vec<u8>, Raw>,
    threads: Kvlog,
}

impl<const SET: bool> TaskStore for KvlogTasks<SET> {
    async fn open(path: PathBuf) -> Outcome<Self> {
        let store: KVLog<ByteKey, Vec<u8>, Raw> = KVLog::load_with(path, options()).await?;
        let threads = Kvlog::new(store.engine().clone());
        Ok(Self { store, threads })
    }

    async fn put(&self, key: Key, value: Vec<u8>) -> Outcome {
        let key = ByteKey(key.to_vec());
        if SET {
            self.store.set(&key, &value).await?;
        } else {
            self.store.put(&key, &value).await?;
        }
        Ok(())
    }

    async fn get(&self, key: Key) -> Outcome<Option<Vec<u8>>> {
        Ok(self.store.get(&ByteKey(key.to_vec())).await?)
    }

    async fn write(&self, changes: Vec<Change>) -> Outcome {
        let threads = self.threads.clone();
        spawn_blocking(move || threads.write(&changes)).await?
    }

    async fn seed(&self, accounts: Vec<Record>) -> Outcome {
        let threads = self.threads.clone();
        spawn_blocking(move || threads.seed(&accounts)).await?
    }

    /// Batches are for threads so far.
    async fn transfer(&self, from: Key, to: Key) -> Outcome<bool> {
        let threads = self.threads.clone();
        spawn_blocking(move || threads.transfer(&from, &to)).await?
    }
}
