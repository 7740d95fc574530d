//! The two ways in which an export ends without an error.

/// The advice to a user whose export can be resumed.
pub const RESUME: &str = "run the same command again to resume";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// Every selected trace was processed.
    Complete,
    /// A signal stopped the export. `advice` is the next step for the user.
    Interrupted { advice: String },
}

impl Completion {
    /// Returns the completion of an interrupted export that the same command resumes.
    pub fn resumable() -> Self {
        Self::Interrupted { advice: RESUME.to_owned() }
    }
}
