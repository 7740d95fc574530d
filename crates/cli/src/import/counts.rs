//! Counts the outcomes of a file's lines.

use std::fmt;

use indicatif::HumanCount;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineCounts {
    pub is_dry_run: bool,
    pub lines: u64,
    /// Stored by this run; in a dry run, valid.
    pub stored: u64,
    /// Answered with 200: an earlier run or an equal line has stored the trace.
    pub already_there: u64,
    /// Confirmed by an earlier run, according to its checkpoint.
    pub skipped: u64,
    /// Another trace has the line's id.
    pub conflicts: u64,
    pub refused: u64,
    /// Lines that are equal to an earlier line of the file. They are also counted above. `None` if the file was not
    /// read completely.
    pub repeated: Option<u64>,
}

impl fmt::Display for LineCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_dry_run, lines, stored, already_there, skipped, conflicts, refused, repeated } = self;
        let mut line = |count: u64, what: &str| writeln!(f, "{:>13} {what}", HumanCount(count).to_string());
        line(*lines, "lines")?;
        line(*stored, if *is_dry_run { "valid" } else { "stored" })?;
        if !is_dry_run {
            line(*already_there, "already there")?;
            line(*skipped, "confirmed by an earlier run")?;
            line(*conflicts, "conflicts: another trace has the id")?;
        }
        line(*refused, "refused")?;
        repeated.map_or(Ok(()), |repeated| line(repeated, "equal to an earlier line"))
    }
}
