//! One entry of a manifest's file: an image of the whole state, or an edit, a change of it. FORMAT.md, "Manifest".
//!
//! Every entry has a number, counted for the store's whole life, and a check that covers its place in the file, its
//! number, the check of the entry before it, and its content. So an entry counts only where and when it was written.

use super::cursor::Cursor;
use super::{Defect, FORMAT_VERSION, Salt, hold_check, know_version};
use crate::format::ids::EditNumber;

/// What every entry begins with, in all versions.
pub(crate) const ENTRY_MAGIC: &[u8; 8] = b"KVLOGMAN";
/// Bytes before an entry's content.
pub(crate) const ENTRY_HEADER_BYTES: usize = 40;
/// Entries begin at multiples of this.
pub(crate) const ENTRY_ALIGN: u64 = 8;
/// The longest content of one entry.
pub(crate) const ENTRY_CONTENT_BYTES_MAX: usize = 16 * 1024 * 1024;
const CHECK_BYTES: usize = 8;
const CHECK_KEY: Salt = Salt(*b"kvlog manifest 0");

const _: () = assert!((ENTRY_HEADER_BYTES as u64).is_multiple_of(ENTRY_ALIGN));

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// The whole state: the first entry of a file, and no other.
    Image,
    /// A change of it.
    Edit,
}

/// An entry whose check holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) number: EditNumber,
    /// The check of the entry before it; 0 for an image.
    pub(crate) chain: u64,
    pub(crate) content: &'a [u8],
    pub(crate) check: u64,
}

/// Header, content, check and padding of an entry with that much content.
pub(crate) const fn entry_bytes(content_bytes: usize) -> u64 {
    ((ENTRY_HEADER_BYTES + content_bytes + CHECK_BYTES) as u64).next_multiple_of(ENTRY_ALIGN)
}

/// The bytes of an entry that stands at `offset`, and its check.
///
/// The caller has bounded the content by [`ENTRY_CONTENT_BYTES_MAX`].
pub(crate) fn encode(
    kind: EntryKind,
    number: EditNumber,
    chain: u64,
    content: &[u8],
    offset: u64,
) -> (Vec<u8>, u64) {
    let kind: u32 = match kind {
        EntryKind::Image => 0,
        EntryKind::Edit => 1,
    };
    let length = u32::try_from(content.len()).expect("the content of an entry is bounded");
    let whole = usize::try_from(entry_bytes(content.len())).expect("an entry fits memory");
    let mut bytes = Vec::with_capacity(whole);
    bytes.extend_from_slice(ENTRY_MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&number.get().to_le_bytes());
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes()); // flags
    bytes.extend_from_slice(&chain.to_le_bytes());
    bytes.extend_from_slice(content);
    let check = CHECK_KEY.check(&[&offset.to_le_bytes(), &bytes]);
    bytes.extend_from_slice(&check.to_le_bytes());
    bytes.resize(whole, 0);
    (bytes, check)
}

/// How long the entry is that `header` begins, if it begins one.
///
/// # Errors
/// It does not, or its length is beyond the limit.
pub(crate) fn length(header: &[u8]) -> Result<u64, Defect> {
    let mut cursor = Cursor::new(header);
    if cursor.take(ENTRY_MAGIC.len())? != ENTRY_MAGIC {
        return Err(Defect::Magic);
    }
    let _version = cursor.u32()?;
    let content_bytes = cursor.u32()? as usize;
    if content_bytes > ENTRY_CONTENT_BYTES_MAX {
        return Err(Defect::Field {
            what: "manifest length",
            found: content_bytes as u64,
        });
    }
    Ok(entry_bytes(content_bytes))
}

/// The entry that fills `bytes`, which were read at `offset`.
///
/// # Errors
/// The check does not hold. `Unsupported`: it does, and a later version wrote the entry.
pub(crate) fn decode(bytes: &[u8], offset: u64) -> Result<Entry<'_>, Defect> {
    let whole = length(bytes)?;
    let mut cursor = Cursor::new(bytes);
    cursor.take(ENTRY_MAGIC.len())?;
    let version = cursor.u32()?;
    let content_bytes = cursor.u32()? as usize;
    let number = EditNumber::new(cursor.u64()?);
    let kind = cursor.u32()?;
    let flags = cursor.u32()?;
    let chain = cursor.u64()?;
    let content = cursor.take(content_bytes)?;
    let covered = bytes.len() - cursor.remaining();
    let check = cursor.u64()?;
    let padding = cursor.take(cursor.remaining())?;
    let covered = bytes.get(..covered).unwrap_or_default();
    let expected = CHECK_KEY.check(&[&offset.to_le_bytes(), covered]);
    hold_check("manifest", expected, check)?;
    know_version(version)?;
    let kind = match kind {
        0 => EntryKind::Image,
        1 => EntryKind::Edit,
        other => {
            return Err(Defect::Unsupported {
                what: "kind of a manifest's entry",
                found: other.into(),
            });
        }
    };
    if flags != 0 {
        return Err(Defect::Unsupported {
            what: "manifest flags",
            found: flags.into(),
        });
    }
    if bytes.len() as u64 != whole || padding.iter().any(|byte| *byte != 0) {
        return Err(Defect::Field {
            what: "manifest padding",
            found: padding.len() as u64,
        });
    }
    Ok(Entry {
        kind,
        number,
        chain,
        content,
        check,
    })
}
