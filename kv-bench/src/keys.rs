//! Keys, values and choices, all from numbers: whoever knows how far a workload came knows what must be there.

use crate::store::{Key, Record};

/// A number that looks random: the finaliser of SplitMix64, a bijection.
pub(crate) const fn scramble(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A task's keys are numbered within its lane.
pub(crate) const LANE_KEYS_MAX: u64 = 1 << 40;

/// Keys of this lane are in the order of their numbers, as those of a queue are.
pub(crate) const QUEUE_LANE: u64 = 1 << 23;
/// No key of this lane is ever written.
pub(crate) const ABSENT_LANE: u64 = 1 << 22;

/// The key with this number in this lane: random to look at, and no other's.
pub(crate) fn key(lane: u64, number: u64) -> Key {
    let unique = scramble(lane * LANE_KEYS_MAX + number);
    let mut key = [0; 16];
    if lane == QUEUE_LANE {
        // The most significant byte first, so that the order of keys is that of numbers.
        key[..8].copy_from_slice(&number.swap_bytes().to_le_bytes());
    } else {
        key[..8].copy_from_slice(&unique.to_le_bytes());
    }
    key[8..].copy_from_slice(&scramble(unique).to_le_bytes());
    key
}

/// Makes values that no compressor shortens, and that tell key and version.
#[derive(Debug)]
pub(crate) struct Values {
    pool: Vec<u8>,
    value_bytes: usize,
}

impl Values {
    pub(crate) fn new(value_bytes: usize) -> Self {
        let words = value_bytes as u64 / 8 + 8192;
        let pool = (0..words).flat_map(|word| scramble(!word).to_le_bytes());
        Self {
            pool: pool.collect(),
            value_bytes,
        }
    }

    /// The value of this key in this version.
    pub(crate) fn value(&self, key: &Key, version: u64) -> Vec<u8> {
        let word = u64::from_le_bytes(std::array::from_fn(|at| key[at + 8]));
        let stamp = scramble(word ^ scramble(version));
        let starts = (self.pool.len() - self.value_bytes) as u64;
        let start = usize::try_from(stamp % starts).expect("less than the pool's length");
        let mut value = self.pool[start..start + self.value_bytes].to_vec();
        let stamped = self.value_bytes.min(8);
        value[..stamped].copy_from_slice(&stamp.to_le_bytes()[..stamped]);
        value
    }

    /// The record with this key in its first version.
    pub(crate) fn record(&self, lane: u64, number: u64) -> Record {
        let key = key(lane, number);
        let value = self.value(&key, 0);
        (key, value)
    }
}

/// A sequence of numbers that look random, from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(scramble(seed))
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        scramble(self.0)
    }

    /// Less than `end`.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Each number once, in an order that looks random.
    pub(crate) fn shuffle(&mut self, numbers: &mut [u64]) {
        for at in (1..numbers.len()).rev() {
            let other = usize::try_from(self.below(at as u64 + 1)).expect("an index");
            numbers.swap(at, other);
        }
    }
}

/// Which key is read next.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    Uniform {
        keys: u64,
    },
    /// As YCSB's: a few keys take most of the reads (theta 0.99).
    Zipf {
        keys: u64,
        zeta: f64,
        eta: f64,
        alpha: f64,
    },
}

const THETA: f64 = 0.99;

impl Choice {
    pub(crate) const fn uniform(keys: u64) -> Self {
        Self::Uniform { keys }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of keys fit 53 bits")]
    pub(crate) fn zipf(keys: u64) -> Self {
        let zeta: f64 = (1..=keys).map(|rank| (rank as f64).powf(-THETA)).sum();
        let zeta_two = 1.0 + 0.5_f64.powf(THETA);
        let eta = (1.0 - (2.0 / keys as f64).powf(1.0 - THETA)) / (1.0 - zeta_two / zeta);
        let alpha = 1.0 / (1.0 - THETA);
        Self::Zipf {
            keys,
            zeta,
            eta,
            alpha,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank: from 0 to the number of keys"
    )]
    pub(crate) fn next(&self, random: &mut Random) -> u64 {
        match *self {
            Self::Uniform { keys } => random.below(keys),
            Self::Zipf {
                keys,
                zeta,
                eta,
                alpha,
            } => {
                let unit = random.unit();
                let scaled = unit * zeta;
                if scaled < 1.0 {
                    0
                } else if scaled < 1.0 + 0.5_f64.powf(THETA) {
                    1.min(keys - 1)
                } else {
                    let rank = keys as f64 * (eta * unit - eta + 1.0).powf(alpha);
                    (rank as u64).min(keys - 1)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_of_all_lanes_differ() {
        let keys: BTreeSet<Key> = (0..64)
            .flat_map(|lane| (0..100).map(move |number| key(lane, number)))
            .collect();
        assert_eq!(keys.len(), 6400);
    }

    #[test]
    fn keys_of_a_queue_are_in_the_order_of_their_numbers() {
        let keys: Vec<Key> = (0..1000).map(|number| key(QUEUE_LANE, number)).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    }

    #[test]
    fn a_value_tells_its_key_and_its_version() {
        let values = Values::new(100);
        let (one, other) = (key(0, 1), key(0, 2));
        assert_eq!(values.value(&one, 0).len(), 100);
        assert_eq!(values.value(&one, 3), values.value(&one, 3));
        assert_ne!(values.value(&one, 3), values.value(&one, 4));
        assert_ne!(values.value(&one, 3), values.value(&other, 3));
        assert_eq!(Values::new(4).value(&one, 0).len(), 4);
    }

    #[test]
    fn zipf_prefers_the_first_keys_and_stays_in_range() {
        let mut random = Random::new(7);
        let choice = Choice::zipf(1000);
        let mut counts = vec![0_u32; 1000];
        for _ in 0..20_000 {
            counts[usize::try_from(choice.next(&mut random)).unwrap()] += 1;
        }
        assert!(counts[0] > 2000, "{}", counts[0]);
        assert!(counts[0] > counts[1] && counts[1] > counts[100]);
        assert!(counts.iter().filter(|count| **count > 0).count() > 500);
    }

    #[test]
    fn a_shuffle_keeps_every_number() {
        let mut numbers: Vec<u64> = (0..100).collect();
        Random::new(1).shuffle(&mut numbers);
        assert_ne!(numbers, (0..100).collect::<Vec<_>>());
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }
}
