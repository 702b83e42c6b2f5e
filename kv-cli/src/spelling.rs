//! Keys and values as they are spelled on the command line.

use crate::failure::Failure;
use crate::output::put_bytes;
use crate::typed::KeyType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use kv_trait::{CodecId, Error, ErrorKind, Fingerprint};
use serde_json::{Map, Value};
use std::ffi::{OsStr, OsString};

/// How keys are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyAs {
    /// As they are: the very bytes on Unix, the UTF-8 of the text elsewhere.
    #[value(alias = "text")]
    Str,
    /// Two hexadecimal digits for each byte.
    Hex,
    /// Standard base64 with its padding, as `key_b64` has it.
    Base64,
    /// A number, where the store's keys are `u64`.
    U64,
    /// A number, where the store's keys are `i64`; one below 0 behind `--`, or as --from=-5.
    I64,
    /// A JSON array of numbers, texts and booleans, where the store's keys are a tuple or struct of these; a prefix, or an
    /// end of a range, may have fewer.
    Tuple,
}

/// How keys are spelled in a store of these types.
#[derive(Debug)]
pub(crate) struct Keys {
    key_as: KeyAs,
    /// Of what can be spelled by its value.
    key_type: Option<KeyType>,
}

impl KeyAs {
    /// Refuses what is no key in this spelling, whatever the store is: before it is opened, or made. The bytes, where no
    /// store's types decide about them.
    pub(crate) fn tried(self, given: &OsStr) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Str => plain(given).map(Some),
            Self::Hex => from_hex(given.as_encoded_bytes()).map(Some).map_err(|why| {
                let hint = "with --key-as hex a key is two digits of 0-9 and a-f for each byte";
                wrong(given, &format!("is no hex: {why}"), hint)
            }),
            Self::Base64 => {
                let bytes = STANDARD.decode(given.as_encoded_bytes());
                bytes.map(Some).map_err(|error| {
                    let why = error.to_string();
                    let why = format!("is no base64: {}", why.trim_end_matches('.'));
                    let hint =
                        "with --key-as base64 a key is spelled as key_b64 is, padding included";
                    wrong(given, &why, hint)
                })
            }
            Self::U64 | Self::I64 | Self::Tuple => self.value(given).map(|_| None),
        }
    }

    pub(crate) fn tried_all(self, given: &[OsString]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        given.iter().map(|one| self.tried(one)).collect()
    }

    pub(crate) fn tried_one(self, given: Option<&OsStr>) -> Result<(), Failure> {
        given.map_or(Ok(()), |one| self.tried(one).map(drop))
    }

    /// Whether a key is spelled by its value, and is one of the store's type then.
    pub(crate) const fn is_typed(self) -> bool {
        matches!(self, Self::U64 | Self::I64 | Self::Tuple)
    }

    /// The value that is spelled.
    fn value(self, given: &OsStr) -> Result<Value, Failure> {
        let text = given.to_str();
        let value = match self {
            Self::U64 => text.and_then(|it| it.parse::<u64>().ok()).map(Value::from),
            Self::I64 => text.and_then(|it| it.parse::<i64>().ok()).map(Value::from),
            _ => text.and_then(|it| serde_json::from_str(it).ok()),
        };
        match (self, value) {
            (Self::U64, None) => Err(wrong(given, "is no u64", "a whole number, 0 or more")),
            (Self::I64, None) => Err(wrong(given, "is no i64", "a whole number")),
            (_, Some(value)) if self != Self::Tuple || value.is_array() => Ok(value),
            _ => Err(wrong(given, "is no JSON array", TUPLE)),
        }
    }

    /// For a store whose keys can be spelled so.
    ///
    /// # Errors
    /// They are of another type, which the message names.
    pub(crate) fn keys(self, types: &Fingerprint) -> Result<Keys, Failure> {
        let words = types.key_type();
        let ordered = *types.key() == CodecId::ordered();
        let key_type = KeyType::of(&words).filter(|_| ordered);
        let fits = match self {
            Self::Str | Self::Hex | Self::Base64 => true,
            Self::U64 => words == "u64" && key_type.is_some(),
            Self::I64 => words == "i64" && key_type.is_some(),
            Self::Tuple => key_type.as_ref().is_some_and(KeyType::is_tuple),
        };
        if fits {
            return Ok(Keys {
                key_as: self,
                key_type: key_type.filter(|_| self.is_typed()),
            });
        }
        let asked = match self {
            Self::U64 => "u64",
            Self::I64 => "i64",
            _ => "tuples of numbers, texts and booleans",
        };
        let message = format!("the keys are {words}, not {asked}");
        Err(Failure::Store {
            error: Error::new(ErrorKind::UnsupportedFormat, message),
            hint: Some("spell keys as what they are; --key-as hex takes the bytes of any"),
        })
    }
}

const TUPLE: &str = r#"with --key-as tuple a key is spelled like ["a", 5]"#;

fn wrong(given: &OsStr, why: &str, hint: &str) -> Failure {
    let given = given.to_string_lossy();
    Failure::input(format!("the key '{given}' {why}"), hint)
}

impl Keys {
    /// The bytes of a key.
    pub(crate) fn key(&self, given: &OsStr) -> Result<Vec<u8>, Failure> {
        self.bytes(given, true)
    }

    pub(crate) fn all(&self, given: &[OsString]) -> Result<Vec<Vec<u8>>, Failure> {
        given.iter().map(|one| self.key(one)).collect()
    }

    /// The bytes with which all the keys begin that are meant, or at which a range begins or ends.
    pub(crate) fn start_of(&self, given: Option<&OsStr>) -> Result<Option<Vec<u8>>, Failure> {
        given.map(|one| self.bytes(one, false)).transpose()
    }

    fn bytes(&self, given: &OsStr, whole: bool) -> Result<Vec<u8>, Failure> {
        match (&self.key_type, self.key_as.tried(given)?) {
            (Some(key_type), None) => {
                let value = self.key_as.value(given)?;
                let bytes = key_type.encode(&value, whole);
                bytes.map_err(|why| wrong(given, &format!("is none of this store: {why}"), TYPES))
            }
            (_, Some(bytes)) => Ok(bytes),
            (None, None) => Err(wrong(given, "has no bytes without a type", TYPES)),
        }
    }

    /// The value of a key that is shown as it is spelled; `None`: by its bytes.
    pub(crate) fn value(&self, key: &[u8]) -> Option<Value> {
        self.key_type.as_ref()?.decode(key)
    }

    /// A key for a line, which is yet to be escaped.
    pub(crate) fn line(&self, key: &[u8]) -> Vec<u8> {
        match self.value(key) {
            Some(value) => value.to_string().into_bytes(),
            None => key.to_vec(),
        }
    }

    /// A key for JSON.
    pub(crate) fn put(&self, object: &mut Map<String, Value>, key: &[u8]) {
        match self.value(key) {
            Some(value) => drop(object.insert("key".to_owned(), value)),
            None => put_bytes(object, "key", key),
        }
    }
}

const TYPES: &str = "`kvlog stats` and `kvlog keyspaces list` show the types";

/// The bytes of an argument.
#[cfg(unix)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere an argument may have no bytes"
)]
pub(crate) fn plain(given: &OsStr) -> Result<Vec<u8>, Failure> {
    Ok(std::os::unix::ffi::OsStrExt::as_bytes(given).to_vec())
}

/// The bytes of an argument. What is no Unicode has none that are the same on every system.
#[cfg(not(unix))]
pub(crate) fn plain(given: &OsStr) -> Result<Vec<u8>, Failure> {
    let text = given.to_str().ok_or_else(|| {
        let message = format!("'{}' is no Unicode", given.to_string_lossy());
        Failure::input(message, "spell keys with --key-as, and give values with -")
    })?;
    Ok(text.as_bytes().to_vec())
}

fn from_hex(text: &[u8]) -> Result<Vec<u8>, String> {
    let digit = |byte: &u8| {
        let digit = char::from(*byte).to_digit(16);
        let digit = digit.and_then(|value| u8::try_from(value).ok());
        digit.ok_or_else(|| format!("'{}' is no digit", byte.escape_ascii()))
    };
    let digits = text.iter().map(digit).collect::<Result<Vec<_>, _>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
    } else {
        Err(format!("{} digits are no whole bytes", digits.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(spelling: KeyAs, given: &str) -> Vec<u8> {
        spelling.tried(given.as_ref()).unwrap().unwrap()
    }

    #[test]
    fn every_byte_has_a_spelling() {
        let all: Vec<u8> = (0..=255).collect();
        let hex: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        for spelled in [hex.to_uppercase(), hex] {
            assert_eq!(bytes(KeyAs::Hex, &spelled), all);
        }
        let base64 = STANDARD.encode(&all);
        assert_eq!(bytes(KeyAs::Base64, &base64), all);
        for spelling in [KeyAs::Str, KeyAs::Hex, KeyAs::Base64] {
            assert_eq!(bytes(spelling, ""), b"");
        }
    }

    #[test]
    fn what_is_wrong_with_a_spelling_is_named() {
        let wrong = |spelling: KeyAs, given: &str| {
            let failure = spelling.tried(given.as_ref()).unwrap_err();
            (failure.message(), failure.hint())
        };
        assert_eq!(
            wrong(KeyAs::Hex, "0x1").0,
            "the key '0x1' is no hex: 'x' is no digit"
        );
        assert_eq!(
            wrong(KeyAs::Hex, "abc").0,
            "the key 'abc' is no hex: 3 digits are no whole bytes"
        );
        let (message, hint) = wrong(KeyAs::Base64, "YQ");
        assert_eq!(message, "the key 'YQ' is no base64: Invalid padding");
        assert!(hint.contains("--key-as base64"));
    }
}
