//! The names in a store's directory, and what a directory without a manifest can be.

use crate::format::segment::parse_file_name;
use crate::storage::{DirEntry, FileKind};
use std::path::{Path, PathBuf};

/// Guards the store against a second owner; says who holds it.
pub(crate) const LOCK: &str = "LOCK";
/// Names the live segments.
pub(crate) const MANIFEST: &str = "MANIFEST";
/// A manifest that is being written.
pub(crate) const MANIFEST_NEW: &str = "MANIFEST.new";
/// Torn tails, kept.
pub(crate) const QUARANTINE: &str = "quarantine";

/// What the names in a directory say before anything was locked or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Directory {
    /// It has a manifest.
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
    if kind(MANIFEST) == Some(FileKind::File) {
        Directory::Store
    } else {
        let needed = [LOCK, MANIFEST, MANIFEST_NEW];
        let taken = needed.into_iter().find(is_other);
        taken.map_or(Directory::Unmade, Directory::Taken)
    }
}

/// A name in the directory that a store does not use, if there is one: for messages.
pub(crate) fn foreign_name(entries: &[DirEntry]) -> Option<&str> {
    let foreign = |entry: &&DirEntry| {
        let name = entry.name.as_str();
        let ours = match entry.kind {
            FileKind::File => {
                matches!(name, LOCK | MANIFEST_NEW) || parse_file_name(name).is_some()
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
