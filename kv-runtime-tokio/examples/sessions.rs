//! A table of sessions that expire, and an index of whose they are, which is kept in the same batch.
//!
//! `cargo run --release -p kv-runtime-tokio --example sessions [STORE]`
#![expect(clippy::print_stdout, reason = "what it is for")]

use kv_runtime_tokio::{ErrorKind, KVLog, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Serialize, Deserialize)]
struct Session {
    user: String,
    machine: String,
}

struct Sessions {
    by_token: KVLog<String, Session>,
    /// Of a user and a token: the machine.
    by_user: KVLog<(String, String), String>,
}

impl Sessions {
    async fn open(path: &Path) -> Result<Self> {
        let by_token = KVLog::load(path).await?;
        let by_user = by_token.keyspace("by_user").await?;
        Ok(Self { by_token, by_user })
    }

    /// Whether the token was free. The session and its place in the index come together, and expire together.
    async fn sign_in(&self, token: &str, session: &Session, ttl: Duration) -> Result<bool> {
        let of_user = (session.user.clone(), token.to_owned());
        let mut batch = self.by_token.batch();
        batch
            .expect(token, None)
            .put_with_ttl(token, session, ttl)
            .of(&self.by_user)
            .put_with_ttl(&of_user, &session.machine, ttl);
        held(batch.commit().await)
    }

    /// Whether the session was there to live on.
    async fn renew(&self, token: &str, ttl: Duration) -> Result<bool> {
        while let Some(found) = self.by_token.get_versioned(token).await? {
            let session = found.value;
            let of_user = (session.user.clone(), token.to_owned());
            let mut batch = self.by_token.batch();
            batch
                .expect(token, Some(found.version))
                .put_with_ttl(token, &session, ttl)
                .of(&self.by_user)
                .put_with_ttl(&of_user, &session.machine, ttl);
            if held(batch.commit().await)? {
                return Ok(true);
            } // somebody else renewed or ended it in between
        }
        Ok(false)
    }

    /// The machines on which a user is signed in, in the order of the tokens.
    async fn machines(&self, user: &str) -> Result<Vec<String>> {
        let found = self.by_user.prefix(&(user,)).collect().await?;
        Ok(found.into_iter().map(|(_, machine)| machine).collect())
    }

    /// Ends all sessions of a user, all of them or none; how many there were.
    async fn sign_out(&self, user: &str) -> Result<usize> {
        let found = self.by_user.prefix(&(user,)).keys().collect().await?;
        let mut batch = self.by_token.batch();
        for of_user in &found {
            batch.remove(&of_user.1).of(&self.by_user).remove(of_user);
        }
        batch.commit().await?;
        Ok(found.len())
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
    let sessions = Sessions::open(path).await?;
    sessions.sign_out("ada").await?; // of an earlier run
    let session = |machine: &str| Session {
        user: "ada".to_owned(),
        machine: machine.to_owned(),
    };
    assert!(sessions.sign_in("t1", &session("desk"), HOUR).await?);
    assert!(sessions.sign_in("t2", &session("phone"), HOUR).await?);
    assert!(!sessions.sign_in("t2", &session("thief"), HOUR).await?);
    let moment = Duration::from_millis(1);
    assert!(sessions.sign_in("t3", &session("kiosk"), moment).await?);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!sessions.renew("t3", HOUR).await?, "it expired");
    drop(sessions);

    let sessions = Sessions::open(path).await?;
    assert!(sessions.renew("t1", 2 * HOUR).await?);
    let machines = sessions.machines("ada").await?;
    println!("ada is signed in on {machines:?}");
    assert_eq!(machines, ["desk", "phone"]);
    assert_eq!(sessions.sign_out("ada").await?, 2);
    assert!(sessions.by_token.is_empty().await? && sessions.by_user.is_empty().await?);
    sessions.by_token.close().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args_os().nth(1);
    run(Path::new(&path.unwrap_or_else(|| "sessions.kv".into()))).await
}
