//! Handles requests. The deployed function, the local endpoint and the tests all use this service.

use std::{
    convert::Infallible,
    io::Read,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use attest::{
    handler::Received,
    problem::{self, Problem},
    store::{Outcome, Store},
    writer::Writer,
};
use flate2::read::MultiGzDecoder;
use futures_util::{FutureExt, StreamExt, stream};
use lambda_http::{
    Body, BoxFuture, Request, Response, Service,
    http::{HeaderMap, header},
    service_fn,
};
use tokio::time::Instant;

use crate::{
    batch::{Batch, Expanded, Spans},
    call::Draft,
    metrics::{BatchLog, Counts, ServedBatch},
    refusal::Refusal,
    wire::{self, Encoding, Signal},
};

/// The time limit for a response. Python's exporter gives up 10 s after its first attempt, so it still has time to
/// retry after this response and `Retry-After`.
const DEADLINE: Duration = Duration::from_millis(7_500);

/// The maximum number of traces that are written at the same time. Each needs a connection to S3.
const CONCURRENCY: usize = 32;

/// The maximum ratio of the total trace size to the request body size. A trace contains each message twice: as a
/// message, and in an attribute, where it is escaped once more.
const EXPANSION: usize = 16;

/// The reported reason for a span whose trace is refused. The trace's own problem is not reported, because it may quote
/// content.
const NOT_A_TRACE: &str =
    "the span has no valid trace: it is nested too deep or too large, or its model or ids have no valid key";

/// The logged reason for traces that are not confirmed at the time limit.
const LATE: &str = "S3 did not confirm every trace in time";

/// The reported reason for a span if both its id and its fallback id belong to traces with other content.
const TAKEN: &str = "other traces have the ids of the span";

#[derive(Clone)]
pub struct Receiver {
    store: Store,
    max_bytes: usize,
    spans: Spans,
    log: Arc<BatchLog>,
    is_warm: Arc<AtomicBool>,
}

impl Receiver {
    /// Creates a receiver for requests of at most `max_bytes` bytes after decompression.
    #[must_use]
    pub fn new(store: Store, max_bytes: usize, spans: Spans, log: BatchLog) -> Self {
        Self { store, max_bytes, spans, log: Arc::new(log), is_warm: Arc::default() }
    }

    /// Converts the receiver into a `tower` service, which is always ready and never fails.
    #[must_use]
    pub fn into_service(
        self,
    ) -> impl Service<Request, Response = Response<Body>, Error = Infallible, Future: Send> + Clone {
        service_fn(move |request| -> BoxFuture<'static, _> {
            let receiver = self.clone();
            Box::pin(async move { Ok(receiver.receive(request).await) })
        })
    }

    /// Handles one request and writes its log line. A panic becomes a 500.
    async fn receive(&self, request: Request) -> Response<Body> {
        let start = Instant::now();
        let is_cold = !self.is_warm.swap(true, Ordering::Relaxed);
        let Received { request_id, writer, head, body } = Received::of(request);
        let is_logs = head.uri.path().trim_end_matches('/').ends_with("/v1/logs");
        let (signal, name) = if is_logs { (Signal::Logs, "logs") } else { (Signal::Traces, "traces") };
        let mut served =
            ServedBatch { request_id, signal: name, bytes: body.len(), is_cold, writer, ..ServedBatch::default() };
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let encoding = content_type.and_then(Encoding::of);
        let result = match encoding {
            None => Err(Refusal::MediaType),
            Some(encoding) => {
                AssertUnwindSafe(self.store_all(signal, encoding, &head.headers, body, start, &mut served))
                    .catch_unwind()
                    .await
                    .unwrap_or(Err(Refusal::Panicked))
            }
        };
        let encoding = encoding.unwrap_or(Encoding::Json);
        let (status, body) = match result {
            Ok(body) => (200, body),
            Err(refusal) => {
                served.reason.get_or_insert_with(|| refusal.to_string());
                (refusal.status(), refusal.body(encoding))
            }
        };
        served.status = status;
        served.took = start.elapsed();
        self.log.write(&served);
        let mut response = Response::builder().status(status).header(header::CONTENT_TYPE, encoding.media_type());
        if status == 503 {
            response = response.header(header::RETRY_AFTER, problem::RETRY_AFTER_SECONDS);
        }
        response.body(Body::Binary(body)).expect("the status and the media type are valid")
    }

    /// Stores every trace in a request, and returns the response body.
    async fn store_all(
        &self,
        signal: Signal,
        encoding: Encoding,
        headers: &HeaderMap,
        body: Vec<u8>,
        start: Instant,
        served: &mut ServedBatch,
    ) -> Result<Vec<u8>, Refusal> {
        let body = decompressed(headers, body, self.max_bytes)?;
        let request = wire::decode(signal, encoding, &body)?;
        drop(body);
        let batch = Batch::read(signal, &request, self.spans, EXPANSION * self.max_bytes)
            .map_err(|Expanded| Refusal::Expanded { factor: EXPANSION })?;
        drop(request);
        let Batch { received, skipped, rejected, drafts, .. } = batch;
        served.counts = Counts { received, skipped, rejected: rejected.len(), ..Counts::default() };
        served.reason = rejected.first().map(|reason| (*reason).to_owned());
        let mut is_confirmed = true;
        let writer = served.writer.clone();
        let deadline = start + DEADLINE;
        let mut results =
            stream::iter(drafts).map(|draft| self.put(draft, &writer, deadline)).buffer_unordered(CONCURRENCY);
        loop {
            match tokio::time::timeout_at(deadline, results.next()).await {
                Ok(None) => break,
                Ok(Some((weight, result))) => match result {
                    Ok(PutResult::New) => served.counts.stored += weight,
                    Ok(PutResult::Repeated) => served.counts.repeated += weight,
                    Ok(PutResult::Never(reason)) => {
                        served.counts.rejected += weight;
                        served.reason = Some(reason.to_owned());
                    }
                    Err(problem) => {
                        is_confirmed = false;
                        served.reason = Some(problem.to_string());
                    }
                },
                Err(_) => {
                    is_confirmed = false;
                    served.reason.get_or_insert_with(|| LATE.to_owned());
                    break;
                }
            }
        }
        if !is_confirmed {
            return Err(Refusal::Unconfirmed);
        }
        let reason = served.reason.as_deref().unwrap_or_default();
        Ok(wire::encode_response(signal, encoding, served.counts.rejected, reason))
    }

    /// Stores one trace, and returns the number of spans or records in it with the result.
    async fn put(&self, draft: Draft, writer: &Writer, deadline: Instant) -> (usize, Result<PutResult, Problem>) {
        (draft.weight(), self.put_under_a_free_id(&draft, writer, deadline).await)
    }

    async fn put_under_a_free_id(
        &self,
        draft: &Draft,
        writer: &Writer,
        deadline: Instant,
    ) -> Result<PutResult, Problem> {
        for trace in [Draft::trace, Draft::renamed] {
            // A timeout cannot interrupt the validation of a trace, and that of a whole batch may take longer.
            if Instant::now() >= deadline {
                return Err(Problem::Unavailable { cause: LATE.into(), id: None });
            }
            let Ok(trace) = trace(draft) else { return Ok(PutResult::Never(NOT_A_TRACE)) };
            match self.store.put(&trace.key, trace.json, writer).await? {
                Outcome::Stored => return Ok(PutResult::New),
                Outcome::Same => return Ok(PutResult::Repeated),
                Outcome::Conflict => {}
            }
        }
        Ok(PutResult::Never(TAKEN))
    }
}

/// The outcome of a put that did not fail.
enum PutResult {
    New,
    Repeated,
    Never(&'static str),
}

/// Decodes the content coding (RFC 9110, section 8.4.1), up to a limit in bytes.
///
/// API Gateway decompresses bodies and may leave the header, so a body that does not start like gzip is not
/// decompressed.
fn decompressed(headers: &HeaderMap, body: Vec<u8>, limit: usize) -> Result<Vec<u8>, Refusal> {
    let coding = headers.get(header::CONTENT_ENCODING).map(|name| name.as_bytes().trim_ascii().to_ascii_lowercase());
    let body = match coding.as_deref().unwrap_or_default() {
        b"gzip" | b"x-gzip" if body.starts_with(&[0x1f, 0x8b]) => {
            let mut plain = Vec::new();
            let mut decoder = MultiGzDecoder::new(&body[..]).take(limit as u64 + 1);
            decoder.read_to_end(&mut plain).map_err(|_| Refusal::NotGzip)?;
            plain
        }
        b"" | b"identity" | b"gzip" | b"x-gzip" | b"deflate" => body,
        _ => return Err(Refusal::Coding),
    };
    if body.len() > limit { Err(Refusal::TooLarge { limit }) } else { Ok(body) }
}
