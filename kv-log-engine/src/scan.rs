//! Walking keys and values in order, at one point of the order of writes.

use crate::fault;
use crate::format::run::{name_range, split_key};
use crate::index::View;
use crate::index::lookup::read_version;
use crate::index::merge::{Merge, Yield};
use crate::index::source::{Direction, Entry, Interval, Item};
use kv_trait::Result;
use std::path::PathBuf;

/// The keys and values of one consistent point, in order of the keys. Made by [`crate::Engine::scan`].
///
/// Owned, `Send`, and independent of the store's handles: it pins what it reads. Iterating blocks: what is not in memory is
/// read from the disk or the page cache, and verified. After an error the iterator goes on behind what could not be read;
/// keys that are lost are one error, which names their range.
///
/// Double-ended: the last record first, and from both ends until they meet.
///
/// ```
/// # use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
/// # fn main() -> kv_trait::Result<()> {
/// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
/// for key in [b"a", b"b", b"c"] {
///     store.put(key, b"value")?;
/// }
/// let mut scan = store.scan(..)?;
/// assert_eq!(scan.next_back().transpose()?, Some((b"c".to_vec(), b"value".to_vec())));
/// assert_eq!(scan.next_key().transpose()?, Some(b"a".to_vec()));
/// assert_eq!(scan.count(), 1);
/// # Ok(()) }
/// ```
///
/// # Drop
/// What only this scan still held of an older state of the index is not freed by the thread that drops it, but for a few
/// nodes: the next write, [`crate::Engine::close`], or later reads free it. Behind the store's end nobody is left to do that,
/// and it is freed with the last scan.
#[derive(Debug)]
pub struct Scan {
    /// Dropped first: whoever goes last knows where to leave nodes, and that is the view.
    walks: [Option<Merge>; 2],
    /// The last keys that both walks have come to: where they meet.
    reached: [Option<Vec<u8>>; 2],
    interval: Interval,
    view: View,
    directory: PathBuf,
}

/// Which end is asked.
#[derive(Clone, Copy)]
enum End {
    Front = 0,
    Back = 1,
}

impl End {
    const fn direction(self) -> Direction {
        match self {
            Self::Front => Direction::Forward,
            Self::Back => Direction::Backward,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }
}

impl Scan {
    pub(crate) const fn new(view: View, interval: Interval, directory: PathBuf) -> Self {
        Self {
            walks: [None, None],
            reached: [None, None],
            interval,
            view,
            directory,
        }
    }

    /// The next entry at one end, until both ends have met.
    fn step(&mut self, end: End) -> Option<Result<Entry>> {
        let Self {
            walks,
            reached,
            interval,
            view,
            directory,
        } = self;
        let walk = walks[end as usize]
            .get_or_insert_with(|| view.walk(interval, end.direction(), Yield::Live));
        let item = match walk.next() {
            Ok(None) => return None,
            Ok(Some(merged)) => merged.item,
            Err(error) => return Some(Err(error)),
        };
        let other = reached[end.other() as usize].as_deref();
        match item {
            Item::Entry(entry) => {
                let met = other.is_some_and(|other| match end {
                    End::Front => *entry.key >= *other,
                    End::Back => *entry.key <= *other,
                });
                if met {
                    return None;
                }
                let reached = reached[end as usize].get_or_insert_default();
                reached.clone_from(&entry.key);
                Some(Ok(entry))
            }
            Item::Hole(hole) => {
                let met = other.is_some_and(|other| match end {
                    End::Front => *hole.from > *other,
                    End::Back => *hole.to <= *other,
                });
                if met {
                    return None;
                }
                let range = name_range(&hole.from, &hole.to);
                let what = format!("keys {range} are lost: {}", hole.cause);
                Some(Err(fault::corrupt(directory, what)))
            }
        }
    }

    fn read(&self, entry: Entry) -> Result<(Vec<u8>, Vec<u8>)> {
        let value = read_version(&entry.key, entry.version, self.view.segments())?;
        Ok((raw(entry.key), value.unwrap_or_default()))
    }

    /// The next key, without reading a value that lies elsewhere.
    pub fn next_key(&mut self) -> Option<Result<Vec<u8>>> {
        let step = self.step(End::Front)?;
        Some(step.map(|entry| raw(entry.key)))
    }
}

/// The key as callers have it.
fn raw(mut full_key: Vec<u8>) -> Vec<u8> {
    let key_bytes = split_key(&full_key).map_or(full_key.len(), |(_, key)| key.len());
    full_key.drain(..full_key.len() - key_bytes);
    full_key
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step(End::Front)?;
        Some(step.and_then(|entry| self.read(entry)))
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Self::Item> {
        let step = self.step(End::Back)?;
        Some(step.and_then(|entry| self.read(entry)))
    }
}
