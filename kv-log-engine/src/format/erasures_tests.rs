//! The table of erasures against one number for each key.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const KEYS: usize = 12;

fn key(number: usize) -> Vec<u8> {
    format!("{number:02}").into_bytes()
}

fn table(ranges: &[(usize, usize)]) -> (Erasures, [Seqno; KEYS]) {
    let (mut erasures, mut model) = (Erasures::default(), [Seqno::ZERO; KEYS]);
    for (at, (from, to)) in ranges.iter().enumerate() {
        let seqno = Seqno::new(at as u64 * 10 + 10);
        erasures.add(&key(*from), &key(*to), seqno);
        for floor in model.iter_mut().take(*to).skip(*from) {
            *floor = seqno;
        }
    }
    (erasures, model)
}

proptest! {
    #[test]
    fn the_newest_erasure_over_a_key_is_its_floor(
        ranges in vec((0..KEYS, 0..=KEYS), 0..12), from in 0..KEYS, to in 0..=KEYS, highest in 0..140_u64,
    ) {
        let (erasures, model) = table(&ranges);
        for (number, floor) in model.iter().enumerate() {
            prop_assert_eq!(erasures.floor(&key(number)), *floor);
            prop_assert!(!erasures.covers(&key(number), floor.next()));
            prop_assert_eq!(erasures.covers(&key(number), *floor), *floor > Seqno::ZERO);
        }
        let pieces = erasures.pieces();
        prop_assert!(pieces.windows(2).all(|pair| pair[0].to <= pair[1].from));
        prop_assert!(pieces.len() <= 2 * ranges.len());
        let mut body = Vec::new();
        erasures.encode(&mut body);
        prop_assert_eq!(body.len(), 4 + erasures.bytes());
        prop_assert_eq!(Erasures::decode(&mut Cursor::new(&body)).unwrap(), erasures.clone());
        let behind = erasures.erased_front(&key(from), Seqno::new(highest));
        let reached = behind.map_or_else(|| key(from), <[u8]>::to_vec);
        for (number, floor) in model.iter().enumerate().skip(from) {
            let passed = key(number) < reached;
            prop_assert!(!passed || (*floor > Seqno::ZERO && floor.get() >= highest));
        }
        if from < to {
            let over = &model[from..to];
            let highest = Seqno::new(highest);
            let all = over.iter().all(|floor| *floor >= highest && *floor > Seqno::ZERO);
            prop_assert_eq!(erasures.cover_all(&key(from), Some(&key(to)), highest), all);
        }
    }

    /// What is left of the table covers all that is in the runs and was covered before.
    #[test]
    fn an_erasure_stays_as_long_as_something_may_be_under_it(
        ranges in vec((0..KEYS, 0..=KEYS), 0..8),
        runs in vec((0..KEYS, 0..=KEYS, 0..100_u64, 0..100_u64), 0..5),
        covered in 0..100_u64,
    ) {
        let (erasures, model) = table(&ranges);
        let runs: Vec<_> = runs.into_iter().filter(|run| run.0 < run.1).collect();
        let bounds: Vec<_> = runs.iter().map(|run| (key(run.0), key(run.1))).collect();
        let shown = runs.iter().zip(&bounds).map(|(run, (from, to))| Covered {
            from,
            to: Some(to),
            lowest: Seqno::new(run.2),
            erased_to: Seqno::new(run.3),
        });
        let covered = Seqno::new(covered);
        let retired = erasures.retired(covered, shown);
        let left = retired.map_or_else(|| erasures.clone(), |gone| erasures.without(&gone));
        for (number, floor) in model.iter().enumerate() {
            let over = |run: &&(usize, usize, u64, u64)| {
                run.0 <= number && number < run.1 && run.2 <= floor.get() && run.3 < floor.get()
            };
            let needed = *floor > covered || runs.iter().any(|run| over(&run));
            if needed {
                prop_assert_eq!(left.floor(&key(number)), *floor);
            }
        }
        let retired = erasures.retired(covered, std::iter::empty()).unwrap_or_default();
        let none = erasures.without(&retired);
        prop_assert!(none.pieces().iter().all(|piece| piece.seqno > covered));
    }
}

#[test]
fn a_table_that_makes_no_sense_is_refused() {
    let body = |pieces: &[(&[u8], &[u8], u64)]| {
        let mut body = Vec::new();
        push_length(&mut body, pieces.len());
        for (from, to, seqno) in pieces {
            for bound in [from, to] {
                push_length(&mut body, bound.len());
                body.extend_from_slice(bound);
            }
            body.extend_from_slice(&seqno.to_le_bytes());
        }
        body
    };
    let long = vec![0; BOUND_BYTES_MAX + 1];
    for pieces in [
        &[(&b"b"[..], &b"a"[..], 1)][..],
        &[(b"a", b"a", 1)],
        &[(b"a", b"b", 0)],
        &[(b"a", b"c", 1), (b"b", b"d", 2)],
        &[(b"c", b"d", 1), (b"a", b"b", 2)],
        &[(b"", &long, 1)],
    ] {
        assert!(Erasures::decode(&mut Cursor::new(&body(pieces))).is_err());
    }
    // More than are there.
    assert!(Erasures::decode(&mut Cursor::new(&u32::MAX.to_le_bytes())).is_err());
}

#[test]
fn the_table_says_when_it_is_full() {
    let mut erasures = Erasures::default();
    let mut count = 0_u32;
    loop {
        let [from, to] = [2 * count, 2 * count + 1].map(|n| format!("{n:08}").into_bytes());
        if !erasures.has_room_for(&from, &to) {
            break;
        }
        count += 1;
        erasures.add(&from, &to, Seqno::new(count.into()));
    }
    assert_eq!(erasures.len(), ERASURES_MAX - 1);
    let mut long = Erasures::default();
    long.add(&[1], &[2], Seqno::new(1));
    let bound = vec![3; BOUND_BYTES_MAX];
    assert!(long.has_room_for(&bound, &bound));
    for number in 4..12_u8 {
        let mut to = bound.clone();
        (to[0], to[1]) = (number, 4);
        let mut from = bound.clone();
        from[0] = number;
        long.add(&from, &to, Seqno::new(number.into()));
    }
    assert!(!long.has_room_for(&bound, &bound));
}
