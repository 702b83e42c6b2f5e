//! What an open makes of the bytes it finds.

use super::*;

// D6
#[test]
fn after_a_clean_close_a_flip_or_a_cut_is_corruption_not_a_torn_tail() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", &[1; 100]).unwrap();
    store.put(b"b", &[2; 100]).unwrap();
    let end = usize::try_from(store.stats().segments[0].bytes).unwrap() - 1;
    store.close().unwrap();
    drop(store);
    for at in (104..=end).step_by(5) {
        let disk = disk.fork();
        let before = disk.read_file(SEGMENT).unwrap();
        flip(&disk, SEGMENT, at);
        let error = Engine::open(STORE, options(&disk, 2, 65536)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "flip at {at}");
        assert!(error.to_string().contains("00000001.seg"), "{error}");
        assert_eq!(disk.read_file(SEGMENT).unwrap().len(), before.len());
    }
    for length in (0..=end).step_by(7) {
        let disk = disk.fork();
        let bytes = disk.read_file(SEGMENT).unwrap();
        disk.write_file(SEGMENT, &bytes[..length]).unwrap();
        let error = Engine::open(STORE, options(&disk, 2, 65536)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut to {length}");
    }
    // The mark behind it proves the end, and nothing is lost with it.
    for at in (end + 1..=last_byte(&disk, SEGMENT)).step_by(5) {
        let disk = disk.fork();
        flip(&disk, SEGMENT, at);
        assert_eq!(contents_of(&open(&disk, 2)).len(), 2, "flip at {at}");
    }
    let store = open(&disk, 3);
    assert_eq!(store.recovery_report().rewritten_bytes, 0);
    assert_eq!(store.recovery_report().torn_tail, None);
}
#[test]
fn an_idle_mark_proves_the_last_group_and_a_torn_one_harms_nobody() {
    let disk = SimDisk::new();
    let tasks = Stepped::start();
    tasks.block_on(async {
        let options = options(&disk, 1, 64 * 1024);
        let store = KVLog::<u8, Vec<u8>, _>::load_on(tasks.runtime(), STORE, options);
        let store = store.await.unwrap();
        store.put(&1, &vec![1; 100]).await.unwrap();
        store.put(&2, &vec![2; 100]).await.unwrap();
    });
    // The leader on the runtime had nothing more to do. The idle mark stands behind the last group, in the page cache: a flip in that group is corruption.
    let damaged = disk.fork();
    let at = damaged
        .read_file(SEGMENT)
        .unwrap()
        .windows(100)
        .position(|w| w == [2; 100])
        .unwrap();
    flip(&damaged, SEGMENT, at);
    let error = Engine::open(STORE, options(&damaged, 2, 65536)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // However the mark itself is torn, both groups are there.
    for image in images(&disk, &policy()) {
        assert_eq!(contents_of(&open(&image, 3)).len(), 2);
    }
}
#[test]
fn an_error_while_scanning_is_never_taken_for_a_torn_tail() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", b"1").unwrap();
    drop(store);
    let before = disk.read_file(SEGMENT).unwrap();
    for skip in 0..3 {
        let fault = Fault::new(FaultKind::Errno(EIO))
            .on(OpKind::Read)
            .path_contains(".seg");
        disk.inject(fault.skip(skip));
        if let Err(error) = Engine::open(STORE, options(&disk, 2, 65536)) {
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        }
        disk.clear_faults();
        assert_eq!(disk.read_file(SEGMENT).unwrap(), before);
    }
    assert_eq!(contents_of(&open(&disk, 3)).len(), 1);
}

// A log that nobody cleans up must not grow by being read.
#[test]
fn a_store_that_is_only_read_does_not_grow() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", b"1").unwrap();
    store.close().unwrap();
    drop(store);
    let file = || disk.read_file(SEGMENT).unwrap();
    let before = file();
    for seed in 2..20 {
        let store = Engine::open(STORE, options(&disk, seed, 1024)).unwrap();
        assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
        store.close().unwrap();
        drop(store);
    }
    assert_eq!(file(), before);
}

/// A mark frame's header as FORMAT.md describes it, for any place and with any claim.
fn forged_header(salt: &[u8], offset: u64, mark: u64) -> Vec<u8> {
    let mut header = Vec::from(*b"KVRF\x02\0\0\0");
    header.extend_from_slice(&[0; 8]); // no body, no records
    for field in [1_000_u64, mark, 7, 8, 9, 0, 0] {
        header.extend_from_slice(&field.to_le_bytes());
    }
    let mut hasher = SipHasher24::new_with_key(salt.try_into().unwrap());
    hasher.write(&offset.to_le_bytes());
    hasher.write(&header);
    header.extend_from_slice(&hasher.finish().to_le_bytes());
    header
}

/// A value that ends in a forged header, placed so that a search would meet it; and where that is in the file.
fn forged_value(disk: &SimDisk, salt: &[u8], length: usize) -> (Vec<u8>, usize) {
    let trial = disk.fork();
    let store = open(&trial, 9);
    store.put(b"forged", &vec![0xee; length]).unwrap();
    let file = trial.read_file(SEGMENT).unwrap();
    let start = file.windows(64).position(|w| w == [0xee; 64]).unwrap();
    let at = (start + length - 200).next_multiple_of(8);
    let mut value = vec![0x11; length];
    let header = forged_header(salt, at as u64, at as u64);
    value[at - start..at - start + header.len()].copy_from_slice(&header);
    (value, at)
}

// What a caller writes raises no proof, unless it knows the salt.
#[test]
fn a_value_that_holds_frames_does_not_turn_a_crash_into_corruption() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", &[1; 64]).unwrap();
    store.put(b"b", &[2; 64]).unwrap();
    store.close().unwrap();
    drop(store);
    let (value, at) = forged_value(&disk, &[0x5a; 16], 2_000);
    let store = open(&disk, 9);
    disk.start_trace();
    store.put(b"forged", &value).unwrap();
    let file = disk.read_file(SEGMENT).unwrap();
    assert_eq!(&file[at..at + 4], b"KVRF", "it stands where a header would");
    for point in disk.trace().unwrap().crash_points() {
        for choice in point.choices(&policy()) {
            let store = open(&point.image(&choice), 2);
            assert!(contents_of(&store).len() >= 2);
        }
    }
}

// Even with the salt, what stands in the body of a frame whose header verifies is never looked at.
#[test]
fn a_search_never_looks_inside_the_body_of_a_frame_whose_header_verifies() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", &[1; 64]).unwrap();
    store.close().unwrap();
    drop(store);
    let salt = disk.read_file(SEGMENT).unwrap()[48..64].to_vec();
    let (value, at) = forged_value(&disk, &salt, 2_000);
    let store = open(&disk, 9);
    store.put(b"forged", &value).unwrap();
    disk.power_cut_losing_all();
    drop(store);
    flip(&disk, SEGMENT, at - 100);
    let store = open(&disk, 2);
    assert!(store.recovery_report().torn_tail.is_some());
    assert_eq!(contents_of(&store).len(), 1);
    // The forgery is a good one: where no header stands before it, it proves that bytes are missing.
    let bare = SimDisk::new();
    let store = open(&bare, 1);
    store.put(b"a", &[1; 64]).unwrap();
    store.close().unwrap();
    drop(store);
    let mut file = bare.read_file(SEGMENT).unwrap();
    let salt = file[48..64].to_vec();
    let at = (last_byte(&bare, SEGMENT) + 200).next_multiple_of(8);
    file.resize(file.len().max(at + 400), 0);
    let forged = forged_header(&salt, at as u64, at as u64);
    file[at..at + forged.len()].copy_from_slice(&forged);
    bare.write_file(SEGMENT, &file).unwrap();
    let error = Engine::open(STORE, options(&bare, 2, 65536)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

// The floor is a place and what was written up to it.
#[test]
fn a_log_that_does_not_lead_to_the_floor_by_its_chain_is_refused() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", &[1; 64]).unwrap();
    drop(store);
    let other = disk.fork();
    let finish = |disk: &SimDisk, value: u8| {
        let store = open(disk, u64::from(value));
        store.put(b"b", &[value; 64]).unwrap();
        store.close().unwrap();
    };
    finish(&disk, 2);
    finish(&other, 3);
    // The same store went two ways: the same length, the same salt, another chain.
    let mixed = disk.fork();
    let segment = other.read_file(SEGMENT).unwrap();
    assert_eq!(segment.len(), mixed.read_file(SEGMENT).unwrap().len());
    mixed.write_file(SEGMENT, &segment).unwrap();
    let error = Engine::open(STORE, options(&mixed, 4, 65536)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("floor"), "{cause}");
}

// A segment that was made ready by a rotation which then failed says which seqno it begins with.
#[test]
fn a_segment_made_ready_too_early_is_not_used_later() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 350]).unwrap();
    drop(store);
    let store = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
    // The new segment is made; there is no room for the footer of the old one.
    let full = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Write);
    disk.inject(full.path_contains("00000001.seg").times(u64::MAX));
    store.put(b"b", &[2; 500]).unwrap_err();
    let segments = disk.files();
    let segments = segments.iter().filter(|name| name.ends_with(".seg"));
    assert_eq!(segments.count(), 2, "one is ready");
    disk.clear_faults();
    // A record comes in between: the new segment is one too early, and what is written to it would lose to this one.
    store.put(b"c", &[3; 100]).unwrap();
    assert_eq!(store.stats().last_seqno.get(), 2);
    store.put(b"c", &[4; 500]).unwrap();
    assert_eq!(store.stats().last_seqno.get(), 3, "no seqno is used twice");
    assert_eq!(store.stats().segments.len(), 2);
    let contents = contents_of(&store);
    assert_eq!(contents[&b"c"[..]], [4; 500]);
    disk.power_cut_losing_all();
    drop(store);
    let store = Engine::open(STORE, options(&disk, 3, 1024)).unwrap();
    assert_eq!(contents_of(&store), contents);
    assert_eq!(store.stats().last_seqno.get(), 3);
}

// D6
#[test]
fn a_read_checks_what_it_reads() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"key", &[7; 2000]).unwrap();
    let at = disk
        .read_file(SEGMENT)
        .unwrap()
        .windows(2000)
        .position(|w| w == [7; 2000])
        .unwrap();
    flip(&disk, SEGMENT, at + 50);
    let error = store.get(b"key").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error
            .to_string()
            .contains("00000001.seg is corrupt at offset"),
        "{error}"
    );
}

// D11
#[test]
fn a_torn_tail_is_kept_reported_and_cut_once() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", b"1").unwrap();
    drop(store);
    let mut bytes = disk.read_file(SEGMENT).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.resize(end + 5000, 0);
    bytes[end + 8..end + 4000].fill(0xee);
    disk.write_file(SEGMENT, &bytes).unwrap();
    let report = verify(STORE, options(&disk, 2, 65536)).unwrap();
    assert!(report.is_clean() && report.torn_tail.is_some());
    assert_eq!(
        disk.read_file(SEGMENT).unwrap(),
        bytes,
        "verify changes nothing"
    );
    let store = open(&disk, 3);
    let torn = store.recovery_report().torn_tail.clone().unwrap();
    assert!(torn.bytes >= 3992, "{torn:?}");
    let kept = disk.read_file(torn.quarantine.unwrap()).unwrap();
    assert!(kept.ends_with(&[0xee; 3992]));
    drop(store);
    assert_eq!(open(&disk, 4).recovery_report().torn_tail, None);
}

// D6, D11
#[test]
fn sixteen_torn_tails_are_kept_durably_and_no_more() {
    let disk = SimDisk::new();
    let garbage = [0xa5; 200];
    let mut kept = Vec::new();
    for seed in 1..21_u8 {
        let store = open(&disk, seed.into());
        store.put(&[seed], &[seed; 50]).unwrap();
        store.close().unwrap();
        drop(store);
        let end = last_byte(&disk, SEGMENT) + 1;
        let mut bytes = disk.read_file(SEGMENT).unwrap();
        bytes.resize(bytes.len().max(end + 1_000), 0);
        bytes[end + 64..end + 64 + garbage.len()].fill(seed);
        disk.write_file(SEGMENT, &bytes).unwrap();
        let begun = format!("/db/quarantine/{seed}.tail.new");
        if seed > 1 {
            disk.write_file(&begun, b"cut short").unwrap();
        }
        let store = open(&disk, 100 + u64::from(seed));
        let torn = store.recovery_report().torn_tail.clone().unwrap();
        assert_eq!(torn.quarantined_bytes, torn.bytes);
        disk.power_cut_losing_all();
        drop(store);
        let name = torn.quarantine.unwrap();
        let tail = disk.read_file(&name).unwrap();
        assert!(tail.ends_with(&[seed; 200]), "kept, and durable");
        assert!(disk.read_file(&begun).is_err());
        kept.push(name.display().to_string());
    }
    let there = disk.files();
    let there = there.iter().filter(|name| name.ends_with(".tail"));
    assert_eq!(
        there.collect::<Vec<_>>(),
        kept[4..].iter().collect::<Vec<_>>()
    );
}
