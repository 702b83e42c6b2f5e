//! Whether a history can be.

use super::call::{Call, State};
use super::commits;
use super::search::{Found, search};
use crate::fixture::Key;
use crate::shown::Text;
use std::collections::{BTreeMap, BTreeSet};

/// What is said of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever asks handles all three")]
pub enum Verdict {
    /// There is an order that explains it.
    Fits,
    /// There is none: the store is wrong. Says what cannot be explained.
    Broken(String),
    /// None was found within the bound, which proves nothing. Fewer calls at once, or fewer of unknown effect, help.
    GaveUp,
}

/// Whether each key by itself behaves as if its calls happened one after the other. The store
/// held `initial` at the start.
///
/// Keys are judged one by one, which is far less work than to judge them together, and as much where each call is about
/// one. Of a call about several keys each is judged by itself, and of scans nothing: that they are whole is for
/// [`serializable`]. `steps_max` bounds the work and the memory for each key.
#[must_use]
pub fn linearizable(initial: &BTreeMap<Key, Vec<u8>>, calls: &[Call], steps_max: u64) -> Verdict {
    let keys: BTreeSet<&Key> = calls.iter().flat_map(Call::keys).collect();
    let mut verdict = Verdict::Fits;
    for key in keys {
        let own: Vec<Call> = calls.iter().filter_map(|call| call.of_key(key)).collect();
        let held = initial.get_key_value(key);
        let held = held.map(|(key, value)| (key.clone(), value.clone()));
        match searched(&held.into_iter().collect(), &own, steps_max) {
            Verdict::Fits => {}
            Verdict::Broken(why) => return Verdict::Broken(format!("key {}: {why}", Text(key))),
            Verdict::GaveUp => verdict = Verdict::GaveUp,
        }
    }
    verdict
}

/// Whether all calls, of whatever many keys and intervals, behave as if they happened one after the other, whole. The
/// store held `initial` at the start.
///
/// Real time counts: this is strict serializability. Where every call that writes tells its version and surely happened,
/// that is the order, and is checked as it is; else an order is searched for, in `steps_max` steps at most.
#[must_use]
pub fn serializable(initial: &BTreeMap<Key, Vec<u8>>, calls: &[Call], steps_max: u64) -> Verdict {
    match commits::by_version(calls) {
        Some(writers) => match commits::check(initial, calls, &writers) {
            Ok(()) => Verdict::Fits,
            Err(why) => Verdict::Broken(why),
        },
        None => searched(initial, calls, steps_max),
    }
}

/// Judges a history for a test.
///
/// # Panics
/// If it is broken or cannot be judged; `what` and the reason are in the message.
pub fn assert_fits(verdict: Verdict, what: &str) {
    match verdict {
        Verdict::Fits => {}
        Verdict::Broken(why) => panic!("{what}: no order of the calls explains them: {why}"),
        Verdict::GaveUp => panic!("{what}: the history is too large to be judged"),
    }
}

fn searched(initial: &State, calls: &[Call], steps_max: u64) -> Verdict {
    match search(initial.clone(), calls, steps_max) {
        Found::Order => Verdict::Fits,
        Found::GaveUp => Verdict::GaveUp,
        Found::None { explained, stuck } => Verdict::Broken(format!(
            "the longest order has {explained} of {} calls, and no place for {}",
            calls.len(),
            calls[stuck]
        )),
    }
}

#[cfg(test)]
mod tests;
