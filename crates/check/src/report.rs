//! The report: one line per promise, as text or as JSON.

use std::{fmt, io};

use attest_terminal::result;
use serde::Serialize;

use super::cleanup::Left;

#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    Holds {
        #[serde(skip_serializing_if = "Option::is_none")]
        measured: Option<String>,
    },
    Fails(Mismatch),
    /// The check could not determine whether the endpoint keeps the promise.
    NotChecked {
        reason: String,
    },
}

/// A difference between the promised and the observed behaviour.
#[derive(Debug, Serialize)]
pub struct Mismatch {
    pub expected: String,
    pub actual: String,
}

impl Mismatch {
    pub fn new(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { expected: expected.into(), actual: actual.into() }
    }
}

pub fn ensure(holds: bool, expected: impl Into<String>, actual: impl Into<String>) -> Result<(), Mismatch> {
    if holds { Ok(()) } else { Err(Mismatch::new(expected, actual)) }
}

impl From<Result<(), Mismatch>> for Verdict {
    fn from(result: Result<(), Mismatch>) -> Self {
        match result {
            Ok(()) => Self::Holds { measured: None },
            Err(mismatch) => Self::Fails(mismatch),
        }
    }
}

/// Converts an AWS CLI error. The promise may hold, so the verdict is "not checked".
impl From<anyhow::Error> for Verdict {
    fn from(error: anyhow::Error) -> Self {
        Self::NotChecked { reason: format!("{error:#}") }
    }
}

impl From<anyhow::Result<Verdict>> for Verdict {
    fn from(result: anyhow::Result<Verdict>) -> Self {
        result.unwrap_or_else(Self::from)
    }
}

#[derive(Debug, Serialize)]
struct ReportLine {
    promise: &'static str,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Debug)]
pub struct Report {
    lines: Vec<ReportLine>,
    is_json: bool,
    /// The result of printing. The check continues after an error, in order to delete what it stored.
    written: io::Result<()>,
}

impl Report {
    /// Creates an empty report. Text is printed line by line, JSON at the end.
    pub fn new(is_json: bool) -> Self {
        Self { lines: Vec::new(), is_json, written: Ok(()) }
    }

    pub fn add(&mut self, promise: &'static str, verdict: impl Into<Verdict>) {
        let verdict = verdict.into();
        if !self.is_json {
            match &verdict {
                Verdict::Holds { measured: None } => self.print(format_args!("holds        {promise}")),
                Verdict::Holds { measured: Some(measured) } => {
                    self.print(format_args!("holds        {promise}: {measured}"));
                }
                Verdict::Fails(Mismatch { expected, actual }) => {
                    self.print(format_args!("fails        {promise}: expected {expected}, got {actual}"));
                }
                Verdict::NotChecked { reason } => self.print(format_args!("not checked  {promise}: {reason}")),
            }
        }
        self.lines.push(ReportLine { promise, verdict });
    }

    pub fn not_checked(&mut self, promise: &'static str, reason: impl Into<String>) {
        self.add(promise, Verdict::NotChecked { reason: reason.into() });
    }

    pub fn has_failures(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.verdict, Verdict::Fails(_)))
    }

    /// Prints the end of the report: the remaining objects, and the counts. Fails if any line of the report could not
    /// be printed.
    pub fn finish(mut self, left: Left, is_interrupted: bool) -> io::Result<()> {
        if self.is_json {
            let report = serde_json::json!({
                "promises": self.lines, "left": left.keys, "left_because": left.reason, "interrupted": is_interrupted,
            });
            self.print(format_args!("{report}"));
            return self.written;
        }
        if let Some(reason) = left.reason {
            self.print(format_args!("\nleft: {} traces, because {reason}", left.keys.len()));
            for key in left.keys {
                self.print(format_args!("  {key}"));
            }
        }
        let count = |is: fn(&Verdict) -> bool| self.lines.iter().filter(|line| is(&line.verdict)).count();
        let holds = count(|verdict| matches!(verdict, Verdict::Holds { .. }));
        let fails = count(|verdict| matches!(verdict, Verdict::Fails(_)));
        let interrupted = if is_interrupted { "; interrupted" } else { "" };
        self.print(format_args!(
            "\n{holds} hold, {fails} fail, {} not checked{interrupted}",
            self.lines.len() - holds - fails
        ));
        self.written
    }

    fn print(&mut self, line: fmt::Arguments<'_>) {
        if self.written.is_ok() {
            self.written = result!("{line}");
        }
    }
}
