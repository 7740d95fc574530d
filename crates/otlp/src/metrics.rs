//! Writes each request's log line, which contains its metrics in Embedded Metric Format, like that of
//! `attest::metrics`.

use std::time::{Duration, SystemTime};

use attest::{
    metrics::{MetricFormat, WriteLine, milliseconds},
    writer::Writer,
};
use metrique::{
    emf::NoMetric,
    unit::{Byte, Count, Millisecond},
    writer::{Entry, unit::WithUnit},
};

/// Writes one line per request, independent of the log level.
pub struct BatchLog {
    function: String,
    format: MetricFormat,
    write: Box<WriteLine>,
}

/// The counts for one request. Spans and log records are counted alike.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub received: usize,
    pub stored: usize,
    pub repeated: usize,
    pub skipped: usize,
    pub rejected: usize,
}

#[derive(Debug, Default)]
pub struct ServedBatch {
    pub request_id: String,
    pub signal: &'static str,
    pub status: u16,
    pub bytes: usize,
    pub took: Duration,
    pub is_cold: bool,
    pub writer: Writer,
    pub counts: Counts,
    /// The reason for a refusal, rejection or failure, without content.
    pub reason: Option<String>,
}

/// The fields of a log line. Those with a unit are metrics.
#[derive(Entry)]
struct BatchLine<'r> {
    #[entry(timestamp)]
    timestamp: SystemTime,
    #[entry(name = "FunctionName")]
    function: &'r str,
    level: &'static str,
    request_id: &'r str,
    signal: &'static str,
    status: NoMetric<u16>,
    api_key_id: Option<&'r str>,
    principal: Option<&'r str>,
    reason: Option<&'r str>,
    ms: NoMetric<f64>,
    cold: NoMetric<bool>,
    batch_bytes: WithUnit<usize, Byte>,
    batch_ms: WithUnit<f64, Millisecond>,
    #[entry(name = "SpansReceived")]
    received: WithUnit<u64, Count>,
    #[entry(name = "SpansStored")]
    stored: WithUnit<u64, Count>,
    #[entry(name = "SpansRepeated")]
    repeated: WithUnit<u64, Count>,
    #[entry(name = "SpansSkipped")]
    skipped: WithUnit<u64, Count>,
    #[entry(name = "SpansRejected")]
    rejected: WithUnit<u64, Count>,
    #[entry(name = "BatchesRefused")]
    refused: Option<WithUnit<u64, Count>>,
    #[entry(name = "BatchesFailed")]
    failed: Option<WithUnit<u64, Count>>,
}

impl BatchLog {
    /// Creates the log of the Lambda function `function`. `write` receives one line at a time, including its line
    /// break.
    pub fn new(function: &str, write: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        Self { function: function.to_owned(), format: MetricFormat::new([]), write: Box::new(write) }
    }

    pub fn write(&self, served: &ServedBatch) {
        let count = |count: usize| WithUnit::from(count as u64);
        let only = |is: bool| is.then(|| WithUnit::from(1));
        let Counts { received, stored, repeated, skipped, rejected } = served.counts;
        let took = milliseconds(served.took);
        let line = BatchLine {
            timestamp: SystemTime::now(),
            function: &self.function,
            level: match served.status {
                500.. => "ERROR",
                400.. => "WARN",
                _ if rejected > 0 => "WARN",
                _ => "INFO",
            },
            request_id: &served.request_id,
            signal: served.signal,
            status: served.status.into(),
            api_key_id: served.writer.api_key_id.as_deref(),
            principal: served.writer.principal.as_deref(),
            reason: served.reason.as_deref(),
            ms: took.into(),
            cold: served.is_cold.into(),
            batch_bytes: served.bytes.into(),
            batch_ms: took.into(),
            received: count(received),
            stored: count(stored),
            repeated: count(repeated),
            skipped: count(skipped),
            rejected: count(rejected),
            refused: only((400..500).contains(&served.status)),
            failed: only(served.status >= 500),
        };
        self.format.write(&line, &*self.write);
    }
}
