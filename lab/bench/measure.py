"""The rounds: a yardstick and the services, in turns, so that a machine that is slow for a while is
so for all of them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.bench.figures import Cost, Figures, Round, summary
from lab.bench.goals import CONNECTIONS
from lab.bench.people import HASHING, LINES, UNTIL_RECEIVED, Circles, People, settle
from lab.bench.processes import Running, Tool
from tests.services import environment

CIRCLES = Circles(5, 11, 10, 10, range(1, 5), range(5), visitors=100)
"""Everybody has ten friends and, of these, a hundred posts to read; a group has ten members. Of 100
connections that log in, each has a user of its own."""


@dataclass(frozen=True)
class Pace:
    """So many rounds, each of `echo` seconds of echo and then `command` seconds of the command.

    What the goals are about gets `goal_rounds`. Once `limit` seconds are over, what is left gets
    one round. `logins`: seconds of each round of `lab.bench.logins`.
    """

    rounds: int
    goal_rounds: int
    echo: float
    command: float
    logins: float
    limit: float

    def with_rounds(self, number: int) -> Pace:
        """The same with so many rounds of everything, however long they take."""
        return replace(self, rounds=number, goal_rounds=number, limit=math.inf)

    def words(self) -> str:
        """For a reader of the tables."""
        return (
            f"rounds of {self.command:g} s: {self.rounds}, and {self.goal_rounds} where commands"
            " have goals"
        )


@dataclass(frozen=True)
class Measured:
    """A service that is measured, its people, and the process of its database, if that is one of
    its own."""

    login: Running
    people: People
    database: Running | None

    def ask(self, load: Tool, work: dict[str, Any]) -> tuple[dict[str, Any], float, float]:
        """What came of `work`, and the seconds of processor time of service and database."""
        cpu, database = self.login.cpu_seconds(), self._database()
        done = load.ask(work)
        return done, self.login.cpu_seconds() - cpu, self._database() - database

    def _database(self) -> float:
        return self.database.cpu_seconds() if self.database else 0.0


@dataclass(frozen=True)
class Means:
    """What a measurement is made with."""

    load: Tool
    second_load: Tool
    hashing: Tool
    echo: Running
    pace: Pace


def prepare(
    load: Tool, login: Running, circles: Circles = CIRCLES, mysql: bool = False
) -> Measured:
    """Fill a new service with people. `mysql`: it is on the tests' MariaDB."""
    return Measured(login, settle(load, login, circles), database_process(mysql))


def database_process(mysql: bool) -> Running | None:
    """The tests' MariaDB, where that is the database and its process is known."""
    pid = environment().get("BBS_TEST_MYSQL_PID") if mysql else None
    return Running(0, int(pid)) if pid else None


class Bench:
    """Measures `services`, which are several where commits are compared."""

    def __init__(self, means: Means, services: Sequence[Measured]) -> None:
        self._means = means
        self._services = services
        self._limit = time.monotonic() + means.pace.limit

    def measure(
        self, commands: Collection[str], connections: Sequence[int]
    ) -> Iterator[tuple[Figures, ...]]:
        """The figures of `commands`, as they come: of each one for each service."""
        for command in LINES:
            if command not in commands:
                continue
            for fresh in (False,) if command == UNTIL_RECEIVED else (False, True):
                for number in connections:
                    yield self._rounds(command, number, fresh)

    def _rounds(self, command: str, connections: int, fresh: bool) -> tuple[Figures, ...]:
        pace = self._means.pace
        for_goals = connections == CONNECTIONS and not fresh
        taken: list[list[Round]] = [[] for _ in self._services]
        for number in range(pace.goal_rounds if for_goals else pace.rounds):
            if number and time.monotonic() > self._limit:
                break
            echo = self._echo(command, connections, fresh)
            hash = self._hash(connections) if command in HASHING else None
            # Not always the same one first, behind the echo.
            turns = [*zip(self._services, taken, strict=True)]
            for service, rounds in turns[:: -1 if number % 2 else 1]:
                work = {**service.people.job(command, connections, fresh), "seconds": pace.command}
                done, cpu, database = service.ask(self._means.load, work)
                rounds.append(summary(done, cpu, database, echo, hash))
        return tuple(Figures(command, connections, fresh, tuple(rounds)) for rounds in taken)

    def _echo(self, command: str, connections: int, fresh: bool) -> Cost:
        """What a line of the command costs the echo, which nobody listens to."""
        echo, pace = self._means.echo, self._means.pace
        work = self._services[0].people.job(command, connections, fresh)
        talks = [{**talk, "port": echo.port} for talk in work["talks"]]
        before = echo.cpu_seconds()
        done = self._means.load.ask({"talks": talks, "fresh": fresh, "seconds": pace.echo})
        cpu = echo.cpu_seconds() - before
        lines = len(done["times"])
        return Cost(lines / done["seconds"], cpu / lines * 1e6)

    def _hash(self, connections: int) -> Cost:
        """What a hash costs where as many are made at once as there may be: one for each core."""
        threads = min(connections, os.cpu_count() or 1)
        return Cost(
            **self._means.hashing.ask({"threads": threads, "seconds": self._means.pace.command})
        )
