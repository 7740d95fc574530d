//! `lake sync` and `forget` as a user runs them: the built program, over a folder of the endpoint.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use arrow_array::{Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use attest_lake::{Location, Table};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::import::program;

/// Stores an object as the endpoint does, that many minutes ago.
fn store(folder: &Path, key: &str, object: &str, minutes_ago: u64) {
    let path = folder.join("traces").join(format!("{key}.json"));
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, object).expect("a file");
    let time = SystemTime::now() - Duration::from_mins(minutes_ago);
    File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("its time is set");
}

fn trace(content: &str) -> String {
    let messages = serde_json::json!([{"role": "user", "content": content}]);
    serde_json::json!({"model": "m", "created": 1, "messages": messages}).to_string()
}

/// Stores traces of four days.
fn store_days(folder: &Path, traces: u64) {
    for number in 0..traces {
        store(folder, &format!("m/{number:05}"), &trace(&format!("number {number}")), 1_440 * (number % 4));
    }
}

/// Runs a command and returns its exit code and its standard error.
async fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = program(folder).args(arguments).output().await.expect("it runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

/// Returns the count of a line of the report.
fn count(report: &str, name: &str) -> u64 {
    let line = report.lines().find_map(|line| line.trim().strip_suffix(name)).unwrap_or_else(|| panic!("{report}"));
    line.trim().replace(',', "").parse().expect("a number")
}

/// Returns the keys of the lake's current version, in order.
async fn keys(lake: &Path) -> Vec<String> {
    let table = Table::open(&Location::folder(lake).expect("a folder")).await.expect("the table");
    let snapshot = table.load().await.expect("the table");
    let mut keys = Vec::new();
    for file in snapshot.files() {
        keys.extend(snapshot.keys(vec![file.clone()]).await.expect("its keys").into_iter().map(|entry| entry.key));
    }
    keys.sort();
    keys
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}

fn rows(file: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).expect("a file")).expect("Parquet");
    reader.build().expect("Parquet").next().expect("a batch").expect("rows")
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a StringArray {
    batch.column_by_name(name).expect("a column").as_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_has_the_members_of_its_trace_and_the_whole_trace() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let object = r#"{"model":"m","messages":[{"role":"user","content":"Grüße\n"}],"usage":{"total_tokens":3.10},"choices":{"0":{}},"created":9e3,"own":[1],"id":"1","system_fingerprint":"m","object":"chat.trace"}"#;
    store(folder.path(), "m/1", object, 0);
    let (code, report) = run(folder.path(), &["lake", "sync", "-o", "lake"]).await;
    assert_eq!((code, count(&report, "added")), (Some(0), 1));
    let parquet: Vec<PathBuf> = files(&folder.path().join("lake"))
        .into_iter()
        .filter(|file| file.extension().is_some_and(|name| name == "parquet"))
        .collect();
    let [file] = &parquet[..] else { panic!("one file") };
    let day = file.parent().and_then(Path::file_name).and_then(|day| day.to_str());
    assert_eq!(day.map(str::len), Some("day=2026-11-22".len()));
    let row = rows(file);
    for (name, value) in [
        ("key", "m/1"),
        ("id", "1"),
        ("object", "chat.trace"),
        ("system_fingerprint", "m"),
        ("model", "m"),
        ("usage", r#"{"total_tokens":3.10}"#),
        ("choices", r#"{"0":{}}"#),
        ("trace", object),
    ] {
        assert_eq!(column(&row, name).value(0), value, "{name}");
    }
    assert_eq!(row.column_by_name("created").expect("a column").as_primitive::<Int64Type>().value(0), 9_000);
    let messages = row.column_by_name("messages").expect("a column").as_list::<i32>().value(0);
    assert_eq!(messages.as_struct().column(1).as_string::<i32>().value(0), "Grüße\n");
    assert_eq!(messages.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_that_is_not_a_time_is_null() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = |created: &str| format!(r#"{{"model":"m","created":{created},"messages":[]}}"#);
    for (id, created) in ["253402300799", "253402300800", "1746709563492141000", "1e20", "-1", "0"].iter().enumerate() {
        store(folder.path(), &format!("m/{id}"), &of(created), 0);
    }
    assert_eq!(run(folder.path(), &["lake", "sync", "-o", "lake"]).await.0, Some(0));
    let files = files(&folder.path().join("lake"));
    let file = files.iter().find(|file| file.extension().is_some_and(|name| name == "parquet")).expect("a file");
    let rows = rows(file);
    let created = rows.column_by_name("created").expect("a column").as_primitive::<Int64Type>();
    let keys = column(&rows, "key");
    let mut values: Vec<_> = (0..rows.num_rows())
        .map(|row| (keys.value(row), (!created.is_null(row)).then(|| created.value(row))))
        .collect();
    values.sort_unstable();
    let expected = [Some(253_402_300_799), None, None, None, None, Some(0)];
    assert_eq!(values.iter().map(|(_, created)| *created).collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_run_adds_new_traces_and_removes_rows_without_an_object() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let sync = ["lake", "sync", "-q", "-o", "lake"];
    store_days(folder.path(), 40);
    let (_, report) = run(folder.path(), &sync).await;
    assert_eq!((count(&report, "listed"), count(&report, "added")), (40, 40));
    assert_eq!(fs::read_dir(&lake).expect("a lake").count(), 5, "a folder per day, and the log");
    let (_, report) = run(folder.path(), &sync).await;
    assert_eq!((count(&report, "listed"), count(&report, "added")), (40, 0));
    store(folder.path(), "m/later", &trace("later"), 0);
    store(folder.path(), "m/not-a-trace", "{}", 0);
    fs::remove_file(folder.path().join("traces/m/00003.json")).expect("it is deleted");
    let (code, report) = run(folder.path(), &sync).await;
    assert_eq!(code, Some(1), "one object is not a trace");
    assert!(report.contains("m/not-a-trace is not a trace"), "{report}");
    assert_eq!(count(&report, "added"), 1);
    assert_eq!(count(&report, "removed, because their object no longer exists"), 1);
    let mut expected: Vec<String> =
        (0..40).filter(|number| *number != 3).map(|number| format!("m/{number:05}")).collect();
    expected.push("m/later".to_owned());
    assert_eq!(keys(&lake).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_concurrent_runs_add_each_trace_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let sync = ["lake", "sync", "-q", "-o", "lake"];
    store_days(folder.path(), 2_000);
    for days in 1..=3 {
        let mut process = program(folder.path()).args(sync).spawn().expect("it starts");
        // The log is one of the folders.
        while fs::read_dir(&lake).map_or(0, Iterator::count) <= days {
            assert!(process.try_wait().expect("it can be asked").is_none(), "there are four days");
            tokio::task::yield_now().await;
        }
        process.kill().await.expect("it runs");
    }
    let (first, second) = tokio::join!(run(folder.path(), &sync), run(folder.path(), &sync));
    assert_eq!((first.0, second.0), (Some(0), Some(0)), "{} {}", first.1, second.1);
    let expected: Vec<String> = (0..2_000).map(|number| format!("m/{number:05}")).collect();
    assert_eq!(keys(&lake).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_traces_are_in_no_file_and_only_their_days_are_rewritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (lake, traces) = (folder.path().join("lake"), folder.path().join("traces"));
    store_days(folder.path(), 20);
    // Two of the person's traces, of one day. One of them is written with escapes.
    store(folder.path(), "m/jane-1", &trace("I am jane@example.com, Grüße"), 1_440);
    let escaped = trace("jane\u{40}example.com").replace('@', "\\u0040");
    store(folder.path(), "m/jane-2", &escaped, 1_440);
    let sync = ["lake", "sync", "-q", "-o", "lake"];
    assert_eq!(run(folder.path(), &sync).await.0, Some(0));
    // An older file of the day, which the version of the second synchronisation does not refer to.
    store(folder.path(), "m/late", &trace("late"), 1_440);
    assert_eq!(run(folder.path(), &sync).await.0, Some(0));
    let before = files(&lake);
    let forget = ["forget", "--text", "jane@example.com", "--lake", "lake"];
    let (code, error) = run(folder.path(), &forget).await;
    assert_eq!(code, Some(2), "there is nobody to ask: {error}");
    assert!(traces.join("m/jane-1.json").exists());
    let (code, error) = run(folder.path(), &[&forget[..], &["--yes"]].concat()).await;
    assert_eq!(code, Some(0), "{error}");
    let receipt = fs::read(folder.path().join("forgotten.json")).expect("a receipt");
    let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
    assert_eq!(receipt["keys"], serde_json::json!(["m/jane-1", "m/jane-2"]));
    assert_eq!((&receipt["deleted_versions"], &receipt["removed_rows"]), (&2.into(), &2.into()));
    // Compression hides text from a scan of bytes, so the rows of every file are decoded.
    for file in [files(&traces), files(&lake)].concat() {
        let bytes = fs::read(&file).expect("a file");
        let is_data =
            file.extension().is_some_and(|name| name == "parquet") && !file.to_string_lossy().contains("_delta_log");
        let text = if is_data { format!("{:?}", rows(&file)) } else { String::from_utf8_lossy(&bytes).into_owned() };
        for name in ["jane@", "jane\\u0040"] {
            assert!(!text.contains(name), "{}", file.display());
        }
    }
    let after = files(&lake);
    let yesterday = before.iter().filter(|file| !after.contains(file)).map(|file| file.parent());
    let days: std::collections::BTreeSet<_> = yesterday.collect();
    assert_eq!(days.len(), 1, "{days:?}");
    assert_eq!(keys(&lake).await.len(), 21);
    // The keys of a file, one of which has neither an object nor a row any more.
    fs::write(folder.path().join("keys.txt"), "m/00001\nm/jane-1\n").expect("a file");
    let again = ["forget", "--keys", "keys.txt", "--lake", "lake", "--yes"];
    assert_eq!(run(folder.path(), &again).await.0, Some(2), "the receipt exists");
    let (code, error) = run(folder.path(), &[&again[..], &["--receipt", "second.json"]].concat()).await;
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(keys(&lake).await.len(), 20);
}
