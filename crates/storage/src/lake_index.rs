//! A lake that contains the traces and makes all of them searchable.

use std::fmt;

use anyhow::{Context, Result, bail};
use attest_lake::{LakeLocation, Table, scan::Scan};

#[derive(Clone)]
pub struct LakeIndex(Table);

impl fmt::Debug for LakeIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LakeIndex").field(self.0.location()).finish()
    }
}

impl LakeIndex {
    pub async fn open(place: &str) -> Result<Self> {
        let table = Table::open_existing(&LakeLocation::open(place).await?).await;
        let table =
            table.with_context(|| format!("cannot open the lake {place}: create it with `attest lake sync`"))?;
        Ok(Self(table))
    }

    #[must_use]
    pub fn table(&self) -> &Table {
        &self.0
    }

    /// Starts a scan of whole traces, newest day first. `from` is a formatted position, or empty.
    pub async fn scan(&self, from: &str) -> Result<Scan> {
        let from = match from {
            "" => None,
            text => match text.parse() {
                Ok(position) => Some(position),
                Err(()) => bail!("{text} is not a position in a lake"),
            },
        };
        Ok(Scan::begin(&self.0, from).await?)
    }
}
