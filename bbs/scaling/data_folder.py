"""Keeps a data folder private: closes files that other users could read, or refuses the folder."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatch

PASSWORD_FILE = "operator-password"  # nosec B105 # A file's name.
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def default_folder(name: str) -> str:
    """The data folder of the service `name`, where nobody names another."""
    return f"{name}-data"


class Unusable(Exception):
    """The data folder cannot be used; the text says why."""


def make_private(folder: str, name: str) -> list[str]:
    """Make the data folder of the service `name`, and close it and the service's files in it to
    other users; returns the paths that other users could read. Other files are left alone, as the
    owner may have other things there. Links are not followed: they may lead to files that somebody
    else wants opened or closed.

    :raises Unusable: the folder belongs to another user, or everybody can write to it.
    :raises OSError: it cannot be made or read.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    own = (f"{name}.*", "*.sqlite3*", "lock", f"{PASSWORD_FILE}*", "run", "logs")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_mode & stat.S_ISVTX:
            raise Unusable(f"the data folder {folder} is everybody's: name one of your own")
        mended = [folder] if _mend(descriptor, folder) else []
        mended += _mend_all(descriptor, folder, own)
        for below, patterns in (("run", ("*",)), ("logs", ("app-*.log*", "security.log*"))):
            mended += _mend_below(descriptor, below, os.path.join(folder, below), patterns)
        return mended
    finally:
        os.close(descriptor)


def write_privately(path: str, text: str) -> None:
    """Write a new file that only this user may read, and make its folder if need be."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _mend_below(parent: int, name: str, path: str, patterns: tuple[str, ...]) -> Iterator[str]:
    try:
        folder = _open_in(parent, name, os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            return
        raise
    try:
        yield from _mend_all(folder, path, patterns)
    finally:
        os.close(folder)


def _mend_all(folder: int, path: str, patterns: tuple[str, ...]) -> Iterator[str]:
    for entry in sorted(os.listdir(folder)):
        if not any(fnmatch(entry, pattern) for pattern in patterns):
            continue
        mode = os.stat(entry, dir_fd=folder, follow_symlinks=False).st_mode
        # An operator has made a socket or a pipe for somebody.
        if not mode & _OTHERS or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            continue
        where = os.path.join(path, entry)
        try:
            descriptor = _open_in(folder, entry)
        except OSError as error:
            reason = f"others can read {where}, and it cannot be opened: {error.strerror}"
            raise Unusable(reason) from error
        try:
            if _mend(descriptor, where):
                yield where
        finally:
            os.close(descriptor)


def _open_in(folder: int, name: str, flags: int = 0) -> int:
    flags |= os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=folder)


def _mend(descriptor: int, path: str) -> bool:
    """Close a file to other users; returns whether it was open to them."""
    status = os.fstat(descriptor)
    if not status.st_mode & _OTHERS:
        return False
    if status.st_uid != os.geteuid():
        raise Unusable(f"{path} belongs to another user, and others can read it")
    os.fchmod(descriptor, 0o700 if stat.S_ISDIR(status.st_mode) else 0o600)
    return True
