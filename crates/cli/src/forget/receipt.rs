//! The receipt of a deletion: the deleted keys and the copies elsewhere, but none of the deleted content.

use std::collections::BTreeSet;

use attest::unreadable::Unreadable;
use jiff::Timestamp;
use serde::Serialize;

/// A copy that the command does not reach.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OtherCopy {
    copy: &'static str,
    kept: &'static str,
}

/// The copies that the command does not reach, and how long each is kept.
pub const ELSEWHERE: [OtherCopy; 15] = [
    OtherCopy { copy: "log lines of the functions, which contain keys", kept: "for LogRetentionDays of the stack" },
    OtherCopy {
        copy: "the lake's log, whose entries before this version contain the smallest and largest key of each file",
        kept: "until the lake is created again",
    },
    OtherCopy {
        copy: "messages in the queues of the lake's function, which contain keys",
        kept: "for at most 14 days",
    },
    OtherCopy {
        copy: "unfinished files of killed processes in `~incoming` of a folder",
        kept: "until a process stores into the folder while no other does",
    },
    OtherCopy {
        copy: "files of the folder, or objects of the bucket, whose name is not that of a trace",
        kept: "until they are deleted",
    },
    OtherCopy { copy: "results of queries in the stack's bucket", kept: "for 7 days" },
    OtherCopy { copy: "unfinished uploads to the lake's bucket", kept: "for 1 day in the stack's bucket" },
    OtherCopy {
        copy: "replicas and backups of the bucket and of the lake, and snapshots of disks",
        kept: "until they are deleted",
    },
    OtherCopy { copy: "exported files, and copies of the lake", kept: "until they are deleted" },
    OtherCopy { copy: "the logs that traces were imported from", kept: "until they are deleted" },
    OtherCopy { copy: "rejected lines of imports", kept: "until they are deleted" },
    OtherCopy {
        copy: "files and objects of `attest share`",
        kept: "until they are deleted; a link for at most 7 days",
    },
    OtherCopy { copy: "traces in the spools of clients that are not sent yet", kept: "for at most 30 days" },
    OtherCopy { copy: "rejected.jsonl in the spools of clients", kept: "until it is deleted" },
    OtherCopy { copy: "pages of `attest view` in browsers", kept: "until their tabs are closed" },
];

/// An object that was not searched.
#[derive(Debug, Clone, Serialize)]
pub struct NotSearched {
    pub key: String,
    /// The id of a noncurrent version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub reason: String,
}

impl NotSearched {
    pub fn unreadable(key: &str, version: Option<&str>, reason: Unreadable) -> Self {
        Self { key: key.to_owned(), version: version.map(str::to_owned), reason: reason.to_string() }
    }

    /// Describes an object that only `--text` can select, because it has no columns.
    pub fn not_a_trace(key: &str, version: Option<&str>) -> Self {
        Self { key: key.to_owned(), version: version.map(str::to_owned), reason: "not a trace".to_owned() }
    }
}

#[derive(Debug, Serialize)]
pub struct ForgetReceipt {
    /// The run's id, which its key list repeats.
    pub run: String,
    pub begun: Timestamp,
    pub completed: Timestamp,
    pub source: String,
    pub lake: String,
    /// The first table version without the rows.
    pub lake_version: u64,
    pub deleted_versions: u64,
    pub removed_rows: usize,
    pub deleted_files: u64,
    pub keys: BTreeSet<String>,
    /// The keys without an object, a row or an old file.
    pub absent: BTreeSet<String>,
    /// The objects and versions that were not searched, because they cannot be read, or are not traces and `--where`
    /// selects by columns.
    pub unreadable: Vec<NotSearched>,
    /// Other programs' Parquet files below the lake, which were not searched.
    pub files_of_others: Vec<String>,
    pub not_covered: [OtherCopy; 15],
}
