//! The environment, read once.

use std::fmt;

use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};

use crate::store::Connection;

/// The size of a trace that `MAX_TRACE_BYTES` allows where it is not set: 5 MiB. With what JSON escapes of it, it fits
/// into the 6 MB of an event (AWS Lambda quotas, "Invocation payload").
pub const MAX_TRACE_BYTES: usize = 5 * 1024 * 1024;

/// What the deployed function is told by its environment.
#[derive(Debug)]
pub struct Settings {
    /// `BUCKET_NAME`: the bucket that traces are stored in.
    pub bucket: String,
    /// `MAX_TRACE_BYTES`: the largest body, in bytes.
    pub max_trace_bytes: usize,
    /// The AWS SDK's own variables.
    pub connection: Connection,
}

/// A variable that is missing or makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The function cannot do without this one.
    Missing(&'static str),
    /// This one is not a number of bytes above 0.
    NotANumber(&'static str, String),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "the environment variable {name} is not set"),
            Self::NotANumber(name, value) => {
                write!(f, "the environment variable {name} is {value:?}, not a number of bytes above 0")
            }
        }
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Reads the environment through `variable`, which gives a variable's value by its name.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let needed = |name| set(name).ok_or(SettingsError::Missing(name));
        let bucket = needed("BUCKET_NAME")?;
        let max_trace_bytes = match set("MAX_TRACE_BYTES") {
            None => MAX_TRACE_BYTES,
            Some(text) => match text.parse() {
                Ok(bytes) if bytes > 0 => bytes,
                _ => return Err(SettingsError::NotANumber("MAX_TRACE_BYTES", text)),
            },
        };
        // Lambda gives a function its role's credentials in these; an environment never outlives them.
        let credentials = Credentials::new(
            needed("AWS_ACCESS_KEY_ID")?,
            needed("AWS_SECRET_ACCESS_KEY")?,
            set("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        Ok(Self {
            bucket,
            max_trace_bytes,
            connection: Connection {
                region: set("AWS_REGION")
                    .or_else(|| set("AWS_DEFAULT_REGION"))
                    .ok_or(SettingsError::Missing("AWS_REGION"))?,
                endpoint: set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL")),
                credentials: SharedCredentialsProvider::new(credentials),
            },
        })
    }
}
