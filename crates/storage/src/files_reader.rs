use std::{
    collections::BTreeMap,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::{
    json_lines::Packing,
    line_index::{IndexBuilder, LineIndex, TraceLine, files_of, hash},
    listing::{Branch, ListingEntry, ListingPage, MAX_BRANCHES},
};

/// Reads the traces in JSON Lines files, one trace per line.
///
/// The files are indexed once. Only the index is in memory, with about 100 bytes per trace in addition to its key.
#[derive(Debug, Clone)]
pub struct FilesReader {
    name: Arc<str>,
    index: Arc<LineIndex>,
}

/// The line that contains a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinePlace<'a> {
    pub path: &'a Path,
    pub packing: Packing,
    /// The line number, starting at 1.
    pub number: u64,
}

impl FilesReader {
    /// Indexes files, and the files in folders. Blocks until all of them are read.
    ///
    /// Adds the number of bytes read to `read`. Calls `progress` with the number of traces so far.
    pub fn open(paths: &[PathBuf], read: &Arc<AtomicU64>, mut progress: impl FnMut(u64)) -> Result<Self> {
        let files = files_of(paths)?;
        let name = match (paths, &files[..]) {
            ([path], _) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            (_, files) => format!("{} files", files.len()),
        };
        let mut builder = IndexBuilder::default();
        for file in &files {
            builder.add(file, read, &mut progress)?;
        }
        Ok(Self { name: name.into(), index: Arc::new(builder.finish()) })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns notes about the lines that are not shown or have no id.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.index.notes
    }

    /// Returns the line of a trace.
    #[must_use]
    pub fn line(&self, key: &str) -> Option<LinePlace<'_>> {
        let line = &self.index.lines[self.position(key)?];
        let file = &self.index.files[line.file as usize];
        Some(LinePlace { path: &file.path, packing: file.packing, number: line.number })
    }

    /// A cursor is a position in line order. An unknown key starts again at the first page.
    pub(super) fn cursor_after(&self, key: &str) -> String {
        self.position(key).map_or(0, |position| position + 1).to_string()
    }

    /// Returns the position of a trace in line order.
    fn position(&self, key: &str) -> Option<usize> {
        let LineIndex { lines, by_key, .. } = &*self.index;
        let at = by_key.binary_search_by(|place| (*lines[*place as usize].key).cmp(key)).ok()?;
        Some(by_key[at] as usize)
    }

    /// Lists all traces in key order, starting after the key `after`.
    pub(super) fn list(&self, after: Option<&str>) -> impl Iterator<Item = ListingEntry> + Send + 'static {
        let index = Arc::clone(&self.index);
        let is_before = |place: &u32| after.is_some_and(|after| &*index.lines[*place as usize].key <= after);
        let begin = index.by_key.partition_point(is_before);
        (begin..index.by_key.len()).map(move |at| entry(&index, &index.lines[index.by_key[at] as usize]))
    }

    /// Returns a page of the traces whose keys `is_selected` accepts, in line order.
    pub(super) fn page(&self, from: Option<&str>, limit: usize, is_selected: impl Fn(&str) -> bool) -> ListingPage {
        let begin = from.and_then(|from| from.parse().ok()).unwrap_or(0).min(self.index.lines.len());
        let lines = self.index.lines.iter().enumerate().skip(begin);
        let mut selected = lines.filter(|(_, line)| is_selected(&line.key)).peekable();
        let (mut entries, mut end) = (Vec::new(), begin);
        while entries.len() < limit
            && let Some((place, line)) = selected.next()
        {
            end = place + 1;
            entries.push(entry(&self.index, line));
        }
        ListingPage { next: selected.peek().map(|_| end.to_string()), entries }
    }

    /// Counts the traces in each branch directly below a prefix. Returns the first thousand branches.
    pub(super) fn branches(&self, prefix: &str) -> Vec<Branch> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for TraceLine { key, .. } in &self.index.lines {
            if let Some(slash) = key.strip_prefix(prefix).and_then(|below| below.find('/')) {
                *counts.entry(&key[..=prefix.len() + slash]).or_default() += 1;
            }
        }
        let branch =
            |(prefix, traces): (&str, _)| Branch { prefix: prefix.to_owned(), traces: Some(traces), below: Vec::new() };
        counts.into_iter().take(MAX_BRANCHES).map(branch).collect()
    }

    /// Reads a trace on this thread. Fails if its line has changed.
    pub(super) fn read(&self, key: &str) -> Result<Option<Bytes>> {
        let Some(position) = self.position(key) else { return Ok(None) };
        let TraceLine { file, number, offset, length, hash: expected, .. } = &self.index.lines[position];
        let file = &self.index.files[*file as usize];
        let mut json = vec![0; *length as usize];
        let is_read = file.text.read_exact_at(&mut json, *offset);
        let failed = || format!("cannot read line {number} of {}", file.path.display());
        is_read.with_context(failed)?;
        let is_changed = hash(&json) != *expected;
        ensure!(!is_changed, "{} has changed since the page was started: start it again", file.path.display());
        Ok(Some(json.into()))
    }
}

fn entry(index: &LineIndex, line: &TraceLine) -> ListingEntry {
    let stored = index.files[line.file as usize].modified;
    ListingEntry { key: line.key.clone().into_string(), stored, size: line.length.into() }
}
