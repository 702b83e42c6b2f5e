//! From a path to an owned, recovered store, made first where that is allowed. `recovery` reads and repairs; this decides
//! what there is.

use crate::fault;
use crate::format::StoreId;
use crate::format::ids::{EditNumber, SegmentId, Seqno};
use crate::format::manifest::{KeyspaceEntry, Manifest, SegmentEntry, SegmentState};
use crate::format::record::KEYSPACE_DEFAULT;
use crate::format::segment::{SegmentHeader, SegmentKind};
use crate::log::files::SegmentFiles;
use crate::log::writer::SegmentWriter;
use crate::options::{Create, Options, SEGMENT_BYTES_DEFAULT};
use crate::recovery::settle::Changes;
use crate::recovery::survey::{self, Unfinished};
use crate::recovery::{self, Recovered};
use crate::storage::DirEntry;
use crate::store::catalog::{self, EditError};
use crate::store::layout::{
    COPIES_NEW, Directory, MANIFEST, RESERVES, foreign_name, judge, parent, sync_names,
};
use crate::store::lock::StoreLock;
use kv_trait::{Error, ErrorKind, Fingerprint, Result};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A store that is locked and read, and not yet changed.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) lock: StoreLock,
    pub(crate) files: Arc<SegmentFiles>,
    pub(crate) recovered: Recovered,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) changes: Changes,
}

/// A store that is locked, and not yet read.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) lock: StoreLock,
    pub(crate) files: Arc<SegmentFiles>,
    /// What stands in its directory.
    pub(crate) names: Vec<DirEntry>,
    created: bool,
}

/// An absolute path without `..`, because the store's own name in its parent must be synced.
///
/// # Errors
/// `InvalidInput`: the path is empty or leads upwards at its end.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|source| {
        let message = format!("{} is no path to a store", path.display());
        Error::new(ErrorKind::InvalidInput, message).with_source(source)
    })?;
    if matches!(
        absolute.components().next_back(),
        Some(Component::Normal(_))
    ) {
        Ok(absolute)
    } else {
        let message = format!("{} must end in the store's own name", path.display());
        Err(Error::new(ErrorKind::InvalidInput, message))
    }
}

/// Locks and reads a store that will be served, and makes it first where the options allow it.
///
/// # Errors
/// `NotFound`, `Locked`, `Corrupt`, `UnsupportedFormat`, `StorageFull`, `Io`: nothing of a store that was there has changed.
pub(crate) fn open(path: &Path, options: &Options) -> Result<Opened> {
    let located = locate(path, options, true)?;
    let (recovered, fingerprint, changes) =
        read(&located, options, options.asked.separation_bytes as usize)?;
    // Only now it is known how long the store's segments are.
    options.budgets(recovered.manifest.segment_bytes)?;
    Ok(Opened {
        lock: located.lock,
        files: located.files,
        recovered,
        fingerprint,
        changes,
    })
}

/// Locks a store, and makes it first where the options allow it. `serves` says whether it will be served: then the owner's
/// name must get into LOCK. Where it is only read, a LOCK that cannot be written will do.
///
/// # Errors
/// As for [`open`].
pub(crate) fn locate(path: &Path, options: &Options, serves: bool) -> Result<Located> {
    options.check()?;
    let directory = absolute(path)?;
    let storage = &*options.storage;
    let mut names = look_at(&directory, options)?;
    let lock = StoreLock::acquire(
        storage,
        &directory,
        options.lock_timeout,
        &*options.host,
        serves,
    )?;
    let named = lock.write_holder(&*options.host);
    if serves {
        named?;
    }
    // The names may have changed: before the lock another process may have been at work.
    if judge(&names) != Directory::Store {
        names = list(&directory, options)?;
    }
    let files = SegmentFiles::new(Arc::clone(&options.storage), directory.clone());
    let mut created = false;
    match judge(&names) {
        Directory::Store if options.create == Create::New => return Err(exists(&directory)),
        Directory::Store => {}
        Directory::Unmade if options.create != Create::Never => {
            // What is made here is of no use under a name that a power cut takes.
            sync_names(storage, &directory, false)?;
            create(&files, &names, options)?;
            created = true;
        }
        without => {
            unfinished(&directory, &names, options)?;
            return Err(not_a_store(&directory, &without, &names));
        }
    }
    let names = list(&directory, options)?;
    Ok(Located {
        lock,
        files,
        names,
        created,
    })
}

/// Reads a store that is locked. Values of at least so many bytes are left where they are.
///
/// # Errors
/// `Corrupt`, `UnsupportedFormat`, `Io`.
pub(crate) fn read(
    located: &Located,
    options: &Options,
    separation_bytes: usize,
) -> Result<(Recovered, Fingerprint, Changes)> {
    let files = &located.files;
    let mut recovered = recovery::recover(files, &located.names, separation_bytes)?;
    recovered.report.created = located.created;
    let mut changes = Changes::default();
    let mut fingerprint = recorded_fingerprint(&recovered.manifest, files.directory())?;
    match &options.fingerprint {
        Some(wanted) if options.adopt_types => {
            fingerprint.adopt(wanted)?;
            let text = fingerprint.to_text();
            for keyspace in &mut recovered.manifest.keyspaces {
                if keyspace.id == KEYSPACE_DEFAULT && keyspace.fingerprint != text {
                    keyspace.fingerprint.clone_from(&text);
                    changes.edit.keyspace(keyspace);
                    changes.count = true;
                }
            }
        }
        Some(wanted) => fingerprint.check(wanted)?,
        None => {}
    }
    if let Some(segment_bytes) = options.segment_bytes
        && segment_bytes != recovered.manifest.segment_bytes
    {
        recovered.manifest.segment_bytes = segment_bytes;
        changes.edit.settings(segment_bytes);
    }
    Ok((recovered, fingerprint, changes))
}

/// Looks at what is there, before anything is locked or made. The directory itself is made here, where that is allowed.
fn look_at(directory: &Path, options: &Options) -> Result<Vec<DirEntry>> {
    let storage = &*options.storage;
    let names = match storage.list(directory) {
        Ok(names) => names,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            if options.create == Create::Never {
                let message = format!("there is no store at {}", directory.display());
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            make_directory(directory, options)?;
            Vec::new()
        }
        Err(source) if source.kind() == io::ErrorKind::NotADirectory => {
            let message = format!("{} is a file; a store is a directory", directory.display());
            return Err(Error::new(ErrorKind::NotFound, message).with_source(source));
        }
        Err(source) => return Err(fault::io("list", directory, source)),
    };
    match judge(&names) {
        Directory::Store if options.create == Create::New => Err(exists(directory)),
        Directory::Store => Ok(names),
        without => {
            if let Err(damage) = unfinished(directory, &names, options) {
                // The names were read without the lock: a creation that was under way then may be finished by now.
                let names = list(directory, options)?;
                let creates = options.create != Create::Never;
                return match judge(&names) {
                    Directory::Store if options.create == Create::New => Err(exists(directory)),
                    Directory::Store => Ok(names),
                    // The owner of the lock may be removing leftovers: judged again under it.
                    Directory::Unmade if creates && damage.kind() == ErrorKind::Io => Ok(names),
                    Directory::Unmade | Directory::Taken(_) => Err(damage),
                };
            }
            if without == Directory::Unmade && options.create != Create::Never {
                Ok(names)
            } else {
                Err(not_a_store(directory, &without, &names))
            }
        }
    }
}

/// What a directory without a manifest holds. A store that lost its manifest is damaged, not absent.
fn unfinished(directory: &Path, names: &[DirEntry], options: &Options) -> Result<Unfinished> {
    // These open files are not kept: what was opened to judge a leftover must not be taken for the segment of that name.
    let files = SegmentFiles::new(Arc::clone(&options.storage), directory.to_path_buf());
    survey::unfinished(&files, names)
}

fn make_directory(directory: &Path, options: &Options) -> Result<()> {
    options.check_new()?;
    let storage = &*options.storage;
    match storage.create_dir(directory) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            let message = format!(
                "the directory {} does not exist",
                parent(directory).display()
            );
            return Err(Error::new(ErrorKind::NotFound, message).with_source(source));
        }
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(fault::io("create", directory, source));
        }
        _ => {}
    }
    let parent = parent(directory);
    storage.sync_dir(&parent).map_err(|source| {
        // A later sync would say `Ok` and not cover this name: the next try makes it afresh. Where even that fails, the
        // first cause is the one to tell.
        match storage.remove_dir(directory) {
            Ok(()) | Err(_) => fault::io("sync", &parent, source),
        }
    })
}

fn list(directory: &Path, options: &Options) -> Result<Vec<DirEntry>> {
    options
        .storage
        .list(directory)
        .map_err(|source| fault::io("list", directory, source))
}

fn exists(directory: &Path) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("there is a store at {} already", directory.display()),
    )
}

fn not_a_store(directory: &Path, without: &Directory, names: &[DirEntry]) -> Error {
    let directory = directory.display();
    let message = match (without, foreign_name(names)) {
        (Directory::Taken(name), _) => {
            format!("{directory} cannot be a store: {name} in it is no file")
        }
        (_, Some(name)) => format!("there is no store at {directory}, which holds {name:?}"),
        (_, None) if names.is_empty() => {
            format!("there is no store at {directory}, which is empty")
        }
        (_, None) => format!("there is no store at {directory}: it was never wholly created"),
    };
    Error::new(ErrorKind::NotFound, message)
}

/// Makes the first segment, then the manifest that names it. Nothing is accepted before the manifest's name is durable.
fn create(files: &Arc<SegmentFiles>, names: &[DirEntry], options: &Options) -> Result<()> {
    options.check_new()?;
    let storage = files.storage();
    let directory = files.directory();
    let leftovers = unfinished(directory, names, options)?;
    // Made only behind a first manifest: before there is one, somebody's.
    if let Some(name) = RESERVES
        .into_iter()
        .find(|name| names.iter().any(|entry| entry.name == *name))
    {
        let message = format!(
            "{} cannot be a store: {name} in it is in the way",
            directory.display()
        );
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let new = COPIES_NEW
        .iter()
        .filter(|new| names.iter().any(|entry| entry.name == **new))
        .map(|new| directory.join(new));
    let debris = leftovers.debris.iter().map(|id| files.path(*id));
    for path in debris.chain(new) {
        storage
            .remove_file(&path)
            .map_err(|source| fault::io("remove", &path, source))?;
    }
    let mut first_id = SegmentId::FIRST;
    while leftovers.foreign.contains(&first_id) {
        first_id = first_id.next();
    }
    let random = || {
        let bits = options.host.random();
        bits.map_err(|source| {
            Error::new(ErrorKind::Io, "cannot get random bits").with_source(source)
        })
    };
    let store_id = StoreId(random()?);
    let segment_bytes = options.segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT);
    let first_seqno = Seqno::ZERO.next();
    let salt = crate::format::Salt(random()?);
    let incarnation = StoreId(random()?);
    let header = SegmentHeader {
        kind: SegmentKind::Log,
        store_id,
        incarnation,
        salt,
        id: first_id,
        base_seqno: first_seqno,
        edit: EditNumber::ZERO,
    };
    let first = SegmentWriter::create(files, &header, segment_bytes)?;
    let fingerprint = options.fingerprint.clone().unwrap_or_else(Fingerprint::raw);
    let created_unix_ms = options.host.unix_ms();
    let mut manifest = Manifest::new(store_id, incarnation, created_unix_ms, segment_bytes);
    manifest.edit = EditNumber::ZERO.next();
    manifest.next_seqno = first_seqno;
    manifest.next_file_id = first_id.next();
    manifest.keyspaces.push(KeyspaceEntry {
        id: KEYSPACE_DEFAULT,
        fingerprint: fingerprint.to_text(),
    });
    manifest.segments.push(SegmentEntry {
        id: first_id,
        salt,
        state: SegmentState::Active,
        base_seqno: first_seqno,
        end: first.end().offset,
        chain: first.end().chain,
        min_seqno: first_seqno,
        max_seqno: Seqno::ZERO,
    });
    catalog::create(storage, directory, &manifest).map_err(EditError::into_error)
}

fn recorded_fingerprint(manifest: &Manifest, directory: &Path) -> Result<Fingerprint> {
    let keyspace = manifest
        .keyspaces
        .iter()
        .find(|keyspace| keyspace.id == KEYSPACE_DEFAULT);
    let Some(keyspace) = keyspace else {
        return Err(fault::corrupt(
            &directory.join(MANIFEST),
            "it names no keyspace",
        ));
    };
    Fingerprint::parse(&keyspace.fingerprint).map_err(|error| {
        fault::corrupt(
            &directory.join(MANIFEST),
            "the codecs it records make no sense",
        )
        .with_source(error)
    })
}
