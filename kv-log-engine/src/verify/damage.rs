//! Damage as it is reported: where it is, why, and which keys it puts at risk, within bounded memory.

use crate::fault;
use crate::format::ids::Seqno;
use crate::format::run::{KEYS_END, split_key};
use kv_trait::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// Damages that are listed.
pub(super) const DAMAGES_MAX: usize = 256;
/// The keys that are listed for one damage; more are counted.
const KEYS_MAX: usize = 64;
/// The bytes of all listed keys together.
const KEY_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that are not what was written there, and what is lost with them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// Where the store goes on behind it; `None`: nothing behind it can be read, or the file as a whole is meant.
    pub end: Option<u64>,
    /// What is wrong, and which check found it.
    pub cause: Error,
    /// The keys that it hides where a run's bytes are lost, from the first one up to the second, which it does not hide:
    /// what the store held for any key between, and whether it held anything, is not known. The second is `None`
    /// where there is no end.
    pub key_range: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// Records that were written there and cannot be served, as far as their number is known.
    pub records: u64,
    /// Keys of these records, as they stand there, for which no later record was found: whether they hold a value, and
    /// which one, is not known. At most 64, in order, of whatever keyspace.
    pub keys: Vec<Vec<u8>>,
    /// Keys of further such records, counted and not listed.
    pub more_keys: u64,
    /// Records whose keys cannot be read either: any key may be theirs.
    pub unnamed_records: u64,
}

impl Damage {
    pub(super) fn of(path: &Path, offset: u64, end: Option<u64>, cause: Error) -> Self {
        Self {
            path: path.to_path_buf(),
            offset,
            end,
            cause,
            key_range: None,
            records: 0,
            keys: Vec::new(),
            more_keys: 0,
            unnamed_records: 0,
        }
    }

    /// Says which full keys it hides.
    pub(super) fn hides(&mut self, (from, to): &(Vec<u8>, Vec<u8>)) {
        let user_key = |full: &[u8]| split_key(full).map(|(_, key)| key.to_vec());
        let to = if **to == KEYS_END { None } else { user_key(to) };
        self.key_range = Some((user_key(from).unwrap_or_default(), to));
    }
}

/// The cause, then the keys at risk: on one line, with everything escaped that could command a terminal.
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 8;
        write!(f, "{}", self.cause)?;
        let shown = self.keys.iter().take(SHOWN_MAX);
        let mut risks: Vec<_> = shown.map(|key| fault::shown_key(key)).collect();
        let more = self.more_keys + self.keys.len().saturating_sub(SHOWN_MAX) as u64;
        if more > 0 {
            risks.push(format!("{more} more"));
        }
        match self.unnamed_records {
            0 => {}
            1 => risks.push("that of 1 record that cannot be read".to_owned()),
            count => risks.push(format!("those of {count} records that cannot be read")),
        }
        if !risks.is_empty() {
            write!(f, "; keys at risk: {}", risks.join(", "))?;
        }
        Ok(())
    }
}

/// A damage with the places of its keys in the order of writes: a later record takes a key out of risk.
#[derive(Debug)]
struct Listed {
    damage: Damage,
    seqnos: Vec<Seqno>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Damages {
    listed: Vec<Listed>,
    more: u64,
    key_bytes: usize,
}

/// Which damage; the number behind the last listed one stands for all that are only counted.
pub(super) type DamageAt = usize;

impl Damages {
    pub(super) fn push(&mut self, damage: Damage) -> DamageAt {
        if self.listed.len() < DAMAGES_MAX {
            let seqnos = Vec::new();
            self.listed.push(Listed { damage, seqnos });
            self.listed.len() - 1
        } else {
            self.more += 1;
            self.listed.len()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// A record of this full key is lost.
    pub(super) fn put_at_risk(&mut self, at: DamageAt, key: &[u8], seqno: Seqno) {
        let Some(listed) = self.listed.get_mut(at) else {
            return;
        };
        if listed.damage.keys.len() < KEYS_MAX && self.key_bytes + key.len() <= KEY_BYTES_MAX {
            self.key_bytes += key.len();
            listed.damage.keys.push(key.to_vec());
            listed.seqnos.push(seqno);
        } else {
            listed.damage.more_keys += 1;
        }
    }

    /// So many records are lost, of which those whose keys can be read were put at risk before.
    pub(super) fn count_records(&mut self, at: DamageAt, records: u64) {
        let Some(Listed { damage, .. }) = self.listed.get_mut(at) else {
            return;
        };
        let named = damage.keys.len() as u64 + damage.more_keys;
        damage.records = records.max(named);
        damage.unnamed_records = damage.records - named;
    }

    /// One more record is lost.
    pub(super) fn count_one(&mut self, at: DamageAt) {
        if let Some(Listed { damage, .. }) = self.listed.get_mut(at) {
            damage.records += 1;
        }
    }

    /// Takes the full keys out of risk that a later record speaks for.
    pub(super) fn retain_keys(&mut self, at_risk: impl Fn(&[u8], Seqno) -> bool) {
        for Listed { damage, seqnos } in &mut self.listed {
            let keys = std::mem::take(&mut damage.keys).into_iter().zip(&*seqnos);
            let keys = keys.filter(|(key, seqno)| at_risk(key, **seqno));
            damage.keys = keys.map(|(key, _)| key).collect();
        }
    }

    /// The listed ones, and how many more there are.
    pub(super) fn into_parts(self) -> (Vec<Damage>, u64) {
        let damages = self.listed.into_iter().map(|listed| listed.damage);
        let mut damages: Vec<_> = damages.collect();
        for damage in &mut damages {
            for key in &mut damage.keys {
                let raw = split_key(key).map_or(key.len(), |(_, key)| key.len());
                key.drain(..key.len() - raw);
            }
            damage.keys.sort();
            damage.keys.dedup();
        }
        (damages, self.more)
    }
}
