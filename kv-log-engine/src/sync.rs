//! The primitives that waiting is built on: the standard library's, or loom's when its model checker runs.
//!
//! `commit` uses nothing else to share state, so the model checks the code that ships.

#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::thread::{ThreadId, current, yield_now};

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(loom)]
pub(crate) use loom::thread::{ThreadId, current, yield_now};

use std::sync::PoisonError;
use std::time::Duration;

/// Locks. A panic of another holder does not matter: what these locks guard is valid between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same for locks that the model checker does not look at.
#[cfg_attr(
    not(loom),
    expect(
        unused_qualifications,
        reason = "under loom the short names are loom's"
    )
)]
pub(crate) fn lock_std<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits to be notified, or for no reason at all.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits to be notified, at most about this long.
pub(crate) fn wait_for<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    at_most: Duration,
) -> MutexGuard<'a, T> {
    condvar
        .wait_timeout(guard, at_most)
        .unwrap_or_else(PoisonError::into_inner)
        .0
}
