//! Search and figures over a lake, which contains the whole text of every trace.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use attest_mapping::conversation::StoredTrace;
use attest_storage::{LakeIndex, ListingEntry, TimeRange, TraceReader};
use jiff::civil::Date;

use super::{
    query::Query,
    search::{Found, Row, fits, fits_key, needles, prefix_of, read_row},
    stats::Stats,
    workers::Workers,
};

/// The time after which a page shows the rows that it found so far. The next page continues.
const SEARCH: Duration = Duration::from_secs(5);

/// The largest number of traces that the overview reads.
const READ: usize = 10_000;

/// The time after which the overview stops reading.
const OVERVIEW: Duration = Duration::from_secs(2);

/// Finds the rows of a page that begins at the position `from` and has at most `limit` rows. Searches the newest day
/// first.
pub async fn find(
    traces: &TraceReader,
    lake: &LakeIndex,
    workers: &Workers,
    query: &Query,
    from: &str,
    limit: usize,
) -> anyhow::Result<Found> {
    let matcher =
        Matcher { traces: traces.clone(), query: query.clone(), prefix: prefix_of(query), times: query.times()? };
    let mut scan = lake.scan(from).await?;
    let mut found = Found { rows: Vec::new(), looked_at: 0, unreadable: 0, next: None };
    let deadline = Instant::now() + SEARCH;
    while let Some(rows) = scan.next(|day| matcher.times.overlaps(day)).await? {
        let (matcher, wanted) = (matcher.clone(), limit - found.rows.len());
        let (matching, looked_at) = workers.run(move || matcher.matching(&rows.traces, wanted)).await?;
        found.rows.extend(matching);
        found.looked_at += looked_at;
        if found.rows.len() >= limit || Instant::now() > deadline {
            found.next = Some(rows.position.after(looked_at).to_string());
            break;
        }
    }
    found.rows.sort_by_key(|row| Reverse(row.entry.stored));
    Ok(found)
}

/// Counts the traces of every day, and reads those of the newest days as far as the limits allow.
pub async fn stats(traces: &TraceReader, lake: &LakeIndex, workers: &Workers) -> anyhow::Result<Stats> {
    let mut scan = lake.scan("").await?;
    let mut days: BTreeMap<Date, u64> = BTreeMap::new();
    for file in scan.files() {
        *days.entry(file.day).or_default() += file.rows();
    }
    let mut read = Vec::new();
    let mut has_more = true;
    let deadline = Instant::now() + OVERVIEW;
    while read.len() < READ && Instant::now() < deadline {
        let Some(rows) = scan.next(|_| true).await? else {
            has_more = false;
            break;
        };
        let traces = traces.clone();
        let rows = move || {
            let own = rows.traces.iter().filter(|(entry, _)| traces.contains(&entry.key));
            own.map(|(entry, json)| read_row(listed(entry, json), &StoredTrace::read(json.as_bytes())))
                .collect::<Vec<_>>()
        };
        read.extend(workers.run(rows).await?);
    }
    if traces.is_restricted() {
        days.clear(); // the log counts the traces of all fingerprints
    } else {
        has_more = false; // the log counts those that were not read
    }
    workers.run(move || Stats::of_lake(&days, read, has_more)).await
}

#[derive(Clone)]
struct Matcher {
    traces: TraceReader,
    query: Query,
    prefix: String,
    times: TimeRange,
}

impl Matcher {
    /// Returns at most `wanted` matching rows, and the number of traces that were looked at.
    fn matching(&self, traces: &[(attest_lake::Entry, String)], wanted: usize) -> (Vec<Row>, usize) {
        let words = needles(&self.query);
        let mut rows = Vec::new();
        for (looked_at, (entry, json)) in traces.iter().enumerate() {
            if rows.len() == wanted {
                return (rows, looked_at);
            }
            let is_selected = entry.key.starts_with(&self.prefix) && self.traces.contains(&entry.key);
            let entry = listed(entry, json);
            if is_selected && fits_key(&self.query, &entry, self.times) && words.iter().all(|word| word.is_in(json)) {
                let stored = StoredTrace::read(json.as_bytes());
                let row = read_row(entry, &stored);
                if fits(&self.query, &row, &stored) {
                    rows.push(row);
                }
            }
        }
        (rows, traces.len())
    }
}

fn listed(entry: &attest_lake::Entry, json: &str) -> ListingEntry {
    ListingEntry { key: entry.key.clone(), stored: entry.stored, size: json.len() as u64 }
}
