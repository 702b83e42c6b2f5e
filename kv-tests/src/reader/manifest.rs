//! The manifest: which of its two copies is right, and what the entries of that lead to.

use super::SEGMENT_HEADER;
use super::file::{Fields, File, Read, siphash};
use super::tables::Tables;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MANIFEST_KEY: &[u8; 16] = b"kvlog manifest 0";
const ENTRY_HEADER: usize = 40;
/// No length of a file, and no count of what is in one, is above this.
const NUMBER_MAX: u64 = 1 << 40;
/// The longest bound of a run's live keys.
const BOUND_MAX: usize = 65_541;

/// Where a segment stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Sealed,
    Active,
    Values,
}

/// A segment as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) id: u64,
    pub(super) salt: [u8; 16],
    pub(super) state: State,
    pub(super) base_seqno: u64,
    pub(super) end: usize,
    pub(super) chain: u64,
    pub(super) lowest: u64,
    pub(super) highest: u64,
}

/// What a run, or the manifest of it, says in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) entries: u64,
    pub(super) tombstones: u64,
    pub(super) lowest: u64,
    pub(super) highest: u64,
    /// Of what expires: the earliest and the latest moment, and how many entries. `None`: nothing does.
    pub(super) expiry: Option<(u64, u64, u64)>,
    /// For each segment that is referred to: records, and their length.
    pub(super) referred: BTreeMap<u64, (u64, u64)>,
}

/// A run as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedRun {
    pub(super) id: u64,
    pub(super) salt: [u8; 16],
    pub(super) level: u64,
    pub(super) length: usize,
    pub(super) from: Vec<u8>,
    pub(super) to: Option<Vec<u8>>,
    pub(super) taken: u64,
    /// It was written without what was erased up to here.
    pub(super) erased_to: u64,
    pub(super) facts: Facts,
}

/// How far runs cover the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) seqno: u64,
    pub(super) segment: u64,
    pub(super) offset: usize,
    pub(super) chain: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    /// 0: no record.
    pub(super) lowest: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) edit: u64,
    pub(super) store_id: [u8; 16],
    pub(super) incarnation: [u8; 16],
    pub(super) next_seqno: u64,
    pub(super) next_file_id: u64,
    pub(super) clock: u64,
    pub(super) fingerprint: String,
    pub(super) segments: BTreeMap<u64, Named>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) runs: BTreeMap<u64, NamedRun>,
    /// Newest and oldest level of each merge under way.
    pub(super) passes: Vec<(u64, u64)>,
    /// As of the checkpoint.
    pub(super) tables: Tables,
    pub(super) carried: Vec<u8>,
}

impl Manifest {
    /// Whether nothing of a segment of the log has to be replayed.
    pub(super) fn is_covered(&self, named: &Named) -> bool {
        let covered = |checkpoint: &Checkpoint| {
            named.id <= checkpoint.segment && named.highest <= checkpoint.seqno
        };
        named.state == State::Sealed && self.checkpoint.as_ref().is_some_and(covered)
    }

    /// The levels, the newest first: each its runs by their keys.
    pub(super) fn levels(&self) -> Vec<Vec<&NamedRun>> {
        let mut levels: BTreeMap<u64, Vec<&NamedRun>> = BTreeMap::new();
        for run in self.runs.values() {
            levels.entry(run.level).or_default().push(run);
        }
        let mut levels: Vec<_> = levels.into_values().rev().collect();
        for level in &mut levels {
            level.sort_by_key(|run| (&run.from, run.to.is_none(), &run.to));
        }
        levels
    }

    /// What makes no sense of the state as a whole.
    fn nonsense(&self) -> Option<&'static str> {
        let active = self.segments.values();
        let active = active.filter(|named| named.state == State::Active);
        let mut ids = self.segments.keys().chain(self.runs.keys());
        if active.count() != 1 || ids.any(|id| *id >= self.next_file_id) {
            return Some("segments that make no sense");
        }
        if self.next_file_id >= 1 << 62 {
            return Some("an id beyond all");
        }
        let ends = self.segments.values().map(|named| named.end as u64);
        let numbers = self.runs.values().flat_map(|run| {
            let referred = run.facts.referred.values();
            let referred = referred.flat_map(|(records, bytes)| [*records, *bytes]);
            referred.chain([run.length as u64, run.facts.entries])
        });
        if ends.chain(numbers).any(|number| number > NUMBER_MAX) {
            return Some("a length or a count beyond all");
        }
        let covered = self.checkpoint.map(|checkpoint| checkpoint.seqno);
        if self.tables.newest() > covered.unwrap_or_default() {
            return Some("what is erased is above the checkpoint");
        }
        for run in self.runs.values() {
            let facts = &run.facts;
            if self.segments.contains_key(&run.id) {
                return Some("a run with the id of a segment");
            }
            if covered.is_none_or(|covered| facts.highest > covered) {
                return Some("a run above the checkpoint");
            }
            if facts.tombstones > facts.entries
                || facts.expiry.is_some_and(|(.., some)| some > facts.entries)
                || run.taken > facts.entries
                || facts.lowest > facts.highest
                || run.to.as_ref().is_some_and(|to| *to < run.from)
            {
                return Some("a run that makes no sense");
            }
        }
        for level in self.levels() {
            let overlaps = |pair: &[&NamedRun]| {
                let to = pair[0].to.as_ref();
                to.is_none_or(|to| *to > pair[1].from)
            };
            if level.windows(2).any(overlaps) {
                return Some("runs of one level that overlap");
            }
        }
        if self.passes.iter().any(|(newest, oldest)| newest < oldest) {
            return Some("a pass that makes no sense");
        }
        self.checkpoint
            .and_then(|checkpoint| self.misplaced(checkpoint))
    }

    fn misplaced(&self, checkpoint: Checkpoint) -> Option<&'static str> {
        if checkpoint.seqno >= self.next_seqno
            || checkpoint.offset < SEGMENT_HEADER
            || !checkpoint.offset.is_multiple_of(8)
        {
            return Some("a checkpoint that makes no sense");
        }
        let wrong = |named: &Named| match (named.state, named.id.cmp(&checkpoint.segment)) {
            (State::Sealed, Ordering::Less) => named.highest > checkpoint.seqno,
            (State::Sealed, Ordering::Equal) => checkpoint.offset > named.end,
            (State::Active, order) => order == Ordering::Less,
            (State::Values, order) => order == Ordering::Equal,
            (State::Sealed, Ordering::Greater) => false,
        };
        let wrong = self.segments.values().any(wrong);
        wrong.then_some("a segment that does not fit the checkpoint")
    }
}

/// One copy of the manifest, and what it says.
struct Copy {
    file: File,
    manifest: Manifest,
    /// The number of its image.
    image: u64,
}

/// The manifest, and whether both copies end with the same edit.
pub(super) fn read_manifest(directory: &Path) -> Read<(Manifest, bool)> {
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
    if let Some(what) = manifest.nonsense() {
        return file.wrong(0, what);
    }
    Ok(Ok(Copy {
        manifest,
        image: image.number,
        file,
    }))
}

fn apply(file: &File, manifest: &mut Manifest, entry: &Entry<'_>, skip: usize) -> Read<()> {
    manifest.edit = entry.number;
    let end = entry.content_at + entry.content.len();
    let mut items = Fields {
        file,
        at: entry.content_at + skip,
        end,
    };
    while !items.is_empty() {
        let start = items.at;
        let (kind, class) = (
            items.array().map(u16::from_le_bytes)?,
            items.array().map(u16::from_le_bytes)?,
        );
        let length = items.size()?;
        let at = items.at;
        items.take(length)?;
        let mut body = Fields {
            file,
            at,
            end: items.at,
        };
        if !apply_item(manifest, kind, &mut body)? {
            // To read is all that this does: what must not be written may be passed over, too.
            match class {
                1 => {}
                2 => {
                    let item = file.range(start, items.at - start)?;
                    manifest.carried.extend_from_slice(item);
                }
                _ => return file.wrong(start, "an item of a later version"),
            }
        } else if !body.is_empty() {
            return body.wrong("an item of another length");
        }
    }
    Ok(())
}

/// Whether the kind is known.
fn apply_item(manifest: &mut Manifest, kind: u16, body: &mut Fields<'_>) -> Read<bool> {
    match kind {
        1 => {
            manifest.store_id = body.array()?;
            manifest.incarnation = body.array()?;
            body.u64()?;
        }
        2 => drop(body.u64()?),
        3 => {
            manifest.next_seqno = manifest.next_seqno.max(body.u64()?);
            manifest.next_file_id = manifest.next_file_id.max(body.u64()?);
        }
        4 => {
            if (body.u32()?, body.u32()?) != (0, 0) {
                return body.wrong("a keyspace of a later version");
            }
            let length = usize::from(body.array().map(u16::from_le_bytes)?);
            let text = body.take(length)?;
            manifest.fingerprint = String::from_utf8_lossy(text).into_owned();
        }
        5 => {
            let named = segment(body)?;
            manifest.segments.insert(named.id, named);
        }
        6 => {
            while !body.is_empty() {
                let id = body.u64()?;
                let segment = manifest.segments.remove(&id).is_some();
                let run = manifest.runs.remove(&id).is_some();
                if !segment && !run {
                    return body.wrong("a file goes that was not there");
                }
            }
        }
        7 => {
            let named = run(body)?;
            manifest.runs.insert(named.id, named);
        }
        8 => {
            let (id, taken, from) = (body.u64()?, body.u64()?, body.bytes(BOUND_MAX)?);
            let Some(run) = manifest.runs.get_mut(&id) else {
                return body.wrong("a cut of no run");
            };
            let beyond = run.to.as_ref().is_some_and(|to| from > *to);
            if from < run.from || taken < run.taken || beyond {
                return body.wrong("a cut that makes no sense");
            }
            (run.from, run.taken) = (from, taken);
        }
        9 => {
            manifest.checkpoint = Some(Checkpoint {
                seqno: body.u64()?,
                segment: body.u64()?,
                offset: body.long()?,
                chain: body.u64()?,
                batches: body.u64()?,
                records: body.u64()?,
                lowest: body.u64()?,
            });
        }
        10 => manifest.tables.read_keyspaces(body)?,
        11 => manifest.passes = passes(body)?,
        12 => manifest.tables.read_erased(body)?,
        13 => manifest.clock = manifest.clock.max(body.u64()?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn segment(body: &mut Fields<'_>) -> Read<Named> {
    let (id, salt) = (body.u64()?, body.array()?);
    let state = match (body.u32()?, body.u32()?) {
        (0, 0) => State::Sealed,
        (1, 0) => State::Active,
        (2, 0) => State::Values,
        _ => return body.wrong("a segment of a later version"),
    };
    Ok(Named {
        id,
        salt,
        state,
        base_seqno: body.u64()?,
        end: body.long()?,
        chain: body.u64()?,
        lowest: body.u64()?,
        highest: body.u64()?,
    })
}

/// Of what expires in a run: the earliest and the latest moment, and how many entries.
pub(super) fn expiring(body: &mut Fields<'_>, some: bool) -> Read<Option<(u64, u64, u64)>> {
    let earliest = body.u64()?;
    if !some {
        return match earliest {
            u64::MAX => Ok(None),
            _ => body.wrong("a moment at which nothing expires"),
        };
    }
    let (latest, entries) = (body.u64()?, body.u64()?);
    if entries == 0 || latest < earliest {
        return body.wrong("moments that make no sense");
    }
    Ok(Some((earliest, latest, entries)))
}

fn run(body: &mut Fields<'_>) -> Read<NamedRun> {
    let (id, salt, level) = (body.u64()?, body.array()?, body.u64()?);
    let flags = body.u32()?;
    if flags > 3 {
        return body.wrong("a run of a later version");
    }
    let (taken, length) = (body.u64()?, body.long()?);
    let (entries, tombstones) = (body.u64()?, body.u64()?);
    let (lowest, highest) = (body.u64()?, body.u64()?);
    let expiry = expiring(body, flags & 2 != 0)?;
    let erased_to = body.u64()?;
    let from = body.bytes(BOUND_MAX)?;
    let to = match flags & 1 {
        0 => None,
        _ => Some(body.bytes(BOUND_MAX)?),
    };
    let (mut referred, mut last) = (BTreeMap::new(), 0_u64);
    for _ in 0..body.u32()? {
        let step = body.varint()?;
        let Some(id) = last.checked_add(step).filter(|_| step > 0) else {
            return body.wrong("segments out of order");
        };
        referred.insert(id, (body.varint()?, body.varint()?));
        last = id;
    }
    Ok(NamedRun {
        id,
        salt,
        level,
        length,
        from,
        to,
        taken,
        erased_to,
        facts: Facts {
            entries,
            tombstones,
            lowest,
            highest,
            expiry,
            referred,
        },
    })
}

fn passes(body: &mut Fields<'_>) -> Read<Vec<(u64, u64)>> {
    let mut passes = Vec::new();
    for _ in 0..body.u32()? {
        passes.push((body.u64()?, body.u64()?));
        body.u32()?; // the reason
        let mut last = None;
        for _ in 0..body.u32()? {
            let victim = Some(body.u64()?);
            if victim <= last {
                return body.wrong("victims out of order");
            }
            last = victim;
        }
    }
    Ok(passes)
}
