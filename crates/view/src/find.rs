//! Finds traces and figures in the lake, if the reader has one, and otherwise in the listing.

use anyhow::Result;
use attest_storage::TraceReader;

#[cfg(feature = "lake")]
use super::lake;
use super::{
    query::Query,
    search::{self, Found, ROWS},
    stats::Stats,
    workers::Workers,
};

/// Finds the rows of a page that begins at the cursor `from` and has at most `limit` rows.
pub async fn find(traces: &TraceReader, workers: &Workers, query: &Query, from: &str, limit: usize) -> Result<Found> {
    #[cfg(feature = "lake")]
    if let Some(lake) = traces.lake() {
        return lake::find(traces, lake, workers, query, from, limit).await;
    }
    search::find(traces, workers, query, from, limit).await
}

/// Finds the keys of the rows on a page, and the cursor of the next page. Reads traces only if the query depends on
/// their content, or if the cursors are those of a lake.
pub async fn find_keys(
    traces: &TraceReader,
    workers: &Workers,
    query: &Query,
    from: &str,
) -> Result<(Vec<String>, Option<String>)> {
    if query.needs_content() || has_lake(traces) {
        let found = find(traces, workers, query, from, ROWS).await?;
        return Ok((found.rows.into_iter().map(|row| row.entry.key).collect(), found.next));
    }
    search::find_keys(traces, query, from).await
}

pub async fn stats(traces: &TraceReader, workers: &Workers) -> Result<Stats> {
    #[cfg(feature = "lake")]
    if let Some(lake) = traces.lake() {
        return lake::stats(traces, lake, workers).await;
    }
    Stats::gather(traces, workers).await
}

#[cfg(feature = "lake")]
fn has_lake(traces: &TraceReader) -> bool {
    traces.lake().is_some()
}

#[cfg(not(feature = "lake"))]
const fn has_lake(_: &TraceReader) -> bool {
    false
}
