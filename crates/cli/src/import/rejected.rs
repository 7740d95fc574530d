//! Writes rejected lines, and the reasons, to files.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, ErrorKind, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use local_aws::files::open_own;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    checkpoint::Mark,
    lines::{Line, LineText},
};

/// The output files for rejected lines: `BASE.rejected.jsonl` for the reasons, `BASE.rejected-lines.jsonl` for the
/// lines, up to a limit.
///
/// They are created at the first rejection. Files of an earlier run are replaced if they are unchanged. Otherwise,
/// somebody may be fixing the lines in them, so the new files get a number: `BASE.rejected-2.jsonl`.
pub struct Rejected {
    base: PathBuf,
    /// Whether the input is a stream. Its lines exist nowhere else, so no files are replaced.
    is_stream: bool,
    files: Option<Files>,
}

struct Files {
    paths: Paths,
    reasons: File,
    lines: BufWriter<File>,
    kept: u64,
}

/// The size up to which rejected lines are kept, in bytes, whatever the size of the input.
const KEPT: u64 = 32 * 1024 * 1024;

/// Returns the size up to which rejected lines are kept after `read` bytes of the input, because 1 MiB of gzip may
/// contain 1 GiB of lines.
pub fn limit(read: u64) -> u64 {
    read.max(KEPT)
}

#[derive(Debug, Clone)]
pub struct Paths {
    pub reasons: PathBuf,
    pub lines: PathBuf,
}

/// The members of a reason that identify a file from an earlier run.
#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "line")]
    _line: u64,
    idempotency_key: String,
    /// Whether the file of rejected lines contains the line.
    #[serde(default = "yes")]
    kept: bool,
}

fn yes() -> bool {
    true
}

impl Rejected {
    pub fn new(base: PathBuf, is_stream: bool) -> Self {
        Self { base, is_stream, files: None }
    }

    fn paths(&self, number: u32) -> Paths {
        let path = |name: &str| {
            let mut path = OsString::from(&self.base);
            path.push(if number == 1 { format!(".{name}.jsonl") } else { format!(".{name}-{number}.jsonl") });
            PathBuf::from(path)
        };
        Paths { reasons: path("rejected"), lines: path("rejected-lines") }
    }

    /// Writes a rejected line and its problem details. `read` is the number of input bytes so far. Beyond the limit,
    /// only the problem details are written.
    pub fn write(&mut self, line: &mut Line, mut problem: Value, read: u64) -> Result<()> {
        if self.files.is_none() {
            self.files = Some(self.create().with_context(|| {
                format!(
                    "cannot write rejected lines beside {} (choose another folder with --state)",
                    self.base.display()
                )
            })?);
        }
        let files = self.files.as_mut().expect("it was set above");
        problem["line"] = line.number.into();
        problem["idempotency_key"] = line.mark.to_string().into();
        let length = match &mut line.text {
            LineText::Whole(bytes) => Some(bytes.len() as u64),
            LineText::Long(file) => Some(file.seek(SeekFrom::End(0)).context("cannot read a temporary file")?),
            LineText::Dropped | LineText::Confirmed => None,
        };
        let is_kept = length.is_some_and(|length| files.kept + length <= limit(read));
        if !is_kept {
            problem["kept"] = false.into();
        }
        // Write the reason first, because it proves that an import wrote the line.
        let failed = || format!("cannot write to {}", files.paths.reasons.display());
        files.reasons.write_all(format!("{problem}\n").as_bytes()).with_context(failed)?;
        if !is_kept {
            return Ok(());
        }
        files.kept += length.unwrap_or_default();
        let mut write = || {
            match &mut line.text {
                LineText::Whole(bytes) => files.lines.write_all(bytes)?,
                LineText::Long(file) => {
                    file.rewind()?;
                    io::copy(file, &mut files.lines)?;
                }
                LineText::Dropped | LineText::Confirmed => {}
            }
            files.lines.write_all(b"\n")?;
            files.lines.flush()
        };
        write().with_context(|| format!("cannot write to {}", files.paths.lines.display()))
    }

    fn create(&self) -> io::Result<Files> {
        let mut number = 1;
        loop {
            let paths = self.paths(number);
            let mut options = File::options();
            options.write(true).mode(0o600); // traces are private
            if !self.is_stream && is_unchanged(&paths)? {
                options.create(true).truncate(true);
            } else if paths.reasons.try_exists()? || paths.lines.try_exists()? {
                number += 1;
                continue;
            } else {
                options.create_new(true);
            }
            let mut open =
                || io::Result::Ok((open_own(&mut options, &paths.reasons)?, open_own(&mut options, &paths.lines)?));
            match open() {
                Ok((reasons, lines)) => return Ok(Files { paths, reasons, lines: BufWriter::new(lines), kept: 0 }),
                // A link or a pipe is not a file of this command.
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::InvalidInput) => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub fn written(&self) -> Option<&Paths> {
        self.files.as_ref().map(|files| &files.paths)
    }

    /// Deletes the unchanged files of an earlier run, after a run that read every line and rejected none.
    pub fn remove_earlier(&self) -> io::Result<()> {
        let paths = self.paths(1);
        if self.files.is_some() || self.is_stream || !is_unchanged(&paths)? {
            return Ok(());
        }
        for path in [paths.lines, paths.reasons] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns whether a pair of files is unchanged since an import wrote it: each line has its reason. A killed run may
/// have written a reason without its line.
fn is_unchanged(paths: &Paths) -> io::Result<bool> {
    let (Some(mut reasons), lines) = (open(&paths.reasons)?, open(&paths.lines)?) else { return Ok(false) };
    let Some(mut lines) = lines else { return Ok(next_reason(&mut reasons)?.is_some()) };
    while let Some(mark) = next_mark(&mut lines)? {
        if next_key(&mut reasons)? != Some(mark.to_string()) {
            return Ok(false);
        }
    }
    // Only reasons may follow.
    loop {
        if reasons.fill_buf()?.is_empty() {
            return Ok(true);
        }
        if next_reason(&mut reasons)?.is_none() {
            return Ok(false);
        }
    }
}

fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match open_own(File::options().read(true), path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a reason. Returns `None` if the line is not a reason.
fn next_reason(reasons: &mut impl BufRead) -> io::Result<Option<Reason>> {
    let mut line = Vec::new();
    reasons.read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line).ok())
}

/// Reads the reasons up to the next one whose line is kept. Returns that line's key.
fn next_key(reasons: &mut impl BufRead) -> io::Result<Option<String>> {
    loop {
        match next_reason(reasons)? {
            Some(reason) if !reason.kept => {}
            reason => return Ok(reason.map(|reason| reason.idempotency_key)),
        }
    }
}

/// Reads a line of any length. Returns its mark, or `None` at the end.
fn next_mark(lines: &mut impl BufRead) -> io::Result<Option<Mark>> {
    let mut digest = Sha256::new();
    let mut is_empty = true;
    loop {
        let bytes = lines.fill_buf()?;
        if bytes.is_empty() {
            return Ok((!is_empty).then(|| Mark::of(digest.finalize().into())));
        }
        is_empty = false;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        digest.update(&bytes[..end.unwrap_or(bytes.len())]);
        let read = end.map_or(bytes.len(), |end| end + 1);
        lines.consume(read);
        if end.is_some() {
            return Ok(Some(Mark::of(digest.finalize().into())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(line: &str) -> String {
        Mark::of(Sha256::digest(line).into()).to_string()
    }

    #[test]
    fn only_unchanged_files_of_an_import_are_recognised() {
        let reasons = |lines: &[&str]| {
            let reason = |line: &&str| format!("{{\"idempotency_key\":\"{}\",\"line\":1,\"status\":400}}\n", key(line));
            lines.iter().map(reason).collect::<String>()
        };
        for (reason_file, line_file, is_own) in [
            (Some(reasons(&["a", "b"])), Some("a\nb\n"), true),
            (Some(reasons(&["a", "b"])), Some("a\n"), true), // killed before the second line
            (Some(reasons(&["a", "b"])), Some("a\nb"), true), // an editor removed the line break
            (Some(reasons(&["a", "b"])), None, true),        // somebody moved the lines away
            (Some(reasons(&["a", "b"])), Some("a\nc\n"), false),
            (Some(reasons(&["a", "b"])), Some("a\nb\nc\n"), false),
            (Some(reasons(&["a", "b"])), Some("b\n"), false),
            (Some(reasons(&["a"]) + "note\n"), Some("a\n"), false),
            (Some(reasons(&["a"]).replace("400", "413,\"kept\":false") + &reasons(&["b"])), Some("b\n"), true),
            (Some(reasons(&["a"]).replace("400", "413,\"kept\":false")), Some(""), true),
            (Some("note\n".to_owned()), None, false),
            (Some(String::new()), Some("a\n"), false),
            (Some(String::new()), Some(""), true), // nothing to lose
            (None, Some("a\n"), false),
        ] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let paths = Paths { reasons: folder.path().join("r"), lines: folder.path().join("l") };
            for (path, text) in [(&paths.reasons, reason_file.as_deref()), (&paths.lines, line_file)] {
                if let Some(text) = text {
                    fs::write(path, text).expect("the folder is writable");
                }
            }
            let found = is_unchanged(&paths).expect("the files are readable");
            assert_eq!(found, is_own, "{reason_file:?} {line_file:?}");
        }
    }
}
