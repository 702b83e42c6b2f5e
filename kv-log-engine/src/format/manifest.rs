//! The manifest: which segments make up the store. FORMAT.md, "Manifest".
//!
//! Its content stands twice in the file, each copy with a check of its own, so that one damaged sector does not
//! cost the store.

use super::cursor::Cursor;
use super::{Defect, FORMAT_VERSION, Salt, StoreId};
use crate::format::ids::{SegmentId, Seqno};

const MAGIC: &[u8; 8] = b"KVLOGMAN";
const CHECK_KEY: Salt = Salt(*b"kvlog manifest 0");
const ENVELOPE_BYTES: usize = 32;
const COPY_ALIGN: usize = 512;
/// The longest content of one copy.
pub(crate) const MANIFEST_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The segments of a store: a manifest that names them all can be read.
pub(crate) const SEGMENTS_MAX: usize = 128 * 1024;
const SEGMENT_ENTRY_BYTES: usize = 88;
/// All but the segments: what is of fixed length, and the longest fingerprint.
const REST_BYTES_MAX: usize = 128 + u16::MAX as usize;
const _: () = assert!(
    SEGMENTS_MAX * SEGMENT_ENTRY_BYTES + REST_BYTES_MAX <= MANIFEST_BODY_BYTES_MAX,
    "a store with as many segments as it may have can be opened"
);
/// The longest manifest file.
pub(crate) const MANIFEST_FILE_BYTES_MAX: u64 =
    2 * (MANIFEST_BODY_BYTES_MAX + ENVELOPE_BYTES + 8 + COPY_ALIGN) as u64;
/// Features without which this manifest cannot be understood. Version 0 has none.
const MUST_UNDERSTAND: u64 = 0;

/// A keyspace, and the text that says which codecs its keys and values were written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyspaceEntry {
    pub(crate) id: u16,
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

/// The content of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) store_id: StoreId,
    /// Changes when a store is restored or salvaged.
    pub(crate) incarnation: StoreId,
    pub(crate) created_unix_ms: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) next_seqno: Seqno,
    pub(crate) next_segment_id: SegmentId,
    pub(crate) keyspaces: Vec<KeyspaceEntry>,
    /// Ascending by id; exactly one is active.
    pub(crate) segments: Vec<SegmentEntry>,
}

/// A manifest read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DecodedManifest {
    pub(crate) manifest: Manifest,
    /// Why one of the two copies could not be used.
    pub(crate) damaged_copy: Option<(u64, Defect)>,
}

impl Manifest {
    /// The bytes of the whole file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = self.encode_copy();
        copy.resize(copy.len().next_multiple_of(COPY_ALIGN), 0);
        let mut file = copy.clone();
        file.extend_from_slice(&copy);
        file
    }

    fn encode_copy(&self) -> Vec<u8> {
        let body = self.encode_body();
        let mut copy = Vec::with_capacity(ENVELOPE_BYTES + body.len() + 8);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        copy.extend_from_slice(&count(body.len()));
        copy.extend_from_slice(&MUST_UNDERSTAND.to_le_bytes());
        copy.extend_from_slice(&0_u64.to_le_bytes()); // features that a reader may ignore
        copy.extend_from_slice(&body);
        let check = CHECK_KEY.check(&[&copy]);
        copy.extend_from_slice(&check.to_le_bytes());
        copy
    }

    fn encode_body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.store_id.0);
        body.extend_from_slice(&self.incarnation.0);
        body.extend_from_slice(&self.created_unix_ms.to_le_bytes());
        body.extend_from_slice(&self.segment_bytes.to_le_bytes());
        body.extend_from_slice(&self.next_seqno.get().to_le_bytes());
        body.extend_from_slice(&self.next_segment_id.get().to_le_bytes());
        body.extend_from_slice(&count(self.keyspaces.len()));
        for keyspace in &self.keyspaces {
            keyspace.encode(&mut body);
        }
        body.extend_from_slice(&count(self.segments.len()));
        for segment in &self.segments {
            segment.encode(&mut body);
        }
        body.extend_from_slice(&0_u32.to_le_bytes()); // extensions: none yet
        body
    }

    /// Reads either copy of a manifest file.
    ///
    /// # Errors
    /// What is wrong with the first copy, if neither can be used; that the two differ, if both can.
    pub(crate) fn decode(file: &[u8]) -> Result<DecodedManifest, Defect> {
        let half = file.len() / 2;
        let (first, second) = file.split_at(half);
        let first_copy = Self::decode_copy(first, file.len());
        let second_copy = Self::decode_copy(second, file.len());
        match (first_copy, second_copy) {
            (Ok(manifest), Ok(other)) if manifest == other => Ok(DecodedManifest {
                manifest,
                damaged_copy: None,
            }),
            (Ok(_), Ok(_)) => Err(Defect::Field {
                what: "manifest: the two copies differ, second copy",
                found: half as u64,
            }),
            (Ok(manifest), Err(defect)) => Ok(DecodedManifest {
                manifest,
                damaged_copy: Some((half as u64, defect)),
            }),
            (Err(unsupported @ Defect::Unsupported { .. }), _)
            | (_, Err(unsupported @ Defect::Unsupported { .. })) => Err(unsupported),
            (Err(defect), Ok(manifest)) => Ok(DecodedManifest {
                manifest,
                damaged_copy: Some((0, defect)),
            }),
            (Err(defect), Err(_)) => Err(defect),
        }
    }

    /// The envelope keeps its shape in every version, so that a later one is named and not taken for damage.
    fn decode_copy(copy: &[u8], file_bytes: usize) -> Result<Self, Defect> {
        if !file_bytes.is_multiple_of(2 * COPY_ALIGN) {
            return Err(Defect::Field {
                what: "manifest file length",
                found: file_bytes as u64,
            });
        }
        let mut cursor = Cursor::new(copy);
        if cursor.take(MAGIC.len())? != MAGIC {
            return Err(Defect::Magic);
        }
        let version = cursor.u32()?;
        let body_bytes = cursor.u32()? as usize;
        if body_bytes > MANIFEST_BODY_BYTES_MAX {
            return Err(Defect::Field {
                what: "manifest length",
                found: body_bytes as u64,
            });
        }
        let must_understand = cursor.u64()?;
        let _may_ignore = cursor.u64()?;
        let body = cursor.take(body_bytes)?;
        let check = cursor.u64()?;
        let padding = cursor.take(cursor.remaining())?;
        let covered = copy
            .get(..ENVELOPE_BYTES + body_bytes)
            .ok_or(Defect::Magic)?;
        let expected = CHECK_KEY.check(&[covered]);
        if check != expected {
            return Err(Defect::Check {
                what: "manifest",
                expected,
                found: check,
            });
        }
        if version != FORMAT_VERSION {
            return Err(Defect::Unsupported {
                what: "format version",
                found: version.into(),
            });
        }
        if must_understand & !MUST_UNDERSTAND != 0 {
            return Err(Defect::Unsupported {
                what: "manifest features",
                found: must_understand,
            });
        }
        if padding.len() >= COPY_ALIGN || padding.iter().any(|byte| *byte != 0) {
            return Err(Defect::Field {
                what: "manifest padding",
                found: padding.len() as u64,
            });
        }
        Self::decode_body(body)
    }

    fn decode_body(body: &[u8]) -> Result<Self, Defect> {
        let mut cursor = Cursor::new(body);
        let mut manifest = Self {
            store_id: StoreId(cursor.array()?),
            incarnation: StoreId(cursor.array()?),
            created_unix_ms: cursor.u64()?,
            segment_bytes: cursor.u64()?,
            next_seqno: Seqno::new(cursor.u64()?),
            next_segment_id: SegmentId::new(cursor.u64()?),
            keyspaces: Vec::new(),
            segments: Vec::new(),
        };
        // Nothing is reserved for a count: each element must first be found in the body.
        for _ in 0..cursor.u32()? {
            manifest.keyspaces.push(KeyspaceEntry::decode(&mut cursor)?);
        }
        for _ in 0..cursor.u32()? {
            manifest.segments.push(SegmentEntry::decode(&mut cursor)?);
        }
        for _ in 0..cursor.u32()? {
            let _tag = cursor.u32()?;
            let bytes = cursor.u32()?;
            cursor.take(bytes as usize)?;
        }
        if cursor.remaining() != 0 {
            return Err(Defect::Field {
                what: "bytes behind the manifest's content",
                found: cursor.remaining() as u64,
            });
        }
        manifest.check_segments()?;
        Ok(manifest)
    }

    fn check_segments(&self) -> Result<(), Defect> {
        let ascending = self.segments.windows(2).all(|pair| pair[0].id < pair[1].id);
        let below_next = self
            .segments
            .iter()
            .all(|segment| segment.id < self.next_segment_id);
        let active = self
            .segments
            .iter()
            .filter(|s| s.state == SegmentState::Active)
            .count();
        if !ascending || !below_next || active != 1 {
            return Err(Defect::Field {
                what: "manifest's list of segments",
                found: self.segments.len() as u64,
            });
        }
        Ok(())
    }
}

impl KeyspaceEntry {
    fn encode(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.id.to_le_bytes());
        body.extend_from_slice(&0_u16.to_le_bytes()); // flags
        let length = u16::try_from(self.fingerprint.len()).expect("fingerprints are bounded");
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(self.fingerprint.as_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        let id = cursor.u16()?;
        let flags = cursor.u16()?;
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
        body.extend_from_slice(&0_u32.to_le_bytes());
        body.extend_from_slice(&self.base_seqno.get().to_le_bytes());
        body.extend_from_slice(&self.end.to_le_bytes());
        body.extend_from_slice(&self.chain.to_le_bytes());
        body.extend_from_slice(&self.min_seqno.get().to_le_bytes());
        body.extend_from_slice(&self.max_seqno.get().to_le_bytes());
        body.extend_from_slice(&[0; 16]); // room for a key filter: its offset and length
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
        let entry = Self {
            id,
            salt,
            state,
            base_seqno: Seqno::new(cursor.u64()?),
            end: cursor.u64()?,
            chain: cursor.u64()?,
            min_seqno: Seqno::new(cursor.u64()?),
            max_seqno: Seqno::new(cursor.u64()?),
        };
        let filter = cursor.u64()? | cursor.u64()?;
        if flags != 0 || filter != 0 {
            return Err(Defect::Unsupported {
                what: "segment flags",
                found: u64::from(flags),
            });
        }
        Ok(entry)
    }
}

fn count(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("a manifest is far below 4 GiB")
        .to_le_bytes()
}
