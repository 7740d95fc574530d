//! Error pages, which explain why there is nothing to show.

use attest::unreadable::Unreadable;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::html;

use super::layout::Frame;

#[derive(Debug)]
pub enum Failure {
    /// There is no such trace, or this page may not show it.
    NoSuchTrace(String),
    /// The search cannot be understood.
    BadSearch { q: String, error: anyhow::Error },
    /// Traces cannot be read, or the page cannot be computed.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, title, detail, q) = match self {
            Self::NoSuchTrace(key) => (StatusCode::NOT_FOUND, "No such trace", key, String::new()),
            Self::BadSearch { q, error } => {
                (StatusCode::BAD_REQUEST, "The search cannot be understood", format!("{error:#}"), q)
            }
            Self::Failed(error) => {
                let title =
                    if error.is::<Unreadable>() { "This object cannot be read" } else { "This cannot be shown" };
                (StatusCode::BAD_GATEWAY, title, format!("{error:#}"), String::new())
            }
        };
        let body = html! { main #main { h1 { (title) } pre { (detail) } p { a href="/traces" { "All traces" } } } };
        (status, Frame { title, q: &q, ..Frame::default() }.page(&body)).into_response()
    }
}
