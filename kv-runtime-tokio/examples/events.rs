//! A log of events: topics without gaps, readers that go on where they stopped, a page of 300 at a time.
//!
//! `cargo run --release -p kv-runtime-tokio --example events [STORE]`
#![expect(clippy::print_stdout, reason = "what it is for")]

use kv_runtime_tokio::{ErrorKind, KVLog, Result};
use std::path::Path;
use tokio::task::JoinSet;

const PAGE: u64 = 300;

#[derive(Clone)]
struct Events {
    /// Of a topic and a place in it, counted from 0.
    log: KVLog<(String, u64), String>,
    /// Of a reader and a topic: the place that comes next.
    cursors: KVLog<(String, String), u64>,
}

impl Events {
    async fn open(path: &Path) -> Result<Self> {
        let log = KVLog::load(path).await?;
        let cursors = log.keyspace("cursors").await?;
        Ok(Self { log, cursors })
    }

    /// Where the next event of a topic goes.
    async fn end(&self, topic: &str) -> Result<u64> {
        let last = self.log.prefix(&(topic,)).keys().last().await?;
        Ok(last.map_or(0, |(_, place)| place + 1))
    }

    /// Appends events side by side, all of them or none; the place of the first. Whoever appends at the same time comes
    /// before or behind.
    async fn append(&self, topic: &str, events: &[String]) -> Result<u64> {
        loop {
            let end = self.end(topic).await?;
            let mut batch = self.log.batch();
            for (place, event) in (end..).zip(events) {
                let key = (topic.to_owned(), place);
                batch.expect(&key, None).put(&key, event);
            }
            match batch.commit().await {
                Ok(_) => return Ok(end),
                Err(error) if error.kind() == ErrorKind::Conflict => {} // another one was faster
                Err(error) => return Err(error),
            }
        }
    }

    /// A page of a topic, from a place on.
    async fn page(&self, topic: &str, from: u64) -> Result<Vec<(u64, String)>> {
        let topic = topic.to_owned();
        let range = (topic.clone(), from)..=(topic, u64::MAX);
        let found = self.log.range(range).limit(PAGE).collect().await?;
        Ok(found
            .into_iter()
            .map(|((_, place), event)| (place, event))
            .collect())
    }

    /// The next page for a reader who has done with the one before. Two that read under one name share the pages.
    async fn next_page(&self, reader: &str, topic: &str) -> Result<Vec<(u64, String)>> {
        let name = (reader.to_owned(), topic.to_owned());
        loop {
            let cursor = self.cursors.get_versioned(&name).await?;
            let version = cursor.as_ref().map(|cursor| cursor.version);
            let from = cursor.map_or(0, |cursor| cursor.value);
            let page = self.page(topic, from).await?;
            let Some((last, _)) = page.last() else {
                return Ok(page);
            };
            let next = last + 1;
            match self.cursors.set_if(&name, &next, version).await {
                Ok(_) => return Ok(page),
                Err(error) if error.kind() == ErrorKind::Conflict => {} // another one has taken this page
                Err(error) => return Err(error),
            }
        }
    }
}

pub(crate) async fn run(path: &Path) -> Result<()> {
    let events = Events::open(path).await?;
    let begin = events.end("orders").await?; // of earlier runs
    let others = events
        .append("order", &["another topic".to_owned()])
        .await?;
    let mut writers = JoinSet::new();
    for writer in 0..10 {
        let events = events.clone();
        writers.spawn(async move {
            let batch: Vec<String> = (0..70).map(|event| format!("{writer}.{event}")).collect();
            events.append("orders", &batch).await
        });
    }
    let mut begins = Vec::new();
    for begin in writers.join_all().await {
        begins.push(begin?);
    }
    begins.sort_unstable();
    let side_by_side: Vec<u64> = (begin..begin + 700).step_by(70).collect();
    assert_eq!(begins, side_by_side, "no gap, and nothing twice");
    drop(events);

    let events = Events::open(path).await?;
    let mut read = Vec::new();
    loop {
        let page = events.next_page("mailer", "orders").await?;
        let (Some((first, _)), Some((last, _))) = (page.first(), page.last()) else {
            break;
        };
        println!("mailer reads orders {first} to {last}");
        read.extend(page.iter().map(|(place, _)| *place));
    }
    assert!(read.into_iter().eq(begin..begin + 700));
    assert_eq!(events.end("order").await?, others + 1);
    events.log.close().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args_os().nth(1);
    run(Path::new(&path.unwrap_or_else(|| "events.kv".into()))).await
}
