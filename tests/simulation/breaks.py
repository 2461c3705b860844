"""What can be taken out on purpose, to see that the rounds notice: each protection once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from bbs.rules import members, places
from bbs.scaling import plan, sight
from bbs.scaling.ec2 import errors, machines
from bbs.scaling.seeing import Seeing


@dataclass(frozen=True)
class Break:
    """One protection: what is so without it, and how the code is broken, where it is the code that
    is; else the cloud or the world is different by its name.

    :param seeds: rounds of which one fails at least without it.
    """

    what: str
    code: Callable[[], AbstractContextManager[object]] = nullcontext
    seeds: range = range(1, 16)


def _grace() -> AbstractContextManager[object]:
    return mock.patch.object(sight, "CONSISTENCY_GRACE", 0.0)


def _token_ended() -> AbstractContextManager[object]:
    meaning = {"IdempotentInstanceTerminated": (errors.Verdict.REFUSED, "")}
    return mock.patch.dict(errors._BY_CODE, meaning)  # type: ignore[arg-type]


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
    return mock.patch.object(plan, "_is_busy", lambda *seen: False)


def _twice() -> AbstractContextManager[object]:
    return mock.patch.object(places, "MOVED_AGAIN_AFTER", -1.0)


def _warned() -> AbstractContextManager[object]:
    return mock.patch.object(members, "warn", lambda server, why: None)


BREAKS: Mapping[str, Break] = {
    "token": Break("asking again under a token launches again"),
    "tags": Break("instances are not tagged, so no list has them"),
    "grace": Break("absence from one list counts at once", _grace),
    "fleet-id": Break("fleets go by their name, which another one has too"),
    "copy": Break("a copy of a database is taken for the original"),
    "token-ended": Break("that a token's instance has ended stops all launches", _token_ended),
    "own-address": Break("app servers do not tell where they are"),
    "beating": Break("a launch that beats is given up in time all the same", _beating),
    "listed": Break("a server that beats is dead where lists say so", _listed),
    "stopped": Break("a stopped instance is one that has ended", _stopped),
    "consolidation-launching": Break("people are moved while servers launch", _busy),
    "consolidation-twice": Break("people are moved again and again", _twice),
    "warned": Break("nobody hears of an instance that will be taken away", _warned),
}


class Breaks(frozenset[str]):
    """Those that are taken out, by their names."""

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """Meanwhile the code is broken so."""
        with ExitStack() as broken:
            for name in sorted(self):
                broken.enter_context(BREAKS[name].code())
            yield
