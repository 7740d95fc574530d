//! The objects that a run leaves out because they cannot be read.

use attest::unreadable::Unreadable;

use crate::{Error, Result};

/// The keys of objects that cannot be read, with the reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped(Vec<(String, Unreadable)>);

impl Skipped {
    /// Records an object that cannot be read, and returns `None` for it. Returns every other error unchanged.
    pub(crate) fn take<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Unreadable(key, reason, _)) => {
                self.0.push((key, reason));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Unreadable)> {
        self.0.iter().map(|(key, reason)| (key.as_str(), *reason))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn count(&self, reason: Unreadable) -> u64 {
        self.0.iter().filter(|(_, found)| *found == reason).count() as u64
    }
}
