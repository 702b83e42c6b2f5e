//! Round trips, and hostile decoding: what is checked is what is served, and arbitrary bytes never panic.

#![expect(clippy::cast_possible_truncation, reason = "small numbers made here")]

use super::block::{self, Held, Stored, Version};
use super::fence::{Part, Place, separator};
use super::filter::{Filter, KeyHash};
use super::footer::{self, Expiring, Footer, Hole, Referred, RunFacts, TRAILER_BYTES, Trailer};
use super::header::{RUN_HEADER_BYTES, RunHeader, file_name, parse_file_name};
use super::piece::{self, PIECE_HEAD_BYTES, PieceKind, Sealer};
use super::table::{Entries, Payload, Table, TableBuilder};
use super::{FULL_KEY_BYTES_MAX, RunId, full_key, push_varint, split_key, successor};
use crate::format::cursor::Cursor;
use crate::format::ids::{EditNumber, Location, SegmentId, Seqno};
use crate::format::segment::SegmentHeader;
use crate::format::{Defect, Salt, StoreId};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A figure, for whoever asks for it with `--nocapture`.
#[expect(clippy::print_stdout, reason = "that is what it is for")]
pub(crate) fn note(figure: &str) {
    println!("{figure}");
}

const SALT: Salt = Salt([7; 16]);
const STORE: StoreId = StoreId([9; 16]);

fn versions() -> impl Strategy<Value = Version<Vec<u8>>> {
    let location = (any::<u64>(), any::<u64>(), any::<u32>());
    let held = prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(Held::Here),
        Just(Held::Tombstone),
        location.prop_map(|(segment, offset, record_bytes)| Held::Separated(Location {
            segment: SegmentId::new(segment),
            offset,
            record_bytes,
        })),
    ];
    (any::<u64>(), any::<Option<u64>>(), held).prop_map(|(seqno, expiry_ms, held)| Version {
        seqno: Seqno::new(seqno),
        expiry_ms,
        held,
    })
}

fn block_of(entries: &BTreeMap<Vec<u8>, Version<Vec<u8>>>) -> Vec<u8> {
    let mut builder = TableBuilder::default();
    for (key, version) in entries {
        builder.push(key, |out| block::encode(out, &borrowed(version)));
    }
    builder.finish()
}

fn borrowed(version: &Version<Vec<u8>>) -> Version<&[u8]> {
    let held = match &version.held {
        Held::Here(value) => Held::Here(value.as_slice()),
        Held::Tombstone => Held::Tombstone,
        Held::Separated(location) => Held::Separated(*location),
    };
    Version {
        seqno: version.seqno,
        expiry_ms: version.expiry_ms,
        held,
    }
}

fn parse<P: Payload>(content: &[u8]) -> Result<Table<P>, Defect> {
    Table::parse(Arc::from(content), |_, _| Ok(()))
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![Just(0_u8), Just(b'a'), Just(b'b'), Just(255)],
        0..6,
    )
}

proptest! {
    #[test]
    fn a_block_gives_back_what_was_put_into_it(
        entries in btree_map(keys(), versions(), 0..80),
        asked in vec(keys(), 0..20),
    ) {
        let content = block_of(&entries);
        let table: Table<Stored> = parse(&content).unwrap();
        prop_assert_eq!(table.len(), entries.len());
        let own = |stored: Stored| stored.map(|slice| content[slice.range()].to_vec());
        let sorted: Vec<_> = entries.iter().collect();
        let mut walk = Entries::new(table.clone());
        for at in (0..sorted.len()).chain((0..sorted.len()).rev()) {
            let (key, stored) = walk.entry(at).unwrap();
            prop_assert_eq!(key, sorted[at].0.as_slice());
            prop_assert_eq!(&own(stored), sorted[at].1);
            prop_assert_eq!(table.key(at), Some(sorted[at].0.clone()));
        }
        prop_assert!(walk.entry(sorted.len()).is_none() && table.key(sorted.len()).is_none());
        for key in asked.iter().chain(entries.keys()) {
            prop_assert_eq!(table.find(key).map(own), entries.get(key).cloned());
            prop_assert_eq!(table.seek(key), entries.range(..key.clone()).count());
            let floor = entries.range(..=key.clone()).count().checked_sub(1);
            prop_assert_eq!(table.floor(key).map(|(at, _)| at), floor);
        }
    }

    #[test]
    fn a_separator_is_above_the_one_and_not_above_the_other(keys in btree_set(keys(), 2..3)) {
        let keys: Vec<_> = keys.into_iter().collect();
        if let [last, first] = keys.as_slice() {
            let between = separator(last, first);
            prop_assert!(last.as_slice() < between && between <= first.as_slice());
            prop_assert!(between.len() <= last.len() + 1);
        }
    }

    #[test]
    fn varints_have_one_form(value in any::<u64>(), shift in 0_u32..64, noise in vec(any::<u8>(), 0..12)) {
        let value = value >> shift;
        let mut bytes = Vec::new();
        push_varint(&mut bytes, value);
        prop_assert_eq!(Cursor::new(&bytes).varint("number"), Ok(value));
        let mut cursor = Cursor::new(&noise);
        if let Ok(value) = cursor.varint("number") {
            let mut again = Vec::new();
            push_varint(&mut again, value);
            prop_assert_eq!(&again[..], &noise[..noise.len() - cursor.remaining()]);
        }
    }

    #[test]
    fn full_keys_are_in_the_order_of_their_parts(
        a in (any::<u32>(), keys()), b in (any::<u32>(), keys()), same in any::<bool>(),
    ) {
        let b = if same { (a.0, b.1) } else { b };
        prop_assert_eq!(full_key(a.0, &a.1).cmp(&full_key(b.0, &b.1)), a.cmp(&b));
        let full = full_key(a.0, &a.1);
        prop_assert_eq!(split_key(&full), Some((a.0, a.1.as_slice())));
        prop_assert!(successor(&a.1) > a.1);
    }

    #[test]
    fn arbitrary_bytes_never_panic_a_decoder_of_runs(bytes in vec(any::<u8>(), 0..300), offset in any::<u64>()) {
        drop(parse::<Stored>(&bytes));
        drop(parse::<Place>(&bytes));
        drop(parse::<Part>(&bytes));
        drop(Filter::decode(&bytes));
        drop(Footer::decode(&bytes, offset));
        drop(RunHeader::decode(&bytes));
        drop(Trailer::decode(&bytes, &SALT, offset));
        drop(piece::open(&bytes, PieceKind::Block, &SALT, offset));
    }

    /// A table whose bytes somebody changed is refused, or is in order and complete all the same.
    #[test]
    fn a_changed_table_is_refused_or_in_order(
        entries in btree_map(keys(), versions(), 1..60),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut content = block_of(&entries);
        for (at, byte) in changes {
            let at = at.index(content.len());
            content[at] = byte;
        }
        if let Ok(table) = parse::<Stored>(&content) {
            let mut walk = Entries::new(table.clone());
            let mut last: Option<Vec<u8>> = None;
            for at in 0..table.len() {
                let key = walk.entry(at).map(|(key, _)| key.to_vec()).unwrap();
                prop_assert!(last.as_ref().is_none_or(|last| *last < key));
                prop_assert!(table.find(&key).is_some());
                prop_assert_eq!(table.floor(&key).map(|(found, _)| found), Some(at));
                prop_assert_eq!(table.seek(&key), at);
                last = Some(key);
            }
        }
    }

    #[test]
    fn a_piece_is_good_in_its_place_only(
        content in vec(any::<u8>(), 0..200), repeat in 1_usize..40, offset in any::<u32>(), at in any::<prop::sample::Index>(),
    ) {
        let content = content.repeat(repeat);
        let offset = u64::from(offset);
        for compress in [false, true] {
            let mut bytes = Vec::new();
            let length = Sealer::new(compress).seal(&mut bytes, PieceKind::Fence, &content, &SALT, offset);
            prop_assert_eq!(length as usize, bytes.len());
            prop_assert!(bytes.len() <= content.len() + PIECE_HEAD_BYTES);
            let opened = piece::open(&bytes, PieceKind::Fence, &SALT, offset);
            prop_assert_eq!(opened.as_deref(), Ok(&content[..]));
            prop_assert!(piece::open(&bytes, PieceKind::Block, &SALT, offset).is_err());
            prop_assert!(piece::open(&bytes, PieceKind::Fence, &Salt([8; 16]), offset).is_err());
            prop_assert!(piece::open(&bytes, PieceKind::Fence, &SALT, offset + 1).is_err());
            prop_assert!(piece::open(&bytes[..bytes.len() - 1], PieceKind::Fence, &SALT, offset).is_err());
            let flipped = at.index(bytes.len());
            bytes[flipped] ^= 1;
            prop_assert!(piece::open(&bytes, PieceKind::Fence, &SALT, offset).is_err());
        }
    }

    #[test]
    fn a_filter_denies_no_key_it_has(keys in btree_set(vec(any::<u8>(), 4..20), 1..300)) {
        let hashes: Vec<_> = keys.iter().map(|key| KeyHash::of(STORE, key)).collect();
        let filter = Filter::decode(&Filter::build(&hashes)).unwrap();
        for hash in hashes {
            prop_assert!(filter.may_hold(hash));
        }
    }
}

/// Eight levels may waste one block in a hundred absent lookups together: 0.125 % each.
/// A search goes by what keys share without putting them together, so it has to be all that they share.
#[test]
fn a_key_that_shares_more_than_it_says_is_refused() {
    let version = [2, 1]; // a tombstone with seqno 1
    let entry = |shared: u8, rest: &[u8]| {
        let mut entry = vec![shared, rest.len() as u8];
        entry.extend_from_slice(rest);
        entry.extend_from_slice(&version);
        entry
    };
    let table = |second: Vec<u8>| {
        let mut content = entry(0, b"abc");
        content.extend_from_slice(&second);
        content.extend_from_slice(&[0; 4]); // the place to start
        content.extend_from_slice(&[2, 0, 0, 0]);
        parse::<Stored>(&content)
    };
    assert!(table(entry(2, b"d")).unwrap().find(b"abd").is_some());
    for (shared, rest) in [(1, &b"bd"[..]), (0, b"abd")] {
        let refused = table(entry(shared, rest)).unwrap_err();
        assert!(
            refused.to_string().contains("shared key length"),
            "{refused}"
        );
    }
}

#[test]
fn a_filter_lets_fewer_than_one_absent_key_in_800_pass() {
    let hash = |number: u64| KeyHash::of(STORE, &full_key(0, &number.to_le_bytes()));
    let (mut asked, mut passed) = (0_u64, 0_u64);
    for part in 0..50_u64 {
        let hashes: Vec<_> = (0..2048).map(|at| hash(part * 2048 + at)).collect();
        let filter = Filter::decode(&Filter::build(&hashes)).unwrap();
        assert!(hashes.iter().all(|hash| filter.may_hold(*hash)));
        assert_eq!(filter.content_bytes(), 4096);
        for absent in 0..2_000 {
            asked += 1;
            passed += u64::from(filter.may_hold(hash((1 << 40) + part * 2_000 + absent)));
        }
    }
    note(&format!("filter: {passed} of {asked} absent keys pass"));
    assert_eq!(asked, 100_000);
    assert!(passed * 800 < asked, "{passed} of {asked}");
}

/// Little is stored, much is promised: no memory is taken for what the codec cannot make of it.
#[test]
fn a_content_longer_than_its_codec_can_make_it_is_refused() {
    let mut bytes = Vec::new();
    Sealer::new(true).seal(&mut bytes, PieceKind::Block, &[7; 4000], &SALT, 96);
    let stored = bytes.len() - PIECE_HEAD_BYTES;
    for claimed in [
        stored * 255 + 1,
        1 << 30,
        (1 << 30) + 1,
        u32::MAX as usize,
        3999,
        4001,
    ] {
        bytes[12..16].copy_from_slice(&(claimed as u32).to_le_bytes());
        let crc = piece::place_crc(&bytes[4..], &SALT, 96);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        let opened = piece::open(&bytes, PieceKind::Block, &SALT, 96);
        assert!(opened.is_err(), "{claimed}");
    }
}

#[test]
fn unknown_codecs_kinds_and_flags_are_named() {
    let mut bytes = Vec::new();
    Sealer::new(false).seal(&mut bytes, PieceKind::Block, b"content", &SALT, 96);
    bytes[5] = 9;
    let crc = piece::place_crc(&bytes[4..], &SALT, 96);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    let opened = piece::open(&bytes, PieceKind::Block, &SALT, 96);
    assert_eq!(
        opened,
        Err(Defect::Unsupported {
            what: "codec",
            found: 9
        })
    );
    for (head, what) in [(0x21, "flags of an entry"), (0x04, "kind of an entry")] {
        let mut builder = TableBuilder::default();
        builder.push(b"key", |out| out.extend_from_slice(&[head, 1, 0]));
        let refused = parse::<Stored>(&builder.finish()).unwrap_err();
        assert!(matches!(refused, Defect::Unsupported { what: found, .. } if found == what));
    }
}

#[test]
fn the_longest_keys_fit_and_longer_ones_do_not() {
    let long = |last: u8| {
        let mut key = vec![b'k'; FULL_KEY_BYTES_MAX];
        key[FULL_KEY_BYTES_MAX - 1] = last;
        key
    };
    let entries = (0..40_u8).map(|last| {
        let version = Version {
            seqno: Seqno::new(last.into()),
            expiry_ms: None,
            held: Held::Tombstone,
        };
        (long(last), version)
    });
    let content = block_of(&entries.collect());
    assert!(content.len() < 4 * FULL_KEY_BYTES_MAX, "{}", content.len());
    let table = parse::<Stored>(&content).unwrap();
    assert!((0..40).all(|last| table.find(&long(last)).is_some()));
    let mut builder = TableBuilder::default();
    builder.push(&vec![b'k'; FULL_KEY_BYTES_MAX + 1], |out| {
        out.extend_from_slice(&[2, 1]);
    });
    assert!(parse::<Stored>(&builder.finish()).is_err());
}

fn facts() -> RunFacts {
    let hole = |from: &[u8], to: &[u8]| Hole {
        from: from.to_vec(),
        to: to.to_vec(),
        cause: "a cause".into(),
    };
    RunFacts {
        entries: 3,
        tombstones: 1,
        lowest: Seqno::new(4),
        highest: Seqno::new(9),
        expiring: Some(Expiring {
            entries: 2,
            earliest_ms: 77,
            latest_ms: 78,
        }),
        content_bytes: 100,
        smallest: b"\0\0\0\0a".to_vec(),
        largest: b"\0\0\0\0z".to_vec(),
        referred: BTreeMap::from([(
            SegmentId::new(5),
            Referred {
                records: 2,
                bytes: 9000,
            },
        )]),
        holes: vec![
            hole(b"\0\0\0\0b", b"\0\0\0\0c"),
            hole(b"\0\0\0\0c", b"\0\0\0\0d"),
        ],
    }
}

fn top_level(parts: &[(&[u8], Part)]) -> Vec<u8> {
    let mut builder = TableBuilder::default();
    for (separator, part) in parts {
        builder.push(separator, |out| part.push(out));
    }
    builder.finish()
}

fn part(entries: u64, offset: u64) -> Part {
    let place = |offset| Place { offset, bytes: 50 };
    Part {
        entries,
        fence: place(offset),
        filter: place(offset + 50),
    }
}

#[test]
fn a_footer_gives_back_what_was_put_into_it() {
    let top = top_level(&[(b"", part(1, 104)), (b"b", part(2, 500))]);
    let content = footer::encode(STORE, &SALT, RunId::new(8), &facts(), &top);
    let footer = Footer::decode(&content, 10_000).unwrap();
    assert_eq!(footer.facts, facts());
    assert_eq!(
        (footer.store_id, footer.salt, footer.id),
        (STORE, SALT, RunId::new(8))
    );
    assert_eq!(footer.parts.floor(b"c"), Some((1, part(2, 500))));
    assert_eq!(
        footer.hole_over(b"\0\0\0\0b").map(|hole| hole.to.len()),
        Some(5)
    );
    assert!(footer.hole_over(b"\0\0\0\0d").is_none() && footer.hole_over(b"\0\0\0\0a").is_none());
    assert!(footer.memory_bytes() > 256);
    for length in 0..content.len() {
        assert!(
            Footer::decode(&content[..length], 10_000).is_err(),
            "{length}"
        );
    }
}

#[test]
fn a_footer_whose_numbers_cannot_be_is_refused() {
    let refused = |facts: &RunFacts, parts: &[(&[u8], Part)]| {
        let content = footer::encode(STORE, &SALT, RunId::new(8), facts, &top_level(parts));
        assert!(Footer::decode(&content, 10_000).is_err());
    };
    let good: [(&[u8], Part); 1] = [(b"", part(3, 104))];
    refused(&facts(), &[(b"", part(4, 104))]); // entries do not add up
    refused(&facts(), &[(b"", part(3, 103))]); // inside the header
    refused(&facts(), &[(b"", part(3, 9_901))]); // behind the end
    refused(&facts(), &[(b"", part(3, u64::MAX - 60))]);
    refused(&facts(), &[(b"", part(1, 500)), (b"b", part(2, 104))]); // backwards
    let mut huge = part(3, 104);
    huge.filter.bytes = u64::MAX;
    refused(&facts(), &[(b"", huge)]);
    huge.filter.bytes = 15; // no room for a head
    refused(&facts(), &[(b"", huge)]);
    refused(
        &RunFacts {
            tombstones: 4,
            ..facts()
        },
        &good,
    );
    refused(
        &RunFacts {
            lowest: Seqno::new(10),
            ..facts()
        },
        &good,
    );
    let mut overlapping = facts();
    overlapping.holes[0].to = b"\0\0\0\0cc".to_vec();
    refused(&overlapping, &good);
    let mut backwards = facts();
    backwards.holes[0].to = b"\0\0\0\0b".to_vec();
    refused(&backwards, &good);
    // A count that the bytes cannot hold takes no memory: the first entry that is missing ends it.
    let mut content = footer::encode(STORE, &SALT, RunId::new(8), &facts(), &top_level(&good));
    let segments_at = 32 + 8 * 8 + (4 + 5) * 2;
    content[segments_at..segments_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Footer::decode(&content, 10_000).is_err());
}

#[test]
fn filters_whose_numbers_cannot_be_are_refused() {
    let filter = |probes: u32, words: u32, real: usize| {
        let mut content = probes.to_le_bytes().to_vec();
        content.extend_from_slice(&words.to_le_bytes());
        content.resize(8 + real * 8, 0xff);
        Filter::decode(&content)
    };
    assert!(filter(11, 2, 2).is_ok());
    for (probes, words, real) in [
        (0, 2, 2),
        (33, 2, 2),
        (11, 0, 0),
        (11, 3, 2),
        (11, 1, 2),
        (11, u32::MAX, 2),
    ] {
        assert!(
            filter(probes, words, real).is_err(),
            "{probes} {words} {real}"
        );
    }
    assert!(Filter::that_says_nothing().may_hold(KeyHash::of(STORE, b"anything")));
}

#[test]
fn trailers_and_headers_are_good_in_their_place_only() {
    let trailer = Trailer {
        footers: [1000, 9000],
        footer_bytes: 700,
    };
    let bytes = trailer.encode(&SALT, 20_000);
    assert_eq!(Trailer::decode(&bytes, &SALT, 20_000), Ok(trailer));
    assert!(Trailer::decode(&bytes, &SALT, 20_001).is_err());
    assert!(Trailer::decode(&bytes, &Salt([8; 16]), 20_000).is_err());
    let far = Trailer {
        footers: [1000, 19_500],
        footer_bytes: 700,
    };
    assert!(Trailer::decode(&far.encode(&SALT, 20_000), &SALT, 20_000).is_err());
    assert_eq!(Trailer::offsets(0), None);
    assert_eq!(Trailer::offsets(RUN_HEADER_BYTES + 4096 + 63), None);
    let shortest = RUN_HEADER_BYTES + 4096 + 2 * TRAILER_BYTES as u64;
    assert_eq!(
        Trailer::offsets(shortest),
        Some([shortest - 32, RUN_HEADER_BYTES])
    );

    let header = RunHeader {
        store_id: STORE,
        incarnation: StoreId([3; 16]),
        salt: SALT,
        id: RunId::new(12),
        edit: EditNumber::new(44),
    };
    let bytes = header.encode();
    assert_eq!(RunHeader::decode(&bytes), Ok(header));
    // Whoever takes it for a segment is told what it is.
    let taken = SegmentHeader::decode(&bytes).unwrap_err();
    assert!(
        matches!(taken, Defect::Unsupported { found: 2, .. }),
        "{taken}"
    );
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert!(RunHeader::decode(&flipped).is_err(), "{at}");
    }
    assert_eq!(
        parse_file_name(&file_name(RunId::new(12))),
        Some(RunId::new(12))
    );
    assert_eq!(parse_file_name("12.run"), None);
    assert_eq!(parse_file_name("00000012.seg"), None);
}

#[test]
fn keys_in_messages_are_escaped_and_short() {
    let named = super::name_range(&full_key(0, b"a\n"), &full_key(7, &[b'x'; 100]));
    assert_eq!(named, format!("[\"a\\n\", 7:\"{}\"...)", "x".repeat(48)));
    assert_eq!(super::name_key(&[1]), "keyspace prefix \"\\x01\"");
}
