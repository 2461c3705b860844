"""Who listens at a port of this machine.

On a machine that several people use, anybody may listen at a port while the server that is there
mostly is away. Linux says whose each socket is in /proc/net/tcp and tcp6 (proc_pid_net(5)).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

_LISTENS = "0A"  # TCP_LISTEN of <net/tcp_states.h>, in hexadecimal digits

_ROOT = 0


def is_ours(port: int, tables: tuple[Path, ...] = TABLES) -> bool:
    """Whether somebody listens at `port` of this machine, on any of its addresses, and all who do
    are this user or root. False where that cannot be known, as on other systems than Linux."""
    owners = {owner for table in tables for owner in _listening(port, table)}
    return bool(owners) and owners <= {os.getuid(), _ROOT}


def _listening(port: int, table: Path) -> Iterator[int]:
    """The users whose sockets listen at `port`."""
    lines: list[str] = []
    with suppress(OSError):
        lines = table.read_text("ascii", "replace").splitlines()[1:]
    for line in lines:
        _, local, _, state, _, _, _, owner, *_ = line.split()
        if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
            yield int(owner)
