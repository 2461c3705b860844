"""What can go wrong, and how often one of them does."""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from lab.faults.machine import CACHE, HOUR, Clock, Disk
from lab.faults.parts import Cluster, Daemon, Part, pause
from lab.faults.world import World

FREEZES = (0.2, 4.0)
"""Seconds that something stands still; `fleet.lost_after` here is 3."""

FULL = (0.5, 3.0)
"""Seconds that a disk is full."""

FILL_INTERVAL = 0.1
"""Seconds after which what was freed on a full disk is taken again."""

FOR_OTHERS = 0o077
"""The bits of a file's mode by which others get at it."""

Strike = Callable[[Callable[[], None]], Awaitable[None]]
"""Does a fault and has all running again; it is given what to call when the fault itself is over:
at a kill at once, at a freeze when it thaws."""

Prepare = Callable[[Random], Strike]
"""Draws what a fault needs to know, so that it depends on the seed alone."""


@dataclass(frozen=True)
class Choice:
    """One thing that can go wrong."""

    kind: str
    target: str
    weight: int
    part: Part
    """What must not be busy with another fault."""
    prepare: Prepare


def choices(world: World) -> list[Choice]:
    """All that can go wrong in this world."""
    found: list[Choice] = []
    big = world.database is not None
    for login in world.logins:
        found += _of_part(login, "login server", 4 if not big else 3)
    for login, folder in zip(world.logins, world.data_folders, strict=True):
        found.append(Choice("open folder", login.name, 1, login, _opening(world, login, folder)))
    found += _of_part(world.app_servers, "app server", 8)
    for part, name, weight in (
        (world.database, "database", 4),
        (world.broker, "broker", 3),
        (world.gateway, "gateway", 1),
    ):
        if part is not None:
            found += _of_part(part, name, weight)
    if isinstance(world.database, Cluster):
        switch = _switching_over(world.database)
        found.append(Choice("switch over database", world.database.name, 4, world.database, switch))
    for disk in dict.fromkeys((world.disk, world.database_disk)):
        if disk.limited:
            ours = disk is world.disk
            name = "the service's disk" if ours else "the database's disk"
            # A MariaDB does not start on a full disk.
            held = Thing(name) if ours or world.database is None else world.database
            found.append(Choice("full disk", name, 4, held, _filling(disk)))
    for number, clock in enumerate(world.clocks):
        if clock.environment:
            name = f"clock {number}"
            found.append(Choice("clock set", name, 3, Thing(name), _setting(clock)))
    return found


def skipped(world: World) -> list[str]:
    """What this machine does not let us do."""
    found = []
    if not world.disk.limited:
        found.append("full disk: it takes root to mount one")
    if not world.clocks[0].environment:
        found.append("clock set: libfaketime is not installed")
    return found


class Thing(Part):
    """What is no process."""

    def pids(self) -> list[int]:
        return []

    async def kill(self, gone: Callable[[], None]) -> None:
        raise LookupError("no process")

    async def restart(self, gone: Callable[[], None]) -> None:
        raise LookupError("no process")


def _of_part(part: Part, name: str, weight: int) -> list[Choice]:
    """Killed, frozen or restarted."""

    def kill(random: Random) -> Strike:
        number = random.random()
        return lambda over: part.aimed(number).kill(over)

    def restart(random: Random) -> Strike:
        number = random.random()
        return lambda over: part.aimed(number).restart(over)

    def freeze(random: Random) -> Strike:
        number, seconds = random.random(), random.uniform(*FREEZES)

        async def strike(over: Callable[[], None]) -> None:
            await part.aimed(number).freeze(seconds)
            over()

        return strike

    return [
        Choice(f"{what} {name}", part.name, weight, part, prepare)
        for what, prepare in (("kill", kill), ("freeze", freeze), ("restart", restart))
    ]


def _switching_over(cluster: Cluster) -> Prepare:
    def prepare(random: Random) -> Strike:
        seconds = random.uniform(*FREEZES)

        async def strike(over: Callable[[], None]) -> None:
            await cluster.switch_over(seconds)
            over()

        return strike

    return prepare


def _filling(disk: Disk) -> Prepare:
    def prepare(random: Random) -> Strike:
        rounds = round(random.uniform(*FULL) / FILL_INTERVAL)

        async def strike(over: Callable[[], None]) -> None:
            try:
                for _ in range(rounds):
                    disk.fill()
                    await pause(FILL_INTERVAL)
            finally:
                disk.free()
            over()

        return strike

    return prepare


def _setting(clock: Clock) -> Prepare:
    """An hour forward or back from what it says; never further than an hour from the truth."""

    def prepare(random: Random) -> Strike:
        forward = random.random() < 0.5

        async def strike(over: Callable[[], None]) -> None:
            others = {0: HOUR if forward else -HOUR}
            clock.set(others.get(clock.offset, 0))
            await pause(CACHE)
            over()

        return strike

    return prepare


def _opening(world: World, login: Daemon, folder: Path) -> Prepare:
    """A data folder that others can read, at a start: it is made right, or refused."""

    def everything() -> list[Path]:
        return [folder, *folder.rglob("*")]

    def close() -> None:
        for path in everything():
            path.chmod(path.stat().st_mode & ~FOR_OTHERS)

    async def strike(over: Callable[[], None]) -> None:
        await login.stop()
        for path in everything():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        over()
        await login.start(refused=close)
        if still := [path.name for path in everything() if _is_open(path)]:
            world.figures.complain(f"{login.name} started, and others can read {still[:3]}")
            close()

    return lambda random: strike


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & FOR_OTHERS)
