"""Ten app servers on one SQLite file, beside one app server under the same load."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.load.bench.figures import Cost, Round, ratio, summary, worst
from tests.load.bench.goals import MANY_P99, MANY_SHARE, Check
from tests.load.bench.measure import Means, Measured, prepare
from tests.load.bench.people import IN_TURN, TURN, Circles
from tests.load.bench.processes import ORDINARY, Failed, Form, embedded

SERVERS = 10

CIRCLES = Circles(10, SERVERS, SERVERS, 11, range(3, 10), range(1, 3))
"""A hundred people, each of a circle on another server; 9 friends, of whom 99 posts are there."""

TEN = Form(servers=SERVERS, capacity=SERVERS)

LOADS = (*((command, 100) for command in TURN), (IN_TURN, 100), (IN_TURN, SERVERS))
"""What is sent, over how many connections, equally many to each of the ten."""

NO_ECHO = Cost(math.nan, math.nan)


@dataclass(frozen=True)
class Both:
    """One command, at one app server and at ten, in turns."""

    command: str
    connections: int
    one: tuple[Round, ...]
    ten: tuple[Round, ...]

    @property
    def shares(self) -> list[float]:
        """The rate of ten as a share of that of one, for each round."""
        return [ratio(ten.rate, one.rate) for one, ten in zip(self.one, self.ten, strict=True)]

    @property
    def refused(self) -> int:
        return sum(each.refused for each in (*self.one, *self.ten))

    @property
    def refusal(self) -> str:
        return next((each.refusal for each in (*self.one, *self.ten) if each.refused), "")

    def middle(self, name: str) -> float:
        """The median of the rounds of ten."""
        return median(getattr(each, name) for each in self.ten)

    def worst(self, name: str) -> float:
        """The worst of the rounds of ten."""
        return worst(name, [getattr(each, name) for each in self.ten])

    def checks(self) -> Iterator[Check]:
        """Against the goals."""
        what = f"{SERVERS} app servers: {self.command}, {self.connections} connections"
        shares = self.shares
        yield Check(what, "of one's rate", MANY_SHARE, True, median(shares), min(shares))
        yield Check(
            what, "p99 ms", MANY_P99, False, self.middle("p99"), max(each.p99 for each in self.ten)
        )

    def as_json(self) -> dict[str, Any]:
        """Every round."""
        one, ten = ([_as_json(each) for each in rounds] for rounds in (self.one, self.ten))
        return {
            "command": self.command,
            "connections": self.connections,
            "shares": self.shares,
            "one": one,
            "ten": ten,
        }


def _as_json(round: Round) -> dict[str, Any]:
    return {key: value for key, value in asdict(round).items() if key not in ("echo", "hash")}


def measure(folder: Path, means: Means, seconds: float) -> Iterator[Both]:
    """Each of `LOADS`, on connections that stay; ten servers have them for `seconds` in all."""
    slice = seconds / means.pace.rounds / len(LOADS)
    with contextlib.ExitStack() as stack:
        services = []
        for form in (ORDINARY, TEN):
            own = folder / f"servers-{form.servers}"
            own.mkdir()
            login = stack.enter_context(embedded(own, form))
            services.append(prepare(means.load, login, CIRCLES))
        one, ten = services
        seated = Counter(each.port for each in ten.people.everybody)
        if sorted(seated.values()) != [SERVERS] * SERVERS:
            raise Failed(f"not {SERVERS} app servers of {SERVERS}, but {sorted(seated.values())}")
        for command, connections in LOADS:
            work = [each.people.job(command, connections) for each in services]
            rounds = [
                (_round(means, one, work[0], slice), _round(means, ten, work[1], slice))
                for _ in range(means.pace.rounds)
            ]
            ones, tens = zip(*rounds, strict=True)
            yield Both(command, connections, ones, tens)


def _round(means: Means, service: Measured, work: dict[str, Any], seconds: float) -> Round:
    work = {**work, "seconds": seconds}
    done, cpu, database = service.ask(means.load, work)
    return summary(done, cpu, database, NO_ECHO)
