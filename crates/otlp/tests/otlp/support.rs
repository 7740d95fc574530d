//! Builds requests in OTLP's JSON encoding, and reads the resulting traces.

use attest_otlp::{
    batch::{Batch, Spans},
    wire::{Encoding, Signal, decode},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use attest::{settings::MAX_TRACE_BYTES, store::Store};
use attest_otlp::{metrics::BatchLog, service::Receiver};
use lambda_http::{
    Body, Request, RequestExt, Service,
    aws_lambda_events::apigw::ApiGatewayProxyRequestContext,
    http::{self, HeaderMap},
    request::RequestContext,
};
use local_aws::{
    s3::{ACCESS_KEY, FolderS3},
    testing::BUCKET,
};
use serde_json::{Value, json};

pub const TRACE_ID: &str = "727a8775733592aa79a54176ea0d7210";
pub const SPAN_ID: &str = "ec709e0be42818b4";

/// Converts a value to an `AnyValue`.
pub fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(value) => json!({"boolValue": value}),
        Value::Number(number) if number.is_i64() => json!({"intValue": number.to_string()}),
        Value::Number(number) => json!({"doubleValue": number}),
        Value::String(text) => json!({"stringValue": text}),
        Value::Array(items) => json!({"arrayValue": {"values": items.iter().map(any).collect::<Vec<_>>()}}),
        Value::Object(_) => json!({"kvlistValue": {"values": pairs(value)}}),
    }
}

pub fn pairs(object: &Value) -> Vec<Value> {
    let members = object.as_object().expect("an object");
    members.iter().map(|(key, value)| json!({"key": key, "value": any(value)})).collect()
}

pub fn span(attributes: &Value) -> Value {
    json!({
        "traceId": TRACE_ID, "spanId": SPAN_ID, "name": "chat", "kind": 3,
        "startTimeUnixNano": "1795305600999999999", "endTimeUnixNano": "1795305602000000000",
        "attributes": pairs(attributes),
    })
}

pub fn request(spans: &[Value]) -> Value {
    json!({"resourceSpans": [{
        "resource": {"attributes": pairs(&json!({"service.name": "shop"}))},
        "scopeSpans": [{"scope": {"name": "scope", "version": "1"}, "schemaUrl": "urn:schema", "spans": spans}],
    }]})
}

pub fn logs(records: &[Value]) -> Value {
    json!({"resourceLogs": [{"scopeLogs": [{"scope": {"name": "scope"}, "logRecords": records}]}]})
}

pub fn read(signal: Signal, request: &Value, spans: Spans) -> Batch {
    let decoded = decode(signal, Encoding::Json, request.to_string().as_bytes()).expect("a request");
    Batch::read(signal, &decoded, spans, usize::MAX).expect("there is room")
}

/// Returns the traces that a batch stores. Panics unless each is valid under the schema and has a key.
pub fn traces(batch: &Batch) -> Vec<Value> {
    let read = |json: &[u8]| serde_json::from_slice(json).expect("a trace is JSON");
    batch.drafts.iter().map(|draft| read(&draft.trace().expect("a valid trace").json)).collect()
}

pub fn trace(attributes: &Value) -> Value {
    let batch = read(Signal::Traces, &request(&[span(attributes)]), Spans::Calls);
    assert_eq!((batch.received, batch.skipped, batch.rejected.len()), (1, 0, 0));
    traces(&batch).remove(0)
}

/// A receiver that stores to an S3, and the lines that it has logged.
pub struct Endpoint {
    receiver: Receiver,
    lines: Arc<Mutex<Vec<u8>>>,
}

/// A response whose `Retry-After` has already been checked.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Endpoint {
    pub fn on(s3: SocketAddr) -> Self {
        let config = FolderS3::sdk_config(s3, ACCESS_KEY, attest::settings::http_client());
        let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
        let log = Arc::clone(&lines);
        let log = BatchLog::new("f", move |line| log.lock().expect("no thread panics").extend_from_slice(line));
        let store = Store::new(&config, BUCKET.to_owned());
        Self { receiver: Receiver::new(store, MAX_TRACE_BYTES, Spans::Calls, log), lines }
    }

    pub async fn send(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = http::Request::post(format!("https://example.com/prod{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut context = ApiGatewayProxyRequestContext::default();
        context.identity.api_key_id = Some("key-1".to_owned());
        let request: Request = request.body(Body::Binary(body)).expect("a request");
        let request = request.with_request_context(RequestContext::ApiGatewayV1(context));
        let Ok(response) = self.receiver.clone().into_service().call(request).await;
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        assert_eq!(head.headers.get("retry-after").is_some_and(|seconds| seconds == "1"), status == 503);
        Answer { status, headers: head.headers, body: body.to_vec() }
    }

    pub async fn json(&self, path: &str, request: &Value) -> Answer {
        self.send(path, &[("content-type", "application/json")], request.to_string().into_bytes()).await
    }

    /// Returns the lines that were logged since the last call.
    pub fn log(&self) -> Vec<Value> {
        let lines = std::mem::take(&mut *self.lines.lock().expect("no thread panics"));
        String::from_utf8(lines)
            .expect("a log is UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// Returns the counts in a log line: received, stored, repeated, skipped, rejected.
pub fn counts(line: &Value) -> [u64; 5] {
    ["SpansReceived", "SpansStored", "SpansRepeated", "SpansSkipped", "SpansRejected"]
        .map(|name| line[name].as_u64().expect("a count"))
}

/// Returns the span of a call with `number` in its id and content.
pub fn numbered(number: usize) -> Value {
    let mut span = span(&json!({
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.input.messages": format!("secret {number}"),
    }));
    span["spanId"] = format!("{:016x}", number + 1).into();
    span
}
