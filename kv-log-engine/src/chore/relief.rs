//! What the leader asks of chores between two groups.

use super::chores::Chores;
use super::machine::Progress;
use crate::commit::upkeep::{Relief, Upkeep};
use crate::stats::Pressure;

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

    fn unnamed_bytes(&self) -> u64 {
        self.standing().unnamed_bytes
    }

    fn gives_room(&self) -> bool {
        !self.ground().tuning.by_hand && !self.is_stopped()
    }

    fn checkpoint_gives_room(&self) -> bool {
        self.failure(Pressure::Levels).is_none()
    }

    fn give_room(&self) -> Relief {
        match self.slice() {
            Progress::Worked => Relief::Again,
            Progress::Busy => {
                self.wait_for_slice();
                Relief::Again
            }
            // Whoever has no room says so himself: why chores could do nothing about it is shown in `Stats`.
            Progress::Idle | Progress::Failed => Relief::Go,
        }
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
