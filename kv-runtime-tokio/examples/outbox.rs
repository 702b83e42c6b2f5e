//! An outbox: an order and the message about it are written together, and the message arrives once, crash or no crash.
//!
//! `cargo run --release -p kv-runtime-tokio --example outbox [STORE]`
#![expect(clippy::print_stdout, reason = "what it is for")]

use kv_runtime_tokio::{ErrorKind, KVLog, Result};
use std::path::Path;

/// Messages that are sent with one look into the outbox.
const PIECE: u64 = 300;

struct Shop {
    orders: KVLog<u64, String>,
    /// Of an order: the message that is still to be sent.
    outbox: KVLog<u64, String>,
}

impl Shop {
    async fn open(path: &Path) -> Result<Self> {
        let orders = KVLog::load(path).await?;
        let outbox = orders.keyspace("outbox").await?;
        Ok(Self { orders, outbox })
    }

    /// Whether the order is new. The order and its message are there, or neither.
    async fn order(&self, number: u64, what: &str) -> Result<bool> {
        let message = format!("order {number}: {what} is on its way");
        let mut batch = self.orders.batch();
        batch.expect(&number, None).put(&number, &what.to_owned());
        batch.of(&self.outbox).put(&number, &message);
        held(batch.commit().await)
    }

    /// Sends what is to be sent, and then forgets it. Whoever crashes in between sends it again. `crash` is how many are sent
    /// before that happens.
    async fn relay(&self, mail: &Mail, crash: Option<u64>) -> Result<u64> {
        let mut sent = 0;
        loop {
            let messages = self.outbox.range(..).limit(PIECE).collect().await?;
            if messages.is_empty() {
                return Ok(sent);
            }
            let mut done = self.outbox.batch();
            for (number, message) in &messages {
                mail.receive(*number, message).await?;
                sent += 1;
                if crash == Some(sent) {
                    return Ok(sent);
                }
                done.remove(number);
            }
            done.commit().await?;
        }
    }
}

/// Where messages arrive: another store, which may be on another machine.
struct Mail {
    received: KVLog<u64, String>,
}

impl Mail {
    /// Whether it is new: what is sent twice arrives once.
    async fn receive(&self, number: u64, message: &str) -> Result<bool> {
        held(self.received.insert(&number, &message.to_owned()).await)
    }
}

/// Whether the conditions held: if not, nothing was written.
fn held<T>(outcome: Result<T>) -> Result<bool> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) async fn run(path: &Path) -> Result<()> {
    let mail = Mail {
        received: KVLog::load(path.with_extension("mail.kv")).await?,
    };
    let shop = Shop::open(path).await?;
    shop.relay(&mail, None).await?; // of an earlier run
    let known = mail.received.count().await?;
    let first = shop.orders.range(..).keys().last().await?;
    let first = first.map_or(0, |last| last + 1);
    for number in first..first + 5 {
        assert!(shop.order(number, "a chair").await?);
    }
    assert!(!shop.order(first, "a table").await?, "the number is taken");
    assert_eq!(shop.relay(&mail, Some(3)).await?, 3);
    drop(shop); // a crash: three were sent, and none is forgotten

    let shop = Shop::open(path).await?;
    let again = shop.relay(&mail, None).await?;
    let received = mail.received.range(first..).collect().await?;
    for (_, message) in &received {
        println!("{message}");
    }
    println!(
        "{again} were sent after the crash, {} arrived",
        received.len()
    );
    assert_eq!((again, received.len()), (5, 5));
    assert_eq!(mail.received.count().await? - known, 5);
    assert!(shop.outbox.is_empty().await?);
    shop.orders.close().await?;
    mail.received.close().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args_os().nth(1);
    run(Path::new(&path.unwrap_or_else(|| "outbox.kv".into()))).await
}
