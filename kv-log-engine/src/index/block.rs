//! The inside of a node: keys in order, a payload behind each, in one block of bytes.
//!
//! ```text
//! heads   the four bytes behind the common prefix of each key, in the order of the keys: compared first, side by side
//! starts  where each entry lies in `bytes`
//! bytes   the common prefix, then entries in the order of their arrival:
//!         suffix length, payload length, suffix, payload
//! ```
//!
//! A search reads the heads, which lie together, and then as a rule one entry: few cache misses, where keys of an
//! allocation each cost one for every comparison. Bytes that are no longer used are counted and squeezed out when they
//! are half of the block, or when it is split. Prefix and heads are those of Bayer and Unterauer's prefix B-trees (1977)
//! and Graefe and Larson's poor man's normalized keys (2001).

use super::slot::{number_at, number_bytes};
use std::cmp::Ordering;
use std::ops::Range;

/// No place in a block.
const NOWHERE: u16 = u16::MAX;

/// At most `F` keys with their payloads.
#[derive(Debug)]
#[repr(C)] // what every search reads lies together, in front of the heads
pub(super) struct Block<const F: usize> {
    bytes: Vec<u8>,
    prefix_bytes: u32,
    /// Bytes of entries that were replaced or removed.
    unused_bytes: u32,
    len: u16,
    /// Where the last new key went: keys that arrive in order leave full nodes behind.
    last_insert: u16,
    /// Unused ones are `u32::MAX`, so that all of them can be compared at once.
    heads: [u32; F],
    starts: [u32; F],
    /// At least the highest stamp of its keys, or of those below it.
    newest: u64,
}

/// Some keys of a block, one after the other.
pub(super) type Part<'a, const F: usize> = (&'a Block<F>, Range<usize>);

struct Raw<'a> {
    suffix: &'a [u8],
    payload: &'a [u8],
    /// Lengths, suffix and payload.
    bytes: usize,
}

impl<const F: usize> Clone for Block<F> {
    /// A block is cloned when it is about to change: with room for a little more.
    fn clone(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len() + growth(self.bytes.len()));
        bytes.extend_from_slice(&self.bytes);
        Self { bytes, ..*self }
    }
}

impl<const F: usize> Block<F> {
    /// A block with more bytes is split where it has two keys.
    pub(super) const BYTES_MAX: usize = F * 256;
    const SIZES: () = assert!(F >= 4 && F < NOWHERE as usize);

    pub(super) const fn new() -> Self {
        let () = Self::SIZES;
        Self {
            bytes: Vec::new(),
            prefix_bytes: 0,
            unused_bytes: 0,
            len: 0,
            last_insert: NOWHERE,
            heads: [u32::MAX; F],
            starts: [0; F],
            newest: 0,
        }
    }

    /// Nothing in here, or below, has a higher stamp.
    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn raise(&mut self, stamp: u64) {
        self.newest = self.newest.max(stamp);
    }

    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) const fn used_bytes(&self) -> usize {
        self.bytes.len() - self.unused_bytes as usize
    }

    /// Bytes of the heap, the block itself not counted.
    #[cfg(test)]
    pub(super) const fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn prefix(&self) -> &[u8] {
        &self.bytes[..self.prefix_bytes as usize]
    }

    fn raw(&self, at: usize) -> Raw<'_> {
        let entry = &self.bytes[self.starts[at] as usize..];
        let mut behind = 0;
        let suffix_bytes = length(number_at(entry, &mut behind));
        let payload_bytes = length(number_at(entry, &mut behind));
        let (suffix, rest) = entry[behind..].split_at(suffix_bytes);
        Raw {
            suffix,
            payload: &rest[..payload_bytes],
            bytes: behind + suffix_bytes + payload_bytes,
        }
    }

    pub(super) fn payload(&self, at: usize) -> &[u8] {
        self.raw(at).payload
    }

    /// What payloads are ranges of.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends a key to `keys`; returns where its payload lies in [`Block::bytes`].
    pub(super) fn push_key(&self, at: usize, keys: &mut Vec<u8>) -> Range<usize> {
        let raw = self.raw(at);
        keys.extend_from_slice(self.prefix());
        keys.extend_from_slice(raw.suffix);
        let end = self.starts[at] as usize + raw.bytes;
        end - raw.payload.len()..end
    }

    pub(super) fn key(&self, at: usize) -> Box<[u8]> {
        let prefix = self.prefix();
        let suffix = self.raw(at).suffix;
        let mut key = Vec::with_capacity(prefix.len() + suffix.len());
        key.extend_from_slice(prefix);
        key.extend_from_slice(suffix);
        key.into_boxed_slice()
    }

    /// Where the key is, or where it would be.
    #[inline]
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        let Some(suffix) = key.strip_prefix(prefix) else {
            return Err(if key < prefix { 0 } else { self.len() });
        };
        let wanted = head(suffix);
        // All of them, without a branch: these loops become a few vector instructions.
        let low: u32 = self
            .heads
            .iter()
            .map(|head| u32::from(*head < wanted))
            .sum();
        let same: u32 = self
            .heads
            .iter()
            .map(|head| u32::from(*head == wanted))
            .sum();
        let mut low = (low as usize).min(self.len());
        let mut high = (low + same as usize).min(self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.raw(middle).suffix.cmp(suffix) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Whether a new key may go in at `at`. A block of less than `floor` keys takes any.
    pub(super) fn has_room(&self, key: &[u8], payload: &[u8], floor: usize) -> bool {
        if self.len() == F {
            return false;
        }
        let more = self.lengthening(key) + key.len() + payload.len();
        self.len() < floor || self.used_bytes() + more <= Self::BYTES_MAX
    }

    /// Whether the key at `at` may have this payload in place of its own. A block of one key takes any.
    pub(super) fn takes(&self, at: usize, payload: &[u8]) -> bool {
        let more = payload.len().saturating_sub(self.raw(at).payload.len());
        self.len() == 1 || more == 0 || self.used_bytes() + more <= Self::BYTES_MAX
    }

    /// Bytes that a new key would add to the others, because they would share less.
    fn lengthening(&self, key: &[u8]) -> usize {
        let prefix = self.prefix();
        if key.starts_with(prefix) {
            return 0;
        }
        (prefix.len() - common(prefix, key)) * self.len()
    }

    /// Where to cut for a key that goes in at `at`, if not in the middle: at that very end, if the key continues a run of
    /// rising or of falling keys, or would make the others much longer.
    pub(super) fn natural_cut(&self, at: usize, key: &[u8]) -> Option<usize> {
        let last = usize::from(self.last_insert);
        let rising = at == self.len() && last + 1 == at;
        let falling = at == 0 && last == 0;
        let foreign = self.lengthening(key) > Self::BYTES_MAX / 4;
        (rising || falling || foreign).then_some(at)
    }

    /// The cut that leaves about half of the bytes on each side, and at least one key.
    pub(super) fn middle_cut(&self) -> usize {
        let half = self.used_bytes() / 2;
        let mut bytes = 0;
        let cut = (0..self.len()).find(|at| {
            bytes += self.raw(*at).bytes;
            bytes > half
        });
        cut.unwrap_or_default().clamp(1, self.len().max(2) - 1)
    }

    /// Puts a new key in at `at`, where [`Block::search`] says. The block has less than `F` keys.
    pub(super) fn insert(&mut self, at: usize, key: &[u8], payload: &[u8]) {
        if !key.starts_with(self.prefix()) {
            let shared = common(self.prefix(), key);
            let own = [(&*self, 0..self.len())];
            *self = Self::with_prefix(&own, &key[..shared], key.len() + payload.len());
        }
        let suffix = &key[self.prefix().len()..];
        let len = self.len();
        self.heads.copy_within(at..len, at + 1);
        self.starts.copy_within(at..len, at + 1);
        self.heads[at] = head(suffix);
        self.starts[at] = self.append(&[suffix], payload);
        self.len += 1;
        self.last_insert = place(at);
    }

    /// Replaces the payload of the key at `at`.
    pub(super) fn set_payload(&mut self, at: usize, payload: &[u8]) {
        let old = self.raw(at);
        if old.payload.len() == payload.len() {
            let end = self.starts[at] as usize + old.bytes;
            self.bytes[end - payload.len()..end].copy_from_slice(payload);
            return;
        }
        let suffix_bytes = old.suffix.len();
        let suffix = self.starts[at] as usize + old.bytes - old.payload.len() - suffix_bytes;
        self.forget(at);
        self.starts[at] = self.append_lengths(suffix_bytes, payload.len());
        self.bytes.extend_from_within(suffix..suffix + suffix_bytes);
        self.bytes.extend_from_slice(payload);
        self.squeeze();
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.forget(at);
        let len = self.len();
        self.heads.copy_within(at + 1..len, at);
        self.starts.copy_within(at + 1..len, at);
        self.heads[len - 1] = u32::MAX;
        self.len -= 1;
        self.last_insert = NOWHERE;
        self.squeeze();
    }

    fn forget(&mut self, at: usize) {
        let bytes = self.raw(at).bytes;
        self.unused_bytes += start(bytes);
    }

    fn squeeze(&mut self) {
        if self.unused_bytes as usize > self.bytes.len() / 2 {
            let last_insert = self.last_insert;
            *self = Self::of(&[(&*self, 0..self.len())], 0);
            self.last_insert = last_insert;
        }
    }

    /// Keeps the keys before `cut`; returns the others.
    pub(super) fn split_off(&mut self, cut: usize) -> Self {
        let right = Self::of(&[(&*self, cut..self.len())], growth(self.bytes.len() / 2));
        let room = if cut == self.len() {
            0
        } else {
            growth(self.bytes.len() / 2)
        };
        *self = Self::of(&[(&*self, 0..cut)], room);
        right
    }

    /// The keys of all parts, which are in order, squeezed, with room for so many bytes more.
    pub(super) fn of(parts: &[Part<'_, F>], room: usize) -> Self {
        let mut filled = parts.iter().filter(|(_, range)| !range.is_empty());
        let Some((first, range)) = filled.clone().next() else {
            return Self::with_prefix(parts, &[], 0);
        };
        let lowest = first.key(range.start);
        let (last, range) = filled.next_back().unwrap_or(&parts[0]);
        let highest = last.key(range.end - 1);
        // A key alone shares nothing, or the next one would have to take it apart.
        let shared = if lowest == highest {
            0
        } else {
            common(&lowest, &highest)
        };
        Self::with_prefix(parts, &lowest[..shared], room)
    }

    fn with_prefix(parts: &[Part<'_, F>], prefix: &[u8], room: usize) -> Self {
        let bytes: usize = parts
            .iter()
            .map(|(block, range)| {
                let longer = block.prefix().len().saturating_sub(prefix.len()) + 1;
                range
                    .clone()
                    .map(|at| block.raw(at).bytes + longer)
                    .sum::<usize>()
            })
            .sum();
        let mut new = Self::new();
        new.bytes.reserve_exact(prefix.len() + bytes + room);
        new.bytes.extend_from_slice(prefix);
        new.prefix_bytes = start(prefix.len());
        for (block, range) in parts {
            new.raise(block.newest);
            let theirs = block.prefix();
            let head_of_suffix = theirs.get(prefix.len()..).unwrap_or_default();
            let skip = prefix.len().saturating_sub(theirs.len());
            for at in range.clone() {
                let raw = block.raw(at);
                let own = new.len();
                new.starts[own] = new.append(&[head_of_suffix, &raw.suffix[skip..]], raw.payload);
                new.heads[own] = head(new.raw(own).suffix);
                new.len += 1;
            }
        }
        new
    }

    fn append(&mut self, suffix: &[&[u8]], payload: &[u8]) -> u32 {
        let suffix_bytes = suffix.iter().map(|piece| piece.len()).sum();
        let at = self.append_lengths(suffix_bytes, payload.len());
        for piece in suffix {
            self.bytes.extend_from_slice(piece);
        }
        self.bytes.extend_from_slice(payload);
        at
    }

    /// The first part of a new entry, and room for the rest. Returns where it begins.
    fn append_lengths(&mut self, suffix_bytes: usize, payload_bytes: usize) -> u32 {
        let (first, first_bytes) = number_bytes(suffix_bytes as u64);
        let (second, second_bytes) = number_bytes(payload_bytes as u64);
        let needed = first_bytes + second_bytes + suffix_bytes + payload_bytes;
        if self.bytes.capacity() - self.bytes.len() < needed {
            self.bytes
                .reserve_exact(needed.max(growth(self.bytes.len())));
        }
        let at = start(self.bytes.len());
        self.bytes.extend_from_slice(&first[..first_bytes]);
        self.bytes.extend_from_slice(&second[..second_bytes]);
        at
    }

    /// Bytes that the keys of two neighbours would take in one block.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn bytes_together(left: &Self, right: &Self) -> usize {
        if left.len() == 0 || right.len() == 0 {
            return left.used_bytes().max(right.used_bytes());
        }
        let shared = common(left.prefix(), right.prefix());
        let longer = |block: &Self| (block.prefix().len() - shared) * block.len();
        left.used_bytes() + right.used_bytes() + longer(left) + longer(right)
    }
}

/// The first four bytes; what is shorter sorts before what it begins.
fn head(suffix: &[u8]) -> u32 {
    let bytes = suffix.first_chunk::<4>().copied().unwrap_or_else(|| {
        let mut padded = [0; 4];
        padded[..suffix.len()].copy_from_slice(suffix);
        padded
    });
    bytes
        .into_iter()
        .fold(0, |head, byte| head << 8 | u32::from(byte))
}

/// How many bytes two keys begin with in common.
pub(super) fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// Room that is made at once: little, because a node stays at about two thirds of what it may hold.
const fn growth(bytes: usize) -> usize {
    bytes / 8 + 32
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a block holds what was put into it")
}

fn start(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a block is split long before it has 4 GiB")
}

fn place(at: usize) -> u16 {
    u16::try_from(at).expect("a block has few keys")
}

#[cfg(test)]
impl<const F: usize> Block<F> {
    /// Asserts order, heads, prefix and the count of unused bytes.
    pub(super) fn check(&self) {
        let mut used = self.prefix().len();
        for at in 0..self.len() {
            let raw = self.raw(at);
            used += raw.bytes;
            assert_eq!(self.heads[at], head(raw.suffix));
            assert!(at == 0 || self.raw(at - 1).suffix < raw.suffix);
        }
        assert!(
            self.heads[self.len()..]
                .iter()
                .all(|head| *head == u32::MAX)
        );
        assert_eq!(used, self.used_bytes());
    }
}
