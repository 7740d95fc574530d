//! An S3 that fails on demand: a proxy in front of a real one.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The proxy responds with this status and S3 error code, and forwards nothing.
    Refuse(u16, &'static str),
    /// The proxy reads the request and never responds.
    StallBefore,
    /// The S3 stores the object; the proxy sends half of the response and stalls.
    StallWithin,
    /// The proxy closes the connection before it reads anything.
    CutBeforeRead,
    /// The S3 stores the object; the proxy closes the connection instead of responding.
    CutAfterStored,
    /// The S3 stores the object; the proxy closes the connection in the middle of the response.
    CutWithin,
    /// The request succeeds; then the proxy closes the connection, as S3 does while a function is frozen.
    CloseAfter,
    /// The request succeeds; then the proxy reads nothing more, as if the peer had vanished.
    DeafAfter,
    /// The proxy responds with bytes that are not HTTP.
    Garbage,
    /// The S3 stores the object; the proxy responds with this status and a body that is not XML.
    GarbageBody(u16),
}

/// A proxy in front of a real S3. Each request triggers the next planned fault. Without a planned fault, the proxy
/// forwards the request.
pub struct FaultProxy {
    pub address: SocketAddr,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    faults: Mutex<VecDeque<Fault>>,
    always: Mutex<Option<Fault>>,
    requests: AtomicUsize,
    no_checksums: AtomicBool,
    no_conditions: AtomicBool,
    last_head: Mutex<String>,
}

impl FaultProxy {
    #[must_use]
    pub async fn before(s3: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let plan = Arc::new(Plan::default());
        let shared = Arc::clone(&plan);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, s3, Arc::clone(&shared)));
            }
        });
        Self { address, plan }
    }

    /// Removes checksums from all further responses, as an S3 without checksums does.
    pub fn forget_checksums(&self) {
        self.plan.no_checksums.store(true, Ordering::SeqCst);
    }

    /// Sets whether a refused conditional write looks successful, as on an S3 that ignores `If-None-Match`.
    pub fn ignore_conditions(&self, ignores: bool) {
        self.plan.no_conditions.store(ignores, Ordering::SeqCst);
    }

    #[must_use]
    pub fn last_head(&self) -> String {
        self.plan.last_head.lock().expect("no thread panics with the lock held").clone()
    }

    pub fn next(&self, faults: &[Fault]) {
        *self.plan.faults.lock().expect("no thread panics with the lock held") = faults.iter().copied().collect();
    }

    /// Sets the fault for every request after the planned faults are used up.
    pub fn always(&self, fault: Option<Fault>) {
        *self.plan.always.lock().expect("no thread panics with the lock held") = fault;
    }

    #[expect(clippy::must_use_candidate, reason = "a call also resets the count")]
    pub fn requests(&self) -> usize {
        self.plan.requests.swap(0, Ordering::SeqCst)
    }
}

/// Reads one HTTP message: its head, and a body of `content-length` bytes. Returns `None` at the end of the stream.
pub async fn read_message(stream: &mut TcpStream, is_head: bool) -> Option<Vec<u8>> {
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
        let planned = plan.faults.lock().expect("no thread panics with the lock held").front().copied();
        let fault = planned.or(*plan.always.lock().expect("no thread panics with the lock held"));
        if matches!(fault, Some(Fault::CutBeforeRead)) {
            plan.faults.lock().expect("no thread panics with the lock held").pop_front();
            plan.requests.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        let request = read_message(&mut client, false).await?;
        let head = String::from_utf8_lossy(&request).split("\r\n\r\n").next().unwrap_or_default().to_owned();
        *plan.last_head.lock().expect("no thread panics with the lock held") = head;
        plan.faults.lock().expect("no thread panics with the lock held").pop_front();
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
        if plan.no_conditions.load(Ordering::SeqCst) && answer.starts_with(b"HTTP/1.1 412 ") {
            answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
        }
        if plan.no_checksums.load(Ordering::SeqCst) {
            answer =
                String::from_utf8_lossy(&answer).replace("x-amz-checksum-sha256", "x-amz-meta-forgotten").into_bytes();
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
