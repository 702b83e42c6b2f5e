//! The names in a store's directory, and what a directory without a manifest can be.

use crate::fault;
use crate::format::ids::SegmentId;
use crate::format::run::{self, RunId};
use crate::format::segment;
use crate::storage::{DirEntry, FileKind, Storage};
use kv_trait::Result;
use std::io;
use std::path::{Path, PathBuf};

/// Guards the store against a second owner; says who holds it.
pub(crate) const LOCK: &str = "LOCK";
/// The first copy of the manifest, which names the live files.
pub(crate) const MANIFEST: &str = "MANIFEST";
/// Both copies of the manifest.
pub(crate) const COPIES: [&str; 2] = [MANIFEST, "MANIFEST.2"];
/// New generations of both, while they are written.
pub(crate) const COPIES_NEW: [&str; 2] = ["MANIFEST.new", "MANIFEST.2.new"];
/// Torn tails, kept.
pub(crate) const QUARANTINE: &str = "quarantine";
/// Blocks that are kept for a full disk, one file for each quota of the reserve. They hold no data.
pub(crate) const RESERVES: [&str; 3] = ["RESERVE.close", "RESERVE.deletes", "RESERVE.maintenance"];

/// A name that a file with data of a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DataFile {
    /// A segment of the log, or one of values.
    Segment(SegmentId),
    Run(RunId),
}

impl DataFile {
    /// What a name stands for; `None` if it is not exactly the name of such a file.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let segment = segment::parse_file_name(name).map(Self::Segment);
        segment.or_else(|| run::header::parse_file_name(name).map(Self::Run))
    }

    /// Its number, in the one space of all files.
    pub(crate) fn id(self) -> SegmentId {
        match self {
            Self::Segment(id) => id,
            Self::Run(id) => id.into(),
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Segment(id) => segment::file_name(id),
            Self::Run(id) => run::header::file_name(id),
        }
    }
}

/// Above the number of every file that is there, whosever it is, up to a bound.
pub(crate) fn next_id(entries: &[DirEntry]) -> SegmentId {
    let files = entries
        .iter()
        .filter_map(|entry| DataFile::parse(&entry.name));
    let ids = files
        .map(DataFile::id)
        .filter(|id| *id < SegmentId::PASSED_MAX);
    ids.max().map_or(SegmentId::FIRST, SegmentId::next)
}

/// What the names in a directory say before anything was locked or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Directory {
    /// It has a manifest, or one copy of it.
    Store,
    /// It has none: a store may be made in it, beside whatever foreign names it holds.
    Unmade,
    /// A name that a store needs for a file of its own is something else.
    Taken(&'static str),
}

/// Judges a directory by its names.
pub(crate) fn judge(entries: &[DirEntry]) -> Directory {
    let kind = |name: &str| {
        let found = entries.iter().find(|entry| entry.name == name);
        found.map(|entry| entry.kind)
    };
    let is_other = |name: &&str| kind(name).is_some_and(|kind| kind != FileKind::File);
    if COPIES.iter().any(|name| kind(name) == Some(FileKind::File)) {
        Directory::Store
    } else {
        let [first, second] = COPIES;
        let [first_new, second_new] = COPIES_NEW;
        let needed = [LOCK, first, second, first_new, second_new];
        let mut needed = needed.into_iter().chain(RESERVES);
        let taken = needed.find(is_other);
        taken.map_or(Directory::Unmade, Directory::Taken)
    }
}

/// A name in the directory that a store does not use, if there is one: for messages.
pub(crate) fn foreign_name(entries: &[DirEntry]) -> Option<&str> {
    let foreign = |entry: &&DirEntry| {
        let name = entry.name.as_str();
        let ours = match entry.kind {
            FileKind::File => {
                name == LOCK
                    || COPIES_NEW.contains(&name)
                    || RESERVES.contains(&name)
                    || DataFile::parse(name).is_some()
            }
            _ => name == QUARANTINE,
        };
        !ours
    };
    let found = entries.iter().find(foreign);
    found.map(|entry| entry.name.as_str())
}

/// The directory that holds the name of `path`. The root is its own parent.
pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_path_buf()
}

/// Makes the store's own name durable, and those in it. Returns the parent if it may not be read: a store that is
/// `there` already was named durably when it was made, unless somebody moved it, so this is told and does not keep anybody
/// from it.
///
/// # Errors
/// `Io`: the path leads nowhere, or a sync failed.
pub(crate) fn sync_names(
    storage: &dyn Storage,
    directory: &Path,
    there: bool,
) -> Result<Option<PathBuf>> {
    let real = storage
        .resolve(directory)
        .map_err(|source| fault::io("look at", directory, source))?;
    let parent = parent(&real);
    if planted!(NamesBelieved) {
        return Ok(None);
    }
    let unsynced = match storage.sync_dir(&parent) {
        Ok(()) => None,
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied && there => Some(parent),
        Err(source) => return Err(fault::io("sync", &parent, source)),
    };
    storage
        .sync_dir(directory)
        .map_err(|source| fault::io("sync", directory, source))?;
    Ok(unsynced)
}
