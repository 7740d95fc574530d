//! Folder ids, which distinguish a folder from another one with the same path.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use uuid::Uuid;

use crate::files::open_own;

/// The file that contains the id. No object has this path, because every object's path ends with `.json`.
pub(super) const FILE: &str = "~id";

/// The key under which this S3 serves the id, so that an S3 client and a reader of the folder find the same id.
pub const ID_KEY: &str = "_attest~id";

/// The largest number of bytes that are read. An id has 36.
const LONGEST: u64 = 64;

/// Returns the id of a folder. Creates the id first if the folder has none.
///
/// Returns `None` if there is no id and this user may not create it.
pub(super) fn of(root: &Path) -> io::Result<Option<String>> {
    let path = root.join(FILE);
    loop {
        match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read.map(Some),
        }
        match create(root, &path) {
            // Another process has created it first, so the next read returns its id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if is_refused(&error) => return Ok(None),
            created => created?,
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    // A link could make two folders share an id.
    let file = open_own(File::options().read(true), path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => invalid(path),
        _ => error,
    })?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    let id = Uuid::try_parse(text.trim()).map_err(|_| invalid(path))?;
    Ok(id.to_string())
}

fn create(root: &Path, path: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix("~id-").tempfile_in(root)?;
    writeln!(file, "{}", Uuid::new_v4())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

fn invalid(path: &Path) -> io::Error {
    let message = format!("{} does not hold the id of a folder of traces: delete it", path.display());
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}
