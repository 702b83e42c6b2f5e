//! What is known of keys beside what was written to each: which keyspaces there are, and what is erased. Records change
//! both, in the order of their seqnos, and a checkpoint hands both on to the manifest.

use super::Defect;
use super::erasures::Erasures;
use super::keyspaces::{KEYSPACES_MAX, Keyspace, Keyspaces};
use super::record::{Record, RecordKind};
use super::run::full_key;
use crate::format::ids::Seqno;
use kv_trait::{Error, ErrorKind, KEY_BYTES_MAX};

/// Keyspaces and erasures at one point of the order of writes. A clone shares everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) keyspaces: Keyspaces,
    pub(crate) erasures: Erasures,
}

impl Tables {
    /// Whether there is room for what a record says.
    ///
    /// # Errors
    /// Why not: effect *nothing*.
    pub(crate) fn has_room_for(&self, record: &Record<'_>) -> Result<(), Error> {
        let (from, to) = match record.kind {
            RecordKind::Put | RecordKind::Tombstone => return Ok(()),
            RecordKind::Create => {
                let texts = record.key.len() + record.value.len();
                return if self.keyspaces.has_room_for(texts) {
                    Ok(())
                } else {
                    let message = format!("a store has at most {KEYSPACES_MAX} keyspaces");
                    Err(Error::new(ErrorKind::InvalidInput, message))
                };
            }
            RecordKind::Drop => erased(record.keyspace, &[], &[]),
            RecordKind::Erase => erased(record.keyspace, record.key, record.value),
        };
        if self.erasures.has_room_for(&from, &to) {
            return Ok(());
        }
        let message =
            "too many ranges are erased that merges have not come to yet; try again later";
        Err(Error::new(ErrorKind::StorageFull, message))
    }

    /// The same without erasures that were found to be retired.
    pub(crate) fn without(&self, retired: Option<&Erasures>) -> Self {
        match retired {
            None => self.clone(),
            Some(retired) => Self {
                keyspaces: self.keyspaces.clone(),
                erasures: self.erasures.without(retired),
            },
        }
    }

    /// Does what a record says that is about no single key.
    ///
    /// # Errors
    /// It makes no sense behind what came before it.
    pub(crate) fn apply(&mut self, record: &Record<'_>, seqno: Seqno) -> Result<(), Defect> {
        let keyspace = record.keyspace;
        match record.kind {
            RecordKind::Put | RecordKind::Tombstone => {}
            RecordKind::Create => self.keyspaces.create(Keyspace {
                id: keyspace,
                name: text(record.key)?.into(),
                fingerprint: text(record.value)?.into(),
            })?,
            RecordKind::Drop => {
                self.keyspaces.drop(keyspace)?;
                self.erase(keyspace, &[], &[], seqno);
            }
            RecordKind::Erase => {
                let ends = !record.value.is_empty();
                if ends && record.value <= record.key || record.value.len() > KEY_BYTES_MAX {
                    return Err(Defect::Field {
                        what: "end of what is erased",
                        found: record.value.len() as u64,
                    });
                }
                self.erase(keyspace, record.key, record.value, seqno);
            }
        }
        Ok(())
    }

    /// Erases the keys of a keyspace from one on and below another; where that is empty, to the last.
    fn erase(&mut self, keyspace: u32, from: &[u8], to: &[u8], seqno: Seqno) {
        let (from, to) = erased(keyspace, from, to);
        self.erasures.add(&from, &to, seqno);
    }
}

/// What a record erases, as full keys.
pub(crate) fn erased(keyspace: u32, from: &[u8], to: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let end = match to {
        [] => full_key(keyspace + 1, &[]),
        to => full_key(keyspace, to),
    };
    (full_key(keyspace, from), end)
}

fn text(bytes: &[u8]) -> Result<&str, Defect> {
    std::str::from_utf8(bytes).map_err(|error| Defect::Field {
        what: "text of a keyspace, which is no UTF-8 from byte",
        found: error.valid_up_to() as u64,
    })
}
