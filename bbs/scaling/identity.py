"""Which fleet, and which process, a login server is.

A fleet has an id in its database. A login server finds out at its start whether the database is
still the same fleet's, or a copy of it.

A process has an identity that another process can check. Whoever keeps the fleet leaves it with its
lease. A successor on the same machine can then tell that the leader was killed, and need not wait
until the lease lapses. Elsewhere it cannot tell, and waits. On Linux an identity names the boot,
the pid namespace, the pid and the time at which the process started: together they never come
again. `/proc` is documented in proc(5).
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs.rules import fleets
from bbs.rules.fleets import FleetIdentity
from bbs.scaling.interfaces import IProvider
from bbs.storage.database import Database

LOOK = 0.5
"""Seconds between two looks at heartbeats."""

PROC = Path("/proc")
"""Where Linux tells of its processes."""

_MARK = secrets.token_hex(8)
_IDENTITY = re.compile(
    r"(?P<machine>linux:[0-9a-f-]+:[0-9]+):(?P<pid>[0-9]{1,9}):(?P<started>[0-9]+)"
)

_log = Logger()


# Fleets


async def find_fleet(
    database: Database,
    reactor: IReactorTime,
    wall: Callable[[], float],
    patience: float,
    outlives: bool,
) -> FleetIdentity:
    """The fleet of the login server on `database`, whose app servers may outlive it, or not.

    If the database is not where it was, an app server that says within `patience` seconds that it
    lives shows that the database has moved, and is not a copy.
    """
    beating = False
    if await database.run_at_start(fleets.is_elsewhere):
        before = await database.run_at_start(fleets.beats)
        beating = bool(await _moved(database, reactor, patience, before, None, enough=1))
    fleet: FleetIdentity = await database.run_at_start(fleets.settle, wall(), beating)
    if fleet.copied and fleet.before and outlives:
        _log.warn(
            "this database is a copy of fleet {before}'s, or has been moved: it is fleet {fleet}"
            " now, and what the other has launched is neither counted nor ended, until `fleet"
            " adopt` says that this is {before} itself",
            before=fleet.before.id,
            fleet=fleet.id,
        )
    if outlives:
        _log.info("this is fleet {fleet}", fleet=fleet.id)
    return fleet


async def take_over_launches(
    database: Database,
    provider: IProvider,
    reactor: IReactorTime,
    wall: Callable[[], float],
    patience: float,
) -> None:
    """Have `provider` speak of the servers that a version without ids of fleets launched, of those
    that say within `patience` seconds that they live: of others it is not known whose they are."""
    former: str = getattr(provider, "former_scope", "")
    if not former:
        return
    before = await database.run_at_start(fleets.beats, former)
    live = await _moved(database, reactor, patience, before, former, enough=len(before))
    if live:
        count = await database.run_at_start(fleets.take_over, former, provider.scope, live, wall())
        _log.info("{count} servers of before are this fleet's", count=count)


async def _moved(
    database: Database,
    reactor: IReactorTime,
    patience: float,
    before: Mapping[str, int],
    scope: str | None,
    enough: int,
) -> set[str]:
    """Those of `before` that have said that they live since: `enough` of them, or those that do
    within `patience` seconds."""
    moved: set[str] = set()
    end = reactor.seconds() + patience
    while len(moved) < min(enough, len(before)) and reactor.seconds() < end:
        slept: Deferred[None] = deferLater(reactor, LOOK, lambda: None)
        await slept
        now = await database.run_at_start(fleets.beats, scope)
        moved |= {id for id, count in before.items() if now.get(id, count) != count}
    return moved


# Processes


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
    if not match or match["machine"] != _machine(proc) or is_certainly_dead(identity, proc):
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


class _Stat(NamedTuple):
    state: str
    threads: int
    started: str
