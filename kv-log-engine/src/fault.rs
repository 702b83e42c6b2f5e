//! How the engine words its errors: operation, path, offset, and the cause behind [`std::error::Error::source`].

use crate::format::Defect;
use kv_trait::{Error, ErrorKind};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// An operation of the file system failed. The kind follows what the caller can do about it; the effect is
/// *nothing* until the place that knows better says otherwise.
pub(crate) fn io(operation: &str, path: &Path, source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("cannot {operation} {}", path.display())).with_source(source)
}

/// An operation at an offset of a file failed.
pub(crate) fn io_at(operation: &str, path: &Path, offset: u64, source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
        _ => ErrorKind::Io,
    };
    let message = format!("cannot {operation} {} at offset {offset}", path.display());
    Error::new(kind, message).with_source(source)
}

/// Bytes at `offset` of a file are not what was written there, or are from a later version.
pub(crate) fn defect(path: &Path, offset: u64, defect: Defect) -> Error {
    let (kind, state) = match defect {
        Defect::Unsupported { .. } => (ErrorKind::UnsupportedFormat, "is not understood"),
        _ => (ErrorKind::Corrupt, "is corrupt"),
    };
    Error::new(
        kind,
        format!("{} {state} at offset {offset}", path.display()),
    )
    .with_source(defect)
}

/// A file as a whole is not what it should be.
pub(crate) fn corrupt(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{}: {what}", path.display()))
}

/// The store may be read and not written: a later version wrote something that must be kept in step with every write.
pub(crate) fn must_not_write(directory: &Path, defect: Defect) -> Error {
    let message = format!("{} may only be read by this version", directory.display());
    Error::new(ErrorKind::UnsupportedFormat, message).with_source(defect)
}

/// The store refuses, because an earlier failure (`cause`) made its state uncertain.
pub(crate) fn poisoned(cause: &Error) -> Error {
    Error::new(
        ErrorKind::Poisoned,
        "the store takes no writes until it is opened again, because an earlier write or sync failed",
    )
    .with_source(cause.clone())
}

/// The store is closed or closing.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
}

/// The keyspace of a handle is not there any more.
pub(crate) fn dropped_keyspace(id: u32) -> Error {
    let message = format!("the keyspace of this handle, number {id}, was dropped");
    Error::new(ErrorKind::NotFound, message)
}

/// Keys in messages are cut after this many bytes: a message is for people.
const SHOWN_KEY_BYTES_MAX: usize = 64;

/// A key for a message: its text, with whatever could command a terminal or is no UTF-8 as `\xNN`; cut where it is long.
pub(crate) fn shown_key(key: &[u8]) -> String {
    let shown = &key[..key.len().min(SHOWN_KEY_BYTES_MAX)];
    let mut text = String::from("\"");
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                ' ' => text.push(c),
                // Controls, separators, and the marks that turn the direction of writing.
                c if c.is_control() || c.is_whitespace() || is_mark(c) => {
                    push_hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                c => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text.push('"');
    if shown.len() < key.len() {
        text.push_str(&format!(" and {} bytes more", key.len() - shown.len()));
    }
    text
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

/// The last second that RFC 3339 has a date for, since 1970: the end of the year 9999.
const LAST_DATED_SECOND: u64 = 253_402_300_799;

/// Milliseconds since 1970 as a date for messages: RFC 3339, UTC, to the second. What is later is told as the last date.
pub(crate) fn date(unix_ms: u64) -> String {
    let since_1970 = Duration::from_secs((unix_ms / 1000).min(LAST_DATED_SECOND));
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since_1970).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_as_a_date() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_399_999), "2000-02-28T23:59:59Z");
        assert_eq!(date(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_795_612_736_995), "2026-11-25T13:18:56Z");
        assert_eq!(date(4_107_542_400_000), "2100-03-01T00:00:00Z");
        assert_eq!(date(1_230_768_000_000), "2009-01-01T00:00:00Z");
        // A number out of a damaged `LOCK` is told, too.
        assert_eq!(date(253_402_300_800_000), "9999-12-31T23:59:59Z");
        assert_eq!(date(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_key_in_a_message_commands_no_terminal() {
        assert_eq!(shown_key(b"balance"), r#""balance""#);
        assert_eq!(shown_key("größe \"x\"".as_bytes()), r#""größe \"x\"""#);
        assert_eq!(shown_key(b"a\x1b[31m\xff\n"), r#""a\x1b[31m\xff\x0a""#);
        assert_eq!(shown_key("a\u{202e}b".as_bytes()), r#""a\xe2\x80\xaeb""#);
        let long = shown_key(&[b'k'; 100]);
        assert_eq!(long, format!("\"{}\" and 36 bytes more", "k".repeat(64)));
    }
}
