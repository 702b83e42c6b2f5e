//! Reading a whole run, and saying everything that is wrong with it.

use super::reader::{RunIdentity, RunReader, read_exact, read_trailer};
use crate::fault;
use crate::format::ids::{Entry, SegmentId, Seqno};
use crate::format::run::block::{Held, Stored};
use crate::format::run::fence::{Part, Place};
use crate::format::run::filter::{Filter, KeyHash};
use crate::format::run::footer::{
    COPY_GAP, COPY_GAP_BYTES, Expiring, Footer, Referred, TRAILER_BYTES, Trailer,
};
use crate::format::run::header::{RUN_HEADER_BYTES, RunHeader};
use crate::format::run::piece::PieceKind;
use crate::format::run::table::{Entries, Table};
use crate::index::source::Interval;
use kv_trait::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// What was found, and how much of it is right.
#[derive(Debug, Default)]
pub(crate) struct RunReport {
    /// Read, whether they are in the live interval or not.
    pub(crate) entries: u64,
    pub(crate) blocks: u64,
    /// Each piece that does not verify, and each count that is not what was counted.
    pub(crate) damage: Vec<RunDamage>,
    /// Pieces that do not verify, and hide no key that the run may answer for.
    dead: u64,
}

/// Something that is wrong with a run.
#[derive(Debug)]
pub(crate) struct RunDamage {
    pub(crate) offset: u64,
    /// Where it ends; `None`: the run as a whole is meant.
    pub(crate) end: Option<u64>,
    /// The keys that it hides, from the first one up to the second, which it does not hide.
    pub(crate) keys: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) cause: Error,
}

impl RunReport {
    fn push(&mut self, (offset, bytes): (u64, u64), cause: Error) {
        self.damage.push(RunDamage {
            offset,
            end: Some(offset.saturating_add(bytes)),
            keys: None,
            cause,
        });
    }

    fn push_whole(&mut self, cause: Error) {
        self.damage.push(RunDamage {
            offset: 0,
            end: None,
            keys: None,
            cause,
        });
    }

    /// Keeps what a piece has to say; an error that may pass ends the reading.
    fn note<T>(&mut self, place: (u64, u64), found: Result<T>) -> Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_damage(&error) => {
                self.push(place, error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The same for a piece that hides keys, as far as these are live.
    fn note_hidden<T>(
        &mut self,
        place: Place,
        keys: (Vec<u8>, Vec<u8>),
        live: &Interval,
        found: Result<T>,
    ) -> Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_damage(&error) => {
                if live.meets(&keys.0, &keys.1) {
                    self.push((place.offset, place.bytes), error);
                    if let Some(damage) = self.damage.last_mut() {
                        damage.keys = Some(keys);
                    }
                } else {
                    self.dead += 1;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_damage(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::UnsupportedFormat
    )
}

/// Reads every byte of a run from the disk, past all caches. What lies outside of the `live` interval may be anything.
/// `separated` is asked about each live entry whose value a segment keeps.
///
/// # Errors
/// `Io`: a read failed. Damage is no error: it is in the report. What `separated` says.
pub(crate) fn verify(
    run: &RunReader,
    live: &Interval,
    separated: &mut dyn FnMut(&[u8], Entry) -> Result<()>,
) -> Result<RunReport> {
    let mut walk = Walk {
        run,
        live,
        separated,
        report: RunReport::default(),
        counted: Counted::default(),
    };
    let header = check_header(run);
    walk.report.note((0, RUN_HEADER_BYTES), header)?;
    let mut parts = Entries::new(run.footer().parts.clone());
    let mut at = RUN_HEADER_BYTES;
    for ordinal in 0..parts.table().len() {
        let Some((_, part)) = parts.entry(ordinal) else {
            break;
        };
        walk.part(ordinal, &part, at)?;
        at = part.filter.offset + part.filter.bytes;
    }
    walk.ends(at)?;
    let Walk {
        mut report,
        counted,
        ..
    } = walk;
    report.entries = counted.entries;
    if report.damage.is_empty() && report.dead == 0 {
        counted.compare(run, &mut report);
    }
    Ok(report)
}

/// What the blocks really have, to be held against the footer.
#[derive(Default)]
struct Counted {
    entries: u64,
    tombstones: u64,
    seqnos: Option<(Seqno, Seqno)>,
    expiring: Option<Expiring>,
    referred: BTreeMap<SegmentId, Referred>,
}

impl Counted {
    fn add(&mut self, stored: &Stored) {
        self.entries += 1;
        let seqno = stored.seqno;
        let (lowest, highest) = self.seqnos.unwrap_or((seqno, seqno));
        self.seqnos = Some((lowest.min(seqno), highest.max(seqno)));
        if let Some(expiry_ms) = stored.expiry_ms {
            Expiring::add(&mut self.expiring, expiry_ms);
        }
        match stored.held {
            Held::Here(_) => {}
            Held::Tombstone => self.tombstones += 1,
            Held::Separated(location) => {
                let referred = self.referred.entry(location.segment).or_default();
                referred.records += 1;
                referred.bytes += u64::from(location.record_bytes);
            }
        }
    }

    fn compare(&self, run: &RunReader, report: &mut RunReport) {
        let facts = &run.footer().facts;
        let (lowest, highest) = self.seqnos.unwrap_or_default();
        let agree = self.entries == facts.entries
            && self.tombstones == facts.tombstones
            && lowest == facts.lowest
            && highest == facts.highest
            && self.expiring == facts.expiring
            && self.referred == facts.referred;
        if !agree {
            let what = "the footer says other numbers than the entries do";
            report.push_whole(fault::corrupt(run.path(), what));
        }
    }
}

/// A run that is being read.
struct Walk<'r> {
    run: &'r RunReader,
    live: &'r Interval,
    separated: &'r mut dyn FnMut(&[u8], Entry) -> Result<()>,
    report: RunReport,
    counted: Counted,
}

impl Walk<'_> {
    /// Reads a part, whose first block should stand at `begins`.
    fn part(&mut self, ordinal: usize, part: &Part, begins: u64) -> Result<()> {
        let run = self.run;
        let keys = run.part_bounds(ordinal);
        if part.fence.offset + part.fence.bytes != part.filter.offset {
            self.not_reached(part.filter.offset);
        }
        // A filter that is lost hides nothing.
        let filter = run.read_filter(part);
        let place = (part.filter.offset, part.filter.bytes);
        let filter = if self.live.meets(&keys.0, &keys.1) {
            self.report.note(place, filter)?
        } else {
            self.report
                .note_hidden(part.filter, keys.clone(), self.live, filter)?
        };
        let fence = run.read_fence(ordinal, part);
        let fence = self
            .report
            .note_hidden(part.fence, keys, self.live, fence)?;
        let Some(fence) = fence else {
            return Ok(());
        };
        let entries = self.blocks(ordinal, &fence, begins, filter.as_ref())?;
        if entries.is_some_and(|entries| entries != part.entries) {
            let what = format!("part {ordinal} does not have the entries that the footer says");
            self.report.push_whole(fault::corrupt(run.path(), what));
        }
        Ok(())
    }

    /// How many entries the blocks of a part have; `None` if one could not be read.
    fn blocks(
        &mut self,
        part: usize,
        fence: &Table<Place>,
        begins: u64,
        filter: Option<&Filter>,
    ) -> Result<Option<u64>> {
        let run = self.run;
        let mut places = Entries::new(fence.clone());
        let (mut entries, mut whole, mut end) = (0, true, begins);
        for ordinal in 0..fence.len() {
            let Some((_, place)) = places.entry(ordinal) else {
                break;
            };
            if place.offset != end {
                self.not_reached(end);
            }
            end = place.offset + place.bytes;
            let read = run.read_block(part, fence, ordinal, place);
            let keys = run.block_bounds(part, fence, ordinal);
            match self.report.note_hidden(place, keys, self.live, read)? {
                Some(block) => entries += self.block(part, place, block, filter)?,
                None => whole = false,
            }
        }
        Ok(whole.then_some(entries))
    }

    fn block(
        &mut self,
        part: usize,
        place: Place,
        block: Table<Stored>,
        filter: Option<&Filter>,
    ) -> Result<u64> {
        self.report.blocks += 1;
        let mut entries = Entries::new(block);
        let count = entries.table().len();
        for at in 0..count {
            let Some((key, stored)) = entries.entry(at) else {
                break;
            };
            let hash = KeyHash::of(self.run.identity().store_id, key);
            if filter.is_some_and(|filter| !filter.may_hold(hash)) {
                let what = format!(
                    "the filter at the end of part {part} denies a key of the block at offset {}",
                    place.offset
                );
                let cause = fault::corrupt(self.run.path(), what);
                self.report.push((place.offset, place.bytes), cause);
            }
            self.counted.add(&stored);
            let is_live = !self.live.is_above(key) && !self.live.is_below(key);
            if let Held::Separated(location) = stored.held
                && is_live
            {
                let seqno = stored.seqno;
                (self.separated)(key, Entry { location, seqno })?;
            }
        }
        Ok(count as u64)
    }

    /// Footers, trailers and what stands between; the parts end at `at`.
    fn ends(&mut self, at: u64) -> Result<()> {
        let run = self.run;
        let [first, second] = run.trailer().places();
        if at != first.offset {
            self.not_reached(at);
        }
        for place in [first, second] {
            let copy = check_footer(run, place, first.offset);
            self.report.note((place.offset, place.bytes), copy)?;
        }
        let trailer_bytes = TRAILER_BYTES as u64;
        let offsets = Trailer::offsets(run.file_bytes()).unwrap_or_default();
        for offset in offsets {
            let copy = check_trailer(run, offset);
            self.report.note((offset, trailer_bytes), copy)?;
        }
        let [last_trailer, first_trailer] = offsets;
        let gaps = [
            (first.offset + first.bytes, second.offset),
            (second.offset + second.bytes, first_trailer),
            (first_trailer + trailer_bytes, last_trailer),
        ];
        for (start, end) in gaps {
            let gap = check_gap(run, start, end);
            self.report.note((start, end.saturating_sub(start)), gap)?;
        }
        let length = run.file()?.len();
        let length = length.map_err(|source| fault::io("look at", run.path(), source))?;
        if length != run.file_bytes() {
            let what = format!(
                "it has {length} bytes, and {} were written",
                run.file_bytes()
            );
            self.report.push_whole(fault::corrupt(run.path(), what));
        }
        Ok(())
    }

    fn not_reached(&mut self, at: u64) {
        self.report.push((at, 0), not_reached(self.run, at));
    }
}

fn check_header(run: &RunReader) -> Result<()> {
    let mut bytes = RunHeader::buffer();
    read_exact(&*run.file()?, run.path(), &mut bytes, 0, "header")?;
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

fn check_footer(run: &RunReader, place: Place, end: u64) -> Result<()> {
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

fn check_trailer(run: &RunReader, offset: u64) -> Result<()> {
    let copy = read_trailer(&*run.file()?, run.path(), &run.identity().salt, offset)?;
    if copy == *run.trailer() {
        return Ok(());
    }
    Err(fault::corrupt(run.path(), "the two trailers differ"))
}

fn check_gap(run: &RunReader, start: u64, end: u64) -> Result<()> {
    if start == end {
        return Ok(());
    }
    if end.checked_sub(start) != Some(COPY_GAP_BYTES) {
        return Err(not_reached(run, start));
    }
    let mut bytes = COPY_GAP;
    read_exact(&*run.file()?, run.path(), &mut bytes, start, "gap")?;
    match bytes.iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(at) => {
            let what = format!("no zero at offset {}", start + at as u64);
            Err(fault::corrupt(run.path(), what))
        }
    }
}

fn not_reached(run: &RunReader, at: u64) -> Error {
    let what = format!("bytes at offset {at} belong to nothing");
    fault::corrupt(run.path(), what)
}
