//! An HTTP server with the limits that `axum::serve` lacks, and with the guard of `door.rs`.

use std::{error::Error, future::Future, time::Duration};

use bytes::Bytes;
use http_body_util::Either;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::net::TcpListener;

pub use crate::door::PAGE_POLICY;
use crate::door::{Door, protect};

/// The time that requests in flight have to finish after shutdown starts.
const GRACE: Duration = Duration::from_secs(5);

/// The longest time that a client may take to send the headers of a request.
const HEADERS: Duration = Duration::from_secs(10);

/// Serves every connection to `listener` until `shutdown` completes, then lets the requests in flight finish.
///
/// Unlike `axum::serve`, limits the time in which headers must arrive. Refuses requests from pages of other sites.
pub async fn serve<S, B>(listener: TcpListener, service: S, shutdown: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
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
        let Ok(address) = connection.local_addr() else { continue }; // the client is gone
        let door = Door::new(address.ip());
        let service = service.clone();
        let guarded = service_fn(move |request| {
            let admitted = door.check(&request).map(|()| service.call(request));
            async move {
                let mut response = match admitted {
                    Ok(answered) => answered.await?.map(Either::Left),
                    Err(refusal) => refusal.respond().map(Either::Right),
                };
                protect(&mut response);
                Ok::<_, S::Error>(response)
            }
        });
        // Nagle's algorithm would delay a response until the client's delayed acknowledgement.
        let _ = connection.set_nodelay(true);
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .half_close(true) // a client may end its requests before it reads the responses (RFC 9112, section 9.6)
            .serve_connection(TokioIo::new(connection), guarded);
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
