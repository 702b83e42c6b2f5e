//! What a call costs by the kind of trait it goes through, and what keys, values and errors by reference save.
//!
//! ```sh
//! cargo run --release -p kv-trait --example call_cost [DIRECTORY]
//! ```
//!
//! Each line is a call that does almost nothing, so that what is measured is the way to it. The cases take turns, round
//! after round, and the median of the rounds is shown: what else the machine does falls on all of them. With a
//! directory, one `fdatasync` of a file there is measured too, for scale. `docs/INTERFACE.md` discusses the figures.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring program prints, looks at the clock and, for scale, writes a file"
)]

use kv_trait::{Codec, Error, Fingerprint, KVStore, Postcard, Result, async_trait, key};
use std::fs::File;
use std::hint::black_box;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

const ROUNDS: usize = 41;
const CALLS: u32 = 50_000;

/// A store that is one value, whatever it is asked for.
struct One(u64);

impl One {
    async fn get(&self, key: &str) -> Result<Option<u64>> {
        Ok((!key.is_empty()).then_some(self.0))
    }
}

#[async_trait]
impl KVStore<String, u64> for One {
    async fn get(&self, key: &String) -> Result<Option<u64>> {
        Ok((!key.is_empty()).then_some(self.0))
    }

    async fn set(&self, _key: &String, _value: &u64) -> Result<Option<u64>> {
        Ok(Some(self.0))
    }

    async fn delete(&self, _key: &String) -> Result<Option<u64>> {
        Ok(Some(self.0))
    }
}

/// The alternative: the language's own async functions in a trait, which no trait object can have.
trait NativeStore<K, V>: Send + Sync {
    fn get(&self, key: &K) -> impl Future<Output = Result<Option<V>>> + Send;
}

impl NativeStore<String, u64> for One {
    async fn get(&self, key: &String) -> Result<Option<u64>> {
        Ok((!key.is_empty()).then_some(self.0))
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Its twin for trait objects.
trait ErasedStore<K, V>: Send + Sync {
    fn get_erased<'a>(&'a self, key: &'a K) -> Boxed<'a, Result<Option<V>>>;
}

impl<K: Sync, V: 'static, T: NativeStore<K, V>> ErasedStore<K, V> for T {
    fn get_erased<'a>(&'a self, key: &'a K) -> Boxed<'a, Result<Option<V>>> {
        Box::pin(self.get(key))
    }
}

/// And the way back, for generic code.
impl<K: Sync, V> NativeStore<K, V> for Arc<dyn ErasedStore<K, V>> {
    async fn get(&self, key: &K) -> Result<Option<V>> {
        (**self).get_erased(key).await
    }
}

/// Polls each future once: none of them waits.
fn drive<F: Future>(mut call: impl FnMut() -> F) -> impl FnMut() {
    move || {
        let mut cx = Context::from_waker(Waker::noop());
        match pin!(call()).poll(&mut cx) {
            Poll::Ready(answer) => drop(black_box(answer)),
            Poll::Pending => unreachable!("nothing here waits"),
        }
    }
}

/// One way of doing it: its name, the work of a round, and the nanoseconds a call of each round so far.
struct Case {
    name: &'static str,
    round: Box<dyn FnMut()>,
    nanoseconds: Vec<f64>,
    allocations: f64,
}

fn case(name: &'static str, mut call: impl FnMut() + 'static) -> Case {
    Case {
        name,
        round: Box::new(move || (0..CALLS).for_each(|_| call())),
        nanoseconds: Vec::with_capacity(ROUNDS),
        allocations: 0.0,
    }
}

fn calls() -> Vec<Case> {
    let key: &'static String = Box::leak(Box::new("visits".to_owned()));
    let one: &'static One = Box::leak(Box::new(One(7)));
    let object: &'static dyn KVStore<String, u64> = one;
    let shared: Arc<dyn KVStore<String, u64>> = Arc::new(One(7));
    let shared: &'static Arc<_> = Box::leak(Box::new(shared));
    let twin: Arc<dyn ErasedStore<String, u64>> = Arc::new(One(7));
    let twin: &'static Arc<_> = Box::leak(Box::new(twin));
    let key = move || black_box(key);
    vec![
        case(
            "async-trait, generic",
            drive(move || KVStore::get(one, key())),
        ),
        case("inherent async fn", drive(move || one.get(key()))),
        case(
            "native async fn in a trait, generic",
            drive(move || NativeStore::get(one, key())),
        ),
        case(
            "async-trait, &dyn",
            drive(move || black_box(object).get(key())),
        ),
        // The method that is found first is that of the `KVStore` which the `Arc` is itself.
        case("async-trait, Arc<dyn>", drive(move || shared.get(key()))),
        case(
            "erased twin, &dyn",
            drive(move || (**twin).get_erased(key())),
        ),
        case(
            "erased twin, Arc<dyn> in generic code",
            drive(move || NativeStore::get(twin, key())),
        ),
    ]
}

fn keys() -> Vec<Case> {
    let borrowed = |text: &str| drop(black_box(key::encode_borrowed::<String, str>(text)));
    vec![
        case("&str", move || borrowed(black_box("visits"))),
        case("String made for the call", move || {
            let made = black_box("visits").to_owned();
            borrowed(&black_box(made));
        }),
    ]
}

fn values() -> Vec<Case> {
    let value: &'static String = Box::leak(Box::new("v".repeat(16 * 1024)));
    let encode = |value: &String| {
        let mut out = Vec::with_capacity(17 * 1024);
        Postcard::encode(black_box(value), &mut out).expect("text is a value");
        drop(black_box(out));
    };
    vec![
        case("by reference", move || encode(value)),
        case("by value: cloned by who keeps it", move || {
            encode(&value.clone());
        }),
    ]
}

fn measure(cases: &mut [Case]) {
    for case in &mut *cases {
        // Warms up, too.
        let counted = allocation_counter::measure(|| (case.round)());
        case.allocations = counted.count_total as f64 / f64::from(CALLS);
    }
    for _ in 0..ROUNDS {
        for case in &mut *cases {
            let start = Instant::now();
            (case.round)();
            let nanoseconds = start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS);
            case.nanoseconds.push(nanoseconds);
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn show(title: &str, mut cases: Vec<Case>) {
    measure(&mut cases);
    println!("{title}, median of {ROUNDS} rounds of {CALLS}; ratios to the first line");
    let mut first = None;
    for case in &mut cases {
        let nanoseconds = median(&mut case.nanoseconds);
        let ratio = nanoseconds / *first.get_or_insert(nanoseconds);
        let (name, allocations) = (case.name, case.allocations);
        println!(
            "  {name:<42} {nanoseconds:>7.1} ns  x{ratio:<5.2} {allocations:>4.1} allocations"
        );
    }
}

/// What opening pays once for telling types apart.
fn fingerprints() {
    type Value = (u64, Option<String>, Vec<(String, f64)>);
    let mut microseconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let fingerprint = Fingerprint::of::<(String, u64), Value, Postcard>(None);
            drop(black_box(fingerprint));
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    let microseconds = median(&mut microseconds);
    println!("a fingerprint of two types: {microseconds:.0} us, once for each open");
}

fn sizes() {
    let word = size_of::<usize>();
    let answer = size_of::<Result<Option<u64>>>();
    let with_io = size_of::<Result<Option<u64>, (std::io::Error, String)>>();
    println!(
        "Error: {} word(s) of {word} bytes",
        size_of::<Error>() / word
    );
    println!(
        "Result<Option<u64>>: {answer} bytes; with an error of io::Error and String: {with_io}"
    );
}

/// One `fdatasync` after overwriting 4 KiB.
fn sync_cost(directory: &Path) -> std::io::Result<f64> {
    let path = directory.join("call_cost.tmp");
    let file = File::create(&path)?;
    let mut microseconds = Vec::new();
    for round in 0..=ROUNDS {
        overwrite(&file)?;
        let start = Instant::now();
        file.sync_data()?;
        if round > 0 {
            microseconds.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    std::fs::remove_file(&path)?;
    Ok(median(&mut microseconds))
}

fn overwrite(mut file: &File) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&[7; 4096])
}

fn main() -> std::io::Result<()> {
    show("a get that does nothing", calls());
    show("encoding a key of 6 bytes", keys());
    show("encoding a value of 16 KiB", values());
    fingerprints();
    sizes();
    if let Some(directory) = std::env::args_os().nth(1) {
        let microseconds = sync_cost(Path::new(&directory))?;
        println!("an fdatasync of 4 KiB there: {microseconds:.0} us");
    }
    Ok(())
}
