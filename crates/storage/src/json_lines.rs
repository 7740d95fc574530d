//! Opens JSON Lines, plain or compressed, and refuses other formats.

use std::{
    io::{self, BufRead, BufReader, Cursor, Read},
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

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The compression of a file, according to its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    /// RFC 1952
    Gzip,
    /// RFC 8878
    Zstd,
}

/// The text of a JSON Lines file.
pub struct JsonLines {
    /// The text after the byte order mark, if any.
    pub text: Box<dyn BufRead + Send>,
    pub packing: Packing,
    /// The size of the byte order mark in bytes.
    pub mark: u64,
}

impl JsonLines {
    /// Starts to read a file. Adds the number of bytes read, before decompression, to `read`.
    pub fn open(input: Box<dyn Read + Send>, read: &Arc<AtomicU64>) -> Result<Self> {
        let mut input = Counted { input, read: Arc::clone(read) };
        let mut magic = Vec::new();
        input.by_ref().take(4).read_to_end(&mut magic).context("cannot read it")?;
        let packing = match magic[..] {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            // A zstd frame, or a skippable frame, which precedes each frame that pzstd writes.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Packing::Zstd,
            _ => Packing::Plain,
        };
        let input = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(input));
        let text: Box<dyn BufRead + Send> = match packing {
            Packing::Gzip => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input))),
            Packing::Zstd => {
                let decoder = zstd::Decoder::with_buffer(input).context("cannot decompress it")?;
                Box::new(BufReader::with_capacity(BUFFER, decoder))
            }
            Packing::Plain => Box::new(input),
        };
        let (text, mark) = checked(text)?;
        Ok(Self { text, packing, mark })
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

/// Skips a byte order mark, and returns its size. Fails if the first lines show that the text is not JSON Lines.
///
/// Reads no more lines than necessary, because the next line of a stream may arrive late.
fn checked(text: Box<dyn BufRead + Send>) -> Result<(Box<dyn BufRead + Send>, u64)> {
    let mut text = text.take(HEAD);
    let mut head = Vec::new();
    let mut verdict = Recognized::Undecided;
    let mut cut = None;
    for _ in 0..HEAD_LINES {
        let read = match text.read_until(b'\n', &mut head) {
            Ok(read) => read,
            // Report the error only after the lines before the cut are read.
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
    let mark = if head.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    head.drain(..mark);
    let text: Box<dyn BufRead + Send> = match cut {
        Some(error) => Box::new(Cursor::new(head).chain(BufReader::new(Cut(Some(error))))),
        None => Box::new(Cursor::new(head).chain(text.into_inner())),
    };
    Ok((text, mark as u64))
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
    let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
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
