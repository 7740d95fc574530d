//! A handler on an S3 in this process, and the proxy events in `events/`.

use std::{cell::RefCell, fs, io, net::SocketAddr, path::Path, sync::Once};

use attest::{handler::Handler, log, metrics::RequestLog, settings::MAX_TRACE_BYTES, store::Store};
use lambda_http::{Body, Context, RequestExt, Service};
use local_aws::s3::{ACCESS_KEY, FolderS3};
use serde_json::Value;

pub use local_aws::testing::{BUCKET, Bucket};

pub fn handler_on(address: SocketAddr) -> Handler {
    handler_with(
        Store::new(&FolderS3::sdk_config(address, ACCESS_KEY, attest::settings::http_client()), BUCKET.to_owned()),
        MAX_TRACE_BYTES,
    )
}

/// Returns a handler that logs to [`Log`].
pub fn handler_with(store: Store, max_trace_bytes: usize) -> Handler {
    Handler::new(store, max_trace_bytes, RequestLog::new("f", log_line))
}

pub fn event_file(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_str(&fs::read_to_string(&path).expect("an event's file")).expect("an event is JSON")
}

pub fn event_with(body: &str) -> Value {
    let mut event = event_file("events/minimal.json");
    event["body"] = body.into();
    event
}

pub struct Answered {
    pub status: u16,
    pub body: Value,
    pub retry_after: Option<String>,
}

/// Passes a proxy event to the handler as `lambda_http` does. Checks the properties that all responses share.
pub async fn invoke(handler: &Handler, event: &Value) -> Answered {
    let request = lambda_http::request::from_str(&event.to_string()).expect("a proxy event");
    let mut context = Context::default();
    "test".clone_into(&mut context.request_id);
    let request = request.with_lambda_context(context);
    let Ok(response) = handler.clone().into_service().call(request).await;
    let (head, body) = response.into_parts();
    let Body::Text(body) = body else { panic!("every response is text") };
    let body: Value = serde_json::from_str(&body).expect("every response is JSON");
    let status = head.status.as_u16();
    if status < 300 {
        assert_eq!(head.headers["content-type"], "application/json");
    } else {
        assert_eq!(head.headers["content-type"], "application/problem+json");
        assert_eq!(body["status"], status);
        assert!(body["type"].as_str().is_some_and(|kind| kind.starts_with("urn:attest:problem:")), "{body}");
        assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    }
    let retry_after = head.headers.get("retry-after").map(|value| value.to_str().expect("text").to_owned());
    Answered { status, body, retry_after }
}

pub async fn post(handler: &Handler, trace: &str) -> Answered {
    invoke(handler, &event_with(trace)).await
}

thread_local! {
    /// The lines that this thread has logged since [`Log::start`]. A test and its tasks run on one thread.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn log_line(line: &[u8]) {
    LINES.with_borrow_mut(|lines| lines.extend_from_slice(line));
}

pub struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        log_line(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub fn start() -> Self {
        static LOGGING: Once = Once::new();
        LOGGING.call_once(|| {
            let subscriber = log::subscriber(Some("trace"), &["attest"], &[], || Log);
            tracing::subscriber::set_global_default(subscriber).expect("nothing else sets one");
        });
        LINES.take();
        Self
    }

    #[expect(clippy::unused_self, reason = "only a started log has lines")]
    pub fn text(&self) -> String {
        String::from_utf8(LINES.with_borrow(Clone::clone)).expect("a log is UTF-8")
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}
