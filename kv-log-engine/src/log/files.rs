//! Segments as readers see them, and the files that they and runs are read from.

use super::kept::KeptFiles;
use super::names::NameEpoch;
use crate::fault;
use crate::format::ids::{Entry, Location, SegmentId};
use crate::format::record;
use crate::format::run::{RunId, header as run_header, split_key};
use crate::format::{Salt, segment::file_name};
use crate::stats::SegmentKind;
use crate::storage::{OpenMode, Storage, StorageFile, exact};
use kv_trait::{Error, ErrorKind, Result};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A record that is said to be longer is looked for in its file before it is read.
const TRUSTED_BYTES: u64 = 1 << 20;

/// The files of a store, whatever opens them: the most recently read segments and runs stay open.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    kept: Arc<KeptFiles>,
    directory: PathBuf,
}

impl SegmentFiles {
    pub(crate) fn new(storage: Arc<dyn Storage>, directory: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            kept: Arc::new(KeptFiles::new(storage)),
            directory,
        })
    }

    /// To be asked before a file is made, for [`SegmentFiles::sync_names`].
    pub(crate) fn name_epoch(&self) -> NameEpoch {
        self.kept.names.epoch()
    }

    /// Makes the names of files durable that were made since `epoch`. Blocks.
    ///
    /// # Errors
    /// They are not, and no later sync tells whether they are: the files must be given up.
    pub(crate) fn sync_names(&self, epoch: NameEpoch) -> Result<()> {
        let synced = self.storage().sync_dir(&self.directory);
        synced.map_err(|source| fault::io("sync", &self.directory, source))?;
        if self.name_epoch() == epoch || planted!(NameEpochIgnored) {
            return Ok(());
        }
        let message = format!(
            "cannot sync {}: that has failed since the file was made",
            self.directory.display()
        );
        Err(Error::new(ErrorKind::Io, message))
    }

    /// Leaves a file that nothing names and nothing will to whoever unlinks. Where it stays it is debris.
    pub(crate) fn give_up(&self, path: PathBuf) {
        self.kept.names.give_up(path);
    }

    /// The files that were given up since this was asked last.
    pub(crate) fn take_given_up(&self) -> Vec<PathBuf> {
        self.kept.names.take_given_up()
    }

    /// The storage, which gives files that are kept open up where it has to.
    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.kept
    }

    pub(crate) fn shared_storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.kept) as Arc<dyn Storage>
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn path(&self, id: SegmentId) -> PathBuf {
        self.directory.join(file_name(id))
    }

    pub(crate) fn run_path(&self, id: RunId) -> PathBuf {
        self.directory.join(run_header::file_name(id))
    }

    /// The file of a segment for reading, opened if it is not open.
    ///
    /// # Errors
    /// What opening the file says.
    pub(crate) fn file(&self, id: SegmentId) -> Result<Arc<dyn StorageFile>> {
        let not_opened = |path: &Path, source| fault::io("open", path, source);
        self.kept_or_opened(id.get(), || self.path(id), not_opened)
    }

    /// The file of a segment that has to be there.
    fn named_file(&self, id: SegmentId) -> Result<Arc<dyn StorageFile>> {
        let not_opened = |path: &Path, source| not_opened("segment", path, source);
        self.kept_or_opened(id.get(), || self.path(id), not_opened)
    }

    /// The file of a run that the manifest names, for reading, opened if it is not open.
    ///
    /// # Errors
    /// `Corrupt`: there is none. Else what opening the file says.
    pub(crate) fn run_file(&self, id: RunId) -> Result<Arc<dyn StorageFile>> {
        let not_opened = |path: &Path, source| not_opened("run", path, source);
        self.kept_or_opened(id.get(), || self.run_path(id), not_opened)
    }

    fn kept_or_opened(
        &self,
        id: u64,
        path: impl FnOnce() -> PathBuf,
        not_opened: impl FnOnce(&Path, io::Error) -> Error,
    ) -> Result<Arc<dyn StorageFile>> {
        if let Some(file) = self.kept.find(id) {
            return Ok(file);
        }
        let path = path();
        let file = self.kept.open(&path, OpenMode::Read);
        let file = file.map_err(|source| not_opened(&path, source))?;
        self.kept.keep(id, Arc::clone(&file));
        Ok(file)
    }

    /// Keeps a file open for readers; the one read longest ago is closed where there are too many.
    pub(crate) fn keep(&self, id: SegmentId, file: Arc<dyn StorageFile>) {
        self.kept.keep(id.get(), file);
    }

    /// Closes the segment or run of that number, before it is unlinked: nobody may read from it any more.
    pub(crate) fn forget(&self, id: u64) {
        self.kept.forget(id);
    }

    /// How many files are open for readers now.
    pub(crate) fn open_count(&self) -> usize {
        self.kept.count()
    }
}

/// Why a file that the manifest names was not opened. One that is missing is damage, and no error that may pass.
fn not_opened(what: &str, path: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::NotFound {
        let what = format!("the manifest names this {what}, and its file is missing");
        return fault::corrupt(path, what).with_source(source);
    }
    fault::io("open", path, source)
}

/// One live segment, as long as anybody may read from it: holding it is a *pin*.
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) salt: Salt,
    files: Arc<SegmentFiles>,
    kind: SegmentKind,
    /// Its length, once it is sealed; 0 before. Information only.
    sealed_bytes: AtomicU64,
}

impl Segment {
    pub(crate) fn new(id: SegmentId, salt: Salt, files: Arc<SegmentFiles>) -> Arc<Self> {
        Arc::new(Self {
            id,
            salt,
            files,
            kind: SegmentKind::Log,
            sealed_bytes: AtomicU64::new(0),
        })
    }

    /// A value segment of that length.
    pub(crate) fn of_values(
        id: SegmentId,
        salt: Salt,
        files: Arc<SegmentFiles>,
        bytes: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            salt,
            files,
            kind: SegmentKind::Values,
            sealed_bytes: AtomicU64::new(bytes),
        })
    }

    pub(crate) const fn kind(&self) -> SegmentKind {
        self.kind
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.files.path(self.id)
    }

    /// Its file, for reading, opened if it is not open.
    ///
    /// # Errors
    /// What opening the file says.
    pub(crate) fn file(&self) -> Result<Arc<dyn StorageFile>> {
        self.files.file(self.id)
    }

    pub(crate) fn sealed_bytes(&self) -> u64 {
        self.sealed_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_sealed_bytes(&self, length: u64) {
        self.sealed_bytes.store(length, Ordering::Relaxed);
    }

    /// The value of the record that an index entry of that full key points at: read, its sum verified, its key compared.
    ///
    /// # Errors
    /// `Io`: the file could not be read. `Corrupt`: the bytes are not the record that was written.
    pub(crate) fn read_value(&self, entry: &Entry, full_key: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = self.read_record(entry)?;
        let header_and_key = bytes.len() - self.verified(&bytes, entry, full_key)?.len();
        bytes.drain(..header_and_key);
        Ok(bytes)
    }

    /// What `decode` makes of that value.
    ///
    /// # Errors
    /// As for [`Segment::read_value`].
    pub(crate) fn read_value_with<T>(
        &self,
        entry: &Entry,
        full_key: &[u8],
        decode: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        let bytes = self.read_record(entry)?;
        self.verified(&bytes, entry, full_key).map(decode)
    }

    fn read_record(&self, entry: &Entry) -> Result<Vec<u8>> {
        let location = entry.location;
        let file = self.files.named_file(self.id)?;
        if u64::from(location.record_bytes) > TRUSTED_BYTES {
            self.check_reach(&*file, location)?;
        }
        let mut bytes = vec![0; location.record_bytes as usize];
        exact::read_exact(&*file, &mut bytes, location.offset).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                fault::corrupt(&self.path(), "the file ends inside a record").with_source(source)
            } else {
                fault::io_at("read", &self.path(), location.offset, source)
            }
        })?;
        Ok(bytes)
    }

    /// Whether a record can be there, before memory is taken for it: its length is a run's word.
    fn check_reach(&self, file: &dyn StorageFile, location: Location) -> Result<()> {
        let length = file
            .len()
            .map_err(|source| fault::io("look at", &self.path(), source))?;
        let end = location
            .offset
            .checked_add(u64::from(location.record_bytes));
        if end.is_some_and(|end| end <= length) {
            return Ok(());
        }
        let what = format!(
            "the file ends inside a record at offset {}",
            location.offset
        );
        Err(fault::corrupt(&self.path(), what))
    }

    fn verified<'b>(&self, bytes: &'b [u8], entry: &Entry, full_key: &[u8]) -> Result<&'b [u8]> {
        let offset = entry.location.offset;
        let record = record::verify(bytes, &self.salt, offset, entry.seqno)
            .map_err(|defect| fault::defect(&self.path(), offset, defect))?;
        if split_key(full_key) != Some((record.keyspace, record.key)) {
            let what = format!("the record at offset {offset} has another key");
            return Err(fault::corrupt(&self.path(), what));
        }
        Ok(record.value)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("id", &self.id)
            .field("salt", &self.salt)
            .finish()
    }
}
