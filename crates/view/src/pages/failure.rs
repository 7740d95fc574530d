//! Explains why there is nothing to show.

use attest::unreadable::Unreadable;
use attest_query::QueryError;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};

use super::layout::{Frame, fields};
use crate::commands;

#[derive(Debug)]
pub enum Failure {
    NoSuchPage,
    /// A parameter in the URL is missing or has an invalid value.
    WrongAddress(String),
    /// There is no such trace, or this page may not show it.
    NoSuchTrace(String),
    /// The search is not a valid query.
    BadSearch {
        q: String,
        error: QueryError,
    },
    /// Traces cannot be read, or the page cannot be computed.
    Failed(anyhow::Error),
}

/// Explains how to store a first trace.
pub fn first_trace() -> Markup {
    html! {
        div.command {
            p {
                "This command stores a first one. "
                code { "attest" } " prints the values of the two variables when it starts. "
                button type="button" hidden data-copy="first" { "Copy" }
            }
            pre #first { (commands::first_trace()) }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let fields = matches!(self, Self::BadSearch { .. }).then(fields);
        let (status, title, detail, q) = match self {
            Self::NoSuchPage => {
                let detail = "Nothing is at this address. Links and the search box lead to every page.".to_owned();
                (StatusCode::NOT_FOUND, "No such page", detail, String::new())
            }
            Self::WrongAddress(detail) => (StatusCode::BAD_REQUEST, "A wrong address", detail, String::new()),
            Self::NoSuchTrace(key) => (StatusCode::NOT_FOUND, "No such trace", key, String::new()),
            Self::BadSearch { q, error } => {
                (StatusCode::BAD_REQUEST, "The search cannot be understood", error.to_string(), q)
            }
            Self::Failed(error) => {
                let title =
                    if error.is::<Unreadable>() { "This object cannot be read" } else { "This cannot be shown" };
                (StatusCode::BAD_GATEWAY, title, format!("{error:#}"), String::new())
            }
        };
        let body = html! { main #main { h1 { (title) } pre { (detail) } @if let Some(fields) = fields { (fields) } p { a href="/traces" { "All traces" } } } };
        (status, Frame { title, q: &q, ..Frame::default() }.page(&body)).into_response()
    }
}
