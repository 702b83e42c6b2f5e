//! Batches: records that the caller makes atomic, and what the caller is told when they are durable.

use crate::budgets::SEPARATION_BYTES_MAX;
use crate::clock::check_expiry;
use crate::fault;
use crate::format::frame::{FRAME_BODY_BYTES_MAX, FrameBuffer};
use crate::format::ids::Seqno;
use crate::format::record::{Head, KEYSPACE_DEFAULT, RecordKind};
use crate::format::run::split_key;
use crate::index::source::Interval;
use crate::index::{Known, Lookup};
use crate::turns::Turn;
use kv_trait::{Effect, Error, ErrorKind, KEY_BYTES_MAX, Result, VALUE_BYTES_MAX};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// The conditions of one batch take at most this much memory: the leader looks each of them up while everybody waits.
pub(crate) const CONDITIONS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What a condition takes besides its key.
pub(crate) const CONDITION_BYTES: u64 = 40;
const _: () = assert!(size_of::<Condition>() as u64 <= CONDITION_BYTES);
const _: () = assert!(size_of::<RangeCondition>() as u64 <= CONDITION_BYTES);
/// What an entry of a memtable takes besides its key and value, about.
const ENTRY_BYTES: u64 = 64;

/// Records that become durable and visible together or not at all, in the order they were added.
///
/// Records are encoded here, on the caller's thread, outside every lock, and so are the checksums of small ones; those of
/// large ones are left to whoever writes the group. A batch without records is legal and writes nothing.
///
/// ```
/// use kv_log_engine::{Batch, Engine, Options, storage::sim::SimDisk};
/// use kv_trait::{Effect, ErrorKind};
/// # fn main() -> kv_trait::Result<()> {
/// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
/// let mut batch = Batch::new();
/// batch.put(b"balance", b"10")?;
/// let receipt = store.write(batch)?;
///
/// let mut spend = Batch::new();
/// spend.expect(b"balance", Some(receipt.first_seqno()))?; // only if it is still that one
/// spend.put(b"balance", b"7")?;
/// spend.put(b"spent", b"3")?;
/// let again = spend.clone();
/// store.write(spend)?;
///
/// let refused = store.write(again).unwrap_err();
/// assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Conflict, Effect::Nothing));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Batch {
    pub(crate) frame: FrameBuffer,
    /// Where the records and conditions go that are added from now on.
    keyspace: u32,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) ranges: Vec<RangeCondition>,
    condition_bytes: u64,
    /// What its submitter found.
    pub(crate) looked: Option<Looked>,
    /// Ends with it.
    pub(crate) turn: Option<Arc<Turn>>,
    pub(crate) wants_priors: bool,
    /// The memtable is to be frozen behind it, if that may be.
    pub(crate) freezes: bool,
    /// One of its records is a value, or makes a keyspace.
    puts: bool,
    /// One of its records expires.
    expires: bool,
    /// One of its records is about no single key.
    pub(crate) changes_tables: bool,
    /// Keyspaces that its records and conditions go to, beside the default one.
    pub(crate) keyspaces: Vec<u32>,
    longest_key: usize,
    /// What its records take in a memtable, at most.
    memtable_bytes: u64,
}

/// The versions that a batch's conditions found, in a view that shows everything up to `at`: what only runs know, the leader
/// does not look up. In that view the conditions on ranges hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) at: Seqno,
    /// One for each condition, in order.
    pub(crate) versions: Vec<Option<Known>>,
}

/// A key must have exactly this version when the batch's turn comes, or the batch is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) keyspace: u32,
    pub(crate) key: Box<[u8]>,
    /// The seqno of the key's record; `None`: the key is absent.
    pub(crate) version: Option<Seqno>,
}

/// No key of a range may have been changed behind a record when the batch's turn comes, or the batch is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeCondition {
    /// Full keys, up to `to`, which the range does not have.
    pub(crate) from: Box<[u8]>,
    pub(crate) to: Box<[u8]>,
    /// The last record that whoever read the range has seen.
    pub(crate) at: Seqno,
}

impl RangeCondition {
    pub(crate) fn interval(&self) -> Interval {
        Interval::between(&self.from, &self.to)
    }

    /// `key`: a full key of the range, changed behind `at`.
    pub(crate) fn conflict(&self, key: &[u8]) -> Error {
        let raw = split_key(key).map_or(key, |(_, key)| key);
        let message = format!(
            "the key {} was changed, where the batch expects its range as it was at version {}",
            fault::shown_key(raw),
            self.at
        );
        Error::new(ErrorKind::Conflict, message)
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// A batch without records. What is added goes to the default keyspace, until another one is selected.
    #[must_use]
    pub fn new() -> Self {
        Self {
            frame: FrameBuffer::new(),
            keyspace: KEYSPACE_DEFAULT,
            conditions: Vec::new(),
            ranges: Vec::new(),
            condition_bytes: 0,
            looked: None,
            turn: None,
            wants_priors: false,
            freezes: false,
            puts: false,
            expires: false,
            changes_tables: false,
            keyspaces: Vec::new(),
            longest_key: 0,
            memtable_bytes: 0,
        }
    }

    /// A batch without records, behind which the memtable is frozen.
    pub(crate) fn freezing() -> Self {
        Self {
            freezes: true,
            ..Self::new()
        }
    }

    /// What is added from now on goes to that keyspace.
    pub(crate) const fn select_id(&mut self, keyspace: u32) {
        self.keyspace = keyspace;
    }

    /// Adds: `key` holds `value`.
    ///
    /// # Errors
    /// `TooLarge`: the key is longer than [`KEY_BYTES_MAX`], the value longer than [`VALUE_BYTES_MAX`], or the batch as
    /// a whole longer than 1 GiB. The batch is as it was.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.push(RecordKind::Put, key, value)
    }

    /// Adds: `key` holds `value` until this moment, in milliseconds since 1970 as the store's clock counts them, and is
    /// absent from then on, for reads, prior values and conditions, as if it had been deleted. A moment that has passed is no
    /// error. Any later record of the key ends that: after a [`Batch::put`] the value stays.
    ///
    /// ```
    /// use kv_log_engine::{Batch, Engine, Options, SimHost, storage::sim::SimDisk};
    /// # fn main() -> kv_trait::Result<()> {
    /// let host = std::sync::Arc::new(SimHost::new(1)); // without it: the system's clock
    /// # let options = Options::new().storage(SimDisk::new().storage());
    /// # let store = Engine::open("/db", options.host(host.clone()))?;
    /// host.set_unix_ms(1_000);
    /// let mut batch = Batch::new();
    /// batch.put_until(b"session", b"alive", 2_000)?;
    /// store.write(batch)?;
    /// assert!(store.get(b"session")?.is_some());
    /// host.set_unix_ms(2_000);
    /// assert!(store.get(b"session")?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `TooLarge`, as for [`Batch::put`]; `InvalidInput`: 2^64 - 1, which stands for never.
    pub fn put_until(&mut self, key: &[u8], value: &[u8], expiry_ms: u64) -> Result<()> {
        check_expiry(expiry_ms)?;
        self.push(Head::put_until(Some(expiry_ms)), key, value)
    }

    /// Adds: `key` is absent. Whether it was there before does not matter.
    ///
    /// # Errors
    /// `TooLarge`, as for [`Batch::put`].
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.push(RecordKind::Tombstone, key, &[])
    }

    /// Adds: `key` holds what `encode` appends, which is written where it stays.
    pub(crate) fn put_with(
        &mut self,
        key: &[u8],
        encode: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        self.push_with(RecordKind::Put.into(), key, encode)
    }

    /// The same, until that moment.
    pub(crate) fn put_until_with(
        &mut self,
        key: &[u8],
        expiry_ms: u64,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        check_expiry(expiry_ms)?;
        self.push_with(Head::put_until(Some(expiry_ms)), key, encode)
    }

    fn push_with(
        &mut self,
        head: Head,
        key: &[u8],
        encode: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        check_length("key", key.len(), KEY_BYTES_MAX)?;
        let before = self.frame.bytes().len() + key.len();
        self.frame
            .push_with(head, (self.keyspace, key), encode, |frame, value_bytes| {
                check_length("value", value_bytes, VALUE_BYTES_MAX)?;
                Self::check_room(frame, key.len(), value_bytes)
            })?;
        let value_bytes = self.frame.bytes().len().saturating_sub(before);
        self.note(head, key, value_bytes);
        Ok(())
    }

    /// Adds: all keys in a range are absent, however many there are: one record, which takes no longer for more of them. The
    /// batch's order holds here, too: what it puts behind that is there.
    ///
    /// ```
    /// # use kv_log_engine::{Batch, Engine, Options, storage::sim::SimDisk};
    /// # use std::ops::Bound;
    /// # fn main() -> kv_trait::Result<()> {
    /// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
    /// for entry in 0..100_u8 {
    ///     store.put(&[entry], b"of a log")?;
    /// }
    /// let mut purge = Batch::new();
    /// purge.delete_range((Bound::Unbounded, Bound::Excluded(&[97][..])))?;
    /// purge.put(b"purged", &[96])?;
    /// store.write(purge)?;
    /// assert_eq!(store.scan(..)?.count(), 4);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `TooLarge`: a bound is longer than a key may be, or the batch too long. The batch is as it was.
    pub fn delete_range(&mut self, range: impl RangeBounds<[u8]>) -> Result<()> {
        let bounds = [range.start_bound(), range.end_bound()];
        for bound in bounds {
            if let Bound::Included(key) | Bound::Excluded(key) = bound {
                check_length("bound", key.len(), KEY_BYTES_MAX)?;
            }
        }
        let from = match bounds[0] {
            Bound::Unbounded => Some(Vec::new()),
            Bound::Included(key) => Some(key.to_vec()),
            Bound::Excluded(key) => key_above(key),
        };
        let to = match bounds[1] {
            Bound::Unbounded => None,
            Bound::Excluded(key) => Some(key.to_vec()),
            Bound::Included(key) => key_above(key),
        };
        match (from, to) {
            (Some(from), None) => self.push(RecordKind::Erase, &from, &[]),
            (Some(from), Some(to)) if from < to => self.push(RecordKind::Erase, &from, &to),
            _ => Ok(()), // no key is in it
        }
    }

    /// Adds: the selected keyspace is not there any more, and nothing of what was written to it.
    pub(crate) fn drop_keyspace(&mut self) -> Result<()> {
        self.push(RecordKind::Drop, &[], &[])
    }

    /// Adds: there is a keyspace of that number, name and fingerprint.
    pub(crate) fn create_keyspace(&mut self, id: u32, name: &str, fingerprint: &str) -> Result<()> {
        self.keyspace = id;
        self.push(RecordKind::Create, name.as_bytes(), fingerprint.as_bytes())
    }

    fn push(&mut self, head: impl Into<Head>, key: &[u8], value: &[u8]) -> Result<()> {
        let head = head.into();
        check_length("key", key.len(), KEY_BYTES_MAX)?;
        check_length("value", value.len(), VALUE_BYTES_MAX)?;
        Self::check_room(&self.frame, key.len(), value.len())?;
        self.frame.push(head, self.keyspace, key, value);
        self.note(head, key, value.len());
        Ok(())
    }

    fn note(&mut self, head: Head, key: &[u8], value_bytes: usize) {
        self.expires |= head.expiry_ms.is_some();
        self.puts |= matches!(head.kind, RecordKind::Put | RecordKind::Create);
        self.changes_tables |= !head.kind.is_of_key();
        if head.kind != RecordKind::Create {
            self.note_keyspace();
        }
        let value_bytes = if value_bytes < SEPARATION_BYTES_MAX as usize {
            value_bytes
        } else {
            0
        };
        self.memtable_bytes += (key.len() + value_bytes) as u64 + ENTRY_BYTES;
        self.longest_key = self.longest_key.max(key.len());
    }

    /// The leader has to see whether it is there.
    fn note_keyspace(&mut self) {
        if self.keyspace != KEYSPACE_DEFAULT && !self.keyspaces.contains(&self.keyspace) {
            self.keyspaces.push(self.keyspace);
        }
    }

    fn check_room(frame: &FrameBuffer, key_bytes: usize, value_bytes: usize) -> Result<()> {
        if frame.has_room(key_bytes, value_bytes) {
            return Ok(());
        }
        let message = format!("a batch holds at most {FRAME_BODY_BYTES_MAX} bytes");
        Err(Error::new(ErrorKind::TooLarge, message))
    }

    /// Asks for the values that were there before ([`Receipt::priors`]).
    #[must_use]
    pub fn with_priors(mut self) -> Self {
        self.wants_priors = true;
        self
    }

    /// The batch is refused as `Conflict` unless `key` has exactly this version when its turn comes: the place of its
    /// record in the order of writes ([`Receipt::first_seqno`] of a batch of one record), or `None` for an absent key.
    /// The refusal, like every answer, comes after the sync of whatever it depends on.
    ///
    /// # Errors
    /// `TooLarge`: the key is longer than [`KEY_BYTES_MAX`], or the batch's conditions, at 40 bytes and a key each, longer
    /// than 16 MiB. The batch is as it was.
    pub fn expect(&mut self, key: &[u8], version: Option<Seqno>) -> Result<()> {
        check_length("key", key.len(), KEY_BYTES_MAX)?;
        self.take_condition_bytes(CONDITION_BYTES + key.len() as u64)?;
        self.note_keyspace();
        self.conditions.push(Condition {
            keyspace: self.keyspace,
            key: key.into(),
            version,
        });
        Ok(())
    }

    /// The batch is refused as `Conflict` if any key of the range was changed behind the record `at` when its turn comes:
    /// put, deleted, or put and deleted again. `at` is what whoever read the range has seen, [`crate::Snapshot::at`]. An empty
    /// range asks for nothing.
    ///
    /// Whoever submits the batch looks for changes up to then, and reads for it only where `at` lies so far back that a
    /// checkpoint has come in between; the leader looks for those that came later, in memory. What was deleted long ago may have
    /// left no trace; where that cannot be told the answer is `TooOld`, with effect *nothing*: read again.
    ///
    /// ```
    /// # use kv_log_engine::{Batch, Engine, Options, storage::sim::SimDisk};
    /// # use kv_trait::{Effect, ErrorKind};
    /// # use std::ops::Bound;
    /// # fn main() -> kv_trait::Result<()> {
    /// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
    /// let read = store.snapshot()?;
    /// let orders = (Bound::Included(&b"order/"[..]), Bound::Excluded(&b"order0"[..]));
    /// let number = read.scan(orders)?.count();
    /// let mut batch = Batch::new();
    /// batch.expect_range(orders, read.at())?; // nobody has added or removed one
    /// batch.put(b"orders", number.to_string().as_bytes())?;
    /// store.put(b"order/17", b"a phantom")?;
    /// let refused = store.write(batch).unwrap_err();
    /// assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Conflict, Effect::Nothing));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `TooLarge`: a bound is longer than [`KEY_BYTES_MAX`], or the batch's conditions, at 40 bytes and their keys each, longer
    /// than 16 MiB. The batch is as it was.
    pub fn expect_range(&mut self, range: impl RangeBounds<[u8]>, at: Seqno) -> Result<()> {
        let bounds = (range.start_bound(), range.end_bound());
        for bound in [bounds.0, bounds.1] {
            if let Bound::Included(key) | Bound::Excluded(key) = bound {
                check_length("key", key.len(), KEY_BYTES_MAX)?;
            }
        }
        let (from, to) = Interval::of_keyspace(self.keyspace, &bounds).ends();
        self.expect_between(from, to, at)
    }

    /// The same for full keys.
    pub(crate) fn expect_between(&mut self, from: Vec<u8>, to: Vec<u8>, at: Seqno) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        self.take_condition_bytes(CONDITION_BYTES + (from.len() + to.len()) as u64)?;
        self.note_keyspace();
        self.ranges.push(RangeCondition {
            from: from.into(),
            to: to.into(),
            at,
        });
        Ok(())
    }

    fn take_condition_bytes(&mut self, bytes: u64) -> Result<()> {
        let condition_bytes = self.condition_bytes + bytes;
        if condition_bytes > CONDITIONS_BYTES_MAX {
            let message = format!("a batch's conditions hold at most {CONDITIONS_BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        self.condition_bytes = condition_bytes;
        Ok(())
    }

    /// Whether its submitter has to look for what only runs know.
    pub(crate) const fn wants_look(&self) -> bool {
        self.is_conditional() && self.looked.is_none()
    }

    /// Whether it is only written if something holds.
    pub(crate) const fn is_conditional(&self) -> bool {
        !self.conditions.is_empty() || !self.ranges.is_empty()
    }

    /// The number of records.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.frame.record_count() as usize
    }

    /// Whether there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.frame.record_count() == 0
    }

    /// The bytes that the batch will take in a segment.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        if self.is_empty() {
            0
        } else {
            self.frame.frame_bytes()
        }
    }

    /// Whether it leads to room and takes none that lasts: a full disk lets it in.
    pub(crate) const fn only_deletes(&self) -> bool {
        !self.puts
    }

    /// Whether one of its records expires.
    pub(crate) const fn expires(&self) -> bool {
        self.expires
    }

    /// The length of its longest key.
    pub(crate) const fn longest_key(&self) -> u64 {
        self.longest_key as u64
    }

    /// What its records take in a memtable, at most: it is not known here which values stay in the log.
    pub(crate) const fn memtable_bytes(&self) -> u64 {
        self.memtable_bytes
    }

    /// What it takes in memory while it waits to be written.
    pub(crate) const fn queue_bytes(&self) -> u64 {
        self.bytes() + self.condition_bytes
    }
}

/// The smallest key above `key`; `None`: there is none.
fn key_above(key: &[u8]) -> Option<Vec<u8>> {
    let mut above = key.to_vec();
    if key.len() < KEY_BYTES_MAX {
        above.push(0);
        return Some(above);
    }
    // Nothing longer is a key: the next one differs in a byte.
    while let Some(last) = above.pop() {
        if let Some(next) = last.checked_add(1) {
            above.push(next);
            return Some(above);
        }
    }
    None
}

/// Checks a length before anything is allocated or copied for it.
pub(crate) fn check_length(what: &str, length: usize, max: usize) -> Result<()> {
    if length <= max {
        return Ok(());
    }
    let message = format!("the {what} has {length} bytes, at most {max} are allowed");
    Err(Error::new(ErrorKind::TooLarge, message))
}

/// How the leader answers a batch.
#[derive(Debug)]
pub(crate) enum Answer {
    Committed(Committed),
    /// A condition cannot be judged by what memory has: nothing happened, and the submitter has to look again.
    LookAgain(Batch),
}

/// A batch that is durable and visible, with what is to be read for its answer.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) first_seqno: Seqno,
    pub(crate) last_seqno: Seqno,
    /// What the batch's records replaced, in order; with a pin on what has to be read for it.
    pub(crate) priors: Vec<Lookup>,
}

impl Committed {
    /// Reads what was replaced. Blocks where that is not in memory.
    pub(crate) fn receipt(self) -> Receipt {
        let priors = self.priors.into_iter().map(Lookup::read);
        let priors = priors.collect::<Result<_>>();
        Receipt {
            first_seqno: self.first_seqno,
            last_seqno: self.last_seqno,
            priors: priors.map_err(|error| error.with_effect(Effect::Applied)),
        }
    }
}

/// Proof that a batch is durable and visible.
#[derive(Clone, Debug)]
pub struct Receipt {
    first_seqno: Seqno,
    last_seqno: Seqno,
    priors: Result<Vec<Option<Vec<u8>>>>,
}

impl Receipt {
    /// The place of the batch's first record in the order of writes. For a batch without records, the place that the
    /// next record of the store would have had.
    #[must_use]
    pub const fn first_seqno(&self) -> Seqno {
        self.first_seqno
    }

    /// The place of one of the batch's records, counted from 0: the version of its key from then on, if it put a value and
    /// is the last of the batch for this key. `None`: the batch has fewer records.
    #[must_use]
    pub fn version(&self, record: usize) -> Option<Seqno> {
        let record = u64::try_from(record).ok()?;
        let place = Seqno::new(self.first_seqno.get().checked_add(record)?);
        (place <= self.last_seqno).then_some(place)
    }

    /// The place of the batch's last record: from here on every snapshot shows the batch.
    #[must_use]
    pub const fn last_seqno(&self) -> Seqno {
        self.last_seqno
    }

    /// The values that the batch's records replaced, one for each record in order. Empty unless [`Batch::with_priors`]
    /// asked for them.
    ///
    /// # Errors
    /// `Io`, `Corrupt`: a value could not be produced. Effect *applied*: the batch itself is durable and visible.
    pub fn priors(&self) -> Result<&[Option<Vec<u8>>]> {
        match &self.priors {
            Ok(priors) => Ok(priors),
            Err(error) => Err(error.clone()),
        }
    }

    /// The same, taken out.
    ///
    /// # Errors
    /// As for [`Receipt::priors`].
    pub fn into_priors(self) -> Result<Vec<Option<Vec<u8>>>> {
        self.priors
    }
}
