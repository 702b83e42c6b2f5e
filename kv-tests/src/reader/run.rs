//! Sorted runs: read whole, and compared with what they say of themselves and with what the manifest says of them.

use super::SEGMENT_HEADER;
use super::file::{Fields, File, Read, crc, siphash};
use super::log::header;
use super::manifest::{Facts, Manifest, NamedRun, expiring};
use std::collections::BTreeMap;
use std::path::PathBuf;

const HEAD: usize = 16;
const GAP: usize = 4096;
const TRAILER: usize = 32;
const KEY_MAX: usize = 65_540;
const CONTENT_MAX: usize = 1 << 30;

/// What a run has for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Here(Vec<u8>),
    Tombstone,
    /// Segment, offset and length of a record.
    Separated(u64, usize, usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunEntry {
    pub(super) key: Vec<u8>,
    pub(super) seqno: u64,
    pub(super) expiry: Option<u64>,
    pub(super) held: Held,
}

/// A range of keys that was lost, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) from: Vec<u8>,
    pub(super) to: Vec<u8>,
    pub(super) cause: String,
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) entries: Vec<RunEntry>,
    pub(super) holes: Vec<Hole>,
}

/// Where a piece is: offset and length.
type Place = (usize, usize);

struct Reader<'f> {
    file: &'f File,
    salt: &'f [u8; 16],
}

impl Reader<'_> {
    /// The content of a piece, as a file of its own.
    fn piece(&self, name: &str, kind: u8, (at, length): Place) -> Read<File> {
        let file = self.file;
        let stored = match length.checked_sub(HEAD) {
            Some(stored) => file.range(at + HEAD, stored)?,
            None => return file.wrong(at, "too short for a piece"),
        };
        let sum = crc(&[
            file.range(at + 4, 12)?,
            stored,
            self.salt,
            &(at as u64).to_le_bytes(),
        ]);
        if sum != file.u32(at)? || file.size(at + 8)? != stored.len() {
            return file.wrong(at, "a piece that does not verify");
        }
        let content = file.size(at + 12)?;
        if file.bytes[at + 4] != kind || file.u16(at + 6)? != 0 {
            return file.wrong(at, "a piece of another kind");
        }
        if content > CONTENT_MAX || content > stored.len().saturating_mul(255) {
            return file.wrong(at, "a piece that cannot be so long");
        }
        let bytes = match file.bytes[at + 5] {
            0 => Some(stored.to_vec()),
            1 => unpack(stored, content),
            _ => return file.wrong(at, "a codec of a later version"),
        };
        match bytes.filter(|bytes| bytes.len() == content) {
            Some(bytes) => Ok(File {
                path: PathBuf::from(format!("{} ({name} at {at})", file.path.display())),
                bytes,
            }),
            None => file.wrong(at, "stored bytes that do not give the content"),
        }
    }

    fn zeros(&self, at: usize) -> Read<()> {
        if self.file.range(at, GAP)?.iter().any(|byte| *byte != 0) {
            return self.file.wrong(at, "no zeros between two copies");
        }
        Ok(())
    }

    /// Both trailers: where the footers are, and how long.
    fn trailers(&self) -> Read<(Place, Place, usize)> {
        let file = self.file;
        let Some(first) = file.bytes.len().checked_sub(2 * TRAILER + GAP) else {
            return file.wrong(0, "too short for a run");
        };
        let second = first + TRAILER + GAP;
        for at in [first, second] {
            let sum = crc(&[file.range(at, 28)?, self.salt, &(at as u64).to_le_bytes()]);
            if file.range(at, 8)? != b"KVLOGEND" || sum != file.u32(at + 28)? {
                return file.wrong(at, "a trailer that does not verify");
            }
        }
        if file.range(first, 28)? != file.range(second, 28)? {
            return file.wrong(second, "trailers that differ");
        }
        self.zeros(first + TRAILER)?;
        let length = file.size(first + 24)?;
        let footers = [file.long(first + 8)?, file.long(first + 16)?];
        Ok(((footers[0], length), (footers[1], length), first))
    }
}

/// LZ4's block format, from its public description: tokens, literals, matches.
fn unpack(stored: &[u8], content: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = stored.iter().copied();
    let long = |short: u8, rest: &mut dyn Iterator<Item = u8>| -> Option<usize> {
        let mut length = usize::from(short);
        let mut last = if short == 15 { 255 } else { 0 };
        while last == 255 {
            last = rest.next()?;
            length += usize::from(last);
        }
        Some(length)
    };
    loop {
        let token = rest.next()?;
        let literals = long(token >> 4, &mut rest)?;
        let before = bytes.len();
        bytes.extend(rest.by_ref().take(literals));
        if bytes.len() != before + literals || bytes.len() > content {
            return None;
        }
        let Some(low) = rest.next() else {
            // The last sequence is literals only.
            return (token & 15 == 0).then_some(bytes);
        };
        let back = usize::from(u16::from_le_bytes([low, rest.next()?]));
        let length = long(token & 15, &mut rest)? + 4;
        let start = bytes.len().checked_sub(back).filter(|_| back > 0)?;
        if bytes.len() + length > content {
            return None;
        }
        for at in start..start + length {
            bytes.push(bytes[at]);
        }
    }
}

/// The entries of a table: each key, and what `payload` makes of what stands behind it.
fn table<P>(
    file: &File,
    mut payload: impl FnMut(&mut Fields<'_>, &[u8]) -> Read<P>,
) -> Read<Vec<(Vec<u8>, P)>> {
    let Some(count_at) = file.bytes.len().checked_sub(4) else {
        return file.wrong(0, "too short for a table");
    };
    let count = file.size(count_at)?;
    let Some(end) = count_at.checked_sub(count.div_ceil(16).saturating_mul(4)) else {
        return file.wrong(count_at, "more entries than the table has room for");
    };
    let mut fields = Fields { file, at: 0, end };
    let mut entries: Vec<(Vec<u8>, P)> = Vec::new();
    for number in 0..count {
        let begins = number % 16 == 0;
        if begins && file.size(end + number / 16 * 4)? != fields.at {
            return fields.wrong("an entry that is not where the table says");
        }
        let (shared, further) = (fields.varsize()?, fields.varsize()?);
        let last = entries.last().map_or(&[][..], |(key, _)| key);
        let Some(prefix) = last.get(..shared).filter(|_| !begins || shared == 0) else {
            return fields.wrong("a key that shares what is not there");
        };
        let key = [prefix, fields.take(further)?].concat();
        if key.len() > KEY_MAX || number > 0 && *key <= *last {
            return fields.wrong("a key that is too long or out of order");
        }
        let payload = payload(&mut fields, &key)?;
        entries.push((key, payload));
    }
    if !fields.is_empty() {
        return fields.wrong("bytes behind the last entry");
    }
    Ok(entries)
}

fn place(fields: &mut Fields<'_>) -> Read<Place> {
    Ok((fields.varsize()?, fields.varsize()?))
}

fn entry(fields: &mut Fields<'_>, key: &[u8]) -> Read<RunEntry> {
    let what = fields.u8()?;
    let seqno = fields.varint()?;
    let expiry = match what >> 4 {
        0 => None,
        1 => Some(fields.u64()?),
        _ => return fields.wrong("flags of a later version"),
    };
    let held = match what & 15 {
        1 => {
            let length = fields.varsize()?;
            Held::Here(fields.take(length)?.to_vec())
        }
        2 => Held::Tombstone,
        3 => Held::Separated(fields.varint()?, fields.varsize()?, fields.varsize()?),
        _ => return fields.wrong("an entry of a later version"),
    };
    if key.len() < 4 {
        return fields.wrong("a key without a keyspace");
    }
    Ok(RunEntry {
        key: key.to_vec(),
        seqno,
        expiry,
        held,
    })
}

struct Footer {
    facts: Facts,
    content: u64,
    smallest: Vec<u8>,
    largest: Vec<u8>,
    holes: Vec<Hole>,
    /// Separator, number of entries, fence and filter of each part.
    parts: Vec<(Vec<u8>, (u64, Place, Place))>,
}

fn footer(file: &File, manifest: &Manifest, named: &NamedRun) -> Read<Footer> {
    let mut fields = Fields::all(file);
    let whose = (fields.array()?, fields.array()?, fields.u64()?);
    if whose != (manifest.store_id, named.salt, named.id) {
        return file.wrong(0, "the footer of another run");
    }
    let flags = fields.u64()?;
    if flags > 1 {
        return file.wrong(40, "a run of a later version");
    }
    let (entries, tombstones) = (fields.u64()?, fields.u64()?);
    let (lowest, highest) = (fields.u64()?, fields.u64()?);
    let expiry = expiring(&mut fields, flags == 1)?;
    let content = fields.u64()?;
    let (smallest, largest) = (fields.bytes(KEY_MAX + 1)?, fields.bytes(KEY_MAX + 1)?);
    let mut referred = BTreeMap::new();
    for _ in 0..fields.u32()? {
        let id = fields.u64()?;
        if referred
            .last_key_value()
            .is_some_and(|(last, _)| *last >= id)
        {
            return fields.wrong("segments out of order");
        }
        referred.insert(id, (fields.u64()?, fields.u64()?));
    }
    let mut holes: Vec<Hole> = Vec::new();
    for _ in 0..fields.u32()? {
        let (from, to) = (fields.bytes(KEY_MAX + 1)?, fields.bytes(KEY_MAX + 1)?);
        let cause = String::from_utf8_lossy(&fields.bytes(usize::MAX)?).into_owned();
        if from >= to || holes.last().is_some_and(|last| last.to > from) {
            return fields.wrong("holes out of order");
        }
        holes.push(Hole { from, to, cause });
    }
    let length = fields.size()?;
    let top = File {
        path: PathBuf::from(format!("{} (top level)", file.path.display())),
        bytes: fields.take(length)?.to_vec(),
    };
    if !fields.is_empty() {
        return fields.wrong("bytes behind the top level");
    }
    let parts = table(&top, |fields, _| {
        Ok((fields.varint()?, place(fields)?, place(fields)?))
    })?;
    Ok(Footer {
        facts: Facts {
            entries,
            tombstones,
            lowest,
            highest,
            expiry,
            referred,
        },
        content,
        smallest,
        largest,
        holes,
        parts,
    })
}

/// Whether a filter admits a key.
fn admits(filter: &File, store_id: &[u8; 16], key: &[u8]) -> Read<bool> {
    let (probes, words) = (filter.u32(0)?, filter.size(4)?);
    let fits = words > 0 && words.checked_mul(8).map(|bytes| bytes + 8) == Some(filter.bytes.len());
    if !(1..=32).contains(&probes) || !fits {
        return filter.wrong(0, "a filter that makes no sense");
    }
    let bits = words as u64 * 64;
    let hash = siphash(store_id, &[key]);
    let (mut x, mut y) = ((hash & 0xffff_ffff) % bits, (hash >> 32) % bits);
    for i in 1..=u64::from(probes) {
        let word = usize::try_from(x / 64).unwrap_or(usize::MAX);
        if filter.u64(8 + word * 8)? >> (x % 64) & 1 == 0 {
            return Ok(false);
        }
        (x, y) = ((x + y) % bits, (y + i) % bits);
    }
    Ok(true)
}

/// Reads a run whole: no byte of it may be without a meaning, and all that is said of it must be so.
pub(super) fn read_run(file: &File, manifest: &Manifest, named: &NamedRun) -> Read<Run> {
    header(file, manifest, 2, (named.id, &named.salt, 0))?;
    if file.bytes.len() != named.length {
        return file.wrong(file.bytes.len(), "another length than the manifest's");
    }
    let reader = Reader {
        file,
        salt: &named.salt,
    };
    let (first, second, trailer) = reader.trailers()?;
    let end = first.0.saturating_add(first.1);
    if end.saturating_add(GAP) != second.0 || second.0.saturating_add(second.1) != trailer {
        return file.wrong(trailer, "footers that are not where they belong");
    }
    reader.zeros(end)?;
    let content = reader.piece("footer", 4, first)?;
    if content.bytes != reader.piece("footer", 4, second)?.bytes {
        return file.wrong(second.0, "footers that differ");
    }
    let footer = footer(&content, manifest, named)?;
    if footer.facts != named.facts {
        return file.wrong(first.0, "other numbers than the manifest's");
    }
    let mut entries: Vec<RunEntry> = Vec::new();
    let mut at = SEGMENT_HEADER;
    for (separator, (count, fence_at, filter_at)) in &footer.parts {
        let before = entries.len();
        let fence = reader.piece("fence", 2, *fence_at)?;
        let blocks = table(&fence, |fields, _| place(fields))?;
        for (block_separator, block_at) in &blocks {
            let block = reader.piece("block", 1, *block_at)?;
            if block_at.0 != at {
                return file.wrong(at, "bytes before a block");
            }
            at += block_at.1;
            let last = entries.last().map(|entry| entry.key.clone());
            let found = table(&block, entry)?;
            let starts = found.first().is_some_and(|(key, _)| block_separator <= key);
            let above = |last: &Vec<u8>| last < block_separator && last < separator;
            let above = if entries.len() == before {
                last.as_ref().is_none_or(above)
            } else {
                last.as_ref().is_none_or(|last| last < block_separator)
            };
            let part_starts = found.first().is_some_and(|(key, _)| separator <= key);
            if !starts || !above || !part_starts {
                return file.wrong(block_at.0, "keys that its separator does not lead to");
            }
            entries.extend(found.into_iter().map(|(_, entry)| entry));
        }
        let filter = reader.piece("filter", 3, *filter_at)?;
        if fence_at.0 != at || filter_at.0 != at + fence_at.1 {
            return file.wrong(at, "bytes between the pieces of a part");
        }
        at = filter_at.0 + filter_at.1;
        let part = &entries[before..];
        if part.is_empty() || part.len() as u64 != *count {
            return file.wrong(fence_at.0, "a part with another number of entries");
        }
        for entry in part {
            if !admits(&filter, &manifest.store_id, &entry.key)? {
                return file.wrong(filter_at.0, "a filter that denies a key of its part");
            }
        }
    }
    if at != first.0 {
        return file.wrong(at, "bytes before the footer");
    }
    check_sums(file, &footer, &entries)?;
    Ok(Run {
        entries,
        holes: footer.holes,
    })
}

/// What a footer says of entries and holes, against them.
fn check_sums(file: &File, footer: &Footer, entries: &[RunEntry]) -> Read<()> {
    let moments = entries.iter().filter_map(|entry| entry.expiry);
    let (earliest, latest) = (moments.clone().min(), moments.clone().max());
    let mut facts = Facts {
        entries: entries.len() as u64,
        tombstones: 0,
        lowest: entries.iter().map(|entry| entry.seqno).min().unwrap_or(0),
        highest: entries.iter().map(|entry| entry.seqno).max().unwrap_or(0),
        expiry: earliest
            .zip(latest)
            .map(|(earliest, latest)| (earliest, latest, moments.count() as u64)),
        referred: BTreeMap::new(),
    };
    let mut content = 0;
    for entry in entries {
        content += entry.key.len() as u64;
        match &entry.held {
            Held::Here(value) => content += value.len() as u64,
            Held::Tombstone => facts.tombstones += 1,
            Held::Separated(segment, _, length) => {
                let (records, bytes) = facts.referred.entry(*segment).or_default();
                *records += 1;
                *bytes += *length as u64;
            }
        }
    }
    if facts != footer.facts || content != footer.content {
        return file.wrong(0, "a footer that counts wrong");
    }
    let mut keys = entries.iter().map(|entry| &entry.key);
    let inside = |key: &Vec<u8>| footer.smallest <= *key && *key <= footer.largest;
    let mut bounds = footer.holes.iter().flat_map(|hole| [&hole.from, &hole.to]);
    if !keys.all(inside) || !bounds.all(inside) {
        return file.wrong(0, "a key outside of what the footer says");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_format_of_lz4_is_unpacked_as_it_is_described() {
        let unpacked = |stored: &[u8], length| unpack(stored, length);
        assert_eq!(unpacked(b"\x50hello", 5).unwrap(), b"hello");
        assert_eq!(unpacked(b"\x00", 0).unwrap(), b"");
        // A match that overlaps itself, then literals.
        let stored = b"\x13a\x01\x00\x50bbbbb";
        assert_eq!(unpacked(stored, 13).unwrap(), b"aaaaaaaabbbbb");
        // Lengths that go on in further bytes: 270 literals, then a match of 20 bytes from one byte before.
        let mut stored = vec![0xff, 255, 0];
        stored.extend_from_slice(&[b'x'; 270]);
        stored.extend_from_slice(&[1, 0, 1, 0x10, b'y']);
        let long = [vec![b'x'; 290], vec![b'y']].concat();
        assert_eq!(unpacked(&stored, 291).unwrap(), long);
        for (stored, what) in [
            (&b"\x50hell"[..], "literals are missing"),
            (b"\x13a\x00\x00\x50bbbbb", "a match of nothing"),
            (
                b"\x13a\x02\x00\x50bbbbb",
                "a match from before the beginning",
            ),
            (b"\x13a\x01\x00", "nothing behind a match"),
            (b"\x13a\x01", "half an offset"),
            (b"\x51hello", "a match without an offset"),
            (b"", "nothing"),
        ] {
            assert_eq!(unpacked(stored, 100), None, "{what}");
        }
        assert_eq!(unpacked(b"\x13a\x01\x00\x50bbbbb", 5), None, "too long");
    }
}
