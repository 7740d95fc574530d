//! Measures each part of a request: the event, the trace, its key, and the complete handler on an S3 in this process.

use std::{hint::black_box, time::Duration};

use attest::{handler::Handler, key::Key, metrics::RequestLog, settings::MAX_TRACE_BYTES, store::Store, trace::Trace};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use event::{event, trace};
use lambda_http::Service;
use local_aws::{
    http::serve,
    s3::{ACCESS_KEY, FolderS3},
};
use tokio::{net::TcpListener, runtime::Runtime};

#[path = "common/event.rs"]
mod event;
#[path = "../tests/common/shapes.rs"]
mod shapes;

fn parts(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let root = tempfile::tempdir().expect("a temporary folder");
    let folder = FolderS3::open(&root.path().join("traces")).expect("a bucket").with_secret_key(ACCESS_KEY.to_owned());
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let config =
        FolderS3::sdk_config(listener.local_addr().expect("an address"), ACCESS_KEY, attest::settings::http_client());
    runtime.spawn(serve(listener, folder.service(), std::future::pending()));
    let handler =
        Handler::new(Store::new(&config, "traces".to_owned()), MAX_TRACE_BYTES, RequestLog::new("bench", |_| ()));

    criterion.bench_function("key", |bencher| {
        bencher.iter(|| Key::new(black_box("allenai/OLMoE-1B-7B"), black_box("7d4f4c5e-0a6b-4f7e-9a51-0d6c1c1d3f6e")));
    });
    let mut group = criterion.benchmark_group("parts");
    for (name, bytes) in [("1 KB", 1_000), ("100 KB", 100_000), ("4 MB", 4_000_000)] {
        let trace = trace(bytes);
        let whole = trace.replacen('{', r#"{"id": "i", "object": "chat.trace", "system_fingerprint": "gpt-4o", "#, 1);
        let event = event(&trace);
        group.throughput(Throughput::Bytes(trace.len() as u64));
        group.bench_function(BenchmarkId::new("event", name), |bencher| {
            bencher.iter(|| lambda_http::request::from_reader(black_box(&*event)).expect("an event"));
        });
        for (part, body) in [("parse and validate", &whole), ("the same, with defaults", &trace)] {
            group.bench_function(BenchmarkId::new(part, name), |bencher| {
                bencher.iter_batched(
                    || body.clone().into_bytes(),
                    |body| Trace::parse(body, || "i".to_owned()).expect("a trace"),
                    BatchSize::LargeInput,
                );
            });
        }
        group.bench_function(BenchmarkId::new("handler", name), |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let request = lambda_http::request::from_reader(&*event).expect("an event");
                let Ok(response) = handler.clone().into_service().call(request).await;
                assert_eq!(response.status(), 201);
            });
        });
    }
    group.finish();
}

/// Measures decoding, parsing and the response, for bodies designed to be expensive to parse and for a valid trace of
/// equal size.
fn hostile(criterion: &mut Criterion) {
    for mib in [1, 2, 4] {
        let mut group = criterion.benchmark_group(format!("hostile {mib} MiB"));
        for (name, shape) in [("a valid chat", shapes::chat as fn(usize) -> String)].into_iter().chain(shapes::SHAPES) {
            let event = event(&shape(mib << 20));
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let request = lambda_http::request::from_reader(black_box(&*event)).expect("an event");
                    Trace::parse(request.into_body().to_vec(), || "i".to_owned()).map_err(|problem| problem.body())
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = parts, hostile
}
criterion_main!(benches);
