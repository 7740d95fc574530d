//! The log: one line of JSON per event.

use std::{
    io::Write,
    panic,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

/// Sends what is logged through `write`, a line at a time, and lets a panic say where it happened but not its message,
/// which may quote what was being read. Under the name of a `function`, requests' lines are metrics too.
pub fn start(level: Option<&str>, function: Option<String>, write: impl Fn(&[u8]) + Send + Sync + 'static) {
    subscriber(level, function, write).init();
    panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "panicked");
    }));
}

/// What [`start`] sets up for the whole process.
///
/// Logged is of this program what `level` says, `info` where it says nothing that is understood, and of the libraries
/// errors only: what they say of a request at other levels may quote it.
pub fn subscriber(
    level: Option<&str>,
    function: Option<String>,
    write: impl Fn(&[u8]) + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let level = level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let filter = Targets::new().with_default(Level::ERROR).with_target("attest", level).with_target("local", level);
    tracing_subscriber::registry().with(filter).with(JsonLines { function, write })
}

/// Writes a line to standard output. That fails if nobody reads there, and then nobody could be told.
pub fn print(line: &[u8]) {
    let _ = std::io::stdout().write_all(line);
}

struct JsonLines<W> {
    function: Option<String>,
    write: W,
}

impl<S: Subscriber, W: Fn(&[u8]) + 'static> Layer<S> for JsonLines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::new();
        line.add("level", event.metadata().level().as_str());
        event.record(&mut line);
        if let (Some(function), Some(status)) = (&self.function, line.status) {
            line.add_metrics(function, status);
        }
        (self.write)(&line.end());
    }
}

/// A line as it grows: an object without its end, and what its metrics depend on.
struct Line {
    json: Vec<u8>,
    status: Option<u64>,
    is_cold: bool,
    has_s3_ms: bool,
}

impl Line {
    fn new() -> Self {
        Self { json: Vec::with_capacity(1024), status: None, is_cold: false, has_s3_ms: false }
    }

    fn add(&mut self, name: &str, value: impl Serialize) {
        self.add_json(name, b"");
        serde_json::to_writer(&mut self.json, &value)
            .expect("strings and numbers are always JSON, and memory takes it");
    }

    fn add_json(&mut self, name: &str, json: &[u8]) {
        let start: &[u8] = if self.json.is_empty() { b"{\"" } else { b",\"" };
        for piece in [start, name.as_bytes(), b"\":", json] {
            self.json.extend_from_slice(piece);
        }
    }

    /// Makes a request's line one of the Embedded Metric Format (Amazon CloudWatch User Guide, "Specification: Embedded
    /// metric format"), from which CloudWatch takes metrics without another request.
    fn add_metrics(&mut self, function: &str, status: u64) {
        let outcome = match status {
            201 => "Stored",
            200 => "Repeated",
            409 => "Conflicts",
            ..500 => "Refused",
            _ => "Failed",
        };
        self.add(outcome, 1);
        self.add("FunctionName", function);
        if self.is_cold {
            self.add("ColdStarts", 1);
        }
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
        let count = |name| format!(r#"{{"Name":"{name}","Unit":"Count"}}"#);
        let mut metrics = count(outcome) + r#",{"Name":"bytes","Unit":"Bytes"}"#;
        if self.has_s3_ms {
            metrics.push_str(r#",{"Name":"s3_ms","Unit":"Milliseconds"}"#);
        }
        if self.is_cold {
            metrics = metrics + "," + &count("ColdStarts");
        }
        let directive = |dimensions, metrics: &str| {
            format!(r#"{{"Namespace":"Attest","Dimensions":[[{dimensions}]],"Metrics":[{metrics}]}}"#)
        };
        let mut directives = directive(r#""FunctionName""#, &metrics);
        if outcome == "Refused" {
            directives = directives + "," + &directive(r#""FunctionName","problem""#, &count(outcome));
        }
        let metadata = format!(r#"{{"Timestamp":{timestamp},"CloudWatchMetrics":[{directives}]}}"#);
        self.add_json("_aws", metadata.as_bytes());
    }

    fn end(mut self) -> Vec<u8> {
        self.json.extend_from_slice(b"}\n");
        self.json
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.has_s3_ms |= field.name() == "s3_ms";
        self.add(field.name(), (value * 1e3).round() / 1e3);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "status" {
            self.status = Some(value);
        }
        self.add(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.is_cold |= field.name() == "cold" && value;
        self.add(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field.name(), format!("{value:?}"));
    }
}
