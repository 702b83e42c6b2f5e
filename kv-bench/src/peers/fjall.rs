//! fjall: a batch with a durability is durable before it is visible; a plain insert with a persist is not.

use crate::store::{Change, Key, Outcome, Scanned, Store, moved, present};
use fjall::{
    KeyspaceCreateOptions, OptimisticTxDatabase, OptimisticTxKeyspace, PersistMode, Readable,
};
use std::path::Path;

pub(crate) const SETTINGS: &str = "batch().durability(SyncData).commit(), one key each for puts; block cache 1 GiB; \
     transactions of OptimisticTxDatabase, which writes the same way";

/// A database with one keyspace. The optimistic one, because only it has transactions; writes go to what it wraps.
pub(crate) struct Fjall {
    database: OptimisticTxDatabase,
    keyspace: OptimisticTxKeyspace,
}

impl Store for Fjall {
    fn open(path: &Path) -> Outcome<Self> {
        let database = OptimisticTxDatabase::builder(path)
            .cache_size(super::cache_bytes())
            .open()?;
        let keyspace = database.keyspace("bench", KeyspaceCreateOptions::default)?;
        Ok(Self { database, keyspace })
    }

    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        let mut batch = self
            .database
            .inner()
            .batch()
            .durability(Some(PersistMode::SyncData));
        batch.insert(self.keyspace.inner(), &key[..], value);
        Ok(batch.commit()?)
    }

    fn write(&self, changes: &[Change]) -> Outcome {
        let mut batch = self
            .database
            .inner()
            .batch()
            .durability(Some(PersistMode::SyncData));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(self.keyspace.inner(), &key[..], &value[..]),
                None => batch.remove(self.keyspace.inner(), &key[..]),
            }
        }
        Ok(batch.commit()?)
    }

    fn get(&self, key: &Key) -> Outcome<Option<Vec<u8>>> {
        Ok(self.keyspace.inner().get(key)?.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &Key, limit: u64) -> Outcome<Scanned> {
        let mut scanned = Scanned::default();
        let mut records = self.keyspace.inner().range(&from[..]..);
        while scanned.records < limit
            && let Some(record) = records.next()
        {
            let (key, value) = record.into_inner()?;
            scanned.add(&key, &value);
        }
        Ok(scanned)
    }

    fn transfer(&self, from: &Key, to: &Key) -> Outcome<bool> {
        let mut transaction = self
            .database
            .write_tx()?
            .durability(Some(PersistMode::SyncData));
        let from_value = present(transaction.get(&self.keyspace, from)?)?;
        let to_value = present(transaction.get(&self.keyspace, to)?)?;
        let (from_value, to_value) = moved(&from_value, &to_value)?;
        transaction.insert(&self.keyspace, &from[..], from_value);
        transaction.insert(&self.keyspace, &to[..], to_value);
        Ok(transaction.commit()?.is_ok())
    }

    fn close(self) -> Outcome {
        self.database.persist(PersistMode::SyncAll)?;
        Ok(()) // the rest is done on drop
    }
}
