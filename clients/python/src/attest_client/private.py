"""Files and folders that no other user can change.

On a shared host, another user may create the spool folder first, and put links or files of their own into it.
"""

from __future__ import annotations

import os
import pathlib
import stat

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotPrivate(OSError):
    """Another user can change the file or folder. The message states the reason."""


def open_folder(path: pathlib.Path) -> int:
    """Opens a folder of this user with mode 0700, and creates it if necessary. Raises `NotPrivate` if others can change it."""
    missing = path
    absent = []
    while not os.path.lexists(missing):
        absent.append(missing)
        missing = missing.parent
    for folder in reversed(absent):
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass  # another process was faster
    if path.is_symlink():
        raise NotPrivate("it is a link")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid():
            raise NotPrivate("it belongs to another user")
        if status.st_mode & _OTHERS_WRITE:
            raise NotPrivate("other users can write to it")
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.fchmod(fd, 0o700)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_private(status: os.stat_result) -> bool:
    """Returns whether this is a regular file that this user owns, nobody else can write to, and no other hard link names."""
    is_own = status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE
    return is_own and stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def open_file(path: pathlib.Path, flags: int) -> int:
    """Opens or creates a file with mode 0600. Neither follows a link nor blocks on a pipe.

    Raises `NotPrivate` if others may change it.
    """
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        status = os.fstat(fd)
        if not is_private(status):
            raise NotPrivate("it is not a file that only this user can write")
        if stat.S_IMODE(status.st_mode) & ~0o600:
            os.fchmod(fd, 0o600)
    except BaseException:
        os.close(fd)
        raise
    return fd
