//! The stand-in for API Gateway: routes requests, checks the API key and, with `tower-http` layers, limits bodies.

use std::{
    convert::Infallible,
    error::Error,
    io::{self, Read, Seek, Write},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{
        HeaderValue, Method, StatusCode,
        header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE},
    },
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use http_body_util::{BodyExt, LengthLimitError, StreamBody};
use lambda_http::{
    Context, RequestExt, Service, aws_lambda_events::apigw::ApiGatewayProxyRequestContext, request::RequestContext,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tempfile::SpooledTempFile;
use tokio::{io::AsyncReadExt, sync::Semaphore};
use tower_http::{
    limit::RequestBodyLimitLayer,
    timeout::{RequestBodyDeadlineLayer, TimeoutError},
};
use uuid::Uuid;

use attest::{handler::Handler, problem::MEDIA_TYPE};
use attest_otlp::{service::Receiver, wire::Encoding};
use attest_view::no_such_page;

use super::coding::Coding;

/// The path of the stage, as on AWS.
pub const PATH: &str = "/prod";

/// The API description, and the schema at the path that the description references. A deployed stack serves neither.
const DESCRIPTION: [(&str, &str, &str); 2] = [
    ("/openapi.yaml", "application/yaml", include_str!("../../../../docs/openapi.yaml")), // RFC 9512
    ("/src/trace.schema.json", "application/json", include_str!("../../../../src/trace.schema.json")),
];

/// The id of the only API key, as API Gateway reports it to the handler.
pub const API_KEY_ID: &str = "local";

/// The largest request that API Gateway accepts, in bytes ("Amazon API Gateway quotas": payload size 10 MB).
const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;

/// The maximum total size of bodies in memory, in KiB. The handler needs about twice the size of a body, so 24 MiB of
/// bodies use about 50 MiB, regardless of the number of clients.
const BODIES_KIB: u32 = 24 * 1024;

/// How much of an incomplete body is kept in memory, in bytes. The rest is in a temporary file.
const SPOOL: usize = 64 * 1024;

/// The default time limit for a body. API Gateway ends an integration after 29 s.
pub const BODY: Duration = Duration::from_secs(29);

#[derive(Clone)]
struct Integration<S> {
    function: S,
    bodies: Arc<Semaphore>,
}

/// Returns a gateway for `handler`, and for the `page` that shows stored traces.
///
/// A request reaches the handler if it has this API key and its body arrives within `body_time`. The page needs no
/// key.
pub fn router(handler: Handler, api_key: &str, body_time: Duration, page: Router) -> Router {
    let paths = [PATH.to_owned(), format!("{PATH}/")];
    let routes = routes(&paths, handler.into_service(), api_key, body_time).merge(description()).merge(page);
    explained(routes.fallback(no_route))
}

/// Responds to a path that is not served: with a page to a browser, and otherwise as API Gateway does.
async fn no_route(request: Request) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if is_read && accept.contains("text/html") { no_such_page().await } else { StatusCode::FORBIDDEN.into_response() }
}

/// Returns the OpenTelemetry routes below a path, for a [`router`] or [`explained`].
pub fn otlp_routes(receiver: Receiver, below: &str, api_key: &str, body_time: Duration) -> Router {
    let paths = ["traces", "logs"].map(|signal| format!("{below}/v1/{signal}"));
    routes(&paths, receiver.into_service(), api_key, body_time)
}

/// Forwards POST requests for these paths, with the right API key, to a function.
fn routes<S>(paths: &[String], function: S, api_key: &str, body_time: Duration) -> Router
where
    S: Service<lambda_http::Request, Response = lambda_http::Response<lambda_http::Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let integration = Integration { function, bodies: Arc::new(Semaphore::new(BODIES_KIB as usize)) };
    paths
        .iter()
        .fold(Router::new(), |router, path| router.route(path, post(invoke::<S>)))
        .with_state(integration)
        // A request passes through these layers in reverse order.
        .route_layer(RequestBodyLimitLayer::new(MAX_REQUEST_BYTES))
        .route_layer(RequestBodyDeadlineLayer::new(body_time))
        .route_layer(from_fn_with_state(digest(api_key.as_bytes()), authorize))
}

/// Rejects other methods, and adds problem details to all errors.
pub fn explained(router: Router) -> Router {
    router.method_not_allowed_fallback(async || StatusCode::FORBIDDEN).layer(from_fn(explain))
}

/// Serves the API description without requiring a key.
fn description() -> Router {
    DESCRIPTION.into_iter().fold(Router::new(), |router, (path, media_type, text)| {
        router.route(path, get(move || async move { ([(CONTENT_TYPE, media_type)], text) }))
    })
}

/// Forwards a request with the right API key. The comparison takes the same time for every wrong key.
async fn authorize(State(key): State<[u8; 32]>, request: Request, next: Next) -> Result<Response, StatusCode> {
    let given = request.headers().get("x-api-key").map_or(&b""[..], HeaderValue::as_bytes);
    if bool::from(digest(given).ct_eq(&key)) { Ok(next.run(request).await) } else { Err(StatusCode::FORBIDDEN) }
}

/// Hashes a key. Digests have equal lengths, so comparing them does not reveal the key's length.
fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Invokes the function after the complete body has arrived and there is memory for it.
async fn invoke<S>(State(integration): State<Integration<S>>, request: Request) -> Result<Response, StatusCode>
where
    S: Service<lambda_http::Request, Response = lambda_http::Response<lambda_http::Body>, Error = Infallible>,
{
    let (mut head, body) = request.into_parts();
    let coding = Coding::of(&head.headers)?;
    head.headers.remove(CONTENT_ENCODING);
    let (mut spooled, bytes) = spool(body, coding).await?;
    let kib = u32::try_from(bytes / 1024 + 1).expect("a body has at most 10 MiB");
    let _room = integration.bodies.acquire_many(kib).await.expect("the semaphore is never closed");
    let mut body = Vec::with_capacity(bytes);
    spooled.rewind().and_then(|()| spooled.read_to_end(&mut body)).map_err(|error| no_room(&error))?;
    drop(spooled);
    let mut context = Context::default();
    context.request_id = Uuid::new_v4().to_string();
    let request = lambda_http::Request::from_parts(head, body.into()).with_lambda_context(context);
    let mut context = ApiGatewayProxyRequestContext::default();
    context.identity.api_key_id = Some(API_KEY_ID.to_owned());
    let request = request.with_request_context(RequestContext::ApiGatewayV1(context));
    let mut function = integration.function;
    match function.call(request).await {
        Ok(response) => Ok(response.map(Body::new)),
        Err(never) => match never {},
    }
}

/// Reads a body into a temporary file, so that a slow body takes no memory that others need. Returns its size in bytes.
async fn spool(body: Body, coding: Coding) -> Result<(SpooledTempFile, usize), StatusCode> {
    let mut body = coding.decode(body);
    let (mut spooled, mut bytes) = (tempfile::spooled_tempfile(SPOOL), 0);
    let mut chunk = Vec::with_capacity(SPOOL);
    while body.read_buf(&mut chunk).await.map_err(|error| status_of(&error))? > 0 {
        bytes += chunk.len();
        if bytes > MAX_REQUEST_BYTES {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        // The write only reaches the page cache, so moving it to another thread would cost more.
        spooled.write_all(&chunk).map_err(|error| no_room(&error))?;
        chunk.clear();
    }
    Ok((spooled, bytes))
}

fn no_room(error: &std::io::Error) -> StatusCode {
    tracing::error!(%error, "cannot keep a body in a temporary file");
    StatusCode::SERVICE_UNAVAILABLE
}

/// Returns the status for a body that could not be read.
fn status_of(error: &io::Error) -> StatusCode {
    let mut cause: Option<&(dyn Error + 'static)> = error.get_ref().map(|error| error as _);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
        if error.is::<TimeoutError>() {
            return StatusCode::REQUEST_TIMEOUT;
        }
        if error.is::<hyper::Error>() {
            return StatusCode::BAD_REQUEST;
        }
        cause = error.source();
    }
    // All other errors come from decompression.
    StatusCode::UNSUPPORTED_MEDIA_TYPE
}

/// Converts a gateway error into problem details and a log line.
///
/// Also reads the rest of the body. Otherwise, closing the connection would lose the response for a client that is
/// still sending.
async fn explain(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let (head, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body));
    let lent = Arc::clone(&body);
    let frames =
        stream::poll_fn(move |cx| Pin::new(&mut *lent.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx));
    let response = next.run(Request::from_parts(head, Body::new(StreamBody::new(frames)))).await;
    let status = response.status();
    let is_explained = response.headers().get(CONTENT_TYPE).is_some_and(|media_type| {
        // Only the page responds with HTML, and it explains its own errors.
        let of_function = [MEDIA_TYPE, Encoding::Json.media_type(), Encoding::Protobuf.media_type()];
        of_function.iter().any(|own| media_type == own) || media_type.as_bytes().starts_with(b"text/html")
    });
    if status.is_success() || status.is_redirection() || is_explained {
        return response;
    }
    if let (Some(body), false) = (Arc::into_inner(body), status == StatusCode::REQUEST_TIMEOUT) {
        let body = body.into_inner().unwrap_or_else(PoisonError::into_inner);
        let _ = tokio::time::timeout(BODY, drain(body)).await;
    }
    let (problem, detail) = match status {
        StatusCode::FORBIDDEN => {
            ("forbidden", format!("Forbidden: POST to {PATH} with the API key in the x-api-key header."))
        }
        StatusCode::REQUEST_TIMEOUT => ("timed-out", "The body did not arrive in time.".to_owned()),
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("too-large", format!("The request is larger than the gateway's limit of {MAX_REQUEST_BYTES} bytes."))
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (
            "unsupported-encoding",
            "The body is not in the encoding that Content-Encoding names: gzip, deflate or identity.".to_owned(),
        ),
        StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "There is no room for the body.".to_owned()),
        _ => ("unreadable", "The body could not be read.".to_owned()),
    };
    let (code, title) = (status.as_u16(), status.canonical_reason());
    tracing::info!(status = code, problem, ms = start.elapsed().as_secs_f64() * 1e3);
    let body = json!({
        "type": format!("urn:attest:problem:{problem}"), "title": title, "status": code, "detail": detail,
    });
    (status, [(CONTENT_TYPE, MEDIA_TYPE)], body.to_string()).into_response()
}

/// Reads and discards the rest of a body, up to the maximum request size.
async fn drain(mut body: Body) {
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
