//! `export`, as a person runs it: the program itself, over a folder as the endpoint leaves it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use arrow_array::{Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::import::{counts, objects, program};

async fn export(folder: &Path, arguments: &[&str]) -> BTreeMap<String, u64> {
    let output = program(folder).arg("export").args(arguments).output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    counts(&output.stderr).into_iter().collect()
}

/// Stores an object as the endpoint does, that many minutes ago.
fn store(folder: &Path, key: &str, object: &str, minutes_ago: u64) {
    let path = folder.join("traces").join(format!("{key}.json"));
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, object).expect("a file");
    let time = SystemTime::now() - Duration::from_mins(minutes_ago);
    File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("its time is set");
}

fn trace(model: &str, id: &str, rest: &str) -> String {
    format!(
        r#"{{"model":"{model}","created":1,"messages":[{{"role":"user","content":"Grüße\n"}}]{rest},"id":"{id}","system_fingerprint":"{model}","object":"chat.trace"}}"#
    )
}

fn folder_of(traces: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for n in 0..traces {
        let id = format!("{n:05}");
        // Four days, with 2 min of the first day's traces still fresh.
        store(folder.path(), &format!("m/{id}"), &trace("m", &id, ""), 10 + 1_440 * (n as u64 % 4));
    }
    folder
}

#[tokio::test]
async fn exported_and_imported_into_another_folder_the_traces_are_the_same_to_the_byte() {
    let folder = folder_of(20);
    store(folder.path(), "m/a%2Fb", &trace("m", "a/b", r#","number":0.10"#), 10);
    store(folder.path(), "other/1", &trace("other", "1", ""), 10);
    let report = export(folder.path(), &["-o", "t.jsonl"]).await;
    assert_eq!((report["exported"], report["no traces"]), (22, 0));
    let imported =
        program(folder.path()).args(["import", "t.jsonl", "--folder", "copy"]).output().await.expect("it runs");
    assert_eq!(imported.status.code(), Some(0));
    assert_eq!(objects(&folder.path().join("traces")), objects(&folder.path().join("copy")));
}

#[tokio::test]
async fn options_choose_what_is_exported() {
    let folder = folder_of(4);
    store(folder.path(), "other/1", &trace("other", "1", ""), 1);
    store(folder.path(), "m/pretty", &trace("m", "pretty", ",\r\n  \"x\": 1\n"), 1);
    store(folder.path(), "m2/1", &trace("m", "1", ""), 1);
    let yesterday = jiff::Timestamp::now() - Duration::from_hours(12);
    let yesterday = yesterday.to_string();
    for (arguments, exported) in [
        (vec!["--model", "m"], 6),
        (vec!["--prefix", "m"], 5),
        (vec!["--since", &yesterday], 4),
        (vec!["--until", &yesterday], 3),
        (vec!["--since", "2000-01-01", "--until", "2000-01-02T00:00:00Z"], 0),
    ] {
        let file = folder.path().join("t.jsonl");
        export(folder.path(), &[&["-o", "t.jsonl"], &arguments[..]].concat()).await;
        let lines = fs::read_to_string(&file).expect("a file");
        assert_eq!(lines.lines().count(), exported, "{arguments:?}");
        assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "a trace a line");
        fs::remove_file(file).expect("it is there");
    }
    let stdout =
        program(folder.path()).args(["export", "-o", "-", "--model", "other"]).output().await.expect("it runs");
    assert_eq!(String::from_utf8_lossy(&stdout.stdout).trim_end(), trace("other", "1", ""));

    // What is no trace is left out, and told.
    store(folder.path(), "m/broken", "{", 1);
    let output = program(folder.path()).args(["export", "-o", "t.jsonl"]).output().await.expect("it runs");
    assert_eq!((output.status.code(), counts(&output.stderr)["no traces"]), (Some(1), 1));
    // A file that is there is not overwritten.
    let output = program(folder.path()).args(["export", "-o", "t.jsonl"]).output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(2));
}

fn decompressed(path: &Path) -> Vec<u8> {
    let file = File::open(path).expect("a file");
    let mut text = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(file).read_to_end(&mut text),
        Some("zst") => zstd::Decoder::new(file).and_then(|mut decoder| decoder.read_to_end(&mut text)),
        _ => Box::new(file).read_to_end(&mut text),
    }
    .expect("it is whole");
    text
}

#[tokio::test]
async fn killed_on_the_way_it_goes_on_without_a_gap_or_a_double() {
    let folder = folder_of(3_000);
    for file in ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst"] {
        let checkpoint = folder.path().join(format!("{file}.part.checkpoint"));
        let mut process = program(folder.path()).args(["export", "-q", "-o", file]).spawn().expect("it starts");
        while !checkpoint.exists() {
            assert!(
                process.try_wait().expect("it can be asked").is_none(),
                "it takes longer than the first checkpoint"
            );
            tokio::task::yield_now().await;
        }
        process.kill().await.expect("it runs");
        let report = export(folder.path(), &["-o", file]).await;
        assert_eq!(report["exported"], 3_000);
        let text = String::from_utf8(decompressed(&folder.path().join(file))).expect("UTF-8");
        let expected: Vec<_> = (0..3_000).map(|n| trace("m", &format!("{n:05}"), "")).collect();
        assert!(text.lines().eq(expected), "{file}: each line once, in the order of the keys");
        assert!(!checkpoint.exists());
    }
}

#[tokio::test]
async fn fine_tuning_examples_are_messages_as_the_provider_had_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chat = |messages: Value| json!({"model": "m", "created": 1, "messages": messages}).to_string();
    let fitted =
        json!({"role": "user", "content": "42", "tool_call_id": "c", "original": {"role": "tool", "content": [1]}});
    let own = json!({"role": "assistant", "content": "a", "original": {"mine": 1}});
    store(folder.path(), "m/1", &chat(json!([fitted, own])), 1);
    store(folder.path(), "m/2", &chat(json!([fitted, own])), 1);
    store(folder.path(), "m/3", &chat(json!([own, fitted])), 1);
    store(folder.path(), "m/4", &chat(json!([own])), 1);
    let options = ["--min-messages", "2", "--last-role", "assistant", "--dedupe"];
    let report = export(folder.path(), &[&["--format", "openai", "-o", "t.jsonl"], &options[..]].concat()).await;
    assert_eq!((report["exported"], report["left out by an option"]), (1, 3));
    let line = fs::read_to_string(folder.path().join("t.jsonl")).expect("a file");
    let tool = json!({"role": "tool", "content": [1], "tool_call_id": "c"});
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), json!({"messages": [tool, own]}));
}

/// The rows of a lake's files, by their day's folder.
fn rows(lake: &Path) -> Vec<(PathBuf, RecordBatch)> {
    let days = fs::read_dir(lake).expect("a lake").map(|entry| entry.expect("an entry").path());
    let files = days.flat_map(|day| fs::read_dir(day).expect("a day")).map(|entry| entry.expect("an entry").path());
    files
        .flat_map(|path| {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).expect("a file")).expect("Parquet");
            let batches = reader.build().expect("Parquet").map(|batch| batch.expect("rows")).collect::<Vec<_>>();
            batches.into_iter().map(move |batch| (path.parent().expect("a day").to_owned(), batch))
        })
        .collect()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a StringArray {
    batch.column_by_name(name).expect("it is there").as_string()
}

fn keys(lake: &Path) -> Vec<String> {
    let rows = rows(lake);
    let keys = rows.iter().flat_map(|(_, batch)| column(batch, "key").iter().flatten().map(str::to_owned));
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn a_lake_has_a_trace_a_row_with_its_members_and_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let object = trace("m", "1", r#","usage":{"total_tokens":3.10},"choices":{"0":{}},"created":9e3,"own":[1]"#)
        .replacen(r#""created":1,"#, "", 1);
    store(folder.path(), "m/1", &object, 0);
    export(folder.path(), &["--format", "parquet", "-o", "lake"]).await;
    let rows = rows(&folder.path().join("lake"));
    let [(day, row)] = &rows[..] else { panic!("one batch") };
    assert_eq!(day.file_name().and_then(|day| day.to_str()).map(str::len), Some("day=2026-11-22".len()));
    assert_eq!(column(row, "key").value(0), "m/1");
    assert_eq!(column(row, "trace").value(0), object);
    assert_eq!(column(row, "usage").value(0), r#"{"total_tokens":3.10}"#);
    assert_eq!(column(row, "choices").value(0), r#"{"0":{}}"#);
    assert_eq!(row.column_by_name("created").expect("it is there").as_primitive::<Int64Type>().value(0), 9_000);
    let messages = row.column_by_name("messages").expect("it is there").as_list::<i32>().value(0);
    assert_eq!(messages.as_struct().column(1).as_string::<i32>().value(0), "Grüße\n");
    assert_eq!(messages.len(), 1);
}

#[tokio::test]
async fn a_later_run_adds_what_is_new_and_each_trace_is_in_the_lake_once() {
    let folder = folder_of(40);
    let lake = folder.path().join("lake");
    let arguments = ["--format", "parquet", "-o", "lake", "--state", "state"];
    store(folder.path(), "m/fresh", &trace("m", "fresh", ""), 1);
    assert_eq!(export(folder.path(), &arguments).await["exported"], 40);
    assert_eq!(export(folder.path(), &arguments).await["exported"], 0);
    assert_eq!(keys(&lake).len(), 40);
    assert_eq!(fs::read_dir(&lake).expect("a lake").count(), 4, "a folder a day");
    // The next day, by S3's clock: what was fresh has settled, and there is more.
    let state = folder.path().join("state/lake.json");
    let hour_ago = jiff::Timestamp::now() - Duration::from_mins(7);
    let json = fs::read_to_string(&state).expect("the state");
    let mut json: Value = serde_json::from_str(&json).expect("JSON");
    json["until"] = hour_ago.to_string().into();
    fs::write(&state, json.to_string()).expect("a file");
    store(folder.path(), "m/later", &trace("m", "later", ""), 6);
    assert_eq!(export(folder.path(), &arguments).await["exported"], 1);
    assert!(keys(&lake).contains(&"m/later".to_owned()));
    // Another export may not go on from this state.
    let output =
        program(folder.path()).args(["export", "--model", "x"]).args(arguments).output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn a_lake_whose_run_was_killed_has_each_trace_once() {
    let folder = folder_of(3_000);
    let lake = folder.path().join("lake");
    let arguments = ["export", "-q", "--format", "parquet", "-o", "lake", "--state", "state"];
    for files in 1..=3 {
        let mut process = program(folder.path()).args(arguments).spawn().expect("it starts");
        while fs::read_dir(&lake).map_or(0, Iterator::count) < files {
            assert!(process.try_wait().expect("it can be asked").is_none(), "there are four days");
            tokio::task::yield_now().await;
        }
        process.kill().await.expect("it runs");
    }
    let report = export(folder.path(), &arguments[1..]).await;
    assert_eq!(report["exported"], 3_000);
    let expected: Vec<_> = (0..3_000).map(|n| format!("m/{n:05}")).collect();
    assert_eq!(keys(&lake), expected);
}
