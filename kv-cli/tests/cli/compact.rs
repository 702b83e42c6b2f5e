//! `compact`: gives room back, and stops where it is told to.

use super::bench::{Bench, text};
use kv_log_engine::{Batch, Engine, Options};
use serde_json::Value;
use std::io::Read;
use std::process::Stdio;

/// Values that no compression makes shorter.
struct Random(u64);

impl Random {
    fn value(&mut self) -> Vec<u8> {
        let step = |_| {
            // Knuth's constants; the high half is what is random in it.
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
            self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
            self.0.to_le_bytes()[4..].to_vec()
        };
        (0..125).flat_map(step).collect()
    }
}

/// A store of `keys` keys, most of whose bytes are of values that were replaced.
fn overwritten(bench: &Bench, keys: u32) {
    let options = Options::new().segment_bytes(1 << 20);
    let mut random = Random(1);
    let store = Engine::open(bench.store(), options).unwrap();
    for _round in 0..4 {
        for number in 0..keys / 100 {
            let mut batch = Batch::new();
            for number in number * 100..(number + 1) * 100 {
                batch.put(&number.to_le_bytes(), &random.value()).unwrap();
            }
            store.write(batch).unwrap();
        }
    }
    bench.close(&store);
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn compact_gives_back_what_was_replaced_and_says_how_much() {
    let bench = Bench::new();
    overwritten(&bench, 5000);
    let records = bench.good(&["export"]);
    let report = json(&bench.good(&["compact", "--json"]));
    let bytes = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(report["finished"], true, "{report}");
    // What the space ahead of the log and the manifest take does not follow what is live.
    let (live, fixed) = (5000 * 510, 1 << 20);
    assert!(bytes("disk_bytes_before") > live, "{report}");
    let most = live * 12 / 10 + fixed;
    assert!(bytes("disk_bytes_after") < most, "{report}");
    assert!(bytes("levels_after") <= 1, "{report}");
    assert_eq!(bench.good(&["export"]), records);
    let verified = text(&bench.good(&["verify"]));
    assert!(verified.contains(" in 1 level, "), "{verified}");
    let stats = json(&bench.good(&["stats", "--json"]));
    assert!(stats["disk_bytes"].as_u64().unwrap() < most, "{stats}");
    assert_eq!(stats["levels"].as_array().unwrap().len(), 1);
    let again = text(&bench.good(&["compact"]));
    assert!(again.starts_with("nothing to compact in "), "{again}");
    assert_eq!(text(&bench.good(&["compact", "-q"])), "");
}

#[test]
fn ctrl_c_ends_compact_at_its_next_step_and_the_next_one_goes_on() {
    let bench = Bench::new();
    overwritten(&bench, 100_000);
    let records = bench.good(&["scan", "--count"]);
    // Progress is for people who watch: their terminal says when it has begun.
    let mut seen = super::terminal::begin(bench.command(&["compact"]), " on disk");
    let kill = std::process::Command::new("kill")
        .args(["-INT", &seen.child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let mut out = String::new();
    let mut stdout = seen.child.stdout.take().unwrap();
    stdout.read_to_string(&mut out).unwrap();
    assert_eq!(seen.child.wait().unwrap().code(), Some(130), "{out}");
    assert!(
        out.starts_with("stopped: ") && out.ends_with("; run it again to go on\n"),
        "{out}"
    );
    bench.good(&["verify"]);
    let report = json(&bench.good(&["compact", "--json"]));
    assert_eq!(report["finished"], true);
    assert_eq!(bench.good(&["scan", "--count"]), records);
}

#[test]
fn a_reader_of_the_report_that_went_away_undoes_nothing() {
    let bench = Bench::new();
    overwritten(&bench, 1000);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = bench.command(&["compact"]);
    let output = command.stdout(writer).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}
