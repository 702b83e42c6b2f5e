//! Keyspaces, and what is erased.

use super::file::{Fields, Read};
use super::log::{Kind, ReadRecord};
use std::collections::BTreeMap;

/// The longest bound of what is erased.
const BOUND_MAX: usize = 65_541;

/// As of some place in the order of writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    /// By their ids: name and fingerprint.
    pub(super) keyspaces: BTreeMap<u32, (String, String)>,
    /// No keyspace with this id or a higher one was ever made.
    next_id: u32,
    /// From, to, seqno: all that there were, also where a newer one covers an older one.
    pub(super) erased: Vec<(Vec<u8>, Vec<u8>, u64)>,
}

/// A key as runs have it.
pub(super) fn full_key(keyspace: u32, key: &[u8]) -> Vec<u8> {
    let keyspace = keyspace.swap_bytes().to_le_bytes();
    [&keyspace, key].concat()
}

impl Tables {
    pub(super) fn read_keyspaces(&mut self, body: &mut Fields<'_>) -> Read<()> {
        self.keyspaces.clear();
        let next_id = body.u32()?;
        let mut last = 0;
        for _ in 0..body.u32()? {
            let id = body.u32()?;
            let mut text = || {
                let length = usize::from(body.array().map(u16::from_le_bytes)?);
                body.take(length)
                    .map(|text| String::from_utf8_lossy(text).into_owned())
            };
            let (name, fingerprint) = (text()?, text()?);
            let taken = self.keyspaces.values().any(|(known, _)| *known == name);
            if id <= last || id >= next_id || name.is_empty() || name.len() > 255 || taken {
                return body.wrong("a keyspace that makes no sense");
            }
            self.keyspaces.insert(id, (name, fingerprint));
            last = id;
        }
        if self.keyspaces.len() > 1024 {
            return body.wrong("too many keyspaces");
        }
        self.next_id = next_id;
        Ok(())
    }

    pub(super) fn read_erased(&mut self, body: &mut Fields<'_>) -> Read<()> {
        self.erased.clear();
        for _ in 0..body.u32()? {
            let (from, to) = (body.bytes(BOUND_MAX)?, body.bytes(BOUND_MAX)?);
            let seqno = body.u64()?;
            let follows = self.erased.last().is_none_or(|(_, last, _)| *last <= from);
            if !follows || from >= to || seqno == 0 {
                return body.wrong("something is erased that makes no sense");
            }
            self.erased.push((from, to, seqno));
        }
        Ok(())
    }

    pub(super) fn newest(&self) -> u64 {
        let seqnos = self.erased.iter().map(|(.., seqno)| *seqno);
        seqnos.max().unwrap_or_default()
    }

    /// What the log says. `Err`: it makes no sense.
    pub(super) fn apply(&mut self, record: &ReadRecord) -> Result<(), &'static str> {
        let id = record.keyspace;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
        match record.kind {
            Kind::Put | Kind::Tombstone => {}
            Kind::Create => {
                let (Ok(name), Ok(fingerprint)) = (text(&record.key), text(&record.value)) else {
                    return Err("a keyspace whose name is no text");
                };
                let taken = self.keyspaces.values().any(|(known, _)| *known == name);
                if id < self.next_id || name.is_empty() || name.len() > 255 || taken {
                    return Err("a keyspace that was there");
                }
                self.keyspaces.insert(id, (name, fingerprint));
                self.next_id = id + 1;
            }
            Kind::Drop => {
                if self.keyspaces.remove(&id).is_none() {
                    return Err("a keyspace goes that was not there");
                }
                let all = (full_key(id, &[]), full_key(id + 1, &[]), record.seqno);
                self.erased.push(all);
            }
            Kind::Erase => {
                let from = full_key(id, &record.key);
                let to = match &*record.value {
                    [] => full_key(id + 1, &[]),
                    to => full_key(id, to),
                };
                if from >= to {
                    return Err("nothing is erased");
                }
                self.erased.push((from, to, record.seqno));
            }
        }
        Ok(())
    }

    /// Whether what was written to a key at this place counts for nothing.
    pub(super) fn is_erased(&self, key: &[u8], written: u64) -> bool {
        self.erases(key, written, u64::MAX)
    }

    /// Whether something erased it that is not above `last`.
    pub(super) fn erases(&self, key: &[u8], written: u64, last: u64) -> bool {
        let over = |(from, to, seqno): &(Vec<u8>, Vec<u8>, u64)| {
            from.as_slice() <= key && key < to.as_slice() && (written..=last).contains(seqno)
        };
        self.erased.iter().any(over)
    }
}
