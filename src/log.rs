//! The function's log: one line of JSON per event, on standard output.

use std::{
    fmt, panic,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};
use tracing::{Event, Level, Subscriber, field::Visit, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// What is logged: of this program what `level` says, `info` where it says nothing that is understood, and of the
/// libraries errors only, for `lambda_runtime` writes whole events into its log at `trace`.
#[must_use]
pub fn filter(level: Option<&str>) -> Targets {
    let level = level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    Targets::new().with_default(Level::ERROR).with_target("attest", level).with_target("local", level)
}

/// Sends what is logged to standard output as JSON, and lets a panic say where it happened but not its message, which
/// may quote what was being read. Under the name of a `function`, requests' lines are metrics too.
pub fn start(level: Option<&str>, function: Option<String>) {
    subscriber(level, function, std::io::stdout).init();
    quiet_panics();
}

/// What [`start`] sets up for the whole process, with its lines going to `writer`.
pub fn subscriber<W>(level: Option<&str>, function: Option<String>, writer: W) -> impl Subscriber
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().event_format(JsonLines { function }).with_writer(writer);
    tracing_subscriber::registry().with(filter(level)).with(lines)
}

/// Replaces the default panic hook, which prints a panic's message.
pub fn quiet_panics() {
    panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "panicked");
    }));
}

struct JsonLines {
    function: Option<String>,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::of(event);
        fields.insert("level".to_owned(), event.metadata().level().as_str().into());
        if let (Some(function), true) = (&self.function, fields.contains_key("status")) {
            add_metrics(&mut fields, function);
        }
        writeln!(writer, "{}", Value::Object(fields))
    }
}

/// Makes a request's line one of the Embedded Metric Format (Amazon CloudWatch User Guide, "Specification: Embedded
/// metric format"), from which CloudWatch takes metrics without another request.
fn add_metrics(line: &mut Map<String, Value>, function: &str) {
    let outcome = match line["status"].as_u64() {
        Some(201) => "Stored",
        Some(200) => "Repeated",
        Some(409) => "Conflicts",
        Some(..500) => "Refused",
        _ => "Failed",
    };
    let count = |name| json!({"Name": name, "Unit": "Count"});
    let mut metrics = vec![count(outcome), json!({"Name": "bytes", "Unit": "Bytes"})];
    if line.contains_key("s3_ms") {
        metrics.push(json!({"Name": "s3_ms", "Unit": "Milliseconds"}));
    }
    if line.get("cold") == Some(&Value::Bool(true)) {
        metrics.push(count("ColdStarts"));
        line.insert("ColdStarts".to_owned(), 1.into());
    }
    let mut directives = vec![json!({"Namespace": "Attest", "Dimensions": [["FunctionName"]], "Metrics": metrics})];
    if outcome == "Refused" {
        let dimensions = json!([["FunctionName", "problem"]]);
        directives.push(json!({"Namespace": "Attest", "Dimensions": dimensions, "Metrics": [count(outcome)]}));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() * 1000);
    line.insert("FunctionName".to_owned(), function.into());
    line.insert(outcome.to_owned(), 1.into());
    line.insert("_aws".to_owned(), json!({"Timestamp": now, "CloudWatchMetrics": directives}));
}

/// An event's fields as members of a JSON object.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn of(event: &Event<'_>) -> Map<String, Value> {
        let mut fields = Self(Map::new());
        event.record(&mut fields);
        fields.0
    }

    fn insert(&mut self, field: &tracing::field::Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &tracing::field::Field, value: f64) {
        self.insert(field, (value * 1e3).round() / 1e3);
    }

    fn record_i64(&mut self, field: &tracing::field::Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &tracing::field::Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}
