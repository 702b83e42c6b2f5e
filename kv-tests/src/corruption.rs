//! Every byte of a store's files flipped, and every length cut: right data, a reported torn tail where the table allows
//! one, or an error that names the file, and where: for a flip the offset of the frame or header that it is in, for a
//! cut that, or the length that is left. Never a panic, never silent loss, and never more lost than the table says.
//!
//! | region | flipped | cut there |
//! |---|---|---|
//! | `LOCK` | right | right |
//! | `MANIFEST`, `MANIFEST.2` | right: the other copy verifies | right: the other copy verifies |
//! | a sealed segment, up to its recorded length | refused | refused |
//! | the active segment, up to its floor | refused | refused |
//! | the active segment, from the floor to the start of the last group | refused: a later header proves it | the groups before the cut, and a torn tail is reported |
//! | the last group of a store that was not closed | the groups before it, and a torn tail is reported; refused if the header of a torn write behind it proves it | the groups before it, and a torn tail is reported |
//! | zeros or a torn tail behind the last group | right | right |
//!
//! A closed store has its floor where the mark of its close begins: no byte before it is unproven, and nothing is lost with
//! the mark. What a cut of a crashed store's active segment takes with it cannot be told from a length that was never durable; it is reported, not refused.

use crate::oracle::Contents;
use crate::workload::{STORE, contents_of, options};
use kv_log_engine::Engine;
use kv_log_engine::storage::sim::SimDisk;
use kv_trait::{Error, ErrorKind};
use std::collections::BTreeMap;

/// How the store came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Closed.
    Closed,
    /// The power went after the last acknowledged write.
    PowerCut,
    /// The power went in the middle of one more write, whose first bytes are there.
    Torn,
}

/// A small store with sealed segments, and what may be left of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct SmallStore {
    /// The disk it is on.
    pub disk: SimDisk,
    /// How it ended.
    pub end: End,
    /// What it holds.
    pub contents: Contents,
    /// What it held after each write, the empty store first.
    prefixes: Vec<Contents>,
    /// Where each write's frame is.
    frames: Vec<Frame>,
    /// The active segment.
    active: String,
    /// The manifest's floor in it.
    floor: usize,
    /// Where its last group begins, and where it ends.
    last_group: (usize, usize),
}

#[derive(Clone, Debug)]
struct Frame {
    file: String,
    start: usize,
    end: usize,
}

/// What must become of a store with one kind of damage.
#[derive(Clone, Copy, Debug)]
struct Expected {
    region: &'static str,
    verdict: Verdict,
    /// How many of the writes must be left, if the tail is torn.
    prefix: usize,
}

/// What was done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    FlippedAt(usize),
    CutTo(usize),
}

/// What became of a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// Everything is there.
    Right,
    /// Exactly the writes before the damage are there, and the report names a torn tail.
    Torn,
    /// The open was refused; the error names the file.
    Refused,
}

/// How often each verdict was met, by region.
pub type Counts = BTreeMap<(&'static str, Verdict), u64>;

const SEGMENT_BYTES: u64 = 2048;
const HEADER_BYTES: usize = 104;
const CLEAN_MARK_BYTES: usize = 88;

fn open(disk: &SimDisk) -> Result<Engine, Error> {
    Engine::open(STORE, options(disk, 5, SEGMENT_BYTES))
}

/// Makes a store of some segments.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn small_store(end: End) -> SmallStore {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, SEGMENT_BYTES)).expect("a new store");
    let (mut prefixes, mut frames) = (vec![Contents::new()], Vec::new());
    let mut last_group = (0, 0);
    let active_end = |store: &Engine| {
        let stats = store.stats();
        let active = stats.segments.iter().find(|segment| segment.active);
        let active = active.expect("one is active");
        let end = usize::try_from(active.bytes).expect("a small store");
        (active.id, end)
    };
    for number in 0..13_u8 {
        let before = active_end(&store);
        let mut contents = prefixes.last().expect("it begins with one").clone();
        let key = vec![b'k', number % 5];
        if number == 6 {
            store.remove(&key).expect("the disk is good");
            contents.remove(&key);
        } else {
            let value = vec![number; 30 + 15 * usize::from(number)];
            store.put(&key, &value).expect("the disk is good");
            contents.insert(key, value);
        }
        prefixes.push(contents);
        let after = active_end(&store);
        let rotated = after.0 != before.0;
        let start = if rotated { HEADER_BYTES } else { before.1 };
        last_group = (start, after.1);
        frames.push(Frame {
            file: newest_segment(&disk),
            start,
            end: after.1,
        });
    }
    let active = newest_segment(&disk);
    match end {
        End::Closed => {
            store.close().expect("the disk is good");
            let end = active_end(&store).1 - CLEAN_MARK_BYTES;
            last_group = (end, end);
        }
        End::PowerCut => disk.power_cut_losing_all(),
        End::Torn => {
            store.put(b"torn", &[7; 200]).expect("the disk is good");
            disk.power_cut_losing_all();
            // Its second half never arrived.
            let mut file = disk.read_file(&active).expect("it is there");
            file[last_group.1 + 166..].fill(0);
            disk.write_file(&active, &file).expect("it is there");
        }
    }
    drop(store);
    // Sealing and creating are the only edits so far: the floor is the header of the active segment.
    let floor = if end == End::Closed {
        last_group.1
    } else {
        HEADER_BYTES
    };
    SmallStore {
        disk,
        end,
        contents: prefixes.last().expect("it begins with one").clone(),
        prefixes,
        frames,
        active,
        floor,
        last_group,
    }
}

fn is_manifest(file: &str) -> bool {
    file.ends_with("MANIFEST") || file.ends_with("MANIFEST.2")
}

/// No data: a few of its bytes stand for all of them.
fn is_reserve(file: &str) -> bool {
    file.contains("/RESERVE.")
}

/// The distance from one damage of a file to the next.
fn step_in(file: &str) -> usize {
    if is_reserve(file) { 4093 } else { 1 }
}

fn newest_segment(disk: &SimDisk) -> String {
    let mut names = disk.files().into_iter();
    let newest = names.rfind(|name| name.ends_with(".seg"));
    newest.expect("a store has a segment")
}

/// The offset that a message names.
fn offset_in(message: &str) -> Option<usize> {
    let (_, behind) = message.split_once("at offset ")?;
    let digits = behind.split(|letter: char| !letter.is_ascii_digit()).next();
    digits?.parse().ok()
}

impl SmallStore {
    /// Region and allowed verdict of a flipped byte.
    fn flipped(&self, file: &str, at: usize) -> (&'static str, Verdict) {
        if file.ends_with("LOCK") {
            ("lock", Verdict::Right)
        } else if is_reserve(file) {
            ("reserve", Verdict::Right)
        } else if is_manifest(file) {
            ("manifest", Verdict::Right)
        } else if file != self.active {
            ("sealed segment", Verdict::Refused)
        } else if at < self.floor {
            ("active segment, below the floor", Verdict::Refused)
        } else if at < self.last_group.0 || self.end == End::Torn && at < self.last_group.1 {
            ("active segment, proven by a later group", Verdict::Refused)
        } else if at < self.last_group.1 {
            ("last group", Verdict::Torn)
        } else {
            ("behind the last group", Verdict::Right)
        }
    }

    /// Region and allowed verdict of a file cut to a length.
    fn cut(&self, file: &str, length: usize) -> (&'static str, Verdict) {
        if file == self.active && length >= self.floor && length < self.last_group.1 {
            ("active segment of a crashed store, cut", Verdict::Torn)
        } else {
            self.flipped(file, length)
        }
    }

    fn expected(&self, file: &str, damage: Damage) -> Expected {
        let ((region, verdict), first_bad) = match damage {
            Damage::FlippedAt(at) => (self.flipped(file, at), at),
            Damage::CutTo(length) => (self.cut(file, length), length),
        };
        let whole = |frame: &&Frame| frame.file != file || frame.end <= first_bad;
        Expected {
            region,
            verdict,
            prefix: self.frames.iter().take_while(whole).count(),
        }
    }

    /// Where the frame or header that holds a byte begins. What is behind the last write is one frame: a footer, or
    /// the mark of a close.
    fn unit_of(&self, file: &str, at: usize) -> usize {
        let frames = self.frames.iter().filter(|frame| frame.file == file);
        let starts = frames.flat_map(|frame| [frame.start, frame.end]);
        starts.filter(|start| *start <= at).max().unwrap_or(0)
    }

    fn assert_names_the_place(&self, message: &str, file: &str, damage: Damage, context: &str) {
        let name = file.rsplit('/').next().unwrap_or(file);
        let offset = offset_in(message);
        let place = match damage {
            Damage::FlippedAt(at) => offset == Some(self.unit_of(file, at)),
            Damage::CutTo(length) => {
                offset.is_some_and(|offset| offset <= length)
                    || message.contains(&format!("truncated: {length} bytes"))
            }
        };
        assert!(
            message.contains(name) && place,
            "{context}: does not say where: {message}"
        );
    }

    fn verdict(&self, disk: &SimDisk, file: &str, damage: Damage, context: &str) -> Verdict {
        match open(disk) {
            Err(error) => {
                let refused = matches!(
                    error.kind(),
                    ErrorKind::Corrupt | ErrorKind::UnsupportedFormat
                );
                assert!(refused, "{context}: {error:?}");
                self.assert_names_the_place(&error.to_string(), file, damage, context);
                Verdict::Refused
            }
            Ok(store) => {
                let found = contents_of(&store);
                if found == self.contents {
                    return Verdict::Right;
                }
                let prefix = self.prefixes.iter().position(|known| *known == found);
                assert_eq!(
                    prefix,
                    Some(self.expected(file, damage).prefix),
                    "{context}: opened, and shows other writes than those before the damage"
                );
                assert!(
                    store.recovery_report().torn_tail.is_some(),
                    "{context}: writes were lost without a word"
                );
                Verdict::Torn
            }
        }
    }

    fn try_damaged(
        &self,
        file: &str,
        bytes: &[u8],
        damage: Damage,
        context: &str,
        counts: &mut Counts,
    ) {
        let disk = self.disk.fork();
        disk.write_file(file, bytes).expect("the file is there");
        let verdict = self.verdict(&disk, file, damage, context);
        let expected = self.expected(file, damage);
        assert_eq!(verdict, expected.verdict, "{context}, {}", expected.region);
        *counts.entry((expected.region, verdict)).or_default() += 1;
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let names = self.disk.files().into_iter();
        // Directories cannot be read.
        names
            .filter_map(|name| Some((name.clone(), self.disk.read_file(&name).ok()?)))
            .collect()
    }

    /// Flips every byte of every file, with each of the patterns.
    ///
    /// # Panics
    /// If the outcome is not the table's. The message names file and offset.
    #[must_use]
    pub fn flip_every_byte(&self, patterns: &[u8]) -> Counts {
        let mut counts = Counts::new();
        for (file, whole) in self.files() {
            for at in (0..whole.len()).step_by(step_in(&file)) {
                for pattern in patterns {
                    let mut bytes = whole.clone();
                    bytes[at] ^= pattern;
                    let context = format!("{:?}: {file}, byte {at} ^ {pattern:#x}", self.end);
                    let damage = Damage::FlippedAt(at);
                    self.try_damaged(&file, &bytes, damage, &context, &mut counts);
                }
            }
        }
        counts
    }

    /// Cuts every file to every length.
    ///
    /// # Panics
    /// If the outcome is not the table's. The message names file and length.
    #[must_use]
    pub fn cut_every_length(&self) -> Counts {
        let mut counts = Counts::new();
        for (file, whole) in self.files() {
            for length in (0..whole.len()).step_by(step_in(&file)) {
                let context = format!("{:?}: {file}, cut to {length} bytes", self.end);
                let damage = Damage::CutTo(length);
                self.try_damaged(&file, &whole[..length], damage, &context, &mut counts);
            }
        }
        counts
    }
}
