//! Fine-tuning examples.

use std::fs;

use serde_json::{Value, json};

use super::{export, lines, program, store};

fn chat(messages: &Value) -> String {
    json!({"model": "m", "created": 1, "messages": messages}).to_string()
}

#[tokio::test]
async fn examples_have_the_messages_of_the_provider() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fitted =
        json!({"role": "user", "content": "42", "tool_call_id": "c", "original": {"role": "tool", "content": [1]}});
    let own = json!({"role": "assistant", "content": "a", "original": {"mine": 1}});
    store(folder.path(), "m/1", &chat(&json!([fitted, own])), 1);
    store(folder.path(), "m/2", &chat(&json!([fitted, own])), 1);
    store(folder.path(), "m/3", &chat(&json!([own, fitted])), 1);
    store(folder.path(), "m/4", &chat(&json!([own])), 1);
    let options = ["--min-messages", "2", "--last-role", "assistant", "--dedupe"];
    let report = export(folder.path(), &[&["fine-tuning", "-o", "t.jsonl"], &options[..]].concat()).await;
    assert_eq!((report["exported"], report["left out by an option"]), (1, 3));
    let line = fs::read_to_string(folder.path().join("t.jsonl")).expect("the file exists");
    let tool = json!({"role": "tool", "content": [1], "tool_call_id": "c"});
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), json!({"messages": [tool, own]}));
}

/// A line of a provider's log, imported and exported again.
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
        program(folder.path()).args(["import", "--from", "openai", "log.jsonl"]).output().await.expect("it runs");
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
async fn tools_come_from_the_request_or_else_from_the_trace_and_only_in_the_form_that_fine_tuning_accepts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let messages = json!([{"role": "user", "content": "a"}]);
    let tools = |name: &str| json!([{"type": "function", "function": {"name": name}}]);
    let cases = [
        (
            json!({"tools": tools("own"), "parallel_tool_calls": true}),
            json!({"tools": tools("own"), "parallel_tool_calls": true}),
        ),
        (json!({"tools": tools("own"), "request": {"tools": tools("r")}}), json!({"tools": tools("r")})),
        (json!({"request": {"functions": [{"name": "f"}]}}), json!({"functions": [{"name": "f"}]})),
        (json!({"request": {"tools": null, "parallel_tool_calls": true}}), json!({})),
        (json!({"request": {"tools": [], "functions": []}}), json!({})),
        // Tools of Anthropic's and of OpenAI's Responses API.
        (json!({"request": {"tools": [{"name": "f", "input_schema": {}}]}}), json!({})),
        (json!({"request": {"tools": [{"type": "function", "name": "f"}]}}), json!({})),
        (json!({"request": "the application's own", "tools": 1, "functions": {}}), json!({})),
    ];
    for (n, (members, _)) in cases.iter().enumerate() {
        let mut trace = json!({"model": "m", "created": 1, "messages": messages});
        trace.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        store(folder.path(), &format!("m/{n}"), &trace.to_string(), 1);
    }
    export(folder.path(), &["fine-tuning", "-o", "t.jsonl"]).await;
    for (line, (members, expected)) in lines(&folder.path().join("t.jsonl")).iter().zip(&cases) {
        let mut example = json!({"messages": messages});
        example.as_object_mut().expect("an object").extend(expected.as_object().expect("an object").clone());
        assert_eq!(serde_json::from_str::<Value>(line).expect("JSON"), example, "{members}");
    }
    assert_eq!(lines(&folder.path().join("t.jsonl")).len(), cases.len());
}
