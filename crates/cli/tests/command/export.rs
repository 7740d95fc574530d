//! Tests `export` by running the built program on a folder that looks as the endpoint leaves it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::import::{counts, objects, program};

pub mod failures;
mod fine_tuning;
mod identity;
mod listings;
pub mod overlap;

const FINGERPRINT: &str = "--fingerprint";

/// Runs an export that must succeed, and returns its counts.
async fn export(folder: &Path, arguments: &[&str]) -> BTreeMap<String, u64> {
    let output = run(folder, arguments).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    counts(&output.stderr).into_iter().collect()
}

/// Runs an export that must fail before it exports anything, and returns its message.
async fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments).await;
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    assert!(!stderr(&output).contains("exported\n"), "{}", stderr(&output));
    stderr(&output)
}

async fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().await.expect("the program starts")
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program(folder);
    command.arg("export").args(arguments);
    command
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn signal(process: &Child, name: &str) {
    let pid = process.id().expect("the process runs").to_string();
    let sent = std::process::Command::new("kill").args(["-s", name, &pid]).status().expect("kill is installed");
    assert!(sent.success());
}

/// Waits until `condition` is true, which must happen before `process` ends.
pub async fn wait_until(process: &mut Child, condition: impl Fn() -> bool) {
    while !condition() {
        assert!(process.try_wait().expect("the process can be queried").is_none(), "it ended too early");
        tokio::task::yield_now().await;
    }
}

/// Returns whether an export has written a checkpoint with a key.
fn has_progress(output: &Path) -> bool {
    let checkpoint = format!("{}.part.checkpoint", output.display());
    fs::read_to_string(checkpoint).is_ok_and(|checkpoint| !checkpoint.contains(r#""key":null"#))
}

/// An object that makes exports wait: a named pipe, whose reader waits for a writer.
pub struct Gate(PathBuf);

impl Gate {
    /// Creates the object in a trace folder.
    pub fn close(folder: &Path, key: &str) -> Self {
        let path = folder.join(format!("{key}.json"));
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo is installed");
        assert!(made.success());
        Self(path)
    }

    /// Lets the waiting export proceed, as if the object had been deleted.
    pub fn open(self) {
        let moved = self.0.with_extension("gate"); // not an object
        fs::rename(&self.0, &moved).expect("it exists");
        // Opening the pipe read-write does not block until the export opens it.
        File::options().read(true).write(true).open(&moved).expect("it exists");
        Self(moved).remove();
    }

    pub fn remove(self) {
        fs::remove_file(self.0).expect("it exists");
    }
}

/// Stores an object as the endpoint does, with a modification time this many minutes ago.
pub fn store(folder: &Path, key: &str, object: &str, minutes_ago: u64) {
    store_at(folder, key, object, SystemTime::now() - Duration::from_mins(minutes_ago));
}

pub fn store_at(folder: &Path, key: &str, object: &str, time: SystemTime) {
    let path = folder.join("traces").join(format!("{key}.json"));
    fs::create_dir_all(path.parent().expect("a key has a folder")).expect("the folder is writable");
    fs::write(&path, object).expect("the folder is writable");
    File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("the time can be set");
}

fn trace(model: &str, id: &str, rest: &str) -> String {
    format!(
        r#"{{"model":"{model}","created":1,"messages":[{{"role":"user","content":"Grüße\n"}}]{rest},"id":"{id}","system_fingerprint":"{model}","object":"chat.trace"}}"#
    )
}

/// Returns a folder with traces that were stored on four days, the last of them minutes ago.
fn folder_of(traces: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for n in 0..traces {
        let id = format!("{n:05}");
        store(folder.path(), &format!("m/{id}"), &trace("m", &id, ""), 10 + 1_440 * (n as u64 % 4));
    }
    folder
}

/// Returns the lines for [`folder_of`], in key order.
fn lines_of(traces: usize) -> Vec<String> {
    (0..traces).map(|n| trace("m", &format!("{n:05}"), "")).collect()
}

/// Reads the lines of a file, which is decompressed according to its name.
fn lines(path: &Path) -> Vec<String> {
    let file = File::open(path).expect("the file exists");
    let mut text = String::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text),
        Some("zst") => zstd::Decoder::new(file).and_then(|mut decoder| decoder.read_to_string(&mut text)),
        _ => Box::new(file).read_to_string(&mut text),
    }
    .expect("the file is complete");
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder exists");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn exported_traces_are_imported_byte_for_byte() {
    let folder = folder_of(20);
    store(folder.path(), "m/a%2Fb", &trace("m", "a/b", r#","number":0.10"#), 10);
    store(folder.path(), "other/1", &trace("other", "1", ""), 10);
    let report = export(folder.path(), &["-o", "t.jsonl"]).await;
    assert_eq!((report["exported"], report["not traces"]), (22, 0));
    let imported =
        program(folder.path()).args(["import", "t.jsonl", "--folder", "copy"]).output().await.expect("it runs");
    assert_eq!(imported.status.code(), Some(0));
    assert_eq!(objects(&folder.path().join("traces")), objects(&folder.path().join("copy")));
    assert!(!names(folder.path()).iter().any(|name| name.contains(".part")), "{:?}", names(folder.path()));
}

#[tokio::test]
async fn options_select_what_is_exported() {
    let folder = folder_of(4);
    store(folder.path(), "other/1", &trace("other", "1", ""), 1);
    store(folder.path(), "m/pretty", &trace("m", "pretty", ",\r\n  \"x\": 1\n"), 1);
    store(folder.path(), "m2/1", &trace("m", "1", ""), 1);
    let yesterday = jiff::Timestamp::now() - Duration::from_hours(12);
    let yesterday = yesterday.to_string();
    for (arguments, exported) in [
        (vec!["--model", "m"], 6),
        (vec![FINGERPRINT, "m"], 5),
        (vec!["--since", &yesterday], 4),
        (vec!["--until", &yesterday], 3),
        (vec!["--since", "2000-01-01", "--until", "2000-01-02T00:00:00Z"], 0),
    ] {
        let file = folder.path().join("t.jsonl");
        export(folder.path(), &[&["-o", "t.jsonl"], &arguments[..]].concat()).await;
        let lines = lines(&file);
        assert_eq!(lines.len(), exported, "{arguments:?}");
        assert!(lines.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "a trace per line");
        fs::remove_file(file).expect("the file exists");
    }
    let stdout = run(folder.path(), &["-o", "-", "--model", "other"]).await.stdout;
    assert_eq!(String::from_utf8_lossy(&stdout).trim_end(), trace("other", "1", ""));

    store(folder.path(), "m/broken", "{", 1);
    let output = run(folder.path(), &["-o", "t.jsonl"]).await;
    assert_eq!((output.status.code(), counts(&output.stderr)["not traces"]), (Some(1), 1));
    assert!(stderr(&output).contains("m/broken is not a trace"));
    let before = fs::read(folder.path().join("t.jsonl")).expect("the file exists");
    let message = refusal(folder.path(), &["-o", "t.jsonl"]).await;
    assert!(message.contains("t.jsonl exists"), "{message}");
    assert_eq!(fs::read(folder.path().join("t.jsonl")).expect("the file exists"), before);
}

#[tokio::test]
async fn a_query_selects_what_is_exported() {
    let folder = folder_of(4);
    let rated = |id: &str, rating: &str| trace("m", id, &format!(r#","log":{{"rating":{rating}}}"#));
    for (id, rating) in [("low", "3.9999999999999999999"), ("high", "4.0"), ("text", r#""5""#)] {
        store(folder.path(), &format!("rated/{id}"), &rated(id, rating), 1);
    }
    for (query, ids) in [
        ("log.rating>=4", &["high"][..]),
        ("log.rating:* -log.rating:4", &["low", "text"]),
        ("grüße id:0000 (fingerprint=m or fingerprint=other)", &["00000", "00001", "00002", "00003"]),
        ("id:high or id:low", &["high", "low"]),
        ("banana", &[]),
    ] {
        export(folder.path(), &["-o", "t.jsonl", "--query", query, "--model", "m"]).await;
        let lines = lines(&folder.path().join("t.jsonl"));
        let exported = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].clone());
        assert_eq!(exported.collect::<Vec<_>>(), ids, "{query}");
        fs::remove_file(folder.path().join("t.jsonl")).expect("the file exists");
    }
    let arguments =
        ["fine-tuning", "-o", "t.jsonl", "--query", "log.rating>=3 not log.rating<4", "--last-role", "user"];
    let report = export(folder.path(), &arguments).await;
    assert_eq!((report["left out by an option"], report["left out: no message of the assistant"]), (6, 1));
    // Objects that were not searched are reported, unless they cannot match.
    store(folder.path(), "rated/large", &format!("\"{}\"", "x".repeat(11 << 20)), 1);
    for (query, code) in [("log.rating>=4", 1), ("log.rating>=4 size<1000", 0)] {
        let output = run(folder.path(), &["-o", "t2.jsonl", "--query", query]).await;
        assert_eq!(output.status.code(), Some(code), "{query}: {}", stderr(&output));
        assert_eq!(stderr(&output).contains("rated/large cannot be read"), code == 1, "{}", stderr(&output));
        fs::remove_file(folder.path().join("t2.jsonl")).expect("the file exists");
    }
}

#[tokio::test]
async fn a_text_that_is_no_query_is_refused_with_the_fields() {
    let folder = folder_of(1);
    for (query, advice) in [
        ("models:m", "The fields are fingerprint, id,"),
        ("created:yesterday", "is not a time"),
        ("", "an empty query would select every trace"),
    ] {
        for arguments in [&["-o", "t.jsonl"][..], &["fine-tuning", "-o", "t.jsonl"]] {
            let message = refusal(folder.path(), &[arguments, &["--query", query]].concat()).await;
            assert!(message.contains(advice), "{query}: {message}");
        }
    }
    assert_eq!(names(folder.path()), ["traces"]);
    for arguments in [&["--help"][..], &["fine-tuning", "--help"]] {
        let help = run(folder.path(), arguments).await.stdout;
        assert!(String::from_utf8_lossy(&help).contains(&attest_query::Field::help()), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_fingerprint_selects_its_own_traces_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    store(folder.path(), "allenai/1", &trace("allenai", "1", ""), 1);
    store(folder.path(), "allenai/OLMoE/1", &trace("allenai/OLMoE", "1", ""), 1);
    store(folder.path(), "allenai2/1", &trace("allenai2", "1", ""), 1);
    for (fingerprint, file) in [("allenai", "1.jsonl"), ("allenai/OLMoE", "2.jsonl"), ("allenai2", "3.jsonl")] {
        export(folder.path(), &["-o", file, FINGERPRINT, fingerprint]).await;
        assert_eq!(lines(&folder.path().join(file)), [trace(fingerprint, "1", "")]);
    }
}

#[tokio::test]
async fn options_of_another_format_are_refused_before_anything_is_written() {
    let folder = folder_of(1);
    for arguments in [
        &["-o", "t.jsonl", "--min-messages", "2"][..],
        &["-o", "t.jsonl", "--last-role", "user"],
        &["-o", "t.jsonl", "--dedupe"],
        &["-o", "t.jsonl", "--state", "state"],
        &["-o", "t.jsonl", "--format", "parquet"],
        &["-o", "t.jsonl", "fine-tuning", "-o", "t.jsonl"],
        &["fine-tuning", "-o", "t.jsonl", "--state", "state"],
        &["-o", "s3://bucket/t.jsonl"],
        &["fine-tuning", "-o", "s3://bucket/t.jsonl"],
        &["-o", "t.jsonl", "--bucket", "b", "--folder", "traces"],
        &["-o", "t.jsonl", "--concurrency", "0"],
        &["-o", "t.jsonl", "--since", "yesterday"],
        &["fine-tuning"],
        &["lake", "-o", "lake"],
        &[],
    ] {
        let message = refusal(folder.path(), arguments).await;
        assert!(message.contains("error: ") && message.contains("--help"), "{arguments:?}: {message}");
        assert_eq!(names(folder.path()), ["traces"], "{arguments:?}");
    }
}

#[tokio::test]
async fn a_killed_export_of_lines_resumes_without_gap_or_duplicate() {
    let folder = folder_of(1_000);
    for file in ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst"] {
        let path = folder.path().join(file);
        // Each run gets further than the one before it.
        for gate in ["m/00003x", "m/00500x", "m/z"] {
            let gate = Gate::close(&folder.path().join("traces"), gate);
            let mut process = command(folder.path(), &["-q", "-o", file]).spawn().expect("it starts");
            wait_until(&mut process, || has_progress(&path)).await;
            process.kill().await.expect("it runs");
            gate.remove();
        }
        let report = export(folder.path(), &["-o", file]).await;
        assert_eq!(report["exported"], 1_000);
        assert!(lines(&path) == lines_of(1_000), "{file}: each line once, in the order of the keys");
        assert!(!names(folder.path()).iter().any(|name| name.contains(".part")), "{:?}", names(folder.path()));
    }
}

#[tokio::test]
async fn a_stopped_export_of_lines_resumes_without_gap_or_duplicate() {
    let folder = folder_of(1_000);
    for (file, name) in [("1.jsonl", "TERM"), ("2.jsonl.zst", "INT")] {
        let path = folder.path().join(file);
        let gate = Gate::close(&folder.path().join("traces"), "m/00500x");
        let mut process = command(folder.path(), &["-q", "-o", file]).spawn().expect("it starts");
        wait_until(&mut process, || has_progress(&path)).await;
        signal(&process, name);
        let output = process.wait_with_output().await.expect("it ends");
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("run the same command again"), "{}", stderr(&output));
        assert!(!folder.path().join(format!("{file}.part.lock")).exists());
        gate.remove();
        export(folder.path(), &["-o", file]).await;
        assert!(lines(&path) == lines_of(1_000), "{file}: each line once, in the order of the keys");
    }
}

#[tokio::test]
async fn a_compressed_export_of_nothing_is_a_valid_file() {
    let folder = folder_of(1);
    for file in ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst"] {
        export(folder.path(), &["-o", file, "--model", "none"]).await;
        assert_eq!(lines(&folder.path().join(file)), <[String; 0]>::default());
        assert_eq!(fs::metadata(folder.path().join(file)).expect("the file exists").len() > 0, file != "t.jsonl");
    }
}

#[tokio::test]
async fn a_pipe_or_device_is_written_without_a_checkpoint() {
    let folder = folder_of(2);
    let output = run(folder.path(), &["-o", "/dev/stdout"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(), lines_of(2));
    assert_eq!(names(folder.path()), ["traces"]);
}

#[tokio::test]
async fn a_signal_stops_an_export_whose_output_nobody_reads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    store(folder.path(), "m/1", &trace("m", "1", &format!(r#","x":"{}""#, "x".repeat(4 << 20))), 1);
    let mut process = command(folder.path(), &["-q", "-o", "-"]).spawn().expect("it starts");
    // Once the first byte has arrived, the writer fills the pipe and blocks, because the line is larger than any pipe.
    let stdout = process.stdout.as_mut().expect("piped");
    tokio::io::AsyncReadExt::read_u8(stdout).await.expect("a first byte");
    signal(&process, "TERM");
    let status = process.wait().await.expect("it ends");
    assert_eq!(status.code(), Some(2));
}
