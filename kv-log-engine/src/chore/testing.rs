//! A store in small, to do chores in: real files, manifest, runs and values on a simulated disk, and a memtable and a log
//! that a test fills directly. What was written is known, so that every key can be looked at, also after a power cut.

use super::Chores;
use super::ground::{Frozen, Ground, Layers};
use super::machine::Progress;
use super::tuning::Tuning;
use crate::clock::Clock;
use crate::commit::poison::Poison;

use crate::format::ids::{Entry as Located, Location, SegmentId, Seqno};
use crate::format::manifest::{Checkpoint, Edit, Manifest, SegmentEntry, SegmentState};
use crate::format::record::{self, RecordKind};
use crate::format::run::block::{Held, Version};
use crate::format::run::{full_key, split_key};
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};
use crate::format::tables::Tables;
use crate::format::{Salt, StoreId};
use crate::host::{Host, SimHost};
use crate::index::cache::PieceCache;
use crate::index::levels::Levels;
use crate::index::run::testing::{TINY, borrowed};
use crate::index::source::{Chunk, Entry, Filled, Item, Shared, Source};
use crate::log::files::{Segment, SegmentFiles};
use crate::log::values::ValueLayout;
use crate::storage::sim::SimDisk;
use crate::storage::{OpenMode, Storage, StorageFile, exact};
use crate::store::catalog::{self, Catalog};
use crate::store::lock::StoreLock;
use crate::store::manifest;
use crate::store::reserve::Reserve;
use crate::sync::lock_std as lock;
use kv_trait::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) const DB: &str = "/db";
pub(super) const SEGMENT_BYTES: u64 = 2000;

/// Blocks of 100 bytes, runs of a few of them, units of two or three runs, values of eight bytes in segments.
pub(super) const TINY_TUNING: Tuning = Tuning {
    memtable_bytes: 1000,
    log_bytes: Some(4000),
    run_bytes: 300,
    unit_bytes: 18_000,
    slice_bytes: 200,
    slice_entries: 8,
    layout: TINY,
    values: ValueLayout {
        write_bytes: 100,
        sync_bytes: 300,
    },
    disk_bytes_max: None,
    by_hand: false,
    watch_bytes_max: 256 * 1024 * 1024,
    view_age_max: None,
    pinned_bytes_max: None,
    bytes_per_second: None,
    levels_max: None,
    log_bytes_range: (1 << 20, 64 << 20),
};

type Known = BTreeMap<Vec<u8>, Version<Shared>>;

#[derive(Debug)]
pub(super) struct FakeFrozen {
    known: Known,
    checkpoint: Checkpoint,
    tables: Tables,
}

struct InOrder(std::vec::IntoIter<Entry>);

impl Source for InOrder {
    fn fill(&mut self, chunk: &mut Chunk, _: usize) -> Result<Filled> {
        let Some(entry) = self.0.next() else {
            return Ok(Filled::End);
        };
        chunk.push_copy(&entry.key, &borrowed(&entry.version));
        Ok(Filled::Entries)
    }
}

impl Frozen for FakeFrozen {
    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn source(&self) -> Box<dyn Source> {
        let entries: Vec<Entry> = self
            .known
            .iter()
            .map(|(key, version)| Entry {
                key: key.clone(),
                version: version.clone(),
            })
            .collect();
        Box::new(InOrder(entries.into_iter()))
    }

    fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }
}

/// What readers see.
#[derive(Clone, Debug)]
pub(super) struct FakeView {
    memtable: Known,
    frozen: Option<Arc<FakeFrozen>>,
    pub(super) levels: Levels,
    pub(super) segments: BTreeMap<SegmentId, Arc<Segment>>,
}

impl FakeView {
    /// What a reader gets.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let full = full_key(0, key);
        let frozen = self.frozen.as_ref();
        let in_memory = self
            .memtable
            .get(&full)
            .or_else(|| frozen?.known.get(&full));
        let version = match in_memory {
            Some(version) => Some(version.clone()),
            None => self.levels.get(&full)?,
        };
        let Some(version) = version else {
            return Ok(None);
        };
        match version.held {
            Held::Here(value) => Ok(Some(value.to_vec())),
            Held::Tombstone => Ok(None),
            Held::Separated(location) => {
                let seqno = version.seqno;
                let segment = &self.segments[&location.segment];
                let value = segment.read_value(&Located { location, seqno }, &full)?;
                Ok(Some(value))
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct FakeLayers {
    view: Mutex<FakeView>,
    pub(super) log_bytes: AtomicU64,
    pub(super) panic_at_install: AtomicBool,
}

impl FakeLayers {
    pub(super) fn view(&self) -> FakeView {
        lock(&self.view).clone()
    }
}

impl Layers for FakeLayers {
    fn memtable_bytes(&self) -> u64 {
        lock(&self.view).memtable.len() as u64 * 50
    }

    fn erased(&self) -> (usize, bool) {
        (0, false)
    }

    fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    fn frozen(&self) -> Option<Arc<dyn Frozen>> {
        let frozen = lock(&self.view).frozen.clone();
        frozen.map(|frozen| frozen as Arc<dyn Frozen>)
    }

    fn levels(&self) -> Levels {
        lock(&self.view).levels.clone()
    }

    fn segment(&self, id: SegmentId) -> Option<Arc<Segment>> {
        lock(&self.view).segments.get(&id).cloned()
    }

    fn install(&self, levels: Levels) {
        assert!(!self.panic_at_install.load(Ordering::Relaxed), "planted");
        let mut view = lock(&self.view);
        assert!(view.frozen.is_some(), "nothing was frozen");
        view.levels = levels;
        view.frozen = None;
    }

    fn forget(&self, _: &[u8], _: Option<&[u8]>, _: Seqno) {}

    fn replace(&self, levels: Levels, added: Vec<Arc<Segment>>) {
        let mut view = lock(&self.view);
        view.levels = levels;
        let added = added.into_iter();
        view.segments
            .extend(added.map(|segment| (segment.id, segment)));
    }

    fn release(&self, ids: &[SegmentId]) -> Vec<Arc<Segment>> {
        let mut view = lock(&self.view);
        ids.iter()
            .filter_map(|id| view.segments.remove(id))
            .collect()
    }
}

/// One write: the seqno is its place.
#[derive(Clone, Debug)]
pub(super) struct Write {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    version: Version<Shared>,
    location: Location,
}

/// What was written so far, in order.
pub(super) type Writes = Vec<Write>;

/// The active segment.
#[derive(Debug)]
struct Active {
    entry: SegmentEntry,
    file: Arc<dyn StorageFile>,
    end: u64,
    records: u64,
}

#[derive(Debug)]
pub(super) struct Small {
    pub(super) disk: SimDisk,
    pub(super) host: Arc<SimHost>,
    pub(super) layers: Arc<FakeLayers>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) poison: Poison,
    pub(super) chores: Arc<Chores>,
    pub(super) files: Arc<SegmentFiles>,
    pub(super) writes: Writes,
    active: Option<Active>,
    _lock: Arc<StoreLock>,
}

fn segment_header(manifest: &Manifest, id: SegmentId, salt: Salt, base: Seqno) -> SegmentHeader {
    SegmentHeader {
        kind: SegmentKind::Log,
        store_id: manifest.store_id,
        incarnation: manifest.incarnation,
        salt,
        id,
        base_seqno: base,
        edit: manifest.edit,
    }
}

fn new_active(files: &SegmentFiles, header: &SegmentHeader) -> Active {
    let path = files.path(header.id);
    let file = files.storage().open(&path, OpenMode::CreateNew).unwrap();
    let (bytes, chain) = header.encode();
    exact::write_all(&*file, &bytes, 0).unwrap();
    file.sync().unwrap();
    files.storage().sync_dir(Path::new(DB)).unwrap();
    Active {
        entry: SegmentEntry {
            id: header.id,
            salt: header.salt,
            state: SegmentState::Active,
            base_seqno: header.base_seqno,
            end: SEGMENT_HEADER_BYTES,
            chain,
            min_seqno: header.base_seqno,
            max_seqno: Seqno::ZERO,
        },
        file,
        end: SEGMENT_HEADER_BYTES,
        records: 0,
    }
}

impl Small {
    /// An empty store on a new disk.
    pub(super) fn create(tuning: Tuning) -> Self {
        let disk = SimDisk::new();
        disk.create_dir(Path::new(DB)).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let mut manifest = Manifest::new(StoreId([1; 16]), StoreId([2; 16]), 5, SEGMENT_BYTES);
        manifest.edit = manifest.edit.next();
        manifest.next_seqno = Seqno::new(1);
        manifest.next_file_id = SegmentId::new(2);
        let files = SegmentFiles::new(disk.storage(), DB.into());
        let header = segment_header(&manifest, SegmentId::FIRST, Salt([3; 16]), Seqno::new(1));
        let active = new_active(&files, &header);
        manifest.segments.push(active.entry);
        catalog::create(&disk, Path::new(DB), &manifest).unwrap();
        Self::serve(
            disk,
            files,
            tuning,
            manifest,
            Vec::new(),
            Some(active),
            true,
        )
    }

    /// What is left on a disk, and what was written before: debris is removed, what runs do not cover is in memory again.
    pub(super) fn open(disk: SimDisk, tuning: Tuning, writes: &Writes) -> Result<Self> {
        Self::open_as(disk, tuning, writes, true)
    }

    fn open_as(disk: SimDisk, tuning: Tuning, writes: &Writes, settled: bool) -> Result<Self> {
        let read = manifest::read(&disk, Path::new(DB))?;
        read.manifest.check().unwrap();
        let files = SegmentFiles::new(disk.storage(), DB.into());
        let named = names_of(&files, &read.manifest);
        for entry in disk.list(Path::new(DB)).unwrap() {
            let is_file = entry.name.ends_with(".run") || entry.name.ends_with(".seg");
            if !is_file || named.contains(&entry.name) {
                continue;
            }
            let id: u64 = entry.name[..8].parse().unwrap();
            let path = Path::new(DB).join(&entry.name);
            let length = disk.open(&path, OpenMode::Read).unwrap().len().unwrap();
            let below = id < read.manifest.next_file_id.get();
            assert!(below || length == 0, "{} is above all ids", entry.name);
            disk.remove_file(&path).unwrap();
        }
        Ok(Self::serve(
            disk,
            files,
            tuning,
            read.manifest,
            writes.clone(),
            None,
            settled,
        ))
    }

    /// The same, to go on writing: the segment that was active is sealed where its last record ends.
    pub(super) fn reopen(disk: SimDisk, tuning: Tuning, writes: &Writes) -> Result<Self> {
        let mut small = Self::open(disk, tuning, writes)?;
        let manifest = small.manifest();
        let entry = *manifest.active().unwrap();
        let in_it = writes
            .iter()
            .rev()
            .map(|write| write.location)
            .find(|location| location.segment == entry.id);
        let end = in_it.map_or(SEGMENT_HEADER_BYTES, |last| {
            (last.offset + u64::from(last.record_bytes)).next_multiple_of(8)
        });
        let path = small.files.path(entry.id);
        let file = small.disk.open(&path, OpenMode::ReadWrite).unwrap();
        small.active = Some(Active {
            entry,
            file,
            end,
            records: 0,
        });
        Ok(small)
    }

    /// An empty store whose open has left something to be done.
    pub(super) fn unsettled(tuning: Tuning) -> Self {
        let small = Self::create(tuning);
        let (disk, writes) = (small.disk.fork(), Writes::new());
        Self::open_as(disk, tuning, &writes, false).unwrap()
    }

    fn serve(
        disk: SimDisk,
        files: Arc<SegmentFiles>,
        tuning: Tuning,
        manifest: Manifest,
        writes: Writes,
        active: Option<Active>,
        settled: bool,
    ) -> Self {
        let host = Arc::new(SimHost::new(7));
        let storage = files.shared_storage();
        let owner = StoreLock::acquire(&disk, Path::new(DB), Duration::ZERO, &*host, true).unwrap();
        let owner = Arc::new(owner);
        let covered = manifest.checkpoint.map_or(0, |known| known.seqno.get());
        let behind = writes
            .iter()
            .filter(|write| write.version.seqno.get() > covered);
        let memtable = behind
            .map(|write| (full_key(0, &write.key), write.version.clone()))
            .collect();
        let segments = manifest.segments.iter().map(|entry| {
            let segment = Segment::new(entry.id, entry.salt, Arc::clone(&files));
            (entry.id, segment)
        });
        let levels = Levels::open(
            &manifest.runs,
            manifest.store_id,
            Arc::clone(&files),
            PieceCache::new(1 << 12),
        );
        let layers = Arc::new(FakeLayers {
            view: Mutex::new(FakeView {
                memtable,
                frozen: None,
                levels,
                segments: segments.collect(),
            }),
            log_bytes: AtomicU64::new(0),
            panic_at_install: AtomicBool::new(false),
        });
        let (next_id, clock_ms) = (manifest.next_file_id, manifest.clock_ms);
        let catalog = Arc::new(Catalog::new(storage, DB.into(), manifest, next_id));
        let poison = Poison::default();
        let chores = Chores::new(Ground {
            files: Arc::clone(&files),
            catalog: Arc::clone(&catalog),
            layers: Arc::clone(&layers) as Arc<dyn Layers>,
            views: Arc::default(),
            reserve: Arc::new(Reserve::new(files.shared_storage(), DB.into())),
            poison: poison.clone(),
            lock: Arc::downgrade(&owner),
            process_id: host.process_id(),
            clock: Arc::new(Clock::new(Arc::clone(&host) as Arc<dyn Host>, clock_ms)),
            host: Arc::clone(&host) as Arc<dyn Host>,
            tuning,
            counters: Arc::default(),
        });
        if settled {
            chores.settled();
        }
        Self {
            _lock: owner,
            disk,
            host,
            layers,
            catalog,
            poison,
            chores,
            files,
            writes,
            active,
        }
    }

    /// Writes a key into log and memtable.
    pub(super) fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        let seqno = Seqno::new(self.writes.len() as u64 + 1);
        let active = self.active.as_mut().unwrap();
        let mut bytes = Vec::new();
        let kind = value.map_or(RecordKind::Tombstone, |_| RecordKind::Put);
        record::encode(&mut bytes, kind, 0, key, value.unwrap_or_default());
        record::finish(&mut bytes, &active.entry.salt, active.end, seqno);
        let location = Location {
            segment: active.entry.id,
            offset: active.end,
            record_bytes: u32::try_from(bytes.len()).unwrap(),
        };
        // As a frame would: the next one begins at a multiple of eight.
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        exact::write_all(&*active.file, &bytes, active.end).unwrap();
        active.file.sync().unwrap();
        active.end += bytes.len() as u64;
        active.records += 1;
        let separation = 8;
        let held = match value {
            None => Held::Tombstone,
            Some(value) if value.len() as u64 >= separation => Held::Separated(location),
            Some(value) => Held::Here(value.to_vec().into()),
        };
        let version = Version {
            seqno,
            expiry_ms: None,
            held,
        };
        lock(&self.layers.view)
            .memtable
            .insert(full_key(0, key), version.clone());
        self.layers
            .log_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.writes.push(Write {
            key: key.to_vec(),
            value: value.map(<[u8]>::to_vec),
            version,
            location,
        });
        if self.active.as_ref().unwrap().end >= SEGMENT_BYTES {
            self.rotate();
        }
    }

    /// Seals the active segment, and goes on in a new one.
    pub(super) fn rotate(&mut self) {
        let next_seqno = Seqno::new(self.writes.len() as u64 + 1);
        let active = self.active.take().unwrap();
        let id = self.catalog.allocate().unwrap();
        let salt = Salt(self.host.random().unwrap());
        let header = self
            .catalog
            .read(|manifest| segment_header(manifest, id, salt, next_seqno));
        let next = new_active(&self.files, &header);
        let mut edit = Edit::default();
        edit.segment(&SegmentEntry {
            state: SegmentState::Sealed,
            end: active.end,
            min_seqno: active.entry.base_seqno,
            max_seqno: next_seqno.previous(),
            ..active.entry
        });
        edit.segment(&next.entry);
        edit.counters(next_seqno, self.catalog.raised_file_id());
        self.catalog.apply(&edit).unwrap();
        let segment = Segment::new(id, salt, Arc::clone(&self.files));
        lock(&self.layers.view).segments.insert(id, segment);
        self.active = Some(next);
    }

    /// Takes the memtable out of use, up to the last write.
    pub(super) fn freeze(&mut self) {
        let active = self.active.as_ref().unwrap();
        let checkpoint = Checkpoint {
            seqno: Seqno::new(self.writes.len() as u64),
            segment: active.entry.id,
            offset: active.end,
            chain: active.entry.chain,
            frames: active.records,
            records: active.records,
            min_seqno: Some(active.entry.base_seqno).filter(|_| active.records > 0),
        };
        let mut view = lock(&self.layers.view);
        assert!(view.frozen.is_none());
        view.frozen = Some(Arc::new(FakeFrozen {
            known: std::mem::take(&mut view.memtable),
            checkpoint,
            tables: Tables::default(),
        }));
        drop(view);
        self.layers.log_bytes.store(0, Ordering::Relaxed);
    }

    /// What is known of a key by what was written.
    fn expected(&self) -> BTreeMap<&[u8], Option<&[u8]>> {
        let writes = self.writes.iter();
        writes
            .map(|write| (&*write.key, write.value.as_deref()))
            .collect()
    }

    /// Every key has its last value, whoever reads it; layers have ever older versions; and no named file is missing.
    pub(super) fn check(&self, what: &str) {
        let view = self.layers.view();
        for (key, value) in self.expected() {
            let found = view.get(key);
            let name = key.escape_ascii();
            let found = found.unwrap_or_else(|error| panic!("{what}: {name}: {error}"));
            assert_eq!(found.as_deref(), value, "{what}: {name}");
        }
        let mut seen: BTreeMap<Vec<u8>, Seqno> = BTreeMap::new();
        for level in view.levels.levels() {
            let mut range = level.range(
                &crate::index::source::Interval::ALL,
                crate::index::source::Direction::Forward,
            );
            while let Some(item) = range.next().unwrap() {
                let Item::Entry(entry) = item else { continue };
                let seqno = entry.version.seqno;
                if let Some(newer) = seen.insert(entry.key.clone(), seqno) {
                    assert!(newer > seqno, "{what}: an older layer has a newer version");
                }
                assert!(split_key(&entry.key).is_some());
            }
        }
        self.check_files(what);
    }

    fn check_files(&self, what: &str) {
        let named = self
            .catalog
            .read(|manifest| names_of(&self.files, manifest));
        let there: BTreeSet<String> = self.names();
        let missing: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "{what}: missing {missing:?}");
    }

    /// Runs and segments in the directory.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let entries = self.disk.list(Path::new(DB)).unwrap().into_iter();
        let names = entries.map(|entry| entry.name);
        names
            .filter(|name| name.ends_with(".run") || name.ends_with(".seg"))
            .collect()
    }

    /// Those that the manifest names.
    pub(super) fn named(&self) -> BTreeSet<String> {
        self.catalog
            .read(|manifest| names_of(&self.files, manifest))
    }

    /// Slices until there is nothing to do. Time passes where something failed. Returns how many there were.
    pub(super) fn work(&self) -> usize {
        let mut failed = 0;
        for slices in 1.. {
            match self.chores.slice() {
                Progress::Worked => {}
                Progress::Failed => {
                    failed += 1;
                    assert!(failed < 100, "{:?}", self.failure());
                    self.host.advance(Duration::from_secs(20));
                }
                Progress::Idle => return slices,
                Progress::Busy => panic!("nobody else is at it"),
            }
            assert!(slices < 100_000, "work that never ends");
        }
        unreachable!()
    }

    /// Slices until one does not work.
    pub(super) fn work_until_it_fails(&self) -> Progress {
        loop {
            match self.chores.slice() {
                Progress::Worked => {}
                ended => return ended,
            }
        }
    }

    pub(super) fn failure(&self) -> Option<Error> {
        let failure = self.chores.failure(crate::stats::Pressure::Levels);
        failure.or_else(|| self.poison.refusal())
    }

    pub(super) fn manifest(&self) -> Manifest {
        self.catalog.read(Clone::clone)
    }

    /// Writes a key in its usual form: every third value lies in a segment, some are large.
    pub(super) fn put_usual(&mut self, key: u64, turn: u64) {
        let name = key_name(key);
        let value = match key % 6 {
            0 | 3 => format!("value {turn} of {key}").repeat(3),
            5 if key % 12 == 5 => format!("large {turn}").repeat(60),
            _ => format!("{turn}"),
        };
        self.write(name.as_bytes(), Some(value.as_bytes()));
    }

    pub(super) fn delete_usual(&mut self, key: u64) {
        self.write(key_name(key).as_bytes(), None);
    }
}

pub(super) fn key_name(key: u64) -> String {
    format!("key-{key:04}")
}

/// The files that a manifest names.
fn names_of(files: &SegmentFiles, manifest: &Manifest) -> BTreeSet<String> {
    let name = |path: std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let segments = manifest.segments.iter();
    let segments = segments.map(|segment| name(files.path(segment.id)));
    let runs = manifest.runs.iter().map(|run| name(files.run_path(run.id)));
    segments.chain(runs).collect()
}
