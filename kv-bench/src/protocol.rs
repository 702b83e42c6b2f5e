//! What passes between the run and its children.
//!
//! Each step is done by a process of its own: this program again, with a [`Job`] as its hidden argument. It answers with
//! one line of JSON on standard output, and then waits to be killed: whatever it had acknowledged must be found by the
//! next child, which opens the store and checks. A child that dies or answers anything else fails the run.

use crate::peers::Contender;
use crate::store::{Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

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
    /// The size of the store's own cache, where it has one that can be set.
    #[serde(default = "cache_bytes_default")]
    pub(crate) cache_bytes: u64,
    /// A cold open drops the page cache of the whole machine, not only the store's.
    #[serde(default)]
    pub(crate) drop_caches: bool,
}

/// Everybody's cache, where nothing else is said.
pub(crate) const fn cache_bytes_default() -> u64 {
    1 << 30
}

/// One step of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// New keys, each durable before its lane goes on.
    Put,
    /// `keys` in batches of 1,000, each durable, then a clean close.
    Load,
    /// The same, telling of each batch that is durable: whoever listens kills it on the way.
    LoadAloud,
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
    /// All keys once, and then `rounds` rounds of as many changes.
    Churn { churn: Churn, rounds: u64 },
    /// Gets of loaded keys, or puts of them, while nobody else uses the store, and then while a writer churns it.
    Pause { puts: bool },
    /// Gets of keys that are there, or that are not.
    Lookup { absent: bool },
    /// Up to `limit` records from a random key on, again and again; `None`: all of them.
    Scan { limit: Option<u64> },
    /// Transfers between random ones of `keys` accounts.
    Transfer,
    /// Opens, and compares with what was acknowledged.
    Check { expected: Expected },
}

/// How a store is written over and over again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Churn {
    /// All keys, each round in another order.
    Uniform,
    /// Nine of ten writes go to a tenth of the keys.
    Skewed,
    /// New keys at one end, deletes at the other; no key is ever written again.
    Queue,
    /// All keys deleted, all written anew, and so on.
    DeleteAll,
    /// All keys in another order each round, but for one in 10,000, which stays as it was loaded.
    OneStays,
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
    /// So many records more may be there, all or none: a batch that nobody has acknowledged yet.
    #[serde(default)]
    pub(crate) in_flight: u64,
    /// Some keys (lane, number) that were deleted.
    #[serde(default)]
    pub(crate) absent: Vec<(u64, u64)>,
}

/// What a child has measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) figures: Vec<Figure>,
    pub(crate) expected: Option<Expected>,
    /// Records that a check has compared byte by byte.
    pub(crate) compared: u64,
    /// What became of the store, round by round.
    #[serde(default)]
    pub(crate) samples: Vec<Sample>,
}

/// A store's space and writes after a round of churn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// 0: the load.
    pub(crate) at: u64,
    /// Of keys and values that a reader finds.
    pub(crate) live_bytes: u64,
    /// Allocated blocks of the store's files.
    pub(crate) disk_bytes: u64,
    /// The most that disk per live byte was in the round; none where nothing was live.
    pub(crate) space_peak: Option<f64>,
    /// Of keys and values of all changes since the start.
    pub(crate) changed_bytes: u64,
    /// Changes since the start.
    pub(crate) changes: u64,
    /// What the process has given the kernel to write since the start.
    pub(crate) written_bytes: Option<u64>,
    /// What the device was given since the start, by everybody.
    pub(crate) device_bytes: Option<u64>,
    /// The same by the store's own account.
    pub(crate) counted_bytes: Option<u64>,
    /// Entries written since the start, by the store's own account.
    pub(crate) entries: Option<u64>,
    /// Since the start.
    pub(crate) seconds: f64,
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
    /// Where pauses are looked for.
    #[serde(default)]
    pub(crate) p999_us: Option<f64>,
    #[serde(default)]
    pub(crate) longest_us: Option<f64>,
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
            p999_us: None,
            longest_us: None,
            flushes_per_write: None,
            cpu_own: None,
            cpu_other: None,
        }
    }
}

/// Runs one job in a child, and kills it when it has answered.
pub(crate) fn run(job: &Job) -> Outcome<Reply> {
    answer(spawn(job)?).map_err(|failure| named(job, &failure))
}

/// Runs one job that tells how far it is, a number a line, and kills it some time after it has come to `enough`. The
/// last number that it told.
pub(crate) fn run_and_kill(job: &Job, enough: u64, then: Duration) -> Outcome<u64> {
    kill_on_the_way(spawn(job)?, enough, then).map_err(|failure| named(job, &failure))
}

fn spawn(job: &Job) -> Outcome<Child> {
    let child = Command::new(std::env::current_exe()?)
        .args(["child", &serde_json::to_string(job)?])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn named(job: &Job, failure: &Failure) -> Failure {
    let (name, task) = (job.contender.name(), &job.task);
    format!("{name}, {task:?}: {failure}").into()
}

fn kill_on_the_way(mut child: Child, enough: u64, then: Duration) -> Outcome<u64> {
    let mut output = child.stdout.take().map(BufReader::new);
    let came_to = output.as_mut().map(|output| last_number(output, enough));
    thread::sleep(then);
    child.kill()?;
    child.wait()?;
    let came_to = came_to.ok_or("the child has no output")??;
    if came_to < enough {
        return Err(format!("the child ended by itself, at {came_to}").into());
    }
    // What it told while nobody read is acknowledged as well.
    let rest = output.map(|mut output| last_number(&mut output, u64::MAX));
    Ok(came_to.max(rest.unwrap_or(Ok(0))?))
}

/// The last number of the lines up to the first that is `enough`, or to the end. A line that is cut tells nothing.
fn last_number(output: &mut impl BufRead, enough: u64) -> Outcome<u64> {
    let mut last = 0;
    let mut line = String::new();
    while last < enough && output.read_line(&mut line)? > 0 {
        if let Some(whole) = line.strip_suffix('\n') {
            last = whole.parse()?;
        }
        line.clear();
    }
    Ok(last)
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
    wait_for_the_end()
}

/// Until the parent kills this process, or is gone itself.
pub(crate) fn wait_for_the_end() -> Outcome {
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The child's side of [`run_and_kill`]: everything up to this number is acknowledged.
pub(crate) fn tell(number: u64) -> Outcome {
    let mut output = stdout().lock();
    output.write_all(format!("{number}\n").as_bytes())?;
    Ok(output.flush()?)
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
            cache_bytes: cache_bytes_default(),
            drop_caches: false,
        }
    }

    #[test]
    fn a_job_survives_the_command_line() {
        let expected = Expected {
            records: 3,
            lanes: vec![(0, 2), (1, 1)],
            versions: vec![(0, 1, 7)],
            sum: Some(u64::MAX),
            in_flight: 1000,
            absent: vec![(0, 9)],
        };
        let tasks = [
            Task::Put,
            Task::Get { zipf: true },
            Task::Scan { limit: None },
            Task::Churn {
                churn: Churn::OneStays,
                rounds: 3,
            },
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
    fn a_number_counts_only_when_its_line_is_whole() {
        let last = |text: &[u8], enough| last_number(&mut BufReader::new(text), enough).unwrap();
        assert_eq!(last(b"1000\n2000\n30", u64::MAX), 2000);
        assert_eq!(last(b"1000\n2000\n3000\n", 1500), 2000);
        assert_eq!(last(b"", 1), 0);
        assert!(last_number(&mut BufReader::new(&b"what\n"[..]), 1).is_err());
    }

    #[test]
    fn only_the_first_line_is_the_answer() {
        assert_eq!(first_line(&b"one\ntwo\n"[..]).unwrap(), "one\n");
    }
}
