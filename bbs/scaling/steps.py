"""The steps of a plan. Each has its effect on the rest of the plan, and knows which method of the
executor carries it out."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import TYPE_CHECKING, ClassVar

from bbs.scaling.fleet_view import FleetView
from bbs.values import Cause, DrainCause, LossCause

if TYPE_CHECKING:
    from bbs.scaling.executor import Executor

Work = Awaitable[None]


class Effect(IntEnum):
    """The effect of a step on the rest of the plan, in the order in which steps are taken."""

    SERVES = auto()
    """The server takes people."""
    DRAINS = auto()
    """The server takes nobody any more."""
    ADDS = auto()
    """More servers will serve, or be warm."""
    PARKS = auto()
    """The server is warm."""
    ENDS = auto()
    """A machine ends, which can take seconds."""


class Step:
    """Something to do next."""

    effect: ClassVar[Effect]

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        """Have `executor` do it to `fleet`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Adopt(Step):
    """Take on `count` launches that operators have asked for."""

    count: int
    effect = Effect.ADDS

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.adopt(self.count)


@dataclass(frozen=True)
class Launch(Step):
    """Launch `count` servers."""

    count: int
    effect = Effect.ADDS

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.launch(self.count, fleet.beside)


@dataclass(frozen=True)
class FillPool(Step):
    """Launch `count` servers for the warm pool."""

    count: int
    effect = Effect.ADDS

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.fill_pool(self.count, fleet.beside)


@dataclass(frozen=True)
class MarkReady(Step):
    """Place people on the server from now on."""

    id: str
    effect = Effect.SERVES

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.mark_ready(fleet.servers[self.id], fleet.is_replacing)


@dataclass(frozen=True)
class Park(Step):
    """Make the server warm, now that it has booted, and stop its machine."""

    id: str
    effect = Effect.PARKS

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.park(fleet.servers[self.id])


@dataclass(frozen=True)
class Stop(Step):
    """Ask again for the machine of a warm server to be stopped."""

    id: str
    effect = Effect.PARKS

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.stop(fleet.servers[self.id])


@dataclass(frozen=True)
class Resume(Step):
    """Take the server out of the warm pool, and start its machine if that is stopped."""

    id: str
    effect = Effect.ADDS

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.resume(fleet.servers[self.id], fleet.beside)


@dataclass(frozen=True)
class Drain(Step):
    """Place nobody on the server any more, and move its people."""

    id: str
    cause: DrainCause
    effect = Effect.DRAINS

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.drain(fleet.servers[self.id], self.cause)


@dataclass(frozen=True)
class Keep(Step):
    """Place people again on a server that drains: it is there sooner than a new one."""

    id: str
    effect = Effect.SERVES

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.keep(fleet.servers[self.id])


@dataclass(frozen=True)
class Lose(Step):
    """Give up a dead server: its people need other places."""

    id: str
    cause: LossCause
    effect = Effect.DRAINS

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.lose(fleet.servers[self.id], self.cause)


@dataclass(frozen=True)
class End(Step):
    """Terminate the server; then it is gone. A launch has thereby failed, unless it is only late
    and has reported meanwhile. No `cause`: the server has drained."""

    id: str
    cause: Cause | None = None
    effect = Effect.ENDS

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.end(fleet.servers[self.id], self.cause)


@dataclass(frozen=True)
class EndOrphan(Step):
    """Terminate an instance that belongs to no server."""

    id: str
    effect = Effect.ENDS

    def carry_out(self, executor: Executor, fleet: FleetView) -> Work:
        return executor.end_orphan(self.id)
