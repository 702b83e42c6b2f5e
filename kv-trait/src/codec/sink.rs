//! Where an encoding is written to: no further than it may go, and nothing of it stays if it ends early.

use super::strict::Watch;
use super::too_large;
use crate::Error;

/// Refuses the piece that would pass the limit, before it is stored.
pub(super) struct Sink<'a> {
    out: &'a mut Vec<u8>,
    room: usize,
    pub(super) watch: &'a Watch,
}

impl Sink<'_> {
    /// Whether there was room for `piece`, which is stored then.
    #[inline]
    pub(super) fn take(&mut self, piece: &[u8]) -> bool {
        let Some(room) = self.room.checked_sub(piece.len()) else {
            self.watch.is_full();
            return false;
        };
        self.room = room;
        self.out.extend_from_slice(piece);
        true
    }
}

/// Appends what `write` encodes, which may take `room` bytes. `refusal` words what was refused: with the reason, where the
/// watch has seen one, and the serializer's own error.
pub(super) fn within<E>(
    out: &mut Vec<u8>,
    room: usize,
    write: impl FnOnce(Sink<'_>, &Watch) -> Result<(), E>,
    refusal: impl FnOnce(Option<&'static str>, E) -> Error,
) -> Result<(), Error> {
    let start = out.len();
    let watch = Watch::default();
    let sink = Sink {
        out: &mut *out,
        room,
        watch: &watch,
    };
    write(sink, &watch).map_err(|error| {
        out.truncate(start);
        if watch.is_too_long() {
            too_large()
        } else {
            refusal(watch.refused(), error)
        }
    })
}
