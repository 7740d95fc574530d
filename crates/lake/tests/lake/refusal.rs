//! Refuses to return chosen objects, as S3 does, or returns a large object instead.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use futures_util::stream;
use http_body_util::StreamBody;
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame},
};
use s3s::Body;

/// The size of a large object, in chunks of 1 MiB.
const CHUNKS: u64 = 2 << 10;

#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// A status and an error code.
    Refused(u16, &'static str),
    /// An object of 2 GiB, with or without a `content-length` header.
    Large { has_length: bool },
}

/// The responses to object reads, by key in the bucket `traces`.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<HashMap<String, Answer>>>);

impl Refusals {
    pub fn refuse(&self, key: &str, status: u16, code: &'static str) {
        self.set(key, Answer::Refused(status, code));
    }

    pub fn set(&self, key: &str, answer: Answer) {
        self.0.lock().expect("no holder panics").insert(key.to_owned(), answer);
    }

    pub fn clear(&self) {
        self.0.lock().expect("no holder panics").clear();
    }

    /// Returns the response to a read of one of these objects. As on S3, a response to HEAD has no body.
    pub fn of<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let key = request.uri().path().strip_prefix("/traces/")?;
        let answer = *self.0.lock().expect("no holder panics").get(key)?;
        let response = Response::builder();
        let response = match (answer, request.method()) {
            (Answer::Refused(status, _), &Method::HEAD) => response.status(status).body(Body::empty()),
            (Answer::Refused(status, code), &Method::GET) => {
                let error = format!("<Error><Code>{code}</Code><Message>refused</Message></Error>");
                response.status(status).body(Body::from(error))
            }
            (Answer::Large { has_length }, &Method::GET) => {
                let chunk = Bytes::from(vec![b' '; 1 << 20]);
                let chunks = (0..CHUNKS).map(move |_| Ok::<_, Infallible>(Frame::data(chunk.clone())));
                let response = response.header("last-modified", "Sun, 22 Nov 2026 10:00:00 GMT");
                let response = if has_length { response.header("content-length", CHUNKS << 20) } else { response };
                response.body(Body::http_body_unsync(StreamBody::new(stream::iter(chunks))))
            }
            _ => return None,
        };
        Some(response.expect("a response"))
    }
}
