//! Tests both OTLP encodings, and the variants that the protobuf JSON mapping allows.

use attest_otlp::wire::{Encoding, Signal, decode, encode_response};
use serde_json::{Value, json};

use crate::support::{SPAN_ID, TRACE_ID};

fn decoded(span: &Value) -> Value {
    let request = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    let decoded = decode(Signal::Traces, Encoding::Json, request.as_bytes()).expect("a request");
    decoded["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone()
}

fn value(json: &str) -> Value {
    let span: Value =
        serde_json::from_str(&format!(r#"{{"attributes":[{{"key":"a","value":{json}}}]}}"#)).expect("JSON");
    decoded(&span)["attributes"][0]["value"].clone()
}

#[test]
fn every_form_of_the_json_mapping_is_read() {
    for (given, expected) in [
        (r#"{"intValue": 9007199254740993}"#, r#"{"intValue": "9007199254740993"}"#),
        (r#"{"intValue": "-9223372036854775808"}"#, r#"{"intValue": "-9223372036854775808"}"#),
        (r#"{"int_value": 1}"#, r#"{"intValue": "1"}"#),
        (r#"{"doubleValue": "NaN"}"#, r#"{"doubleValue": "NaN"}"#),
        (r#"{"doubleValue": "-Infinity"}"#, r#"{"doubleValue": "-Infinity"}"#),
        (r#"{"doubleValue": 0.05512076699960744}"#, r#"{"doubleValue": 0.05512076699960744}"#),
        (r#"{"doubleValue": 1e-7}"#, r#"{"doubleValue": 1e-7}"#),
        (r#"{"doubleValue": 5}"#, r#"{"doubleValue": 5.0}"#),
        (r#"{"doubleValue": -0.0}"#, r#"{"doubleValue": -0.0}"#),
        (r#"{"intValue": 1.5e3}"#, r#"{"intValue": "1500"}"#),
        (r#"{"intValue": -2.0}"#, r#"{"intValue": "-2"}"#),
        (r#"{"bytesValue": "AAEC"}"#, r#"{"bytesValue": "AAEC"}"#),
        (r#"{"stringValue": ""}"#, r#"{"stringValue": ""}"#),
        (r#"{"boolValue": false}"#, r#"{"boolValue": false}"#),
        (r#"{"arrayValue": {}}"#, r#"{"arrayValue": {}}"#),
        (r#"{"futureValue": [1]}"#, "{}"),
        ("{}", "{}"),
    ] {
        assert_eq!(value(given), serde_json::from_str::<Value>(expected).expect("JSON"), "{given}");
    }
}

#[test]
fn unknown_members_null_and_both_spellings_of_an_enum_are_read() {
    let span = decoded(&json!({
        "trace_id": TRACE_ID, "spanId": SPAN_ID.to_uppercase(), "name": null, "kind": "SPAN_KIND_CLIENT",
        "startTimeUnixNano": 1_795_305_600_999_999_999_u64, "endTimeUnixNano": "5", "flags": 257, "future": {"a": [1]},
        "status": {"code": "STATUS_CODE_ERROR"},
    }));
    let expected = json!({
        "traceId": TRACE_ID, "spanId": SPAN_ID, "kind": 3, "startTimeUnixNano": "1795305600999999999",
        "endTimeUnixNano": "5", "flags": 257, "status": {"code": 2},
    });
    assert_eq!(span, expected);
}

/// Parsers keep only one of two equal names, but the response would confirm the spans under both.
#[test]
fn a_repeated_name_in_any_spelling_is_refused() {
    let span = json!({"traceId": TRACE_ID, "spanId": SPAN_ID});
    for body in [
        format!(r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{span}], "spans": [{span}]}}]}}]}}"#),
        r#"{"resourceSpans": [], "resource_spans": []}"#.to_owned(),
        r#"{"resourceSpans": [], "resource\u0053pans": []}"#.to_owned(),
    ] {
        let error = decode(Signal::Traces, Encoding::Json, body.as_bytes()).expect_err(&body);
        assert!(error.to_string().contains("repeats a name"), "{error}");
    }
}

#[test]
fn a_request_of_another_signal_is_refused() {
    let [spans, records, metrics] =
        ["resourceSpans", "resource_logs", "resourceMetrics"].map(|name| json!({name: []}).to_string());
    for (signal, own) in [(Signal::Traces, &spans), (Signal::Logs, &records)] {
        for body in [&spans, &records, &metrics] {
            assert_eq!(decode(signal, Encoding::Json, body.as_bytes()).is_ok(), body == own, "{signal:?} {body}");
        }
    }
}

/// JavaScript writes half a character if an instrumentation has cut a string within it. Refusing that would lose the
/// whole batch.
#[test]
fn an_unpaired_surrogate_becomes_a_replacement_character() {
    for (escaped, expected) in [
        (r"\ud83d\ude00", "😀"),
        (r"\ud83d", "\u{fffd}"),
        (r"a\uD83D\ud83d\ude00\uDE00b", "a\u{fffd}😀\u{fffd}b"),
        (r"\\ud83d \\\ud83d", "\\ud83d \\\u{fffd}"),
        (r"\n\u00e4\ud83", ""),
    ] {
        let body = format!(r#"{{"resourceSpans": [{{"schemaUrl": "{escaped}"}}]}}"#);
        match decode(Signal::Traces, Encoding::Json, body.as_bytes()) {
            Ok(request) => assert_eq!(request["resourceSpans"][0]["schemaUrl"], expected, "{escaped}"),
            Err(error) => assert_eq!(expected, "", "{escaped}: {error}"),
        }
    }
}

/// Some exporters follow the protobuf mapping, in which ids are base64.
#[test]
fn ids_in_base64_are_read() {
    let span = decoded(&json!({"traceId": "cnqHdXM1kqp5pUF26g1yEA==", "spanId": "7HCeC+QoGLQ="}));
    assert_eq!(span, json!({"traceId": TRACE_ID, "spanId": SPAN_ID}));
}

/// An attribute may be called `traceId` or `spanId`.
#[test]
fn attributes_are_never_taken_for_ids() {
    let attributes = json!([{"key": "traceId", "value": {"kvlistValue": {"values": [
        {"key": "spanId", "value": {"stringValue": "abcd"}}
    ]}}}]);
    assert_eq!(decoded(&json!({"attributes": attributes}))["attributes"], attributes);
}

#[test]
fn a_body_that_is_no_request_is_refused_without_quoting_it() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let nested = format!(r#"{{"resourceSpans":{}}}"#, deep("[", "]"));
    for body in [
        "",
        "secret",
        r#"{"resourceSpans": "secret"}"#,
        r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "secret"}]}]}]}"#,
        r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "secret!"}]}]}]}"#,
        "[]",
        &nested,
    ] {
        let error = decode(Signal::Traces, Encoding::Json, body.as_bytes()).expect_err("it is no request");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    // Field 1 with wrong and invalid wire types, a truncated length, an overlong tag, and unterminated groups.
    let groups = vec![0x0b; 100_000];
    for body in [&[0x08, 0x01][..], &[0x0a, 0x05, 0x0a], &[0x0d, 0, 0], &[0x0f], &[0xff; 12], &groups] {
        decode(Signal::Traces, Encoding::Protobuf, body).expect_err("it is no request");
    }
}

#[test]
fn deeply_nested_protobuf_is_refused() {
    // Each level is `AnyValue { array_value: ArrayValue { values: [AnyValue] } }`.
    let mut value = Vec::new();
    let levels = [0x0a, 0x2a].repeat(2_000);
    // The tags that enclose the value, from the inside out: value, attribute, span, scope, resource.
    for tag in levels.into_iter().chain([0x12, 0x4a, 0x12, 0x12, 0x0a]) {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(value.len() as u64, &mut outer);
        outer.append(&mut value);
        value = outer;
    }
    decode(Signal::Traces, Encoding::Protobuf, &value).expect_err("it is nested too deep");
}

#[test]
fn a_response_counts_what_can_never_be_stored() {
    for (signal, count) in [(Signal::Traces, "rejectedSpans"), (Signal::Logs, "rejectedLogRecords")] {
        assert_eq!(encode_response(signal, Encoding::Json, 0, ""), b"{}");
        assert_eq!(encode_response(signal, Encoding::Protobuf, 0, ""), b"");
        let json: Value = serde_json::from_slice(&encode_response(signal, Encoding::Json, 2, "why")).expect("JSON");
        assert_eq!(json, json!({"partialSuccess": {count: "2", "errorMessage": "why"}}));
        // partial_success { rejected: 2, error_message: "why" }
        let expected = [0x0a, 0x07, 0x08, 0x02, 0x12, 0x03, b'w', b'h', b'y'];
        assert_eq!(encode_response(signal, Encoding::Protobuf, 2, "why"), expected);
    }
}
