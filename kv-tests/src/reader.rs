//! A second reader of kvlog's files, made from `docs/FORMAT.md` alone: it shares no code with the engine, so that a test
//! which reads through it does not believe the store about the store. It reads, it repairs nothing.
//!
//! Written for clarity, not for large stores: files are read whole.
#![expect(
    clippy::disallowed_methods,
    reason = "the point is to read the files without the engine's storage seam"
)]

use siphasher::sip::SipHasher24;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

const MANIFEST_KEY: &[u8; 16] = b"kvlog manifest 0";
const SEGMENT_HEADER: usize = 80;
const FRAME_HEADER: usize = 64;
const RECORD_HEADER: usize = 24;

/// Why a store cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, what } = self;
        write!(f, "{} at offset {offset}: {what}", path.display())
    }
}

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileContents {
    /// Every key that is not deleted, with its value as it was encoded.
    pub live: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The fingerprint text of the store.
    pub fingerprint: String,
    /// Records read, overwritten ones and tombstones included.
    pub records: u64,
    /// Segments named by the manifest.
    pub segments: u64,
    /// Where the accepted frames of the active segment end.
    pub end: u64,
    /// Bytes behind it up to the last that is not zero: never acknowledged.
    pub torn_bytes: u64,
}

type Read<T> = Result<T, Unreadable>;

struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    fn open(path: PathBuf) -> Read<Self> {
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(error) => Err(Unreadable {
                path,
                offset: 0,
                what: error.to_string(),
            }),
        }
    }

    fn wrong<T>(&self, offset: usize, what: &str) -> Read<T> {
        Err(Unreadable {
            path: self.path.clone(),
            offset: offset as u64,
            what: what.to_owned(),
        })
    }

    fn array<const N: usize>(&self, at: usize) -> Read<[u8; N]> {
        let bytes = at.checked_add(N).and_then(|end| self.bytes.get(at..end));
        match bytes.and_then(|bytes| bytes.try_into().ok()) {
            Some(array) => Ok(array),
            None => self.wrong(at, "the file ends here"),
        }
    }

    fn u16(&self, at: usize) -> Read<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Read<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Read<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn size(&self, at: usize) -> Read<usize> {
        self.u32(at).map(|size| size as usize)
    }

    fn range(&self, start: usize, length: usize) -> Read<&[u8]> {
        let end = start.checked_add(length);
        match end.and_then(|end| self.bytes.get(start..end)) {
            Some(bytes) => Ok(bytes),
            None => self.wrong(start, "the file ends here"),
        }
    }
}

fn siphash(key: &[u8; 16], parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

/// A segment as the manifest names it.
struct Named {
    id: u64,
    salt: [u8; 16],
    active: bool,
    base_seqno: u64,
    end: usize,
    chain: u64,
}

struct Manifest {
    store_id: [u8; 16],
    next_seqno: u64,
    fingerprint: String,
    segments: Vec<Named>,
}

/// Reads the store in a directory.
///
/// # Errors
/// The first thing that `docs/FORMAT.md` does not allow.
pub fn read(directory: &Path) -> Read<FileContents> {
    let manifest = read_manifest(&File::open(directory.join("MANIFEST"))?)?;
    let mut contents = FileContents {
        fingerprint: manifest.fingerprint.clone(),
        segments: manifest.segments.len() as u64,
        ..FileContents::default()
    };
    // The highest seqno of a key wins, wherever its record lies.
    let mut latest: BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)> = BTreeMap::new();
    for named in &manifest.segments {
        let file = File::open(directory.join(format!("{:08}.seg", named.id)))?;
        let walked = walk(&file, &manifest, named, &mut |record| {
            contents.records += 1;
            let newer = latest
                .get(&record.key)
                .is_none_or(|(seqno, _)| *seqno < record.seqno);
            if newer {
                latest.insert(record.key, (record.seqno, record.value));
            }
        })?;
        if named.active {
            if walked.next_seqno < manifest.next_seqno {
                return file.wrong(walked.end, "seqnos that the manifest has seen are missing");
            }
            let last = file.bytes.iter().rposition(|byte| *byte != 0);
            contents.end = walked.end as u64;
            contents.torn_bytes =
                last.map_or(0, |last| (last + 1).saturating_sub(walked.end)) as u64;
        }
    }
    contents.live = latest
        .into_iter()
        .filter_map(|(key, (_, value))| value.map(|value| (key, value)))
        .collect();
    Ok(contents)
}

fn read_manifest(file: &File) -> Read<Manifest> {
    let half = file.bytes.len() / 2;
    let (first, second) = (read_copy(file, 0), read_copy(file, half));
    match (first, second) {
        (Ok(first), Ok(_)) => {
            if file.bytes[..half] == file.bytes[half..] {
                Ok(first)
            } else {
                file.wrong(half, "both copies verify and they differ")
            }
        }
        (Ok(copy), Err(_)) | (Err(_), Ok(copy)) => Ok(copy),
        (Err(error), Err(_)) => Err(error),
    }
}

fn read_copy(file: &File, start: usize) -> Read<Manifest> {
    if file.range(start, 8)? != b"KVLOGMAN" {
        return file.wrong(start, "no manifest's magic");
    }
    if file.u32(start + 8)? != 0 || file.u64(start + 16)? != 0 {
        return file.wrong(start + 8, "a later version");
    }
    let length = file.size(start + 12)?;
    let covered = file.range(start, 32 + length)?;
    if siphash(MANIFEST_KEY, &[covered]) != file.u64(start + 32 + length)? {
        return file.wrong(start, "the check of this copy is wrong");
    }
    let store_id = file.array(start + 32)?;
    let next_seqno = file.u64(start + 32 + 48)?;
    let mut at = start + 32 + 64;
    let keyspaces = file.u32(at)?;
    at += 4;
    let mut fingerprint = String::new();
    for _ in 0..keyspaces {
        let length = usize::from(file.u16(at + 4)?);
        fingerprint = String::from_utf8_lossy(file.range(at + 6, length)?).into_owned();
        at += 6 + length;
    }
    let count = file.u32(at)?;
    at += 4;
    let mut segments = Vec::new();
    for _ in 0..count {
        let end = file.u64(at + 40)?;
        segments.push(Named {
            id: file.u64(at)?,
            salt: file.array(at + 8)?,
            active: file.u32(at + 24)? == 1,
            base_seqno: file.u64(at + 32)?,
            end: usize::try_from(end)
                .or_else(|_| file.wrong(at + 40, "too long for this machine"))?,
            chain: file.u64(at + 48)?,
        });
        at += 88;
    }
    if segments.iter().filter(|named| named.active).count() != 1 {
        return file.wrong(start, "not exactly one active segment");
    }
    Ok(Manifest {
        store_id,
        next_seqno,
        fingerprint,
        segments,
    })
}

struct ReadRecord {
    key: Vec<u8>,
    seqno: u64,
    /// `None`: a tombstone.
    value: Option<Vec<u8>>,
}

struct Walked {
    end: usize,
    next_seqno: u64,
}

struct Header {
    kind: u8,
    body: usize,
    records: u32,
    first_seqno: u64,
    mark: u64,
    attempt: u64,
    chain: u64,
    digest: u64,
    check: u64,
}

impl Header {
    const fn frame_bytes(&self) -> usize {
        (FRAME_HEADER + self.body).next_multiple_of(8)
    }
}

fn walk(
    file: &File,
    manifest: &Manifest,
    named: &Named,
    visit: &mut dyn FnMut(ReadRecord),
) -> Read<Walked> {
    if file.range(0, 8)? != b"KVLOGSEG" || file.u32(8)? != 0 {
        return file.wrong(0, "no segment of version 0");
    }
    let header_check = siphash(&named.salt, &[file.range(0, 72)?]);
    if file.u64(72)? != header_check
        || file.array(16)? != manifest.store_id
        || file.array(32)? != named.salt
        || file.u64(48)? != named.id
        || file.u64(56)? != named.base_seqno
    {
        return file.wrong(0, "not the segment that the manifest names");
    }
    let limit = if named.active {
        file.bytes.len()
    } else {
        named.end
    };
    if file.bytes.len() < named.end {
        return file.wrong(file.bytes.len(), "shorter than the manifest says");
    }
    let mut at = SEGMENT_HEADER;
    let mut chain = header_check;
    let mut next_seqno = named.base_seqno;
    let mut group = None;
    let mut floor_met = at == named.end && chain == named.chain;
    let mut footer = false;
    let mut proof = named.end as u64;
    let mut resume = None;
    while at < limit && !footer {
        let Some(header) = header_at(file, named, at, limit)? else {
            break;
        };
        let continues = header.chain == chain
            && header.first_seqno == next_seqno
            && (header.mark == at as u64 || group == Some((header.mark, header.attempt)));
        proof = proof.max(header.mark);
        if !continues {
            break;
        }
        resume = Some(at + header.frame_bytes());
        let Some(records) = body(file, named, at, &header, limit)? else {
            break;
        };
        records.into_iter().for_each(&mut *visit);
        next_seqno += u64::from(header.records);
        group = Some((header.mark, header.attempt));
        chain = header.check;
        at += header.frame_bytes();
        resume = None;
        footer = header.kind == 3;
        if at == named.end {
            if chain != named.chain {
                return file.wrong(at, "another chain than the manifest's");
            }
            floor_met = true;
        }
    }
    if !named.active && (!footer || at != named.end) {
        return file.wrong(at, "a sealed segment does not end in its footer");
    }
    if named.active {
        let mut searched = resume.unwrap_or(at + 8).next_multiple_of(8);
        while searched < limit {
            match header_at(file, named, searched, usize::MAX)? {
                Some(header) => {
                    proof = proof.max(header.mark);
                    searched += header.frame_bytes();
                }
                None => searched += 8,
            }
        }
        if (at as u64) < proof {
            return file.wrong(at, "bytes that were durable once do not verify");
        }
    }
    if !floor_met {
        return file.wrong(named.end, "no frame ends where the manifest says");
    }
    Ok(Walked {
        end: at,
        next_seqno,
    })
}

/// A header that verifies.
fn header_at(file: &File, named: &Named, at: usize, limit: usize) -> Read<Option<Header>> {
    let Some(bytes) = file.bytes.get(at..at.saturating_add(FRAME_HEADER)) else {
        return Ok(None);
    };
    if !bytes.starts_with(b"KVRF") {
        return Ok(None);
    }
    let offset = (at as u64).to_le_bytes();
    let check = siphash(&named.salt, &[&offset, &bytes[..56]]);
    if file.u64(at + 56)? != check {
        return Ok(None);
    }
    let header = Header {
        kind: bytes[4],
        body: file.size(at + 8)?,
        records: file.u32(at + 12)?,
        first_seqno: file.u64(at + 16)?,
        mark: file.u64(at + 24)?,
        attempt: file.u64(at + 32)?,
        chain: file.u64(at + 40)?,
        digest: file.u64(at + 48)?,
        check,
    };
    if !(1..=3).contains(&header.kind) || bytes[5..8] != [0; 3] {
        return file.wrong(at + 4, "a kind or flag of a later version");
    }
    let fits = limit == usize::MAX || at + header.frame_bytes() <= limit;
    Ok(fits.then_some(header))
}

/// The records of a frame, if everything behind its header is right.
fn body(
    file: &File,
    named: &Named,
    at: usize,
    header: &Header,
    limit: usize,
) -> Read<Option<Vec<ReadRecord>>> {
    let start = at + FRAME_HEADER;
    let end = start + header.body;
    if end > limit
        || file
            .range(end, at + header.frame_bytes() - end)?
            .iter()
            .any(|b| *b != 0)
    {
        return Ok(None);
    }
    if header.kind != 1 {
        let digested = file.range(start, header.body)?;
        return Ok((siphash(&named.salt, &[digested]) == header.digest).then(Vec::new));
    }
    let mut records = Vec::new();
    let mut sums = Vec::new();
    let mut next = start;
    for number in 0..header.records {
        let seqno = header.first_seqno + u64::from(number);
        if next + RECORD_HEADER > end {
            return Ok(None);
        }
        let (key_bytes, value_bytes) = (file.size(next + 8)?, file.size(next + 12)?);
        let key_at = next + RECORD_HEADER;
        let behind = key_at.saturating_add(key_bytes).saturating_add(value_bytes);
        if behind > end {
            return Ok(None);
        }
        let mut sum = crc32c::crc32c(file.range(next + 4, 12)?);
        sum = crc32c::crc32c_append(sum, file.range(key_at, behind - key_at)?);
        sum = crc32c::crc32c_append(sum, &named.salt);
        sum = crc32c::crc32c_append(sum, &(next as u64).to_le_bytes());
        sum = crc32c::crc32c_append(sum, &seqno.to_le_bytes());
        if sum != file.u32(next)? || seqno != file.u64(next + 16)? {
            return Ok(None);
        }
        sums.extend_from_slice(&sum.to_le_bytes());
        let value = file.range(key_at + key_bytes, value_bytes)?;
        let value = match file.bytes[next + 4] {
            1 => Some(value.to_vec()),
            2 => None,
            _ => return file.wrong(next + 4, "a record of a later version"),
        };
        records.push(ReadRecord {
            key: file.range(key_at, key_bytes)?.to_vec(),
            seqno,
            value,
        });
        next = behind;
    }
    let whole = next == end && siphash(&named.salt, &[&sums]) == header.digest;
    Ok(whole.then_some(records))
}
