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
    /// It is empty, or holds only what an interrupted creation leaves behind.
    Unfinished,
    /// It holds something else: the name says what.
    Foreign(String),
}

/// Judges a directory by its names.
pub(crate) fn judge(entries: &[DirEntry]) -> Directory {
    if entries
        .iter()
        .any(|entry| entry.name == MANIFEST && entry.kind == FileKind::File)
    {
        return Directory::Store;
    }
    let foreign = entries.iter().find(|entry| {
        let ours = entry.name == LOCK || entry.name == MANIFEST_NEW;
        entry.kind != FileKind::File || !(ours || parse_file_name(&entry.name).is_some())
    });
    foreign.map_or(Directory::Unfinished, |entry| {
        Directory::Foreign(entry.name.clone())
    })
}

/// The directory that holds the name of `path`. The root is its own parent.
pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_path_buf()
}
