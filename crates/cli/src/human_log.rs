//! The log of the local endpoint: one readable line per request.

use std::{fmt::Write as _, io};

use attest_terminal::note;
use serde_json::{Map, Value};

/// A log writer that reformats JSON lines. Each write must be one line.
#[derive(Debug)]
pub struct HumanLog;

impl io::Write for HumanLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        print(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a line of the JSON log to standard error in a readable form.
pub fn print(line: &[u8]) {
    if let Ok(fields) = serde_json::from_slice(line) {
        note!("{}", format(fields).unwrap_or_default());
    }
}

fn format(mut fields: Map<String, Value>) -> Result<String, std::fmt::Error> {
    let Some(status) = fields.remove("status") else {
        let level = fields.remove("level").unwrap_or_default();
        return Ok(format!("{} {}", level.as_str().unwrap_or_default(), Value::Object(fields)));
    };
    let mut line = status.to_string();
    for name in ["key", "problem", "cause"] {
        if let Some(Value::String(text)) = fields.get(name) {
            write!(line, "  {text}")?;
        }
    }
    for (name, unit) in [("bytes", "bytes"), ("ms", "ms")] {
        if let Some(number) = fields.get(name) {
            write!(line, "  {number} {unit}")?;
        }
    }
    Ok(line)
}
