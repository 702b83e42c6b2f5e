//! Who of a group goes on when the disk is full: batches that only delete. The others are refused, and those that go on are
//! planned again, as if the refused ones had never come.

use crate::batch::Batch;
use kv_trait::{Effect, Error, Result};

/// The batches of a group, without those that were refused for want of room.
#[derive(Debug)]
pub(super) struct Admission {
    /// Those that go on, in order.
    pub(super) batches: Vec<Batch>,
    /// One for each batch of the group, in order.
    places: Vec<Place>,
}

#[derive(Debug)]
enum Place {
    /// It goes on.
    Puts,
    Deletes,
    /// It has no record.
    Empty,
    Refused(Error),
}

impl Admission {
    pub(super) fn new(batches: Vec<Batch>) -> Self {
        let places = batches.iter().map(|batch| {
            if batch.is_empty() {
                Place::Empty
            } else if batch.only_deletes() {
                Place::Deletes
            } else {
                Place::Puts
            }
        });
        Self {
            places: places.collect(),
            batches,
        }
    }

    /// Whether a batch that puts goes on.
    pub(super) fn puts(&self) -> bool {
        self.places.iter().any(|place| matches!(place, Place::Puts))
    }

    /// Whether a batch that only deletes goes on.
    pub(super) fn deletes(&self) -> bool {
        let mut places = self.places.iter();
        places.any(|place| matches!(place, Place::Deletes))
    }

    /// Whether one was refused.
    pub(super) fn has_refused(&self) -> bool {
        let mut places = self.places.iter();
        places.any(|place| matches!(place, Place::Refused(_)))
    }

    /// Takes the batches that go on out, to be planned.
    pub(super) fn take(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.batches)
    }

    /// Puts them back.
    pub(super) fn put_back(&mut self, batches: Vec<Batch>) {
        self.batches = batches;
    }

    /// Refuses those that put, with effect *nothing*.
    pub(super) fn refuse_puts(&mut self, error: &Error) {
        self.batches
            .retain(|batch| batch.is_empty() || batch.only_deletes());
        for place in &mut self.places {
            if matches!(place, Place::Puts) {
                *place = Place::Refused(error.clone().with_effect(Effect::Nothing));
            }
        }
    }

    /// The answers of the whole group, given those of the batches that went on.
    pub(super) fn with_refused<T>(self, answers: Vec<Result<T>>) -> Vec<Result<T>> {
        if !self.has_refused() {
            return answers;
        }
        let mut answers = answers.into_iter();
        let all = self.places.into_iter().filter_map(|place| match place {
            Place::Refused(error) => Some(Err(error)),
            Place::Puts | Place::Deletes | Place::Empty => answers.next(),
        });
        all.collect()
    }
}
