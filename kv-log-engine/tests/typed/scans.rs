//! Ranges and prefixes: which records, in which order, from which point, and what they cost.

use crate::{Store, my, open, with};
use kv_log_engine::storage::sim::{OpKind, SimDisk};
use kv_trait::{ErrorKind, Result};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

type Pair = (String, u32);

fn pair(name: &str, number: u32) -> Pair {
    (name.to_owned(), number)
}

async fn numbered(store: &Store<u32, String>, count: u32) -> Result<()> {
    let records: Vec<_> = (0..count)
        .map(|number| (number, format!("value {number}")))
        .collect();
    let records = records.iter().map(|(key, value)| (key, value));
    store.put_many(records).await
}

#[test]
fn ranges_give_what_a_map_gives_both_ways_and_from_a_cursor() {
    with::<u32, String>(async |store, _| {
        let mut map = BTreeMap::new();
        for number in 0..700_u32 {
            let (key, value) = (number * 3 % 1000, format!("value {number}"));
            store.put(&key, &value).await?;
            map.insert(key, value);
        }
        let bounds = [
            (Bound::Unbounded, Bound::Unbounded),
            (Bound::Included(10), Bound::Excluded(600)),
            (Bound::Excluded(12), Bound::Included(12)),
            (Bound::Excluded(12), Bound::Unbounded),
            (Bound::Unbounded, Bound::Included(999)),
            (Bound::Included(1001), Bound::Unbounded),
        ];
        for bounds in bounds {
            let expected: Vec<_> = match bounds {
                (Bound::Excluded(from), Bound::Included(to)) if from == to => Vec::new(),
                bounds => map
                    .range(bounds)
                    .map(|(key, value)| (*key, value.clone()))
                    .collect(),
            };
            assert_eq!(store.range(bounds).collect().await?, expected);
            assert_eq!(store.range(bounds).count().await?, expected.len() as u64);
            assert_eq!(store.range(bounds).is_empty().await?, expected.is_empty());
            assert_eq!(
                store.range(bounds).first().await?,
                expected.first().cloned()
            );
            assert_eq!(store.range(bounds).last().await?, expected.last().cloned());
            let mut backwards = store.range(bounds).reversed().collect().await?;
            backwards.reverse();
            assert_eq!(backwards, expected);

            for pages in [false, true].map(|reversed| pages(&store, bounds, reversed)) {
                let mut pages = pages.await?;
                pages.sort_unstable();
                let keys: Vec<_> = expected.iter().map(|(key, _)| *key).collect();
                assert_eq!(pages, keys);
            }
        }
        Ok(())
    });
}

/// The keys of a range, read in pages of 37.
async fn pages(
    store: &Store<u32, String>,
    bounds: (Bound<u32>, Bound<u32>),
    reversed: bool,
) -> Result<Vec<u32>> {
    let mut keys: Vec<u32> = Vec::new();
    loop {
        let mut page = store.range(bounds).limit(37).keys();
        if let Some(last) = keys.last() {
            page = page.after(last);
        }
        if reversed {
            page = page.reversed();
        }
        let page = page.collect().await?;
        if page.is_empty() {
            return Ok(keys);
        }
        keys.extend(page);
    }
}

#[test]
fn a_start_above_the_end_is_an_empty_range() {
    with::<u32, String>(async |store, _| {
        numbered(&store, 10).await?;
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
        let ranges = [5..2, 5..5];
        for range in ranges {
            assert_eq!(store.range(range.clone()).collect().await?, []);
            assert_eq!(store.range(range.clone()).last().await?, None);
            assert_eq!(store.range(range).stream().next().await.transpose()?, None);
        }
        // A cursor beyond the end, and one before the start.
        assert!(
            store
                .range(2..5)
                .keys()
                .after(&7)
                .collect()
                .await?
                .is_empty()
        );
        assert_eq!(
            store.range(2..5).keys().after(&0).collect().await?,
            [2, 3, 4]
        );
        let before = store.range(2..5).keys().reversed().after(&0);
        assert!(before.collect().await?.is_empty());
        Ok(())
    });
}

#[test]
fn a_prefix_of_a_tuple_is_its_first_fields() {
    with::<Pair, u8>(async |store, _| {
        let names = ["", "a", "ann", "anna", "ann\0", "b"];
        for (name, number) in names
            .iter()
            .flat_map(|name| [0, 1, u32::MAX].map(|n| (name, n)))
        {
            store.put(&pair(name, number), &7).await?;
        }
        for name in names {
            let expected = [0, 1, u32::MAX].map(|number| pair(name, number));
            assert_eq!(store.prefix(&(name,)).keys().collect().await?, expected);
            assert_eq!(
                store.prefix(&(name,)).keys().last().await?,
                Some(pair(name, u32::MAX))
            );
        }
        assert_eq!(store.prefix(&("c",)).count().await?, 0);
        Ok(())
    });
}

#[test]
fn a_stream_shows_one_point_however_long_it_takes() {
    with::<u32, String>(async |store, _| {
        numbered(&store, 2000).await?;
        let mut records = store.range(..).versioned().stream();
        let mut blocking = store.range(..).blocking();
        let first = records.next().await.unwrap()?;
        for number in 0..2000_u32 {
            match number % 3 {
                0 => store.remove(&number).await?,
                _ => store.put(&number, &"later".to_owned()).await?,
            }
        }
        store.put(&9999, &"new".to_owned()).await?;
        store.engine().freeze()?;
        while store.engine().run_slice()? {}

        assert_eq!((first.0, &*first.1.value), (0, "value 0"));
        for number in 1..2000_u32 {
            let (key, found) = records.next().await.unwrap()?;
            assert_eq!((key, found.value), (number, format!("value {number}")));
        }
        assert!(records.next().await.is_none());
        assert!(records.next().await.is_none());
        let blocking = blocking.by_ref().collect::<Result<Vec<_>>>()?;
        assert_eq!(blocking.len(), 2000);
        assert_eq!(blocking[1999], (1999, "value 1999".to_owned()));
        Ok(())
    });
}

#[test]
fn some_hundred_records_share_a_hop() {
    with::<u32, String>(async |store, runtime| {
        numbered(&store, 5000).await?;
        let before = runtime.hops();
        let mut records = store.range(..).stream();
        let mut count = 0;
        while let Some(record) = records.next().await {
            record?;
            count += 1;
        }
        assert_eq!(count, 5000);
        let hops = runtime.hops() - before;
        assert!((10..=12).contains(&hops), "{hops} hops");

        let before = runtime.hops();
        assert_eq!(store.range(1000..1300).collect().await?.len(), 300);
        assert_eq!(store.last().await?.unwrap().0, 4999);
        assert!(runtime.hops() - before <= 2);
        Ok(())
    });
}

static DECODED: AtomicUsize = AtomicUsize::new(0);

/// A text that counts how often one is decoded.
#[derive(Serialize)]
struct Counted(String);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::SeqCst);
        String::deserialize(deserializer).map(Self)
    }
}

#[test]
fn a_stream_reads_ahead_and_holds_two_pieces_at_most() {
    with::<u32, Counted>(async |store, _| {
        let value = Counted("x".repeat(100 * 1024));
        for number in 0..40_u32 {
            store.put(&number, &value).await?;
        }
        let before = DECODED.load(Ordering::SeqCst);
        let decoded = || DECODED.load(Ordering::SeqCst) - before;
        let settled = || std::thread::sleep(Duration::from_millis(200));
        let mut records = store.range(..).stream();
        settled();
        assert_eq!(decoded(), 0, "nobody has asked yet");
        assert_eq!(records.next().await.unwrap()?.0, 0);
        settled();
        // Three values make a piece, and one piece is read ahead.
        assert_eq!(decoded(), 6);
        drop(records);
        settled();
        assert_eq!(decoded(), 6);
        Ok(())
    });
}

#[test]
fn a_value_that_does_not_decode_is_an_error_with_its_key_and_the_scan_goes_on() {
    with::<u32, String>(async |store, _| {
        numbered(&store, 3).await?;
        let damaged = kv_trait::key::encode(&1_u32)?;
        store.engine().put(&damaged, &[200])?;

        let mut records = store.range(..).stream();
        assert_eq!(records.next().await.unwrap()?.0, 0);
        let error = records.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains(r"\x00\x00\x00\x01"), "{error}");
        assert_eq!(records.next().await.unwrap()?.0, 2);
        assert!(records.next().await.is_none());

        let items: Vec<_> = store.range(..).blocking().collect();
        assert_eq!(
            items.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, false, true]
        );
        // What decodes no value minds none.
        assert_eq!(store.range(..).keys().collect().await?, [0, 1, 2]);
        assert_eq!(store.count().await?, 3);
        assert_eq!(
            store.range(..).collect().await.unwrap_err().kind(),
            ErrorKind::Codec
        );
        Ok(())
    });
}

#[test]
fn keys_alone_read_no_value() {
    let disk = SimDisk::new();
    my::block_on(async {
        let store = open::<u32, String>(&disk).await?;
        numbered(&store, 50).await?; // long enough for the segment
        let reads = || {
            let calls = disk.calls();
            calls.get(&OpKind::Read).copied().unwrap_or_default()
        };
        let before = reads();
        assert_eq!(store.range(..).keys().collect().await?.len(), 50);
        assert_eq!(store.count().await?, 50);
        assert_eq!(reads() - before, 0);
        assert_eq!(store.range(..).collect().await?.len(), 50);
        assert!(reads() - before >= 50);
        Ok::<(), kv_trait::Error>(())
    })
    .unwrap();
}

#[test]
fn a_scan_of_a_closed_store_is_closed() {
    with::<u32, String>(async |store, _| {
        numbered(&store, 10).await?;
        store.close().await?;
        let mut records = store.range(..).stream();
        assert_eq!(
            records.next().await.unwrap().unwrap_err().kind(),
            ErrorKind::Closed
        );
        assert!(records.next().await.is_none());
        assert_eq!(store.count().await.unwrap_err().kind(), ErrorKind::Closed);
        let items: Vec<_> = store.range(..).blocking().collect();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].as_ref().unwrap_err().kind(), ErrorKind::Closed);
        Ok(())
    });
}

#[test]
fn a_key_that_is_too_long_is_told_by_the_first_answer() {
    with::<String, u32>(async |store, _| {
        let long = "x".repeat(kv_trait::KEY_BYTES_MAX + 1);
        let mut records = store.range(&*long..).stream();
        assert_eq!(
            records.next().await.unwrap().unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        assert!(records.next().await.is_none());
        assert_eq!(
            store.prefix(&*long).count().await.unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        let after = store.range(..).after(&*long);
        assert_eq!(after.first().await.unwrap_err().kind(), ErrorKind::TooLarge);
        Ok(())
    });
}

#[test]
fn a_stream_that_outlives_every_handle_goes_on() {
    with::<u32, String>(async |store, _| {
        numbered(&store, 3000).await?;
        let mut records = store.range(..).stream();
        drop(store);
        let mut count = 0;
        while let Some(record) = records.next().await {
            record?;
            count += 1;
        }
        assert_eq!(count, 3000);
        Ok(())
    });
}
