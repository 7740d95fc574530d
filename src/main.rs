//! The deployed function: the environment, the log, the store, and Lambda's events.

use std::{convert::Infallible, env, error::Error as _, process::ExitCode};

use attest::{handler::Handler, log, runtime::RuntimeApi, settings::Settings, store::Store};
use lambda_http::lambda_runtime::Error;

fn main() -> ExitCode {
    log::start(env::var("RUST_LOG").ok().as_deref(), env::var("AWS_LAMBDA_FUNCTION_NAME").ok(), log::print);
    let Err(error) = serve();
    tracing::error!(%error, "cannot run");
    ExitCode::FAILURE
}

/// Serves for as long as Lambda lets it.
fn serve() -> Result<Infallible, Error> {
    let settings = Settings::read(|name| env::var(name).ok())?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        bucket = settings.bucket,
        region = settings.connection.region,
        endpoint = settings.connection.endpoint,
        max_trace_bytes = settings.max_trace_bytes,
        "starting"
    );
    let store = Store::new(settings.connection, settings.bucket);
    let handler = Handler::new(store.clone(), settings.max_trace_bytes);
    let api =
        env::var("AWS_LAMBDA_RUNTIME_API").map_err(|_| "there is no Lambda around it, see the README for `local`")?;
    // One thread: an environment serves one request at a time.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        // A start has a whole CPU, a request its memory's share of one. What fails here, the first request meets again.
        if let Err(error) = store.connect().await {
            let cause = error.source().map(ToString::to_string);
            tracing::warn!(%error, cause, "cannot connect to S3 yet");
        }
        // In a task: what wakes `block_on` itself, as every answer would, also writes to the runtime's eventfd.
        let served = tokio::spawn(RuntimeApi::new(api).serve(handler)).await;
        // What a panic says of itself may quote what was being read.
        served.map_err(|_| "a defect: the line before says where it panicked")?
    })
}
