"""What the service is to reach, and what of it was reached."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lab.bench.figures import GREATER_IS_BETTER, Figures
from lab.bench.people import HASHING, UNTIL_RECEIVED

CONNECTIONS = 16
"""How many stay, where the goals for each command are measured."""

SQLITE, MARIADB, IN_PYTHON = "SQLite", "MariaDB", "MariaDB by PyMySQL"
"""What the service is measured on; MariaDB by the driver in C, unless that is said."""

BY_PYMYSQL = 1.5
"""How much more a command may cost by PyMySQL than by the driver in C."""


@dataclass(frozen=True)
class Bound:
    """A command may use so many times the processor time of an echo's line, and be so late (p99, in
    ms)."""

    cpu_ratio: float
    p99: float = math.inf

    def __mul__(self, factor: float) -> Bound:
        return Bound(self.cpu_ratio * factor, self.p99 * factor)


GOALS: Mapping[str, Mapping[str, Bound]] = {
    "list-friend": {SQLITE: Bound(4), MARIADB: Bound(6.5)},
    "receive-post": {SQLITE: Bound(8), MARIADB: Bound(10)},
    "post": {SQLITE: Bound(4), MARIADB: Bound(7)},
    "send": {SQLITE: Bound(7, 6), MARIADB: Bound(9, 20)},
    UNTIL_RECEIVED: {SQLITE: Bound(9, 8), MARIADB: Bound(12, 30)},
    "send-group": {SQLITE: Bound(11), MARIADB: Bound(12.5)},
}

OVER_RECEIVE_POST = 1.5
"""Processor time of `posts` and `group-posts`, as a multiple of `receive-post`'s for as many posts:
`lab.bench.unread`."""

OVER_HASH = 1.15
"""Processor time of `register` and `login`, as a multiple of the hash's."""

OF_HASHING = 0.9
"""Their rate, as a share of that of hashing alone on all cores."""

DURING_LOGINS = 3.0
"""p99 of `list-friend` while a hundred log in, as a multiple of that when nobody does."""

TAIL_CONNECTIONS, TAIL = 100, 5.0
"""p99 over so many connections that stay, as a multiple of p50."""

MANY_SHARE, MANY_P99 = 0.8, 50.0
"""Several app servers on one database: their rate as a share of one's, and ms."""


@dataclass(frozen=True)
class Check:
    """A goal, and what the middle and the worst of the rounds were."""

    what: str
    figure: str
    goal: float
    at_least: bool
    reached: float
    worst: float

    def holds(self, value: float) -> bool:
        """Whether `value` would reach the goal."""
        return value >= self.goal if self.at_least else value <= self.goal


def check(what: str, figure: str, name: str, goal: float, of: Figures) -> Check:
    """The figure `name` of `of`, against its goal."""
    return Check(what, figure, goal, name in GREATER_IS_BETTER, of.middle(name), of.worst(name))


def checks(database: str, figures: Sequence[Figures]) -> Iterator[Check]:
    """The goals that `figures`, of the service on `database`, say something about."""
    there = {(each.command, each.connections): each for each in figures if not each.fresh}
    for command, bounds in GOALS.items():
        found = there.get((command, CONNECTIONS))
        if found:
            bound = bounds[database] if database in bounds else bounds[MARIADB] * BY_PYMYSQL
            yield check(command, "× echo", "cpu_ratio", bound.cpu_ratio, found)
            if bound.p99 < math.inf:
                yield check(command, "p99 ms", "p99", bound.p99, found)
    for command in HASHING:
        found = there.get((command, CONNECTIONS))
        if found:
            yield check(command, "× the hash", "over_hash", OVER_HASH, found)
            yield check(command, "of hashing's rate", "of_hashing", OF_HASHING, found)
    for command in GOALS:
        found = there.get((command, TAIL_CONNECTIONS))
        if found:
            what = f"{command}, {TAIL_CONNECTIONS} connections"
            yield check(what, "p99 ÷ p50", "tail", TAIL, found)


def none_refused(refused: int) -> Check:
    """That nobody was refused anything."""
    return Check("everything", "refused", 0.0, False, float(refused), float(refused))
