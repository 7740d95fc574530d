//! The gateway's time limits, in virtual time: the clock runs on whenever nothing else can.

use attest::local::{gateway, serve};
use hyper_util::service::TowerToHyperService;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant, sleep},
};

use crate::support::Bucket;

/// A connection to a gateway in this process.
async fn connect() -> TcpStream {
    let bucket = Bucket::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = gateway::router(bucket.handler(), "key");
    tokio::spawn(async move {
        let _bucket = bucket;
        serve(listener, TowerToHyperService::new(router), std::future::pending()).await;
    });
    TcpStream::connect(address).await.expect("it listens")
}

/// Sends `head`, then a byte a second, until the connection is closed; gives what was answered and how long it took.
async fn trickle(head: &str, byte: &[u8]) -> (String, Duration) {
    let (mut reader, mut writer) = connect().await.into_split();
    let start = Instant::now();
    writer.write_all(head.as_bytes()).await.expect("it listens");
    let byte = byte.to_owned();
    let sender = tokio::spawn(async move {
        while writer.write_all(&byte).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let mut said = Vec::new();
    let answer =
        async { while reader.read_buf(&mut said).await.is_ok_and(|read| read > 0) && !said.ends_with(b"}") {} };
    tokio::time::timeout(Duration::from_mins(2), answer).await.expect("it is not waited for for ever");
    let took = start.elapsed();
    sender.abort();
    (String::from_utf8_lossy(&said).into_owned(), took)
}

#[tokio::test(start_paused = true)]
async fn headers_that_trickle_end_the_connection() {
    let (_, took) = trickle("POST /prod HTTP/1.1\r\nhost: x\r\nx-a: ", b"a").await;
    assert!(took <= Duration::from_secs(12), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_answered_in_time() {
    let head = "POST /prod HTTP/1.1\r\nhost: x\r\nx-api-key: key\r\ncontent-length: 4000000\r\n\r\n";
    let (said, took) = trickle(head, b" ").await;
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("urn:attest:problem:timed-out"), "{said}");
    assert!(took <= Duration::from_secs(31), "{took:?}");
}
