//! `share`: writes one trace as an HTML file that needs no server, or as an S3 object with a URL that expires.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use attest_storage::{LocationOptions, TraceReader, aws_config, s3_client};
use attest_terminal::{Output, result};
use attest_view::shared_page;
use aws_sdk_s3::{presigning::PresigningConfig, primitives::ByteStream};
use clap::Args;
use jiff::SignedDuration;
use tempfile::NamedTempFile;

/// The longest validity of a presigned URL (Amazon S3 User Guide, "Sharing objects with presigned URLs").
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// Options of `share`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The file contains the conversation and the stored JSON. It contains no script and loads no resources.

With -o s3://BUCKET/KEY, the file becomes an object, and the command prints a URL that anybody can open until it
expires. An existing object is never overwritten. Delete the object to end the sharing early.")]
pub struct ShareOptions {
    /// The key of the trace: fingerprint/id
    key: String,
    #[command(flatten)]
    location: LocationOptions,
    /// The file to write, or s3://BUCKET/KEY; `-` is standard output
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
    let ShareOptions { key, location, output, expires } = options;
    let traces = TraceReader::open(&location.location()).await?;
    let json = traces.get(&key).await?;
    let json = json.with_context(|| format!("there is no trace `{key}` in {}: check the key", traces.place_name()))?;
    let html = shared_page(&key, &json).into_string();
    match output.to_str().and_then(|output| output.strip_prefix("s3://")) {
        Some(place) => {
            let (bucket, object) = place.split_once('/').unwrap_or_default();
            if bucket.is_empty() || object.is_empty() {
                bail!("`{}` is not s3://BUCKET/KEY", output.display());
            }
            let url = upload(bucket, object, html, expires).await?;
            result!("{url}")?;
        }
        None => write(&output, &html)?,
    }
    Ok(())
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
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Only the owner can read a temporary file, because traces are private.
    let mut file = NamedTempFile::new_in(folder).with_context(failed)?;
    file.write_all(html.as_bytes()).with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    file.persist_noclobber(output).map_err(|error| error.error).with_context(failed)?;
    Ok(())
}

/// Uploads the page without overwriting an existing object. Returns a presigned URL for downloading it.
async fn upload(bucket: &str, key: &str, html: String, expires: Duration) -> Result<String> {
    let client = s3_client(&aws_config().await?);
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
