//! Every byte flipped, every length cut, of stores that were closed, crashed, and torn. The tables are in
//! `kv_tests::corruption`, and in `kv_tests::corruption_life` for runs and what they refer to: of these a share, all with
//! `KVLOG_CORRUPTION_EVERY` at 1.

use kv_tests::corruption::{Counts, End, Verdict, small_store};
use kv_tests::corruption_life::{self, old_store};
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

fn runs_and_values(closed: bool) {
    let every = std::env::var("KVLOG_CORRUPTION_EVERY");
    let every = every.map_or(23, |text| text.parse().expect("a number"));
    let store = old_store(closed);
    let mut counts = corruption_life::Counts::new();
    for (what, found) in [
        ("flips", store.flip_bytes(every)),
        ("cuts", store.cut_lengths(every)),
    ] {
        for ((kind, verdict), count) in found {
            let said = writeln!(
                std::io::stdout(),
                "{what}, closed: {closed}: {kind}: {verdict:?} {count} times"
            );
            said.expect("standard output takes a line");
            *counts.entry((kind, verdict)).or_default() += count;
        }
    }
    let of = |kind, verdict| counts.get(&(kind, verdict)).copied().unwrap_or_default();
    for kind in ["run", "segment of values", "covered segment"] {
        let corrupt = of(kind, corruption_life::Verdict::Corrupt);
        assert!(corrupt > 0, "no read met a damage of a {kind}: {counts:?}");
    }
}

#[test]
fn damage_in_runs_and_values_is_named_by_the_read_that_meets_it() {
    runs_and_values(true);
}

#[test]
fn damage_in_runs_and_values_of_a_store_that_crashed() {
    runs_and_values(false);
}
