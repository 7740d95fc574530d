//! Checks that a lake contains the traces of the place that the user chose. Otherwise, a command would delete the wrong
//! rows.

use std::path::Path;

use anyhow::{Context, Result, bail};
use attest::{place, settings};
use attest_lake::{Table, objects::Objects, source::Source};
use attest_storage::{Location, PlaceId, aws_config, s3_client};
use local_aws::s3::FileStore;

/// The number of rows whose objects are looked up in a lake that records no source.
const SAMPLE: usize = 100;

/// Identifies the place. Creates the id of a folder, but not of a bucket, so that a bucket whose traces are all
/// forgotten is empty.
pub async fn source_of(location: &Location) -> Result<Source> {
    let Location::Bucket(bucket) = location else {
        let PlaceId { name, id } = PlaceId::of(location).await?;
        return Ok(Source { name, id });
    };
    let config = aws_config().await?;
    let id = place::known_id(&s3_client(&config), bucket).await;
    let id = id.with_context(|| format!("cannot read the id of the bucket {bucket}"))?;
    Ok(Source { name: place::bucket_name(bucket, settings::s3_endpoint(&config).as_deref()), id })
}

/// Records the source of a lake before it is changed. Fails if the lake contains the traces of another place.
pub async fn claim(table: &Table, source: &Source, objects: &dyn Objects) -> Result<()> {
    match table.source().await? {
        Some(recorded) => refuse_copy(&recorded, source)?,
        // Lakes of earlier versions record no source, so some of their traces are looked up instead.
        None if !is_plausible(table, objects).await? => {
            bail!("the lake {} has rows, but none of their traces is in {source}: correct the place", table.location())
        }
        None => {}
    }
    Ok(table.claim(source).await?)
}

/// Fails unless the lake records this source.
pub async fn require(table: &Table, source: &Source) -> Result<()> {
    let Some(recorded) = table.source().await? else {
        bail!("the lake {} does not record the place of its traces: run `attest lake sync` first", table.location());
    };
    refuse_copy(&recorded, source)?;
    Ok(table.claim(source).await?)
}

/// Fails if the lake records another source, and writes nothing. Lakes of earlier versions record none.
pub async fn check(table: &Table, source: &Source) -> Result<()> {
    let Some(recorded) = table.source().await? else { return Ok(()) };
    refuse_copy(&recorded, source)?;
    Ok(table.compare(&recorded, source)?)
}

/// Fails if the place is a copy of the recorded folder, which has the same id and still exists.
fn refuse_copy(recorded: &Source, source: &Source) -> Result<()> {
    let (Some(original), Some(given)) = (recorded.name.strip_prefix("folder "), source.name.strip_prefix("folder "))
    else {
        return Ok(());
    };
    let original_id = || FileStore::read_only(Path::new(original)).ok()?.id().ok()?;
    if recorded.id.is_some() && recorded.id == source.id && original != given && original_id() == recorded.id {
        bail!("{given} is a copy of {original}, whose traces the lake holds: give that folder");
    }
    Ok(())
}

/// Returns whether the lake is empty, or some of its newest traces are in this place.
async fn is_plausible(table: &Table, objects: &dyn Objects) -> Result<bool> {
    let snapshot = table.load().await?;
    let Some(file) = snapshot.files().iter().max_by_key(|file| file.day) else { return Ok(true) };
    for entry in snapshot.keys(vec![file.clone()]).await?.into_iter().take(SAMPLE) {
        if objects.stored(&entry.key).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
