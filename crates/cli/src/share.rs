//! `share`: writes traces as HTML files that need no server, or as S3 objects with a URL that expires.

use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use attest_export::{ReadOptions, ReadTrace, Traces};
use attest_query::Field;
use attest_storage::{aws_config, s3_client};
use attest_terminal::{Output, note, progress::Progress, result, shutdown::stop_signal};
use attest_view::{SharedEntry, shared_contents, shared_page, shared_title};
use aws_sdk_s3::{Client, presigning::PresigningConfig, primitives::ByteStream};
use clap::Args;
use futures_util::StreamExt;
use indicatif::HumanCount;
use jiff::SignedDuration;
use tempfile::{Builder, NamedTempFile, TempDir};

/// The longest validity of a presigned URL (Amazon S3 User Guide, "Sharing objects with presigned URLs").
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// Options of `share`.
#[derive(Debug, Args)]
#[command(after_long_help = format!("\
The file contains the conversation and the stored JSON. It contains no script and loads no resources.

With -o s3://BUCKET/KEY, the file becomes an object, and the command prints a URL that anybody can open until it
expires. An existing object is never overwritten. Delete the object to end the sharing early.

With --query, FILE is a folder that does not exist, or s3://BUCKET/PREFIX. It gets one file per trace, and index.html, which
links to them. The command prints the URL of the index in S3. The URLs of all files expire at the same time.

{}", Field::help()))]
pub struct ShareOptions {
    /// The key of the trace: fingerprint/id
    #[arg(
        required_unless_present = "query",
        conflicts_with_all = ["query", "fingerprint", "since", "until", "model"]
    )]
    key: Option<String>,
    #[command(flatten)]
    read: ReadOptions,
    /// The file to write, or s3://BUCKET/KEY; `-` is standard output. With --query, a new folder, or s3://BUCKET/PREFIX
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The validity of the URL of an object, at most 7 days: 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = validity)]
    expires: Duration,
}

fn validity(text: &str) -> Result<Duration> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let time = match days.and_then(|days| days.checked_mul(24 * 60 * 60)) {
        Some(seconds) => Duration::from_secs(seconds),
        None => text.parse::<SignedDuration>()?.try_into()?,
    };
    if time.is_zero() || time > LONGEST {
        bail!("a URL of S3 is valid for 1 second to 7 days");
    }
    Ok(time)
}

pub async fn run(options: ShareOptions) -> Result<()> {
    let ShareOptions { key, read, output, expires } = options;
    let traces = read.open().await?;
    let object = output.to_str().and_then(|output| output.strip_prefix("s3://")).map(object);
    let object = object.transpose().with_context(|| format!("`{}` is not s3://BUCKET/KEY", output.display()))?;
    let Some(key) = key else {
        let several = share_several(&traces, read.quiet, &output, object, expires);
        return tokio::select! {
            shared = several => shared,
            () = stop_signal() => bail!("stopped: not all traces are shared"),
        };
    };
    let json = traces.reader().get(&key).await?;
    let place = traces.reader().place_name();
    let json = json.with_context(|| format!("there is no trace `{key}` in {place}: check the key"))?;
    let html = shared_page(&key, &json).into_string();
    match object {
        Some((bucket, object)) => {
            let client = s3_client(&aws_config().await?);
            let url = upload(&client, bucket, object, html, expires).await?;
            result!("{url}")?;
        }
        None => write(&output, &html)?,
    }
    Ok(())
}

/// Splits `BUCKET/KEY`.
fn object(place: &str) -> Result<(&str, &str)> {
    let (bucket, object) = place.split_once('/').unwrap_or_default();
    ensure!(!bucket.is_empty() && !object.is_empty(), "the bucket or the key is missing");
    Ok((bucket, object))
}

async fn share_several(
    traces: &Traces,
    is_quiet: bool,
    output: &Path,
    object: Option<(&str, &str)>,
    expires: Duration,
) -> Result<()> {
    let files = match object {
        Some((bucket, prefix)) => {
            let (bucket, prefix) = (bucket.to_owned(), prefix.trim_end_matches('/').to_owned());
            SharedFiles::Bucket { client: s3_client(&aws_config().await?), bucket, prefix, expires }
        }
        None => SharedFiles::in_folder(output)?,
    };
    let mut progress = Progress::new(output.display().to_string(), "traces", None, Arc::default(), is_quiet);
    let (mut entries, mut unread) = (Vec::new(), 0);
    let mut reads = std::pin::pin!(traces.read(traces.list(None)));
    while let Some(read) = reads.next().await {
        let (entry, read) = read?;
        match read {
            ReadTrace::Trace(json) => {
                // A key may be too long for a file name.
                let name = format!("{}.html", entries.len() + 1);
                let href = files.write(&name, shared_page(&entry.key, &json).into_string()).await?;
                entries.push(SharedEntry { title: shared_title(&entry.key, &json), key: entry.key, href });
                progress.update(entries.len() as u64);
            }
            ReadTrace::LeftOut | ReadTrace::Deleted => {}
            ReadTrace::NotATrace => note!("{} is not a trace", entry.key),
            ReadTrace::Unreadable(reason, _) => {
                note!("{} cannot be read: {reason}", entry.key);
                unread += 1;
            }
        }
    }
    progress.finish();
    ensure!(!entries.is_empty() || unread > 0, "no trace in {} matches", traces.reader().place_name());
    ensure!(!entries.is_empty(), "{unread} objects cannot be read, and no other trace matches");
    let url = files.write("index.html", shared_contents(&entries).into_string()).await?;
    if let SharedFiles::Bucket { .. } = files {
        result!("{url}")?;
    }
    files.finish(output)?;
    note!("{} traces are shared", HumanCount(entries.len() as u64));
    ensure!(unread == 0, "{unread} objects cannot be read, and are not shared");
    Ok(())
}

/// The files of several traces.
enum SharedFiles {
    /// A temporary folder that is renamed when it is complete.
    Folder(TempDir),
    Bucket {
        client: Client,
        bucket: String,
        prefix: String,
        expires: Duration,
    },
}

impl SharedFiles {
    fn in_folder(output: &Path) -> Result<Self> {
        let failed = || format!("cannot write {}: choose another folder with -o", output.display());
        ensure!(output.symlink_metadata().is_err(), "{} exists: choose a new folder with -o", output.display());
        ensure!(output != Path::new("-"), "several traces need a folder, or s3://BUCKET/PREFIX: choose one with -o");
        // Only the owner can read the folder, because traces are private.
        let folder = Builder::new().permissions(Permissions::from_mode(0o700)).tempdir_in(parent(output));
        Ok(Self::Folder(folder.with_context(failed)?))
    }

    /// Writes a file, and returns its address.
    async fn write(&self, name: &str, html: String) -> Result<String> {
        match self {
            Self::Folder(folder) => {
                write(&folder.path().join(name), &html)?;
                Ok(name.to_owned())
            }
            Self::Bucket { client, bucket, prefix, expires } => {
                upload(client, bucket, &format!("{prefix}/{name}"), html, *expires).await
            }
        }
    }

    fn finish(self, output: &Path) -> Result<()> {
        let Self::Folder(folder) = self else { return Ok(()) };
        // A folder that appeared meanwhile is replaced only if it is empty (rename, POSIX.1-2024).
        fs::rename(folder.path(), output).with_context(|| format!("cannot write {}", output.display()))?;
        let _ = folder.keep(); // it was renamed
        Ok(())
    }
}

fn parent(output: &Path) -> &Path {
    output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes the file, which must not exist. A failure leaves no partial file.
fn write(output: &Path, html: &str) -> Result<()> {
    if output == Path::new("-") {
        let mut output = Output::default();
        output.write_all(html.as_bytes())?;
        return Ok(output.flush()?);
    }
    let failed = || format!("cannot write {}: choose another file with -o", output.display());
    if fs::metadata(output).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return fs::write(output, html).with_context(failed); // a pipe or a device
    }
    let folder = parent(output);
    // Only the owner can read a temporary file, because traces are private.
    let mut file = NamedTempFile::new_in(folder).with_context(failed)?;
    file.write_all(html.as_bytes()).with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    file.persist_noclobber(output).map_err(|error| error.error).with_context(failed)?;
    Ok(())
}

/// Uploads the page without overwriting an existing object. Returns a presigned URL for downloading it.
async fn upload(client: &Client, bucket: &str, key: &str, html: String, expires: Duration) -> Result<String> {
    let put = client.put_object().bucket(bucket).key(key).if_none_match("*").content_type("text/html; charset=utf-8");
    put.body(ByteStream::from(html.into_bytes()))
        .send()
        .await
        .with_context(|| format!("cannot store s3://{bucket}/{key}: an object with this key may exist"))?;
    let presigning = PresigningConfig::expires_in(expires).context("the validity of the URL")?;
    let url = client.get_object().bucket(bucket).key(key).presigned(presigning).await;
    Ok(url.context("cannot sign the URL")?.uri().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_valid_for_a_second_to_a_week() {
        for (text, seconds) in [("1s", 1), ("30m", 1_800), ("24h", 86_400), ("7d", 604_800), ("168h", 604_800)] {
            assert_eq!(validity(text).expect(text), Duration::from_secs(seconds), "{text}");
        }
        for text in ["", "0s", "8d", "169h", "-1h", "x", "99999999999999999999d"] {
            assert!(validity(text).is_err(), "{text}");
        }
    }
}
