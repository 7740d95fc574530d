//! Counts the signals that stop an import.

use anyhow::{Context, Result};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Counts Ctrl-C and SIGTERM from the start of the import to its end, so that none is lost between two files.
pub struct ImportStop {
    signals: watch::Receiver<u32>,
}

impl ImportStop {
    pub fn listen() -> Result<Self> {
        let failed = "cannot listen for signals";
        let mut interrupt = signal(SignalKind::interrupt()).context(failed)?;
        let mut terminate = signal(SignalKind::terminate()).context(failed)?;
        let (sender, signals) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { signals })
    }

    pub async fn requested(&self, count: u32) {
        // The sender lives as long as the runtime.
        let _ = self.signals.clone().wait_for(|signals| *signals >= count).await;
    }

    pub fn is_requested(&self) -> bool {
        *self.signals.borrow() > 0
    }
}
