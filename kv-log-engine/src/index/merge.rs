//! One walk over many sources, which scans, merges and checks share.
//!
//! Age decides between versions: for a key the newest source that has it is right, whatever its seqno says; in debug
//! builds the seqnos of a key are asserted to fall from source to source. A hole hides what *older* sources say of its
//! keys, for what is lost may have been newer; what newer sources say holds.
//!
//! Each source gives a few entries at a time, which stay where they lie; those at which the sources stand are kept in
//! their order. As a rule one source is far larger than the others, and the next entry is its own: one comparison, of the
//! first bytes of two keys.

use crate::format::erasures::Erasures;
use crate::format::ids::Seqno;
use crate::format::run::block::Version;
use crate::format::run::footer::Hole;
use crate::index::chunk::Chunk;
use crate::index::source::{Direction, Entry, Filled, Item, Source};
use kv_trait::Result;

/// What a merge yields of a key that has several versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yield {
    /// The newest version, unless it is a tombstone, hidden, or expired at this reading of the store's clock: what a scan
    /// shows.
    Live(u64),
    /// The newest version, tombstones included: what a merge above the bottom keeps.
    Newest,
    /// Every version of every source, the newest first, hidden ones too: for checks.
    All,
}

/// What a merge yields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Merged {
    /// Which source it is from: 0 is the newest.
    pub(crate) age: usize,
    pub(crate) item: Item,
}

/// The same, where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Met<'m> {
    Entry(&'m [u8], Version<&'m [u8]>),
    Hole(&'m Hole),
}

/// A source is asked for so many entries at first, and for more and more: a walk may be short.
const ENOUGH_FIRST: usize = 4;
/// At most for so many.
const ENOUGH_MAX: usize = 128;

/// A source, and where it stands.
struct Head {
    /// `None`: it is at its end.
    source: Option<Box<dyn Source>>,
    /// It stands at this hole,
    hole: Option<Hole>,
    /// or at this entry of the chunk.
    chunk: Chunk,
    at: usize,
    enough: usize,
    /// Entries that were met.
    passed: u64,
}

impl Head {
    fn key(&self) -> &[u8] {
        self.chunk.key(self.at)
    }

    /// Whether it stands at an entry with this key.
    fn has(&self, key: &[u8]) -> bool {
        self.hole.is_none() && self.key() == key
    }
}

/// A source that stands at something.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    /// The first bytes of the key: who has fewer comes first.
    rank: u128,
    age: usize,
}

/// Sources as one, in the order of their keys.
pub(crate) struct Merge {
    direction: Direction,
    wanted: Yield,
    /// What is erased counts for nothing.
    erasures: Erasures,
    /// The newest first.
    heads: Vec<Head>,
    /// Those that stand at something, in the order of that.
    order: Vec<Ranked>,
    /// Those that have to be asked, by age; a source that failed stays here, and is asked again by the next call.
    waiting: Vec<usize>,
    /// The first of the order was met already: the walk leaves it when it goes on.
    met: bool,
    /// So many that come next have the key that was met last.
    repeats: usize,
    /// The seqno that was met last, of the key that was met last.
    last_seqno: Seqno,
    /// Holes that the walk is in.
    open: Vec<(usize, Hole)>,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge")
            .field("direction", &self.direction)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl Merge {
    /// Sources, the newest first, that all go the same way.
    pub(crate) fn new(
        sources: impl IntoIterator<Item = Box<dyn Source>>,
        direction: Direction,
        wanted: Yield,
    ) -> Self {
        let heads: Vec<Head> = sources
            .into_iter()
            .map(|source| Head {
                source: Some(source),
                hole: None,
                chunk: Chunk::default(),
                at: 0,
                enough: ENOUGH_FIRST,
                passed: 0,
            })
            .collect();
        Self {
            direction,
            wanted,
            erasures: Erasures::default(),
            order: Vec::with_capacity(heads.len()),
            waiting: (0..heads.len()).collect(),
            heads,
            met: false,
            repeats: 0,
            last_seqno: Seqno::ZERO,
            open: Vec::new(),
        }
    }

    /// The same without what these erasures cover, unless every version is asked for.
    pub(crate) fn without(mut self, erasures: Erasures) -> Self {
        self.erasures = erasures;
        self
    }

    /// How many entries of a source are behind the walk, yielded or not, with the one that was yielded last.
    pub(crate) fn passed(&self, age: usize) -> u64 {
        self.heads.get(age).map_or(0, |head| head.passed)
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// `Io`: a source could not be read. Nothing is lost: the next call tries again.
    pub(crate) fn next(&mut self) -> Result<Option<Merged>> {
        let Some(age) = self.find()? else {
            return Ok(None);
        };
        let head = &self.heads[age];
        let item = match &head.hole {
            Some(hole) => Item::Hole(hole.clone()),
            None => Item::Entry(Entry::of(&head.chunk, head.at)),
        };
        Ok(Some(Merged { age, item }))
    }

    /// The next item, where it lies: for those who do not keep it.
    ///
    /// # Errors
    /// As [`Merge::next`].
    pub(crate) fn step(&mut self) -> Result<Option<Met<'_>>> {
        let Some(age) = self.find()? else {
            return Ok(None);
        };
        let head = &self.heads[age];
        Ok(Some(match &head.hole {
            Some(hole) => Met::Hole(hole),
            None => Met::Entry(head.key(), head.chunk.version(head.at)),
        }))
    }

    /// Goes on to the next item that was asked for; returns which source stands at it.
    fn find(&mut self) -> Result<Option<usize>> {
        loop {
            if self.met {
                self.leave();
            }
            self.refill()?;
            let Some(first) = self.order.first() else {
                return Ok(None);
            };
            let age = first.age;
            self.met = true;
            if let Some(hole) = &self.heads[age].hole {
                self.open.push((age, hole.clone()));
                return Ok(Some(age));
            }
            self.heads[age].passed += 1;
            if self.shows(age) {
                return Ok(Some(age));
            }
        }
    }

    /// Whether the entry that is met now is one that was asked for.
    fn shows(&mut self, age: usize) -> bool {
        if let Some(repeats) = self.repeats.checked_sub(1) {
            self.repeats = repeats;
            self.assert_older(age);
            return self.wanted == Yield::All;
        }
        self.repeats = self.repeated();
        if self.repeats > 0 {
            self.last_seqno = self.heads[age].chunk.version(self.heads[age].at).seqno;
        }
        if self.wanted == Yield::All {
            return true;
        }
        if !self.open.is_empty() && self.is_hidden(age) {
            return false;
        }
        self.is_wanted(age)
    }

    /// Whether the newest version of a key is yielded, where nothing hides it. This is the one place that decides so.
    fn is_wanted(&self, age: usize) -> bool {
        let head = &self.heads[age];
        let version = head.chunk.version(head.at);
        // What is older is covered, too.
        let is_erased = self.erasures.covers(head.key(), version.seqno);
        match self.wanted {
            Yield::Live(now_ms) => !is_erased && version.is_visible(now_ms),
            Yield::Newest => !is_erased || planted!(ErasureIgnoredByMerge),
            Yield::All => true,
        }
    }

    fn assert_older(&mut self, age: usize) {
        let head = &self.heads[age];
        let seqno = head.chunk.version(head.at).seqno;
        debug_assert!(
            self.last_seqno > seqno,
            "an older layer has a newer version: {} above {seqno}",
            self.last_seqno
        );
        self.last_seqno = seqno;
    }

    /// How many sources behind the first stand at its key: they are next in the order.
    fn repeated(&self) -> usize {
        let [first, others @ ..] = &*self.order else {
            return 0;
        };
        let same = |other: &&Ranked| {
            other.rank == first.rank && self.heads[other.age].has(self.heads[first.age].key())
        };
        others.iter().take_while(same).count()
    }

    /// Whether a hole of a newer source covers the key. Holes that the walk has left are forgotten.
    fn is_hidden(&mut self, age: usize) -> bool {
        let key = self.heads[age].key();
        let direction = self.direction;
        self.open.retain(|(_, hole)| match direction {
            Direction::Forward => *key < *hole.to,
            Direction::Backward => *hole.from <= *key,
        });
        self.open
            .iter()
            .any(|(hole_age, hole)| *hole_age < age && hole.covers(key))
    }

    /// Moves the source that is first, and puts it where it belongs.
    fn leave(&mut self) {
        self.met = false;
        let Some(first) = self.order.first_mut() else {
            return;
        };
        let age = first.age;
        let head = &mut self.heads[age];
        if head.hole.take().is_none() {
            head.at += 1;
        }
        if head.at >= head.chunk.len() {
            self.order.remove(0);
            self.waiting.push(age);
            return;
        }
        let moved = Ranked {
            rank: rank(self.direction, head.key()),
            age,
        };
        *first = moved;
        let mut at = 0;
        while let Some(next) = self.order.get(at + 1)
            && self.is_before(next, &moved)
        {
            self.order.swap(at, at + 1);
            at += 1;
        }
    }

    /// Asks every source that has nothing left of what it gave. One that fails is asked again.
    fn refill(&mut self) -> Result<()> {
        while let Some(age) = self.waiting.last().copied() {
            let head = &mut self.heads[age];
            head.chunk.clear();
            head.at = 0;
            let filled = match &mut head.source {
                Some(source) => source.fill(&mut head.chunk, head.enough)?,
                None => Filled::End,
            };
            head.enough = ENOUGH_MAX.min(2 * head.enough);
            self.waiting.pop();
            let key = match filled {
                Filled::End => {
                    head.source = None;
                    continue;
                }
                Filled::Entries => head.key(),
                Filled::Hole(hole) => {
                    let hole = head.hole.insert(hole);
                    match self.direction {
                        Direction::Forward => &*hole.from,
                        Direction::Backward => &*hole.to,
                    }
                }
            };
            let ranked = Ranked {
                rank: rank(self.direction, key),
                age,
            };
            let later = |other: &Ranked| self.is_before(&ranked, other);
            let at = self.order.iter().position(later);
            self.order.insert(at.unwrap_or(self.order.len()), ranked);
        }
        Ok(())
    }

    /// Whether what one source stands at comes before what another does.
    #[inline]
    fn is_before(&self, one: &Ranked, other: &Ranked) -> bool {
        one.rank < other.rank || one.rank == other.rank && self.is_before_by_key(one.age, other.age)
    }

    fn is_before_by_key(&self, one: usize, other: usize) -> bool {
        let (a, b) = (&self.heads[one], &self.heads[other]);
        let order = match (&a.hole, &b.hole) {
            (None, None) => match self.direction {
                Direction::Forward => a.key().cmp(b.key()),
                Direction::Backward => b.key().cmp(a.key()),
            },
            (Some(a), Some(b)) => self.direction.order_holes(a, b),
            (Some(hole), None) => return self.direction.hole_is_first(hole, b.key()),
            (None, Some(hole)) => return !self.direction.hole_is_first(hole, a.key()),
        };
        order.then(one.cmp(&other)).is_lt()
    }
}

/// The first bytes of a key as a number that is smaller for what comes first; the same for keys that differ behind them.
#[inline]
fn rank(direction: Direction, key: &[u8]) -> u128 {
    const BYTES: usize = size_of::<u128>();
    let bytes = key.first_chunk::<BYTES>().copied().unwrap_or_else(|| {
        // What is shorter is not above what it begins.
        let mut padded = [0; BYTES];
        padded[..key.len()].copy_from_slice(key);
        padded
    });
    let number = u128::from_le_bytes(bytes).swap_bytes();
    match direction {
        Direction::Forward => number,
        Direction::Backward => !number,
    }
}
