//! The rounds: every case with every contender, and again, so that what the machine does meanwhile meets them all.

use crate::args::RunOptions;
use crate::peers::{Contender, Engine};
use crate::plan::{Case, Stage, cases};
use crate::protocol::{self, Expected, Figure, Job, Sample, Task, cache_bytes_default};
use crate::series::{Series, charts, series};
use crate::store::Outcome;
use crate::system;
use crate::table::{Measurement, tables};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A run and what it has come to.
pub(crate) struct Run {
    pub(crate) options: RunOptions,
    directory: TempDir,
    json: Option<File>,
    measurements: Vec<Measurement>,
    series: Vec<Series>,
    /// Directories that many measurements read, and what must be in them.
    shared: BTreeMap<Engine, (PathBuf, Expected)>,
    count: u64,
}

/// Measures, and prints the tables.
pub(crate) fn run(options: RunOptions) -> Outcome {
    let options = options.settled()?;
    let cases = chosen(&options)?;
    let parent = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    warn_of_memory(&parent)?;
    let directory = TempDir::with_prefix_in("kv-bench-", &parent)?;
    let json = options.json.as_ref().map(|path| {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.map_err(|source| format!("cannot open {}: {source}", path.display()))
    });
    let mut run = Run {
        options,
        directory,
        json: json.transpose()?,
        measurements: Vec::new(),
        series: Vec::new(),
        shared: BTreeMap::new(),
        count: 0,
    };
    run.head()?;
    for round in 0..run.options.rounds {
        for case in cases.iter().filter(|case| round == 0 || !case.once) {
            for contender in &case.contenders {
                run.measure(case, *contender, round)?;
            }
        }
    }
    run.check_shared()?;
    let charts = run.options.charts.as_deref();
    show(&run.measurements, &run.series, charts)
}

fn show(measurements: &[Measurement], samples: &[Series], directory: Option<&Path>) -> Outcome {
    let tables = tables(measurements) + &series(samples);
    stdout().write_all(tables.as_bytes())?;
    directory.map_or(Ok(()), |directory| charts(samples, directory))
}

/// The tables of lines of JSON. What is no measurement is the head of a run, or the line that a stop has cut.
pub(crate) fn report(file: &Path, charts: Option<&Path>) -> Outcome {
    let lines = fs::read_to_string(file)
        .map_err(|source| format!("cannot read {}: {source}", file.display()))?;
    let measurements: Vec<Measurement> = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let samples: Vec<Series> = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if measurements.is_empty() {
        return Err(format!("{} holds no measurement", file.display()).into());
    }
    show(&measurements, &samples, charts)
}

/// A sync that reaches no device would make everybody fast.
pub(crate) fn warn_of_memory(directory: &Path) -> Outcome {
    let kind = system::file_system(directory);
    if let Some(kind) = kind.filter(|kind| system::is_memory(kind)) {
        writeln!(
            stderr(),
            "warning: {} is on {kind}, where syncs are free: use --dir; the figures mean nothing",
            directory.display()
        )?;
    }
    Ok(())
}

/// The cases and contenders that were asked for.
fn chosen(options: &RunOptions) -> Outcome<Vec<Case>> {
    let mut cases = cases(options);
    for wanted in &options.workloads {
        if !cases.iter().any(|case| case.workload == wanted) {
            return Err(format!("there is no workload {wanted}").into());
        }
    }
    if !options.workloads.is_empty() {
        cases.retain(|case| {
            options
                .workloads
                .iter()
                .any(|wanted| case.workload == wanted)
        });
    }
    let named = |contender: Contender, name: &str| {
        contender.name() == name || contender.engine.name() == name
    };
    for wanted in &options.peers {
        let known = cases.iter().flat_map(|case| &case.contenders);
        if !known.copied().any(|contender| named(contender, wanted)) {
            return Err(format!("there is no peer {wanted} in these workloads").into());
        }
    }
    if !options.cases.is_empty() {
        cases.retain(|case| options.cases.iter().any(|text| case.name.contains(text)));
    }
    if cases.is_empty() {
        return Err("no case has such a name".into());
    }
    if !options.peers.is_empty() {
        for case in &mut cases {
            case.contenders
                .retain(|one| options.peers.iter().any(|wanted| named(*one, wanted)));
        }
    }
    Ok(cases)
}

impl Run {
    /// What was run, on what.
    fn head(&mut self) -> Outcome {
        let kind = system::file_system(self.directory.path());
        let kind = kind.unwrap_or_else(|| "unknown".to_owned());
        let (date, kernel) = (system::today(), system::kernel());
        let processor = system::processor();
        let mut text = format!("{date}, {kernel}, {processor}, {kind}\n\n");
        for engine in Engine::ALL {
            let (name, version) = (engine.name(), version(engine.package()));
            text.push_str(&format!("- {name} {version}: {}\n", engine.settings()));
        }
        stdout().write_all(text.as_bytes())?;
        let versions: BTreeMap<&str, &str> = Engine::ALL
            .iter()
            .map(|engine| (engine.name(), version(engine.package())))
            .collect();
        let options = &self.options;
        self.write_json(&json!({
            "run": date,
            "kernel": kernel,
            "processor": processor,
            "file_system": kind,
            "versions": versions,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "keys": options.keys,
            "quick": options.quick,
        }))
    }

    fn write_json(&mut self, value: &impl serde::Serialize) -> Outcome {
        if let Some(file) = &mut self.json {
            let mut line = serde_json::to_string(value)?;
            line.push('\n');
            file.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// One case with one contender: prepares, measures, checks what is left.
    fn measure(&mut self, case: &Case, contender: Contender, round: u32) -> Outcome {
        let (workload, name) = (case.workload, &case.name);
        let row = contender.name();
        writeln!(stderr(), "round {}, {workload} {name}: {row}", round + 1)?;
        match case.stage {
            Stage::Shared | Stage::Closed => {
                let directory = self.shared_directory(case, contender.engine)?;
                if case.stage == Stage::Closed {
                    protocol::run(&self.job(case, contender, Task::Settle, directory.clone()))?;
                }
                let reply =
                    protocol::run(&self.job(case, contender, case.task.clone(), directory))?;
                self.note(case, contender, round, reply.figures, 0)
            }
            Stage::Life => self.life(case, contender, round),
            Stage::Fresh | Stage::Loaded => {
                let directory = self.fresh_directory();
                if case.stage == Stage::Loaded {
                    protocol::run(&self.job(case, contender, Task::Load, directory.clone()))?;
                }
                let measured = self.job(case, contender, case.task.clone(), directory.clone());
                let reply = protocol::run(&measured)?;
                let expected = reply.expected.ok_or("nothing says what must be there")?;
                let check = Task::Check { expected };
                let compared =
                    protocol::run(&self.job(case, contender, check, directory.clone()))?.compared;
                fs::remove_dir_all(&directory)?;
                self.note_samples(case, contender, &reply.samples)?;
                self.note(case, contender, round, reply.figures, compared)
            }
        }
    }

    /// The directory that an engine's measurements share; loads it the first time.
    fn shared_directory(&mut self, case: &Case, engine: Engine) -> Outcome<PathBuf> {
        if let Some((directory, _)) = self.shared.get(&engine) {
            return Ok(directory.clone());
        }
        let directory = self.fresh_directory();
        let threads = Contender::threads();
        let loader = threads.into_iter().find(|one| one.engine == engine);
        let loader = loader.ok_or("no threads can load it")?;
        let reply = protocol::run(&self.job(case, loader, Task::Load, directory.clone()))?;
        let expected = reply.expected.ok_or("nothing says what was loaded")?;
        self.shared.insert(engine, (directory.clone(), expected));
        Ok(directory)
    }

    /// After all rounds: nothing that was loaded or added is lost.
    fn check_shared(&mut self) -> Outcome {
        for (engine, (directory, expected)) in std::mem::take(&mut self.shared) {
            writeln!(stderr(), "check: {}", engine.name())?;
            let threads = Contender::threads();
            let checker = threads.into_iter().find(|one| one.engine == engine);
            let check = Job {
                directory,
                contender: checker.ok_or("no threads can check it")?,
                task: Task::Check { expected },
                lanes: 1,
                seconds: 0.0,
                keys: 0,
                value_bytes: self.options.value,
                cache_bytes: cache_bytes_default(),
                drop_caches: false,
            };
            protocol::run(&check)?;
        }
        Ok(())
    }

    pub(crate) fn fresh_directory(&mut self) -> PathBuf {
        self.count += 1;
        self.directory.path().join(self.count.to_string())
    }

    pub(crate) fn job(
        &self,
        case: &Case,
        contender: Contender,
        task: Task,
        directory: PathBuf,
    ) -> Job {
        Job {
            directory,
            contender,
            task,
            lanes: case.lanes,
            seconds: self.options.seconds,
            keys: case.keys,
            value_bytes: case.value_bytes,
            cache_bytes: case.cache_bytes,
            drop_caches: self.options.drop_caches,
        }
    }

    fn note_samples(&mut self, case: &Case, contender: Contender, samples: &[Sample]) -> Outcome {
        for sample in samples {
            let sampled = Series {
                workload: case.workload.to_owned(),
                case: case.name.clone(),
                contender: contender.name(),
                engine: contender.engine,
                form: contender.form,
                keys: case.keys,
                value_bytes: case.value_bytes,
                sample: *sample,
            };
            self.write_json(&sampled)?;
            self.series.push(sampled);
        }
        Ok(())
    }

    pub(crate) fn note(
        &mut self,
        case: &Case,
        contender: Contender,
        round: u32,
        figures: Vec<Figure>,
        compared: u64,
    ) -> Outcome {
        for figure in figures {
            let measurement = Measurement {
                workload: case.workload.to_owned(),
                case: case.name.clone(),
                contender: contender.name(),
                engine: contender.engine,
                form: contender.form,
                round,
                lanes: case.lanes,
                keys: case.keys,
                value_bytes: case.value_bytes,
                figure,
                compared,
            };
            self.write_json(&measurement)?;
            self.measurements.push(measurement);
        }
        Ok(())
    }
}

/// The version of a package in this program's own lock file.
fn version(package: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    let version = lines
        .next()
        .and_then(|line| line.strip_prefix("version = "));
    version.map_or("unknown", |version| version.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_a_version() {
        for engine in Engine::ALL {
            let version = version(engine.package());
            assert!(
                version.starts_with(|digit: char| digit.is_ascii_digit()),
                "{version}"
            );
        }
        assert_eq!(version("no such package"), "unknown");
    }
}
