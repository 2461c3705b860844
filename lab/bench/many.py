"""Several app servers on one database, beside one app server under the same load: ten on an SQLite
file, and two on a MariaDB."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lab.bench.figures import Cost, Round, ratio, summary, worst
from lab.bench.goals import MANY_P99, MANY_SHARE, MARIADB, SQLITE, Check
from lab.bench.measure import Means, Measured, prepare
from lab.bench.people import IN_TURN, TURN, Circles
from lab.bench.processes import ORDINARY, Failed, Form, Running

PEOPLE, SIZE = 100, 10
"""People in all, and in each circle; everybody has 9 friends, of whom 99 posts are there."""

LOADS = (*((command, PEOPLE) for command in TURN), (IN_TURN, PEOPLE), (IN_TURN, SIZE))
"""What is sent, over how many connections, equally many to each server."""

NO_ECHO = Cost(math.nan, math.nan)


@dataclass(frozen=True)
class Several:
    """So many app servers on a database, with an equal share of each circle on each of them. People
    write to friends on another server."""

    servers: int
    database: str

    @property
    def circles(self) -> Circles:
        apart = SIZE // self.servers
        return Circles(PEOPLE // SIZE, SIZE, SIZE, 11, range(3, 10), range(1, 3), apart=apart)

    @property
    def form(self) -> Form:
        return Form(servers=self.servers, capacity=PEOPLE // self.servers)


TEN, TWO = Several(10, SQLITE), Several(2, MARIADB)


@dataclass(frozen=True)
class Both:
    """One command, at one app server and at several, in turns."""

    of: Several
    command: str
    connections: int
    one: tuple[Round, ...]
    several: tuple[Round, ...]

    @property
    def shares(self) -> list[float]:
        """The rate of several as a share of that of one, for each round."""
        both = zip(self.one, self.several, strict=True)
        return [ratio(several.rate, one.rate) for one, several in both]

    @property
    def refused(self) -> int:
        return sum(each.refused for each in (*self.one, *self.several))

    @property
    def refusal(self) -> str:
        return next((each.refusal for each in (*self.one, *self.several) if each.refused), "")

    def middle(self, name: str) -> float:
        """The median of the rounds of several."""
        return median(getattr(each, name) for each in self.several)

    def worst(self, name: str) -> float:
        """The worst of the rounds of several."""
        return worst(name, [getattr(each, name) for each in self.several])

    def checks(self) -> Iterator[Check]:
        """Against the goals."""
        what = f"{self.of.servers} app servers: {self.command}, {self.connections} connections"
        shares = self.shares
        yield Check(what, "of one's rate", MANY_SHARE, True, median(shares), min(shares))
        yield Check(what, "p99 ms", MANY_P99, False, self.middle("p99"), self.worst("p99"))

    def as_json(self) -> dict[str, Any]:
        """Every round."""
        one, several = ([_as_json(each) for each in rounds] for rounds in (self.one, self.several))
        return {
            "servers": self.of.servers,
            "command": self.command,
            "connections": self.connections,
            "shares": self.shares,
            "one": one,
            "several": several,
        }


def _as_json(round: Round) -> dict[str, Any]:
    return {key: value for key, value in asdict(round).items() if key not in ("echo", "hash")}


Start = Callable[[str, Path, Form], AbstractContextManager[Running]]
"""Starts a service on the database of that name, in a new folder."""


def measure(
    folder: Path, means: Means, of: Several, start: Start, seconds: float
) -> Iterator[Both]:
    """Each of `LOADS`, on connections that stay; several servers have them for `seconds` in all."""
    slice = seconds / means.pace.rounds / len(LOADS)
    with contextlib.ExitStack() as stack:
        services = []
        for form in (ORDINARY, of.form):
            own = folder / f"{of.database}-{of.servers}-{form.servers}"
            login = stack.enter_context(start(of.database, own, form))
            mysql = of.database == MARIADB
            services.append(prepare(means.load, login, of.circles, mysql=mysql))
        one, several = services
        seated = sorted(Counter(each.port for each in several.people.everybody).values())
        if seated != [of.form.capacity] * of.servers:
            raise Failed(f"the people of {of.servers} app servers are {seated}")
        for command, connections in LOADS:
            work = [each.people.job(command, connections) for each in services]
            rounds = [
                (_round(means, one, work[0], slice), _round(means, several, work[1], slice))
                for _ in range(means.pace.rounds)
            ]
            ones, others = zip(*rounds, strict=True)
            yield Both(of, command, connections, ones, others)


def _round(means: Means, service: Measured, work: dict[str, Any], seconds: float) -> Round:
    work = {**work, "seconds": seconds}
    done, cpu, database = service.ask(means.load, work)
    return summary(done, cpu, database, NO_ECHO)
