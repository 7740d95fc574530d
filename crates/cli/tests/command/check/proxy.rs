//! Runs the local endpoint behind a proxy that breaks a promise, and serves the other data that a check reads.

use std::{net::SocketAddr, sync::Arc};

use attest::{handler::Handler, metrics::RequestLog, settings::MAX_TRACE_BYTES, store::Store};
use attest_cli::serve::gateway;
use attest_otlp::{batch::Spans, metrics::BatchLog, service::Receiver};
use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::service::TowerToHyperService;
use local_aws::{
    http::serve,
    s3::{ACCESS_KEY, FolderS3},
    testing::{BUCKET, Bucket},
};
use tokio::net::TcpListener;

use super::breaks::Break;

/// The endpoint's API key, as long as an API Gateway key.
pub const KEY: &str = "kEy0-of-the-test-1234567";

/// A request that the proxy has received and will pass on.
#[derive(Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(name, value.parse().expect("a value"));
    }
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    pub fn media_type(&mut self, value: &'static str) {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
    }
}

/// How the proxy treats a check's temporary API key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TemporaryKey {
    Limited,
    /// A key over its rate gets no `Retry-After`.
    WithoutPause,
    Accepted,
    /// The key is not known yet, because API Gateway may take a while to accept a new key.
    Unknown,
}

/// The size limit of an endpoint whose break does not concern large traces, in bytes.
const SMALL_LIMIT: usize = 150_000;

struct Proxy {
    upstream: SocketAddr,
    client: reqwest::Client,
    bucket: Arc<Bucket>,
    broken: Option<&'static Break>,
    temporary: TemporaryKey,
}

/// Starts the local endpoint and a proxy in front of it. Returns the proxy's URL.
pub async fn endpoint(broken: Option<&'static Break>, temporary: TemporaryKey) -> String {
    let bucket = Arc::new(Bucket::new().await);
    let config = FolderS3::sdk_config(bucket.address, ACCESS_KEY, attest::settings::http_client());
    // With a small limit, which the check learns from the endpoint, most checks send a third of the bytes.
    let limit = if broken.is_none_or(super::breaks::Break::needs_megabytes) { MAX_TRACE_BYTES } else { SMALL_LIMIT };
    let store = Store::new(&config, BUCKET.to_owned());
    let receiver = Receiver::new(store.clone(), limit, Spans::Calls, BatchLog::new("o", |_| ()));
    let handler = Handler::new(store, limit, RequestLog::new("f", |_| ()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let upstream = listener.local_addr().expect("an address");
    let otlp = gateway::otlp_routes(receiver, gateway::PATH, KEY, gateway::BODY);
    let router = gateway::router(handler, KEY, gateway::BODY, otlp);
    tokio::spawn(serve(listener, TowerToHyperService::new(router), std::future::pending()));

    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let proxy = Arc::new(Proxy { upstream, client, bucket, broken, temporary });
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

/// Returns the function's code: a ZIP file whose `bootstrap` is an ELF header for `machine`. Machine 0 stands for code
/// that was not built, which has no `bootstrap`.
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
    let body = to_bytes(body, usize::MAX).await.expect("a whole body");
    let seen = Seen {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    if let Some(kind) = seen.header("x-api-key").strip_prefix("temporary-") {
        return with_temporary_key(proxy.temporary, kind);
    }
    let mut passed = seen.clone();
    if let Some(broken) = proxy.broken {
        (broken.request)(&mut passed);
    }
    for name in [header::HOST, header::CONTENT_LENGTH, HeaderName::from_static("transfer-encoding")] {
        passed.headers.remove(name);
    }
    let url = format!("http://{}{}", proxy.upstream, passed.path);
    let request = proxy.client.request(passed.method, url).headers(passed.headers).body(passed.body);
    let answer = request.send().await.expect("an answer");
    let mut headers = answer.headers().clone();
    headers.remove(header::CONTENT_LENGTH);
    headers.remove("transfer-encoding");
    let status = answer.status().as_u16();
    let mut reply = Reply { status, headers, body: answer.text().await.expect("a whole answer") };
    if let Some(broken) = proxy.broken {
        (broken.reply)(&seen, &mut reply);
    }
    (StatusCode::from_u16(reply.status).expect("a status"), reply.headers, reply.body).into_response()
}

fn with_temporary_key(temporary: TemporaryKey, limit: &str) -> Response {
    let (status, kind) = match temporary {
        TemporaryKey::Limited | TemporaryKey::WithoutPause => (StatusCode::TOO_MANY_REQUESTS, limit),
        TemporaryKey::Accepted => (StatusCode::BAD_REQUEST, "not-json"),
        TemporaryKey::Unknown => (StatusCode::FORBIDDEN, "forbidden"),
    };
    let code = status.as_u16();
    let body = format!(r#"{{"type":"urn:attest:problem:{kind}","title":"T","status":{code},"detail":"D"}}"#);
    let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
    if temporary == TemporaryKey::Limited && limit == "throttled" {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
