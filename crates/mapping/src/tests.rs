//! Tests the mapping with the cases that all its implementations share.

use std::{collections::BTreeMap, fs, path::Path};

use attest::trace::Trace;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    json::{Json, Members},
    *,
};

#[derive(Deserialize)]
struct Case {
    name: String,
    from: String,
    line: Box<RawValue>,
    #[serde(default)]
    trace: Option<Box<RawValue>>,
    /// JSON Pointer to the repeated name because of which the line is refused.
    #[serde(default)]
    refused: Option<String>,
}

impl Case {
    fn format(&self) -> Format {
        Format::from_name(&self.from).expect("the case names a format")
    }

    /// The line as it occurs in a log.
    fn line(&self) -> String {
        self.line.get().lines().map(str::trim_start).collect()
    }
}

fn to_trace(format: Format, line: &[u8]) -> Result<Vec<u8>, Unmapped> {
    let mapping = LineMapping { format: LineFormat::Provider(format), defaults: Defaults::default() };
    mapping.to_trace(line, BatchRequest::Unknown)
}

/// The cases of all implementations, and those of the formats that only the import reads.
fn cases() -> Vec<Case> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cases: Vec<Case> = Vec::new();
    for folder in [own.join("../../examples/mapping"), own.join("import-cases")] {
        for file in fs::read_dir(folder).expect("the cases are in the repository") {
            let text = fs::read_to_string(file.expect("the folder is readable").path()).expect("the file is readable");
            cases.extend(serde_json::from_str::<Vec<Case>>(&text).expect("a list of cases"));
        }
    }
    cases
}

/// Parses JSON and formats it again. Numbers keep their digits, and members their order.
fn printed(text: &str) -> String {
    serde_json::to_string(&json::parse(text.as_bytes()).expect("it is JSON")).expect("it was JSON")
}

#[test]
fn every_line_becomes_its_trace() {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for case in cases() {
        let Some(trace) = &case.trace else { continue };
        let mapped = to_trace(case.format(), case.line().as_bytes()).expect(&case.name);
        assert_eq!(String::from_utf8_lossy(&mapped), printed(trace.get()), "{}", case.name);
        Trace::parse(mapped, || "i".to_owned()).unwrap_or_else(|problem| panic!("{}: {problem:?}", case.name));
        *counts.entry(case.from).or_default() += 1;
    }
    println!("{counts:?}");
    assert_eq!(counts.len(), Format::ALL.len(), "every format has cases");
}

#[test]
fn lines_with_a_repeated_name_are_refused_with_its_pointer() {
    let mut count = 0;
    for case in cases() {
        let Some(pointer) = &case.refused else { continue };
        let unmapped = to_trace(case.format(), case.line().as_bytes()).expect_err(&case.name);
        assert_eq!(unmapped, Unmapped::RepeatedName { pointer: pointer.clone() }, "{}", case.name);
        count += 1;
    }
    assert!(count >= 9, "{count}");
}

#[test]
fn a_repeated_name_is_found_in_objects_with_many_members() {
    for members in [1, 15, 16, 17, 40] {
        let names: Vec<String> = (0..members).map(|n| format!("\"n{n}\":{n}")).collect();
        for repeated in [0, members - 1] {
            let line = format!("{{\"a\":[0,{{{},\"n{repeated}\":1}}]}}", names.join(","));
            let unmapped = json::parse(line.as_bytes()).expect_err("a name is repeated");
            assert_eq!(unmapped, Unmapped::RepeatedName { pointer: format!("/a/1/n{repeated}") });
        }
        assert!(json::parse(format!("{{{}}}", names.join(",")).as_bytes()).is_ok());
    }
}

#[test]
fn lines_that_are_not_a_call_are_refused_without_quoting_them() {
    let deep = "[".repeat(100_000);
    for line in [
        "",
        "1",
        "[]",
        "{}",
        r#"{"secret":1}"#,
        r#"{"request":{},"response":{}}"#,
        r#"{"secret" 1}"#,
        r#"{"request":"secret"}"#,
        r#"{"response":{"body":"secret"}}"#,
        "{\"secret\":\"\\ud8\"}",
        r#"{"secret":01}"#,
        r#"{"secret":1} {"secret":1}"#,
        "{\"secret\":\"\u{1}\"}",
        deep.as_str(),
    ] {
        for format in Format::ALL {
            let unmapped = to_trace(format, line.as_bytes()).expect_err("it is not a call");
            assert!(!unmapped.problem().to_string().contains("secret"), "{unmapped:?}");
        }
    }
    assert!(to_trace(Format::Litellm, b"{\"a\":\"\xff\"}").is_err());
}

#[test]
fn nan_and_infinities_become_texts() {
    assert_eq!(printed("[NaN, -Infinity, Infinity, 1]"), r#"["NaN","-Infinity","Infinity",1]"#);
}

#[test]
fn members_of_a_line_that_the_mapping_does_not_know_are_kept() {
    // An empty `error` or `incomplete` is a member like any other.
    for rest in
        [r#""error":null"#, r#""incomplete":"""#, r#""incomplete":7"#, r#""response":"text""#, r#""x":{"y":1.50}"#]
    {
        let line = format!(r#"{{"request":{{"model":"m","created":1,"messages":[]}},{rest}}}"#);
        let trace = to_trace(Format::OpenaiChat, line.as_bytes()).expect("it is a call");
        let trace = String::from_utf8(trace).expect("it is UTF-8");
        assert!(trace.ends_with(&format!(r#""log":{{{rest}}}}}"#)), "{trace}");
    }
    for error in ["false", "0", r#""""#, "{}"] {
        let line = format!(r#"{{"request":{{"model":"m","created":1}},"error":{error}}}"#);
        let trace = to_trace(Format::Anthropic, line.as_bytes()).expect("it is a call");
        assert!(String::from_utf8_lossy(&trace).contains(&format!(r#""error":{error}"#)), "{error}");
    }
}

#[test]
fn the_providers_request_is_rebuilt_from_its_trace() {
    let value = |json: &str| serde_json::from_str::<Value>(json).expect("it is JSON");
    let mut count = 0;
    for case in cases() {
        let Some(trace) = &case.trace else { continue };
        let Ok(Json::Object(mut line)) = json::parse(case.line().as_bytes()) else { continue };
        let Some(mut request) = line.take_object("request") else { continue };
        let trace = Members::read(trace.get().as_bytes());
        let Some(rebuilt) = rebuild::request(&trace) else { continue };
        if !request.contains("model") {
            request.push("model", trace.get("model").expect("every trace has a model").clone());
        }
        assert_eq!(value(&Json::from(rebuilt).to_string()), value(&Json::from(request).to_string()), "{}", case.name);
        count += 1;
    }
    assert!(count > 20, "{count}");
}

fn mapped(map: &str, defaults: Defaults, line: &str) -> Result<String, Unmapped> {
    let format = LineFormat::Own(Box::new(MemberMap::read(map).expect("a map")));
    let trace = LineMapping { format, defaults }.to_trace(line.as_bytes(), BatchRequest::Unknown)?;
    Trace::parse(trace.clone(), || "i".to_owned()).unwrap_or_else(|problem| panic!("{line}: {problem:?}"));
    Ok(String::from_utf8(trace).expect("it is UTF-8"))
}

#[test]
fn a_map_moves_texts_and_keeps_every_other_member() {
    let defaults = || Defaults { model: Some("d".to_owned()), created: Some(9) };
    let map = r#"{"id":"key","model":"meta.model","created":"meta.at","messages":"turns","role":"who","content":"text",
        "roles":{"bot":"assistant"},"request":["meta.temperature"],"session_id":"meta.chat"}"#;
    let line = r#"{"key":7,"meta":{"model":"m","at":"1.5","temperature":0.50,"chat":"c"},
        "turns":[{"who":"bot","text":"Hi","role":1},{"who":"user","text":"Yes"}],"x":1}"#;
    let trace = r#"{"id":"7","model":"m","created":1,"messages":[{"role":"assistant","content":"Hi","who":"bot","own_role":1},{"role":"user","content":"Yes"}],"request":{"temperature":0.50},"session_id":"c","log":{"key":7,"meta":{"model":"m","at":"1.5","chat":"c"},"x":1}}"#;
    assert_eq!(mapped(map, defaults(), line).as_deref(), Ok(trace));

    let map = r#"{"system":"s","prompt":"q","answer":"a"}"#;
    let trace = r#"{"model":"d","created":9,"messages":[{"role":"system","content":"S"},{"role":"user","content":"Q"},{"role":"assistant","content":"A"}]}"#;
    assert_eq!(mapped(map, defaults(), r#"{"a":"A","q":"Q","s":"S"}"#).as_deref(), Ok(trace));

    let trace =
        r#"{"model":"d","created":9,"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"}]}"#;
    assert_eq!(mapped(r#"{"messages":"data"}"#, defaults(), r#"{"data":["Q","A"]}"#).as_deref(), Ok(trace));

    for (line, reason) in [
        (r#"{"s":"S"}"#, "no messages"),
        (r#"{"q":1}"#, "no list and no text in `q`, `a`"),
        (r#"{"q":"Q","q":"R"}"#, "twice"),
    ] {
        let problem = mapped(map, defaults(), line).expect_err(line).problem().to_string();
        assert!(problem.contains(reason), "{problem}");
    }
    let problem = |defaults| mapped(map, defaults, r#"{"q":"Q"}"#).expect_err("it has no model").problem().to_string();
    assert!(problem(Defaults::default()).contains("no `model`"));
    assert!(problem(Defaults { created: None, ..defaults() }).contains("no time `created`"));
    for map in ["{}", r#"{"model":"m"}"#, r#"{"messages":"m","x":"y"}"#, "[]", "x"] {
        assert!(MemberMap::read(map).is_err(), "{map}");
    }
}

#[test]
fn the_requests_file_of_a_batch_adds_the_request() {
    let format = LineFormat::Provider(Format::OpenaiBatch);
    let mapping = LineMapping { format, defaults: Defaults { model: None, created: Some(5) } };
    let line = br#"{"id":"b","custom_id":"c","response":null,"error":{"code":"batch_expired"}}"#;
    let request = br#"{"custom_id":"c","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"Hi"}],"n":1}}"#;
    let trace = mapping.to_trace(line, BatchRequest::Line(request)).expect("it is mapped");
    let expected = r#"{"model":"m","created":5,"messages":[{"role":"user","content":"Hi"}],"api":"openai-chat","request_messages":1,"request":{"model":"m","n":1},"error":{"code":"batch_expired"},"log":{"id":"b","custom_id":"c","response":null,"request":{"method":"POST","url":"/v1/chat/completions"}}}"#;
    assert_eq!(String::from_utf8_lossy(&trace), expected);
    assert!(mapping.to_trace(line, BatchRequest::Unknown).is_err(), "no model is known");
    let missing = mapping.to_trace(line, BatchRequest::Missing).expect_err("the request is missing");
    assert!(missing.problem().to_string().contains("no line with this `custom_id`"));
    assert_eq!(
        (custom_id(line).as_deref(), custom_id(request).as_deref(), custom_id(b"{}")),
        (Some("c"), Some("c"), None)
    );
}

#[test]
fn times_are_days_numbers_and_rfc_3339() {
    for (text, seconds) in
        [("5", Some(5)), ("1970-01-02", Some(86_400)), ("1970-01-01T00:00:07Z", Some(7)), ("soon", None), ("", None)]
    {
        assert_eq!(time_of(text), seconds, "{text}");
    }
}
