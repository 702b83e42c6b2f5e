//! Every byte flipped, every length cut, of stores that were closed, crashed, and torn. The table is in
//! `kv_tests::corruption`.

use kv_tests::corruption::{Counts, End, Verdict, small_store};
use std::io::Write;

fn report(what: &str, counts: &Counts) -> u64 {
    let mut out = std::io::stdout();
    for ((region, verdict), count) in counts {
        // Not the macro: the figures are part of the result, and the test harness would swallow them.
        let said = writeln!(out, "{what}: {region}: {verdict:?} {count} times");
        said.expect("standard output takes a line");
    }
    counts.values().sum()
}

fn campaign(end: End) {
    let store = small_store(end);
    let flips = store.flip_every_byte(&[0x01, 0xff]);
    let flipped = report(&format!("flips, {end:?}"), &flips);
    let cuts = store.cut_every_length();
    let cut = report(&format!("cuts, {end:?}"), &cuts);
    assert!(
        flipped > 10_000 && cut > 5_000,
        "{flipped} flips, {cut} cuts"
    );
    let met = |wanted| flips.keys().any(|(_, verdict)| *verdict == wanted);
    assert!(met(Verdict::Right) && met(Verdict::Refused));
    // A closed store has no unproven byte, and neither has one with a torn write behind its last group: that write's
    // header proves it. One that just stopped has its last group.
    assert_eq!(met(Verdict::Torn), end == End::PowerCut);
}

#[test]
fn a_closed_store() {
    campaign(End::Closed);
}

#[test]
fn a_store_whose_power_was_cut() {
    campaign(End::PowerCut);
}

#[test]
fn a_store_whose_power_was_cut_in_a_write() {
    campaign(End::Torn);
}
