//! A sorted run: an immutable file of entries in the order of their keys. FORMAT.md, "Run".
//!
//! Each structure is a file of its own: [`piece`] is the envelope that everything has, [`table`] the sorted list that
//! blocks, fences and the top level are, [`block`], [`fence`] and [`filter`] what is in them, [`footer`] what a run says
//! of itself. A table is checked whole when it is parsed, so that what is read from it later is in order and complete.

pub(crate) mod block;
pub(crate) mod fence;
pub(crate) mod filter;
pub(crate) mod footer;
pub(crate) mod header;
pub(crate) mod piece;
pub(crate) mod table;

#[cfg(test)]
pub(crate) mod tests;

use crate::format::ids::SegmentId;
use kv_trait::KEY_BYTES_MAX;
use std::fmt;

/// Bytes in front of a key: its keyspace.
const KEYSPACE_BYTES: usize = 4;
/// The longest full key.
pub(crate) const FULL_KEY_BYTES_MAX: usize = KEYSPACE_BYTES + KEY_BYTES_MAX;

/// Names a run within a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunId(u64);

impl RunId {
    pub(crate) const fn new(id: u64) -> Self {
        Self(id)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

/// Files of all kinds have one number space.
impl From<SegmentId> for RunId {
    fn from(file: SegmentId) -> Self {
        Self(file.get())
    }
}

impl From<RunId> for SegmentId {
    fn from(run: RunId) -> Self {
        Self::new(run.0)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

/// A key as runs order them: the keyspace first, then the key.
pub(crate) fn full_key(keyspace: u32, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(KEYSPACE_BYTES + key.len());
    write_full_key(&mut full, keyspace, key);
    full
}

/// The same in place of what `full` held.
pub(crate) fn write_full_key(full: &mut Vec<u8>, keyspace: u32, key: &[u8]) {
    full.clear();
    #[expect(
        clippy::big_endian_bytes,
        reason = "bytes must compare as the numbers do"
    )]
    full.extend_from_slice(&keyspace.to_be_bytes());
    full.extend_from_slice(key);
}

/// The keyspace and the key of a full key; `None` if it is too short to be one.
pub(crate) fn split_key(full: &[u8]) -> Option<(u32, &[u8])> {
    let (keyspace, key) = full.split_first_chunk::<KEYSPACE_BYTES>()?;
    #[expect(
        clippy::big_endian_bytes,
        reason = "bytes must compare as the numbers do"
    )]
    Some((u32::from_be_bytes(*keyspace), key))
}

/// The smallest key above `key`.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// Above every key: no keyspace has the last number, because no shorter bytes are above all keys of that one.
pub(crate) const KEYS_END: [u8; KEYSPACE_BYTES] = [0xff; KEYSPACE_BYTES];

/// A range of keys for people: escaped, and cut where it is long.
pub(crate) fn name_range(from: &[u8], to: &[u8]) -> String {
    format!("[{}, {})", name_key(from), name_key(to))
}

/// A full key, or a separator, for people.
pub(crate) fn name_key(full: &[u8]) -> String {
    const SHOWN_MAX: usize = 48;
    if full.is_empty() || *full == KEYS_END {
        return if full.is_empty() { "start" } else { "end" }.to_owned();
    }
    let Some((keyspace, key)) = split_key(full) else {
        return format!("keyspace prefix \"{}\"", full.escape_ascii());
    };
    let shown = key.get(..SHOWN_MAX).unwrap_or(key);
    let cut = if shown.len() < key.len() { "..." } else { "" };
    match keyspace {
        0 => format!("\"{}\"{cut}", shown.escape_ascii()),
        other => format!("{other}:\"{}\"{cut}", shown.escape_ascii()),
    }
}

pub(in crate::format) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

const fn low_bits(value: u64) -> u8 {
    (value & 0x7f) as u8
}
