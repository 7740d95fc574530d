//! Passes arbitrary bytes through the OpenTelemetry receiver, on an S3 that accepts everything.
//!
//! The first byte selects the signal, the encoding and the compression. The others are the body.
#![no_main]

use std::{
    alloc::System,
    collections::HashSet,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    io::Write,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use attest::{store::Store, trace::Trace};
use attest_otlp::{
    batch::{Batch, Spans},
    metrics::BatchLog,
    service::Receiver,
    wire::{self, Encoding, Signal},
};
use aws_config::{BehaviorVersion, Region as AwsRegion, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_http_client::test_util::infallible_client_fn;
use flate2::{Compression, write::GzEncoder};
use lambda_http::{Body, Service, http};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The largest body after decompression, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// The limit for the total size of a batch's traces, in bytes.
const ROOM: usize = 16 * MAX_BYTES;

/// The allocation limits in bytes: per byte of a body, and per batch for its traces, whose size is limited.
const PER_BYTE: usize = 2_000;
const PER_BATCH: usize = 32 * ROOM;

/// The length in bytes from which a match between log line and body is a quotation and no coincidence.
const QUOTED: usize = 24;

struct Endpoint {
    runtime: Runtime,
    receiver: Receiver,
    stored: Arc<Mutex<Vec<Vec<u8>>>>,
    logged: Arc<Mutex<Vec<u8>>>,
}

static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| {
    let (stored, logged) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<u8>>>::default());
    let (objects, lines) = (Arc::clone(&stored), Arc::clone(&logged));
    let s3 = infallible_client_fn(move |request| {
        assert_eq!((request.method().as_str(), &request.headers()["if-none-match"]), ("PUT", &"*".parse().expect("*")));
        let body = request.body().bytes().expect("the object is in memory").to_vec();
        objects.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        http::Response::new("")
    });
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(s3)
        .region(AwsRegion::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("fuzz", "fuzz", None, None, "fuzz")))
        .build();
    let log = BatchLog::new("fuzz", move |bytes| {
        lines.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = Store::new(&config, "traces".to_owned());
    Endpoint { runtime, receiver: Receiver::new(store, MAX_BYTES, Spans::All, log), stored, logged }
});

/// Reads a batch, and checks that the work is linear in the sizes of its body and its traces.
fn read(signal: Signal, encoding: Encoding, body: &[u8]) {
    let region = Region::new(ALLOCATOR);
    let read = wire::decode(signal, encoding, body).map(|request| Batch::read(signal, &request, Spans::All, ROOM));
    let work = region.change().bytes_allocated;
    assert!(work <= PER_BATCH + PER_BYTE * body.len(), "{work} bytes allocated for {} bytes", body.len());
    if let Ok(Ok(batch)) = read {
        let weight: usize = batch.drafts.iter().map(attest_otlp::call::Draft::weight).sum();
        assert_eq!(weight + batch.skipped + batch.rejected.len(), batch.received);
    }
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fuzz_target!(|input: &[u8]| {
    let Some((selected, body)) = input.split_first() else { return };
    let is = |bit: u8| selected & (1 << bit) != 0;
    let (signal, path) = if is(0) { (Signal::Logs, "/v1/logs") } else { (Signal::Traces, "/v1/traces") };
    let encoding = if is(1) { Encoding::Json } else { Encoding::Protobuf };
    read(signal, encoding, body);

    let mut request = http::Request::post(path).header("content-type", encoding.media_type());
    let mut sent = body.to_vec();
    if is(2) {
        if is(3) {
            sent.resize(sent.len() + 16 * MAX_BYTES, b' '); // a bomb
        }
        sent = compressed(&sent);
    }
    if is(2) || is(3) {
        request = request.header("content-encoding", "gzip");
    }
    let request = request.body(Body::Binary(sent)).expect("a request");

    let endpoint = &*ENDPOINT;
    let Ok(response) = endpoint.runtime.block_on(endpoint.receiver.clone().into_service().call(request));
    let status = response.status().as_u16();
    assert!([200, 400, 413].contains(&status), "{status}");
    assert!(status == 413 || !(is(2) && is(3)), "a bomb is refused: {status}");
    assert_eq!(response.headers()["content-type"], encoding.media_type());

    let stored = std::mem::take(&mut *endpoint.stored.lock().unwrap_or_else(PoisonError::into_inner));
    let line = std::mem::take(&mut *endpoint.logged.lock().unwrap_or_else(PoisonError::into_inner));
    // Hashes, because the fuzzer learns strings from comparisons and would put the log line's own words into a body.
    let hash = |part| BuildHasherDefault::<DefaultHasher>::default().hash_one(part);
    let quotable: HashSet<u64> = line.windows(QUOTED).map(hash).collect();
    assert!(!body.windows(QUOTED).any(|part| quotable.contains(&hash(part))), "{}", String::from_utf8_lossy(&line));
    let line: Value = serde_json::from_slice(&line).expect("one line of JSON is logged");
    assert_eq!(line["status"], status);
    let count = |name: &str| line[name].as_u64().expect("a count");
    if status == 200 {
        let kept = count("SpansStored") + count("SpansRepeated") + count("SpansSkipped") + count("SpansRejected");
        assert_eq!(kept, count("SpansReceived"));
        assert!(stored.len() as u64 <= count("SpansStored"));
    } else {
        assert!(stored.is_empty());
    }
    for object in stored {
        Trace::parse(object, || unreachable!("it has an id")).expect("a stored trace is valid");
    }
});
