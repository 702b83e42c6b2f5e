//! The check in the order that the store tells: by the versions of what was written.
//!
//! It needs no search, and its message names the first call that the order does not explain.

use super::call::{Call, Certainty, State};
use std::collections::BTreeSet;

/// The calls that write, by version; `None` where one of them has no version or need not have happened.
pub(super) fn by_version(calls: &[Call]) -> Option<Vec<&Call>> {
    let mut writers: Vec<&Call> = calls.iter().filter(|call| !call.only_reads()).collect();
    let told = writers
        .iter()
        .all(|call| call.version.is_some() && call.certainty == Certainty::Surely);
    writers.sort_by_key(|call| call.version);
    told.then_some(writers)
}

/// Replays the writers in their order and looks for a place for each call that only reads.
pub(super) fn check(initial: &State, calls: &[Call], writers: &[&Call]) -> Result<(), String> {
    let versions: BTreeSet<_> = writers.iter().map(|call| call.version).collect();
    if versions.len() < writers.len() {
        return Err("two calls say that they are the same version".to_owned());
    }
    let mut newest = 0;
    for (place, call) in writers.iter().enumerate() {
        if call.ended < newest {
            let begun_later = writers[..place].iter().max_by_key(|call| call.began);
            return Err(format!(
                "{call}, but that ended before this began, which has a lower version: {}",
                begun_later.expect("one began later")
            ));
        }
        newest = newest.max(call.began);
    }
    let states = states(initial, writers)?;
    let surely = |call: &&Call| call.certainty == Certainty::Surely;
    for call in calls.iter().filter(surely).filter(|call| call.only_reads()) {
        // Behind all writers that ended before it began, and before all that began after its end.
        let first = writers.iter().rposition(|writer| writer.ended < call.began);
        let last = writers.iter().position(|writer| writer.began > call.ended);
        let places = first.map_or(0, |place| place + 1)..=last.unwrap_or(writers.len());
        if !places
            .clone()
            .any(|place| call.is_explained_by(&states[place]))
        {
            return Err(format!(
                "no state between version {} and version {} explains {call}",
                name(writers, *places.start()),
                name(writers, *places.end()),
            ));
        }
    }
    Ok(())
}

fn name(writers: &[&Call], place: usize) -> String {
    let writer = place.checked_sub(1).and_then(|place| writers.get(place));
    let version = writer.and_then(|writer| writer.version);
    version.map_or_else(|| "nothing".to_owned(), |version| version.to_string())
}

/// The state before the first writer and behind each.
fn states(initial: &State, writers: &[&Call]) -> Result<Vec<State>, String> {
    let mut states = vec![initial.clone()];
    let mut state = initial.clone();
    for (place, call) in writers.iter().enumerate() {
        if !call.is_explained_by(&state) {
            return Err(format!(
                "{call}, but behind version {} that is not what was there",
                name(writers, place)
            ));
        }
        call.apply_to(&mut state);
        states.push(state.clone());
    }
    Ok(states)
}
