//! Tests the gateway's time limits in virtual time: the clock advances whenever no task can run.

use std::net::SocketAddr;

use attest::{handler::Handler, metrics::RequestLog, settings::MAX_TRACE_BYTES, store::Store};
use hyper_util::service::TowerToHyperService;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant, sleep},
};

use attest_cli::serve::gateway;
use local_aws::{
    http::serve,
    s3::{ACCESS_KEY, FolderS3},
    testing::{BUCKET, Bucket},
};

async fn gateway(bucket: Bucket) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let store = Store::new(
        &FolderS3::sdk_config(bucket.address, ACCESS_KEY, attest::settings::http_client()),
        BUCKET.to_owned(),
    );
    let handler = Handler::new(store, MAX_TRACE_BYTES, RequestLog::new("f", |_| ()));
    let router = gateway::router(handler, "key", gateway::BODY, axum::Router::new());
    tokio::spawn(async move {
        let _bucket = bucket;
        serve(listener, TowerToHyperService::new(router), std::future::pending()).await;
    });
    address
}

/// Sends `head`, then a byte per second, until the connection is closed. Returns the response and the time it took.
async fn send_slowly(head: &str, byte: &[u8]) -> (String, Duration) {
    let address = gateway(Bucket::new().await).await;
    let (mut reader, mut writer) = TcpStream::connect(address).await.expect("it listens").into_split();
    let start = Instant::now();
    writer.write_all(head.as_bytes()).await.expect("it listens");
    let byte = byte.to_owned();
    let sender = tokio::spawn(async move {
        while writer.write_all(&byte).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let mut said = Vec::new();
    let response =
        async { while reader.read_buf(&mut said).await.is_ok_and(|read| read > 0) && !said.ends_with(b"}") {} };
    tokio::time::timeout(Duration::from_mins(2), response).await.expect("the gateway sets a time limit");
    let took = start.elapsed();
    sender.abort();
    (String::from_utf8_lossy(&said).into_owned(), took)
}

#[tokio::test(start_paused = true)]
async fn headers_that_arrive_slowly_end_the_connection() {
    let (_, took) = send_slowly("POST /prod HTTP/1.1\r\nhost: localhost\r\nx-a: ", b"a").await;
    assert!(took <= Duration::from_secs(12), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_slowly_is_answered_in_time() {
    let head = "POST /prod HTTP/1.1\r\nhost: localhost\r\nx-api-key: key\r\ncontent-length: 4000000\r\n\r\n";
    let (said, took) = send_slowly(head, b" ").await;
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("urn:attest:problem:timed-out"), "{said}");
    assert!(took <= Duration::from_secs(31), "{took:?}");
}

/// Clients that stall in the middle of a large body must not take memory that others need.
#[tokio::test(start_paused = true)]
async fn slow_uploads_do_not_block_other_clients() {
    let bucket = Bucket::new().await;
    let address = gateway(bucket).await;
    let head = |length| {
        format!("POST /prod HTTP/1.1\r\nhost: localhost\r\nx-api-key: key\r\ncontent-length: {length}\r\n\r\n")
    };
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = TcpStream::connect(address).await.expect("it listens");
        client.write_all((head(4 << 20) + &" ".repeat(4_000_000)).as_bytes()).await.expect("it reads");
        slow.push(client);
    }
    let start = Instant::now();
    let mut client = TcpStream::connect(address).await.expect("it listens");
    let trace = attest_view::EXAMPLE;
    client.write_all((head(trace.len()) + trace).as_bytes()).await.expect("it reads");
    let mut said = Vec::new();
    while !said.ends_with(b"}") && client.read_buf(&mut said).await.is_ok_and(|read| read > 0) {}
    assert!(said.starts_with(b"HTTP/1.1 201 "), "{}", String::from_utf8_lossy(&said));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
