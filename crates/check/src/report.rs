//! The report: one line per promise, as text or as JSON.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use super::cleanup::Left;

#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    Holds {
        /// A measurement, if the check made one.
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
    /// Creates a mismatch from the expected and the actual behaviour.
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

/// Converts an error of the AWS CLI. The promise may hold, so the verdict is "not checked".
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

    pub fn not_checked(&mut self, promise: &'static str, reason: impl Into<String>) {
        self.add(promise, Verdict::NotChecked { reason: reason.into() });
    }

    pub fn has_failures(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.verdict, Verdict::Fails(_)))
    }

    /// Prints the end of the report: the remaining objects, and the counts.
    pub fn finish(&self, left: Left, is_interrupted: bool) {
        if self.is_json {
            let report = serde_json::json!({
                "promises": self.lines, "left": left.keys, "left_because": left.reason, "interrupted": is_interrupted,
            });
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
        let interrupted = if is_interrupted { "; interrupted" } else { "" };
        print(format_args!(
            "\n{holds} hold, {fails} fail, {} not checked{interrupted}",
            self.lines.len() - holds - fails
        ));
    }
}

/// Prints a line. Ignores a closed pipe, as in `attest check | head`, so that the check continues.
fn print(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{}", visible(&line.to_string()));
}

/// Escapes what a response could use to change the terminal or the order of its text: control characters, except line
/// breaks, and the bidirectional controls of Unicode.
fn visible(text: &str) -> String {
    let is_hidden = |of: char| {
        (of.is_control() && of != '\n')
            || matches!(of, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().flat_map(|of| if is_hidden(of) { of.escape_unicode().collect() } else { vec![of] }).collect()
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            visible("a\n\u{1b}[31m\r\u{9b}\u{7f}\u{202e}é"),
            r"a
\u{1b}[31m\u{d}\u{9b}\u{7f}\u{202e}é"
        );
    }
}
