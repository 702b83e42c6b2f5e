//! Poison: a store that cannot know what its log holds takes no more writes until it is opened again.

use crate::fault;
use kv_trait::{Effect, Error};
use std::sync::{Arc, OnceLock};

/// Set once, never cleared: reopening makes a new one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poison(Arc<OnceLock<Error>>);

impl Poison {
    /// Poisons the store, unless it is poisoned already: the first cause stays.
    pub(crate) fn set(&self, cause: &Error) {
        if self.0.set(cause.clone()).is_err() {
            // The first cause is the one that explains the store's state.
        }
    }

    /// The refusal that every write gets now.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.0
            .get()
            .map(|cause| fault::poisoned(cause).with_effect(Effect::Nothing))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }
}
