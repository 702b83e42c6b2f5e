//! Keys and values as they are spelled on the command line.

use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use std::ffi::OsStr;

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
}

impl KeyAs {
    pub(crate) fn bytes(self, given: &OsStr) -> Result<Vec<u8>, Failure> {
        let wrong = |why: String, hint: &str| {
            let given = given.to_string_lossy();
            Failure::input(format!("the key '{given}' {why}"), hint)
        };
        match self {
            Self::Str => plain(given),
            Self::Hex => from_hex(given.as_encoded_bytes()).map_err(|why| {
                let hint = "with --key-as hex a key is two digits of 0-9 and a-f for each byte";
                wrong(format!("is no hex: {why}"), hint)
            }),
            Self::Base64 => STANDARD.decode(given.as_encoded_bytes()).map_err(|error| {
                let why = error.to_string();
                let hint = "with --key-as base64 a key is spelled as key_b64 is, padding included";
                wrong(format!("is no base64: {}", why.trim_end_matches('.')), hint)
            }),
        }
    }

    pub(crate) fn all(self, given: &[impl AsRef<OsStr>]) -> Result<Vec<Vec<u8>>, Failure> {
        given.iter().map(|one| self.bytes(one.as_ref())).collect()
    }

    pub(crate) fn one(self, given: Option<&OsStr>) -> Result<Option<Vec<u8>>, Failure> {
        given.map(|one| self.bytes(one)).transpose()
    }
}

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

    #[test]
    fn every_byte_has_a_spelling() {
        let all: Vec<u8> = (0..=255).collect();
        let hex: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        for spelled in [hex.to_uppercase(), hex] {
            assert_eq!(KeyAs::Hex.bytes(spelled.as_ref()).unwrap(), all);
        }
        let base64 = STANDARD.encode(&all);
        assert_eq!(KeyAs::Base64.bytes(base64.as_ref()).unwrap(), all);
        for spelling in [KeyAs::Str, KeyAs::Hex, KeyAs::Base64] {
            assert_eq!(spelling.bytes("".as_ref()).unwrap(), b"");
        }
    }

    #[test]
    fn what_is_wrong_with_a_spelling_is_named() {
        let wrong = |spelling: KeyAs, given: &str| {
            let failure = spelling.bytes(given.as_ref()).unwrap_err();
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
