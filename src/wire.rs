//! The way to S3: HTTP/1.1, over TLS where the endpoint asks for it, on connections that are kept between requests.
//!
//! The SDK's own HTTP client speaks HTTP/2 too, which S3 does not, and brings its code into every cold start.

use std::{
    fmt,
    io::{self, ErrorKind},
    net::ToSocketAddrs,
    pin::{Pin, pin},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    config::{
        HttpClient, RuntimeComponents,
        http::{HttpRequest, HttpResponse},
    },
    error::{BoxError, ConnectorError},
};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use futures_util::future::{Either, select};
use http::{Uri, uri::Scheme};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{TcpStream, ToSocketAddrs as LookUp},
    time::{Instant, Sleep, sleep},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use crate::exchange::{Answer, Stream, exchange};

/// How long a request may take from its first byte, or from the look for a connection, to the last of its answer. S3
/// answers small writes within 100 to 200 ms (Amazon S3 User Guide, "Performance design patterns"); 5 MiB from a function
/// of 128 MB need about half a second of its share of a CPU.
const REQUEST: Duration = Duration::from_secs(5);

/// How long connecting may take, TLS included. Within a region it takes milliseconds; the handshake's CPU at 128 MB is
/// some 40 ms. Two seconds leave room for one lost SYN (retransmitted after 1 s).
const CONNECT: Duration = Duration::from_secs(2);

/// S3 closes a connection that was idle for about 20 s; one this old is not used again.
const IDLE: Duration = Duration::from_secs(15);

/// Connections to S3 and whatever else is asked for, shared by all clones.
#[derive(Clone, Default)]
pub struct Wire(Arc<Shared>);

#[derive(Default)]
struct Shared {
    idle: Mutex<Vec<Connection>>,
    tls: OnceLock<Arc<ClientConfig>>,
}

/// An open connection on which nothing is under way.
struct Connection {
    to: Origin,
    stream: Box<dyn Stream>,
    /// The bound of the request that is under way. To set it later costs nothing, unlike a timer for each request, which
    /// wakes the runtime when it is made.
    timer: Pin<Box<Sleep>>,
    /// By the wall clock, for that goes on while a function is frozen.
    idle_since: SystemTime,
}

impl Connection {
    /// Whether the other side has left it open and said nothing that nobody asked for.
    fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        matches!(Pin::new(&mut self.stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)), Poll::Pending)
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Origin {
    is_https: bool,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Result<Self, ConnectorError> {
        let is_https = uri.scheme() != Some(&Scheme::HTTP);
        let host = uri.host().ok_or_else(|| user("a request needs a host"))?;
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        // An IPv6 address is in brackets in a URI only.
        Ok(Self { is_https, host: host.trim_matches(['[', ']']).to_owned(), port })
    }
}

impl Wire {
    /// Opens a connection to where `uri` points, so that the next request there finds it.
    ///
    /// It blocks the thread while the host's name is looked up: that is for a start, when nothing else is under way, and
    /// spares it the thread that asynchronous look-ups are made on.
    pub async fn connect(&self, uri: &Uri) -> Result<(), ConnectorError> {
        let to = Origin::of(uri)?;
        let addresses = (&*to.host, to.port).to_socket_addrs().map_err(failed)?;
        let connection = self.open(to, &*addresses.collect::<Vec<_>>()).await?;
        self.keep(connection);
        Ok(())
    }

    /// Sends a request to where `uri` points and returns the answer once it is whole. The `head` names the path and all
    /// fields, the host and the body's length among them, and ends with an empty line.
    pub async fn send(&self, uri: &Uri, head: &[u8], body: &[u8]) -> Result<Answer, ConnectorError> {
        let end = Instant::now() + REQUEST;
        let to = Origin::of(uri)?;
        let mut connection = match self.idle(&to) {
            Some(connection) => connection,
            None => {
                let address = (to.host.clone(), to.port);
                self.open(to, address).await?
            }
        };
        connection.timer.as_mut().reset(end);
        let exchanged =
            match select(pin!(exchange(&mut connection.stream, head, body)), connection.timer.as_mut()).await {
                Either::Left((exchanged, _)) => exchanged,
                Either::Right(_) => Err(io::Error::from(ErrorKind::TimedOut)),
            };
        let answer = exchanged.map_err(failed)?;
        if answer.is_open {
            self.keep(connection);
        }
        Ok(answer)
    }

    fn idle(&self, to: &Origin) -> Option<Connection> {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(|connection| {
            connection.idle_since.elapsed().is_ok_and(|age| age < IDLE) && connection.is_open()
        });
        let last = idle.iter().rposition(|connection| connection.to == *to)?;
        Some(idle.swap_remove(last))
    }

    fn keep(&self, connection: Connection) {
        let connection = Connection { idle_since: SystemTime::now(), ..connection };
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    async fn open(&self, to: Origin, addresses: impl LookUp) -> Result<Connection, ConnectorError> {
        let opened = tokio::time::timeout(CONNECT, async {
            let tcp = TcpStream::connect(addresses).await.map_err(failed)?;
            // A request must not wait for the acknowledgement of the one before.
            tcp.set_nodelay(true).map_err(failed)?;
            if !to.is_https {
                return Ok(Box::new(tcp) as Box<dyn Stream>);
            }
            let name = ServerName::try_from(to.host.clone()).map_err(user)?;
            let tls = TlsConnector::from(self.tls()?).connect(name, tcp).await.map_err(failed)?;
            Ok(Box::new(tls) as Box<dyn Stream>)
        });
        let stream = opened.await.unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into())))?;
        Ok(Connection { to, stream, timer: Box::pin(sleep(REQUEST)), idle_since: SystemTime::now() })
    }

    /// What this end says of itself and asks of the other; the system's root certificates are read at the first call.
    fn tls(&self) -> Result<Arc<ClientConfig>, ConnectorError> {
        if let Some(config) = self.0.tls.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(user)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.0.tls.get_or_init(|| config.into())))
    }
}

/// What may be otherwise the next time.
fn failed(error: io::Error) -> ConnectorError {
    if error.kind() == ErrorKind::TimedOut {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}

/// What is wrong with the request or the configuration.
fn user(error: impl Into<BoxError>) -> ConnectorError {
    ConnectorError::user(error.into())
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wire = self.clone();
        HttpConnectorFuture::new(async move {
            let body = request.body().bytes().ok_or_else(|| user("only bodies in memory are sent"))?;
            let uri = request.uri().parse().map_err(|error: http::uri::InvalidUri| user(error))?;
            let answer = wire.send(&uri, &head(&request, &uri, body.len()), body).await?;
            HttpResponse::try_from(answer).map_err(ConnectorError::io)
        })
    }
}

/// The head of a request that the SDK made.
fn head(request: &HttpRequest, uri: &Uri, length: usize) -> Vec<u8> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut head = format!("{} {path} HTTP/1.1\r\n", request.method()).into_bytes();
    let mut add = |name: &str, value: &[u8]| {
        for piece in [name.as_bytes(), b":", value, b"\r\n"] {
            head.extend_from_slice(piece);
        }
    };
    for (name, value) in request.headers().iter_bytes() {
        add(name, value);
    }
    if !request.headers().contains_key("host") {
        add("host", uri.authority().map_or("", |authority| authority.as_str()).as_bytes());
    }
    // An empty body is said to be one where a body is expected (RFC 9110, section 8.6).
    if !request.headers().contains_key("content-length") && (length > 0 || matches!(request.method(), "PUT" | "POST")) {
        add("content-length", length.to_string().as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::SdkBody;

    use super::*;

    #[test]
    fn a_request_of_the_sdk_says_where_it_goes_and_how_long_it_is() {
        for (method, uri, body, expected) in [
            (
                "GET",
                "https://s3.example.com:9000/b/k?a=%20b",
                "",
                "GET /b/k?a=%20b HTTP/1.1\r\nx:y\r\nhost:s3.example.com:9000\r\n\r\n",
            ),
            ("PUT", "http://[::1]", "", "PUT / HTTP/1.1\r\nx:y\r\nhost:[::1]\r\ncontent-length:0\r\n\r\n"),
            ("POST", "http://a/", "body", "POST / HTTP/1.1\r\nx:y\r\nhost:a\r\ncontent-length:4\r\n\r\n"),
        ] {
            let mut request = HttpRequest::new(SdkBody::from(body));
            request.set_method(method).expect("a method");
            request.set_uri(uri).expect("a URI");
            request.headers_mut().insert("x", "y");
            let uri = uri.parse().expect("a URI");
            assert_eq!(String::from_utf8_lossy(&head(&request, &uri, body.len())), expected);
            request.headers_mut().insert("host", "given");
            request.headers_mut().insert("content-length", "1");
            let said = String::from_utf8(head(&request, &uri, body.len())).expect("text");
            assert_eq!((said.matches("host:").count(), said.matches("content-length:").count()), (1, 1), "{said}");
        }
    }
}
