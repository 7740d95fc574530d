//! Opens the files to import, decompresses them, and refuses formats other than JSON Lines.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use flate2::bufread::MultiGzDecoder;
use serde::de::IgnoredAny;

/// The size of the buffers between the file, the decompressor and the line reader, in bytes.
const BUFFER: usize = 128 * 1024;

/// The maximum amount of a file's text that is inspected to detect JSON Lines, in bytes.
const HEAD: u64 = 64 * 1024;

/// The maximum number of lines that are inspected to detect JSON Lines.
const HEAD_LINES: usize = 10;

/// The first bytes of unsupported formats, with each format's name.
const OTHER_FORMATS: [(&[u8], &str); 7] = [
    (b"PK\x03\x04", "a ZIP archive"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4"),
    (b"PAR1", "a Parquet file"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
];

/// A file from the command line; `-` is standard input.
#[derive(Debug, Clone)]
pub struct InputFile {
    pub path: PathBuf,
    /// Size of the file on disk; `None` for a stream, such as a pipe.
    pub size: Option<u64>,
    /// The number of bytes read from the file so far, before decompression.
    pub read: Arc<AtomicU64>,
}

impl InputFile {
    /// Checks that the file exists. If it is not a stream, also checks that it is JSON Lines. Writes nothing.
    pub fn check(path: &Path) -> Result<Self> {
        let mut file = Self { path: path.to_owned(), size: None, read: Arc::default() };
        if file.is_stdin() {
            return Ok(file);
        }
        let metadata = fs::metadata(path).context("cannot read it")?;
        if metadata.is_dir() {
            bail!("it is a folder: name the files in it");
        }
        if metadata.is_file() && !file.is_device() {
            file.open()?;
            file.size = Some(metadata.len());
            file.read.store(0, Ordering::Relaxed);
        }
        Ok(file)
    }

    fn is_stdin(&self) -> bool {
        self.path == Path::new("-")
    }

    /// Returns whether the path is a device or an open file, next to which no file can be created.
    fn is_device(&self) -> bool {
        self.path.starts_with("/dev") || self.path.starts_with("/proc")
    }

    pub fn is_stream(&self) -> bool {
        self.size.is_none()
    }

    /// Returns the base name for checkpoints and rejected lines. Streams may have paths such as `/dev/fd/63`.
    pub fn name(&self) -> &OsStr {
        if self.is_stdin() || self.path == Path::new("/dev/stdin") {
            return OsStr::new("stdin");
        }
        if self.is_device() {
            return OsStr::new("pipe");
        }
        self.path.file_name().unwrap_or(self.path.as_os_str())
    }

    /// Opens the text. Its first bytes determine whether it is gzip (RFC 1952), zstd (RFC 8878) or plain.
    pub fn open(&self) -> Result<Box<dyn BufRead + Send>> {
        let input: Box<dyn Read + Send> = if self.is_stdin() {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&self.path).context("cannot read it")?)
        };
        let mut input = Counted { input, read: Arc::clone(&self.read) };
        let mut magic = Vec::new();
        input.by_ref().take(4).read_to_end(&mut magic).context("cannot read it")?;
        let format = magic.clone();
        let input = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(input));
        let text: Box<dyn BufRead + Send> = match format[..] {
            [0x1f, 0x8b, ..] => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input))),
            // A zstd frame, or a skippable frame, which precedes each frame that pzstd writes.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                let decoder = zstd::Decoder::with_buffer(input).context("cannot decompress it")?;
                Box::new(BufReader::with_capacity(BUFFER, decoder))
            }
            _ => Box::new(input),
        };
        checked(text)
    }
}

struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Skips a byte order mark, and fails if the first lines show that the text is not JSON Lines.
///
/// Reads no more lines than necessary, because the next line of a stream may arrive late.
fn checked(text: Box<dyn BufRead + Send>) -> Result<Box<dyn BufRead + Send>> {
    let mut text = text.take(HEAD);
    let mut head = Vec::new();
    let mut verdict = Recognized::Undecided;
    let mut cut = None;
    for _ in 0..HEAD_LINES {
        let read = match text.read_until(b'\n', &mut head) {
            Ok(read) => read,
            // Report the error only after the lines before the cut are imported.
            Err(error) => {
                cut = Some(error);
                break;
            }
        };
        verdict = judge(&head, read == 0 && text.limit() > 0);
        if read == 0 || !matches!(verdict, Recognized::Undecided) {
            break;
        }
    }
    if let Recognized::Refused(why) = verdict {
        bail!("{why}");
    }
    if head.starts_with(b"\xef\xbb\xbf") {
        head.drain(..3);
    }
    match cut {
        Some(error) => Ok(Box::new(Cursor::new(head).chain(BufReader::new(Cut(Some(error)))))),
        None => Ok(Box::new(Cursor::new(head).chain(text.into_inner()))),
    }
}

/// The end of truncated input, where reading fails once.
struct Cut(Option<io::Error>);

impl Read for Cut {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Recognized {
    JsonLines,
    Refused(String),
    /// More lines are needed. If there are none, each line is checked on its own.
    Undecided,
}

fn judge(head: &[u8], is_whole: bool) -> Recognized {
    if let Some((_, format)) = OTHER_FORMATS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Recognized::Refused(format!("it is {format}: convert it to JSON Lines in UTF-8, plain, gzip or zstd"));
    }
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    // The last line may continue after the head.
    let mut lines: Vec<_> = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    if !is_whole {
        lines.pop();
    }
    lines.retain(|line| !line.is_empty());
    let Some((first, rest)) = lines.split_first() else {
        return match head.trim_ascii_start() {
            [] | [b'{', ..] => Recognized::Undecided,
            [b'[', ..] => an_array(),
            _ if head.len() as u64 >= HEAD => not_json_lines(),
            _ => Recognized::Undecided,
        };
    };
    if first.starts_with(b"{") {
        return match serde_json::from_slice::<IgnoredAny>(first) {
            Err(error) if error.is_eof() => match rest.first() {
                Some(second) if second.starts_with(b"{") => Recognized::JsonLines,
                Some(_) => Recognized::Refused(
                    "its objects span several lines: write one line per object, as `jq -c .` does".to_owned(),
                ),
                None => Recognized::Undecided,
            },
            _ => Recognized::JsonLines,
        };
    }
    if first.starts_with(b"[") {
        return an_array();
    }
    if rest.iter().any(|line| line.starts_with(b"{")) {
        return Recognized::JsonLines;
    }
    if is_whole || lines.len() >= HEAD_LINES { not_json_lines() } else { Recognized::Undecided }
}

fn an_array() -> Recognized {
    Recognized::Refused(
        "it is a JSON array, not JSON Lines: write one line per element, as `jq -c '.[]'` does".to_owned(),
    )
}

fn not_json_lines() -> Recognized {
    Recognized::Refused("it is not JSON Lines: none of its first lines is a JSON object".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_formats_than_json_lines_are_refused() {
        let array = "[".to_owned() + &" ".repeat(70_000);
        for (head, is_whole, is_refused) in [
            ("{\"a\":1}\n", false, false),
            ("\u{feff}{\"a\":1}\n", true, false),
            ("\n\n{\"a\":1}\nx\n", true, false),
            ("{\"a\":\n{\"a\":1}\n", true, false), // the first line is torn
            ("{\"a\":1,}\n", true, false),         // one bad line
            ("{\"a\":", true, false),              // one torn line
            ("a log began\n{\"a\":1}\n", true, false),
            ("", true, false),
            ("\n \n", true, false),
            ("{\n  \"a\": 1\n}\n", false, true),
            ("{\"a\": {\n  \"b\": 1}}\n", false, true),
            ("[\n", false, true),
            ("[{\"a\":1}]", true, true),
            (&array, false, true),
            ("a,b\n1,2\n", true, true),
            ("1", true, true),
            ("PK\u{3}\u{4}", false, true),
        ] {
            let verdict = judge(head.as_bytes(), is_whole);
            assert_eq!(matches!(verdict, Recognized::Refused(_)), is_refused, "{head:.20}: {verdict:?}");
        }
    }
}
