//! Sends requests to the endpoint, and searches every response for content and keys, which no response may quote.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use reqwest::{Client, Method, Response, Url, redirect};
use serde_json::Value;
use uuid::Uuid;

use super::{answer::Answer, probe::Trace, report::Mismatch, signing::Signer};
use attest_terminal::url::{is_loopback, shown};

/// The time limit of a request. API Gateway responds within 29 s.
const REQUEST: Duration = Duration::from_mins(1);

/// The largest number of attempts for a request that exceeds the usage plan's rate.
const THROTTLED_ATTEMPTS: u32 = 20;

/// The length of the shortest quotation that is reported, in characters. Shorter strings occur by chance.
const QUOTED: usize = 12;

pub struct Endpoint {
    client: Client,
    url: Url,
    pub api_key: String,
    signer: Option<Signer>,
    /// The content of every message, which no log line and no response may contain.
    pub secret: String,
    found: Mutex<Collected>,
}

#[derive(Default)]
struct Collected {
    /// The keys of the traces that may be stored.
    keys: BTreeSet<String>,
    /// The first response that quotes a message, and the first that quotes an API key.
    quotes_content: Option<String>,
    quotes_key: Option<String>,
}

/// A request. By default, it is a POST to the endpoint's URL.
pub struct Sent<'a> {
    pub method: Method,
    pub body: Bytes,
    /// The path and the query after the endpoint's URL.
    pub path: &'a str,
    pub api_key: Option<&'a str>,
    pub headers: Vec<(&'static str, &'a str)>,
    pub is_signed: bool,
}

impl Endpoint {
    pub fn new(url: &Url, api_key: &str, signer: Option<Signer>) -> anyhow::Result<Self> {
        Ok(Self {
            client: client_for(url)?,
            url: url.clone(),
            api_key: api_key.to_owned(),
            signer,
            secret: Uuid::new_v4().simple().to_string(),
            found: Mutex::default(),
        })
    }

    pub fn is_signed(&self) -> bool {
        self.signer.is_some()
    }

    /// Fails if the URL does not respond over HTTP, or if the endpoint rejects the API key.
    pub async fn probe(&self) -> anyhow::Result<()> {
        let answer = match self.send(self.request(Bytes::new())).await {
            Ok(answer) => answer,
            Err(mismatch) => bail!("{}: {}; check --url", shown(&self.url), mismatch.actual),
        };
        if answer.status == 403 {
            bail!(
                "{} answers 403: check --url and --api-key. A stack with Authorization=AWS_IAM also requires --sign, and \
                 credentials that may invoke its API",
                shown(&self.url)
            );
        }
        Ok(())
    }

    /// Creates a POST request with this body and the API key.
    pub fn request(&self, body: impl Into<Bytes>) -> Sent<'_> {
        Sent {
            method: Method::POST,
            body: body.into(),
            path: "",
            api_key: Some(&self.api_key),
            headers: vec![("content-type", "application/json")],
            is_signed: true,
        }
    }

    /// Sends a trace. Requires this status and the trace's own receipt.
    pub async fn store(&self, trace: &Trace, status: u16) -> Result<Answer, Mismatch> {
        let answer = self.send_trace(trace, self.request(trace.json.clone())).await?;
        answer.receipt(status, trace)?;
        Ok(answer)
    }

    /// Sends a request whose body is `trace`. Remembers the trace's key for the end of the check, unless the request
    /// was refused.
    pub async fn send_trace(&self, trace: &Trace, sent: Sent<'_>) -> Result<Answer, Mismatch> {
        let answer = self.send(sent).await;
        let is_refused = answer.as_ref().is_ok_and(|answer| (400..500).contains(&answer.status));
        if let (false, Some(key)) = (is_refused, trace.key()) {
            self.remember(key);
        }
        answer
    }

    /// Remembers the key of a trace that may be stored, so that the check deletes it at the end.
    pub fn remember(&self, key: String) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).keys.insert(key);
    }

    /// Sends a request. Retries while the request exceeds the usage plan's rate.
    pub async fn send(&self, sent: Sent<'_>) -> Result<Answer, Mismatch> {
        let mut attempt = 0;
        loop {
            let answer = self.send_once(&sent).await?;
            attempt += 1;
            if answer.status != 429 || attempt == THROTTLED_ATTEMPTS {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(100) * attempt).await;
        }
    }

    /// Sends a request once. A missing response is a mismatch.
    pub async fn send_once(&self, sent: &Sent<'_>) -> Result<Answer, Mismatch> {
        let no_answer = |error: reqwest::Error| Mismatch::new("an answer", format!("{:#}", anyhow::Error::new(error)));
        let mut url = self.url.clone();
        if !sent.path.is_empty() {
            let (path, query) =
                sent.path.split_once('?').map_or((sent.path, None), |(path, query)| (path, Some(query)));
            url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
            url.set_query(query);
        }
        let mut request = self.client.request(sent.method.clone(), url).body(sent.body.clone());
        for (name, value) in &sent.headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = sent.api_key {
            request = request.header("x-api-key", key);
        }
        let mut request = request.build().map_err(no_answer)?;
        if let (Some(signer), true) = (&self.signer, sent.is_signed) {
            let signed = signer.sign(&mut request).await;
            signed.map_err(|error| Mismatch::new("a signed request", format!("{error:#}")))?;
        }
        let start = Instant::now();
        let response = self.client.execute(request).await.map_err(no_answer)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = body(response).await.map_err(no_answer)?;
        let answer = Answer::new(status, headers, body, start.elapsed(), &self.api_key);
        self.search(sent, &answer);
        Ok(answer)
    }

    /// Searches a response for message content and for the API key of the request.
    fn search(&self, sent: &Sent<'_>, answer: &Answer) {
        let text = answer.text();
        let place =
            || format!("the response {} to {} /{}", answer.status, sent.method, sent.path.trim_start_matches('/'));
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if quotes(&text, &self.secret) {
            found.quotes_content.get_or_insert_with(place);
        }
        if sent.api_key.is_some_and(|key| quotes(&text, key)) {
            found.quotes_key.get_or_insert_with(place);
        }
    }

    /// Returns the first response that quotes a message, and the first that quotes an API key.
    pub fn quotations(&self) -> [Option<String>; 2] {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        [found.quotes_content.clone(), found.quotes_key.clone()]
    }

    /// Returns the keys of all traces that this check may have stored. They are derived from the sent traces, because a
    /// broken endpoint may return the key of another client's trace.
    pub fn keys(&self) -> Vec<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).keys.iter().cloned().collect()
    }
}

/// Returns whether a response contains a part of `text` that is long enough not to occur by chance.
fn quotes(response: &str, text: &str) -> bool {
    let length = text.len().min(QUOTED);
    let parts = text.as_bytes().windows(length.max(1)).filter_map(|part| std::str::from_utf8(part).ok());
    text.len() >= QUOTED && parts.into_iter().any(|part| response.contains(part))
}

/// The size limit for reading a response, in bytes. A list of violations has at most 512 KiB.
const MAX_RESPONSE: usize = 8 * 1024 * 1024;

async fn body(mut response: Response) -> Result<Bytes, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE {
            break;
        }
    }
    Ok(body.into())
}

pub fn client_for(url: &Url) -> anyhow::Result<Client> {
    // An error means that a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder()
        .user_agent(concat!("attest-check/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .timeout(REQUEST)
        .connect_timeout(Duration::from_secs(10));
    if is_loopback(url) {
        client = client.no_proxy();
    }
    client.build().context("cannot set up HTTP")
}

/// Returns the string member `name` of each object in a list.
pub fn texts<'v>(list: &'v Value, name: &str) -> Vec<&'v str> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|of| of[name].as_str()).collect()
}
