//! Payloads of sources that cannot be run here, built by hand from their documentation.

use attest_otlp::{batch::Spans, wire::Signal};
use serde_json::{Value, json};

use crate::support::{SPAN_ID, TRACE_ID, pairs, read, traces};

fn exported(service: &str, scope: &str, spans: &[Value]) -> Value {
    json!({"resourceSpans": [{
        "resource": {"attributes": pairs(&json!({"service.name": service}))},
        "scopeSpans": [{"scope": {"name": scope}, "spans": spans}],
    }]})
}

fn span(id: &str, parent: &str, name: &str, kind: u8, attributes: &Value) -> Value {
    json!({
        "traceId": TRACE_ID, "spanId": id, "parentSpanId": parent, "name": name, "kind": kind,
        "startTimeUnixNano": "1795305600000000000", "endTimeUnixNano": "1795305602000000000",
        "attributes": pairs(attributes), "status": {"code": 1},
    })
}

/// Anthropic, "OpenTelemetry span reference": the spans of the API have the kind SERVER, the service `claude-platform`
/// and the scope `com.anthropic.claude-platform`. A request's span has the name of its method, and tools have spans of
/// their own. The SDK's span of the same request, which arrives in another request, has no content by default.
#[test]
fn a_call_of_the_claude_api_is_one_trace_beside_the_span_of_the_sdk() {
    let facts = json!({
        "gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-opus-4",
        "gen_ai.response.model": "claude-opus-4-20260801", "gen_ai.response.id": "msg_1",
        "gen_ai.usage.input_tokens": 1615, "gen_ai.usage.cache_read.input_tokens": 311,
        "gen_ai.usage.cache_write.input_tokens": 73, "gen_ai.usage.output_tokens": 457,
        "anthropic.message.stop_reason": "tool_use",
    });
    let mut whole = facts.clone();
    whole["gen_ai.system_instructions"] = json!([{"type": "text", "content": "Be brief."}]).to_string().into();
    whole["gen_ai.input.messages"] =
        json!([{"role": "user", "parts": [{"type": "text", "content": "The weather?"}]}]).to_string().into();
    let call = json!({"type": "tool_call", "id": "t", "name": "get_weather", "arguments": {"city": "Tyre"}});
    whole["gen_ai.output.messages"] =
        json!([{"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."}, call]}]).to_string().into();
    let tool = json!({"gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "execute_tool",
                      "gen_ai.tool.name": "web_search"});
    let spans = [
        span(SPAN_ID, "00f067aa0b0902b7", "anthropic.messages.create", 2, &whole),
        span("1111111111111111", SPAN_ID, "anthropic.server_tool_use web_search", 1, &tool),
    ];
    let batch =
        read(Signal::Traces, &exported("claude-platform", "com.anthropic.claude-platform", &spans), Spans::Calls);
    assert_eq!((batch.received, batch.skipped), (2, 1));
    let [trace] = &traces(&batch)[..] else { panic!("one trace") };
    let call =
        json!({"id": "t", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Tyre"}}});
    let expected = json!([
        {"role": "system", "content": "Be brief.", "member": "gen_ai.system_instructions"},
        {"role": "user", "content": "The weather?"},
        {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": [call]},
    ]);
    assert_eq!(trace["messages"], expected);
    assert_eq!((&trace["model"], &trace["object"]), (&json!("claude-opus-4-20260801"), &json!("chat.trace")));
    let usage = json!({"input_tokens": 1615, "cache_read": {"input_tokens": 311}, "cache_write": {"input_tokens": 73},
                       "output_tokens": 457});
    assert_eq!(trace["usage"], usage);
    assert_eq!(trace["otel"]["span"]["kind"], 2);

    let sdk = span("00f067aa0b0902b7", "", "anthropic.messages.create", 3, &facts);
    let batch = read(Signal::Traces, &exported("shop", "com.anthropic.sdk.python", &[sdk]), Spans::Calls);
    let [trace] = &traces(&batch)[..] else { panic!("one trace") };
    assert_eq!((&trace["object"], &trace["messages"]), (&json!("otel.span"), &json!([])));
}

/// Elastic, "Send OpenRouter traces to Elastic": a parent span for the generation, and a child for each attempt at a
/// provider, by the semantic conventions, in OTLP's JSON encoding.
#[test]
fn a_call_through_openrouter_is_one_trace_whatever_the_number_of_attempts() {
    let attempt = json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
                         "gen_ai.request.model": "openai/gpt-4o", "gen_ai.response.id": "gen-1"});
    let mut generation = attempt.clone();
    generation["gen_ai.response.model"] = "openai/gpt-4o-2024-08-06".into();
    generation["gen_ai.usage.input_tokens"] = 7.into();
    generation["gen_ai.input.messages"] =
        json!([{"role": "user", "parts": [{"type": "text", "content": "Hello"}]}]).to_string().into();
    generation["gen_ai.output.messages"] =
        json!([{"role": "assistant", "parts": [{"type": "text", "content": "Hi"}], "finish_reason": "stop"}])
            .to_string()
            .into();
    let spans = [
        span(SPAN_ID, "", "chat openai/gpt-4o", 2, &generation),
        span("1111111111111111", SPAN_ID, "chat openai/gpt-4o", 3, &attempt),
        span("2222222222222222", SPAN_ID, "chat openai/gpt-4o", 3, &attempt),
    ];
    let batch = read(Signal::Traces, &exported("openrouter", "openrouter", &spans), Spans::Calls);
    assert_eq!((batch.received, batch.skipped), (3, 2));
    let [trace] = &traces(&batch)[..] else { panic!("one trace") };
    let expected = json!([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]);
    assert_eq!((&trace["model"], &trace["messages"]), (&json!("openai/gpt-4o-2024-08-06"), &expected));
}
