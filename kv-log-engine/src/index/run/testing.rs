//! Runs for tests: tiny ones on a simulated disk, so that a few entries make several parts.

use super::level::LiveRun;
use super::named::Run;
use super::reader::{RunIdentity, RunReader};
use super::verify::RunReport;
use super::writer::{RunLayout, RunWriter, Written};
use crate::format::ids::{EditNumber, LevelId, Seqno};
use crate::format::manifest::RunEntry;
use crate::format::run::RunId;
use crate::format::run::block::{Held, Version};
use crate::format::run::filter::KeyHash;
use crate::format::run::full_key;
use crate::format::run::header::RunHeader;
use crate::format::{Salt, StoreId};
use crate::index::cache::PieceCache;
use crate::index::source::{Entry, Interval, Shared};
use crate::log::files::SegmentFiles;
use crate::storage::sim::SimDisk;
use crate::storage::{OpenMode, Storage};
use kv_trait::Result;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) const STORE: StoreId = StoreId([9; 16]);

/// Blocks of 100 bytes, fences of two entries.
pub(crate) const TINY: RunLayout = RunLayout {
    block_bytes: 100,
    fence_bytes: 36,
    filter_bytes: 64,
    compress: false,
    write_bytes: 300,
    sync_bytes: 1000,
};

pub(crate) fn header(id: u64) -> RunHeader {
    RunHeader {
        store_id: STORE,
        incarnation: StoreId([2; 16]),
        salt: Salt([id.to_le_bytes()[0]; 16]),
        id: RunId::new(id),
        edit: EditNumber::new(1),
    }
}

pub(crate) fn identity(id: u64) -> RunIdentity {
    let header = header(id);
    RunIdentity {
        store_id: header.store_id,
        salt: header.salt,
        id: header.id,
    }
}

pub(crate) fn path(id: u64) -> PathBuf {
    PathBuf::from(format!(
        "/{}",
        crate::format::run::header::file_name(RunId::new(id))
    ))
}

pub(crate) fn writer(disk: &SimDisk, id: u64, layout: RunLayout) -> Result<RunWriter> {
    RunWriter::begin(&files(disk), header(id), layout)
}

pub(crate) fn borrowed(version: &Version<Shared>) -> Version<&[u8]> {
    version.as_ref().map(|value| &**value)
}

pub(crate) fn write(
    disk: &SimDisk,
    id: u64,
    entries: &[Entry],
    layout: RunLayout,
) -> Result<Written> {
    let mut writer = writer(disk, id, layout)?;
    for entry in entries {
        writer.push(&entry.key, &borrowed(&entry.version))?;
    }
    writer.finish()
}

/// The files of a disk.
pub(crate) fn files(disk: &SimDisk) -> Arc<SegmentFiles> {
    SegmentFiles::new(disk.storage(), PathBuf::from("/"))
}

pub(crate) fn open_with(
    disk: &SimDisk,
    id: u64,
    cache: &Arc<PieceCache>,
) -> Result<Arc<RunReader>> {
    let bytes = disk.open(&path(id), OpenMode::Read).unwrap().len().unwrap();
    RunReader::open(files(disk), identity(id), bytes, Arc::clone(cache))
}

pub(crate) fn open(disk: &SimDisk, id: u64) -> Result<Arc<RunReader>> {
    open_with(disk, id, &PieceCache::new(1 << 20))
}

/// A run of these entries on a disk of its own.
pub(crate) fn run(id: u64, entries: &[Entry], layout: RunLayout) -> Arc<RunReader> {
    let disk = SimDisk::new();
    write(&disk, id, entries, layout).unwrap();
    open(&disk, id).unwrap()
}

/// What the manifest says of a run.
pub(crate) fn named(run: &RunReader, level: u64, from: &[u8], to: Option<&[u8]>) -> RunEntry {
    let written = Written {
        facts: run.footer().facts.clone(),
        file_bytes: run.file_bytes(),
    };
    let header = header(run.id().get());
    written.entry(
        &header,
        LevelId(level),
        from.to_vec(),
        to.map(<[u8]>::to_vec),
    )
}

/// A run in a level, with its live interval.
pub(crate) fn live(run: &RunReader, from: &[u8], to: Option<&[u8]>) -> LiveRun {
    let entry = named(run, 1, from, to);
    LiveRun {
        run: Run::of(&entry, STORE, &run.files, &run.cache),
        from: Arc::from(from),
        to: to.map(Arc::from),
        taken: 0,
    }
}

/// Verifies all of a run, but for the values that segments keep.
pub(crate) fn verify(run: &RunReader) -> Result<RunReport> {
    super::verify::verify(run, &Interval::ALL, &mut |_, _| Ok(()))
}

pub(crate) fn hash(key: &[u8]) -> KeyHash {
    KeyHash::of(STORE, key)
}

/// `None` is a tombstone.
pub(crate) fn entry(key: &[u8], seqno: u64, value: Option<&[u8]>) -> Entry {
    let held = value.map_or(Held::Tombstone, |value| Held::Here(value.to_vec().into()));
    Entry {
        key: full_key(0, key),
        version: Version {
            seqno: Seqno::new(seqno),
            expiry_ms: None,
            held,
        },
    }
}

/// Sixty entries in several parts.
pub(crate) fn sample() -> Vec<Entry> {
    let numbered = (0..60_u64).map(|at| {
        let key = format!("key-{at:03}");
        let value = format!("value-{at}").repeat(2);
        let value = (at % 7 != 3).then_some(value.as_bytes());
        entry(key.as_bytes(), 100 + at, value)
    });
    numbered.collect()
}
