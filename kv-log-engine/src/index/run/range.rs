//! Walking a run in order, in one direction, over its blocks and around what cannot be read.

use super::reader::{RunReader, share};
use crate::format::run::block::Stored;
use crate::format::run::fence::Place;
use crate::format::run::footer::Hole;
use crate::format::run::table::{Entries, Payload, Table};
use crate::index::source::{Direction, Entry, Interval, Item, Source, hole_of};
use kv_trait::Result;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

/// The entries of an interval of a run. Holds one block, one fence, and the run itself.
#[derive(Debug)]
pub(crate) struct RunRange {
    run: Arc<RunReader>,
    interval: Interval,
    direction: Direction,
    /// The part that comes next; `None` behind the last.
    next_part: Option<usize>,
    /// The part and the fence that blocks are taken from, and the block that comes next.
    fence: Option<(usize, Table<Place>, Option<usize>)>,
    /// The block that entries are taken from, and the entry that comes next.
    block: Option<(Entries<Stored>, Option<usize>)>,
    /// Holes that merges recorded, in the order of this direction.
    holes: VecDeque<Hole>,
    /// Read already; a recorded hole came before it.
    ahead: Option<Item>,
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
        let next_part = start(&run.footer().parts, &interval, direction);
        Self {
            run,
            interval,
            direction,
            next_part,
            fence: None,
            block: None,
            holes,
            ahead: None,
        }
    }

    fn step(&self, at: usize, len: usize) -> Option<usize> {
        match self.direction {
            Direction::Forward => Some(at + 1).filter(|next| *next < len),
            Direction::Backward => at.checked_sub(1),
        }
    }

    /// Whether the walk ends before something that has no key outside `[from, to)`.
    fn ends_before(&self, from: &[u8], to: &[u8]) -> bool {
        match self.direction {
            Direction::Forward => self.interval.is_below(from),
            Direction::Backward => match &self.interval.lower {
                Bound::Unbounded => false,
                Bound::Included(lower) | Bound::Excluded(lower) => *to <= **lower,
            },
        }
    }

    /// The next entry or the next thing that cannot be read.
    fn next_read(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.next_of_block() {
                return Ok(Some(item));
            }
            if let Some((part, fence, Some(ordinal))) = self.fence.clone() {
                match self.enter_block(part, &fence, ordinal)? {
                    None => {}
                    hole => return Ok(hole),
                }
            } else if let Some(at) = self.next_part {
                match self.enter_part(at)? {
                    None => {}
                    hole => return Ok(hole),
                }
            } else {
                return Ok(None);
            }
        }
    }

    fn next_of_block(&mut self) -> Option<Item> {
        loop {
            let (entries, next) = self.block.as_mut()?;
            let Some(at) = *next else {
                self.block = None;
                return None;
            };
            let len = entries.table().len();
            let block = entries.table().clone();
            let (key, stored) = entries.entry(at)?;
            let (above, below) = (self.interval.is_above(key), self.interval.is_below(key));
            let entry = (!above && !below).then(|| Entry {
                key: key.to_vec(),
                version: share(&block, stored),
            });
            *next = match self.direction {
                Direction::Forward => Some(at + 1).filter(|next| *next < len),
                Direction::Backward => at.checked_sub(1),
            };
            if let Some(entry) = entry {
                return Some(Item::Entry(entry));
            }
            let over = match self.direction {
                Direction::Forward => below,
                Direction::Backward => above,
            };
            if over {
                (self.block, self.fence, self.next_part) = (None, None, None);
                return None;
            }
        }
    }

    /// Goes on to a block; what hides it is an item of its own, and the walk stands behind it.
    fn enter_block(
        &mut self,
        part: usize,
        fence: &Table<Place>,
        ordinal: usize,
    ) -> Result<Option<Item>> {
        let mut entries = Entries::new(fence.clone());
        let Some((_, place)) = entries.entry(ordinal) else {
            self.fence = None;
            return Ok(None);
        };
        let (from, to) = self.run.block_bounds(part, fence, ordinal);
        if self.ends_before(&from, &to) {
            (self.fence, self.next_part) = (None, None);
            return Ok(None);
        }
        let found = match self.run.block(part, fence, ordinal, place) {
            Ok(block) => {
                let next = start_of_entries(&block, &self.interval, self.direction);
                self.block = Some((Entries::new(block), next));
                None
            }
            Err(error) => Some(Item::Hole(hole_of(error, from, to)?)),
        };
        let next = self.step(ordinal, fence.len());
        self.fence = Some((part, fence.clone(), next));
        Ok(found)
    }

    fn enter_part(&mut self, at: usize) -> Result<Option<Item>> {
        let parts = self.run.footer().parts.clone();
        let Some((_, part)) = Entries::new(parts.clone())
            .entry(at)
            .map(|(_, part)| ((), part))
        else {
            self.next_part = None;
            return Ok(None);
        };
        let (from, to) = self.run.part_bounds(at);
        if self.ends_before(&from, &to) {
            self.next_part = None;
            return Ok(None);
        }
        let found = match self.run.fence(at, &part) {
            Ok(fence) => {
                let next = start(&fence, &self.interval, self.direction);
                self.fence = Some((at, fence, next));
                None
            }
            Err(error) => Some(Item::Hole(hole_of(error, from, to)?)),
        };
        self.next_part = self.step(at, parts.len());
        Ok(found)
    }
}

impl Source for RunRange {
    fn next(&mut self) -> Result<Option<Item>> {
        if self.ahead.is_none() {
            self.ahead = self.next_read()?;
        }
        let hole_first = match (self.holes.front(), &self.ahead) {
            (Some(hole), Some(ahead)) => {
                let hole = Item::Hole(hole.clone());
                self.direction.order(&hole, ahead).is_lt()
            }
            (hole, _) => hole.is_some(),
        };
        if hole_first {
            return Ok(self.holes.pop_front().map(Item::Hole));
        }
        Ok(self.ahead.take())
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

/// The first entry of a block that is in the interval, or near it: what is outside is passed over.
fn start_of_entries(
    block: &Table<Stored>,
    interval: &Interval,
    direction: Direction,
) -> Option<usize> {
    let last = block.len().checked_sub(1)?;
    match (direction, &interval.lower, &interval.upper) {
        (Direction::Forward, Bound::Included(key) | Bound::Excluded(key), _) => {
            Some(block.seek(key)).filter(|at| *at <= last)
        }
        (Direction::Forward, Bound::Unbounded, _) => Some(0),
        (Direction::Backward, _, Bound::Included(key) | Bound::Excluded(key)) => {
            Some(block.seek(key).min(last))
        }
        (Direction::Backward, _, Bound::Unbounded) => Some(last),
    }
}
