//! Ctrl-C as a wish: what is under way is ended where it can be, and what was done is kept.
//!
//! For commands that ask between two steps whether to go on. The others end as the system ends them, which costs nothing
//! that was called durable. A second signal ends the process at once in any case.

use crate::failure::Failure;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a shell says of a program that a signal has ended: this and the signal's number.
const BY_SIGNAL: i32 = 128;

#[derive(Debug, Default)]
pub(crate) struct Stop {
    /// The exit code of the signal that came, or 0.
    code: Arc<AtomicUsize>,
}

impl Stop {
    /// From here on a first signal is a wish.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let stop = Self::default();
        let watched = [SIGINT, SIGTERM]
            .into_iter()
            .try_for_each(|signal| stop.listen(signal));
        watched.map_err(|source| Failure::stream("cannot watch for Ctrl-C", source))?;
        Ok(stop)
    }

    fn listen(&self, signal: i32) -> io::Result<()> {
        let code = BY_SIGNAL + signal;
        let before = Arc::new(AtomicBool::new(false));
        // They are called in this order: only the second signal finds the mark of the first.
        flag::register_conditional_shutdown(signal, code, Arc::clone(&before))?;
        flag::register(signal, before)?;
        let code = usize::try_from(code).unwrap_or_default();
        flag::register_usize(signal, Arc::clone(&self.code), code)?;
        Ok(())
    }

    /// The exit code to end with, once a signal came.
    pub(crate) fn wished(&self) -> Option<u8> {
        let code = self.code.load(Ordering::Relaxed);
        u8::try_from(code).ok().filter(|code| *code > 0)
    }

    /// As if a signal came.
    #[cfg(test)]
    pub(crate) fn wish(&self, code: u8) {
        self.code.store(code.into(), Ordering::Relaxed);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// One signal each: a second would end the tests.
    #[test]
    fn a_first_signal_is_a_wish_and_has_the_exit_code_of_its_shell() {
        for (signal, code) in [(SIGINT, 130), (SIGTERM, 143)] {
            let stop = Stop::default();
            stop.listen(signal).unwrap();
            assert_eq!(stop.wished(), None);
            signal_hook::low_level::raise(signal).unwrap();
            assert_eq!(stop.wished(), Some(code));
        }
    }
}
