//! redb: one write transaction at a time, each with a sync of its own.

use crate::store::{Change, Key, Outcome, Scanned, Store, moved, present};
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};
use std::path::Path;

pub(crate) const SETTINGS: &str = "Durability::Immediate in each write transaction; cache 1 GiB";

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bench");

pub(crate) struct Redb(Database);

impl Redb {
    fn begin(&self) -> Outcome<WriteTransaction> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction)
    }
}

impl Store for Redb {
    fn open(path: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(path)?;
        let cache_bytes = usize::try_from(super::cache_bytes())?;
        let database = Builder::new()
            .set_cache_size(cache_bytes)
            .create(path.join("bench.redb"))?;
        let store = Self(database);
        let missing = store.0.begin_read()?.open_table(TABLE).is_err();
        if missing {
            let transaction = store.begin()?;
            transaction.open_table(TABLE)?;
            transaction.commit()?;
        }
        Ok(store)
    }

    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        let transaction = self.begin()?;
        transaction.open_table(TABLE)?.insert(&key[..], value)?;
        Ok(transaction.commit()?)
    }

    fn write(&self, changes: &[Change]) -> Outcome {
        let transaction = self.begin()?;
        let mut table = transaction.open_table(TABLE)?;
        for (key, value) in changes {
            match value {
                Some(value) => table.insert(&key[..], &value[..])?,
                None => table.remove(&key[..])?,
            };
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &Key) -> Outcome<Option<Vec<u8>>> {
        let table = self.0.begin_read()?.open_table(TABLE)?;
        Ok(table.get(&key[..])?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, from: &Key, limit: u64) -> Outcome<Scanned> {
        let mut scanned = Scanned::default();
        let table = self.0.begin_read()?.open_table(TABLE)?;
        let mut records = table.range::<&[u8]>(&from[..]..)?;
        while scanned.records < limit
            && let Some(record) = records.next()
        {
            let (key, value) = record?;
            scanned.add(key.value(), value.value());
        }
        Ok(scanned)
    }

    fn transfer(&self, from: &Key, to: &Key) -> Outcome<bool> {
        let transaction = self.begin()?;
        let mut table = transaction.open_table(TABLE)?;
        let from_value = present(table.get(&from[..])?)?.value().to_vec();
        let to_value = present(table.get(&to[..])?)?.value().to_vec();
        let (from_value, to_value) = moved(&from_value, &to_value)?;
        table.insert(&from[..], &from_value[..])?;
        table.insert(&to[..], &to_value[..])?;
        drop(table);
        transaction.commit()?;
        Ok(true)
    }

    fn close(self) -> Outcome {
        Ok(self.0.close()?)
    }
}
