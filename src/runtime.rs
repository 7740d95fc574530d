//! Lambda's part, as the function sees it: the Runtime API, which hands out events and takes answers (AWS Lambda Developer
//! Guide, "Using the Lambda runtime API for custom runtimes").
//!
//! With `lambda_runtime`'s own loop a trace of 1 KB took a quarter more CPU and the program 0.3 MiB more: its HTTP client
//! is made for more than one connection and one request at a time.

use std::{convert::Infallible, io};

use lambda_http::lambda_runtime::{Diagnostic, Error};
use tokio::net::TcpStream;

use crate::{
    event::Event,
    exchange::{Answer, exchange},
    handler::Handler,
};

/// The Runtime API of one execution environment.
#[derive(Debug)]
pub struct RuntimeApi {
    /// Host and port, as `AWS_LAMBDA_RUNTIME_API` has them.
    address: String,
    stream: Option<TcpStream>,
}

/// An event that waits for its answer.
struct Invocation {
    id: String,
    event: Vec<u8>,
}

impl RuntimeApi {
    /// The API at this host and port. Nothing is sent before the first call.
    #[must_use]
    pub fn new(address: String) -> Self {
        Self { address, stream: None }
    }

    /// Has `handler` answer one event after the other, until the API fails.
    pub async fn serve(mut self, handler: Handler) -> Result<Infallible, Error> {
        loop {
            self.serve_one(&handler).await?;
        }
    }

    async fn serve_one(&mut self, handler: &Handler) -> Result<(), Error> {
        let Invocation { id, event } = self.next().await?;
        let parsed = serde_json::from_slice::<Event>(&event);
        drop(event);
        match parsed {
            Ok(event) => {
                let answer = handler.handle(event, &id).await;
                self.report(&id, "response", &serde_json::to_vec(&answer)?).await
            }
            // What serde says of it may quote it.
            Err(_) => {
                tracing::error!(request_id = id, "the event is no JSON object");
                let error = Diagnostic {
                    error_type: "NoProxyEvent".to_owned(),
                    error_message: "The event is no JSON object.".to_owned(),
                };
                self.report(&id, "error", &serde_json::to_vec(&error)?).await
            }
        }
    }

    /// Waits for the next event, as long as that takes: the environment may be frozen in between.
    async fn next(&mut self) -> Result<Invocation, Error> {
        let head = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost:{}\r\n\r\n", self.address);
        let answer = self.request(&head, b"").await?;
        match (answer.status, answer.field("lambda-runtime-aws-request-id")) {
            (200, Some(id)) => Ok(Invocation { id: id.to_owned(), event: answer.body }),
            (status, _) => Err(format!("the Runtime API has no event but status {status}").into()),
        }
    }

    /// Tells what became of an event, in `json`.
    async fn report(&mut self, id: &str, what: &str, json: &[u8]) -> Result<(), Error> {
        let head = format!(
            "POST /2018-06-01/runtime/invocation/{id}/{what} HTTP/1.1\r\nhost:{}\r\ncontent-type:application/json\r\n\
             content-length:{}\r\n\r\n",
            self.address,
            json.len()
        );
        match self.request(&head, json).await?.status {
            202 => Ok(()),
            // "Container error. Non-recoverable state. Runtime should exit promptly."
            status @ 500.. => Err(format!("the Runtime API failed with status {status}").into()),
            status => {
                tracing::error!(request_id = id, status, "the Runtime API did not take the answer");
                Ok(())
            }
        }
    }

    /// Sends a request on the connection that is there, or on a new one if there is none or it was closed meanwhile.
    async fn request(&mut self, head: &str, body: &[u8]) -> io::Result<Answer> {
        loop {
            let (mut stream, is_new) = match self.stream.take() {
                Some(stream) => (stream, false),
                None => {
                    let stream = TcpStream::connect(&self.address).await?;
                    stream.set_nodelay(true)?;
                    (stream, true)
                }
            };
            match exchange(&mut stream, head.as_bytes(), body).await {
                Ok(answer) => {
                    self.stream = answer.is_open.then_some(stream);
                    return Ok(answer);
                }
                Err(error) if is_new => return Err(error),
                Err(_) => {}
            }
        }
    }
}
