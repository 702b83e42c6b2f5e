//! Keyspaces by name.

use super::{Lie, Reference};
use crate::fixture::{Key, Value};
use kv_trait::{Error, ErrorKind, KVStore, Keyspaces, Result, async_trait};
use std::sync::Arc;

#[async_trait]
impl Keyspaces<Key, Value> for Reference {
    async fn keyspace(&self, name: &str) -> Result<Arc<dyn KVStore<Key, Value>>> {
        let mut state = self.open()?;
        let id = match state.names.get(name) {
            Some(id) => *id,
            None => {
                state.spaces += 1;
                state.spaces
            }
        };
        let id = if self.lies(Lie::KeyspacesMix) { 1 } else { id };
        state.names.insert(name.to_owned(), id);
        if self.lies(Lie::DroppedComesBack) {
            state.dropped.remove(&id);
        }
        Ok(Arc::new(Self {
            shared: Arc::clone(&self.shared),
            keyspace: id,
        }))
    }

    async fn keyspaces(&self) -> Result<Vec<String>> {
        Ok(self.open()?.names.keys().cloned().collect())
    }

    async fn drop_keyspace(&self, name: &str) -> Result<()> {
        let mut state = self.open()?;
        let absent = || Error::new(ErrorKind::NotFound, "there is no such keyspace");
        let id = state.names.remove(name).ok_or_else(absent)?;
        state.dropped.insert(id);
        if self.lies(Lie::DroppedComesBack) {
            state.spaces -= 1;
        }
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        let mut state = self.open()?;
        let spaces = if self.lies(Lie::ClearClearsAll) {
            0..=state.spaces
        } else {
            self.keyspace..=self.keyspace
        };
        for space in spaces {
            let keys: Vec<Key> = state.keys(space).cloned().collect();
            let of = Self {
                shared: Arc::clone(&self.shared),
                keyspace: space,
            };
            for key in keys {
                of.erase(&mut state, &key);
            }
        }
        Ok(())
    }
}
