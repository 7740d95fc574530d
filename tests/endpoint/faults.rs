//! S3 on its worst day: the real SDK against an S3 that misbehaves on demand.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use attest::handler::Handler;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{Bucket, Log, handler_on, post};

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Answered with this status and S3 error code, and not stored.
    Refuse(u16, &'static str),
    /// Read, and never answered.
    StallBefore,
    /// Stored, and half of the answer sent.
    StallWithin,
    /// The connection is cut before anything is read.
    CutBeforeRead,
    /// Stored, and the connection cut instead of an answer.
    CutAfterStored,
    /// Stored, and the connection cut in the middle of the answer.
    CutWithin,
    /// Stored and answered; then the connection is closed, as S3 does while a function is frozen.
    CloseAfter,
    /// Stored and answered; then nothing that comes is read, as if the peer had vanished.
    DeafAfter,
    /// Answered with what is no HTTP.
    Garbage,
    /// Stored, and answered with the right status and a body that is no XML.
    GarbageBody(u16),
}

/// A proxy in front of a real S3 that does to each request what is next in its list, and else passes it on.
pub struct Unwell {
    bucket: Bucket,
    address: SocketAddr,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    faults: Mutex<VecDeque<Fault>>,
    always: Mutex<Option<Fault>>,
    requests: AtomicUsize,
    no_checksums: AtomicBool,
}

impl Unwell {
    pub async fn new() -> Self {
        let bucket = Bucket::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let plan = Arc::new(Plan::default());
        let (s3, shared) = (bucket.address, Arc::clone(&plan));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, s3, Arc::clone(&shared)));
            }
        });
        Self { bucket, address, plan }
    }

    pub fn handler(&self) -> Handler {
        handler_on(self.address)
    }

    /// From now on the S3 behaves like one that keeps no checksum of what it stores.
    pub fn forget_checksums(&self) {
        self.plan.no_checksums.store(true, Ordering::SeqCst);
    }

    fn next(&self, faults: &[Fault]) {
        *self.plan.faults.lock().expect("no panic holds it") = faults.iter().copied().collect();
    }

    fn always(&self, fault: Option<Fault>) {
        *self.plan.always.lock().expect("no panic holds it") = fault;
    }

    fn requests(&self) -> usize {
        self.plan.requests.swap(0, Ordering::SeqCst)
    }
}

/// Reads one HTTP message: its head and as many bytes as `content-length` says. `None` at the end of the stream.
async fn read_message(stream: &mut TcpStream, is_head: bool) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let head = loop {
        if let Some(end) = message.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut message).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&message[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    while !is_head && message.len() < head + length {
        if stream.read_buf(&mut message).await.ok()? == 0 {
            return None;
        }
    }
    Some(message)
}

async fn serve(mut client: TcpStream, s3: SocketAddr, plan: Arc<Plan>) -> Option<()> {
    loop {
        client.readable().await.ok()?;
        let planned = plan.faults.lock().expect("no panic holds it").front().copied();
        let fault = planned.or(*plan.always.lock().expect("no panic holds it"));
        if matches!(fault, Some(Fault::CutBeforeRead)) {
            plan.faults.lock().expect("no panic holds it").pop_front();
            plan.requests.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        let request = read_message(&mut client, false).await?;
        plan.faults.lock().expect("no panic holds it").pop_front();
        plan.requests.fetch_add(1, Ordering::SeqCst);
        let is_head = request.starts_with(b"HEAD ");
        if let Some(Fault::Refuse(status, code)) = fault {
            let body = format!("<Error><Code>{code}</Code><Message>of the test</Message></Error>");
            let body = if is_head { String::new() } else { body };
            let answer = format!(
                "HTTP/1.1 {status} X\r\nlocation: http://localhost:1/\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).await.ok()?;
            continue;
        }
        match fault {
            Some(Fault::StallBefore) => return std::future::pending().await,
            Some(Fault::Garbage) => {
                client.write_all(b"\x00\x01 this is not HTTP\r\n\r\n").await.ok()?;
                return None;
            }
            _ => {}
        }
        let mut upstream = TcpStream::connect(s3).await.ok()?;
        upstream.write_all(&request).await.ok()?;
        let mut answer = read_message(&mut upstream, is_head).await?;
        if plan.no_checksums.load(Ordering::SeqCst) {
            answer = String::from_utf8_lossy(&answer).replace("x-amz-checksum-sha256", "x-amz-meta-forgotten").into_bytes();
        }
        match fault {
            Some(Fault::CutAfterStored) => return None,
            Some(Fault::StallWithin | Fault::CutWithin) => {
                client.write_all(&answer[..answer.len() / 2]).await.ok()?;
                if matches!(fault, Some(Fault::CutWithin)) {
                    return None;
                }
                return std::future::pending().await;
            }
            Some(Fault::GarbageBody(status)) => {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 9\r\n\r\n<<<&&&>>>");
                client.write_all(answer.as_bytes()).await.ok()?;
            }
            _ => client.write_all(&answer).await.ok()?,
        }
        match fault {
            Some(Fault::CloseAfter) => return None,
            Some(Fault::DeafAfter) => return std::future::pending().await,
            _ => {}
        }
    }
}

/// The gateway gives up after 29 s; what the handler needs must leave room for the function's own start.
const BOUND: Duration = Duration::from_secs(22);

fn trace(id: &str) -> String {
    format!(r#"{{"model":"m","created":1,"messages":[],"id":"{id}"}}"#)
}

/// A fault that stays: the status of the contract, after that many requests, within the bound and with one log line
/// that names the cause; and afterwards the same handler stores again.
async fn lasting(fault: Fault, status: u16, requests: usize, cause: &str) {
    let s3 = Unwell::new().await;
    let handler = s3.handler();
    let log = Log::start();
    s3.always(Some(fault));
    let start = Instant::now();
    let answer = post(&handler, &trace("i")).await;
    assert!(start.elapsed() < BOUND, "{fault:?} took {:?}", start.elapsed());
    assert_eq!(answer.status, status, "{fault:?}: {}", log.text());
    assert_eq!(answer.retry_after.is_some(), status == 503);
    assert_eq!(s3.requests(), requests, "{fault:?}: {}", log.text());
    let lines: Vec<_> = log.lines().into_iter().filter(|line| line["cause"].is_string()).collect();
    assert_eq!(lines.len(), 1, "{}", log.text());
    assert!(lines[0]["cause"].as_str().is_some_and(|text| text.contains(cause)), "{fault:?}: {}", log.text());
    assert!(!answer.body.to_string().contains(cause), "told in general");

    s3.always(None);
    let answer = post(&handler, &trace("after")).await;
    assert_eq!(answer.status, 201, "{fault:?}: {}", log.text());
}

/// A fault that passes: the trace is stored, and a repetition finds it so.
async fn passing(faults: &[Fault], status: u16, bound: Duration) {
    let s3 = Unwell::new().await;
    let handler = s3.handler();
    let log = Log::start();
    s3.next(faults);
    let start = Instant::now();
    let answer = post(&handler, &trace("i")).await;
    assert!(start.elapsed() < bound, "{faults:?} took {:?}", start.elapsed());
    assert_eq!(answer.status, status, "{faults:?}: {}", log.text());
    let repeated = post(&handler, &trace("i")).await;
    assert_eq!((repeated.status, repeated.body), (200, answer.body), "{faults:?}");
    assert_eq!(s3.bucket.keys().await, ["m/i"]);
}

const SOON: Duration = Duration::from_secs(4);

macro_rules! each {
    ($($name:ident: $test:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            $test.await;
        }
    )*};
}

each! {
    slow_down_that_lasts: lasting(Fault::Refuse(503, "SlowDown"), 503, 3, "SlowDown");
    an_internal_error_that_lasts: lasting(Fault::Refuse(500, "InternalError"), 503, 3, "InternalError");
    access_denied_is_ours_and_not_retried: lasting(Fault::Refuse(403, "AccessDenied"), 500, 1, "AccessDenied");
    no_such_bucket_is_ours_and_not_retried: lasting(Fault::Refuse(404, "NoSuchBucket"), 500, 1, "NoSuchBucket");
    another_region_is_ours_and_not_retried: lasting(Fault::Refuse(301, "PermanentRedirect"), 500, 1, "PermanentRedirect");
    a_redirect_passes_later: lasting(Fault::Refuse(307, "TemporaryRedirect"), 503, 1, "TemporaryRedirect");
    a_bad_request_is_ours_and_not_retried: lasting(Fault::Refuse(400, "InvalidRequest"), 500, 1, "InvalidRequest");
    concurrent_writes_that_last: lasting(Fault::Refuse(409, "ConditionalRequestConflict"), 503, 3, "ConditionalRequestConflict");
    a_stall_before_the_answer: lasting(Fault::StallBefore, 503, 3, "timeout");
    a_stall_within_the_answer: lasting(Fault::StallWithin, 503, 3, "timeout");
    connections_that_are_cut: lasting(Fault::CutBeforeRead, 503, 3, "connection");
    garbage_that_lasts: lasting(Fault::Garbage, 503, 3, "HTTP version");
    a_refusal_that_is_no_xml: lasting(Fault::GarbageBody(500), 503, 3, "500");

    slow_down_that_passes: passing(&[Fault::Refuse(503, "SlowDown")], 201, SOON);
    two_internal_errors: passing(&[Fault::Refuse(500, "InternalError"); 2], 201, SOON);
    a_concurrent_write: passing(&[Fault::Refuse(409, "ConditionalRequestConflict")], 201, SOON);
    a_connection_cut_before_the_request_was_read: passing(&[Fault::CutBeforeRead], 201, SOON);
    a_connection_cut_after_the_trace_was_stored: passing(&[Fault::CutAfterStored], 200, SOON);
    a_connection_cut_within_the_answer: passing(&[Fault::CutWithin], 200, SOON);
    a_stall_within_one_answer: passing(&[Fault::StallWithin], 200, Duration::from_secs(8));
    garbage_once: passing(&[Fault::Garbage], 201, SOON);
}

/// Only this request can have written under a random id, so its own write is what the retry met.
#[tokio::test]
async fn a_lost_answer_to_an_assigned_id_is_201() {
    let s3 = Unwell::new().await;
    s3.next(&[Fault::CutAfterStored]);
    let answer = post(&s3.handler(), r#"{"model":"m","created":1,"messages":[]}"#).await;
    assert_eq!(answer.status, 201);
    assert_eq!(s3.bucket.keys().await, [answer.body["key"].as_str().expect("a key")]);
}

/// As after a freeze: the connection that the last request left behind is closed, or leads nowhere.
#[tokio::test]
async fn a_connection_that_died_since_the_last_request() {
    for (fault, bound) in [(Fault::CloseAfter, SOON), (Fault::DeafAfter, Duration::from_secs(8))] {
        let s3 = Unwell::new().await;
        let handler = s3.handler();
        s3.next(&[fault]);
        assert_eq!(post(&handler, &trace("first")).await.status, 201);
        let start = Instant::now();
        assert_eq!(post(&handler, &trace("second")).await.status, 201, "{fault:?}");
        assert!(start.elapsed() < bound, "{fault:?} took {:?}", start.elapsed());
    }
}

/// The look at what is stored may fail as the write may: nothing is promised then.
#[tokio::test]
async fn a_look_at_what_is_stored_that_fails() {
    let s3 = Unwell::new().await;
    let handler = s3.handler();
    assert_eq!(post(&handler, &trace("i")).await.status, 201);
    for (faults, status) in [
        (vec![Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(403, "AccessDenied")], 500),
        (vec![Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(404, "NotFound")], 503),
        (vec![Fault::Refuse(412, "PreconditionFailed"), Fault::Refuse(503, "SlowDown")], 200),
    ] {
        s3.next(&faults);
        assert_eq!(post(&handler, &trace("i")).await.status, status, "{faults:?}");
    }
}
