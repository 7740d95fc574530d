//! Response bodies that are sent while they are computed.

use std::io;

use axum::{
    body::Body,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc::{Sender, channel};

/// The number of chunks that are buffered for a slow client. When the buffer is full, the work waits.
const WAITING: usize = 8;

/// The client is gone, so the work ends.
#[derive(Debug, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;

enum Chunk {
    Bytes(Bytes),
    /// Everything was written. A body without this is broken off, so that no client takes it for complete.
    End,
}

#[derive(Debug)]
pub struct Writer(Sender<Chunk>);

impl Writer {
    pub async fn write(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        let bytes: Bytes = bytes.into();
        if bytes.is_empty() {
            return Ok(()); // an empty chunk would end the body
        }
        self.0.send(Chunk::Bytes(bytes)).await.map_err(|_| Gone)
    }

    pub async fn end(self) {
        let _ = self.0.send(Chunk::End).await; // the client may have disconnected
    }
}

/// Returns a body that `work` writes. After the client has disconnected, the next write fails.
pub fn written<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Writer) -> F) -> Body {
    let (sender, mut chunks) = channel(WAITING);
    tokio::spawn(work(Writer(sender)));
    let mut has_ended = false;
    Body::from_stream(stream::poll_fn(move |context| {
        if has_ended {
            return std::task::Poll::Ready(None);
        }
        chunks.poll_recv(context).map(|chunk| match chunk {
            Some(Chunk::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Chunk::End) => {
                has_ended = true;
                None
            }
            None => {
                has_ended = true;
                Some(Err(io::Error::other("the response is not complete")))
            }
        })
    }))
}

pub fn html<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Writer) -> F) -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], written(work)).into_response()
}
