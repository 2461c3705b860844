"""Servers that operators asked others for: a new version, another image, another type.

A pure function around the plan and the shelf. A mark is on a server's row, so each is replaced
once, and whoever keeps the fleet goes on where another stopped. One goes after the other, those of
older versions first. Nothing is remembered of which server was launched for which: one drains as
soon as others, that are not to be replaced themselves, have places for its people beside those to
be kept spare, and until then one more is launched. So a new one is ready before, the fleet does not
grow by more than that, and people are moved once.

At the maximum no server can be added before one ends. Then one goes whose people have room on those
there are, to be replaced or not.

That is never urgent: it waits while people do, while launches fail or are refused, while the
provider or the broker is away, and for whatever else is under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bbs.rules.replacing import FAILED_LATELY, FULL, PEOPLE_WAIT, REFUSED
from bbs.rules.servers import REPLACED
from bbs.scaling import plan, shelf
from bbs.scaling.plan import Demand, Drain, End, Launch, Seen
from bbs.values import Policy, State, version_order


@dataclass(frozen=True)
class Wait:
    """Servers are to be replaced, and none is now, for a reason that may last."""

    reason: str


Step = shelf.Step | Wait


def with_replacements(servers: Sequence[Seen], demand: Demand, policy: Policy) -> tuple[Step, ...]:
    """The steps of `shelf.with_shelf`, and where nothing else is to be done the next of a
    replacement. No order of acting on them, and no part of them, exceeds the maximum."""
    steps = shelf.with_shelf(servers, demand, policy)
    marked = [s for s in servers if s.replace_asked and s.state is State.READY and not s.by_hand]
    if not marked:
        return steps
    step: Step | None
    if reason := _held_up(demand):
        step = Wait(reason)
    elif plan.is_busy(servers, steps, demand) or any(s.replacing for s in servers):
        # (One that has drained, and has not ended yet, runs still.)
        return steps
    else:
        step = _next(marked, servers, demand, policy)
    ends = [step for step in steps if isinstance(step, End)]
    return (*(each for each in steps if not isinstance(each, End)), step, *ends)


def _held_up(demand: Demand) -> str:
    """What has to be over before, or an empty text."""
    if demand.trouble:
        return demand.trouble
    if demand.waiting:
        return PEOPLE_WAIT
    if demand.refused:
        return REFUSED
    if plan.lacks_capacity(demand):
        return FAILED_LATELY
    return ""


def _next(marked: Sequence[Seen], servers: Sequence[Seen], demand: Demand, policy: Policy) -> Step:
    ready = [s for s in servers if s.state is State.READY]
    free = sum(plan.free_places(s, policy) for s in ready)
    lasting = free - sum(plan.free_places(s, policy) for s in marked)
    room = policy.maximum - demand.strays - sum(map(_runs, servers))
    in_turn = sorted(marked, key=lambda s: (version_order(s.version), -s.age, s.id))
    elsewhere = {s.id: free - plan.free_places(s, policy) for s in marked}
    for server in in_turn:
        wanted = max(server.taken - lasting, server.taken + policy.spare - elsewhere[server.id])
        count = max(-(-wanted // policy.capacity), policy.minimum - (len(ready) - 1))
        if count <= 0:
            return _drain(server)
        if count <= room:
            return Launch(count)
    for server in in_turn:
        if elsewhere[server.id] >= server.taken + policy.spare:
            return _drain(server)
    return Wait(FULL)


def _runs(server: Seen) -> bool:
    """Whether its machine does, or is not known to have stopped."""
    return not (server.state is State.GONE or (server.state is State.WARM and server.stopped))


def _drain(server: Seen) -> Drain:
    people = "1 person goes" if server.taken == 1 else f"{server.taken} people go"
    return Drain(server.id, f"{REPLACED}{people} over")
