//! `check` against the local endpoint: every promise holds there, and a proxy in front breaks each one on purpose.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
};

use attest::{handler::Handler, metrics::RequestLog, settings::MAX_TRACE_BYTES, store::Store};
use attest_cli::serve::gateway;
use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::service::TowerToHyperService;
use local_aws::{
    http::serve,
    s3::{ACCESS_KEY, FolderS3},
    testing::{BUCKET, Bucket},
};
use serde_json::Value;
use tokio::{net::TcpListener, process::Command};

/// A request as the proxy received it.
struct Seen {
    path: String,
    body: String,
}

/// The answer that the proxy passes on.
struct Reply {
    status: u16,
    content_type: String,
    body: String,
}

/// A way to break a promise: the changes that the proxy makes to each request and each answer.
#[derive(Clone, Copy)]
struct Break {
    promise: &'static str,
    request: fn(&mut HeaderMap, &mut Bytes),
    reply: fn(&Seen, &mut Reply),
}

fn keep(_: &mut HeaderMap, _: &mut Bytes) {}

/// A break that changes answers only.
const fn reply(promise: &'static str, reply: fn(&Seen, &mut Reply)) -> Break {
    Break { promise, request: keep, reply }
}

/// A break that changes requests only.
const fn request(promise: &'static str, request: fn(&mut HeaderMap, &mut Bytes)) -> Break {
    Break { promise, request, reply: |_, _| {} }
}

fn has_encoding(headers: &HeaderMap, encoding: &str) -> bool {
    headers.get("content-encoding").is_some_and(|value| value == encoding)
}

const BREAKS: &[Break] = &[
    reply("a new trace gets 201", |_, reply| {
        if reply.status == 201 {
            reply.status = 202;
        }
    }),
    reply("a repeated trace gets 200", |_, reply| {
        if reply.status == 200 {
            reply.status = 201;
        }
    }),
    reply("a different trace under a taken id gets 409", |_, reply| {
        if reply.status == 409 {
            reply.status = 200;
        }
    }),
    request("an Idempotency-Key makes a trace without an id repeatable", |headers, _| {
        headers.remove("idempotency-key");
    }),
    reply("of 64 equal traces at once, exactly one is stored", |_, reply| {
        if reply.status == 200 {
            reply.status = 500;
        }
    }),
    reply("of 64 different traces under one id at once, exactly one is stored", |_, reply| {
        if reply.status == 409 {
            reply.status = 201;
        }
    }),
    // A gateway without binary media types.
    request("a body that is not UTF-8 gets 400 with its offset", |headers, body| {
        if !headers.contains_key("content-encoding") && std::str::from_utf8(body).is_err() {
            *body = String::from_utf8_lossy(body).into_owned().into();
        }
    }),
    reply("a body that is not JSON gets 400 with line and column", |_, reply| {
        reply.body = reply.body.replace(r#""line":2"#, r#""line":1"#);
    }),
    reply("a repeated name gets 400 with its pointer", |_, reply| {
        reply.body = reply.body.replace("/messages/0/role", "");
    }),
    reply("an unpaired surrogate gets 400", |seen, reply| {
        if seen.body.contains(r"\ud83d") {
            reply.status = 201;
        }
    }),
    reply("a trace that violates the schema gets 400 with every pointer", |_, reply| {
        reply.body = reply.body.replace(r#""pointer":"/created""#, r#""pointer":"""#);
    }),
    reply("a trace without a valid key gets 400", |_, reply| {
        if reply.body.contains("no-key") {
            reply.status = 500;
        }
    }),
    reply("errors do not quote the content of messages", |seen, reply| {
        if let (400, Ok(mut problem)) = (reply.status, serde_json::from_str::<Value>(&reply.body)) {
            problem["detail"] = seen.body.as_str().into();
            reply.body = problem.to_string();
        }
    }),
    request("a missing API key gets 403", |headers, _| {
        headers.entry("x-api-key").or_insert("key".parse().expect("a value"));
    }),
    request("a wrong API key gets 403", |headers, _| {
        headers.insert("x-api-key", "key".parse().expect("a value"));
    }),
    reply("a trace at the size limit gets 201", |seen, reply| {
        if seen.body.len() >= MAX_TRACE_BYTES {
            reply.status = 413;
        }
    }),
    reply("a trace one byte over the size limit gets 413", |_, reply| {
        if reply.status == 413 {
            reply.status = 502;
        }
    }),
    request("a gzip-compressed trace gets 201", |headers, _| {
        if has_encoding(headers, "gzip") {
            headers.remove("content-encoding");
        }
    }),
    request("a deflate-compressed trace gets 201", |headers, _| {
        if has_encoding(headers, "deflate") {
            headers.remove("content-encoding");
        }
    }),
    // A gateway response without its Content-Type.
    reply("an unknown Content-Encoding gets 415 as problem details", |_, reply| {
        if reply.status == 415 {
            "application/json".clone_into(&mut reply.content_type);
        }
    }),
    // A template that renders to invalid JSON, as with a variable that does not exist.
    reply("an unknown route gets 403 or 404 as problem details", |seen, reply| {
        if seen.path.contains("no/such/route") {
            r#"{"type":"urn:attest:problem:gateway","title":"T","status":,"detail":"D"}"#.clone_into(&mut reply.body);
        }
    }),
    reply("a burst of 64 requests, some of them cold, is answered within 22 s", |_, reply| {
        if reply.status == 201 {
            reply.status = 503;
        }
    }),
    reply("warm requests are answered within 5 s", |_, reply| {
        if reply.status == 201 {
            "{}".clone_into(&mut reply.body);
        }
    }),
];

/// The proxy, and the other data that the check reads: stored objects and the function's code.
struct Proxy {
    upstream: SocketAddr,
    client: reqwest::Client,
    bucket: Arc<Bucket>,
    broken: Option<Break>,
    /// Whether the temporary key of the check is throttled.
    throttles: bool,
}

/// Starts the local endpoint and a proxy in front of it. Returns the proxy's URL.
async fn endpoint(broken: Option<Break>, throttles: bool) -> String {
    let bucket = Arc::new(Bucket::new().await);
    let config = FolderS3::sdk_config(bucket.address, ACCESS_KEY, attest::settings::http_client());
    let handler = Handler::new(Store::new(&config, BUCKET.to_owned()), MAX_TRACE_BYTES, RequestLog::new("f", |_| ()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let upstream = listener.local_addr().expect("an address");
    let router = gateway::router(handler, "key", gateway::BODY, Router::new());
    tokio::spawn(serve(listener, TowerToHyperService::new(router), std::future::pending()));

    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let proxy = Arc::new(Proxy { upstream, client, bucket, broken, throttles });
    let router = Router::new()
        .route("/object/{*key}", get(object))
        .route("/code/{machine}", get(code))
        .fallback(forward)
        .with_state(proxy);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn object(State(proxy): State<Arc<Proxy>>, Path(key): Path<String>) -> Vec<u8> {
    proxy.bucket.object(&key).await
}

/// Returns the function's code: a ZIP file with a `bootstrap` that is the head of an ELF file for this machine. Machine 0
/// is code that was not built, without a `bootstrap`.
async fn code(Path(machine): Path<u16>) -> Vec<u8> {
    use std::io::Write;
    let mut bootstrap = [0; 64];
    bootstrap[..4].copy_from_slice(b"\x7fELF");
    bootstrap[18..20].copy_from_slice(&machine.to_le_bytes());
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file(if machine == 0 { "Cargo.toml" } else { "bootstrap" }, options).expect("a ZIP file");
    archive.write_all(&bootstrap).expect("a ZIP file");
    archive.finish().expect("a ZIP file").into_inner()
}

async fn forward(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.expect("a whole body");
    let mut headers = head.headers;
    if headers.get("x-api-key").is_some_and(|key| key == "temporary") {
        let body = r#"{"type":"urn:attest:problem:throttled","title":"T","status":429,"detail":"D"}"#;
        let status = if proxy.throttles { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::BAD_REQUEST };
        return (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
    }
    let path = head.uri.path().to_owned();
    let seen = Seen { path, body: String::from_utf8_lossy(&body).into_owned() };
    if let Some(broken) = proxy.broken {
        (broken.request)(&mut headers, &mut body);
    }
    for name in [header::HOST, header::CONTENT_LENGTH, HeaderName::from_static("transfer-encoding")] {
        headers.remove(name);
    }
    let url = format!("http://{}{}", proxy.upstream, seen.path);
    let answer = proxy.client.post(url).headers(headers).body(body).send().await.expect("an answer");
    let content_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let mut reply =
        Reply { status: answer.status().as_u16(), content_type, body: answer.text().await.expect("a whole answer") };
    if let Some(broken) = proxy.broken {
        (broken.reply)(&seen, &mut reply);
    }
    let status = StatusCode::from_u16(reply.status).expect("a status");
    (status, [(header::CONTENT_TYPE, reply.content_type)], reply.body).into_response()
}

/// The report of a check: the verdicts by promise, the whole report, and the exit status.
struct Checked {
    verdicts: BTreeMap<String, String>,
    report: Value,
    status: Option<i32>,
}

/// Runs `check` with `API_URL` of the proxy, and the stand-in for the AWS CLI of `check/aws` on the path.
async fn check(url: &str, arguments: &[&str], broken: &str) -> Checked {
    let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/command/check");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new(env!("CARGO_BIN_EXE_attest"))
        .args(["check", "--json", "--api-key", "key", "--url", &format!("{url}/prod")])
        .args(arguments)
        .env("PATH", path)
        .env("BROKEN", broken)
        .env("SERVER", url)
        .env_remove("AWS_ENDPOINT_URL")
        .stderr(Stdio::inherit())
        .output()
        .await
        .expect("attest runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    let lines = report["promises"].as_array().expect("promises");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let verdicts = lines.iter().map(|line| (text(&line["promise"]), text(&line["verdict"]))).collect();
    Checked { verdicts, report, status: output.status.code() }
}

#[tokio::test]
async fn every_promise_holds_on_the_local_endpoint_or_says_why_it_is_not_checked() {
    let url = endpoint(None, true).await;
    let checked = check(&url, &[], "").await;
    assert_eq!(checked.status, Some(0), "{}", checked.report);
    for line in checked.report["promises"].as_array().expect("promises") {
        match line["verdict"].as_str() {
            Some("holds") => {}
            Some("not_checked") => {
                let reason = line["reason"].as_str().expect("a reason");
                assert!(["--stack is not given", "the URL is not HTTPS"].contains(&reason), "{line}");
            }
            _ => panic!("{line}"),
        }
    }
    let left = checked.report["left"].as_array().expect("the keys that are left");
    assert!(left.len() > 90 && left.iter().all(|key| key.as_str().is_some_and(|key| key.starts_with("attest-check/"))));
}

#[tokio::test]
async fn each_promise_that_a_proxy_breaks_is_reported() {
    let whole = check(&endpoint(None, true).await, &[], "").await;
    let holding: Vec<_> = whole.verdicts.iter().filter(|(_, verdict)| *verdict == "holds").map(|(of, _)| of).collect();
    let mut broken: Vec<_> = BREAKS.iter().map(|of| of.promise).collect();
    broken.sort_unstable();
    assert_eq!(broken, holding, "each promise that is checked is broken once");
    for broken in BREAKS {
        let checked = check(&endpoint(Some(*broken), true).await, &[], "").await;
        assert_eq!(checked.status, Some(1), "{}: {}", broken.promise, checked.report);
        assert_eq!(checked.verdicts[broken.promise], "fails", "{}", checked.report);
    }
}

/// The promise that an endpoint breaks if it does not throttle.
const THROTTLED: &str = "a key over its rate gets 429 as problem details";

/// The breaks of `check/aws`, and the promise that each one breaks.
const STACK_BREAKS: &[(&str, &str)] = &[
    ("bytes", "the stored object is the sent trace, byte for byte"),
    ("overwrite", "a put without If-None-Match is denied"),
    ("public", "the bucket is not public"),
    ("encryption", "traces are encrypted as the stack specifies"),
    ("architecture", "the binary is built for the architecture of the function"),
    ("alarms", "the alarms exist and are enabled"),
    ("subscription", "the e-mail subscription of the alarms is confirmed"),
    ("content", "the log contains no message content"),
    ("status", "the log has a line for the request"),
    ("metrics", "the metrics arrive"),
    ("build", "the binary is built for the architecture of the function"),
    ("notifications", "the bucket reports stored and removed objects to the lake"),
    ("schedules", "the schedules of the lake are enabled"),
    ("queries", "the saved queries run"),
    ("create", "the saved queries run"),
];

#[tokio::test]
async fn every_promise_of_a_stack_holds_and_its_traces_are_deleted() {
    let checked = check(&endpoint(None, true).await, &["--stack", "traces"], "").await;
    assert_eq!(checked.status, Some(0), "{}", checked.report);
    let unchecked: Vec<_> = checked.verdicts.iter().filter(|(_, verdict)| *verdict != "holds").collect();
    assert_eq!(unchecked, [(&"TLS below 1.2 is refused".to_owned(), &"not_checked".to_owned())], "{}", checked.report);
    assert_eq!(checked.report["left"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn each_promise_of_a_stack_that_is_broken_is_reported() {
    let url = endpoint(None, true).await;
    let (alone, whole) = (check(&url, &[], "").await, check(&url, &["--stack", "traces"], "").await);
    let of_stack = whole.verdicts.iter().filter(|(of, verdict)| *verdict == "holds" && alone.verdicts[*of] != "holds");
    let of_stack: BTreeSet<_> = of_stack.map(|(promise, _)| promise.as_str()).collect();
    let broken = STACK_BREAKS.iter().map(|(_, promise)| *promise).chain([THROTTLED]);
    assert_eq!(broken.collect::<BTreeSet<_>>(), of_stack, "each promise that is checked is broken once");
    for (broken, promise) in STACK_BREAKS {
        let checked = check(&url, &["--stack", "traces", "--wait", "0"], broken).await;
        assert_eq!(checked.status, Some(1), "{broken}: {}", checked.report);
        assert_eq!(checked.verdicts[*promise], "fails", "{broken}: {}", checked.report);
    }
}

#[tokio::test]
async fn a_key_that_is_not_throttled_is_reported() {
    let checked = check(&endpoint(None, false).await, &["--stack", "traces"], "").await;
    assert_eq!(checked.verdicts[THROTTLED], "fails", "{}", checked.report);
}

#[tokio::test]
async fn traces_that_may_not_be_deleted_are_named() {
    let checked = check(&endpoint(None, true).await, &["--stack", "traces"], "delete").await;
    assert_eq!(checked.report["left"], serde_json::json!(["attest-check/kept"]));
    assert_eq!(checked.report["left_because"], "AccessDenied");
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_checked_ends_in_exit_status_2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    for (url, key) in [(format!("http://{address}/prod"), "key"), (endpoint(None, true).await + "/prod", "wrong")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
        let output = command.args(["check", "--url", &url, "--api-key", key]).output().await.expect("attest runs");
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(&url) && error.contains("check --url"), "{error}");
    }
}
