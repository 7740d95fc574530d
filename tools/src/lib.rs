//! The tools: the endpoint on a laptop, with AWS's part in front of the handler and behind it, and import and export.

use std::{error::Error, future::Future, time::Duration};

use hyper::{Request, Response, body::Body, body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::net::TcpListener;

pub mod export;
pub mod folder;
pub mod gateway;
pub mod import;
pub mod laptop;
mod progress;
mod provider;
pub mod readable;
pub mod runtime_api;
pub mod source;
pub mod view;

/// How long requests under way have to finish after the end was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// How long a client may take over a request's headers.
const HEADERS: Duration = Duration::from_secs(10);

/// Serves every connection to `listener` until `end` is ready, then lets the requests under way finish.
///
/// `axum::serve` would do it, but sets no time limit for headers that trickle.
pub async fn serve<S, B>(listener: TcpListener, service: S, end: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let under_way = GracefulShutdown::new();
    let mut end = std::pin::pin!(end);
    loop {
        let connection = tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => connection,
                Err(error) => {
                    // Out of file descriptors, say: the next turn may do better, and must not come at once.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        // Without it an answer waits for the client's delayed acknowledgement.
        let _ = connection.set_nodelay(true);
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(connection), service.clone());
        let served = under_way.watch(served);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, under_way.shutdown()).await;
}
