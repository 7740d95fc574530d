//! One line → the endpoint, as often as it takes.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use reqwest::{Client, Response, StatusCode, Url, header, redirect};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::pace::Pace;

/// How long a request may take; API Gateway answers within 29 s.
const REQUEST: Duration = Duration::from_mins(1);

/// For how long the import goes on while nothing is confirmed.
const PATIENCE: Duration = Duration::from_mins(5);

/// What became of a line.
#[derive(Debug)]
pub enum Outcome {
    /// It is stored now.
    Stored,
    /// It was stored before.
    AlreadyThere,
    /// It cannot be stored, for the reason in these problem details (RFC 9457).
    Refused(Value),
}

/// The endpoint that lines are sent to.
pub struct Endpoint {
    client: Client,
    url: Url,
    api_key: header::HeaderValue,
    pace: Pace,
    /// When it last answered that a line is stored.
    last_confirmed: Mutex<Instant>,
}

/// Why an attempt failed.
#[derive(Debug)]
enum Failure {
    /// It may succeed later.
    Transient { why: String, pause: Option<Duration> },
    /// No line will ever be stored.
    Fatal(String),
}

impl Endpoint {
    /// The endpoint at `url`, which is sent at most `concurrency` requests at once.
    pub fn new(url: &str, api_key: &str, concurrency: usize) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("--url {url}: {error}"))?;
        let mut api_key = header::HeaderValue::from_str(api_key).map_err(|_| "the API key is no header's value")?;
        api_key.set_sensitive(true);
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("attest-import/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none()) // would make a GET of a POST
            .timeout(REQUEST)
            .connect_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(concurrency)
            .build()
            .map_err(|error| format!("cannot set up HTTP: {error}"))?;
        Ok(Self { client, url, api_key, pace: Pace::new(), last_confirmed: Mutex::new(Instant::now()) })
    }

    /// Sends a trace, with this `Idempotency-Key`, until the endpoint says what became of it. The error says why the import
    /// cannot go on.
    pub async fn send(&self, key: &str, trace: Bytes) -> Result<Outcome, String> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times()
            .with_jitter();
        let result = (|| self.attempt(key, trace.clone()))
            .retry(backoff)
            .when(|failure| matches!(failure, Failure::Transient { .. }) && self.is_patient())
            .adjust(|failure, delay| match failure {
                Failure::Transient { pause, .. } => delay.map(|delay| delay + pause.unwrap_or_default()),
                Failure::Fatal(_) => delay,
            })
            .await;
        result.map_err(|failure| match failure {
            Failure::Transient { why, .. } => {
                format!("the endpoint has confirmed nothing for {} minutes: {why}", PATIENCE.as_secs() / 60)
            }
            Failure::Fatal(why) => why,
        })
    }

    fn is_patient(&self) -> bool {
        self.last_confirmed.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < PATIENCE
    }

    async fn attempt(&self, key: &str, trace: Bytes) -> Result<Outcome, Failure> {
        let turn = self.pace.turn().await;
        let request = self
            .client
            .post(self.url.clone())
            .header("x-api-key", self.api_key.clone())
            .header("idempotency-key", key)
            .header(header::CONTENT_TYPE, "application/json")
            .body(trace);
        let transient = |error: reqwest::Error| Failure::Transient { why: chain(&error), pause: None };
        let response = request.send().await.map_err(transient)?;
        let status = response.status();
        let pause = retry_after(&response);
        let body = response.bytes().await.map_err(transient)?;
        let body: Option<Value> = serde_json::from_slice(&body).ok();
        let detail = body.as_ref().and_then(|body| body["detail"].as_str()).unwrap_or_default();
        match status.as_u16() {
            200 | 201 if body.as_ref().is_some_and(|body| body["key"].is_string()) => {
                self.pace.confirmed();
                *self.last_confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                Ok(if status == StatusCode::CREATED { Outcome::Stored } else { Outcome::AlreadyThere })
            }
            429 | 503 => {
                self.pace.refused(turn, pause.unwrap_or_default());
                Err(Failure::Transient { why: format!("{status}: {detail}"), pause })
            }
            502 | 504 => Err(Failure::Transient { why: status.to_string(), pause }),
            401 | 403 => Err(Failure::Fatal(format!(
                "the endpoint says {status}: the API key is wrong (--api-key, API_KEY), or the URL is another's"
            ))),
            400 | 405..=499 if status != StatusCode::METHOD_NOT_ALLOWED => Ok(Outcome::Refused(
                body.filter(Value::is_object).unwrap_or_else(|| json!({"status": status.as_u16()})),
            )),
            _ => Err(Failure::Fatal(format!(
                "{} is no endpoint that stores traces, or a broken one: {status} {detail}",
                self.url
            ))),
        }
    }
}

/// How long the endpoint asks to wait (RFC 9110, section 10.2.3): seconds, or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = value.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok())
}

fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
