//! Tests which spans and records become traces, and the members of a trace besides its messages.

use attest::trace::MAX_BYTES;
use attest_otlp::{
    batch::Spans,
    wire::{Encoding, Signal, decode},
};
use serde_json::{Value, json};

use crate::support::{SPAN_ID, TRACE_ID, any, logs, pairs, read, request, span, trace, traces};

fn call() -> Value {
    json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.input.messages": "Hello"})
}

#[test]
fn the_whole_span_is_kept() {
    let mut span = span(&call());
    span["parentSpanId"] = "00000000000000a1".into();
    span["traceState"] = "a=b".into();
    span["droppedAttributesCount"] = 3.into();
    span["droppedEventsCount"] = 2.into();
    span["flags"] = 257.into();
    span["status"] = json!({"message": "no", "code": 2});
    let nested =
        json!({"key": "n", "value": {"kvlistValue": {"values": [{"key": "d", "value": {"doubleValue": 1e-7}}]}}});
    span["attributes"].as_array_mut().expect("a list").push(nested);
    span["events"] = json!([{"timeUnixNano": "5", "name": "e", "attributes": pairs(&json!({"exception.type": "E"}))}]);
    span["links"] = json!([{"traceId": TRACE_ID, "spanId": SPAN_ID, "attributes": pairs(&json!({"a": true}))}]);
    let mut sent = request(std::slice::from_ref(&span));
    sent["resourceSpans"][0]["schemaUrl"] = "urn:resource".into();
    let trace = traces(&read(Signal::Traces, &sent, Spans::Calls)).remove(0);
    let otel = json!({
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "resourceSchemaUrl": "urn:resource",
        "scope": {"name": "scope", "version": "1"}, "scopeSchemaUrl": "urn:schema", "span": span,
    });
    assert_eq!(trace["otel"], otel);
    assert_eq!(trace["id"], format!("{TRACE_ID}-{SPAN_ID}"));
    assert_eq!(trace["created"], 1_795_305_600);
    assert_eq!(trace["error"], json!({"message": "no"}));
    assert_eq!(trace["api"], "otel");
}

#[test]
fn a_call_that_has_lost_content_is_incomplete() {
    assert_eq!(trace(&call()).get("incomplete"), None);
    let mut cut = call();
    cut["anthropic.content.truncated"] = true.into();
    assert_eq!(trace(&cut)["incomplete"], "truncated");
    let mut lossy = span(&call());
    lossy["droppedAttributesCount"] = 1.into();
    let record = |name: &str| json!({"eventName": name, "droppedAttributesCount": 1});
    for (signal, sent) in [
        (Signal::Traces, request(&[lossy])),
        (Signal::Logs, logs(&[record("gen_ai.client.inference.operation.details")])),
        (Signal::Logs, logs(&[record("gen_ai.choice")])),
    ] {
        assert_eq!(traces(&read(signal, &sent, Spans::Calls))[0]["incomplete"], "truncated", "{sent}");
    }
}

/// Tools that read a bucket do not read a larger object.
#[test]
fn a_trace_that_would_be_too_large_leaves_its_messages_to_the_span() {
    let of_size = |bytes: usize| {
        let mut call = call();
        call["gen_ai.input.messages"] = "x".repeat(bytes).into();
        read(Signal::Traces, &request(&[span(&call)]), Spans::Calls)
    };
    let whole = traces(&of_size(MAX_BYTES / 2 - 20_000)).remove(0);
    assert_eq!((&whole["object"], whole["messages"].as_array().map(Vec::len)), (&json!("chat.trace"), Some(1)));
    let reduced = traces(&of_size(MAX_BYTES / 2 + 1)).remove(0);
    assert_eq!((&reduced["object"], &reduced["messages"]), (&json!("otel.span"), &json!([])));
    let input = &reduced["otel"]["span"]["attributes"][2]["value"]["stringValue"];
    assert_eq!(input.as_str().map(str::len), Some(MAX_BYTES / 2 + 1));
    of_size(MAX_BYTES).drafts[0].trace().expect_err("no tool would read it");
}

#[test]
fn a_call_without_a_model_has_the_model_unknown() {
    assert_eq!(trace(&json!({"gen_ai.operation.name": "chat"}))["model"], "unknown");
}

#[test]
fn only_calls_are_stored_unless_all_spans_are_asked_for() {
    for operation in ["chat", "generate_content", "text_completion", "llm_call"] {
        let span = span(&json!({"gen_ai.operation.name": operation, "gen_ai.input.messages": "Hello"}));
        let batch = read(Signal::Traces, &request(&[span]), Spans::Calls);
        assert_eq!(traces(&batch)[0]["object"], "chat.trace", "{operation}");
    }
    for step in [
        json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.input.messages": "Hello"}),
        json!({"gen_ai.operation.name": "execute_tool"}),
        json!({"gen_ai.operation.name": "fetch_response", "gen_ai.output.messages": "Hi"}),
        json!({"openinference.span.kind": "CHAIN"}),
        json!({"ai.operationId": "ai.generateText"}),
        json!({"traceloop.span.kind": "workflow"}),
    ] {
        let request = request(&[span(&step)]);
        let batch = read(Signal::Traces, &request, Spans::Calls);
        assert_eq!((batch.skipped, batch.drafts.len()), (1, 0), "{step}");
        let batch = read(Signal::Traces, &request, Spans::All);
        let trace = traces(&batch).remove(0);
        assert_eq!((&trace["object"], &trace["messages"]), (&json!("otel.span"), &json!([])), "{step}");
    }
    let other = read(Signal::Traces, &request(&[span(&json!({"http.route": "/"}))]), Spans::All);
    assert_eq!((other.skipped, other.drafts.len()), (1, 0));
}

#[test]
fn a_span_without_valid_ids_is_rejected() {
    for (name, id) in [("traceId", ""), ("traceId", "00000000000000000000000000000000"), ("spanId", "ec70")] {
        let mut span = span(&call());
        span[name] = id.into();
        let batch = read(Signal::Traces, &request(&[span]), Spans::Calls);
        assert_eq!((batch.rejected.len(), batch.drafts.len()), (1, 0), "{name} {id}");
    }
}

/// The `anthropic` SDK emits its own span in addition to an instrumentation's, in another trace and without content.
#[test]
fn a_call_without_messages_that_repeats_another_one_is_skipped() {
    let of = |attributes: Value, span_id: &str, start: &str, end: &str| {
        let mut span = span(&attributes);
        span["spanId"] = span_id.into();
        span["startTimeUnixNano"] = start.into();
        span["endTimeUnixNano"] = end.into();
        span
    };
    let with = json!({"gen_ai.operation.name": "chat", "gen_ai.response.id": "r", "gen_ai.input.messages": "Hello"});
    let without = json!({"gen_ai.operation.name": "chat", "gen_ai.response.id": "r"});
    let other = json!({"gen_ai.operation.name": "chat", "gen_ai.response.id": "s"});
    let whole = of(with, "00000000000000a1", "1000", "2000");
    for (span, skipped) in [
        (of(without.clone(), "00000000000000a2", "1100", "1900"), 1),
        // A different time or response means a different call.
        (of(without, "00000000000000a2", "2100", "2900"), 0),
        (of(other, "00000000000000a2", "1100", "1900"), 0),
    ] {
        for spans in [[whole.clone(), span.clone()], [span.clone(), whole.clone()]] {
            let batch = read(Signal::Traces, &request(&spans), Spans::Calls);
            assert_eq!((batch.skipped, batch.drafts.len()), (skipped, 2 - skipped));
        }
    }
    let alone = trace(&json!({"gen_ai.operation.name": "chat", "gen_ai.response.id": "r"}));
    assert_eq!(alone["object"], "otel.span", "a query for calls does not count it");
}

#[test]
fn ids_of_both_encodings_and_any_case_are_the_same() {
    let mut upper = request(&[span(&call())]);
    upper["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = TRACE_ID.to_uppercase().into();
    let trace = traces(&read(Signal::Traces, &upper, Spans::Calls)).remove(0);
    assert_eq!(trace["id"], format!("{TRACE_ID}-{SPAN_ID}"));
}

fn record(name: &str, body: &Value) -> Value {
    json!({"traceId": TRACE_ID, "spanId": SPAN_ID, "timeUnixNano": "1795305600000000000", "eventName": name, "body": any(body)})
}

fn messages_of_a_call() -> Vec<Value> {
    vec![
        record("gen_ai.system.message", &json!({"content": "Be brief."})),
        record("gen_ai.user.message", &json!({"content": "Weather?"})),
        record(
            "gen_ai.assistant.message",
            &json!({"tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]}),
        ),
        record("gen_ai.tool.message", &json!({"id": "c", "content": "r"})),
        record("gen_ai.choice", &json!({"index": 0, "finish_reason": "stop", "message": {"content": "Warm."}})),
    ]
}

#[test]
fn records_of_one_message_each_are_joined_by_their_span() {
    let records = messages_of_a_call();
    let batch = read(Signal::Logs, &logs(&records), Spans::Calls);
    assert_eq!((batch.received, batch.skipped, batch.drafts.len(), batch.drafts[0].weight()), (5, 0, 1, 5));
    let trace = traces(&batch).remove(0);
    assert_eq!(
        trace["messages"],
        json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]},
            {"role": "user", "content": "r", "tool_call_id": "c"},
            {"role": "assistant", "content": "Warm."},
        ])
    );
    assert_eq!(trace["request_messages"], 4);
    assert_eq!(trace["otel"]["logRecords"], json!(records));
    let id = trace["id"].as_str().expect("an id");
    assert!(id.starts_with(&format!("{TRACE_ID}-{SPAN_ID}-")), "{id}");
}

#[test]
fn records_in_several_requests_are_several_traces_with_different_ids() {
    let ids: Vec<String> = messages_of_a_call()
        .into_iter()
        .map(|record| {
            let trace = traces(&read(Signal::Logs, &logs(&[record]), Spans::Calls)).remove(0);
            trace["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    let mut distinct = ids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len());
}

#[test]
fn a_record_of_a_whole_call_is_a_trace() {
    let mut record = record("gen_ai.client.inference.operation.details", &Value::Null);
    record.as_object_mut().expect("an object").remove("body");
    record["attributes"] = json!(pairs(&json!({
        "gen_ai.operation.name": "chat", "gen_ai.response.model": "m", "gen_ai.usage.input_tokens": 3,
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Hello"}]}],
    })));
    let trace = traces(&read(Signal::Logs, &logs(std::slice::from_ref(&record)), Spans::Calls)).remove(0);
    assert_eq!(trace["messages"], json!([{"role": "user", "content": "Hello"}]));
    assert_eq!((&trace["model"], &trace["usage"]), (&json!("m"), &json!({"input_tokens": 3})));
    assert_eq!(trace["otel"]["logRecord"], record);
}

#[test]
fn the_raw_bodies_of_claude_code_are_traces() {
    let event = |name: &str, attributes: Value| {
        let mut attributes = attributes;
        attributes["event.name"] = name.into();
        let record = json!({"timeUnixNano": "1795305600000000000", "body": {"stringValue": format!("claude_code.{name}")},
                            "attributes": pairs(&attributes)});
        traces(&read(Signal::Logs, &logs(&[record]), Spans::Calls)).remove(0)
    };
    let body = json!({"model": "claude", "max_tokens": 9, "system": [{"type": "text", "text": "Be brief."}],
                      "messages": [{"role": "user", "content": "Hello"}]});
    let request = event("api_request_body", json!({"body": body.to_string()}));
    let system = json!({"role": "system", "content": "Be brief.", "member": "system"});
    assert_eq!(request["messages"], json!([system, {"role": "user", "content": "Hello"}]));
    assert_eq!(request["request"], json!({"model": "claude", "max_tokens": 9}));
    assert_eq!(request["model"], "claude");

    let body = json!({"id": "msg_1", "model": "claude", "role": "assistant", "usage": {"input_tokens": 3},
                      "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi"},
                                  {"type": "tool_use", "id": "c", "name": "f", "input": {}}]});
    let response = event("api_response_body", json!({"body": body.to_string()}));
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": {}}});
    let answer = json!({"role": "assistant", "content": "Hi", "reasoning_content": "Hm.", "tool_calls": [call]});
    assert_eq!((&response["messages"], &response["request_messages"]), (&json!([answer]), &json!(0)));
    assert_eq!(response["usage"], json!({"input_tokens": 3}));

    let cut = event("api_request_body", json!({"body": "{\"model\": \"claude\", \"mess", "body_truncated": "true"}));
    assert_eq!(cut["incomplete"], "truncated");
    assert_eq!(cut["messages"], json!([{"role": "user", "content": "{\"model\": \"claude\", \"mess"}]));
}

#[test]
fn other_records_are_counted() {
    let batch = read(Signal::Logs, &logs(&[record("session.start", &json!("x"))]), Spans::All);
    assert_eq!((batch.received, batch.skipped, batch.drafts.len()), (1, 1, 0));
}

#[test]
fn a_request_may_be_empty() {
    for (signal, body) in [(Signal::Traces, "{}"), (Signal::Logs, r#"{"resourceLogs":[{}]}"#)] {
        let sent = serde_json::from_str(body).expect("JSON");
        assert_eq!(read(signal, &sent, Spans::Calls).received, 0);
        assert_eq!(decode(signal, Encoding::Protobuf, b"").expect("a request"), json!({}));
    }
}
