//! Requests to the endpoint, and the requirements that every answer must meet.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use reqwest::{Client, Url, header, redirect};
use serde_json::Value;
use uuid::Uuid;

use super::{
    report::{Mismatch, ensure},
    signing::Signer,
};
use crate::loopback::is_loopback;

/// The fingerprint of every trace that a check stores.
pub const FINGERPRINT: &str = "attest-check";

/// The time limit of a request. API Gateway answers within 29 s.
const REQUEST: Duration = Duration::from_mins(1);

/// The largest number of attempts for a request that exceeds the usage plan's rate.
const THROTTLED_ATTEMPTS: u32 = 20;

/// The endpoint under check.
pub struct Endpoint {
    client: Client,
    url: Url,
    api_key: String,
    /// Signs each request, if the API requires it.
    signer: Option<Signer>,
    /// The content of every message. No log line and no error may contain it.
    pub secret: String,
    keys: Mutex<BTreeSet<String>>,
}

/// A request. By default, it is a POST to the endpoint's URL.
pub struct Sent<'a> {
    pub body: Bytes,
    pub path: &'a str,
    pub api_key: Option<&'a str>,
    pub headers: Vec<(&'static str, &'a str)>,
}

/// An answer of the endpoint.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    pub took: Duration,
    content_type: String,
}

impl Endpoint {
    /// Creates a client for the endpoint at `url`.
    pub fn new(url: &Url, api_key: &str, signer: Option<Signer>) -> anyhow::Result<Self> {
        Ok(Self {
            client: client_for(url)?,
            url: url.clone(),
            api_key: api_key.to_owned(),
            signer,
            secret: Uuid::new_v4().to_string(),
            keys: Mutex::default(),
        })
    }

    /// Returns an error if the URL does not answer over HTTP, or if it rejects the API key.
    pub async fn probe(&self) -> anyhow::Result<()> {
        let answer = match self.send(self.request(Bytes::new())).await {
            Ok(answer) => answer,
            Err(mismatch) => bail!("{}: {}; check --url", self.url, mismatch.actual),
        };
        if answer.status == 403 {
            bail!(
                "{} answers 403: check --url and --api-key. A stack with Authorization=AWS_IAM also requires --sign, and \
                 credentials that may invoke its API",
                self.url
            );
        }
        Ok(())
    }

    /// Creates a POST request with these bytes and the API key.
    pub fn request(&self, body: impl Into<Bytes>) -> Sent<'_> {
        Sent {
            body: body.into(),
            path: "",
            api_key: Some(&self.api_key),
            headers: vec![("content-type", "application/json")],
        }
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

    /// Sends a request once. A missing answer is a mismatch.
    pub async fn send_once(&self, sent: &Sent<'_>) -> Result<Answer, Mismatch> {
        let mut url = self.url.clone();
        if !sent.path.is_empty() {
            url.set_path(&format!("{}{}", url.path().trim_end_matches('/'), sent.path));
        }
        let mut request = self.client.post(url).body(sent.body.clone());
        for (name, value) in &sent.headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = sent.api_key {
            request = request.header("x-api-key", key);
        }
        let no_answer = |error: reqwest::Error| Mismatch::new("an answer", format!("{:#}", anyhow::Error::new(error)));
        let mut request = request.build().map_err(no_answer)?;
        if let Some(signer) = &self.signer {
            let signed = signer.sign(&mut request).await;
            signed.map_err(|error| Mismatch::new("a signed request", format!("{error:#}")))?;
        }
        let start = Instant::now();
        let response = self.client.execute(request).await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let body = response.bytes().await.map_err(no_answer)?;
        let answer = Answer { status, body, took: start.elapsed(), content_type };
        if let Ok(receipt) = serde_json::from_slice::<Value>(&answer.body)
            && let Some(key) = receipt["key"].as_str()
        {
            self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
        }
        Ok(answer)
    }

    /// Returns the keys of all traces that this check stored.
    pub fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Returns a trace as JSON with this `id` and `created`, and with all members that have a default.
    pub fn trace(&self, id: &str, created: u32) -> String {
        let secret = &self.secret;
        format!(
            r#"{{"id":"{id}","object":"chat.trace","system_fingerprint":"{FINGERPRINT}","model":"{FINGERPRINT}","created":{created},"messages":[{{"role":"user","content":"{secret}"}}]}}"#
        )
    }
}

impl Answer {
    /// Returns the receipt of a stored trace with this status.
    pub fn receipt(&self, status: u16) -> Result<Value, Mismatch> {
        ensure(self.status == status, status.to_string(), self.to_string())?;
        let receipt: Value = serde_json::from_slice(&self.body)
            .map_err(|error| Mismatch::new("a receipt in JSON", format!("{self} ({error})")))?;
        let is_whole = ["id", "object", "system_fingerprint", "key"].iter().all(|name| receipt[name].is_string());
        ensure(is_whole, "id, object, system_fingerprint and key", receipt.to_string())?;
        Ok(receipt)
    }

    /// Returns the problem details (RFC 9457) of a refused request with this status.
    pub fn problem(&self, status: u16) -> Result<Value, Mismatch> {
        ensure(self.status == status, status.to_string(), self.to_string())?;
        ensure(self.content_type == "application/problem+json", "application/problem+json", &self.content_type)?;
        let problem: Value = serde_json::from_slice(&self.body)
            .map_err(|error| Mismatch::new("problem details in JSON", format!("{self} ({error})")))?;
        let has_kind = problem["type"].as_str().is_some_and(|kind| kind.starts_with("urn:attest:problem:"));
        let is_whole = has_kind && problem["title"].is_string() && problem["detail"].is_string();
        ensure(is_whole, "type, title and detail", problem.to_string())?;
        // API Gateway's own errors may omit the status.
        let agrees = problem["status"].is_null() || problem["status"] == status;
        ensure(agrees, format!("the status {status} in the body"), problem["status"].to_string())?;
        Ok(problem)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        let start: String = body.chars().take(200).collect();
        write!(f, "{} {start}", self.status)
    }
}

/// Creates an HTTP client for requests to this URL.
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
