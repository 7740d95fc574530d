//! Lambda's Runtime API for one `bootstrap` (AWS Lambda Developer Guide, "Using the Lambda runtime API").
//!
//! The soak test and the benchmark run the built function under it, as Lambda would. It serves `invocation/next`,
//! `response` and `error`, and returns 404 for every other path.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    service::service_fn,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot},
};
use uuid::Uuid;

use crate::http::serve;

/// The time limit of an invocation, as in `template.yaml`.
const TIMEOUT: Duration = Duration::from_secs(25);

/// A Runtime API on loopback, for one function at a time.
///
/// Set `AWS_LAMBDA_RUNTIME_API` to [`address`](Self::address) in the function's environment and start it. Wait with
/// [`asked`](Self::asked) until it has started, then send events with [`invoke`](Self::invoke).
#[derive(Debug)]
pub struct RuntimeApi {
    pub address: SocketAddr,
    invocations: mpsc::Sender<Invocation>,
    asked: Arc<Notify>,
}

#[derive(Debug)]
struct Invocation {
    event: Bytes,
    answer: oneshot::Sender<Bytes>,
}

struct Shared {
    asked: Arc<Notify>,
    next: AsyncMutex<mpsc::Receiver<Invocation>>,
    running: Mutex<HashMap<String, oneshot::Sender<Bytes>>>,
}

impl RuntimeApi {
    /// Starts a Runtime API on a free port. It runs until the tokio runtime ends.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (invocations, next) = mpsc::channel(1);
        let asked = Arc::new(Notify::new());
        let shared =
            Arc::new(Shared { asked: Arc::clone(&asked), next: AsyncMutex::new(next), running: Mutex::default() });
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(shared.answer(request).await) }
        });
        tokio::spawn(serve(listener, service, std::future::pending()));
        Ok(Self { address, invocations, asked })
    }

    /// Waits until the function asks for its next event, after its start or after an invocation.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Sends one event to the function and returns its response, or `None` if the function reported an error.
    ///
    /// Waits without a time limit. If the function may crash, also wait for its process.
    pub async fn invoke(&self, event: Bytes) -> Option<Bytes> {
        let (answer, answered) = oneshot::channel();
        self.invocations.send(Invocation { event, answer }).await.ok()?;
        answered.await.ok()
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        match (request.method(), path.split('/').collect::<Vec<_>>().as_slice()) {
            (&Method::GET, [.., "invocation", "next"]) => self.next().await,
            (&Method::POST, [.., "invocation", id, "response"]) => {
                let answer = self.running.lock().ok().and_then(|mut running| running.remove(*id));
                if let (Some(answer), Ok(body)) = (answer, request.into_body().collect().await) {
                    // The caller may have stopped waiting.
                    let _ = answer.send(body.to_bytes());
                }
                status(StatusCode::ACCEPTED)
            }
            (&Method::POST, [.., "invocation", id, "error"]) => {
                // Dropping the sender ends the caller's wait.
                let _ = self.running.lock().map(|mut running| running.remove(*id));
                status(StatusCode::ACCEPTED)
            }
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        self.asked.notify_one();
        let Some(Invocation { event, answer }) = self.next.lock().await.recv().await else {
            return status(StatusCode::GONE);
        };
        let id = Uuid::new_v4().to_string();
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + TIMEOUT;
        if let Ok(mut running) = self.running.lock() {
            running.insert(id.clone(), answer);
        }
        Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", id)
            .header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:local")
            .body(Full::new(event))
            .expect("these headers are valid")
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
