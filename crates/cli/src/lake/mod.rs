//! `lake`: stored traces as one Delta table.

pub mod duckdb;
mod folder;
pub mod source;
mod sync;

use std::process::ExitCode;

use clap::Subcommand;

pub use folder::Folder;

/// Makes the files that this process creates readable only by their owner, because traces are private.
pub fn keep_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

#[derive(Debug, Subcommand)]
pub enum LakeCommand {
    /// Make a lake equal to the stored traces
    Sync(sync::SyncOptions),
}

pub async fn run(command: LakeCommand) -> ExitCode {
    match command {
        LakeCommand::Sync(options) => sync::run(options).await,
    }
}
