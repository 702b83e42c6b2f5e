//! Bytes out: exact to a pipe, escaped to a terminal, or as JSON.

use crate::failure::Failure;
use crate::startup::stdout_was_closed;
use crate::text::{escaped, harmless, harmless_json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};
use std::path::Path;

/// Standard output.
pub(crate) struct Output {
    stream: BufWriter<StdoutLock<'static>>,
    terminal: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        Self {
            stream: BufWriter::new(stdout.lock()),
            terminal,
        }
    }

    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        refuse_closed()?;
        self.stream.write_all(bytes).map_err(cannot_write)
    }

    /// Bytes for people: a terminal must not be commanded by what a store holds.
    pub(crate) fn shown(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.terminal {
            self.bytes(escaped(bytes).as_bytes())
        } else {
            self.bytes(bytes)
        }
    }

    /// What belongs together, such as a key and its value, on one line with tabs between. Always escaped: tabs and newlines
    /// inside would make lines that lie.
    pub(crate) fn fields<'a>(
        &mut self,
        fields: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Failure> {
        for (at, field) in fields.into_iter().enumerate() {
            if at > 0 {
                self.bytes(b"\t")?;
            }
            self.bytes(escaped(field).as_bytes())?;
        }
        self.bytes(b"\n")
    }

    /// Each of these with a zero byte behind it.
    pub(crate) fn ended<'a>(
        &mut self,
        all: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Failure> {
        for one in all {
            self.shown(one)?;
            self.bytes(b"\0")?;
        }
        Ok(())
    }

    /// A line in our own words, which may name files.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(harmless(text).as_bytes())?;
        self.bytes(b"\n")
    }

    pub(crate) fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.bytes(harmless_json(&value.to_string()).as_bytes())?;
        self.bytes(b"\n")
    }

    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.stream.flush().map_err(cannot_write)
    }
}

/// Bytes for a standard output that is closed would be lost without an error.
pub(crate) fn refuse_closed() -> Result<(), Failure> {
    if stdout_was_closed() {
        return Err(cannot_write(std::io::Error::other("it is closed")));
    }
    Ok(())
}

pub(crate) fn cannot_write(source: std::io::Error) -> Failure {
    Failure::stream("cannot write to standard output", source)
}

/// `name`: the text, or `name_b64`: base64 where the bytes are no UTF-8. Two names, so that nobody guesses.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), Value::from(text)),
        Err(_) => object.insert(format!("{name}_b64"), Value::from(STANDARD.encode(bytes))),
    };
}

/// The same for a path.
pub(crate) fn put_path(object: &mut Map<String, Value>, name: &str, path: &Path) {
    put_bytes(object, name, path.as_os_str().as_encoded_bytes());
}

/// The object with where it is about.
pub(crate) fn at_path(path: &Path, value: Value) -> Value {
    let mut object = Map::new();
    put_path(&mut object, "path", path);
    if let Value::Object(fields) = value {
        object.extend(fields);
    }
    Value::Object(object)
}

/// A key and a value as `import` reads them.
pub(crate) fn record(key: &[u8], value: &[u8]) -> Map<String, Value> {
    let mut object = Map::new();
    put_bytes(&mut object, "key", key);
    put_bytes(&mut object, "value", value);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_have_another_name() {
        assert_eq!(
            Value::Object(record(b"k", b"\xff")).to_string(),
            r#"{"key":"k","value_b64":"/w=="}"#
        );
    }
}
