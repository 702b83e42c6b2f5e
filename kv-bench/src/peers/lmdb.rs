//! LMDB through heed: a memory map, one write transaction at a time, each with syncs of its own.

use crate::store::{Change, Key, Outcome, Scanned, Store, moved, present};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, WithoutTls};
use std::ops::Bound;
use std::path::Path;

pub(crate) const SETTINGS: &str = "default flags (each commit synced); map of 16 GiB; read transactions without \
     thread-local slots, 4,096 readers";

/// The file is sparse: it grows with what is in it.
const MAP_BYTES: usize = 16 << 30;

/// The environment lives as long as the process: a database borrows it, and LMDB has nothing to do when it closes.
pub(crate) struct Lmdb {
    env: &'static Env<WithoutTls>,
    database: Database<'static, Bytes, Bytes>,
}

impl Store for Lmdb {
    fn open(path: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(path)?;
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_BYTES).max_readers(4096);
        #[expect(unsafe_code, reason = "LMDB maps its file")]
        // SAFETY: nobody but this process changes the fresh directory, and no flag weakens LMDB's own locking.
        let env = unsafe { options.open(path) }?;
        let env: &'static _ = Box::leak(Box::new(env));
        let opened = env.open_databases_and_commit(env.read_txn()?, |opener, transaction| {
            let database = opener.open_database::<Bytes, Bytes>(transaction, None)?;
            heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(database))
        })?;
        let database = opened
            .unwrap_commit()
            .ok_or("LMDB has no unnamed database")?;
        Ok(Self { env, database })
    }

    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        let mut transaction = self.env.write_txn()?;
        self.database.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    fn write(&self, changes: &[Change]) -> Outcome {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in changes {
            match value {
                Some(value) => self.database.put(&mut transaction, key, value)?,
                None => {
                    self.database.delete(&mut transaction, key)?;
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &Key) -> Outcome<Option<Vec<u8>>> {
        let transaction = self.env.read_txn()?;
        Ok(self.database.get(&transaction, key)?.map(<[u8]>::to_vec))
    }

    fn scan(&self, from: &Key, limit: u64) -> Outcome<Scanned> {
        let mut scanned = Scanned::default();
        let transaction = self.env.read_txn()?;
        let mut records = self.database.range(
            &transaction,
            &(Bound::Included(&from[..]), Bound::Unbounded),
        )?;
        while scanned.records < limit
            && let Some(record) = records.next()
        {
            let (key, value) = record?;
            scanned.add(key, value);
        }
        Ok(scanned)
    }

    fn transfer(&self, from: &Key, to: &Key) -> Outcome<bool> {
        let mut transaction = self.env.write_txn()?;
        let from_value = present(self.database.get(&transaction, from)?)?;
        let to_value = present(self.database.get(&transaction, to)?)?;
        let (from_value, to_value) = moved(from_value, to_value)?;
        self.database.put(&mut transaction, from, &from_value)?;
        self.database.put(&mut transaction, to, &to_value)?;
        transaction.commit()?;
        Ok(true)
    }

    fn close(self) -> Outcome {
        Ok(())
    }
}
