//! Promises that can be broken.

/// A promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// Others see a batch in part.
    TornBatch,
    /// A batch is applied although a condition does not hold.
    ConditionIgnored,
    /// Of two changes of one key in a batch the first one counts.
    FirstChangeWins,
    /// The values before that a batch tells are those after its own earlier changes of other keys were undone.
    PriorOfAnother,
    /// A scan looks at the store anew for each record.
    ScanMoves,
    /// A scan ends before its last record.
    ScanMissesTheLast,
    /// A reversed scan goes forwards.
    ReversedGoesForwards,
    /// A limit yields the last records of the interval.
    LimitTakesTheLast,
    /// An interval with an excluded start has it.
    ExcludedStartIsIn,
    /// An interval with an included end lacks it.
    IncludedEndIsOut,
    /// A count is of all keys.
    CountsAll,
    /// `get_versioned` tells the store's last version, whoever wrote it.
    VersionOfAnother,
    /// `set_if` writes whatever the version.
    SetIfAlwaysSets,
    /// `insert` compares with what was there at first.
    InsertReplaces,
    /// `delete_if` deletes whatever the version.
    DeleteIfAlwaysDeletes,
    /// A key that is written with the value that it has keeps its version.
    SameValueSameVersion,
    /// An update that comes between is overwritten.
    LostUpdate,
    /// An update to nothing leaves the value.
    UpdateNeverRemoves,
    /// A snapshot shows later writes.
    SnapshotMoves,
    /// A scan of a snapshot shows later writes.
    SnapshotScanMoves,
    /// A transaction's reads of keys are not looked at again.
    WriteSkew,
    /// What a transaction scanned is not looked at again.
    Phantom,
    /// What a transaction read and a range delete removed is not looked at again.
    ClearUnnoticed,
    /// A transaction does not read what it wrote.
    OwnWritesUnseen,
    /// A transaction does not find by scans what it wrote.
    OwnWritesUnscanned,
    /// Writes of a transaction are seen before it commits.
    UncommittedSeen,
    /// A transaction that was refused leaves what it wrote.
    ConflictApplies,
    /// A transaction of reads alone can conflict.
    ReadsConflict,
    /// A range delete removes one key after the other.
    TornRangeDelete,
    /// A range delete takes the end that is excluded.
    RangeDeleteTakesItsEnd,
    /// What has expired is there for scans.
    ExpiredScanned,
    /// What has expired is a prior value.
    ExpiredIsPrior,
    /// What has expired has a version.
    ExpiredHasVersion,
    /// A snapshot's values expire.
    SnapshotExpires,
    /// A write without a time to live leaves the one that was there.
    TtlStays,
    /// A watcher is not told of removals.
    RemovalsUntold,
    /// A watcher is told of the first change of a batch only.
    BatchToldInPart,
    /// A watcher is told of keys beside its interval.
    WatchesAll,
    /// A watcher that begins behind a version is told of that one again.
    AfterIsIncluded,
    /// A watcher is not told of what is written before it first asks.
    WatchBeginsLate,
    /// All keyspaces are one.
    KeyspacesMix,
    /// `clear` clears every keyspace.
    ClearClearsAll,
    /// A keyspace that is created anew has what the dropped one had.
    DroppedComesBack,
    /// The handle of a dropped keyspace goes on.
    ADroppedKeyspaceAnswers,
    /// `close` does nothing.
    CloseDoesNothing,
}
