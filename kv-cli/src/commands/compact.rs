//! All background work that there is to do, at once: `compact`.

use super::{Outcome, close, note, open};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, at_path};
use crate::progress::Progress;
use crate::stop::Stop;
use crate::text::{counted, size};
use kv_log_engine::{CompactProgress, CompactReport, Create};
use kv_trait::Result;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

/// What a compaction asks between two steps.
type Ask<'a> = dyn FnMut(&CompactProgress) -> ControlFlow<()> + 'a;

pub(super) fn compact(args: &Args) -> Outcome {
    let store = open(args, Create::Never)?;
    // Not before: an open cannot be stopped half way, and what ends it then costs nothing.
    let stop = Stop::watch()?;
    let progress = Progress::new(args, None);
    let (compacted, done) = drive(|ask| store.compact(ask), &stop, &progress);
    drop(progress);
    let closed = close(&store);
    let report = match compacted {
        Ok(report) => report,
        Err(cause) => {
            if done.units > 0 {
                let units = counted(done.units, "unit");
                note(args, &format!("{units} done before are kept"));
            }
            // The first cause is the one to end with.
            if let Err(second) = closed
                && !second.is_consequence()
            {
                note(args, &format!("closing failed too: {}", second.message()));
            }
            return Err(cause.into());
        }
    };
    closed
        .and_then(|()| show(args, &report, store.path()))
        .map_err(|cause| match report.finished {
            true => cause.after("the store is compacted", None),
            false => cause,
        })?;
    Ok(exit_code(&report, &stop))
}

/// Runs it until it ends or a signal comes; says how far it was when it last asked.
fn drive(
    run: impl FnOnce(&mut Ask<'_>) -> Result<CompactReport>,
    stop: &Stop,
    progress: &Progress,
) -> (Result<CompactReport>, CompactProgress) {
    let mut done = CompactProgress::default();
    let mut ask = |now: &CompactProgress| {
        done = *now;
        progress.at(now.units, || told(now));
        match stop.wished() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    };
    let compacted = run(&mut ask);
    (compacted, done)
}

fn told(now: &CompactProgress) -> String {
    format!(
        "{} done, {} written, {}, {} on disk",
        counted(now.units, "unit"),
        size(now.bytes_written),
        counted(now.levels, "level"),
        size(now.disk_bytes)
    )
}

/// A signal that came after the last step has changed nothing.
fn exit_code(report: &CompactReport, stop: &Stop) -> ExitCode {
    match stop.wished().filter(|_| !report.finished) {
        Some(code) => ExitCode::from(code),
        None => ExitCode::SUCCESS,
    }
}

fn show(args: &Args, report: &CompactReport, path: &Path) -> Result<(), Failure> {
    let mut output = Output::new();
    if args.json {
        output.json(&at_path(path, report_json(report)))?;
    } else if !args.quiet {
        output.line(&sentence(report, path))?;
    }
    output.finish()
}

fn sentence(report: &CompactReport, path: &Path) -> String {
    let path = path.display();
    let (before, after) = (
        size(report.disk_bytes_before),
        size(report.disk_bytes_after),
    );
    if report.finished && report.units == 0 && report.disk_bytes_before == report.disk_bytes_after {
        return format!("nothing to compact in {path}: {after}");
    }
    let work = format!(
        "{} done, {} written",
        counted(report.units, "unit"),
        size(report.bytes_written)
    );
    if report.finished {
        format!("compacted {path}: {before} before, {after} now; {work}")
    } else {
        format!(
            "stopped: {path} took {before} before, and takes {after} now; {work}; run it again to go on"
        )
    }
}

fn report_json(report: &CompactReport) -> Value {
    json!({
        "finished": report.finished,
        "disk_bytes_before": report.disk_bytes_before,
        "disk_bytes_after": report.disk_bytes_after,
        "levels_before": report.levels_before,
        "levels_after": report.levels_after,
        "units": report.units,
        "bytes_written": report.bytes_written,
        "segments_released": report.segments_released,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_trait::{Error, ErrorKind};

    const MIB: u64 = 1 << 20;

    fn report(finished: bool, units: u64, before: u64, after: u64) -> CompactReport {
        let mut report = CompactReport::default();
        report.finished = finished;
        report.units = units;
        report.disk_bytes_before = before;
        report.disk_bytes_after = after;
        report.bytes_written = units * MIB;
        report
    }

    /// Asks before each of ten units, as the engine does.
    fn ten_units(ask: &mut Ask<'_>) -> Result<CompactReport> {
        for units in 0..10 {
            let mut now = CompactProgress::default();
            now.units = units;
            if ask(&now).is_break() {
                return Ok(report(false, units, 20 * MIB, 15 * MIB));
            }
        }
        Ok(report(true, 10, 20 * MIB, 5 * MIB))
    }

    #[test]
    fn a_signal_ends_it_before_the_next_step_and_what_was_done_is_told() {
        let stop = Stop::default();
        let run = |ask: &mut Ask<'_>| {
            ten_units(&mut |now: &CompactProgress| {
                if now.units == 3 {
                    stop.wish(130);
                }
                ask(now)
            })
        };
        let (compacted, done) = drive(run, &stop, &Progress::hidden());
        let report = compacted.unwrap();
        assert_eq!((report.finished, report.units, done.units), (false, 3, 3));
        assert_eq!(exit_code(&report, &stop), ExitCode::from(130));
        assert_eq!(
            sentence(&report, Path::new("/db")),
            "stopped: /db took 20.0 MiB before, and takes 15.0 MiB now; 3 units done, 3.0 MiB written; run it again to go on"
        );
    }

    #[test]
    fn a_signal_after_the_last_step_changes_nothing() {
        let stop = Stop::default();
        let (compacted, _) = drive(ten_units, &stop, &Progress::hidden());
        let report = compacted.unwrap();
        stop.wish(130);
        assert_eq!(exit_code(&report, &stop), ExitCode::SUCCESS);
        assert_eq!(
            sentence(&report, Path::new("/db")),
            "compacted /db: 20.0 MiB before, 5.0 MiB now; 10 units done, 10.0 MiB written"
        );
    }

    #[test]
    fn a_failure_says_how_much_was_done_before() {
        let fails = |ask: &mut Ask<'_>| {
            ten_units(ask)?;
            Err(Error::new(ErrorKind::StorageFull, "no space left"))
        };
        let (compacted, done) = drive(fails, &Stop::default(), &Progress::hidden());
        assert_eq!(compacted.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(done.units, 9);
    }

    #[test]
    fn where_nothing_was_to_be_done_that_is_said() {
        let idle = report(true, 0, 1232, 1232);
        assert_eq!(
            sentence(&idle, Path::new("/db")),
            "nothing to compact in /db: 1.2 KiB"
        );
        // Files that nobody refers to any more went, without a unit.
        let unlinked = report(true, 0, 2048, 1024);
        assert!(sentence(&unlinked, Path::new("/db")).starts_with("compacted /db: 2.0 KiB before"));
        assert_eq!(report_json(&idle)["finished"], true);
    }
}
