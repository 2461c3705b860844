"""Identifies a login server's fleet, and its process.

A fleet has an id in its database. A login server finds out at its start whether the database still
belongs to the same fleet, or is a copy.

A process has an identity that other processes can check. The controller stores it with the lease,
so a successor on the same machine can tell that the controller was killed; on another machine it
waits until the lease lapses. On Linux an identity consists of the boot, the pid namespace, the pid
and the start time of the process, which never come together again. `/proc` is documented in
proc(5).
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs.rules import fleets
from bbs.rules.fleets import FleetIdentity
from bbs.scaling.interfaces import IProvider
from bbs.storage.database import Database

LOOK = 0.5  # seconds between two looks at heartbeats
PROC = Path("/proc")

_MARK = secrets.token_hex(8)
_IDENTITY = re.compile(
    r"(?P<machine>linux:[0-9a-f-]+:[0-9]+):(?P<pid>[0-9]{1,9}):(?P<started>[0-9]+)"
)

_log = Logger()


async def find_fleet(
    database: Database,
    reactor: IReactorTime,
    wall: Callable[[], float],
    patience: float,
    outlives: bool,
) -> FleetIdentity:
    """The fleet of the login server on `database`; `outlives`: its app servers may outlive it. If
    the database is not where it was, a heartbeat within `patience` seconds shows that it was moved
    and not copied."""
    beating = False
    if await database.run_at_start(fleets.is_elsewhere):
        before = await database.run_at_start(fleets.beats)
        beating = bool(await _moved(database, reactor, patience, before, None, enough=1))
    fleet: FleetIdentity = await database.run_at_start(fleets.settle, wall(), beating)
    if fleet.copied and fleet.before and outlives:
        _log.warn(
            "this database is a copy of fleet {before}'s, or was moved: it is fleet {fleet} now."
            " Launches of the other are neither counted nor ended until `fleet adopt` says that"
            " this is {before} itself",
            before=fleet.before.id,
            fleet=fleet.id,
        )
    if fleet.ended is not None:
        _log.warn(
            "this database is a copy, or was moved, or a dump was loaded: ids go on above all that"
            " were given, and {count} sessions have ended, as some may have ended since",
            count=fleet.ended,
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
    """Have `provider` take over the servers that a version without fleet ids launched, if they beat
    within `patience` seconds; whose the others are is unknown."""
    former: str = getattr(provider, "former_scope", "")
    if not former:
        return
    before = await database.run_at_start(fleets.beats, former)
    live = await _moved(database, reactor, patience, before, former, enough=len(before))
    if live:
        count = await database.run_at_start(fleets.take_over, former, provider.scope, live, wall())
        _log.info("took over {count} servers of an earlier version", count=count)


async def _moved(
    database: Database,
    reactor: IReactorTime,
    patience: float,
    before: Mapping[str, int],
    scope: str | None,
    enough: int,
) -> set[str]:
    """The servers of `before` that have beaten since, within `patience` seconds; `enough` will
    do."""
    moved: set[str] = set()
    end = reactor.seconds() + patience
    while len(moved) < min(enough, len(before)) and reactor.seconds() < end:
        await deferLater(reactor, LOOK)
        now = await database.run_at_start(fleets.beats, scope)
        moved |= {id for id, count in before.items() if now.get(id, count) != count}
    return moved


def process_identity(proc: Path = PROC) -> str:
    """The identity of this process, always the same; a fork has another. A service therefore asks
    in `startService`: twistd makes its services before it forks into the background.

    Without Linux's `/proc` it consists of the host's name, the pid and a random number, and proves
    nothing.
    """
    machine, stat = _machine(proc), _stat(proc, os.getpid())
    if machine and stat:
        return f"{machine}:{os.getpid()}:{stat.started}"
    return f"host:{socket.gethostname()}:{os.getpid()}:{_MARK}"


def is_certainly_dead(identity: str, proc: Path = PROC) -> bool:
    """Whether the process of that identity is known to be dead. False if it lives, or if this
    process cannot know: it ran on another machine, in another container or on a system without
    `/proc`, or the identity is malformed."""
    match = _IDENTITY.fullmatch(identity)
    if not match or match["machine"] != _machine(proc):
        return False
    pid = int(match["pid"])
    try:
        # This knows whether a pid is in use even if /proc hides other users' processes.
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    stat = _stat(proc, pid)
    if stat is None:
        return False
    # A zombie has ended, and its parent has not waited for it: none of its threads runs.
    zombie = stat.state in "ZX" and stat.threads <= 1
    return zombie or stat.started != match["started"]


def is_certainly_alive(identity: str, proc: Path = PROC) -> bool:
    match = _IDENTITY.fullmatch(identity)
    if not match or match["machine"] != _machine(proc) or is_certainly_dead(identity, proc):
        return False
    stat = _stat(proc, int(match["pid"]))
    return stat is not None and stat.started == match["started"]


def certainly_dead(identities: Iterable[str]) -> frozenset[str]:
    """The `identities` that are certainly dead. This reads files, so call it in a thread."""
    return frozenset(filter(is_certainly_dead, identities))


def _machine(proc: Path) -> str:
    """This boot and pid namespace; "" if they cannot be known."""
    try:
        # A /proc of another namespace would show other processes.
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
    # The second field is the program's name in parentheses, which can contain anything.
    fields = text.rpartition(")")[2].split()
    return _Stat(state=fields[0], threads=int(fields[17]), started=fields[19])


class _Stat(NamedTuple):
    state: str
    threads: int
    started: str
