"""The data folder of a `bbs up`: for its owner alone, and for one process at a time."""

from __future__ import annotations

import fcntl
import os
from typing import IO

from bbs.scaling.data_folder import Unusable, make_private

LOCK = "lock"
"""What is locked as long as a `NAME up` runs, in its data folder."""


class InUse(Unusable):
    """Another process has the data folder."""


def open_folder(folder: str, name: str) -> tuple[IO[str], list[str]]:
    """Make the data folder of the service `name`, for this process alone: the lock, which is open
    as long as it is to be so, and the paths that others could read until now.

    :raises Unusable: it cannot be written, or it is somebody else's or everybody's.
    :raises InUse: another `NAME up` has it.
    """
    try:
        mended = make_private(folder, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        lock = os.fdopen(os.open(os.path.join(folder, LOCK), flags, 0o600), "a")
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InUse(f"another {name} up uses the data folder {folder}") from error
    return lock, mended


def cannot_write(folder: str, error: OSError) -> Unusable:
    """What to say of a folder where something cannot be written."""
    return Unusable(f"cannot write to the data folder {folder}: {error.strerror}")
