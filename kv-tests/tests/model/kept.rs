//! Scans that stay open while the store goes on: what they show is that of their moment.

use crate::run::Store;
use kv_log_engine::Scan;
use kv_tests::oracle::Contents;
use kv_trait::{Error, ErrorKind};
use std::ops::Bound;

fn over(error: &Error) -> bool {
    let is_missing = || error.to_string().contains("its file is missing");
    error.kind() == ErrorKind::Closed || error.kind() == ErrorKind::Corrupt && is_missing()
}

pub(crate) struct Kept {
    scan: Scan,
    /// What it has not shown yet.
    left: Contents,
    /// The store was closed: it goes on, or ends as closed.
    closed: bool,
}

impl Kept {
    pub(crate) fn new(store: &Store, [from, to]: [Vec<u8>; 2], map: &Contents) -> Self {
        let (from, to) = if from <= to { (from, to) } else { (to, from) };
        let bounds = (
            Bound::Included(from.as_slice()),
            Bound::Included(to.as_slice()),
        );
        let scan = store.engine().scan(bounds);
        let left = map.range(from.clone()..=to.clone());
        Self {
            scan: scan.unwrap(),
            left: left
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            closed: false,
        }
    }

    pub(crate) const fn closed(&mut self) {
        self.closed = true;
    }

    /// So many records from one end. Says how often it was over because the store was closed.
    pub(crate) fn read(&mut self, count: u8, back: bool) -> u64 {
        for _ in 0..count {
            let (found, expected) = if back {
                (self.scan.next_back(), self.left.pop_last())
            } else {
                (self.scan.next(), self.left.pop_first())
            };
            match found {
                // What the next owner has unlinked should end as closed, and is still told as a missing file.
                Some(Err(error)) if self.closed && over(&error) => return 1,
                Some(Err(error)) => panic!("a kept scan, closed: {}: {error:?}", self.closed),
                found => assert_eq!(found.map(|found| found.unwrap()), expected, "a kept scan"),
            }
        }
        0
    }
}
