//! Keyspaces that have a name: what each is called, and with which codecs its keys and values are written. FORMAT.md,
//! "Keyspaces".

use super::Defect;
use super::cursor::Cursor;
use super::record::{KEYSPACE_DEFAULT, KEYSPACE_END};
use kv_trait::fingerprint::FINGERPRINT_BYTES_MAX;
use std::sync::Arc;

/// Keyspaces that a store may have beside its own.
pub(crate) const KEYSPACES_MAX: usize = 1024;
/// The longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Bytes that all of them may take in a manifest.
pub(crate) const KEYSPACES_BYTES_MAX: usize = 1024 * 1024;
/// What one takes beside its texts.
const KEYSPACE_BYTES: usize = 8;

/// A keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keyspace {
    pub(crate) id: u32,
    pub(crate) name: Arc<str>,
    /// The text of its fingerprint.
    pub(crate) fingerprint: Arc<str>,
}

/// Those that are there. A clone shares everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keyspaces {
    /// By their ids. No two have one name.
    named: Arc<Vec<Keyspace>>,
    /// Above all ids that were ever given.
    next_id: u32,
}

impl Default for Keyspaces {
    fn default() -> Self {
        Self {
            named: Arc::default(),
            next_id: KEYSPACE_DEFAULT + 1,
        }
    }
}

impl Keyspaces {
    /// Whether there is one with that id. The default one always is.
    #[inline]
    pub(crate) fn has(&self, id: u32) -> bool {
        id == KEYSPACE_DEFAULT || self.get(id).is_some()
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Keyspace> {
        let at = self.named.binary_search_by_key(&id, |known| known.id);
        at.ok().and_then(|at| self.named.get(at))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Keyspace> {
        self.named.iter().find(|known| *known.name == *name)
    }

    /// Those that have a name, by their ids.
    pub(crate) fn named(&self) -> &[Keyspace] {
        &self.named
    }

    /// The lowest id that a new one may get.
    pub(crate) const fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Whether one more with texts of so many bytes may be made.
    pub(crate) fn has_room_for(&self, text_bytes: usize) -> bool {
        let bytes = self.bytes() + KEYSPACE_BYTES + text_bytes;
        let counts = self.named.len() < KEYSPACES_MAX && self.next_id < KEYSPACE_END;
        counts && bytes <= KEYSPACES_BYTES_MAX
    }

    /// Adds one.
    ///
    /// # Errors
    /// Its id may have been given before, its name is another one's, or something of it is too long.
    pub(super) fn create(&mut self, new: Keyspace) -> Result<(), Defect> {
        let fits = (1..=NAME_BYTES_MAX).contains(&new.name.len())
            && new.fingerprint.len() <= FINGERPRINT_BYTES_MAX;
        let is_new = new.id >= self.next_id && new.id < KEYSPACE_END;
        if !fits || !is_new || self.find(&new.name).is_some() {
            return Err(Defect::Field {
                what: "keyspace that is made",
                found: new.id.into(),
            });
        }
        self.next_id = new.id + 1;
        Arc::make_mut(&mut self.named).push(new);
        Ok(())
    }

    /// Takes one out. Its id is never given again.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn drop(&mut self, id: u32) -> Result<(), Defect> {
        let at = self.named.binary_search_by_key(&id, |known| known.id);
        let Ok(at) = at else {
            return Err(Defect::Field {
                what: "keyspace that is dropped",
                found: id.into(),
            });
        };
        Arc::make_mut(&mut self.named).remove(at);
        Ok(())
    }

    /// What they take in a manifest, without a head.
    pub(crate) fn bytes(&self) -> usize {
        let named = self.named.iter();
        let named = named.map(|known| KEYSPACE_BYTES + known.name.len() + known.fingerprint.len());
        8 + named.sum::<usize>()
    }

    pub(super) fn encode(&self, body: &mut Vec<u8>) {
        let count = u32::try_from(self.named.len()).expect("keyspaces are bounded");
        body.extend_from_slice(&self.next_id.to_le_bytes());
        body.extend_from_slice(&count.to_le_bytes());
        for known in &*self.named {
            body.extend_from_slice(&known.id.to_le_bytes());
            for text in [&known.name, &known.fingerprint] {
                let length = u16::try_from(text.len()).expect("names and fingerprints are bounded");
                body.extend_from_slice(&length.to_le_bytes());
                body.extend_from_slice(text.as_bytes());
            }
        }
    }

    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        let next_id = cursor.u32()?;
        let mut keyspaces = Self::default();
        for _ in 0..cursor.u32()? {
            let new = Keyspace {
                id: cursor.u32()?,
                name: cursor.text("name of a keyspace")?.into(),
                fingerprint: cursor.text("fingerprint")?.into(),
            };
            if !keyspaces.has_room_for(new.name.len() + new.fingerprint.len()) {
                return Err(Defect::Field {
                    what: "number of keyspaces",
                    found: keyspaces.named.len() as u64 + 1,
                });
            }
            keyspaces.create(new)?;
        }
        if next_id < keyspaces.next_id {
            return Err(Defect::Field {
                what: "id of the next keyspace",
                found: next_id.into(),
            });
        }
        keyspaces.next_id = next_id;
        Ok(keyspaces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace(id: u32, name: &str) -> Keyspace {
        Keyspace {
            id,
            name: name.into(),
            fingerprint: "key=raw/1\nvalue=raw/1".into(),
        }
    }

    #[test]
    fn names_and_ids_are_given_once() {
        let mut keyspaces = Keyspaces::default();
        keyspaces.create(keyspace(1, "one")).unwrap();
        keyspaces.create(keyspace(5, "five")).unwrap();
        for refused in [
            keyspace(5, "again"),
            keyspace(3, "passed over"),
            keyspace(6, "one"),
            keyspace(7, ""),
            keyspace(7, &"n".repeat(NAME_BYTES_MAX + 1)),
            keyspace(KEYSPACE_END, "end"),
        ] {
            assert!(keyspaces.create(refused).is_err());
        }
        keyspaces.drop(5).unwrap();
        assert!(keyspaces.drop(5).is_err() && keyspaces.drop(0).is_err());
        assert!(!keyspaces.has(5) && keyspaces.has(1) && keyspaces.has(0));
        assert!(keyspaces.create(keyspace(5, "five")).is_err());
        let mut body = Vec::new();
        keyspaces.encode(&mut body);
        assert_eq!(body.len(), keyspaces.bytes());
        let read = Keyspaces::decode(&mut Cursor::new(&body)).unwrap();
        assert_eq!(read, keyspaces);
        assert_eq!(read.next_id(), 6);
        // An id below the highest that is there.
        body[0] = 1;
        assert!(Keyspaces::decode(&mut Cursor::new(&body)).is_err());
    }
}
