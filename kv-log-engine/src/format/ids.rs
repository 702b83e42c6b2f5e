//! The numbers that name things: places in the order of writes, segments, places on disk.

use std::fmt;

/// Place in the total order of writes. One per record, consecutive within a batch, never used twice once
/// acknowledged. The first record of a store has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seqno(u64);

impl Seqno {
    /// Before every record.
    pub const ZERO: Self = Self(0);

    pub(crate) const fn new(seqno: u64) -> Self {
        Self(seqno)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The place after this one.
    pub(crate) fn next(self) -> Self {
        self.checked_add(1)
            .expect("at a billion writes a second, 2^64 takes five centuries")
    }

    pub(crate) fn checked_add(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }

    /// The place before this one; [`Seqno::ZERO`] stays.
    pub(crate) const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl From<u64> for Seqno {
    /// A place that was noted as a number.
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Seqno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a file of a store. One number space for all kinds of files; a number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(u64);

impl SegmentId {
    pub(crate) const FIRST: Self = Self(1);
    /// Above every id of every store: what a file says beyond it is not believed.
    pub(crate) const END: Self = Self(1 << 62);
    /// A file of somebody's may have any number. Those from here on are not passed: they would use up what is left.
    pub(crate) const PASSED_MAX: Self = Self(Self::END.0 / 2);

    pub(crate) const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) fn next(self) -> Self {
        self.plus(1)
    }

    pub(crate) fn plus(self, count: u64) -> Self {
        let id = self.0.checked_add(count);
        Self(id.expect("ids of 62 bits do not fit any disk"))
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

/// Place in the order of the manifest's changes, counted for the store's whole life. The first image of a store has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EditNumber(u64);

impl EditNumber {
    /// Before every edit: what the header of a store's first file carries.
    pub(crate) const ZERO: Self = Self(0);

    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one. Numbers from a file are arbitrary: it stays at the highest.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for EditNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a level of runs. Newer levels have higher numbers: that of a checkpoint gets the number of its run's file. The
/// output of a merge goes to the oldest level merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LevelId(pub(crate) u64);

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Location {
    pub(crate) segment: SegmentId,
    /// Bytes from the start of the segment's file to the record.
    pub(crate) offset: u64,
    /// Header, key and value of the record.
    pub(crate) record_bytes: u32,
}

/// What the index knows of a key: where its record lies, and which write it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) location: Location,
    pub(crate) seqno: Seqno,
}
