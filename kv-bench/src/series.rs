//! W6 over time: a store's space and writes, round by round, as tables and charts.

use crate::chart::{Line, Panel, draw};
use crate::peers::{Contender, Engine, Form};
use crate::protocol::Sample;
use crate::store::Outcome;
use crate::table::number;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// What one contender's store had become after one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) workload: String,
    pub(crate) case: String,
    /// The row's name.
    pub(crate) contender: String,
    pub(crate) engine: Engine,
    pub(crate) form: Form,
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
    pub(crate) sample: Sample,
}

/// A table for each case: contenders down, rounds across.
pub(crate) fn series(all: &[Series]) -> String {
    let mut text = String::new();
    if all.is_empty() {
        return text;
    }
    text.push_str("\n### W6 over time\n\n");
    text.push_str("Disk per live byte (MB where less than half of the keys are there) / bytes written since the ");
    text.push_str("start for each byte of keys and values. Round 0 is the load.\n");
    for case in cases(all) {
        let of: Vec<&Series> = all.iter().filter(|one| one.case == case).collect();
        let rounds = of.iter().map(|one| one.sample.at).max().unwrap_or(0);
        let heads: String = (0..=rounds).map(|round| format!(" {round} |")).collect();
        let columns = usize::try_from(rounds).unwrap_or(0) + 1;
        let keys = of.first().map_or(0, |one| one.keys);
        text.push_str(&format!("\n| {case}, {keys} keys |{heads}\n"));
        text.push_str(&format!("|---|{}\n", "---|".repeat(columns)));
        for row in contenders(&of) {
            let cell = |round| {
                let mut found = of.iter().filter(|one| one.sample.at == round);
                let one = found.find(|one| one.contender() == row);
                one.map_or_else(|| " - |".to_owned(), |one| format!(" {} |", shown(one)))
            };
            let cells: String = (0..=rounds).map(cell).collect();
            text.push_str(&format!("| {} |{cells}\n", row.name()));
        }
    }
    text
}

fn shown(one: &Series) -> String {
    let space = one.space().map_or_else(
        || format!("{} MB", number(ratio(one.sample.disk_bytes, 1_000_000))),
        number,
    );
    let written = one.amplification();
    let written = written.map_or_else(|| "-".to_owned(), number);
    format!("{space} / {written}")
}

/// A file for each case, with space above and writes below.
pub(crate) fn charts(all: &[Series], directory: &Path) -> Outcome {
    fs::create_dir_all(directory)?;
    for case in cases(all) {
        let of: Vec<&Series> = all.iter().filter(|one| one.case == case).collect();
        let panel = |title: &str, of_one: fn(&Series) -> Option<f64>| Panel {
            title: format!("{case}: {title}"),
            lines: contenders(&of)
                .into_iter()
                .map(|row| line(&of, row, of_one))
                .collect(),
        };
        let panels = [
            // Where nothing is live for a while, a ratio is no line.
            if of.iter().all(|one| one.space().is_some()) {
                panel("disk per live byte", Series::space)
            } else {
                panel("disk, MB", |one| {
                    Some(ratio(one.sample.disk_bytes, 1_000_000))
                })
            },
            panel("bytes written per byte", Series::amplification),
        ];
        let word = |text: &str| text.replace(", ", "-").replace(' ', "-").to_lowercase();
        draw(&directory.join(format!("w6-{}.svg", word(case))), &panels)?;
    }
    Ok(())
}

fn line(of: &[&Series], row: Contender, of_one: fn(&Series) -> Option<f64>) -> Line {
    let own = of.iter().filter(|one| one.contender() == row);
    let point = |one: &&Series| Some((ratio(one.sample.at, 1), of_one(one)?));
    Line {
        name: row.name(),
        points: own.filter_map(point).collect(),
    }
}

impl Series {
    const fn contender(&self) -> Contender {
        Contender {
            engine: self.engine,
            form: self.form,
        }
    }

    /// Disk per live byte; `None` where less than half of the keys are there.
    fn space(&self) -> Option<f64> {
        let full = self.keys * (16 + self.value_bytes as u64);
        let Sample {
            live_bytes,
            disk_bytes,
            ..
        } = self.sample;
        (live_bytes * 2 >= full).then(|| ratio(disk_bytes, live_bytes))
    }

    /// Bytes written since the start for each byte of keys and values.
    fn amplification(&self) -> Option<f64> {
        let written = self.sample.written_bytes?;
        Some(ratio(written, self.sample.changed_bytes))
    }
}

/// In order of appearance.
fn cases(all: &[Series]) -> Vec<&str> {
    let mut cases: Vec<&str> = Vec::new();
    for one in all {
        if !cases.contains(&&*one.case) {
            cases.push(&one.case);
        }
    }
    cases
}

fn contenders(of: &[&Series]) -> Vec<Contender> {
    let mut contenders: Vec<Contender> = of.iter().map(|one| one.contender()).collect();
    contenders.sort();
    contenders.dedup();
    contenders
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(case: &str, engine: Engine, at: u64, live: u64, disk: u64) -> Series {
        let row = Contender {
            engine,
            form: Form::Threads,
        };
        Series {
            workload: "W6".to_owned(),
            case: case.to_owned(),
            contender: row.name(),
            engine,
            form: row.form,
            keys: 1000,
            value_bytes: 84,
            sample: Sample {
                at,
                live_bytes: live,
                disk_bytes: disk,
                space_peak: None,
                changed_bytes: 100_000 * (at + 1),
                changes: 1000 * (at + 1),
                written_bytes: Some(150_000 * (at + 1)),
                device_bytes: None,
                counted_bytes: None,
                entries: None,
                seconds: 1.0,
            },
        }
    }

    #[test]
    fn each_case_has_a_table_with_a_column_for_each_round() {
        let text = series(&[
            sampled("uniform, 100 B", Engine::Kvlog, 0, 100_000, 125_000),
            sampled("uniform, 100 B", Engine::Kvlog, 1, 100_000, 200_000),
            sampled("uniform, 100 B", Engine::Lmdb, 0, 100_000, 173_000),
            sampled("delete all, 100 B", Engine::Lmdb, 0, 0, 2_000_000),
        ]);
        assert!(
            text.contains("| uniform, 100 B, 1000 keys | 0 | 1 |"),
            "{text}"
        );
        assert!(
            text.contains("| kvlog-threads | 1.25 / 1.50 | 2.00 / 1.50 |"),
            "{text}"
        );
        assert!(
            text.contains("| lmdb-threads | 1.73 / 1.50 | - |"),
            "{text}"
        );
        assert!(text.contains("| lmdb-threads | 2.00 MB / 1.50 |"), "{text}");
        assert_eq!(series(&[]), "");
    }

    #[test]
    fn each_case_has_a_chart_that_names_its_rows() {
        let directory = tempfile::tempdir().unwrap();
        let samples = [
            sampled("one stays, 4 KiB", Engine::Kvlog, 0, 100_000, 125_000),
            sampled("one stays, 4 KiB", Engine::Kvlog, 1, 100_000, 200_000),
            sampled("one stays, 4 KiB", Engine::Redb, 0, 100_000, 150_000),
        ];
        charts(&samples, directory.path()).unwrap();
        let chart = directory.path().join("w6-one-stays-4-kib.svg");
        let text = fs::read_to_string(chart).unwrap();
        assert!(text.starts_with("<svg"), "{text}");
        assert!(text.trim_end().ends_with("</svg>"));
        for part in ["kvlog-threads", "redb-threads", "disk per live byte"] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn a_line_of_json_reads_back_and_is_no_measurement() {
        let one = sampled("queue, 100 B", Engine::Fjall, 2, 100, 200);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Series>(&text).unwrap(), one);
        assert!(serde_json::from_str::<crate::table::Measurement>(&text).is_err());
    }
}
