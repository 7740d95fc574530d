//! Simulates a standard SQS queue at its worst: it duplicates, reorders and delays messages, and forgets deletions.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use local_aws::http::serve;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::gate::Gate;

#[derive(Clone)]
pub struct Queue {
    pub address: SocketAddr,
    messages: Arc<Mutex<Messages>>,
}

#[derive(Default)]
struct Messages {
    /// The messages that can be received, by queue URL.
    visible: HashMap<String, Vec<String>>,
    /// The received messages and their queues, by receipt handle.
    in_flight: BTreeMap<u64, (String, String)>,
    random: u64,
    handles: u64,
}

impl Messages {
    /// Returns a number below `limit` from a linear congruential generator, so that every run of the test is the same.
    fn random(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).expect("31 bits") % limit
    }

    fn send(&mut self, queue: &str, body: String) {
        self.visible.entry(queue.to_owned()).or_default().push(body);
    }

    /// Receives up to ten messages in random order.
    fn receive(&mut self, queue: &str) -> Value {
        let mut messages = Vec::new();
        let mut visible = self.visible.remove(queue).unwrap_or_default();
        while !visible.is_empty() && messages.len() < 10 {
            let body = visible.swap_remove(self.random(visible.len()));
            self.handles += 1;
            let handle = self.handles.to_string();
            messages.push(json!({"MessageId": handle, "ReceiptHandle": handle, "Body": body}));
            self.in_flight.insert(self.handles, (queue.to_owned(), body));
        }
        self.visible.insert(queue.to_owned(), visible);
        if messages.is_empty() { json!({}) } else { json!({"Messages": messages}) }
    }

    fn delete(&mut self, entries: &[Value]) -> Value {
        for entry in entries {
            let is_forgotten = self.random(8) == 0;
            let handle = entry["ReceiptHandle"].as_str().and_then(|handle| handle.parse().ok()).expect("a handle");
            if !is_forgotten {
                self.in_flight.remove(&handle);
            }
        }
        let ids: Vec<Value> = entries.iter().map(|entry| json!({"Id": entry["Id"]})).collect();
        json!({"Successful": ids, "Failed": []})
    }
}

impl Queue {
    pub async fn start(gate: Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let queue = Self { address, messages: Arc::default() };
        let messages = Arc::clone(&queue.messages);
        let service = service_fn(move |request: Request<Incoming>| {
            let (messages, gate) = (Arc::clone(&messages), gate.clone());
            async move {
                let target = request.headers()["x-amz-target"].to_str().expect("ASCII").to_owned();
                let body = request.into_body().collect().await.expect("a whole body").to_bytes();
                let answer = gate.pass(async {
                    let body: Value = serde_json::from_slice(&body).expect("JSON");
                    let mut messages = messages.lock().expect("no holder panics");
                    match target.as_str() {
                        "AmazonSQS.ReceiveMessage" => messages.receive(body["QueueUrl"].as_str().expect("a text")),
                        "AmazonSQS.DeleteMessageBatch" => messages.delete(body["Entries"].as_array().expect("a list")),
                        other => panic!("{other}"),
                    }
                });
                let answer = Response::new(Full::new(Bytes::from(answer.await.to_string())));
                Ok::<_, Infallible>(answer)
            }
        });
        tokio::spawn(serve(listener, service, std::future::pending()));
        queue
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://{}/123456789012/{name}", self.address)
    }

    /// Sends a notification one to three times.
    pub fn send(&self, name: &str, key: &str) {
        let mut messages = self.messages();
        for _ in 0..=messages.random(3) {
            messages.send(&self.url(name), notification(key));
        }
    }

    pub fn send_once(&self, name: &str, key: &str) {
        self.messages().send(&self.url(name), notification(key));
    }

    pub fn clear(&self) {
        let mut messages = self.messages();
        messages.visible.clear();
        messages.in_flight.clear();
    }

    /// Makes all messages in flight visible again, as if their visibility timeout had expired.
    pub fn time_out(&self) {
        let mut messages = self.messages();
        for (_, (queue, body)) in std::mem::take(&mut messages.in_flight) {
            messages.send(&queue, body);
        }
    }

    pub fn len(&self) -> usize {
        let messages = self.messages();
        messages.in_flight.len() + messages.visible.values().map(Vec::len).sum::<usize>()
    }

    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().expect("no holder panics")
    }
}

fn notification(key: &str) -> String {
    json!({"Records": [{"s3": {"object": {"key": form(key)}}}]}).to_string()
}

/// Encodes a key as S3 does in notifications.
fn form(key: &str) -> String {
    percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string().replace("%20", "+")
}
