//! What became of a file's lines: counts for the end, and the refused ones in files.

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufWriter, Seek, Write},
    path::PathBuf,
};

use indicatif::HumanCount;
use serde_json::Value;

use super::lines::Text;

/// How many lines became what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub is_dry_run: bool,
    pub lines: u64,
    /// Stored by this run; in a dry run, valid.
    pub stored: u64,
    /// Answered 200: stored before, by an earlier run or by an equal line.
    pub already_there: u64,
    /// Confirmed by an earlier run, by its checkpoint.
    pub skipped: u64,
    /// Another trace has the line's id.
    pub conflicts: u64,
    pub refused: u64,
    /// Lines that are equal to an earlier one of the file. They are counted above too. `None` if the file was not read to its
    /// end.
    pub repeated: Option<u64>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_dry_run, lines, stored, already_there, skipped, conflicts, refused, repeated } = self;
        let mut line = |count: u64, what: &str| writeln!(f, "{:>13} {what}", HumanCount(count).to_string());
        line(*lines, "lines")?;
        line(*stored, if *is_dry_run { "valid" } else { "stored" })?;
        if !is_dry_run {
            line(*already_there, "already there")?;
            line(*skipped, "confirmed by an earlier run")?;
            line(*conflicts, "conflicts: another trace has the id")?;
        }
        line(*refused, "refused")?;
        repeated.map_or(Ok(()), |repeated| line(repeated, "equal to an earlier line"))
    }
}

/// The files that say what was refused. They are made with the first refusal.
pub struct Rejected {
    base: PathBuf,
    files: Option<(BufWriter<File>, BufWriter<File>)>,
}

impl Rejected {
    /// Begins `BASE.rejected.jsonl`, the reasons, and `BASE.rejected-lines.jsonl`, the lines themselves. The reasons of an
    /// earlier run are deleted, for this one asks again; its lines stay until there are new ones, for somebody may be
    /// mending them.
    pub fn new(base: PathBuf) -> io::Result<Self> {
        let rejected = Self { base, files: None };
        match fs::remove_file(rejected.path("rejected.jsonl")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(rejected),
        }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        let mut path = self.base.clone().into_os_string();
        path.push(".");
        path.push(suffix);
        path.into()
    }

    /// Writes down a line that was refused, with its number and the problem details.
    pub fn write(&mut self, number: u64, problem: Value, line: &mut Text) -> io::Result<()> {
        let paths = (self.path("rejected.jsonl"), self.path("rejected-lines.jsonl"));
        let (reasons, lines) = match &mut self.files {
            Some(files) => files,
            none => none.insert((BufWriter::new(File::create(paths.0)?), BufWriter::new(File::create(paths.1)?))),
        };
        let mut reason = problem;
        reason["line"] = number.into();
        writeln!(reasons, "{reason}")?;
        match line {
            Text::Whole(bytes) => lines.write_all(bytes)?,
            Text::Long(file) => {
                file.rewind()?;
                io::copy(file, lines)?;
            }
            Text::Confirmed => {}
        }
        lines.write_all(b"\n")
    }

    /// Where they are, if there was anything to write.
    pub fn finish(mut self) -> io::Result<Option<(PathBuf, PathBuf)>> {
        let Some((mut reasons, mut lines)) = self.files.take() else { return Ok(None) };
        reasons.flush()?;
        lines.flush()?;
        Ok(Some((self.path("rejected.jsonl"), self.path("rejected-lines.jsonl"))))
    }
}
