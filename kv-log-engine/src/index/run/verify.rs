//! Reading a whole run, and saying everything that is wrong with it.

use super::reader::{Run, RunIdentity, read_trailer};
use crate::fault;
use crate::format::run::block::Held;
use crate::format::run::fence::{Part, Place};
use crate::format::run::filter::KeyHash;
use crate::format::run::footer::{
    COPY_GAP, COPY_GAP_BYTES, Footer, Referred, TRAILER_BYTES, Trailer,
};
use crate::format::run::header::{RUN_HEADER_BYTES, RunHeader};
use crate::format::run::piece::PieceKind;
use crate::format::run::table::{Entries, Table};
use crate::storage::exact;
use kv_trait::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// What was found, and how much of it is right.
#[derive(Debug, Default)]
pub(crate) struct RunReport {
    pub(crate) entries: u64,
    pub(crate) blocks: u64,
    /// Each piece that does not verify, and each count that is not what was counted.
    pub(crate) damage: Vec<Error>,
}

impl RunReport {
    /// Keeps what a piece has to say; an error that may pass ends the reading.
    fn note<T>(&mut self, found: Result<T>) -> Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) => match error.kind() {
                ErrorKind::Corrupt | ErrorKind::UnsupportedFormat => {
                    self.damage.push(error);
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }
}

/// Reads every byte of a run from the disk, past all caches.
///
/// # Errors
/// `Io`: a read failed. Damage is no error: it is in the report.
pub(crate) fn verify(run: &Run) -> Result<RunReport> {
    let mut report = RunReport::default();
    let header = check_header(run);
    report.note(header)?;
    let mut counted = Counted::default();
    let mut parts = Entries::new(run.footer().parts.clone());
    let mut at = RUN_HEADER_BYTES;
    for ordinal in 0..parts.table().len() {
        let Some((_, part)) = parts.entry(ordinal) else {
            break;
        };
        verify_part(run, ordinal, &part, &mut at, &mut counted, &mut report)?;
    }
    let [first, second] = run.trailer().places();
    if at != first.offset {
        report.damage.push(not_reached(run, at));
    }
    for place in [first, second] {
        let copy = check_footer(run, place, first.offset);
        report.note(copy)?;
    }
    let offsets = Trailer::offsets(run.file_bytes()).unwrap_or_default();
    for offset in offsets {
        let copy = read_trailer(run.file(), run.path(), &run.identity().salt, offset);
        if let Some(copy) = report.note(copy)?
            && copy != *run.trailer()
        {
            report
                .damage
                .push(fault::corrupt(run.path(), "the two trailers differ"));
        }
    }
    let [last_trailer, first_trailer] = offsets;
    let gaps = [
        (first.offset + first.bytes, second.offset),
        (second.offset + second.bytes, first_trailer),
        (first_trailer + TRAILER_BYTES as u64, last_trailer),
    ];
    for (start, end) in gaps {
        let gap = check_gap(run, start, end);
        report.note(gap)?;
    }
    report.entries = counted.entries;
    if report.damage.is_empty() {
        counted.compare(run, &mut report);
    }
    Ok(report)
}

/// What the blocks really have, to be held against the footer.
#[derive(Default)]
struct Counted {
    entries: u64,
    tombstones: u64,
    seqnos: Option<(crate::format::ids::Seqno, crate::format::ids::Seqno)>,
    referred: BTreeMap<crate::format::ids::SegmentId, Referred>,
}

impl Counted {
    fn compare(&self, run: &Run, report: &mut RunReport) {
        let facts = &run.footer().facts;
        let (lowest, highest) = self.seqnos.unwrap_or_default();
        let agree = self.entries == facts.entries
            && self.tombstones == facts.tombstones
            && lowest == facts.lowest
            && highest == facts.highest
            && self.referred == facts.referred;
        if !agree {
            let what = "the footer says other numbers than the entries do";
            report.damage.push(fault::corrupt(run.path(), what));
        }
    }
}

fn check_header(run: &Run) -> Result<()> {
    let mut bytes = RunHeader::buffer();
    exact::read_exact(run.file(), &mut bytes, 0)
        .map_err(|source| fault::io_at("read", run.path(), 0, source))?;
    let header =
        RunHeader::decode(&bytes).map_err(|defect| fault::defect(run.path(), 0, defect))?;
    let found = RunIdentity {
        store_id: header.store_id,
        salt: header.salt,
        id: header.id,
    };
    if found == *run.identity() {
        return Ok(());
    }
    Err(fault::corrupt(run.path(), "the header is another run's"))
}

fn verify_part(
    run: &Run,
    ordinal: usize,
    part: &Part,
    at: &mut u64,
    counted: &mut Counted,
    report: &mut RunReport,
) -> Result<()> {
    let begins = *at;
    *at = part.filter.offset + part.filter.bytes;
    if part.fence.offset + part.fence.bytes != part.filter.offset {
        report.damage.push(not_reached(run, part.filter.offset));
    }
    let filter = run.read_filter(part);
    let filter = report.note(filter)?;
    let fence = run.read_fence(ordinal, part);
    let Some(fence) = report.note(fence)? else {
        return Ok(());
    };
    let mut hashes = |key: &[u8]| {
        let hash = KeyHash::of(run.identity().store_id, key);
        filter.as_ref().is_none_or(|filter| filter.may_hold(hash))
    };
    let entries = verify_blocks(run, (ordinal, &fence, begins), &mut hashes, counted, report)?;
    if entries.is_some_and(|entries| entries != part.entries) {
        let what = format!("part {ordinal} does not have the entries that the footer says");
        report.damage.push(fault::corrupt(run.path(), what));
    }
    Ok(())
}

/// How many entries the blocks of a part have; `None` if one could not be read.
fn verify_blocks(
    run: &Run,
    (part, fence, begins): (usize, &Table<Place>, u64),
    may_hold: &mut dyn FnMut(&[u8]) -> bool,
    counted: &mut Counted,
    report: &mut RunReport,
) -> Result<Option<u64>> {
    let mut places = Entries::new(fence.clone());
    let (mut entries, mut whole, mut end) = (0, true, begins);
    for ordinal in 0..fence.len() {
        let Some((_, place)) = places.entry(ordinal) else {
            break;
        };
        if place.offset != end {
            report.damage.push(not_reached(run, end));
        }
        end = place.offset + place.bytes;
        let read = run.read_block(part, fence, ordinal, place);
        let Some(block) = report.note(read)? else {
            whole = false;
            continue;
        };
        report.blocks += 1;
        let mut walk = Entries::new(block);
        for at in 0..walk.table().len() {
            let Some((key, stored)) = walk.entry(at) else {
                break;
            };
            if !may_hold(key) {
                let what = format!(
                    "the filter at the end of part {part} denies a key of the block at offset {}",
                    place.offset
                );
                report.damage.push(fault::corrupt(run.path(), what));
            }
            entries += 1;
            count(counted, &stored);
        }
    }
    Ok(whole.then_some(entries))
}

fn count(counted: &mut Counted, stored: &crate::format::run::block::Stored) {
    counted.entries += 1;
    let seqno = stored.seqno;
    let (lowest, highest) = counted.seqnos.unwrap_or((seqno, seqno));
    counted.seqnos = Some((lowest.min(seqno), highest.max(seqno)));
    match stored.held {
        Held::Here(_) => {}
        Held::Tombstone => counted.tombstones += 1,
        Held::Separated(location) => {
            let referred = counted.referred.entry(location.segment).or_default();
            referred.records += 1;
            referred.bytes += u64::from(location.record_bytes);
        }
    }
}

fn check_footer(run: &Run, place: Place, end: u64) -> Result<()> {
    let content = run.read_piece(place, PieceKind::Footer)?;
    let copy = Footer::decode(&content, end)
        .map_err(|defect| fault::defect(run.path(), place.offset, defect))?;
    let same = copy.facts == run.footer().facts
        && copy.parts.content() == run.footer().parts.content()
        && copy.salt == run.identity().salt
        && copy.id == run.id();
    if same {
        return Ok(());
    }
    Err(fault::corrupt(run.path(), "the two footers differ"))
}

fn check_gap(run: &Run, start: u64, end: u64) -> Result<()> {
    if start == end {
        return Ok(());
    }
    if end.checked_sub(start) != Some(COPY_GAP_BYTES) {
        return Err(not_reached(run, start));
    }
    let mut bytes = COPY_GAP;
    exact::read_exact(run.file(), &mut bytes, start)
        .map_err(|source| fault::io_at("read", run.path(), start, source))?;
    match bytes.iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(at) => {
            let what = format!("no zero at offset {}", start + at as u64);
            Err(fault::corrupt(run.path(), what))
        }
    }
}

fn not_reached(run: &Run, at: u64) -> Error {
    let what = format!("bytes at offset {at} belong to nothing");
    fault::corrupt(run.path(), what)
}
