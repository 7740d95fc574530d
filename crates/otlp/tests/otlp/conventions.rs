//! Tests each convention and part type with a hand-written span, whose trace must have the expected messages.

use serde_json::{Value, json};

use crate::support::trace;

fn gen_ai(more: &Value) -> Value {
    let mut attributes = json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"});
    let all = attributes.as_object_mut().expect("an object");
    all.extend(more.as_object().expect("an object").clone());
    attributes
}

fn messages(attributes: &Value) -> Value {
    trace(attributes)["messages"].clone()
}

fn conversation() -> (Value, Value, Value) {
    let instructions = json!([{"type": "text", "content": "Be brief."}, {"type": "text", "content": "Be kind."}]);
    let input = json!([
        {"role": "user", "parts": [{"type": "text", "content": "Weather?"}, {"type": "text", "content": "In Köln?"}]},
        {"role": "assistant", "parts": [
            {"type": "reasoning", "content": "A tool."},
            {"type": "text", "content": "I "}, {"type": "text", "content": "look."},
            {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Köln", "days": 2}},
        ]},
        {"role": "tool", "parts": [
            {"type": "tool_call_response", "id": "c1", "response": "18.50"},
            {"type": "tool_call_response", "id": "c2", "response": {"celsius": 18}},
            {"type": "text", "content": "Go on."},
        ]},
    ]);
    let output =
        json!([{"role": "assistant", "parts": [{"type": "text", "content": "Warm."}], "finish_reason": "stop"}]);
    (instructions, input, output)
}

#[test]
fn structured_attributes_and_json_text_are_the_same_conversation() {
    let (instructions, input, output) = conversation();
    let expected = json!([
        {"role": "system", "content": "Be brief.\nBe kind.", "member": "gen_ai.system_instructions"},
        {"role": "user", "content": "Weather?\nIn Köln?"},
        {"role": "assistant", "content": "I look.", "reasoning_content": "A tool.", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": 2}}},
        ]},
        {"role": "user", "content": "18.50", "tool_call_id": "c1"},
        {"role": "user", "content": "{\"celsius\":18}", "tool_call_id": "c2"},
        {"role": "user", "content": "Go on."},
        {"role": "assistant", "content": "Warm."},
    ]);
    let structured = trace(&gen_ai(&json!({
        "gen_ai.system_instructions": instructions, "gen_ai.input.messages": input, "gen_ai.output.messages": output,
    })));
    let text = trace(&gen_ai(&json!({
        "gen_ai.system_instructions": instructions.to_string(), "gen_ai.input.messages": input.to_string(),
        "gen_ai.output.messages": output.to_string(),
    })));
    assert_eq!(structured["messages"], expected);
    assert_eq!(text["messages"], expected);
    assert_eq!(text["request_messages"], 6);
    assert!(text.get("incomplete").is_none());
}

#[test]
fn parts_without_a_place_in_a_message_keep_it_whole_in_original() {
    for part in [
        json!({"type": "blob", "modality": "image", "mime_type": "image/png", "content": "AAEC"}),
        json!({"type": "file", "modality": "image", "file_id": "f1"}),
        json!({"type": "uri", "modality": "image", "uri": "https://example.com/a.png"}),
        json!({"type": "server_tool_call", "id": "s1", "name": "search", "server_tool_call": {"type": "web"}}),
        json!({"type": "compaction", "content": "So far."}),
        json!({"type": "future", "content": {"deep": [1.50]}}),
    ] {
        let message = json!({"role": "user", "parts": [{"type": "text", "content": "Look."}, part]});
        let messages = messages(&gen_ai(&json!({"gen_ai.input.messages": json!([message]).to_string()})));
        assert_eq!(messages, json!([{"role": "user", "content": "Look.", "original": [message]}]));
    }
}

/// Format 5 writes a tool result into a user message, format 6 into a message with the role `tool`.
#[test]
fn pydantic_ai_formats_5_and_6_are_read() {
    for role in ["user", "tool"] {
        let input = json!([
            {"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "f", "arguments": "{\"a\": 1.50}"}]},
            {"role": role, "parts": [{"type": "tool_call_response", "id": "c", "name": "f", "result": "r"}]},
        ]);
        let expected = json!([
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.50}"}},
            ]},
            {"role": "user", "content": "r", "tool_call_id": "c"},
        ]);
        assert_eq!(messages(&gen_ai(&json!({"gen_ai.input.messages": input.to_string()}))), expected);
    }
}

#[test]
fn several_output_messages_are_alternatives() {
    let output = json!([
        {"role": "assistant", "parts": [{"type": "text", "content": "a"}], "finish_reason": "stop"},
        {"role": "assistant", "parts": [{"type": "text", "content": "b"}], "finish_reason": "length"},
    ]);
    let trace = trace(&gen_ai(&json!({"gen_ai.input.messages": "[]", "gen_ai.output.messages": output})));
    assert_eq!(trace["messages"], json!([{"role": "assistant", "content": "a"}]));
    let choice = |index: u64, content: &str, reason: &str| json!({"index": index, "message": {"role": "assistant", "content": content}, "finish_reason": reason});
    assert_eq!(trace["choices"], json!({"0": choice(0, "a", "stop"), "1": choice(1, "b", "length")}));
}

/// `OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT` truncates JSON strings.
#[test]
fn text_that_was_cut_stays_and_the_trace_says_so() {
    let cut = r#"[{"role": "user", "parts": [{"type": "text", "content": "Hel"#;
    let trace = trace(&gen_ai(&json!({"gen_ai.input.messages": cut})));
    assert_eq!(trace["messages"], json!([{"role": "user", "content": cut}]));
    assert_eq!(trace["incomplete"], "truncated");
}

/// JavaScript writes an unpaired surrogate if an instrumentation has cut a string within a character.
#[test]
fn json_text_with_half_of_a_character_is_read() {
    let input = r#"[{"role": "user", "parts": [{"type": "text", "content": "Hel\ud83d"}]}]"#;
    let trace = trace(&gen_ai(&json!({"gen_ai.input.messages": input})));
    assert_eq!(trace["messages"], json!([{"role": "user", "content": "Hel\u{fffd}"}]));
    assert_eq!(trace["otel"]["span"]["attributes"][2]["value"]["stringValue"], input);
}

#[test]
fn plain_text_is_one_message() {
    let attributes = json!({"gen_ai.input.messages": "Hello", "gen_ai.output.messages": "Hi"});
    let trace = trace(&gen_ai(&attributes));
    let expected = json!([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]);
    assert_eq!(trace["messages"], expected);
    assert!(trace.get("incomplete").is_none());
}

#[test]
fn openllmetry_before_0_62_is_read() {
    let trace = trace(&json!({
        "llm.request.type": "chat", "gen_ai.request.model": "m", "gen_ai.response.model": "m-1",
        "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief.",
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": "[{\"type\": \"text\", \"text\": \"Look.\"}, {\"type\": \"image_url\", \"image_url\": {\"url\": \"u\"}}]",
        "gen_ai.prompt.2.role": "assistant", "gen_ai.prompt.2.tool_calls.0.id": "c",
        "gen_ai.prompt.2.tool_calls.0.name": "f", "gen_ai.prompt.2.tool_calls.0.arguments": "{}",
        "gen_ai.prompt.3.role": "tool", "gen_ai.prompt.3.content": "r", "gen_ai.prompt.3.tool_call_id": "c",
        "gen_ai.prompt.10.role": "user", "gen_ai.prompt.10.content": "[not JSON",
        "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Yes.",
        "gen_ai.completion.0.finish_reason": "stop",
        "gen_ai.usage.prompt_tokens": 3, "gen_ai.usage.completion_tokens": 2, "llm.usage.total_tokens": 5,
        "gen_ai.usage.cache_read_input_tokens": 1,
    }));
    let parts = json!([{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": "u"}}]);
    assert_eq!(
        trace["messages"],
        json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look.", "original": [{"role": "user", "content": parts}]},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]},
            {"role": "user", "content": "r", "tool_call_id": "c"},
            {"role": "user", "content": "[not JSON"},
            {"role": "assistant", "content": "Yes."},
        ])
    );
    assert_eq!(trace["model"], "m-1");
    let usage = json!({"input_tokens": 3, "output_tokens": 2, "cache_read": {"input_tokens": 1}, "total_tokens": 5});
    assert_eq!(trace["usage"], usage);
}

#[test]
fn openinference_with_contents_is_read() {
    let trace = trace(&json!({
        "openinference.span.kind": "LLM", "llm.model_name": "m-1",
        "llm.invocation_parameters": "{\"model\": \"m\", \"temperature\": 0.10}",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.contents.0.message_content.type": "text",
        "llm.input_messages.0.message.contents.0.message_content.text": "Look.",
        "llm.input_messages.0.message.contents.1.message_content.type": "image",
        "llm.input_messages.0.message.contents.1.message_content.image.image.url": "u",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "f",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": "{\"a\": 1.50}",
        "llm.tools.0.tool.json_schema": "{\"type\": \"function\"}",
        "output.value": "{\"id\": \"r1\", \"system_fingerprint\": \"fp\"}", "output.mime_type": "application/json",
        "llm.token_count.prompt": 3, "llm.token_count.prompt_details.cache_read": 1,
    }));
    assert_eq!(trace["messages"][0]["content"], "Look.");
    assert_eq!(trace["messages"][0]["original"][0]["content"][1]["image.image.url"], "u");
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.50}"}});
    assert_eq!(trace["messages"][1], json!({"role": "assistant", "content": "", "tool_calls": [call]}));
    assert_eq!((&trace["model"], &trace["system_fingerprint"]), (&json!("m-1"), &json!("fp")));
    assert_eq!(trace["request"].to_string(), r#"{"model":"m","temperature":0.10,"tools":[{"type":"function"}]}"#);
    assert_eq!(trace["response"], json!({"id": "r1"}));
    assert_eq!(trace["usage"], json!({"input_tokens": 3, "cache_read": {"input_tokens": 1}}));
}

#[test]
fn openinference_without_messages_has_the_input_and_the_output() {
    let trace = trace(&json!({
        "openinference.span.kind": "LLM", "llm.model_name": "m", "input.value": "Hello", "output.value": "Hi",
    }));
    let expected = json!([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]);
    assert_eq!(trace["messages"], expected);
}

#[test]
fn the_ai_sdk_before_7_is_read() {
    let prompt = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {"role": "assistant", "content": [
            {"type": "reasoning", "text": "A tool."},
            {"type": "tool-call", "toolCallId": "c", "toolName": "f", "input": {"a": 1}},
        ]},
        {"role": "tool", "content": [
            {"type": "tool-result", "toolCallId": "c", "toolName": "f", "output": {"type": "text", "value": "r"}},
        ]},
    ]);
    for operation in ["ai.generateText.doGenerate", "ai.streamText.doStream"] {
        let trace = trace(&json!({
            "ai.operationId": operation, "ai.model.id": "m", "ai.response.model": "m-1", "ai.response.id": "r1",
            "ai.prompt.messages": prompt.to_string(), "ai.response.text": "Warm.",
            "ai.response.toolCalls": "[{\"toolCallId\": \"d\", \"toolName\": \"g\", \"input\": \"{}\"}]",
            "ai.usage.inputTokens": 3, "ai.usage.outputTokens": 2, "ai.usage.cachedInputTokens": 1,
        }));
        let call = |id: &str, name: &str, arguments: Value| json!([{"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]);
        assert_eq!(
            trace["messages"],
            json!([
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": "", "reasoning_content": "A tool.",
                 "tool_calls": call("c", "f", json!({"a": 1}))},
                {"role": "user", "content": "r", "tool_call_id": "c"},
                {"role": "assistant", "content": "Warm.", "tool_calls": call("d", "g", json!("{}"))},
            ])
        );
        assert_eq!(trace["usage"], json!({"input_tokens": 3, "output_tokens": 2, "cache_read": {"input_tokens": 1}}));
        assert_eq!(trace["model"], "m-1");
    }
}

#[test]
fn gemini_cli_is_read() {
    let input = json!([{"role": "user", "parts": [{"text": "Hello"}]}, {"role": "model", "parts": [{"text": "Hi"}]}]);
    let trace = trace(&json!({
        "gen_ai.operation.name": "llm_call", "gen_ai.request.model": "gemini-2.5-pro",
        "gen_ai.input.messages": input.to_string(),
        "gen_ai.output.messages": "[{\"role\": \"model\", \"parts\": [{\"text\": \"Bye\"}]}]",
    }));
    let expected = json!([
        {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"},
        {"role": "assistant", "content": "Bye"},
    ]);
    assert_eq!(trace["messages"], expected);
}

/// Conventions have two names for the tokens that were written to a cache.
#[test]
fn usage_has_the_names_of_the_conventions() {
    let trace = trace(&gen_ai(&json!({
        "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 4, "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.cache_creation.input_tokens": 2, "gen_ai.usage.cache_write.input_tokens": 2,
        "gen_ai.usage.reasoning_tokens": 1, "gen_ai.input.messages": "Hello",
    })));
    let expected = json!({
        "input_tokens": 9, "output_tokens": 4, "cache_read": {"input_tokens": 3}, "cache_creation": {"input_tokens": 2},
        "cache_write": {"input_tokens": 2}, "reasoning": {"output_tokens": 1},
    });
    assert_eq!(trace["usage"], expected);
}

#[test]
fn json_that_a_trace_cannot_hold_stays_text() {
    for json in [format!("[{}]", "1".repeat(5_000)), format!("{}{}", "[".repeat(120), "]".repeat(120))] {
        let trace = trace(&gen_ai(&json!({"gen_ai.input.messages": json})));
        assert_eq!(trace["messages"], json!([{"role": "user", "content": json}]));
    }
}
