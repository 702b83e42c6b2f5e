//! What was read of runs and is likely to be asked for again: blocks, fences and filters in one budget.
//!
//! Keyed by run and offset: ids of files are never used again, so an entry of a run that is gone is only forgotten.
//! What is handed out is shared, and lives on where it is in use after it was evicted.

use crate::format::run::RunId;
use crate::format::run::block::Stored;
use crate::format::run::fence::Place;
use crate::format::run::filter::Filter;
use crate::format::run::table::Table;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Bytes that an entry takes beside its content: key, tables of the cache, the allocation.
const ENTRY_BYTES: u64 = 160;
/// What a piece is expected to weigh, to size the tables: about 4 KiB each.
const PIECE_BYTES: u64 = 4096;

/// A piece of a run, checked and taken apart.
#[derive(Clone, Debug)]
pub(crate) enum Cached {
    Block(Table<Stored>),
    Fence(Table<Place>),
    Filter(Arc<Filter>),
}

#[derive(Clone, Debug)]
struct Weigh;

impl Weighter<(RunId, u64), Cached> for Weigh {
    fn weight(&self, _: &(RunId, u64), cached: &Cached) -> u64 {
        let content = match cached {
            Cached::Block(table) => table.content_bytes(),
            Cached::Fence(table) => table.content_bytes(),
            Cached::Filter(filter) => filter.content_bytes(),
        };
        content as u64 + ENTRY_BYTES
    }
}

/// The pieces in memory, of all runs of a store.
#[derive(Debug)]
pub(crate) struct PieceCache {
    pieces: Cache<(RunId, u64), Cached, Weigh>,
}

impl PieceCache {
    /// A cache that keeps at most about `budget_bytes`. A piece that is longer than its share is not kept.
    pub(crate) fn new(budget_bytes: u64) -> Arc<Self> {
        let expected = usize::try_from(budget_bytes / PIECE_BYTES).unwrap_or(usize::MAX);
        Arc::new(Self {
            pieces: Cache::with_weighter(expected.max(1), budget_bytes, Weigh),
        })
    }

    pub(crate) fn get(&self, run: RunId, offset: u64) -> Option<Cached> {
        self.pieces.get(&(run, offset))
    }

    pub(crate) fn keep(&self, run: RunId, offset: u64, cached: Cached) {
        self.pieces.insert((run, offset), cached);
    }

    /// Bytes in use, as far as the budget counts them.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.weight()
    }

    /// Another budget, from now on.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn set_budget(&self, budget_bytes: u64) {
        self.pieces.set_capacity(budget_bytes);
    }
}
