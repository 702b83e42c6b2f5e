//! `docs/DURABILITY.md` lists every bound; this holds the table against the constants.

use crate::batch::CONDITIONS_BYTES_MAX;
use crate::budgets::{
    CHORE_BYTES_PER_SECOND_MIN, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN, SEPARATION_BYTES_DEFAULT,
    SEPARATION_BYTES_MAX, WATCH_BYTES_MAX_DEFAULT,
};
use crate::commit::Limits;
use crate::commit::rotate::NAMES_LOOKED_AT;
use crate::format::edit::ENTRY_CONTENT_BYTES_MAX;
use crate::format::frame::FRAME_BODY_BYTES_MAX;
use crate::format::manifest::{RUNS_MAX, SEGMENTS_MAX, SEPARATOR_BYTES_MAX};
use crate::kvlog::ATTEMPTS_MAX;
use crate::log::kept::OPEN_SEGMENTS_MAX;
use crate::log::writer::{DIRECT_BYTES, GROW_BYTES_MAX, GROW_BYTES_MIN, RESERVED_BYTES};
use crate::options::{SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::recovery::repair::{QUARANTINE_BYTES_MAX, QUARANTINE_FILES_MAX};
use crate::store::catalog::{MANIFEST_EDITS_BYTES_MIN, MANIFEST_ROOM_BYTES};
use crate::store::lock::CLOSING_WAIT_MAX;
use crate::store::quotas::{
    CLOSE_BYTES_MIN, DELETES_BYTES_MAX, DELETES_BYTES_MIN, MAINTENANCE_BYTES_MIN,
    SPARED_TAIL_BYTES_MAX,
};
use kv_trait::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

const TEXT: &str = include_str!("../../docs/DURABILITY.md");

#[test]
fn the_table_of_bounds_is_true() {
    let limits = Limits::default();
    let bounds: Vec<(&str, u128)> = vec![
        ("key, bytes", KEY_BYTES_MAX as u128),
        ("value, bytes", VALUE_BYTES_MAX as u128),
        ("batch, bytes", FRAME_BODY_BYTES_MAX as u128),
        ("conditions of a batch, bytes", CONDITIONS_BYTES_MAX.into()),
        (
            "queue, bytes (one larger batch is admitted alone)",
            limits.queue_bytes.into(),
        ),
        ("queue, batches", limits.queue_batches as u128),
        (
            "group, bytes (one larger batch is a group alone)",
            limits.group_bytes.into(),
        ),
        ("term of a leader, ms", limits.term.as_millis()),
        ("term of a leader, groups", limits.term_groups.into()),
        ("linger of an idle leader, ms", limits.linger.as_millis()),
        (
            "gathering after a group, at most, us",
            limits.gather.as_micros(),
        ),
        (
            "segment, bytes, unless chosen otherwise",
            SEGMENT_BYTES_DEFAULT.into(),
        ),
        ("segment, bytes, smallest choice", SEGMENT_BYTES_MIN.into()),
        ("segment, bytes, largest choice", SEGMENT_BYTES_MAX.into()),
        (
            "memory, bytes, unless chosen otherwise",
            MEMORY_BYTES_DEFAULT.into(),
        ),
        ("memory, bytes, smallest choice", MEMORY_BYTES_MIN.into()),
        (
            "value that stays in a segment, from, bytes, unless chosen otherwise",
            SEPARATION_BYTES_DEFAULT.into(),
        ),
        (
            "value that stays in a segment, from, bytes, largest choice",
            SEPARATION_BYTES_MAX.into(),
        ),
        (
            "rate of chores, bytes a second, smallest choice",
            CHORE_BYTES_PER_SECOND_MIN.into(),
        ),
        (
            "log that watches keep, bytes, unless chosen otherwise",
            WATCH_BYTES_MAX_DEFAULT.into(),
        ),
        (
            "space zero-filled ahead, smallest step, bytes",
            GROW_BYTES_MIN.into(),
        ),
        (
            "space zero-filled ahead, largest step, bytes",
            GROW_BYTES_MAX.into(),
        ),
        (
            "room that a group makes with its own frames, from, bytes",
            DIRECT_BYTES.into(),
        ),
        ("room kept behind each group, bytes", RESERVED_BYTES.into()),
        (
            "names of a store that is written looked at, at least every, ms",
            NAMES_LOOKED_AT.as_millis(),
        ),
        (
            "attempts of a transaction that is run for its caller",
            ATTEMPTS_MAX.into(),
        ),
        ("segment files open for readers", OPEN_SEGMENTS_MAX as u128),
        ("quarantine, files", QUARANTINE_FILES_MAX as u128),
        (
            "quarantine, bytes of one torn tail",
            QUARANTINE_BYTES_MAX.into(),
        ),
        (
            "reserve for a close, at least, bytes",
            CLOSE_BYTES_MIN.into(),
        ),
        (
            "reserve for deletes, at least, bytes",
            DELETES_BYTES_MIN.into(),
        ),
        (
            "reserve for deletes, beside the longest key, at most, bytes",
            DELETES_BYTES_MAX.into(),
        ),
        (
            "reserve for maintenance, at least, bytes",
            MAINTENANCE_BYTES_MIN.into(),
        ),
        (
            "torn tail that is kept at the cost of the reserve, bytes",
            SPARED_TAIL_BYTES_MAX.into(),
        ),
        ("manifest content, bytes", ENTRY_CONTENT_BYTES_MAX as u128),
        (
            "room in the manifest, smallest step, bytes",
            MANIFEST_ROOM_BYTES.into(),
        ),
        (
            "edits of the manifest behind an image of less, bytes",
            MANIFEST_EDITS_BYTES_MIN.into(),
        ),
        ("segments", SEGMENTS_MAX as u128),
        ("runs", RUNS_MAX as u128),
        (
            "separators in the manifest, bytes",
            SEPARATOR_BYTES_MAX as u128,
        ),
        (
            "damages listed by `verify`; more are counted",
            crate::VerifyReport::DAMAGES_MAX as u128,
        ),
        (
            "wait for a store of the same process that is closing, ms",
            CLOSING_WAIT_MAX.as_millis(),
        ),
    ];
    let table = TEXT
        .split("## Bounds")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .nth(1)
        .unwrap();
    let rows: Vec<String> = table.lines().skip(2).map(str::to_owned).collect();
    let expected: Vec<String> = bounds
        .iter()
        .map(|(name, value)| format!("| {name} | {value} |"))
        .collect();
    assert_eq!(rows, expected);
}
