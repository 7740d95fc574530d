//! The first attempt at a write, without the SDK's machinery: one signed PUT, whose answer the SDK judges if it is not
//! plainly the expected one.
//!
//! With the SDK for every write a trace of 1 KB took nearly twice the CPU. Nearly every write succeeds at once, and for
//! those it is not needed.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_s3::{
    config::{
        HttpClient, RuntimeComponents,
        http::{HttpRequest, HttpResponse},
    },
    error::ConnectorError,
};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    exchange::Answer,
    key::Key,
    signature::{Put, Signer},
    store::Connection,
    wire::Wire,
};

/// What is percent-encoded in a path (Amazon S3 API Reference, "Authenticating Requests", `UriEncode`).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Writes to one bucket, one attempt each.
#[derive(Debug, Clone)]
pub struct Attempt {
    bucket: Uri,
    signer: Signer,
    wire: Wire,
}

impl Attempt {
    /// Attempts on this bucket over `wire`; `None` where the SDK's rules are needed to know whom to ask and how.
    #[must_use]
    pub fn new(connection: &Connection, bucket: &str, wire: Wire) -> Option<Self> {
        let signer = Signer::new(connection.region.clone(), connection.credentials.clone());
        Some(Self { bucket: url(connection, bucket)?.parse().ok()?, signer, wire })
    }

    /// Opens the connection that the next write will find.
    pub async fn connect(&self) -> Result<(), ConnectorError> {
        self.wire.connect(&self.bucket).await
    }

    /// Puts `json` under `key` unless something is there; `checksum` is its SHA-256 in base64.
    pub async fn put(&self, key: &Key, json: &[u8], checksum: &str) -> Result<Answer, ConnectorError> {
        let prefix = self.bucket.path().trim_end_matches('/');
        let path = format!("{prefix}/{}", utf8_percent_encode(key.as_str(), ENCODED));
        let host = self.bucket.authority().map_or("", |authority| authority.as_str());
        let put = Put { host, path: &path, checksum, length: json.len() };
        let head = self.signer.head(&put).await.map_err(ConnectorError::user)?;
        self.wire.send(&self.bucket, head.as_bytes(), json).await
    }
}

/// Where a bucket is, if that is plain: no access point, no directory bucket, no name that would be part of a path, and
/// no partition but AWS's own. A test holds this to the SDK's rules, which take as long to read as a trace to store.
fn url(connection: &Connection, bucket: &str) -> Option<String> {
    let region = &connection.region;
    let is_plain = bucket.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && (3..=63).contains(&bucket.len())
        && !bucket.starts_with('-')
        && !bucket.ends_with('-')
        && !bucket.contains("--");
    match &connection.endpoint {
        Some(endpoint) if is_plain => Some(format!("{}/{bucket}", endpoint.trim_end_matches('/'))),
        None if is_plain && !OTHER_PARTITIONS.iter().any(|partition| region.contains(partition)) => {
            Some(format!("https://{bucket}.s3.{region}.amazonaws.com"))
        }
        _ => None,
    }
}

/// What the regions of other partitions have in their names: China, the isolated ones, the European one.
const OTHER_PARTITIONS: [&str; 3] = ["cn-", "iso", "eusc-"];

/// The SDK's HTTP client for a write that was attempted before the SDK was asked: its first answer is that attempt's.
#[derive(Clone)]
pub struct Replay {
    first: Arc<Mutex<Option<Result<HttpResponse, ConnectorError>>>>,
    wire: Wire,
}

impl Replay {
    /// Answers with `first` once, and from then on with what comes over `wire`.
    #[must_use]
    pub fn new(first: Result<Answer, ConnectorError>, wire: Wire) -> Self {
        let first = first.and_then(|answer| answer.try_into().map_err(ConnectorError::io));
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

#[cfg(test)]
mod tests {
    use aws_sdk_s3::config::{
        Credentials, SharedCredentialsProvider,
        endpoint::{DefaultResolver, Params, ResolveEndpoint},
    };
    use futures_util::FutureExt;

    use super::*;

    /// What the SDK's rules say: the bucket's URL, if a signature of version 4 for S3 in this region is all they ask.
    fn by_the_rules(connection: &Connection, bucket: &str) -> Option<String> {
        let params = Params::builder()
            .bucket(bucket)
            .region(connection.region.as_str())
            .set_endpoint(connection.endpoint.clone())
            .force_path_style(connection.endpoint.is_some());
        let resolver = DefaultResolver::new();
        let endpoint = resolver.resolve_endpoint(&params.build().ok()?).now_or_never()?.ok()?;
        let scheme = endpoint.auth_schemes().first()?;
        let property = |name| scheme.get(name).and_then(|value| value.as_string());
        let is_plain = (scheme.name(), property("signingName"), property("signingRegion"))
            == ("sigv4", Some("s3"), Some(&connection.region));
        is_plain.then(|| endpoint.url().to_owned())
    }

    #[test]
    fn a_buckets_url_is_the_one_of_the_sdks_rules() {
        for endpoint in [None, Some("http://127.0.0.1:9081"), Some("https://s3.example.com:9000/")] {
            for region in
                ["us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1", "eusc-de-east-1"]
            {
                let connection = Connection {
                    region: region.to_owned(),
                    endpoint: endpoint.map(ToOwned::to_owned),
                    credentials: SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "test")),
                };
                for bucket in ["traces", "my-traces-123", "abc", "a.dotted.name", "traces--use1-az4--x-s3", "-traces"] {
                    if let Some(url) = url(&connection, bucket) {
                        assert_eq!(Some(url), by_the_rules(&connection, bucket), "{bucket} in {region}");
                    }
                }
                if region.starts_with("us-e") || region.starts_with("eu-") || region.starts_with("us-g") {
                    assert!(url(&connection, "traces").is_some(), "{region}");
                }
                let access_point = "arn:aws:s3:us-east-1:123456789012:accesspoint/traces";
                assert_eq!(url(&connection, access_point), None);
            }
        }
    }
}
