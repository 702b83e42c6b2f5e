//! Latencies: counts in buckets whose width is a sixteenth of their value, so that merging lanes loses nothing.

use std::time::Duration;

/// A bucket is at most 1/16 wide: percentiles are right to about 6 %.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 4;
const BUCKETS: usize = 64 << STEP_BITS;

/// How often which time was taken.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            longest: 0,
        }
    }

    pub(crate) fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.longest = self.longest.max(nanos);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    /// In microseconds. `None`: nothing was recorded.
    #[expect(clippy::cast_precision_loss, reason = "hours fit 53 bits")]
    pub(crate) fn longest_us(&self) -> Option<f64> {
        (self.total > 0).then(|| self.longest as f64 / 1000.0)
    }

    /// The time that this part of all measurements (0 to 1) did not exceed, in microseconds: the upper edge of the
    /// bucket, or the longest time where that is less. `None`: nothing was recorded.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank: from 1 to the number of measurements"
    )]
    pub(crate) fn percentile_us(&self, part: f64) -> Option<f64> {
        let rank = ((self.total as f64 * part).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(upper_edge(at).min(self.longest) as f64 / 1000.0);
            }
        }
        None
    }
}

fn bucket(nanos: u64) -> usize {
    let bucket = if nanos < STEPS {
        nanos
    } else {
        let exponent = nanos.ilog2() - STEP_BITS;
        (u64::from(exponent) + 1) * STEPS + ((nanos >> exponent) - STEPS)
    };
    usize::try_from(bucket).expect("fewer than BUCKETS")
}

/// The largest time in a bucket.
fn upper_edge(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let exponent = bucket / STEPS - 1;
    let step = u128::from(bucket % STEPS + STEPS + 1);
    u64::try_from((step << exponent) - 1).unwrap_or(u64::MAX)
}

/// The middle of some values, and the ends. Of an even number of values the mean of the middle two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None`: there are no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(histogram: &mut Histogram, times: impl IntoIterator<Item = u64>) {
        for time in times {
            histogram.record(Duration::from_nanos(time));
        }
    }

    #[test]
    fn percentiles_are_right_to_a_sixteenth() {
        let mut histogram = Histogram::new();
        nanos(&mut histogram, (1..=1000).map(|us| us * 1000));
        for (part, right) in [(0.5, 500.0), (0.99, 990.0), (0.001, 1.0), (1.0, 1000.0)] {
            let found = histogram.percentile_us(part).unwrap();
            assert!(
                found >= right && found <= right * 1.07,
                "{part}: {found} for {right}"
            );
        }
    }

    #[test]
    fn small_times_are_exact() {
        let mut histogram = Histogram::new();
        nanos(&mut histogram, [3, 3, 7]);
        assert_eq!(histogram.percentile_us(0.5), Some(0.003));
        assert_eq!(histogram.percentile_us(0.99), Some(0.007));
        assert_eq!(histogram.longest_us(), Some(0.007));
    }

    #[test]
    fn every_time_is_in_a_bucket_that_ends_behind_it() {
        let times = (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, (1 << bit) + 1]);
        for time in times.chain([u64::MAX]) {
            let bucket = bucket(time);
            assert!(bucket < BUCKETS);
            assert!(upper_edge(bucket) >= time, "{time}");
            assert!(bucket == 0 || upper_edge(bucket - 1) < time, "{time}");
        }
    }

    #[test]
    fn merged_lanes_count_like_one() {
        let (mut one, mut other, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
        nanos(&mut one, 0..5000);
        nanos(&mut other, 5000..9000);
        nanos(&mut both, 0..9000);
        one.merge(&other);
        for part in [0.1, 0.5, 0.9, 0.999] {
            assert_eq!(one.percentile_us(part), both.percentile_us(part));
        }
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Histogram::new().percentile_us(0.5), None);
        assert_eq!(Histogram::new().longest_us(), None);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 100.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (3.5, 1.0, 100.0));
        assert_eq!(Spread::of([2.0]).unwrap().median, 2.0);
        assert_eq!(Spread::of([]), None);
    }
}
