//! RocksDB, where the feature `rocksdb` is on: a group of writers shares one sync of the log.

use crate::store::{Change, Key, Outcome, Scanned, Store, moved, present};
use rocksdb::{
    BlockBasedOptions, Cache, Direction, ErrorKind, IteratorMode, OptimisticTransactionDB,
    OptimisticTransactionOptions, Options, WriteBatchWithTransaction, WriteOptions,
};
use std::path::Path;

pub(crate) const SETTINGS: &str = "WriteOptions::sync(true); block cache 1 GiB; no compression; transactions of \
     OptimisticTransactionDB";

pub(crate) struct RocksDb(OptimisticTransactionDB);

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

impl Store for RocksDb {
    fn open(path: &Path) -> Outcome<Self> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(
            usize::try_from(super::cache_bytes())?,
        ));
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        Ok(Self(OptimisticTransactionDB::open(&options, path)?))
    }

    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        Ok(self.0.put_opt(key, value, &synced())?)
    }

    fn write(&self, changes: &[Change]) -> Outcome {
        let mut batch = WriteBatchWithTransaction::<true>::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        Ok(self.0.write_opt(batch, &synced())?)
    }

    fn get(&self, key: &Key) -> Outcome<Option<Vec<u8>>> {
        Ok(self.0.get(key)?)
    }

    fn scan(&self, from: &Key, limit: u64) -> Outcome<Scanned> {
        let mut scanned = Scanned::default();
        let mut records = self
            .0
            .iterator(IteratorMode::From(from, Direction::Forward));
        while scanned.records < limit
            && let Some(record) = records.next()
        {
            let (key, value) = record?;
            scanned.add(&key, &value);
        }
        Ok(scanned)
    }

    fn transfer(&self, from: &Key, to: &Key) -> Outcome<bool> {
        let mut options = OptimisticTransactionOptions::default();
        options.set_snapshot(true);
        let transaction = self.0.transaction_opt(&synced(), &options);
        let from_value = present(transaction.get_for_update(from, true)?)?;
        let to_value = present(transaction.get_for_update(to, true)?)?;
        let (from_value, to_value) = moved(&from_value, &to_value)?;
        transaction.put(from, from_value)?;
        transaction.put(to, to_value)?;
        match transaction.commit() {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::TryAgain) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn close(self) -> Outcome {
        Ok(()) // on drop
    }
}
