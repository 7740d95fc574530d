//! A file of lines that survives interruptions without gaps or duplicates.
//!
//! Until the export is complete, the lines are in `FILE.part`. `FILE.part.checkpoint` records the last key and the
//! synced length. A resumed export truncates the file to that length and continues after that key. The checkpoint is
//! written before `FILE.part` is created, so a `FILE.part` without a checkpoint belongs to another program and is not
//! changed.

use std::{
    fs::{self, File},
    io::{self, BufRead, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use attest_terminal::run_lock::RunLock;
use local_aws::files::open_own;
use serde::{Deserialize, Serialize};
use tempfile::TempPath;

use super::{
    compression::{Compression, FrameWriter},
    counts::ExportCounts,
    paths::with_suffix,
    state_file,
};

const INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartCheckpoint {
    format: CheckpointFormat,
    /// Identifies the export. Only the same export may resume.
    export_id: String,
    key: Option<String>,
    /// The length of `FILE.part` after `key`, in bytes.
    bytes: u64,
    counts: ExportCounts,
}

#[derive(Debug, Serialize, Deserialize)]
enum CheckpointFormat {
    #[serde(rename = "attest export checkpoint 1")]
    V1,
}

pub struct PartFile {
    output: PathBuf,
    part: PathBuf,
    checkpoint_path: PathBuf,
    compression: Compression,
    checkpoint: PartCheckpoint,
    /// The open frame, if lines were written since the last checkpoint.
    frame: Option<FrameWriter>,
    /// The time of this run's last checkpoint. The first checkpoint follows the first key, so that a write failure is
    /// reported immediately.
    saved: Option<Instant>,
    _lock: RunLock,
}

impl PartFile {
    /// Starts the export `export_id` to `output`, or resumes it. Fails if another run has locked the output, or if a
    /// file exists that this export did not write.
    pub fn open(output: PathBuf, export_id: String) -> Result<Self> {
        check_absent(&output)?;
        let part = with_suffix(&output, ".part");
        let checkpoint_path = with_suffix(&output, ".part.checkpoint");
        let lock = RunLock::acquire(&with_suffix(&output, ".part.lock"), &output.display().to_string())?;
        check_absent(&output)?; // the previous holder of the lock may have completed it
        let begin = |export_id| {
            let counts = ExportCounts::default();
            let checkpoint = PartCheckpoint { format: CheckpointFormat::V1, export_id, key: None, bytes: 0, counts };
            state_file::save(&checkpoint_path, &checkpoint)?;
            // Traces are private, so the export is too.
            let create = File::options().write(true).create_new(true).mode(0o600).open(&part);
            create.with_context(|| format!("cannot create {}", part.display()))?;
            anyhow::Ok(checkpoint)
        };
        let found = state_file::load::<PartCheckpoint>(&checkpoint_path)?;
        let checkpoint = match (found, fs::symlink_metadata(&part)) {
            (None, Ok(_)) => {
                bail!("{} exists, but its checkpoint does not: move it, or choose another --output", part.display())
            }
            (None, Err(_)) => begin(export_id)?,
            (Some(found), metadata) => {
                let advice = format!(
                    "Run the other export again to complete it, delete {} and its checkpoint, or choose another --output",
                    part.display()
                );
                state_file::check_owner(&checkpoint_path, &found.export_id, &export_id, &advice)?;
                match metadata {
                    Ok(metadata) => {
                        cut(&part, &metadata, found.bytes)?;
                        found
                    }
                    Err(_) => begin(export_id)?, // without its lines, the export starts over
                }
            }
        };
        let compression = Compression::of(&output);
        Ok(Self { output, part, checkpoint_path, compression, checkpoint, frame: None, saved: None, _lock: lock })
    }

    pub fn last_key(&self) -> Option<String> {
        self.checkpoint.key.clone()
    }

    pub fn counts(&self) -> &ExportCounts {
        &self.checkpoint.counts
    }

    /// Calls `each` with every line that an earlier, interrupted run has written.
    pub fn for_each_line(&self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let failed = || format!("cannot read {}", self.part.display());
        let file = open_own(File::options().read(true), &self.part).with_context(failed)?;
        for line in self.compression.read(file).with_context(failed)?.split(b'\n') {
            each(&line.with_context(failed)?);
        }
        Ok(())
    }

    pub fn write(&mut self, line: &[u8]) -> Result<()> {
        let frame = match &mut self.frame {
            Some(frame) => frame,
            none => none.insert(start_frame(&self.part, self.compression)?),
        };
        frame.write_line(line).with_context(|| format!("cannot write {}", self.part.display()))
    }

    /// Records that every key up to `key` is processed. Writes a checkpoint if the last one is old.
    pub fn processed(&mut self, key: String, counts: &ExportCounts) -> Result<()> {
        self.checkpoint.key = Some(key);
        if self.saved.is_some_and(|saved| saved.elapsed() < INTERVAL) { Ok(()) } else { self.save(counts) }
    }

    pub fn save(&mut self, counts: &ExportCounts) -> Result<()> {
        self.saved = Some(Instant::now());
        if let Some(frame) = self.frame.take() {
            self.checkpoint.bytes = frame.finish().with_context(|| format!("cannot write {}", self.part.display()))?;
        }
        self.checkpoint.counts = counts.clone();
        state_file::save(&self.checkpoint_path, &self.checkpoint)
    }

    /// Renames `FILE.part` to `FILE`. Fails if `FILE` was created in the meantime.
    pub fn finish(mut self, counts: &ExportCounts) -> Result<()> {
        self.save(counts)?;
        if self.checkpoint.bytes == 0 && self.compression != Compression::None {
            // An empty file is not a valid gzip or zstd file, but an empty frame is.
            self.frame = Some(start_frame(&self.part, self.compression)?);
            self.save(counts)?;
        }
        let part = TempPath::try_from_path(&self.part)?;
        if let Err(error) = part.persist_noclobber(&self.output) {
            let _ = error.path.keep(); // otherwise, dropping it deletes the file
            return Err(error.error).with_context(|| {
                format!("cannot rename {} to {}: rename it yourself", self.part.display(), self.output.display())
            });
        }
        fs::remove_file(&self.checkpoint_path)
            .with_context(|| format!("cannot delete {}", self.checkpoint_path.display()))
    }
}

fn check_absent(output: &Path) -> Result<()> {
    if fs::symlink_metadata(output).is_ok() {
        bail!("{} exists: delete it, or choose another --output", output.display());
    }
    Ok(())
}

/// Truncates `FILE.part` to the length that its checkpoint records.
fn cut(part: &Path, metadata: &fs::Metadata, bytes: u64) -> Result<()> {
    if !metadata.is_file() || metadata.len() < bytes {
        bail!("{} does not have the lines of its checkpoint: delete both to start again", part.display());
    }
    let cut = || open_own(File::options().write(true), part)?.set_len(bytes);
    cut().with_context(|| format!("cannot write {}", part.display()))
}

fn start_frame(part: &Path, compression: Compression) -> Result<FrameWriter> {
    let start = || -> io::Result<FrameWriter> {
        let mut file = open_own(File::options().write(true), part)?;
        file.seek(SeekFrom::End(0))?;
        compression.start_frame(file)
    };
    start().with_context(|| format!("cannot write {}", part.display()))
}
