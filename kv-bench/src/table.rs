//! What was measured: lines of JSON, one for each measurement, and tables for people.

use crate::histogram::Spread;
use crate::peers::{Contender, Engine, Form};
use crate::plan::{TITLES, target};
use crate::protocol::{Better, Figure};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// One measurement of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) workload: String,
    pub(crate) case: String,
    /// The row's name.
    pub(crate) contender: String,
    pub(crate) engine: Engine,
    pub(crate) form: Form,
    pub(crate) round: u32,
    /// Tasks or threads at once: so many writes share a sync at most.
    pub(crate) lanes: u64,
    /// What the store holds, where that is known before.
    #[serde(default)]
    pub(crate) keys: u64,
    #[serde(default)]
    pub(crate) value_bytes: usize,
    #[serde(flatten)]
    pub(crate) figure: Figure,
    /// Records that were compared after the process was killed.
    pub(crate) compared: u64,
}

/// All rounds of one cell.
#[derive(Clone, Copy, Debug)]
struct Cell {
    spread: Spread,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    p999_us: Option<f64>,
    longest_us: Option<f64>,
    better: Better,
}

/// A column: workload, case, metric.
type Column<'a> = (&'a str, &'a str, &'a str);

/// These have many metrics: a table for each of their cases.
const BY_CASE: [&str; 3] = ["W5", "W6", "W9"];

/// All tables, as Markdown.
pub(crate) fn tables(measurements: &[Measurement]) -> String {
    let mut text = String::new();
    for (workload, title) in TITLES {
        let of: Vec<&Measurement> = measurements
            .iter()
            .filter(|measurement| measurement.workload == workload)
            .collect();
        if !of.is_empty() {
            line(&mut text, format_args!("\n### {workload}: {title}\n"));
            if BY_CASE.contains(&workload) {
                by_case(&mut text, &of);
            } else {
                table(&mut text, &of, true);
            }
        }
    }
    pauses(&mut text, measurements);
    comparison(&mut text, measurements);
    flushes(&mut text, measurements);
    noise(&mut text, measurements);
    text
}

fn by_case(text: &mut String, of: &[&Measurement]) {
    let mut cases: Vec<&str> = Vec::new();
    for one in of {
        if !cases.contains(&&*one.case) {
            cases.push(&one.case);
        }
    }
    for case in cases {
        line(text, format_args!("{case}:\n"));
        let of = of.iter().copied().filter(|one| one.case == case);
        table(text, &of.collect::<Vec<_>>(), false);
        text.push('\n');
    }
}

/// Contenders down, cases and metrics across: median, the least and most of all rounds, latencies.
fn table(text: &mut String, of: &[&Measurement], named: bool) {
    let columns = columns(of);
    let mut heads = String::new();
    for (_, case, metric) in &columns {
        if named {
            heads.push_str(&format!(" {case}:"));
        }
        heads.push_str(&format!(" {metric} |"));
    }
    line(text, format_args!("| |{heads}"));
    line(text, format_args!("|---|{}", "---|".repeat(columns.len())));
    for contender in contenders(of) {
        let mut cells = String::new();
        for column in &columns {
            let cell = cell(of, column, contender);
            cells.push_str(&format!(
                " {} |",
                cell.map_or_else(|| "-".to_owned(), shown)
            ));
        }
        line(text, format_args!("| {} |{cells}", contender.name()));
    }
}

fn shown(cell: Cell) -> String {
    let Spread { median, min, max } = cell.spread;
    let mut text = number(median);
    if min < max {
        text.push_str(&format!(" [{}..{}]", number(min), number(max)));
    }
    if let (Some(p50), Some(p99)) = (cell.p50_us, cell.p99_us) {
        let ends = [cell.p999_us, cell.longest_us].map(|end| {
            let end = end.map(|end| format!("/{}", number(end)));
            end.unwrap_or_default()
        });
        let (p50, p99, ends) = (number(p50), number(p99), ends.concat());
        text.push_str(&format!(" ({p50}/{p99}{ends} us)"));
    }
    text
}

/// kvlog's best form beside the best native and the best wrapped peer of each column.
fn comparison(text: &mut String, measurements: &[Measurement]) {
    let all: Vec<&Measurement> = measurements.iter().collect();
    let mut rows = String::new();
    for column in columns(&all) {
        let (workload, case, metric) = column;
        let best = |of: &dyn Fn(Contender) -> bool| best(&all, &column, of);
        let Some((own, own_cell)) = best(&|row| row.engine == Engine::Kvlog) else {
            continue;
        };
        let target = target(workload, case, metric);
        let native = best(&|row| row.engine != Engine::Kvlog && !row.is_wrapped());
        let wrapped = best(&|row| row.engine != Engine::Kvlog && row.is_wrapped());
        if native.is_none() && wrapped.is_none() {
            continue;
        }
        let beside = |peer: Option<(Contender, Cell)>, goal: Option<f64>| {
            let goal = goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.1}"));
            match peer {
                Some((row, cell)) => {
                    let (value, name) = (number(cell.spread.median), row.name());
                    let ratio = shown_ratio(ratio(own_cell, cell));
                    format!("{name} {value} | {ratio} | {goal}")
                }
                None => "- | - | -".to_owned(),
            }
        };
        line(
            &mut rows,
            format_args!(
                "| {workload} {case}: {metric} | {} {} | {} | {} |",
                own.name(),
                number(own_cell.spread.median),
                beside(native, target.map(|target| target.native)),
                beside(wrapped, target.and_then(|target| target.wrapped)),
            ),
        );
    }
    if !rows.is_empty() {
        text.push_str("\n### kvlog beside the best peer\n\n");
        text.push_str("Above 1: kvlog is ahead. Below 1.3 apart is a tie on a noisy machine.\n\n");
        text.push_str(
            "| | kvlog | best native | ratio | target | best wrapped | ratio | target |\n",
        );
        text.push_str("|---|---|---|---|---|---|---|---|\n");
        text.push_str(&rows);
    }
}

/// W9: how much longer everything takes while the store is churned.
fn pauses(text: &mut String, measurements: &[Measurement]) {
    let of: Vec<&Measurement> = measurements
        .iter()
        .filter(|one| one.workload == "W9")
        .collect();
    let mut rows = String::new();
    for (workload, case, metric) in columns(&of) {
        let Some(operation) = metric.strip_prefix("quiet, ") else {
            continue;
        };
        let churned = format!("churned, {operation}");
        for row in contenders(&of) {
            let quiet = cell(&of, &(workload, case, metric), row);
            let churned = cell(&of, &(workload, case, &churned), row);
            let Some((quiet, churned)) = quiet.zip(churned) else {
                continue;
            };
            let beside = |of: fn(&Cell) -> Option<f64>| {
                let both = of(&quiet).zip(of(&churned));
                both.map_or_else(
                    || "-".to_owned(),
                    |(quiet, churned)| {
                        let times = number(churned / quiet.max(f64::MIN_POSITIVE));
                        format!("{} -> {} ({times})", number(quiet), number(churned))
                    },
                )
            };
            line(
                &mut rows,
                format_args!(
                    "| {case}: {} | {} | {} | {} | {} |",
                    row.name(),
                    beside(|cell| cell.p50_us),
                    beside(|cell| cell.p99_us),
                    beside(|cell| cell.p999_us),
                    beside(|cell| cell.longest_us),
                ),
            );
        }
    }
    if !rows.is_empty() {
        text.push_str("\n### W9: from quiet to churned, in microseconds (and how many times)\n\n");
        text.push_str("The longest is of ten times as many seconds when churned.\n\n");
        text.push_str("| | p50 | p99 | p99.9 | longest |\n|---|---|---|---|---|\n");
        text.push_str(&rows);
    }
}

/// How much faster (or smaller, where less is better) the first is.
fn ratio(own: Cell, peer: Cell) -> f64 {
    match own.better {
        Better::Higher => own.spread.median / peer.spread.median,
        Better::Lower => peer.spread.median / own.spread.median,
    }
}

fn shown_ratio(ratio: f64) -> String {
    if !ratio.is_normal() {
        "-".to_owned() // beside nothing at all
    } else if ratio >= 0.095 {
        format!("{ratio:.2}")
    } else {
        format!("1/{}", number(ratio.recip()))
    }
}

fn best(
    of: &[&Measurement],
    column: &Column<'_>,
    takes: &dyn Fn(Contender) -> bool,
) -> Option<(Contender, Cell)> {
    let rows = contenders(of).into_iter().filter(|row| takes(*row));
    let cells = rows.filter_map(|row| Some((row, cell(of, column, row)?)));
    cells.reduce(|one, other| {
        let ahead = match one.1.better {
            Better::Higher => other.1.spread.median > one.1.spread.median,
            Better::Lower => other.1.spread.median < one.1.spread.median,
        };
        if ahead { other } else { one }
    })
}

/// Whether everybody syncs: a lane waits for its write, so that a sync serves at most one write of each lane.
fn flushes(text: &mut String, measurements: &[Measurement]) {
    let of: Vec<&Measurement> = measurements
        .iter()
        .filter(|one| one.figure.flushes_per_write.is_some())
        .collect();
    let columns = columns(&of);
    if columns.is_empty() {
        return;
    }
    text.push_str("\n### Flush requests to the device for each acknowledged write\n\n");
    text.push_str(
        "Everybody's on the machine; `!`: fewer than these lanes need if each write is synced.\n\n",
    );
    let heads = columns
        .iter()
        .map(|(workload, case, _)| format!(" {workload} {case} |"));
    line(text, format_args!("| |{}", heads.collect::<String>()));
    line(text, format_args!("|---|{}", "---|".repeat(columns.len())));
    for contender in contenders(&of) {
        let mut cells = String::new();
        for column in &columns {
            let rounds = rounds(&of, column, contender);
            let flushes = rounds.iter().filter_map(|one| one.figure.flushes_per_write);
            let cell = Spread::of(flushes).zip(rounds.first());
            cells.push_str(&cell.map_or_else(
                || " - |".to_owned(),
                |(spread, one)| {
                    let mark = if syncs(spread.median, one.lanes) {
                        ""
                    } else {
                        " !"
                    };
                    format!(" {:.3}{mark} |", spread.median)
                },
            ));
        }
        line(text, format_args!("| {} |{cells}", contender.name()));
    }
}

/// One in ten may be missing: the counters are not read in the same instant as the clock.
#[expect(clippy::cast_precision_loss, reason = "a few hundred lanes")]
fn syncs(flushes_per_write: f64, lanes: u64) -> bool {
    flushes_per_write * lanes as f64 >= 0.9
}

/// What others did to the processors meanwhile.
fn noise(text: &mut String, measurements: &[Measurement]) {
    let others = measurements
        .iter()
        .filter_map(|measurement| measurement.figure.cpu_other);
    let spreads = rounds_apart(measurements);
    if let (Some(others), Some(apart)) = (Spread::of(others), Spread::of(spreads)) {
        line(
            text,
            format_args!(
                "\nNoise: others kept {:.1} [{:.1}..{:.1}] processors busy; the rounds of one cell were {:.0} % apart \
                 (median; at most {:.0} %).",
                others.median, others.min, others.max, apart.median, apart.max
            ),
        );
    }
}

/// Of each cell: how far the rounds were apart, in percent of their median.
fn rounds_apart(measurements: &[Measurement]) -> Vec<f64> {
    let all: Vec<&Measurement> = measurements.iter().collect();
    let mut apart = Vec::new();
    for column in columns(&all) {
        for contender in contenders(&all) {
            let cell = cell(&all, &column, contender);
            apart.extend(cell.map(|Cell { spread, .. }| {
                let Spread { median, min, max } = spread;
                (max - min) / median.abs().max(f64::MIN_POSITIVE) * 100.0
            }));
        }
    }
    apart
}

/// In order of appearance.
fn columns<'a>(of: &[&'a Measurement]) -> Vec<Column<'a>> {
    let mut columns = Vec::new();
    for one in of {
        let column = (&*one.workload, &*one.case, &*one.figure.metric);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

fn contenders(of: &[&Measurement]) -> Vec<Contender> {
    let mut contenders: Vec<Contender> = of.iter().map(|one| one.contender()).collect();
    contenders.sort();
    contenders.dedup();
    contenders
}

fn rounds<'a>(
    of: &[&'a Measurement],
    column: &Column<'_>,
    contender: Contender,
) -> Vec<&'a Measurement> {
    let (workload, case, metric) = *column;
    let of = of.iter().filter(|one| {
        one.workload == workload
            && one.case == case
            && one.figure.metric == metric
            && one.contender() == contender
    });
    of.copied().collect()
}

fn cell(of: &[&Measurement], column: &Column<'_>, contender: Contender) -> Option<Cell> {
    let rounds = rounds(of, column, contender);
    let rounds: Vec<&Figure> = rounds.iter().map(|one| &one.figure).collect();
    let median = |of: &dyn Fn(&Figure) -> Option<f64>| {
        Spread::of(rounds.iter().filter_map(|round| of(round))).map(|spread| spread.median)
    };
    Some(Cell {
        spread: Spread::of(rounds.iter().map(|round| round.value))?,
        p50_us: median(&|figure| figure.p50_us),
        p99_us: median(&|figure| figure.p99_us),
        p999_us: median(&|figure| figure.p999_us),
        longest_us: median(&|figure| figure.longest_us),
        better: rounds.first()?.better,
    })
}

impl Measurement {
    const fn contender(&self) -> Contender {
        Contender {
            engine: self.engine,
            form: self.form,
        }
    }
}

/// Three digits that matter, or all before the point, in groups.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 9.995 {
        return format!("{value:.2}");
    }
    if value.abs() < 99.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(engine: Engine, form: Form, round: u32, value: f64) -> Measurement {
        let row = Contender { engine, form };
        Measurement {
            workload: "W1".to_owned(),
            case: "8 tasks".to_owned(),
            contender: row.name(),
            engine,
            form,
            round,
            lanes: 8,
            keys: 0,
            value_bytes: 100,
            figure: Figure {
                p50_us: Some(10.0),
                p99_us: Some(20.0),
                ..Figure::new("puts/s", value, Better::Higher)
            },
            compared: 5,
        }
    }

    #[test]
    fn a_cell_shows_median_ends_and_latencies() {
        let rounds = [(0, 900.0), (1, 12_345.0), (2, 10_000.0)];
        let rounds = rounds.map(|(round, value)| measured(Engine::Redb, Form::Hop, round, value));
        let text = tables(&rounds);
        assert!(text.contains("### W1: durable put"), "{text}");
        assert!(
            text.contains("| redb-hop | 10,000 [900..12,345] (10.0/20.0 us) |"),
            "{text}"
        );
    }

    #[test]
    fn kvlog_is_set_beside_the_best_native_and_the_best_wrapped_peer() {
        let text = tables(&[
            measured(Engine::Kvlog, Form::Tasks, 0, 3000.0),
            measured(Engine::Kvlog, Form::Threads, 0, 2000.0),
            measured(Engine::SurrealKv, Form::Tasks, 0, 1000.0),
            measured(Engine::Fjall, Form::Threads, 0, 1500.0),
            measured(Engine::Fjall, Form::Hop, 0, 1200.0),
            measured(Engine::Fjall, Form::Gather, 0, 2400.0),
        ]);
        let row = "| W1 8 tasks: puts/s | kvlog 3,000 | fjall-threads 1,500 | 2.00 | 2.0 | fjall-gc 2,400 | 1.25 | 1.5 |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn where_less_is_better_the_ratio_turns_round() {
        let mut own = measured(Engine::Kvlog, Form::Threads, 0, 10.0);
        let mut peer = measured(Engine::Lmdb, Form::Threads, 0, 5.0);
        for one in [&mut own, &mut peer] {
            one.workload = "W5".to_owned();
            one.case = "warm".to_owned();
            one.figure.metric = "open ms".to_owned();
            one.figure.better = Better::Lower;
        }
        let text = tables(&[own, peer]);
        assert!(text.contains("| lmdb-threads 5.00 | 0.50 | - |"), "{text}");
    }

    #[test]
    fn a_pause_is_shown_beside_the_quiet_store() {
        let mut quiet = measured(Engine::Kvlog, Form::Threads, 0, 900.0);
        quiet.workload = "W9".to_owned();
        quiet.figure.metric = "quiet, gets/s".to_owned();
        quiet.figure.p999_us = Some(40.0);
        let mut churned = quiet.clone();
        churned.figure.metric = "churned, gets/s".to_owned();
        churned.figure.p99_us = Some(50.0);
        churned.figure.p999_us = Some(400.0);
        let text = tables(&[quiet, churned]);
        let row = "| 8 tasks: kvlog-threads | 10.0 -> 10.0 (1.00) | 20.0 -> 50.0 (2.50) | 40.0 -> 400 (10.0) | - |";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("| kvlog-threads | 900 (10.0/20.0/40.0 us) |"),
            "{text}"
        );
    }

    #[test]
    fn whoever_flushes_less_often_than_it_must_is_marked() {
        let mut honest = measured(Engine::Fjall, Form::Gather, 0, 9.0);
        honest.figure.flushes_per_write = Some(0.126);
        let mut other = measured(Engine::Redb, Form::Gather, 0, 99.0);
        other.figure.flushes_per_write = Some(0.002);
        let text = tables(&[honest, other]);
        assert!(text.contains("| fjall-gc | 0.126 |"), "{text}");
        assert!(text.contains("| redb-gc | 0.002 ! |"), "{text}");
    }

    #[test]
    fn a_line_of_json_names_what_was_measured_and_reads_back() {
        let one = measured(Engine::Kvlog, Form::Variant, 2, 1234.5);
        let text = serde_json::to_string(&one).unwrap();
        assert!(!text.contains('\n'));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["workload"], "W1");
        assert_eq!(json["contender"], "kvlog-set");
        assert_eq!(json["metric"], "puts/s");
        assert_eq!(json["value"], 1234.5);
        assert_eq!(json["better"], "higher");
        assert_eq!(json["round"], 2);
        assert_eq!(serde_json::from_str::<Measurement>(&text).unwrap(), one);
    }

    #[test]
    fn small_ratios_stay_readable() {
        let cases = [
            (2.0, "2.00"),
            (0.1, "0.10"),
            (0.02, "1/50.0"),
            (0.0001, "1/10,000"),
        ];
        for (ratio, right) in cases {
            assert_eq!(shown_ratio(ratio), right);
        }
        assert_eq!(shown_ratio(f64::INFINITY), "-");
        assert_eq!(shown_ratio(f64::NAN), "-");
    }

    #[test]
    fn numbers_keep_what_matters() {
        let cases = [
            (0.034, "0.03"),
            (9.99, "9.99"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-123.0, "-123"),
        ];
        for (value, right) in cases {
            assert_eq!(number(value), right);
        }
    }
}
