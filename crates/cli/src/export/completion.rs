//! The two results of an export that ends without an error.

/// The advice for an export that can be resumed.
pub const RESUME: &str = "run the same command again to resume";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// Every selected trace was processed.
    Complete,
    /// A signal stopped the export. `advice` is the next step for the user.
    Interrupted { advice: String },
}

impl Completion {
    /// Returns an interruption with the advice to run the same command again.
    pub fn resumable() -> Self {
        Self::Interrupted { advice: RESUME.to_owned() }
    }
}
