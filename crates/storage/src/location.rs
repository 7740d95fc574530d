//! The options that choose the location of traces.

use std::path::PathBuf;

use clap::Args;

/// A bucket, or a folder that replaces one.
#[derive(Debug, Clone, Args)]
pub struct Location {
    /// A bucket on AWS, with the credentials and region of your AWS profile
    #[arg(long, conflicts_with = "folder")]
    pub bucket: Option<String>,
    /// The folder of the local endpoint. Its name is the name of the bucket
    #[arg(long, default_value = "traces")]
    pub folder: PathBuf,
}
