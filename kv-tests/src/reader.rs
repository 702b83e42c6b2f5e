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
const ENTRY_HEADER: usize = 40;
const SEGMENT_HEADER: usize = 104;
const FRAME_HEADER: usize = 80;
const RECORD_HEADER: usize = 28;
const FOOTER_FRAME: usize = 128;

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
    /// The number of the manifest's last edit.
    pub edit: u64,
    /// Whether the store ended cleanly.
    pub clean: bool,
    /// Items of the manifest that this reader does not know and may pass over, as they stand there.
    pub carried: Vec<u8>,
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
#[derive(Clone, PartialEq, Eq)]
struct Named {
    id: u64,
    salt: [u8; 16],
    active: bool,
    base_seqno: u64,
    end: usize,
    chain: u64,
    lowest: u64,
    highest: u64,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Manifest {
    edit: u64,
    store_id: [u8; 16],
    incarnation: [u8; 16],
    next_seqno: u64,
    next_file_id: u64,
    fingerprint: String,
    segments: BTreeMap<u64, Named>,
    carried: Vec<u8>,
}

/// One copy of the manifest, and what it says.
struct Copy {
    file: File,
    manifest: Manifest,
    /// The number of its image.
    image: u64,
}

/// Reads the store in a directory.
///
/// # Errors
/// The first thing that `docs/FORMAT.md` does not allow.
pub fn read(directory: &Path) -> Read<FileContents> {
    let (manifest, both) = read_manifest(directory)?;
    let mut contents = FileContents {
        fingerprint: manifest.fingerprint.clone(),
        segments: manifest.segments.len() as u64,
        edit: manifest.edit,
        carried: manifest.carried.clone(),
        ..FileContents::default()
    };
    // The highest seqno of a key wins, wherever its record lies.
    let mut latest: BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)> = BTreeMap::new();
    for named in manifest.segments.values() {
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
            contents.clean = both
                && walked.closed_at == Some(manifest.edit)
                && contents.torn_bytes == 0
                && walked.end + FOOTER_FRAME <= file.bytes.len();
        }
    }
    contents.live = latest
        .into_iter()
        .filter_map(|(key, (_, value))| value.map(|value| (key, value)))
        .collect();
    Ok(contents)
}

/// The manifest, and whether both copies end with the same edit.
fn read_manifest(directory: &Path) -> Read<(Manifest, bool)> {
    let paths = ["MANIFEST", "MANIFEST.2"].map(|name| directory.join(name));
    let [first, second] = paths.clone().map(read_copy);
    let (best, other) = match (first?, second?) {
        (Ok(first), Ok(second)) if second.serves_before(&first) => (second, Some(first)),
        (Ok(first), second) => (first, second.ok()),
        (Err(_), Ok(second)) => (second, None),
        (Err(error), Err(_)) => return Err(error),
    };
    let last = best.manifest.edit;
    // Those that were applied have no higher number.
    for file in paths.into_iter().filter_map(|path| File::open(path).ok()) {
        for at in (0..file.bytes.len()).step_by(8) {
            if entry(&file, at)?.is_ok_and(|entry| entry.number > last) {
                return file.wrong(at, "an edit behind damage, in both copies");
            }
        }
    }
    let both = other
        .as_ref()
        .is_some_and(|copy| copy.manifest.edit == last);
    match other {
        Some(other) if both && other.manifest != best.manifest => {
            if best.voids(&other) {
                return Ok((best.manifest, false));
            }
            other.file.wrong(0, "both copies verify and they differ")
        }
        _ => Ok((best.manifest, both)),
    }
}

impl Copy {
    fn serves_before(&self, other: &Self) -> bool {
        self.manifest.edit > other.manifest.edit || self.voids(other)
    }

    /// An image without edits, beside an older one whose last edit has the image's number.
    fn voids(&self, other: &Self) -> bool {
        let (one, two) = (&self.manifest, &other.manifest);
        one.edit == self.image
            && two.edit == self.image
            && other.image < self.image
            && (one.store_id, one.incarnation) == (two.store_id, two.incarnation)
    }
}

struct Entry<'f> {
    image: bool,
    number: u64,
    chain: u64,
    check: u64,
    content: &'f [u8],
    content_at: usize,
    next: usize,
}

/// An entry whose check holds; what is wrong with it otherwise.
///
/// # Errors
/// A later version wrote it.
fn entry(file: &File, at: usize) -> Read<Read<Entry<'_>>> {
    let checked = (|| {
        if file.range(at, 8)? != b"KVLOGMAN" {
            return file.wrong(at, "no entry of a manifest");
        }
        let length = file.size(at + 12)?;
        if length > 16 * 1024 * 1024 {
            return file.wrong(at + 12, "too long for an entry");
        }
        let behind = at + ENTRY_HEADER + length;
        let covered = file.range(at, ENTRY_HEADER + length)?;
        let check = file.u64(behind)?;
        let next = (behind + 8).next_multiple_of(8);
        let padding = file.range(behind + 8, next - behind - 8)?;
        let offset = (at as u64).to_le_bytes();
        if siphash(MANIFEST_KEY, &[&offset, covered]) != check || padding.iter().any(|b| *b != 0) {
            return file.wrong(at, "the check of this entry is wrong");
        }
        Ok((check, next, length))
    })();
    let (check, next, length) = match checked {
        Ok(found) => found,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let kind = file.u32(at + 24)?;
    if file.u32(at + 8)? != 0 || kind > 1 || file.u32(at + 28)? != 0 {
        return file.wrong(at, "an entry of a later version");
    }
    Ok(Ok(Entry {
        image: kind == 0,
        number: file.u64(at + 16)?,
        chain: file.u64(at + 32)?,
        check,
        content: file.range(at + ENTRY_HEADER, length)?,
        content_at: at + ENTRY_HEADER,
        next,
    }))
}

/// A copy, as far as it verifies; what is wrong with its image otherwise.
///
/// # Errors
/// What is under a check that holds makes no sense, or is of a later version.
fn read_copy(path: PathBuf) -> Read<Read<Copy>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let image = match entry(&file, 0)? {
        Ok(image) => image,
        Err(error) => return Ok(Err(error)),
    };
    if !image.image {
        return Ok(file.wrong(0, "no image"));
    }
    let mut manifest = Manifest::default();
    if image.content.len() < 24 || image.content[..8] != [0; 8] {
        return file.wrong(ENTRY_HEADER, "features of a later version");
    }
    apply(&file, &mut manifest, &image, 24)?;
    let (mut end, mut chain) = (image.next, image.check);
    while let Ok(edit) = entry(&file, end)? {
        if edit.image || edit.number != manifest.edit + 1 || edit.chain != chain {
            break;
        }
        apply(&file, &mut manifest, &edit, 0)?;
        (end, chain) = (edit.next, edit.check);
    }
    let active = manifest.segments.values().filter(|named| named.active);
    let highest = manifest.segments.keys().next_back();
    if active.count() != 1 || highest.is_none_or(|id| *id >= manifest.next_file_id) {
        return file.wrong(0, "segments that make no sense");
    }
    Ok(Ok(Copy {
        manifest,
        image: image.number,
        file,
    }))
}

fn apply(file: &File, manifest: &mut Manifest, entry: &Entry<'_>, skip: usize) -> Read<()> {
    manifest.edit = entry.number;
    let mut at = entry.content_at + skip;
    let end = entry.content_at + entry.content.len();
    while at < end {
        let (kind, class, length) = (file.u16(at)?, file.u16(at + 2)?, file.size(at + 4)?);
        let body = at + 8;
        let behind = body.saturating_add(length);
        let known = match kind {
            1 => Some(40),
            2 => Some(8),
            3 => Some(16),
            4 => Some(10 + usize::from(file.u16(body + 8)?)),
            5 => Some(72),
            _ => None,
        };
        if behind > end || known.is_some_and(|known| known != length) {
            return file.wrong(at, "an item of another length");
        }
        match kind {
            1 => {
                manifest.store_id = file.array(body)?;
                manifest.incarnation = file.array(body + 16)?;
            }
            2 => {}
            3 => {
                manifest.next_seqno = file.u64(body)?;
                manifest.next_file_id = file.u64(body + 8)?;
            }
            4 => {
                let text = file.range(body + 10, length - 10)?;
                manifest.fingerprint = String::from_utf8_lossy(text).into_owned();
            }
            5 => {
                let end = usize::try_from(file.u64(body + 40)?)
                    .or_else(|_| file.wrong(body + 40, "too long for this machine"))?;
                let named = Named {
                    id: file.u64(body)?,
                    salt: file.array(body + 8)?,
                    active: file.u32(body + 24)? == 1,
                    base_seqno: file.u64(body + 32)?,
                    end,
                    chain: file.u64(body + 48)?,
                    lowest: file.u64(body + 56)?,
                    highest: file.u64(body + 64)?,
                };
                manifest.segments.insert(named.id, named);
            }
            // To read is all that this does: what must not be written may be passed over, too.
            _ if class == 1 => {}
            _ if class == 2 => {
                let item = file.range(at, behind - at)?;
                manifest.carried.extend_from_slice(item);
            }
            _ => return file.wrong(at, "an item of a later version"),
        }
        at = behind;
    }
    Ok(())
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
    /// What a clean mark at the end names.
    closed_at: Option<u64>,
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
    let header_check = siphash(&named.salt, &[file.range(0, 96)?]);
    if file.u64(96)? != header_check
        || file.array(16)? != manifest.store_id
        || file.array(32)? != manifest.incarnation
        || file.array(48)? != named.salt
        || file.u64(64)? != named.id
        || file.u64(72)? != named.base_seqno
    {
        return file.wrong(0, "not the segment that the manifest names");
    }
    if file.u32(12)? != 0 || file.u64(88)? != 0 {
        return file.wrong(12, "a segment of a later version");
    }
    if file.u64(80)? >= manifest.edit {
        return file.wrong(80, "the manifest is older than this file");
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
    let mut closed_at = None;
    let (mut batches, mut records_seen, mut lowest) = (0, 0, None);
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
        if header.kind == 1 {
            batches += 1;
            records_seen += u64::from(header.records);
            lowest = lowest.or(Some(header.first_seqno));
        }
        records.into_iter().for_each(&mut *visit);
        closed_at = match (header.kind, header.body) {
            (2, 8) => Some(file.u64(at + FRAME_HEADER)?),
            _ => None,
        };
        if header.kind == 3 {
            let lowest = lowest.unwrap_or(next_seqno);
            let counts = [lowest, next_seqno - 1, batches, records_seen];
            for (number, count) in counts.into_iter().enumerate() {
                if file.u64(at + FRAME_HEADER + 8 * number)? != count {
                    return file.wrong(at, "a footer that counts wrong");
                }
            }
            if !named.active && (named.lowest, named.highest) != (lowest, next_seqno - 1) {
                return file.wrong(at, "other seqnos than the manifest's");
            }
        }
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
        closed_at,
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
    let check = siphash(&named.salt, &[&offset, &bytes[..72]]);
    if file.u64(at + 72)? != check {
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
    if !(1..=4).contains(&header.kind) || bytes[5..8] != [0; 3] || bytes[56..72] != [0; 16] {
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
        let whole = siphash(&named.salt, &[digested]) == header.digest;
        if whole && header.kind == 4 {
            pass_over_control(file, start, end)?;
        }
        return Ok(whole.then(Vec::new));
    }
    let mut records = Vec::new();
    let mut sums = Vec::new();
    let mut next = start;
    for number in 0..header.records {
        let seqno = header.first_seqno + u64::from(number);
        if next + RECORD_HEADER > end {
            return Ok(None);
        }
        let (key_bytes, value_bytes) = (file.size(next + 12)?, file.size(next + 16)?);
        let flags = file.bytes[next + 5];
        let set = |bit: &usize| flags >> bit & 1 == 1;
        let options = (0..8).filter(set).map(|bit| [8, 4, 4, 8, 8, 8, 8, 0][bit]);
        let summed_at = next + RECORD_HEADER;
        let key_at = summed_at + options.sum::<usize>();
        let behind = key_at.saturating_add(key_bytes).saturating_add(value_bytes);
        if behind > end {
            return Ok(None);
        }
        let mut sum = crc32c::crc32c(file.range(next + 4, 16)?);
        sum = crc32c::crc32c_append(sum, file.range(summed_at, behind - summed_at)?);
        sum = crc32c::crc32c_append(sum, &named.salt);
        sum = crc32c::crc32c_append(sum, &(next as u64).to_le_bytes());
        sum = crc32c::crc32c_append(sum, &seqno.to_le_bytes());
        if sum != file.u32(next)? || seqno != file.u64(next + 20)? {
            return Ok(None);
        }
        if file.bytes[next + 5..next + 12] != [0; 7] {
            return file.wrong(next + 5, "flags or a keyspace of a later version");
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

fn pass_over_control(file: &File, start: usize, end: usize) -> Read<()> {
    let mut at = start;
    while at < end {
        if file.u16(at + 2)? != 2 {
            return file.wrong(at, "a control entry of a later version");
        }
        at = (at + 8).saturating_add(file.size(at + 4)?);
    }
    Ok(())
}
