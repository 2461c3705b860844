"""What can be taken out on purpose, to see that the rounds notice: each protection once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from bbs.core.values import DrainCause, LossCause, State
from bbs.rules import fleet_transitions, membership, placement
from bbs.scaling import observer, planner
from bbs.scaling.clock_check import ClockCheck
from bbs.scaling.demand import DemandTracker
from bbs.scaling.ec2 import errors, instance_states, launch_request
from bbs.scaling.ec2.provider import EC2Provider
from bbs.scaling.executor import Executor
from bbs.scaling.fleet_view import Demand, FleetView, Health, Machine, ServerView
from bbs.scaling.observer import FleetObserver, Inventory
from bbs.scaling.planner import Drain


@dataclass(frozen=True)
class Break:
    """One protection: what is so without it, and how the code is broken, where it is the code that
    is; else the cloud or the world is different by its name.

    :param beside: what is taken out with it, as it would cover for it.
    :param probe: what happens to the world (a method's name) when all else is well, where few
        rounds would show it otherwise.
    :param policy: what is wanted of all fleets then.
    """

    what: str
    code: Callable[[], AbstractContextManager[object]] = nullcontext
    beside: tuple[str, ...] = ()
    probe: str = ""
    policy: Mapping[str, Any] = field(default_factory=dict)


def _grace() -> AbstractContextManager[object]:
    return mock.patch.object(observer, "CONSISTENCY_GRACE", 0.0)


def _token_ended() -> AbstractContextManager[object]:
    meaning = {"IdempotentInstanceTerminated": (errors.Verdict.REFUSED, "")}
    return mock.patch.dict(errors._BY_CODE, meaning)  # type: ignore[arg-type]


def _look() -> AbstractContextManager[object]:
    async def describes_nothing(self: EC2Provider, launch_ids: Sequence[str]) -> Any:
        return {}

    return mock.patch.object(EC2Provider, "_describe_launches", describes_nothing)


def _template() -> AbstractContextManager[object]:
    return mock.patch.object(launch_request, "_groups", lambda described: None)


def _seen_as(
    change: Callable[[ServerView], ServerView],
) -> AbstractContextManager[object]:
    look = FleetObserver.look

    async def otherwise(self: FleetObserver, *seen: Any) -> FleetView:
        fleet = await look(self, *seen)
        return replace(fleet, servers={id: change(s) for id, s in fleet.servers.items()})

    return mock.patch.object(FleetObserver, "look", otherwise)


def _warm() -> AbstractContextManager[object]:
    orphans = Inventory.orphans

    def of_those_that_run(self: Inventory, servers: Mapping[str, ServerView]) -> Any:
        running = {id: s for id, s in servers.items() if s.state is not State.WARM}
        return orphans(self, running)

    return mock.patch.object(Inventory, "orphans", of_those_that_run)


def _stands() -> AbstractContextManager[object]:
    return mock.patch.object(
        fleet_transitions, "ownership", lambda server: fleet_transitions.Ownership.NEVER
    )


def _warm_runs() -> AbstractContextManager[object]:
    def as_stopped(server: ServerView) -> ServerView:
        warm = server.state is State.WARM
        return replace(server, machine=Machine.STOPPED) if warm else server

    return _seen_as(as_stopped)


@contextmanager
def _warm_spot() -> Iterator[None]:
    ways = EC2Provider.choose_strategies

    def of_any(self: EC2Provider, count: int, to_stop: bool = False) -> Sequence[str]:
        return ways(self, count)

    # The way is chosen as the launch is written down, and again as it is asked for.
    with (
        mock.patch.object(EC2Provider, "choose_strategies", of_any),
        mock.patch.object(EC2Provider, "launch_to_stop", EC2Provider.launch),
    ):
        yield


def _warm_kept() -> AbstractContextManager[object]:
    return mock.patch.object(observer, "is_there", lambda instance: instance.alive)


@contextmanager
def _beating() -> Iterator[None]:
    def as_unheard(server: ServerView) -> ServerView:
        nowhere = server.health is Health.UNADDRESSED
        return replace(server, health=Health.UNHEARD) if nowhere else server

    def give_up(me: membership.Member, server: str, reason: str, now: float) -> Any:
        return fleet_transitions.lose(me, server, LossCause.LATE, reason, now)

    # The planner looks whether a launch beats, and the transaction that gives it up looks again.
    with _seen_as(as_unheard), mock.patch.object(fleet_transitions, "give_up", give_up):
        yield


def _unproved() -> AbstractContextManager[object]:
    async def terminate(self: Executor, id: str) -> None:
        await self._provider.terminate(id)

    return mock.patch.object(Executor, "_find_and_terminate", terminate)


def _listed() -> AbstractContextManager[object]:
    machine = Inventory.machine
    return mock.patch.object(Inventory, "machine", lambda self, id, spared=False: machine(self, id))


def _stopped() -> AbstractContextManager[object]:
    stopped = property(lambda self: False)
    return mock.patch.object(instance_states.EC2Instance, "stopped", stopped)


def _busy() -> AbstractContextManager[object]:
    return mock.patch.object(planner.Draft, "is_quiet", lambda self, servers: True)


def _ebb() -> AbstractContextManager[object]:
    see = DemandTracker.see

    def without_peak(self: DemandTracker, seen: membership.Observation) -> Demand:
        return replace(see(self, seen), peak=0)

    return mock.patch.object(DemandTracker, "see", without_peak)


def _twice() -> AbstractContextManager[object]:
    return mock.patch.object(placement, "MOVED_AGAIN_AFTER", -1.0)


def _warned() -> AbstractContextManager[object]:
    return mock.patch.object(membership, "warn", lambda server, why: None)


def _clock() -> AbstractContextManager[object]:
    return mock.patch.object(ClockCheck, "allows", lambda self: True)


def _replace_first() -> AbstractContextManager[object]:
    def at_once(draft: planner.Draft) -> None:
        marked = draft.replaced
        if marked and not draft.held_up_by() and draft.is_quiet(draft.all):
            draft.plan(Drain(marked[0].id, DrainCause.REPLACEMENT))

    phases = [at_once if phase is planner.replace else phase for phase in planner.PHASES]
    return mock.patch.object(planner, "PHASES", phases)


LISTS_ARE_BAD, COME_AND_GO = "lists_are_bad", "people_come_and_go"
HALF_GOES, ALL_REPLACED = "half_is_taken_away", "all_are_replaced"
CLOCKS = "clocks_jump"
FREEZES, FALTERS = "one_freezes_unseen", "beats_falter_unseen"
_FULL = {"capacity": 1, "maximum": 6, "spare": 0, "foresees": False, "warm": 0}
_MOVING = {"consolidate_after": 5.0, "capacity": 3, "maximum": 5, "spare": 0, "foresees": False}

BREAKS: Mapping[str, Break] = {
    # Covered by each other, this and the look for what may have been launched.
    "token": Break("asking again under a token launches again", beside=("look",)),
    "tags": Break("instances are not tagged, so no list has them"),
    "grace": Break("absence from one list counts at once", _grace, probe=FALTERS),
    "fleet-id": Break("fleets go by their name, which another one has too"),
    "copy": Break("a copy of a database is taken for the original"),
    # Covered by the look for what may have been launched, which finds what has ended as well.
    "token-ended": Break(
        "that a token's instance has ended stops all launches",
        _token_ended,
        ("look",),
        "launches_end_unheard",
    ),
    "own-address": Break("app servers do not tell where they are", probe=LISTS_ARE_BAD),
    # One that knows where it is serves at once.
    "beating": Break(
        "a launch that beats is given up in time all the same",
        _beating,
        ("own-address",),
        LISTS_ARE_BAD,
    ),
    "listed": Break("a server that beats is dead where lists say so", _listed, probe=LISTS_ARE_BAD),
    "unproved": Break(
        "that lists lack a server which has served is taken for its end",
        _unproved,
        (),
        FREEZES,
        _FULL,
    ),
    "stopped": Break("a stopped instance is one that has ended", _stopped),
    # Covered by each other: while one launches there was no room to spare a short while ago.
    "consolidation-launching": Break(
        "people are moved while servers launch", _busy, ("ebb",), COME_AND_GO, _MOVING
    ),
    "ebb": Break(
        "people are moved as soon as they would fit elsewhere",
        _ebb,
        ("consolidation-launching",),
        COME_AND_GO,
        _MOVING,
    ),
    "consolidation-twice": Break(
        "people are moved again and again", _twice, (), COME_AND_GO, _MOVING
    ),
    "warned": Break(
        "nobody hears of an instance that will be taken away", _warned, probe=HALF_GOES
    ),
    "replace-first": Break(
        "a server drains before there is another", _replace_first, (), ALL_REPLACED, _FULL
    ),
    "replace-busy": Break(
        "servers are replaced beside whatever goes on", _busy, (), ALL_REPLACED, _FULL
    ),
    "look": Break("what may have been launched is not looked for", _look, ("token",)),
    "template": Break("a request does not suit the launch template", _template),
    # Covered by each other: an orphan is ended only after a look at its server's row.
    "stands": Break("orphans are ended without a look at the rows", _stands, ("warm",)),
    "warm": Break("what stands by is taken for what nobody owns", _warm, ("stands",)),
    "warm-runs": Break("what stands by is taken for stopped before it is", _warm_runs),
    "warm-spot": Break("what stands by is launched as Spot, and cannot stop", _warm_spot),
    "clock": Break("sweeps go on whatever clocks say", _clock, probe=CLOCKS),
    "warm-kept": Break("a stopped instance needs no end", _warm_kept),
}


class Breaks(frozenset[str]):
    """Those that are taken out, by their names."""

    def __new__(cls, names: Iterable[str] = ()) -> Breaks:
        """These, with what is taken out beside them."""
        own = [*names]
        return super().__new__(cls, [*own, *(each for name in own for each in BREAKS[name].beside)])

    @property
    def probe(self) -> str:
        """What happens when all else is well; "" for what chance says."""
        return next((probe for name in sorted(self) if (probe := BREAKS[name].probe)), "")

    @property
    def policy(self) -> Mapping[str, Any]:
        """What is wanted of fleets, where it is not for chance."""
        return {key: value for name in self for key, value in BREAKS[name].policy.items()}

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """Meanwhile the code is broken so."""
        with ExitStack() as broken:
            for name in sorted(self):
                broken.enter_context(BREAKS[name].code())
            yield
