//! The state that a manifest describes: which files make up the store, and what else must be known of it. FORMAT.md,
//! "Manifest".
//!
//! An image and an edit are the same thing, a list of *items*: an image's items lead from nothing to the state, an edit's
//! from the state before it to the one after it. Both are applied by the same code, here, by the writer as by the reader.

use super::cursor::Cursor;
use super::edit::ENTRY_CONTENT_BYTES_MAX;
use super::{Class, Defect, Salt, StoreId};
use crate::format::ids::{EditNumber, SegmentId, Seqno};

/// The segments of a store: an image that names them all can be read.
pub(crate) const SEGMENTS_MAX: usize = 128 * 1024;
const ITEM_HEADER_BYTES: usize = 8;
const SEGMENT_ITEM_BYTES: usize = ITEM_HEADER_BYTES + 72;
/// All but the segments: what is of fixed length, and the longest fingerprint.
const REST_BYTES_MAX: usize = 256 + u16::MAX as usize;
const _: () = assert!(
    SEGMENTS_MAX * SEGMENT_ITEM_BYTES + REST_BYTES_MAX <= ENTRY_CONTENT_BYTES_MAX,
    "a store with as many segments as it may have can be opened"
);

const ITEM_STORE: u16 = 1;
const ITEM_SETTINGS: u16 = 2;
const ITEM_COUNTERS: u16 = 3;
const ITEM_KEYSPACE: u16 = 4;
const ITEM_SEGMENT: u16 = 5;

/// A keyspace, and the text that says which codecs its keys and values were written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyspaceEntry {
    pub(crate) id: u32,
    pub(crate) fingerprint: String,
}

/// Where a segment stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// Never written again: `end` is its length.
    Sealed,
    /// Takes frames: `end` is the floor, an offset known to be durable.
    Active,
}

/// One live segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) id: SegmentId,
    pub(crate) salt: Salt,
    pub(crate) state: SegmentState,
    pub(crate) base_seqno: Seqno,
    /// Length of a sealed segment, floor of the active one; always the end of a frame.
    pub(crate) end: u64,
    /// The check of the frame that ends there (of the segment's header, if none does).
    pub(crate) chain: u64,
    /// The lowest and highest seqno of a sealed segment's records.
    pub(crate) min_seqno: Seqno,
    pub(crate) max_seqno: Seqno,
}

/// Bits for what a store uses beyond this version, in the three classes. Version 0 has none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Whoever does not know one of these must not read the store.
    pub(crate) incompatible: u64,
    /// Whoever does not know one of these must not write to it.
    pub(crate) read_only: u64,
    /// Whoever does not know one of these carries it on.
    pub(crate) compatible: u64,
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The entry that this is the state after.
    pub(crate) edit: EditNumber,
    pub(crate) features: Features,
    pub(crate) store_id: StoreId,
    /// Changes when a store is restored or salvaged; carried by each of its files.
    pub(crate) incarnation: StoreId,
    pub(crate) created_unix_ms: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) next_seqno: Seqno,
    /// Above every id whose file may have got a byte.
    pub(crate) next_file_id: SegmentId,
    pub(crate) keyspaces: Vec<KeyspaceEntry>,
    /// Ascending by id; exactly one is active.
    pub(crate) segments: Vec<SegmentEntry>,
    /// Items of the class *compatible* that this version does not know, byte for byte and in order.
    pub(crate) carried: Vec<u8>,
    /// An item that is unknown and of the class *read-only*: its kind.
    pub(crate) unknown_item: Option<u16>,
}

impl Manifest {
    /// A store that was just made: no keyspace, no segment.
    pub(crate) const fn new(
        store_id: StoreId,
        incarnation: StoreId,
        created_unix_ms: u64,
        segment_bytes: u64,
    ) -> Self {
        Self {
            edit: EditNumber::ZERO,
            features: Features {
                incompatible: 0,
                read_only: 0,
                compatible: 0,
            },
            store_id,
            incarnation,
            created_unix_ms,
            segment_bytes,
            next_seqno: Seqno::ZERO,
            next_file_id: SegmentId::FIRST,
            keyspaces: Vec::new(),
            segments: Vec::new(),
            carried: Vec::new(),
            unknown_item: None,
        }
    }

    /// The content of an image.
    pub(crate) fn image(&self) -> Vec<u8> {
        let mut items = Edit::default();
        let features = self.features;
        for word in [
            features.incompatible,
            features.read_only,
            features.compatible,
        ] {
            items.0.extend_from_slice(&word.to_le_bytes());
        }
        items.item(ITEM_STORE, |item| {
            item.extend_from_slice(&self.store_id.0);
            item.extend_from_slice(&self.incarnation.0);
            item.extend_from_slice(&self.created_unix_ms.to_le_bytes());
        });
        items.settings(self.segment_bytes);
        items.counters(self.next_seqno, self.next_file_id);
        for keyspace in &self.keyspaces {
            items.keyspace(keyspace);
        }
        for segment in &self.segments {
            items.segment(segment);
        }
        items.0.extend_from_slice(&self.carried);
        items.0
    }

    /// Reads the content of the image with that number.
    ///
    /// # Errors
    /// What the format forbids, or what a later version wrote.
    pub(crate) fn from_image(number: EditNumber, content: &[u8]) -> Result<Self, Defect> {
        let mut cursor = Cursor::new(content);
        let features = Features {
            incompatible: cursor.u64()?,
            read_only: cursor.u64()?,
            compatible: cursor.u64()?,
        };
        if features.incompatible != 0 {
            return Err(Defect::Unsupported {
                what: "manifest features",
                found: features.incompatible,
            });
        }
        let zero = StoreId([0; 16]);
        let mut manifest = Self::new(zero, zero, 0, 0);
        manifest.features = features;
        let items = cursor.take(cursor.remaining())?;
        manifest.apply(number, items)?;
        Ok(manifest)
    }

    /// Applies the items of an entry.
    ///
    /// # Errors
    /// What the format forbids, or what a later version wrote: the state is half changed then.
    pub(crate) fn apply(&mut self, number: EditNumber, items: &[u8]) -> Result<(), Defect> {
        let mut rest = items;
        while !rest.is_empty() {
            let mut cursor = Cursor::new(rest);
            let kind = cursor.u16()?;
            let class = cursor.u16()?;
            let length = cursor.u32()? as usize;
            let body = cursor.take(length)?;
            let (item, behind) = rest
                .split_at_checked(ITEM_HEADER_BYTES + length)
                .ok_or(Defect::Magic)?;
            self.apply_item(kind, class, body, item)?;
            rest = behind;
        }
        self.edit = number;
        Ok(())
    }

    fn apply_item(
        &mut self,
        kind: u16,
        class: u16,
        body: &[u8],
        item: &[u8],
    ) -> Result<(), Defect> {
        let mut cursor = Cursor::new(body);
        match kind {
            ITEM_STORE => {
                self.store_id = StoreId(cursor.array()?);
                self.incarnation = StoreId(cursor.array()?);
                self.created_unix_ms = cursor.u64()?;
            }
            ITEM_SETTINGS => self.segment_bytes = cursor.u64()?,
            ITEM_COUNTERS => {
                self.next_seqno = Seqno::new(cursor.u64()?);
                self.next_file_id = SegmentId::new(cursor.u64()?);
            }
            ITEM_KEYSPACE => {
                let keyspace = KeyspaceEntry::decode(&mut cursor)?;
                match self.keyspaces.iter_mut().find(|k| k.id == keyspace.id) {
                    Some(known) => *known = keyspace,
                    None => self.keyspaces.push(keyspace),
                }
            }
            ITEM_SEGMENT => {
                let segment = SegmentEntry::decode(&mut cursor)?;
                match self.segments.binary_search_by_key(&segment.id, |s| s.id) {
                    Ok(at) => {
                        if let Some(known) = self.segments.get_mut(at) {
                            *known = segment;
                        }
                    }
                    Err(at) if self.segments.len() < SEGMENTS_MAX => {
                        self.segments.insert(at, segment);
                    }
                    Err(_) => {
                        return Err(Defect::Field {
                            what: "number of segments",
                            found: self.segments.len() as u64,
                        });
                    }
                }
            }
            unknown => {
                match Class::of(class) {
                    Class::Compatible => self.carried.extend_from_slice(item),
                    Class::ReadOnly => self.unknown_item = Some(unknown),
                    Class::Incompatible => {
                        return Err(Defect::Unsupported {
                            what: "item of the manifest",
                            found: unknown.into(),
                        });
                    }
                }
                return Ok(());
            }
        }
        if cursor.remaining() != 0 {
            return Err(Defect::Unsupported {
                what: "length of the manifest's item",
                found: body.len() as u64,
            });
        }
        Ok(())
    }

    /// Why this version must not write to the store, although it may read it.
    pub(crate) fn must_not_write(&self) -> Option<Defect> {
        let feature = (self.features.read_only != 0).then_some(Defect::Unsupported {
            what: "feature that only a later version may write with:",
            found: self.features.read_only,
        });
        feature.or_else(|| {
            self.unknown_item.map(|kind| Defect::Unsupported {
                what: "item of the manifest that only a later version may write with:",
                found: kind.into(),
            })
        })
    }

    /// Whether the state makes sense as a whole.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn check(&self) -> Result<(), Defect> {
        let ascending = self.segments.windows(2).all(|pair| pair[0].id < pair[1].id);
        let below_next = self
            .segments
            .iter()
            .all(|segment| segment.id < self.next_file_id);
        let active = self
            .segments
            .iter()
            .filter(|s| s.state == SegmentState::Active)
            .count();
        if self.next_file_id >= SegmentId::END {
            return Err(Defect::Field {
                what: "next file id",
                found: self.next_file_id.get(),
            });
        }
        if !ascending || !below_next || active != 1 {
            return Err(Defect::Field {
                what: "manifest's list of segments",
                found: self.segments.len() as u64,
            });
        }
        Ok(())
    }

    /// The segment that takes frames.
    pub(crate) fn active(&self) -> Option<&SegmentEntry> {
        // The newest, where no later version says otherwise: looked for from behind.
        let mut newest_first = self.segments.iter().rev();
        newest_first.find(|segment| segment.state == SegmentState::Active)
    }
}

/// A change of the manifest: items, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit(Vec<u8>);

impl Edit {
    /// The items.
    pub(crate) fn content(&self) -> &[u8] {
        &self.0
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

impl KeyspaceEntry {
    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        let id = cursor.u32()?;
        let flags = cursor.u32()?;
        let fingerprint = cursor.text("fingerprint")?;
        if flags != 0 || id != super::record::KEYSPACE_DEFAULT {
            return Err(Defect::Unsupported {
                what: "keyspace",
                found: id.into(),
            });
        }
        Ok(Self { id, fingerprint })
    }
}

impl SegmentEntry {
    fn encode(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.id.get().to_le_bytes());
        body.extend_from_slice(&self.salt.0);
        let state: u32 = match self.state {
            SegmentState::Sealed => 0,
            SegmentState::Active => 1,
        };
        body.extend_from_slice(&state.to_le_bytes());
        body.extend_from_slice(&0_u32.to_le_bytes()); // flags
        body.extend_from_slice(&self.base_seqno.get().to_le_bytes());
        body.extend_from_slice(&self.end.to_le_bytes());
        body.extend_from_slice(&self.chain.to_le_bytes());
        body.extend_from_slice(&self.min_seqno.get().to_le_bytes());
        body.extend_from_slice(&self.max_seqno.get().to_le_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        let id = SegmentId::new(cursor.u64()?);
        let salt = Salt(cursor.array()?);
        let state = match cursor.u32()? {
            0 => SegmentState::Sealed,
            1 => SegmentState::Active,
            other => {
                return Err(Defect::Unsupported {
                    what: "segment state",
                    found: other.into(),
                });
            }
        };
        let flags = cursor.u32()?;
        if flags != 0 {
            return Err(Defect::Unsupported {
                what: "segment flags",
                found: flags.into(),
            });
        }
        Ok(Self {
            id,
            salt,
            state,
            base_seqno: Seqno::new(cursor.u64()?),
            end: cursor.u64()?,
            chain: cursor.u64()?,
            min_seqno: Seqno::new(cursor.u64()?),
            max_seqno: Seqno::new(cursor.u64()?),
        })
    }
}
