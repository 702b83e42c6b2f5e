//! The workloads: which cases there are, and who takes part in each.

use crate::args::RunOptions;
use crate::peers::Contender;
use crate::protocol::Task;

/// A column of a table: one measurement of several contenders.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) workload: &'static str,
    pub(crate) name: &'static str,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) stage: Stage,
    pub(crate) task: Task,
    pub(crate) lanes: u64,
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
}

/// What is in the directory before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing.
    Fresh,
    /// `keys` records, loaded for this measurement alone.
    Loaded,
    /// `keys` records, loaded once for all measurements that only read.
    Shared,
    /// The same, after a clean close.
    Closed,
    /// The same, after more puts of a process that was killed.
    Killed,
}

/// What each workload is, for the tables.
pub(crate) const TITLES: [(&str, &str); 8] = [
    ("W1", "durable put of a new key, 16 + 100 bytes"),
    ("W2", "durable put of larger values, 64 tasks"),
    ("W3", "point get from memory"),
    ("W4", "half gets, half durable puts, 64 tasks"),
    ("W5", "load in batches of 1,000, and open"),
    (
        "W6",
        "churn: all keys, and all again five times, in batches of 1,000",
    ),
    ("W7", "scans in order, one thread"),
    ("W8", "transfers between 100 accounts, 64 tasks or threads"),
];

/// Values of most workloads.
const VALUE_BYTES: usize = 100;

/// All cases, in order. Quick runs have fewer columns and keys.
pub(crate) fn cases(options: &RunOptions) -> Vec<Case> {
    let quick = options.quick;
    let mut cases = Vec::new();
    for (lanes, name) in [
        (1, "1 task"),
        (8, "8 tasks"),
        (64, "64 tasks"),
        (512, "512 tasks"),
    ] {
        if !quick || lanes == 8 {
            cases.push(Case::fresh(
                "W1",
                name,
                Contender::writers(),
                Task::Put,
                lanes,
            ));
        }
    }
    for (value_bytes, name) in [(1024, "1 KiB"), (65_536, "64 KiB")] {
        if !quick || value_bytes == 1024 {
            let case = Case::fresh("W2", name, Contender::writers(), Task::Put, 64);
            cases.push(Case {
                value_bytes,
                ..case
            });
        }
    }
    cases.extend(gets(options));
    cases.push(Case {
        stage: Stage::Loaded,
        keys: options.keys.min(100_000),
        ..Case::fresh("W4", "64 tasks", Contender::tasks(), Task::Mixed, 64)
    });
    cases.extend(opens(options));
    cases.push(Case {
        keys: (options.keys / 5).max(1),
        ..Case::fresh(
            "W6",
            "churn",
            Contender::threads(),
            Task::Churn { rounds: 5 },
            1,
        )
    });
    for (limit, name) in [(Some(100), "100 from a random key"), (None, "all")] {
        let case = Case::shared("W7", name, Contender::threads(), Task::Scan { limit });
        cases.push(case.over(options));
    }
    cases.push(Case {
        keys: 100,
        value_bytes: 8,
        ..Case::fresh(
            "W8",
            "100 accounts",
            Contender::transactors(),
            Task::Transfer,
            64,
        )
    });
    cases
}

fn gets(options: &RunOptions) -> Vec<Case> {
    let cases = [
        (1, false, "1 task", Contender::readers()),
        (64, false, "64 tasks", Contender::readers()),
        (64, true, "64 tasks, Zipf", Contender::readers()),
        (1, false, "1 thread", Contender::threads()),
        (1, true, "1 thread, Zipf", Contender::threads()),
    ];
    let case = |(lanes, zipf, name, contenders)| Case {
        lanes,
        ..Case::shared("W3", name, contenders, Task::Get { zipf }).over(options)
    };
    let quick = |case: &Case| !options.quick || matches!(case.name, "64 tasks, Zipf" | "1 thread");
    cases.into_iter().map(case).filter(quick).collect()
}

fn opens(options: &RunOptions) -> [Case; 3] {
    let open = |name, cold, stage| Case {
        stage,
        ..Case::shared("W5", name, Contender::threads(), Task::Open { cold }).over(options)
    };
    [
        open("warm", false, Stage::Closed),
        open("cold", true, Stage::Closed),
        open("after a kill", false, Stage::Killed),
    ]
}

impl Case {
    fn fresh(
        workload: &'static str,
        name: &'static str,
        contenders: Vec<Contender>,
        task: Task,
        lanes: u64,
    ) -> Self {
        Self {
            workload,
            name,
            contenders,
            stage: Stage::Fresh,
            task,
            lanes,
            keys: 0,
            value_bytes: VALUE_BYTES,
        }
    }

    fn shared(
        workload: &'static str,
        name: &'static str,
        contenders: Vec<Contender>,
        task: Task,
    ) -> Self {
        Self {
            stage: Stage::Shared,
            ..Self::fresh(workload, name, contenders, task, 1)
        }
    }

    fn over(self, options: &RunOptions) -> Self {
        Self {
            keys: options.keys,
            ..self
        }
    }
}

/// A goal: kvlog as a multiple of the best native and the best wrapped peer of its run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) native: f64,
    pub(crate) wrapped: Option<f64>,
}

/// The goals that are set, by workload and case.
pub(crate) fn target(workload: &str, case: &str, metric: &str) -> Option<Target> {
    let (native, wrapped) = match (workload, case, metric) {
        ("W1", "1 task", _) => (1.0, Some(1.0)),
        ("W1", "8 tasks", _) => (2.0, Some(1.5)),
        ("W1", "64 tasks", _) => (2.5, Some(2.0)),
        ("W1", "512 tasks", _) => (3.0, Some(2.0)),
        ("W2", "1 KiB", _) | ("W4", ..) => (1.5, Some(1.5)),
        ("W2", "64 KiB", _) => (2.0, Some(2.0)),
        ("W3", "64 tasks", _) => (3.0, Some(3.0)),
        ("W3", "1 thread", _) => (1.3, None),
        ("W5", _, "loads/s") => (1.5, None),
        _ => return None,
    };
    Some(Target { native, wrapped })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::collections::BTreeSet;

    fn options(arguments: &[&str]) -> RunOptions {
        let arguments = [&["kv-bench"], arguments].concat();
        let parsed = crate::args::Arguments::parse_from(arguments);
        parsed.run.settled().unwrap()
    }

    #[test]
    fn every_workload_has_a_case_and_a_quick_one() {
        for arguments in [&[][..], &["--quick"]] {
            let cases = cases(&options(arguments));
            let found: BTreeSet<&str> = cases.iter().map(|case| case.workload).collect();
            let titles: BTreeSet<&str> = TITLES.iter().map(|(workload, _)| *workload).collect();
            assert_eq!(found, titles);
        }
    }

    #[test]
    fn every_target_is_of_a_case() {
        let cases = cases(&options(&[]));
        let targets = cases
            .iter()
            .filter(|case| target(case.workload, case.name, "puts/s").is_some());
        assert_eq!(targets.count(), 9);
    }
}
