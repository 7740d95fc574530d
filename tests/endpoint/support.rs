//! A handler on an S3 that is served in the test, and the proxy events of `events/`.

use std::{cell::RefCell, fs, path::Path, sync::Once};

use attest::{
    event::Event,
    handler::Handler,
    local::{folder::Folder, serve},
    log,
    settings::MAX_TRACE_BYTES,
    store::Store,
};
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Region, SharedCredentialsProvider},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The bucket that every test has for itself.
pub const BUCKET: &str = "traces";

/// A real S3 on loopback, and a client of its own to look into it.
pub struct Bucket {
    pub address: std::net::SocketAddr,
    pub client: Client,
    _root: TempDir,
}

impl Bucket {
    pub async fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        let folder = Folder::open(&root.path().join(BUCKET)).expect("a bucket can be made in it");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        tokio::spawn(serve(listener, folder.service(), std::future::pending()));
        let connection = Folder::connection(address);
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(connection.region))
            .credentials_provider(SharedCredentialsProvider::new(connection.credentials))
            .http_client(attest::wire::Wire::default())
            .endpoint_url(connection.endpoint.expect("a local S3 has an endpoint"))
            .force_path_style(true);
        Self { address, client: Client::from_conf(config.build()), _root: root }
    }

    /// A handler that stores here.
    pub fn handler(&self) -> Handler {
        handler_on(self.address)
    }

    /// The bytes stored under `key`.
    pub async fn object(&self, key: &str) -> Vec<u8> {
        let object = self.client.get_object().bucket(BUCKET).key(key).send().await.expect(key);
        object.body.collect().await.expect("a whole body").to_vec()
    }

    /// Every key, in order.
    pub async fn keys(&self) -> Vec<String> {
        let listed = self.client.list_objects_v2().bucket(BUCKET).send().await.expect("a list");
        listed.contents().iter().map(|object| object.key().expect("an object has a key").to_owned()).collect()
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
