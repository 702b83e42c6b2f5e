//! Sizes and times as they are written on the command line.

use crate::text::size;
use kv_log_engine::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use std::time::Duration;

/// The longest time that a value can be stored for, in milliseconds: whatever a clock says, the end can be said.
const TTL_MS_MAX: u128 = 1 << 62;

/// A time, in seconds where no unit is given.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[number.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("unknown unit {other:?}; use ms, s, m or h")),
    };
    // What `parse` takes besides digits and a point, such as an exponent or a sign, is no time that somebody means.
    let digits = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = number.parse::<f64>().ok().filter(|_| digits);
    let number = number.ok_or("a time is a number, perhaps with ms, s, m or h behind it")?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_too_long| "too long".to_owned())
}

/// How long a value lives, in whole milliseconds. None at all would be a removal, and nobody writes that by mistake.
pub(crate) fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = time(text)?;
    match ttl.as_millis() {
        0 => Err("a value lives for a millisecond at least".to_owned()),
        1..=TTL_MS_MAX => Ok(ttl),
        _ => Err("too long".to_owned()),
    }
}

/// The size of a segment, within what a store takes.
pub(crate) fn segment_size(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    if (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        let (least, most) = (size(SEGMENT_BYTES_MIN), size(SEGMENT_BYTES_MAX));
        Err(format!("a segment has {least} to {most}"))
    }
}

/// A number of bytes, with an optional binary unit.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_no_number| "a size is a number, perhaps with KiB, MiB or GiB behind it")?;
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        other => return Err(format!("unknown unit {other:?}; use KiB, MiB or GiB")),
    };
    number
        .checked_mul(unit)
        .ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_and_overflow_is_an_error() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("4096"), Ok(4096));
        assert!(bytes("64MB").is_err());
        assert!(bytes("99999999999GiB").is_err());
        assert!(segment_size("1").is_err());
        assert_eq!(segment_size("1KiB"), Ok(1024));
    }

    #[test]
    fn a_time_is_in_seconds_or_has_a_unit() {
        for (text, ms) in [
            ("0", 0),
            ("2", 2_000),
            ("1.5", 1_500),
            ("1.5s", 1_500),
            (".5", 500),
            ("500ms", 500),
            ("2m", 120_000),
            ("0.5h", 1_800_000),
        ] {
            let expected = Ok(Duration::from_millis(ms));
            assert_eq!(time(text), expected, "{text}");
        }
        for wrong in [
            "", "s", "-1", "+1", "1e3", "inf", "NaN", "1.2.3", "1 s", "1d", "1S",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(time(&"9".repeat(40)), Err("too long".to_owned()));
    }

    #[test]
    fn a_value_lives_for_a_while_that_can_be_said() {
        assert_eq!(ttl("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(ttl("1ms"), Ok(Duration::from_millis(1)));
        for none in ["0", "0.4ms", "0.000000001h"] {
            let expected = "a value lives for a millisecond at least";
            assert_eq!(ttl(none), Err(expected.to_owned()), "{none}");
        }
        assert_eq!(ttl(&"9".repeat(19)), Err("too long".to_owned()));
        assert!(ttl("5 m").is_err());
    }
}
