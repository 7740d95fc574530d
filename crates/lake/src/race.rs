//! Repeats work if another writer has committed first.

use crate::{Error, Result, Snapshot, Table};

/// The number of consecutive commits that may lose their race.
const MAX_LOST_RACES: u32 = 20;

/// Runs `attempt` on the newest version until it returns a value. Returns the value, and the number of attempts that
/// lost.
///
/// An attempt loses if it returns `None`, because another writer committed first. It also loses if another run has
/// replaced and deleted a file that it reads.
pub async fn win<T>(table: &Table, mut attempt: impl AsyncFnMut(Snapshot) -> Result<Option<T>>) -> Result<(T, u32)> {
    for lost in 0..MAX_LOST_RACES {
        match attempt(table.load().await?).await {
            Ok(Some(won)) => return Ok((won, lost)),
            Ok(None) => {}
            Err(error) if error.is_deleted_file() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Contention(MAX_LOST_RACES))
}
