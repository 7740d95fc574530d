//! Tests payloads from sources that cannot run here, written by hand according to their documentation.

use attest_otlp::{
    batch::{Batch, Spans},
    wire::Signal,
};
use serde_json::{Value, json};

use crate::support::{SPAN_ID, TRACE_ID, any, pairs, read, traces};

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

/// Anthropic, "OpenTelemetry span reference": the API's spans have the kind SERVER, the service `claude-platform` and
/// the scope `com.anthropic.claude-platform`. A request's span is named after its method, and tools have their own
/// spans. The SDK's span for the same API request, which arrives in another export, has no content by default.
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

/// Elastic, "Send OpenRouter traces to Elastic": a parent span for the generation, and a child span for each provider
/// attempt, following the semantic conventions, in OTLP's JSON encoding.
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

fn logged(service: &str, scope: &str, records: &[Value]) -> Value {
    json!({"resourceLogs": [{
        "resource": {"attributes": pairs(&json!({"service.name": service}))},
        "scopeLogs": [{"scope": {"name": scope}, "logRecords": records}],
    }]})
}

/// Claude Code, "Monitoring": events in log records, two kinds of which have a Messages API body.
fn claude_code(records: &[(&str, Value)]) -> Batch {
    let record = |(sequence, (name, attributes)): (usize, &(&str, Value))| {
        let mut attributes = attributes.clone();
        attributes["session.id"] = "s".into();
        attributes["event.name"] = (*name).into();
        attributes["event.timestamp"] = "2026-11-22T00:00:00Z".into();
        attributes["event.sequence"] = sequence.into();
        json!({"timeUnixNano": "1795305600000000000", "body": any(&json!(format!("claude_code.{name}"))),
               "attributes": pairs(&attributes)})
    };
    let records: Vec<Value> = records.iter().enumerate().map(record).collect();
    read(Signal::Logs, &logged("claude-code", "com.anthropic.claude_code.events", &records), Spans::Calls)
}

#[test]
fn the_bodies_that_claude_code_logs_are_traces_and_its_other_events_are_counted() {
    let asked = json!({
        "model": "claude-opus-5", "max_tokens": 32000, "stream": true,
        "system": [{"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "List the files."}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "<REDACTED>", "signature": "c2ln"},
                                              {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "a.txt"}]},
        ],
        "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
    });
    let answered = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-20260801", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "One file: a.txt"}], "usage": {"input_tokens": 9, "output_tokens": 7},
    });
    let facts = json!({"model": "claude-opus-5", "query_source": "repl_main_thread"});
    let mut request = facts.clone();
    request["body"] = asked.to_string().into();
    request["body_length"] = asked.to_string().len().to_string().into();
    let mut response = facts.clone();
    response["body"] = answered.to_string().into();
    response["request_id"] = "req_1".into();
    let mut in_a_file = facts;
    in_a_file["body_ref"] = "/tmp/bodies/1.request.json".into();
    let batch = claude_code(&[
        ("user_prompt", json!({"prompt": "List the files.", "prompt_length": "15"})),
        ("api_request_body", request),
        ("api_response_body", response),
        ("api_request", json!({"model": "claude-opus-5", "input_tokens": "9"})),
        ("assistant_response", json!({"response": "One file: a.txt"})),
        ("tool_result", json!({"tool_name": "Bash", "success": "true"})),
        ("api_request_body", in_a_file),
    ]);
    assert_eq!((batch.received, batch.skipped, batch.rejected.len()), (7, 5, 0));
    let [request, response] = &traces(&batch)[..] else { panic!("a request and a response") };
    let call =
        json!({"id": "toolu_1", "type": "function", "function": {"name": "Bash", "arguments": {"command": "ls"}}});
    let expected = json!([
        {"role": "system", "content": "You are Claude Code.", "member": "system"},
        {"role": "user", "content": "List the files."},
        {"role": "assistant", "content": "", "reasoning_content": "<REDACTED>", "tool_calls": [call]},
        {"role": "user", "content": "a.txt", "tool_call_id": "toolu_1"},
    ]);
    assert_eq!((&request["messages"], &request["request_messages"]), (&expected, &json!(4)));
    let members = json!({"model": "claude-opus-5", "max_tokens": 32000, "stream": true, "tools": asked["tools"]});
    assert_eq!((&request["request"], &request["incomplete"]), (&members, &Value::Null));
    assert_eq!(response["messages"], json!([{"role": "assistant", "content": "One file: a.txt"}]));
    assert_eq!(response["usage"], json!({"input_tokens": 9, "output_tokens": 7}));
    assert_eq!(response["response"]["stop_reason"], "end_turn");
    assert_eq!(response["otel"]["resource"]["attributes"][0]["value"]["stringValue"], "claude-code");
}

#[test]
fn a_body_that_claude_code_has_cut_is_incomplete() {
    let text = r#"{"model":"claude-opus-5","messages":[{"role":"user","content":"Lo"#;
    for name in ["api_request_body", "api_response_body"] {
        let facts = json!({"body": text, "body_truncated": "true", "body_length": "70000", "model": "claude-opus-5"});
        let [trace] = &traces(&claude_code(&[(name, facts)]))[..] else { panic!("one trace") };
        assert_eq!((&trace["incomplete"], &trace["model"]), (&json!("truncated"), &json!("claude-opus-5")), "{name}");
        assert_eq!(trace["messages"][0]["content"], text, "{name}");
    }
}

/// Gemini CLI, "Observability with OpenTelemetry" and `loggingContentGenerator.ts`: Gemini API messages as JSON
/// strings. An answer is one content object, or a list of streamed pieces.
#[test]
fn a_call_of_gemini_cli_is_one_trace_with_one_answer() {
    let input = json!([
        {"role": "user", "parts": [{"text": "List the files."}]},
        {"role": "model", "parts": [{"text": "I look.", "thought": true},
                                    {"functionCall": {"id": "c", "name": "ls", "args": {"path": "."}}, "thoughtSignature": "c2ln"}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "c", "name": "ls", "response": {"output": "a.txt"}}}]},
    ]);
    let facts = json!({
        "gen_ai.operation.name": "llm_call", "gen_ai.agent.name": "gemini-cli", "gen_ai.conversation.id": "s",
        "gen_ai.request.model": "gemini-3-pro", "gen_ai.prompt.name": "p", "gen_ai.input.messages": input.to_string(),
        "gen_ai.tool.definitions": r#"[{"functionDeclarations":[{"name":"ls"}]}]"#,
        "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 7,
    });
    let whole = json!({"role": "model", "parts": [{"text": "I see.", "thought": true}, {"text": "One file: a.txt"}]});
    let piece = |part: Value| json!({"role": "model", "parts": [part]});
    let pieces = json!([
        null, piece(json!({"text": "I ", "thought": true})), piece(json!({"text": "see.", "thought": true})),
        piece(json!({"text": "One file: "})), piece(json!({"text": "a.txt"})), {"role": "model"},
    ]);
    let call = json!({"id": "c", "type": "function", "function": {"name": "ls", "arguments": {"path": "."}}});
    let expected = json!([
        {"role": "system", "content": "Be brief.", "member": "gen_ai.system_instructions"},
        {"role": "user", "content": "List the files."},
        {"role": "assistant", "content": "", "reasoning_content": "I look.", "tool_calls": [call]},
        {"role": "user", "content": r#"{"output":"a.txt"}"#, "tool_call_id": "c"},
        {"role": "assistant", "content": "One file: a.txt", "reasoning_content": "I see."},
    ]);
    for (instructions, output) in [
        (json!("Be brief."), whole),
        (json!({"role": "user", "parts": [{"text": "Be brief."}]}), pieces.clone()),
        (json!([{"text": "Be brief."}]), pieces),
    ] {
        let mut attributes = facts.clone();
        attributes["gen_ai.system_instructions"] = instructions.to_string().into();
        attributes["gen_ai.output.messages"] = output.to_string().into();
        let tool = json!({"gen_ai.operation.name": "tool_call", "gen_ai.tool.name": "ls"});
        let spans =
            [span(SPAN_ID, "", "llm_call", 1, &attributes), span("1111111111111111", SPAN_ID, "tool_call", 1, &tool)];
        let batch = read(Signal::Traces, &exported("gemini-cli", "gemini-cli", &spans), Spans::Calls);
        assert_eq!((batch.received, batch.skipped), (2, 1));
        let [trace] = &traces(&batch)[..] else { panic!("one trace") };
        assert_eq!((&trace["messages"], &trace["incomplete"]), (&expected, &Value::Null), "{instructions}");
        assert_eq!((&trace["model"], &trace["object"]), (&json!("gemini-3-pro"), &json!("chat.trace")));
        assert_eq!(trace["request"]["tools"][0]["functionDeclarations"][0]["name"], "ls");
    }
    let mut cut = facts;
    cut["gen_ai.output.messages"] =
        r#"{"role":"model","parts":[{"text":"One...[TRUNCATED: original length 20000]"#.into();
    let spans = [span(SPAN_ID, "", "llm_call", 1, &cut)];
    let [trace] = &traces(&read(Signal::Traces, &exported("gemini-cli", "gemini-cli", &spans), Spans::Calls))[..]
    else {
        panic!("one trace")
    };
    assert_eq!(trace["incomplete"], "truncated");
}

/// Gemini CLI's `ApiRequestEvent`, `ApiResponseEvent` and `ApiErrorEvent`: one record before the call, and one after
/// it. They call the model's role `system`.
#[test]
fn the_records_of_gemini_cli_count_a_call_once() {
    let record = |attributes: Value| {
        let mut attributes = attributes;
        attributes["event.name"] = "gen_ai.client.inference.operation.details".into();
        attributes["gen_ai.operation.name"] = "generate_content".into();
        attributes["gen_ai.request.model"] = "gemini-3-pro".into();
        attributes["gen_ai.system_instructions"] = r#"[{"type":"text","content":"Be brief."}]"#.into();
        let input = json!([
            {"role": "user", "parts": [{"type": "text", "content": "Hello"}]},
            {"role": "system", "parts": [{"type": "text", "content": "Hi"}]},
            {"role": "user", "parts": [{"type": "text", "content": "Bye"}]},
        ]);
        attributes["gen_ai.input.messages"] = input.to_string().into();
        json!({"traceId": TRACE_ID, "spanId": SPAN_ID, "timeUnixNano": "1795305600000000000",
               "attributes": pairs(&attributes)})
    };
    let piece = |content: &str| json!({"finish_reason": "stop", "role": "system", "parts": [{"type": "text", "content": content}]});
    let answered = json!({
        "gen_ai.response.model": "gemini-3-pro", "gen_ai.response.id": "r", "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.output.messages": json!([piece("Good"), piece("bye...[TRUNCATED]")]).to_string(),
    });
    let records = [
        record(json!({})),
        record(answered),
        record(json!({"gen_ai.response.model": "gemini-3-pro"})),
        json!({"attributes": pairs(&json!({"event.name": "gemini_cli.api_response", "response_text": "[]"}))}),
    ];
    let batch = read(Signal::Logs, &logged("gemini-cli", "gemini-cli", &records), Spans::Calls);
    assert_eq!((batch.received, batch.skipped), (4, 1));
    let [before, after, failed] = &traces(&batch)[..] else { panic!("three traces") };
    let mut messages = vec![
        json!({"role": "system", "content": "Be brief.", "member": "gen_ai.system_instructions"}),
        json!({"role": "user", "content": "Hello"}),
        json!({"role": "assistant", "content": "Hi"}),
        json!({"role": "user", "content": "Bye"}),
    ];
    assert_eq!((&before["object"], &before["messages"]), (&json!("otel.span"), &json!(messages)));
    assert_eq!((&failed["object"], &failed["messages"]), (&json!("chat.trace"), &json!(messages)));
    messages.push(json!({"role": "assistant", "content": "Goodbye...[TRUNCATED]"}));
    assert_eq!((&after["object"], &after["messages"]), (&json!("chat.trace"), &json!(messages)));
    assert_eq!((&after["incomplete"], &before["incomplete"]), (&json!("truncated"), &Value::Null));
}

#[test]
fn a_record_of_a_failed_call_has_its_error() {
    let attributes = json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "error.type": "RateLimitError",
                            "gen_ai.input.messages": "Hello"});
    let record = json!({"eventName": "gen_ai.client.inference.operation.details", "attributes": pairs(&attributes)});
    let [trace] = &traces(&read(Signal::Logs, &logged("shop", "openai", &[record]), Spans::Calls))[..] else {
        panic!("one trace")
    };
    assert_eq!((&trace["error"], &trace["object"]), (&json!({"type": "RateLimitError"}), &json!("chat.trace")));
}
