//! tokio's two flavours, as the conformance suite sees them.
#![allow(dead_code, reason = "each test target takes the flavour it is about")]
#![allow(
    clippy::allow_attributes,
    reason = "a target may use both, and then nothing is dead"
)]

use kv_runtime_tokio::Tokio;
use kv_tests::executor::{Executor, Task, thread};
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Runtime};

pub(crate) struct CurrentThread(Runtime);
pub(crate) struct MultiThread(Runtime);

fn spawn<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let task = runtime.spawn(future);
    Box::pin(async {
        task.await
            .expect("the task neither panics nor is cancelled")
    })
}

macro_rules! flavours {
    ($($flavour:ident: $builder:expr;)+) => {$(
        impl Executor for $flavour {
            type Runtime = Tokio;

            fn start() -> Self {
                Self($builder.build().unwrap())
            }

            fn runtime(&self) -> Tokio {
                Tokio::default()
            }

            fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
                self.0.block_on(future)
            }

            fn spawn<T: Send + 'static>(
                &self,
                future: impl Future<Output = T> + Send + 'static,
            ) -> Task<T> {
                spawn(&self.0, future)
            }

            fn spawn_thread<T: Send + 'static>(
                &self,
                future: impl Future<Output = T> + Send + 'static,
            ) -> JoinHandle<T> {
                let handle = self.0.handle().clone();
                thread(move || handle.block_on(future))
            }
        }
    )+};
}

flavours! {
    CurrentThread: Builder::new_current_thread();
    MultiThread: Builder::new_multi_thread().worker_threads(4);
}
