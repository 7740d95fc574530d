//! The way to S3: HTTP/1.1, over TLS where the endpoint asks for it, on connections that are kept between requests.
//!
//! The SDK's own HTTP client speaks HTTP/2 too, which S3 does not, and brings its code into every cold start.

use std::{
    fmt,
    net::ToSocketAddrs,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    config::{
        HttpClient, RuntimeComponents,
        http::{HttpRequest, HttpResponse},
    },
    error::{BoxError, ConnectorError},
    primitives::SdkBody,
};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use http::{
    HeaderValue, Request, Response, Uri,
    header::HOST,
    uri::{PathAndQuery, Scheme},
};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, ToSocketAddrs as LookUp},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

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
    requests: SendRequest<SdkBody>,
    /// By the wall clock, for that goes on while a function is frozen.
    idle_since: SystemTime,
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
        let addresses = (&*to.host, to.port).to_socket_addrs().map_err(io)?;
        let requests = self.open(&to, &*addresses.collect::<Vec<_>>()).await?;
        self.keep(to, requests);
        Ok(())
    }

    /// Sends a request and returns the answer once it is whole.
    pub async fn send(&self, mut request: Request<SdkBody>) -> Result<Response<SdkBody>, ConnectorError> {
        let to = Origin::of(request.uri())?;
        if !request.headers().contains_key(HOST) {
            let authority = request.uri().authority().map_or("", |authority| authority.as_str());
            let host = HeaderValue::from_str(authority).map_err(user)?;
            request.headers_mut().insert(HOST, host);
        }
        // On the wire a request names its path only (RFC 9112, section 3.2.1).
        *request.uri_mut() =
            request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into();

        loop {
            let (mut requests, is_new) = match self.idle(&to) {
                Some(requests) => (requests, false),
                None => (self.open(&to, (&*to.host, to.port)).await?, true),
            };
            if let Err(error) = requests.ready().await {
                if is_new {
                    return Err(io(error));
                }
                continue;
            }
            match requests.try_send_request(request).await {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    let body = body.collect().await.map_err(io)?.to_bytes();
                    self.keep(to, requests);
                    return Ok(Response::from_parts(parts, SdkBody::from(body)));
                }
                Err(mut failed) => match failed.take_message() {
                    // The connection ended before anything of the request was sent.
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(io(failed.into_error())),
                },
            }
        }
    }

    fn idle(&self, to: &Origin) -> Option<SendRequest<SdkBody>> {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| connection.idle_since.elapsed().is_ok_and(|age| age < IDLE));
        let last = idle.iter().rposition(|connection| connection.to == *to)?;
        Some(idle.swap_remove(last).requests)
    }

    fn keep(&self, to: Origin, requests: SendRequest<SdkBody>) {
        let connection = Connection { to, requests, idle_since: SystemTime::now() };
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    async fn open(&self, to: &Origin, addresses: impl LookUp) -> Result<SendRequest<SdkBody>, ConnectorError> {
        let opened = tokio::time::timeout(CONNECT, async {
            let tcp = TcpStream::connect(addresses).await.map_err(io)?;
            // A request must not wait for the acknowledgement of the one before.
            tcp.set_nodelay(true).map_err(io)?;
            if !to.is_https {
                return speak(tcp).await;
            }
            let name = ServerName::try_from(to.host.clone()).map_err(user)?;
            let tls = TlsConnector::from(self.tls()?).connect(name, tcp).await;
            speak(tls.map_err(io)?).await
        });
        opened.await.unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into())))
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
fn io(error: impl Into<BoxError>) -> ConnectorError {
    ConnectorError::io(error.into())
}

/// What is wrong with the request or the configuration.
fn user(error: impl Into<BoxError>) -> ConnectorError {
    ConnectorError::user(error.into())
}

/// Speaks HTTP/1.1 on a connection, which a task of its own drives until either side closes it.
async fn speak<S>(stream: S) -> Result<SendRequest<SdkBody>, ConnectorError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (requests, connection) = handshake(TokioIo::new(stream)).await.map_err(io)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
    Ok(requests)
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
            let request = request.try_into_http1x().map_err(user)?;
            let response = wire.send(request).await?;
            HttpResponse::try_from(response).map_err(io)
        })
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
