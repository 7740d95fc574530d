use std::{collections::BTreeMap, fmt};

use attest::unreadable::Unreadable;
use attest_terminal::note;
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

/// Counts processed objects by result. The counts are saved in the state, so that a resumed export reports the sum of
/// its runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportCounts {
    pub exported: u64,
    /// Traces that an option excludes.
    pub left_out: u64,
    /// Traces that the format cannot express, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// Objects that cannot be read, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreadable: BTreeMap<String, u64>,
    pub not_traces: u64,
    /// Traces that were deleted after they were listed.
    pub deleted: u64,
}

impl ExportCounts {
    pub fn total(&self) -> u64 {
        let by_reason = self.refused.values().chain(self.unreadable.values()).sum::<u64>();
        self.exported + self.left_out + by_reason + self.not_traces + self.deleted
    }

    /// Counts an object that is not a trace and prints its key.
    pub fn add_not_a_trace(&mut self, key: &str) {
        note!("{key} is not a trace");
        self.not_traces += 1;
    }

    /// Counts an object that cannot be read and prints its key.
    pub fn add_unreadable(&mut self, key: &str, reason: Unreadable) {
        note!("{key} cannot be read: {reason}");
        *self.unreadable.entry(reason.to_string()).or_default() += 1;
    }
}

impl fmt::Display for ExportCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |count: u64, what: &str| writeln!(f, "{:>13} {what}", HumanCount(count).to_string());
        line(self.exported, "exported")?;
        line(self.left_out, "left out by an option")?;
        for (reason, count) in self.refused.iter().chain(&self.unreadable) {
            line(*count, &format!("left out: {reason}"))?;
        }
        line(self.deleted, "deleted since they were listed")?;
        line(self.not_traces, "not traces")
    }
}
