use std::{collections::BTreeMap, fmt};

use attest_terminal::note;
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

/// The numbers of processed objects, by result. They are saved in the state, so a resumed export reports the sum of
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
    pub not_traces: u64,
    /// Traces that were deleted after they were listed.
    pub deleted: u64,
}

impl ExportCounts {
    pub fn total(&self) -> u64 {
        self.exported + self.left_out + self.refused.values().sum::<u64>() + self.not_traces + self.deleted
    }

    /// Counts an object that is not a trace and prints its key.
    pub fn add_not_a_trace(&mut self, key: &str) {
        note!("{key} is not a trace");
        self.not_traces += 1;
    }
}

impl fmt::Display for ExportCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |count: u64, what: &str| writeln!(f, "{:>13} {what}", HumanCount(count).to_string());
        line(self.exported, "exported")?;
        line(self.left_out, "left out by an option")?;
        for (reason, count) in &self.refused {
            line(*count, &format!("left out: {reason}"))?;
        }
        line(self.deleted, "deleted since they were listed")?;
        line(self.not_traces, "not traces")
    }
}
