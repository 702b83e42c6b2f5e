//! From an error to one line, or one JSON object, and an exit code.

use kv_trait::{Effect, Error, ErrorKind};
use std::error::Error as _;
use std::io;
use std::process::ExitCode;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store said no.
    Store(Error),
    /// Standard input, standard output or a file beside the store failed.
    Stream { what: String, source: io::Error },
    /// What was given is wrong.
    Input { message: String, hint: String },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    pub(crate) fn stream(what: impl Into<String>, source: io::Error) -> Self {
        Self::Stream {
            what: what.into(),
            source,
        }
    }

    pub(crate) fn input(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A reader that went away is no failure.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    fn message(&self) -> String {
        match self {
            Self::Store(error) => {
                let mut message = error.to_string();
                let mut cause = error.source();
                while let Some(source) = cause {
                    message = format!("{message}: {source}");
                    cause = source.source();
                }
                message
            }
            Self::Stream { what, source } => format!("{what}: {source}"),
            Self::Input { message, .. } => message.clone(),
        }
    }

    fn hint(&self) -> &str {
        match self {
            Self::Store(error) => error.kind().advice(),
            Self::Stream { .. } => ErrorKind::Io.advice(),
            Self::Input { hint, .. } => hint,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Store(error) => error.kind().as_str(),
            Self::Stream { .. } => ErrorKind::Io.as_str(),
            Self::Input { .. } => ErrorKind::InvalidInput.as_str(),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Store(error) if error.effect() == Effect::Unknown => 5,
            Self::Store(error) => match error.kind() {
                ErrorKind::InvalidInput | ErrorKind::TooLarge | ErrorKind::Codec => 2,
                ErrorKind::Corrupt => 3,
                _ => 4,
            },
            Self::Stream { .. } => 4,
            Self::Input { .. } => 2,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    pub(crate) fn to_line(&self) -> String {
        let message: String = self
            .message()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        format!("kvlog: {message} ({})", self.hint())
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::json!({
            "error": {
                "code": self.code(),
                "kind": self.kind(),
                "message": self.message(),
                "hint": self.hint(),
            }
        })
        .to_string()
    }
}
