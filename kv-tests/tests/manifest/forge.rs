//! Manifests and segments as FORMAT.md describes them, taken apart and put together again with checks that hold.

use super::COPIES;
use kv_log_engine::storage::sim::SimDisk;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

pub(crate) const COUNTERS: u16 = 3;
pub(crate) const SEGMENT_ITEM: u16 = 5;
pub(crate) const RUN_ITEM: u16 = 7;

pub(crate) fn siphash(key: &[u8], parts: &[&[u8]]) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(key.try_into().unwrap());
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish().to_le_bytes()
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) body: Vec<u8>,
}

impl Item {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.kind.to_le_bytes());
        bytes.extend_from_slice(&self.class.to_le_bytes());
        bytes.extend_from_slice(&(self.body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    /// An image's.
    pub(crate) features: Option<[u64; 3]>,
    pub(crate) items: Vec<Item>,
}

/// A manifest's file, entry by entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest(pub(crate) Vec<Entry>);

impl Manifest {
    /// The first copy of a store.
    pub(crate) fn of(disk: &SimDisk) -> Self {
        let file = disk.read_file(COPIES[0]).unwrap();
        let mut entries = Vec::new();
        let mut at = 0;
        while file[at..].starts_with(b"KVLOGMAN") {
            let mut content = &file[at + 40..at + 40 + u32_at(&file, at + 12) as usize];
            let next = (at + 48 + content.len()).next_multiple_of(8);
            let features = (u32_at(&file, at + 24) == 0).then(|| {
                let words = [0, 8, 16].map(|word| u64_at(content, word));
                content = &content[24..];
                words
            });
            let mut items = Vec::new();
            while !content.is_empty() {
                let end = 8 + u32_at(content, 4) as usize;
                items.push(Item {
                    kind: u16_at(content, 0),
                    class: u16_at(content, 2),
                    body: content[8..end].to_vec(),
                });
                content = &content[end..];
            }
            let number = u64_at(&file, at + 16);
            entries.push(Entry {
                number,
                features,
                items,
            });
            at = next;
        }
        Self(entries)
    }

    /// The number of the last edit.
    pub(crate) fn last(&self) -> u64 {
        self.0.last().unwrap().number
    }

    /// The items of one kind that count in the end: for segments the last of each id.
    pub(crate) fn item(&mut self, kind: u16, id: Option<u64>) -> &mut Vec<u8> {
        let entries = self.0.iter_mut().rev();
        let mut items = entries.flat_map(|entry| entry.items.iter_mut().rev());
        let found =
            items.find(|item| item.kind == kind && id.is_none_or(|id| u64_at(&item.body, 0) == id));
        &mut found.unwrap().body
    }

    pub(crate) fn next_file_id(&mut self) -> u64 {
        u64_at(self.item(COUNTERS, None), 8)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut chain = [0; 8];
        for entry in &self.0 {
            let mut content = Vec::new();
            for word in entry.features.into_iter().flatten() {
                content.extend_from_slice(&word.to_le_bytes());
            }
            for item in &entry.items {
                content.extend_from_slice(&item.bytes());
            }
            let at = file.len();
            file.extend_from_slice(b"KVLOGMAN\0\0\0\0");
            file.extend_from_slice(&(content.len() as u32).to_le_bytes());
            file.extend_from_slice(&entry.number.to_le_bytes());
            file.extend_from_slice(&u32::from(entry.features.is_none()).to_le_bytes());
            file.extend_from_slice(&[0; 4]);
            file.extend_from_slice(if at == 0 { &[0; 8] } else { &chain });
            file.extend_from_slice(&content);
            chain = siphash(
                b"kvlog manifest 0",
                &[&(at as u64).to_le_bytes(), &file[at..]],
            );
            file.extend_from_slice(&chain);
            file.resize(file.len().next_multiple_of(8), 0);
        }
        file.resize((file.len() + 1).next_multiple_of(4096), 0);
        file
    }

    /// Replaces both copies.
    pub(crate) fn write(&self, disk: &SimDisk) {
        let bytes = self.bytes();
        for copy in COPIES {
            disk.write_file(copy, &bytes).unwrap();
        }
    }
}

pub(crate) fn put_u64(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// Where the frames of a segment begin, and where the last one ends.
pub(crate) fn frames(file: &[u8]) -> (Vec<usize>, usize) {
    let mut starts = Vec::new();
    let mut at = 104;
    while file
        .get(at..at + 80)
        .is_some_and(|h| h.starts_with(b"KVRF"))
    {
        starts.push(at);
        at += (80 + u32_at(file, at + 8) as usize).next_multiple_of(8);
    }
    (starts, at)
}

/// Computes everything in a segment that follows from the rest: the sums of the records, and digest, chain and check of each
/// frame. Returns the check of the last one.
pub(crate) fn seal(file: &mut [u8]) -> u64 {
    let salt = file[48..64].to_vec();
    let mut chain = siphash(&salt, &[&file[..96]]);
    file[96..104].copy_from_slice(&chain);
    for at in frames(file).0 {
        let body = u32_at(file, at + 8) as usize;
        let digest = if file[at + 4] == 1 {
            let sums = seal_records(file, at, &salt);
            siphash(&salt, &[&sums])
        } else {
            siphash(&salt, &[&file[at + 80..at + 80 + body]])
        };
        file[at + 40..at + 48].copy_from_slice(&chain);
        file[at + 48..at + 56].copy_from_slice(&digest);
        chain = siphash(&salt, &[&(at as u64).to_le_bytes(), &file[at..at + 72]]);
        file[at + 72..at + 80].copy_from_slice(&chain);
    }
    u64::from_le_bytes(chain)
}

/// The records of a batch get the seqnos that its header gives them.
fn seal_records(file: &mut [u8], frame: usize, salt: &[u8]) -> Vec<u8> {
    let mut sums = Vec::new();
    let mut at = frame + 80;
    let first = u64_at(file, frame + 16);
    for number in 0..u64::from(u32_at(file, frame + 12)) {
        let end = at + 28 + (u32_at(file, at + 12) + u32_at(file, at + 16)) as usize;
        put_u64(file, at + 20, first + number);
        let mut sum = crc32c::crc32c(&file[at + 4..at + 20]);
        let place = (at as u64).to_le_bytes();
        let seqno = (first + number).to_le_bytes();
        for part in [&file[at + 28..end], salt, &place, &seqno] {
            sum = crc32c::crc32c_append(sum, part);
        }
        file[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        sums.extend_from_slice(&sum.to_le_bytes());
        at = end;
    }
    sums
}
