//! Request → answer: the one way that the deployed function, the local endpoint and the tests go.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use aws_smithy_types::base64;
use futures_util::FutureExt;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    event::Event,
    key::Key,
    problem::{self, Problem},
    store::{Outcome, Store},
    trace::Trace,
};

/// Stores the traces that proxy events bring.
#[derive(Debug, Clone)]
pub struct Handler {
    store: Store,
    max_trace_bytes: usize,
    is_warm: Arc<AtomicBool>,
}

/// The answer to a proxy event, in the format that API Gateway asks of a function (Amazon API Gateway Developer
/// Guide, "Output format of a Lambda function for proxy integration").
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The HTTP status.
    pub status_code: u16,
    /// The HTTP headers.
    pub headers: BTreeMap<&'static str, String>,
    /// The body, JSON.
    pub body: String,
}

/// What a client is told of a trace that is stored.
#[derive(Serialize)]
struct Receipt<'a> {
    id: &'a str,
    object: &'a str,
    system_fingerprint: &'a str,
    key: &'a str,
}

/// What a request's log line tells of the way that it came.
#[derive(Default)]
struct Seen {
    key: Option<Key>,
    s3_start: Option<Instant>,
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

impl Handler {
    /// A handler that stores traces of at most `max_trace_bytes` bytes in `store`.
    #[must_use]
    pub fn new(store: Store, max_trace_bytes: usize) -> Self {
        Self { store, max_trace_bytes, is_warm: Arc::default() }
    }

    /// Answers one request and logs it in one line. It neither fails nor panics, whatever the event holds.
    pub async fn handle(&self, event: Event, request_id: &str) -> Answer {
        let start = Instant::now();
        let cold = !self.is_warm.swap(true, Ordering::Relaxed);
        let bytes = event.body.len();
        let mut seen = Seen::default();
        let result = AssertUnwindSafe(self.store_trace(event, &mut seen))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Problem::Fault("a defect: the request panicked".into())));
        let ms = milliseconds(start);
        let s3_ms = seen.s3_start.map(milliseconds);
        let key = seen.key.as_ref().map(Key::as_str);
        match result {
            Ok(answer) => {
                tracing::info!(request_id, status = answer.status_code, key, bytes, ms, s3_ms, cold);
                answer
            }
            Err(problem) => {
                let (status, name) = (problem.status(), problem.name());
                match &problem {
                    Problem::Fault(cause) | Problem::Unavailable(cause) => {
                        tracing::error!(request_id, status, key, bytes, ms, s3_ms, cold, problem = name, %cause);
                    }
                    _ => tracing::info!(request_id, status, key, bytes, ms, s3_ms, cold, problem = name),
                }
                Answer::refusing(&problem)
            }
        }
    }

    /// The request's way through the modules, which leaves in `seen` what is known when it ends early.
    async fn store_trace(&self, event: Event, seen: &mut Seen) -> Result<Answer, Problem> {
        let (trace, is_random) = read(event, self.max_trace_bytes)?;
        let key = seen.key.insert(trace.key);
        seen.s3_start = Some(Instant::now());
        let status = match self.store.put(key, trace.json).await? {
            Outcome::Stored => 201,
            // Nobody else knew this id: a write of this request was confirmed, and only the confirmation was lost.
            Outcome::Same if is_random => 201,
            Outcome::Same => 200,
            Outcome::Other => return Err(Problem::Taken { fingerprint: trace.fingerprint, id: trace.id }),
        };
        let receipt =
            Receipt { id: &trace.id, object: &trace.object, system_fingerprint: &trace.fingerprint, key: key.as_str() };
        Ok(Answer {
            status_code: status,
            headers: BTreeMap::from([("content-type", "application/json".to_owned())]),
            body: serde_json::to_string(&receipt).expect("strings are always JSON"),
        })
    }
}

/// Reads the trace that an event brings, and says whether its id was drawn at random; the limit is in bytes.
pub fn read(event: Event, max_trace_bytes: usize) -> Result<(Trace, bool), Problem> {
    let body = if event.is_base64 { decode(event.body)? } else { event.body };
    if body.len() > max_trace_bytes {
        return Err(Problem::TooLarge { limit: max_trace_bytes, size: body.len() });
    }
    let mut is_random = false;
    let trace = Trace::parse(body, || match event.idempotency_key {
        Some(key) => Uuid::new_v5(&Uuid::NAMESPACE_OID, &key).to_string(),
        None => {
            is_random = true;
            Uuid::new_v4().to_string()
        }
    })?;
    Ok((trace, is_random))
}

fn decode(body: Vec<u8>) -> Result<Vec<u8>, Problem> {
    let text = String::from_utf8(body).map_err(|_| Problem::NotBase64)?;
    base64::decode(text).map_err(|_| Problem::NotBase64)
}

impl Answer {
    /// The answer to a request that was not served.
    #[must_use]
    pub fn refusing(problem: &Problem) -> Self {
        let mut headers = BTreeMap::from([("content-type", problem::MEDIA_TYPE.to_owned())]);
        if let Problem::Unavailable(_) = problem {
            headers.insert("retry-after", problem::RETRY_AFTER_SECONDS.to_string());
        }
        Self { status_code: problem.status(), headers, body: problem.body() }
    }
}
