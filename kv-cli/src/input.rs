//! JSON lines in: one record a line, bounded before it is read, named by its number when it is wrong.

use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_trait::Fingerprint;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::{self, BufRead};

/// The longest line: the longest value in its longest spelling, six characters for a byte, and room for the key.
const LINE_BYTES_MAX: u64 = 6 * (kv_trait::VALUE_BYTES_MAX + kv_trait::KEY_BYTES_MAX) as u64 + 4096;

/// How often a line is copied at most on its way into a batch: while its escapes are taken out, which takes twice its
/// length at worst, and as a value of its own.
const COPIES: usize = 3;

/// Some editors begin a file with it; it says nothing in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Smaller amounts are not asked for before they are taken.
const SMALL_BYTES: usize = 1 << 20;

/// Whether so many bytes can be had. Asked before code runs that cannot be told that there are none.
fn is_room_for(bytes: usize) -> bool {
    bytes < SMALL_BYTES || Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Record(Record),
    /// The types of a keyspace, which is to be there with them.
    Types {
        keyspace: String,
        types: Fingerprint,
    },
}

/// A key and a value, and where they belong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// `None`: wherever the records go that do not say it.
    pub(crate) keyspace: Option<String>,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// In milliseconds since 1970; `None`: it stays.
    pub(crate) expires_at_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    key: Option<String>,
    key_b64: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    value_b64: Option<String>,
    keyspace: Option<String>,
    expires_at_ms: Option<u64>,
    types: Option<String>,
}

/// `null` is a value like any other: only a missing field is `None`.
fn present<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(source).map(Some)
}

/// The records of a file of JSON lines.
pub(crate) struct Records<R> {
    source: R,
    line: u64,
    bytes: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> Records<R> {
    pub(crate) const fn new(source: R) -> Self {
        Self {
            source,
            line: 0,
            bytes: 0,
            buffer: Vec::new(),
            ended: false,
        }
    }

    /// What the next line says; blank lines are passed over. A failure names the line. Once there is none there stays none, also
    /// where somebody goes on typing.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Failure> {
        while !self.ended {
            self.buffer.clear();
            if !self.read_line()? {
                self.ended = true;
                break;
            }
            let line = match self.buffer.strip_prefix(BYTE_ORDER_MARK) {
                Some(line) if self.line == 1 => line,
                _ => &self.buffer,
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            // The parser is not shown the line's end: it would place what is wrong with a line that was cut on the next one.
            return parse(line.trim_ascii_end())
                .map(Some)
                .map_err(|message| self.wrong(&message));
        }
        Ok(None)
    }

    /// Reads a line into the buffer, its end included; false if there is none. Grows as the line does, and gives up where
    /// the line cannot be held, or not be worked on: whoever runs out of memory elsewhere is ended at once, and with it
    /// what was read before.
    fn read_line(&mut self) -> Result<bool, Failure> {
        loop {
            let piece = match self.source.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Failure::stream("cannot read the input", source)),
            };
            if piece.is_empty() {
                break;
            }
            if self.buffer.is_empty() {
                self.line += 1;
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(piece.len(), |at| at + 1);
            if (self.buffer.len() + count) as u64 > LINE_BYTES_MAX {
                return Err(self.wrong("the line is too long"));
            }
            if self.buffer.try_reserve(count).is_err() {
                return Err(self.too_long_for_memory());
            }
            self.buffer.extend_from_slice(&piece[..count]);
            self.source.consume(count);
            self.bytes += count as u64;
            if end.is_some() {
                break;
            }
        }
        if !is_room_for(self.buffer.len().saturating_mul(COPIES)) {
            return Err(self.too_long_for_memory());
        }
        Ok(!self.buffer.is_empty())
    }

    fn too_long_for_memory(&mut self) -> Failure {
        // The records before this one are still to be written.
        self.buffer = Vec::new();
        let what = format!("line {} is too long for memory", self.line);
        Failure::stream(what, io::ErrorKind::OutOfMemory.into())
    }

    /// How many bytes were read.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn wrong(&self, message: &str) -> Failure {
        Failure::input(
            format!("line {}: {message}", self.line),
            r#"each line is {"key": "...", "value": ...}; key_b64 and value_b64 take base64"#,
        )
    }
}

fn parse(line: &[u8]) -> Result<Entry, String> {
    // serde would take an array for an object without names.
    match line.trim_ascii_start().first() {
        Some(b'{') => {}
        Some(b'[') => return Err("an object is expected, and an array begins here".to_owned()),
        _ => return Err("an object is expected".to_owned()),
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| describe(&error, line))?;
    if line.keyspace.as_deref() == Some("") {
        return Err("a keyspace has a name; leave it out for the store's own".to_owned());
    }
    if let Some(types) = &line.types {
        return types_of(&line, types);
    }
    let key = match (line.key, line.key_b64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(encoded)) => decode("key_b64", &encoded)?,
        _ => return Err("exactly one of key and key_b64 is needed".to_owned()),
    };
    let value = match (line.value, line.value_b64) {
        (Some(raw), None) => value_bytes(raw)?,
        (None, Some(encoded)) => decode("value_b64", &encoded)?,
        _ => return Err("exactly one of value and value_b64 is needed".to_owned()),
    };
    Ok(Entry::Record(Record {
        keyspace: line.keyspace,
        key,
        value,
        expires_at_ms: line.expires_at_ms,
    }))
}

/// A line with types has nothing else but the keyspace that they are of.
fn types_of(line: &Line<'_>, types: &str) -> Result<Entry, String> {
    let record = line.key.is_some() || line.key_b64.is_some();
    let record = record || line.value.is_some() || line.value_b64.is_some();
    let (Some(keyspace), false, None) = (&line.keyspace, record, line.expires_at_ms) else {
        return Err("types stand beside a keyspace, and nothing else".to_owned());
    };
    let types = Fingerprint::parse(types).map_err(|error| format!("types: {error}"))?;
    Ok(Entry::Types {
        keyspace: keyspace.clone(),
        types,
    })
}

/// serde_json counts the line as the first of one; the caller knows better.
fn describe(error: &serde_json::Error, json: &[u8]) -> String {
    if error.is_eof() {
        return "the object does not end on this line".to_owned();
    }
    if let Err(wrong) = str::from_utf8(json)
        && wrong.valid_up_to() < error.column()
    {
        let column = wrong.valid_up_to() + 1;
        return format!("the byte at column {column} is no UTF-8");
    }
    if let Some(escape) = lone_surrogate(json, error.column()) {
        return format!("{escape} is half a character, without its other half");
    }
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(message) => format!("{message} at column {}", error.column()),
        None => text,
    }
}

/// The escape of half a surrogate pair without the other half, if that is what the parser has met at this column: its own
/// words for it say something else.
fn lone_surrogate(json: &[u8], column: usize) -> Option<String> {
    const ESCAPE: usize = r"\u0000".len();
    let unit = |at: usize| {
        let digits = json.get(at..at + ESCAPE)?.strip_prefix(br"\u")?;
        u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut at = 0;
    while at < json.len().min(column) {
        at += match (json[at], unit(at)) {
            (b'\\', Some(0xd800..0xdc00)) if matches!(unit(at + ESCAPE), Some(0xdc00..0xe000)) => {
                2 * ESCAPE
            }
            // Half a pair is no error inside of a value that is stored as written: only the one at the column is meant.
            (b'\\', Some(0xd800..0xe000)) if column <= at + 2 * ESCAPE => {
                let escape = &json[at..at + ESCAPE];
                return Some(String::from_utf8_lossy(escape).into_owned());
            }
            (b'\\', _) => 2,
            _ => 1,
        };
    }
    None
}

/// A string is stored as its text, any other value as its text as written.
fn value_bytes(raw: &RawValue) -> Result<Vec<u8>, String> {
    if raw.get().starts_with('"') {
        let text: String = serde_json::from_str(raw.get())
            .map_err(|error| describe(&error, raw.get().as_bytes()))?;
        Ok(text.into_bytes())
    } else {
        Ok(raw.get().as_bytes().to_vec())
    }
}

fn decode(what: &str, encoded: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(encoded)
        .map_err(|error| format!("{what}: {}", error.to_string().trim_end_matches('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Entry>, String> {
        let mut records = Records::new(text.as_bytes());
        let mut found = Vec::new();
        loop {
            match records.next() {
                Ok(Some(entry)) => found.push(entry),
                Ok(None) => return Ok(found),
                Err(failure) => return Err(failure.message()),
            }
        }
    }

    #[test]
    fn strings_are_their_text_and_other_values_their_text_as_written() {
        let found =
            all("{\"key\":\"a\",\"value\":\"x\\ny\"}\n\n{\"key\":\"b\",\"value\": {\"n\" : 1.0} }")
                .unwrap();
        let of = |key: &str, value: &[u8]| {
            Entry::Record(Record {
                key: key.into(),
                value: value.to_vec(),
                ..Record::default()
            })
        };
        assert_eq!(found, [of("a", b"x\ny"), of("b", br#"{"n" : 1.0}"#)]);
        let null = all(r#"{"key":"a","value":null}"#).unwrap();
        assert_eq!(null, [of("a", b"null")]);
    }

    #[test]
    fn a_line_says_where_it_belongs_and_how_long_it_stays() {
        let line = r#"{"keyspace":"s","key":"a","value_b64":"/w==","expires_at_ms":7}"#;
        let expected = Record {
            keyspace: Some("s".to_owned()),
            key: b"a".to_vec(),
            value: vec![0xff],
            expires_at_ms: Some(7),
        };
        assert_eq!(all(line).unwrap(), [Entry::Record(expected)]);
        let types = all(r#"{"keyspace":"s","types":"key=raw/1\nvalue=raw/1"}"#).unwrap();
        let expected = Entry::Types {
            keyspace: "s".to_owned(),
            types: Fingerprint::raw(),
        };
        assert_eq!(types, [expected]);
        for (wrong, why) in [
            (
                r#"{"keyspace":"","key":"a","value":1}"#,
                "a keyspace has a name",
            ),
            (r#"{"types":"key=raw/1\nvalue=raw/1"}"#, "beside a keyspace"),
            (r#"{"keyspace":"s","types":"","key":"a"}"#, "nothing else"),
            (r#"{"keyspace":"s","types":"raw"}"#, "line 1: types: "),
            (r#"{"keyspace":"s"}"#, "exactly one of key"),
            (
                r#"{"key":"a","value":1,"expires_at_ms":-1}"#,
                "invalid value",
            ),
        ] {
            let said = all(wrong).unwrap_err();
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let wrong = |text: &str| all(text).unwrap_err();
        assert!(
            wrong("{\"key\":\"a\",\"value\":1}\n{\"key\":")
                .contains("line 2: the object does not end on this line")
        );
        assert!(wrong("[\"a\",null,1,null]").contains("an object is expected"));
        assert!(wrong(r#"{"key":"a"}"#).contains("exactly one of value"));
        assert!(wrong(r#"{"key":"a","value":1,"extra":2}"#).contains("unknown field"));
        assert!(wrong(r#"{"key":"a","key":"b","value":1}"#).contains("duplicate field"));
        assert!(wrong(r#"{"key_b64":"?","value":1}"#).contains("key_b64"));
    }
}
