"""What the fleet should do next: a pure function of what was seen.

`plan` takes the servers as they were seen, the demand and the policy, and gives the steps to act
on. It reads no clock and keeps nothing: times come in as ages in seconds, and whoever acts can die
between any two steps, because the next round sees what became of them and plans the rest again.

A server moves `launching -> ready -> draining -> gone`, or by way of `lost` when it dies, or its
launch fails: it stays lost, and counts to the maximum, until its end is certain. Nobody but the
plan moves one. The steps of a server: `MarkReady`, `Lose` (its people need other places),
`Drain` (it takes nobody any more), `Keep` (it takes people again) and `End` (terminate it, then it
is gone).

Servers are given up in two ways. One that is empty and beyond need ends after its grace. Where the
people of all servers would fit into fewer, and have for `consolidate_after` seconds, the emptiest
drains, and its people go over a few at a time. Each move costs somebody a new connection, so that
is done only where nothing else is going on, one server after the other, and never so that one more
is needed soon: what counts is the most that was needed in that time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bbs.rules.servers import CONSOLIDATED
from bbs.values import Policy, State

LONGEST_BACK_OFF = 60.0

HELD_AFTER_FAILURE = 600.0
"""Seconds after a launch that failed in which no server is given up that people are on: places may
be hard to come by."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One server as it was seen, times in seconds.

    `taken` of its `capacity` places have people. `reported`: it has said that it serves, and
    `addressed`: it is known where. `age`: since its launch was decided. `silence`: since its last
    heartbeat, not counting time in which the keeper itself could not have heard one. `idle`: since
    it was ready and its last person left (0 while anybody is on it). `leaving`: it has said that it
    stops. `drain_asked`: an operator wants it empty. `alive` is the provider's word: True, False
    for known to have ended, None where this server is not the provider's to know; `detail` its
    words for how one has ended. `warned`: why the provider will take it away soon, as it has said
    itself; "" while it will not. `by_hand`: an operator runs it, and ends it. `consolidating`: it
    drains only because its people fit elsewhere, `replacing`: only because operators asked for
    another in its place, as they have where `replace_asked` (`bbs.scaling.replacing`). `version`:
    which it runs. `stopped`: its machine is, and can be started; `shelved`: it was launched for
    that, and `outdated` by another version (`bbs.scaling.shelf`).
    """

    id: str
    state: State
    taken: int
    capacity: int
    reported: bool
    age: float
    silence: float
    idle: float
    leaving: bool
    drain_asked: bool
    alive: bool | None
    detail: str = ""
    addressed: bool = True
    warned: str = ""
    by_hand: bool = False
    consolidating: bool = False
    stopped: bool = False
    shelved: bool = False
    outdated: bool = False
    version: str = ""
    replace_asked: bool = False
    replacing: bool = False


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is wanted of the fleet beyond what its servers show.

    `waiting`: people without a place. Those who still have one on a lost or a draining server are
    not among them; the plan finds them there. `failures`: launches that failed in a row, the last
    of them `since_failure` seconds ago. `strays`: instances that run and belong to no server; they
    count to the maximum until they have ended. `refused`: the provider launches nothing until an
    operator has mended something. `peak`: the most people that were there at once, with a place or
    waiting, in the last `consolidate_after` seconds; None where that is not known for so long.
    `trouble`: why nothing is begun now that can wait, "" where nothing is the matter.
    """

    waiting: int
    failures: int
    since_failure: float
    strays: int
    refused: bool
    peak: int | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Launch:
    """Launch `count` servers."""

    count: int


@dataclass(frozen=True)
class MarkReady:
    """The server serves: people may be placed on it."""

    id: str


@dataclass(frozen=True)
class Lose:
    """The server is lost: its people need other places."""

    id: str
    reason: str


@dataclass(frozen=True)
class Drain:
    """The server takes nobody any more, and who is on it should move."""

    id: str
    reason: str


@dataclass(frozen=True)
class Keep:
    """The server drains, and is needed after all: it takes people again, sooner than a new one."""

    id: str


@dataclass(frozen=True)
class End:
    """Terminate the server; then it is gone. One that was launching has thereby failed, unless it
    is only `late`, and has said meanwhile that it serves."""

    id: str
    reason: str
    late: bool = False


Step = Launch | MarkReady | Lose | Drain | Keep | End


def plan(servers: Sequence[Seen], demand: Demand, policy: Policy) -> tuple[Step, ...]:
    """The steps to take now; none when all is well.

    They come in the order in which people need them: what gives places first, ends last, as an end
    can take seconds. No order of acting on them, and no part of them, exceeds the maximum.
    """
    steps = {server.id: step for server in servers if (step := own_step(server, policy))}
    steps |= _keep(servers, steps, demand, policy)
    steps |= _drain_idle(servers, steps, demand, policy)
    steps |= _consolidate(servers, steps, demand, policy)
    count = _launches(servers, steps, demand, policy)
    launch = (Launch(count),) if count else ()
    ends = [step for step in steps.values() if isinstance(step, End)]
    others = [step for step in steps.values() if not isinstance(step, End)]
    return (*others, *launch, *ends)


def back_off(failures: int) -> float:
    """Seconds to wait after so many failed launches in a row: 0, 1, 2, 4, … at most 60."""
    return min(2.0 ** min(failures - 1, 10), LONGEST_BACK_OFF) if failures else 0.0


def own_step(server: Seen, policy: Policy) -> Step | None:
    """What a server's own condition asks for, whatever the others do."""
    dead = _death(server, policy)
    unwanted = "asked for" if server.drain_asked else server.warned
    match server.state:
        case State.LAUNCHING:
            if dead:
                return End(server.id, f"failed: {dead}")
            if unwanted:
                return Drain(server.id, unwanted)
            if server.reported:
                # It serves. Until it is known where, it is waited for, however long.
                return MarkReady(server.id) if server.addressed else None
            if server.age > policy.launch_timeout:
                reason = f"failed: not ready in {policy.launch_timeout:g} s"
                return End(server.id, reason, late=True)
        case State.READY:
            if dead:
                return Lose(server.id, dead)
            if unwanted:
                return Drain(server.id, unwanted)
        case State.DRAINING:
            if not server.taken:
                done = "replaced" if server.replacing else dead or "drained"
                return End(server.id, server.warned or done)
            if dead:
                return Lose(server.id, dead)
        case State.LOST:
            return End(server.id, dead or "lost")
    return None


def _death(server: Seen, policy: Policy) -> str:
    """Why a server is to be taken for dead, or an empty text."""
    if server.alive is False:
        return f"ended: {server.detail}" if server.detail else "ended"
    if server.leaving:
        return "it has said that it stops"
    heard = server.reported or server.state is not State.LAUNCHING
    if heard and server.silence > policy.lost_after:
        return f"silent for more than {policy.lost_after:g} s"
    return ""


def _drain_idle(
    servers: Sequence[Seen], steps: dict[str, Step], demand: Demand, policy: Policy
) -> dict[str, Step]:
    """Drain the empty servers that nobody needs, the longest idle first.

    Need is held against servers that are ready now. A launch on its way may fail, and would have
    taken the place of a server that works. As long as some are to be replaced those alone end: the
    others are for their people.
    """
    ready = _lasting(servers, steps, policy)
    replacing = _any_to_replace(servers)
    idle = [s for s in ready if not s.taken and (s.replace_asked or not replacing)]
    if not idle:
        return {}
    count, free = len(ready), sum(free_places(s, policy) for s in ready)
    need = _balance(servers, steps, demand, policy).homeless + policy.spare
    drains: dict[str, Step] = {}
    for server in sorted(idle, key=lambda s: (-s.idle, s.id)):
        if count > policy.minimum and free - server.capacity >= need:
            drains[server.id] = Drain(server.id, f"idle for {policy.idle_grace:g} s")
            count, free = count - 1, free - server.capacity
    return drains


def _lasting(servers: Sequence[Seen], steps: dict[str, Step], policy: Policy) -> list[Seen]:
    """The ready servers that are counted on where one is to be given up."""
    # An empty server younger than the grace counts neither way: it may have been asked for, and
    # another is not to end for it before the surplus has lasted.
    return [
        s
        for s in servers
        if s.state is State.READY and s.id not in steps and (s.taken or s.idle >= policy.idle_grace)
    ]


def _keep(
    servers: Sequence[Seen], steps: dict[str, Step], demand: Demand, policy: Policy
) -> dict[str, Step]:
    """Keep servers whose people were to go elsewhere, rather than launch others. One that is
    replaced is kept for people without a place, and not for spare ones: these come with another.

    Those that nobody is on any more are being ended.
    """
    keeps: dict[str, Step] = {}
    for server in servers:
        given_up = server.consolidating or server.replacing
        drains = given_up and server.state is State.DRAINING and server.taken
        wanted = not (server.id in steps or server.drain_asked or server.warned)
        enough = policy.spare if server.replacing else 0
        if drains and wanted and _balance(servers, steps | keeps, demand, policy).missing > enough:
            keeps[server.id] = Keep(server.id)
    return keeps


def _consolidate(
    servers: Sequence[Seen], steps: dict[str, Step], demand: Demand, policy: Policy
) -> dict[str, Step]:
    """Drain the emptiest server, if the others have had room for its people for long.

    Of several that are as empty the youngest goes: what came last with a crowd goes first with it,
    and people are not driven from old servers onto new ones, which are emptied in their turn.
    """
    if (
        not policy.consolidate_after
        or demand.peak is None
        or is_busy(servers, steps.values(), demand)
    ):
        return {}
    if _any_to_replace(servers):
        return {}
    ready = _lasting(servers, steps, policy)
    could_end = [s for s in ready if s.taken and not s.by_hand]
    if len(ready) <= policy.minimum or not could_end:
        return {}
    emptiest = min(could_end, key=lambda s: (s.taken, s.age, s.id))
    room = sum(free_places(s, policy) for s in ready if s is not emptiest)
    ebbed = max(0, demand.peak - sum(s.taken for s in servers))
    if room < emptiest.taken + policy.spare + ebbed:
        return {}
    return {emptiest.id: Drain(emptiest.id, f"{CONSOLIDATED}{emptiest.taken} people fit elsewhere")}


def _any_to_replace(servers: Sequence[Seen]) -> bool:
    return any(s.replace_asked and s.state is State.READY for s in servers)


def lacks_capacity(demand: Demand) -> bool:
    """Whether a launch has failed lately, and none succeeded since."""
    return demand.failures > 0 and demand.since_failure < HELD_AFTER_FAILURE


def is_busy(servers: Sequence[Seen], steps: Iterable[object], demand: Demand) -> bool:
    """Whether anything is going on beside which nobody is moved without need: a launch, or what
    comes of one that failed, a server that is replaced, or another whose people move."""
    if demand.waiting or lacks_capacity(demand) or demand.refused:
        return True
    if any(not isinstance(step, End) for step in steps):
        return True
    return any(
        s.state in (State.LAUNCHING, State.LOST) or (s.state is State.DRAINING and s.taken)
        for s in servers
    )


def _launches(
    servers: Sequence[Seen], steps: dict[str, Step], demand: Demand, policy: Policy
) -> int:
    """How many to launch: for the people and the spare places, and for the minimum."""
    # One that fails in this round is not among the demand's failures yet; backing off begins now.
    failing = any(isinstance(steps.get(s.id), End) for s in servers if s.state is State.LAUNCHING)
    if failing or demand.refused or demand.since_failure < back_off(demand.failures):
        return 0
    balance = _balance(servers, steps, demand, policy)
    for_places = -(-balance.missing // policy.capacity)
    for_minimum = policy.minimum - balance.staying
    # What ends in this round still runs when the launch is made, so it counts to the maximum.
    room = policy.maximum - demand.strays - sum(s.state is not State.GONE for s in servers)
    return max(0, min(max(for_places, for_minimum), room))


@dataclass(frozen=True)
class _Balance:
    """After some steps: `homeless` people need a place on a server that stays, the waiting and
    those on the others; so many are `staying`; and `missing` places are too few, for people and to
    spare, negative where some are left."""

    homeless: int
    staying: int
    missing: int


def _balance(
    servers: Sequence[Seen], steps: dict[str, Step], demand: Demand, policy: Policy
) -> _Balance:
    homeless, staying, free = demand.waiting, 0, 0
    for server in servers:
        if _stays(server, steps.get(server.id)):
            staying, free = staying + 1, free + free_places(server, policy)
        elif server.state is not State.GONE:
            homeless += server.taken
    return _Balance(homeless, staying, homeless + policy.spare - free)


def _stays(server: Seen, step: Step | None) -> bool:
    """Whether the server takes people after this step, or will when it has booted."""
    if step is None:  # Most of a large fleet.
        return server.state is State.READY or server.state is State.LAUNCHING
    return isinstance(step, (Keep, MarkReady))


def free_places(server: Seen, policy: Policy) -> int:
    """How many more people the server has room for, or will when it has booted."""
    capacity = policy.capacity if server.state is State.LAUNCHING else server.capacity
    return max(0, capacity - server.taken)
