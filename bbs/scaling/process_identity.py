"""Which process this is, in words that another process can check.

Whoever keeps the fleet leaves its identity with its lease. A successor on the same machine can then
tell that a keeper was killed, and need not wait until the lease lapses. Elsewhere it cannot tell,
and waits.

On Linux an identity names the boot, the pid namespace, the pid and the time at which the process
started: together they never come again. `/proc` is documented in proc(5).
"""

import os
import re
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
"""Where Linux tells of its processes."""

_MARK = secrets.token_hex(8)
_IDENTITY = re.compile(
    r"(?P<machine>linux:[0-9a-f-]+:[0-9]+):(?P<pid>[0-9]{1,9}):(?P<started>[0-9]+)"
)


class _Stat(NamedTuple):
    state: str
    threads: int
    started: str


def process_identity(proc: Path = PROC) -> str:
    """The identity of this process, the same whenever it is asked; a fork has another.

    So a service asks in `startService`: twistd makes its services before it forks into the
    background, and the process that made them is soon dead.

    Without Linux's `/proc` it is made of the host's name, the pid and chance, and proves nothing.
    """
    machine, stat = _machine(proc), _stat(proc, os.getpid())
    if machine and stat:
        return f"{machine}:{os.getpid()}:{stat.started}"
    return f"host:{socket.gethostname()}:{os.getpid()}:{_MARK}"


def is_certainly_dead(identity: str, proc: Path = PROC) -> bool:
    """True only if the process of that identity is known to live no more.

    False when it lives, and when this process cannot know: it ran on another machine, in another
    container or on a system without `/proc`, or the text is no identity.
    """
    match = _IDENTITY.fullmatch(identity)
    if not match or match["machine"] != _machine(proc):
        return False
    pid = int(match["pid"])
    try:
        # Whether a pid is in use this answers truly even where /proc hides other users' processes.
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    stat = _stat(proc, pid)
    if stat is None:
        return False
    # Ended but not waited for by its parent: no thread of it runs any more.
    zombie = stat.state in "ZX" and stat.threads <= 1
    return zombie or stat.started != match["started"]


def is_certainly_alive(identity: str, proc: Path = PROC) -> bool:
    """True only if the process of that identity is known to live, as it runs on this machine."""
    match = _IDENTITY.fullmatch(identity)
    here = match is not None and match["machine"] == _machine(proc)
    if match is None or not here or is_certainly_dead(identity, proc):
        return False
    stat = _stat(proc, int(match["pid"]))
    return stat is not None and stat.started == match["started"]


def certainly_dead(identities: Iterable[str]) -> frozenset[str]:
    """Those of `identities` of which that is known. It reads files: for a thread."""
    return frozenset(filter(is_certainly_dead, identities))


def _machine(proc: Path) -> str:
    """This boot and pid namespace, or an empty text where they cannot be known."""
    try:
        # A /proc of another namespace would speak of other processes.
        if os.readlink(proc / "self") != str(os.getpid()):
            return ""
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        return f"linux:{boot}:{os.stat(proc / 'self/ns/pid').st_ino}"
    except OSError:
        return ""


def _stat(proc: Path, pid: int) -> _Stat | None:
    try:
        text = (proc / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in parentheses, and can hold anything.
    fields = text.rpartition(")")[2].split()
    return _Stat(state=fields[0], threads=int(fields[17]), started=fields[19])
