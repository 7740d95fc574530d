//! Tests `import` by running the built program, with endpoints that may be killed during the import.

mod faults;
mod formats;
mod state;

use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    path::Path,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::post,
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

pub fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for name in ["API_KEY", "ATTEST_API_KEY", "BUCKET_NAME", "MAX_TRACE_BYTES", "RUST_LOG", "HTTP_PROXY", "http_proxy"]
    {
        command.env_remove(name);
    }
    command
}

async fn import(folder: &Path, arguments: &[&str]) -> Output {
    program(folder).arg("import").args(arguments).output().await.expect("it runs")
}

pub fn counts(output: &[u8]) -> HashMap<String, u64> {
    let text = String::from_utf8_lossy(output);
    let lines = text.lines().filter_map(|line| line.trim().split_once(' '));
    lines.filter_map(|(count, what)| Some((what.to_owned(), count.replace(',', "").parse().ok()?))).collect()
}

pub fn objects(folder: &Path) -> HashMap<String, Vec<u8>> {
    let mut found = HashMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let name = entry.file_name().into_string().expect("UTF-8");
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if !name.starts_with('~') {
                found.insert(name, fs::read(entry.path()).expect("a file"));
            }
        }
    }
    found
}

fn trace(n: usize, bytes: usize) -> String {
    format!(r#"{{"model":"m","created":{n},"messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(bytes))
}

#[tokio::test]
async fn the_report_counts_every_line_by_its_outcome() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let long = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(10 * 1024 * 1024));
    let lines = [
        trace(1, 1),
        trace(2, 2),
        r#"{"model":"m"}"#.to_owned(),
        trace(1, 1) + "\r",
        "  ".to_owned(),
        "not JSON".to_owned(),
        r#"{"model":"m","created":1,"messages":[],"id":"a"}"#.to_owned(),
        long.clone(),
        r#"{"model":"m","created":1,"messages":[],"n":1.10000000000000000000001}"#.to_owned(),
    ];
    fs::write(folder.path().join("t.jsonl"), lines.join("\n")).expect("a file");
    let dry = import(folder.path(), &["t.jsonl", "--dry-run"]).await;
    assert_eq!((dry.status.code(), counts(&dry.stdout)["valid"], counts(&dry.stdout)["refused"]), (Some(1), 5, 3));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is written");
    let shown = String::from_utf8_lossy(&dry.stderr);
    assert!([3, 6, 8].iter().all(|line| shown.contains(&format!("t.jsonl:{line}: {{"))), "{shown}");

    let first = import(folder.path(), &["t.jsonl"]).await;
    let report = counts(&first.stdout);
    assert_eq!(first.status.code(), Some(1), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!((report["lines"], report["stored"], report["already there"], report["refused"]), (8, 4, 1, 3));
    assert_eq!(report["equal to an earlier line"], 1);
    let reasons = fs::read_to_string(folder.path().join("t.jsonl.rejected.jsonl")).expect("reasons");
    let mut reasons: Vec<Value> = reasons.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    reasons.sort_by_key(|reason| reason["line"].as_u64());
    let said: Vec<_> = reasons.iter().map(|reason| (reason["line"].as_u64(), reason["status"].as_u64())).collect();
    assert_eq!(said, [(Some(3), Some(400)), (Some(6), Some(400)), (Some(8), Some(413))]);
    assert_eq!(reasons[0]["errors"].as_array().map(Vec::len), Some(2), "every violation");
    let refused = fs::read_to_string(folder.path().join("t.jsonl.rejected-lines.jsonl")).expect("lines");
    let mut refused: Vec<_> = refused.lines().collect();
    refused.sort_unstable();
    assert!(refused == ["not JSON", &long, &lines[2]], "the lines as they were");
    let stored = objects(&folder.path().join("traces"));
    assert_eq!(stored.len(), 4);
    let digits = lines[8].trim_end_matches('}');
    assert!(stored.values().any(|object| object.starts_with(digits.as_bytes())), "to the byte");

    // A second run sends only the refused lines again. A third run also sends a changed line, and reports its conflict.
    let second = import(folder.path(), &["t.jsonl"]).await;
    let report = counts(&second.stdout);
    assert_eq!((report["stored"], report["already there"], report["confirmed by an earlier run"]), (0, 0, 5));
    fs::write(folder.path().join("t.jsonl"), lines.join("\n").replace(r#""id":"a""#, r#""n":0,"id":"a""#))
        .expect("a file");
    let third = import(folder.path(), &["t.jsonl"]).await;
    let report = counts(&third.stdout);
    assert_eq!((report["confirmed by an earlier run"], report["conflicts: another trace has the id"]), (4, 1));
    assert_eq!(objects(&folder.path().join("traces")), stored);
}

#[tokio::test]
async fn gzip_zstd_and_standard_input_give_the_same_lines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = (0..50).map(|n| trace(n, n * 100)).collect::<Vec<_>>().join("\n");
    let halves = lines.split_at(lines.len() / 2);
    let gzip = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).expect("writing to memory succeeds");
        encoder.finish().expect("writing to memory succeeds")
    };
    // Two gzip members, as in a log that was appended to.
    fs::write(folder.path().join("t.gz"), [gzip(halves.0), gzip(halves.1)].concat()).expect("a file");
    fs::write(folder.path().join("t.zst"), zstd::encode_all(lines.as_bytes(), 1).expect("zstd")).expect("a file");
    let output = import(folder.path(), &["t.gz"]).await;
    assert_eq!((output.status.code(), counts(&output.stdout)["stored"]), (Some(0), 50));
    let output = import(folder.path(), &["t.zst"]).await;
    assert_eq!((output.status.code(), counts(&output.stdout)["already there"]), (Some(0), 50));
    let mut process = program(folder.path()).args(["import", "-"]).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = process.stdin.take().expect("piped");
    tokio::io::AsyncWriteExt::write_all(&mut stdin, lines.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = process.wait_with_output().await.expect("it ends");
    assert_eq!((output.status.code(), counts(&output.stdout)["already there"]), (Some(0), 50));
    assert_eq!(objects(&folder.path().join("traces")).len(), 50);

    // Every whole line before a cut is stored, and then the cut is reported.
    let varied: Vec<_> = (0..300).map(|n| trace(n, n * 7919 % 97)).collect();
    let text = varied.join("\n");
    let zstd = zstd::encode_all(text.as_bytes(), 1).expect("zstd");
    for (name, bytes, cut) in [("cut.gz", gzip(&text), 40), ("cut.zst", zstd, 40), ("short.gz", gzip(&lines), 20)] {
        let traces = format!("{name}-traces");
        fs::write(folder.path().join(name), &bytes[..bytes.len() - cut]).expect("a file");
        let output = import(folder.path(), &[name, "--folder", &traces, "--concurrency", "2"]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "a truncated file is not a complete import");
        let report = counts(&output.stdout);
        assert_eq!(
            (report["stored"], objects(&folder.path().join(traces)).len() as u64),
            (report["lines"], report["lines"])
        );
        assert!(name != "cut.gz" || report["lines"] > 100, "{report:?}");
        assert!(said.contains(&format!("after line {}", report["lines"])) && said.contains("byte"), "{said}");
    }
}

/// A response body with the media type `application/json`.
struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> axum::response::Response {
        ([("content-type", "application/json")], self.0.to_string()).into_response()
    }
}

/// The responses that an endpoint sends before it stores traces, and the `Idempotency-Key` of every request.
type Asked = Arc<Mutex<(Vec<(StatusCode, HeaderMap)>, Vec<String>)>>;

async fn answer(State(asked): State<Asked>, headers: HeaderMap, _body: Bytes) -> impl IntoResponse {
    let mut asked = asked.lock().expect("nobody panicked");
    asked.1.push(headers["idempotency-key"].to_str().expect("text").to_owned());
    let (status, headers) = asked.0.pop().unwrap_or((StatusCode::CREATED, HeaderMap::new()));
    (status, headers, Json(json!({"status": status.as_u16(), "detail": "d", "id": "i", "key": "m/i"})))
}

async fn stand_in(answers: Vec<(u16, Option<&'static str>)>) -> (String, Asked) {
    let answers = answers.into_iter().rev().map(|(status, retry_after)| {
        let retry_after =
            retry_after.map(|value| ("retry-after".parse().expect("a name"), value.parse().expect("a value")));
        (StatusCode::from_u16(status).expect("a status"), retry_after.into_iter().collect())
    });
    let asked: Asked = Arc::new(Mutex::new((answers.collect(), Vec::new())));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/prod", listener.local_addr().expect("an address"));
    let router =
        Router::new().route("/prod", post(answer)).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&asked));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test]
async fn transient_errors_are_retried_with_the_same_idempotency_key() {
    let transient = vec![(429, Some("1")), (503, None), (502, None), (504, None), (408, None)];
    for (answers, code, requests) in [
        (transient, 0, 6),
        (vec![(400, None)], 1, 1),
        (vec![(409, None)], 1, 1),
        (vec![(413, None)], 1, 1),
        (vec![(403, None)], 2, 1),
        (vec![(404, None)], 2, 1),
        (vec![(500, None)], 2, 1),
        (vec![(302, Some("1"))], 2, 1),
    ] {
        let status = answers[0].0;
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("t.jsonl"), trace(1, 1)).expect("a file");
        let (url, asked) = stand_in(answers).await;
        let output = import(folder.path(), &["t.jsonl", "--url", &url, "--api-key", "k"]).await;
        assert_eq!(output.status.code(), Some(code), "{status}: {}", String::from_utf8_lossy(&output.stderr));
        let keys = &asked.lock().expect("nobody panicked").1;
        assert_eq!(keys.len(), requests, "{status}");
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    }
    // If a different server answers, 200 does not mean that the trace is stored, and 400 does not mean that it is
    // refused.
    for status in [StatusCode::OK, StatusCode::BAD_REQUEST] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("t.jsonl"), trace(1, 1)).expect("a file");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/prod", listener.local_addr().expect("an address"));
        tokio::spawn(
            async move { axum::serve(listener, Router::new().fallback(async move || (status, "hello"))).await },
        );
        let output = import(folder.path(), &["t.jsonl", "--url", &url, "--api-key", "k"]).await;
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// An endpoint that keeps its port when it is killed and restarted.
struct Endpoint {
    port: String,
    process: Child,
    log: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
}

impl Endpoint {
    async fn start(folder: &Path, port: &str) -> Self {
        let mut command = program(folder);
        command.args(["--s3-port", "0", "--port", port]).env("ATTEST_API_KEY", "k");
        let mut process = command.spawn().expect("it starts");
        let log = BufReader::new(process.stderr.take().expect("piped")).lines();
        let mut said = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut port = String::new();
        while let Some(line) = said.next_line().await.expect("UTF-8") {
            if let Some(rest) = line.strip_prefix("Listening on http://127.0.0.1:") {
                rest.split('/').next().expect("a port").clone_into(&mut port);
            }
            if line.contains("Ctrl-C") {
                return Self { port, process, log };
            }
        }
        panic!("it did not start");
    }

    async fn answers(&mut self, count: usize) {
        for _ in 0..count {
            self.log.next_line().await.expect("UTF-8").expect("it runs");
        }
    }

    async fn kill(mut self) -> String {
        self.process.kill().await.expect("it runs");
        self.port
    }
}

/// With `IMPORT_LINES=100000`, this is the run that `docs/performance.md` describes.
#[tokio::test]
async fn every_line_is_stored_once_although_import_and_endpoint_are_killed() {
    let lines = std::env::var("IMPORT_LINES").map_or(2_000, |lines| lines.parse().expect("a number of lines"));
    let folder: TempDir = tempfile::tempdir().expect("a temporary folder");
    let traces: Vec<String> = (0..lines).map(|n| trace(n, n * 7919 % 5_000)).collect();
    fs::write(folder.path().join("t.jsonl"), traces.join("\n")).expect("a file");
    let mut endpoint = Endpoint::start(folder.path(), "0").await;
    let url = format!("http://127.0.0.1:{}/prod", endpoint.port);
    let import = || {
        let mut command = program(folder.path());
        command.args(["import", "t.jsonl", "--quiet", "--url", &url, "--api-key", "k"]).spawn().expect("it starts")
    };
    let mut process = import();
    for kill in 0..7 {
        endpoint.answers(lines / 10).await;
        if kill % 3 == 2 {
            process.kill().await.expect("it runs");
            process = import();
        } else {
            let port = endpoint.kill().await;
            endpoint = Endpoint::start(folder.path(), &port).await;
        }
    }
    let output = tokio::select! {
        output = process.wait_with_output() => output.expect("it ends"),
        () = endpoint.answers(usize::MAX) => unreachable!("it is not told to end"),
    };
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report = counts(&output.stdout);
    println!("{report:?}");
    assert_eq!(report["lines"], lines as u64);
    assert!(report["confirmed by an earlier run"] > 0, "{report:?}");
    let mut stored: Vec<String> = objects(&folder.path().join("traces"))
        .into_values()
        .map(|object| {
            let object = String::from_utf8(object).expect("UTF-8");
            let absent = object.find(",\"id\":\"").expect("the added members follow the sent ones");
            format!("{}}}", &object[..absent])
        })
        .collect();
    let mut sent = traces;
    stored.sort_unstable();
    sent.sort_unstable();
    assert!(stored == sent, "{} objects of {} lines", stored.len(), sent.len());
}

#[tokio::test]
async fn a_file_of_any_size_is_imported_in_bounded_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // 640 MiB in 4 MiB lines, compressed to a few KiB with zstd.
    let line = format!("{{\"model\":\"m\",\"x\":\"{}\"}}\n", "x".repeat(4 * 1024 * 1024 - 22));
    let mut file = zstd::Encoder::new(fs::File::create(folder.path().join("t.zst")).expect("a file"), 1).expect("zstd");
    for _ in 0..160 {
        file.write_all(line.as_bytes()).expect("a file");
    }
    file.finish().expect("a file");
    let (url, _) = stand_in(Vec::new()).await;
    let mut command = program(folder.path())
        .into_std()
        .args(["import", "t.zst", "--url", &url, "--api-key", "k"])
        .spawn()
        .expect("it starts");
    let ended = tokio::task::spawn_blocking(move || {
        // The command prints only its report, which fits into the pipe's buffer.
        let mut memory = None;
        while let Some(peak) = super::peak_mib(command.id()) {
            memory = Some(peak);
        }
        let mut said = String::new();
        command.stdout.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
        let ended = wait4::Wait4::wait4(&mut command).expect("it ends");
        (ended.status, memory.unwrap_or(ended.rusage.maxrss / 1024 / 1024), said)
    });
    let (status, memory, said) = ended.await.expect("no panic");
    assert!(status.success() && said.contains("160 stored"), "{said}");
    println!("{memory} MiB");
    assert!((1..100).contains(&memory), "{memory} MiB");
}
