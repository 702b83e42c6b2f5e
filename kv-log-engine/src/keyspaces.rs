//! Keyspaces: stores of keys beside each other, each with a name and codecs of its own, in one order of writes.
//!
//! A keyspace is made by a record of the log, in a group like any other: durable before it shows, whole or absent after a
//! crash. The leader gives names and numbers out in the order of writes; here is what a caller sees before that, and what
//! it does when somebody else was first.

use crate::batch::{Answer, Batch};
use crate::engine::Engine;
use crate::format::keyspaces::{Keyspace, NAME_BYTES_MAX};
use kv_trait::{Error, ErrorKind, Fingerprint, Result};
use std::ops::RangeBounds;

/// A keyspace, as the store records it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyspaceInfo {
    /// Its number, which no other keyspace of the store ever had or will have.
    pub id: u32,
    /// What it is called.
    pub name: String,
    /// The codecs of its keys and values.
    pub fingerprint: Fingerprint,
}

impl KeyspaceInfo {
    fn of(keyspace: &Keyspace) -> Result<Self> {
        let fingerprint = Fingerprint::parse(&keyspace.fingerprint);
        Ok(Self {
            id: keyspace.id,
            name: keyspace.name.to_string(),
            fingerprint: fingerprint.map_err(|error| {
                let message = format!("the codecs of keyspace {:?} make no sense", keyspace.name);
                Error::new(ErrorKind::Corrupt, message).with_source(error)
            })?,
        })
    }
}

impl Engine {
    /// A handle to the keyspace `name`, which is made if it is not there: durable before this returns, whole or absent after
    /// a crash. Clones and batches of the handle go there; batches may go to several ([`Batch::select`]). Blocks.
    ///
    /// Keyspaces share the log, the order of writes and everything else, but no key. The store's own keyspace, that of
    /// [`Engine::open`], has no name.
    ///
    /// ```
    /// # use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
    /// # use kv_trait::Fingerprint;
    /// # fn main() -> kv_trait::Result<()> {
    /// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
    /// let sessions = store.keyspace("sessions", &Fingerprint::raw())?;
    /// let mut batch = store.batch();
    /// batch.put(b"visits", b"1")?;
    /// batch.select(&sessions).put(b"visits", b"somebody")?;
    /// store.write(batch)?; // both or neither
    /// assert_eq!(store.get(b"visits")?.as_deref(), Some(&b"1"[..]));
    /// assert_eq!(sessions.get(b"visits")?.as_deref(), Some(&b"somebody"[..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `UnsupportedFormat`: it is there with other codecs or types, which the message names. `InvalidInput`: a name has 1 to
    /// 255 bytes, and a store at most 1024 keyspaces. As for a write, where it is made.
    pub fn keyspace(&self, name: &str, fingerprint: &Fingerprint) -> Result<Self> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let message = format!(
                "a keyspace is called something of 1 to {NAME_BYTES_MAX} bytes, not of {}",
                name.len()
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.handle().queue.refuse_if_leading()?;
        // Each round that ends without one is one in which somebody else has made one: there is a bound to those.
        loop {
            let view = self.view()?;
            let keyspaces = &view.tables().keyspaces;
            if let Some(known) = keyspaces.find(name) {
                let known = KeyspaceInfo::of(known)?;
                known.fingerprint.check(fingerprint).map_err(|error| {
                    let message = format!("keyspace {name:?}: {}", error.message());
                    Error::new(error.kind(), message)
                })?;
                return Ok(self.with_keyspace(known.id, known.fingerprint));
            }
            let id = keyspaces.next_id();
            drop(view);
            let mut batch = Batch::new();
            batch.create_keyspace(id, name, &fingerprint.to_text())?;
            match self.ticket(batch)?.wait()? {
                Answer::Committed(_) => {
                    self.handle().background.after_write();
                    return Ok(self.with_keyspace(id, fingerprint.clone()));
                }
                Answer::LookAgain(_) => {}
            }
        }
    }

    /// Drops the keyspace `name`, with all that is in it: whether there was one. One record, however much it is; what it took
    /// is given back by and by. Handles of it answer `NotFound` from then on, scans and snapshots that were begun before go on.
    /// A keyspace that is made with this name later is another one. Blocks.
    ///
    /// ```
    /// # use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
    /// # use kv_trait::{Effect, ErrorKind, Fingerprint};
    /// # fn main() -> kv_trait::Result<()> {
    /// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
    /// let old = store.keyspace("sessions", &Fingerprint::raw())?;
    /// old.put(b"visits", b"somebody")?;
    /// assert!(store.drop_keyspace("sessions")?);
    /// let refused = old.put(b"visits", b"somebody else").unwrap_err();
    /// assert_eq!((refused.kind(), refused.effect()), (ErrorKind::NotFound, Effect::Nothing));
    /// let new = store.keyspace("sessions", &Fingerprint::raw())?;
    /// assert_eq!(new.get(b"visits")?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for a write. `StorageFull` also where more is erased than merges have come to.
    pub fn drop_keyspace(&self, name: &str) -> Result<bool> {
        self.handle().queue.refuse_if_leading()?;
        let id = {
            let view = self.view()?;
            let known = view.tables().keyspaces.find(name);
            known.map(|known| known.id)
        };
        let Some(id) = id else {
            return Ok(false);
        };
        let mut batch = Batch::new();
        batch.select_id(id);
        batch.drop_keyspace()?;
        match self.write(batch) {
            Ok(_) => Ok(true),
            // Somebody else was first.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes all keys of this handle's keyspace: one record, however many there are. Blocks.
    ///
    /// # Errors
    /// As for [`Engine::delete_range`].
    pub fn clear(&self) -> Result<()> {
        self.delete_range(..)
    }

    /// Removes all keys in a range, whole or not at all: one record, however many there are ([`Batch::delete_range`]). What
    /// they took is given back by and by. Blocks.
    ///
    /// # Errors
    /// As for a write; `TooLarge`: a bound is longer than a key may be. `StorageFull` also where more ranges were erased than
    /// merges have come to, some hundreds: with effect *nothing*.
    pub fn delete_range(&self, range: impl RangeBounds<[u8]>) -> Result<()> {
        let mut batch = self.batch();
        batch.delete_range(range)?;
        self.write(batch).map(drop)
    }

    /// The keyspaces that have a name, in the order in which they were made.
    ///
    /// # Errors
    /// `Closed`.
    pub fn keyspaces(&self) -> Result<Vec<KeyspaceInfo>> {
        let view = self.view()?;
        let named = view.tables().keyspaces.named().iter();
        named.map(KeyspaceInfo::of).collect()
    }
}
