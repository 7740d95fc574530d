//! The report: one line per promise, as text or as JSON.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use super::cleanup::Left;

/// The result of checking one promise.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The endpoint keeps the promise.
    Holds {
        /// A measurement, if the check made one.
        #[serde(skip_serializing_if = "Option::is_none")]
        measured: Option<String>,
    },
    /// The endpoint breaks the promise.
    Fails(Mismatch),
    /// The check could not find out.
    NotChecked { reason: String },
}

/// A difference between the promised and the observed behaviour.
#[derive(Debug, Serialize)]
pub struct Mismatch {
    pub expected: String,
    pub actual: String,
}

impl Mismatch {
    /// Creates a mismatch from both sides.
    pub fn new(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { expected: expected.into(), actual: actual.into() }
    }
}

/// Returns a mismatch unless `holds`.
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

/// An error of the AWS CLI: the promise may hold, but the check cannot tell.
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
struct Line {
    promise: &'static str,
    #[serde(flatten)]
    verdict: Verdict,
}

/// The lines of the report.
#[derive(Debug)]
pub struct Report {
    lines: Vec<Line>,
    is_json: bool,
}

impl Report {
    /// Creates an empty report. Text is printed line by line, JSON at the end.
    pub fn new(is_json: bool) -> Self {
        Self { lines: Vec::new(), is_json }
    }

    /// Adds a line.
    pub fn add(&mut self, promise: &'static str, verdict: impl Into<Verdict>) {
        let verdict = verdict.into();
        if !self.is_json {
            match &verdict {
                Verdict::Holds { measured: None } => print(format_args!("holds        {promise}")),
                Verdict::Holds { measured: Some(measured) } => {
                    print(format_args!("holds        {promise}: {measured}"));
                }
                Verdict::Fails(Mismatch { expected, actual }) => {
                    print(format_args!("fails        {promise}: expected {expected}, got {actual}"));
                }
                Verdict::NotChecked { reason } => print(format_args!("not checked  {promise}: {reason}")),
            }
        }
        self.lines.push(Line { promise, verdict });
    }

    /// Adds a promise that cannot be checked.
    pub fn not_checked(&mut self, promise: &'static str, reason: impl Into<String>) {
        self.add(promise, Verdict::NotChecked { reason: reason.into() });
    }

    /// Returns whether a promise fails.
    pub fn has_failures(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.verdict, Verdict::Fails(_)))
    }

    /// Prints the end of the report: the objects that are left, and the counts.
    pub fn finish(&self, left: Left) {
        if self.is_json {
            let report = serde_json::json!({"promises": self.lines, "left": left.keys, "left_because": left.reason});
            print(format_args!("{report}"));
            return;
        }
        if let Some(reason) = left.reason {
            print(format_args!("\nleft: {} traces, because {reason}", left.keys.len()));
            for key in left.keys {
                print(format_args!("  {key}"));
            }
        }
        let count = |is: fn(&Verdict) -> bool| self.lines.iter().filter(|line| is(&line.verdict)).count();
        let holds = count(|verdict| matches!(verdict, Verdict::Holds { .. }));
        let fails = count(|verdict| matches!(verdict, Verdict::Fails(_)));
        print(format_args!("\n{holds} hold, {fails} fail, {} not checked", self.lines.len() - holds - fails));
    }
}

/// Prints a line. A reader that has gone, as in `attest check | head`, is no reason to stop the check.
fn print(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}
