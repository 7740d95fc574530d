//! Lists a bucket by reading many key ranges concurrently.
//!
//! S3 returns at most 1,000 keys per request, and each request starts after the last key of the previous one. The
//! distribution of the keys is unknown, so the listing starts with a single range. Whenever a range has more pages and
//! more requests may be in flight, the rest of the range is split. The density of the page just read determines the
//! number of parts, so dense ranges are split further. A part that turns out to be empty costs one request.

use std::{collections::VecDeque, future::Future};

use futures_util::{Stream, StreamExt, stream, stream::FuturesUnordered};

use crate::{Entry, Result};

const CONCURRENT: usize = 32;

/// The number of key characters that a split considers, after the prefix that both ends of the range share.
const DIGITS: u32 = 8;

/// The lowest character of trace keys, which are printable ASCII.
const FIRST: u8 = b' ';

const BASE: u64 = 95;

#[derive(Debug)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// The last key of the page. `None` if no more keys follow.
    pub next: Option<String>,
}

/// A range of keys: those greater than `after`, up to and including `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    after: String,
    until: Option<String>,
}

/// Lists all entries, in any order. `page` requests the page that follows a key.
pub fn list<F: Future<Output = Result<Page>>>(page: impl Fn(String) -> F) -> impl Stream<Item = Result<Entry>> {
    let first = Range { after: String::new(), until: None };
    let state = (VecDeque::from([first]), FuturesUnordered::new());
    let pages = stream::unfold((state, page), |((mut ranges, mut in_flight), page)| async move {
        while in_flight.len() < CONCURRENT {
            let Some(range) = ranges.pop_front() else { break };
            let response = page(range.after.clone());
            in_flight.push(with_range(range, response));
        }
        let (range, response) = in_flight.next().await?;
        let entries = match response {
            Ok(Page { mut entries, next }) => {
                let is_within = |key: &str| range.until.as_deref().is_none_or(|until| key <= until);
                entries.retain(|entry| is_within(&entry.key));
                // If the last key of the page is the end of the range, nothing is left to list.
                let last = next.filter(|last| range.until.as_deref().is_none_or(|until| &**last < until));
                if let Some(last) = last {
                    let idle = CONCURRENT.saturating_sub(in_flight.len() + ranges.len() + 1);
                    ranges.extend(split(&range, last, idle + 1));
                }
                entries.into_iter().map(Ok).collect()
            }
            Err(error) => vec![Err(error)],
        };
        Some((stream::iter(entries), ((ranges, in_flight), page)))
    });
    pages.flatten()
}

async fn with_range(range: Range, response: impl Future<Output = Result<Page>>) -> (Range, Result<Page>) {
    (range, response.await)
}

/// Splits the rest of a range, after the key `last`, into at most `parts` ranges of about a page or more.
fn split(range: &Range, last: String, parts: usize) -> Vec<Range> {
    let until = range.until.as_deref();
    let prefix = until.map_or(0, |until| common(&last, until));
    let number = |key: &str| number(key.as_bytes().get(prefix..).unwrap_or_default());
    let (begin, here) = (number(&range.after), number(&last));
    let end = until.map_or(BASE.pow(DIGITS), number);
    // The number of pages that the rest has if it is as dense as this page.
    let covered =
        if range.after.get(..prefix) == last.get(..prefix) { here.saturating_sub(begin) } else { here }.max(1);
    let pages = end.saturating_sub(here).div_ceil(covered);
    let parts = pages.min(parts as u64).max(1);
    let width = end.saturating_sub(here) / parts;
    let mut after = last;
    let mut ranges = Vec::new();
    for part in 1..parts {
        let Some(boundary) = after.get(..prefix).map(|shared| format!("{shared}{}", text(here + part * width))) else {
            break;
        };
        if boundary > after && until.is_none_or(|until| &*boundary < until) {
            ranges.push(Range { after: std::mem::replace(&mut after, boundary.clone()), until: Some(boundary) });
        }
    }
    ranges.push(Range { after, until: range.until.clone() });
    ranges
}

/// Returns the length of the longest common prefix, in bytes.
fn common(a: &str, b: &str) -> usize {
    let length = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=length).rev().find(|length| a.is_char_boundary(*length)).unwrap_or(0)
}

fn number(text: &[u8]) -> u64 {
    (0..DIGITS as usize).fold(0, |number, place| {
        let digit = text.get(place).map_or(0, |byte| u64::from(byte.saturating_sub(FIRST)).min(BASE - 1));
        number * BASE + digit
    })
}

/// Inverts [`number`]. Removes trailing spaces.
fn text(mut number: u64) -> String {
    let mut text = Vec::new();
    for _ in 0..DIGITS {
        let digit = u8::try_from(number % BASE).expect("a remainder is less than 95");
        text.push(char::from(FIRST + digit));
        number /= BASE;
    }
    text.into_iter().rev().collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::TryStreamExt;
    use jiff::Timestamp;

    use super::*;

    /// Lists sorted keys whose pages take 20 ms each, by the runtime's paused clock. Returns the listed keys, the
    /// number of requests and the time.
    async fn list_all(keys: &[String]) -> (Vec<String>, usize, Duration) {
        let requests = AtomicUsize::new(0);
        let begin = tokio::time::Instant::now();
        let page = |after: String| {
            requests.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let from = keys.partition_point(|key| *key <= after);
                let page = &keys[from..keys.len().min(from + 1_000)];
                let entry = |key: &String| Entry::new(key.clone(), Timestamp::UNIX_EPOCH, None);
                let next = (from + page.len() < keys.len()).then(|| page.last().cloned()).flatten();
                Ok(Page { entries: page.iter().map(entry).collect(), next })
            }
        };
        let entries: Vec<Entry> = list(page).try_collect().await.expect("no page fails");
        let mut listed: Vec<String> = entries.into_iter().map(|entry| entry.key).collect();
        listed.sort_unstable();
        (listed, requests.into_inner(), begin.elapsed())
    }

    fn uuids(prefix: &str, count: u64) -> impl Iterator<Item = String> {
        // Multiplying by odd constants scatters the numbers over 64 bits.
        (0..count).map(move |number| {
            let (a, b) = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number.wrapping_mul(0xd1b5_4a32_d192_ed03));
            format!(
                "{prefix}/{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
                a >> 32,
                a >> 16 & 0xffff,
                a & 0xfff,
                b >> 52,
                b & 0xffff_ffff_ffff
            )
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_keys_are_listed_at_least_five_times_as_fast_as_page_by_page() {
        let mut keys: Vec<String> = uuids("gpt-4o-2024-08-06", 700_000)
            .chain(uuids("allenai/OLMoE-1B-7B", 250_000))
            .chain((0..50_000).map(|number| format!("numbered/{number:08}")))
            .collect();
        keys.sort_unstable();
        let (listed, requests, time) = list_all(&keys).await;
        assert!(listed == keys, "each key is listed once");
        let sequential = Duration::from_millis(20) * u32::try_from(keys.len().div_ceil(1_000)).expect("a thousand");
        println!("{time:?} instead of {sequential:?}, {requests} requests");
        assert!(time * 5 < sequential, "{time:?} of {sequential:?}, {requests} requests");
        assert!(requests < 3 * keys.len() / 1_000, "{requests} requests");
    }

    #[tokio::test(start_paused = true)]
    async fn every_key_is_listed_once_whatever_the_keys_are() {
        let buckets: [Vec<String>; 5] = [
            Vec::new(),
            vec!["a/1".to_owned()],
            (0..5_000).map(|number| format!("{}/x", "a".repeat(number % 900) + &number.to_string())).collect(),
            (0..5_000).map(|number| format!("m/{}é{number}", "ü".repeat(number % 7))).collect(),
            (0..5_000)
                .map(|number| format!("m/{}", char::from_u32(0x20 + number).map_or(number.to_string(), String::from)))
                .collect(),
        ];
        for keys in buckets {
            let keys: Vec<String> = keys.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
            assert_eq!(list_all(&keys).await.0, keys);
        }
    }
}
