//! Keys of types that a store records: numbers, and tuples of what JSON can say.
//!
//! A key is spelled by its value, and stands in the store in the encoding of its type. Which type that is the store says;
//! a key of another one would be bytes that nobody finds.

use kv_trait::key;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// More parts than a key has room for are not listed.
const PARTS_MAX: usize = kv_trait::KEY_BYTES_MAX;

/// A type that a part of a key can have, where it can be spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    Char,
    Str,
}

/// A value in the encoding that it has inside of a tuple.
fn inside<T: Serialize>(value: T) -> Option<kv_trait::Result<Vec<u8>>> {
    Some(key::encode(&(value,)))
}

/// A character, which is a text to JSON.
#[derive(serde::Deserialize)]
struct One(char);

impl From<One> for Value {
    fn from(one: One) -> Self {
        one.0.to_string().into()
    }
}

fn outside<T: DeserializeOwned + Into<Value>>(bytes: &[u8]) -> Option<Value> {
    key::decode::<(T,)>(bytes).ok().map(|(value,)| value.into())
}

impl Part {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => Self::Bool,
            "u8" => Self::U8,
            "u16" => Self::U16,
            "u32" => Self::U32,
            "u64" => Self::U64,
            "i8" => Self::I8,
            "i16" => Self::I16,
            "i32" => Self::I32,
            "i64" => Self::I64,
            "char" => Self::Char,
            "str" => Self::Str,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::Char => "char",
            Self::Str => "str",
        }
    }

    /// The bytes of a value of this type; `None`: it is one of another.
    fn encode(self, value: &Value) -> Option<kv_trait::Result<Vec<u8>>> {
        let unsigned = || value.as_u64();
        let signed = || value.as_i64();
        match self {
            Self::Bool => inside(value.as_bool()?),
            Self::U8 => inside(u8::try_from(unsigned()?).ok()?),
            Self::U16 => inside(u16::try_from(unsigned()?).ok()?),
            Self::U32 => inside(u32::try_from(unsigned()?).ok()?),
            Self::U64 => inside(unsigned()?),
            Self::I8 => inside(i8::try_from(signed()?).ok()?),
            Self::I16 => inside(i16::try_from(signed()?).ok()?),
            Self::I32 => inside(i32::try_from(signed()?).ok()?),
            Self::I64 => inside(signed()?),
            Self::Char => inside(value.as_str()?.parse::<char>().ok()?),
            Self::Str => inside(value.as_str()?),
        }
    }

    /// The value at the front of these bytes, and what is behind it.
    fn decode(self, bytes: &[u8]) -> Option<(Value, &[u8])> {
        let length = match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::Char => 4,
            Self::U64 | Self::I64 => 8,
            Self::Str => end_of_text(bytes)?,
        };
        let (own, rest) = bytes.split_at_checked(length)?;
        let value = match self {
            Self::Bool => outside::<bool>(own),
            Self::U8 => outside::<u8>(own),
            Self::U16 => outside::<u16>(own),
            Self::U32 => outside::<u32>(own),
            Self::U64 => outside::<u64>(own),
            Self::I8 => outside::<i8>(own),
            Self::I16 => outside::<i16>(own),
            Self::I32 => outside::<i32>(own),
            Self::I64 => outside::<i64>(own),
            Self::Char => outside::<One>(own),
            Self::Str => outside::<String>(own),
        };
        Some((value?, rest))
    }
}

/// Where a text inside of a tuple ends, its end included: a zero byte is followed by another byte that says which it is.
fn end_of_text(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0)? + 2;
        if bytes.get(at - 1)? == &1 {
            return Some(at);
        }
    }
}

/// The parts of a type that is written `(str,u64)`; `None`: there is one that cannot be spelled here.
fn parts(type_words: &str) -> Option<Vec<Part>> {
    let inner = type_words.strip_prefix('(')?.strip_suffix(')')?;
    let mut parts = Vec::new();
    for one in inner.split(',') {
        // `u8*32`: an array.
        let (name, count) = match one.split_once('*') {
            Some((name, count)) => (name, count.parse().ok()?),
            None => (one, 1_usize),
        };
        let part = Part::of(name)?;
        if count > PARTS_MAX.saturating_sub(parts.len()) {
            return None;
        }
        parts.extend(std::iter::repeat_n(part, count));
    }
    Some(parts)
}

/// The type of a store's keys, as far as it can be spelled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyType {
    parts: Vec<Part>,
    /// Spelled as a JSON array; otherwise the only part stands alone.
    tuple: bool,
}

impl KeyType {
    /// From the words that a store has for it: `u64`, `(str,u64)`.
    pub(crate) fn of(words: &str) -> Option<Self> {
        if let Some(part) = Part::of(words) {
            // A text that is the whole key is its own bytes: no type is needed to spell it.
            return (part != Part::Str).then(|| Self {
                parts: vec![part],
                tuple: false,
            });
        }
        parts(words).map(|parts| Self { parts, tuple: true })
    }

    pub(crate) const fn is_tuple(&self) -> bool {
        self.tuple
    }

    /// The bytes of a key, or, where fewer parts are enough, of all keys that begin with these.
    pub(crate) fn encode(&self, value: &Value, whole: bool) -> Result<Vec<u8>, String> {
        let alone = std::slice::from_ref(value);
        let values = match value {
            Value::Array(values) if self.tuple => values.as_slice(),
            _ if self.tuple => return Err("it is no array".to_owned()),
            _ => alone,
        };
        let enough = if whole {
            values.len() == self.parts.len()
        } else {
            values.len() <= self.parts.len()
        };
        if !enough {
            let (given, wanted) = (values.len(), self.parts.len());
            return Err(format!("it has {given} parts, and a key has {wanted}"));
        }
        let mut bytes = Vec::new();
        for (part, value) in self.parts.iter().zip(values) {
            let own = part.encode(value);
            let own = own.ok_or_else(|| format!("{value} is no {}", part.name()))?;
            bytes.extend(own.map_err(|error| error.to_string())?);
        }
        Ok(bytes)
    }

    /// The value of a key; `None`: these are not the bytes of one.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Option<Value> {
        let mut rest = bytes;
        let mut values = Vec::new();
        for part in &self.parts {
            let (value, behind) = part.decode(rest)?;
            values.push(value);
            rest = behind;
        }
        if !rest.is_empty() {
            return None;
        }
        if self.tuple {
            Some(Value::Array(values))
        } else {
            values.pop()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_trait::{Fingerprint, Raw};
    use serde_json::json;

    fn of<K: key::Key>() -> KeyType {
        let types = Fingerprint::of::<K, Vec<u8>, Raw>(None).unwrap();
        KeyType::of(&types.key_type()).unwrap()
    }

    #[test]
    fn a_key_that_is_spelled_is_the_one_that_a_program_writes() {
        let check = |found: &KeyType, spelled: Value, bytes: kv_trait::Result<Vec<u8>>| {
            let bytes = bytes.unwrap();
            assert_eq!(
                found.encode(&spelled, true).as_ref(),
                Ok(&bytes),
                "{spelled}"
            );
            assert_eq!(found.decode(&bytes), Some(spelled));
        };
        for number in [0, 1, 255, 256, u64::MAX] {
            check(&of::<u64>(), json!(number), key::encode(&number));
        }
        for number in [i64::MIN, -1, 0, 1, i64::MAX] {
            check(&of::<i64>(), json!(number), key::encode(&number));
        }
        let kinds = of::<(String, u8, i16, bool, char, u32)>();
        for text in ["", "a", "a\0b", "\0", "\0\u{1}", "\u{ff}"] {
            check(
                &kinds,
                json!([text, 7, -2, true, "\u{1F980}", 5]),
                key::encode(&(text, 7_u8, -2_i16, true, '\u{1F980}', 5_u32)),
            );
        }
        check(
            &of::<[u16; 3]>(),
            json!([1, 2, 3]),
            key::encode(&[1_u16, 2, 3]),
        );
    }

    #[test]
    fn fewer_parts_are_the_beginning_of_a_key() {
        let found = of::<(String, u64)>();
        let all = key::encode(&("a", 5_u64)).unwrap();
        let first = found.encode(&json!(["a"]), false).unwrap();
        assert!(all.starts_with(&first));
        let longer = key::encode(&("ab", 5_u64)).unwrap();
        assert!(!longer.starts_with(&first), "the part is whole");
        assert_eq!(found.encode(&json!([]), false), Ok(Vec::new()));
        assert!(found.encode(&json!(["a"]), true).is_err());
    }

    #[test]
    fn what_is_no_value_of_the_type_is_refused() {
        let found = of::<(String, u8)>();
        let wrong = |value: Value| found.encode(&value, true).unwrap_err();
        assert_eq!(wrong(json!(["a", 256])), "256 is no u8");
        assert_eq!(wrong(json!(["a", -1])), "-1 is no u8");
        assert_eq!(wrong(json!(["a", 1.5])), "1.5 is no u8");
        assert_eq!(wrong(json!([1, 1])), "1 is no str");
        assert_eq!(wrong(json!("a")), "it is no array");
        assert_eq!(wrong(json!(["a", 1, 2])), "it has 3 parts, and a key has 2");
        assert!(of::<u64>().encode(&json!([1]), true).is_err());
    }

    #[test]
    fn bytes_of_another_type_are_no_key() {
        let found = of::<(String, u8)>();
        for bytes in [
            &b""[..],
            b"a",
            b"a\0\x01",
            b"a\0\x01\x05\x05",
            b"a\0\x02\x05",
            b"\xff\0\x01\x05",
        ] {
            assert_eq!(found.decode(bytes), None, "{bytes:?}");
        }
        assert_eq!(of::<u64>().decode(&[0; 7]), None);
    }

    #[test]
    fn types_that_cannot_be_spelled_have_none() {
        for words in [
            "text or bytes",
            "str",
            "(u64,?u8)",
            "((u8,u8),u8)",
            "[u8]",
            "(u8*99999999999)",
            "_",
            "(",
            "u128",
        ] {
            assert_eq!(KeyType::of(words), None, "{words}");
        }
        assert!(of::<(u8, u8)>().is_tuple() && !of::<u64>().is_tuple());
    }
}
