//! A sorted list of keys with payloads, prefix-compressed, with a place to start at every sixteenth. FORMAT.md, "Table".
//!
//! [`Table::parse`] walks the whole list once: order, lengths, places to start, payloads. What is asked later needs no
//! check and cannot fail, and a table that came from an enemy is in order all the same.

use super::{FULL_KEY_BYTES_MAX, push_varint};
use crate::format::Defect;
use crate::format::cursor::Cursor;
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

/// Every so many entries a key is written in full.
pub(crate) const INTERVAL: usize = 16;
/// Room for a key that is put together: most fit.
const KEY_BYTES_USUAL: usize = 64;
const RESTART_BYTES: usize = 4;
const COUNT_BYTES: usize = 4;

/// What stands behind each key of a table.
pub(crate) trait Payload: Copy {
    /// Decodes the payload that begins at `at`; returns where it ends.
    fn decode(content: &[u8], at: usize) -> Result<(Self, usize), Defect>;
}

/// Writes a table, key by key.
#[derive(Debug, Default)]
pub(crate) struct TableBuilder {
    content: Vec<u8>,
    restarts: Vec<u32>,
    last: Vec<u8>,
    count: usize,
}

impl TableBuilder {
    /// Adds a key, which must be above the last one, and its payload. The content stays below 4 GiB: callers close a
    /// table long before.
    pub(crate) fn push(&mut self, key: &[u8], payload: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(self.count == 0 || *self.last < *key, "keys ascend");
        let shared = if self.count.is_multiple_of(INTERVAL) {
            let at = u32::try_from(self.content.len()).expect("a table is far below 4 GiB");
            self.restarts.push(at);
            0
        } else {
            common_prefix(&self.last, key)
        };
        let rest = &key[shared..];
        push_varint(&mut self.content, shared as u64);
        push_varint(&mut self.content, rest.len() as u64);
        self.content.extend_from_slice(rest);
        payload(&mut self.content);
        self.last.truncate(shared);
        self.last.extend_from_slice(rest);
        self.count += 1;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How long the content would be if it was finished now.
    pub(crate) fn content_bytes(&self) -> usize {
        self.content.len() + self.restarts.len() * RESTART_BYTES + COUNT_BYTES
    }

    /// The finished content; the builder is empty again.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut content = std::mem::take(&mut self.content);
        for restart in self.restarts.drain(..) {
            content.extend_from_slice(&restart.to_le_bytes());
        }
        let count = u32::try_from(self.count).expect("an entry takes two bytes at least");
        content.extend_from_slice(&count.to_le_bytes());
        self.count = 0;
        self.last.clear();
        content
    }

    /// Gives the memory of a content that was finished, and has been used, to the next one.
    pub(crate) fn reuse(&mut self, mut content: Vec<u8>) {
        if self.is_empty() {
            content.clear();
            self.content = content;
        }
    }
}

pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A table that was checked. Cloning it shares the bytes.
#[derive(Debug)]
pub(crate) struct Table<P> {
    content: Arc<[u8]>,
    /// Where the entries end, and the places to start begin.
    entries_end: usize,
    count: usize,
    payload: PhantomData<fn() -> P>,
}

impl<P> Clone for Table<P> {
    fn clone(&self) -> Self {
        Self {
            content: Arc::clone(&self.content),
            ..*self
        }
    }
}

/// The head of one entry: how its key is made, and where its payload begins.
struct Head<'a> {
    shared: usize,
    rest: &'a [u8],
    payload_at: usize,
}

fn head(content: &[u8], at: usize) -> Result<Head<'_>, Defect> {
    let mut cursor = Cursor::new(content.get(at..).unwrap_or_default());
    let shared = key_length(cursor.varint("shared key length")?)?;
    let rest = key_length(cursor.varint("key length")?)?;
    let rest = cursor.take(rest)?;
    if shared + rest.len() > FULL_KEY_BYTES_MAX {
        return Err(Defect::Field {
            what: "key length",
            found: (shared + rest.len()) as u64,
        });
    }
    Ok(Head {
        shared,
        rest,
        payload_at: content.len() - cursor.remaining(),
    })
}

fn key_length(length: u64) -> Result<usize, Defect> {
    match usize::try_from(length) {
        Ok(length) if length <= FULL_KEY_BYTES_MAX => Ok(length),
        _ => Err(Defect::Field {
            what: "key length",
            found: length,
        }),
    }
}

impl<P: Payload> Table<P> {
    /// Checks a whole table; `judge` is asked about each key and payload in order.
    pub(crate) fn parse(
        content: Arc<[u8]>,
        mut judge: impl FnMut(&[u8], &P) -> Result<(), Defect>,
    ) -> Result<Self, Defect> {
        let (count, entries_end) = frame(&content)?;
        let entries = &content[..entries_end];
        let mut restarts = Cursor::new(&content[entries_end..]);
        let (mut at, mut key) = (0, Vec::with_capacity(KEY_BYTES_USUAL));
        for ordinal in 0..count {
            let head = head(entries, at)?;
            let begins = ordinal.is_multiple_of(INTERVAL);
            if begins && u64::from(restarts.u32()?) != at as u64 {
                return Err(Defect::Field {
                    what: "place to start in a table",
                    found: at as u64,
                });
            }
            if head.shared > if begins { 0 } else { key.len() } {
                return Err(Defect::Field {
                    what: "shared key length",
                    found: head.shared as u64,
                });
            }
            if ordinal > 0 && key[head.shared..] >= *head.rest {
                return Err(Defect::Field {
                    what: "order of keys: entry",
                    found: ordinal as u64,
                });
            }
            // Searches rely on it that what is shared is all that is.
            if !begins && key.get(head.shared) == head.rest.first() {
                return Err(Defect::Field {
                    what: "shared key length",
                    found: head.shared as u64,
                });
            }
            key.truncate(head.shared);
            key.extend_from_slice(head.rest);
            let (payload, end) = P::decode(entries, head.payload_at)?;
            judge(&key, &payload)?;
            at = end;
        }
        if at != entries_end {
            return Err(Defect::Field {
                what: "length of a table",
                found: at as u64,
            });
        }
        Ok(Self {
            content,
            entries_end,
            count,
            payload: PhantomData,
        })
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// Bytes of memory that it keeps.
    pub(crate) fn content_bytes(&self) -> usize {
        self.content.len()
    }

    /// What payloads point into.
    pub(crate) const fn content(&self) -> &Arc<[u8]> {
        &self.content
    }

    fn restart(&self, interval: usize) -> usize {
        let at = self.entries_end + interval * RESTART_BYTES;
        let bytes = self.content.get(at..at + RESTART_BYTES);
        bytes
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    }

    fn entries(&self) -> &[u8] {
        &self.content[..self.entries_end]
    }

    fn head(&self, at: usize) -> Head<'_> {
        head(self.entries(), at).expect("the table was checked whole when it was parsed")
    }

    fn payload(&self, at: usize) -> (P, usize) {
        P::decode(self.entries(), at).expect("the table was checked whole when it was parsed")
    }

    /// The last interval whose first key is not above `key`; 0 if there is none.
    fn interval_of(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.count.div_ceil(INTERVAL));
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.head(self.restart(middle)).rest <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The payload of exactly this key.
    pub(crate) fn find(&self, key: &[u8]) -> Option<P> {
        let mut found = None;
        self.walk(key, |order, _, payload_at| {
            if order.is_eq() {
                found = Some(payload_at);
            }
        });
        found.map(|at| self.payload(at).0)
    }

    /// The last entry whose key is not above `key`.
    pub(crate) fn floor(&self, key: &[u8]) -> Option<(usize, P)> {
        let mut found = None;
        self.walk(key, |order, ordinal, payload_at| {
            if order.is_le() {
                found = Some((ordinal, payload_at));
            }
        });
        found.map(|(ordinal, at)| (ordinal, self.payload(at).0))
    }

    /// The first entry whose key is not below `key`; [`Table::len`] if there is none.
    pub(crate) fn seek(&self, key: &[u8]) -> usize {
        self.gap(key, false)
    }

    /// How many entries are below `key`; with `behind`, the one that has it is counted, too.
    pub(crate) fn gap(&self, key: &[u8], behind: bool) -> usize {
        let mut below = self.interval_of(key) * INTERVAL;
        self.walk(key, |order, ordinal, _| {
            if order.is_lt() || behind && order.is_eq() {
                below = ordinal + 1;
            }
        });
        below
    }

    /// Takes entries apart, in order. Their keys are appended to `keys`: `meet` is told where each lies.
    pub(crate) fn visit(
        &self,
        ordinals: Range<usize>,
        keys: &mut Vec<u8>,
        mut meet: impl FnMut(Range<usize>, P),
    ) {
        if ordinals.is_empty() {
            return;
        }
        let interval = ordinals.start / INTERVAL;
        let mut at = self.restart(interval);
        let mut last = 0..0;
        for ordinal in interval * INTERVAL..ordinals.end.min(self.count) {
            let head = self.head(at);
            let start = keys.len();
            keys.extend_from_within(last.start..last.start + head.shared);
            keys.extend_from_slice(head.rest);
            last = start..keys.len();
            let (payload, end) = self.payload(head.payload_at);
            if ordinal >= ordinals.start {
                meet(last.clone(), payload);
            }
            at = end;
        }
    }

    /// Goes through the interval that `key` belongs to, up to the first entry above it: how each key compares.
    ///
    /// No key is put together. An entry below `key` that shares `known` bytes with it is followed by one that shares more
    /// with that entry, and is below `key` like it; or less, and is above; or as much, and what follows decides.
    fn walk(&self, key: &[u8], mut meet: impl FnMut(Ordering, usize, usize)) {
        if self.count == 0 {
            return;
        }
        let interval = self.interval_of(key);
        let first = interval * INTERVAL;
        let mut at = self.restart(interval);
        let mut known = 0;
        for ordinal in first..self.count.min(first + INTERVAL) {
            let head = self.head(at);
            let order = match head.shared.cmp(&known) {
                Ordering::Greater => Ordering::Less,
                Ordering::Less => Ordering::Greater,
                Ordering::Equal => {
                    let wanted = key.get(known..).unwrap_or_default();
                    known += common_prefix(head.rest, wanted);
                    head.rest.cmp(wanted)
                }
            };
            meet(order, ordinal, head.payload_at);
            if order.is_gt() {
                return;
            }
            at = self.payload(head.payload_at).1;
        }
    }

    /// The key of an entry; `None` behind the last.
    pub(crate) fn key(&self, ordinal: usize) -> Option<Vec<u8>> {
        if ordinal >= self.count {
            return None;
        }
        let mut at = self.restart(ordinal / INTERVAL);
        let mut key = Vec::with_capacity(KEY_BYTES_USUAL);
        for _ in 0..ordinal % INTERVAL {
            let head = self.head(at);
            key.truncate(head.shared);
            key.extend_from_slice(head.rest);
            at = self.payload(head.payload_at).1;
        }
        let head = self.head(at);
        key.truncate(head.shared);
        key.extend_from_slice(head.rest);
        Some(key)
    }
}

/// The number of entries, and where they end.
fn frame(content: &[u8]) -> Result<(usize, usize), Defect> {
    let truncated = |needed| Defect::Truncated {
        needed,
        found: content.len() as u64,
    };
    let (rest, count) = content
        .split_last_chunk::<COUNT_BYTES>()
        .ok_or_else(|| truncated(COUNT_BYTES as u64))?;
    let count = u32::from_le_bytes(*count) as usize;
    let entries_end = count
        .div_ceil(INTERVAL)
        .checked_mul(RESTART_BYTES)
        .and_then(|restarts| rest.len().checked_sub(restarts))
        .ok_or_else(|| truncated(count as u64))?;
    Ok((count, entries_end))
}

/// Looks at the entries of a table one by one, in either direction: an interval at a time is taken apart.
#[derive(Debug)]
pub(crate) struct Entries<P> {
    table: Table<P>,
    /// The interval that `keys` and `slots` hold.
    interval: Option<usize>,
    keys: Vec<u8>,
    /// For each entry of the interval: where its key lies in `keys`, and its payload.
    slots: Vec<(usize, usize, P)>,
}

impl<P: Payload> Entries<P> {
    pub(crate) const fn new(table: Table<P>) -> Self {
        Self {
            table,
            interval: None,
            keys: Vec::new(),
            slots: Vec::new(),
        }
    }

    pub(crate) const fn table(&self) -> &Table<P> {
        &self.table
    }

    /// Key and payload of an entry; `None` behind the last.
    pub(crate) fn entry(&mut self, ordinal: usize) -> Option<(&[u8], P)> {
        if ordinal >= self.table.count {
            return None;
        }
        let interval = ordinal / INTERVAL;
        if self.interval != Some(interval) {
            self.load(interval);
        }
        let (start, end, payload) = self.slots.get(ordinal % INTERVAL)?;
        Some((self.keys.get(*start..*end)?, *payload))
    }

    fn load(&mut self, interval: usize) {
        self.keys.clear();
        self.slots.clear();
        let first = interval * INTERVAL;
        let slots = &mut self.slots;
        let ordinals = first..self.table.count.min(first + INTERVAL);
        self.table.visit(ordinals, &mut self.keys, |key, payload| {
            slots.push((key.start, key.end, payload));
        });
        self.interval = Some(interval);
    }
}
