//! The line that each request leaves in the log, which is also its metrics: CloudWatch takes them from a line in Embedded
//! Metric Format (Amazon CloudWatch User Guide, "Specification: Embedded metric format") without another request.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use metrique::{
    emf::{Emf, MetricDefinition, MetricDirective, NoMetric},
    unit::{Byte, Count, Millisecond},
    writer::{Entry, Unit, format::Format, unit::WithUnit},
};

use crate::{key::Key, problem::Problem};

const NAMESPACE: &str = "Attest";
const REFUSED: &str = "Refused";

/// Writes one line per request, whatever the log's level is.
pub struct RequestLog {
    function: String,
    /// For a request that the endpoint refused: `Refused` is a metric by `problem` too.
    refused: Mutex<Emf>,
    other: Mutex<Emf>,
    write: Box<WriteLine>,
}

/// Takes one line, with its line break.
type WriteLine = dyn Fn(&[u8]) + Send + Sync;

/// What is known of a request when its response is.
#[derive(Debug)]
pub struct Served<'a> {
    /// Lambda's request id.
    pub request_id: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// Where the trace belongs, unless the request was refused before.
    pub key: Option<&'a Key>,
    /// The size of the body.
    pub bytes: usize,
    /// How long the request took.
    pub took: Duration,
    /// How long S3 took of that.
    pub s3_took: Option<Duration>,
    /// Whether the process had served no request before.
    pub is_cold: bool,
    /// Why the trace was not stored.
    pub problem: Option<&'a Problem>,
}

/// A log line: its fields, and those of them that are metrics.
#[derive(Entry)]
struct Line<'r> {
    #[entry(timestamp)]
    timestamp: SystemTime,
    #[entry(name = "FunctionName")]
    function: &'r str,
    level: &'static str,
    request_id: &'r str,
    status: NoMetric<u16>,
    key: Option<&'r str>,
    problem: Option<&'static str>,
    cause: Option<String>,
    ms: NoMetric<f64>,
    cold: NoMetric<bool>,
    bytes: WithUnit<usize, Byte>,
    s3_ms: Option<WithUnit<f64, Millisecond>>,
    #[entry(name = "ColdStarts")]
    cold_starts: Option<WithUnit<u64, Count>>,
    #[entry(name = "Stored")]
    stored: Option<WithUnit<u64, Count>>,
    #[entry(name = "Repeated")]
    repeated: Option<WithUnit<u64, Count>>,
    #[entry(name = "Conflicts")]
    conflicts: Option<WithUnit<u64, Count>>,
    #[entry(name = "Refused")]
    refused: Option<WithUnit<u64, Count>>,
    #[entry(name = "Failed")]
    failed: Option<WithUnit<u64, Count>>,
}

impl RequestLog {
    /// A log for the Lambda function of this name; `write` gets one line at a time, with its line break.
    pub fn new(function: &str, write: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        let metrics = || Emf::builder(NAMESPACE.to_owned(), vec![vec!["FunctionName".to_owned()]]);
        let by_problem = MetricDirective {
            dimensions: vec![vec!["FunctionName", "problem"]],
            metrics: vec![MetricDefinition { name: REFUSED, unit: Unit::Count, storage_resolution: None }],
            namespace: NAMESPACE,
        };
        Self {
            function: function.to_owned(),
            refused: Mutex::new(metrics().directive(by_problem).build()),
            other: Mutex::new(metrics().build()),
            write: Box::new(write),
        }
    }

    /// Writes the line of one request.
    pub fn write(&self, served: &Served<'_>) {
        let count = |is: bool| is.then(|| WithUnit::from(1));
        let status = served.status;
        let is_refused = (400..500).contains(&status) && status != 409;
        let line = Line {
            timestamp: SystemTime::now(),
            function: &self.function,
            level: if status < 500 { "INFO" } else { "ERROR" },
            request_id: served.request_id,
            status: status.into(),
            key: served.key.map(Key::as_str),
            problem: served.problem.map(Problem::name),
            cause: served.problem.and_then(Problem::cause).map(ToString::to_string),
            ms: milliseconds(served.took).into(),
            cold: served.is_cold.into(),
            bytes: served.bytes.into(),
            s3_ms: served.s3_took.map(|took| milliseconds(took).into()),
            cold_starts: count(served.is_cold),
            stored: count(status == 201),
            repeated: count(status == 200),
            conflicts: count(status == 409),
            refused: count(is_refused),
            failed: count(status >= 500),
        };
        let metrics = if is_refused { &self.refused } else { &self.other };
        let mut json = Vec::new();
        let formatted = metrics.lock().unwrap_or_else(PoisonError::into_inner).format(&line, &mut json);
        match formatted {
            Ok(()) => (self.write)(&json),
            Err(error) => tracing::error!(%error, "cannot write a request's line"),
        }
    }
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
