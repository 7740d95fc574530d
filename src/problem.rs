//! What can go wrong with a request, and what a client is told of it: problem details (RFC 9457).

use std::error::Error;

use serde::Serialize;

use crate::key::KeyError;

/// The media type of an error's body (RFC 9457, section 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// How many seconds a client is asked to wait when S3 did not take the trace in time.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// Why a trace was not stored. The first kinds are the client's to mend, the last two are ours.
#[derive(Debug)]
pub enum Problem {
    /// The body's bytes are not UTF-8 from this offset on.
    NotUtf8 {
        /// Bytes before the first that is wrong.
        offset: usize,
    },
    /// The body is no JSON text.
    NotJson {
        /// What the parser ran into, without any of the text.
        detail: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The body breaks the schema or has a name twice in one object.
    Invalid(Violations),
    /// The fingerprint and the id make no key.
    Key(KeyError),
    /// A different trace is stored under this id.
    Taken {
        /// The fingerprint within which the id is taken.
        fingerprint: String,
        /// The id that is taken.
        id: String,
    },
    /// The body is larger than the limit; both in bytes.
    TooLarge {
        /// The limit, as `MAX_TRACE_BYTES` sets it.
        limit: usize,
        /// The size of the body.
        size: usize,
    },
    /// The service is at fault: its configuration, its permissions or a defect.
    Fault(Cause),
    /// S3 did not take the trace in time; the same request may succeed later.
    Unavailable {
        /// The whole reason, for the log.
        cause: Cause,
        /// The id that the trace was to be stored under. A client that named none needs it to repeat safely.
        id: Option<String>,
    },
}

/// The whole reason of a failure that is ours, for the log; a client is told of it in general only.
pub type Cause = Box<dyn Error + Send + Sync>;

/// One place in which a trace breaks the schema.
#[derive(Debug, Serialize)]
pub struct Violation {
    /// Where, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong there, without quoting what stands there.
    pub detail: String,
}

/// Every violation of one trace, as far as a response can hold them.
#[derive(Debug, Default)]
pub struct Violations {
    listed: Vec<Violation>,
    listed_bytes: usize,
    count: usize,
}

/// A response's JSON travels as a string in Lambda's response of at most 6 MB, where a control character of a pointer
/// becomes seven bytes: 512 KiB of pointers and details stay far below, whatever is in them.
const LISTED_BYTES: usize = 512 * 1024;

impl Violations {
    /// Adds a violation; past what a response can hold it is only counted, and `violation` is not called: building a long
    /// pointer for each of many violations would take time quadratic in the body.
    pub fn push(&mut self, violation: impl FnOnce() -> Violation) {
        self.count += 1;
        if !self.is_full() {
            let violation = violation();
            self.listed_bytes += violation.pointer.len() + violation.detail.len() + 32;
            if !self.is_full() {
                self.listed.push(violation);
            }
        }
    }

    /// Counts violations that are like others, once no more can be listed.
    pub fn add(&mut self, count: usize) {
        debug_assert!(self.is_full());
        self.count += count;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether the list holds as many as a response can.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.listed_bytes >= LISTED_BYTES
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The body of an error's response, and of the gateway's own errors (see `template.yaml`).
#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Violation],
}

impl Problem {
    /// S3 did not take a trace, whose id the caller may add.
    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable { cause: cause.into(), id: None }
    }

    /// The same, and if it is the unavailability of S3, for the trace of this id.
    #[must_use]
    pub fn with_id(self, id: &str) -> Self {
        match self {
            Self::Unavailable { cause, .. } => Self::Unavailable { cause, id: Some(id.to_owned()) },
            other => other,
        }
    }

    /// A short, stable name: the end of the problem's `type`, and `problem` in the log line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind().0
    }

    /// The HTTP status of the response.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.kind().1
    }

    /// The name, the HTTP status and the title.
    fn kind(&self) -> (&'static str, u16, &'static str) {
        match self {
            Self::NotUtf8 { .. } => ("not-utf8", 400, "The body is not UTF-8"),
            Self::NotJson { .. } => ("not-json", 400, "The body is not JSON"),
            Self::Invalid(_) => ("invalid", 400, "The trace is not valid"),
            Self::Key(_) => ("no-key", 400, "The trace has no key"),
            Self::Taken { .. } => ("taken", 409, "The id is taken"),
            Self::TooLarge { .. } => ("too-large", 413, "The trace is too large"),
            Self::Fault(_) => ("fault", 500, "The service is at fault"),
            Self::Unavailable { .. } => ("unavailable", 503, "The trace could not be stored in time"),
        }
    }

    /// The whole reason of a failure that is ours, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Fault(cause) | Self::Unavailable { cause, .. } => Some(cause),
            _ => None,
        }
    }

    /// The same, by value.
    #[must_use]
    pub fn into_cause(self) -> Option<Cause> {
        match self {
            Self::Fault(cause) | Self::Unavailable { cause, .. } => Some(cause),
            _ => None,
        }
    }

    /// The response's body.
    #[must_use]
    pub fn body(&self) -> String {
        let (name, status, title) = self.kind();
        let (line, column) = match self {
            Self::NotJson { line, column, .. } => (Some(*line), Some(*column)),
            _ => (None, None),
        };
        let details = Details {
            r#type: format!("urn:attest:problem:{name}"),
            title,
            status,
            detail: self.detail(),
            line,
            column,
            id: if let Self::Unavailable { id, .. } = self { id.as_deref() } else { None },
            errors: if let Self::Invalid(violations) = self { &violations.listed } else { &[] },
        };
        serde_json::to_string(&details).expect("strings and numbers are always JSON")
    }

    fn detail(&self) -> String {
        match self {
            Self::NotUtf8 { offset } => format!("The body is not UTF-8 at byte {offset}."),
            Self::NotJson { detail, line, column } => format!("{detail} at line {line} column {column}"),
            Self::Invalid(Violations { listed, count, .. }) => {
                let violations = if *count == 1 { "violation" } else { "violations" };
                match listed.len() {
                    all if all == *count => format!("{count} {violations}."),
                    some => format!("{count} {violations}; the first {some}, as many as fit a response, are listed."),
                }
            }
            Self::Key(error) => error.to_string(),
            Self::Taken { fingerprint, id } => {
                format!("Within the fingerprint {fingerprint:?} the id {id:?} is taken by a different trace.")
            }
            Self::TooLarge { limit, size } => format!("The trace has {size} bytes; the limit is {limit}."),
            Self::Fault(_) => "The trace was not stored. The reason is in the service's log.".to_owned(),
            Self::Unavailable { .. } => {
                "S3 did not confirm the trace in time. Repeat the request with this id or the same Idempotency-Key."
                    .to_owned()
            }
        }
    }
}
