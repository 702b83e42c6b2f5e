//! kvlog's parts by themselves, each beside its target, and beside something that everybody knows in the same run.

mod calls;
mod count;
mod frame;
mod index;
mod pause;
mod replay;

use crate::args::MicroOptions;
use crate::histogram::Spread;
use crate::protocol::Better;
use crate::run::warn_of_memory;
use crate::store::Outcome;
use crate::system;
use crate::table::number;
use std::fmt::Write as _;
use std::io::{Write, stderr, stdout};
use std::time::{Duration, Instant};
use tempfile::TempDir;

type Part = fn(&MicroOptions, &TempDir) -> Outcome<Vec<Row>>;

const PARTS: [(&str, Part); 5] = [
    ("index", index::measure),
    ("frame", frame::measure),
    ("replay", replay::measure),
    ("pause", pause::measure),
    ("calls", calls::measure),
];

/// What was measured of one part.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    rounds: Vec<f64>,
    /// The same of something else.
    beside: Option<(&'static str, Vec<f64>)>,
    target: Option<(Better, f64)>,
}

impl Row {
    fn new(name: impl Into<String>, unit: &'static str, rounds: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            unit,
            rounds,
            beside: None,
            target: None,
        }
    }

    fn beside(self, name: &'static str, rounds: Vec<f64>) -> Self {
        Self {
            beside: Some((name, rounds)),
            ..self
        }
    }

    fn at_most(self, target: f64) -> Self {
        Self {
            target: Some((Better::Lower, target)),
            ..self
        }
    }

    fn at_least(self, target: f64) -> Self {
        Self {
            target: Some((Better::Higher, target)),
            ..self
        }
    }
}

/// Measures the parts that were asked for, and prints the table.
pub(crate) fn run(options: &MicroOptions) -> Outcome {
    for wanted in &options.parts {
        if !PARTS.iter().any(|(name, _)| name == wanted) {
            return Err(format!("there is no part {wanted}").into());
        }
    }
    if options.rounds == 0 || options.keys < 1_000 {
        return Err("--rounds must be at least 1, --keys at least 1000".into());
    }
    let parent = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    warn_of_memory(&parent)?;
    let directory = TempDir::with_prefix_in("kv-bench-", &parent)?;
    let mut rows = Vec::new();
    for (name, measure) in PARTS {
        if options.parts.is_empty() || options.parts.iter().any(|wanted| wanted == name) {
            writeln!(stderr(), "{name}")?;
            rows.extend(measure(options, &directory)?);
        }
    }
    let (date, kernel, processor) = (system::today(), system::kernel(), system::processor());
    let text = format!("{date}, {kernel}, {processor}\n\n{}", table(&rows));
    stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("| | measured | target | | beside it |\n|---|---|---|---|---|\n");
    for row in rows {
        let Some(spread) = Spread::of(row.rounds.iter().copied()) else {
            continue;
        };
        let (target, verdict) = match row.target {
            None => ("-".to_owned(), "-"),
            Some((Better::Lower, target)) => (
                format!("at most {}", number(target)),
                met(spread.median <= target),
            ),
            Some((Better::Higher, target)) => (
                format!("at least {}", number(target)),
                met(spread.median >= target),
            ),
        };
        let beside = row.beside.as_ref().and_then(|(name, rounds)| {
            let other = Spread::of(rounds.iter().copied())?;
            let ratio = spread.median / other.median;
            Some(format!("{name}: {} ({ratio:.2} of it)", ends(other)))
        });
        let beside = beside.unwrap_or_else(|| "-".to_owned());
        let (name, unit, measured) = (&row.name, row.unit, ends(spread));
        writeln!(
            text,
            "| {name} | {measured} {unit} | {target} | {verdict} | {beside} |"
        )
        .expect("a string takes everything");
    }
    text
}

const fn met(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

fn ends(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    format!("{} [{}..{}]", number(median), number(min), number(max))
}

/// How long something took.
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begin = Instant::now();
    let done = work();
    (begin.elapsed(), done)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
fn nanos_each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e9 / count as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
fn megabytes_a_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_whether_its_target_is_met() {
        let text = table(&[
            Row::new("lookup", "ns", vec![390.0, 410.0, 380.0])
                .at_most(400.0)
                .beside("BTreeMap", vec![780.0]),
            Row::new("replay", "MB/s", vec![150.0]).at_least(200.0),
            Row::new("encoding", "ns", vec![5.0]),
        ]);
        let lookup = "| lookup | 390 [380..410] ns | at most 400 | met | BTreeMap: 780 [780..780] (0.50 of it) |";
        assert!(text.contains(lookup), "{text}");
        assert!(text.contains("| at least 200 | missed | - |"), "{text}");
        assert!(
            text.contains("| encoding | 5.00 [5.00..5.00] ns | - | - | - |"),
            "{text}"
        );
    }
}
