//! Tests commands whose standard output or error is closed, or goes to a full disk.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use http_body_util::Full;
use hyper::{Request, StatusCode, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

fn attest(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
    command.current_dir(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run_without_reader(folder: &Path, arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    attest(folder, arguments).stdout(writer).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir_all(folder.path().join("traces/m")).expect("the folder is writable");
    let trace = r#"{"model":"m","created":1,"messages":[],"id":"a","system_fingerprint":"m","object":"chat.trace"}"#;
    std::fs::write(folder.path().join("traces/m/a.json"), trace).expect("the folder is writable");
    folder
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_endpoint_stores_traces_after_the_readers_of_its_output_are_gone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = attest(folder.path(), &["--port", "0", "--s3-port", "0", "--api-key", "k"]);
    let mut process = Running(process.spawn().expect("it starts"));
    // In `attest 2>&1 | head -1`, the reader exits after one line.
    let mut first = String::new();
    BufReader::new(process.0.stdout.take().expect("piped")).read_line(&mut first).expect("UTF-8");
    drop(process.0.stderr.take());
    let url = first.trim_start_matches("Listening on ").trim_end().trim_end_matches(". Try:").to_owned();
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    for n in 0..5 {
        let body = format!(r#"{{"model":"m","created":{n},"messages":[]}}"#);
        let request = Request::post(&url).header("x-api-key", "k").body(Full::from(body)).expect("a request");
        assert_eq!(client.request(request).await.expect("a response").status(), StatusCode::CREATED, "{n}");
    }
    let pid = process.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    assert!(process.0.wait().expect("it ends").success());
}

#[test]
fn a_result_without_a_reader_ends_the_command_quietly_but_not_with_0() {
    let folder = folder();
    for arguments in [
        &["completions", "bash"][..],
        &["--help"],
        &["import", "--help"],
        &["--version"],
        &["export", "-q", "-o", "-"],
        &["export", "fine-tuning", "-q", "-o", "-"],
    ] {
        let output = run_without_reader(folder.path(), arguments);
        let stderr = text(&output.stderr);
        // Without any examples, nothing is written, so nothing fails.
        let expected = if arguments.contains(&"fine-tuning") { 0 } else { 141 };
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("error") && !stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_command_panics_or_claims_success_if_its_output_is_full() {
    let full = || File::options().write(true).open("/dev/full").expect("Linux has it");
    let folder = folder();
    for (arguments, expected) in
        [(&["completions", "zsh"][..], 1), (&["--help"], 1), (&["--version"], 1), (&["export", "-q", "-o", "-"], 2)]
    {
        let output = attest(folder.path(), arguments).stdout(full()).output().expect("it runs");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {stderr}");
        assert!(stderr.contains("cannot write to standard output: No space left on device"), "{arguments:?}: {stderr}");
    }
    for (arguments, expected) in [
        (&["export", "-o", "t.jsonl"][..], 0),
        (&["lake", "sync", "-o", "lake"], 0),
        (&["import", "absent.jsonl"], 2),
        (&["share", "m/absent", "-o", "x.html"], 1),
        (&["forget", "--keys", "absent", "--lake", "lake"], 2),
        (&["check", "--url", "http://127.0.0.1:1/", "--api-key", "k"], 2),
        (&["no-such-command"], 2),
    ] {
        let output = attest(folder.path(), arguments).stderr(full()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {}", text(&output.stdout));
    }
    assert!(folder.path().join("t.jsonl").exists());
}
