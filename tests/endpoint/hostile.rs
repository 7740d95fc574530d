//! Tests the exact responses to hostile requests: sizes, nesting, encodings, keys that look like paths.

use serde_json::{Value, json};

use crate::support::{Bucket, Log, event_with, handler_on, invoke, post};

const VALID: &str = r#"{"model":"m","created":1,"messages":[]}"#;

/// Returns bodies with the expected status, problem name and detail. If the problem lists errors, the detail is that of
/// the first one.
fn bodies() -> Vec<(String, u16, &'static str, &'static str)> {
    let text = |text: &str| text.to_owned();
    let nested = |depth: usize| {
        format!(r#"{{"model":"m","created":1,"messages":[],"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    let member = |member: &str| format!(r#"{{"model":"m","created":1,"messages":[],{member}}}"#);
    vec![
        (text(""), 400, "not-json", "EOF while parsing a value at line 1 column 0"),
        (text(" \n"), 400, "not-json", "EOF while parsing a value at line 2 column 0"),
        (text("null"), 400, "invalid", r#"value is not of type "object""#),
        (text("[]"), 400, "invalid", r#"value is not of type "object""#),
        (text("[[[[]]]]"), 400, "invalid", r#"value is not of type "object""#),
        (text("\"text\""), 400, "invalid", r#"value is not of type "object""#),
        (text("1e400"), 400, "invalid", r#"value is not of type "object""#),
        (text("{}"), 400, "invalid", r#""model" is a required property"#),
        (text("{"), 400, "not-json", "EOF while parsing an object at line 1 column 1"),
        (text("{\"a\""), 400, "not-json", "EOF while parsing an object at line 1 column 4"),
        (text("{\"a\":1,}"), 400, "not-json", "trailing comma at line 1 column 8"),
        (text("{'a':1}"), 400, "not-json", "key must be a string at line 1 column 2"),
        (VALID.to_owned() + "x", 400, "not-json", "trailing characters at line 1 column 40"),
        (format!("{VALID}{VALID}"), 400, "not-json", "trailing characters at line 1 column 40"),
        (format!("\u{feff}{VALID}"), 400, "not-json", "expected value at line 1 column 1"),
        (member(r#""x":NaN"#), 400, "not-json", "expected value at line 1 column 44"),
        (member(r#""x":-Infinity"#), 400, "not-json", "invalid number at line 1 column 45"),
        (member(r#""x":01"#), 400, "not-json", "invalid number at line 1 column 45"),
        (member(r#""x":+1"#), 400, "not-json", "expected value at line 1 column 44"),
        (
            member("\"x\":\"\n\""),
            400,
            "not-json",
            "control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0",
        ),
        (
            member(r#""x":"\ud800""#),
            400,
            "not-json",
            "unpaired surrogate escape, which is not Unicode text (RFC 7493, section 2.1), at line 1 column 51",
        ),
        (
            member(r#""x":"\ud83d\n\ude00""#),
            400,
            "not-json",
            "unpaired surrogate escape, which is not Unicode text (RFC 7493, section 2.1), at line 1 column 52",
        ),
        (
            member(r#""x":"\ud83d\ud83d""#),
            400,
            "not-json",
            "unpaired surrogate escape, which is not Unicode text (RFC 7493, section 2.1), at line 1 column 56",
        ),
        (
            member(r#""\udc00":0"#),
            400,
            "not-json",
            "unpaired surrogate escape, which is not Unicode text (RFC 7493, section 2.1), at line 1 column 46",
        ),
        (member(r#""x":"\x41""#), 400, "not-json", "invalid escape at line 1 column 46"),
        (nested(127), 201, "", ""),
        (nested(128), 400, "not-json", "nested deeper than 128 levels at line 1 column 171"),
        ("[".repeat(4_000_000), 400, "not-json", "nested deeper than 128 levels at line 1 column 129"),
        ("{\"a\":".repeat(800_000), 400, "not-json", "nested deeper than 128 levels at line 1 column 641"),
        (member(&format!(r#""x":{}"#, "9".repeat(4300))), 201, "", ""),
        (member(&format!(r#""x":{}"#, "9".repeat(4301))), 400, "not-json", "number out of range at line 1 column 4345"),
        (VALID.replace(":1,", ":1.0,"), 400, "invalid", r#"value is not of type "integer""#),
        (VALID.replace(":1,", ":1e3,"), 400, "invalid", r#"value is not of type "integer""#),
        (VALID.replace(":1,", ":1e99999999999999999999,"), 400, "invalid", r#"value is not of type "integer""#),
        (VALID.replace(":1,", ":-0,"), 201, "", ""),
        (VALID.replace(":1,", ":1234567890123456789012345678901234567890,"), 201, "", ""),
        (VALID.replace("[]", "{}"), 400, "invalid", r#"value is not of type "array""#),
        (VALID.replace("[]", "[[]]"), 400, "invalid", r#"value is not of type "object""#),
        (member(r#""id":null"#), 400, "invalid", r#"value is not of type "string""#),
        (member(r#""choices":[]"#), 400, "invalid", r#"value is not of type "object""#),
        (member(r#""usage":7"#), 400, "invalid", r#"value is not of type "object""#),
        (member(r#""choices":{"$serde_json::private::Number":"1"}"#), 201, "", ""),
        (member(r#""usage":{"$serde_json::private::RawValue":"x"}"#), 201, "", ""),
        (member(r#""":1,"":2"#), 400, "invalid", "This name occurs more than once in its object."),
        (member(r#""id":"\u0000""#), 201, "", ""),
        (
            member(&format!(r#""id":"{}""#, "x".repeat(2000))),
            400,
            "no-key",
            "The key, fingerprint/id, has 2002 bytes; S3 accepts at most 1024.",
        ),
        (member(&format!(r#""id":"{}""#, "é".repeat(170))), 201, "", ""),
        (
            member(&format!(r#""id":"{}""#, "é".repeat(171))),
            400,
            "no-key",
            "The key, fingerprint/id, has 1028 bytes; S3 accepts at most 1024.",
        ),
    ]
}

fn said(answer: &Value) -> &str {
    let first = answer["errors"].get(0).unwrap_or(answer);
    first["detail"].as_str().expect("a detail")
}

#[tokio::test]
async fn each_hostile_body_gets_its_exact_response() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let (mut stored, mut wrong) = (0, Vec::new());
    for (body, status, problem, detail) in bodies() {
        let answer = post(&handler, &body).await;
        let right = if status == 201 {
            stored += 1;
            answer.status == 201
        } else {
            let kind = format!("urn:attest:problem:{problem}");
            answer.status == status && answer.body["type"] == kind && said(&answer.body) == detail
        };
        if !right {
            wrong.push(format!("{}: {}", body.chars().take(120).collect::<String>(), answer.body));
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert_eq!(bucket.keys().await.len(), stored);
}

#[tokio::test]
async fn names_that_look_like_paths_stay_in_the_bucket_and_never_collide() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let mut keys = Vec::new();
    for (fingerprint, id, key) in [
        ("../../etc", "passwd", "%2E%2E/%2E%2E/etc/passwd"),
        ("..", "..", "%2E%2E/%2E%2E"),
        (".", "a/../b", "%2E/a%2F..%2Fb"),
        ("/", "/", "%2F/%2F"),
        ("a", "b/c", "a/b%2Fc"),
        ("a/b", "c", "a/b/c"),
        ("a", "b", "a/b"),
        ("a", "b.json", "a/b.json"),
        ("a/b.json", "c", "a/b.json/c"),
        ("a//b", "c", "a/%2Fb/c"),
        ("C:\\con", "nul\u{0}", "C:%5Ccon/nul%00"),
        ("a?b#c", "d e+f&g", "a%3Fb%23c/d%20e+f%26g"),
        ("%2F", "%", "%252F/%25"),
        ("💥", "\u{202e}", "%F0%9F%92%A5/%E2%80%AE"),
    ] {
        let trace = json!({"model": "m", "created": 1, "messages": [], "system_fingerprint": fingerprint, "id": id});
        let answer = post(&handler, &trace.to_string()).await;
        assert_eq!((answer.status, &answer.body["key"]), (201, &json!(key)), "{}", answer.body);
        assert!(String::from_utf8(bucket.object(key).await).expect("UTF-8").starts_with(&trace.to_string()[..40]));
        keys.push(key);
    }
    keys.sort_unstable();
    assert_eq!(bucket.keys().await, keys);
}

#[tokio::test]
async fn unusual_events_are_answered_like_unusual_bodies() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let with = |name: &str, value: Value| {
        let mut event = event_with(VALID);
        event[name] = value;
        event
    };
    let base64 = |body: &[u8]| {
        let mut event = event_with(&aws_smithy_types::base64::encode(body));
        event["isBase64Encoded"] = json!(true);
        event
    };
    for (event, status, problem) in [
        (with("body", Value::Null), 400, "not-json"),
        (with("headers", Value::Null), 201, ""),
        (with("headers", json!({})), 201, ""),
        (with("headers", json!({"IDEMPOTENCY-KEY": "x".repeat(10_000)})), 201, ""),
        (with("httpMethod", json!("DELETE")), 201, ""),
        (base64(b"\xff\xfe"), 400, "not-utf8"),
        (base64(b"{\"model\":\"\xed\xa0\x80\"}"), 400, "not-utf8"),
        (base64(b""), 400, "not-json"),
        (base64(b"\x1f\x8b\x08\x00"), 400, "not-utf8"),
        (base64(VALID.as_bytes()), 201, ""),
    ] {
        let answer = invoke(&handler, &event).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        if status != 201 {
            assert_eq!(answer.body["type"], format!("urn:attest:problem:{problem}"));
        }
    }
}

/// A Lambda response has at most 6 MB, so the violations in a body of 4 MB must not become a longer list.
#[tokio::test]
async fn many_violations_are_counted_and_the_response_is_bounded() {
    let bucket = Bucket::new().await;
    let handler = handler_on(bucket.address);
    let flood = |item: &str| {
        let items = vec![item; 4_000_000 / (item.len() + 1)];
        (items.len(), format!(r#"{{"model":"m","created":1,"messages":[{}]}}"#, items.join(",")))
    };
    for (item, each) in [("0", 1), ("{}", 2), (r#"{"\u0000":0,"\u0000":0}"#, 3)] {
        let (items, trace) = flood(item);
        let answer = post(&handler, &trace).await;
        assert_eq!(answer.status, 400);
        assert!(
            answer.body["detail"]
                .as_str()
                .is_some_and(|detail| detail.starts_with(&format!("{} violations;", items * each)))
        );
        assert!(json!(answer.body.to_string()).to_string().len() < 4_000_000);
    }
    let name = "x".repeat(2_000_000);
    let answer = post(&handler, &format!(r#"{{"model":"m","created":1,"messages":[],"{name}":0,"{name}":0}}"#)).await;
    assert_eq!(
        (answer.status, &answer.body["detail"]),
        (400, &json!("1 violation; the first 0, as many as fit a response, are listed."))
    );
}

/// The system limits a path to 4,096 bytes on Linux and 1,024 on macOS. Retrying does not help.
#[tokio::test]
async fn a_path_over_the_system_limit_is_a_fault_with_the_reason() {
    let bucket = Bucket::in_a_deep_folder().await;
    let id = "x".repeat(900);
    let log = Log::start();
    let answer = post(&handler_on(bucket.address), &VALID.replacen('{', &format!(r#"{{"id":"{id}","#), 1)).await;
    assert_eq!((answer.status, &answer.retry_after), (500, &None), "{}", log.text());
    assert!(log.text().contains("choose a --folder with a shorter path"), "{}", log.text());
}
