//! The examples do what they say, a second time on what the first left, too, and README.md has the line that runs each.

use std::path::Path;

#[path = "../examples/counters.rs"]
#[expect(dead_code, reason = "`main` is for the command line")]
mod counters;
#[path = "../examples/events.rs"]
#[expect(dead_code, reason = "`main` is for the command line")]
mod events;
#[path = "../examples/jobs.rs"]
#[expect(dead_code, reason = "`main` is for the command line")]
mod jobs;
#[path = "../examples/outbox.rs"]
#[expect(dead_code, reason = "`main` is for the command line")]
mod outbox;
#[path = "../examples/sessions.rs"]
#[expect(dead_code, reason = "`main` is for the command line")]
mod sessions;

/// Those that a test here runs.
const RUN: [&str; 5] = ["sessions", "jobs", "counters", "events", "outbox"];

#[tokio::test(flavor = "multi_thread")]
async fn sessions_expire_together_with_their_index() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let path = directory.path().join("sessions.kv");
        sessions::run(&path).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_is_done_or_failed_once_wherever_the_power_was_cut() {
    for seed in 0..20 {
        jobs::run(seed).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tasks_count_each_request_once() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let path = directory.path().join("counters.kv");
        counters::run(&path).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_many_writers_have_no_gap_and_are_read_once() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let path = directory.path().join("events.kv");
        events::run(&path).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_once_though_it_was_sent_twice() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let path = directory.path().join("outbox.kv");
        outbox::run(&path).await.unwrap();
    }
}

#[test]
fn the_readme_has_the_line_that_runs_each_example() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(own.join("../README.md")).unwrap();
    let command = "cargo run --release -p kv-runtime-tokio --example ";
    let lines = readme.lines().filter_map(|line| line.strip_prefix(command));
    let shown: Vec<&str> = lines.map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(shown, RUN);
    for name in RUN {
        let source = std::fs::read_to_string(own.join(format!("examples/{name}.rs"))).unwrap();
        let line = format!("//! `{command}{name}");
        assert!(source.lines().any(|says| says.starts_with(&line)), "{name}");
    }
}
