//! Damage to a run: every byte flipped, every length cut, numbers that lie under checks that hold.

use super::reader::RunReader;
use super::testing::{TINY, files, hash, identity, open, path, sample, verify, write};
use super::tests::all;
use crate::format::ids::Seqno;
use crate::format::run::fence::{Part, Place};
use crate::format::run::footer::{self, Footer, TRAILER_BYTES, Trailer};
use crate::format::run::piece::{self, PieceKind, Sealer};
use crate::format::run::table::{Entries, Table, TableBuilder};
use crate::format::run::tests::note;
use crate::index::cache::PieceCache;
use crate::index::source::{Direction, Interval, Item, Source};
use crate::storage::sim::{EIO, Fault, FaultKind, OpKind, SimDisk};
use crate::storage::{OpenMode, Storage, exact};
use kv_trait::ErrorKind;
use std::sync::Arc;

fn bytes_of(disk: &SimDisk) -> Vec<u8> {
    let file = disk.open(&path(3), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    exact::read_exact(&*file, &mut bytes, 0).unwrap();
    bytes
}

/// A disk with these bytes as run 3.
fn disk_of(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    let file = disk.open(&path(3), OpenMode::CreateNew).unwrap();
    exact::write_all(&*file, bytes, 0).unwrap();
    disk
}

fn good() -> Vec<u8> {
    let disk = SimDisk::new();
    write(&disk, 3, &sample(), TINY).unwrap();
    bytes_of(&disk)
}

/// What a damaged run may do: right answers, or *corrupt* by name. Returns how many keys were served.
fn judge(run: &Arc<RunReader>, what: &str) -> usize {
    let mut served = 0;
    for entry in sample() {
        match run.get(&entry.key, hash(&entry.key)) {
            Ok(found) => {
                assert_eq!(found, Some(entry.version), "{what}: a wrong answer");
                served += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
                let message = error.to_string();
                assert!(
                    message.contains("/00000003.run") && message.contains("offset"),
                    "{message}"
                );
                assert!(message.contains("hides the keys [\""), "{message}");
            }
        }
    }
    for direction in [Direction::Forward, Direction::Backward] {
        walk(run, direction, what);
    }
    served
}

/// A walk yields every entry, or a hole where it would be, in order.
fn walk(run: &Arc<RunReader>, direction: Direction, what: &str) {
    let items = all(run.range(Interval::ALL, direction)).unwrap();
    let mut missing = sample();
    for item in &items {
        if let Item::Entry(entry) = item {
            let at = missing.iter().position(|known| known.key == entry.key);
            assert_eq!(missing.remove(at.unwrap()).version, entry.version, "{what}");
        }
    }
    let hidden = |key: &[u8]| {
        items
            .iter()
            .any(|item| matches!(item, Item::Hole(hole) if hole.covers(key)))
    };
    for entry in &missing {
        assert!(
            hidden(&entry.key),
            "{what}: an entry is gone without a word"
        );
    }
    let ordered = |pair: &[Item]| direction.order(&pair[0], &pair[1]).is_lt();
    assert!(items.windows(2).all(ordered), "{what}: out of order");
}

#[test]
fn whichever_byte_is_wrong_no_answer_is_and_verify_names_it() {
    let bytes = good();
    let keys = sample().len();
    let mut opened = 0;
    let mut least = keys;
    for at in 0..bytes.len() {
        for flip in [0x01, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let what = format!("byte {at} flipped by {flip:#x}");
            // One byte wrong: the copies of footer and trailer see to it that the run opens.
            let run = open(&disk_of(&damaged), 3).unwrap();
            let served = judge(&run, &what);
            opened += 1;
            least = least.min(served);
            let report = verify(&run).unwrap();
            assert_eq!(report.damage.len(), 1, "{what}: {:?}", report.damage);
        }
    }
    note(&format!(
        "{opened} damaged runs; the worst served {least} of {keys} keys"
    ));
    let (_, footer, _) = footer_of(&bytes);
    let mut parts = Entries::new(footer.parts.clone());
    let sizes = (0..footer.parts.len()).map(|at| parts.entry(at).unwrap().1.entries);
    let largest = usize::try_from(sizes.max().unwrap()).unwrap();
    assert!(
        footer.parts.len() > 2 && keys - least <= largest,
        "one byte hides more than a part"
    );
}

/// A run whose last trailer alone is gone, or is not the last any more, has another one, and verify names it.
#[test]
fn a_run_that_was_cut_or_grew_is_refused_by_name() {
    let bytes = good();
    let (whole, copy) = (bytes.len(), 4096 + TRAILER_BYTES);
    let mut opened = Vec::new();
    for length in (0..whole).chain([1, 31, 32, 4096, copy].map(|more| whole + more)) {
        let mut other = bytes.clone();
        other.resize(length, 0);
        match open(&disk_of(&other), 3) {
            Ok(run) => {
                assert_eq!(judge(&run, "cut"), sample().len());
                assert!(!verify(&run).unwrap().damage.is_empty());
                opened.push(length);
            }
            Err(refused) => {
                assert_eq!(refused.kind(), ErrorKind::Corrupt, "{length}");
                assert!(refused.to_string().contains("/00000003.run"), "{refused}");
            }
        }
    }
    assert_eq!(opened, [whole - copy, whole + copy]);
}

/// 4 KiB of damage, wherever, leave a copy of footer and trailer.
#[test]
fn a_lost_sector_of_four_kib_leaves_a_footer_and_a_trailer() {
    let bytes = good();
    for start in (0..bytes.len()).step_by(64) {
        let mut damaged = bytes.clone();
        let end = bytes.len().min(start + 4096);
        damaged[start..end].fill(0xa5);
        let run = open(&disk_of(&damaged), 3).unwrap();
        judge(&run, &format!("4 KiB lost at {start}"));
        assert!(!verify(&run).unwrap().damage.is_empty());
    }
}

#[test]
fn a_run_of_another_name_store_or_salt_is_refused() {
    let bytes = good();
    let disk = disk_of(&bytes);
    let copy = disk.open(&path(4), OpenMode::CreateNew).unwrap();
    exact::write_all(&*copy, &bytes, 0).unwrap();
    let cache = PieceCache::new(1 << 20);
    let open = |identity| {
        let length = bytes.len() as u64;
        RunReader::open(files(&disk), identity, length, Arc::clone(&cache))
    };
    assert!(open(identity(3)).is_ok());
    let mut other = identity(3);
    other.id = identity(4).id;
    let refused = open(other).unwrap_err();
    assert!(
        refused.to_string().contains("this is run 00000003"),
        "{refused}"
    );
    let mut other = identity(3);
    other.store_id = crate::format::StoreId([0; 16]);
    assert!(open(other).is_err());
    assert!(open(identity(4)).is_err()); // other salt: nothing verifies
}

/// A filter that cannot be read costs time, not answers, and is reported once.
#[test]
fn a_damaged_filter_is_reported_once_and_harms_no_answer() {
    let bytes = good();
    let part = first_part(&bytes);
    let mut damaged = bytes;
    damaged[usize::try_from(part.filter.offset).unwrap() + 20] ^= 4;
    let run = open(&disk_of(&damaged), 3).unwrap();
    assert!(run.damaged_filters().is_empty());
    assert_eq!(judge(&run, "filter"), sample().len());
    assert_eq!(judge(&run, "filter"), sample().len());
    let [noted] = run.damaged_filters().try_into().unwrap();
    assert!(
        noted
            .to_string()
            .contains(&format!("offset {}", part.filter.offset)),
        "{noted}"
    );
}

fn footer_of(bytes: &[u8]) -> (Trailer, Footer, Vec<u8>) {
    let salt = identity(3).salt;
    let at = bytes.len() - TRAILER_BYTES;
    let trailer = Trailer::decode(&bytes[at..], &salt, at as u64).unwrap();
    let [place, _] = trailer.places();
    let content = content_of(bytes, place, PieceKind::Footer);
    let footer = Footer::decode(&content, place.offset).unwrap();
    (trailer, footer, content)
}

fn content_of(bytes: &[u8], place: Place, kind: PieceKind) -> Vec<u8> {
    let start = usize::try_from(place.offset).unwrap();
    let piece = &bytes[start..start + usize::try_from(place.bytes).unwrap()];
    piece::open(piece, kind, &identity(3).salt, place.offset)
        .unwrap()
        .into_owned()
}

fn first_part(bytes: &[u8]) -> Part {
    let (_, footer, _) = footer_of(bytes);
    Entries::new(footer.parts).entry(0).unwrap().1
}

/// Puts a content of the same length in the place of a piece, with a check that holds.
fn replace(bytes: &mut [u8], place: Place, kind: PieceKind, content: &[u8]) {
    let mut piece = Vec::new();
    Sealer::new(false).seal(&mut piece, kind, content, &identity(3).salt, place.offset);
    let start = usize::try_from(place.offset).unwrap();
    bytes[start..start + piece.len()].copy_from_slice(&piece);
}

/// Every byte of every structure wrong, and every check right: refused or made sense of, in bounded time, without a panic.
#[test]
fn numbers_that_lie_under_checks_that_hold_are_refused_or_made_sense_of() {
    let bytes = good();
    let (trailer, footer, _) = footer_of(&bytes);
    let part = first_part(&bytes);
    let fence = content_of(&bytes, part.fence, PieceKind::Fence);
    let fences: Table<Place> = Table::parse(Arc::from(fence), |_, _| Ok(())).unwrap();
    let (_, block) = Entries::new(fences).entry(0).unwrap();
    let mut pieces = vec![
        (block, PieceKind::Block),
        (part.fence, PieceKind::Fence),
        (part.filter, PieceKind::Filter),
    ];
    pieces.extend(trailer.places().map(|place| (place, PieceKind::Footer)));
    let mut tried = 0;
    for (place, kind) in pieces {
        let content = content_of(&bytes, place, kind);
        for at in 0..content.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, content[at].wrapping_add(1)] {
                let mut lie = content.clone();
                lie[at] = value;
                let mut damaged = bytes.clone();
                replace(&mut damaged, place, kind, &lie);
                if kind == PieceKind::Footer {
                    for place in trailer.places() {
                        replace(&mut damaged, place, kind, &lie);
                    }
                }
                tried += 1;
                use_all(&damaged);
            }
        }
    }
    let mut lies = Vec::new();
    for number in [0, 1, 103, 104, bytes.len() as u64, u64::MAX - 1, u64::MAX] {
        for at in 0..2 {
            let mut lie = trailer;
            lie.footers[at] = number;
            lies.push(lie);
        }
        lies.push(Trailer {
            footer_bytes: u32::try_from(number & 0xffff_ffff).unwrap(),
            ..trailer
        });
    }
    for lie in lies {
        let mut damaged = bytes.clone();
        for offset in Trailer::offsets(bytes.len() as u64).unwrap() {
            let at = usize::try_from(offset).unwrap();
            damaged[at..at + TRAILER_BYTES].copy_from_slice(&lie.encode(&identity(3).salt, offset));
        }
        tried += 1;
        use_all(&damaged);
    }
    note(&format!("{tried} lies; {} parts", footer.parts.len()));
}

/// Does everything that can be done with a run. Answers may be lies; nothing else may happen.
fn use_all(bytes: &[u8]) {
    let Ok(run) = open(&disk_of(bytes), 3) else {
        return;
    };
    for entry in sample().iter().step_by(5) {
        drop(run.get(&entry.key, hash(&entry.key)));
    }
    for direction in [Direction::Forward, Direction::Backward] {
        let items = all(run.range(Interval::ALL, direction)).unwrap();
        assert!(items.len() <= 2 * sample().len() + 20);
    }
    drop(verify(&run));
}

/// A fence that is one off, with checks that hold, makes a hole of the block that its keys do not fit, and verify sees it.
#[test]
fn a_fence_whose_separators_are_off_is_noticed() {
    let bytes = good();
    let part = first_part(&bytes);
    let content = content_of(&bytes, part.fence, PieceKind::Fence);
    let fence: Table<Place> = Table::parse(Arc::from(content.clone()), |_, _| Ok(())).unwrap();
    let mut separators = Entries::new(fence.clone());
    let mut shifted = TableBuilder::default();
    for at in 0..fence.len() {
        let (key, place) = separators.entry(at).unwrap();
        let mut key = key.to_vec();
        if at == 1 {
            *key.last_mut().unwrap() += 1;
        }
        shifted.push(&key, |out| {
            crate::format::run::fence::push_place(out, place);
        });
    }
    let shifted = shifted.finish();
    assert_eq!(shifted.len(), content.len());
    let mut damaged = bytes;
    replace(&mut damaged, part.fence, PieceKind::Fence, &shifted);
    let run = open(&disk_of(&damaged), 3).unwrap();
    let items = all(run.range(Interval::ALL, Direction::Forward)).unwrap();
    assert!(items.iter().any(|item| matches!(item, Item::Hole(_))));
    assert!(!verify(&run).unwrap().damage.is_empty());
}

/// A filter that denies a key it should have, or a footer that counts wrong, is what only verify can see, and does.
#[test]
fn verify_sees_false_negatives_and_wrong_counts() {
    let bytes = good();
    let part = first_part(&bytes);
    let mut damaged = bytes.clone();
    let mut filter = content_of(&bytes, part.filter, PieceKind::Filter);
    filter[8..].fill(0);
    replace(&mut damaged, part.filter, PieceKind::Filter, &filter);
    let report = verify(&open(&disk_of(&damaged), 3).unwrap()).unwrap();
    assert!(
        report.damage[0].cause.to_string().contains("denies a key"),
        "{:?}",
        report.damage
    );

    let (trailer, footer, content) = footer_of(&bytes);
    let mut facts = footer.facts.clone();
    facts.tombstones += 1;
    let identity = identity(3);
    let top_level = footer.parts.content();
    let lie = footer::encode(
        identity.store_id,
        &identity.salt,
        identity.id,
        &facts,
        top_level,
    );
    assert_eq!(lie.len(), content.len());
    let mut damaged = bytes;
    for place in trailer.places() {
        replace(&mut damaged, place, PieceKind::Footer, &lie);
    }
    let report = verify(&open(&disk_of(&damaged), 3).unwrap()).unwrap();
    assert!(
        report.damage[0].cause.to_string().contains("other numbers"),
        "{:?}",
        report.damage
    );
}

/// An error of the device is neither damage nor the end: the walk stands where it stood.
#[test]
fn a_read_that_fails_is_tried_again_and_hides_nothing() {
    let disk = disk_of(&good());
    let mut failures = 0;
    for call in 0..40 {
        let run = open(&disk, 3).unwrap();
        disk.inject(
            Fault::new(FaultKind::Errno(EIO))
                .on(OpKind::Read)
                .skip(call),
        );
        let mut walk = run.range(Interval::ALL, Direction::Forward);
        let mut items = Vec::new();
        loop {
            match walk.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io);
                    failures += 1;
                }
            }
        }
        disk.clear_faults();
        assert_eq!(
            items,
            sample().into_iter().map(Item::Entry).collect::<Vec<_>>()
        );
    }
    assert!(failures > 10, "{failures}");
}

/// Along the layers a key's seqnos fall. An entry that claims to be newer than all of its run, under checks that hold, would
/// break that for whoever merges it.
#[test]
fn an_entry_that_is_newer_or_older_than_its_run_is_corrupt_by_name() {
    let bytes = good();
    let (trailer, footer, content) = footer_of(&bytes);
    for (lowest, highest) in [(100, 140), (120, 159)] {
        let mut facts = footer.facts.clone();
        (facts.lowest, facts.highest) = (Seqno::new(lowest), Seqno::new(highest));
        let identity = identity(3);
        let top_level = footer.parts.content();
        let lie = footer::encode(
            identity.store_id,
            &identity.salt,
            identity.id,
            &facts,
            top_level,
        );
        assert_eq!(lie.len(), content.len());
        let mut damaged = bytes.clone();
        for place in trailer.places() {
            replace(&mut damaged, place, PieceKind::Footer, &lie);
        }
        let run = open(&disk_of(&damaged), 3).unwrap();
        assert!(judge(&run, "another range") > 20);
        for entry in sample() {
            let seqno = entry.version.seqno.get();
            let found = run.get(&entry.key, hash(&entry.key));
            if seqno < lowest || seqno > highest {
                let message = found.unwrap_err().to_string();
                assert!(message.contains("seqno outside"), "{message}");
            }
        }
        assert!(!verify(&run).unwrap().damage.is_empty());
    }
}
