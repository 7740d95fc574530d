//! The deployed function: connects the environment, the log, the store and Lambda's events.

use std::{env, process::ExitCode};

use attest::{
    handler::Handler,
    log,
    metrics::RequestLog,
    settings::{self, Settings},
    store::{ConnectError, Store},
};
use lambda_http::Error;

// One thread is enough because an environment serves one request at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    log::start(env::var("RUST_LOG").ok().as_deref(), &["attest"], &[], std::io::stdout);
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot run");
            ExitCode::FAILURE
        }
    }
}

/// Serves requests until Lambda ends the process.
async fn serve() -> Result<(), Error> {
    let settings = Settings::read(|name| env::var(name).ok())?;
    let function = env::var("AWS_LAMBDA_FUNCTION_NAME")
        .map_err(|_| "AWS_LAMBDA_FUNCTION_NAME is not set: this program runs on AWS Lambda (see the README)")?;
    let aws = settings::aws_config().await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        bucket = settings.bucket,
        region = aws.region().map(AsRef::as_ref),
        endpoint = settings::s3_endpoint(&aws),
        max_trace_bytes = settings.max_trace_bytes,
        "starting"
    );
    let mut store = Store::new(&aws, settings.bucket).encrypted_with(settings.kms_key);
    if settings::needs_verification(&aws) {
        store = store.verifying_conditional_writes();
    }
    // Init runs on a full CPU; a request gets a share proportional to memory. So connect now.
    let mut store_id = None;
    match store.connect().await {
        Ok(id) => store_id = id,
        Err(error @ ConnectError::IgnoresIfNoneMatch) => return Err(error.into()),
        // A failed connection is not fatal, because the first request connects again.
        Err(error @ ConnectError::Unreachable(_)) => tracing::warn!(%error, "cannot connect to S3 yet"),
    }
    let handler = Handler::new(store, settings.max_trace_bytes, RequestLog::new(&function, log::print))
        .identified_by(move || store_id.clone());
    lambda_http::run(handler.into_service()).await
}
