//! Tests those responses of the contract that the function itself returns.

use serde_json::{Value, json};

use crate::support::{BUCKET, Bucket, Log, event_file, event_with, handler_on, handler_with, invoke, post};

#[tokio::test]
async fn missing_members_are_added() {
    let bucket = Bucket::new().await;
    let event = event_file("events/minimal.json");
    let answer = invoke(&handler_on(bucket.address), &event).await;
    assert_eq!(answer.status, 201);
    let id = answer.body["id"].as_str().expect("an id");
    assert_eq!(uuid::Uuid::parse_str(id).expect("a UUID").get_version_num(), 4);
    let key = format!("gpt-4o-2024-08-06/{id}");
    let receipt = json!({"id": id, "object": "chat.trace", "system_fingerprint": "gpt-4o-2024-08-06", "key": key});
    assert_eq!(answer.body, receipt);

    let sent = event["body"].as_str().expect("a body");
    let absent = format!(r#","id":"{id}","system_fingerprint":"gpt-4o-2024-08-06","object":"chat.trace"}}"#);
    assert_eq!(bucket.object(&key).await, (sent[..sent.len() - 1].to_owned() + &absent).into_bytes());
    let head = bucket.client.head_object().bucket(BUCKET).key(&key).send().await.expect("the object");
    assert_eq!(head.content_type(), Some("application/json"));
}

#[tokio::test]
async fn a_complete_trace_is_stored_byte_for_byte() {
    let bucket = Bucket::new().await;
    let event = event_file("events/all_fields.json");
    let answer = invoke(&handler_on(bucket.address), &event).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.body["key"], "allenai/OLMoE-1B-7B/chatcmpl-7d4f2a90");
    assert_eq!(answer.body["object"], "chat.completion");
    let stored = bucket.object("allenai/OLMoE-1B-7B/chatcmpl-7d4f2a90").await;
    assert_eq!(stored, event["body"].as_str().expect("a body").as_bytes());
}

#[tokio::test]
async fn the_event_of_the_readme_is_stored() {
    let bucket = Bucket::new().await;
    let answer = invoke(&handler_on(bucket.address), &event_file("tests/prod_attest.json")).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.body["system_fingerprint"], "allenai/OLMoE-1B-7B-0125-Instruct");
}

#[tokio::test]
async fn a_base64_body_is_decoded() {
    let bucket = Bucket::new().await;
    let event = event_file("events/base64.json");
    let answer = invoke(&handler_on(bucket.address), &event).await;
    assert_eq!(answer.status, 201);
    let stored = bucket.object(answer.body["key"].as_str().expect("a key")).await;
    let sent = aws_smithy_types::base64::decode(event["body"].as_str().expect("a body")).expect("base64");
    assert!(stored.starts_with(&sent[..sent.len() - 1]), "byte for byte");
    assert!(!sent.is_ascii(), "the event has more than ASCII");
}

#[tokio::test]
async fn a_base64_body_that_is_not_utf8_is_rejected_with_the_offset() {
    let bucket = Bucket::new().await;
    let answer = invoke(&handler_on(bucket.address), &event_file("events/not_utf8.json")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body["type"], "urn:attest:problem:not-utf8");
    assert_eq!(answer.body["detail"], "The body is not UTF-8 at byte 98.");
    assert_eq!(bucket.keys().await, [""; 0]);
}

#[tokio::test]
async fn every_violation_is_listed_with_its_pointer() {
    let bucket = Bucket::new().await;
    let answer = invoke(&handler_on(bucket.address), &event_file("events/schema_violations.json")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body["type"], "urn:attest:problem:invalid");
    let mut errors: Vec<(&str, &str)> = answer.body["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| (error["pointer"].as_str().expect("a pointer"), error["detail"].as_str().expect("a detail")))
        .collect();
    errors.sort_unstable();
    assert_eq!(
        errors,
        [
            ("/created", r#"value is not of type "integer""#),
            ("/messages/0/role", r#"value is not one of "system", "user" or "assistant""#),
            ("/messages/1", r#""content" is a required property"#),
            ("/model", r#"value is not of type "string""#),
        ]
    );
    assert_eq!(bucket.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_syntax_error_reports_line_and_column() {
    let bucket = Bucket::new().await;
    let answer = invoke(&handler_on(bucket.address), &event_file("events/not_json.json")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body["type"], "urn:attest:problem:not-json");
    assert_eq!((&answer.body["line"], &answer.body["column"]), (&json!(2), &json!(13)), "{}", answer.body);
}

#[tokio::test]
async fn a_repeated_name_is_rejected_at_any_depth() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    for (trace, pointers) in [
        (r#"{"model":"m","created":1,"messages":[],"model":"m"}"#, vec!["/model"]),
        (r#"{"model":"m","created":1,"messages":[],"mod\u0065l":"m"}"#, vec!["/model"]),
        (
            r#"{"model":"m","created":1,"messages":[{"role":"user","content":"","role":"user"}]}"#,
            vec!["/messages/0/role"],
        ),
        (
            r#"{"model":"m","created":1,"messages":[],"x":[0,{"a/b~":[{"k":1,"k":2,"k":3}]}]}"#,
            vec!["/x/1/a~1b~0/0/k"; 2],
        ),
    ] {
        let answer = post(&handler, trace).await;
        assert_eq!(answer.status, 400, "{trace}");
        let errors = answer.body["errors"].as_array().expect("errors");
        assert_eq!(errors.iter().map(|error| &error["pointer"]).collect::<Vec<_>>(), pointers, "{trace}");
    }
}

#[tokio::test]
async fn a_trace_over_the_limit_is_rejected_with_the_limit_and_its_size() {
    let bucket = Bucket::new().await;
    let trace = |bytes: usize| {
        let text = r#"{"model":"m","created":1,"messages":[],"x":""}"#;
        text.replace(r#""""#, &format!("\"{}\"", "x".repeat(bytes - text.len())))
    };
    let limit = attest::settings::MAX_TRACE_BYTES;
    let answer = post(&handler_on(bucket.address), &trace(limit + 1)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.body["detail"], format!("The trace has {} bytes; the limit is {limit}.", limit + 1));
    assert_eq!(post(&handler_on(bucket.address), &trace(limit)).await.status, 201);
}

#[tokio::test]
async fn a_missing_bucket_is_a_500_with_the_cause_only_in_the_log() {
    let bucket = Bucket::new().await;
    let log = Log::start();
    let store = attest::store::Store::new(
        &local_aws::s3::FolderS3::sdk_config(
            bucket.address,
            local_aws::s3::ACCESS_KEY,
            attest::settings::http_client(),
        ),
        "no-such".into(),
    );
    let handler = handler_with(store, 1024);
    let answer = post(&handler, r#"{"model":"m","created":1,"messages":[]}"#).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.body["detail"], "The trace was not stored. The reason is in the service's log.");
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{}", log.text());
    assert!(lines[0]["cause"].as_str().is_some_and(|cause| cause.contains("NoSuchBucket")), "{}", log.text());
}

#[tokio::test]
async fn an_unreachable_s3_is_a_503_with_retry_after() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let answer = post(&handler_on(address), r#"{"model":"m","created":1,"messages":[]}"#).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_request_is_logged_in_one_line_without_content() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let log = Log::start();
    let secret = "the-secret-content";
    let stored = post(
        &handler,
        &format!(r#"{{"model":"m","created":1,"messages":[{{"role":"user","content":"{secret}"}}],"id":"i"}}"#),
    )
    .await;
    let mut answers = vec![stored.body.to_string()];
    for trace in [
        format!(r#"{{"model":"m","created":1,"messages":[{{"role":"{secret}","content":"x"}}]}}"#),
        format!(r#"{{"model":"m","created":"{secret}","messages":"{secret}"}}"#),
        format!(r#"{{"model":"m","created":1,"messages":[],"id":"i","x":"{secret}"}}"#),
        format!(r#"{{"model": "{secret}" "{secret}"}}"#),
        format!(r#"{{"messages":[{{"content":"{secret}\q"}}]}}"#),
    ] {
        answers.push(post(&handler, &trace).await.body.to_string());
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 6, "{}", log.text());
    assert_eq!(
        (&lines[0]["request_id"], &lines[0]["status"], &lines[0]["key"]),
        (&json!("test"), &json!(201), &json!("m/i"))
    );
    assert!(lines[0]["ms"].is_number() && lines[0]["bytes"].is_number());
    assert_eq!(lines.iter().map(|line| line["status"].clone()).collect::<Vec<_>>(), [201, 400, 400, 409, 400, 400]);
    assert!(!log.text().contains(secret), "{}", log.text());
    assert!(!answers.concat().contains(secret), "{answers:?}");
}

#[tokio::test]
async fn invalid_keys_are_rejected() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    for (trace, detail) in [
        (json!({"model": "", "created": 1, "messages": []}), "The fingerprint is empty"),
        (json!({"model": "m", "created": 1, "messages": [], "id": ""}), "The id is empty"),
        (json!({"model": "m", "created": 1, "messages": [], "id": "i".repeat(1023)}), "has 1025 bytes"),
    ] {
        let answer = post(&handler, &trace.to_string()).await;
        assert_eq!((answer.status, &answer.body["type"]), (400, &Value::from("urn:attest:problem:no-key")));
        assert!(answer.body["detail"].as_str().is_some_and(|text| text.contains(detail)), "{}", answer.body);
    }
    let longest = json!({"model": "m", "created": 1, "messages": [], "id": "i".repeat(1022)});
    assert_eq!(invoke(&handler, &event_with(&longest.to_string())).await.status, 201);
}

/// CloudWatch extracts metrics from a line in Embedded Metric Format. Each named metric must be a number in that line.
#[tokio::test]
async fn the_log_line_of_a_request_contains_its_metrics() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let log = Log::start();
    for trace in [r#"{"model":"m","created":1,"messages":[],"id":"i"}"#, "{}"] {
        post(&handler, trace).await;
    }
    let lines = log.lines();
    for (line, outcome, cold) in [(&lines[0], "Stored", true), (&lines[1], "Refused", false)] {
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().expect("directives");
        let mut names = Vec::new();
        for directive in directives {
            for dimension in directive["Dimensions"][0].as_array().expect("dimensions") {
                assert!(line[dimension.as_str().expect("a name")].is_string(), "{line}");
            }
            for metric in directive["Metrics"].as_array().expect("metrics") {
                let name = metric["Name"].as_str().expect("a name");
                assert!(line[name].is_number(), "{line}");
                names.push(name);
            }
        }
        assert!(names.contains(&outcome) && names.contains(&"ColdStarts") == cold, "{line}");
        assert_eq!(line["FunctionName"], "f");
    }
    assert_eq!(lines[1]["_aws"]["CloudWatchMetrics"][1]["Dimensions"], json!([["FunctionName", "problem"]]));
}
