//! Tests that the writer of a trace becomes metadata of the object and members of the log line.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::{BUCKET, Bucket, Log, event_with, handler_on, invoke};

/// Returns the event of a request with this API key id and principal.
fn event(trace: &Value, api_key_id: &Value, user_arn: &Value) -> Value {
    let mut event = event_with(&trace.to_string());
    event["requestContext"]["identity"]["apiKeyId"] = api_key_id.clone();
    event["requestContext"]["identity"]["userArn"] = user_arn.clone();
    event
}

fn trace() -> Value {
    json!({"id": "i", "model": "m", "created": 1, "messages": []})
}

async fn metadata(bucket: &Bucket) -> HashMap<String, String> {
    let head = bucket.client.head_object().bucket(BUCKET).key("m/i").send().await.expect("the object");
    head.metadata().cloned().unwrap_or_default()
}

#[tokio::test]
async fn the_object_and_the_log_line_name_the_writer_and_the_trace_does_not() {
    let table = [
        (json!("a1b2c3d4e5"), Value::Null, Some("a1b2c3d4e5"), None),
        (json!("k"), json!("arn:aws:iam::1:user/jane"), Some("k"), Some("arn:aws:iam::1:user/jane")),
        (Value::Null, json!("Jäne\r\nx-amz-acl: public-read"), None, Some("J%C3%A4ne%0D%0Ax-amz-acl:%20public-read")),
        (json!("k".repeat(5_000)), json!(""), None, None),
        (Value::Null, Value::Null, None, None),
    ];
    for (api_key_id, user_arn, id, principal) in table {
        let bucket = Bucket::new().await;
        let log = Log::start();
        let answer = invoke(&handler_on(bucket.address), &event(&trace(), &api_key_id, &user_arn)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let found = metadata(&bucket).await;
        assert_eq!(found.get("api-key-id").map(String::as_str), id);
        assert_eq!(found.get("principal").map(String::as_str), principal);
        let line = log.lines().into_iter().find(|line| line["status"] == 201).expect("a line");
        assert_eq!((line["api_key_id"].as_str(), line["principal"].as_str()), (id, principal), "{line}");
        let stored = String::from_utf8(bucket.object("m/i").await).expect("UTF-8");
        assert!(!stored.contains("api-key") && !stored.contains("principal") && !stored.contains("arn:"), "{stored}");
    }
}

#[tokio::test]
async fn a_repeat_through_another_key_is_a_repeat_and_keeps_the_first_writer() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let mut other = trace();
    other["created"] = 2.into();
    let [a, b] = [json!("a"), json!("b")];
    for (trace, key, status) in [(trace(), &a, 201), (trace(), &b, 200), (other, &a, 409)] {
        let answer = invoke(&handler, &event(&trace, key, &Value::Null)).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(metadata(&bucket).await["api-key-id"], "a");
    }
}
