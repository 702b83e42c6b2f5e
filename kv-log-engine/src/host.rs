//! Time, randomness and identity: what the engine takes from the machine, as a parameter.
//!
//! With [`SimHost`] and the simulated disk a run depends on nothing but its seed.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The machine, as far as the engine asks it anything besides files.
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// Milliseconds since 1970 began (UTC), as the wall clock says. What expires goes by it; it may go back,
    /// and values that have been seen to be gone stay gone.
    fn unix_ms(&self) -> u64;

    /// The number of this process: another one in a forked child.
    fn process_id(&self) -> u32;

    /// Tells this process from any other that has its number now, as in another container, or had it before: no other
    /// process is likely to answer the same. Another one in a forked child.
    fn process_key(&self) -> u64;

    /// Random bits that nobody can guess: they become salts.
    ///
    /// # Errors
    /// The operating system has none to give.
    fn random(&self) -> std::io::Result<[u8; 16]>;
}

/// The random part of this process's key.
static PROCESS_KEYS: OnceLock<RandomState> = OnceLock::new();

/// The real machine.
#[derive(Clone, Copy, Debug)]
pub struct OsHost {
    start: Instant,
}

impl OsHost {
    /// A host whose [`Host::now`] counts from here.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where real time enters"
    )]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for OsHost {
    fn default() -> Self {
        Self::new()
    }
}

impl Host for OsHost {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the wall clock enters"
    )]
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }

    /// A forked child inherits the random part, and has a number of its own.
    fn process_key(&self) -> u64 {
        let keys = PROCESS_KEYS.get_or_init(RandomState::new);
        keys.hash_one(self.process_id())
    }

    fn random(&self) -> std::io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(bytes)
    }
}

/// A machine for tests: time moves by one microsecond at each look, the wall clock when it is set, random bits follow from
/// a seed.
#[derive(Debug)]
pub struct SimHost {
    ticks: AtomicU64,
    unix_ms: AtomicU64,
    random: AtomicU64,
    process_id: AtomicU64,
}

impl SimHost {
    /// A host whose random bits follow from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            ticks: AtomicU64::new(0),
            unix_ms: AtomicU64::new(1_700_000_000_000),
            random: AtomicU64::new(seed),
            process_id: AtomicU64::new(1),
        }
    }

    /// What a fork does to the number of the process.
    pub fn set_process_id(&self, process_id: u32) {
        self.process_id.store(process_id.into(), Ordering::SeqCst);
    }

    /// Sets the wall clock, to the past as well.
    pub fn set_unix_ms(&self, unix_ms: u64) {
        self.unix_ms.store(unix_ms, Ordering::SeqCst);
    }

    /// Lets this much time pass, in whole microseconds; the wall clock stays.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.ticks.fetch_add(micros, Ordering::SeqCst);
    }

    fn next_random(&self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let mut z = self
            .random
            .fetch_add(step, Ordering::SeqCst)
            .wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Host for SimHost {
    fn now(&self) -> Duration {
        Duration::from_micros(self.ticks.fetch_add(1, Ordering::SeqCst))
    }

    fn unix_ms(&self) -> u64 {
        self.unix_ms.load(Ordering::SeqCst)
    }

    fn process_id(&self) -> u32 {
        u32::try_from(self.process_id.load(Ordering::SeqCst)).unwrap_or(u32::MAX)
    }

    /// All simulated hosts with one number are one process.
    fn process_key(&self) -> u64 {
        self.process_id.load(Ordering::SeqCst)
    }

    fn random(&self) -> std::io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next_random().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next_random().to_le_bytes());
        Ok(bytes)
    }
}
