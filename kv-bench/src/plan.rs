//! The workloads: which cases there are, and who takes part in each.

use crate::args::RunOptions;
use crate::peers::Contender;
use crate::protocol::{Churn, Task, cache_bytes_default};

/// A column of a table: one measurement of several contenders.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) workload: &'static str,
    pub(crate) name: String,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) stage: Stage,
    pub(crate) task: Task,
    pub(crate) lanes: u64,
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
    /// Measured in the first round only: it takes long, and goes through rounds of its own.
    pub(crate) once: bool,
    /// Of the store's own cache.
    pub(crate) cache_bytes: u64,
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
    /// The store's whole life, from the load on, in directories of its own.
    Life,
}

/// What each workload is, for the tables.
pub(crate) const TITLES: [(&str, &str); 10] = [
    ("W1", "durable put of a new key, 16 + 100 bytes"),
    ("W2", "durable put of larger values, 64 tasks"),
    ("W3", "point get from memory"),
    ("W4", "half gets, half durable puts, 64 tasks"),
    ("W5", "load in batches of 1,000, and open"),
    (
        "W6",
        "churn: all keys, then rounds of as many changes, in batches; space and writes",
    ),
    ("W7", "scans in order, one thread"),
    ("W8", "transfers between 100 accounts, 64 tasks or threads"),
    (
        "W9",
        "pauses: the store quiet, and while it is churned beside",
    ),
    ("W10", "lookups with a cache of 8 MiB, one thread"),
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
    cases.push(Case {
        stage: Stage::Life,
        ..Case::shared(
            "W5",
            &grouped(options.keys),
            Contender::threads(),
            Task::Load,
        )
        .over(options)
    });
    cases.extend(churns(options));
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
    cases.extend(pauses(options));
    for (absent, name) in [(false, "present"), (true, "absent")] {
        let case = Case::shared("W10", name, Contender::threads(), Task::Lookup { absent });
        cases.push(Case {
            stage: Stage::Closed,
            cache_bytes: LOOKUP_CACHE_BYTES,
            ..case.over(options)
        });
    }
    cases
}

/// Far less than what is loaded.
const LOOKUP_CACHE_BYTES: u64 = 8 << 20;

fn churns(options: &RunOptions) -> Vec<Case> {
    let histories = [
        (Churn::Uniform, "uniform"),
        (Churn::Skewed, "skewed"),
        (Churn::Queue, "queue"),
        (Churn::DeleteAll, "delete all"),
        (Churn::OneStays, "one stays"),
    ];
    let sizes = [
        (100, "100 B", options.churn_keys),
        (4096, "4 KiB", (options.churn_keys / 20).max(100)),
    ];
    let case = |((churn, history), (value_bytes, size, keys))| {
        // An odd number, so that everything is deleted in the end.
        let deletes = u64::from(churn == Churn::DeleteAll);
        let rounds = options.churn_rounds | deletes;
        let task = Task::Churn { churn, rounds };
        let name = format!("{history}, {size}");
        Case {
            keys,
            value_bytes,
            once: true,
            ..Case::fresh("W6", &name, Contender::threads(), task, 1)
        }
    };
    let both = histories
        .into_iter()
        .flat_map(|history| sizes.map(|size| (history, size)));
    both.map(case).collect()
}

fn pauses(options: &RunOptions) -> Vec<Case> {
    let cases = [
        (64, false, "gets, 64 tasks", Contender::readers()),
        (1, false, "gets, 1 thread", Contender::threads()),
        (64, true, "puts, 64 tasks", Contender::tasks()),
        (1, true, "puts, 1 thread", Contender::threads()),
    ];
    let case = |(lanes, puts, name, contenders)| Case {
        stage: Stage::Loaded,
        once: true,
        ..Case::fresh("W9", name, contenders, Task::Pause { puts }, lanes).over(options)
    };
    let quick = |case: &Case| !options.quick || case.name.contains("64");
    cases.into_iter().map(case).filter(quick).collect()
}

/// `1,000,000 keys`.
fn grouped(keys: u64) -> String {
    let digits = keys.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    format!("{} keys", groups.join(","))
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
    let quick =
        |case: &Case| !options.quick || matches!(&*case.name, "64 tasks, Zipf" | "1 thread");
    cases.into_iter().map(case).filter(quick).collect()
}

impl Case {
    fn fresh(
        workload: &'static str,
        name: &str,
        contenders: Vec<Contender>,
        task: Task,
        lanes: u64,
    ) -> Self {
        Self {
            workload,
            name: name.to_owned(),
            contenders,
            stage: Stage::Fresh,
            task,
            lanes,
            keys: 0,
            value_bytes: VALUE_BYTES,
            once: false,
            cache_bytes: cache_bytes_default(),
        }
    }

    fn shared(workload: &'static str, name: &str, contenders: Vec<Contender>, task: Task) -> Self {
        Self {
            stage: Stage::Shared,
            ..Self::fresh(workload, name, contenders, task, 1)
        }
    }

    fn over(self, options: &RunOptions) -> Self {
        Self {
            keys: options.keys,
            value_bytes: options.value,
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
    fn everything_is_deleted_at_the_end_of_delete_all() {
        let cases = cases(&options(&["--churn-rounds", "10"]));
        let rounds: Vec<u64> = cases
            .iter()
            .filter_map(|case| match case.task {
                Task::Churn {
                    churn: Churn::DeleteAll,
                    rounds,
                } => Some(rounds),
                _ => None,
            })
            .collect();
        assert_eq!(rounds, [11, 11]);
    }

    #[test]
    fn a_number_of_keys_is_easy_to_read() {
        assert_eq!(grouped(10_000_000), "10,000,000 keys");
        assert_eq!(grouped(1000), "1,000 keys");
        assert_eq!(grouped(12), "12 keys");
    }

    #[test]
    fn every_target_is_of_a_case() {
        let cases = cases(&options(&[]));
        let targets = cases
            .iter()
            .filter(|case| target(case.workload, &case.name, "puts/s").is_some());
        assert_eq!(targets.count(), 9);
    }
}
