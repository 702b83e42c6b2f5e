//! The envelope of everything in a run: a checksum bound to run and offset, a kind, a codec. FORMAT.md, "Piece".

use crate::format::cursor::Cursor;
use crate::format::{Defect, Salt};
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into};
use std::borrow::Cow;

/// Bytes before the stored bytes of a piece.
pub(crate) const PIECE_HEAD_BYTES: usize = 16;
/// The longest content.
pub(crate) const CONTENT_BYTES_MAX: usize = 1 << 30;
/// LZ4 cannot make more of a byte: what claims to is a lie, and is told before memory is taken for it.
const EXPANSION_MAX: usize = 255;
const CRC_BYTES: usize = 4;
const CODEC_NONE: u8 = 0;
const CODEC_LZ4: u8 = 1;

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceKind {
    Block,
    Fence,
    Filter,
    Footer,
}

impl PieceKind {
    const fn code(self) -> u8 {
        match self {
            Self::Block => 1,
            Self::Fence => 2,
            Self::Filter => 3,
            Self::Footer => 4,
        }
    }

    /// For messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Fence => "fence",
            Self::Filter => "filter",
            Self::Footer => "footer",
        }
    }
}

/// Makes pieces; keeps what the compressor needs between two.
pub(crate) struct Sealer {
    compress: bool,
    table: CompressTable,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("compress", &self.compress)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    pub(crate) fn new(compress: bool) -> Self {
        Self {
            compress,
            table: CompressTable::small(),
            scratch: Vec::new(),
        }
    }

    /// Appends `content` as a piece that will stand at `offset`; returns its length.
    ///
    /// It is compressed if that takes off an eighth at least: below, a read pays for nothing. The content is at most
    /// [`CONTENT_BYTES_MAX`] long.
    pub(crate) fn seal(
        &mut self,
        out: &mut Vec<u8>,
        kind: PieceKind,
        content: &[u8],
        salt: &Salt,
        offset: u64,
    ) -> u64 {
        debug_assert!(content.len() <= CONTENT_BYTES_MAX);
        let compressed = if self.compress {
            self.compress(content)
        } else {
            None
        };
        let (codec, length) = match compressed {
            Some(length) => (CODEC_LZ4, length),
            None => (CODEC_NONE, content.len()),
        };
        let stored = match compressed {
            Some(length) => &self.scratch[..length],
            None => content,
        };
        let start = out.len();
        out.extend_from_slice(&[0; CRC_BYTES]);
        out.extend_from_slice(&[kind.code(), codec, 0, 0]);
        out.extend_from_slice(&length_field(length));
        out.extend_from_slice(&length_field(content.len()));
        out.extend_from_slice(stored);
        let crc = place_crc(&out[start + CRC_BYTES..], salt, offset);
        out[start..start + CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        (out.len() - start) as u64
    }

    fn compress(&mut self, content: &[u8]) -> Option<usize> {
        let room = lz4_flex::block::get_maximum_output_size(content.len());
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        let length = compress_into_with_table(content, &mut self.scratch, &mut self.table).ok()?;
        (length <= content.len() / 8 * 7).then_some(length)
    }
}

fn length_field(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("contents are bounded far below 32 bits")
        .to_le_bytes()
}

/// CRC32C of bytes in a run, bound to the run and their place in it.
pub(super) fn place_crc(bytes: &[u8], salt: &Salt, offset: u64) -> u32 {
    let mut place = [0; 24];
    place[..16].copy_from_slice(&salt.0);
    place[16..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(bytes), &place)
}

/// The content of the piece that fills `bytes` exactly, stands at `offset` and is of this kind.
///
/// The checksum is compared before anything else is believed.
pub(crate) fn open<'a>(
    bytes: &'a [u8],
    kind: PieceKind,
    salt: &Salt,
    offset: u64,
) -> Result<Cow<'a, [u8]>, Defect> {
    let mut cursor = Cursor::new(bytes);
    let found = cursor.u32()?;
    let (code, codec, reserved) = (cursor.u8()?, cursor.u8()?, cursor.u16()?);
    let (stored_bytes, content_bytes) = (cursor.u32()?, cursor.u32()?);
    let stored = cursor.take(cursor.remaining())?;
    let expected = place_crc(bytes.get(CRC_BYTES..).unwrap_or_default(), salt, offset);
    if found != expected {
        return Err(Defect::Check {
            what: kind.name(),
            expected: expected.into(),
            found: found.into(),
        });
    }
    if code != kind.code() {
        return Err(Defect::Field {
            what: "kind of piece",
            found: code.into(),
        });
    }
    if reserved != 0 {
        return Err(Defect::Unsupported {
            what: "piece flags",
            found: reserved.into(),
        });
    }
    let wrong = |what, found: u32| Defect::Field {
        what,
        found: found.into(),
    };
    if usize::try_from(stored_bytes) != Ok(stored.len()) {
        return Err(wrong("length of a piece", stored_bytes));
    }
    let content_bytes = usize::try_from(content_bytes)
        .ok()
        .filter(|length| *length <= CONTENT_BYTES_MAX)
        .ok_or_else(|| wrong("length of a content", content_bytes))?;
    match codec {
        CODEC_NONE if content_bytes == stored.len() => Ok(Cow::Borrowed(stored)),
        CODEC_LZ4 if content_bytes <= stored.len().saturating_mul(EXPANSION_MAX) => {
            let mut content = vec![0; content_bytes];
            match decompress_into(stored, &mut content) {
                Ok(length) if length == content_bytes => Ok(Cow::Owned(content)),
                Ok(length) => Err(Defect::Truncated {
                    needed: content_bytes as u64,
                    found: length as u64,
                }),
                Err(_says_less_than_this) => Err(Defect::Field {
                    what: "compressed bytes",
                    found: stored.len() as u64,
                }),
            }
        }
        CODEC_NONE | CODEC_LZ4 => Err(Defect::Field {
            what: "length of a content",
            found: content_bytes as u64,
        }),
        other => Err(Defect::Unsupported {
            what: "codec",
            found: other.into(),
        }),
    }
}
