//! Shared parts of the commands: lines on standard output and standard error, progress, option values, signals and
//! locks.
//!
//! `println!` and `eprintln!` panic if the stream is closed or its disk is full. With them, `serve 2>&1 | head -1`
//! would stop storing traces, and a full log disk would end an export. [`note!`] therefore ignores a failed write, and
//! [`result!`] returns the error. The lints `print_stdout` and `print_stderr` forbid the standard macros.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

pub mod api_key;
pub mod progress;
pub mod run_lock;
pub mod shutdown;
pub mod url;

/// The exit status if standard output is closed: 128 plus SIGPIPE, which a shell reports for a tool that this signal
/// ended. It is not 0, because the reader did not get everything.
const CLOSED: u8 = 141;

/// Writes a line to standard error. Ignores a failed write, because a lost message must not stop the work.
#[macro_export]
macro_rules! note {
    ($($text:tt)*) => { $crate::write_note(::core::format_args!($($text)*)) };
}

/// Writes a line to standard output. Returns an error if the line is not written.
#[macro_export]
macro_rules! result {
    ($($text:tt)*) => { $crate::write_result(::core::format_args!($($text)*)) };
}

/// Escapes control characters, because a terminal would execute those in the data of an endpoint or a file.
///
/// These are C0 except tab and line feed, DEL, C1, and the characters that change the direction of text (Unicode
/// Standard Annex #9). The escapes are valid in JSON, so a line of JSON stays valid.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    let is_control = |char: char| {
        let is_bidi =
            matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        char.is_control() && !matches!(char, '\n' | '\t') || is_bidi
    };
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_control(char) {
            let _ = fmt::Write::write_fmt(&mut escaped, format_args!("\\u{:04x}", u32::from(char)));
        } else {
            escaped.push(char);
        }
    }
    Cow::Owned(escaped)
}

/// Implements [`note!`].
pub fn write_note(line: fmt::Arguments<'_>) {
    // A single write keeps the lines of concurrent processes apart.
    let _ = io::stderr().write_all(format!("{}\n", escaped(&line.to_string())).as_bytes());
}

/// Implements [`result!`].
pub fn write_result(line: fmt::Arguments<'_>) -> io::Result<()> {
    let mut output = Output::default();
    output.write_all(format!("{}\n", escaped(&line.to_string())).as_bytes())?;
    output.flush()
}

/// Asks a question on standard error. The answer follows on the same line.
pub fn ask(question: fmt::Arguments<'_>) -> io::Result<()> {
    let mut stderr = io::stderr();
    stderr.write_all(escaped(&question.to_string()).as_bytes())?;
    stderr.flush()
}

/// Standard output, with errors that [`fail`] recognizes.
#[derive(Debug)]
pub struct Output(io::Stdout);

impl Default for Output {
    fn default() -> Self {
        Self(io::stdout())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(OutputError::wrap)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(OutputError::wrap)
    }
}

#[derive(Debug)]
pub struct OutputError(io::Error);

impl OutputError {
    /// Marks an error as one of standard output, so that [`fail`] recognizes it.
    #[must_use]
    pub fn wrap(error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return error; // `write_all` retries it
        }
        io::Error::new(error.kind(), Self(error))
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl Error for OutputError {}

/// Reports the error that ends a command, and returns `code`. Reports nothing if the reader of standard output has
/// closed it, as is usual for Unix tools.
#[must_use]
pub fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    if is_closed_output(error) {
        return ExitCode::from(CLOSED);
    }
    note!("error: {error:#}");
    ExitCode::from(code)
}

fn is_closed_output(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|error| {
        error.kind() == io::ErrorKind::BrokenPipe
            && error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<OutputError>)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_other_text_is_unchanged() {
        let text = "a\tb\nGrüße 日本 \u{1f600} é";
        assert!(matches!(escaped(text), Cow::Borrowed(same) if same == text));
        let hostile = "\u{0}\u{1b}[2J\r\u{7f}\u{85}\u{9b}\u{61c}\u{200f}\u{202e}\u{2069}";
        assert_eq!(escaped(hostile), r"\u0000\u001b[2J\u000d\u007f\u0085\u009b\u061c\u200f\u202e\u2069");
    }

    #[test]
    fn only_a_broken_pipe_of_standard_output_is_silent() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let closed = |error: io::Error| is_closed_output(&anyhow::Error::from(error).context("cannot export"));
        assert!(closed(OutputError::wrap(broken())));
        assert!(!closed(broken()), "a broken connection to S3 is reported");
        assert!(!closed(OutputError::wrap(io::ErrorKind::StorageFull.into())));
    }
}
