//! API Gateway's part: an HTTP request → the proxy event that AWS would send → the handler's answer as HTTP.

use std::{
    io::Read,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use flate2::read::{GzDecoder, ZlibDecoder};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, USER_AGENT},
    http::request::Parts,
};
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequest;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    event::Event,
    handler::{Answer, Handler},
    problem::MEDIA_TYPE,
};

/// The path that the stage has, here as on AWS.
pub const PATH: &str = "/prod";

/// The largest request that API Gateway takes, in bytes ("Amazon API Gateway quotas": payload size 10 MB).
const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;

/// How much of requests' bodies is in memory at once, in KiB. Each is there some four times over, as it came, as an
/// event, and as the trace: with 24 MiB, some 100 MiB in all, however many clients send at once.
const BODIES_KIB: u32 = 24 * 1024;

/// API Gateway gives up on an integration after 29 s; so does this one on a client's body.
const BODY: Duration = Duration::from_secs(29);

/// The gateway in front of one handler.
#[derive(Clone)]
pub struct Gateway {
    handler: Handler,
    key: [u8; 32],
    bodies: Arc<Semaphore>,
}

/// What the gateway itself refuses, with the status and message of API Gateway ("API Gateway response types").
enum Refusal {
    NoSuchRoute,
    Forbidden,
    TooLarge,
    UnsupportedEncoding,
    TimedOut,
    Unreadable(String),
}

impl Gateway {
    /// A gateway that lets requests with this API key through to `handler`.
    #[must_use]
    pub fn new(handler: Handler, api_key: &str) -> Self {
        Self { handler, key: digest(api_key.as_bytes()), bodies: Arc::new(Semaphore::new(BODIES_KIB as usize)) }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let start = Instant::now();
        let (head, mut body) = request.into_parts();
        match self.pass(&head, &mut body).await {
            Ok(answer) => http(answer),
            Err(refusal) => {
                // A client that is still sending would lose the answer with the connection.
                let _ = tokio::time::timeout(BODY, drain(body)).await;
                let (status, problem, detail) = refusal.explain();
                let ms = start.elapsed().as_secs_f64() * 1e3;
                tracing::info!(status, problem, ms);
                let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
                let body = json!({
                    "type": format!("urn:attest:problem:{problem}"), "title": title, "status": status, "detail": detail,
                });
                let mut response = Response::new(Full::from(body.to_string()));
                *response.status_mut() = StatusCode::from_u16(status).expect("every refusal has a valid status");
                response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE.parse().expect("a media type is a valid value"));
                response
            }
        }
    }

    async fn pass(&self, head: &Parts, body: &mut Incoming) -> Result<Answer, Refusal> {
        if head.method != Method::POST || head.uri.path().trim_end_matches('/') != PATH {
            return Err(Refusal::NoSuchRoute);
        }
        let key = head.headers.get("x-api-key").map_or(&b""[..], |key| key.as_bytes());
        if !bool::from(digest(key).ct_eq(&self.key)) {
            return Err(Refusal::Forbidden);
        }
        let encoding = Encoding::of(&head.headers)?;
        // A body whose size is not told, or that opens to more than it is, may become as large as any.
        let most = match body.size_hint().exact() {
            Some(bytes) if bytes > MAX_REQUEST_BYTES as u64 => return Err(Refusal::TooLarge),
            Some(bytes) if encoding == Encoding::Identity => u32::try_from(bytes / 1024 + 1).expect("at most 10 MiB"),
            _ => u32::try_from(MAX_REQUEST_BYTES / 1024).expect("10 MiB"),
        };
        let _room = self.bodies.acquire_many(most).await.expect("the semaphore is never closed");
        let body = tokio::time::timeout(BODY, Limited::new(body, MAX_REQUEST_BYTES).collect())
            .await
            .map_err(|_| Refusal::TimedOut)?
            .map_err(|error| match error.downcast_ref::<http_body_util::LengthLimitError>() {
                Some(_) => Refusal::TooLarge,
                None => Refusal::Unreadable(error.to_string()),
            })?
            .to_bytes();
        let body = encoding.decode(body)?;
        let request_id = Uuid::new_v4().to_string();
        let event = proxy_event(head, body, &request_id);
        let event = serde_json::to_vec(&event).expect("a proxy event is always JSON");
        let event: Event = serde_json::from_slice(&event).expect("every JSON object is an event");
        Ok(self.handler.handle(event, &request_id).await)
    }
}

impl Refusal {
    fn explain(self) -> (u16, &'static str, String) {
        match self {
            Self::NoSuchRoute => (403, "forbidden", format!("Missing Authentication Token: POST to {PATH}.")),
            Self::Forbidden => (403, "forbidden", "Forbidden: the x-api-key header is missing or wrong.".to_owned()),
            Self::TooLarge => (
                413,
                "too-large",
                format!("The request is larger than the gateway's limit of {MAX_REQUEST_BYTES} bytes."),
            ),
            Self::UnsupportedEncoding => (
                415,
                "unsupported-encoding",
                "The body is not what Content-Encoding says: gzip, deflate or identity.".to_owned(),
            ),
            Self::TimedOut => (408, "timed-out", "The body did not arrive in time.".to_owned()),
            Self::Unreadable(error) => (400, "unreadable", format!("The body could not be read: {error}.")),
        }
    }
}

/// What API Gateway decompresses before it invokes a function ("Call an API method with a compressed payload").
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase()).as_deref() {
            None | Some(b"" | b"identity") => Ok(Self::Identity),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(b"deflate") => Ok(Self::Deflate),
            Some(_) => Err(Refusal::UnsupportedEncoding),
        }
    }

    /// Opens a body, and no further than the limit.
    fn decode(self, body: Bytes) -> Result<Vec<u8>, Refusal> {
        let mut opened = Vec::new();
        let limit = MAX_REQUEST_BYTES as u64 + 1;
        match self {
            Self::Identity => return Ok(body.into()),
            Self::Gzip => GzDecoder::new(&*body).take(limit).read_to_end(&mut opened),
            Self::Deflate => ZlibDecoder::new(&*body).take(limit).read_to_end(&mut opened),
        }
        .map_err(|_| Refusal::UnsupportedEncoding)?;
        if opened.len() > MAX_REQUEST_BYTES { Err(Refusal::TooLarge) } else { Ok(opened) }
    }
}

/// The event that AWS would send for this request (payload format 1.0).
fn proxy_event(head: &Parts, body: Vec<u8>, request_id: &str) -> ApiGatewayProxyRequest {
    let mut event = ApiGatewayProxyRequest::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    event.resource = Some("/".to_owned());
    event.path = Some("/".to_owned());
    event.http_method = Method::POST;
    event.headers = head.headers.clone();
    event.multi_value_headers = head.headers.clone();
    event.request_context.stage = Some("prod".to_owned());
    event.request_context.path = Some(PATH.to_owned());
    event.request_context.resource_path = Some("/".to_owned());
    event.request_context.http_method = Method::POST;
    event.request_context.request_id = Some(request_id.to_owned());
    event.request_context.request_time_epoch = i64::try_from(now).unwrap_or(i64::MAX);
    event.request_context.identity.source_ip = Some("127.0.0.1".to_owned());
    event.request_context.identity.user_agent =
        head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).map(ToOwned::to_owned);
    match String::from_utf8(body) {
        Ok(text) => event.body = Some(text),
        Err(error) => {
            event.body = Some(aws_smithy_types::base64::encode(error.as_bytes()));
            event.is_base64_encoded = true;
        }
    }
    event
}

/// Reads what is left of a body of tolerable size, and forgets it.
async fn drain(mut body: Incoming) {
    let mut left = MAX_REQUEST_BYTES;
    if body.size_hint().lower() > left as u64 {
        return;
    }
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}

fn http(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(answer.status_code);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::from(answer.body)).expect("the handler's headers are valid")
}

/// Digests have one length, so comparing them says nothing of the key's.
fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}
