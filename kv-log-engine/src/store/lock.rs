//! One owner: the LOCK file, and the registry of stores that this process has open.
//!
//! The operating system's lock belongs to an open file and ends with it: it is never freed explicitly and LOCK is
//! never deleted. A lock is believed only if the locked file is the one that the name leads to. The registry tells
//! "open" from "closing" within one process, where a dropped store may still finish its last group; it is the one
//! piece of global state there is beside the key of the process.

use crate::fault;
use crate::host::Host;
use crate::storage::{FileId, OpenMode, Storage, StorageFile, exact};
use crate::store::layout::LOCK;
use crate::sync::lock_std as lock;
use kv_trait::{Error, ErrorKind, Result};
use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How long an open waits for a store of the same process that is closing.
pub(crate) const CLOSING_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a lock that is held elsewhere is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(10);
/// A holder's description is no longer than this.
const HOLDER_BYTES_MAX: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// An open is trying to get the file's lock: nobody's store yet.
    Claimed,
    Owned(Owned),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owned {
    Open,
    Closing,
    /// An open has been trying for longer than that may take.
    Opening,
}

#[derive(Debug)]
struct Entry {
    /// An entry with the number of another process is one that a fork has left behind: nobody is there to take it out.
    process_id: u32,
    opening: u64,
    standing: Standing,
    /// Counts the handles of an open store, for messages; keeps none alive.
    handles: Option<Handles>,
}

type Handles = Weak<dyn Any + Send + Sync>;

/// Guards the stores open in this process. Innermost of all locks: nothing is called under it.
static REGISTRY: Mutex<BTreeMap<FileId, Entry>> = Mutex::new(BTreeMap::new());
/// Numbers the entries: those of a directory follow each other, and a handle may outlive its own.
static NEXT_OPENING: AtomicU64 = AtomicU64::new(0);
/// Tells those who wait that a claim became an owner, or was given up.
static CLAIM_DECIDED: Condvar = Condvar::new();
/// Tells those who wait that an owner is gone. Claims are not told here: each waiter makes one at every try, and would
/// wake all others.
static OWNER_GONE: Condvar = Condvar::new();

/// Which entry of the registry, of all that there ever are in this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpeningId {
    directory: FileId,
    opening: u64,
}

/// A store's entry in the registry; dropping it takes the entry out.
#[derive(Debug)]
struct Registration {
    id: OpeningId,
}

impl Registration {
    /// Waits for another claim to be decided: a few calls to the file system, which this open has before it as well. Not
    /// for ever: that file system may hang.
    fn claim(directory: FileId, process_id: u32) -> std::result::Result<Self, Owned> {
        let mut registry = lock(&REGISTRY);
        loop {
            let entry = registry.get(&directory);
            match entry.filter(|entry| entry.process_id == process_id) {
                Some(entry) => match entry.standing {
                    Standing::Owned(owned) => return Err(owned),
                    Standing::Claimed => {
                        let waited = CLAIM_DECIDED.wait_timeout(registry, CLOSING_WAIT_MAX);
                        let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                        if timeout.timed_out() {
                            return Err(Owned::Opening);
                        }
                        registry = again;
                    }
                },
                None => {
                    let opening = NEXT_OPENING.fetch_add(1, Ordering::Relaxed);
                    let entry = Entry {
                        process_id,
                        opening,
                        standing: Standing::Claimed,
                        handles: None,
                    };
                    registry.insert(directory, entry);
                    let id = OpeningId { directory, opening };
                    return Ok(Self { id });
                }
            }
        }
    }

    /// The claim has the file's lock.
    fn own(&self) {
        if let Some(entry) = lock(&REGISTRY).get_mut(&self.id.directory) {
            entry.standing = Standing::Owned(Owned::Open);
        }
        CLAIM_DECIDED.notify_all();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registry = lock(&REGISTRY);
        let mine = |entry: &Entry| entry.opening == self.id.opening;
        if !registry.get(&self.id.directory).is_some_and(mine) {
            return; // a forked child's copy, when the child has made an entry of its own
        }
        let removed = registry.remove(&self.id.directory);
        drop(registry);
        match removed.map(|entry| entry.standing) {
            Some(Standing::Owned(_)) => OWNER_GONE.notify_all(),
            Some(Standing::Claimed) | None => CLAIM_DECIDED.notify_all(),
        }
    }
}

/// Says of a store that it is being closed, or that its last handle is gone: an open in this process waits for it. Of a
/// store that was closed before it says nothing, whoever has the directory now.
pub(crate) fn mark_closing(id: OpeningId) {
    if let Some(entry) = lock(&REGISTRY).get_mut(&id.directory)
        && entry.opening == id.opening
    {
        entry.standing = Standing::Owned(Owned::Closing);
    }
}

/// Says what the handles of a store share, so that a refusal can tell how many there are.
pub(crate) fn mark_open(id: OpeningId, handles: Handles) {
    if let Some(entry) = lock(&REGISTRY).get_mut(&id.directory)
        && entry.opening == id.opening
    {
        entry.handles = Some(handles);
    }
}

/// Who has the store open. Mostly that is a task which has not ended yet, though its runtime was told to.
fn open_here(directory: FileId, process_id: u32) -> String {
    let registry = lock(&REGISTRY);
    let handles = registry
        .get(&directory)
        .and_then(|entry| entry.handles.as_ref());
    let count = handles.map_or(0, Weak::strong_count);
    drop(registry);
    let who = format!("this process ({process_id}), which has it open");
    match count {
        0 => who,
        1 => format!(
            "{who}: 1 handle is alive, maybe in a task that has not ended yet (`Options::lock_timeout` waits for it)"
        ),
        _ => format!(
            "{who}: {count} handles are alive, maybe in tasks that have not ended yet (`Options::lock_timeout` waits for \
             them)"
        ),
    }
}

/// The ownership of a store. Dropping it frees the lock, then the registry.
#[derive(Debug)]
pub(crate) struct StoreLock {
    // The order matters: the lock is free before the registry says so.
    file: Arc<dyn StorageFile>,
    registration: Registration,
    path: PathBuf,
    id: FileId,
}

impl StoreLock {
    /// Takes the lock of the store in `directory`, waiting up to `timeout` for another owner, by the host's clock. Where the
    /// file cannot be written, on a medium for reading only, and need not be (`serves`), it is locked all the same.
    ///
    /// # Errors
    /// `Locked`: another owner has it; the message names it. `Io`: the file system refused.
    pub(crate) fn acquire(
        storage: &dyn Storage,
        directory: &Path,
        timeout: Duration,
        host: &dyn Host,
        serves: bool,
    ) -> Result<Self> {
        let process_id = host.process_id();
        let start = host.now();
        let directory_id = storage
            .file_id(directory)
            .map_err(|source| fault::io("look at", directory, source))?;
        let path = directory.join(LOCK);
        loop {
            let (refusal, patience) = match Registration::claim(directory_id, process_id) {
                Ok(registration) => match lock_file(storage, &path, serves)? {
                    Ok((file, id)) => {
                        registration.own();
                        return Ok(Self {
                            file,
                            registration,
                            path,
                            id,
                        });
                    }
                    Err(holder) => {
                        // A child between fork and exec holds a copy of a descriptor that we have closed already.
                        let ours = holder.process == Some((process_id, host.process_key()));
                        let patience = if ours {
                            CLOSING_WAIT_MAX
                        } else {
                            Duration::ZERO
                        };
                        (locked(directory, &holder.text), patience)
                    }
                },
                Err(Owned::Open) => (
                    locked(directory, &open_here(directory_id, process_id)),
                    Duration::ZERO,
                ),
                Err(Owned::Opening) => (
                    locked(
                        directory,
                        &format!("this process ({process_id}), which is opening it"),
                    ),
                    Duration::ZERO,
                ),
                Err(Owned::Closing) => (
                    locked(
                        directory,
                        &format!("this process ({process_id}), which is closing it"),
                    ),
                    CLOSING_WAIT_MAX,
                ),
            };
            let waited = host.now().saturating_sub(start);
            let left = timeout.max(patience).saturating_sub(waited);
            if left.is_zero() {
                return Err(refusal);
            }
            wait_for_change(left.min(RETRY_EVERY));
        }
    }

    /// Writes who holds the lock into the file: for other people's messages, and to know a copy of our own descriptor.
    /// The file is emptied where that fails and it can be, so that it does not go on naming the owner before.
    ///
    /// # Errors
    /// `Io`. A full disk is not an error: the store works without the message.
    pub(crate) fn write_holder(&self, host: &dyn Host) -> Result<()> {
        let text = holder_text(host);
        let written = exact::write_all(&*self.file, text.as_bytes(), 0)
            .and_then(|()| self.file.set_len(text.len() as u64));
        let Err(source) = written else {
            return Ok(());
        };
        // The first cause is the one to tell, also where the file cannot be emptied.
        match self.file.set_len(0) {
            _ if source.kind() == io::ErrorKind::StorageFull => Ok(()),
            Ok(()) | Err(_) => Err(fault::io("write", &self.path, source)),
        }
    }

    /// Whether the name LOCK still leads to the file that is locked.
    ///
    /// # Errors
    /// `Io`: the file system refused to say.
    pub(crate) fn is_ours(&self, storage: &dyn Storage) -> Result<bool> {
        match storage.file_id(&self.path) {
            Ok(id) => Ok(id == self.id),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(fault::io("look at", &self.path, source)),
        }
    }

    pub(crate) const fn opening(&self) -> OpeningId {
        self.registration.id
    }
}

/// Waits until an owner in this process is gone; other processes do not say when they are.
fn wait_for_change(at_most: Duration) {
    let registry = lock(&REGISTRY);
    let waited = OWNER_GONE.wait_timeout(registry, at_most);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}

/// FORMAT.md, "Directory". Written from the front in one call: up to its end a reader sees nothing of an older text.
fn holder_text(host: &dyn Host) -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let program = program.chars().filter(|c| !c.is_control());
    let mut text = format!("{} {} ", host.process_id(), host.unix_ms());
    let key = format!("\n{:016x}\n", host.process_key());
    let room = HOLDER_BYTES_MAX - key.len();
    for c in program {
        if text.len() + c.len_utf8() > room {
            break;
        }
        text.push(c);
    }
    text + &key
}

struct Holder {
    /// The holder as messages name it.
    text: String,
    /// The process by number and key; unknown where a version that wrote no key holds the lock.
    process: Option<(u32, u64)>,
}

/// The locked file with its identity, or who holds it.
type Attempt = std::result::Result<(Arc<dyn StorageFile>, FileId), Holder>;

/// Opens and locks the file.
fn lock_file(storage: &dyn Storage, path: &Path, serves: bool) -> Result<Attempt> {
    const TRIES: usize = 16;
    for _ in 0..TRIES {
        let file = open_or_create(storage, path, serves)?;
        if !file
            .try_lock()
            .map_err(|source| fault::io("lock", path, source))?
        {
            return holder(&*file, path).map(Err);
        }
        let id = file
            .file_id()
            .map_err(|source| fault::io("look at", path, source))?;
        match storage.file_id(path) {
            Ok(named) if named == id => return Ok(Ok((file, id))),
            // Somebody removed or replaced LOCK between opening and locking: this lock guards nothing.
            Ok(_) => {}
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(fault::io("look at", path, source)),
        }
    }
    Err(Error::new(
        ErrorKind::Locked,
        format!("{} is being replaced again and again", path.display()),
    ))
}

fn open_or_create(
    storage: &dyn Storage,
    path: &Path,
    serves: bool,
) -> Result<Arc<dyn StorageFile>> {
    let opened = match storage.open(path, OpenMode::ReadWrite) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            match storage.open(path, OpenMode::CreateNew) {
                Err(raced) if raced.kind() == io::ErrorKind::AlreadyExists => {
                    storage.open(path, OpenMode::ReadWrite)
                }
                created => created,
            }
        }
        // Any reason not to write will do: if it cannot be read either, that is the error to tell.
        Err(_no_writing) if !serves => storage.open(path, OpenMode::Read),
        opened => opened,
    };
    opened.map_err(|source| fault::io("open", path, source))
}

fn holder(file: &dyn StorageFile, path: &Path) -> Result<Holder> {
    let mut bytes = [0; HOLDER_BYTES_MAX];
    let length =
        exact::read_up_to(file, &mut bytes, 0).map_err(|source| fault::io("read", path, source))?;
    Ok(parse_holder(&String::from_utf8_lossy(&bytes[..length])))
}

fn parse_holder(text: &str) -> Holder {
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().trim_end().splitn(3, ' ');
    let key = lines.next().filter(|key| key.len() == 16);
    let key = key.and_then(|key| u64::from_str_radix(key, 16).ok());
    let (process, since, program) = (words.next(), words.next(), words.next());
    let number = process.and_then(|process| process.parse().ok());
    let text = match (process, since, program) {
        (Some(process), Some(since), Some(program)) => {
            let program: String = program.chars().filter(|c| !c.is_control()).collect();
            let since = since.parse().map_or_else(
                |_no_number| String::new(),
                |since| format!(", since {}", fault::date(since)),
            );
            format!("process {process} ({program}){since}")
        }
        _ => "a process that has not said its name".to_owned(),
    };
    Holder {
        text,
        process: number.zip(key),
    }
}

fn locked(directory: &Path, holder: &str) -> Error {
    Error::new(
        ErrorKind::Locked,
        format!("{} is in use by {holder}", directory.display()),
    )
}

#[cfg(test)]
mod tests;
