//! Signature Version 4 of the one request that goes to S3 without the SDK (Amazon S3 API Reference, "Authenticating
//! Requests: Using the Authorization Header").
//!
//! `aws-sigv4` can sign any request, which takes it ten times as long as this one needs, and the key for it is derived
//! anew each time. A test holds this to what that crate says.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use aws_sdk_s3::{
    config::{Credentials, ProvideCredentials, SharedCredentialsProvider},
    error::BoxError,
};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_smithy_types::date_time::{DateTime, Format};
use sha2::{Digest, Sha256};

/// Signs for S3 in one region.
#[derive(Debug, Clone)]
pub struct Signer {
    region: String,
    credentials: SharedCredentialsProvider,
    key: Arc<Mutex<Option<DayKey>>>,
}

/// What a day's requests are signed with.
#[derive(Clone)]
struct DayKey {
    day: String,
    secret: String,
    bytes: [u8; 32],
}

impl fmt::Debug for DayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DayKey")
    }
}

/// A PUT that creates an object of JSON and never replaces one.
#[derive(Debug, Clone, Copy)]
pub struct Put<'a> {
    /// The bucket's host, with its port where a request names one.
    pub host: &'a str,
    /// The path, percent-encoded.
    pub path: &'a str,
    /// The SHA-256 of the object, in base64: signed here, and checked by S3.
    pub checksum: &'a str,
    /// The object's bytes.
    pub length: usize,
}

impl Signer {
    /// A signer with these credentials, which are asked for anew for each request.
    #[must_use]
    pub fn new(region: String, credentials: SharedCredentialsProvider) -> Self {
        Self { region, credentials, key: Arc::default() }
    }

    /// The request's head, signed now.
    pub async fn head(&self, put: &Put<'_>) -> Result<String, BoxError> {
        let credentials = self.credentials.provide_credentials().await?;
        self.head_at(SystemTime::now(), &credentials, put)
    }

    fn head_at(&self, now: SystemTime, credentials: &Credentials, put: &Put<'_>) -> Result<String, BoxError> {
        let Put { host, path, checksum, length } = put;
        let (id, token) = (credentials.access_key_id(), credentials.session_token());
        // A line break would make fields of its own.
        if [id, token.unwrap_or_default(), &self.region].iter().any(|text| text.chars().any(char::is_control)) {
            return Err("the region or the credentials have control characters in them".into());
        }
        let mut time = DateTime::from_secs(DateTime::from(now).secs()).fmt(Format::DateTime)?;
        time.retain(|char| char.is_ascii_alphanumeric());
        let day = &time[..8];

        // In the order of their names, as they are signed. Over TLS the payload need not be hashed for the signature
        // too: its checksum is signed, and S3 holds the object to that.
        let mut fields = format!(
            "content-type:application/json\nhost:{host}\nif-none-match:*\nx-amz-checksum-sha256:{checksum}\n\
             x-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{time}\n"
        );
        let mut names =
            "content-type;host;if-none-match;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date".to_owned();
        if let Some(token) = token {
            writeln!(fields, "x-amz-security-token:{token}")?;
            names.push_str(";x-amz-security-token");
        }
        let canonical = format!("PUT\n{path}\n\n{fields}\n{names}\nUNSIGNED-PAYLOAD");
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let mut to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n");
        to_sign.push_str(&hex::encode(Sha256::digest(&canonical)));
        let signature = calculate_signature(self.key(day, now, credentials.secret_access_key()), to_sign.as_bytes());

        let mut head = String::with_capacity(512 + canonical.len());
        write!(
            head,
            "PUT {path} HTTP/1.1\r\ncontent-length:{length}\r\nuser-agent:{}\r\nauthorization:AWS4-HMAC-SHA256 \
             Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}\r\n",
            concat!("attest/", env!("CARGO_PKG_VERSION"))
        )?;
        for field in fields.lines() {
            head.push_str(field);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        Ok(head)
    }

    fn key(&self, day: &str, now: SystemTime, secret: &str) -> [u8; 32] {
        let mut key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        match &*key {
            Some(key) if key.day == day && key.secret == secret => key.bytes,
            _ => {
                let mut bytes = [0; 32];
                bytes.copy_from_slice(generate_signing_key(secret, now, &self.region, "s3").as_ref());
                *key = Some(DayKey { day: day.to_owned(), secret: secret.to_owned(), bytes });
                bytes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use aws_sigv4::{
        http_request::{
            PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
            UriPathNormalizationMode, sign,
        },
        sign::v4,
    };

    use super::*;

    /// What `aws-sigv4` signs such a request with: the fields that it adds, by name.
    fn by_the_crate(now: SystemTime, credentials: &Credentials, put: &Put<'_>) -> Vec<(String, String)> {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder().identity(&identity).region("eu-central-1").name("s3").time(now);
        let params = params.settings(settings).build().expect("all of them").into();
        let headers =
            [("content-type", "application/json"), ("if-none-match", "*"), ("x-amz-checksum-sha256", put.checksum)];
        let uri = format!("https://{}{}", put.host, put.path);
        let request = SignableRequest::new("PUT", uri, headers.into_iter(), SignableBody::UnsignedPayload);
        let (signature, _) = sign(request.expect("a request"), &params).expect("a signature").into_parts();
        signature.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_signature_is_the_one_of_the_crate_that_can_sign_anything() {
        let provider = SharedCredentialsProvider::new(Credentials::new("unused", "unused", None, None, "test"));
        let signer = Signer::new("eu-central-1".to_owned(), provider);
        for (seconds, secret, token) in [
            (0, "secret", None),
            (1_795_305_599, "secret", Some("token")),
            (1_795_305_600, "secret", Some("another/token+of=them")),
            (1_795_305_601, "another secret", None),
            (1_795_391_999, "another secret", None),
            (1_795_392_000, "another secret", None),
        ] {
            let now = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
            let credentials = Credentials::new("AKIDEXAMPLE", secret, token.map(ToOwned::to_owned), None, "test");
            for path in ["/f/i", "/traces/gpt-4o/7d4f", "/a/%252F/%2A%C3%A9"] {
                let put = Put { host: "traces.s3.eu-central-1.amazonaws.com", path, checksum: "c2hhMjU2", length: 17 };
                let head = signer.head_at(now, &credentials, &put).expect("a head");
                assert!(head.starts_with(&format!("PUT {path} HTTP/1.1\r\ncontent-length:17\r\n")), "{head}");
                assert!(head.ends_with("\r\n\r\n"), "{head}");
                for (name, value) in by_the_crate(now, &credentials, &put) {
                    assert!(head.contains(&format!("\r\n{name}:{value}\r\n")), "{name}: {value} is not in {head}");
                }
            }
        }
    }

    #[test]
    fn nothing_that_is_configured_adds_a_field() {
        let provider = SharedCredentialsProvider::new(Credentials::new("unused", "unused", None, None, "test"));
        let put = Put { host: "s3", path: "/f/i", checksum: "c2hhMjU2", length: 17 };
        for (region, id, token) in [("a\r\nb:c", "id", ""), ("a", "id\r\nb:c", ""), ("a", "id", "token\nb:c")] {
            let credentials = Credentials::new(id, "secret", Some(token.to_owned()), None, "test");
            let signer = Signer::new(region.to_owned(), provider.clone());
            assert!(signer.head_at(UNIX_EPOCH, &credentials, &put).is_err(), "{region} {id} {token}");
        }
    }
}
