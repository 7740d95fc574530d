//! The two ways in which an export ends without an error.

/// What a user does to continue an export that can be resumed.
pub const RESUME: &str = "run the same command again to resume";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// Every selected trace was processed.
    Complete,
    /// A signal stopped the export. `advice` tells the user how to continue.
    Interrupted { advice: String },
}

impl Completion {
    /// Returns the completion of an interrupted export that the same command resumes.
    pub fn resumable() -> Self {
        Self::Interrupted { advice: RESUME.to_owned() }
    }
}
