//! Converts lines that are not traces, and joins the requests of a batch.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufWriter, Write as _},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use attest_mapping::{BatchRequest, Defaults, Format, LineFormat, LineMapping, MemberMap, Unmapped, custom_id};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{input::InputFile, options::ImportOptions};

pub struct Conversion {
    mapping: LineMapping,
    requests: Option<BatchRequests>,
    /// Identifies everything that determines the trace of a line.
    pub name: String,
}

impl Conversion {
    /// Returns `None` if the lines are traces.
    pub fn open(options: &ImportOptions) -> Result<Option<Self>> {
        let (format, mut name) = match (options.from, &options.map) {
            (Some(format), _) => (LineFormat::Provider(format), format.name().to_owned()),
            (None, Some(path)) => {
                let shown = path.display();
                let json = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
                let map = MemberMap::read(&json).with_context(|| format!("{shown} is not a map of members"))?;
                (LineFormat::Own(Box::new(map)), format!("--map {}", short_digest(Sha256::digest(&json).into())))
            }
            (None, None) => return Ok(None),
        };
        let defaults = Defaults { model: options.model.clone(), created: options.created };
        if let Some(model) = &defaults.model {
            let _ = write!(name, " --model {model}");
        }
        if let Some(created) = defaults.created {
            let _ = write!(name, " --created {created}");
        }
        let requests = if options.requests.is_empty() {
            None
        } else {
            if options.from != Some(Format::OpenaiBatch) {
                bail!("--requests needs --from {}", Format::OpenaiBatch.name());
            }
            let requests = BatchRequests::read(&options.requests)?;
            let _ = write!(name, " --requests {}", requests.digest);
            Some(requests)
        };
        Ok(Some(Self { mapping: LineMapping { format, defaults }, requests, name }))
    }

    /// Converts a line. The outer error ends the import.
    pub fn trace_of(&self, line: &[u8]) -> Result<Result<Vec<u8>, Unmapped>> {
        let request = match &self.requests {
            Some(requests) => requests.find(line).context("cannot read a temporary file")?,
            None => return Ok(self.mapping.to_trace(line, BatchRequest::Unknown)),
        };
        let request = request.as_deref().map_or(BatchRequest::Missing, BatchRequest::Line);
        Ok(self.mapping.to_trace(line, request))
    }
}

/// The lines of requests files by their `custom_id`. Only the ids are in memory.
struct BatchRequests {
    lines: File,
    /// Offset and length of each line, in bytes.
    places: HashMap<String, (u64, usize)>,
    digest: String,
}

impl BatchRequests {
    fn read(paths: &[PathBuf]) -> Result<Self> {
        let mut lines = BufWriter::new(tempfile::tempfile().context("cannot create a temporary file")?);
        let (mut places, mut digest, mut offset) = (HashMap::new(), Sha256::new(), 0);
        for path in paths {
            let shown = path.display();
            let failed = || shown.to_string();
            let mut text = InputFile::check(path).and_then(|file| file.open()).with_context(failed)?;
            let mut line = Vec::new();
            for number in 1_u64.. {
                line.clear();
                if text.read_until(b'\n', &mut line).with_context(|| format!("cannot read {shown}"))? == 0 {
                    break;
                }
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let id = custom_id(&line).with_context(|| format!("{shown}:{number}: it has no text `custom_id`"))?;
                digest.update(&line);
                lines.write_all(&line).context("cannot write a temporary file")?;
                if places.insert(id, (offset, line.len())).is_some() {
                    bail!("{shown}:{number}: another request has the same `custom_id`; import each batch on its own");
                }
                offset += line.len() as u64;
            }
        }
        let lines = lines.into_inner().context("cannot write a temporary file")?;
        Ok(Self { lines, places, digest: short_digest(digest.finalize().into()) })
    }

    /// Returns the request of a line of the batch's output.
    fn find(&self, line: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        let Some(&(offset, length)) = custom_id(line).and_then(|id| self.places.get(&id)) else { return Ok(None) };
        let mut request = vec![0; length];
        self.lines.read_exact_at(&mut request, offset)?;
        Ok(Some(request))
    }
}

fn short_digest(digest: [u8; 32]) -> String {
    Uuid::from_bytes(*digest.first_chunk().expect("a SHA-256 has 32 bytes")).simple().to_string()
}
