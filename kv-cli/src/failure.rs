//! From an error to one line, or one JSON object, and an exit code.

use crate::text::counted;
use kv_trait::{Effect, Error, ErrorKind};
use std::io;
use std::process::ExitCode;

/// What a shell says of a program that SIGPIPE has ended.
const SIGPIPE: u8 = 128 + 13;
const DO_NOT_REPEAT: &str = "it is done: do not repeat it";

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store said no.
    Store {
        error: Error,
        /// What helps here, where the kind of the error alone does not tell.
        hint: Option<&'static str>,
    },
    /// Standard input, standard output or a file beside the store failed.
    Stream { what: String, source: io::Error },
    /// What was given is wrong.
    Input { message: String, hint: String },
    /// The command line was not understood, in the parser's words.
    Usage(String),
    /// What writes one thing after the other ended early; what it wrote before stays.
    Partly {
        done: String,
        /// How many, and what the report would have called them.
        count: (&'static str, u64),
        cause: Box<Self>,
    },
    /// Everything was written and is durable; the close or the report after it failed.
    Done {
        what: String,
        /// The number that the report would have had, and its name.
        count: Option<(&'static str, u64)>,
        cause: Box<Self>,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store { error, hint: None }
    }
}

impl Failure {
    /// The failure of an import that had written so many records.
    pub(crate) fn of_import(durable: u64, cause: Self) -> Self {
        Self::Partly {
            done: counted(durable, "record"),
            count: ("imported", durable),
            cause: Box::new(cause),
        }
    }

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

    /// The failure of what comes after a write that `what` tells of. A close that finds the store gone takes back what was
    /// told before.
    pub(crate) fn after(self, what: impl Into<String>, count: Option<(&'static str, u64)>) -> Self {
        if self.lost_the_store() {
            return self;
        }
        Self::Done {
            what: what.into(),
            count,
            cause: Box::new(self),
        }
    }

    /// The exit code if nothing failed but that the reader of the output went away: there is nobody to tell. What changed
    /// the store is done, whoever hears of it; where the output was all there was to do, the code is that of the other
    /// programs, which SIGPIPE ends.
    pub(crate) fn without_reader(&self) -> Option<ExitCode> {
        let broken = |source: &io::Error| source.kind() == io::ErrorKind::BrokenPipe;
        match self {
            Self::Stream { source, .. } if broken(source) => Some(ExitCode::from(SIGPIPE)),
            Self::Done { cause, .. } => cause.without_reader().map(|_| ExitCode::SUCCESS),
            _ => None,
        }
    }

    /// What became of the write that failed; of reads it is *nothing*.
    fn effect(&self) -> Effect {
        match self {
            Self::Store { error, .. } => error.effect(),
            Self::Stream { .. } | Self::Input { .. } | Self::Usage(_) => Effect::Nothing,
            Self::Partly { cause, .. } => cause.effect(),
            Self::Done { .. } => Effect::Applied,
        }
    }

    pub(crate) fn message(&self) -> String {
        match self {
            Self::Store { error, .. } => {
                let became = match error.effect() {
                    Effect::Nothing => "",
                    Effect::Unknown => "; whether it was written is unknown",
                    Effect::Applied => "; it was written all the same, and is durable",
                };
                error.to_string() + became
            }
            Self::Stream { what, source } => format!("{what}: {source}"),
            Self::Input { message, .. } => message.clone(),
            Self::Usage(text) => {
                let first = text.split("\n\n").next().unwrap_or_default();
                on_one_line(first.strip_prefix("error:").unwrap_or(first))
            }
            Self::Partly { done, cause, .. } => {
                let wrong = cause.message();
                if cause.lost_the_store() {
                    format!(
                        "{wrong}; what came before it, {done}, went with the store that was there"
                    )
                } else {
                    format!("{wrong}; what came before it is durable: {done}")
                }
            }
            Self::Done { what, cause, .. } => format!("{}; {what}", cause.message()),
        }
    }

    /// Somebody removed the store, or put another in its place, while it was written: what was durable in it is where its
    /// files are.
    fn lost_the_store(&self) -> bool {
        matches!(self, Self::Store { error, .. }
            if error.kind() == ErrorKind::Locked && error.effect() == Effect::Unknown)
    }

    /// Whether something was not there that was asked for by name.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Store { error, .. } if error.kind() == ErrorKind::NotFound)
    }

    /// Whether it says only that something failed before.
    pub(crate) fn is_consequence(&self) -> bool {
        matches!(self, Self::Store { error, .. } if error.kind() == ErrorKind::Poisoned)
    }

    pub(crate) fn hint(&self) -> String {
        match self {
            _ if self.lost_the_store() => {
                "find out who moved or removed it, and look at what is there now".to_owned()
            }
            Self::Store { error, hint } => match error.effect() {
                Effect::Nothing => hint.unwrap_or_else(|| advice(error.kind())),
                Effect::Unknown => {
                    "read what is there before trying again: it was written whole or not at all"
                }
                Effect::Applied => DO_NOT_REPEAT,
            }
            .to_owned(),
            Self::Stream { .. } => ErrorKind::Io.advice().to_owned(),
            Self::Input { hint, .. } => hint.clone(),
            Self::Usage(text) => text
                .split_once("\n\n")
                .map_or_else(String::new, |(_, rest)| on_one_line(rest)),
            Self::Partly { cause, .. } => cause.hint(),
            Self::Done { .. } => DO_NOT_REPEAT.to_owned(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Store { error, .. } => error.kind().as_str(),
            Self::Stream { .. } => ErrorKind::Io.as_str(),
            Self::Input { .. } | Self::Usage(_) => ErrorKind::InvalidInput.as_str(),
            Self::Partly { cause, .. } | Self::Done { cause, .. } => cause.kind(),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Store { error, .. } if error.effect() == Effect::Unknown => 5,
            Self::Store { error, .. } => match error.kind() {
                ErrorKind::InvalidInput | ErrorKind::TooLarge | ErrorKind::Codec => 2,
                ErrorKind::Corrupt => 3,
                _ => 4,
            },
            Self::Stream { .. } => 4,
            Self::Input { .. } | Self::Usage(_) => 2,
            Self::Partly { cause, .. } | Self::Done { cause, .. } => cause.code(),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    pub(crate) fn to_json(&self) -> String {
        let mut error = serde_json::json!({
            "code": self.code(),
            "kind": self.kind(),
            "effect": self.effect().as_str(),
            "message": self.message(),
            "hint": self.hint(),
        });
        let count = match self {
            Self::Partly { count, .. } => Some(*count),
            Self::Done { count, .. } => *count,
            _ => None,
        };
        if let Some((name, number)) = count {
            error[name] = number.into();
        }
        serde_json::json!({ "error": error }).to_string()
    }
}

/// The contract's advice is for programs: it cannot name a command or an option.
const fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Locked => "end the other process, or wait for it with --lock-timeout",
        ErrorKind::TooOld => "begin anew",
        ErrorKind::NotFound => "check the path, or create a store there with `kvlog init`",
        ErrorKind::Corrupt => {
            "`kvlog verify` names all damage and the keys at risk; keep the files as they are, and restore a backup"
        }
        ErrorKind::StorageFull => "free some space, and try again",
        ErrorKind::UnsupportedFormat => "use the version that this store was made with",
        kind => kind.advice(),
    }
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_has_its_own_exit_code_whatever_failed() {
        let failed = Error::new(ErrorKind::Io, "cannot sync 00000001.seg");
        let unknown = Failure::from(failed.clone().with_effect(Effect::Unknown));
        assert_eq!((Failure::from(failed).code(), unknown.code()), (4, 5));
        let import = Failure::of_import(7, unknown);
        assert_eq!(import.code(), 5);
        assert!(
            import
                .message()
                .ends_with("; what came before it is durable: 7 records")
        );
    }

    #[test]
    fn what_became_of_a_write_is_told_in_words_and_in_json() {
        let failed = |effect| {
            let error = Error::new(ErrorKind::Io, "cannot read 00000001.seg").with_effect(effect);
            let import = Failure::of_import(7, Failure::from(error.clone()));
            [Failure::from(error), import].map(|failure| {
                let json: serde_json::Value = serde_json::from_str(&failure.to_json()).unwrap();
                assert_eq!(json["error"]["message"], failure.message());
                assert_eq!(json["error"]["hint"], failure.hint());
                let imported = json["error"]["imported"].clone();
                assert_eq!(json["error"]["effect"], effect.as_str());
                (failure.code(), failure.message(), failure.hint(), imported)
            })
        };
        let [one, import] = failed(Effect::Unknown);
        assert_eq!((one.0, import.0), (5, 5));
        assert_eq!(
            one.1,
            "cannot read 00000001.seg; whether it was written is unknown"
        );
        assert!(one.2.starts_with("read what is there before trying again"));
        assert_eq!(
            import.1,
            one.1 + "; what came before it is durable: 7 records"
        );
        assert_eq!((import.2, import.3), (one.2, 7.into()));
        let [one, _] = failed(Effect::Applied);
        assert_eq!(one.0, 4);
        assert!(
            one.1
                .ends_with("; it was written all the same, and is durable")
        );
        assert_eq!(one.2, DO_NOT_REPEAT);
        let [one, import] = failed(Effect::Nothing);
        assert_eq!(one.1, "cannot read 00000001.seg");
        assert_eq!(one.2, ErrorKind::Io.advice());
        assert_eq!((one.3, import.3), (serde_json::Value::Null, 7.into()));
    }

    #[test]
    fn the_kinds_of_errors_have_their_exit_codes() {
        let code = |kind| Failure::from(Error::new(kind, "")).code();
        for kind in [
            ErrorKind::InvalidInput,
            ErrorKind::TooLarge,
            ErrorKind::Codec,
        ] {
            assert_eq!(code(kind), 2, "{kind}");
        }
        assert_eq!(code(ErrorKind::Corrupt), 3);
        for kind in [
            ErrorKind::Conflict,
            ErrorKind::TooOld,
            ErrorKind::NotFound,
            ErrorKind::Locked,
            ErrorKind::StorageFull,
            ErrorKind::Io,
            ErrorKind::Poisoned,
            ErrorKind::Closed,
            ErrorKind::UnsupportedFormat,
            ErrorKind::Unavailable,
        ] {
            assert_eq!(code(kind), 4, "{kind}");
        }
    }

    #[test]
    fn the_parsers_words_are_one_line_and_a_hint() {
        let failure = Failure::Usage(
            "error: these were not provided:\n  <KEY>\n\nUsage: kvlog\n\nFor more, ask.\n"
                .to_owned(),
        );
        assert_eq!(failure.message(), "these were not provided: <KEY>");
        assert_eq!(failure.hint(), "Usage: kvlog For more, ask.");
        assert_eq!(failure.code(), 2);
    }
}
