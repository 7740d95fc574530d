//! The output of a line export: a file, which can be resumed, or a stream, which cannot.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use attest_terminal::Output;
use clap::builder::{PathBufValueParser, TypedValueParser};

use super::{
    compression::{Compression, FrameWriter},
    counts::ExportCounts,
    part_file::PartFile,
    paths,
    traces::Traces,
};

pub enum LineOutput {
    File(Box<PartFile>),
    /// Standard output, or a pipe or device such as `/dev/stdout`.
    Stream {
        name: String,
        /// The name of a pipe determines its compression, as for a file.
        writer: Box<FrameWriter<Box<dyn Write>>>,
    },
}

/// Parses the option `--output` of a line export.
pub fn output_parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        ensure!(
            !path.to_str().is_some_and(|path| path.starts_with("s3://")),
            "an export is a file: write a local file, then copy it to S3"
        );
        Ok(path)
    })
}

impl LineOutput {
    pub async fn open(path: &Path, format: &str, traces: &Traces) -> Result<Self> {
        let name = path.display().to_string();
        let failed = || format!("cannot export to {name}");
        if path == Path::new("-") {
            let output = Box::new(Output::default()) as Box<dyn Write>;
            let writer = Box::new(Compression::None.start_frame(output).with_context(failed)?);
            return Ok(Self::Stream { name: "standard output".to_owned(), writer });
        }
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
            let file = File::options().write(true).open(path).with_context(failed)?;
            let writer = Compression::of(path).start_frame(Box::new(file) as Box<dyn Write>).with_context(failed)?;
            return Ok(Self::Stream { name, writer: Box::new(writer) });
        }
        let output = paths::canonical(path)?;
        #[expect(clippy::unnecessary_debug_formatting, reason = "paths that are not UTF-8 stay different")]
        let export_id = format!("{format} from {} to {output:?}", traces.origin().await?);
        Ok(Self::File(Box::new(PartFile::open(output, export_id).with_context(failed)?)))
    }

    pub fn last_key(&self) -> Option<String> {
        match self {
            Self::File(file) => file.last_key(),
            Self::Stream { .. } => None,
        }
    }

    pub fn counts(&self) -> ExportCounts {
        match self {
            Self::File(file) => file.counts().clone(),
            Self::Stream { .. } => ExportCounts::default(),
        }
    }

    /// Calls `each` with every line that an earlier, interrupted run has written.
    pub fn for_each_line(&self, each: impl FnMut(&[u8])) -> Result<()> {
        match self {
            Self::File(file) => file.for_each_line(each),
            Self::Stream { .. } => Ok(()),
        }
    }

    pub fn write(&mut self, line: &[u8]) -> Result<()> {
        match self {
            Self::File(file) => file.write(line),
            Self::Stream { name, writer } => writer.write_line(line).with_context(|| format!("cannot write to {name}")),
        }
    }

    /// Records that every key up to `key` is processed.
    pub fn processed(&mut self, key: String, counts: &ExportCounts) -> Result<()> {
        match self {
            Self::File(file) => file.processed(key, counts),
            Self::Stream { .. } => Ok(()),
        }
    }

    /// Makes the written lines durable before the export stops.
    pub fn save(&mut self, counts: &ExportCounts) -> Result<()> {
        match self {
            Self::File(file) => file.save(counts),
            Self::Stream { name, writer } => writer.flush().with_context(|| format!("cannot write to {name}")),
        }
    }

    pub fn finish(self, counts: &ExportCounts) -> Result<()> {
        match self {
            Self::File(file) => file.finish(counts),
            Self::Stream { name, writer } => writer.end().map(drop).with_context(|| format!("cannot write to {name}")),
        }
    }
}
