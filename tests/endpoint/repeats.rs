//! Tests repeats, conflicts and races: an id is stored once, and a retry is safe.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{BUCKET, Bucket, event_file, event_with, handler_on, invoke, post};

#[tokio::test]
async fn a_repeated_request_is_200_with_the_first_response() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let event = event_file("events/all_fields.json");
    let first = invoke(&handler, &event).await;
    let modified = |object: aws_sdk_s3::operation::head_object::HeadObjectOutput| object.last_modified().copied();
    let key = first.body["key"].as_str().expect("a key");
    let before = modified(bucket.client.head_object().bucket(BUCKET).key(key).send().await.expect("the object"));
    let second = invoke(&handler, &event).await;
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.body, second.body);
    let after = modified(bucket.client.head_object().bucket(BUCKET).key(key).send().await.expect("the object"));
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_different_trace_under_a_taken_id_is_409_with_the_id() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let event = event_file("events/all_fields.json");
    assert_eq!(invoke(&handler, &event).await.status, 201);
    let answer = invoke(&handler, &event_file("events/repeated_id.json")).await;
    assert_eq!(answer.status, 409);
    let detail = answer.body["detail"].as_str().expect("a detail");
    assert!(detail.contains("allenai/OLMoE-1B-7B") && detail.contains("chatcmpl-7d4f2a90"), "{detail}");
    let stored = bucket.object("allenai/OLMoE-1B-7B/chatcmpl-7d4f2a90").await;
    assert_eq!(stored, event["body"].as_str().expect("a body").as_bytes());
    // Another fingerprint may use this id.
    let other = r#"{"model":"m","created":1,"messages":[],"id":"chatcmpl-7d4f2a90"}"#;
    assert_eq!(post(&handler, other).await.status, 201);
}

#[tokio::test]
async fn an_idempotency_key_makes_the_assigned_id_repeatable() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let event = event_file("events/idempotency_key.json");
    let first = invoke(&handler, &event).await;
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, b"8e03978e-40d5-43dd-bc93-6894a57f9324");
    assert_eq!((first.status, &first.body["id"]), (201, &json!(id.to_string())));
    let second = invoke(&handler, &event).await;
    assert_eq!((second.status, &second.body), (200, &first.body));

    let mut other = event_with(r#"{"model":"gpt-4o-2024-08-06","created":2,"messages":[]}"#);
    other["headers"]["idempotency-key"] = event["headers"]["Idempotency-Key"].clone();
    assert_eq!(invoke(&handler, &other).await.status, 409);
    // The id of the trace takes precedence.
    other["body"] = r#"{"model":"m","created":2,"messages":[],"id":"mine"}"#.into();
    assert_eq!(invoke(&handler, &other).await.body["id"], "mine");
}

#[tokio::test]
async fn the_values_of_a_repeated_trace_are_compared_as_written() {
    let handler = handler_on(Bucket::new().await.address);
    let trace = r#"{"model":"m","created":1,"messages":[{"role":"user","content":"a"}],"id":"i"}"#;
    for (repeat, status) in [
        (trace.to_owned(), 201),
        (trace.replace(r#","id""#, "\n, \"id\""), 200),
        (r#"{"id":"i","messages":[{"role":"user","content":"a"}],"created":1,"model":"m"}"#.to_owned(), 200),
        (trace.replace(r#","content""#, r#", "content""#), 409),
        (trace.replace(r#""created":1"#, r#""created":1e0"#), 400),
        (trace.replace(r#""content":"a""#, r#""content":"\u0061""#), 409),
    ] {
        assert_eq!(post(&handler, &repeat).await.status, status, "{repeat}");
    }
}

/// Another program may have stored the object without a checksum. In that case, the contents are compared.
#[tokio::test]
async fn without_a_checksum_the_stored_bytes_are_compared() {
    let bucket = crate::faults::FaultyBucket::new().await;
    let trace = r#"{"model":"m","created":1,"messages":[],"id":"i","system_fingerprint":"m","object":"o"}"#;
    assert_eq!(post(&bucket.handler(), trace).await.status, 201);
    bucket.forget_checksums();
    assert_eq!(post(&bucket.handler(), trace).await.status, 200);
    assert_eq!(post(&bucket.handler(), &trace.replace(":1", ":2")).await.status, 409);
    assert_eq!(post(&bucket.handler(), &trace.replace(":1", ":10")).await.status, 409);
}

async fn race(traces: Vec<String>) -> (BTreeMap<u16, usize>, Vec<u8>) {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let answers = join_all(traces.iter().map(|trace| post(&handler, trace))).await;
    let stored = bucket.object("m/i").await;
    let mut statuses = BTreeMap::new();
    for (answer, trace) in answers.iter().zip(&traces) {
        *statuses.entry(answer.status).or_default() += 1;
        if answer.status == 201 {
            assert_eq!(stored, trace.as_bytes(), "the object is the winner's");
        }
    }
    assert_eq!(bucket.keys().await, ["m/i"]);
    (statuses, stored)
}

fn racing(n: usize) -> String {
    format!(r#"{{"model":"m","created":{n},"messages":[],"id":"i","system_fingerprint":"m","object":"o"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_different_traces_with_one_id_exactly_one_is_stored() {
    let (statuses, _) = race((0..200).map(racing).collect()).await;
    assert_eq!(statuses, BTreeMap::from([(201, 1), (409, 199)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_equal_traces_one_is_stored_and_all_succeed() {
    let (statuses, stored) = race(vec![racing(7); 200]).await;
    assert_eq!(statuses, BTreeMap::from([(200, 199), (201, 1)]));
    assert_eq!(stored, racing(7).as_bytes());
}
