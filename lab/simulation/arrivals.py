"""What the fleet costs, and how long people wait: loads by policies.

    python -m lab.simulation.arrivals [--seed N] [--load NAME ...] [--people N] [--jobs N]

Prints a table as Markdown, in some twenty minutes on two cores. Controller, rules, waiting room and
database are the real ones, on a cloud without faults and a clock that costs no time. Boots take
45 s, give or take 10; ten people go to a server; who comes stays for ten minutes on average, by an
exponential distribution. Beside what was used stands the least that could be: servers that are
there the moment somebody needs one, and gone the moment nobody does. Moves are of people who went
from one server to another so that fewer were needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import cos, pi
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogBeginner

from bbs.board import board
from bbs.core.values import Policy, State, Tally, Timing
from bbs.rules import membership, placement
from bbs.rules.placement import Look, Search
from bbs.scaling.controller import FleetController
from bbs.scaling.events import FleetContext, FleetEvents
from bbs.scaling.waiting_room import WaitingRoom
from bbs.storage import migrations, models
from bbs.storage.database import Database
from bbs.storage.models import Server, User
from bbs.testing.provider import MemoryProvider
from bbs.testing.threads import Inline
from lab.simulation.checks import WATCH_PLACES

CAPACITY = 10
STAY = 600.0
"""Seconds for which somebody stays, on average."""

BOOT, SPREAD = 45.0, 10.0
HEARTBEAT = 2.0
WARM_UP = 1200.0
"""Seconds before the hour begins, in which those come who are there when it does."""

LEAVES_IT = float("inf")


@dataclass(frozen=True)
class Visit:
    """Somebody comes `at` a moment, in seconds since the load's beginning, and stays so long."""

    at: float
    stay: float


@dataclass(frozen=True)
class Load:
    """People who come, and for how many seconds what happens is measured."""

    visits: Sequence[Visit]
    lasts: float


# --- loads, by the number of people who are there at most on average ---


def _poisson(rate: Callable[[float], float], most: float, until: float, chance: Random) -> Load:
    """People come at a `rate` of so many a second, `most` at the most."""
    visits: list[Visit] = []
    at = -WARM_UP
    while True:
        at += chance.expovariate(most)
        if at > until:
            return Load(visits, until)
        if chance.random() * most <= rate(max(at, 0.0)):
            visits.append(Visit(at, chance.expovariate(1 / STAY)))


def steady(people: int, chance: Random) -> Load:
    """As many come as go."""
    rate = people / STAY
    return _poisson(lambda at: rate, rate, 3600.0, chance)


def ramp(people: int, chance: Random) -> Load:
    """From a tenth to all within an hour, and back within another."""
    rate = people / STAY
    return _poisson(
        lambda at: rate * (0.1 + 0.9 * (1 - abs(at - 3600.0) / 3600.0)), rate, 7200.0, chance
    )


def day(people: int, chance: Random) -> Load:
    """From a twentieth at night to all at noon and back, in three hours: eight times as steep as a
    day, so as to be done in time."""
    rate, lasts = people / STAY, 10800.0
    return _poisson(
        lambda at: rate * (0.525 - 0.475 * cos(2 * pi * at / lasts)), rate, lasts, chance
    )


def crowd(people: int, chance: Random) -> Load:
    """All come within a minute; nine of ten go after ten minutes or so, and one stays."""
    visits = [
        Visit(chance.uniform(0, 60.0), LEAVES_IT if one % 10 == 0 else chance.gauss(STAY, 60.0))
        for one in range(people)
    ]
    return Load(sorted(visits, key=lambda visit: visit.at), 5400.0)


def bursts(people: int, chance: Random) -> Load:
    """A third of the people, steadily; and each ten minutes as many within half a minute."""
    base = _poisson(lambda at: people / 3 / STAY, people / 3 / STAY, 5400.0, chance)
    more = [
        Visit(begin + chance.uniform(0.0, 30.0), chance.expovariate(1 / STAY))
        for begin in range(300, 5400, 600)
        for _ in range(people // 3)
    ]
    return Load(sorted([*base.visits, *more], key=lambda visit: visit.at), base.lasts)


LOADS: Mapping[str, Callable[[int, Random], Load]] = {
    each.__name__: each for each in (steady, ramp, day, crowd, bursts)
}


def least(load: Load) -> tuple[float, float]:
    """The hours of as many servers as it takes at each moment, and never one more; and the hours
    that people are there."""
    changes = sorted(
        change
        for visit in load.visits
        for change in ((visit.at, 1), (visit.at + visit.stay, -1))
        if change[0] < load.lasts
    )
    there, since, seconds, stayed = 0, 0.0, 0.0, 0.0
    for at, change in [*changes, (load.lasts, 0)]:
        if at > 0.0:
            seconds += -(-there // CAPACITY) * (at - since)
            stayed += there * (at - since)
            since = at
        there += change
    return seconds / 3600.0, stayed / 3600.0


# --- the fleet ---


class Machines(MemoryProvider):
    """A cloud whose instances cost from the launch until they end."""

    shared = True

    def __init__(self, clock: Clock) -> None:
        super().__init__("ec2:nowhere:table")
        self._clock = clock
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}

    def launch(self, launch_id: str) -> Deferred[None]:
        self.began.setdefault(launch_id, self._clock.seconds())
        return super().launch(launch_id)

    def end(self, launch_id: str, detail: str = "ended by itself") -> None:
        self.ended.setdefault(launch_id, self._clock.seconds())
        super().end(launch_id, detail)

    def hours(self, since: float, until: float) -> float:
        """What all of them have cost in that time."""
        seconds = sum(
            max(0.0, min(until, self.ended.get(id, until)) - max(since, began))
            for id, began in self.began.items()
        )
        return seconds / 3600.0


class Hints:
    """There is one login server, and nobody else is to be told; counts who is moved when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.connected = True
        self.moved: list[float] = []

    def tell(self, channel: str, event: Mapping[str, object], servers: object = None) -> None:
        if event["event"] == "moved":
            self.moved.append(self._clock.seconds())

    def tell_fleet(self, event: str) -> None: ...

    def hear_fleet(self, on_hint: Callable[[Mapping[str, Any]], None]) -> None: ...


class Hour:
    """A load under one policy, from an empty fleet on."""

    def __init__(self, load: Load, policy: Policy, seed: int) -> None:
        self.load = load
        self.clock = clock = Clock()
        clock.advance(1_000_000.0)
        self.begin = clock.seconds() + WARM_UP
        self.chance = Random(seed)
        self.waits: list[float] = []
        """Of those who came since the beginning and were given a place."""
        self._free: list[int] = []
        # No calls of the clock, which sorts them all whenever one is added.
        self._leaving: list[tuple[float, int]] = [(LEAVES_IT, 0)]
        self._names = count(1)
        # Nobody asks to be told how waiting goes on.
        self._nobody: Any = None
        self.database = Database("sqlite:///:memory:", Inline(), clock)
        self.database.peewee.connect(reuse_if_open=True)
        migrations.upgrade(self.database.peewee, board.schema)
        self.database.peewee.connection().executescript(WATCH_PLACES)
        self.cloud = Machines(clock)
        self.cloud.on_launch = self._launched
        me = membership.Member("0" * 32, "host:simulated:1")
        self.hints = Hints(clock)
        news = FleetEvents(self.hints)
        wall = clock.seconds
        self.room = WaitingRoom(
            me=me,
            database=self.database,
            reactor=clock,
            wall=wall,
            patience=policy.launch_timeout,
            watchers=set(),
            news=news,
            timing=Timing(clock.seconds),
        )
        context = FleetContext(
            me=me,
            database=self.database,
            provider=self.cloud,
            policy=policy,
            news=news,
            reactor=clock,
            wall=wall,
        )
        self.controller = FleetController(
            context, workers=Inline(), sweeps={}, heartbeat_interval=HEARTBEAT, tally=Tally()
        )

    def live(self) -> None:
        """Let it pass."""
        self.controller.startService()
        self.clock.callLater(HEARTBEAT / 2, self._beat)
        visits = iter(self.load.visits)
        self._expect(visits)
        end = self.begin + self.load.lasts
        while (due := min(self.clock.calls[0].getTime(), self._leaving[0][0])) <= end:
            self.clock.advance(max(0.0, due - self.clock.seconds()))
            while self._leaving[0][0] <= self.clock.seconds():
                self._go(heappop(self._leaving)[1])
        violations = self.database.peewee.execute_sql("SELECT count(*) FROM violation")
        assert violations.fetchone()[0] == 0, "a server was over capacity"
        self.database.close()
        models.database.initialize(None)

    def _expect(self, visits: Iterator[Visit]) -> None:
        """One after the other, so that the clock has few calls to keep."""

        def come(visit: Visit) -> None:
            self._expect(visits)
            Deferred.fromCoroutine(self._visit(visit))

        visit = next(visits, None)
        if visit is not None:
            delay = self.begin + visit.at - self.clock.seconds()
            self.clock.callLater(max(0.0, delay), come, visit)

    async def _visit(self, visit: Visit) -> None:
        user = self._free.pop() if self._free else self._someone()

        async def attempt(look: Look) -> Search:
            return await self.database.run(placement.enter, user, look)

        asked = self.clock.seconds()
        await self.room.seat(f"p{user}", self._nobody, attempt)
        if visit.at >= 0.0:
            self.waits.append(self.clock.seconds() - asked)
        if visit.stay != LEAVES_IT:
            heappush(self._leaving, (self.clock.seconds() + max(1.0, visit.stay), user))

    def _go(self, user: int) -> None:
        self.database.run(placement.give_back, user)
        self._free.append(user)

    def _someone(self) -> int:
        name = f"p{next(self._names)}"
        return int(User.create(name=name, password_hash="", channel=name, created=0.0).id)

    def _launched(self, id: str) -> None:
        self.clock.callLater(max(10.0, self.chance.gauss(BOOT, SPREAD)), self._boot, id)

    def _boot(self, id: str) -> None:
        self.database.run(membership.report, id, 22223)
        self.controller.look_soon()

    def _beat(self) -> None:
        """All app servers are well: one statement for all of them."""
        Server.update(beats=Server.beats + 1).where(Server.state != State.GONE).execute()
        self.clock.callLater(HEARTBEAT, self._beat)


# --- the table ---


@dataclass(frozen=True)
class Row:
    """What came of a load under a policy."""

    load: str
    policy: str
    used: float
    least: float
    waits: Sequence[float]
    moves: int
    stayed: float

    def __str__(self) -> str:
        waits = sorted(self.waits)
        waited = sum(wait > 0.0 for wait in waits) / len(waits)
        cells = (
            self.load,
            self.policy,
            f"{self.used:.1f}",
            f"{self.used / self.least:.3f}",
            f"{100 * waited:.1f} %",
            f"{waits[len(waits) // 2]:.1f}",
            f"{waits[-(-99 * len(waits) // 100) - 1]:.1f}",
            f"{self.moves}",
            f"{self.moves / self.stayed:.2f}",
        )
        return f"| {' | '.join(cells)} |"


HEAD = """\
| load | policy | hours | of the least | waited | p50 s | p99 s | moves | a person-hour |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def policies() -> Iterator[tuple[str, Policy]]:
    """What is compared, by name."""
    for spare in (5, 20, "auto"):
        for after in (0.0, 120.0):
            yield (
                f"{spare}{', consolidated' if after else ''}",
                Policy(
                    minimum=1,
                    maximum=1000,
                    spare=0 if isinstance(spare, str) else spare,
                    capacity=CAPACITY,
                    idle_grace=120.0,
                    launch_timeout=180.0,
                    lost_after=10.0,
                    foresees=spare == "auto",
                    consolidate_after=after,
                ),
            )


def run(load: str, people: int, seed: int, name: str, policy: Policy) -> Row:
    """One row of the table; the same people come under each policy."""
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    visits = LOADS[load](people, Random(seed))
    hour = Hour(visits, policy, seed)
    hour.live()
    moves = sum(at >= hour.begin for at in hour.hints.moved)
    hours, stayed = least(visits)
    used = hour.cloud.hours(hour.begin, hour.begin + visits.lasts)
    return Row(load, name, used, hours, hour.waits, moves, stayed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.simulation.arrivals", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--people", type=int, default=1000, help="at most (%(default)s)")
    parser.add_argument("--load", nargs="*", choices=LOADS, default=[*LOADS])
    parser.add_argument("--policy", nargs="*", help="by their names in the table; all")
    parser.add_argument("--jobs", type=int, default=2, help="at once (%(default)s)")
    options = parser.parse_args()
    print(HEAD, flush=True)
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = [
            pool.submit(run, load, options.people, options.seed, name, policy)
            for load in options.load
            for name, policy in policies()
            if not options.policy or name in options.policy
        ]
        for row in rows:
            print(row.result(), flush=True)


if __name__ == "__main__":
    main()
