//! Bytes as text that commands no terminal.

use std::fmt::Write;
use std::time::Duration;

/// Characters that change what a terminal shows beside themselves: controls, and those that turn the direction of
/// writing, with which a line can be made to look like another.
pub(crate) fn is_commanding(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061C}'
                | '\u{200E}'
                | '\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// Text with control characters and bytes that are no UTF-8 as `\xNN`, and a backslash as two: nothing is ambiguous.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c => push(&mut text, c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

/// A message, which may hold escaped text already, on one line: only what could command a terminal is escaped.
pub(crate) fn harmless(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    message.chars().for_each(|c| push(&mut text, c));
    text
}

/// JSON text with everything that could command a terminal as `\uNNNN`; it means the same. JSON itself asks that only
/// of the first 32 characters.
pub(crate) fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_commanding(c) {
            // All of them are below 0x10000: one unit, and within a string, for JSON has none outside of strings.
            append(&mut text, format_args!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

fn push(text: &mut String, c: char) {
    match c {
        '\n' => text.push_str("\\n"),
        '\t' => text.push_str("\\t"),
        c if is_commanding(c) => push_hex(text, c.encode_utf8(&mut [0; 4]).as_bytes()),
        c => text.push(c),
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        append(text, format_args!("\\x{byte:02x}"));
    }
}

fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

/// `1204331` as `1,204,331`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 key`, `2,000 keys`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    let plural = match (number, what) {
        (1, _) => "",
        (_, "batch") => "es",
        _ => "s",
    };
    format!("{} {what}{plural}", grouped(number))
}

/// A number of bytes in the largest binary unit of which there is one, cut after one decimal.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (name, unit) in units {
        if bytes >= unit {
            let tenths = bytes % unit * 10 / unit;
            return format!("{}.{tenths} {name}", grouped(bytes / unit));
        }
    }
    counted(bytes, "byte")
}

/// A time in the unit that suits it, cut after one decimal: `0.3 s`, `72.3 s`, `2.5 h`.
pub(crate) fn span(time: Duration) -> String {
    let tenths = |unit_ms: u128| {
        let tenths = time.as_millis() * 10 / unit_ms;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match time.as_secs() {
        0..100 => format!("{} s", tenths(1000)),
        100..6000 => format!("{} min", tenths(60 * 1000)),
        _ => format!("{} h", tenths(60 * 60 * 1000)),
    }
}

/// How much of a hundred; nothing of nothing is 0.
pub(crate) fn percent(part: u64, whole: u64) -> u128 {
    u128::from(part) * 100 / u128::from(whole.max(1))
}

/// Twenty cells, of which as many are full as the part fills wholly.
pub(crate) fn bar(part: u64, whole: u64) -> String {
    const CELLS: u128 = 20;
    (1..=CELLS)
        .map(|cell| {
            let full = cell * u128::from(whole.max(1)) <= CELLS * u128::from(part);
            if full { '█' } else { '░' }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_never_commanded() {
        assert_eq!(
            escaped(b"a\x1b[31m\xff\n\\\xc2\x9b"),
            "a\\x1b[31m\\xff\\n\\\\\\xc2\\x9b"
        );
        assert_eq!(escaped("grün".as_bytes()), "grün");
        assert_eq!(escaped("a\u{202e}b".as_bytes()), "a\\xe2\\x80\\xaeb");
        assert_eq!(harmless("a\\x1b \x1b\r\n"), "a\\x1b \\x1b\\x0d\\n");
    }

    #[test]
    fn harmless_json_means_the_same() {
        let all: String = ('\0'..='\u{ffff}').collect();
        let json = harmless_json(&serde_json::Value::from(all.clone()).to_string());
        assert!(!json.contains(is_commanding));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), all);
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(
            [0, 999, 1000, 1_204_331].map(grouped),
            ["0", "999", "1,000", "1,204,331"]
        );
        assert_eq!(
            [0, 1, 1023, 1024, 1_100_000, 5 << 40].map(size),
            [
                "0 bytes",
                "1 byte",
                "1,023 bytes",
                "1.0 KiB",
                "1.0 MiB",
                "5,120.0 GiB"
            ]
        );
        assert_eq!(
            [0, 350, 99_999, 100_000, 9_000_000].map(|ms| span(Duration::from_millis(ms))),
            ["0.0 s", "0.3 s", "99.9 s", "1.6 min", "2.5 h"]
        );
        assert_eq!(
            [percent(0, 0), percent(1, 3), percent(u64::MAX, u64::MAX)],
            [0, 33, 100]
        );
    }

    #[test]
    fn a_bar_is_full_only_when_everything_is_live() {
        assert_eq!(bar(12, 100), "██░░░░░░░░░░░░░░░░░░");
        assert_eq!(bar(97, 100), "███████████████████░");
        assert_eq!(bar(u64::MAX, u64::MAX), "████████████████████");
        assert_eq!(bar(0, 0), "░░░░░░░░░░░░░░░░░░░░");
    }
}
