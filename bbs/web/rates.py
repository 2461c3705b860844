"""Counts that servers keep of themselves, made into rates over the whole service.

Each server counts from nought since it started, and its row goes when it ends. So what is added up
is how much each count grew between two looks: nothing is lost when a server goes, and nothing is
counted twice when one comes. The page's rates are of logins, of what the service counts by names of
its own, of what goes wrong, and of launches that succeed or fail.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bbs.core.values import ERRORS, State, Trouble
from bbs.rules.overview import LoginServerRow, Overview
from bbs.rules.servers import MOVED, OPERATOR, HeardServer, ServerRow

REMEMBERED = 1000
"""Servers whose last count is known beyond those that were just seen: one may be out of sight for a
while and come back."""


class CounterRates:
    """What was counted during the last `window` seconds, by whom."""

    def __init__(self, window: float) -> None:
        self.total = 0
        """How much all counts together grew since the first look."""
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
        """How much was counted within the window."""
        return self.total - self._looks[0][1] if self._looks else 0

    def rate(self) -> float:
        """The same for each second; 0 until there was time to count."""
        seconds = self._seconds()
        return self.grown() / seconds if seconds else 0.0

    def rate_of(self, key: str) -> float | None:
        """The rate of one count, a second; None until it has been seen twice."""
        seen = [(at, counts[key]) for at, _, counts in self._looks if key in counts]
        if len(seen) < 2 or seen[-1][0] <= seen[0][0]:
            return None
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    def _seconds(self) -> float:
        return self._looks[-1][0] - self._looks[0][0] if self._looks else 0.0


MINUTE, COUNTED_WINDOW = 60.0, 10.0
"""Seconds over which what is told a minute, and what a service counts a second, are counted."""


class ServiceRates:
    """The counts of a service that counts `counters`."""

    def __init__(self, counters: Sequence[str]) -> None:
        self.logins = CounterRates(MINUTE)
        self.counted = {name: CounterRates(COUNTED_WINDOW) for name in counters}
        """What the service counts, on both kinds of servers."""
        self.moves = CounterRates(MINUTE)
        """People who were moved so that fewer servers were needed."""
        self.troubles = {trouble: CounterRates(MINUTE) for trouble in Trouble}

    def look(self, now: float, seen: Overview) -> None:
        """Take in what all servers have counted by `now` (s)."""
        everybody: tuple[HeardServer | LoginServerRow, ...] = (*seen.servers, *seen.login_servers)
        self.logins.look(now, {each.id: each.logins for each in seen.login_servers})
        moved = {each.id: each.figures.get(MOVED, 0) for each in seen.login_servers}
        self.moves.look(now, moved)
        # A server of another version may not count it.
        for name, counts in self.counted.items():
            counts.look(now, {x.id: x.counts[name] for x in everybody if name in x.counts})
        for name, counts in self.troubles.items():
            # One that has not met it does not tell of it: it begins from nought, and most have not.
            counts.look(now, {x.id: x.figures[name] for x in everybody if name in x.figures})

    def rates(self) -> Mapping[str, Mapping[str, float | None]]:
        """How much of each counter each app server counts a second, found when it is asked for."""
        return _Rates(self)

    def rates_of(self, server: str) -> Mapping[str, float | None]:
        """How much of each counter an app server counts a second."""
        return {name: counts.rate_of(server) for name, counts in self.counted.items()}

    def per_second(self) -> Mapping[str, float]:
        """The same of all servers together."""
        return {name: counts.rate() for name, counts in self.counted.items()}

    def failed_logins(self) -> int:
        """Wrong passwords of the last minute."""
        return self.troubles[Trouble.FAILED_LOGINS].grown()

    def errors(self) -> Mapping[str, int]:
        """Errors of the last minute, by kind."""
        return {kind: self.troubles[trouble].grown() for trouble, kind in ERRORS.items()}


class _Rates(Mapping[str, Mapping[str, float | None]]):
    """Of thousands of servers few are shown."""

    def __init__(self, tallies: ServiceRates) -> None:
        self._tallies = tallies

    def __getitem__(self, server: str) -> Mapping[str, float | None]:
        return self._tallies.rates_of(server)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True)
class Launched:
    """A launch that succeeded after so many `seconds`, as part of a `trace` ("": of none)."""

    seconds: float
    trace: str = ""


def newly_ready(before: Overview, now: Overview) -> list[Launched]:
    """Which launches have succeeded meanwhile."""
    known = {server.id for server in before.servers if server.ready is not None}
    return [
        Launched(server.launch_time, server.trace)
        for server in now.servers
        if server.launch_time is not None and server.scope != OPERATOR and server.id not in known
    ]


def newly_failed(before: Overview, now: Overview) -> int:
    """How many launches have failed meanwhile."""
    known = {server.id for server in before.servers if _failed(server)}
    return sum(_failed(server) and server.id not in known for server in now.servers)


def _failed(server: ServerRow) -> bool:
    return server.state in (State.LOST, State.GONE) and server.has_yet_to_serve
