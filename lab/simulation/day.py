"""A day of a large fleet, with faults: people come and go as on a day, and servers die.

    python -m lab.simulation.day [--servers 1000] [--hours 24] [--seed 1] [--recommend]

Real controller, rules and waiting room of two login servers, SQLite in memory, a cloud of three
zones and app servers that are simulated. Of the machines one in a hundred dies; at noon, with the
most people, a third of them at once (a zone), which boots nothing for an hour from then on; in the
fifth hour the cloud lists nothing; each two hours the controller is killed. With `--recommend`, the
cloud recommends to leave every machine once, all in the ninth hour. People come by a Poisson
process whose rate follows the hour, and stay for four hours on average. All app servers beat in one
statement each `INTERVAL` seconds, as 5,000 that beat each 2 s would be 216 million events: who is
silent is noticed as much later.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from random import Random
from typing import Any

import peewee
from twisted.internet.base import DelayedCall
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogBeginner
from zope.interface import implementer

from bbs.board import board
from bbs.core.errors import Refusal
from bbs.core.values import REBALANCE, Instance, Policy, State, Tally, Timing
from bbs.rules import membership, placement, servers
from bbs.rules.placement import Look, Search
from bbs.scaling.controller import FleetController
from bbs.scaling.events import FleetContext, FleetEvents
from bbs.scaling.interfaces import IHasPools
from bbs.scaling.pools import DOUBTFUL
from bbs.scaling.waiting_room import WaitingRoom
from bbs.storage import migrations, models
from bbs.storage.database import rows
from bbs.storage.models import Place, Server, User
from bbs.testing.threads import Inline
from lab.simulation.breaks import Breaks
from lab.simulation.clock import FastClock
from lab.simulation.cloud import (
    ADDRESS_AFTER,
    LISTED_AFTER_END,
    Cloud,
    CloudProvider,
    Machine,
)
from lab.simulation.mortal import Mortal, MortalDatabase
from lab.simulation.round_cost import Timed
from tests.standins.ec2 import Asked

START = 1_000_000.0
HOUR = 3600.0
INTERVAL = 20.0
"""Seconds between heartbeats, and between rounds."""

POOLS = {f"t3.micro in subnet-{zone}": f"subnet-{zone}" for zone in "abc"}
LOST_ZONE = "subnet-a"

COUNT_MOVES = """
CREATE TABLE moves (count INTEGER);
INSERT INTO moves VALUES (0);
CREATE TRIGGER moving AFTER UPDATE OF server_id ON place
WHEN OLD.server_id IS NOT NULL AND NEW.server_id != OLD.server_id
BEGIN UPDATE moves SET count = count + 1; END;
"""

CAPACITY = 10
STAY = 4 * HOUR
LOWEST, HIGHEST = 0.15, 0.9
"""The places of the whole fleet that people want, at midnight and at noon."""

DIE = 0.01
"""Machines that die by themselves in a day."""

ZONE_AT, LISTS_AT, KILLED_EACH = 12 * HOUR, 5 * HOUR, 2 * HOUR
ZONE_LASTS, RECOMMENDED_AT = HOUR, 8 * HOUR
"""When, for how long, and how often; in a day that is cut short the zone is lost in the middle of
what is left."""

QUIET = HOUR
"""Seconds at the end without faults, in which all has to become well."""

SETTLED_WITHIN = 120.0
"""Seconds after which what is launched or ended then is."""


class DayClock(FastClock):
    """Of the calls that are made while it is `timing` it says what the longest took: to measure all
    would take longer than what is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.timing = False
        self.longest = 0.0
        """Seconds of processor time, but for the database's."""
        self.spent = self.asked = 0.0
        """Such seconds of all those calls, and the database's in them."""
        self.database: Any = None
        self._timed: set[DelayedCall] = set()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """Call it then."""
        later = super().callLater(delay, callable, *args, **kw)
        if self.timing:
            self._timed.add(later)
        return later

    def _carry_out(self, call: DelayedCall) -> None:
        if call not in self._timed:
            super()._carry_out(call)
            return
        self._timed.discard(call)
        self.database.timing, asked = True, self.database.spent
        began = time.process_time()
        super()._carry_out(call)
        asked = self.database.spent - asked
        spent = time.process_time() - began - asked
        self.database.timing = False
        self.longest = max(self.longest, spent)
        self.spent, self.asked = self.spent + spent, self.asked + asked


class RoundsTimed(Mortal):
    """A login server whose controller's rounds are timed."""

    def callLater(self, delay: float, call: Callable[..., Any], *args: Any) -> Any:
        self._clock.timing = call.__name__ == "_begin"
        try:
            return super().callLater(delay, call, *args)
        finally:
            self._clock.timing = False


class DayCloud(Cloud):
    """A cloud whose lists cost little, and are of now."""

    def __init__(self, clock: Any, chance: Random, on_launch: Callable[[Machine], None]) -> None:
        super().__init__(clock, chance, Breaks(), on_launch)
        self.zone_of: dict[str, str] = {}
        self.by_launch: dict[str, Machine] = {}
        self.running: dict[str, Machine] = {}
        self._shown: dict[str, Instance] = {}

    def run(self, launch_id: str, subnet: str = "") -> str:
        return super().run(launch_id, self.zone_of.get(launch_id, subnet))

    def add(self, whole: Asked, number: int = 0) -> Machine:
        machine = super().add(whole, number)
        self.by_launch[machine.launch_id] = self.running[machine.launch_id] = machine
        self._show(machine)
        self.clock.callLater(ADDRESS_AFTER, self._show, machine)
        return machine

    def end(self, machine: Machine) -> None:
        if machine.there:
            super().end(machine)
            del self.running[machine.launch_id]
            self._show(machine)
            self.clock.callLater(LISTED_AFTER_END, self._shown.pop, machine.launch_id, None)

    def call(self, kind: str, action: Any, *rest: Any) -> Deferred[Any]:
        # A round goes on when a list has come.
        self.clock.timing = kind == "describe"
        try:
            return super().call(kind, action, *rest)
        finally:
            self.clock.timing = False

    def describe(self) -> dict[str, Instance]:
        self.describes += 1
        return dict(self._shown)

    def terminate(self, launch_id: str, known: str | None) -> None:
        if launch_id in self.by_launch:
            self.end(self.by_launch[launch_id])

    def _show(self, machine: Machine) -> None:
        has_address = machine.created + ADDRESS_AFTER <= self.clock.seconds()
        self._shown[machine.launch_id] = Instance(
            machine.launch_id,
            machine.address if has_address else None,
            machine.alive,
            "running" if machine.alive else "terminated",
            machine.instance_id,
            "t3.micro",
            machine.created,
            zone=machine.subnet_id,
        )


@implementer(IHasPools)
class ZonedProvider(CloudProvider):
    """A provider with a pool in each zone."""

    pools = POOLS

    def __init__(self, cloud: DayCloud, mortal: Any) -> None:
        super().__init__(cloud, mortal)
        self.write_strategy = None
        self._zone_of = cloud.zone_of
        self._doubts: Mapping[str, float] = {}
        self._staying: Counter[str] = Counter()

    lacking_pools = ()

    def prefer(
        self, doubts: Mapping[str, float], staying: Mapping[str, int], in_two_zones: bool
    ) -> None:
        self._doubts, self._staying = doubts, Counter(staying)

    def choose_strategies(self, count: int, to_stop: bool = False) -> Sequence[str]:
        chosen = []
        for _ in range(count):
            pool = min(POOLS, key=lambda each: (self._doubt(each), self._staying[POOLS[each]]))
            self._staying[POOLS[pool]] += 1
            chosen.append(pool)
        return chosen

    def _doubt(self, pool: str) -> float:
        doubt = self._doubts.get(pool, 0.0)
        return doubt if doubt >= DOUBTFUL else 0.0

    def know_strategies(self, written: Mapping[str, str], asked: Collection[str]) -> None:
        self._zone_of.update({id: POOLS[pool] for id, pool in written.items()})

    def forget_strategies(self, kept: Collection[str] = ()) -> None: ...


class Hints:
    """The bus of one login server: hints to the fleet alone."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self.heard: Any = None
        self.connected = True

    def tell(self, channel: str, event: Mapping[str, object], servers: Any = None) -> None:
        """People find out by themselves."""

    def tell_fleet(self, event: str) -> None:
        """To every other login server."""
        for server in self._day.login_servers:
            if server.hints is not self:
                self._day.clock.callLater(0.01, server.heard)

    def hear_fleet(self, on_hint: Any) -> None:
        """From `tell_fleet` of another on."""
        self.heard = on_hint


class LoginServer:
    """A login server's controller and waiting room."""

    def __init__(self, day: Day) -> None:
        self.mortal = RoundsTimed(day.clock, day.chance, None)
        self.hints = Hints(day)
        database: Any = MortalDatabase(day.database, self.mortal, day.chance)
        self.database = database
        me = membership.Member(servers.new_id(), f"host:{next(day.numbers)}:1")
        news = FleetEvents(self.hints)
        self.room = WaitingRoom(
            me=me,
            database=database,
            reactor=self.mortal,
            wall=day.clock.seconds,
            patience=day.policy.launch_timeout,
            watchers=set(),
            news=news,
            timing=Timing(self.mortal.seconds),
        )
        context = FleetContext(
            me=me,
            database=database,
            provider=ZonedProvider(day.cloud, self.mortal),
            policy=day.policy,
            news=news,
            reactor=self.mortal,
            wall=day.clock.seconds,
        )
        self.controller = FleetController(
            context, workers=Inline(), sweeps={}, heartbeat_interval=INTERVAL, tally=Tally()
        )
        self.controller.startService()

    def heard(self) -> None:
        """A hint has come."""
        if self.mortal.alive and self.hints.heard:
            self.hints.heard({})


class Day:
    """The day, of a fleet of so many `servers` at the most.

    People are numbers. Who is `seated` has a place; who `lost` it did so at that moment, as the
    machine died; who `asks` came, or came back, at that moment.
    """

    def __init__(self, servers_most: int, seed: int, recommends: bool = False) -> None:
        self._recommends = recommends
        self.chance = Random(seed)
        self.numbers = count()
        self.clock = DayClock()
        self.clock.live(START)
        self.most = servers_most
        self.policy = Policy(
            minimum=max(1, servers_most // 50),
            maximum=servers_most,
            spare=servers_most * CAPACITY // 50,
            capacity=CAPACITY,
            idle_grace=120.0,
            launch_timeout=180.0,
            lost_after=3 * INTERVAL,
        )
        self.database = Timed("sqlite:///:memory:", Inline(), self.clock)
        self.database.peewee.connect(reuse_if_open=True)
        migrations.upgrade(self.database.peewee, board.schema)
        self.database.peewee.connection().executescript(COUNT_MOVES)
        self.database.timing = False
        self.clock.database = self.database
        self.cloud = DayCloud(self.clock, self.chance, self._launched)
        self.login_servers: list[LoginServer] = []
        self.quiet = False
        self.peak = self.lost_machines = self.refusals = 0
        self.least = 0.0
        """Hours of servers, if there were never more than people fill."""
        self.waits: list[float] = []
        self.displaced: list[float] = []
        self._beating: set[str] = set()
        self._free: list[int] = []
        self._asks: dict[int, float] = {}
        self._there: set[int] = set()
        self._lost: dict[int, float] = {}

    def live(self, hours: float) -> None:
        """Let it pass."""
        sql = self.database.peewee.execute_sql
        sql("CREATE TEMP TABLE beating (id TEXT PRIMARY KEY) WITHOUT ROWID")
        accounts = range(int(self.most * CAPACITY * 1.2))
        for batch in peewee.chunked(accounts, 500):
            User.insert_many(
                {"name": f"p{number}", "password_hash": "", "channel": "", "created": 0.0}
                for number in batch
            ).execute()
        self._free = [id for (id,) in rows(User.select(User.id))]
        for _ in range(2):
            self.login_servers.append(LoginServer(self))
        self.cloud.faults = dict.fromkeys(("run", "describe", "terminate"), 0.01)
        later = self.clock.callLater
        later(0.0, self._beat)
        later(0.0, self._come)
        later(1.0, self._look)
        later(min(ZONE_AT, hours * HOUR / 2), self._lose_a_zone)
        if self._recommends:
            later(RECOMMENDED_AT, self._recommend)
        later(LISTS_AT, self._lists, 1.0)
        later(LISTS_AT + HOUR, self._lists, 0.01)
        later(KILLED_EACH, self._kill)
        later(self._until_death(), self._die)
        self.clock.live(max(0.0, hours * HOUR - QUIET))
        self.quiet, self.cloud.faults = True, {}
        self.clock.live(QUIET)

    def close(self) -> None:
        """Let go of the database."""
        self.database.peewee.close()
        models.database.initialize(None)

    def wrong(self) -> Sequence[str]:
        """What is not as it should be, at the end."""
        # What is being launched or ended at this moment differs, but not for long.
        apart = self._apart()
        self.clock.live(SETTLED_WITHIN)
        orphans, missing = (one & other for one, other in zip(apart, self._apart(), strict=True))
        complaints = [f"more than the maximum ran: {self.peak}"] if self.peak > self.most else []
        complaints += [f"{len(orphans)} instances without an owner"] if orphans else []
        complaints += [f"{len(missing)} servers without an instance"] if missing else []
        over = Server.select().where(Server.taken > Server.capacity).count()
        complaints += [f"{over} servers over capacity"] if over else []
        late = [name for name, since in self._asks.items() if self._now - since > 60.0]
        late += [name for name, since in self._lost.items() if self._now - since > 60.0]
        return complaints + ([f"{len(late)} people without a place"] if late else [])

    def _apart(self) -> tuple[set[str], set[str]]:
        """The instances that no server has, and the servers that have none."""
        living = {row.id for row in Server.select(Server.id).where(Server.state != State.GONE)}
        return self.cloud.running.keys() - living, living - self.cloud.running.keys()

    @property
    def hours(self) -> float:
        """Hours for which machines ran."""
        ran = ((self._now if m.ended is None else m.ended) - m.created for m in self.cloud.machines)
        return sum(ran) / HOUR

    @property
    def moves(self) -> int:
        """How many people were moved from one server to another."""
        sql = self.database.peewee.execute_sql
        return int(sql("SELECT count FROM moves").fetchone()[0])

    @property
    def _now(self) -> float:
        return float(self.clock.seconds())

    # Servers

    def _launched(self, machine: Machine) -> None:
        self.peak = max(self.peak, len(self.cloud.running) + 1)
        self.clock.callLater(max(10.0, self.chance.gauss(45.0, 10.0)), self._boot, machine)

    def _boot(self, machine: Machine) -> None:
        if not machine.alive or machine.subnet_id in self.cloud.dead_zones:
            return
        id = machine.launch_id
        if members_report(self.database, id):
            self._beating.add(id)
            self.database.peewee.execute_sql("INSERT OR IGNORE INTO beating VALUES (?)", (id,))
            for server in self.login_servers:
                self.clock.callLater(0.01, server.heard)
        else:
            self.cloud.end(machine)

    def _beat(self) -> None:
        """All that live beat, and those whose rows are gone end."""
        self.clock.callLater(INTERVAL, self._beat)
        people = len(self._there) + len(self._asks)
        self.least += math.ceil(people / CAPACITY) * INTERVAL / HOUR
        sql = self.database.peewee.execute_sql
        silent = [id for id in self._beating if id not in self.cloud.running]
        for id in silent:
            self._stop_beating(id)
        ended = sql(
            "SELECT beating.id FROM beating LEFT JOIN server USING (id)"
            " WHERE server.state IS NULL OR server.state = 'gone'"
        ).fetchall()
        for (id,) in ended:
            self._stop_beating(id)
            self.cloud.end(self.cloud.by_launch[id])
        sql("UPDATE server SET beats = beats + 1 WHERE id IN (SELECT id FROM beating)")

    def _stop_beating(self, id: str) -> None:
        self._beating.discard(id)
        self.database.peewee.execute_sql("DELETE FROM beating WHERE id = ?", (id,))

    def _until_death(self) -> float:
        machines = max(1, len(self.cloud.running))
        return self.chance.expovariate(DIE * machines / (24 * HOUR))

    def _die(self) -> None:
        if not self.quiet:
            self.clock.callLater(min(self._until_death(), HOUR), self._die)
            machines = [*self.cloud.running.values()]
            if machines:
                self._lose([self.chance.choice(machines)])

    def _lose_a_zone(self) -> None:
        zone = LOST_ZONE
        self._lose([m for m in [*self.cloud.running.values()] if m.subnet_id == zone])
        self.cloud.dead_zones.add(zone)
        self.clock.callLater(ZONE_LASTS, self.cloud.dead_zones.discard, zone)

    def _recommend(self) -> None:
        """The cloud recommends to leave every machine that runs."""
        for id in [*self.cloud.running]:
            self.database.run(membership.warn, id, REBALANCE)

    def _lose(self, machines: Sequence[Machine]) -> None:
        self.lost_machines += len(machines)
        for machine in machines:
            self.cloud.end(machine)
            there = Place.select(Place.user).where(Place.server == machine.launch_id)
            for (user,) in rows(there):
                self._lost.setdefault(user, self._now)

    def _lists(self, fault: float) -> None:
        self.cloud.faults = {**self.cloud.faults, "describe": 0.0 if self.quiet else fault}

    def _kill(self) -> None:
        if self.quiet:
            return
        self.clock.callLater(KILLED_EACH, self._kill)
        controller = next((one for one in self.login_servers if one.controller.is_leader), None)
        if controller is None:
            return
        controller.mortal.die()
        self.login_servers.remove(controller)
        self.clock.callLater(10.0, lambda: self.login_servers.append(LoginServer(self)))
        for user in self._asks:  # Some of them asked that one; to ask twice does no harm.
            self.clock.callLater(self.chance.uniform(1.0, 3.0), self._ask, user)

    # People

    def _wanted(self, moment: float) -> float:
        hour = (moment - START) / HOUR
        middle, swing = (HIGHEST + LOWEST) / 2, (HIGHEST - LOWEST) / 2
        return self.most * CAPACITY * (middle - swing * math.cos(math.tau * hour / 24))

    def _come(self) -> None:
        """Somebody comes, now and then: as many as it takes."""
        now = self._now
        there = len(self._there) + len(self._asks)
        rate = there / STAY + (self._wanted(now + 60.0) - there) / HOUR
        if rate > 0 and self._free:
            user = self._free.pop(self.chance.randrange(len(self._free)))
            self._asks[user] = now
            self._ask(user)
        self.clock.callLater(min(60.0, self.chance.expovariate(max(rate, 0.01))), self._come)

    def _ask(self, user: int) -> None:
        if user not in self._asks:
            return
        server = self.chance.choice(self.login_servers)

        async def attempt(look: Look) -> Search:
            found: Search = await server.database.run(placement.enter, user, look)
            return found

        room: Any = server.room
        seat = Deferred.fromCoroutine(room.seat(f"p{user}", None, attempt))
        seat.addCallbacks(lambda seat: self._seated(user), lambda why: self._refused(user, why))

    def _seated(self, user: int) -> None:
        since = self._asks.pop(user, None)
        if since is None:
            return
        self.waits.append(self._now - since)
        if user not in self._there:
            self._there.add(user)
            self.clock.callLater(self.chance.expovariate(1 / STAY), self._go, user)

    def _refused(self, user: int, why: Any) -> None:
        why.trap(Refusal, CancelledError)
        self.refusals += 1
        self.clock.callLater(self.chance.uniform(1.0, 5.0), self._ask, user)

    def _go(self, user: int) -> None:
        self._there.discard(user)
        self._lost.pop(user, None)
        self.database.run(placement.give_back, user)
        self._free.append(user)

    def _look(self) -> None:
        """Who has a place again whose machine died."""
        self.clock.callLater(1.0, self._look)
        for batch in peewee.chunked([*self._lost], 500):
            found = rows(Place.select(Place.user, Place.server).where(Place.user.in_(batch)))
            for user, server in found:
                if server in self.cloud.running:
                    self.displaced.append(self._now - self._lost.pop(user))


def members_report(database: Timed, id: str) -> bool:
    """Have an app server say that it serves; whether it is wanted."""
    said: list[bool] = []
    database.run(membership.report, id, 22223).addCallback(said.append)
    return said == [True]


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "nobody"
    ordered = sorted(seconds)
    waited = sum(each > 0.0 for each in ordered)
    p50, p99 = ordered[len(ordered) // 2], ordered[-max(1, len(ordered) // 100)]
    return (
        f"{len(ordered)} ({waited} waited), p50 {p50:.1f} s, p99 {p99:.1f} s,"
        f" longest {ordered[-1]:.1f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.simulation.day")
    parser.add_argument("--servers", type=int, default=1000, help="at the most (%(default)s)")
    parser.add_argument("--hours", type=float, default=24.0, help="of the day (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    what = "the cloud recommends to leave every machine once"
    parser.add_argument("--recommend", action="store_true", help=what)
    options = parser.parse_args()
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    began = time.monotonic()
    day = Day(options.servers, options.seed, options.recommend)
    try:
        day.live(options.hours)
        wrong = day.wrong()
        moves = day.moves
    finally:
        day.close()
    pools = Counter(machine.subnet_id for machine in day.cloud.machines)
    by_pool = ", ".join(f"{zone} {count}" for zone, count in sorted(pools.items()))
    print(f"{day.hours:.0f} hours of machines, the least {day.least:.0f}; {moves} moves; {by_pool}")
    print(f"{len(day.cloud.machines)} launches, {day.lost_machines} machines lost,")
    print(f"the most at once {day.peak} of {day.most}; {day.cloud.calls} calls of the cloud")
    print(f"who came: {_spread(day.waits)}; sent away {day.refusals} times")
    print(f"who lost a machine: {_spread(day.displaced)}")
    longest = day.clock.longest * 1000.0
    print(f"the longest turn of a round: {longest:.0f} ms of processor, but for the database")
    spent, asked = day.clock.spent, day.clock.asked
    print(f"all rounds: {spent:.0f} s of processor, and {asked:.0f} s of the database's thread")
    print("; ".join(wrong) or "all is well at the end", f"({time.monotonic() - began:.0f} s)")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
