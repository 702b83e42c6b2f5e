//! Items of the manifest, encoded one after the other. FORMAT.md, "Manifest".

use super::run::{Checkpoint, Cut, PassEntry, RunEntry, encode_passes};
use super::segment::{KeyspaceEntry, SegmentEntry};
use crate::format::StoreId;
use crate::format::erasures::Erasures;
use crate::format::ids::{SegmentId, Seqno};
use crate::format::keyspaces::Keyspaces;
use crate::format::run::RunId;

/// Bytes before an item's body.
pub(super) const ITEM_HEADER_BYTES: usize = 8;
pub(super) const ITEM_STORE: u16 = 1;
pub(super) const ITEM_SETTINGS: u16 = 2;
pub(super) const ITEM_COUNTERS: u16 = 3;
pub(super) const ITEM_KEYSPACE: u16 = 4;
pub(super) const ITEM_SEGMENT: u16 = 5;
pub(super) const ITEM_GONE: u16 = 6;
pub(super) const ITEM_RUN: u16 = 7;
pub(super) const ITEM_CUT: u16 = 8;
pub(super) const ITEM_CHECKPOINT: u16 = 9;
pub(super) const ITEM_KEYSPACES: u16 = 10;
pub(super) const ITEM_PASSES: u16 = 11;
pub(super) const ITEM_ERASURES: u16 = 12;
pub(super) const ITEM_CLOCK: u16 = 13;

/// A change of the manifest: items, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit(Vec<u8>);

impl Edit {
    /// The items.
    pub(crate) fn content(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_content(self) -> Vec<u8> {
        self.0
    }

    /// A word that stands in front of the items of an image.
    pub(super) fn word(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }

    /// Items that were carried here from where they were read.
    pub(super) fn carried(&mut self, items: &[u8]) {
        self.0.extend_from_slice(items);
    }

    pub(super) fn store(&mut self, store_id: StoreId, incarnation: StoreId, created_unix_ms: u64) {
        self.item(ITEM_STORE, |item| {
            item.extend_from_slice(&store_id.0);
            item.extend_from_slice(&incarnation.0);
            item.extend_from_slice(&created_unix_ms.to_le_bytes());
        });
    }

    /// The length that new segments get.
    pub(crate) fn settings(&mut self, segment_bytes: u64) {
        self.item(ITEM_SETTINGS, |item| {
            item.extend_from_slice(&segment_bytes.to_le_bytes());
        });
    }

    /// Bounds of what was used: seqnos that are durable, ids that may have files.
    pub(crate) fn counters(&mut self, next_seqno: Seqno, next_file_id: SegmentId) {
        self.item(ITEM_COUNTERS, |item| {
            item.extend_from_slice(&next_seqno.get().to_le_bytes());
            item.extend_from_slice(&next_file_id.get().to_le_bytes());
        });
    }

    /// A keyspace as it is from now on.
    pub(crate) fn keyspace(&mut self, keyspace: &KeyspaceEntry) {
        self.item(ITEM_KEYSPACE, |item| {
            item.extend_from_slice(&keyspace.id.to_le_bytes());
            item.extend_from_slice(&0_u32.to_le_bytes()); // flags
            let text = keyspace.fingerprint.as_bytes();
            let length = u16::try_from(text.len()).expect("fingerprints are bounded");
            item.extend_from_slice(&length.to_le_bytes());
            item.extend_from_slice(text);
        });
    }

    /// A segment as it is from now on.
    pub(crate) fn segment(&mut self, segment: &SegmentEntry) {
        self.item(ITEM_SEGMENT, |item| segment.encode(item));
    }

    /// A run as it is from now on.
    pub(crate) fn run(&mut self, run: &RunEntry) {
        self.item(ITEM_RUN, |item| run.encode(item));
    }

    /// What is live in a run begins at `from` from now on: a unit has taken the entries before it, `taken` in all.
    pub(crate) fn cut(&mut self, run: RunId, from: &[u8], taken: u64) {
        self.item(ITEM_CUT, |item| Cut::encode(item, run, from, taken));
    }

    /// Runs and segments that are part of the store no more.
    pub(crate) fn gone(&mut self, ids: &[u64]) {
        self.item(ITEM_GONE, |item| {
            for id in ids {
                item.extend_from_slice(&id.to_le_bytes());
            }
        });
    }

    /// How far runs cover the log from now on. The counters that go with it are above its seqno.
    pub(crate) fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.item(ITEM_CHECKPOINT, |item| checkpoint.encode(item));
    }

    /// The keyspaces that have a name, as of the checkpoint.
    pub(crate) fn keyspaces(&mut self, keyspaces: &Keyspaces) {
        self.item(ITEM_KEYSPACES, |item| keyspaces.encode(item));
    }

    /// What is erased as of the checkpoint, as far as something may be left under it.
    pub(crate) fn erasures(&mut self, erasures: &Erasures) {
        self.item(ITEM_ERASURES, |item| erasures.encode(item));
    }

    /// The merges that are under way from now on.
    pub(crate) fn passes(&mut self, passes: &[PassEntry]) {
        self.item(ITEM_PASSES, |item| encode_passes(item, passes));
    }

    /// What expires goes by readings of a clock that are not below this one from now on.
    pub(crate) fn clock(&mut self, now_ms: u64) {
        self.item(ITEM_CLOCK, |item| {
            item.extend_from_slice(&now_ms.to_le_bytes());
        });
    }

    /// Whoever does not know one of the kinds of version 0 cannot make sense of a store: all of them are incompatible.
    fn item(&mut self, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(&kind.to_le_bytes());
        self.0.extend_from_slice(&0_u16.to_le_bytes());
        let length_at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        let start = self.0.len();
        body(&mut self.0);
        let length = u32::try_from(self.0.len() - start).expect("an item is short");
        if let Some(field) = self.0.get_mut(length_at..start) {
            field.copy_from_slice(&length.to_le_bytes());
        }
    }
}
