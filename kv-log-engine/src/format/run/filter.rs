//! A Bloom filter over the keys of a part. FORMAT.md, "Filter".
//!
//! 16 bits a key, 11 probes by enhanced double hashing (Dillinger and Manolios, 2004): about one key in 2,000 that is not
//! there is said to be. The hash is keyed by the store, not by the run: a lookup computes it once for all levels.

use crate::format::cursor::Cursor;
use crate::format::{Defect, Salt, StoreId};

/// Bits for each key.
pub(crate) const BITS_PER_KEY: usize = 16;
const PROBES: u32 = 11;
const PROBES_MAX: u32 = 32;
const WORD_BITS: usize = 64;
const _: () = assert!((PROBES_MAX as usize) < WORD_BITS);
/// The longest: words are counted in 32 bits and bits have to be, too.
const WORDS_MAX: u32 = (1 << 26) - 1;

/// What a filter is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    pub(crate) fn of(store: StoreId, full_key: &[u8]) -> Self {
        Self(Salt(store.0).check(&[full_key]))
    }

    /// The bits that stand for the key, in a filter of `bits`, of which there are more than probes.
    fn probes(self, probes: u32, bits: u64) -> impl Iterator<Item = u64> {
        // Sums of two remainders, and of one and a step, are below twice `bits`: no division is needed.
        let wrap = move |sum: u64| if sum < bits { sum } else { sum - bits };
        let (mut x, mut y) = ((self.0 & 0xffff_ffff) % bits, (self.0 >> 32) % bits);
        (1..=u64::from(probes)).map(move |step| {
            let bit = x;
            x = wrap(x + y);
            y = wrap(y + step);
            bit
        })
    }
}

/// A filter that was read.
#[derive(Debug)]
pub(crate) struct Filter {
    probes: u32,
    words: Vec<u64>,
}

impl Filter {
    /// The content of a filter over these keys.
    pub(crate) fn build(keys: &[KeyHash]) -> Vec<u8> {
        let words = (keys.len() * BITS_PER_KEY).div_ceil(WORD_BITS);
        let words = words.clamp(1, WORDS_MAX as usize);
        let mut filter = Self {
            probes: PROBES,
            words: vec![0; words],
        };
        for key in keys {
            let bits = filter.bits();
            for bit in key.probes(PROBES, bits) {
                let (word, mask) = position(bit);
                if let Some(word) = filter.words.get_mut(word) {
                    *word |= mask;
                }
            }
        }
        filter.encode()
    }

    fn encode(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(8 + self.words.len() * 8);
        content.extend_from_slice(&self.probes.to_le_bytes());
        let words = u32::try_from(self.words.len()).expect("bounded by WORDS_MAX");
        content.extend_from_slice(&words.to_le_bytes());
        for word in &self.words {
            content.extend_from_slice(&word.to_le_bytes());
        }
        content
    }

    pub(crate) fn decode(content: &[u8]) -> Result<Self, Defect> {
        let mut cursor = Cursor::new(content);
        let (probes, words) = (cursor.u32()?, cursor.u32()?);
        if probes == 0 || probes > PROBES_MAX {
            return Err(Defect::Field {
                what: "probes of a filter",
                found: probes.into(),
            });
        }
        let wanted = u64::from(words) * 8;
        if words == 0 || words > WORDS_MAX || wanted != cursor.remaining() as u64 {
            return Err(Defect::Field {
                what: "length of a filter",
                found: words.into(),
            });
        }
        let mut filter = Self {
            probes,
            words: Vec::with_capacity(words as usize),
        };
        for _ in 0..words {
            filter.words.push(cursor.u64()?);
        }
        Ok(filter)
    }

    /// One that denies nothing, for a part whose own cannot be read.
    pub(crate) fn that_says_nothing() -> Self {
        Self {
            probes: 1,
            words: vec![u64::MAX],
        }
    }

    const fn bits(&self) -> u64 {
        (self.words.len() * WORD_BITS) as u64
    }

    /// `false` only if the key is not in the part.
    pub(crate) fn may_hold(&self, key: KeyHash) -> bool {
        key.probes(self.probes, self.bits()).all(|bit| {
            let (word, mask) = position(bit);
            self.words.get(word).is_some_and(|word| word & mask != 0)
        })
    }

    /// Bytes of memory that it keeps.
    pub(crate) const fn content_bytes(&self) -> usize {
        self.words.len() * 8
    }
}

fn position(bit: u64) -> (usize, u64) {
    let word = usize::try_from(bit / WORD_BITS as u64).unwrap_or(usize::MAX);
    (word, 1 << (bit % WORD_BITS as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// As FORMAT.md has them: each a remainder.
        #[test]
        fn the_bits_of_a_key_are_the_remainders_of_the_format(hash in any::<u64>(), words in 1..5_000_u64) {
            let bits = words * WORD_BITS as u64;
            let (mut x, mut y) = ((hash & 0xffff_ffff) % bits, (hash >> 32) % bits);
            let mut expected = Vec::new();
            for step in 1..=u64::from(PROBES_MAX) {
                expected.push(x);
                (x, y) = ((x + y) % bits, (y + step) % bits);
            }
            let found: Vec<u64> = KeyHash(hash).probes(PROBES_MAX, bits).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
