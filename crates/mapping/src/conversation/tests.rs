//! Tests reading conversations from traces, with messages of each API as `docs/mapping.md` maps them.

use serde_json::{Value, json};

use super::*;

mod otel_spans;

fn line(part: &Part) -> String {
    let inner = |parts: &[Part]| parts.iter().map(line).collect::<Vec<_>>().join(", ");
    let result = |result: &ToolResult| {
        let state = if result.is_error { "error" } else { "result" };
        format!("{state} {} [{}]", result.call, inner(&result.parts))
    };
    match part {
        Part::Text { text, citations } if citations.is_empty() => format!("text {text}"),
        Part::Text { text, citations } => {
            let titles: Vec<_> = citations.iter().map(|citation| citation.title.as_str()).collect();
            format!("text {text} ({})", titles.join(", "))
        }
        Part::Thinking(text) => format!("thinking {}", text.as_deref().unwrap_or("encrypted")),
        Part::Refusal(text) => format!("refusal {text}"),
        Part::Media(Media { kind, source, .. }) => match source {
            MediaSource::Data { media_type, .. } => format!("{kind:?} {media_type}"),
            MediaSource::Elsewhere(place) => format!("{kind:?} at {place}"),
            MediaSource::Text(text) => format!("{kind:?} {text}"),
        },
        Part::Call(call) => {
            let arguments: String = call.arguments.split_whitespace().collect();
            let answer = call.result.as_ref().map(result).unwrap_or_default();
            format!("call {} {arguments} {answer}", call.name).trim_end().to_owned()
        }
        Part::Result(unpaired) => result(unpaired),
        Part::Other { kind, .. } => format!("other {kind}"),
    }
}

fn turns(messages: &Value) -> Vec<String> {
    let trace = json!({"model": "m", "created": 1, "messages": messages}).to_string();
    let stored = StoredTrace::read(trace.as_bytes());
    let conversation = stored.conversation();
    let turns = conversation.turns.iter();
    turns.map(|turn| format!("{}: {}", turn.role, turn.parts.iter().map(line).collect::<Vec<_>>().join("; "))).collect()
}

#[test]
fn chat_completions_have_their_roles_calls_and_media() {
    let messages = json!([
        {"role": "system", "content": "Be brief.", "original": {"role": "developer", "content": "Be brief."}},
        {"role": "user", "content": "What?", "original": {"role": "user", "content": [
            {"type": "text", "text": "What?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}},
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}]}},
        {"role": "assistant", "content": "", "reasoning_content": "Hm.",
         "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Paris\"}"}}],
         "original": {"role": "assistant", "content": null}},
        {"role": "user", "content": "18", "tool_call_id": "c1", "original": {"role": "tool", "content": "18"}},
        {"role": "assistant", "content": "I cannot.", "original": {"role": "assistant", "content": null, "refusal": "I cannot."}},
        {"role": "assistant", "content": "See.", "annotations": [{"type": "url_citation", "url_citation": {"title": "A", "url": "https://a.test"}}]}
    ]);
    assert_eq!(
        turns(&messages),
        [
            "developer: text Be brief.",
            "user: text What?; Image image/png; Image at https://a.test/b.png; Audio audio/wav; File application/pdf",
            "assistant: thinking Hm.; call weather {\"city\":\"Paris\"} result c1 [text 18]",
            "assistant: refusal I cannot.",
            "assistant: text See. (A · https://a.test)",
        ]
    );
}

#[test]
fn anthropics_blocks_are_read_from_the_original_and_results_join_their_calls() {
    let messages = json!([
        {"role": "system", "content": "Be brief.", "member": "system", "original": [{"type": "text", "text": "Be brief."}]},
        {"role": "assistant", "content": "I look it up.", "reasoning_content": "Two.", "original": [{"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Two.", "signature": "EqQB="},
            {"type": "redacted_thinking", "data": "EmwK="},
            {"type": "text", "text": "I look it up."},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}},
            {"type": "tool_use", "id": "t2", "name": "weather", "input": {"city": "Rome"}}]}]},
        {"role": "user", "content": "18", "tool_call_id": "t1", "original": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "18"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [
                {"type": "text", "text": "down"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]},
            {"type": "text", "text": "Go on."}]}]},
        {"role": "user", "content": "down", "tool_call_id": "t2", "original": []},
        {"role": "user", "content": "Go on.", "original": []},
        {"role": "assistant", "content": "It is green.", "original": {"role": "assistant", "content": [
            {"type": "text", "text": "It is "},
            {"type": "text", "text": "green", "citations": [{"type": "char_location", "cited_text": "Grass.", "document_index": 0}]},
            {"type": "text", "text": "."}]}}
    ]);
    assert_eq!(
        turns(&messages),
        [
            "system: text Be brief.",
            "assistant: thinking Two.; thinking encrypted; text I look it up.; \
             call weather {\"city\":\"Paris\"} result t1 [text 18]; \
             call weather {\"city\":\"Rome\"} error t2 [text down, Image image/png]",
            "user: text Go on.",
            "assistant: text It is green. (document 0)",
        ]
    );
}

#[test]
fn responses_items_of_one_message_are_one_turn() {
    let messages = json!([
        {"role": "user", "content": "Weather?", "member": "input"},
        {"role": "assistant", "content": "", "reasoning_content": "Short.", "original": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Short."}]},
            {"type": "web_search_call", "id": "ws", "action": {"query": "weather"}},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "image_generation_call", "id": "ig", "result": "iVBORw0KGgo="},
            {"type": "code_interpreter_call", "id": "ci", "code": "1+1", "outputs": [{"type": "text", "text": "2"}]}]},
        {"role": "user", "content": "24", "tool_call_id": "c1", "original": [
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "24"}]}]},
        {"role": "assistant", "content": "24.", "original": {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "24.", "annotations": [{"type": "url_citation", "title": "A", "url": "https://a.test"}]}]}}
    ]);
    assert_eq!(
        turns(&messages),
        [
            "user: text Weather?",
            "assistant: thinking Short.; call web_search {\"query\":\"weather\"}; call weather {} result c1 [text 24]; \
             Image image/png; call code_interpreter 1+1 result ci [text 2]",
            "assistant: text 24. (A · https://a.test)",
        ]
    );
}

#[test]
fn opentelemetrys_parts_are_read() {
    let messages = json!([
        {"role": "user", "content": "Hi", "original": {"role": "user", "parts": [
            {"type": "text", "content": "Hi"},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBORw0KGgo="},
            {"type": "uri", "modality": "image", "uri": "https://a.test/b.png"}]}},
        {"role": "assistant", "content": "", "original": {"role": "assistant", "finish_reason": "tool_call", "parts": [
            {"type": "reasoning", "content": "Hm."},
            {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}}]}},
        {"role": "user", "content": "18", "original": {"role": "tool", "parts": [
            {"type": "tool_call_response", "id": "c1", "response": "18"}]}}
    ]);
    let turns = turns(&messages);
    assert_eq!(turns[0], "user: text Hi; Image image/png; Image at https://a.test/b.png");
    assert_eq!(turns[1], "assistant: thinking Hm.; call weather {\"city\":\"Paris\"} result c1 [text 18]");
}

#[test]
fn cached_and_reasoning_tokens_are_parts_of_input_and_output_for_every_api() {
    let parts = |usage: Value| {
        Tokens::read(&Members::read(usage.to_string().as_bytes()), &otel::SpanAttributes::default()).parts()
    };
    let expected = [("input", 20), ("cached", 80), ("output", 7), ("reasoning", 3)];
    let chat = json!({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 80},
        "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 110});
    let responses = json!({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 80},
        "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 3}});
    assert_eq!((parts(chat).as_slice(), parts(responses).as_slice()), (&expected[..], &expected[..]));
    let anthropic = json!({"input_tokens": 15, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 80, "output_tokens": 7});
    assert_eq!(parts(anthropic), expected[..3]);
    let litellm = json!({"prompt_tokens": 100, "cache_read_input_tokens": 80, "completion_tokens": 7});
    assert_eq!(parts(litellm), expected[..3]);
    let wrong =
        json!({"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": u64::MAX}, "completion_tokens": -1});
    assert_eq!(parts(wrong), [("cached", u64::MAX)]);
}

#[test]
fn several_choices_take_the_place_of_the_answer() {
    let choice =
        |text: &str, reason: &str| json!({"message": {"role": "assistant", "content": text}, "finish_reason": reason});
    for request_messages in [json!(1), Value::Null] {
        let trace = json!({
            "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "choices": {"0": choice("b", "stop"), "1": choice("c", "length")}, "request_messages": request_messages
        });
        let trace = trace.to_string();
        let stored = StoredTrace::read(trace.as_bytes());
        let conversation = stored.conversation();
        assert_eq!(conversation.turns.len(), 1);
        let choices: Vec<_> =
            conversation.choices.iter().map(|choice| (choice.name.as_str(), line(&choice.turn.parts[0]))).collect();
        assert_eq!(choices, [("0", "text b".to_owned()), ("1", "text c".to_owned())]);
        assert_eq!(conversation.choices[1].finish_reason.as_deref(), Some("length"));
    }
    let unanswered =
        json!({"messages": [{"role": "user", "content": "a"}], "choices": {"0": choice("b", "stop")}}).to_string();
    let stored = StoredTrace::read(unanswered.as_bytes());
    let conversation = stored.conversation();
    assert_eq!(conversation.turns.len(), 2, "the only choice is the answer");
}

#[test]
fn values_of_any_shape_are_shown() {
    let odd = json!([null, 1, "text", [], {}, {"role": 1, "content": {"a": 1}}, {"content": [1, null, {"type": "new", "x": 1}]}]);
    for name in ["content", "original", "tool_calls", "parts", "function_call", "audio", "annotations", "reasoning"] {
        for value in odd.as_array().expect("a list") {
            let mut message = json!({"role": "assistant", "content": "a"});
            message[name] = value.clone();
            assert!(turns(&json!([message])).len() <= 8, "{name} {value}");
        }
    }
    for trace in ["", "1", "[]", "{\"messages\": 1}", "{\"messages\": [{\"role\": \"user\"", "\u{0}"] {
        assert!(StoredTrace::read(trace.as_bytes()).conversation().turns.is_empty());
    }
}

#[test]
fn data_urls_may_be_percent_encoded_and_may_have_parameters() {
    for (url, shown) in [
        ("data:image/png,%89PNG%0D%0A", "Image image/png"),
        ("data:image/png;base64,iVBORw0KGgo%3D", "Image image/png"),
        ("DATA:image/PNG;base64,iVBO Rw0K\nGgo", "Image image/png"),
        ("data:image/gif;name=a.gif;base64,R0lGODlh#part", "Image image/gif"),
        ("data:,a%20b", "File text/plain"),
        ("data:image/png;base64,=", "File at (not base64)"),
        ("data:image/png", "Image at data:image/png"),
    ] {
        let messages = json!([{"role": "user", "content": "", "original": {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": url}}]}}]);
        assert_eq!(turns(&messages), [format!("user: {shown}")], "{url}");
    }
}

#[test]
fn only_base64_becomes_a_data_url() {
    for url in [
        "data:image/png;base64,\"><script>",
        "data:text/html,<script>",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "javascript:alert(1)",
    ] {
        let messages = json!([{"role": "user", "content": "", "original": {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": url}}]}}]);
        let shown = turns(&messages);
        assert!(!shown[0].contains("Image image/"), "{shown:?}");
    }
}

#[test]
fn the_header_finds_tokens_durations_and_ends() {
    let header = |trace: Value| Header::read(&Members::read(trace.to_string().as_bytes()));
    let chat = header(json!({"model": "m", "created": 1, "messages": [], "choices": {"0": {"finish_reason": "stop"}},
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}, "log": {"duration": 1.5, "session_id": "s"}}));
    assert_eq!(chat.tokens, Tokens { input: Some(2), output: Some(3), total: Some(5), ..Tokens::default() });
    assert_eq!(
        (chat.seconds, chat.finish_reason.as_deref(), chat.session.as_deref()),
        (Some(1.5), Some("stop"), Some("s"))
    );
    let anthropic =
        header(json!({"usage": {"input_tokens": 2, "output_tokens": 3}, "response": {"stop_reason": "refusal"}}));
    assert_eq!((anthropic.tokens.total, anthropic.is_refused), (Some(5), true));
    let litellm =
        header(json!({"litellm": {"status": "failure", "error_str": "429", "startTime": 3.5, "endTime": 4.0}}));
    assert_eq!((litellm.error.as_deref(), litellm.seconds), (Some("429"), Some(0.5)));
    let span =
        header(json!({"otel": {"startTimeUnixNano": "1000000000", "endTimeUnixNano": "3000000000", "traceId": "t"}}));
    assert_eq!((span.seconds, span.session.as_deref()), (Some(2.0), Some("t")));
    let huge = header(json!({"usage": {"input_tokens": u64::MAX, "output_tokens": 1}, "log": {"duration": "NaN"}}));
    assert_eq!((huge.tokens.total, huge.seconds), (None, None));
}

#[test]
fn the_header_finds_the_times_of_a_call() {
    let attributes = |name: &str, value: f64| {
        json!({"otel": {"span": {"startTimeUnixNano": "1000000000",
        "endTimeUnixNano": "3000000000", "attributes": [{"key": name, "value": {"doubleValue": value}}]}}})
    };
    let litellm = |first: f64| {
        json!({"litellm": {"startTime": 1.0, "completionStartTime": first, "endTime": 3.0,
        "response_time": first - 1.0}})
    };
    for (trace, expected) in [
        (json!({"timing": {"duration": 2.0, "first_token": 0.5}, "log": {"duration": 9}}), (Some(2.0), Some(0.5))),
        (json!({"timing": {"duration": 2.0}}), (Some(2.0), None)),
        (json!({"log": {"duration": 2.0, "first_token": 0.5}}), (Some(2.0), Some(0.5))),
        (json!({"timing": {"duration": -1, "first_token": "soon"}}), (None, None)),
        (litellm(1.5), (Some(2.0), Some(0.5))),
        (litellm(3.0), (Some(2.0), None)),
        (json!({"litellm": {"response_time": 2.0}}), (Some(2.0), None)),
        (attributes("gen_ai.response.time_to_first_chunk", 0.5), (Some(2.0), Some(0.5))),
        (attributes("ai.response.msToFirstChunk", 500.0), (Some(2.0), Some(0.5))),
        (attributes("other", 0.5), (Some(2.0), None)),
    ] {
        let header = Header::read(&Members::read(trace.to_string().as_bytes()));
        assert_eq!((header.seconds, header.first_token), expected, "{trace}");
    }
}

/// The cases that every implementation of the mapping must pass.
const CASES: [&str; 5] = [
    include_str!("../../../../examples/mapping/anthropic.json"),
    include_str!("../../../../examples/mapping/litellm.json"),
    include_str!("../../../../examples/mapping/openai-batch.json"),
    include_str!("../../../../examples/mapping/openai-chat.json"),
    include_str!("../../../../examples/mapping/openai-responses.json"),
];

#[test]
fn no_text_of_a_mapped_call_is_missing_from_its_conversation() {
    let mut checked = 0;
    for case in CASES.iter().flat_map(|cases| serde_json::from_str::<Vec<Value>>(cases).expect("a list of cases")) {
        let Some(trace) = case.get("trace") else { continue };
        let json = trace.to_string();
        let stored = StoredTrace::read(json.as_bytes());
        let conversation = stored.conversation();
        let mut shown = String::new();
        conversation.texts(|text| shown.push_str(text));
        let is_visible = |character: &char| !character.is_whitespace() && *character != '\\';
        let shown: String = shown.chars().filter(is_visible).collect();
        for message in trace["messages"].as_array().expect("messages") {
            for line in message["content"].as_str().unwrap_or_default().lines() {
                let line: String = line.chars().filter(is_visible).collect();
                assert!(shown.contains(&line), "{}: {line} is not in {shown}", case["name"]);
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "{checked} lines of text");
}
