//! Traces, crash points, and the images that a power cut may leave.
//!
//! At a crash point everything unsynced is a *unit* that is lost or kept on its own: a sector, a name, a length. A
//! [`Choice`] decides each unit; [`CrashPoint::image`] builds the disk that remains.

use super::SimDisk;
use super::medium::{
    DirNode, FileNode, Medium, Node, Op, Reach, SECTOR_BYTES, Sector, SectorBytes,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// SplitMix64 (Steele, Lea and Flood, 2014): all that the disk's randomness is.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// Everything that happened to a disk since its trace began.
#[derive(Clone, Debug)]
pub struct Trace {
    pub(super) start: Medium,
    pub(super) ops: Vec<Op>,
}

impl Trace {
    /// How many changes and syncs there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// One op in words.
    #[must_use]
    pub fn describe(&self, op: usize) -> String {
        match self.ops.get(op) {
            Some(Op::Write {
                inode,
                offset,
                bytes,
            }) => {
                format!(
                    "{op}: write inode {inode} [{offset}..{})",
                    offset + bytes.len() as u64
                )
            }
            Some(other) => format!("{op}: {other:?}"),
            None => format!("{op}: the end"),
        }
    }

    /// The crash points in order: before the first op, between any two, behind the last.
    pub fn crash_points(&self) -> impl Iterator<Item = CrashPoint> {
        let mut medium = self.start.clone();
        (0..=self.ops.len()).map(move |op| {
            if let Some(before) = op.checked_sub(1) {
                medium.apply(&self.ops[before]);
            }
            CrashPoint::new(medium.clone(), op)
        })
    }
}

/// A moment at which the power is cut: so many ops have returned.
#[derive(Clone, Debug)]
pub struct CrashPoint {
    medium: Medium,
    op: usize,
    units: Vec<Unit>,
}

#[derive(Clone, Debug)]
struct Unit {
    clock: u64,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Sector { inode: u64, index: usize },
    Length { inode: u64 },
    Name { dir: u64, position: usize },
}

/// What becomes of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lost,
    Kept,
    /// A sector between two writes, or a length between two.
    Between(u64),
    /// Arbitrary in the bytes that were being changed.
    Garbled(u64),
}

/// What a power cut does to each unit of a crash point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice(Vec<Fate>);

/// Which choices to try at a crash point.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a plain set of numbers, meant to be written out"
)]
pub struct CrashPolicy {
    /// Up to so many units, every subset is tried.
    pub exhaustive_units_max: u32,
    /// Above: so many random subsets, beside all, none, each alone lost, each alone kept, and every prefix.
    pub seeded: u32,
    /// So many choices with garbled sectors, intermediate versions and intermediate lengths.
    pub garbled: u32,
    /// Where the random ones come from.
    pub seed: u64,
}

impl Default for CrashPolicy {
    fn default() -> Self {
        Self {
            exhaustive_units_max: 10,
            seeded: 64,
            garbled: 8,
            seed: 1,
        }
    }
}

/// How many units are lost or kept alone, at most.
const ALONE_MAX: usize = 32;

impl CrashPoint {
    pub(super) fn new(medium: Medium, op: usize) -> Self {
        let mut units = Vec::new();
        for (inode, node) in &medium.nodes {
            match node {
                Node::File(file) => file_units(*inode, file, &mut units),
                Node::Dir(dir) => {
                    let open = dir.changes.iter().enumerate();
                    let open = open.filter(|(_, change)| change.reach != Reach::Synced);
                    units.extend(open.map(|(position, change)| Unit {
                        clock: change.clock,
                        what: What::Name {
                            dir: *inode,
                            position,
                        },
                    }));
                }
            }
        }
        units.sort_by_key(|unit| unit.clock);
        Self { medium, op, units }
    }

    /// How many ops have returned.
    #[must_use]
    pub const fn op(&self) -> usize {
        self.op
    }

    /// How many things may be lost or kept on their own.
    #[must_use]
    pub fn unit_count(&self) -> usize {
        self.units.len()
    }

    /// The choices that a policy asks for.
    #[must_use]
    pub fn choices(&self, policy: &CrashPolicy) -> Vec<Choice> {
        let count = self.units.len();
        let pick = |kept: &dyn Fn(usize) -> bool| {
            Choice(
                (0..count)
                    .map(|at| if kept(at) { Fate::Kept } else { Fate::Lost })
                    .collect(),
            )
        };
        let mut random = Random(policy.seed ^ (self.op as u64).wrapping_mul(0x9e37_79b9));
        let mut choices = Vec::new();
        if count <= policy.exhaustive_units_max as usize {
            choices.extend((0..1_u64 << count).map(|mask| pick(&|at| mask >> at & 1 == 1)));
        } else {
            choices.push(pick(&|_| false));
            choices.push(pick(&|_| true));
            // One unit against all others: of very many, these many, evenly spread.
            for alone in (0..count).step_by(count.div_ceil(ALONE_MAX)) {
                choices.push(pick(&|at| at != alone));
                choices.push(pick(&|at| at == alone));
                choices.push(pick(&|at| at < alone));
            }
            for _ in 0..policy.seeded {
                let bits: Vec<bool> = (0..count).map(|_| random.below(2) == 1).collect();
                choices.push(pick(&|at| bits[at]));
            }
        }
        if count > 0 {
            for _ in 0..policy.garbled {
                choices.push(Choice(
                    (0..count).map(|_| random_fate(&mut random)).collect(),
                ));
            }
        }
        choices
    }

    /// The disk as the next process finds it if this one dies here and the power stays: all is readable, and what was
    /// volatile still is.
    #[must_use]
    pub fn died(&self) -> SimDisk {
        SimDisk::from_medium(self.medium.clone())
    }

    /// The disk that remains after this choice: everything on it is durable.
    #[must_use]
    pub fn image(&self, choice: &Choice) -> SimDisk {
        SimDisk::from_medium(self.settle(choice))
    }

    pub(super) fn random_choice(&self, seed: u64) -> Choice {
        let mut random = Random(seed);
        Choice(
            self.units
                .iter()
                .map(|_| random_fate(&mut random))
                .collect(),
        )
    }

    pub(super) fn uniform_choice(&self, kept: bool) -> Choice {
        let fate = if kept { Fate::Kept } else { Fate::Lost };
        Choice(vec![fate; self.units.len()])
    }

    pub(super) fn settle(&self, choice: &Choice) -> Medium {
        let mut sectors = BTreeMap::new();
        let mut lengths = BTreeMap::new();
        let mut names = BTreeMap::new();
        for (unit, fate) in self.units.iter().zip(&choice.0) {
            match unit.what {
                What::Sector { inode, index } => {
                    sectors.insert((inode, index), *fate);
                }
                What::Length { inode } => {
                    lengths.insert(inode, *fate);
                }
                What::Name { dir, position } => {
                    names.insert((dir, position), *fate != Fate::Lost);
                }
            }
        }
        let nodes = self.medium.nodes.iter().map(|(inode, node)| {
            let settled = match node {
                Node::File(file) => Node::File(settle_file(
                    file,
                    |index| sectors.get(&(*inode, index)).copied(),
                    lengths.get(inode).copied(),
                )),
                Node::Dir(dir) => Node::Dir(settle_dir(dir, |at| {
                    names.get(&(*inode, at)) == Some(&true)
                })),
            };
            (*inode, settled)
        });
        let mut medium = Medium {
            nodes: nodes.collect(),
            next_inode: self.medium.next_inode,
            clock: 0,
        };
        medium.forget_unnamed();
        medium
    }
}

fn file_units(inode: u64, file: &FileNode, units: &mut Vec<Unit>) {
    for (index, sector) in file.sectors.iter().enumerate() {
        if let Some((clock, _)) = sector.versions().last() {
            units.push(Unit {
                clock: *clock,
                what: What::Sector { inode, index },
            });
        }
    }
    if let Some(clock) = file.length_changed.or(file.length_in_doubt) {
        units.push(Unit {
            clock,
            what: What::Length { inode },
        });
    }
}

fn random_fate(random: &mut Random) -> Fate {
    match random.below(5) {
        0 => Fate::Lost,
        1 => Fate::Kept,
        2 => Fate::Between(random.next()),
        _ => Fate::Garbled(random.next()),
    }
}

fn settle_file(
    file: &FileNode,
    sector_fate: impl Fn(usize) -> Option<Fate>,
    length_fate: Option<Fate>,
) -> FileNode {
    let (old, new) = (file.durable_length, file.length);
    let length = match length_fate {
        None | Some(Fate::Lost) => old,
        Some(Fate::Kept) => new,
        Some(Fate::Between(seed) | Fate::Garbled(seed)) => {
            let (low, high) = file.lengths_possible();
            low + seed % (high - low + 1)
        }
    };
    let mut sectors: Vec<Sector> = Vec::with_capacity(file.sectors.len());
    for (index, sector) in file.sectors.iter().enumerate() {
        let bytes = sector_fate(index).map_or_else(
            || Arc::clone(&sector.durable),
            |fate| settle_sector(sector, fate),
        );
        sectors.push(Sector {
            allocated: sector.allocated,
            ..Sector::settled(bytes)
        });
    }
    cut(&mut sectors, length);
    FileNode {
        sectors,
        length,
        durable_length: length,
        length_changed: None,
        length_in_doubt: None,
        lengths_seen: None,
    }
}

fn settle_sector(sector: &Sector, fate: Fate) -> SectorBytes {
    match fate {
        Fate::Lost => Arc::clone(&sector.durable),
        Fate::Kept => Arc::clone(&sector.cache),
        Fate::Between(seed) => {
            let mut versions = sector.versions();
            let at = usize::try_from(seed % versions.len() as u64).unwrap_or_default();
            let version = versions.nth(at);
            Arc::clone(version.map_or(&sector.cache, |(_, bytes)| bytes))
        }
        Fate::Garbled(seed) => {
            let mut random = Random(seed);
            let mut bytes = *sector.durable;
            let changed = |at: usize| {
                sector
                    .versions()
                    .any(|(_, version)| version[at] != sector.durable[at])
            };
            for at in (0..SECTOR_BYTES).filter(|at| changed(*at)) {
                bytes[at] = random.next().to_le_bytes()[0];
            }
            Arc::new(bytes)
        }
    }
}

/// What lies behind the end of a file is nothing.
fn cut(sectors: &mut Vec<Sector>, length: u64) {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    sectors.truncate(length.div_ceil(SECTOR_BYTES));
    let within = length % SECTOR_BYTES;
    if within != 0
        && let Some(last) = sectors.get_mut(length / SECTOR_BYTES)
    {
        let mut bytes = *last.cache;
        bytes[within..].fill(0);
        let allocated = last.allocated;
        *last = Sector {
            allocated,
            ..Sector::settled(Arc::new(bytes))
        };
    }
}

fn settle_dir(dir: &DirNode, kept: impl Fn(usize) -> bool) -> DirNode {
    let mut names = dir.durable.clone();
    for (at, change) in dir.changes.iter().enumerate() {
        if change.reach == Reach::Synced || kept(at) {
            change.change.apply(&mut names);
        }
    }
    DirNode {
        durable: names.clone(),
        names,
        changes: Vec::new(),
    }
}
