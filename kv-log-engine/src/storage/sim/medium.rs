//! What a disk and its page cache hold: for each sector, each length and each name what is readable and what is durable.
//!
//! Every change is an [`Op`] applied by [`Medium::apply`], both when it happens and when a trace is replayed, so a crash
//! point is computed by the same code that ran.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

/// The unit in which an interrupted write may be torn.
pub(super) const SECTOR_BYTES: usize = 512;
pub(super) type SectorBytes = Arc<[u8; SECTOR_BYTES]>;
/// The directory that is always there.
pub(super) const ROOT: u64 = 1;

/// One change of the medium, or one sync.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create {
        dir: u64,
        name: Arc<str>,
        inode: u64,
        directory: bool,
    },
    Write {
        inode: u64,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    SetLen {
        inode: u64,
        length: u64,
    },
    Sync {
        inode: u64,
    },
    /// The pages are clean now: readable, covered by no later sync, and any version of them may be what is durable.
    FailedSync {
        inode: u64,
    },
    Rename {
        dir: u64,
        from: Arc<str>,
        to: Arc<str>,
    },
    Remove {
        dir: u64,
        name: Arc<str>,
    },
    SyncDir {
        dir: u64,
    },
    FailedSyncDir {
        dir: u64,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Sector {
    pub(super) durable: SectorBytes,
    pub(super) cache: SectorBytes,
    /// What the sector held after each write since the last sync, with the number of the op.
    pub(super) unsynced: Vec<(u64, SectorBytes)>,
    /// The same for the syncs that failed: the device may have any of these, and only a new write is covered by a sync.
    pub(super) in_doubt: Vec<(u64, SectorBytes)>,
    /// It takes room.
    pub(super) allocated: bool,
    /// It took room when the file was synced last: where nothing is overwritten in place, until the next sync.
    pub(super) held: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    pub(super) sectors: Vec<Sector>,
    pub(super) length: u64,
    pub(super) durable_length: u64,
    /// The op that changed the length last, if it was not synced since.
    pub(super) length_changed: Option<u64>,
    /// The op that changed the length last before a sync failed, if no later change was synced.
    pub(super) length_in_doubt: Option<u64>,
    /// The shortest and the longest that it was since a change of length was synced, apart from `durable_length`.
    pub(super) lengths_seen: Option<(u64, u64)>,
}

/// What a file system does with blocks that are written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overwriting {
    /// They keep their place.
    InPlace,
    /// They get another one, and free the old one at the sync.
    Copies,
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Link {
        name: Arc<str>,
        inode: u64,
    },
    Unlink {
        name: Arc<str>,
    },
    Rename {
        from: Arc<str>,
        to: Arc<str>,
        inode: u64,
    },
}

/// How far a change of a name has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It waits for a sync.
    Cache,
    /// Its sync failed: the device may have it or not, and no later sync covers it.
    InDoubt,
    /// It was synced, and stands here only because one before it may still be lost.
    Synced,
}

#[derive(Clone, Debug)]
pub(super) struct Renaming {
    pub(super) clock: u64,
    pub(super) change: NameChange,
    pub(super) reach: Reach,
}

#[derive(Clone, Debug, Default)]
pub(super) struct DirNode {
    pub(super) names: BTreeMap<Arc<str>, u64>,
    /// What the device has for certain, before `changes`.
    pub(super) durable: BTreeMap<Arc<str>, u64>,
    /// In the order in which they happened.
    pub(super) changes: Vec<Renaming>,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Clone, Debug)]
pub(super) struct Medium {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) next_inode: u64,
    /// How many ops were applied.
    pub(super) clock: u64,
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<Arc<str>, u64>) {
        match self {
            Self::Link { name, inode } => {
                names.insert(Arc::clone(name), *inode);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to, inode } => {
                // One step for the target: it is the old file or the new one, never absent.
                names.insert(Arc::clone(to), *inode);
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
            }
        }
    }
}

impl Sector {
    fn zero() -> Self {
        let zeros: SectorBytes = Arc::new([0; SECTOR_BYTES]);
        Self {
            durable: Arc::clone(&zeros),
            cache: zeros,
            unsynced: Vec::new(),
            in_doubt: Vec::new(),
            allocated: false,
            held: false,
        }
    }

    pub(super) fn settled(bytes: SectorBytes) -> Self {
        Self {
            durable: Arc::clone(&bytes),
            cache: bytes,
            unsynced: Vec::new(),
            in_doubt: Vec::new(),
            allocated: true,
            held: true,
        }
    }

    /// How many places on the device it takes.
    fn places(&self, overwriting: Overwriting) -> u64 {
        match overwriting {
            Overwriting::InPlace => self.allocated.into(),
            Overwriting::Copies => u64::from(self.held) + u64::from(self.has_copy()),
        }
    }

    /// Whether a write to it takes another place.
    fn takes_room(&self, overwriting: Overwriting) -> bool {
        match overwriting {
            Overwriting::InPlace => !self.allocated,
            Overwriting::Copies => !self.has_copy(),
        }
    }

    /// It has a place beside the one that it had at the last sync.
    fn has_copy(&self) -> bool {
        self.allocated && !(self.held && self.unsynced.is_empty())
    }
}

impl Sector {
    /// Everything that the device may have instead of `durable`.
    pub(super) fn versions(&self) -> impl ExactSizeIterator<Item = &(u64, SectorBytes)> + Clone {
        // Both lists are short, and one of them is nearly always empty.
        let count = self.in_doubt.len() + self.unsynced.len();
        (0..count).map(|at| {
            self.in_doubt
                .get(at)
                .unwrap_or_else(|| &self.unsynced[at - self.in_doubt.len()])
        })
    }
}

impl DirNode {
    fn sync(&mut self) {
        for change in &mut self.changes {
            if change.reach == Reach::Cache {
                change.reach = Reach::Synced;
            }
        }
        let certain = self
            .changes
            .iter()
            .position(|change| change.reach != Reach::Synced)
            .unwrap_or(self.changes.len());
        for settled in self.changes.drain(..certain) {
            settled.change.apply(&mut self.durable);
        }
    }

    fn sync_failed(&mut self) {
        for change in &mut self.changes {
            if change.reach == Reach::Cache {
                change.reach = Reach::InDoubt;
            }
        }
    }
}

impl FileNode {
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let available = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buffer.len().min(available);
        each_sector(offset, count, |index, within, range| {
            if let Some(sector) = self.sectors.get(index) {
                let length = range.len();
                buffer[range].copy_from_slice(&sector.cache[within..within + length]);
            }
        });
        count
    }

    fn write(&mut self, bytes: &[u8], offset: u64, clock: u64) {
        each_sector(offset, bytes.len(), |index, within, range| {
            self.change(index, clock, true, |sector| {
                sector[within..within + range.len()].copy_from_slice(&bytes[range]);
            });
        });
        let end = offset + bytes.len() as u64;
        if end > self.length {
            self.change_length(end, clock);
        }
    }

    fn change_length(&mut self, length: u64, clock: u64) {
        self.length = length;
        self.length_changed = Some(clock);
        let (low, high) = self.lengths_seen.unwrap_or((length, length));
        self.lengths_seen = Some((low.min(length), high.max(length)));
    }

    /// Any length that the device may have now.
    pub(super) fn lengths_possible(&self) -> (u64, u64) {
        let durable = self.durable_length;
        let (low, high) = self.lengths_seen.unwrap_or((durable, durable));
        (low.min(durable), high.max(durable))
    }

    fn change(
        &mut self,
        index: usize,
        clock: u64,
        allocate: bool,
        change: impl FnOnce(&mut [u8; SECTOR_BYTES]),
    ) {
        if self.sectors.len() <= index {
            self.sectors.resize_with(index + 1, Sector::zero);
        }
        let sector = &mut self.sectors[index];
        let mut bytes = *sector.cache;
        change(&mut bytes);
        sector.cache = Arc::new(bytes);
        sector.allocated |= allocate;
        sector.unsynced.push((clock, Arc::clone(&sector.cache)));
    }

    fn set_len(&mut self, length: u64, clock: u64) {
        if length < self.length {
            // What was cut reads as zeros if the file grows again.
            let cut = self.length - length;
            let cut = usize::try_from(cut).unwrap_or(usize::MAX);
            let held = self.sectors.len();
            let mut touched = Vec::new();
            each_sector(length, cut, |index, within, range| {
                touched.push((index, within, range.len()));
            });
            for (index, within, count) in touched.into_iter().filter(|(index, ..)| *index < held) {
                if self.sectors[index].cache[within..within + count]
                    .iter()
                    .any(|byte| *byte != 0)
                {
                    self.change(index, clock, false, |sector| {
                        sector[within..within + count].fill(0);
                    });
                }
                self.sectors[index].allocated &= within > 0;
            }
        }
        if length != self.length {
            self.change_length(length, clock);
        }
    }

    fn sync(&mut self) {
        for sector in &mut self.sectors {
            if !sector.unsynced.is_empty() {
                sector.durable = Arc::clone(&sector.cache);
                sector.unsynced.clear();
                sector.in_doubt.clear();
            }
            sector.held = sector.allocated;
        }
        if self.length_changed.take().is_some() {
            self.durable_length = self.length;
            self.length_in_doubt = None;
            self.lengths_seen = None;
        }
    }

    fn sync_failed(&mut self) {
        for sector in &mut self.sectors {
            sector.in_doubt.append(&mut sector.unsynced);
        }
        self.length_in_doubt = self.length_changed.take().or(self.length_in_doubt);
    }

    pub(super) fn allocated_bytes(&self, overwriting: Overwriting) -> u64 {
        let sectors = self.sectors.iter();
        let places: u64 = sectors.map(|sector| sector.places(overwriting)).sum();
        places * SECTOR_BYTES as u64
    }

    /// How many of these bytes can be written if only `room` may be allocated: a write ends where the disk is full.
    pub(super) fn fits(
        &self,
        offset: u64,
        count: usize,
        room: u64,
        overwriting: Overwriting,
    ) -> usize {
        let (mut new, mut fits) = (0, 0);
        each_sector(offset, count, |index, _, range| {
            let sector = self.sectors.get(index);
            if sector.is_none_or(|sector| sector.takes_room(overwriting)) {
                new += SECTOR_BYTES as u64;
            }
            if new <= room {
                fits = range.end;
            }
        });
        fits
    }
}

/// Splits `[offset, offset + count)` at sector borders: sector, offset in it, range of the caller's bytes.
fn each_sector(
    offset: u64,
    count: usize,
    mut visit: impl FnMut(usize, usize, std::ops::Range<usize>),
) {
    let mut done = 0;
    while done < count {
        let at = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .saturating_add(done);
        let within = at % SECTOR_BYTES;
        let length = (SECTOR_BYTES - within).min(count - done);
        visit(at / SECTOR_BYTES, within, done..done + length);
        done += length;
    }
}

impl Medium {
    pub(super) fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]);
        Self {
            nodes,
            next_inode: ROOT + 1,
            clock: 0,
        }
    }

    pub(super) fn apply(&mut self, op: &Op) {
        self.clock += 1;
        let clock = self.clock;
        match op {
            Op::Create {
                dir,
                name,
                inode,
                directory,
            } => {
                let node = if *directory {
                    Node::Dir(DirNode::default())
                } else {
                    Node::File(FileNode::default())
                };
                self.nodes.insert(*inode, node);
                self.next_inode = self.next_inode.max(inode + 1);
                self.change_names(
                    *dir,
                    NameChange::Link {
                        name: Arc::clone(name),
                        inode: *inode,
                    },
                );
            }
            Op::Write {
                inode,
                offset,
                bytes,
            } => {
                self.with_file(*inode, |file| file.write(bytes, *offset, clock));
            }
            Op::SetLen { inode, length } => {
                self.with_file(*inode, |file| file.set_len(*length, clock));
            }
            Op::Sync { inode } => self.with_file(*inode, FileNode::sync),
            Op::FailedSync { inode } => self.with_file(*inode, FileNode::sync_failed),
            Op::Rename { dir, from, to } => {
                if let Some(inode) = self.dir(*dir).and_then(|d| d.names.get(from).copied()) {
                    let (from, to) = (Arc::clone(from), Arc::clone(to));
                    self.change_names(*dir, NameChange::Rename { from, to, inode });
                }
            }
            Op::Remove { dir, name } => {
                self.change_names(
                    *dir,
                    NameChange::Unlink {
                        name: Arc::clone(name),
                    },
                );
            }
            Op::SyncDir { dir } => self.with_dir(*dir, DirNode::sync),
            Op::FailedSyncDir { dir } => self.with_dir(*dir, DirNode::sync_failed),
        }
    }

    fn change_names(&mut self, dir: u64, change: NameChange) {
        let clock = self.clock;
        self.with_dir(dir, |dir| {
            change.apply(&mut dir.names);
            let reach = Reach::Cache;
            dir.changes.push(Renaming {
                clock,
                change,
                reach,
            });
        });
    }

    fn with_file(&mut self, inode: u64, work: impl FnOnce(&mut FileNode)) {
        if let Some(Node::File(file)) = self.nodes.get_mut(&inode) {
            work(file);
        }
    }

    fn with_dir(&mut self, inode: u64, work: impl FnOnce(&mut DirNode)) {
        if let Some(Node::Dir(dir)) = self.nodes.get_mut(&inode) {
            work(dir);
        }
    }

    pub(super) fn file(&self, inode: u64) -> io::Result<&FileNode> {
        match self.nodes.get(&inode) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn dir(&self, inode: u64) -> Option<&DirNode> {
        match self.nodes.get(&inode) {
            Some(Node::Dir(dir)) => Some(dir),
            _ => None,
        }
    }

    /// The inode that a path leads to.
    pub(super) fn find(&self, path: &Path) -> io::Result<u64> {
        let mut inode = ROOT;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name.to_string_lossy(),
                Component::RootDir | Component::CurDir => continue,
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            };
            let dir = self.dir(inode).ok_or(io::ErrorKind::NotADirectory)?;
            inode = *dir.names.get(&*name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(inode)
    }

    /// The directory that holds a path's name, and the name.
    pub(super) fn find_parent(&self, path: &Path) -> io::Result<(u64, Arc<str>)> {
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.find(parent)?;
        self.dir(dir).ok_or(io::ErrorKind::NotADirectory)?;
        Ok((dir, name.to_string_lossy().into()))
    }

    /// What the files that have a name take: one that was removed or replaced gives its space back at once.
    pub(super) fn allocated_bytes(&self, overwriting: Overwriting) -> u64 {
        let named = self.nodes.values().filter_map(|node| match node {
            Node::Dir(dir) => Some(dir.names.values()),
            Node::File(_) => None,
        });
        let sizes = named
            .flatten()
            .filter_map(|inode| match self.nodes.get(inode) {
                Some(Node::File(file)) => Some(file.allocated_bytes(overwriting)),
                Some(Node::Dir(_)) | None => None,
            });
        sizes.sum()
    }

    /// What no name leads to is gone, once nobody has it open.
    pub(super) fn forget_unnamed(&mut self) {
        let named: BTreeSet<u64> = self.files().into_values().chain([ROOT]).collect();
        self.nodes.retain(|inode, _| named.contains(inode));
    }

    /// Every file that a name leads to, with its whole path.
    pub(super) fn files(&self) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        let mut open = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = open.pop() {
            match self.nodes.get(&inode) {
                Some(Node::Dir(dir)) => {
                    open.extend(
                        dir.names
                            .iter()
                            .map(|(name, inode)| (format!("{path}/{name}"), *inode)),
                    );
                    if inode != ROOT {
                        found.insert(format!("{path}/"), inode);
                    }
                }
                Some(Node::File(_)) => {
                    found.insert(path, inode);
                }
                None => {}
            }
        }
        found
    }
}
