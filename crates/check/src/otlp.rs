//! The promise about OpenTelemetry: a span is confirmed only after its trace is stored.

use attest_otlp::{
    batch::{Batch, Spans},
    wire::{self, Encoding, Signal},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    endpoint::{Endpoint, Sent},
    probe::{FINGERPRINT, Trace},
    report::{Mismatch, Report, ensure},
    storing::Stored,
};

const SPANS: &str = "the span of a model call is confirmed after its trace is stored";

/// Checks the promise, and returns the stored trace. `is_on` is the setting of the stack, if it is known.
pub async fn check(endpoint: &Endpoint, is_on: Option<bool>, report: &mut Report) -> Option<Stored> {
    if is_on == Some(false) {
        report.not_checked(SPANS, "OpenTelemetry is off");
        return None;
    }
    let batch = batch(endpoint);
    let Some(trace) = trace_of(&batch) else {
        report.not_checked(SPANS, "this program reads no trace from its own span");
        return None;
    };
    match export(endpoint, &batch, &trace, is_on.is_none()).await {
        Ok(true) => {
            report.add(SPANS, Ok(()));
            return Some(Stored::of(&trace));
        }
        Ok(false) => report.not_checked(SPANS, "the endpoint has no route for OpenTelemetry"),
        Err(mismatch) => report.add(SPANS, Err(mismatch)),
    }
    None
}

/// Sends a batch twice. Then it sends the trace of its span as a plain trace, which must be there already. Returns
/// false if the endpoint has no such route and `may_be_absent`.
async fn export(endpoint: &Endpoint, batch: &Value, trace: &Trace, may_be_absent: bool) -> Result<bool, Mismatch> {
    for _ in 0..2 {
        let request = Sent { path: "/v1/traces", ..endpoint.request(batch.to_string()) };
        let answer = endpoint.send_trace(trace, request).await?;
        if may_be_absent && [403, 404].contains(&answer.status) {
            return Ok(false);
        }
        let confirmed = answer.json(200, "application/json")?;
        ensure(confirmed == json!({}), "{}", confirmed.to_string())?;
    }
    endpoint.store(trace, 200).await.map(|_| true)
}

/// Returns a batch with the span of one model call.
fn batch(endpoint: &Endpoint) -> Value {
    let (trace_id, span_id) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    let messages = json!([{"role": "user", "parts": [{"type": "text", "content": endpoint.secret}]}]);
    let attributes = [
        ("gen_ai.operation.name", "chat".to_owned()),
        ("gen_ai.response.model", FINGERPRINT.to_owned()),
        ("gen_ai.input.messages", messages.to_string()),
    ];
    let attributes = attributes.map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}));
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": trace_id, "spanId": span_id[..16], "name": "chat attest-check",
        "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1000000000", "attributes": attributes,
    }]}]}]})
}

/// Returns the trace that the endpoint must store for the span of a batch.
fn trace_of(batch: &Value) -> Option<Trace> {
    let request = wire::decode(Signal::Traces, Encoding::Json, batch.to_string().as_bytes()).ok()?;
    let batch = Batch::read(Signal::Traces, &request, Spans::Calls, usize::MAX).ok()?;
    let attest::trace::Trace { json, id, fingerprint, .. } = batch.drafts.first()?.trace().ok()?;
    Some(Trace { json: String::from_utf8(json).ok()?, id, fingerprint })
}
