//! Walking keys and values in order, at one point of the order of writes.

use crate::index::{Range, View};
use kv_trait::Result;

/// The keys and values of one consistent point, in order of the keys. Made by [`crate::Engine::scan`].
///
/// Owned, `Send`, and independent of the store's handles: it pins what it reads. Iterating blocks: each step reads one
/// record from the disk or the page cache and verifies it. After an error the iterator goes on behind the record that
/// could not be read.
#[derive(Debug)]
pub struct Scan {
    view: View,
    records: Range,
}

impl Scan {
    pub(crate) const fn new(view: View, records: Range) -> Self {
        Self { view, records }
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
        let value = self.view.segment(&entry).read_value(&entry, &key);
        Some(value.map(|value| (key.into_vec(), value)))
    }
}
