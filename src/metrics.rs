//! The log line of each request, which also contains its metrics.
//!
//! CloudWatch extracts metrics from log lines in Embedded Metric Format (Amazon CloudWatch User Guide, "Specification:
//! Embedded metric format"), so publishing them takes no API call.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use metrique::{
    emf::{Emf, EmfBuilder, MetricDefinition, MetricDirective, NoMetric},
    unit::{Byte, Count, Millisecond},
    writer::{Entry, Unit, format::Format, unit::WithUnit},
};

use crate::{key::Key, problem::Problem, writer::Writer};

const NAMESPACE: &str = "Attest";
const REFUSED: &str = "Refused";

/// Writes one line per request, regardless of the log level.
pub struct RequestLog {
    function: String,
    /// The format for refused requests, which also counts `Refused` by `problem`.
    refused: MetricFormat,
    other: MetricFormat,
    write: Box<WriteLine>,
}

/// A function that writes one line, including its line break.
pub type WriteLine = dyn Fn(&[u8]) + Send + Sync;

/// Formats a function's log lines, with metrics in the namespace `Attest` and the dimension `FunctionName`.
pub struct MetricFormat(Mutex<Emf>);

impl MetricFormat {
    /// Creates the format. `directives` add metrics with other dimensions.
    pub fn new(directives: impl IntoIterator<Item = MetricDirective<'static>>) -> Self {
        let format = Emf::builder(NAMESPACE.to_owned(), vec![vec!["FunctionName".to_owned()]]);
        Self(Mutex::new(directives.into_iter().fold(format, EmfBuilder::directive).build()))
    }

    pub fn write(&self, line: &impl Entry, write: &WriteLine) {
        let mut json = Vec::new();
        let formatted = self.0.lock().unwrap_or_else(PoisonError::into_inner).format(line, &mut json);
        match formatted {
            Ok(()) => write(&json),
            Err(error) => tracing::error!(%error, "cannot format the log line of a request"),
        }
    }
}

#[derive(Debug)]
pub struct ServedRequest<'a> {
    pub request_id: &'a str,
    pub status: u16,
    /// The key of the trace, unless the request was refused before the key was known.
    pub key: Option<&'a Key>,
    pub writer: &'a Writer,
    /// The size of the body in bytes.
    pub bytes: usize,
    pub took: Duration,
    pub s3_took: Option<Duration>,
    pub is_cold: bool,
    pub problem: Option<&'a Problem>,
}

/// The fields of a log line. Those with a unit are metrics.
#[derive(Entry)]
struct RequestLine<'r> {
    #[entry(timestamp)]
    timestamp: SystemTime,
    #[entry(name = "FunctionName")]
    function: &'r str,
    level: &'static str,
    request_id: &'r str,
    status: NoMetric<u16>,
    key: Option<&'r str>,
    api_key_id: Option<&'r str>,
    principal: Option<&'r str>,
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
    /// Creates the log of the Lambda function called `function`. `write` receives one line at a time, with its line
    /// break.
    pub fn new(function: &str, write: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        let by_problem = MetricDirective {
            dimensions: vec![vec!["FunctionName", "problem"]],
            metrics: vec![MetricDefinition { name: REFUSED, unit: Unit::Count, storage_resolution: None }],
            namespace: NAMESPACE,
        };
        Self {
            function: function.to_owned(),
            refused: MetricFormat::new([by_problem]),
            other: MetricFormat::new([]),
            write: Box::new(write),
        }
    }

    pub fn write(&self, served: &ServedRequest<'_>) {
        let count = |is: bool| is.then(|| WithUnit::from(1));
        let status = served.status;
        let is_refused = (400..500).contains(&status) && status != 409;
        let line = RequestLine {
            timestamp: SystemTime::now(),
            function: &self.function,
            level: if status < 500 { "INFO" } else { "ERROR" },
            request_id: served.request_id,
            status: status.into(),
            key: served.key.map(Key::as_str),
            api_key_id: served.writer.api_key_id.as_deref(),
            principal: served.writer.principal.as_deref(),
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
        let format = if is_refused { &self.refused } else { &self.other };
        format.write(&line, &*self.write);
    }
}

/// Converts to milliseconds, rounded to the microsecond.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
