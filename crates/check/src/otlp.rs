//! OpenTelemetry promises: a span or a log record is confirmed only after its trace is stored, and both routes are
//! protected like the endpoint's path.

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

const STORED: &str = "the span or log record of a model call is confirmed after its trace is stored";
const PROTECTED: &str = "spans and log records with a wrong API key, or without a required signature, get 403";

const ROUTES: [(Signal, &str); 2] = [(Signal::Traces, "/v1/traces"), (Signal::Logs, "/v1/logs")];

/// Checks the promises. Returns the stored traces. `is_on` is the setting of the stack, if known.
pub async fn check(endpoint: &Endpoint, is_on: Option<bool>, report: &mut Report) -> Vec<Stored> {
    if is_on == Some(false) {
        return not_checked("OpenTelemetry is off", report);
    }
    let calls = ROUTES.map(|(signal, path)| call(endpoint, signal).map(|(batch, trace)| (path, batch, trace)));
    let Some(calls) = calls.into_iter().collect::<Option<Vec<_>>>() else {
        return not_checked("this program reads no trace from its own span", report);
    };
    match stored(endpoint, &calls, is_on.is_none()).await {
        Ok(false) => return not_checked("the endpoint has no route for OpenTelemetry", report),
        Ok(true) => report.add(STORED, Ok(())),
        Err(mismatch) => report.add(STORED, Err(mismatch)),
    }
    report.add(PROTECTED, protected(endpoint).await);
    calls.iter().map(|(_, _, trace)| Stored::of(trace)).collect()
}

fn not_checked(reason: &str, report: &mut Report) -> Vec<Stored> {
    for promise in [STORED, PROTECTED] {
        report.not_checked(promise, reason);
    }
    Vec::new()
}

/// Sends each batch twice, and then the trace of the batch as a plain trace, which must already be stored. Returns
/// `false` if the endpoint has no such route and `may_be_absent` is set.
async fn stored(endpoint: &Endpoint, calls: &[(&str, Value, Trace)], may_be_absent: bool) -> Result<bool, Mismatch> {
    for (path, batch, trace) in calls {
        for _ in 0..2 {
            let request = Sent { path, ..endpoint.request(batch.to_string()) };
            let answer = endpoint.send_trace(trace, request).await?;
            if may_be_absent && [403, 404].contains(&answer.status) {
                return Ok(false);
            }
            let confirmed = answer.json(200, "application/json")?;
            ensure(confirmed == json!({}), "{}", confirmed.to_string())?;
        }
        endpoint.store(trace, 200).await?;
    }
    Ok(true)
}

/// Sends new batches that must be refused. Requests without a key are tested in `access`.
async fn protected(endpoint: &Endpoint) -> Result<(), Mismatch> {
    let key = Uuid::new_v4().to_string();
    for (signal, path) in ROUTES {
        let wrong_key = Sent { api_key: Some(&key), ..endpoint.request("") };
        let unsigned = endpoint.is_signed().then(|| Sent { is_signed: false, ..endpoint.request("") });
        for sent in [Some(wrong_key), unsigned].into_iter().flatten() {
            let Some((batch, trace)) = call(endpoint, signal) else { continue };
            let answer = endpoint.send_trace(&trace, Sent { path, body: batch.to_string().into(), ..sent }).await?;
            answer.problem(403, &["forbidden", "gateway"])?;
        }
    }
    Ok(())
}

/// Returns a batch with one model call, and the trace that the endpoint must store for it.
fn call(endpoint: &Endpoint, signal: Signal) -> Option<(Value, Trace)> {
    let (trace_id, span_id) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    let messages = json!([{"role": "user", "parts": [{"type": "text", "content": endpoint.secret}]}]);
    let attributes = [
        ("gen_ai.operation.name", "chat".to_owned()),
        ("gen_ai.response.model", FINGERPRINT.to_owned()),
        ("gen_ai.input.messages", messages.to_string()),
    ];
    let attributes = attributes.map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}));
    let (trace_id, span_id) = (json!(trace_id), json!(span_id[..16]));
    let batch = match signal {
        Signal::Traces => json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
            "traceId": trace_id, "spanId": span_id, "name": "chat attest-check",
            "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1000000000", "attributes": attributes,
        }]}]}]}),
        Signal::Logs => json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{
            "traceId": trace_id, "spanId": span_id, "eventName": "gen_ai.client.inference.operation.details",
            "timeUnixNano": "1000000000", "attributes": attributes,
        }]}]}]}),
    };
    let request = wire::decode(signal, Encoding::Json, batch.to_string().as_bytes()).ok()?;
    let read = Batch::read(signal, &request, Spans::Calls, usize::MAX).ok()?;
    let attest::trace::Trace { json, id, fingerprint, .. } = read.drafts.first()?.trace().ok()?;
    Some((batch, Trace { json: String::from_utf8(json).ok()?, id, fingerprint }))
}
