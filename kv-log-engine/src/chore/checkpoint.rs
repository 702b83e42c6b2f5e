//! A checkpoint: what the frozen memtable holds becomes runs of one level, and the log up to there need not be replayed any more.
//!
//! | step | what the disk may hold if it stops behind it |
//! |---|---|
//! | the bound of ids is raised by an edit, where it has to be | the old state |
//! | a file is made, its header synced | and a file below the bound that nothing names: debris |
//! | entries in slices, then the end of the file, synced; the next file, where one is long enough | the same |
//! | the directory is synced | the same, durably |
//! | one edit names the runs, C and replay start, with keyspaces and erasures as of C | the old state or the new one, whole |
//! | the view changes: runs in, frozen memtable out | the new state |
//!
//! The log up to C is durable before: no group is visible that is not. What fails before the edit changes nothing: the
//! file is removed, and all of it is done again later from the same memtable, which stays where it is. An edit in doubt
//! poisons, and no file is touched.

use super::erasing::name_erasures;
use super::ground::{Frozen, Ground};
use super::output::NewFiles;
use super::runs_out::RunsOut;
use super::slice::Slice;
use crate::format::manifest::{Checkpoint, Edit, Manifest, RunEntry};
use crate::index::source::{Item, Source, hidden};
use crate::stats::add;
use kv_trait::Result;
use std::sync::Arc;

/// Where it stands: each is one step or many of the same kind.
enum Stage {
    Begin,
    Writing {
        runs: Box<RunsOut>,
        source: Box<dyn Source>,
        last_key: Vec<u8>,
    },
    /// The runs are whole and synced.
    Written(Vec<RunEntry>),
    /// Their names are durable, too; or there are none.
    Durable(Vec<RunEntry>),
    /// The manifest says so.
    Named,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Begin => "Begin",
            Self::Writing { .. } => "Writing",
            Self::Written(_) => "Written",
            Self::Durable(_) => "Durable",
            Self::Named => "Named",
        })
    }
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub(super) struct Checkpointing {
    frozen: Arc<dyn Frozen>,
    stage: Stage,
    /// A run of so many bytes is long enough.
    run_bytes: u64,
    pub(super) files: NewFiles,
    /// Length of the runs that were written.
    pub(super) file_bytes: u64,
}

impl Checkpointing {
    pub(super) fn new(frozen: Arc<dyn Frozen>, run_bytes: u64) -> Self {
        Self {
            frozen,
            run_bytes,
            stage: Stage::Begin,
            files: NewFiles::default(),
            file_bytes: 0,
        }
    }

    /// Bytes that were written so far, and that nothing names.
    pub(super) fn written(&self) -> u64 {
        match &self.stage {
            Stage::Writing { runs, .. } => runs.bytes(),
            _ => self.file_bytes,
        }
    }

    /// Goes on until the slice is used up. Returns whether the checkpoint is done.
    ///
    /// # Errors
    /// What the disk says. Nothing has changed, unless the store is poisoned now; the caller gives the files up.
    pub(super) fn step(&mut self, ground: &Ground, slice: &mut Slice) -> Result<bool> {
        while !slice.is_used_up() {
            let stage = std::mem::replace(&mut self.stage, Stage::Begin);
            self.stage = match stage {
                Stage::Begin => self.begin(ground, slice)?,
                Stage::Writing {
                    runs,
                    source,
                    last_key,
                } => self.write(ground, runs, (source, last_key), slice)?,
                Stage::Written(runs) => {
                    self.files.sync_names(ground)?;
                    Stage::Durable(runs)
                }
                Stage::Durable(runs) => self.name(ground, &runs)?,
                Stage::Named => {
                    self.show(ground);
                    return Ok(true);
                }
            };
        }
        Ok(false)
    }

    fn begin(&self, ground: &Ground, slice: &mut Slice) -> Result<Stage> {
        let checkpoint = self.frozen.checkpoint();
        let named = |manifest: &Manifest| manifest.checkpoint == Some(checkpoint);
        if ground.catalog.read(named) {
            // Nothing was written since the last one: not even the place where replay begins is another.
            return Ok(Stage::Named);
        }
        if self.frozen.is_empty() {
            return Ok(Stage::Durable(Vec::new()));
        }
        slice.wrote_file();
        Ok(Stage::Writing {
            runs: Box::new(RunsOut::of_a_new_level()),
            source: self.frozen.source(),
            last_key: Vec::new(),
        })
    }

    fn write(
        &mut self,
        ground: &Ground,
        mut runs: Box<RunsOut>,
        (mut source, mut last_key): (Box<dyn Source>, Vec<u8>),
        slice: &mut Slice,
    ) -> Result<Stage> {
        let frozen = Arc::clone(&self.frozen);
        let erasures = &frozen.tables().erasures;
        while !slice.is_used_up() {
            match source.next()? {
                // What is older is erased, too, as long as the erasure is in the table.
                Some(Item::Entry(entry)) if erasures.covers(&entry.key, entry.version.seqno) => {
                    slice.wrote(entry.key.len() as u64);
                }
                Some(Item::Entry(entry)) => {
                    let before = runs.bytes();
                    let next = runs.next_begins(self.run_bytes, &last_key, &entry.key);
                    if let Some(bound) = next {
                        runs.split(ground, &mut self.files, &bound)?;
                        slice.wrote_file();
                    }
                    runs.push(ground, &mut self.files, &entry.key, &entry.version)?;
                    slice.wrote(runs.bytes().saturating_sub(before));
                    last_key = entry.key;
                }
                // Memory has no holes.
                Some(Item::Hole(hole)) => return Err(hidden(ground.files.directory(), &hole)),
                None => {
                    runs.finish(ground, &mut self.files, None)?;
                    self.file_bytes = runs.bytes();
                    slice.wrote_file();
                    return Ok(Stage::Written(runs.entries().to_vec()));
                }
            }
        }
        Ok(Stage::Writing {
            runs,
            source,
            last_key,
        })
    }

    /// The one edit.
    fn name(&mut self, ground: &Ground, runs: &[RunEntry]) -> Result<Stage> {
        let checkpoint = self.frozen.checkpoint();
        if planted!(FrozenOutEarly) {
            ground.layers.install(ground.layers.levels());
        }
        let raised = ground.catalog.raised_file_id();
        let edited = ground.catalog.apply_with(|manifest| {
            let mut edit = Edit::default();
            for run in runs {
                edit.run(&RunEntry {
                    erased_to: checkpoint.seqno,
                    ..run.clone()
                });
            }
            match manifest.checkpoint {
                Some(before) if planted!(ReplayStartNotMoved) => edit.checkpoint(&Checkpoint {
                    seqno: checkpoint.seqno,
                    ..before
                }),
                _ => edit.checkpoint(&checkpoint),
            }
            let tables = self.frozen.tables();
            if tables.keyspaces != manifest.tables.keyspaces {
                edit.keyspaces(&tables.keyspaces);
            }
            name_erasures(&mut edit, manifest, &tables.erasures);
            edit.counters(
                manifest.next_seqno.max(checkpoint.seqno.next()),
                manifest.next_file_id.max(raised),
            );
            Some(edit)
        });
        ground.known(edited)?;
        self.files.named();
        let counters = &ground.counters;
        add(&counters.checkpoints, 1);
        for run in runs {
            add(&counters.checkpoint_bytes, run.file_bytes);
            add(&counters.checkpoint_entries, run.entries);
        }
        Ok(Stage::Named)
    }

    fn show(&self, ground: &Ground) {
        let levels = ground.levels_as_named();
        if planted!(FrozenOutEarly) {
            ground.layers.replace(levels, Vec::new());
        } else {
            ground.layers.install(levels);
        }
    }
}
