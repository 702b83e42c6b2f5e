//! What passes between the run and its children.
//!
//! Each step is done by a process of its own: this program again, with a [`Job`] as its hidden argument. It answers with
//! one line of JSON on standard output, and then waits to be killed: whatever it had acknowledged must be found by the
//! next child, which opens the store and checks. A child that dies or answers anything else fails the run.

use crate::peers::Contender;
use crate::store::Outcome;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What a child does, with whom, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) directory: PathBuf,
    pub(crate) contender: Contender,
    pub(crate) task: Task,
    /// How many tasks or threads.
    pub(crate) lanes: u64,
    /// How long it measures.
    pub(crate) seconds: f64,
    /// How many keys there are, or come to be.
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
}

/// One step of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// New keys, each durable before its lane goes on.
    Put,
    /// `keys` in batches of 1,000, each durable, then a clean close.
    Load,
    /// Random reads of what was loaded.
    Get { zipf: bool },
    /// One read, one write of a lane's own key, and so on.
    Mixed,
    /// A thousand more puts, and no close.
    Age,
    /// An open and a clean close, so that the next open has nothing to recover.
    Settle,
    /// An open, with one read.
    Open { cold: bool },
    /// All keys once, and then `rounds` times again in other orders.
    Churn { rounds: u64 },
    /// Up to `limit` records from a random key on, again and again; `None`: all of them.
    Scan { limit: Option<u64> },
    /// Transfers between random ones of `keys` accounts.
    Transfer,
    /// Opens, and compares with what was acknowledged.
    Check { expected: Expected },
}

/// What must be there when everybody was killed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Expected {
    /// How many records there are.
    pub(crate) records: u64,
    /// Lanes, and how many keys each has written, from the first on.
    pub(crate) lanes: Vec<(u64, u64)>,
    /// Some keys (lane, number) and the version of their value.
    pub(crate) versions: Vec<(u64, u64, u64)>,
    /// What all accounts hold together.
    pub(crate) sum: Option<u64>,
}

/// What a child has measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) figures: Vec<Figure>,
    pub(crate) expected: Option<Expected>,
    /// Records that a check has compared byte by byte.
    pub(crate) compared: u64,
}

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What it counts, with its unit: `puts/s`.
    pub(crate) metric: String,
    pub(crate) value: f64,
    pub(crate) better: Better,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// Everybody's flush requests to the device for each acknowledged write: far below what it should be means that
    /// somebody does not sync.
    pub(crate) flushes_per_write: Option<f64>,
    pub(crate) cpu_own: Option<f64>,
    pub(crate) cpu_other: Option<f64>,
}

/// Which of two numbers wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

impl Figure {
    pub(crate) fn new(metric: &str, value: f64, better: Better) -> Self {
        Self {
            metric: metric.to_owned(),
            value,
            better,
            p50_us: None,
            p99_us: None,
            flushes_per_write: None,
            cpu_own: None,
            cpu_other: None,
        }
    }
}

/// Runs one job in a child, and kills it when it has answered.
pub(crate) fn run(job: &Job) -> Outcome<Reply> {
    let child = Command::new(std::env::current_exe()?)
        .args(["child", &serde_json::to_string(job)?])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let reply = answer(child);
    reply.map_err(|failure| {
        let (name, task) = (job.contender.name(), &job.task);
        format!("{name}, {task:?}: {failure}").into()
    })
}

fn answer(mut child: Child) -> Outcome<Reply> {
    let line = child.stdout.take().map(first_line);
    // Not asked to end: a kill is what the next child must cope with.
    child.kill()?;
    child.wait()?;
    parse(&line.unwrap_or(Ok(String::new()))?)
}

fn first_line(output: impl Read) -> Outcome<String> {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(line)
}

fn parse(line: &str) -> Outcome<Reply> {
    if !line.ends_with('\n') {
        return Err("the child died before it answered".into());
    }
    Ok(serde_json::from_str(line)?)
}

/// The child's side: says what was measured, and waits for its end while the store is open.
pub(crate) fn reply_and_wait(reply: &Reply) -> Outcome {
    let mut line = serde_json::to_string(reply)?;
    line.push('\n');
    stdout().write_all(line.as_bytes())?;
    stdout().flush()?;
    stdin().read_to_end(&mut Vec::new())?; // ends with the parent, if it does not kill
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{Engine, Form};

    fn job(task: Task) -> Job {
        Job {
            directory: "/tmp/x y\"z".into(),
            contender: Contender {
                engine: Engine::Fjall,
                form: Form::Gather,
            },
            task,
            lanes: 64,
            seconds: 0.5,
            keys: 1000,
            value_bytes: 100,
        }
    }

    #[test]
    fn a_job_survives_the_command_line() {
        let expected = Expected {
            records: 3,
            lanes: vec![(0, 2), (1, 1)],
            versions: vec![(0, 1, 7)],
            sum: Some(u64::MAX),
        };
        let tasks = [
            Task::Put,
            Task::Get { zipf: true },
            Task::Scan { limit: None },
            Task::Check { expected },
        ];
        for task in tasks {
            let job = job(task);
            let text = serde_json::to_string(&job).unwrap();
            assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
        }
    }

    #[test]
    fn a_child_that_dies_in_the_middle_of_its_answer_is_no_answer() {
        let reply = serde_json::to_string(&Reply::default()).unwrap();
        assert!(parse(&reply).is_err()); // without the end of the line
        assert!(parse("").is_err());
        assert!(parse("thread 'main' panicked\n").is_err());
        assert_eq!(parse(&format!("{reply}\n")).unwrap(), Reply::default());
    }

    #[test]
    fn only_the_first_line_is_the_answer() {
        assert_eq!(first_line(&b"one\ntwo\n"[..]).unwrap(), "one\n");
    }
}
