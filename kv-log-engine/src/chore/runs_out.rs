//! The runs that a unit writes, one behind the other: what is known of keys, and what is lost.

use super::bounds::between;
use super::ground::Ground;
use super::output::{NewFiles, RunOutput, borrowed};
use crate::format::ids::LevelId;
use crate::format::manifest::RunEntry;
use crate::format::run::block::Version;
use crate::format::run::footer::Hole;
use crate::index::source::Shared;
use kv_trait::Result;

/// Runs of one level, in the order of their keys.
#[derive(Debug)]
pub(super) struct RunsOut {
    /// `None`: one that is newer than all, until the first run has an id.
    level: Option<LevelId>,
    current: Option<RunOutput>,
    /// Where the next one may begin.
    from: Vec<u8>,
    /// The part of what was lost that may reach beyond the current run.
    open: Option<Hole>,
    done: Vec<RunEntry>,
    done_bytes: u64,
}

impl RunsOut {
    /// Runs of a level, of the keys from `from` on.
    pub(super) fn of(level: LevelId, from: Vec<u8>) -> Self {
        Self::new(Some(level).filter(|_| !planted!(OutputTooNew)), from)
    }

    /// Runs of a level of their own, which is newer than all that there are.
    pub(super) const fn of_a_new_level() -> Self {
        Self::new(None, Vec::new())
    }

    const fn new(level: Option<LevelId>, from: Vec<u8>) -> Self {
        Self {
            level,
            current: None,
            from,
            open: None,
            done: Vec::new(),
            done_bytes: 0,
        }
    }

    /// Bytes of all of them, about.
    pub(super) fn bytes(&self) -> u64 {
        self.done_bytes + self.current_bytes()
    }

    /// Bytes of the one that is being written.
    pub(super) fn current_bytes(&self) -> u64 {
        let current = self.current.as_ref();
        current.map_or(0, |run| run.writer.file_bytes())
    }

    fn current(&mut self, ground: &Ground, files: &mut NewFiles) -> Result<&mut RunOutput> {
        if self.current.is_none() {
            let run = RunOutput::begin(ground, files, self.from.clone())?;
            let id = run.id();
            self.level.get_or_insert_with(|| LevelId(id.get()));
            self.current = Some(run);
        }
        Ok(self.current.as_mut().expect("it was begun"))
    }

    pub(super) fn push(
        &mut self,
        ground: &Ground,
        files: &mut NewFiles,
        key: &[u8],
        version: &Version<Shared>,
    ) -> Result<()> {
        let run = self.current(ground, files)?;
        run.writer.push(key, &borrowed(version))
    }

    /// Records that keys of a range are lost, unless newer levels know them.
    pub(super) fn push_hole(
        &mut self,
        ground: &Ground,
        files: &mut NewFiles,
        hole: Hole,
    ) -> Result<()> {
        let reaches_on = |open: &Hole| open.to < hole.to;
        if self.open.as_ref().is_none_or(reaches_on) {
            self.open = Some(hole.clone());
        }
        let run = self.current(ground, files)?;
        run.writer.push_hole(hole);
        Ok(())
    }

    /// A key is known to be absent, and nothing older is left below: it needs no entry, unless one has to say that it is not
    /// among what was lost.
    pub(super) fn push_absent(&mut self, key: &[u8], version: &Version<Shared>) -> Result<()> {
        match &mut self.current {
            Some(run) => {
                if planted!(TombstoneOverHoleLost) || run.writer.cut_out_of_holes(key) {
                    return Ok(());
                }
                run.writer.push(key, &borrowed(version))
            }
            None => Ok(()),
        }
    }

    /// Where another one begins before `key`, if the current one is long enough. Keys that have long prefixes in common have
    /// no short bounds.
    pub(super) fn next_begins(&self, run_bytes: u64, last: &[u8], key: &[u8]) -> Option<Vec<u8>> {
        let bytes = self.current_bytes();
        let bound = between(last, key, bytes >= run_bytes, bytes / 2 >= run_bytes);
        bound.map(<[u8]>::to_vec)
    }

    /// What comes is at or above `at`, and goes into another run. What is lost across it goes on there.
    pub(super) fn split(&mut self, ground: &Ground, files: &mut NewFiles, at: &[u8]) -> Result<()> {
        self.close(ground, files, Some(at))?;
        self.from = at.to_vec();
        if let Some(mut open) = self.open.take().filter(|open| *open.to > *at) {
            open.from = at.to_vec();
            self.push_hole(ground, files, open)?;
        }
        Ok(())
    }

    /// Finishes the run that is being written: nothing comes below `to`.
    fn close(&mut self, ground: &Ground, files: &mut NewFiles, to: Option<&[u8]>) -> Result<()> {
        let Some(run) = self.current.take() else {
            return Ok(());
        };
        if run.writer.is_empty() {
            files.discard(ground, run.id());
            return Ok(());
        }
        let entry = run.finish(to, self.level)?;
        self.done_bytes += entry.file_bytes;
        self.done.push(entry);
        Ok(())
    }

    /// Finishes the last one, of the keys below `to`.
    pub(super) fn finish(
        &mut self,
        ground: &Ground,
        files: &mut NewFiles,
        to: Option<&[u8]>,
    ) -> Result<()> {
        self.close(ground, files, to)
    }

    /// What the manifest is to say of them.
    pub(super) fn entries(&self) -> &[RunEntry] {
        &self.done
    }
}
