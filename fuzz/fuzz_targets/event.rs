//! Passes any event that API Gateway can send through the complete service, on an S3 that accepts everything.
#![no_main]

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use attest::{handler::Handler, metrics::RequestLog, store::Store, trace::Trace};
use attest_fuzz::accepted;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_http_client::test_util::infallible_client_fn;
use base64::{Engine, engine::general_purpose::STANDARD};
use lambda_http::{Body, Service, http};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::Runtime;

const MAX_TRACE_BYTES: usize = 1 << 20;

struct Endpoint {
    runtime: Runtime,
    handler: Handler,
    stored: Arc<Mutex<Option<Vec<u8>>>>,
    logged: Arc<Mutex<Vec<u8>>>,
}

static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| {
    let (stored, logged) = (Arc::<Mutex<_>>::default(), Arc::<Mutex<Vec<u8>>>::default());
    let (object, line) = (Arc::clone(&stored), Arc::clone(&logged));
    let s3 = infallible_client_fn(move |request| {
        assert_eq!((request.method().as_str(), &request.headers()["if-none-match"]), ("PUT", &"*".parse().expect("*")));
        let body = request.body().bytes().expect("the object is in memory").to_vec();
        *object.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        http::Response::new("")
    });
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(s3)
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("fuzz", "fuzz", None, None, "fuzz")))
        .build();
    let log = RequestLog::new("fuzz", move |bytes| {
        line.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    Endpoint {
        runtime,
        handler: Handler::new(Store::new(&config, "traces".to_owned()), MAX_TRACE_BYTES, log),
        stored,
        logged,
    }
});

/// Turns the event into one that API Gateway can send, because `lambda_http` may panic on others.
///
/// A client chooses the body, the query and the headers, but not the host, the path or the stage. Returns `None` for a
/// body that is marked as base64 and is not, because that cannot occur.
fn possible(event: &[u8]) -> Option<Vec<u8>> {
    let mut event: Value = serde_json::from_slice(event).ok()?;
    let sent: Value = serde_json::from_str(include_str!("../../events/minimal.json")).expect("an event is JSON");
    for name in ["path", "requestContext"] {
        event.as_object_mut()?.insert(name.to_owned(), sent[name].clone());
    }
    for headers in ["headers", "multiValueHeaders"] {
        if let Some(headers) = event[headers].as_object_mut() {
            headers.retain(|name, _| !["host", "x-forwarded-proto"].contains(&&*name.to_lowercase()));
        }
    }
    if event["isBase64Encoded"] == true && event["body"].as_str().is_some_and(|body| STANDARD.decode(body).is_err()) {
        return None;
    }
    Some(event.to_string().into_bytes())
}

fuzz_target!(|event: &[u8]| {
    let Some(event) = possible(event) else { return };
    let Ok(request) = lambda_http::request::from_reader(&*event) else { return };
    let sent = request.body().to_vec();
    let endpoint = &*ENDPOINT;
    let Ok(response) = endpoint.runtime.block_on(endpoint.handler.clone().into_service().call(request));
    let Body::Text(body) = response.body() else { panic!("every response is text") };
    let body: Value = serde_json::from_str(body).expect("every response is JSON");
    let stored = endpoint.stored.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (response.status().as_u16(), stored) {
        (201, Some(stored)) => {
            let trace = Trace::parse(stored, || unreachable!("it has an id")).expect("a stored trace is valid");
            assert_eq!(body["key"], trace.key.as_str());
            accepted(&sent, &trace);
        }
        (400 | 413, None) => assert_eq!(body["status"], response.status().as_u16()),
        (status, stored) => panic!("{status} with {stored:?}: {body}"),
    }
    let line = std::mem::take(&mut *endpoint.logged.lock().unwrap_or_else(PoisonError::into_inner));
    let line: Value = serde_json::from_slice(&line).expect("one line of JSON is logged");
    assert_eq!(line["status"], response.status().as_u16());
});
