//! Request → response. The deployed function, the local endpoint and the tests all use this handler.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use lambda_http::{
    Body, BoxFuture, Request, RequestExt, Response, Service,
    http::{HeaderMap, HeaderValue, header, request::Parts},
    service_fn,
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    key::Key,
    metrics::{RequestLog, ServedRequest},
    place::ID_HEADER,
    problem::{self, Problem},
    store::{Outcome, Store},
    trace::Trace,
    writer::Writer,
};

#[derive(Clone)]
pub struct Handler {
    store: Store,
    max_trace_bytes: usize,
    log: Arc<RequestLog>,
    is_warm: Arc<AtomicBool>,
    store_id: StoreId,
}

/// Returns the store's id, if it has one. Not a constant, because a local endpoint's folder may be replaced while it
/// runs.
type StoreId = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The response body for a stored trace.
#[derive(Serialize)]
struct Receipt<'a> {
    id: &'a str,
    object: &'a str,
    system_fingerprint: &'a str,
    key: &'a str,
}

/// A Lambda request, split into the parts that every function uses.
pub struct Received {
    /// The id of the Lambda invocation.
    pub request_id: String,
    pub writer: Writer,
    pub head: Parts,
    pub body: Vec<u8>,
}

impl Received {
    pub fn of(request: Request) -> Self {
        let request_id = request.lambda_context_ref().map(|context| context.request_id.clone()).unwrap_or_default();
        let writer = Writer::of(&request);
        let (head, body) = request.into_parts();
        let body = match body {
            Body::Text(text) => text.into_bytes(),
            Body::Binary(bytes) => bytes,
            _ => Vec::new(),
        };
        Self { request_id, writer, head, body }
    }
}

/// The progress of a request, recorded for its log line.
#[derive(Default)]
struct RequestProgress {
    key: Option<Key>,
    s3_start: Option<Instant>,
    s3_took: Option<Duration>,
}

impl Handler {
    #[must_use]
    pub fn new(store: Store, max_trace_bytes: usize, log: RequestLog) -> Self {
        Self { store, max_trace_bytes, log: Arc::new(log), is_warm: Arc::default(), store_id: Arc::new(|| None) }
    }

    /// Sends the store's id in the [`ID_HEADER`] of each response.
    #[must_use]
    pub fn identified_by(self, store_id: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { store_id: Arc::new(store_id), ..self }
    }

    /// Converts the handler into a `tower` service, which is always ready and never fails.
    #[must_use]
    pub fn into_service(
        self,
    ) -> impl Service<Request, Response = Response<Body>, Error = Infallible, Future: Send> + Clone {
        service_fn(move |request| -> BoxFuture<'static, _> {
            let handler = self.clone();
            Box::pin(async move { Ok(handler.handle(request).await) })
        })
    }

    /// Answers one request and writes its log line. A panic becomes a 500.
    async fn handle(&self, request: Request) -> Response<Body> {
        let start = Instant::now();
        let is_cold = !self.is_warm.swap(true, Ordering::Relaxed);
        let Received { request_id, writer, head, body } = Received::of(request);
        let bytes = body.len();
        let mut progress = RequestProgress::default();
        let result = AssertUnwindSafe(self.store_trace(&head.headers, body, &writer, &mut progress))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Problem::Fault("the request panicked, which is a defect".into())));
        let mut response = match &result {
            Ok((status, receipt)) => response(*status, "application/json", receipt.clone()),
            Err(problem) => refusal(problem),
        };
        if let Some(id) = (self.store_id)().and_then(|id| HeaderValue::try_from(id).ok()) {
            response.headers_mut().insert(ID_HEADER, id);
        }
        self.log.write(&ServedRequest {
            request_id: &request_id,
            status: response.status().as_u16(),
            key: progress.key.as_ref(),
            writer: &writer,
            bytes,
            took: start.elapsed(),
            s3_took: progress.s3_took.or_else(|| progress.s3_start.map(|start| start.elapsed())),
            is_cold,
            problem: result.as_ref().err(),
        });
        response
    }

    /// Parses and stores the trace. Records in `progress` what the log line reports even if the request fails.
    async fn store_trace(
        &self,
        headers: &HeaderMap,
        body: Vec<u8>,
        writer: &Writer,
        progress: &mut RequestProgress,
    ) -> Result<(u16, String), Problem> {
        let (trace, has_random_id) = read_trace(headers, body, self.max_trace_bytes)?;
        let key = progress.key.insert(trace.key);
        let s3_start = *progress.s3_start.insert(Instant::now());
        let outcome = self.store.put(key, trace.json, writer).await;
        progress.s3_took = Some(s3_start.elapsed());
        let status = match outcome.map_err(|problem| problem.with_id(&trace.id))? {
            Outcome::Stored => 201,
            // No other client knows a random id, so an earlier attempt of this request stored the object, and only its
            // confirmation was lost.
            Outcome::Same if has_random_id => 201,
            Outcome::Same => 200,
            Outcome::Conflict => return Err(Problem::Taken { fingerprint: trace.fingerprint, id: trace.id }),
        };
        let receipt =
            Receipt { id: &trace.id, object: &trace.object, system_fingerprint: &trace.fingerprint, key: key.as_str() };
        Ok((status, serde_json::to_string(&receipt).expect("strings are always JSON")))
    }
}

/// Parses the trace of a request. Also returns whether its id is random.
///
/// The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header) determines the id of a trace that has none.
fn read_trace(headers: &HeaderMap, body: Vec<u8>, max_trace_bytes: usize) -> Result<(Trace, bool), Problem> {
    if body.len() > max_trace_bytes {
        return Err(Problem::TooLarge { limit: max_trace_bytes, size: body.len() });
    }
    let idempotency_key = headers.get("idempotency-key").map(HeaderValue::as_bytes).filter(|key| !key.is_empty());
    let mut has_random_id = false;
    let trace = Trace::parse(body, || match idempotency_key {
        Some(key) => Uuid::new_v5(&Uuid::NAMESPACE_OID, key).to_string(),
        None => {
            has_random_id = true;
            Uuid::new_v4().to_string()
        }
    })?;
    Ok((trace, has_random_id))
}

fn refusal(problem: &Problem) -> Response<Body> {
    let mut response = response(problem.status(), problem::MEDIA_TYPE, problem.body());
    if let Problem::Unavailable { .. } = problem {
        response.headers_mut().insert(header::RETRY_AFTER, problem::RETRY_AFTER_SECONDS.into());
    }
    response
}

fn response(status: u16, content_type: &str, body: String) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::Text(body))
        .expect("the status and the media type are valid")
}
