//! Tests `export` on S3s with incomplete listings, and on folders with links.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;

use super::{command, counts, export, folder_of, lines, lines_of, names, run, stderr, store, trace};
use crate::import::program;

/// The number of traces in the stand-in, which lists them in pages of 100.
const TRACES: usize = 350;
const PAGE: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Even-numbered pages are empty, which S3 allows.
    EmptyPages,
    NoToken,
    EmptyToken,
    SameToken,
    NoEnd,
    CutXml,
    /// The XML is complete, but lacks an object.
    WrongCount,
    RepeatedKey,
    RepeatedPage,
    IgnoresStart,
}

fn page(fault: Fault, query: &str) -> String {
    let parameter = |name: &str| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        pair.map(|value| value.replace("%2F", "/"))
    };
    let keys: Vec<String> = (0..TRACES).map(|n| format!("m/{n:05}")).collect();
    let after = parameter("start-after").filter(|_| fault != Fault::IgnoresStart).unwrap_or_default();
    // A token consists of the page number and the index of the page's first key.
    let token =
        parameter("continuation-token").unwrap_or_else(|| format!("0-{}", keys.partition_point(|key| *key <= after)));
    let (number, from) = token.split_once('-').expect("a token of this server");
    let (number, from): (usize, usize) = (number.parse().expect("a number"), from.parse().expect("an index"));
    let from = if fault == Fault::RepeatedPage { 0 } else { from };
    let size = if fault == Fault::EmptyPages && number % 2 == 0 { 0 } else { PAGE };
    let mut listed: Vec<&String> = keys.iter().skip(from).take(size).collect();
    let more = from + listed.len() < keys.len();
    if fault == Fault::RepeatedKey && number == 1 {
        listed[50] = listed[49];
    }
    let mut objects = listed.iter().map(|key| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2026-11-22T10:00:00.000Z</LastModified><Size>9</Size></Contents>"
        )
    });
    let count = listed.len();
    let objects: String = match fault {
        Fault::WrongCount => objects.by_ref().skip(1).collect(),
        _ => objects.collect(),
    };
    let next = format!("{}-{}", number + 1, from + listed.len());
    let token = match fault {
        Fault::NoToken => String::new(),
        Fault::EmptyToken => "<NextContinuationToken/>".to_owned(),
        Fault::SameToken => "<NextContinuationToken>1-100</NextContinuationToken>".to_owned(),
        _ => format!("<NextContinuationToken>{next}</NextContinuationToken>"),
    };
    let end = match fault {
        Fault::NoEnd => String::new(),
        _ => format!("<IsTruncated>{more}</IsTruncated>"),
    };
    let token = if more { token } else { String::new() };
    let mut xml = format!(
        "<ListBucketResult><Name>traces</Name><KeyCount>{count}</KeyCount>{end}{token}{objects}</ListBucketResult>"
    );
    if fault == Fault::CutXml && number == 1 {
        // The count would also reveal the cut, but not every S3 sends one.
        xml = xml.replace(&format!("<KeyCount>{count}</KeyCount>"), "");
        xml.truncate(xml.rfind("<Contents>").expect("it has objects"));
    }
    xml
}

async fn answer(State(fault): State<Fault>, request: Request) -> Response {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let id = path.strip_prefix("/traces/m/").map(str::to_owned);
    match (request.method(), id) {
        (&Method::GET, Some(id)) => {
            ([("last-modified", "Sun, 22 Nov 2026 10:00:00 GMT")], trace("m", &id, "")).into_response()
        }
        (&Method::GET, None) if query.contains("list-type=2") => page(fault, &query).into_response(),
        (&Method::PUT, _) => StatusCode::FORBIDDEN.into_response(),
        _ => (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>").into_response(),
    }
}

/// Starts the stand-in and exports from it. Returns the exit code, the number of lines and the standard error.
async fn export_from(fault: Fault) -> (Option<i32>, usize, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().fallback(answer).with_state(fault);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = command(folder.path(), &["-q", "--bucket", "traces", "-o", "t.jsonl"]);
    command.env("AWS_ENDPOINT_URL", url).env("AWS_REGION", "us-east-1").env("AWS_MAX_ATTEMPTS", "1");
    command.env("AWS_ACCESS_KEY_ID", "k").env("AWS_SECRET_ACCESS_KEY", "k");
    let output = command.output().await.expect("it runs");
    let path = folder.path().join("t.jsonl");
    (output.status.code(), if path.exists() { lines(&path).len() } else { 0 }, stderr(&output))
}

#[tokio::test]
async fn an_incomplete_listing_is_never_a_complete_export() {
    for fault in [Fault::None, Fault::EmptyPages] {
        let (code, exported, said) = export_from(fault).await;
        assert_eq!((code, exported), (Some(0), TRACES), "{fault:?}: {said}");
        assert!(said.contains("has no id"), "{said}");
    }
    for fault in [
        Fault::NoToken,
        Fault::EmptyToken,
        Fault::SameToken,
        Fault::NoEnd,
        Fault::CutXml,
        Fault::WrongCount,
        Fault::RepeatedKey,
        Fault::RepeatedPage,
    ] {
        let (code, exported, said) = export_from(fault).await;
        assert_eq!((code, exported), (Some(2), 0), "{fault:?}: {said}");
        assert!(said.contains("cannot list the bucket traces"), "{fault:?}: {said}");
    }
}

#[tokio::test]
async fn a_listing_that_begins_anew_does_not_repeat_the_lines_of_a_resumed_export() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (fault, code) in [(Fault::None, 0), (Fault::IgnoresStart, 2)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(answer).with_state(fault);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let name = format!("{fault:?}.jsonl");
        let run = |is_limited: bool| {
            let script = if is_limited { r#"trap "" XFSZ; ulimit -f 24; exec "$0" "$@""# } else { r#"exec "$0" "$@""# };
            let mut command = tokio::process::Command::new("sh");
            command.current_dir(folder.path()).args(["-c", script, env!("CARGO_BIN_EXE_attest")]);
            command.args(["export", "-q", "--concurrency", "1", "--bucket", "traces", "-o", &name]);
            command.env("AWS_ENDPOINT_URL", &url).env("AWS_REGION", "us-east-1").env("AWS_MAX_ATTEMPTS", "1");
            command.env("AWS_ACCESS_KEY_ID", "k").env("AWS_SECRET_ACCESS_KEY", "k");
            command
        };
        let interrupted = run(true).output().await.expect("it runs");
        assert_eq!(interrupted.status.code(), Some(2), "{}", stderr(&interrupted));
        let output = run(false).output().await.expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{fault:?}: {}", stderr(&output));
        if code == 0 {
            assert!(lines(&folder.path().join(&name)) == lines_of(TRACES));
        }
    }
}

#[tokio::test]
async fn what_is_stored_behind_a_link_is_exported_and_a_loop_ends() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let elsewhere = folder.path().join("elsewhere");
    let link = |target: &Path, name: &str| symlink(target, folder.path().join("traces").join(name)).expect("a link");
    store(folder.path(), "plain/1", &trace("plain", "1", ""), 1);
    fs::create_dir_all(elsewhere.join("deeper")).expect("a folder");
    link(&elsewhere, "linked");
    // Two loops, a dangling link, and a linked file.
    symlink(folder.path().join("traces"), elsewhere.join("deeper/up")).expect("a link");
    symlink(".", folder.path().join("traces/plain/self")).expect("a link");
    link(Path::new("absent"), "dangling");
    fs::write(folder.path().join("file.json"), trace("plain", "2", "")).expect("it can be written");
    link(&folder.path().join("file.json"), "plain/2.json");
    fs::write(folder.path().join("one.jsonl"), trace("linked", "1", "")).expect("it can be written");
    let imported = program(folder.path()).args(["import", "one.jsonl"]).output().await.expect("it runs");
    assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));
    assert!(elsewhere.join("1.json").exists());
    export(folder.path(), &["-o", "t.jsonl"]).await;
    let expected = [trace("linked", "1", ""), trace("plain", "1", ""), trace("plain", "2", "")];
    assert_eq!(lines(&folder.path().join("t.jsonl")), expected);
}

#[tokio::test]
async fn what_the_endpoint_would_refuse_is_no_trace_for_export_import_and_lake() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = trace("m", "good", r#","number":0.10"#);
    store(folder.path(), "m/good", &good, 1);
    let of = |members: &str| format!(r#"{{"model":"m","created":1,"messages":[]{members}}}"#);
    let others = [
        of(r#","a":"\ud83d""#),
        of(r#","a":{"b":1,"b":1}"#),
        of(r#","system_fingerprint":"""#),
        of(r#","id":1"#),
        of("") + "x",
        of(&format!(r#","a":{}{}"#, "[".repeat(200), "]".repeat(200))),
        r#"{"model":"m","created":1}"#.to_owned(),
        r#"{"model":"m","created":"1","messages":[]}"#.to_owned(),
        r#"{"model":"m","created":1.0,"messages":[]}"#.to_owned(),
        r#"{"model":"m","created":1e3,"messages":[]}"#.to_owned(),
        of(r#","usage":null"#),
        of(r#","choices":[null]"#),
        of(&format!(r#","id":"{}""#, "x".repeat(1_024))),
        r#"{"model":"m","created":1,"messages":[{"role":"tool","content":"a"}]}"#.to_owned(),
        of(&format!(r#","a":"{}""#, "x".repeat(10 * 1024 * 1024))),
    ];
    for (n, other) in others.iter().enumerate() {
        store(folder.path(), &format!("m/other{n:02}"), other, 1);
    }
    let path = folder.path().join("traces/m/bytes.json");
    let bytes = b"{\"model\":\"m\",\"created\":1,\"messages\":[],\"a\":\"\xff\xfe\"}";
    fs::write(path, bytes).expect("it can be written");
    for (arguments, exported) in [(&["-o", "t.jsonl"][..], 1), (&["fine-tuning", "-o", "f.jsonl"], 0)] {
        let output = run(folder.path(), arguments).await;
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let report = counts(&output.stderr);
        assert_eq!(
            (report["exported"], report["not traces"], report["left out: larger than any trace"]),
            (exported, others.len() as u64, 1),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(lines(&folder.path().join("t.jsonl")), [good]);
    let imported =
        program(folder.path()).args(["import", "t.jsonl", "--folder", "copy"]).output().await.expect("it runs");
    assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));
    let all = others.iter().flat_map(|other| [other.as_bytes(), b"\n"]).chain([&bytes[..]]);
    fs::write(folder.path().join("others.jsonl"), all.collect::<Vec<_>>().concat()).expect("it can be written");
    let imported =
        program(folder.path()).args(["import", "others.jsonl", "--folder", "refused"]).output().await.expect("it runs");
    assert_eq!(imported.status.code(), Some(1), "{}", stderr(&imported));
    let report = counts(&imported.stdout);
    assert_eq!((report["stored"], report["refused"]), (0, others.len() as u64 + 1), "{}", stderr(&imported));
    let synced = program(folder.path()).args(["lake", "sync", "-o", "lake"]).output().await.expect("it runs");
    assert_eq!(synced.status.code(), Some(1), "{}", stderr(&synced));
    let report = counts(&synced.stderr);
    assert_eq!(
        (report["added"], report["not traces"], report["left out: larger than any trace"]),
        (1, others.len() as u64, 1),
        "{}",
        stderr(&synced)
    );
}

#[tokio::test]
async fn an_export_and_its_state_are_private() {
    let folder = folder_of(3);
    export(folder.path(), &["-o", "t.jsonl"]).await;
    export(folder.path(), &["-o", "t.jsonl.gz"]).await;
    let mode = |name: &str| fs::metadata(folder.path().join(name)).expect("it exists").permissions().mode() & 0o777;
    assert_eq!((mode("t.jsonl"), mode("t.jsonl.gz")), (0o600, 0o600));
    let gate = super::Gate::close(&folder.path().join("traces"), "m/z");
    let mut process = command(folder.path(), &["-q", "-o", "u.jsonl"]).spawn().expect("it starts");
    super::wait_until(&mut process, || super::has_progress(&folder.path().join("u.jsonl"))).await;
    process.kill().await.expect("it runs");
    gate.remove();
    for name in names(folder.path()).iter().filter(|name| name.starts_with("u.jsonl.part") && !name.ends_with("lock")) {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_pipe_is_compressed_by_its_name() {
    let folder = folder_of(3);
    for name in ["pipe.gz", "pipe.zst", "pipe"] {
        let pipe = folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        let process = command(folder.path(), &["-q", "-o", name]).spawn().expect("it starts");
        let (from, to) = (pipe.clone(), folder.path().join(format!("copy-{name}")));
        tokio::task::spawn_blocking(move || fs::write(to, fs::read(from).expect("a pipe")))
            .await
            .expect("no panic")
            .expect("a file");
        let output = process.wait_with_output().await.expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(lines(&folder.path().join(format!("copy-{name}"))), lines_of(3), "{name}");
    }
}
