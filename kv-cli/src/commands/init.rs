//! What makes a store: `init`.

use super::{Outcome, close, open_with, options};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, put_path};
use kv_log_engine::{Create, Engine};
use serde_json::{Map, Value};
use std::process::ExitCode;

pub(super) fn init(args: &Args, segment_size: Option<u64>) -> Outcome {
    let mut options = options(args);
    if let Some(bytes) = segment_size {
        options = options.segment_bytes(bytes);
    }
    let store = open_with(args, Create::New, options)?;
    close(&store)
        .and_then(|()| report_init(args, &store))
        .map_err(|cause| cause.after("the store is created", None))?;
    Ok(ExitCode::SUCCESS)
}

fn report_init(args: &Args, store: &Engine) -> Result<(), Failure> {
    let mut output = Output::new();
    if args.json {
        let mut object = Map::new();
        put_path(&mut object, "path", store.path());
        object.insert("created".to_owned(), Value::Bool(true));
        output.json(&Value::Object(object))?;
    } else if !args.quiet {
        output.line(&format!("created {}", store.path().display()))?;
    }
    output.finish()
}
