//! Files that a program keeps next to the user's own, such as locks and state.
//!
//! A folder may come from another person, in an archive or on a shared disk. In place of such a file, it may contain a
//! link to another file, or a pipe that blocks its reader.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno};

/// Creates a folder and its parents with the mode 0700, whatever the umask is. Leaves existing folders as they are.
pub fn create_own_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a regular file. Fails without side effects if the path is a link, folder, pipe or device. A new file gets the
/// mode 0600. Do not use this with `truncate`, because the file may turn out to be the user's own.
pub fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // A pipe is opened without waiting for its other end, and then refused.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let not_a_file = || io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
    let file = options.custom_flags(flags).mode(0o600).open(path).map_err(|error| {
        match Errno::from_io_error(&error) {
            Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => not_a_file(), // a link, a folder, a socket
            _ => error,
        }
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_a_file()) }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix};

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("own"), "text").expect("the folder is writable");
        fs::create_dir(path("folder")).expect("the folder is writable");
        unix::fs::symlink(path("own"), path("link")).expect("the folder is writable");
        unix::fs::symlink(path("absent"), path("dangling")).expect("the folder is writable");
        let _socket = unix::net::UnixListener::bind(path("socket")).expect("the folder is writable");
        let pipe = std::process::Command::new("mkfifo").arg(path("pipe")).status().expect("mkfifo runs");
        assert!(pipe.success());
        let open = |name: &str| open_own(File::options().read(true).write(true).create(true), &path(name));
        for name in ["link", "dangling", "folder", "socket", "pipe"] {
            assert_eq!(open(name).map(drop).expect_err(name).kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        assert!(!path("absent").exists());
        open("own").expect("a file");
        assert_eq!(fs::read(path("own")).expect("a file"), b"text");
        open("new").expect("it is created");
    }
}
