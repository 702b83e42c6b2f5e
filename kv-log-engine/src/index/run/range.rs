//! Walking a run in order, in one direction, over its blocks and around what cannot be read.

use super::reader::RunReader;
use crate::format::run::block::Stored;
use crate::format::run::fence::{Part, Place};
use crate::format::run::footer::Hole;
use crate::format::run::table::{Entries, Payload, Table};
use crate::index::source::{Chunk, Direction, Filled, Interval, Source, hole_of};
use kv_trait::Result;
use std::collections::VecDeque;
use std::ops::{Bound, Range};
use std::sync::Arc;

/// The entries of an interval of a run. Holds one block, one fence, and the run itself.
#[derive(Debug)]
pub(crate) struct RunRange {
    run: Arc<RunReader>,
    interval: Interval,
    direction: Direction,
    parts: Entries<Part>,
    /// The part that comes next; `None` behind the last.
    next_part: Option<usize>,
    /// What blocks are taken from.
    fence: Option<Fence>,
    /// The block that entries are taken from, and those that are left of it: never none.
    block: Option<(Table<Stored>, Range<usize>)>,
    /// Holes that merges recorded, in the order of this direction.
    holes: VecDeque<Hole>,
    /// Where something could not be read; a recorded hole may come before it.
    unreadable: Option<Hole>,
}

/// The blocks of a part.
#[derive(Debug)]
struct Fence {
    part: usize,
    blocks: Entries<Place>,
    /// The one that comes next; `None` behind the last.
    next: Option<usize>,
}

impl RunReader {
    /// The entries of an interval in one direction, holes included.
    pub(crate) fn range(self: &Arc<Self>, interval: Interval, direction: Direction) -> RunRange {
        RunRange::new(Arc::clone(self), interval, direction)
    }
}

impl RunRange {
    fn new(run: Arc<RunReader>, interval: Interval, direction: Direction) -> Self {
        let holes = run.footer().facts.holes.iter();
        let holes = holes.filter(|hole| interval.meets(&hole.from, &hole.to));
        let mut holes: VecDeque<Hole> = holes.cloned().collect();
        if direction == Direction::Backward {
            holes.make_contiguous().reverse();
        }
        let parts = run.footer().parts.clone();
        let next_part = start(&parts, &interval, direction);
        Self {
            run,
            interval,
            direction,
            parts: Entries::new(parts),
            next_part,
            fence: None,
            block: None,
            holes,
            unreadable: None,
        }
    }

    /// Goes on to the next block, or to the part that has it. `false`: there is none.
    fn read_on(&mut self) -> Result<bool> {
        match (&self.fence, self.next_part) {
            (Some(Fence { next: Some(at), .. }), _) => {
                let at = *at;
                self.enter_block(at)?;
            }
            (_, Some(at)) => self.enter_part(at)?,
            (_, None) => return Ok(false),
        }
        Ok(true)
    }

    fn enter_part(&mut self, at: usize) -> Result<()> {
        let next = step(self.direction, at, self.parts.table().len());
        let Some((from, part)) = self.parts.entry(at) else {
            self.next_part = None;
            return Ok(());
        };
        let reach = Reach::of(&self.interval, self.direction, from);
        if reach == Reach::Beyond {
            self.next_part = None;
            return Ok(());
        }
        match self.run.fence(at, &part) {
            Ok(fence) => {
                self.fence = Some(Fence {
                    part: at,
                    next: start(&fence, &self.interval, self.direction),
                    blocks: Entries::new(fence),
                });
            }
            Err(error) => {
                let (from, to) = self.run.part_bounds(at);
                self.unreadable = Some(hole_of(error, from, to)?);
                self.fence = None;
            }
        }
        self.next_part = next.filter(|_| reach != Reach::Last);
        Ok(())
    }

    /// Goes on to a block; what hides it is noted, and the walk stands behind it.
    fn enter_block(&mut self, at: usize) -> Result<()> {
        let Some(fence) = &mut self.fence else {
            return Ok(());
        };
        let next = step(self.direction, at, fence.blocks.table().len());
        let Some((from, place)) = fence.blocks.entry(at) else {
            self.fence = None;
            return Ok(());
        };
        let reach = Reach::of(&self.interval, self.direction, from);
        if reach == Reach::Beyond {
            (self.fence, self.next_part) = (None, None);
            return Ok(());
        }
        // Where the block lies within the interval as a whole nothing has to be looked for.
        let begins_within = !self.interval.is_above(from);
        let table = fence.blocks.table();
        match self.run.block(fence.part, table, at, place) {
            Ok(block) => {
                let ends_within = fence
                    .blocks
                    .entry(at + 1)
                    .is_some_and(|(to, _)| !self.interval.is_below(to));
                let first = match &self.interval.lower {
                    Bound::Included(key) if !begins_within => block.gap(key, false),
                    Bound::Excluded(key) if !begins_within => block.gap(key, true),
                    _ => 0,
                };
                let end = match &self.interval.upper {
                    Bound::Included(key) if !ends_within => block.gap(key, true),
                    Bound::Excluded(key) if !ends_within => block.gap(key, false),
                    _ => block.len(),
                };
                self.block = (first < end).then_some((block, first..end));
            }
            Err(error) => {
                let (from, to) = self.run.block_bounds(fence.part, table, at);
                self.unreadable = Some(hole_of(error, from, to)?);
            }
        }
        fence.next = next;
        if reach == Reach::Last {
            fence.next = None;
            self.next_part = None;
        }
        Ok(())
    }

    /// The recorded hole that comes next, if it does before `other`.
    fn hole_before(&mut self, other: &Hole) -> Option<Hole> {
        let first = self.holes.front()?;
        if self.direction.order_holes(first, other).is_lt() {
            self.holes.pop_front()
        } else {
            None
        }
    }
}

impl Source for RunRange {
    fn fill(&mut self, chunk: &mut Chunk, enough: usize) -> Result<Filled> {
        while self.block.is_none() && self.unreadable.is_none() {
            if !self.read_on()? {
                let hole = self.holes.pop_front();
                return Ok(hole.map_or(Filled::End, Filled::Hole));
            }
        }
        if let Some(unreadable) = self.unreadable.take() {
            let Some(first) = self.hole_before(&unreadable) else {
                return Ok(Filled::Hole(unreadable));
            };
            self.unreadable = Some(unreadable);
            return Ok(Filled::Hole(first));
        }
        let Some((block, left)) = &mut self.block else {
            return Ok(Filled::End);
        };
        let taken = match self.direction {
            Direction::Forward => left.start..left.end.min(left.start.saturating_add(enough)),
            Direction::Backward => left.start.max(left.end.saturating_sub(enough))..left.end,
        };
        chunk.push_block(block, taken, self.direction);
        if let Some(hole) = self.holes.front() {
            chunk.truncate(chunk.count_first(|key| !self.direction.hole_is_first(hole, key)));
            if chunk.is_empty() {
                chunk.clear();
                let hole = self.holes.pop_front();
                return Ok(hole.map_or(Filled::End, Filled::Hole));
            }
        }
        match self.direction {
            Direction::Forward => left.start += chunk.len(),
            Direction::Backward => left.end -= chunk.len(),
        }
        if left.start >= left.end {
            self.block = None;
        }
        Ok(Filled::Entries)
    }
}

/// How far something reaches whose first separator is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Within,
    /// Behind it the walk has no more keys of the interval.
    Last,
    /// It has none either.
    Beyond,
}

impl Reach {
    fn of(interval: &Interval, direction: Direction, from: &[u8]) -> Self {
        match (direction, &interval.lower) {
            (Direction::Forward, _) if interval.is_below(from) => Self::Beyond,
            (Direction::Backward, Bound::Included(lower) | Bound::Excluded(lower))
                if *from <= **lower =>
            {
                Self::Last
            }
            _ => Self::Within,
        }
    }
}

/// The next one of so many.
fn step(direction: Direction, at: usize, len: usize) -> Option<usize> {
    match direction {
        Direction::Forward => Some(at + 1).filter(|next| *next < len),
        Direction::Backward => at.checked_sub(1),
    }
}

/// The first child of a table of separators that may have a key of the interval.
fn start<P: Payload>(table: &Table<P>, interval: &Interval, direction: Direction) -> Option<usize> {
    let last = table.len().checked_sub(1)?;
    let bound = match direction {
        Direction::Forward => &interval.lower,
        Direction::Backward => &interval.upper,
    };
    match (bound, direction) {
        (Bound::Unbounded, Direction::Forward) => Some(0),
        (Bound::Unbounded, Direction::Backward) => Some(last),
        (Bound::Included(key) | Bound::Excluded(key), Direction::Forward) => {
            Some(table.floor(key).map_or(0, |(at, _)| at))
        }
        (Bound::Included(key) | Bound::Excluded(key), Direction::Backward) => {
            table.floor(key).map(|(at, _)| at)
        }
    }
}
