//! Walking keys and values in order, at one point of the order of writes.

use crate::format::ids::Entry;
use crate::index::{Range, View};
use kv_trait::Result;

/// The keys and values of one consistent point, in order of the keys. Made by [`crate::Engine::scan`].
///
/// Owned, `Send`, and independent of the store's handles: it pins what it reads. Iterating blocks: each step reads one
/// record from the disk or the page cache and verifies it. After an error the iterator goes on behind the record that
/// could not be read.
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
/// assert_eq!(scan.next_key(), Some(b"a".to_vec()));
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
    records: Range,
    view: View,
}

impl Scan {
    pub(crate) const fn new(view: View, records: Range) -> Self {
        Self { records, view }
    }

    fn read(&self, key: Box<[u8]>, entry: &Entry) -> Result<(Vec<u8>, Vec<u8>)> {
        let value = self.view.segment(entry).read_value(entry, &key)?;
        Ok((key.into_vec(), value))
    }

    /// The next key, without reading its value. Memory only.
    pub fn next_key(&mut self) -> Option<Vec<u8>> {
        self.records.next().map(|(key, _)| key.into_vec())
    }
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, entry) = self.records.next()?;
        Some(self.read(key, &entry))
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (key, entry) = self.records.next_back()?;
        Some(self.read(key, &entry))
    }
}
