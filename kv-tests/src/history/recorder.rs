//! The notes and their clock.

use super::call::{Call, Certainty, Ranged};
use crate::fixture::{Key, Value};
use kv_trait::{Effect, KeyRange, Query, Result, Version, Versioned};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Notes of calls, shared by its clones. The clock counts what is noted.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Notes>>);

#[derive(Clone, Debug, Default)]
struct Notes {
    now: u64,
    calls: BTreeMap<u64, Call>,
    /// What a key held as a version that somebody read.
    versions: BTreeMap<(Key, Version), Value>,
}

impl Notes {
    const fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a call begins, now. Until its end is noted it may have happened; dropping the [`Pending`] leaves it at
    /// that.
    #[must_use = "a call that is not noted to have happened may have happened or not"]
    pub fn begin(&self) -> Pending {
        let mut notes = self.lock();
        let began = notes.tick();
        let mut call = Call::at(began, u64::MAX);
        call.certainty = Certainty::Maybe;
        notes.calls.insert(began, call);
        Pending {
            recorder: self.clone(),
            began,
            own: BTreeMap::new(),
        }
    }

    /// What `key` held as this version, if that was read and noted.
    pub(super) fn value_of(&self, key: &Key, version: Version) -> Option<Value> {
        let notes = self.lock();
        notes.versions.get(&(key.clone(), version)).cloned()
    }

    pub(super) fn note_version(&self, key: &Key, found: &Versioned<Value>) {
        let mut notes = self.lock();
        let value = found.value.clone();
        notes.versions.insert((key.clone(), found.version), value);
    }

    /// What was noted so far, in the order of beginnings. What is under way is in it.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let notes = self.lock();
        let calls = notes.calls.values().filter(|call| says_something(call));
        calls.cloned().collect()
    }

    /// Notes that the store was opened again, and nobody has used it since: what has no end by now does not happen later.
    pub fn reopened(&self) {
        let mut notes = self.lock();
        let now = notes.tick();
        for call in notes.calls.values_mut() {
            call.ended = call.ended.min(now);
        }
    }

    /// Cuts the power, and answers with what the cut made and the notes of all that may be found behind it.
    ///
    /// `cut` makes a copy of the store's disk as it is after a power cut; the store itself goes on, and so do these
    /// notes. In those of the copy stands what had ended before the cut, as it ended; what was under way may have happened
    /// until then, or not; what began later is not in it. What is done with the copy is noted there.
    pub fn cut<T>(&self, cut: impl FnOnce() -> T) -> (Self, T) {
        let before = self.lock().tick();
        let made = cut();
        let mut notes = self.lock().clone();
        let after = notes.tick();
        for call in notes.calls.values_mut() {
            // What ended while the disk was copied may have had its answer from the disk that goes on.
            if call.ended > before {
                call.certainty = Certainty::Maybe;
                call.version = None;
                call.ended = after;
            }
        }
        notes.calls.retain(|_, call| says_something(call));
        (Self(Arc::new(Mutex::new(notes))), made)
    }
}

/// What wrote nothing says only what it read, if it has its answer.
fn says_something(call: &Call) -> bool {
    let has_read = !call.reads.is_empty() || !call.ranges.is_empty();
    !call.only_reads() || (call.certainty == Certainty::Surely && has_read)
}

/// A call under way.
#[derive(Debug)]
pub struct Pending {
    recorder: Recorder,
    began: u64,
    own: BTreeMap<Key, Option<Value>>,
}

impl Pending {
    fn note(&self, note: impl FnOnce(&mut Call)) {
        let mut notes = self.recorder.lock();
        let call = notes.calls.get_mut(&self.began);
        note(call.expect("a call stays noted until its end"));
    }

    /// It read `key`. What it has written itself is what it must find, and nothing is noted.
    ///
    /// # Panics
    /// If it does not find what it wrote itself.
    pub fn reads(&mut self, key: &Key, value: Option<&[u8]>) {
        if let Some(own) = self.own.get(key) {
            assert!(
                own.as_deref() == value,
                "a call does not read what it wrote itself"
            );
            return;
        }
        let value = value.map(<[u8]>::to_vec);
        self.note(|call| {
            let other = call.reads.insert(key.clone(), value.clone());
            assert!(
                other.is_none_or(|other| other == value),
                "a call reads a key twice and finds two things"
            );
        });
    }

    /// It scanned.
    pub fn scans(&mut self, query: &Query, found: &[(Key, Value)]) {
        let ranged = Ranged {
            query: query.clone(),
            own: self.own.clone(),
            found: found.to_vec(),
        };
        self.note(|call| call.ranges.push(ranged));
    }

    /// It writes `key`. To be said before whatever may make it happen is begun.
    pub fn writes(&mut self, key: &Key, value: Option<&[u8]>) {
        self.intends(key, value);
        let value = value.map(<[u8]>::to_vec);
        self.note(|call| drop(call.writes.insert(key.clone(), value)));
    }

    /// It removes every key within. To be said before its writes, and likewise.
    pub fn erases(&mut self, range: &KeyRange) {
        self.note(|call| call.erased.push(range.clone()));
    }

    /// It will write `key`, and sees that itself; to others it cannot happen before [`Pending::commits`].
    pub fn intends(&mut self, key: &Key, value: Option<&[u8]>) {
        let value = value.map(<[u8]>::to_vec);
        self.own.insert(key.clone(), value);
    }

    /// From now on what it intends may happen, and not before. To be said before it is asked for.
    pub fn commits(&mut self) {
        if self.own.is_empty() {
            return;
        }
        let writes = self.own.clone();
        self.note_now(|call, now| {
            call.began = now;
            call.writes = writes;
        });
    }

    /// Its point lies before now, whatever it reads later.
    pub fn has_its_point(&mut self) {
        self.note_now(|call, now| {
            call.ended = now;
            call.certainty = Certainty::Surely;
        });
    }

    /// What it replaced: read before all that it wrote.
    pub fn replaced(&mut self, key: &Key, prior: Option<&[u8]>) {
        let prior = prior.map(<[u8]>::to_vec);
        self.note(|call| drop(call.reads.insert(key.clone(), prior)));
    }

    /// Where it stands in the order of writes.
    pub fn is_version(&mut self, version: Option<Version>) {
        self.note(|call| call.version = version);
    }

    fn note_now(&self, note: impl FnOnce(&mut Call, u64)) {
        let mut notes = self.recorder.lock();
        let now = notes.tick();
        let call = notes.calls.get_mut(&self.began);
        note(call.expect("a call stays noted until its end"), now);
    }

    fn ends(self, note: impl FnOnce(&mut Call)) {
        self.note_now(|call, now| {
            call.ended = now;
            note(call);
        });
    }

    /// It has its answer.
    pub fn happened(self) {
        self.ends(|call| call.certainty = Certainty::Surely);
    }

    /// It was refused: nothing was written. What it read it did read, at one point.
    pub fn refused(self) {
        let began = self.began;
        self.ends(|call| {
            call.began = began;
            call.writes.clear();
            call.erased.clear();
            call.certainty = Certainty::Surely;
        });
    }

    /// It ends as this answer says: by the effect, if it is an error.
    pub fn ended<T>(self, answer: &Result<T>) {
        let effect = answer.as_ref().map_err(|error| error.effect());
        match effect {
            Ok(_) | Err(Effect::Applied) => self.happened(),
            Err(Effect::Nothing) => self.refused(),
            // It may still happen, until the store was opened again.
            Err(Effect::Unknown) => {}
        }
    }
}
