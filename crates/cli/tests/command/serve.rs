//! Tests the local endpoint by running the built program, over real HTTP.

use std::{
    io::Write,
    path::Path,
    process::{Child, ExitStatus, Stdio},
    sync::Arc,
};

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use local_aws::s3::FolderS3;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{ChildStderr, ChildStdout, Command},
    sync::mpsc,
};
use wait4::Wait4;

mod doors;
mod folder;
mod start;

const VALID: &str = r#"{"model":"m","created":1,"messages":[]}"#;

struct Endpoint {
    /// `None` after the process has ended.
    process: Option<Child>,
    printed: Vec<String>,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
    url: String,
    key: String,
    ready: Value,
    folder: Arc<TempDir>,
    client: Client<HttpConnector, Full<Bytes>>,
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
    command.current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for name in ["ATTEST_API_KEY", "BUCKET_NAME", "MAX_TRACE_BYTES", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

impl Endpoint {
    async fn start() -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().expect("a temporary folder"))).await
    }

    async fn start_in(folder: Arc<TempDir>) -> Self {
        Self::start_with(folder, &[]).await
    }

    async fn start_with(folder: Arc<TempDir>, options: &[&str]) -> Self {
        let mut command = program(folder.path()).into_std();
        command.args(["--port", "0", "--s3-port", "0", "--ready-file", "/dev/stdout"]).args(options);
        let mut process = command.spawn().expect("it starts");
        let stdout = ChildStdout::from_std(process.stdout.take().expect("piped")).expect("a pipe");
        let stderr = ChildStderr::from_std(process.stderr.take().expect("piped")).expect("a pipe");
        let (mut stdout, stderr) = (BufReader::new(stdout).lines(), BufReader::new(stderr).lines());
        let mut printed = Vec::new();
        while let Some(line) = stdout.next_line().await.expect("UTF-8") {
            let is_ready = line.starts_with('{');
            printed.push(line);
            if is_ready {
                break;
            }
        }
        let ready = serde_json::from_str(printed.last().expect("the ready file")).expect("the ready file is JSON");
        let curl = printed.iter().find(|line| line.starts_with("curl ")).expect("a curl line");
        let url = curl.split(' ').find(|word| word.starts_with("http://")).expect("a URL").to_owned();
        let key = curl.split("x-api-key: ").nth(1).and_then(|rest| rest.split('\'').next()).expect("a key").to_owned();
        // Every request opens its own connection, as with `curl`.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { process: Some(process), printed, stdout, stderr, url, key, ready, folder, client }
    }

    fn request(&self, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let request = Request::post(&self.url).header("x-api-key", &self.key);
        request.body(Full::new(body.into())).expect("a request")
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
        let (head, body) = self.client.request(request).await.expect("a response").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        (head.status, serde_json::from_slice(&body).expect("every response is JSON"))
    }

    async fn post(&self, body: impl Into<Bytes>) -> (StatusCode, Value) {
        self.send(self.request(body)).await
    }

    /// Returns a client for the endpoint's S3, with the keys from the ready file.
    fn s3(&self) -> aws_sdk_s3::Client {
        self.s3_with(self.ready["s3_secret_key"].as_str().expect("a key"))
    }

    fn s3_with(&self, secret_key: &str) -> aws_sdk_s3::Client {
        let address = self.ready["s3_url"].as_str().expect("a URL").trim_start_matches("http://");
        let address = address.parse().expect("an address");
        let config = FolderS3::sdk_config(address, secret_key, attest::settings::http_client());
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    fn stored(&self, key: &str) -> String {
        let path = self.folder.path().join("traces").join(format!("{key}.json"));
        std::fs::read_to_string(path).expect("the object is a file")
    }

    /// Stops the process as Ctrl-C does. Returns its status, its log and its peak memory in MiB.
    async fn stop(mut self) -> (ExitStatus, String, u64) {
        let memory = super::peak_mib(self.process.as_ref().expect("it runs").id());
        self.kill("-INT").await;
        let mut log = String::new();
        while let Some(line) = self.stderr.next_line().await.expect("UTF-8") {
            log += &(line + "\n");
        }
        assert_eq!(self.stdout.next_line().await.expect("UTF-8").as_deref(), Some("stopped"));
        let mut process = self.process.take().expect("it runs");
        let ended = tokio::task::spawn_blocking(move || process.wait4()).await.expect("no panic").expect("it ends");
        (ended.status, log, memory.unwrap_or(ended.rusage.maxrss / 1024 / 1024))
    }

    async fn kill(&self, signal: &str) {
        let pid = self.process.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.expect("kill runs").success());
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a write to memory succeeds");
    encoder.finish().expect("a write to memory succeeds")
}

/// Sends a raw request, and returns the response up to the end of the connection.
async fn exchange(address: &str, request: &str) -> String {
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    // The endpoint may respond and close the connection before it has read everything.
    let _ = connection.write_all(request.as_bytes()).await;
    let mut response = Vec::new();
    let _ = connection.read_to_end(&mut response).await;
    String::from_utf8_lossy(&response).into_owned()
}

#[tokio::test]
async fn the_printed_curl_line_works_unchanged() {
    let endpoint = Endpoint::start().await;
    let curl = endpoint.printed.iter().find(|line| line.starts_with("curl ")).expect("a curl line");
    let output = Command::new("sh").args(["-c", curl]).output().await.expect("sh runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("the response is JSON");
    let key = answer["key"].as_str().expect("a key");
    let sent = attest_view::EXAMPLE.trim_end_matches('}');
    assert!(endpoint.stored(key).starts_with(sent), "{}", endpoint.stored(key));
    let listing = endpoint.printed.iter().find(|line| line.contains("aws s3 ls")).expect("how to list");
    assert!(listing.contains("--endpoint-url http://127.0.0.1:"), "{listing}");

    let (status, log, _) = endpoint.stop().await;
    assert!(status.success());
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.starts_with("201  gpt-4o/"), "{log}");
}

#[tokio::test]
async fn a_wrong_key_or_route_is_answered_with_the_403_of_the_gateway() {
    let endpoint = Endpoint::start().await;
    let root = endpoint.url.replace("/prod", "");
    let mut answers = Vec::new();
    for (method, url, key) in [
        ("POST", &endpoint.url, None),
        ("POST", &endpoint.url, Some("")),
        ("POST", &endpoint.url, Some("wrong")),
        ("POST", &endpoint.url, Some(&endpoint.key[1..])),
        ("GET", &endpoint.url, Some(&*endpoint.key)),
        ("PUT", &endpoint.url, Some(&endpoint.key)),
        ("OPTIONS", &endpoint.url, Some(&endpoint.key)),
        ("POST", &root, Some(&endpoint.key)),
        ("POST", &(endpoint.url.clone() + "/../prod/x"), Some(&endpoint.key)),
        ("POST", &(root.clone() + "/%70rod"), Some(&endpoint.key)),
    ] {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        answers.push(endpoint.send(request.body(Full::from(VALID)).expect("a request")).await);
    }
    for (status, body) in answers {
        assert_eq!(
            (status, &body["status"], &body["type"]),
            (StatusCode::FORBIDDEN, &json!(403), &json!("urn:attest:problem:forbidden"))
        );
    }
    assert_eq!(endpoint.post(VALID).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn the_description_of_the_api_and_its_schema_are_served() {
    let endpoint = Endpoint::start().await;
    let root = endpoint.url.replace("/prod", "");
    for (path, media_type, text) in [
        ("/openapi.yaml", "application/yaml", include_str!("../../../../docs/openapi.yaml")),
        ("/src/trace.schema.json", "application/json", include_str!("../../../../src/trace.schema.json")),
    ] {
        let request = Request::get(root.clone() + path).body(Full::default()).expect("a request");
        let (head, body) = endpoint.client.request(request).await.expect("a response").into_parts();
        assert_eq!(
            (head.status, &head.headers["content-type"]),
            (StatusCode::OK, &media_type.parse().expect("a value"))
        );
        assert_eq!(body.collect().await.expect("a whole body").to_bytes(), text);
    }
    let request = Request::post(root + "/openapi.yaml").body(Full::default()).expect("a request");
    assert_eq!(endpoint.send(request).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn bodies_reach_the_handler_unchanged() {
    let endpoint = Endpoint::start().await;
    let (status, body) = endpoint.post(&b"{\"model\": \"\xff\"}"[..]).await;
    assert_eq!((status, &body["type"]), (StatusCode::BAD_REQUEST, &json!("urn:attest:problem:not-utf8")));
    let (status, body) = endpoint.post("").await;
    assert_eq!((status, &body["type"]), (StatusCode::BAD_REQUEST, &json!("urn:attest:problem:not-json")));
    let mut request = endpoint.request(VALID);
    request.headers_mut().insert("idempotency-key", "k".parse().expect("a value"));
    let first = endpoint.send(request.clone()).await;
    let second = endpoint.send(request).await;
    assert_eq!((first.0, second.0, first.1), (StatusCode::CREATED, StatusCode::OK, second.1));
}

#[tokio::test]
async fn a_compressed_body_is_decompressed_up_to_the_limit_only() {
    let endpoint = Endpoint::start().await;
    let encoded = |body: Vec<u8>, encoding: &str| {
        let mut request = endpoint.request(body);
        request.headers_mut().insert("content-encoding", encoding.parse().expect("a value"));
        request
    };
    let trace = VALID.replace("[]", r#"[{"role":"user","content":"é"}]"#);
    let (status, answer) = endpoint.send(encoded(gzip(trace.as_bytes()), "GZip")).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert!(endpoint.stored(answer["key"].as_str().expect("a key")).starts_with(trace.trim_end_matches('}')));

    let over = VALID.replace("1,", &format!("1,{}", " ".repeat(4 * 1024 * 1024)));
    let (status, answer) = endpoint.send(encoded(gzip(over.as_bytes()), "gzip")).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer["detail"], format!("The trace has {} bytes; the limit is 4194304.", over.len()));

    // A gzip file may have several members (RFC 1952, section 2.2).
    let (first, second) = trace.split_at(20);
    let members = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
    let (status, answer) = endpoint.send(encoded(members, "gzip")).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert!(endpoint.stored(answer["key"].as_str().expect("a key")).starts_with(trace.trim_end_matches('}')));
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(trace.as_bytes()).expect("a write to memory succeeds");
    let zlib = zlib.finish().expect("a write to memory succeeds");
    assert_eq!(endpoint.send(encoded(zlib.clone(), "deflate")).await.0, StatusCode::CREATED);
    for (body, encoding) in
        [([gzip(trace.as_bytes()), b"rest".to_vec()].concat(), "gzip"), ([zlib, b"rest".to_vec()].concat(), "deflate")]
    {
        assert_eq!(endpoint.send(encoded(body, encoding)).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{encoding}");
    }

    // Sixteen bodies at once, each with 256 MiB compressed to 256 KiB.
    let bomb = gzip(&vec![b' '; 1 << 28]);
    for (status, _) in join_all((0..16).map(|_| endpoint.send(encoded(bomb.clone(), "gzip")))).await {
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    for (body, encoding) in
        [(VALID.into(), "gzip"), (gzip(trace.as_bytes())[..20].to_vec(), "gzip"), (VALID.into(), "br")]
    {
        let (status, answer) = endpoint.send(encoded(body, encoding)).await;
        assert_eq!((status, &answer["status"]), (StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!(415)));
    }
    let (_, _, memory) = endpoint.stop().await;
    assert!((1..200).contains(&memory), "{memory} MiB");
}

/// 800 MiB are in flight at once, but the gateway admits a few bodies at a time.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_with_4_mib_each_are_served_in_bounded_memory() {
    let endpoint = Endpoint::start().await;
    let text = "x".repeat(4 * 1024 * 1024 - 100);
    let body = Bytes::from(VALID.replace("[]", &format!(r#"[{{"role":"user","content":"{text}"}}]"#)));
    for (status, answer) in join_all((0..200).map(|_| endpoint.post(body.clone()))).await {
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }
    let (status, log, memory) = endpoint.stop().await;
    assert!(status.success());
    assert!((1..400).contains(&memory), "{memory} MiB");
    assert_eq!(log.lines().count(), 200);
}

/// Sends traces one after the other and reports each confirmed one, until the endpoint is gone.
async fn post_until_the_endpoint_is_gone(
    endpoint: Arc<Endpoint>,
    name: String,
    confirmed: mpsc::UnboundedSender<(String, String)>,
) {
    for n in 0.. {
        let id = format!("{name}-{n}");
        let text = "x".repeat(n * 997 % 20_000);
        let trace = format!(
            r#"{{"model":"m","created":1,"messages":[{{"role":"user","content":"{text}"}}],"id":"{id}","system_fingerprint":"m","object":"o"}}"#
        );
        let Ok(response) = endpoint.client.request(endpoint.request(trace.clone())).await else { return };
        let status = response.status();
        if response.into_body().collect().await.is_err() {
            return;
        }
        assert_eq!(status, StatusCode::CREATED);
        confirmed.send((format!("m/{id}"), trace)).expect("the test receives it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_confirmed_trace_survives_ten_kills_under_load() {
    let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
    let mut kept = Vec::new();
    for round in 0..10 {
        let endpoint = Arc::new(Endpoint::start_in(Arc::clone(&folder)).await);
        let (confirmed, mut confirmations) = mpsc::unbounded_channel();
        for client in 0..16 {
            tokio::spawn(post_until_the_endpoint_is_gone(
                Arc::clone(&endpoint),
                format!("{round}-{client}"),
                confirmed.clone(),
            ));
        }
        drop(confirmed);
        let mut count = 0;
        while let Some(confirmation) = confirmations.recv().await {
            kept.push(confirmation);
            count += 1;
            if count == 64 + round {
                endpoint.kill("-KILL").await;
            }
        }
        assert!(count >= 64 + round, "the endpoint ended by itself");
    }
    let endpoint = Endpoint::start_in(folder).await;
    for (key, trace) in &kept {
        assert_eq!(&endpoint.stored(key), trace, "{key}");
    }
    let incoming = endpoint.folder.path().join("traces/~incoming");
    assert_eq!(std::fs::read_dir(incoming).expect("it is there").count(), 0, "no partial file is left");
    assert_eq!(endpoint.post(kept[0].1.clone()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn hostile_http_ends_in_a_response_or_a_closed_connection() {
    let endpoint = Endpoint::start().await;
    let authority = endpoint.url.trim_start_matches("http://").trim_end_matches("/prod").to_owned();
    let head = |rest: &str| format!("POST /prod HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\n{rest}", endpoint.key);
    for (request, answer) in [
        ("\x16\x03\x01\0\0".to_owned(), "HTTP/1.1 400 "),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
        (head("content-length: -1\r\n\r\n"), "HTTP/1.1 400 "),
        (head("content-length: 1\r\ncontent-length: 2\r\n\r\n{}"), "HTTP/1.1 400 "),
        (head("content-length: 99999999999\r\n\r\n"), "HTTP/1.1 413 "),
        (head("transfer-encoding: chunked\r\n\r\nzz\r\n"), "HTTP/1.1 400 "),
        (head(&format!("x: {}\r\n\r\n", "y".repeat(1 << 20))), "HTTP/1.1 431 "),
        (head(&format!("{}\r\n", "a: b\r\n".repeat(5_000))), "HTTP/1.1 431 "),
        (head("idempotency-key: \u{e9}\r\ncontent-length: 2\r\n\r\n{}"), "HTTP/1.1 400 "),
        (head(&format!("x-a: \u{e9}\r\ncontent-length: {}\r\n\r\n{VALID}", VALID.len())), "HTTP/1.1 201 "),
        (
            "POST /prod HTTP/1.1\r\nhost: localhost\r\nx-api-key: a\r\nx-api-key: b\r\ncontent-length: 0\r\n\r\n"
                .to_owned(),
            "HTTP/1.1 403 ",
        ),
    ] {
        let mut connection = TcpStream::connect(&authority).await.expect("it listens");
        // The endpoint may respond and close the connection before it has read everything.
        let _ = connection.write_all(request.as_bytes()).await;
        let mut said = Vec::new();
        while !said.contains(&b'\n') && connection.read_buf(&mut said).await.is_ok_and(|read| read > 0) {}
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with(answer), "{}: {said}", &request[..request.len().min(120)]);
    }
    assert_eq!(endpoint.post(VALID).await.0, StatusCode::CREATED);
}
