//! Selects the traces to forget, and finds their rows in a file.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs, io,
    path::{Display, Path},
};

use anyhow::{Context, Result, ensure};
use attest::{key::Key, trace};
use attest_lake::{Entry, LakeFile, LakeLocation, Object, source::Source};
use attest_mapping::{LetterCase, Needle};
use attest_query::{Query, Selector};
use attest_storage::ListingEntry;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};

use super::ForgetOptions;
use crate::lake::duckdb::Condition;

pub enum Selection {
    Keys(BTreeSet<String>),
    Content(Content),
    Condition(Condition),
}

/// A selection by stored bytes.
pub enum Content {
    Text(Needle),
    Query(Selector),
}

impl Content {
    pub fn selects(&self, entry: &Entry, json: &str) -> bool {
        match self {
            Self::Text(needle) => needle.is_in(json),
            Self::Query(selector) => selector.selects(&listing_entry(entry, json.len()), json.as_bytes()),
        }
    }

    /// Tests an object that may not be a trace. Returns `None` if it is not a trace and the query needs the content.
    pub fn selects_object(&self, Object { entry, json, .. }: &Object) -> Option<bool> {
        match self {
            Self::Query(selector) if !trace::is_trace(json) => {
                selector.query().decide(&listing_entry(entry, json.len()))
            }
            _ => Some(self.selects(entry, &String::from_utf8_lossy(json))),
        }
    }
}

fn listing_entry(entry: &Entry, size: usize) -> ListingEntry {
    ListingEntry { key: entry.key.clone(), stored: entry.stored, size: size as u64 }
}

impl Selection {
    pub async fn of(options: &ForgetOptions) -> Result<Self> {
        if let Some(file) = &options.keys {
            return Ok(Self::Keys(read_keys(file)?));
        }
        if let Some(condition) = &options.condition {
            return Ok(Self::Condition(Condition::parse(condition).await?));
        }
        if let Some(query) = &options.selection.query {
            return Ok(Self::Content(Content::Query(Selector::new(query.clone()))));
        }
        let text = options.text.as_deref().unwrap_or_default();
        ensure!(!text.is_empty(), "an empty text would select all traces");
        let case = if options.ignore_case { LetterCase::Ignored } else { LetterCase::Matters };
        Ok(Self::Content(Content::Text(Needle::new(text, case))))
    }

    /// Returns `false` only if no object with this key is selected.
    pub fn may_select(&self, key: &str) -> bool {
        match self {
            Self::Content(Content::Query(selector)) => key.starts_with(&selector.query().key_prefix()),
            _ => true,
        }
    }

    pub async fn keys_in(&self, file: &LakeFile) -> Result<BTreeSet<String>> {
        match self {
            Self::Keys(keys) => keys_of(file, keys).await,
            Self::Content(content) => {
                let mut found = BTreeSet::new();
                let mut batches = file.traces(0).await?;
                while let Some(traces) = batches.try_next().await? {
                    let matches = traces.into_iter().filter(|(entry, json)| content.selects(entry, json));
                    found.extend(matches.map(|(entry, _)| entry.key));
                }
                Ok(found)
            }
            Self::Condition(condition) => condition.keys(file).await?.iter().map(|line| key(line)).collect(),
        }
    }
}

/// Returns those of `keys` whose rows are in the file.
pub async fn keys_of(file: &LakeFile, keys: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    if !file.may_contain(keys).await? {
        return Ok(BTreeSet::new());
    }
    Ok(file.keys().await?.into_iter().map(|entry| entry.key).filter(|key| keys.contains(key)).collect())
}

/// Returns a digest of the selection, which identifies a repeated run. The salt keeps a short text from being guessed.
pub fn digest(options: &ForgetOptions, selection: &Selection, salt: &str) -> String {
    let mut digest = Sha256::new();
    match selection {
        Selection::Keys(keys) => keys.iter().for_each(|key| digest.update(format!("{key}\n"))),
        _ => {
            digest.update(format!("{:?}{:?}{}", options.text, options.condition, options.ignore_case));
            // Without a query, the digest is that of earlier versions, whose lists can still be completed.
            digest.update(options.selection.query.as_ref().map(Query::to_string).unwrap_or_default());
        }
    }
    digest.update(salt);
    hex(digest)
}

/// Returns a digest of the places where a run deletes: the bucket or folder, and the lake.
pub fn digest_of_places(source: &Source, lake: &LakeLocation, salt: &str) -> String {
    let place = source.id.as_ref().unwrap_or(&source.name);
    hex(Sha256::new().chain_update(format!("{place:?}{:?}{salt}", lake.to_string())))
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a string cannot fail
        hex
    })
}

/// Reads a file with one key per line. Lines that start with `#` are comments, because no key starts with `#`.
pub fn read_keys(file: &Path) -> Result<BTreeSet<String>> {
    let text = if file == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) };
    let text = text.with_context(|| format!("cannot read the keys in {}", source_of_keys(file)))?;
    let keys: BTreeSet<String> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(key).collect::<Result<_>>()?;
    ensure!(!keys.is_empty(), "{} contains no key", source_of_keys(file));
    Ok(keys)
}

/// Reads a line. Fails if it is not a key, because the file may be the wrong one.
fn key(line: &str) -> Result<String> {
    ensure!(Key::read(line).is_some(), "{line:?} is not the key of a trace: nothing was deleted");
    Ok(line.to_owned())
}

fn source_of_keys(file: &Path) -> Display<'_> {
    if file == Path::new("-") { Path::new("standard input").display() } else { file.display() }
}
