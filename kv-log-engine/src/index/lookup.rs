//! What memory says of a key, with a pin on whatever has to be read for the rest.

use super::levels::Levels;
use super::slot::Found;
use crate::format::ids::{Entry, SegmentId, Seqno};
use crate::format::run::block::{Held, Version};
use crate::index::source::Shared;
use crate::log::files::Segment;
use kv_trait::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The segments that values may lie in.
pub(crate) type Segments = BTreeMap<SegmentId, Arc<Segment>>;

/// The answer, or where it is to be looked for by somebody who may block.
#[derive(Clone, Debug)]
pub(crate) enum Lookup {
    Absent,
    Value(Seqno, Box<[u8]>),
    /// It has a value, which lies in a segment.
    Separated(Separated),
    /// Memory does not know the key: runs may.
    Below(Below),
}

/// Where a value lies.
#[derive(Clone, Debug)]
pub(crate) struct Separated {
    /// The full key.
    key: Box<[u8]>,
    entry: Entry,
    segment: Arc<Segment>,
}

/// The runs of one consistent point, and what they point into.
#[derive(Clone, Debug)]
pub(crate) struct Below {
    /// The full key.
    key: Box<[u8]>,
    levels: Arc<Levels>,
    segments: Arc<Segments>,
    /// What was written to it at this place or before is erased.
    floor: Seqno,
    /// By this reading of the store's clock.
    now_ms: u64,
}

impl Lookup {
    /// What a memtable's answer comes to at this reading of the store's clock.
    pub(super) fn of(key: &[u8], found: &Found<'_>, segments: &Segments, now_ms: u64) -> Self {
        if found.version.has_expired(now_ms) {
            return Self::Absent;
        }
        match found.version.held {
            Held::Here(value) => Self::Value(found.version.seqno, value.into()),
            Held::Tombstone => Self::Absent,
            Held::Separated(location) => {
                let segment = segments.get(&location.segment);
                Self::Separated(Separated {
                    key: key.into(),
                    entry: Entry {
                        location,
                        seqno: found.version.seqno,
                    },
                    segment: Arc::clone(
                        segment.expect("a view holds every segment its memtables point into"),
                    ),
                })
            }
        }
    }

    /// What is left to be asked where no memtable knows the key.
    pub(super) fn below(
        key: &[u8],
        levels: &Arc<Levels>,
        segments: &Arc<Segments>,
        (floor, now_ms): (Seqno, u64),
    ) -> Self {
        if levels.is_empty() {
            return Self::Absent;
        }
        Self::Below(Below {
            key: key.into(),
            levels: Arc::clone(levels),
            segments: Arc::clone(segments),
            floor,
            now_ms,
        })
    }

    /// The value. Blocks where it is not in memory.
    ///
    /// # Errors
    /// `Io`: it could not be read. `Corrupt`: file, offset, and the keys that cannot be read.
    pub(crate) fn read(self) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Absent => Ok(None),
            Self::Value(_, value) => Ok(Some(value.into_vec())),
            Self::Separated(separated) => separated.read().map(Some),
            Self::Below(below) => below.read(),
        }
    }

    /// Whether the answer is here: [`Lookup::read`] does not block.
    pub(crate) const fn is_here(&self) -> bool {
        matches!(self, Self::Absent | Self::Value(..))
    }

    /// Whether there is a value, if memory knows.
    pub(crate) const fn exists_here(&self) -> Option<bool> {
        match self {
            Self::Absent => Some(false),
            Self::Value(..) | Self::Separated(_) => Some(true),
            Self::Below(_) => None,
        }
    }

    /// Whether there is a value. Blocks where memory does not know; reads none.
    ///
    /// # Errors
    /// As for [`Lookup::read`].
    pub(crate) fn exists(&self) -> Result<bool> {
        match self {
            Self::Below(below) => {
                let found = below.look_up()?;
                Ok(found.is_some_and(|version| !version.is_tombstone()))
            }
            known => Ok(known.exists_here().unwrap_or_default()),
        }
    }

    /// What `decode` makes of the value. Blocks where it is not in memory.
    ///
    /// # Errors
    /// As for [`Lookup::read`].
    pub(crate) fn read_with<T>(&self, decode: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let found = self.read_versioned_with(decode)?;
        Ok(found.map(|(_, value)| value))
    }

    /// The same with the version: the place of the key's record in the order of writes.
    ///
    /// # Errors
    /// As for [`Lookup::read`].
    pub(crate) fn read_versioned_with<T>(
        &self,
        decode: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<(Seqno, T)>> {
        Ok(match self {
            Self::Absent => None,
            Self::Value(seqno, value) => Some((*seqno, decode(value))),
            Self::Separated(separated) => {
                Some((separated.entry.seqno, separated.read_with(decode)?))
            }
            Self::Below(below) => match below.look_up()? {
                None => None,
                Some(version) => {
                    let seqno = version.seqno;
                    match below.held(version)? {
                        None => None,
                        Some(Value::Here(value)) => Some((seqno, decode(&value))),
                        Some(Value::Separated(separated)) => {
                            Some((seqno, separated.read_with(decode)?))
                        }
                    }
                }
            },
        })
    }

    /// The value with its version. Blocks where it is not in memory.
    ///
    /// # Errors
    /// As for [`Lookup::read`].
    pub(crate) fn read_versioned(self) -> Result<Option<(Seqno, Vec<u8>)>> {
        match self {
            Self::Value(seqno, value) => Ok(Some((seqno, value.into_vec()))),
            found => found.read_versioned_with(<[u8]>::to_vec),
        }
    }
}

impl Separated {
    /// The same place under another key, as only an index gone wrong can have it.
    #[cfg(test)]
    pub(crate) fn with_key(&self, key: &[u8]) -> Self {
        Self {
            key: key.into(),
            ..self.clone()
        }
    }

    fn read(&self) -> Result<Vec<u8>> {
        self.segment.read_value(&self.entry, &self.key)
    }

    fn read_with<T>(&self, decode: impl FnOnce(&[u8]) -> T) -> Result<T> {
        self.segment.read_value_with(&self.entry, &self.key, decode)
    }
}

/// Where the value of a version is.
enum Value<V> {
    Here(V),
    Separated(Separated),
}

impl Below {
    fn look_up(&self) -> Result<Option<Version<Shared>>> {
        let found = self.levels.get_above(&self.key, self.floor)?;
        Ok(found.filter(|version| version.is_visible(self.now_ms)))
    }

    fn held(&self, version: Version<Shared>) -> Result<Option<Value<Shared>>> {
        value_of(&self.key, version, &self.segments)
    }

    fn read(&self) -> Result<Option<Vec<u8>>> {
        let Some(version) = self.look_up()? else {
            return Ok(None);
        };
        let version = version.as_ref().map(|value| &**value);
        read_version(&self.key, version, &self.segments)
    }
}

fn value_of<V>(key: &[u8], version: Version<V>, segments: &Segments) -> Result<Option<Value<V>>> {
    let seqno = version.seqno;
    Ok(match version.held {
        Held::Tombstone => None,
        Held::Here(value) => Some(Value::Here(value)),
        Held::Separated(location) => {
            let segment = segments.get(&location.segment).ok_or_else(|| {
                let message = format!(
                    "a run refers to segment {}, which the store does not have",
                    location.segment
                );
                Error::new(ErrorKind::Corrupt, message)
            })?;
            Some(Value::Separated(Separated {
                key: key.into(),
                entry: Entry { location, seqno },
                segment: Arc::clone(segment),
            }))
        }
    })
}

/// The value of a version that a source gave for a full key; `None`: a tombstone. Blocks where it is separated.
///
/// # Errors
/// As for [`Lookup::read`].
pub(crate) fn read_version(
    key: &[u8],
    version: Version<&[u8]>,
    segments: &Segments,
) -> Result<Option<Vec<u8>>> {
    Ok(match value_of(key, version, segments)? {
        None => None,
        Some(Value::Here(value)) => Some(value.to_vec()),
        Some(Value::Separated(separated)) => Some(separated.read()?),
    })
}
