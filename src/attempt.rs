//! The first attempt at a write, without the SDK's machinery: one signed PUT, whose answer the SDK judges if it is not
//! plainly the expected one.
//!
//! The SDK takes several times the CPU of the request itself to send a small object (see the README's figures). Nearly
//! every write succeeds at once, and for those it is not needed.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    config::{
        HttpClient, ProvideCredentials, RuntimeComponents, SharedCredentialsProvider,
        endpoint::{DefaultResolver, Endpoint, Params, ResolveEndpoint},
        http::{HttpRequest, HttpResponse},
    },
    error::{BoxError, ConnectorError},
    primitives::SdkBody,
};
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use futures_util::FutureExt;
use http::{Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{key::Key, store::Connection, wire::Wire};

/// What is percent-encoded in a path (Amazon S3 API Reference, "Authenticating Requests", `UriEncode`).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What S3 or the way to it had to say of one request.
pub type Outcome = Result<HttpResponse, ConnectorError>;

/// Writes to one bucket, one attempt each.
#[derive(Debug, Clone)]
pub struct Attempt {
    bucket: String,
    region: String,
    credentials: SharedCredentialsProvider,
    settings: SigningSettings,
    wire: Wire,
}

impl Attempt {
    /// Attempts on this bucket over `wire`; `None` where a request needs more than this module knows of: an access
    /// point, a directory bucket, or a name that no bucket has.
    #[must_use]
    pub fn new(connection: &Connection, bucket: &str, wire: Wire) -> Option<Self> {
        let params = Params::builder()
            .bucket(bucket)
            .region(connection.region.as_str())
            .set_endpoint(connection.endpoint.clone())
            .force_path_style(connection.endpoint.is_some())
            .build()
            .ok()?;
        let endpoint = DefaultResolver::new().resolve_endpoint(&params).now_or_never()?.ok()?;
        if !is_signed_plainly(&endpoint, &connection.region) {
            return None;
        }
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        Some(Self {
            bucket: endpoint.url().trim_end_matches('/').to_owned(),
            region: connection.region.clone(),
            credentials: connection.credentials.clone(),
            settings,
            wire,
        })
    }

    /// Opens the connection that the next write will find.
    pub async fn connect(&self) -> Result<(), ConnectorError> {
        let uri: Uri =
            self.bucket.parse().map_err(|error: http::uri::InvalidUri| ConnectorError::user(error.into()))?;
        self.wire.connect(&uri).await
    }

    /// Puts `json` under `key` unless something is there, within `limit`; `checksum` is its SHA-256 in base64.
    pub async fn put(&self, key: &Key, json: SdkBody, checksum: &str, limit: Duration) -> Outcome {
        let request = self.request(key, json, checksum).await.map_err(ConnectorError::user)?;
        let response = tokio::time::timeout(limit, self.wire.send(request))
            .await
            .unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into())))?;
        HttpResponse::try_from(response).map_err(|error| ConnectorError::io(error.into()))
    }

    async fn request(&self, key: &Key, json: SdkBody, checksum: &str) -> Result<Request<SdkBody>, BoxError> {
        let uri = format!("{}/{}", self.bucket, utf8_percent_encode(key.as_str(), ENCODED));
        let headers =
            [("content-type", "application/json"), ("if-none-match", "*"), ("x-amz-checksum-sha256", checksum)];
        let identity = self.credentials.provide_credentials().await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(self.settings.clone())
            .build()?;
        // Over TLS the payload need not be hashed for the signature too: the checksum's header is signed, and S3
        // holds the object to it.
        let to_sign = SignableRequest::new("PUT", &*uri, headers.into_iter(), SignableBody::UnsignedPayload)?;
        let signature = sign(to_sign, &params.into())?.into_parts().0;
        let mut request =
            Request::put(&uri).header("user-agent", concat!("attest/", env!("CARGO_PKG_VERSION"))).body(json)?;
        for (name, value) in headers {
            request.headers_mut().insert(name, value.parse()?);
        }
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// Whether the SDK's rules ask for nothing but a version 4 signature for S3 in this region.
fn is_signed_plainly(endpoint: &Endpoint, region: &str) -> bool {
    let Some(scheme) = endpoint.auth_schemes().first() else { return false };
    let property = |name| scheme.get(name).and_then(|value| value.as_string());
    scheme.name() == "sigv4"
        && property("signingName") == Some("s3")
        && property("signingRegion") == Some(region)
        && endpoint.headers().next().is_none()
}

/// The SDK's HTTP client for a write that was attempted before the SDK was asked: its first answer is that attempt's.
#[derive(Clone)]
pub struct Replay {
    first: Arc<Mutex<Option<Outcome>>>,
    wire: Wire,
}

impl Replay {
    /// Answers with `first` once, and from then on with what comes over `wire`.
    #[must_use]
    pub fn new(first: Outcome, wire: Wire) -> Self {
        Self { first: Arc::new(Mutex::new(Some(first))), wire }
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replay")
    }
}

impl HttpConnector for Replay {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match self.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(outcome) => HttpConnectorFuture::ready(outcome),
            None => self.wire.call(request),
        }
    }
}

impl HttpClient for Replay {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
