"""One round: a time of faults, and quiet behind it, in which all has to become well.

`World(seed).run()` gives the complaints: none when all is well.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from random import Random
from typing import Any
from unittest import mock

from twisted.internet.task import Clock

from bbs.board import board
from bbs.rules import members, operators, servers
from bbs.scaling import sight, waiting
from bbs.scaling.keeper import FleetKeeper
from bbs.scaling.news import FleetNews
from bbs.scaling.steps import Means
from bbs.scaling.waiting import WaitingRoom
from bbs.storage import migrations, models
from bbs.storage.database import Database
from bbs.values import Policy, Tally
from bbs.workers import Inline
from tests.simulation.checks import WATCH, too_soon, what_is_wrong
from tests.simulation.cloud import BOOT, Breaks, Cloud, CloudProvider, Machine
from tests.simulation.mortal import Mortal, MortalDatabase
from tests.simulation.people import Person

START = 1_000_000.0
INTERVAL = 3.0
"""Seconds between heartbeats."""

LONGEST_QUIET = 1800.0
"""Seconds in which all must be well again; a refusal may hold for ten minutes."""

STAYS_WELL = 120.0
"""Seconds for which it must stay so."""

CLOCK_SET = 60.0
"""Seconds between the times that somebody sets the wall clock of a login server, on average."""

SET_AHEAD = (-3600.0, 0.0, 3600.0)
"""How many seconds ahead of the others' it then is. It goes on in the quiet: no clock is needed for
all to be well."""

WANDERS = 60.0
"""Seconds for which somebody is there, or is not, on average."""

LOOK = 5.0
"""Seconds between looks at which launches have failed."""


class Hints:
    """The bus of one login server; hints get lost now and then."""

    def __init__(self, world: World, mortal: Mortal) -> None:
        self._world = world
        self.mortal = mortal
        self.heard: Any = None

    def tell(self, channel: str, event: Mapping[str, object]) -> None:
        """Nobody listens."""

    def tell_fleet(self, event: str) -> None:
        """To every login server that lives."""
        if self.mortal.alive:
            self._world.hint(event)

    def hear_fleet(self, on_hint: Any) -> None:
        """From `hint` on."""
        self.heard = on_hint


class LoginServer:
    """A login server's keeper and waiting room."""

    def __init__(self, world: World, life: int | None) -> None:
        self.id = servers.new_id()
        self.clock = world.clock
        self.set_ahead = world.clocks.choice(SET_AHEAD)
        self.mortal = Mortal(world.clock, world.chance, life)
        self.mortal.on_death = lambda: world.died(self)
        self.database = MortalDatabase(world.database, self.mortal, world.chance)
        self.hints = Hints(world, self.mortal)
        me = members.Member(self.id, "host:simulated:1")
        policy, anything = world.policy, self._as_any
        news = FleetNews(self.hints)
        self.room = WaitingRoom(
            me=me,
            database=anything(self.database),
            reactor=self.mortal,
            wall=self.wall,
            patience=policy.launch_timeout,
            watchers=set(),
            news=news,
        )
        means = Means(
            me=me,
            database=anything(self.database),
            provider=CloudProvider(world.cloud, self.mortal),
            policy=policy,
            news=news,
            reactor=self.mortal,
            wall=self.wall,
        )
        self.keeper = FleetKeeper(
            means, workers=Inline(), sweeps=(), heartbeat_interval=INTERVAL, tally=Tally()
        )
        self.keeper.startService()

    def wall(self) -> float:
        """What the wall clock of its machine says."""
        return float(self.clock.seconds() + self.set_ahead)

    @staticmethod
    def _as_any(fake: Any) -> Any:
        return fake


class World:
    """Everything there is, from one seed."""

    def __init__(self, seed: int, breaks: Breaks | None = None) -> None:
        self.seed = seed
        self.chance = chance = Random(seed)
        # Of their own, so that all else happens as it did before there were these.
        self.clocks = Random(-seed - 1)
        self.wandering = Random(f"wandering {seed}")
        self.born: dict[str, float] = {}
        self.breaks = breaks or Breaks()
        self.clock = Clock()
        self.clock.advance(START)
        self.quiet = False
        self.trace: list[str] = []
        self.complaints: list[str] = []
        self.peak = 0
        self.policy = Policy(
            minimum=chance.randint(0, 2),
            maximum=chance.randint(2, 6),
            spare=chance.randint(0, 4),
            capacity=chance.randint(1, 4),
            idle_grace=20.0,
            launch_timeout=60.0,
            lost_after=12.0,
        )
        self.cloud = Cloud(self.clock, chance, self.breaks, self._launched)
        self.login_servers: list[LoginServer] = []
        self.people: list[Person] = []

    def run(self) -> list[str]:
        """Live through it; returns what was wrong, once only each."""
        numbers = count(1)

        def new_id() -> str:
            id = f"{next(numbers):032x}"
            self.born[id] = self._now
            return id

        grace = 0.0 if self.breaks.grace else sight.CONSISTENCY_GRACE
        with (
            mock.patch.object(servers, "new_id", new_id),
            mock.patch.object(waiting, "new_id", new_id),
            mock.patch.object(sight, "CONSISTENCY_GRACE", grace),
        ):
            self._begin()
            try:
                self._noise(self.chance.uniform(200.0, 500.0))
                self._quiet()
            finally:
                for person in self.people:
                    person.give_up()
                self.database.close()
                models.database.initialize(None)
        return list(dict.fromkeys(self.complaints))

    def tell(self, *words: object) -> None:
        """Note what happens."""
        self.trace.append(" ".join(map(str, (f"{self.clock.seconds() - START:.2f}", *words))))

    def died(self, server: LoginServer) -> None:
        """A login server is dead; a successor comes in a while."""
        self.tell("dies", server.id)
        self.login_servers.remove(server)
        for person in self.people:
            if person.asked is server:
                person.hang_up()
        self.clock.callLater(self.chance.uniform(1.0, 20.0), self.start_login_server)

    def hint(self, event: str) -> None:
        """A hint travels, or does not."""
        for server in self.login_servers:
            if self.chance.random() < 0.9:
                self.clock.callLater(
                    0.01, lambda server=server: server.mortal.alive and server.hints.heard({})
                )

    def boot_time(self) -> float:
        """Seconds from a launch until its app server serves."""
        return self.chance.uniform(*BOOT)

    def pass_time(self, seconds: float) -> None:
        """Let everything happen that is due, each at its own moment."""
        end = self.clock.seconds() + seconds
        while end - self.clock.seconds() > LOOK:
            self._pass_time(LOOK)
            self.complaints += too_soon(self.policy, self.born, self._now)
        self._pass_time(max(0.0, end - self.clock.seconds()))

    def _pass_time(self, seconds: float) -> None:
        end = self.clock.seconds() + seconds
        while self.clock.calls and self.clock.calls[0].getTime() <= end:
            self.clock.advance(max(0.0, self.clock.calls[0].getTime() - self.clock.seconds()))
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def _begin(self) -> None:
        self.open_database()
        chance, cloud = self.chance, self.cloud
        for kind in ("run", "describe", "terminate"):
            cloud.faults = {**cloud.faults, kind: chance.uniform(0.1, 0.3)}
        cloud.lag, cloud.hung_boots = chance.uniform(2.0, 20.0), chance.uniform(0.0, 0.3)
        cloud.gaps = chance.uniform(0.0, 0.1)
        self.people = [
            Person(
                f"p{number}", self.clock, chance, self.database, self.any_login_server, self.tell
            )
            for number in range(chance.randint(3, 20))
        ]
        for _ in range(2):
            self.start_login_server()
        self._set_a_clock_later()

    def open_database(self) -> None:
        """An empty one, which watches itself."""
        self.database = Database("sqlite:///:memory:", Inline(), self.clock)
        self.database.peewee.connect(reuse_if_open=True)
        migrations.upgrade(self.database.peewee, board.schema)
        self.database.peewee.connection().executescript(WATCH)

    def _noise(self, seconds: float) -> None:
        for person in self.people:
            self.clock.callLater(self.chance.uniform(0.0, 60.0), self._change_mind, person)
            self._wander_later(person)
        self._misfortune_later()
        self.pass_time(seconds)

    def _quiet(self) -> None:
        """No more faults; everything comes to rest, and stays so."""
        cloud, self.quiet = self.cloud, True
        cloud.faults, cloud.gaps, cloud.hung_boots, cloud.lag = {}, 0.0, 0.0, 5.0
        cloud.away = cloud.lacks_capacity = cloud.refuses = False
        for server in self.login_servers:
            server.mortal.life, server.database.faults = None, 0.0
        self.tell("quiet")
        well, end = 0.0, self.clock.seconds() + LONGEST_QUIET
        while well < STAYS_WELL:
            self.pass_time(10.0)
            wrong = what_is_wrong(self.policy, self.cloud, self.people)
            well = 0.0 if wrong else well + 10.0
            if self.clock.seconds() > end:
                self.complaints += wrong or ["it does not stay well"]
                break
        if self.database.peewee.execute_sql("SELECT count(*) FROM violation").fetchone()[0]:
            self.complaints.append("a server was over capacity")

    # What happens

    def start_login_server(self) -> None:
        """One more, of which it is not known for how long it lives."""
        life = None if self.quiet else int(self.chance.expovariate(1 / 300.0)) + 1
        server = LoginServer(self, life)
        server.database.faults = 0.0 if self.quiet else 0.01
        self.login_servers.append(server)
        self.tell("starts", server.id)

    def any_login_server(self) -> LoginServer | None:
        """Whom to ask, if anybody lives."""
        return self.chance.choice(self.login_servers) if self.login_servers else None

    def _change_mind(self, person: Person) -> None:
        if self.quiet:
            return
        person.go() if person.wants else person.come()
        self.clock.callLater(self.chance.expovariate(1 / 80.0), self._change_mind, person)

    def _wander_later(self, person: Person) -> None:
        self.clock.callLater(self.wandering.expovariate(1 / WANDERS), self._wander, person)

    def _wander(self, person: Person) -> None:
        if self.quiet:
            return
        person.come_back() if person.away else person.leave()
        self._wander_later(person)

    def _misfortune_later(self) -> None:
        self.clock.callLater(self.chance.expovariate(1 / 20.0), self._misfortune)

    def _misfortune(self) -> None:
        if self.quiet:
            return
        self._misfortune_later()
        chance, cloud = self.chance, self.cloud
        what = chance.choice(
            ("end", "end", "freeze", "away", "lack", "refuse", "drain", "ask", "die")
        )
        self.tell("misfortune", what)
        lasting = {"away": "away", "lack": "lacks_capacity", "refuse": "refuses"}
        machines = cloud.alive()
        if what in lasting:
            setattr(cloud, lasting[what], True)
            self.clock.callLater(chance.uniform(5.0, 60.0), setattr, cloud, lasting[what], False)
        elif what == "die" and self.login_servers:
            chance.choice(self.login_servers).mortal.die()
        elif what == "ask":
            asked = self.database.run(
                operators.ask_launch,
                self.policy.capacity,
                self.policy.maximum,
                self._now + self.clocks.choice(SET_AHEAD),
            )
            asked.addErrback(lambda failure: failure.trap(operators.FleetFull))
        elif what == "drain" and machines:
            asked = self.database.run(operators.ask_drain, chance.choice(machines).launch_id)
            asked.addErrback(lambda failure: failure.trap(operators.NoSuchServer))
        elif what == "end" and machines:
            cloud.end(chance.choice(machines))
        elif what == "freeze" and machines:
            chance.choice(machines).frozen = True

    def _set_a_clock_later(self) -> None:
        self.clock.callLater(self.clocks.expovariate(1 / CLOCK_SET), self._set_a_clock)

    def _set_a_clock(self) -> None:
        self._set_a_clock_later()
        if self.login_servers:
            server = self.clocks.choice(self.login_servers)
            server.set_ahead = self.clocks.choice(SET_AHEAD)
            self.tell("clock", server.id, server.set_ahead)

    @property
    def _now(self) -> float:
        now: float = self.clock.seconds()
        return now

    # App servers

    def _launched(self, machine: Machine) -> None:
        self.tell("launched", machine.id, machine.launch_id)
        alive = len(self.cloud.alive())
        self.peak = max(self.peak, alive)
        if alive > self.policy.maximum:
            self.complaints.append(f"more than the maximum of {self.policy.maximum} ran")
        if machine.boots:
            self.clock.callLater(self.boot_time(), self._boot, machine)

    def _boot(self, machine: Machine) -> None:
        if machine.alive and not machine.frozen:
            self.database.run(members.report, machine.launch_id, 22223).addCallback(
                self._go_on, machine
            )
            self.hint("ready")

    def _beat(self, machine: Machine) -> None:
        if machine.alive and not machine.frozen:
            self.database.run(members.beat, machine.launch_id, {}).addCallback(self._go_on, machine)

    def _go_on(self, wanted: bool, machine: Machine) -> None:
        if wanted:
            self.clock.callLater(INTERVAL, self._beat, machine)
        else:
            self.tell("powers off", machine.id)
            self.cloud.end(machine)
