//! Commands that take a trace elsewhere.

use local_aws::s3::{ACCESS_KEY, REGION};

use crate::storage::TraceReader;

/// Commands for one trace, each with its id on the page and a title.
#[derive(Debug)]
pub struct Commands(Vec<(&'static str, &'static str, String)>);

impl Commands {
    /// Writes the commands for the trace under `key`.
    pub fn of(traces: &TraceReader, key: &str) -> Self {
        Self(vec![("command", "Read it with the AWS CLI", aws(traces, key))])
    }

    pub fn iter(&self) -> impl Iterator<Item = &(&'static str, &'static str, String)> {
        self.0.iter()
    }
}

fn aws(traces: &TraceReader, key: &str) -> String {
    let endpoint = traces.endpoint().map(|endpoint| format!(" --endpoint-url {endpoint}")).unwrap_or_default();
    let credentials = if traces.folder().is_some() {
        format!("AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={ACCESS_KEY} AWS_REGION={REGION} ")
    } else {
        String::new()
    };
    format!("{credentials}aws s3 cp{endpoint} {} -", quoted(&format!("s3://{}/{key}", traces.bucket())))
}

/// Quotes a text for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
