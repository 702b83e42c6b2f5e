//! Round trips, and hostile decoding: arbitrary bytes never panic and never allocate beyond their own size.

#![expect(clippy::cast_possible_truncation, reason = "small numbers made here")]

use super::edit::{self, EntryKind};
use super::frame::{self, Ending, Footer, FrameBuffer, FrameHeader, FrameKind, Place};
use super::manifest::{Edit, KeyspaceEntry, Manifest, SegmentEntry, SegmentState};
use super::record::{self, Head, RecordKind};
use super::segment::{self, SegmentHeader, SegmentKind};
use super::{Defect, Salt, StoreId};
use crate::format::ids::{EditNumber, SegmentId, Seqno};
use proptest::collection::vec;
use proptest::prelude::*;

const SALT: Salt = Salt([7; 16]);

fn place(offset: u64) -> Place {
    Place {
        salt: SALT,
        offset,
        mark: 80,
        attempt: 9,
        chain: 3,
        first_seqno: Seqno::new(5),
    }
}

type Records = [(Vec<u8>, Option<Vec<u8>>)];

fn buffer(records: &Records) -> FrameBuffer {
    let mut frame = FrameBuffer::new();
    for (key, value) in records {
        match value {
            Some(value) => frame.push(RecordKind::Put, 0, key, value),
            None => frame.push(RecordKind::Tombstone, 0, key, &[]),
        }
    }
    frame
}

fn manifest() -> Manifest {
    let segment = |id: u64, state| SegmentEntry {
        id: SegmentId::new(id),
        salt: Salt([id as u8; 16]),
        state,
        base_seqno: Seqno::new(1),
        end: 4096 * id,
        chain: 77,
        min_seqno: Seqno::new(1),
        max_seqno: Seqno::new(9),
    };
    let mut manifest = Manifest::new(
        StoreId([1; 16]),
        StoreId([2; 16]),
        1_700_000_000_000,
        64 << 20,
    );
    manifest.edit = EditNumber::new(7);
    manifest.next_seqno = Seqno::new(10);
    manifest.next_file_id = SegmentId::new(3);
    manifest.keyspaces.push(KeyspaceEntry {
        id: 0,
        fingerprint: "key=ordered/1\nvalue=postcard/1".into(),
    });
    manifest.segments.push(segment(1, SegmentState::Sealed));
    manifest.segments.push(segment(2, SegmentState::Active));
    manifest
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn verified(bytes: &[u8], offset: u64) -> Result<Pairs, Defect> {
    let (header, _) = FrameHeader::decode(bytes, &SALT, offset)?.ok_or(Defect::Magic)?;
    if !header.fits(bytes.len() as u64) {
        return Err(Defect::Field {
            what: "length",
            found: header.frame_bytes(),
        });
    }
    let frame = &bytes[..header.frame_bytes() as usize];
    let mut found = Vec::new();
    frame::verify_body(&header, frame, &SALT, offset, |_, record, _| {
        found.push((record.key.to_vec(), record.value.to_vec()));
    })?;
    Ok(found)
}

proptest! {
    #[test]
    fn batches_round_trip(
        records in vec((vec(any::<u8>(), 0..20), proptest::option::of(vec(any::<u8>(), 0..300))), 1..20),
        offset in (0_u64..1 << 40).prop_map(|units| units * 8),
    ) {
        let mut frame = buffer(&records);
        frame.finish(&place(offset));
        prop_assert_eq!(frame.frame_bytes() % 8, 0);
        let found = verified(frame.bytes(), offset).unwrap();
        let expected: Vec<_> =
            records.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_flipped_bit_of_a_frame_is_noticed(
        value in vec(any::<u8>(), 0..100),
        position in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut frame = buffer(&[(b"key".to_vec(), Some(value)), (b"other".to_vec(), None)]);
        frame.finish(&place(80));
        let mut bytes = frame.bytes().to_vec();
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        prop_assert!(verified(&bytes, 80).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic_a_decoder(bytes in vec(any::<u8>(), 0..2000)) {
        let mut framed = bytes.clone();
        framed.splice(0..0, *b"KVRF");
        let _unused = FrameHeader::decode(&framed, &SALT, 0);
        let _unused = SegmentHeader::decode(&bytes);
        let _unused = Manifest::from_image(EditNumber::ZERO, &bytes);
        let _unused = manifest().apply(EditNumber::ZERO, &bytes);
        let mut framed = bytes.clone();
        framed.splice(0..0, *edit::ENTRY_MAGIC);
        let _unused = edit::decode(&framed, 0);
        let _unused = record::verify(&bytes, &SALT, 0, Seqno::new(1));
        let _unused = record::split(&bytes);
    }

    #[test]
    fn a_flipped_byte_of_an_entry_is_noticed(
        position in any::<prop::sample::Index>(),
        mask in 1_u8..=255,
    ) {
        let (mut bytes, _) = image_entry();
        let position = position.index(bytes.len());
        bytes[position] ^= mask;
        prop_assert!(edit::decode(&bytes, 0).is_err());
    }

    #[test]
    fn a_cut_entry_is_refused(length in any::<prop::sample::Index>()) {
        let (bytes, _) = image_entry();
        let length = length.index(bytes.len());
        prop_assert!(edit::decode(&bytes[..length], 0).is_err());
    }
}

fn image_entry() -> (Vec<u8>, u64) {
    let manifest = manifest();
    edit::encode(EntryKind::Image, manifest.edit, 0, &manifest.image(), 0)
}

#[test]
fn an_image_leads_to_the_state_it_was_made_of() {
    let (bytes, check) = image_entry();
    let entry = edit::decode(&bytes, 0).unwrap();
    assert_eq!((entry.kind, entry.check), (EntryKind::Image, check));
    assert_eq!(
        Manifest::from_image(entry.number, entry.content),
        Ok(manifest())
    );
    assert!(edit::decode(&bytes, 8).is_err(), "read at another place");
}

#[test]
fn an_edit_changes_what_it_names_and_nothing_else() {
    let mut changed = manifest();
    let mut edit = Edit::default();
    let mut segment = changed.segments[1];
    segment.end += 8;
    edit.segment(&segment);
    edit.counters(Seqno::new(99), SegmentId::new(50));
    changed.apply(EditNumber::new(8), edit.content()).unwrap();
    let mut expected = manifest();
    expected.edit = EditNumber::new(8);
    expected.segments[1].end += 8;
    expected.next_seqno = Seqno::new(99);
    expected.next_file_id = SegmentId::new(50);
    assert_eq!(changed, expected);
}

fn unknown_item(class: u16) -> Vec<u8> {
    let mut item = Vec::new();
    item.extend_from_slice(&77_u16.to_le_bytes());
    item.extend_from_slice(&class.to_le_bytes());
    item.extend_from_slice(&5_u32.to_le_bytes());
    item.extend_from_slice(b"hello");
    item
}

#[test]
fn an_unknown_item_goes_into_the_next_image_or_stops_writers_or_everybody() {
    let mut manifest = manifest();
    let number = EditNumber::new(8);
    manifest.apply(number, &unknown_item(2)).unwrap();
    assert_eq!(manifest.must_not_write(), None);
    let image = manifest.image();
    assert!(image.ends_with(&unknown_item(2)));
    assert_eq!(Manifest::from_image(number, &image).unwrap(), manifest);

    manifest.apply(number, &unknown_item(1)).unwrap();
    assert!(manifest.must_not_write().is_some());
    let refused = Defect::Unsupported {
        what: "item of the manifest",
        found: 77,
    };
    for class in [0, 3, 9] {
        let applied = manifest.apply(number, &unknown_item(class));
        assert_eq!(applied, Err(refused.clone()));
    }
}

#[test]
fn features_are_refused_or_stop_writers_or_are_carried() {
    let mut manifest = manifest();
    manifest.features.compatible = 1 << 40;
    let image = manifest.image();
    let again = Manifest::from_image(manifest.edit, &image).unwrap();
    assert_eq!(again.image(), image);
    assert_eq!(again.must_not_write(), None);
    manifest.features.read_only = 2;
    let again = Manifest::from_image(manifest.edit, &manifest.image()).unwrap();
    assert!(again.must_not_write().is_some());
    manifest.features.incompatible = 4;
    assert!(matches!(
        Manifest::from_image(manifest.edit, &manifest.image()),
        Err(Defect::Unsupported { found: 4, .. })
    ));
}

#[test]
fn a_frame_verifies_only_where_it_was_written() {
    let mut frame = buffer(&[(b"k".to_vec(), Some(b"v".to_vec()))]);
    frame.finish(&place(80));
    assert!(
        FrameHeader::decode(frame.bytes(), &SALT, 80)
            .unwrap()
            .is_some()
    );
    assert!(
        FrameHeader::decode(frame.bytes(), &SALT, 88)
            .unwrap()
            .is_none()
    );
    assert!(
        FrameHeader::decode(frame.bytes(), &Salt([8; 16]), 80)
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_stale_record_under_a_new_header_does_not_verify() {
    let record_of = |seqno: u64, attempt: u64| {
        let mut frame = buffer(&[(b"k".to_vec(), Some(b"v".to_vec()))]);
        let place = Place {
            first_seqno: Seqno::new(seqno),
            attempt,
            ..place(80)
        };
        frame.finish(&place);
        frame.bytes().to_vec()
    };
    let stale = record_of(4, 1);
    let mut mixed = record_of(5, 2);
    mixed[80..].copy_from_slice(&stale[80..]);
    assert!(verified(&mixed, 80).is_err());
    // The same seqno on a retry: the record is the same one, so the frame is too, but for its attempt.
    let mut retried = record_of(4, 2);
    retried[80..].copy_from_slice(&stale[80..]);
    assert!(verified(&retried, 80).is_ok());
}

#[test]
fn marks_and_footers_round_trip() {
    let (mark, check) = frame::mark_frame(&place(160));
    let (header, found) = FrameHeader::decode(&mark, &SALT, 160).unwrap().unwrap();
    assert_eq!((header.kind, found), (FrameKind::Mark, check));
    assert_eq!(
        frame::verify_body(&header, &mark, &SALT, 160, |_, _, _| ()),
        Ok(Ending::None)
    );
    assert_eq!(mark.len() as u64, frame::MARK_FRAME_BYTES);
    let (mark, _) = frame::clean_mark_frame(&place(160), EditNumber::new(12));
    let (header, _) = FrameHeader::decode(&mark, &SALT, 160).unwrap().unwrap();
    assert!(header.fits(mark.len() as u64));
    assert_eq!(
        frame::verify_body(&header, &mark, &SALT, 160, |_, _, _| ()),
        Ok(Ending::Clean(EditNumber::new(12)))
    );
    assert_eq!(mark.len() as u64, frame::CLEAN_MARK_FRAME_BYTES);

    let footer = Footer {
        min_seqno: Seqno::new(1),
        max_seqno: Seqno::new(4),
        frames: 2,
        records: 4,
    };
    let (bytes, _) = frame::footer_frame(&place(160), &footer);
    let (header, _) = FrameHeader::decode(&bytes, &SALT, 160).unwrap().unwrap();
    assert!(header.fits(bytes.len() as u64));
    assert_eq!(
        frame::verify_body(&header, &bytes, &SALT, 160, |_, _, _| ()),
        Ok(Ending::Footer(footer))
    );
    assert_eq!(bytes.len() as u64, frame::FOOTER_FRAME_BYTES);
}

// The lengths of a header whose check holds: what is allocated follows from them, before anything else is looked at.
#[test]
fn a_header_fits_only_with_lengths_of_its_kind() {
    let of = |kind, body_bytes, record_count| FrameHeader {
        kind,
        body_bytes,
        record_count,
        first_seqno: Seqno::new(1),
        mark: 0,
        attempt: 0,
        chain: 0,
        digest: 0,
    };
    let fits = |kind, body, records| of(kind, body, records).fits(u64::MAX);
    let record = record::RECORD_HEADER_BYTES as u32;
    for (records, right) in [(0, false), (1, true), (3, true), (4, false)] {
        let body = 4 * record - 1;
        assert_eq!(fits(FrameKind::Batch, body, records), right, "{records}");
    }
    assert!(!fits(FrameKind::Batch, 0, 0));
    for (body, records, right) in [(0, 0, true), (8, 0, true), (4, 0, false), (8, 1, false)] {
        assert_eq!(fits(FrameKind::Mark, body, records), right, "{body}");
    }
    for (body, records, right) in [(48, 0, true), (0, 0, false), (48, 1, false), (56, 0, false)] {
        assert_eq!(fits(FrameKind::Footer, body, records), right, "{body}");
    }
    for (body, right) in [(0, false), (1, true)] {
        assert_eq!(fits(FrameKind::Control, body, 0), right, "{body}");
    }
    let longest = frame::FRAME_BODY_BYTES_MAX as u32;
    assert!(fits(FrameKind::Batch, longest, 1));
    assert!(!fits(FrameKind::Batch, longest + 1, 1));
    // Padding counts: the room is what the file has.
    let batch = of(FrameKind::Batch, record + 1, 1);
    let padded = 80 + (u64::from(record) + 1).next_multiple_of(8);
    assert!(batch.fits(padded) && !batch.fits(padded - 1));
}

/// The caller may be on an executor's thread; the leader never is.
#[test]
fn a_long_record_is_summed_by_the_leader_and_a_short_one_by_its_caller() {
    for (value_bytes, summed) in [(60 * 1024, true), (70 * 1024, false)] {
        let value = vec![7; value_bytes];
        let mut record = Vec::new();
        record::encode(&mut record, RecordKind::Put, 0, b"k", &value);
        assert_eq!(record[..4] != [0; 4], summed, "{value_bytes}");
        record::finish(&mut record, &SALT, 160, Seqno::new(5));
        let verified = record::verify(&record, &SALT, 160, Seqno::new(5)).unwrap();
        assert_eq!(verified.value, value);
    }
}

#[test]
fn a_value_is_encoded_in_its_place_or_not_at_all() {
    let mut one = FrameBuffer::new();
    one.push(RecordKind::Put, 0, b"a", b"before");
    let mut other = one.clone();
    one.push(RecordKind::Put, 0, b"key", b"value");
    let append = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"value");
        Ok::<_, u8>(())
    };
    let untouched = other.bytes().to_vec();
    let fails = |out: &mut Vec<u8>| append(out).and(Err(1));
    let refused = other.push_with(RecordKind::Put, (0, b"key"), fails, |_, _| Ok(()));
    assert_eq!(refused, Err(1));
    let refused = other.push_with(RecordKind::Put, (0, b"key"), append, |_, length| {
        Err(u8::try_from(length).unwrap())
    });
    assert_eq!(refused, Err(5));
    assert_eq!((other.bytes(), other.record_count()), (&untouched[..], 1));
    let taken = other.push_with(RecordKind::Put, (0, b"key"), append, |_, _| Ok(()));
    assert_eq!(taken, Ok(()));
    assert_eq!(other.bytes(), one.bytes());
}

#[test]
fn unknown_kinds_and_flags_are_named_not_taken_for_damage() {
    let mut bytes = Vec::new();
    record::encode(&mut bytes, RecordKind::Put, 0, b"k", b"v");
    let named = |at: usize, byte: u8| {
        let mut changed = bytes.clone();
        changed[at] = byte;
        record::split(&changed).unwrap_err()
    };
    for (at, byte, what, found) in [
        (4, 9, "record kind", 9),
        (5, 0x80, "record flags", 0x80),
        (6, 9, "record flags", 9 << 8),
    ] {
        assert_eq!(named(at, byte), Defect::Unsupported { what, found });
    }
    let mut changed = bytes.clone();
    changed[8..12].copy_from_slice(&[0xff; 4]);
    let what = "keyspace";
    let found = u32::MAX.into();
    let refusal = Defect::Unsupported { what, found };
    assert_eq!(record::split(&changed).unwrap_err(), refusal);
}

#[test]
fn a_record_says_when_it_expires_and_a_tombstone_cannot() {
    let mut bytes = Vec::new();
    record::encode(&mut bytes, Head::put_until(Some(77)), 3, b"k", b"value");
    assert_eq!(bytes.len() as u64, record::bytes_of(true, 1, 5));
    record::finish(&mut bytes, &SALT, 160, Seqno::new(5));
    let verified = record::verify(&bytes, &SALT, 160, Seqno::new(5)).unwrap();
    assert_eq!((verified.expiry_ms, verified.keyspace), (Some(77), 3));
    assert_eq!((verified.key, verified.value), (&b"k"[..], &b"value"[..]));
    // The moment is under the sum.
    let mut later = bytes;
    later[28] += 1;
    assert!(matches!(
        record::verify(&later, &SALT, 160, Seqno::new(5)),
        Err(Defect::Check { what: "record", .. })
    ));
    let mut tombstone = Vec::new();
    let head = Head {
        kind: RecordKind::Tombstone,
        expiry_ms: Some(77),
    };
    record::encode(&mut tombstone, head, 0, b"k", b"");
    assert!(matches!(
        record::split(&tombstone),
        Err(Defect::Field { found: 1, .. })
    ));
}

#[test]
fn each_flag_of_a_frame_is_named() {
    for (at, found) in [(5, 9), (6, 9 << 8), (7, 9 << 16)] {
        let (mut bytes, _) = frame::mark_frame(&place(160));
        bytes[at] = 9;
        let check = SALT.check(&[&160_u64.to_le_bytes(), &bytes[..72]]);
        bytes[72..80].copy_from_slice(&check.to_le_bytes());
        let what = "frame flags";
        assert_eq!(
            FrameHeader::decode(&bytes, &SALT, 160).unwrap_err(),
            Defect::Unsupported { what, found }
        );
    }
}

#[test]
fn the_length_of_a_record_follows_from_its_flags() {
    let mut bytes = Vec::new();
    record::encode(&mut bytes, RecordKind::Put, 0, b"k", b"v");
    for (flags, more) in [
        (1, 8),
        (2, 4),
        (4, 4),
        (7, 16),
        (8, 8),
        (0x7f, 48),
        (0x80, 0),
    ] {
        let mut changed = bytes.clone();
        changed[5] = flags;
        changed.splice(28..28, vec![0; more]);
        let header = record::RecordHeader::decode(&changed).unwrap();
        assert_eq!(header.record_bytes(), changed.len(), "{flags:#x}");
        // Of all of them, this version knows the first.
        let refusal = Defect::Unsupported {
            what: "record flags",
            found: flags.into(),
        };
        let refused = (flags != 1).then_some(refusal);
        assert_eq!(record::split(&changed).err(), refused, "{flags:#x}");
    }
}

#[test]
fn a_later_format_version_is_refused_by_name() {
    let header = SegmentHeader {
        kind: SegmentKind::Log,
        store_id: StoreId([1; 16]),
        salt: SALT,
        id: SegmentId::new(3),
        base_seqno: Seqno::new(8),
        incarnation: StoreId([2; 16]),
        edit: EditNumber::new(4),
    };
    let (mut bytes, check) = header.encode();
    assert_eq!(SegmentHeader::decode(&bytes), Ok((header, check)));
    bytes[8] = 1;
    assert!(matches!(
        SegmentHeader::decode(&bytes),
        Err(Defect::Check { .. })
    ));
    let resealed = SALT.check(&[&bytes[..96]]);
    bytes[96..].copy_from_slice(&resealed.to_le_bytes());
    let refusal = Defect::Unsupported {
        what: "format version",
        found: 1,
    };
    assert_eq!(SegmentHeader::decode(&bytes), Err(refusal.clone()));

    let (mut entry, _) = image_entry();
    entry[8] = 1;
    let end = 40 + u32::from_le_bytes(entry[12..16].try_into().unwrap()) as usize;
    let check = Salt(*b"kvlog manifest 0").check(&[&0_u64.to_le_bytes(), &entry[..end]]);
    entry[end..end + 8].copy_from_slice(&check.to_le_bytes());
    assert_eq!(edit::decode(&entry, 0), Err(refusal));
}

#[test]
fn the_header_of_a_segment_says_what_it_holds() {
    let header = |kind| SegmentHeader {
        kind,
        store_id: StoreId([1; 16]),
        salt: SALT,
        id: SegmentId::new(3),
        base_seqno: Seqno::ZERO,
        incarnation: StoreId([2; 16]),
        edit: EditNumber::new(4),
    };
    for kind in [SegmentKind::Log, SegmentKind::Values] {
        let (bytes, check) = header(kind).encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok((header(kind), check)));
    }
    let (mut bytes, _) = header(SegmentKind::Values).encode();
    bytes[12] = 3;
    let resealed = SALT.check(&[&bytes[..96]]);
    bytes[96..].copy_from_slice(&resealed.to_le_bytes());
    let refused = SegmentHeader::decode(&bytes);
    assert!(matches!(refused, Err(Defect::Unsupported { found: 3, .. })));
}

#[test]
fn segment_file_names_are_exact() {
    assert_eq!(segment::file_name(SegmentId::new(7)), "00000007.seg");
    assert_eq!(
        segment::parse_file_name("00000007.seg"),
        Some(SegmentId::new(7))
    );
    for foreign in [
        "7.seg",
        "00000007.seg.new",
        "x.seg",
        "+0000007.seg",
        "00000007",
    ] {
        assert_eq!(segment::parse_file_name(foreign), None, "{foreign}");
    }
}
