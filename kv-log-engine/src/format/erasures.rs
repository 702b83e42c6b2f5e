//! Erasures: ranges of full keys, each with a place in the order of writes. What was written to a key before the newest
//! erasure over it counts for nothing. FORMAT.md, "Erasures".
//!
//! The table is kept in pieces that do not overlap: where two erasures do, the newer one is all that counts. So a key is
//! looked up by halving, and an erasure over all of an older one takes its place.

use super::Defect;
use super::cursor::Cursor;
use super::run::FULL_KEY_BYTES_MAX;
use crate::format::ids::Seqno;
use std::ops::Range;
use std::sync::Arc;

/// Pieces that the table may have before more erasures are refused.
pub(crate) const ERASURES_MAX: usize = 1024;
/// From so many on chores write anew what keeps them from going.
pub(crate) const ERASURES_MANY: usize = 128;
/// From so many on writers wait for that.
pub(crate) const ERASURES_PRESSING: usize = 768;
/// Bytes that it may take in a manifest before more are refused.
pub(crate) const ERASURES_BYTES_MAX: usize = 1024 * 1024;
/// What a piece takes in a manifest beside its bounds.
const PIECE_BYTES: usize = 16;
/// The longest bound: above the longest key.
const BOUND_BYTES_MAX: usize = FULL_KEY_BYTES_MAX + 1;

/// Everything in `[from, to)` that has this seqno or a lower one counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) from: Box<[u8]>,
    pub(crate) to: Box<[u8]>,
    pub(crate) seqno: Seqno,
}

impl Erasure {
    fn bytes(&self) -> usize {
        PIECE_BYTES + self.from.len() + self.to.len()
    }
}

/// What is erased. A clone shares everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Erasures {
    /// In the order of their keys; none overlaps another.
    pieces: Arc<Vec<Erasure>>,
    /// What they take in a manifest.
    bytes: usize,
}

/// A run, as far as erasures are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covered<'a> {
    /// The keys that are live in it.
    pub(crate) from: &'a [u8],
    pub(crate) to: Option<&'a [u8]>,
    /// The lowest seqno of its entries.
    pub(crate) lowest: Seqno,
    /// No entry of it is covered by an erasure of this seqno or a lower one.
    pub(crate) erased_to: Seqno,
}

impl Covered<'_> {
    /// Whether it may hold what this erasure covers. Its keys are those of the run, at least in part.
    pub(crate) fn is_touched_by(&self, erasure: &Erasure) -> bool {
        self.erased_to < erasure.seqno && self.lowest <= erasure.seqno
    }
}

impl Erasures {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// What they take in a manifest, without a head.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn pieces(&self) -> &[Erasure] {
        &self.pieces
    }

    /// The newest of all; [`Seqno::ZERO`]: there is none.
    pub(crate) fn newest(&self) -> Seqno {
        let seqnos = self.pieces.iter().map(|piece| piece.seqno);
        seqnos.max().unwrap_or_default()
    }

    /// The newest erasure over a key: what has this seqno or a lower one counts for nothing there. [`Seqno::ZERO`]: none.
    #[inline]
    pub(crate) fn floor(&self, key: &[u8]) -> Seqno {
        if self.pieces.is_empty() {
            return Seqno::ZERO;
        }
        let behind = self.pieces.partition_point(|piece| *piece.from <= *key);
        let before = behind
            .checked_sub(1)
            .and_then(|at| self.pieces.get(at))
            .filter(|piece| *key < *piece.to);
        before.map_or(Seqno::ZERO, |piece| piece.seqno)
    }

    /// Whether what was written to a key at this place is erased.
    #[inline]
    pub(crate) fn covers(&self, key: &[u8], seqno: Seqno) -> bool {
        let floor = self.floor(key);
        seqno <= floor && floor > Seqno::ZERO
    }

    /// The positions of the pieces that overlap `[from, to)`.
    fn positions(&self, from: &[u8], to: Option<&[u8]>) -> Range<usize> {
        let start = self.pieces.partition_point(|piece| *piece.to <= *from);
        let end = to.map_or(self.pieces.len(), |to| {
            self.pieces.partition_point(|piece| *piece.from < *to)
        });
        start..end.max(start)
    }

    /// The pieces that overlap `[from, to)`, in order; without an end, to that of all keys.
    pub(crate) fn over(&self, from: &[u8], to: Option<&[u8]>) -> &[Erasure] {
        let at = self.positions(from, to);
        self.pieces.get(at).unwrap_or_default()
    }

    /// Whether everything in `[from, to)` that has this seqno or a lower one is erased.
    pub(crate) fn cover_all(&self, from: &[u8], to: Option<&[u8]>, highest: Seqno) -> bool {
        let mut reached = from;
        for piece in self.over(from, to) {
            if *piece.from > *reached || piece.seqno < highest {
                return false;
            }
            reached = &piece.to;
        }
        to.is_some_and(|to| to <= reached)
    }

    /// Adds an erasure that is newer than all.
    pub(crate) fn add(&mut self, from: &[u8], to: &[u8], seqno: Seqno) {
        if from >= to {
            return;
        }
        let at = self.positions(from, Some(to));
        let over = self.pieces.get(at.clone()).unwrap_or_default();
        let before = over.first().filter(|piece| *piece.from < *from);
        let behind = over.last().filter(|piece| *piece.to > *to);
        let piece = |from: &[u8], to: &[u8], seqno| Erasure {
            from: from.into(),
            to: to.into(),
            seqno,
        };
        let before = before.map(|first| piece(&first.from, from, first.seqno));
        let behind = behind.map(|last| piece(to, &last.to, last.seqno));
        let new = before.into_iter().chain([piece(from, to, seqno)]);
        let new: Vec<Erasure> = new.chain(behind).collect();
        let pieces = Arc::make_mut(&mut self.pieces);
        pieces.splice(at, new);
        self.bytes = pieces.iter().map(Erasure::bytes).sum();
    }

    /// Whether one more fits, whatever it overlaps.
    pub(crate) fn has_room_for(&self, from: &[u8], to: &[u8]) -> bool {
        let added = 2 * (PIECE_BYTES + from.len() + to.len());
        self.len() + 2 <= ERASURES_MAX && self.bytes + added <= ERASURES_BYTES_MAX
    }

    /// Where keys begin that may count, of those from `from` on of something that has no seqno above `highest`; `None`: there.
    pub(crate) fn erased_front(&self, from: &[u8], highest: Seqno) -> Option<&[u8]> {
        let mut reached = None;
        for piece in self.over(from, None) {
            if *piece.from > *reached.unwrap_or(from) || piece.seqno < highest {
                break;
            }
            reached = Some(&*piece.to);
        }
        reached
    }

    /// Those that nothing needs: at or below `covered`, and over no entry of these runs. `None`: all are needed.
    pub(crate) fn retired<'r>(
        &self,
        covered: Seqno,
        runs: impl Iterator<Item = Covered<'r>>,
    ) -> Option<Self> {
        let mut free: Vec<bool> = self.pieces.iter().map(|p| p.seqno <= covered).collect();
        let mut left = free.iter().filter(|free| **free).count();
        let newest = self.newest();
        let runs = runs.filter(|_| !planted!(ErasureDroppedEarly));
        for run in runs.filter(|run| run.erased_to < newest && run.lowest <= newest) {
            for at in self.positions(run.from, run.to) {
                if let (Some(piece), Some(free)) = (self.pieces.get(at), free.get_mut(at))
                    && *free
                    && run.is_touched_by(piece)
                {
                    *free = false;
                    left -= 1;
                }
            }
            if left == 0 {
                return None;
            }
        }
        if left == 0 {
            return None;
        }
        let pieces = self.pieces.iter().zip(free);
        let pieces = pieces.filter(|(_, free)| *free);
        Some(Self::of(pieces.map(|(piece, _)| piece.clone()).collect()))
    }

    /// The same without pieces that were found to be retired. What was added since is newer, and stays.
    pub(crate) fn without(&self, retired: &Self) -> Self {
        let stays = |piece: &&Erasure| retired.floor(&piece.from) != piece.seqno;
        Self::of(self.pieces.iter().filter(stays).cloned().collect())
    }

    /// Whether something of a run has to be written anew, so that pieces over it can go.
    pub(crate) fn touch(&self, run: &Covered<'_>) -> bool {
        let mut over = self.over(run.from, run.to).iter();
        over.any(|piece| run.is_touched_by(piece))
    }

    fn of(pieces: Vec<Erasure>) -> Self {
        Self {
            bytes: pieces.iter().map(Erasure::bytes).sum(),
            pieces: Arc::new(pieces),
        }
    }

    pub(super) fn encode(&self, body: &mut Vec<u8>) {
        push_length(body, self.pieces.len());
        for piece in &*self.pieces {
            for bound in [&piece.from, &piece.to] {
                push_length(body, bound.len());
                body.extend_from_slice(bound);
            }
            body.extend_from_slice(&piece.seqno.get().to_le_bytes());
        }
    }

    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        let mut pieces: Vec<Erasure> = Vec::new();
        for _ in 0..cursor.u32()? {
            let (from, to) = (take_bound(cursor)?, take_bound(cursor)?);
            let seqno = Seqno::new(cursor.u64()?);
            let follows = pieces.last().is_none_or(|last| last.to <= from);
            if !follows || from >= to || seqno == Seqno::ZERO {
                return Err(Defect::Field {
                    what: "erasure in the manifest",
                    found: seqno.get(),
                });
            }
            pieces.push(Erasure { from, to, seqno });
        }
        Ok(Self::of(pieces))
    }
}

fn push_length(body: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("what an item lists is bounded");
    body.extend_from_slice(&length.to_le_bytes());
}

fn take_bound(cursor: &mut Cursor<'_>) -> Result<Box<[u8]>, Defect> {
    let length = cursor.u32()?;
    if length as usize > BOUND_BYTES_MAX {
        return Err(Defect::Field {
            what: "length of an erasure's bound",
            found: length.into(),
        });
    }
    Ok(cursor.take(length as usize)?.into())
}

#[cfg(test)]
#[path = "erasures_tests.rs"]
mod tests;
