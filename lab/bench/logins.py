"""How somebody who has a place is served while a hundred log in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from lab.bench.figures import quantile
from lab.bench.goals import DURING_LOGINS, Check
from lab.bench.measure import Means, Measured

WHO_LOG_IN = 100

PAUSE = 0.002
"""Seconds between two commands of who has a place: somebody who asks, and no load."""


@dataclass(frozen=True)
class Storm:
    """One round: ms that `list-friend` takes while nobody logs in, and while a hundred do, again
    and again; and how many of those logins were answered a second."""

    alone: float
    alone_p99: float
    during: float
    during_p99: float
    logins: float
    refused: int

    @property
    def ratio(self) -> float:
        """p99 as a multiple of that alone."""
        return self.during_p99 / self.alone_p99


@dataclass(frozen=True)
class Storms:
    """All rounds."""

    rounds: tuple[Storm, ...]

    def middle(self, name: str) -> float:
        """The median of the rounds."""
        return median(getattr(each, name) for each in self.rounds)

    @property
    def refused(self) -> int:
        return sum(each.refused for each in self.rounds)

    def checks(self) -> Iterator[Check]:
        """Against its goal."""
        what = f"list-friend while {WHO_LOG_IN} log in"
        worst = max(each.ratio for each in self.rounds)
        yield Check(what, "× p99 alone", DURING_LOGINS, False, self.middle("ratio"), worst)

    def as_json(self) -> dict[str, Any]:
        """Every round."""
        return {"rounds": [{**asdict(each), "ratio": each.ratio} for each in self.rounds]}


def measure(means: Means, service: Measured) -> Storms:
    """Alone, and while they log in, in turns."""
    seconds = means.pace.logins
    asking = {**service.people.job("list-friend", 1), "seconds": seconds, "pause": PAUSE}
    logging_in = {**service.people.job("login", WHO_LOG_IN), "seconds": seconds}
    rounds = []
    for _ in range(means.pace.rounds):
        alone = means.load.ask(asking)
        means.second_load.begin(logging_in)
        during = means.load.ask(asking)
        logins = means.second_load.finish()
        times, more = sorted(alone["times"]), sorted(during["times"])
        refused = [reply for each in (alone, during, logins) for reply in each["replies"] if reply]
        rounds.append(
            Storm(
                quantile(times, 0.5),
                quantile(times, 0.99),
                quantile(more, 0.5),
                quantile(more, 0.99),
                len(logins["times"]) / logins["seconds"],
                sum(map(len, refused)),
            )
        )
    return Storms(tuple(rounds))
