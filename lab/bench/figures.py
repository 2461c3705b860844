"""What the rounds of a measurement come to: the middle one, and the worst."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any

GREATER_IS_BETTER = frozenset({"rate", "share", "of_hashing"})
DERIVED = ("share", "cpu_ratio", "tail", "of_hashing", "over_hash")


@dataclass(frozen=True)
class Cost:
    """What a yardstick does a second, and µs of processor time for each."""

    rate: float
    cpu: float


@dataclass(frozen=True)
class Round:
    """One round of a command.

    `rate` is what was done a second; times are in ms; `cpu` and `database` are the processor time,
    in µs for each command, of the service's processes and of MariaDB, 0 for SQLite, which is within
    the service's. `refused` were refused, the first with the reply `refusal`; the other figures are
    without them.
    """

    rate: float
    p50: float
    p99: float
    most: float
    cpu: float
    database: float
    measured: int
    refused: int
    refusal: str
    echo: Cost
    hash: Cost | None = None

    @property
    def share(self) -> float:
        """The rate as a share of the echo's."""
        return self.rate / self.echo.rate

    @property
    def cpu_ratio(self) -> float:
        """Processor time as a multiple of the echo's: hardly depends on what else goes on."""
        return self.cpu / self.echo.cpu

    @property
    def tail(self) -> float:
        """p99 as a multiple of p50."""
        return self.p99 / self.p50

    @property
    def of_hashing(self) -> float:
        """The rate as a share of that of hashing alone."""
        return self.rate / self.hash.rate if self.hash else math.nan

    @property
    def over_hash(self) -> float:
        """Processor time as a multiple of that of the hash alone."""
        return self.cpu / self.hash.cpu if self.hash else math.nan


class OfRounds:
    """What several rounds came to."""

    rounds: tuple[Round, ...]

    def middle(self, name: str) -> float:
        """The median of the rounds."""
        return median(getattr(each, name) for each in self.rounds)

    def worst(self, name: str) -> float:
        """The worst of the rounds."""
        return worst(name, [getattr(each, name) for each in self.rounds])

    @property
    def refused(self) -> int:
        return sum(each.refused for each in self.rounds)


@dataclass(frozen=True)
class Figures(OfRounds):
    """One command over so many connections, which stay or are new for each command."""

    command: str
    connections: int
    fresh: bool
    rounds: tuple[Round, ...]

    @property
    def refusal(self) -> str:
        return next((each.refusal for each in self.rounds if each.refused), "")

    def as_json(self) -> dict[str, Any]:
        """Medians, worsts, and every round."""
        numbers = [each.name for each in fields(Round) if each.type == "float"]
        names = [*numbers, *(DERIVED if self.rounds[0].hash else DERIVED[:3])]
        return {
            "command": self.command,
            "connections": self.connections,
            "connection": "one a command" if self.fresh else "persistent",
            "refused": self.refused,
            "refusal": self.refusal,
            **{name: self.middle(name) for name in names},
            "worst": {name: self.worst(name) for name in names},
            "rounds": [asdict(each) for each in self.rounds],
        }


def worst(name: str, values: Sequence[float]) -> float:
    """The worst of `values`, which are of the figure `name`."""
    return min(values) if name in GREATER_IS_BETTER else max(values)


def ratio(one: float, other: float) -> float:
    """`one` as a multiple of `other`, which may be nothing: of what is refused nothing is done."""
    return one / other if other else math.inf


def quantile(times: Sequence[int], share: float) -> float:
    """In ms, of sorted times in µs; without any there is no end to it."""
    if not times:
        return math.inf
    return times[min(len(times) - 1, int(len(times) * share))] / 1000


def summary(
    done: dict[str, Any], cpu: float, database: float, echo: Cost, hash: Cost | None = None
) -> Round:
    """A round, of what the load says of it, and seconds of processor time that it took."""
    times = sorted(done["times"])
    refusals = [reply for replies in done["replies"] for reply in replies]
    each = 1e6 / len(times) if times else math.inf
    return Round(
        len(times) / done["seconds"],
        quantile(times, 0.5),
        quantile(times, 0.99),
        quantile(times, 1.0),
        cpu * each,
        database * each if database else 0.0,
        len(times),
        len(refusals),
        refusals[0] if refusals else "",
        echo,
        hash,
    )
