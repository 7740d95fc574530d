//! Sends lines to the endpoint, and derives the outcome of each line from the response.

use std::{
    error::Error,
    iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow, bail};
use attest::place::ID_HEADER;
use attest_terminal::url::{self, is_loopback};
use bytes::Bytes;
use reqwest::{Client, Response, StatusCode, Url, header, redirect};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{options::ImportOptions, outcome::LineOutcome, rate_limiter::RateLimiter, receipt, receipt::Confirmed};

/// The time limit of an empty request. API Gateway answers within 29 s.
const REQUEST: Duration = Duration::from_mins(1);

/// The slowest supported connection, in bytes per second. A request's time limit grows by one second per this many
/// bytes.
const SLOWEST: u32 = 32 * 1024;

/// The largest response that is read, in bytes. A receipt or problem details have a few KiB.
const MAX_RESPONSE: usize = 1 << 20;

/// The first and the longest pause between requests for the store's id.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const REPORTED: Duration = Duration::from_secs(30);

/// The problem type that API Gateway returns if Lambda does not answer, for example because it is throttled.
const GATEWAY: &str = "urn:attest:problem:gateway";

pub struct ImportEndpoint {
    client: Client,
    url: Url,
    api_key: header::HeaderValue,
    /// The time limit of retries while nothing is confirmed.
    retry_for: Duration,
    limiter: RateLimiter,
    health: Mutex<Health>,
    /// The id of the store, according to the receipts so far.
    store: Mutex<Option<Uuid>>,
    warnings: mpsc::UnboundedSender<String>,
    last_cause: LastCause,
}

/// The state of the endpoint, according to its responses so far.
#[derive(Default)]
struct Health {
    has_confirmed: bool,
    has_other_ids: bool,
    /// The first failure since the last confirmation.
    failing_since: Option<Instant>,
    reported: Option<Instant>,
}

/// The cause of the last failure, from the log of an endpoint in this process. Responses never contain it.
#[derive(Debug, Clone, Default)]
pub struct LastCause(Arc<Mutex<Option<String>>>);

impl LastCause {
    /// Records the cause in a line of the endpoint's log, if it contains one.
    pub fn record(&self, line: &[u8]) {
        let cause =
            serde_json::from_slice::<Value>(line).ok().and_then(|line| Some(line["cause"].as_str()?.to_owned()));
        if cause.is_some() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cause;
        }
    }

    /// Appends the cause to the description of a response.
    fn explain(&self, answer: String) -> String {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(cause) => format!("{answer} The cause: {cause}"),
            None => answer,
        }
    }
}

pub enum Attempt {
    Done(LineOutcome),
    /// The line was not stored, and may be stored later.
    Failed(Failed),
}

/// A failed attempt that will be retried.
pub struct Failed {
    pub sent: Instant,
    /// The pause that the endpoint requests. `None` if the rate limiter decides when to retry.
    pub pause: Option<Duration>,
    /// Whether the connection may be too slow for the number of requests in flight.
    pub is_slow: bool,
}

#[derive(Debug)]
enum AttemptFailure {
    /// The endpoint answered 429 or 503. The rate limiter decides when to retry.
    Refused(String),
    /// A retry may succeed.
    Transient { why: String, pause: Option<Duration>, is_slow: bool },
    /// No line can be stored, so the import ends.
    Fatal(String),
}

impl ImportEndpoint {
    /// `warnings` receives warnings about failures that are retried.
    pub fn new(
        url: &str,
        api_key: &str,
        options: &ImportOptions,
        warnings: mpsc::UnboundedSender<String>,
        last_cause: LastCause,
    ) -> Result<Self> {
        let url = url::parse(url)?;
        url::warn_if_exposed(&url);
        let mut api_key = header::HeaderValue::from_str(api_key)
            .context("the API key has characters that are not allowed in a header")?;
        api_key.set_sensitive(true);
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("attest-import/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none()) // a redirect would turn the POST into a GET
            .connect_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(options.concurrency.into());
        if is_loopback(&url) {
            client = client.no_proxy();
        }
        let client = client.build().context("cannot set up HTTP")?;
        let retry_for = Duration::from_secs(options.retry_for.into());
        let (limiter, health) = (RateLimiter::new(), Mutex::default());
        let store = Mutex::default();
        Ok(Self { client, url, api_key, retry_for, limiter, health, store, warnings, last_cause })
    }

    pub fn shown_url(&self) -> String {
        url::shown(&self.url)
    }

    /// Returns the id of the store, if a response has reported it.
    pub fn store(&self) -> Option<Uuid> {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests the id of the store without storing anything. Returns `None` if the endpoint does not report it.
    pub async fn ask_for_store(&self) -> Result<Option<Uuid>> {
        if self.store().is_none() {
            // The body is empty, so the endpoint refuses it and stores nothing.
            let ask = || self.send("ask", Bytes::new());
            let mut pause = FIRST_PAUSE;
            while let Attempt::Failed(failed) = ask().await? {
                sleep(pause + failed.pause.unwrap_or_default()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(self.store())
    }

    /// Records the store that a response reports. Fails if it differs from the store that was reported before.
    fn note_store(&self, response: &Response) -> Result<(), AttemptFailure> {
        let reported = response.headers().get(ID_HEADER).and_then(|id| Uuid::try_parse_ascii(id.as_bytes()).ok());
        let Some(reported) = reported.filter(|id| !id.is_nil()) else { return Ok(()) };
        let known = *self.store.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reported);
        if known == reported {
            return Ok(());
        }
        Err(AttemptFailure::Fatal(format!("{} stores into another place than before: import again", self.shown_url())))
    }

    /// Sends a trace once, with `key` as its `Idempotency-Key`. An error ends the import.
    pub async fn send(&self, key: &str, trace: Bytes) -> Result<Attempt> {
        let sent = self.limiter.acquire().await;
        let (why, pause, is_slow) = match self.attempt(sent, key, trace).await {
            Ok(outcome) => return Ok(Attempt::Done(outcome)),
            Err(AttemptFailure::Fatal(why)) => return Err(anyhow!(why)),
            Err(AttemptFailure::Refused(why)) => (why, None, false),
            Err(AttemptFailure::Transient { why, pause, is_slow }) => (why, Some(pause.unwrap_or_default()), is_slow),
        };
        if self.time_left().is_zero() {
            bail!("the endpoint has confirmed nothing for {} s: {why}", self.retry_for.as_secs());
        }
        Ok(Attempt::Failed(Failed { sent, pause, is_slow }))
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time_left(&self) -> Duration {
        let failing_since = self.health().failing_since;
        failing_since.map_or(self.retry_for, |since| self.retry_for.saturating_sub(since.elapsed()))
    }

    fn confirmed(&self, turn: Instant, confirmed: Confirmed) {
        self.limiter.confirm(turn);
        let mut health = self.health();
        if confirmed == Confirmed::OtherId && !std::mem::replace(&mut health.has_other_ids, true) {
            let url = self.shown_url();
            let _ = self
                .warnings
                .send(format!("{url} confirms traces under other ids than those that were sent; check --url"));
        }
        health.has_confirmed = true;
        health.failing_since = None;
    }

    /// Records a failure that will be retried, and sends a warning. An exceeded rate causes a warning only if the
    /// endpoint asks for a long pause.
    fn failed(&self, why: &str, pause: Option<Duration>, is_worth_a_warning: bool) {
        let mut health = self.health();
        let now = Instant::now();
        health.failing_since.get_or_insert(now);
        let asks = pause.filter(|pause| *pause > Duration::from_secs(10));
        if (is_worth_a_warning || asks.is_some()) && health.reported.is_none_or(|at| now - at >= REPORTED) {
            health.reported = Some(now);
            let asks = asks.map(|pause| format!(" It asks for a pause of {} s.", pause.as_secs())).unwrap_or_default();
            let retry_for = self.retry_for.as_secs();
            // Sending fails only after the import has ended, when nobody reads warnings.
            let _ = self.warnings.send(format!("{why}.{asks} Retrying for up to {retry_for} s."));
        }
    }

    async fn attempt(&self, turn: Instant, key: &str, trace: Bytes) -> Result<LineOutcome, AttemptFailure> {
        let size = u32::try_from(trace.len()).unwrap_or(u32::MAX);
        let request = self
            .client
            .post(self.url.clone())
            .header("x-api-key", self.api_key.clone())
            .header("idempotency-key", key)
            .header(header::CONTENT_TYPE, "application/json")
            .timeout(REQUEST + Duration::from_secs((size / SLOWEST).into()))
            .body(trace.clone());
        let mut response = request.send().await.map_err(|error| self.no_answer(error))?;
        self.note_store(&response)?;
        let status = response.status();
        let asked = retry_after(&response);
        let bytes = self.body(&mut response).await?;
        let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|media_type| media_type.to_str().ok());
        let body: Option<Value> = serde_json::from_slice(&bytes).ok().filter(Value::is_object);
        let member = |name: &str| body.as_ref().and_then(|body| body[name].as_str());
        let answer = || match member("detail") {
            Some(detail) => format!("the endpoint answered {status}: {detail}"),
            None => format!("the endpoint answered {status}"),
        };
        let confirmed = receipt::confirms(media_type, &bytes, &trace);
        // During a longer pause, the import would give up.
        let pause = asked.map(|asked| asked.min(self.time_left()));
        match status.as_u16() {
            200 | 201 if confirmed != Confirmed::Nothing => {
                self.confirmed(turn, confirmed);
                Ok(if status == StatusCode::CREATED { LineOutcome::Stored } else { LineOutcome::AlreadyThere })
            }
            429 | 503 => {
                let why = self.last_cause.explain(answer());
                self.failed(&why, asked, status == StatusCode::SERVICE_UNAVAILABLE);
                self.limiter.refuse(turn, pause.unwrap_or_default());
                Err(AttemptFailure::Refused(why))
            }
            408 | 502 | 504 => Err(self.transient(answer(), asked, pause, status == StatusCode::REQUEST_TIMEOUT)),
            500..=599 if member("type") == Some(GATEWAY) => Err(self.transient(answer(), asked, pause, false)),
            401 | 403 => Err(AttemptFailure::Fatal(format!(
                "the endpoint answered {status}: check the API key (--api-key or ATTEST_API_KEY) and --url"
            ))),
            413 if body.is_none() => {
                Ok(LineOutcome::rejected(413, "too-large", "A server in front of the endpoint refused the size."))
            }
            500 => Err(AttemptFailure::Fatal(self.last_cause.explain(answer()))),
            code => match body {
                Some(problem) if code == 400 || (406..500).contains(&code) => Ok(LineOutcome::Rejected(problem)),
                _ if matches!(code, 200 | 201) => Err(AttemptFailure::Fatal(format!(
                    "{} answered {status} without the receipt of the trace, so it is not stored; check --url",
                    self.shown_url()
                ))),
                _ => Err(self.unexpected(&status.to_string())),
            },
        }
    }

    /// Reads the body of a response, up to a limit.
    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, AttemptFailure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.no_answer(error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_RESPONSE {
                return Err(self.unexpected(&format!("more than {MAX_RESPONSE} bytes")));
            }
        }
        Ok(body)
    }

    fn unexpected(&self, what: &str) -> AttemptFailure {
        AttemptFailure::Fatal(format!("unexpected response from {}: {what}; check --url", self.shown_url()))
    }

    fn transient(
        &self,
        why: String,
        asked: Option<Duration>,
        pause: Option<Duration>,
        is_slow: bool,
    ) -> AttemptFailure {
        self.failed(&why, asked, true);
        AttemptFailure::Transient { why, pause, is_slow }
    }

    fn no_answer(&self, error: reqwest::Error) -> AttemptFailure {
        let error = error.without_url(); // it may contain a password
        // If there are several causes, the first one only repeats the URL.
        let mut all: Vec<String> = causes(&error).map(ToString::to_string).collect();
        all.dedup_by(|cause, error| error.ends_with(cause.as_str())); // some errors contain their cause
        let causes = if all.len() > 1 { &all[1..] } else { &all[..] };
        let why = format!("cannot reach {}: {}", self.shown_url(), causes.join(": "));
        // Retry if the host name was resolved before, because the network may be down.
        let is_unknown_host = why.contains("dns error") && !self.health().has_confirmed;
        if error.is_builder() || is_unknown_host || shows_wrong_protocol(&error) {
            return AttemptFailure::Fatal(format!("{why}; check --url"));
        }
        self.transient(why, None, None, error.is_timeout() && !error.is_connect())
    }
}

/// Returns the pause in `Retry-After`, which is in seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok()
}

/// Returns an error and its causes, including an error inside an [`std::io::Error`], which `source` skips.
fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    }
    iter::successors(Some(error as &(dyn Error + 'static)), |&error| cause(error))
}

/// Returns whether the server speaks HTTP instead of HTTPS or vice versa, or has no certificate for its name.
fn shows_wrong_protocol(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        let is_wrong_tls = matches!(
            cause.downcast_ref(),
            Some(
                rustls::Error::InvalidMessage(_)
                    | rustls::Error::InvalidCertificate(_)
                    | rustls::Error::PeerIncompatible(_)
                    | rustls::Error::AlertReceived(_)
            )
        );
        is_wrong_tls || cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
    })
}
