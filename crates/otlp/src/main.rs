//! The deployed function behind `/v1/traces` and `/v1/logs`: connects the environment, the log, the store and Lambda's
//! events.

use std::{env, process::ExitCode};

use attest::{
    function::{self, Function},
    log,
};
use attest_otlp::{batch::Spans, metrics::BatchLog, service::Receiver};
use lambda_http::Error;

// One thread is enough because an environment serves one request at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    function::run(&["attest", "attest_otlp"], &[], serve).await
}

async fn serve() -> Result<(), Error> {
    let spans = Spans::read(env::var("OTEL_SPANS").ok().as_deref())?;
    let Function { name, store, max_trace_bytes, .. } = Function::start().await?;
    let receiver = Receiver::new(store, max_trace_bytes, spans, BatchLog::new(&name, log::print));
    lambda_http::run(receiver.into_service()).await
}
