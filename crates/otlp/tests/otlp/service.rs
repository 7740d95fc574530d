//! Tests the service's responses, the stored traces and the log.

use std::io::Write;

use attest::settings::MAX_TRACE_BYTES;
use flate2::{Compression, write::GzEncoder};
use local_aws::testing::{BUCKET, Bucket};
use serde_json::{Value, json};

use crate::support::{Endpoint, SPAN_ID, TRACE_ID, any, counts, logs, numbered, request, span};

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

fn recording(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/recordings/{name}.binpb", env!("CARGO_MANIFEST_DIR"))).expect("a recording")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory is writable");
    encoder.finish().expect("memory is writable")
}

#[tokio::test]
async fn a_batch_is_stored_once_in_each_encoding_and_coding() {
    let bucket = Bucket::new().await;
    let endpoint = Endpoint::on(bucket.address);
    let body = recording("genai-openai-tools.traces");
    for (headers, body, expected) in [
        (vec![PROTOBUF], body.clone(), [2, 2, 0, 0, 0]),
        (vec![PROTOBUF], body.clone(), [2, 0, 2, 0, 0]),
        (vec![PROTOBUF, GZIP], gzip(&body), [2, 0, 2, 0, 0]),
        // API Gateway decompresses the body.
        (vec![PROTOBUF, GZIP], body, [2, 0, 2, 0, 0]),
    ] {
        let answer = endpoint.send("/v1/traces", &headers, body).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(answer.headers["content-type"], "application/x-protobuf");
        assert_eq!(counts(&endpoint.log()[0]), expected);
    }
    let keys = bucket.keys().await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    let head = bucket.client.head_object().bucket(BUCKET).key(&keys[0]).send().await.expect("it is stored");
    assert_eq!(head.metadata().and_then(|metadata| metadata.get("api-key-id")).map(String::as_str), Some("key-1"));
    let answer = endpoint.send("/v1/logs", &[PROTOBUF], recording("genai-openai-events-tools.logs")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(bucket.keys().await.len(), 4);
}

#[tokio::test]
async fn the_content_of_a_span_that_comes_from_two_pipelines_is_kept_twice() {
    let bucket = Bucket::new().await;
    let endpoint = Endpoint::on(bucket.address);
    let plain =
        span(&json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.input.messages": "a"}));
    let mut enriched = plain.clone();
    enriched["attributes"].as_array_mut().expect("a list").push(json!({"key": "team", "value": any(&json!("blue"))}));
    for (span, expected) in [
        (&plain, [1, 1, 0, 0, 0]),
        (&enriched, [1, 1, 0, 0, 0]),
        (&plain, [1, 0, 1, 0, 0]),
        (&enriched, [1, 0, 1, 0, 0]),
    ] {
        let answer = endpoint.json("/v1/traces", &request(std::slice::from_ref(span))).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})));
        assert_eq!(counts(&endpoint.log()[0]), expected);
    }
    let keys = bucket.keys().await;
    assert_eq!(keys[0], format!("m/{TRACE_ID}-{SPAN_ID}"));
    assert!(keys[1].starts_with(&format!("m/{TRACE_ID}-{SPAN_ID}-")) && keys.len() == 2, "{keys:?}");
}

#[tokio::test]
async fn what_can_never_be_stored_is_counted_and_the_rest_is_stored() {
    let bucket = Bucket::new().await;
    let endpoint = Endpoint::on(bucket.address);
    let mut no_ids = numbered(1);
    no_ids["traceId"] = "".into();
    let mut long_model = numbered(2);
    long_model["attributes"][1]["value"] = any(&json!("m".repeat(2_000)));
    let other = span(&json!({"http.route": "/"}));
    let answer = endpoint.json("/v1/traces", &request(&[numbered(0), no_ids, long_model, other])).await;
    assert_eq!(answer.status, 200);
    let partial = &answer.json()["partialSuccess"];
    assert_eq!(partial["rejectedSpans"], "2");
    let line = endpoint.log().remove(0);
    assert_eq!(counts(&line), [4, 1, 0, 1, 2]);
    assert_eq!((&line["level"], &line["reason"]), (&json!("WARN"), &partial["errorMessage"]));
    assert_eq!(bucket.keys().await.len(), 1);
}

#[tokio::test]
async fn joined_records_are_counted_each() {
    let bucket = Bucket::new().await;
    let endpoint = Endpoint::on(bucket.address);
    let record = |name: &str, content: &str| json!({"traceId": TRACE_ID, "spanId": SPAN_ID, "eventName": name, "body": any(&json!({"content": content}))});
    let records = [record("gen_ai.user.message", "a"), record("gen_ai.choice", "b"), record("other", "c")];
    for expected in [[3, 2, 0, 1, 0], [3, 0, 2, 1, 0]] {
        assert_eq!(endpoint.json("/v1/logs", &logs(&records)).await.status, 200);
        assert_eq!(counts(&endpoint.log()[0]), expected);
    }
}

/// The first bytes of `google.rpc.Status { code: 3, message: … }`.
const INVALID_ARGUMENT: [u8; 3] = [0x08, 0x03, 0x12];

#[tokio::test]
async fn errors_are_a_status_in_the_encoding_of_the_request() {
    let bucket = Bucket::new().await;
    let endpoint = Endpoint::on(bucket.address);
    let secret = || b"\xffsecret".to_vec();
    let bomb = gzip(&vec![b' '; MAX_TRACE_BYTES]).repeat(100);
    assert!(bomb.len() < MAX_TRACE_BYTES);
    for (headers, body, status, code) in [
        (vec![JSON], secret(), 400, 3),
        (vec![("content-type", "APPLICATION/JSON; charset=utf-8")], secret(), 400, 3),
        (vec![JSON, GZIP], b"\x1f\x8bsecret".to_vec(), 400, 3),
        (vec![JSON, GZIP], bomb, 413, 8),
        (vec![JSON], vec![b' '; MAX_TRACE_BYTES + 1], 413, 8),
        (vec![("content-type", "text/plain")], secret(), 415, 3),
        (vec![], secret(), 415, 3),
        (vec![JSON, ("content-encoding", "br")], secret(), 415, 3),
    ] {
        let answer = endpoint.send("/v1/traces", &headers, body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{headers:?}");
        let line = endpoint.log().remove(0).to_string();
        assert!(!line.contains("secret") && line.contains("\"reason\""), "{line}");
    }
    let answer = endpoint.send("/v1/traces", &[PROTOBUF], secret()).await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (400, &"application/x-protobuf".parse().expect("text"))
    );
    assert!(answer.body.starts_with(&INVALID_ARGUMENT), "{:?}", answer.body);
    assert_eq!(bucket.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn no_log_line_contains_content() {
    let bucket = Bucket::new().await;
    let endpoint = Endpoint::on(bucket.address);
    let mut bad = numbered(1);
    bad["spanId"] = "".into();
    endpoint.json("/v1/traces", &request(&[numbered(0), bad])).await;
    let line = endpoint.log().remove(0).to_string();
    assert!(!line.contains("secret"), "{line}");
}

/// Each trace repeats its resource. Without a limit, this 2 MB body would become 2 GB of traces.
#[tokio::test]
async fn a_large_resource_with_many_spans_is_refused() {
    let bucket = Bucket::new().await;
    let endpoint = Endpoint::on(bucket.address);
    let mut request = request(&(0..2_000).map(numbered).collect::<Vec<_>>());
    request["resourceSpans"][0]["resource"]["attributes"][0]["value"] = any(&json!("r".repeat(1_000_000)));
    let answer = endpoint.json("/v1/traces", &request).await;
    assert_eq!((answer.status, &answer.json()["code"]), (413, &json!(8)));
    assert_eq!(bucket.keys().await, Vec::<String>::new());
}

/// Quadratic time in the number of attributes, events or spans would take minutes.
#[tokio::test]
async fn huge_lists_take_linear_time() {
    let bucket = Bucket::new().await;
    let endpoint = Endpoint::on(bucket.address);
    let mut many_attributes = numbered(0);
    let attributes: Vec<Value> = (0..40_000)
        .map(|number| json!({"key": format!("gen_ai.prompt.{number}.content"), "value": any(&json!("x"))}))
        .collect();
    many_attributes["attributes"].as_array_mut().expect("a list").extend(attributes);
    let calls: Vec<Value> = (0..40_000)
        .map(|number| json!({"key": format!("gen_ai.prompt.0.tool_calls.{number}.name"), "value": any(&json!("x"))}))
        .collect();
    let mut many_calls = numbered(1);
    many_calls["attributes"].as_array_mut().expect("a list").extend(calls);
    let same: Vec<Value> = (0..5_000)
        .map(|_| {
            json!({"attributes": [{"key": "gen_ai.operation.name", "value": any(&json!("chat"))},
                                       {"key": "gen_ai.response.id", "value": any(&json!("r"))}]})
        })
        .collect();
    let start = std::time::Instant::now();
    for spans in [vec![many_attributes], vec![many_calls], same] {
        assert_eq!(endpoint.json("/v1/traces", &request(&spans)).await.status, 200);
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
