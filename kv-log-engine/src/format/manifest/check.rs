//! Whether a state makes sense as a whole, and what follows from it: where replay begins, what may be let go.

#[cfg(test)]
use super::Checkpoint;
use super::{Manifest, RunEntry, SegmentEntry, SegmentState};
use crate::format::Defect;
use crate::format::frame::FRAME_ALIGN;
use crate::format::ids::SegmentId;
use crate::format::keyspaces::Keyspaces;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::format::tables::Tables;
use std::collections::BTreeSet;

/// No file is longer, and none has more entries: sums of them are numbers still, whoever wrote them.
const NUMBER_MAX: u64 = 1 << 40;

/// Where the log begins that runs do not cover.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplayStart<'a> {
    /// The first segment to replay.
    pub(crate) segment: &'a SegmentEntry,
    /// It begins behind this place of that segment; `None`: with its first frame.
    pub(crate) behind: Option<&'a Checkpoint>,
}

impl Manifest {
    /// Whether the state makes sense as a whole. That a segment is there which a run refers to is not asked: it is missed
    /// where it is read.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn check(&self) -> Result<(), Defect> {
        if self.next_file_id >= SegmentId::END {
            return malformed("next file id", self.next_file_id.get());
        }
        let ascending = self.segments.windows(2).all(|pair| match pair {
            [first, second] => first.id < second.id,
            _ => false,
        });
        let below_next = self
            .segments
            .iter()
            .all(|segment| segment.id < self.next_file_id);
        let active = self
            .segments
            .iter()
            .filter(|s| s.state == SegmentState::Active)
            .count();
        if !ascending || !below_next || active != 1 {
            return malformed("manifest's list of segments", self.segments.len() as u64);
        }
        let too_long = self.segments.iter().find(|s| s.end > NUMBER_MAX);
        if let Some(segment) = too_long {
            return malformed("length of a segment", segment.end);
        }
        self.check_runs()?;
        self.check_checkpoint()?;
        self.check_tables()?;
        let upside_down = self.passes.iter().find(|pass| pass.newest < pass.oldest);
        upside_down.map_or(Ok(()), |pass| malformed("levels of a pass", pass.newest.0))
    }

    fn check_runs(&self) -> Result<(), Defect> {
        let mut ids = BTreeSet::new();
        for run in &self.runs {
            let file = SegmentId::from(run.id);
            let taken = self.segments.binary_search_by_key(&file, |s| s.id).is_ok();
            if taken || file >= self.next_file_id || !ids.insert(file) {
                return malformed("id of a run", run.id.get());
            }
            let referred = run.referred.values();
            let referred = referred.flat_map(|referred| [referred.bytes, referred.records]);
            let mut numbers = referred.chain([run.file_bytes, run.entries]);
            if let Some(number) = numbers.find(|number| *number > NUMBER_MAX) {
                return malformed("length or count of a run", number);
            }
            let covered = self.checkpoint.is_some_and(|c| run.highest <= c.seqno);
            let interval = run.to.as_ref().is_none_or(|to| run.from <= *to);
            let expiring = run.expiring.map_or(0, |expiring| expiring.entries);
            let parts = [run.tombstones, run.taken, expiring];
            let numbers = parts.iter().all(|part| *part <= run.entries);
            if !covered || !interval || !numbers || run.lowest > run.highest {
                return malformed("run in the manifest", run.id.get());
            }
        }
        let follows = |first: &RunEntry, second: &RunEntry| {
            let ends_before = first.to.as_ref().is_some_and(|to| *to <= second.from);
            first.level > second.level || first.level == second.level && ends_before
        };
        for pair in self.runs.windows(2) {
            if let [first, second] = pair
                && !follows(first, second)
            {
                return malformed("interval of a run", second.id.get());
            }
        }
        Ok(())
    }

    /// What tables say is what the checkpoint covers.
    fn check_tables(&self) -> Result<(), Defect> {
        let Tables {
            keyspaces,
            erasures,
        } = &self.tables;
        let covered = self.checkpoint.map(|checkpoint| checkpoint.seqno);
        if covered.is_none() && *keyspaces != Keyspaces::default() {
            return malformed("keyspaces without a checkpoint", keyspaces.next_id().into());
        }
        let newest = erasures.newest();
        if newest > covered.unwrap_or_default() {
            return malformed("seqno of what is erased", newest.get());
        }
        Ok(())
    }

    fn check_checkpoint(&self) -> Result<(), Defect> {
        let Some(checkpoint) = &self.checkpoint else {
            return Ok(());
        };
        let place = checkpoint.offset;
        if checkpoint.seqno >= self.next_seqno {
            return malformed("seqno of the checkpoint", checkpoint.seqno.get());
        }
        if place < SEGMENT_HEADER_BYTES || !place.is_multiple_of(FRAME_ALIGN) {
            return malformed("offset of the checkpoint", place);
        }
        for segment in &self.segments {
            let (is_before, is_there) = (
                segment.id < checkpoint.segment,
                segment.id == checkpoint.segment,
            );
            let makes_sense = match segment.state {
                // Nothing before the replay start may be lost by not reading it.
                SegmentState::Sealed if is_before => segment.max_seqno <= checkpoint.seqno,
                SegmentState::Sealed => !is_there || place <= segment.end,
                SegmentState::Active => !is_before,
                SegmentState::Values => !is_there,
            };
            if !makes_sense {
                return malformed("segment of the checkpoint", segment.id.get());
            }
        }
        Ok(())
    }

    /// Where replay begins. A checked state has such a place.
    #[cfg(test)]
    pub(crate) fn replay_start(&self) -> Option<ReplayStart<'_>> {
        let mut log = self.segments.iter().filter(|segment| segment.is_log());
        let segment = log.find(|segment| !self.is_covered(segment))?;
        let at = self.checkpoint.as_ref();
        let behind = at.filter(|checkpoint| checkpoint.segment == segment.id);
        Some(ReplayStart { segment, behind })
    }

    /// Whether a segment of the log lies wholly before the replay start.
    pub(crate) fn is_covered(&self, segment: &SegmentEntry) -> bool {
        let (Some(checkpoint), SegmentState::Sealed) = (&self.checkpoint, segment.state) else {
            return false;
        };
        segment.id <= checkpoint.segment
            && (segment.max_seqno <= checkpoint.seqno || planted!(ReplayStartReleased))
    }

    /// The segments that may be let go: nothing of them is replayed, and no run refers to them. This is the only rule of
    /// release, and it holds for the state that it was asked of: a run that is not named yet may refer to more.
    pub(crate) fn releasable(&self) -> Vec<SegmentId> {
        let runs = self.runs.iter();
        let referred: BTreeSet<SegmentId> =
            runs.flat_map(|run| run.referred.keys().copied()).collect();
        let is_past = |segment: &&SegmentEntry| !segment.is_log() || self.is_covered(segment);
        let past = self.segments.iter().filter(is_past);
        let is_free = |segment: &&SegmentEntry| {
            !referred.contains(&segment.id) || planted!(ReleasedWhileReferred)
        };
        let free = past.filter(is_free);
        free.map(|segment| segment.id).collect()
    }
}

const fn malformed(what: &'static str, found: u64) -> Result<(), Defect> {
    Err(Defect::Field { what, found })
}
