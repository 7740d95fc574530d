//! An HTTP server with the limits that `axum::serve` lacks.

use std::{error::Error, future::Future, time::Duration};

use hyper::{Request, Response, body::Body, body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::net::TcpListener;

/// The time that requests in flight have to finish after shutdown begins.
const GRACE: Duration = Duration::from_secs(5);

/// The longest time that a client may take to send the headers of a request.
const HEADERS: Duration = Duration::from_secs(10);

/// Serves every connection to `listener` until `shutdown` is ready, then lets the requests in flight finish.
///
/// `axum::serve` has no time limit for headers that arrive slowly.
pub async fn serve<S, B>(listener: TcpListener, service: S, shutdown: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let in_flight = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let connection = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => connection,
                Err(error) => {
                    // The process may have run out of file descriptors. Back off before retrying.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        // Nagle's algorithm would delay a response until the client's delayed acknowledgement.
        let _ = connection.set_nodelay(true);
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(connection), service.clone());
        let served = in_flight.watch(served);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, in_flight.shutdown()).await;
}
