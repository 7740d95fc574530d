//! Paths of outputs and of the files next to them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(suffix);
    path.into()
}

/// Returns the canonical path of an output, which need not exist. Its parent folder must exist, so a typo creates
/// nothing.
pub fn canonical(output: &Path) -> Result<PathBuf> {
    if let Ok(path) = output.canonicalize() {
        return Ok(path);
    }
    let name = output.file_name().with_context(|| format!("{} does not name a file or folder", output.display()))?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().with_context(|| {
        format!("cannot write {}: create the folder {} or correct the path", output.display(), folder.display())
    })?;
    Ok(folder.join(name))
}
