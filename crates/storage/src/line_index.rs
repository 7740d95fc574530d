//! Indexes JSON Lines files: records where each trace is, and which lines are not traces.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    hash::{DefaultHasher, Hasher},
    io::{self, BufRead, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use anyhow::{Context, Result, ensure};
use attest::{
    problem::{Problem, Violation},
    trace::{self, MAX_BYTES},
};
use jiff::Timestamp;

use super::json_lines::{JsonLines, Packing};

/// The name endings of the files that are read from a folder.
const ENDINGS: [&str; 3] = [".jsonl", ".jsonl.gz", ".jsonl.zst"];

/// The number of traces between two progress reports.
const PROGRESS: usize = 1_000;

/// A file, or a temporary copy of its text.
#[derive(Debug)]
pub struct LineFile {
    /// The path as given by the user.
    pub name: String,
    pub path: PathBuf,
    pub packing: Packing,
    /// When the file was last modified.
    pub modified: Timestamp,
    /// The text. The file stays open, so that a replacement with the same name is not read.
    pub text: File,
}

#[derive(Debug)]
pub struct TraceLine {
    pub key: Box<str>,
    /// The index of the file in [`LineIndex::files`].
    pub file: u32,
    /// The line number, starting at 1.
    pub number: u64,
    pub offset: u64,
    pub length: u32,
    pub hash: u64,
}

/// All traces in some files.
#[derive(Debug, Default)]
pub struct LineIndex {
    pub files: Vec<LineFile>,
    /// The traces in file and line order.
    pub lines: Vec<TraceLine>,
    /// The indexes of the traces in `lines`, in key order.
    pub by_key: Vec<u32>,
    /// Notes about the lines that are not shown or have no id.
    pub notes: Vec<String>,
}

/// Why a line is not shown, or has no id of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Oddity {
    NoTrace,
    TooLong,
    Repeated,
    NoId,
}

#[derive(Debug)]
struct Odd {
    lines: u64,
    first: String,
}

/// Returns a hash for detecting whether a line has changed since it was indexed.
pub fn hash(line: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(line);
    hasher.finish()
}

/// Replaces each folder with its JSON Lines files, in name order.
pub fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let failed = || format!("cannot read {}", path.display());
        if !fs::metadata(path).with_context(failed)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let names = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).with_context(failed)?;
        let mut own: Vec<_> = names.into_iter().map(|name| name.path()).filter(|path| is_json_lines(path)).collect();
        ensure!(
            !own.is_empty(),
            "{} has no file that ends with {}: name the files, or use --folder for a folder of the local endpoint",
            path.display(),
            ENDINGS.join(", ")
        );
        own.sort_unstable();
        files.append(&mut own);
    }
    Ok(files)
}

fn is_json_lines(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    ENDINGS.iter().any(|ending| name.ends_with(ending.as_bytes())) && path.is_file()
}

/// Builds an index, file by file.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    index: LineIndex,
    odd: BTreeMap<Oddity, Odd>,
}

impl IndexBuilder {
    /// Reads a file once. Copies its text to a temporary file if the text is compressed or comes from a pipe.
    pub fn add(&mut self, path: &Path, read: &Arc<AtomicU64>, progress: &mut impl FnMut(u64)) -> Result<()> {
        let failed = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(failed)?;
        let metadata = file.metadata().with_context(failed)?;
        let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_default();
        let JsonLines { text, packing, mark } =
            JsonLines::open(Box::new(file.try_clone().with_context(failed)?), read).with_context(failed)?;
        let mut text = LineText { text, copy: None, offset: mark };
        if packing != Packing::Plain || !metadata.is_file() {
            text =
                LineText { copy: Some(BufWriter::new(tempfile::tempfile().with_context(no_room)?)), offset: 0, ..text };
        }
        self.add_lines(path, &mut text, progress)?;
        let copy = text.copy.map(|copy| copy.into_inner().map_err(io::IntoInnerError::into_error));
        let text = copy.transpose().with_context(no_room)?.unwrap_or(file);
        let (name, path) = (path.display().to_string(), std::path::absolute(path).with_context(failed)?);
        self.index.files.push(LineFile { name, path, packing, modified, text });
        Ok(())
    }

    fn add_lines(&mut self, path: &Path, text: &mut LineText, progress: &mut impl FnMut(u64)) -> Result<()> {
        let name = path.display();
        let file = u32::try_from(self.index.files.len()).context("there are too many files")?;
        let mut line = Vec::new();
        for number in 1.. {
            let offset = text.offset;
            let is_whole = match text.read_line(&mut line) {
                Ok(is_whole) => is_whole,
                Err(LineError::Copy(error)) => return Err(error).with_context(no_room),
                Err(LineError::Text(error)) => {
                    self.index.notes.push(format!("{name} cannot be read after line {}: {error}.", number - 1));
                    return Ok(());
                }
            };
            if text.offset == offset {
                return Ok(());
            }
            let place = || format!("line {number} of {name}");
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !is_whole || line.len() > MAX_BYTES {
                self.add_odd(Oddity::TooLong, place);
                continue;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mut has_id = true;
            let assign_id = || {
                has_id = false;
                format!("{name}:{number}")
            };
            let key = match trace::key_of(line, assign_id) {
                Ok(key) => key,
                Err(problem) => {
                    self.add_odd(Oddity::NoTrace, || format!("{}: {}", place(), reason(&problem)));
                    continue;
                }
            };
            if !has_id {
                self.add_odd(Oddity::NoId, place);
            }
            ensure!(u32::try_from(self.index.lines.len()).is_ok(), "there are more than {} traces", u32::MAX);
            let (key, length, hash) = (key.as_str().into(), length_of(line), hash(line));
            self.index.lines.push(TraceLine { key, file, number, offset, length, hash });
            if self.index.lines.len().is_multiple_of(PROGRESS) {
                progress(self.index.lines.len() as u64);
            }
        }
        Ok(())
    }

    fn add_odd(&mut self, oddity: Oddity, first: impl FnOnce() -> String) {
        match self.odd.get_mut(&oddity) {
            Some(odd) => odd.lines += 1,
            None => drop(self.odd.insert(oddity, Odd { lines: 1, first: first() })),
        }
    }

    /// Removes lines with repeated keys, and adds the notes.
    pub fn finish(mut self) -> LineIndex {
        self.sort();
        let LineIndex { lines, by_key, files, .. } = &self.index;
        let key = |place: u32| &*lines[place as usize].key;
        // The sort is stable, so the first of several equal keys belongs to the first line.
        let mut repeated: Vec<u32> =
            by_key.windows(2).filter(|pair| key(pair[0]) == key(pair[1])).map(|pair| pair[1]).collect();
        repeated.sort_unstable();
        if let Some(first) = repeated.first() {
            let TraceLine { key, file, number, .. } = &lines[*first as usize];
            let first = format!("line {number} of {}: {key}", files[*file as usize].name);
            self.odd.insert(Oddity::Repeated, Odd { lines: repeated.len() as u64, first });
            let mut place = 0;
            self.index.lines.retain(|_| {
                place += 1;
                repeated.binary_search(&(place - 1)).is_err()
            });
            self.sort();
        }
        for (oddity, odd) in &self.odd {
            self.index.notes.push(sentence(*oddity, odd));
        }
        self.index
    }

    fn sort(&mut self) {
        let LineIndex { lines, by_key, .. } = &mut self.index;
        *by_key = (0..u32::try_from(lines.len()).expect("`add_lines` checks it")).collect();
        by_key.sort_by(|one, other| lines[*one as usize].key.cmp(&lines[*other as usize].key));
    }
}

fn sentence(oddity: Oddity, Odd { lines, first }: &Odd) -> String {
    let is_one = *lines == 1;
    let not_shown = if is_one { "line is not shown, because" } else { "lines are not shown, because" };
    let what = match oddity {
        Oddity::NoTrace if is_one => format!("{not_shown} it is not a trace"),
        Oddity::NoTrace => format!("{not_shown} they are not traces"),
        Oddity::TooLong => format!("{not_shown} no trace has more than {MAX_BYTES} bytes"),
        Oddity::Repeated => format!("{not_shown} an earlier line has the same key"),
        Oddity::NoId => {
            let have = if is_one { "line has" } else { "lines have" };
            format!("{have} no id. The file and the number of the line replace it")
        }
    };
    format!("{lines} {what}. The first one is {}.", first.trim_end_matches('.'))
}

/// Describes why a line is not a trace. Omits the line number in the problem, which is always 1.
fn reason(problem: &Problem) -> String {
    match problem {
        Problem::NotJson { detail, column, .. } => format!("{detail} at column {column}"),
        Problem::Invalid(violations) => {
            violations.first().map_or_else(String::new, |Violation { pointer, detail }| format!("{pointer} {detail}"))
        }
        problem => problem.to_string(),
    }
}

fn length_of(line: &[u8]) -> u32 {
    u32::try_from(line.len()).expect("a line has at most 10 MiB")
}

fn no_room() -> String {
    format!(
        "cannot copy the decompressed text to {}: set TMPDIR to a folder with more space",
        std::env::temp_dir().display()
    )
}

struct LineText {
    text: Box<dyn BufRead + Send>,
    copy: Option<BufWriter<File>>,
    /// The offset of the next line in the file, or in the copy.
    offset: u64,
}

enum LineError {
    Text(io::Error),
    Copy(io::Error),
}

impl LineText {
    /// Reads a line with its line break. Returns whether the line is short enough for a trace.
    fn read_line(&mut self, line: &mut Vec<u8>) -> Result<bool, LineError> {
        let mut is_whole = true;
        loop {
            line.clear();
            let mut part = self.text.by_ref().take(MAX_BYTES as u64 + 2); // including CRLF
            let read = part.read_until(b'\n', line).map_err(LineError::Text)?;
            if let Some(copy) = &mut self.copy {
                copy.write_all(line).map_err(LineError::Copy)?;
            }
            self.offset += read as u64;
            if line.ends_with(b"\n") || read < MAX_BYTES + 2 {
                return Ok(is_whole);
            }
            is_whole = false;
        }
    }
}
