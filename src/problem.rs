//! The reasons why a trace is not stored, and their HTTP responses: problem details (RFC 9457).

use std::{error::Error, fmt};

use serde::Serialize;

use crate::key::KeyError;

/// The media type of an error response (RFC 9457, section 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The value of `Retry-After` in a 503 response, in seconds.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// The reason why a trace was not stored.
///
/// [`Problem::Fault`] and [`Problem::Unavailable`] are faults of the service. The client can fix all others.
#[derive(Debug)]
pub enum Problem {
    NotUtf8 {
        /// The number of valid bytes before the first invalid one.
        offset: usize,
    },
    NotJson {
        /// The parser's message, which does not quote the body.
        detail: String,
        line: usize,
        column: usize,
    },
    /// The body violates the schema or repeats a name in one object.
    Invalid(Violations),
    /// The fingerprint and the id do not form a valid key.
    Key(KeyError),
    /// A different trace is stored under this id.
    Taken { fingerprint: String, id: String },
    TooLarge {
        /// The limit in bytes, which `MAX_TRACE_BYTES` sets.
        limit: usize,
        /// The size of the body in bytes.
        size: usize,
    },
    /// The service is at fault: its configuration, its permissions or a defect. Retrying does not help.
    Fault(Cause),
    /// S3 did not confirm the trace in time. The same request may succeed later.
    Unavailable {
        cause: Cause,
        /// The id of the trace. A client that sent none needs it to retry safely.
        id: Option<String>,
    },
}

/// The complete reason for a fault of the service. It is only logged; the client receives a general message.
pub type Cause = Box<dyn Error + Send + Sync>;

/// A violation of the schema, or a name that is repeated in its object.
#[derive(Debug, Serialize)]
pub struct Violation {
    /// The location, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// A description that does not quote the value.
    pub detail: String,
}

/// The violations of one trace: all are counted, and as many are listed as fit into a response.
#[derive(Debug, Default)]
pub struct Violations {
    listed: Vec<Violation>,
    listed_bytes: usize,
    count: usize,
}

/// The size limit of the listed violations, in bytes of pointers and details.
///
/// Lambda returns the body as a JSON string within at most 6 MB. A control character in a pointer is escaped twice,
/// into seven bytes, so 512 KiB always stay far below the limit.
const LISTED_BYTES: usize = 512 * 1024;

impl Violations {
    #[must_use]
    pub fn first(&self) -> Option<&Violation> {
        self.listed.first()
    }

    /// Adds a violation. If the list is full, the violation is only counted, and `violation` is not called.
    ///
    /// Building a long pointer for each of many violations would take time quadratic in the size of the body.
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

    /// Counts violations without listing them. The list must be full.
    pub fn add(&mut self, count: usize) {
        debug_assert!(self.is_full());
        self.count += count;
    }

    /// Returns the number of violations, listed or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns whether further violations are only counted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.listed_bytes >= LISTED_BYTES
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The body of an error response. The gateway's own errors have the same members (see `template.yaml`).
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
    /// Creates a [`Problem::Unavailable`] without an id. The caller may add it with [`Problem::with_id`].
    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable { cause: cause.into(), id: None }
    }

    /// Adds the id of the trace to a [`Problem::Unavailable`].
    #[must_use]
    pub fn with_id(self, id: &str) -> Self {
        match self {
            Self::Unavailable { cause, .. } => Self::Unavailable { cause, id: Some(id.to_owned()) },
            other => other,
        }
    }

    /// Returns the short, stable name that ends `type` in the response and is `problem` in the log line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind().0
    }

    #[must_use]
    pub fn status(&self) -> u16 {
        self.kind().1
    }

    fn kind(&self) -> (&'static str, u16, &'static str) {
        match self {
            Self::NotUtf8 { .. } => ("not-utf8", 400, "The body is not UTF-8"),
            Self::NotJson { .. } => ("not-json", 400, "The body is not JSON"),
            Self::Invalid(_) => ("invalid", 400, "The trace is not valid"),
            Self::Key(_) => ("no-key", 400, "The trace has no valid key"),
            Self::Taken { .. } => ("taken", 409, "The id is taken"),
            Self::TooLarge { .. } => ("too-large", 413, "The trace is too large"),
            Self::Fault(_) => ("fault", 500, "The service is at fault"),
            Self::Unavailable { .. } => ("unavailable", 503, "The trace could not be stored in time"),
        }
    }

    /// Returns the complete reason for a fault of the service, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Fault(cause) | Self::Unavailable { cause, .. } => Some(cause),
            _ => None,
        }
    }

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

/// Displays the complete reason, for the log only.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause() {
            Some(cause) => cause.fmt(f),
            None => f.write_str(&self.detail()),
        }
    }
}

impl Error for Problem {}
