//! Gives lines to an endpoint, or only to its validation.

use anyhow::Result;
use attest::{problem::Problem, trace::Trace};
use attest_mapping::{self as mapping, Format};
use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    endpoint::{Attempt, ImportEndpoint, LastCause},
    identity::Destination,
    lines::{Line, LineText, MAX_LINE},
    options::ImportOptions,
    outcome::LineOutcome,
};
use crate::serve::{self, LocalEndpoint};

pub enum Target {
    Endpoint(Box<ImportEndpoint>),
    /// Only validates lines, with the endpoint's code.
    DryRun {
        max_trace_bytes: usize,
    },
}

pub struct Started {
    pub target: Target,
    /// `None` if nothing is stored.
    pub destination: Option<Destination>,
    /// The endpoint in this process, if `--url` is not given.
    pub local: Option<LocalEndpoint>,
}

impl Target {
    /// Starts the target that the options select. Sends warnings about retried failures to `warnings`.
    pub async fn start(options: &ImportOptions, warnings: mpsc::UnboundedSender<String>) -> Result<Started> {
        if options.dry_run {
            let target = Self::DryRun { max_trace_bytes: options.store.max_trace_bytes };
            return Ok(Started { target, destination: None, local: None });
        }
        if let Some(url) = &options.url {
            let endpoint = ImportEndpoint::new(url, &options.api_key()?, options, warnings, LastCause::default())?;
            let destination = Some(Destination::endpoint(endpoint.shown_url(), None));
            return Ok(Started { target: Self::Endpoint(endpoint.into()), destination, local: None });
        }
        let destination = Destination::place(&options.store.location.location()).await?;
        let last_cause = LastCause::default();
        let recorded = last_cause.clone();
        let local = LocalEndpoint::start(serve::ServeOptions::on_free_ports(options.store.clone()), move |line| {
            recorded.record(line);
        })
        .await?;
        let endpoint = ImportEndpoint::new(&local.url, &local.api_key, options, warnings, last_cause)?;
        Ok(Started { target: Self::Endpoint(endpoint.into()), destination: Some(destination), local: Some(local) })
    }

    pub fn store(&self) -> Option<Uuid> {
        match self {
            Self::Endpoint(endpoint) => endpoint.store(),
            Self::DryRun { .. } => None,
        }
    }

    pub async fn ask_for_store(&self) -> Result<Option<Uuid>> {
        match self {
            Self::Endpoint(endpoint) => endpoint.ask_for_store().await,
            Self::DryRun { .. } => Ok(None),
        }
    }

    /// Sends a line to the endpoint once, or only validates it. An error ends the import.
    pub async fn give(&self, line: &Line, from: Option<Format>) -> Result<Attempt> {
        let LineText::Whole(text) = &line.text else {
            let outcome =
                LineOutcome::rejected(413, "too-large", &format!("The line is longer than {MAX_LINE} bytes."));
            return Ok(Attempt::Done(outcome));
        };
        let trace = match from {
            None => text.clone(),
            Some(format) => match mapping::to_trace(format, text) {
                Ok(trace) => Bytes::from(trace),
                Err(unmapped) => return Ok(Attempt::Done(LineOutcome::Rejected(unmapped.problem()))),
            },
        };
        match self {
            Self::Endpoint(endpoint) => endpoint.send(&line.mark.to_string(), trace).await,
            Self::DryRun { max_trace_bytes } => Ok(Attempt::Done(validate(&trace, *max_trace_bytes))),
        }
    }
}

/// Returns the outcome that the endpoint would report, without storing the trace.
fn validate(trace: &[u8], limit: usize) -> LineOutcome {
    let result = if trace.len() > limit {
        Err(Problem::TooLarge { limit, size: trace.len() })
    } else {
        Trace::parse(trace.to_vec(), || Uuid::nil().to_string())
    };
    match result {
        Ok(_) => LineOutcome::Stored,
        Err(problem) => LineOutcome::Rejected(serde_json::from_str(&problem.body()).expect("problem details are JSON")),
    }
}
