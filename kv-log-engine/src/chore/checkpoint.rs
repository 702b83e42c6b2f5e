//! A checkpoint: what the frozen memtable holds becomes a run, and the log up to there need not be replayed any more.
//!
//! | step | what the disk may hold if it stops behind it |
//! |---|---|
//! | the bound of ids is raised by an edit, where it has to be | the old state |
//! | the file is made, its header synced | and a file below the bound that nothing names: debris |
//! | entries in slices, then the end of the file, synced | the same |
//! | the directory is synced | the same, durably |
//! | one edit names run, C and replay start | the old state or the new one, whole |
//! | the view changes: run in, frozen memtable out | the new state |
//!
//! The log up to C is durable before: no group is visible that is not. What fails before the edit changes nothing: the
//! file is removed, and all of it is done again later from the same memtable, which stays where it is. An edit in doubt
//! poisons, and no file is touched.

use super::ground::{Frozen, Ground};
use super::output::{NewFiles, RunOutput, borrowed};
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
        output: Box<RunOutput>,
        source: Box<dyn Source>,
    },
    /// The run is whole and synced.
    Written(RunEntry),
    /// Its name is durable, too; or there is no run.
    Durable(Option<RunEntry>),
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
    pub(super) files: NewFiles,
    /// Length of the run that was written.
    pub(super) file_bytes: u64,
}

impl Checkpointing {
    pub(super) fn new(frozen: Arc<dyn Frozen>) -> Self {
        Self {
            frozen,
            stage: Stage::Begin,
            files: NewFiles::default(),
            file_bytes: 0,
        }
    }

    /// Bytes that were written so far, and that nothing names.
    pub(super) fn written(&self) -> u64 {
        match &self.stage {
            Stage::Writing { output, .. } => output.writer.file_bytes(),
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
                Stage::Writing { output, source } => self.write(ground, output, source, slice)?,
                Stage::Written(run) => {
                    self.files.sync_names(ground)?;
                    Stage::Durable(Some(run))
                }
                Stage::Durable(run) => self.name(ground, run)?,
                Stage::Named => {
                    self.show(ground);
                    return Ok(true);
                }
            };
        }
        Ok(false)
    }

    fn begin(&mut self, ground: &Ground, slice: &mut Slice) -> Result<Stage> {
        let checkpoint = self.frozen.checkpoint();
        let named = |manifest: &Manifest| manifest.checkpoint == Some(checkpoint);
        if ground.catalog.read(named) {
            // Nothing was written since the last one: not even the place where replay begins is another.
            return Ok(Stage::Named);
        }
        if self.frozen.is_empty() {
            return Ok(Stage::Durable(None));
        }
        slice.wrote_file();
        Ok(Stage::Writing {
            output: Box::new(RunOutput::begin(ground, &mut self.files, Vec::new())?),
            source: self.frozen.source(),
        })
    }

    fn write(
        &mut self,
        ground: &Ground,
        mut output: Box<RunOutput>,
        mut source: Box<dyn Source>,
        slice: &mut Slice,
    ) -> Result<Stage> {
        while !slice.is_used_up() {
            match source.next()? {
                Some(Item::Entry(entry)) => {
                    let before = output.writer.file_bytes();
                    output.writer.push(&entry.key, &borrowed(&entry.version))?;
                    slice.wrote(output.writer.file_bytes().saturating_sub(before));
                }
                // Memory has no holes.
                Some(Item::Hole(hole)) => return Err(hidden(&output.path(ground), &hole)),
                None => {
                    let run = output.finish(None, None)?;
                    self.file_bytes = run.file_bytes;
                    slice.wrote_file();
                    return Ok(Stage::Written(run));
                }
            }
        }
        Ok(Stage::Writing { output, source })
    }

    /// The one edit.
    fn name(&mut self, ground: &Ground, run: Option<RunEntry>) -> Result<Stage> {
        let checkpoint = self.frozen.checkpoint();
        if planted!(FrozenOutEarly) {
            ground.layers.install(ground.layers.levels());
        }
        let raised = ground.catalog.raised_file_id();
        let edited = ground.catalog.apply_with(|manifest| {
            let mut edit = Edit::default();
            if let Some(run) = &run {
                edit.run(run);
            }
            match manifest.checkpoint {
                Some(before) if planted!(ReplayStartNotMoved) => edit.checkpoint(&Checkpoint {
                    seqno: checkpoint.seqno,
                    ..before
                }),
                _ => edit.checkpoint(&checkpoint),
            }
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
        if let Some(run) = run {
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
