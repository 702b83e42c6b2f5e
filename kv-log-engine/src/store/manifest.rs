//! SWAP: replacing the manifest in one step. The only writer of MANIFEST.

use crate::fault;
use crate::format::manifest::{DecodedManifest, MANIFEST_FILE_BYTES_MAX, Manifest};
use crate::storage::{OpenMode, Storage, exact};
use crate::store::layout::{MANIFEST, MANIFEST_NEW};
use kv_trait::{Error, ErrorKind, Result};
use std::io;
use std::path::Path;

/// How far a swap came before it failed.
#[derive(Debug)]
pub(crate) enum SwapError {
    /// The old manifest is the only one: nothing changed.
    Before(Error),
    /// Either manifest may be the durable one. The store must be poisoned, and no file of either be removed.
    Between(Error),
}

impl SwapError {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Before(error) | Self::Between(error) => error,
        }
    }
}

/// SWAP 3 to 5: writes `MANIFEST.new`, syncs it, renames it over `MANIFEST`, syncs the directory.
///
/// # Errors
/// Which half failed, and why.
pub(crate) fn swap(
    storage: &dyn Storage,
    directory: &Path,
    manifest: &Manifest,
) -> std::result::Result<(), SwapError> {
    let new = directory.join(MANIFEST_NEW);
    if let Err(error) = write_new(storage, &new, manifest) {
        // What is left of it is debris to the next swap and to the next open; the first cause is the one to tell.
        return Err(match storage.remove_file(&new) {
            Ok(()) | Err(_) => SwapError::Before(error),
        });
    }
    storage
        .rename(&new, &directory.join(MANIFEST))
        .map_err(|source| SwapError::Between(fault::io("rename", &new, source)))?;
    if planted!(NoDirectorySync) {
        return Ok(());
    }
    storage
        .sync_dir(directory)
        .map_err(|source| SwapError::Between(fault::io("sync", directory, source)))
}

/// Always a fresh file: one whose sync failed before must not be trusted again.
fn write_new(storage: &dyn Storage, path: &Path, manifest: &Manifest) -> Result<()> {
    match storage.remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(fault::io("remove", path, source));
        }
        _ => {}
    }
    let bytes = manifest.encode();
    if bytes.len() as u64 > MANIFEST_FILE_BYTES_MAX {
        // The number of segments is bounded before, so that this cannot be; what cannot be read must not be written.
        let message = format!("a manifest of {} bytes is too long", bytes.len());
        return Err(Error::new(ErrorKind::StorageFull, message));
    }
    let file = storage
        .open(path, OpenMode::CreateNew)
        .map_err(|source| fault::io("create", path, source))?;
    exact::write_all(&*file, &bytes, 0).map_err(|source| fault::io("write", path, source))?;
    file.sync()
        .map_err(|source| fault::io("sync", path, source))
}

/// Reads the manifest of a store.
///
/// # Errors
/// `Io`, `Corrupt` if neither copy verifies, `UnsupportedFormat` if it is of a later version.
pub(crate) fn read(storage: &dyn Storage, directory: &Path) -> Result<DecodedManifest> {
    let path = directory.join(MANIFEST);
    let file = storage
        .open(&path, OpenMode::Read)
        .map_err(|source| fault::io("open", &path, source))?;
    let length = file
        .len()
        .map_err(|source| fault::io("look at", &path, source))?;
    if length > MANIFEST_FILE_BYTES_MAX {
        return Err(fault::corrupt(
            &path,
            format_args!("{length} bytes are too many for a manifest"),
        ));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    exact::read_exact(&*file, &mut bytes, 0).map_err(|source| fault::io("read", &path, source))?;
    Manifest::decode(&bytes).map_err(|defect| fault::defect(&path, 0, defect))
}
