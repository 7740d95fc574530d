//! The content codings of a request body (RFC 9110, section 8.4.1).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder};
use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header::CONTENT_ENCODING},
};
use futures_util::TryStreamExt;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use tokio_util::io::StreamReader;

/// A coding that API Gateway decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Identity,
    Gzip,
    Deflate,
}

impl Coding {
    /// Returns the coding of a request, or the status for one that is not supported. Names are case-insensitive.
    pub fn of(headers: &HeaderMap) -> Result<Self, StatusCode> {
        let Some(name) = headers.get(CONTENT_ENCODING) else { return Ok(Self::Identity) };
        match &*name.as_bytes().trim_ascii().to_ascii_lowercase() {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"deflate" => Ok(Self::Deflate),
            _ => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        }
    }

    /// Decodes a body while it is read. Bytes after its end are an error.
    pub fn decode(self, body: Body) -> Pin<Box<dyn AsyncRead + Send>> {
        let body = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
        match self {
            Self::Identity => Box::pin(body),
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(body);
                // A gzip file is a series of members (RFC 1952, section 2.2).
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            Self::Deflate => Box::pin(Whole(ZlibDecoder::new(body))),
        }
    }
}

/// A decoder of one compressed stream, after which the input must end.
struct Whole<R>(ZlibDecoder<R>);

impl<R: AsyncBufRead + Unpin> AsyncRead for Whole<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            let rest = ready!(Pin::new(self.0.get_mut()).poll_fill_buf(cx))?;
            if !rest.is_empty() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "bytes after the compressed body")));
            }
        }
        Poll::Ready(Ok(()))
    }
}
