//! Tests reading messages from the attributes of an OpenTelemetry span.

use serde_json::{Value, json};

use super::*;

/// Returns instructions, input and output with every part type in the semantic conventions for generative AI.
fn span_messages() -> (Value, Value, Value) {
    let instructions = json!([{"type": "text", "content": "Be brief."}]);
    let input = json!([
        {"role": "user", "parts": [
            {"type": "text", "content": "Look."},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBORw0KGgo="},
            {"type": "blob", "modality": "image", "content": "iVBORw0KGgo="},
            {"type": "blob", "modality": "audio", "mime_type": null, "content": "UklGRg=="},
            {"type": "blob", "modality": "document", "mime_type": "application/pdf", "content": "JVBERi0="},
            {"type": "file", "modality": "image", "file_id": "file-1"},
            {"type": "uri", "modality": "audio", "uri": "https://a.test/b.mp3"},
            {"type": "note", "text": "x"}]},
        {"role": "assistant", "parts": [
            {"type": "reasoning", "content": "Hm."},
            {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}},
            {"type": "tool_call", "id": "c2", "name": "weather", "arguments": "{\"city\":\"Rome\"}"},
            {"type": "server_tool_call", "id": "s1", "name": "search", "server_tool_call": {"type": "search", "q": "a"}},
            {"type": "server_tool_call_response", "id": "s1", "server_tool_call_response": {"hits": 1}}]},
        {"role": "tool", "parts": [
            {"type": "tool_call_response", "id": "c1", "response": {"degrees": 18}},
            {"type": "tool_call_response", "id": "c2", "response": ["wet", {"type": "text", "content": "cold"}]}]}
    ]);
    let output = json!([{"role": "assistant", "finish_reason": "stop", "parts": [{"type": "text", "content": "18."}]}]);
    (instructions, input, output)
}

const SPAN_TURNS: [&str; 4] = [
    "system: text Be brief.",
    "user: text Look.; Image image/png; Image image/png; Audio audio/wav; File application/pdf; Image at file-1; \
     Audio at https://a.test/b.mp3; other note",
    "assistant: thinking Hm.; call weather {\"city\":\"Paris\"} result c1 [text {\n  \"degrees\": 18\n}]; \
     call weather {\"city\":\"Rome\"} result c2 [text wet, text cold]; \
     call search {\"type\":\"search\",\"q\":\"a\"} result s1 [text {\n  \"hits\": 1\n}]",
    "assistant: text 18.",
];

fn turns_of(trace: &Value) -> Vec<String> {
    let json = trace.to_string();
    let stored = StoredTrace::read(json.as_bytes());
    let turns = stored.conversation().turns;
    let lines = turns.iter().map(|turn| turn.parts.iter().map(line).collect::<Vec<_>>().join("; "));
    turns.iter().zip(lines).map(|(turn, line)| format!("{}: {line}", turn.role)).collect()
}

#[test]
fn opentelemetrys_messages_are_read_from_originals() {
    let (instructions, input, output) = span_messages();
    let system = json!({"role": "system", "parts": instructions});
    let all =
        [system].into_iter().chain(input.as_array().cloned().into_iter().chain(output.as_array().cloned()).flatten());
    let messages = all.map(|original| json!({"role": "user", "content": "", "original": original}));
    assert_eq!(turns_of(&json!({"messages": messages.collect::<Vec<_>>()})), SPAN_TURNS);
}

/// Converts a value to OTLP's JSON encoding.
fn typed(value: &Value) -> Value {
    match value {
        Value::Array(values) => json!({"arrayValue": {"values": values.iter().map(typed).collect::<Value>()}}),
        Value::Object(members) => {
            let pairs = members.iter().map(|(key, value)| json!({"key": key, "value": typed(value)}));
            json!({"kvlistValue": {"values": pairs.collect::<Value>()}})
        }
        Value::String(text) => json!({"stringValue": text}),
        Value::Number(number) => json!({"intValue": number}),
        other => json!({"stringValue": other.to_string()}),
    }
}

#[test]
fn opentelemetrys_messages_are_read_from_the_attributes_of_a_span() {
    let (instructions, input, output) = span_messages();
    let names = ["gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages"];
    let values = [instructions, input, output];
    let values_of = |convert: fn(&Value) -> Value| names.into_iter().zip(values.iter().map(convert));
    let object = |convert| Value::Object(values_of(convert).map(|(name, value)| (name.to_owned(), value)).collect());
    let text = |value: &Value| Value::String(value.to_string());
    let pairs = |convert| values_of(convert).map(|(key, value)| json!({"key": key, "value": value})).collect::<Value>();
    let as_value: fn(&Value) -> Value = Clone::clone;
    let as_otlp_text: fn(&Value) -> Value = |value| json!({"stringValue": value.to_string()});
    for otel in [
        json!({"attributes": object(as_value)}),
        json!({"attributes": object(text)}),
        object(text),
        json!({"attributes": pairs(as_otlp_text)}),
    ] {
        assert_eq!(turns_of(&json!({"messages": [], "otel": otel})), SPAN_TURNS, "{otel}");
    }
    let typed = json!({"messages": [], "otel": {"attributes": pairs(typed)}});
    let shown = turns_of(&typed);
    assert_eq!((&shown[0], &shown[3]), (&SPAN_TURNS[0].to_owned(), &SPAN_TURNS[3].to_owned()));
    let stored = json!({"messages": [{"role": "user", "content": "mapped"}], "otel": object(text)});
    assert_eq!(turns_of(&stored), ["user: text mapped"], "the trace's own messages come first");
}

#[test]
fn alternatives_and_odd_values_in_the_attributes_of_a_span_are_shown() {
    let output = json!([{"role": "assistant", "parts": [{"type": "text", "content": "a"}], "finish_reason": "stop"},
        {"role": "assistant", "parts": [{"type": "text", "content": "b"}], "finish_reason": "length"}]);
    let trace = json!({"messages": [], "gen_ai.input.messages": "Hi", "gen_ai.output.messages": output}).to_string();
    let stored = StoredTrace::read(trace.as_bytes());
    let conversation = stored.conversation();
    assert_eq!(conversation.turns.len(), 1);
    let reasons: Vec<_> = conversation.choices.iter().map(|choice| choice.finish_reason.as_deref()).collect();
    assert_eq!(reasons, [Some("stop"), Some("length")]);
    for odd in [
        json!(null),
        json!(1),
        json!("["),
        json!([1, null]),
        json!({"messages": 1}),
        json!({"arrayValue": 1}),
        json!([{"key": 1, "value": 2}]),
        json!({"kvlistValue": {"values": [1]}}),
    ] {
        for name in ["attributes", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"] {
            let mut otel = json!({});
            otel[name] = odd.clone();
            assert!(turns_of(&json!({"messages": [], "otel": otel})).len() <= 2, "{name} {odd}");
        }
    }
}

#[test]
fn the_header_of_a_span_has_its_tokens_end_session_and_error() {
    let attributes = json!([
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "811"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "92"}},
        {"key": "gen_ai.usage.cache_read.input_tokens", "value": {"intValue": 640}},
        {"key": "gen_ai.usage.reasoning.output_tokens", "value": {"intValue": "60"}},
        {"key": "gen_ai.response.finish_reasons", "value": {"arrayValue": {"values": [{"stringValue": "length"}]}}},
        {"key": "gen_ai.conversation.id", "value": {"stringValue": "conv-1"}},
        {"key": "error.type", "value": {"stringValue": "timeout"}}]);
    let span = json!({"traceId": "0af7", "spanId": "b7ad",
        "parentSpanId": "0000000000000000", "name": "chat m", "startTimeUnixNano": "1000000000",
        "endTimeUnixNano": "1250000000", "status": {"code": 2}, "attributes": attributes});
    for otel in [span.clone(), json!({"resource": {"attributes": []}, "scope": {"name": "s"}, "span": span})] {
        let trace = json!({"model": "m", "created": 1, "messages": [], "otel": otel});
        let header = Header::read(&Members::read(trace.to_string().as_bytes()));
        let tokens = Tokens {
            input: Some(811),
            output: Some(92),
            total: Some(903),
            cached: Some(640),
            reasoning: Some(60),
            ..Tokens::default()
        };
        assert_eq!(header.tokens, tokens);
        assert_eq!(tokens.parts(), [("input", 171), ("cached", 640), ("output", 32), ("reasoning", 60)]);
        assert_eq!((header.finish_reason.as_deref(), header.error.as_deref()), (Some("length"), Some("timeout")));
        assert_eq!((header.start, header.seconds), (Some(1.0), Some(0.25)));
        assert!(header.is_of_session("conv-1") && header.is_of_session("0af7") && !header.is_of_session("b7ad"));
        assert_eq!(header.span.expect("a span").parent, None);
    }
}
