//! The deployed function: the environment, the log, the store, and the Lambda runtime's loop.

use std::{env, error::Error as _, process::ExitCode, sync::Arc};

use attest::{event::Event, handler::Handler, log, settings::Settings, store::Store};
use lambda_http::lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};

fn main() -> ExitCode {
    log::start(env::var("RUST_LOG").ok().as_deref(), env::var("AWS_LAMBDA_FUNCTION_NAME").ok(), log::print);
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot run");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Error> {
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
    let handler = Arc::new(Handler::new(store.clone(), settings.max_trace_bytes));
    let service = service_fn(move |event: LambdaEvent<Event>| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Error>(handler.handle(event.payload, &event.context.request_id).await) }
    });
    // One thread: an environment serves one request at a time.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        // A start has a whole CPU, a request its memory's share of one. What fails here, the first request meets again.
        if let Err(error) = store.connect().await {
            let cause = error.source().map(ToString::to_string);
            tracing::warn!(%error, cause, "cannot connect to S3 yet");
        }
        // In a task: what wakes `block_on` itself, as every answer would, also writes to the runtime's eventfd.
        tokio::spawn(Runtime::new(service).run()).await?
    })
}
