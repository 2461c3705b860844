"""Rates over the whole service, made of the counts in the servers' rows: logins, the service's own
counters, errors, and launches that succeed or fail.

Each server counts from 0 when it starts, and its row goes when it ends. A rate therefore adds up
how much each count grew between two looks: this loses nothing when a server goes, and counts
nothing twice when one comes."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bbs.core.values import ERRORS, State, Trouble
from bbs.rules.overview import LoginServerRow, Overview
from bbs.rules.servers import MOVED, OPERATOR, HeardServer, ServerRow

REMEMBERED = 1000
"""Last counts that are kept of servers not seen just now: one may be out of sight and come back."""

MINUTE, COUNTED_WINDOW = 60.0, 10.0
"""Seconds over which rates a minute, and rates of the service's own counters, are measured."""


class CounterRates:
    """One counter over the last `window` seconds, by server.

    :ivar total: how much all counts together grew since the first look.
    """

    def __init__(self, window: float) -> None:
        self.total = 0
        self._window = window
        self._last: OrderedDict[str, int] = OrderedDict()
        self._looks: deque[tuple[float, int, Mapping[str, int]]] = deque()

    def look(self, now: float, counts: Mapping[str, int]) -> None:
        """Take in the counts as they are at `now` (s)."""
        if self._looks:
            self.total += sum(
                max(0, count - self._last.get(key, 0)) for key, count in counts.items()
            )
        for key, count in counts.items():
            self._last[key] = count
            self._last.move_to_end(key)
        while len(self._last) > REMEMBERED + len(counts):
            self._last.popitem(last=False)
        self._looks.append((now, self.total, dict(counts)))
        while len(self._looks) > 2 and self._looks[1][0] <= now - self._window:
            self._looks.popleft()

    def grown(self) -> int:
        return self.total - self._looks[0][1] if self._looks else 0

    def rate(self) -> float:
        """The growth a second; 0 until there was time to count."""
        seconds = self._looks[-1][0] - self._looks[0][0] if self._looks else 0.0
        return self.grown() / seconds if seconds else 0.0

    def rate_of(self, key: str) -> float | None:
        """The growth of one count a second; None until it has been seen twice."""
        seen = [(at, counts[key]) for at, _, counts in self._looks if key in counts]
        if len(seen) < 2 or seen[-1][0] <= seen[0][0]:
            return None
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])


class ServiceRates:
    """The rates of a service with these `counters`.

    :ivar counted: the service's own counters, on both kinds of servers.
    :ivar moves: people who were moved so that fewer servers were needed.
    """

    def __init__(self, counters: Sequence[str]) -> None:
        self.logins = CounterRates(MINUTE)
        self.counted = {name: CounterRates(COUNTED_WINDOW) for name in counters}
        self.moves = CounterRates(MINUTE)
        self.troubles = {trouble: CounterRates(MINUTE) for trouble in Trouble}

    def look(self, now: float, seen: Overview) -> None:
        """Take in the counts of all servers at `now` (s)."""
        everybody: tuple[HeardServer | LoginServerRow, ...] = (*seen.servers, *seen.login_servers)
        self.logins.look(now, {each.id: each.logins for each in seen.login_servers})
        moved = {each.id: each.figures.get(MOVED, 0) for each in seen.login_servers}
        self.moves.look(now, moved)
        # A server of another version may lack a counter.
        for name, counts in self.counted.items():
            counts.look(now, {x.id: x.counts[name] for x in everybody if name in x.counts})
        for name, counts in self.troubles.items():
            # A server reports a trouble once it has met it: the count begins at 0.
            counts.look(now, {x.id: x.figures[name] for x in everybody if name in x.figures})

    def rates_of(self, server: str) -> Mapping[str, float | None]:
        """The growth a second of each counter of one app server."""
        return {name: counts.rate_of(server) for name, counts in self.counted.items()}

    def per_second(self) -> Mapping[str, float]:
        return {name: counts.rate() for name, counts in self.counted.items()}

    def failed_logins(self) -> int:
        return self.troubles[Trouble.FAILED_LOGINS].grown()

    def errors(self) -> Mapping[str, int]:
        return {kind: self.troubles[trouble].grown() for trouble, kind in ERRORS.items()}


@dataclass(frozen=True)
class Launched:
    """A launch that succeeded after `seconds`; `trace` is its trace, "" for none."""

    seconds: float
    trace: str = ""


def newly_ready(before: Overview, now: Overview) -> list[Launched]:
    known = {server.id for server in before.servers if server.ready is not None}
    return [
        Launched(server.launch_time, server.trace)
        for server in now.servers
        if server.launch_time is not None and server.scope != OPERATOR and server.id not in known
    ]


def newly_failed(before: Overview, now: Overview) -> int:
    known = {server.id for server in before.servers if _failed(server)}
    return sum(_failed(server) and server.id not in known for server in now.servers)


def _failed(server: ServerRow) -> bool:
    return server.state in (State.LOST, State.GONE) and server.has_yet_to_serve
