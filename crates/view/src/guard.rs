//! Adds response headers that restrict a browser to this page, and refuses requests for other hosts.

use axum::{
    extract::Request,
    http::{
        HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS},
    },
    middleware::Next,
    response::{Html, IntoResponse, Response},
};

/// Allows this page's own style and script, and images and audio that are part of the page.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      media-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Refuses requests for another host (DNS rebinding), and adds the headers to every response.
pub async fn guard(request: Request, next: Next) -> Response {
    let host =
        request.headers().get("host").and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Uri>().ok());
    let is_loopback = host.is_some_and(|host| matches!(host.host(), Some("127.0.0.1" | "localhost" | "[::1]")));
    let mut response = if is_loopback {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, Html("This page is for 127.0.0.1 and localhost.")).into_response()
    };
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
