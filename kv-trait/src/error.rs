//! The one error type, and what it says about the write it belongs to.
//!
//! An [`Error`] answers three questions: what should the caller do next ([`Error::kind`]), what became of the
//! write ([`Error::effect`]), and what exactly happened ([`fmt::Display`] and [`std::error::Error::source`]).
//! It is one word wide and cheap to clone, because one failed sync has to reach every waiter of its group.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of an operation on a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error says about the write it belongs to. For errors of reads it is always [`Effect::Nothing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "callers must be able to handle every effect; there is no fourth"
)]
pub enum Effect {
    /// The write did not happen, and will not be in any later state of the store.
    Nothing,
    /// Whether the write happened is known only after the store was opened again. It is whole or absent, never half.
    Unknown,
    /// The write is durable and visible; only the answer (a prior value, say) could not be produced.
    Applied,
}

impl Effect {
    /// The word used in messages and in JSON: `nothing`, `unknown` or `applied`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Unknown => "unknown",
            Self::Applied => "applied",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the caller can do about an error. Few on purpose: each kind is a different next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is wrong: fix the call.
    InvalidInput,
    /// A key, value or batch is longer than the limits allow: make it smaller.
    TooLarge,
    /// A precondition of the batch did not hold: read again and decide anew.
    Conflict,
    /// A scan or snapshot was ended, because it was open for too long or kept too much: begin a new one.
    TooOld,
    /// There is no store at this path (or this is something else): check the path, or create one.
    NotFound,
    /// Another handle, here or in another process, owns the store: close it or wait.
    Locked,
    /// Bytes on disk are not what was written: run `verify`, restore from a backup.
    Corrupt,
    /// The disk is full: make room. The store takes writes again by itself.
    StorageFull,
    /// The operating system refused or failed an operation: look at the cause.
    Io,
    /// An earlier write or sync failed in a way that forbids more writes: close and reopen the store.
    Poisoned,
    /// The store is closed or closing: open it again.
    Closed,
    /// The files need a newer version of this library, or other codecs than the caller chose.
    UnsupportedFormat,
    /// A key or value could not be encoded or decoded: check the types.
    Codec,
    /// There is no runtime here, it is shutting down, the system has no thread for it, or the work on it panicked: the message
    /// says which. Call from inside a running runtime.
    Unavailable,
}

impl ErrorKind {
    /// A stable word for logs and JSON, for example `storage_full`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::TooLarge => "too_large",
            Self::Conflict => "conflict",
            Self::TooOld => "too_old",
            Self::NotFound => "not_found",
            Self::Locked => "locked",
            Self::Corrupt => "corrupt",
            Self::StorageFull => "storage_full",
            Self::Io => "io",
            Self::Poisoned => "poisoned",
            Self::Closed => "closed",
            Self::UnsupportedFormat => "unsupported_format",
            Self::Codec => "codec",
            Self::Unavailable => "unavailable",
        }
    }

    /// One sentence that tells what to do next.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::InvalidInput => "fix the argument and call again",
            Self::TooLarge => "split it or make it smaller",
            Self::Conflict => "read the current state and decide again",
            Self::TooOld => "begin a new scan or snapshot, and end it sooner",
            Self::NotFound => "check the path, or create a store there first",
            Self::Locked => "close the other handle or process, or open with a lock timeout",
            Self::Corrupt => "run `kvlog verify`, then restore a backup; keep the damaged files",
            Self::StorageFull => "free some space; the store takes writes again by itself",
            Self::Io => "look at the cause, mend it, and try again",
            Self::Poisoned => "close the store and open it again; recovery decides what survived",
            Self::Closed => "open the store again",
            Self::UnsupportedFormat => "use the version and the types this store was made with",
            Self::Codec => "check that the types are the ones this store was made with",
            Self::Unavailable => "call from inside a running async runtime",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong, what became of the write, and what to do next.
///
/// One word wide, [`Clone`], `Send + Sync + 'static`. The message is for people: programs use [`Error::kind`] and
/// [`Error::effect`].
///
/// `{}` shows the message and, behind colons, every cause of it: "cannot sync /db" alone would hide "too many open files".
/// A reporter that walks [`std::error::Error::source`] itself would say the causes twice: give it [`Error::message`].
///
/// ```
/// use kv_trait::{Effect, Error, ErrorKind};
///
/// /// What a caller may tell its own caller.
/// fn outcome(written: Result<(), Error>) -> &'static str {
///     match written {
///         Ok(()) => "stored",
///         Err(error) => match error.effect() {
///             Effect::Applied => "stored",
///             Effect::Nothing if error.kind() == ErrorKind::StorageFull => "not stored, try again later",
///             Effect::Nothing => "not stored",
///             Effect::Unknown => "nobody knows before the store was opened again",
///         },
///     }
/// }
///
/// let full = Error::new(ErrorKind::StorageFull, "no space left on the device");
/// assert_eq!(outcome(Err(full.clone())), "not stored, try again later");
/// // The same cause, met by a sync instead of a write.
/// let in_doubt = full.with_effect(Effect::Unknown);
/// assert_eq!(outcome(Err(in_doubt)), "nobody knows before the store was opened again");
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    effect: Effect,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync + 'static>>,
}

impl Error {
    /// An error with effect [`Effect::Nothing`]. Messages are lower case, without a full stop.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            effect: Effect::Nothing,
            message: message.into(),
            source: None,
        }))
    }

    /// The same error with another effect.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        Arc::make_mut(&mut self.0).effect = effect;
        self
    }

    /// The same error with a cause, reached through [`std::error::Error::source`].
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync + 'static>>,
    ) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::from(source.into()));
        self
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What became of the write.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// What went wrong, without its causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

/// The message, then its causes, each behind a colon.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut cause = self.source();
        while let Some(source) = cause {
            write!(f, ": {source}")?;
            // An error of this type has said its own causes.
            cause = if source.is::<Self>() {
                None
            } else {
                source.source()
            };
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("effect", &self.0.effect)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_one_word_and_crosses_threads() {
        fn crosses<T: Send + Sync + Clone + 'static>() {}
        crosses::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Option<Error>>(), size_of::<usize>());
    }

    #[test]
    fn a_changed_copy_leaves_the_original_alone() {
        let original =
            Error::new(ErrorKind::Io, "sync of segment 1 failed").with_effect(Effect::Unknown);
        let refused = original.clone().with_effect(Effect::Nothing);
        assert_eq!(original.effect(), Effect::Unknown);
        assert_eq!(refused.effect(), Effect::Nothing);
        assert_eq!(refused.to_string(), original.to_string());
    }

    #[test]
    fn an_error_shows_each_of_its_causes_once() {
        let refused = std::io::Error::other("too many open files");
        let failed = Error::new(ErrorKind::Io, "cannot sync /db").with_source(refused);
        let poisoned = Error::new(ErrorKind::Poisoned, "no more writes").with_source(failed);
        assert_eq!(
            poisoned.to_string(),
            "no more writes: cannot sync /db: too many open files"
        );
        assert_eq!(poisoned.message(), "no more writes");
        let foreign = Error::new(ErrorKind::Codec, "cannot decode").with_source(Outer(Inmost));
        assert_eq!(foreign.to_string(), "cannot decode: outer: inmost");
    }

    #[derive(Debug)]
    struct Outer(Inmost);
    #[derive(Debug)]
    struct Inmost;

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }
    impl fmt::Display for Inmost {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("inmost")
        }
    }
    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }
    impl StdError for Inmost {}

    #[test]
    fn the_cause_is_reached_through_source() {
        let error =
            Error::new(ErrorKind::Io, "cannot read").with_source(std::io::Error::other("gone"));
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("gone")
        );
    }
}
