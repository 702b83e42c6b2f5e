//! What a transaction has read: keys with the versions that were found, and ranges. Bounded, for all of it becomes conditions.

use crate::batch::{CONDITION_BYTES, CONDITIONS_BYTES_MAX};
use crate::format::ids::Seqno;
use kv_trait::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Keys and ranges of full keys.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// `None`: it was absent.
    keys: BTreeMap<Vec<u8>, Option<Seqno>>,
    /// From the first key up to the second, which is not part of it. Disjoint, and none begins where another ends.
    ranges: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What they take as conditions.
    bytes: u64,
}

impl Reads {
    /// Notes that a key was read.
    ///
    /// # Errors
    /// `TooLarge`: more has been read than can be judged. Nothing is noted.
    pub(super) fn key(&mut self, key: &[u8], version: Option<Seqno>) -> Result<()> {
        if self.covers(key) || self.keys.contains_key(key) {
            return Ok(());
        }
        self.bytes = room_for(self.bytes + bytes_of(key.len()))?;
        self.keys.insert(key.to_vec(), version);
        Ok(())
    }

    /// Notes that every key of `[from, to)` was read, or seen to be absent.
    ///
    /// # Errors
    /// As for [`Reads::key`].
    pub(super) fn range(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let before = self.at_or_before(from);
        let before = before.filter(|(_, ends)| ***ends >= *from);
        if before.is_some_and(|(_, ends)| **ends >= *to) {
            return Ok(());
        }
        let from = before.map_or(from, |(begins, _)| begins).to_vec();
        let bounds = (Bound::Included(&*from), Bound::Included(to));
        let touched = self.ranges.range::<[u8], _>(bounds);
        let touched: Vec<(Vec<u8>, Vec<u8>)> =
            touched.map(|(a, b)| (a.clone(), b.clone())).collect();
        let ends = touched.iter().map(|(_, ends)| &**ends).max();
        let to = ends.map_or(to, |ends| ends.max(to));
        let gone = touched.iter().map(|(a, b)| bytes_of(a.len() + b.len()));
        let left = self.bytes - gone.sum::<u64>();
        self.bytes = room_for(left + bytes_of(from.len() + to.len()))?;
        for (begins, _) in &touched {
            self.ranges.remove(begins);
        }
        self.ranges.insert(from, to.to_vec());
        Ok(())
    }

    fn at_or_before(&self, key: &[u8]) -> Option<(&Vec<u8>, &Vec<u8>)> {
        let up_to = (Bound::Unbounded, Bound::Included(key));
        self.ranges.range::<[u8], _>(up_to).next_back()
    }

    fn covers(&self, key: &[u8]) -> bool {
        let range = self.at_or_before(key);
        range.is_some_and(|(_, ends)| *key < **ends)
    }

    /// The keys that no range has.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&[u8], Option<Seqno>)> {
        let keys = self.keys.iter().filter(|(key, _)| !self.covers(key));
        keys.map(|(key, version)| (&**key, *version))
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.ranges.iter().map(|(from, to)| (&**from, &**to))
    }
}

const fn bytes_of(key_bytes: usize) -> u64 {
    CONDITION_BYTES + key_bytes as u64
}

fn room_for(bytes: u64) -> Result<u64> {
    if bytes <= CONDITIONS_BYTES_MAX {
        return Ok(bytes);
    }
    let message = format!(
        "a transaction reads keys and ranges of at most {CONDITIONS_BYTES_MAX} bytes; one range counts as its two ends"
    );
    Err(Error::new(ErrorKind::TooLarge, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_read_is_noted_and_nothing_else(
            reads in proptest::collection::vec((0_u8..60, 0_u8..12), 0..40),
        ) {
            let mut noted = Reads::default();
            let mut keys = [false; 80];
            for (from, len) in &reads {
                match len {
                    0 => noted.key(&[*from], Some(Seqno::new(1))).unwrap(),
                    len => noted.range(&[*from], &[from + len]).unwrap(),
                }
                let end = usize::from(from + (*len).max(1));
                keys[usize::from(*from)..end].fill(true);
            }
            let mut found = [false; 80];
            for (key, _) in noted.keys() {
                prop_assert!(!found[usize::from(key[0])]);
                found[usize::from(key[0])] = true;
            }
            let mut last = None;
            let mut bytes = 0;
            for (from, to) in noted.ranges() {
                prop_assert!(last < Some(from[0]), "they touch");
                last = Some(to[0]);
                found[usize::from(from[0])..usize::from(to[0])].fill(true);
                bytes += CONDITION_BYTES + 2;
            }
            prop_assert_eq!(found, keys);
            bytes += noted.keys.len() as u64 * (CONDITION_BYTES + 1);
            prop_assert_eq!(noted.bytes, bytes);
        }
    }

    #[test]
    fn reads_are_bounded_and_a_long_range_is_one() {
        let mut noted = Reads::default();
        let key = [7; 60_000];
        let mut refused = None;
        for number in 0..400_u64 {
            let key = [&number.to_le_bytes()[..], &key].concat();
            refused = noted.key(&key, None).err();
            if refused.is_some() {
                assert!(number > 200);
                break;
            }
        }
        assert_eq!(refused.unwrap().kind(), ErrorKind::TooLarge);
        let before = noted.bytes;
        for number in 0..200_u8 {
            noted.range(&[0], &[number + 1]).unwrap();
        }
        assert_eq!(noted.bytes, before + CONDITION_BYTES + 2);
    }
}
