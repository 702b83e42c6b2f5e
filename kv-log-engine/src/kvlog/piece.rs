//! Reading a scan piece by piece: so many records that a hop to a blocking thread is worth it, and so few bytes that two
//! pieces are no burden.

use crate::fault::shown_key;
use crate::hop::caught;
use crate::scan::{End, Record, Scan};
use kv_trait::{Error, Result};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first piece is short, so that the first records come soon.
const FIRST_RECORDS: usize = 64;
const RECORDS_MAX: usize = 512;
/// A piece ends behind the record with which its keys and values come to this.
const BYTES_MAX: usize = 256 * 1024;

/// Where records come from, in order.
pub(crate) trait Source: Send + 'static {
    /// The next one at this end; without its value unless that is asked for. Blocks.
    fn record(&mut self, end: End, reads_value: bool) -> Option<Result<Record>>;
}

impl Source for Scan {
    fn record(&mut self, end: End, reads_value: bool) -> Option<Result<Record>> {
        Self::record(self, end, reads_value)
    }
}

/// What is made of a record.
pub(super) struct Shape<T> {
    pub(super) reads_value: bool,
    pub(super) decode: fn(&Record) -> Result<T>,
}

impl<T> Clone for Shape<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shape<T> {}

/// An item, or the panic of the code that was to make it.
pub(super) type Item<T> = std::result::Result<Result<T>, Box<dyn Any + Send>>;

/// A scan under way.
pub(super) struct Reader<T> {
    source: Box<dyn Source>,
    shape: Shape<T>,
    end: End,
    /// How many records may still come.
    left: u64,
    piece_records: usize,
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("end", &self.end)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl<T> Reader<T> {
    pub(super) fn new(source: Box<dyn Source>, shape: Shape<T>, end: End, limit: u64) -> Self {
        Self {
            source,
            shape,
            end,
            left: limit,
            piece_records: FIRST_RECORDS,
        }
    }

    fn record(&mut self) -> Option<Result<Record>> {
        self.left = self.left.checked_sub(1)?;
        self.source.record(self.end, self.shape.reads_value)
    }

    /// The next item. Blocks, and runs the caller's decoding here.
    pub(super) fn item(&mut self) -> Option<Result<T>> {
        let decode = self.shape.decode;
        let record = self.record()?;
        Some(record.and_then(|record| decoded(decode, &record)))
    }

    /// The next piece, and whether there may be another one. Blocks. `stopped`: nobody wants it any more.
    pub(super) fn piece(&mut self, stopped: &AtomicBool) -> (VecDeque<Item<T>>, bool) {
        let decode = self.shape.decode;
        let mut items = VecDeque::new();
        let mut bytes = 0_usize;
        while items.len() < self.piece_records && bytes < BYTES_MAX {
            if stopped.load(Ordering::Relaxed) {
                return (items, false);
            }
            match self.record() {
                None => return (items, false),
                // It may pass. Whoever takes the error decides whether to go on.
                Some(Err(error)) => {
                    items.push_back(Ok(Err(error)));
                    break;
                }
                Some(Ok(record)) => {
                    bytes += record.key.len() + record.value.len();
                    items.push_back(caught(|| decoded(decode, &record)));
                }
            }
        }
        self.piece_records = RECORDS_MAX;
        (items, self.left > 0)
    }

    /// How many records there are, by a walk that decodes none. Blocks.
    ///
    /// # Errors
    /// The first of the walk.
    pub(super) fn count(&mut self, stopped: &AtomicBool) -> Result<u64> {
        let mut count = 0;
        while let Some(record) = self.record() {
            record?;
            count += 1;
            if stopped.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(count)
    }
}

fn decoded<T>(decode: fn(&Record) -> Result<T>, record: &Record) -> Result<T> {
    decode(record).map_err(|error| {
        let message = format!(
            "the record of key {} cannot be read",
            shown_key(&record.key)
        );
        Error::new(error.kind(), message).with_source(error)
    })
}

/// Tells the work that nobody waits any more.
#[derive(Debug, Default)]
pub(super) struct StopOnDrop(pub(super) std::sync::Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
