"""The shelf: app servers whose machines have booted once and are stopped, for when a crowd comes.

A pure function around the plan, which knows of servers that serve and of none on the shelf. One for
the shelf is launched like any other, `shelved`; once it has said that it serves, it is stopped
(`Shelve`), and is warm. Where the plan would launch, warm ones are started first (`Wake`), and then
those are taken off the shelf that still boot for it. So a crowd finds them, and with nobody waiting
and no launch for anybody under way the shelf is filled again (`Fill`).

A warm server counts to the maximum only while its machine runs, or is not known to be stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bbs.rules.servers import REPLACED
from bbs.scaling import plan
from bbs.scaling.plan import Demand, End, Launch, MarkReady, Seen
from bbs.values import Policy, State


@dataclass(frozen=True)
class Fill:
    """Launch `count` servers for the shelf."""

    count: int


@dataclass(frozen=True)
class Shelve:
    """The server has booted for the shelf: it is warm from now on, and its machine is stopped."""

    id: str


@dataclass(frozen=True)
class Stop:
    """The machine of a warm server still runs: ask again for it to be stopped."""

    id: str


@dataclass(frozen=True)
class Wake:
    """Take the server off the shelf, and start its machine, if it is stopped."""

    id: str


Step = plan.Step | Fill | Shelve | Stop | Wake


def with_shelf(servers: Sequence[Seen], demand: Demand, policy: Policy) -> tuple[Step, ...]:
    """The steps of `plan.plan`, with a shelf of `policy.warm` servers. No order of acting on them,
    and no part of them, exceeds the maximum."""
    shelf = [s for s in servers if is_shelved(s)]
    if not shelf and not policy.warm:
        return plan.plan(servers, demand, policy)
    others = [s for s in servers if not is_shelved(s)]
    own = {s.id: step for s in shelf if (step := _own_step(s, policy))}
    # Those that boot for the shelf become others' without a machine more.
    stopping = sum(s.state is not State.LAUNCHING and not s.stopped for s in shelf)
    booting = [s for s in shelf if s.state is State.LAUNCHING and not _ends(own.get(s.id))]
    ending = sum(s.state is State.LAUNCHING for s in shelf) - len(booting)
    beside = replace(demand, strays=demand.strays + stopping + ending)
    steps = plan.plan(others, beside, policy)
    wanted = _wanted(steps, others, beside, policy)
    room = policy.maximum - beside.strays - _running(others) - len(booting)
    warm = [s for s in shelf if s.state is State.WARM and s.stopped and s.id not in own]
    wakes = [Wake(s.id) for s in _best(warm)[: max(0, min(wanted, room))]]
    room -= len(wakes)
    taken_off = [Wake(s.id) for s in _furthest(booting)[: max(0, wanted - len(wakes))]]
    launches = max(0, min(_count(steps), wanted - len(wakes) - len(taken_off), room))
    for wake in (*wakes, *taken_off):
        own.pop(wake.id, None)
    quiet = not (wakes or taken_off or _count(steps)) and _is_quiet(steps, others, demand)
    if quiet and not (demand.trouble or plan.lacks_capacity(demand)):
        own |= {s.id: End(s.id, f"{REPLACED}it stood by") for s in warm if s.replace_asked}
    surplus = len(warm) + len(booting) - policy.warm
    if quiet and surplus > 0:
        own |= {s.id: End(s.id, "beyond fleet.warm") for s in _best(warm)[-surplus:]}
    staying = sum(not _ends(own.get(s.id)) for s in shelf)
    fill = max(0, min(policy.warm - staying, room)) if quiet else 0
    ends = [step for step in steps if isinstance(step, End)]
    rest = [step for step in steps if not isinstance(step, End | Launch)]
    mine = [step for step in own.values() if not isinstance(step, End)]
    return (
        *rest,
        *wakes,
        *taken_off,
        *([Launch(launches)] if launches else ()),
        *([Fill(fill)] if fill else ()),
        *mine,
        *ends,
        *(step for step in own.values() if isinstance(step, End)),
    )


def is_shelved(server: Seen) -> bool:
    """Whether a server is on the shelf, or boots for it."""
    return server.state is State.WARM or (server.shelved and server.state is State.LAUNCHING)


def _own_step(server: Seen, policy: Policy) -> Step | None:
    """What a server's own condition asks for, as long as nobody needs it."""
    if server.state is State.LAUNCHING:
        step = plan.own_step(server, policy)
        # Nobody is sent there, so it need not be known where it is.
        return Shelve(server.id) if server.reported and isinstance(step, MarkReady | None) else step
    if server.drain_asked or server.warned:
        return End(server.id, server.warned or "asked for")
    if server.stopped:
        return End(server.id, "of another version") if server.outdated else None
    if server.alive is False:
        return End(server.id, f"ended: {server.detail}" if server.detail else "ended")
    if server.alive:
        # One that somebody else has started does not stop either: it is too old by then.
        late = server.age > policy.launch_timeout
        return End(server.id, "runs on the shelf") if late else Stop(server.id)
    return None


def _wanted(
    steps: Sequence[plan.Step], others: Sequence[Seen], demand: Demand, policy: Policy
) -> int:
    """How many servers are wanted beyond those there are. That launches fail says nothing of those
    that have booted; where the provider refuses, it would refuse to start them too."""
    if demand.refused or not demand.failures:
        return _count(steps)
    return _count(plan.plan(others, replace(demand, failures=0), policy))


def _is_quiet(steps: Sequence[plan.Step], others: Sequence[Seen], demand: Demand) -> bool:
    """Whether nobody waits, and nothing is under way that comes before the shelf."""
    if demand.waiting or demand.refused or demand.since_failure < plan.back_off(demand.failures):
        return False
    return not any(s.state is State.LAUNCHING for s in others) and not any(
        isinstance(step, Launch) for step in steps
    )


def _best(warm: Sequence[Seen]) -> list[Seen]:
    """In the order in which they are started: those that have stood by the longest first, and at
    last those that are to be replaced."""
    return sorted(warm, key=lambda s: (s.replace_asked, -s.age, s.id))


def _furthest(booting: Sequence[Seen]) -> list[Seen]:
    """In the order in which they will serve, as it seems."""
    return sorted(booting, key=lambda s: (not s.reported, -s.age, s.id))


def _running(servers: Sequence[Seen]) -> int:
    return sum(s.state is not State.GONE for s in servers)


def _count(steps: Sequence[plan.Step]) -> int:
    return sum(step.count for step in steps if isinstance(step, Launch))


def _ends(step: Step | None) -> bool:
    return isinstance(step, End | plan.Drain)
