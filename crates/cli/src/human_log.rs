//! The local endpoint's log: one line a person reads per request.

use std::{fmt::Write as _, io};

use serde_json::{Map, Value};

/// The log's writer: each write is one line.
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

/// Writes a line of the log to standard error as a person reads it.
pub fn print(line: &[u8]) {
    if let Ok(fields) = serde_json::from_slice(line) {
        eprintln!("{}", readable(fields).unwrap_or_default());
    }
}

fn readable(mut fields: Map<String, Value>) -> Result<String, std::fmt::Error> {
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
