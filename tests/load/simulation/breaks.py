"""What can be taken out on purpose, to see that the rounds notice: each protection once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from bbs.rules import keeping, members, reseating
from bbs.rules.servers import ServerRow
from bbs.scaling import plan, replacing, sight
from bbs.scaling.ec2 import errors, machines, template
from bbs.scaling.ec2.provider import EC2Provider
from bbs.scaling.keeper import FleetKeeper
from bbs.scaling.needs import Needs
from bbs.scaling.seeing import Seeing
from bbs.scaling.shelving import Shelving
from bbs.values import State


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
    return mock.patch.object(sight, "CONSISTENCY_GRACE", 0.0)


def _token_ended() -> AbstractContextManager[object]:
    meaning = {"IdempotentInstanceTerminated": (errors.Verdict.REFUSED, "")}
    return mock.patch.dict(errors._BY_CODE, meaning)  # type: ignore[arg-type]


def _look() -> AbstractContextManager[object]:
    async def describes_nothing(self: EC2Provider, launch_ids: Sequence[str]) -> Any:
        return {}

    return mock.patch.object(EC2Provider, "_describe_launches", describes_nothing)


def _template() -> AbstractContextManager[object]:
    return mock.patch.object(template, "_groups", lambda described: None)


def _warm() -> AbstractContextManager[object]:
    end_strays = FleetKeeper._end_strays

    def of_those_that_run(self: FleetKeeper, servers: Mapping[str, ServerRow]) -> None:
        end_strays(self, {id: row for id, row in servers.items() if row.state is not State.WARM})

    return mock.patch.object(FleetKeeper, "_end_strays", of_those_that_run)


def _stands() -> AbstractContextManager[object]:
    return mock.patch.object(keeping, "stands", lambda server: keeping.Stands.NEVER)


@contextmanager
def _warm_runs() -> Iterator[None]:
    seen = Shelving.seen

    def as_before(self: Shelving, row: ServerRow, server: plan.Seen) -> plan.Seen:
        server = seen(self, row, server)
        return replace(server, stopped=True) if row.state is State.WARM else server

    with (
        mock.patch.object(Shelving, "seen", as_before),
        mock.patch.object(Shelving, "running", lambda self, servers: 0),
    ):
        yield


def _warm_spot() -> AbstractContextManager[object]:
    return mock.patch.object(EC2Provider, "launch_to_stop", EC2Provider.launch)


def _warm_kept() -> AbstractContextManager[object]:
    return mock.patch.object(sight, "_is_there", lambda instance: instance.alive)


def _beating() -> AbstractContextManager[object]:
    as_seen = Seeing._as_seen

    def as_before(self: Seeing, *seen: Any) -> Any:
        server = as_seen(self, *seen)
        return replace(server, reported=server.reported and server.addressed)

    return mock.patch.object(Seeing, "_as_seen", as_before)


def _listed() -> AbstractContextManager[object]:
    alive = sight.Sight.alive
    return mock.patch.object(sight.Sight, "alive", lambda self, id, spared: alive(self, id, False))


def _stopped() -> AbstractContextManager[object]:
    stopped = property(lambda self: False)
    return mock.patch.object(machines.Machine, "stopped", stopped)


def _busy() -> AbstractContextManager[object]:
    return mock.patch.object(plan, "is_busy", lambda *seen: False)


def _ebb() -> AbstractContextManager[object]:
    return mock.patch.object(Needs, "peak", property(lambda self: 0))


def _twice() -> AbstractContextManager[object]:
    return mock.patch.object(reseating, "MOVED_AGAIN_AFTER", -1.0)


def _warned() -> AbstractContextManager[object]:
    return mock.patch.object(members, "warn", lambda server, why: None)


def _replace_first() -> AbstractContextManager[object]:
    return mock.patch.object(replacing, "_next", lambda marked, *seen: replacing._drain(marked[0]))


def _replace_busy() -> AbstractContextManager[object]:
    return mock.patch.object(replacing.plan, "is_busy", lambda *seen: False)


LISTS_ARE_BAD, COME_AND_GO = "lists_are_bad", "people_come_and_go"
HALF_GOES, ALL_REPLACED = "half_is_taken_away", "all_are_replaced"
_FULL = {"capacity": 1, "maximum": 6, "spare": 0, "foresees": False, "warm": 0}
_MOVING = {"consolidate_after": 5.0, "capacity": 3, "maximum": 5, "spare": 0, "foresees": False}

BREAKS: Mapping[str, Break] = {
    # Covered by the look for what may have been launched.
    "token": Break("asking again under a token launches again", beside=("look",)),
    "tags": Break("instances are not tagged, so no list has them"),
    "grace": Break("absence from one list counts at once", _grace),
    "fleet-id": Break("fleets go by their name, which another one has too"),
    "copy": Break("a copy of a database is taken for the original"),
    # Covered by the look for what may have been launched, which finds what has ended as well.
    "token-ended": Break(
        "that a token's instance has ended stops all launches", _token_ended, ("look",)
    ),
    "own-address": Break("app servers do not tell where they are", probe=LISTS_ARE_BAD),
    "beating": Break("a launch that beats is given up in time all the same", _beating),
    "listed": Break("a server that beats is dead where lists say so", _listed, probe=LISTS_ARE_BAD),
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
        "servers are replaced beside whatever goes on", _replace_busy, (), ALL_REPLACED, _FULL
    ),
    "look": Break("what may have been launched is not looked for", _look),
    "template": Break("a request does not suit the launch template", _template),
    # Covered by each other: an instance is ended as a stray only after a look at its server's row.
    "stands": Break("strays are ended without a look at the rows", _stands, ("warm",)),
    "warm": Break("what stands by is taken for what nobody owns", _warm, ("stands",)),
    "warm-runs": Break("what stands by is taken for stopped before it is", _warm_runs),
    "warm-spot": Break("what stands by is launched as Spot, and cannot stop", _warm_spot),
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
