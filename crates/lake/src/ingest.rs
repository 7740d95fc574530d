//! The ingest function: bucket notifications → table rows.
//!
//! S3 reports stored objects to one queue and removed objects to another. A message is deleted only after the commit
//! that contains its objects. After a crash at any point, the message is received again, and objects that already have
//! a row are not added twice.

use std::{
    fmt,
    time::{Duration, Instant},
};

use attest::unreadable::Unreadable;
use aws_sdk_sqs::{
    Client,
    types::{DeleteMessageBatchRequestEntry, Message},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::{
    Added, Error, Result, Skipped, Table, append,
    maintain::{self, gone_or_skipped, maintain},
    objects::Objects,
    sync,
};

/// The most messages that one request receives or deletes (Amazon SQS API Reference, `ReceiveMessage`).
const MESSAGES: i32 = 10;

const CONCURRENT: usize = 8;

/// The number of messages that are received before their objects are committed.
const COMMIT: usize = 10_000;

/// The task of a run, which the schedule passes in the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Adds newly stored objects. Runs every five minutes.
    Ingest,
    /// Removes the rows of removed objects, merges files and deletes old ones. Runs every night.
    Maintain,
    /// Reconciles the table with the bucket. Runs every month.
    Sync,
}

impl Task {
    /// Returns the name used in events and log lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Maintain => "maintain",
            Self::Sync => "sync",
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Event {
    pub task: Task,
}

/// The outcome of a run, which is also its log line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunReport {
    pub messages: u64,
    /// Messages that are not S3 notifications. They stay in the queue until it moves them to the dead-letter queue.
    pub unreadable: u64,
    pub added: u64,
    /// Objects that already had a row.
    pub known: u64,
    pub absent: u64,
    pub invalid: u64,
    /// Objects that are larger than any trace.
    pub too_large: u64,
    pub archived: u64,
    /// Objects that only their writer's key can decrypt.
    pub customer_key: u64,
    /// Objects to which S3 or KMS denies access. If it is denied to all objects, the run fails.
    pub denied: u64,
    pub removed: u64,
    pub replaced_files: u64,
    pub deleted_files: u64,
    /// Commits that were retried because another writer committed first.
    pub lost_races: u64,
    pub files: u64,
    pub rows: u64,
}

#[derive(Debug, Clone)]
pub struct Queues {
    pub client: Client,
    pub stored: String,
    pub removed: String,
}

/// The lake that the function maintains, and its sources.
pub struct Lake<'a> {
    pub table: Table,
    pub objects: &'a dyn Objects,
    pub queues: Queues,
    /// The time after which an unreferenced file is deleted.
    pub retention: Duration,
}

impl fmt::Debug for Lake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lake").field("location", self.table.location()).finish_non_exhaustive()
    }
}

impl Lake<'_> {
    /// Runs a task. Starts no new work after `deadline`.
    pub async fn run(&self, task: Task, deadline: Instant) -> Result<RunReport> {
        let mut report = RunReport::default();
        match task {
            Task::Ingest => self.ingest(deadline, &mut report).await?,
            Task::Maintain => self.maintain(deadline, &mut report).await?,
            Task::Sync => {
                let synced = sync::sync(&self.table, self.objects, self.retention, Some(deadline), |_| ()).await?;
                if !synced.is_complete {
                    tracing::warn!("the deadline ended the synchronisation; the next one completes it");
                }
                report.count(&synced.added);
                report.removed = synced.maintained.removed.len() as u64;
                report.replaced_files = synced.maintained.replaced.len() as u64;
                report.deleted_files = synced.deleted_files;
            }
        }
        let snapshot = self.table.load().await?;
        report.files = snapshot.files().len() as u64;
        report.rows = snapshot.files().iter().map(crate::DataFile::rows).sum();
        Ok(report)
    }

    async fn ingest(&self, deadline: Instant, report: &mut RunReport) -> Result<()> {
        loop {
            let received = self.queues.receive(&self.queues.stored, report).await?;
            if received.messages.is_empty() {
                return Ok(());
            }
            let added = append(&self.table, self.objects, received.keys).await?;
            for key in &added.invalid {
                tracing::warn!(key, "not a trace");
            }
            added.require_access()?;
            report.count(&added);
            self.queues.delete(&self.queues.stored, received.messages).await?;
            if Instant::now() >= deadline {
                return Ok(());
            }
        }
    }

    async fn maintain(&self, deadline: Instant, report: &mut RunReport) -> Result<()> {
        let mut replaced = Vec::new();
        loop {
            let received = self.queues.receive(&self.queues.removed, report).await?;
            let is_last = received.messages.is_empty() || Instant::now() >= deadline;
            let (gone, skipped) = gone_or_skipped(self.objects, received.keys).await?;
            report.count_skipped(&skipped);
            let maintained = maintain(&self.table, &gone).await?;
            self.queues.delete(&self.queues.removed, received.messages).await?;
            report.removed += maintained.removed.len() as u64;
            report.replaced_files += maintained.replaced.len() as u64;
            replaced.extend(maintained.replaced);
            if is_last {
                report.deleted_files = maintain::vacuum(&self.table, self.retention, &replaced).await?;
                return Ok(());
            }
        }
    }
}

impl RunReport {
    fn count(&mut self, added: &Added) {
        self.added += added.rows;
        self.known += added.known;
        self.absent += added.absent;
        self.invalid += added.invalid.len() as u64;
        self.lost_races += u64::from(added.lost_races);
        self.count_skipped(&added.skipped);
    }

    fn count_skipped(&mut self, skipped: &Skipped) {
        self.too_large += skipped.count(Unreadable::TooLarge);
        self.archived += skipped.count(Unreadable::Archived);
        self.customer_key += skipped.count(Unreadable::CustomerKey);
        self.denied += skipped.count(Unreadable::Denied);
    }
}

/// The receipt handles of messages, and the keys that the messages report.
#[derive(Default)]
struct ReceivedMessages {
    messages: Vec<String>,
    keys: Vec<String>,
}

impl Queues {
    /// Receives messages until the queue is empty or a commit would be full.
    async fn receive(&self, queue: &str, report: &mut RunReport) -> Result<ReceivedMessages> {
        let mut received = ReceivedMessages::default();
        while received.messages.len() < COMMIT {
            let batches = (0..CONCURRENT).map(|_| self.receive_batch(queue));
            let batches: Vec<Vec<Message>> = stream::iter(batches).buffer_unordered(CONCURRENT).try_collect().await?;
            let messages: Vec<Message> = batches.into_iter().flatten().collect();
            if messages.is_empty() {
                break;
            }
            report.messages += messages.len() as u64;
            for Message { receipt_handle, body, .. } in messages {
                match (receipt_handle, body.as_deref().and_then(keys)) {
                    (Some(handle), Some(keys)) => {
                        received.messages.push(handle);
                        received.keys.extend(keys);
                    }
                    _ => report.unreadable += 1,
                }
            }
        }
        Ok(received)
    }

    async fn receive_batch(&self, queue: &str) -> Result<Vec<Message>> {
        let receive = self.client.receive_message().queue_url(queue).max_number_of_messages(MESSAGES);
        // With any wait, SQS queries all servers of the queue instead of a sample ("Amazon SQS short and long
        // polling").
        let received = receive.wait_time_seconds(1).send().await;
        let received = received.map_err(|error| Error::Queue(queue.to_owned(), Box::new(error)))?;
        Ok(received.messages.unwrap_or_default())
    }

    /// Deletes messages. A message that remains is received again, but its rows are in the table by then.
    async fn delete(&self, queue: &str, handles: Vec<String>) -> Result<()> {
        let batches = handles.chunks(usize::try_from(MESSAGES).unwrap_or(1)).map(|handles| async move {
            let entries = handles.iter().enumerate().filter_map(|(place, handle)| {
                DeleteMessageBatchRequestEntry::builder().id(place.to_string()).receipt_handle(handle).build().ok()
            });
            let delete = self.client.delete_message_batch().queue_url(queue).set_entries(Some(entries.collect()));
            delete.send().await.map(|_| ()).map_err(|error| Error::Queue(queue.to_owned(), Box::new(error)))
        });
        stream::iter(batches).buffer_unordered(CONCURRENT).try_collect().await
    }
}

/// An S3 notification (Amazon S3 User Guide, "Event message structure"). The test message has no records.
#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    #[serde(rename = "Event")]
    event: Option<String>,
}

#[derive(Deserialize)]
struct Record {
    s3: S3,
}

#[derive(Deserialize)]
struct S3 {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

/// Returns the keys in a message, or `None` if it is not an S3 notification.
///
/// S3 encodes keys like form values: `+` is a space, and `%2B` a plus.
#[must_use]
pub fn keys(body: &str) -> Option<Vec<String>> {
    let notification: Notification = serde_json::from_str(body).ok()?;
    match notification {
        Notification { records: Some(records), .. } => {
            records.into_iter().map(|record| decode(&record.s3.object.key)).collect()
        }
        Notification { event: Some(event), .. } if event == "s3:TestEvent" => Some(Vec::new()),
        Notification { .. } => None,
    }
}

fn decode(key: &str) -> Option<String> {
    let key = key.replace('+', " ");
    percent_decode_str(&key).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a notification as AWS sends it ("Event message structure").
    fn message(keys: &[&str]) -> String {
        let record = |key: &&str| {
            serde_json::json!({
                "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1",
                "eventTime": "2026-11-22T10:00:00.000Z", "eventName": "ObjectCreated:Put",
                "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": "my-traces", "arn": "arn:aws:s3:::my-traces"},
                       "object": {"key": key, "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e", "sequencer": "0A1B2C"}},
            })
        };
        serde_json::json!({"Records": keys.iter().map(record).collect::<Vec<_>>()}).to_string()
    }

    #[test]
    fn keys_are_decoded_like_the_values_of_a_form() {
        let table = [
            ("gpt-4o/1", "gpt-4o/1"),
            ("my+model/1", "my model/1"),
            ("my%2Bmodel/1", "my+model/1"),
            ("a%2520b/1", "a%20b/1"),
            ("m/%27%28%29%3A%40%3D%2C", "m/'():@=,"),
            ("m/Gr%C3%BC%C3%9Fe", "m/Grüße"),
            ("allenai/OLMoE%252F1/x", "allenai/OLMoE%2F1/x"),
        ];
        for (encoded, key) in table {
            assert_eq!(keys(&message(&[encoded])), Some(vec![key.to_owned()]), "{encoded}");
        }
        assert_eq!(keys(&message(&["m/1", "m/2"])), Some(vec!["m/1".to_owned(), "m/2".to_owned()]));
    }

    #[test]
    fn the_test_message_of_s3_has_no_keys() {
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-11-22T10:00:00.000Z","Bucket":"my-traces",
            "RequestId":"5582815E1AEA5ADF","HostId":"8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE"}"#;
        assert_eq!(keys(test), Some(Vec::new()));
    }

    #[test]
    fn other_messages_are_rejected() {
        for other in ["", "hello", "{}", "[]", r#"{"Event":"other"}"#, r#"{"Records":[{}]}"#, &message(&["m/%FF"])] {
            assert_eq!(keys(other), None, "{other}");
        }
    }
}
