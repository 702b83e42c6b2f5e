//! What the leader asks of chores between two groups.

use super::chores::Chores;
use super::machine::Progress;
use crate::commit::upkeep::{Relief, Upkeep};

impl Upkeep for Chores {
    fn settled(&self) {
        Self::settled(self);
    }

    fn wants_freeze(&self) -> bool {
        self.freeze_is_due()
    }

    fn rotates_at(&self) -> u64 {
        self.log_bytes()
    }

    /// A slice first, and only then a refusal: nobody else may be there to try again what failed.
    fn relieve(&self) -> Relief {
        let Some(pressure) = self.pressure() else {
            return Relief::Go;
        };
        match self.slice() {
            Progress::Worked => Relief::Again,
            Progress::Busy => {
                self.wait_for_slice();
                Relief::Again
            }
            Progress::Idle | Progress::Failed => match self.failure(pressure) {
                Some(error) => Relief::Refuse(error),
                None => Relief::Go,
            },
        }
    }
}
