//! The options that choose the location of traces.

use std::path::PathBuf;

use clap::Args;

use crate::reader::Location;

#[derive(Debug, Clone, Args)]
pub struct LocationOptions {
    /// A bucket on AWS, with the credentials and region of your AWS profile
    #[arg(long, conflicts_with = "folder")]
    bucket: Option<String>,
    /// The folder of the local endpoint. Its name is the name of the bucket
    #[arg(long, default_value = "traces")]
    folder: PathBuf,
}

impl LocationOptions {
    pub fn location(&self) -> Location {
        match &self.bucket {
            Some(bucket) => Location::Bucket(bucket.clone()),
            None => Location::Folder(self.folder.clone()),
        }
    }
}
