//! Sets up the process of a deployed function: its log, settings and store.

use std::{env, process::ExitCode};

use lambda_http::Error;

use crate::{
    log,
    settings::{self, Settings},
    store::{ConnectError, Store},
};

/// Starts the log and serves events until Lambda ends the process. [`log::subscriber`] describes `crates` and `silent`.
pub async fn run(crates: &[&str], silent: &[&str], serve: impl AsyncFnOnce() -> Result<(), Error>) -> ExitCode {
    log::start(env::var("RUST_LOG").ok().as_deref(), crates, silent, std::io::stdout);
    match Box::pin(serve()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot run");
            ExitCode::FAILURE
        }
    }
}

pub struct Function {
    pub name: String,
    pub store: Store,
    /// The id of the store, if S3 was reached and the store has an id.
    pub store_id: Option<String>,
    pub max_trace_bytes: usize,
}

impl Function {
    /// Reads the environment and connects to S3.
    ///
    /// Connects during init, which runs on a full CPU. A request only gets a share proportional to the function's
    /// memory.
    pub async fn start() -> Result<Self, Error> {
        let settings = Settings::read(|name| env::var(name).ok())?;
        let name = env::var("AWS_LAMBDA_FUNCTION_NAME")
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
        let mut store_id = None;
        match store.connect().await {
            Ok(id) => store_id = id,
            Err(error @ ConnectError::IgnoresIfNoneMatch) => return Err(error.into()),
            // A failed connection is not fatal, because the first request connects again.
            Err(error @ ConnectError::Unreachable(_)) => tracing::warn!(%error, "cannot connect to S3 yet"),
        }
        Ok(Self { name, store, store_id, max_trace_bytes: settings.max_trace_bytes })
    }
}
