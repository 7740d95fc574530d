use std::fs;

use serde_json::{Value, json};

use super::{export, lines, program, store};

fn chat(messages: &Value) -> String {
    json!({"model": "m", "created": 1, "messages": messages}).to_string()
}

#[tokio::test]
async fn examples_have_the_roles_of_the_provider_and_no_other_members() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let asked = json!({"role": "assistant", "content": "", "tool_calls": [call]});
    let fitted = json!({"role": "user", "content": "42", "tool_call_id": "c",
        "original": {"role": "tool", "content": [{"type": "text", "text": "42"}]}});
    let own = json!({"role": "assistant", "content": "a", "weight": 0, "original": {"mine": 1}});
    store(folder.path(), "m/1", &chat(&json!([asked, fitted, own])), 1);
    store(folder.path(), "m/2", &chat(&json!([asked, fitted, own])), 1);
    store(folder.path(), "m/3", &chat(&json!([own, asked, fitted])), 1);
    store(folder.path(), "m/4", &chat(&json!([own])), 1);
    let options = ["--min-messages", "2", "--last-role", "assistant", "--dedupe"];
    let report = export(folder.path(), &[&["fine-tuning", "-o", "t.jsonl"], &options[..]].concat()).await;
    assert_eq!((report["exported"], report["left out by an option"]), (1, 3));
    let line = fs::read_to_string(folder.path().join("t.jsonl")).expect("the file exists");
    let expected = json!({"messages": [
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c"},
        {"role": "assistant", "content": "a", "weight": 0},
    ]});
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), expected);
}

/// Imports a line of a provider's log, and exports it again.
#[tokio::test]
async fn examples_that_call_tools_define_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tool = json!({"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}}}});
    let call = json!([{"id": "c1", "type": "function",
        "function": {"name": "get_weather", "arguments": "{\"city\":\"Berlin\"}"}}]);
    let user = json!({"role": "user", "content": "Weather in Berlin?"});
    let log = json!({
        "request": {"model": "gpt-4o", "messages": [user], "tools": [tool], "parallel_tool_calls": false},
        "response": {"id": "1", "created": 1_795_305_600, "model": "gpt-4o-2024-08-06", "choices": [{"index": 0,
            "message": {"role": "assistant", "content": null, "tool_calls": call}, "finish_reason": "tool_calls"}]},
    });
    fs::write(folder.path().join("log.jsonl"), log.to_string()).expect("the folder is writable");
    let imported =
        program(folder.path()).args(["import", "--from", "openai-chat", "log.jsonl"]).output().await.expect("it runs");
    assert_eq!(imported.status.code(), Some(0), "{}", String::from_utf8_lossy(&imported.stderr));
    export(folder.path(), &["fine-tuning", "-o", "t.jsonl"]).await;
    let [line] = &lines(&folder.path().join("t.jsonl"))[..] else { panic!("one line") };
    let answer = json!({"role": "assistant", "content": null, "tool_calls": call});
    assert_eq!(
        serde_json::from_str::<Value>(line).expect("JSON"),
        json!({"messages": [user, answer], "tools": [tool], "parallel_tool_calls": false})
    );
}

#[tokio::test]
async fn tools_come_from_the_request_or_else_from_the_trace_in_the_form_of_chat_completions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let messages = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    let tools = |name: &str| json!([{"type": "function", "function": {"name": name}}]);
    let described = json!([{"type": "function",
        "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}}]);
    let cases = [
        (
            json!({"tools": tools("own"), "parallel_tool_calls": true}),
            json!({"tools": tools("own"), "parallel_tool_calls": true}),
        ),
        (json!({"tools": tools("own"), "request": {"tools": tools("r")}}), json!({"tools": tools("r")})),
        (json!({"request": {"functions": [{"name": "f"}]}}), json!({"functions": [{"name": "f"}]})),
        (json!({"request": {"tools": null, "parallel_tool_calls": true}}), json!({})),
        (json!({"request": {"tools": [], "functions": []}}), json!({})),
        // Anthropic's tools. The last tool has no schema, because Anthropic defines it.
        (
            json!({"request": {"tools": [
                {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true,
                    "cache_control": {"type": "ephemeral"}},
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
            ]}}),
            json!({"tools": described}),
        ),
        (
            json!({"request": {"tools": [{"type": "custom", "name": "f", "input_schema": {}}]}}),
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}),
        ),
        // Responses API tools. A tool that takes free text is not a function.
        (
            json!({"request": {"parallel_tool_calls": false, "tools": [
                {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true},
                {"type": "custom", "name": "c"},
                {"type": "web_search"},
            ]}}),
            json!({"tools": described, "parallel_tool_calls": false}),
        ),
        (
            json!({"request": {"tools": [{"type": "function", "name": "f", "parameters": null, "strict": null}]}}),
            json!({"tools": tools("f")}),
        ),
        (json!({"request": "the application's own", "tools": 1, "functions": {}}), json!({})),
    ];
    for (n, (members, _)) in cases.iter().enumerate() {
        let mut trace = json!({"model": "m", "created": 1, "messages": messages});
        trace.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        store(folder.path(), &format!("m/{n:02}"), &trace.to_string(), 1);
    }
    export(folder.path(), &["fine-tuning", "-o", "t.jsonl"]).await;
    for (line, (members, expected)) in lines(&folder.path().join("t.jsonl")).iter().zip(&cases) {
        let mut example = json!({"messages": messages});
        example.as_object_mut().expect("an object").extend(expected.as_object().expect("an object").clone());
        let line = serde_json::from_str::<Value>(line).expect("JSON");
        assert_eq!(line, example, "{members}");
        assert_eq!(violations(&line), Vec::<String>::new());
    }
    assert_eq!(lines(&folder.path().join("t.jsonl")).len(), cases.len());
}

/// Imports calls of Anthropic's Messages API and of the Responses API, and exports them again.
#[tokio::test]
async fn examples_of_every_api_have_the_form_of_chat_completions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let anthropic = r#"{"created": 1, "request": {"model": "m", "system": [{"type": "text", "text": "Be brief."}],
        "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Weather here?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "E="},
                {"type": "text", "text": "I look it up."},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"days": 1.50, "id": 12345678901234567890}},
                {"type": "tool_use", "id": "t2", "name": "weather", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "18.50"},
                {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "24"}]},
                {"type": "text", "text": "And this?"},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/b.png"}}]}]},
        "response": {"id": "a", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "content": [
            {"type": "tool_use", "id": "t3", "name": "weather", "input": {}}]}}"#;
    let responses = r#"{"request": {"model": "m", "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}}],
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "Weather here?"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}]},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{\"city\": \"Rome\"}"},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "24"}]}]},
        "response": {"id": "r", "object": "response", "created_at": 1, "model": "m", "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "24.", "annotations": []}]}]}}"#;
    for (from, line) in [("anthropic", anthropic), ("openai-responses", responses)] {
        let line = line.replace('\n', " ");
        let file = format!("{from}.jsonl");
        fs::write(folder.path().join(&file), line).expect("the folder is writable");
        let imported = program(folder.path()).args(["import", "--from", from, &file]).output().await.expect("it runs");
        assert_eq!(imported.status.code(), Some(0), "{}", String::from_utf8_lossy(&imported.stderr));
    }
    export(folder.path(), &["fine-tuning", "-o", "t.jsonl"]).await;
    let lines = lines(&folder.path().join("t.jsonl"));
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let text = |text: &str| json!({"type": "text", "text": text});
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}});
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
    let [anthropic, responses] = ["t1", "c1"].map(|id| {
        let line = lines.iter().find(|line| line.contains(id)).expect("both are exported");
        serde_json::from_str::<Value>(line).expect("JSON")
    });
    assert_eq!(
        anthropic,
        json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                text("Weather here?"), image("data:image/png;base64,iVBORw0KGgo="), image("https://example.com/a.png")]},
            {"role": "assistant", "content": "I look it up.", "tool_calls": [
                call("t1", r#"{"days":1.50,"id":12345678901234567890}"#), call("t2", "{}")]},
            {"role": "tool", "content": "18.50", "tool_call_id": "t1"},
            {"role": "tool", "content": "24", "tool_call_id": "t2"},
            {"role": "user", "content": [text("And this?"), image("https://example.com/b.png")]},
            {"role": "assistant", "content": null, "tool_calls": [call("t3", "{}")]},
        ], "tools": tools})
    );
    let low = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}});
    assert_eq!(
        responses,
        json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [text("Weather here?"), low]},
            {"role": "assistant", "content": null, "tool_calls": [call("c1", r#"{"city": "Rome"}"#)]},
            {"role": "tool", "content": "24", "tool_call_id": "c1"},
            {"role": "assistant", "content": "24."},
        ], "tools": tools})
    );
    assert_eq!([violations(&anthropic), violations(&responses)].concat(), Vec::<String>::new());
}

#[tokio::test]
async fn arguments_that_are_objects_become_text_with_the_same_digits_and_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = r#"{"model":"m","created":1,"messages":[{"role":"assistant","content":"","tool_calls":[
        {"id":"c","type":"function","function":{"name":"f","arguments":{"a":1.50,"A":1e400,
"b":"\u00e9\n"}}}]}]}"#;
    store(folder.path(), "m/1", trace, 1);
    export(folder.path(), &["fine-tuning", "-o", "t.jsonl"]).await;
    let [line] = &lines(&folder.path().join("t.jsonl"))[..] else { panic!("one line") };
    let example: Value = serde_json::from_str(line).expect("JSON");
    let arguments = &example["messages"][0]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(arguments, r#"{"a":1.50,"A":1e400,"b":"é\n"}"#);
    assert_eq!(violations(&example), Vec::<String>::new());
}

#[tokio::test]
async fn traces_that_the_format_cannot_express_are_left_out_and_counted_by_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let user = |part: Value| json!({"role": "user", "content": "", "original": {"role": "user", "content": [part]}});
    let items = |items: Value| json!({"role": "assistant", "content": "", "original": items});
    let calls = |calls: Value| json!({"role": "assistant", "content": "", "tool_calls": calls});
    let call = |name: &str| json!({"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}});
    let answer = json!({"role": "assistant", "content": "b"});
    let cases = [
        ("audio", json!([user(json!({"type": "input_audio", "input_audio": {"data": "U"}})), answer])),
        ("audio", json!([{"role": "assistant", "content": "b", "audio": {"id": "a"}}])),
        ("a file or a document", json!([user(json!({"type": "file", "file": {"file_id": "f"}})), answer])),
        ("a file or a document", json!([user(json!({"type": "document", "source": {}})), answer])),
        (
            "an image outside a user message, or without a URL",
            json!([user(json!({"type": "input_image", "file_id": "f"})), answer]),
        ),
        (
            "an image outside a user message, or without a URL",
            json!([user(json!({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})), answer]),
        ),
        (
            "an image outside a user message, or without a URL",
            json!([items(
                json!([{"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "https://e"}}]}])
            )]),
        ),
        ("a call of a tool that is not a function", json!([items(json!([{"type": "web_search_call"}])), answer])),
        ("a call of a tool that is not a function", json!([items(json!([{"type": "custom_tool_call"}])), answer])),
        ("a call of a tool that is not a function", json!([items(json!([{"type": "mcp_call"}])), answer])),
        (
            "a call of a tool that is not a function",
            json!([items(json!([{"role": "assistant", "content": [{"type": "server_tool_use"}]}])), answer]),
        ),
        (
            "a call of a tool that is not a function",
            json!([calls(json!([{"id": "c", "type": "custom", "custom": {}}]))]),
        ),
        ("a function name that OpenAI does not accept", json!([calls(json!([call("a.b")]))])),
        ("a function name that OpenAI does not accept", json!([calls(json!([call(&"a".repeat(65))]))])),
        (
            "tool calls and results that do not match",
            json!([{"role": "user", "content": "1", "tool_call_id": "c"}, answer]),
        ),
        ("tool calls and results that do not match", json!([calls(json!([call("f")])), answer])),
        ("messages that only the provider has", json!([items(json!([{"type": "item_reference", "id": "m"}])), answer])),
        ("content of an unknown type", json!([items(json!([{"type": "invented"}])), answer])),
        ("content of an unknown type", json!([user(json!("text")), answer])),
        ("content of an unknown type", json!([calls(json!([{"id": "c", "type": "function"}]))])),
        ("an empty message of the assistant", json!([{"role": "assistant", "content": ""}])),
        ("no message of the assistant", json!([{"role": "user", "content": "a"}])),
    ];
    let mut expected = std::collections::BTreeMap::<_, u64>::new();
    for (n, (reason, messages)) in cases.iter().enumerate() {
        let trace = json!({"model": "m", "created": 1, "messages": messages, "api": "openai-chat"});
        store(folder.path(), &format!("m/{n:02}"), &trace.to_string(), 1);
        *expected.entry(format!("left out: {reason}")).or_default() += 1;
    }
    let members = [
        ("the answer is incomplete", json!({"incomplete": "closed"})),
        ("the answer is incomplete", json!({"error": {"status": 500}})),
        ("messages that only the provider has", json!({"request": {"previous_response_id": "r"}})),
    ];
    for (n, (reason, members)) in members.iter().enumerate() {
        let mut trace = json!({"model": "m", "created": 1, "messages": [answer], "api": "openai-responses"});
        trace.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        store(folder.path(), &format!("n/{n:02}"), &trace.to_string(), 1);
        *expected.entry(format!("left out: {reason}")).or_default() += 1;
    }
    let mut report = export(folder.path(), &["fine-tuning", "-o", "t.jsonl"]).await;
    assert_eq!(report["exported"], 0);
    report.retain(|name, _| name.starts_with("left out: "));
    assert_eq!(report, expected);
}

#[tokio::test]
async fn answers_that_the_provider_did_not_complete_are_left_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chat = |reason: Value| json!({"api": "openai-chat", "choices": {"0": {"index": 0, "finish_reason": reason}}});
    let claude = |reason: Value| json!({"api": "anthropic", "response": {"type": "message", "stop_reason": reason}});
    let responses =
        |status: Value| json!({"api": "openai-responses", "response": {"object": "response", "status": status}});
    let item = |status: &str| json!({"type": "message", "status": status, "role": "assistant", "content": []});
    let answer = |original: Value| json!([{"role": "assistant", "content": "b", "original": original}]);
    let complete = [
        chat(json!("stop")),
        chat(json!("tool_calls")),
        chat(json!("STOP")),
        json!({"api": "openai-chat", "choices": {"0": {"index": 0}}, "response": {"status": "queued"}}),
        claude(json!("end_turn")),
        claude(json!("stop_sequence")),
        responses(json!("completed")),
        json!({"api": "openai-responses", "response": {"status": "completed", "incomplete_details": null, "error": null}}),
        json!({"api": "openai-responses", "messages": answer(json!([item("completed")]))}),
        json!({"api": "litellm", "choices": {"0": {"finish_reason": "stop"}}}),
        // Another program may give these members other meanings.
        json!({"incomplete": false, "error": null, "finish_reason": "stop", "status": "open"}),
        json!({"choices": {"a": {"finish_reason": "stop"}}, "error": ""}),
    ];
    let incomplete = [
        chat(json!("length")),
        chat(json!("content_filter")),
        chat(json!("insufficient_system_resource")),
        chat(json!("")),
        chat(json!(7)),
        chat(Value::Null),
        json!({"api": "openai-chat", "choices": {"0": {"finish_reason": "stop"}, "1": {"finish_reason": "length"}}}),
        claude(json!("max_tokens")),
        claude(json!("refusal")),
        claude(json!("pause_turn")),
        claude(json!("model_context_window_exceeded")),
        claude(Value::Null),
        responses(json!("incomplete")),
        responses(json!("failed")),
        responses(json!("in_progress")),
        json!({"api": "openai-responses", "response": {"incomplete_details": {"reason": "max_output_tokens"}}}),
        json!({"api": "openai-responses", "response": {"error": {"code": "server_error"}}}),
        json!({"api": "openai-responses", "messages": answer(json!([item("incomplete")]))}),
        json!({"api": "openai-responses", "messages": answer(json!({"content": "b", "status": "incomplete"}))}),
        json!({"api": "litellm", "choices": {"0": {"finish_reason": "length"}}}),
        json!({"api": "litellm", "response": {"object": "response", "status": "incomplete"}}),
        json!({"api": "litellm", "response": {"type": "message", "stop_reason": "max_tokens"}}),
        json!({"incomplete": "broken"}),
        json!({"error": {"status": 500}}),
        json!({"choices": {"a": {"finish_reason": "length"}}}),
        json!({"finish_reason": "length"}),
        json!({"stop_reason": "max_tokens"}),
    ];
    for (n, members) in complete.iter().chain(&incomplete).enumerate() {
        let mut trace =
            json!({"model": "m", "created": 1, "messages": [{"role": "assistant", "content": "b"}], "n": n});
        trace.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        trace["messages"][0]["content"] = n.to_string().into();
        store(folder.path(), &format!("m/{n:02}"), &trace.to_string(), 1);
    }
    let report = export(folder.path(), &["fine-tuning", "-o", "t.jsonl"]).await;
    let written: Vec<String> = lines(&folder.path().join("t.jsonl"));
    let expected: Vec<String> = (0..complete.len())
        .map(|n| json!({"messages": [{"role": "assistant", "content": n.to_string()}]}).to_string())
        .collect();
    assert_eq!(written, expected);
    assert_eq!(report["left out: the answer is incomplete"], incomplete.len() as u64);
}

#[tokio::test]
async fn message_names_follow_the_pattern_of_the_api() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (longest, too_long) = ("n".repeat(64), "n".repeat(65));
    let accepted = ["jane", "J.-P._1", "日本", longest.as_str()];
    let refused = ["support agent", "", "a\nb", "a\u{a0}b", "a<b", "a>b", "a|b", "a/b", "a\\b", too_long.as_str()];
    for (n, name) in accepted.iter().chain(&refused).enumerate() {
        for (role, api) in [("user", true), ("assistant", false), ("system", true)] {
            let named = json!({"role": role, "content": "q", "name": name});
            let mut trace =
                json!({"model": "m", "created": 1, "messages": [named, {"role": "assistant", "content": "a"}]});
            if api {
                trace["api"] = "openai-chat".into();
            }
            store(folder.path(), &format!("{role}/{n:02}"), &trace.to_string(), 1);
        }
    }
    let report = export(folder.path(), &["fine-tuning", "-o", "t.jsonl"]).await;
    assert_eq!(report["exported"], 3 * accepted.len() as u64);
    assert_eq!(report["left out: a message name that OpenAI does not accept"], 3 * refused.len() as u64);
}

/// Why some cases of the mapping cannot become examples, by the case's name. All others are exported.
const LEFT_OUT: &[(&str, &str)] = &[
    ("`system` as blocks, with a cache", "an empty message of the assistant"),
    (
        "thinking, redacted thinking, text and tools; each result is a message",
        "an image outside a user message, or without a URL",
    ),
    ("server tools and citations: adjacent pieces of the answer are joined", "a file or a document"),
    ("results without text, blocks that are not objects, and calls without a name", "content of an unknown type"),
    ("a stream that was closed within a call keeps the input's text", "the answer is incomplete"),
    ("an overloaded provider", "the answer is incomplete"),
    ("the session, the user and the tags of a call stay where LiteLLM puts them", "no message of the assistant"),
    ("a failure has no answer", "no message of the assistant"),
    ("parameters with the names of other members stay in the payload", "no message of the assistant"),
    (
        "roles, parts and null: the message fits the schema, and `original` keeps its role and content",
        "an image outside a user message, or without a URL",
    ),
    ("the session, the user and the tags of a line become members of `log`", "no message of the assistant"),
    ("audio, files, a refusal and reasoning", "audio"),
    ("a message with members of the mapping's names", "no message of the assistant"),
    ("messages that are not objects, and objects without role and content", "content of an unknown type"),
    ("messages that are not a list, and an empty list, stay in the request", "no message of the assistant"),
    ("an empty conversation", "no message of the assistant"),
    ("a stored chat completion", "no message of the assistant"),
    ("other members of the line are kept in `log`", "no message of the assistant"),
    ("a call that failed has its error and no response", "the answer is incomplete"),
    ("a stream that was cut off is incomplete", "the answer is incomplete"),
    (
        "reasoning, text and parallel tool calls of one turn are one message; results keep their place",
        "an image outside a user message, or without a URL",
    ),
    ("images, files and audio stay in the message's `original`", "a file or a document"),
    ("server tools, other tools, and items of unknown types", "messages that only the provider has"),
    ("instructions that are not text stay in the request", "no message of the assistant"),
    ("a stream that broke off within a call", "the answer is incomplete"),
    ("a call that could not connect", "the answer is incomplete"),
];

#[tokio::test]
async fn every_case_of_the_mapping_is_a_valid_example_or_is_left_out_with_a_reason() {
    let cases: Vec<Value> = [
        include_str!("../../../../../examples/mapping/anthropic.json"),
        include_str!("../../../../../examples/mapping/litellm.json"),
        include_str!("../../../../../examples/mapping/openai-batch.json"),
        include_str!("../../../../../examples/mapping/openai-chat.json"),
        include_str!("../../../../../examples/mapping/openai-responses.json"),
    ]
    .iter()
    .flat_map(|cases| serde_json::from_str::<Vec<Value>>(cases).expect("JSON"))
    .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut exported = Vec::new();
    let mut expected = std::collections::BTreeMap::<_, u64>::new();
    for (n, case) in cases.iter().enumerate() {
        store(folder.path(), &format!("m/{n:03}"), &case["trace"].to_string(), 1);
        match LEFT_OUT.iter().find(|(name, _)| case["name"] == *name) {
            Some((_, reason)) => *expected.entry(format!("left out: {reason}")).or_default() += 1,
            None => exported.push(case),
        }
    }
    let mut report = export(folder.path(), &["fine-tuning", "-o", "t.jsonl"]).await;
    report.retain(|name, _| name.starts_with("left out: "));
    assert_eq!(report, expected);
    let lines = lines(&folder.path().join("t.jsonl"));
    assert_eq!(lines.len(), exported.len());
    for (line, case) in lines.iter().zip(exported) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(violations(&line), Vec::<String>::new(), "{}", case["name"]);
        let texts = |messages: &Value| -> Vec<Value> {
            let messages = messages.as_array().expect("a list").iter();
            messages.map(|message| message["content"].clone()).filter(|content| content.as_str() != Some("")).collect()
        };
        let ours: Vec<Value> = texts(&line["messages"]).into_iter().filter(|content| !content.is_null()).collect();
        assert_eq!(ours, texts(&case["trace"]["messages"]), "{}", case["name"]);
    }
}

/// Returns the violations of OpenAI's format. The format is `FineTuneChatRequestInput` in OpenAI's OpenAPI document,
/// minus the members that OpenAI's fine-tuning guides do not describe, plus the Chat Completions rules for calls and
/// results.
fn violations(example: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |is_valid: bool, what: String| {
        if !is_valid {
            found.push(what);
        }
    };
    let mut open = Vec::new();
    let messages = example["messages"].as_array().cloned().unwrap_or_default();
    check(messages.iter().any(|message| message["role"] == "assistant"), "no message of the assistant".to_owned());
    for message in &messages {
        let (role, content) = (message["role"].as_str().unwrap_or_default(), &message["content"]);
        let has_calls = message.get("tool_calls").is_some() || message.get("function_call").is_some();
        let members: &[&str] = match role {
            "system" | "user" | "function" => &["role", "content", "name"],
            "assistant" => &["role", "content", "name", "refusal", "tool_calls", "function_call", "weight"],
            "tool" => &["role", "content", "tool_call_id"],
            _ => &[],
        };
        for name in message.as_object().expect("an object").keys() {
            check(members.contains(&name.as_str()), format!("{name} in a message of {role}"));
        }
        let is_text = match content {
            Value::String(text) => role != "assistant" || !text.is_empty(),
            Value::Null => role == "assistant" && (has_calls || message.get("refusal").is_some()),
            Value::Array(parts) => {
                role == "user"
                    && parts.iter().all(|part| match part["type"].as_str() {
                        Some("text") => part["text"].is_string(),
                        Some("image_url") => part["image_url"]["url"].is_string(),
                        _ => false,
                    })
            }
            _ => false,
        };
        check(is_text, format!("the content of {role}: {content}"));
        if role == "tool" {
            let before = open.len();
            open.retain(|id| *id != message["tool_call_id"]);
            check(open.len() + 1 == before, format!("the result of {}", message["tool_call_id"]));
        } else {
            check(open.is_empty(), format!("no result of {open:?}"));
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let function = call["function"].as_object().expect("an object");
            check(
                call["id"].is_string()
                    && call["type"] == "function"
                    && call.as_object().is_some_and(|call| call.len() == 3),
                format!("{call}"),
            );
            check(
                is_name(&function["name"]) && function["arguments"].is_string() && function.len() == 2,
                format!("{call}"),
            );
            open.push(call["id"].clone());
        }
    }
    for tool in example["tools"].as_array().into_iter().flatten() {
        let function = tool["function"].as_object().expect("an object");
        let is_known = |name: &String| ["name", "description", "parameters", "strict"].contains(&name.as_str());
        check(
            tool["type"] == "function" && is_name(&function["name"]) && function.keys().all(is_known),
            format!("{tool}"),
        );
    }
    let members = ["messages", "tools", "parallel_tool_calls", "functions"];
    for name in example.as_object().expect("an object").keys() {
        check(members.contains(&name.as_str()), format!("the member {name}"));
    }
    found
}

fn is_name(name: &Value) -> bool {
    name.as_str().is_some_and(|name| {
        (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    })
}
