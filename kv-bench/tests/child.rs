//! The child protocol with real processes: a child acknowledges and is killed, the next one finds everything, and a store
//! that has lost or changed something fails the check.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// Runs a job; its answer, if there was one. The child is killed where it still runs.
fn child(job: &Value) -> (Option<Value>, ExitStatus) {
    answer(job).expect("this program can be run")
}

fn answer(job: &Value) -> io::Result<(Option<Value>, ExitStatus)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kv-bench"))
        .args(["child", &job.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if !line.is_empty() {
        child.kill()?;
    }
    Ok((serde_json::from_str(&line).ok(), child.wait()?))
}

fn job(directory: &Path, engine: &str, form: &str, task: &Value) -> Value {
    json!({
        "directory": directory,
        "contender": { "engine": engine, "form": form },
        "task": task,
        "lanes": 2,
        "seconds": 0.02,
        "keys": 1000,
        "value_bytes": 100,
    })
}

/// Whether a check of what must be there passes; it says so with an answer, or fails with none.
fn holds(directory: &Path, engine: &str, expected: &Value) -> bool {
    let check = json!({ "check": { "expected": expected } });
    let (reply, status) = child(&job(directory, engine, "threads", &check));
    if reply.is_none() {
        assert_eq!(status.code(), Some(1));
    }
    reply.is_some_and(|reply| reply["compared"].as_u64() > Some(0))
}

#[test]
fn what_a_killed_child_acknowledged_is_found_and_what_is_missing_is_noticed() {
    for (engine, form) in [
        ("kvlog", "tasks"),
        ("kvlog", "threads"),
        ("surrealkv", "tasks"),
        ("fjall", "gather"),
        ("redb", "hop"),
        ("lmdb", "threads"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let (reply, _) = child(&job(&path, engine, form, &json!("put")));
        let expected = reply.unwrap()["expected"].clone();
        assert!(expected["records"].as_u64() > Some(0), "{engine}");
        assert!(holds(&path, engine, &expected), "{engine} {form}");
        let (settled, _) = child(&job(&path, engine, "threads", &json!("settle")));
        assert!(settled.is_some(), "{engine}");
        assert!(holds(&path, engine, &expected), "{engine}: after a close");

        let mut one_more = expected.clone();
        one_more["records"] = json!(expected["records"].as_u64().unwrap() + 1);
        assert!(!holds(&path, engine, &one_more), "{engine}: a record less");

        let mut other_key = expected.clone();
        let lane = expected["lanes"][0][1].as_u64().unwrap();
        other_key["lanes"][0][1] = json!(lane + 1);
        assert!(!holds(&path, engine, &other_key), "{engine}: a key less");

        let mut newer = expected.clone();
        newer["versions"] = json!([[0, 0, 1]]);
        assert!(!holds(&path, engine, &newer), "{engine}: an old value");
    }
}

#[test]
fn a_load_that_is_killed_on_the_way_has_left_what_it_told() {
    for engine in ["kvlog", "surrealkv", "fjall", "redb", "lmdb"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let mut load = job(&path, engine, "threads", &json!("load_aloud"));
        load["keys"] = json!(1_000_000);
        let (told, _) = child(&load); // one line, then the kill
        let acknowledged = told.unwrap().as_u64().unwrap();
        assert_eq!(acknowledged, 1000, "{engine}");
        let check = json!({ "check": { "expected": { "records": 0, "lanes": [], "versions": [], "sum": null } } });
        let (nothing, _) = child(&job(&path, engine, "threads", &check));
        assert_eq!(nothing, None, "{engine}: records are there");

        // More batches than the first may have been acknowledged meanwhile, but no part of one.
        let found = (1..10_000).find(|batches| {
            let records = batches * 1000;
            let in_flight = json!({
                "records": records, "lanes": [[0, records]], "versions": [], "sum": null, "in_flight": 1000,
            });
            holds(&path, engine, &in_flight)
        });
        assert!(found.is_some(), "{engine}");
    }
}

#[test]
fn churn_knows_what_is_there_and_what_is_gone() {
    for engine in ["kvlog", "surrealkv", "fjall", "redb", "lmdb"] {
        for (churn, live) in [("queue", 1000), ("delete_all", 0), ("skewed", 1000)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store");
            let task = json!({ "churn": { "churn": churn, "rounds": 1 } });
            let (reply, _) = child(&job(&path, engine, "threads", &task));
            let reply = reply.unwrap();
            assert_eq!(reply["samples"].as_array().unwrap().len(), 2);
            let expected = reply["expected"].clone();
            assert_eq!(expected["records"], live, "{engine} {churn}");
            assert!(holds(&path, engine, &expected), "{engine} {churn}");
            if let Some(there) = expected["versions"].get(0) {
                let mut gone = expected.clone();
                gone["absent"] = json!([[there[0], there[1]]]);
                assert!(
                    !holds(&path, engine, &gone),
                    "{engine} {churn}: one is back"
                );
            }
        }
    }
}

#[test]
fn accounts_that_lose_money_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (reply, _) = child(&job(&path, "kvlog", "threads", &json!("transfer")));
    let expected = reply.unwrap()["expected"].clone();
    assert!(holds(&path, "kvlog", &expected));
    let mut other = expected.clone();
    other["sum"] = json!(expected["sum"].as_u64().unwrap().wrapping_add(1));
    assert!(!holds(&path, "kvlog", &other));
}

#[test]
fn a_run_that_was_stopped_can_still_be_shown() {
    let directory = tempfile::tempdir().unwrap();
    let lines = directory.path().join("lines");
    let measured = json!({
        "workload": "W1", "case": "8 tasks", "contender": "kvlog", "engine": "kvlog", "form": "tasks",
        "round": 0, "lanes": 8, "metric": "puts/s", "value": 1234.0, "better": "higher",
        "p50_us": null, "p99_us": null, "flushes_per_write": null, "cpu_own": null, "cpu_other": null,
        "compared": 9,
    });
    let cut = &measured.to_string()[..40];
    std::fs::write(&lines, format!("{{\"run\":\"today\"}}\n{measured}\n{cut}")).unwrap();
    let report = |path: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kv-bench"));
        command.arg("report").arg(path).output().unwrap()
    };
    let shown = String::from_utf8(report(&lines).stdout).unwrap();
    assert!(shown.contains("| kvlog | 1,234 |"), "{shown}");
    std::fs::write(&lines, cut).unwrap();
    assert_eq!(report(&lines).status.code(), Some(1));
}

#[test]
fn a_child_that_cannot_work_gives_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (reply, status) = child(&job(directory.path(), "kvlog", "threads", &json!("mixed")));
    assert_eq!((reply, status.code()), (None, Some(1)));
    let (reply, status) = child(&json!({ "not": "a job" }));
    assert_eq!((reply, status.code()), (None, Some(1)));
}
