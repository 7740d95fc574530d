//! Lines in other formats than traces, and the requests of a batch.

use super::*;

async fn run(files: &[(&str, &str)], arguments: &[&str]) -> (TempDir, Output) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    let output = import(folder.path(), arguments).await;
    (folder, output)
}

fn stored(folder: &TempDir) -> Vec<Value> {
    let objects = objects(&folder.path().join("traces"));
    let objects = objects.iter().filter(|(key, _)| !key.starts_with('.'));
    objects.filter_map(|(_, object)| serde_json::from_slice(object).ok()).collect()
}

#[tokio::test]
async fn sharegpt_and_fine_tuning_data_become_traces_with_a_stated_model_and_time() {
    let sharegpt = r#"{"id":"a","conversations":[{"from":"human","value":"Hi"},{"from":"gpt","value":"Hello"}]}"#;
    let messages = r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}"#;
    let map = r#"{"prompt":"q","answer":"a"}"#;
    for (line, format) in [
        (sharegpt, ["--from", "sharegpt"]),
        (messages, ["--from", "messages"]),
        (r#"{"a":"Hello","q":"Hi"}"#, ["--map", "map"]),
    ] {
        let text = format!("{line}\n{{\"other\":1}}\n");
        let files = [("t.jsonl", text.as_str()), ("map", map)];
        let values = ["--model", "gpt-4", "--created", "2023-04-01"];
        let (folder, output) = run(&files, &[&["t.jsonl"], &format[..], &values].concat()).await;
        let report = counts(&output.stdout);
        assert_eq!((output.status.code(), report["stored"], report["refused"]), (Some(1), 1, 1), "{format:?}");
        let traces = stored(&folder);
        assert_eq!(traces.len(), 1, "{format:?}");
        assert_eq!((&traces[0]["model"], &traces[0]["created"]), (&json!("gpt-4"), &json!(1_680_307_200)));
        let texts: Vec<_> =
            traces[0]["messages"].as_array().expect("a list").iter().map(|m| (&m["role"], &m["content"])).collect();
        assert_eq!(texts, [(&json!("user"), &json!("Hi")), (&json!("assistant"), &json!("Hello"))], "{format:?}");

        let again = import(folder.path(), &[&["t.jsonl"], &format[..], &values].concat()).await;
        let report = counts(&again.stdout);
        assert_eq!((report["confirmed by an earlier run"], report["refused"]), (1, 1), "{format:?}");
        let other =
            import(folder.path(), &[&["t.jsonl"], &format[..], &["--model", "m", "--created", "0"]].concat()).await;
        let error = String::from_utf8_lossy(&other.stderr);
        assert!(other.status.code() == Some(2) && error.contains("belongs to an import"), "{error}");

        let dry = import(folder.path(), &[&["t.jsonl", "--dry-run"], &format[..], &["--model", "m"]].concat()).await;
        let said = String::from_utf8_lossy(&dry.stderr);
        assert_eq!((dry.status.code(), counts(&dry.stdout)["refused"]), (Some(1), 2), "{said}");
        assert!(said.contains("no time `created`"), "{said}");
    }
}

#[tokio::test]
async fn the_requests_of_a_batch_are_joined_and_its_failed_lines_are_stored() {
    let request = |id: &str| {
        json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": "gpt-4o", "messages": [{"role": "user", "content": format!("question {id}")}]}})
    };
    let requests = [request("a"), request("b"), request("c")].map(|line| line.to_string() + "\n").concat();
    let body = json!({"object": "chat.completion", "created": 7, "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "answer"}, "finish_reason": "stop"}]});
    let output = [
        json!({"id": "1", "custom_id": "b", "response": {"status_code": 200, "body": body}, "error": null}),
        json!({"id": "2", "custom_id": "a", "response": {"status_code": 429, "body": {"error": {"code": "rate"}}}, "error": null}),
        json!({"id": "3", "custom_id": "c", "response": null, "error": {"code": "batch_expired", "message": "late"}}),
        json!({"id": "4", "custom_id": "d", "response": null, "error": {"code": "batch_expired", "message": "late"}}),
    ];
    let output = output.map(|line| line.to_string() + "\n").concat();
    let files = [
        ("out.jsonl", output.as_str()),
        ("in.jsonl", requests.as_str()),
        ("twice.jsonl", &(requests.clone() + &requests)),
    ];
    let batch = ["out.jsonl", "--from", "openai-batch"];
    let join = ["--requests", "in.jsonl", "--created", "2026-11-30"];
    let (folder, ran) = run(&files, &[&batch[..], &join].concat()).await;
    let report = counts(&ran.stdout);
    assert_eq!((ran.status.code(), report["stored"], report["refused"]), (Some(1), 3, 1));
    let reasons = fs::read_to_string(folder.path().join("out.jsonl.rejected.jsonl")).expect("reasons");
    assert!(reasons.contains("no line with this `custom_id`"), "{reasons}");
    let traces = stored(&folder);
    for (id, texts, error) in [
        ("b", &["question b", "answer"][..], Value::Null),
        ("a", &["question a"], json!({"status": 429, "body": {"error": {"code": "rate"}}})),
        ("c", &["question c"], json!({"code": "batch_expired", "message": "late"})),
    ] {
        let trace = traces.iter().find(|trace| trace["log"]["custom_id"] == id).expect(id);
        let messages = trace["messages"].as_array().expect("a list");
        assert_eq!(
            messages.iter().filter_map(|message| message["content"].as_str()).collect::<Vec<_>>(),
            texts,
            "{id}"
        );
        assert_eq!((&trace["error"], &trace["log"]["request"]["method"]), (&error, &json!("POST")), "{id}");
    }

    for (arguments, said) in [
        (&["out.jsonl", "--from", "openai-batch", "--requests", "twice.jsonl"][..], "twice.jsonl:4: another request"),
        (&["out.jsonl", "--from", "openai-batch", "--requests", "missing.jsonl"], "missing.jsonl"),
        (&["out.jsonl", "--from", "messages", "--requests", "in.jsonl"], "--requests needs --from openai-batch"),
        (&["out.jsonl", "--model", "m"], "--from"),
        (&["out.jsonl", "--map", "in.jsonl"], "in.jsonl is not a map of members"),
        (&["out.jsonl", "--from", "messages", "--created", "soon"], "it is no time"),
    ] {
        let output = import(folder.path(), arguments).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(said), "{said}: {error}");
    }
}
