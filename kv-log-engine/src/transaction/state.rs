//! What all handles of a transaction share: its writes, what it has read, and whether it is over.

use super::reads::Reads;
use crate::batch::{Batch, Looked};
use crate::engine::Engine;
use crate::format::frame::FRAME_BODY_BYTES_MAX;
use crate::format::ids::Seqno;
use crate::format::run::split_key;
use crate::index::Known;
use crate::sync::lock_std as lock;
use kv_trait::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What a record takes beside key and value, at most.
const RECORD_BYTES: u64 = 64;

/// What a transaction has done to a key.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// `None`: removed.
    pub(super) value: Option<Arc<[u8]>>,
    pub(super) expiry_ms: Option<u64>,
}

impl Written {
    /// The value at a reading of the store's clock.
    pub(super) fn value(&self, now_ms: u64) -> Option<&[u8]> {
        let is_over = self.expiry_ms.is_some_and(|expiry_ms| expiry_ms <= now_ms);
        self.value.as_deref().filter(|_| !is_over)
    }
}

/// By full key.
pub(super) type Writes = BTreeMap<Arc<[u8]>, Written>;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Engine,
    /// What the snapshot shows.
    pub(super) at: Seqno,
    /// Held for steps in memory; nothing is called under it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A scan that is open keeps the writes from before it: they are copied by the next write, and not moved under it.
    writes: Arc<Writes>,
    write_bytes: u64,
    reads: Reads,
    ended: bool,
}

impl Shared {
    pub(super) fn new(engine: Engine, at: Seqno) -> Arc<Self> {
        Arc::new(Self {
            engine,
            at,
            state: Mutex::default(),
        })
    }

    fn with<T>(&self, step: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = lock(&self.state);
        if state.ended {
            let message = "the transaction has ended; begin another one";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        step(&mut state)
    }

    /// What was written to a full key.
    pub(super) fn written(&self, key: &[u8]) -> Result<Option<Written>> {
        self.with(|state| Ok(state.writes.get(key).cloned()))
    }

    /// All that was written so far.
    pub(super) fn writes(&self) -> Result<Arc<Writes>> {
        self.with(|state| Ok(Arc::clone(&state.writes)))
    }

    pub(super) fn read_key(&self, key: &[u8], version: Option<Seqno>) -> Result<()> {
        self.with(|state| state.reads.key(key, version))
    }

    pub(super) fn read_range(&self, from: &[u8], to: &[u8]) -> Result<()> {
        self.with(|state| state.reads.range(from, to))
    }

    pub(super) fn write(&self, key: Vec<u8>, written: Written) -> Result<()> {
        let bytes_of = |key: &[u8], written: &Written| {
            let value_bytes = written.value.as_ref().map_or(0, |value| value.len());
            (key.len() + value_bytes) as u64 + RECORD_BYTES
        };
        self.with(|state| {
            let replaced = state.writes.get(&*key);
            let replaced = replaced.map_or(0, |replaced| bytes_of(&key, replaced));
            let write_bytes = state.write_bytes - replaced + bytes_of(&key, &written);
            if write_bytes > FRAME_BODY_BYTES_MAX as u64 {
                let message =
                    format!("a transaction writes at most {FRAME_BODY_BYTES_MAX} bytes at once");
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
            state.write_bytes = write_bytes;
            Arc::make_mut(&mut state.writes).insert(key.into(), written);
            Ok(())
        })
    }

    /// Ends it. What is to be written, if what was read holds; `None`: nothing.
    pub(super) fn end(&self) -> Result<Option<Batch>> {
        let State { writes, reads, .. } = self.with(|state| {
            let over = State {
                ended: true,
                ..State::default()
            };
            Ok(std::mem::replace(state, over))
        })?;
        if writes.is_empty() {
            // It is as it was at S: nothing is to be judged.
            return Ok(None);
        }
        let mut batch = Batch::new();
        let mut versions = Vec::new();
        for (key, version) in reads.keys() {
            let written = writes.contains_key(key);
            if [planted!(WriteSkewAllowed), planted!(LostUpdateAllowed)][usize::from(written)] {
                continue;
            }
            expect(&mut batch, key, version)?;
            // By the clock of its start: what expires later was there when it was read.
            let known = version.map(|seqno| Known {
                seqno,
                expiry_ms: None,
            });
            versions.push(known);
        }
        for (from, to) in reads.ranges() {
            batch.expect_between(from.to_vec(), to.to_vec(), self.at)?;
        }
        batch.looked = batch.is_conditional().then_some(Looked {
            at: self.at,
            versions,
        });
        for (key, written) in &*writes {
            let (keyspace, key) = split_key(key).unwrap_or_default();
            batch.select_id(keyspace);
            match (&written.value, written.expiry_ms) {
                (None, _) => batch.delete(key)?,
                (Some(value), None) => batch.put(key, value)?,
                (Some(value), Some(expiry_ms)) => batch.put_until(key, value, expiry_ms)?,
            }
        }
        Ok(Some(batch))
    }
}

fn expect(batch: &mut Batch, key: &[u8], version: Option<Seqno>) -> Result<()> {
    let (keyspace, key) = split_key(key).unwrap_or_default();
    batch.select_id(keyspace);
    batch.expect(key, version)
}
