//! A handler on an S3 that is served in the test, and the proxy events of `events/`.

use std::{cell::RefCell, fs, path::Path, sync::Once};

use attest::{event::Event, handler::Handler, local::folder::Folder, log, settings::MAX_TRACE_BYTES, store::Store};
use serde_json::Value;

pub use crate::bucket::{BUCKET, Bucket};

impl Bucket {
    /// A handler that stores here.
    pub fn handler(&self) -> Handler {
        handler_on(self.address)
    }
}

/// A handler that stores into the S3 on `address`.
pub fn handler_on(address: std::net::SocketAddr) -> Handler {
    Handler::new(Store::new(Folder::connection(address), BUCKET.to_owned()), MAX_TRACE_BYTES)
}

/// The proxy event in this file.
pub fn event_file(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_str(&fs::read_to_string(&path).expect("an event's file")).expect("an event is JSON")
}

/// The proxy event of `events/minimal.json` with another body.
pub fn event_with(body: &str) -> Value {
    let mut event = event_file("events/minimal.json");
    event["body"] = body.into();
    event
}

/// An answer's status and its body as JSON.
pub struct Answered {
    pub status: u16,
    pub body: Value,
    pub retry_after: Option<String>,
}

/// Gives a proxy event to the handler as the Lambda runtime does, and checks what holds for every answer.
pub async fn invoke(handler: &Handler, event: &Value) -> Answered {
    let event: Event = serde_json::from_str(&event.to_string()).expect("every JSON object is an event");
    let answer = handler.handle(event, "test").await;
    let body: Value = serde_json::from_str(&answer.body).expect("every answer is JSON");
    let content_type = &answer.headers["content-type"];
    if answer.status_code < 300 {
        assert_eq!(content_type, "application/json");
    } else {
        assert_eq!(content_type, "application/problem+json");
        assert_eq!(body["status"], answer.status_code);
        assert!(body["type"].as_str().is_some_and(|kind| kind.starts_with("urn:attest:problem:")), "{body}");
        assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    }
    Answered { status: answer.status_code, body, retry_after: answer.headers.get("retry-after").cloned() }
}

/// Posts a trace, and checks what holds for every answer.
pub async fn post(handler: &Handler, trace: &str) -> Answered {
    invoke(handler, &event_with(trace)).await
}

thread_local! {
    /// What this thread has logged since [`Log::start`]. A test runs on one thread, and so do the tasks it spawns.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is logged by this thread from now on.
pub struct Log;

impl Log {
    pub fn start() -> Self {
        static LOGGING: Once = Once::new();
        LOGGING.call_once(|| {
            let subscriber = log::subscriber(Some("trace"), Some("f".to_owned()), |line| {
                LINES.with_borrow_mut(|lines| lines.extend_from_slice(line));
            });
            tracing::subscriber::set_global_default(subscriber).expect("nothing else sets one");
        });
        LINES.take();
        Self
    }

    #[expect(clippy::unused_self, reason = "there is a log only once one was started")]
    pub fn text(&self) -> String {
        String::from_utf8(LINES.with_borrow(Clone::clone)).expect("a log is UTF-8")
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}
