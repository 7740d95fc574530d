//! Tests OpenTelemetry on the local endpoint, over real HTTP, with requests recorded from real packages.

use std::{path::Path, process::Stdio};

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

const PROTOBUF: &str = "application/x-protobuf";

fn recording(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../otlp/recordings");
    std::fs::read(folder.join(format!("{name}.binpb"))).expect("a recording")
}

/// Sends a request. Returns the status, the media type and the body.
async fn send(url: &str, key: &str, media_type: &str, body: Vec<u8>) -> (StatusCode, String, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::post(url).header("x-api-key", key).header("content-type", media_type);
    let response = client.request(request.body(body.into()).expect("a request")).await.expect("a response");
    let (head, body) = response.into_parts();
    let media_type = head.headers["content-type"].to_str().expect("text").to_owned();
    (head.status, media_type, body.collect().await.expect("a whole body").to_bytes())
}

#[tokio::test]
async fn both_ports_take_opentelemetry_with_the_api_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
    command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    for name in ["API_KEY", "ATTEST_API_KEY", "BUCKET_NAME", "MAX_TRACE_BYTES", "OTEL_SPANS", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.args([
        "--port",
        "0",
        "--s3-port",
        "0",
        "--otlp-port",
        "0",
        "--api-key",
        "k",
        "--ready-file",
        "/dev/stderr",
    ]);
    let mut process = command.spawn().expect("it starts");
    let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
    let ready = lines.next_line().await.expect("UTF-8").expect("the ready file");
    let ready: Value = serde_json::from_str(&ready).expect("the ready file is JSON");
    let url = |name: &str| ready[name].as_str().expect("a URL").to_owned();

    for (url, signal, name) in [
        (url("url"), "traces", "genai-openai-tools"),
        (url("otlp_url"), "traces", "genai-openai-tools"),
        (url("otlp_url"), "logs", "genai-openai-events-plain"),
    ] {
        let url = format!("{url}/v1/{signal}");
        let body = recording(&format!("{name}.{signal}"));
        let (status, media_type, _) = send(&url, "wrong", PROTOBUF, body.clone()).await;
        assert_eq!((status, &*media_type), (StatusCode::FORBIDDEN, "application/problem+json"), "{url}");
        let (status, media_type, answer) = send(&url, "k", PROTOBUF, body).await;
        assert_eq!((status, &*media_type, answer.len()), (StatusCode::OK, PROTOBUF, 0), "{url}");
        let (status, media_type, answer) = send(&url, "k", "application/json", b"{".to_vec()).await;
        assert_eq!((status, &*media_type), (StatusCode::BAD_REQUEST, "application/json"), "{url}");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(answer["code"], 3, "{url}");
    }
    for unknown in [format!("{}/v1/metrics", url("url")), format!("{}/", url("otlp_url"))] {
        assert_eq!(send(&unknown, "k", PROTOBUF, Vec::new()).await.0, StatusCode::FORBIDDEN, "{unknown}");
    }

    let stored = folder.path().join("traces");
    let mut names: Vec<_> = std::fs::read_dir(stored.join("fp_1"))
        .expect("the fingerprint is a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
}

/// Several endpoints may run on one machine, so OpenTelemetry's port is used only if it is free.
#[tokio::test]
async fn a_taken_port_is_an_error_only_if_it_was_asked_for() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
    command.current_dir(folder.path()).args(["--port", "0", "--s3-port", "0", "--otlp-port", &port]);
    let output = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--otlp-port"), "{said}");
}
