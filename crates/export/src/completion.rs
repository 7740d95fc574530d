//! How an export can end without an error.

pub const RESUME: &str = "run the same command again to resume";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// Every selected trace was processed.
    Complete,
    /// A signal stopped the export, which can be resumed.
    Interrupted,
}
