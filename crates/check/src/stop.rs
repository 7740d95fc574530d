//! Handles interruption: after Ctrl-C or SIGTERM, the check deletes its temporary API key and its traces before it
//! ends.

use std::process;

use tokio::sync::watch;

use attest_terminal::shutdown::stop_signal;

/// The exit status after a second signal: 128 plus the number of SIGINT, by shell convention.
const KILLED: i32 = 130;

pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for signals. A second one ends the process at once.
    pub fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            stop_signal().await;
            let _ = sender.send(true);
            stop_signal().await;
            process::exit(KILLED);
        });
        Self(receiver)
    }

    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Runs `work` until it completes or a signal arrives. Returns `None` after a signal.
    pub async fn unless_set<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut receiver = self.0.clone();
        tokio::select! {
            biased;
            Ok(_) = receiver.wait_for(|is_set| *is_set) => None,
            done = work => Some(done),
        }
    }
}
