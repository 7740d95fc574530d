//! The local endpoint's log: one line a person reads per request.

use std::fmt;

use serde_json::Value;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::log::{Fields, filter, quiet_panics};

/// Sends what is logged to standard error.
pub fn start(level: Option<&str>) {
    let lines = tracing_subscriber::fmt::layer().event_format(Lines).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter(level)).with(lines).init();
    quiet_panics();
}

struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::of(event);
        let Some(status) = fields.remove("status") else {
            return writeln!(writer, "{} {}", event.metadata().level(), Value::Object(fields));
        };
        write!(writer, "{status}")?;
        for name in ["key", "problem", "cause"] {
            if let Some(Value::String(text)) = fields.get(name) {
                write!(writer, "  {text}")?;
            }
        }
        if let Some(bytes) = fields.get("bytes") {
            write!(writer, "  {bytes} bytes")?;
        }
        if let Some(ms) = fields.get("ms") {
            write!(writer, "  {ms} ms")?;
        }
        writeln!(writer)
    }
}
