//! surrealkv: commits are async and share syncs; reads are synchronous or async. tokio only.

use crate::store::{Change, Key, Outcome, Record, Scanned, Store, TaskStore, moved, present};
use std::path::{Path, PathBuf};
use surrealkv::{Durability, Error, LSMIterator, Mode, Options, Transaction, Tree, TreeBuilder};
use tokio::runtime::Handle;

pub(crate) const SETTINGS: &str = "Durability::Immediate in each transaction, write-only ones for puts, retried on a \
     conflict; block cache 1 GiB; `-pre`: with_wal_preallocation(true), which is off by default";

/// A tree, and the runtime that drives its commits. `PREALLOCATED`: its log keeps written zeros ahead of its end.
#[derive(Clone)]
pub(crate) struct Surreal<const PREALLOCATED: bool> {
    tree: Tree,
    runtime: Handle,
}

impl<const PREALLOCATED: bool> Surreal<PREALLOCATED> {
    fn begin(&self, mode: Mode) -> Outcome<Transaction> {
        let transaction = self.tree.begin_with_mode(mode)?;
        Ok(transaction.with_durability(Durability::Immediate))
    }

    /// Blind writes of one key by several tasks conflict as well: again, at once.
    async fn write_all(&self, changes: &[Change]) -> Outcome {
        loop {
            let mut transaction = self.begin(Mode::WriteOnly)?;
            for (key, value) in changes {
                match value {
                    Some(value) => transaction.set(&key[..], &value[..])?,
                    None => transaction.delete(&key[..])?,
                }
            }
            if commit(transaction).await? {
                return Ok(());
            }
        }
    }

    async fn move_one(&self, from: &Key, to: &Key) -> Outcome<bool> {
        let mut transaction = self.begin(Mode::ReadWrite)?;
        // `get_for_update`: under snapshot isolation a plain read takes no part in the check for conflicts.
        let from_value = present(transaction.get_for_update(&from[..])?)?;
        let to_value = present(transaction.get_for_update(&to[..])?)?;
        let (from_value, to_value) = moved(&from_value, &to_value)?;
        transaction.set(&from[..], &from_value[..])?;
        transaction.set(&to[..], &to_value[..])?;
        commit(transaction).await
    }
}

async fn commit(mut transaction: Transaction) -> Outcome<bool> {
    match transaction.commit().await {
        Ok(()) => Ok(true),
        Err(Error::TransactionWriteConflict | Error::TransactionRetry) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl<const PREALLOCATED: bool> Store for Surreal<PREALLOCATED> {
    fn open(path: &Path) -> Outcome<Self> {
        let options = Options::new()
            .with_path(path.to_path_buf())
            .with_block_cache_capacity(super::cache_bytes())
            .with_wal_preallocation(PREALLOCATED);
        Ok(Self {
            tree: TreeBuilder::with_options(options).build()?,
            runtime: Handle::current(),
        })
    }

    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        self.runtime
            .block_on(self.write_all(&[(*key, Some(value.to_vec()))]))
    }

    fn write(&self, changes: &[Change]) -> Outcome {
        self.runtime.block_on(self.write_all(changes))
    }

    fn get(&self, key: &Key) -> Outcome<Option<Vec<u8>>> {
        Ok(self.tree.begin_with_mode(Mode::ReadOnly)?.get(&key[..])?)
    }

    fn scan(&self, from: &Key, limit: u64) -> Outcome<Scanned> {
        let transaction = self.tree.begin_with_mode(Mode::ReadOnly)?;
        let mut scanned = Scanned::default();
        let mut records = transaction.scan(&from[..]..)?;
        let mut valid = records.seek_first()?;
        while valid && scanned.records < limit {
            scanned.add(records.key().user_key(), &records.value_ref()?);
            valid = records.next()?;
        }
        Ok(scanned)
    }

    fn transfer(&self, from: &Key, to: &Key) -> Outcome<bool> {
        self.runtime.block_on(self.move_one(from, to))
    }

    fn close(self) -> Outcome {
        Ok(self.runtime.block_on(self.tree.close())?)
    }
}

impl<const PREALLOCATED: bool> TaskStore for Surreal<PREALLOCATED> {
    async fn open(path: PathBuf) -> Outcome<Self> {
        <Self as Store>::open(&path)
    }

    async fn put(&self, key: Key, value: Vec<u8>) -> Outcome {
        self.write_all(&[(key, Some(value))]).await
    }

    async fn get(&self, key: Key) -> Outcome<Option<Vec<u8>>> {
        let transaction = self.tree.begin_with_mode(Mode::ReadOnly)?;
        Ok(transaction.get_async(&key[..]).await?)
    }

    async fn write(&self, changes: Vec<Change>) -> Outcome {
        self.write_all(&changes).await
    }

    async fn seed(&self, accounts: Vec<Record>) -> Outcome {
        let puts = accounts.into_iter().map(|(key, value)| (key, Some(value)));
        self.write_all(&puts.collect::<Vec<Change>>()).await
    }

    async fn transfer(&self, from: Key, to: Key) -> Outcome<bool> {
        self.move_one(&from, &to).await
    }
}
