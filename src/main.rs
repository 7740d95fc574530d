//! The deployed function: connects the environment, the log, the store and Lambda's events.

use std::process::ExitCode;

use attest::{
    function::{self, Function},
    handler::Handler,
    log,
    metrics::RequestLog,
};
use lambda_http::Error;

// One thread is enough because an environment serves one request at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    function::run(&["attest"], &[], serve).await
}

async fn serve() -> Result<(), Error> {
    let Function { name, store, store_id, max_trace_bytes } = Function::start().await?;
    let handler = Handler::new(store, max_trace_bytes, RequestLog::new(&name, log::print))
        .identified_by(move || store_id.clone());
    lambda_http::run(handler.into_service()).await
}
