//! The store's clock, by which values expire: the wall clock, kept from going back.
//!
//! It never reads less than it read before in this process, nor less than what merges have dropped by, which the manifest
//! records: what was dropped for good is expired by every later reading, and so is all that had to be gone with it. Beyond
//! that a restart believes the wall clock, so that one that was wrong for a while does not hold the store for ever.
//!
//! One reading serves a whole view, group or unit; each that is handed a later point of the order of writes has a reading
//! that is not lower.

use crate::host::Host;
use kv_trait::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What the format has for "never".
const NEVER_MS: u64 = u64::MAX;

/// The clock of one open store.
#[derive(Debug)]
pub(crate) struct Clock {
    host: Arc<dyn Host>,
    /// The highest reading so far, or what the manifest records.
    floor_ms: AtomicU64,
    /// Something in the store expires. Never unset: before, nobody need ask what time it is.
    is_used: AtomicBool,
}

impl Clock {
    /// A clock that reads `recorded_ms` at least.
    pub(crate) fn new(host: Arc<dyn Host>, recorded_ms: u64) -> Self {
        Self {
            host,
            floor_ms: AtomicU64::new(recorded_ms),
            is_used: AtomicBool::new(false),
        }
    }

    /// From here on something expires. Said before anybody can find it.
    pub(crate) fn note_use(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::SeqCst);
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        let wall_ms = self.host.unix_ms();
        if planted!(ClockGoesBack) {
            return wall_ms;
        }
        // Most readings are within the millisecond of another: no write that all cores would see.
        let floor_ms = self.floor_ms.load(Ordering::Acquire);
        if wall_ms <= floor_ms {
            return floor_ms;
        }
        let before_ms = self.floor_ms.fetch_max(wall_ms, Ordering::AcqRel);
        before_ms.max(wall_ms)
    }

    /// The same for whoever only asks what has expired: where nothing can have, 0, and nobody is asked.
    pub(crate) fn reading_ms(&self) -> u64 {
        if self.is_used.load(Ordering::SeqCst) {
            self.now_ms()
        } else {
            0
        }
    }

    /// The moment so long from now.
    ///
    /// # Errors
    /// `InvalidInput`: it is beyond what can be said.
    pub(crate) fn after(&self, ttl: Duration) -> Result<u64> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(NEVER_MS);
        let expiry_ms = self.now_ms().saturating_add(ttl_ms);
        check_expiry(expiry_ms).map(|()| expiry_ms)
    }
}

/// Whether a record can say so.
///
/// # Errors
/// `InvalidInput`.
pub(crate) fn check_expiry(expiry_ms: u64) -> Result<()> {
    if expiry_ms < NEVER_MS {
        return Ok(());
    }
    let message = "a value cannot expire so late; store it without an end";
    Err(Error::new(ErrorKind::InvalidInput, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::SimHost;

    #[test]
    fn the_clock_does_not_go_back_and_a_store_that_does_not_use_it_is_not_asked() {
        let host = Arc::new(SimHost::new(1));
        let clock = Clock::new(Arc::clone(&host) as Arc<dyn Host>, 5_000);
        host.set_unix_ms(4_000);
        assert_eq!((clock.reading_ms(), clock.now_ms()), (0, 5_000));
        clock.note_use();
        for (wall_ms, reads) in [(4_000, 5_000), (6_000, 6_000), (1, 6_000), (6_001, 6_001)] {
            host.set_unix_ms(wall_ms);
            assert_eq!(clock.reading_ms(), reads);
        }
    }

    #[test]
    fn a_time_to_live_beyond_the_clock_is_refused() {
        let clock = Clock::new(Arc::new(SimHost::new(1)), u64::MAX - 10);
        assert_eq!(clock.after(Duration::from_millis(9)).unwrap(), u64::MAX - 1);
        for ttl in [Duration::from_millis(10), Duration::MAX] {
            assert_eq!(
                clock.after(ttl).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
        }
    }
}
