//! Segments: the frames of the log, and copied values.

use super::SEGMENT_HEADER;
use super::file::{File, Read, crc, siphash};
use super::manifest::{Checkpoint, Manifest, Named, State};

const FRAME_HEADER: usize = 80;
const RECORD_HEADER: usize = 28;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Put,
    Tombstone,
    Create,
    Drop,
    Erase,
}

pub(super) struct ReadRecord {
    pub(super) kind: Kind,
    pub(super) keyspace: u32,
    pub(super) key: Vec<u8>,
    pub(super) seqno: u64,
    /// From when on its key is absent.
    pub(super) expiry: Option<u64>,
    pub(super) value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    pub(super) end: usize,
    pub(super) next_seqno: u64,
    /// What a clean mark at the end names.
    pub(super) closed_at: Option<u64>,
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

/// The header of a file that the manifest names. Returns its check.
pub(super) fn header(
    file: &File,
    manifest: &Manifest,
    kind: u32,
    (id, salt, base_seqno): (u64, &[u8; 16], u64),
) -> Read<u64> {
    if file.range(0, 8)? != b"KVLOGSEG" || file.u32(8)? != 0 {
        return file.wrong(0, "no file of version 0");
    }
    let check = siphash(salt, &[file.range(0, 96)?]);
    if file.u64(96)? != check
        || file.array(16)? != manifest.store_id
        || file.array(32)? != manifest.incarnation
        || file.array(48)? != *salt
        || file.u64(64)? != id
        || file.u64(72)? != base_seqno
    {
        return file.wrong(0, "not the file that the manifest names");
    }
    if file.u32(12)? != kind || file.u64(88)? != 0 {
        return file.wrong(12, "of another kind, or of a later version");
    }
    if file.u64(80)? >= manifest.edit {
        return file.wrong(80, "the manifest is older than this file");
    }
    Ok(check)
}

/// A place between two frames, and what of the segment is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) chain: u64,
    pub(super) next_seqno: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    /// The seqno of the first record; 0: none.
    pub(super) lowest: u64,
}

impl Place {
    pub(super) const fn start(chain: u64, base_seqno: u64) -> Self {
        Self {
            at: SEGMENT_HEADER,
            chain,
            next_seqno: base_seqno,
            batches: 0,
            records: 0,
            lowest: 0,
        }
    }

    pub(super) const fn checkpoint(checkpoint: &Checkpoint) -> Self {
        Self {
            at: checkpoint.offset,
            chain: checkpoint.chain,
            next_seqno: checkpoint.seqno + 1,
            batches: checkpoint.batches,
            records: checkpoint.records,
            lowest: checkpoint.lowest,
        }
    }
}

/// Accepts the frames of a segment of the log from `start` on. `met` is told each place between two of them.
pub(super) fn walk(
    file: &File,
    named: &Named,
    start: Place,
    visit: &mut dyn FnMut(ReadRecord),
    met: &mut dyn FnMut(Place),
) -> Read<Walked> {
    let active = named.state == State::Active;
    let limit = if active { file.bytes.len() } else { named.end };
    if file.bytes.len() < named.end.max(start.at) {
        return file.wrong(file.bytes.len(), "shorter than the manifest says");
    }
    let Place {
        mut at,
        mut chain,
        mut next_seqno,
        mut batches,
        records: mut records_seen,
        lowest: mut first_seqno,
    } = start;
    let mut group = None;
    // A floor before the place where this begins says nothing.
    let mut floor_met = named.end < at || at == named.end && chain == named.chain;
    let mut footer = false;
    let mut proof = named.end.max(at) as u64;
    let mut resume = None;
    let mut closed_at = None;
    met(start);
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
            if first_seqno == 0 {
                first_seqno = header.first_seqno;
            }
        }
        records.into_iter().for_each(&mut *visit);
        closed_at = match (header.kind, header.body) {
            (2, 8) => Some(file.u64(at + FRAME_HEADER)?),
            _ => None,
        };
        if header.kind == 3 {
            let lowest = if first_seqno == 0 {
                next_seqno
            } else {
                first_seqno
            };
            let counts = [lowest, next_seqno - 1, batches, records_seen];
            for (number, count) in counts.into_iter().enumerate() {
                if file.u64(at + FRAME_HEADER + 8 * number)? != count {
                    return file.wrong(at, "a footer that counts wrong");
                }
            }
            if !active && (named.lowest, named.highest) != (lowest, next_seqno - 1) {
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
        met(Place {
            at,
            chain,
            next_seqno,
            batches,
            records: records_seen,
            lowest: first_seqno,
        });
    }
    if !active && (!footer || at != named.end) {
        return file.wrong(at, "a sealed segment does not end in its footer");
    }
    if active {
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
        let Some((record, behind)) = record_at(file, &named.salt, next, end)? else {
            return Ok(None);
        };
        if record.seqno != seqno {
            return Ok(None);
        }
        sums.extend_from_slice(&file.u32(next)?.to_le_bytes());
        records.push(record);
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

/// A record that verifies, and where it ends.
pub(super) fn record_at(
    file: &File,
    salt: &[u8; 16],
    at: usize,
    end: usize,
) -> Read<Option<(ReadRecord, usize)>> {
    if at.saturating_add(RECORD_HEADER) > end {
        return Ok(None);
    }
    let (key_bytes, value_bytes) = (file.size(at + 12)?, file.size(at + 16)?);
    let flags = file.bytes[at + 5];
    let set = |bit: &usize| flags >> bit & 1 == 1;
    let options = (0..8).filter(set).map(|bit| [8, 4, 4, 8, 8, 8, 8, 0][bit]);
    let summed_at = at + RECORD_HEADER;
    let key_at = summed_at + options.sum::<usize>();
    let behind = key_at.saturating_add(key_bytes).saturating_add(value_bytes);
    if behind > end {
        return Ok(None);
    }
    let seqno = file.u64(at + 20)?;
    let sum = crc(&[
        file.range(at + 4, 16)?,
        file.range(summed_at, behind - summed_at)?,
        salt,
        &(at as u64).to_le_bytes(),
        &seqno.to_le_bytes(),
    ]);
    if sum != file.u32(at)? {
        return Ok(None);
    }
    let keyspace = file.u32(at + 8)?;
    if flags & !1 != 0 || file.bytes[at + 6..at + 8] != [0; 2] || keyspace == u32::MAX {
        return file.wrong(at + 5, "flags or a keyspace of a later version");
    }
    let expiry = match flags {
        0 => None,
        _ => Some(file.u64(summed_at)?),
    };
    let value = file.range(key_at + key_bytes, value_bytes)?;
    let named = keyspace != 0;
    let kind = match file.bytes[at + 4] {
        1 => Kind::Put,
        2 if value.is_empty() && expiry.is_none() => Kind::Tombstone,
        3 if named && expiry.is_none() => Kind::Create,
        4 if named && expiry.is_none() && key_bytes + value_bytes == 0 => Kind::Drop,
        5 if expiry.is_none() => Kind::Erase,
        _ => return file.wrong(at + 4, "a record of a later version"),
    };
    let record = ReadRecord {
        kind,
        keyspace,
        key: file.range(key_at, key_bytes)?.to_vec(),
        seqno,
        expiry,
        value: value.to_vec(),
    };
    Ok(Some((record, behind)))
}

/// The whole of a segment of values: records, and nothing else.
pub(super) fn walk_values(file: &File, manifest: &Manifest, named: &Named) -> Read<()> {
    let check = header(file, manifest, 1, (named.id, &named.salt, 0))?;
    if check != named.chain || named.base_seqno != 0 {
        return file.wrong(0, "another chain or base than the manifest's");
    }
    if file.bytes.len() != named.end {
        return file.wrong(named.end, "another length than the manifest's");
    }
    let (mut at, mut seqnos) = (SEGMENT_HEADER, None);
    while at < named.end {
        match record_at(file, &named.salt, at, named.end)? {
            Some((record, behind)) if record.kind == Kind::Put => {
                let (lowest, highest) = seqnos.unwrap_or((record.seqno, record.seqno));
                seqnos = Some((record.seqno.min(lowest), record.seqno.max(highest)));
                at = behind;
            }
            _ => return file.wrong(at, "no put"),
        }
    }
    let said = (named.lowest, named.highest);
    if seqnos.map_or(said.0 != said.1 + 1, |seqnos| seqnos != said) {
        return file.wrong(0, "other seqnos than the manifest's");
    }
    Ok(())
}
