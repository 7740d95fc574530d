//! Tests requests from real packages, which `recordings/record.py` has recorded.

use std::{fs, path::Path};

use attest_otlp::{
    batch::{Batch, Spans},
    wire::{Encoding, Signal, decode},
};
use serde_json::{Value, json};

use crate::support::traces;

const QUESTION: &str = "Wie heißt \"das\"?\n🌍";
const ANSWER: &str = "Ja 🌍 so.";
const RESULT: &str = "18.50 °C";

/// Reads the recorded requests of a package and scenario, in order.
fn batches(name: &str, signal: Signal) -> Vec<Batch> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let signal_name = if signal == Signal::Traces { "traces" } else { "logs" };
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder exists")
        .map(|file| file.expect("an entry").path())
        .filter(|file| {
            let name_of_file = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let stem = name_of_file.strip_suffix(&format!(".{signal_name}.binpb")).unwrap_or_default();
            stem == name || stem.strip_prefix(name).is_some_and(|rest| rest.starts_with("-2"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{name} is recorded");
    files
        .iter()
        .map(|file| {
            let body = fs::read(file).expect("a recording can be read");
            let request = decode(signal, Encoding::Protobuf, &body).expect("a package sends OTLP");
            let again = decode(signal, Encoding::Json, request.to_string().as_bytes()).expect("the same request");
            assert_eq!(again, request, "both encodings are read alike");
            Batch::read(signal, &request, Spans::Calls, usize::MAX).expect("there is room")
        })
        .collect()
}

/// Returns the traces with messages, shortest conversation first.
fn calls(name: &str, signal: Signal) -> Vec<Value> {
    let mut calls: Vec<Value> = batches(name, signal).iter().flat_map(traces).collect();
    calls.retain(|trace| trace["object"] == "chat.trace");
    calls.sort_by_key(|trace| trace["messages"].as_array().map(Vec::len));
    calls
}

/// Returns those members of a message that every package records.
fn essence(message: &Value) -> Value {
    let mut essence = json!({"role": message["role"], "content": message["content"]});
    if let Some(id) = message.get("tool_call_id") {
        essence["tool_call_id"] = id.clone();
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let arguments = &call["function"]["arguments"];
        let arguments: Value =
            arguments.as_str().map_or_else(|| arguments.clone(), |text| serde_json::from_str(text).expect("JSON"));
        essence["call"] = json!([call["id"], call["function"]["name"], arguments]);
    }
    essence
}

fn conversation(trace: &Value) -> Value {
    trace["messages"].as_array().expect("a list").iter().map(essence).collect()
}

/// Checks a package's calls. `models` are the expected models of a plain and of a streamed call.
fn check(name: &str, signal: Signal, models: [&str; 2]) {
    let system = json!({"role": "system", "content": "Be brief."});
    let question = json!({"role": "user", "content": QUESTION});
    let answer = json!({"role": "assistant", "content": ANSWER});
    for (scenario, model) in ["plain", "stream"].into_iter().zip(models) {
        let calls = calls(&format!("{name}-{scenario}"), signal);
        assert_eq!(calls.len(), 1, "{name} {scenario}");
        assert_eq!(conversation(&calls[0]), json!([system, question, answer]), "{name} {scenario}");
        assert_eq!(
            (&calls[0]["model"], &calls[0]["request_messages"]),
            (&json!(model), &json!(2)),
            "{name} {scenario}"
        );
    }
    let calls = calls(&format!("{name}-tools"), signal);
    assert_eq!(calls.len(), 2, "{name}");
    let call = json!({"role": "assistant", "content": "", "call": ["call_1", "weather", {"city": "Köln"}]});
    let result = json!({"role": "user", "content": RESULT, "tool_call_id": "call_1"});
    assert_eq!(conversation(&calls[0]), json!([system, question, call]), "{name}");
    assert_eq!(conversation(&calls[1]), json!([system, question, call, result, answer]), "{name}");
    for trace in &calls {
        assert!(trace.get("incomplete").is_none() && trace["otel"].is_object(), "{name}");
    }
}

fn usage(name: &str, signal: Signal, input: u64, output: u64) {
    let trace = calls(&format!("{name}-plain"), signal).remove(0);
    let usage = &trace["usage"];
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(input), &json!(output)), "{name}: {usage}");
    assert_eq!(usage["cache_read"]["input_tokens"], 3, "{name}: {usage}");
}

#[test]
fn the_calls_of_each_package_are_complete() {
    for (name, signal) in [
        ("genai-openai", Signal::Traces),
        ("genai-openai-events", Signal::Logs),
        ("openllmetry-openai", Signal::Traces),
        ("openinference", Signal::Traces),
        ("pydantic-ai", Signal::Traces),
        ("ai-sdk", Signal::Traces),
    ] {
        check(name, signal, ["stand-in-1"; 2]);
        usage(name, signal, 12, 5);
    }
    // For a stream, LangChain's instrumentation knows only the requested model.
    check("langchain", Signal::Traces, ["stand-in-1", "stand-in"]);
    usage("langchain", Signal::Traces, 12, 5);
    for name in ["openllmetry-anthropic", "anthropic"] {
        check(name, Signal::Traces, ["stand-in-1"; 2]);
        usage(name, Signal::Traces, 14, 5);
    }
}

#[test]
fn openllmetry_before_0_62_is_complete() {
    check("openllmetry-old", Signal::Traces, ["stand-in-1"; 2]);
}

/// The model and the tokens are only in the span.
#[test]
fn records_of_one_message_each_are_joined() {
    for name in ["openai-v2", "js-openai"] {
        check(name, Signal::Logs, ["unknown"; 2]);
        for batch in batches(&format!("{name}-plain"), Signal::Traces) {
            let span = traces(&batch).remove(0);
            assert_eq!((&span["object"], &span["model"]), (&json!("otel.span"), &json!("stand-in-1")), "{name}");
            assert_eq!(span["usage"]["input_tokens"], 12, "{name}");
        }
    }
}

#[test]
fn the_sdk_of_anthropic_beside_openllmetry_is_no_second_call() {
    for (scenario, calls) in [("plain", 1), ("stream", 1), ("tools", 2)] {
        for batch in batches(&format!("openllmetry-anthropic-{scenario}"), Signal::Traces) {
            assert_eq!((batch.received, batch.skipped, batch.drafts.len()), (2 * calls, calls, calls), "{scenario}");
        }
    }
}
