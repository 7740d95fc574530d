//! Repeats work that another writer's commit made obsolete.

use crate::{Error, Result, Snapshot, Table};

/// The number of commits in a row that may lose their race.
const MAX_LOST_RACES: u32 = 20;

/// Runs `attempt` on the newest version until it returns a value. Returns the value, and the number of attempts before
/// it.
///
/// An attempt returns `None` if another writer committed first. It also lost if a file that it read no longer exists:
/// another run replaced that file and deleted it at once.
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
