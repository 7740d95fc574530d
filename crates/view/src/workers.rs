//! Computes pages outside the async threads, so that an expensive page never delays the endpoint's responses.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::Semaphore;

/// The number of pages that are computed concurrently. Others wait in order.
pub const PAGES: usize = 2;

/// Limits how much of the machine pages may use.
#[derive(Debug, Clone)]
pub struct Workers(Arc<Semaphore>);

impl Default for Workers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PAGES)))
    }
}

impl Workers {
    /// Runs `work` on a thread that may block.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
        let permit = Arc::clone(&self.0).acquire_owned().await.context("the endpoint is stopping")?;
        let work = move || {
            let _permit = permit; // held until the work ends, even if the client disconnects
            work()
        };
        tokio::task::spawn_blocking(work).await.context("cannot compute the page")
    }
}
