"""The logs of app servers that were children of some login server of this machine.

A log is locked (`flock`, shared) by whoever has it open: the child, until it ends, however that
happens. So what another login server's children write to in the same folder is left alone.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections import defaultdict
from contextlib import suppress

_LOG = re.compile(r"(app-[A-Za-z0-9_-]{1,64}\.log)(\.[0-9]+)?")
"""A child's log, or one that it had before."""


def mark_in_use(descriptor: int) -> None:
    """The log at `descriptor`, and at all that are copied from it, is in use until the last of them
    is closed."""
    with suppress(OSError):  # Some network file systems have no locks.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def remove_old_logs(folder: str, keep: int) -> None:
    """Remove the logs in `folder` of app servers that have ended, but for the `keep` that were
    written to last."""
    files: dict[str, list[str]] = defaultdict(list)
    for entry in os.listdir(folder):
        if matched := _LOG.fullmatch(entry):
            files[matched[1]].append(entry)
    ended = []
    for log in files:
        with suppress(OSError):  # It is just being moved, or is not ours.
            path = os.path.join(folder, log)
            if not _is_in_use(path):
                ended.append((os.lstat(path).st_mtime_ns, log))
    for _, log in sorted(ended)[: -keep or None]:
        for entry in files[log]:
            with suppress(OSError):
                os.unlink(os.path.join(folder, entry))


def _is_in_use(path: str) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
