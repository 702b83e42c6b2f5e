//! A run as the manifest names it: known without any I/O, and read from its first use on.

use super::reader::{RunIdentity, RunReader};
use crate::fault;
use crate::format::StoreId;
use crate::format::manifest::RunEntry;
use crate::format::run::RunId;
use crate::index::cache::PieceCache;
use crate::log::files::SegmentFiles;
use kv_trait::{Error, Result};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// A run that is part of a store. Holds no file, and no byte of it before it is read.
#[derive(Debug)]
pub(crate) struct Run {
    store_id: StoreId,
    entry: RunEntry,
    files: Arc<SegmentFiles>,
    cache: Arc<PieceCache>,
    /// Set by whoever reads the footer first. What could not be read is not kept: the next one tries again.
    reader: OnceLock<Arc<RunReader>>,
}

impl Run {
    /// The run of an entry of the manifest; its live interval may change later, and is not this one's business.
    pub(crate) fn of(
        entry: &RunEntry,
        store_id: StoreId,
        files: &Arc<SegmentFiles>,
        cache: &Arc<PieceCache>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store_id,
            entry: entry.clone(),
            files: Arc::clone(files),
            cache: Arc::clone(cache),
            reader: OnceLock::new(),
        })
    }

    pub(crate) const fn id(&self) -> RunId {
        self.entry.id
    }

    /// What the manifest said of it when it was named first.
    pub(crate) const fn entry(&self) -> &RunEntry {
        &self.entry
    }

    /// Whether anybody else has this run, or a walk over it. Where nobody has, nobody can get it.
    pub(crate) fn is_pinned(this: &Arc<Self>) -> bool {
        let is_read = |reader: &Arc<RunReader>| Arc::strong_count(reader) > 1;
        Arc::strong_count(this) > 1 || this.reader.get().is_some_and(is_read)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.files.run_path(self.entry.id)
    }

    /// The run itself, its footer read if it was not yet. Two threads that come together may both read it; one reading is
    /// kept.
    ///
    /// # Errors
    /// `Corrupt`: the file is missing, another one, or damaged where nothing can replace it. `UnsupportedFormat`.
    /// `Io`: it could not be read now.
    pub(crate) fn reader(&self) -> Result<&Arc<RunReader>> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let identity = RunIdentity {
            store_id: self.store_id,
            salt: self.entry.salt,
            id: self.entry.id,
        };
        let reader = RunReader::open(
            Arc::clone(&self.files),
            identity,
            self.entry.file_bytes,
            Arc::clone(&self.cache),
        )?;
        self.compare(&reader)?;
        Ok(self.reader.get_or_init(|| reader))
    }

    /// What the footer says must be what the manifest was told when the run was named.
    fn compare(&self, reader: &RunReader) -> Result<()> {
        let (facts, entry) = (&reader.footer().facts, &self.entry);
        let numbers = [
            ("entries", facts.entries, entry.entries),
            ("tombstones", facts.tombstones, entry.tombstones),
            ("as lowest seqno", facts.lowest.get(), entry.lowest.get()),
            ("as highest seqno", facts.highest.get(), entry.highest.get()),
        ];
        let differs = numbers.iter().find(|(_, found, said)| found != said);
        let what = match differs {
            Some((name, found, said)) => {
                format!("the footer says {found} {name}, and the manifest {said}")
            }
            None if facts.expiring != entry.expiring => {
                "the footer and the manifest do not agree on what expires".to_owned()
            }
            None if facts.referred != entry.referred => {
                "the footer and the manifest name other segments that it refers to".to_owned()
            }
            None => return Ok(()),
        };
        Err(fault::corrupt(reader.path(), what))
    }

    /// What the filters that did not verify said about themselves, as far as they were read.
    pub(crate) fn damaged_filters(&self) -> Vec<Error> {
        let reader = self.reader.get();
        reader.map_or_else(Vec::new, |reader| reader.damaged_filters())
    }

    /// Bytes of memory that its footer takes: none before it was read.
    pub(crate) fn footer_bytes(&self) -> u64 {
        let footer = self.reader.get().map(|reader| reader.footer());
        footer.map_or(0, |footer| footer.memory_bytes() as u64)
    }
}
