"""One fleet in the simulated cloud: a database, login servers, app servers, and people."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from bbs.board import board
from bbs.config import EC2
from bbs.core.clock import ServiceClock
from bbs.core.values import Policy, Tally, Timing
from bbs.rules import fleets, membership, servers
from bbs.rules.servers import running
from bbs.scaling import identity
from bbs.scaling.controller import FleetController
from bbs.scaling.ec2.provider import EC2Provider
from bbs.scaling.events import FleetContext, FleetEvents
from bbs.scaling.planner import ZONES
from bbs.scaling.waiting_room import WaitingRoom
from bbs.storage import clock, migrations, models
from bbs.storage.database import Database
from bbs.storage.models import Server
from bbs.testing.threads import Inline
from lab.simulation.checks import WATCH, WATCH_PLACES, zone_of
from lab.simulation.cloud import Machine
from lab.simulation.ec2 import Client
from lab.simulation.expiring import WATCH_SWEEPS, Sweeping, add_rows
from lab.simulation.mortal import Mortal, MortalDatabase
from lab.simulation.people import Person

if TYPE_CHECKING:
    from lab.simulation.world import World

INTERVAL = 3.0
"""Seconds between heartbeats."""

LEASE_TIMEOUT = 60.0
"""Seconds for which an app server lives on that does not reach its database."""

FALTERS = (7.0, 11.0)
"""Seconds between heartbeats that falter: more than two intervals, less than `lost_after`."""

SET_AHEAD = (-3600.0, 0.0, 3600.0)
"""How many seconds ahead of the others' the clock of a login server is. It goes on in the quiet: no
clock is needed for all to be well."""


class OneOfMany(Database):
    """A database of several in this process: peewee's models are bound to whichever is in use."""

    def use(self) -> None:
        """Whatever is asked of the models from now on is asked of this one."""
        models.database.obj = self.peewee

    def run(self, rule: Any, *arguments: Any, **keywords: Any) -> Deferred[Any]:
        """As `Database.run`."""
        self.use()
        return super().run(rule, *arguments, **keywords)

    def call(self, rule: Callable[..., Any], *arguments: Any) -> Any:
        """What a rule gives, in a transaction."""
        self.use()
        with self.peewee.atomic():
            return rule(*arguments)

    @property
    def connection(self) -> sqlite3.Connection:
        """SQLite's own."""
        connection: sqlite3.Connection = self.peewee.connection()
        return connection


class Hints:
    """The bus of one login server; hints get lost now and then."""

    def __init__(self, fleet: Fleet, mortal: Mortal) -> None:
        self._fleet = fleet
        self.mortal = mortal
        self.heard: Any = None
        self.connected = True

    def tell(self, channel: str, event: Mapping[str, object], servers: Any = None) -> None:
        """To whoever listens: people follow a move, but for some who do not hear of it."""
        if self.mortal.alive and event.get("event") == "moved":
            self._fleet.moved(channel, event)

    def tell_fleet(self, event: str) -> None:
        """To every login server that lives."""
        if self.mortal.alive:
            self._fleet.hint(event)

    def hear_fleet(self, on_hint: Any) -> None:
        """From `hint` on."""
        self.heard = on_hint


@dataclass(eq=False)
class Host:
    """The machine of a login server, and of its successors, whose clock may be far wrong: so many
    seconds `ahead`."""

    ahead: float = 0.0


class LoginServer:
    """A login server's controller and waiting room, from when it has found out of which fleet it
    is."""

    def __init__(self, fleet: Fleet, life: int | None, host: Host) -> None:
        world = fleet.world
        self.id = servers.new_id()
        self.clock = world.clock
        self.host = host
        self.set_ahead = world.set_ahead()
        self.mortal = Mortal(world.clock, world.chance, life)
        self.mortal.on_death = lambda: fleet.died(self)
        self.database = MortalDatabase(fleet.database, self.mortal, world.chance)
        self.hints = Hints(fleet, self.mortal)
        self.client = Client(world.cloud, fleet, self.mortal)
        self.wall = ServiceClock(self._own_clock, self.mortal.seconds, fleet.database_clock)
        self.room: Any = None
        # While the service is upgraded, login servers of two versions run side by side.
        self._version = world.chance.choice(("1", "2"))
        self._fleet = fleet
        self.mortal.callLater(0, self._begin)

    def _begin(self) -> None:
        self._started = Deferred.fromCoroutine(self._start())
        self._started.addErrback(lambda failure: self._fleet.world.complain(repr(failure)))

    async def _start(self) -> None:
        database, policy = self._as_any(self.database), self._fleet.policy
        asked = self.wall.steady()
        self.wall.hear(await database.run_at_start(clock.read), asked)
        me = membership.Member(self.id, f"host:{self.id}:1", self._version)
        await database.run_at_start(membership.enroll, me)
        patience = policy.lost_after
        found = await identity.find_fleet(database, self.mortal, self.wall, patience, True)
        self._fleet.founded(found)
        provider = self._provider(self._fleet.tag or found.id, found)
        await identity.take_over_launches(database, provider, self.mortal, self.wall, patience)
        news = FleetEvents(self.hints)
        self.room = WaitingRoom(
            me=me,
            database=database,
            reactor=self.mortal,
            wall=self.wall,
            patience=policy.launch_timeout,
            watchers=set(),
            news=news,
            timing=Timing(self.mortal.seconds),
        )
        context = FleetContext(
            me=me,
            database=database,
            provider=provider,
            policy=policy,
            news=news,
            reactor=self.mortal,
            wall=self.wall,
            fleet_id=found.id,
        )
        self.controller = FleetController(
            context,
            workers=Inline(),
            sweeps=self._fleet.sweeping.sweeps,
            heartbeat_interval=INTERVAL,
            tally=Tally(),
        )
        self.controller.startService()

    def _provider(self, fleet_id: str, found: fleets.FleetIdentity) -> EC2Provider:
        name = self._fleet.name
        return EC2Provider(
            self.mortal,
            self._as_any(self.client),
            self._fleet.config,
            lambda _: name,
            self._version,
            fleet_id=fleet_id,
            other_ids=found.others,
            former=found.former,
            batch_user_data=lambda _: name,
        )

    def _own_clock(self) -> float:
        """What the wall clock of its machine says."""
        return float(self.clock.seconds() + self.set_ahead + self.host.ahead)

    @staticmethod
    def _as_any(fake: Any) -> Any:
        return fake


class Fleet:
    """Everything of one database."""

    def __init__(self, world: World, name: str, policy: Policy, config: EC2) -> None:
        self.world = world
        self.name = name
        self.policy = policy
        self.config = config
        self.login_servers: list[LoginServer] = []
        self.hosts: list[Host] = []
        self.database_ahead = world.database_ahead()
        """How many seconds ahead the database's clock is; None if it has none, as SQLite."""
        self.sweeping = Sweeping()
        self.people: list[Person] = []
        self.ended = False
        """Whether its database and login servers are there no more."""
        self.heir: Fleet | None = None
        """Who has adopted it then: whatever it has asked for is that one's."""
        self.peak = 0
        """The most instances that ran at once."""
        self.falters_until = 0.0
        self.copied = False
        """Whether its database is another's copy: it has people who never ask anything."""
        self._twice: set[str] = set()
        """The launches of which there were two instances."""
        self._clock = world.clock
        self._chance = world.chance
        self.id = ""

    @property
    def tag(self) -> str:
        """What its instances carry in place of its own id, if that is taken out: the name."""
        return self.config.name if "fleet-id" in self.world.breaks else ""

    def founded(self, found: fleets.FleetIdentity) -> None:
        """A login server has found out of which fleet it is."""
        self.world.tell("is fleet", self.name, found.id)
        self.id = found.id

    # The database

    def open_database(self) -> None:
        """An empty one, which watches itself."""
        self.database = self._open()
        migrations.upgrade(self.database.peewee, board.schema)
        self._watch()
        self.add_rows()

    def copy_database(self, connection: sqlite3.Connection) -> None:
        """One with the contents of another, which watches itself."""
        self.database = self._open()
        connection.backup(self.database.connection)
        self.copied = True
        self.database.connection.execute("DELETE FROM violation")
        self._watch_time()

    def _open(self) -> OneOfMany:
        database = OneOfMany("sqlite:///:memory:", Inline(), self._clock)
        database.peewee.connect(reuse_if_open=True)
        home = "anywhere" if "copy" in self.world.breaks else self.name
        vars(database.peewee).update(home=home)
        return database

    def _watch(self) -> None:
        self._watch_time()
        self.database.connection.executescript(WATCH_PLACES + WATCH + WATCH_SWEEPS)

    def _watch_time(self) -> None:
        connection, world = self.database.connection, self.world
        self.sweeping.watch(connection)
        connection.create_function("seconds_now", 0, self._clock.seconds)
        connection.create_function("beats_now", 1, self.beats_now)
        connection.create_function("clocks_are_right", 0, lambda: world.clocks_are_right)
        connection.create_function("zone_of", 1, zone_of)
        connection.create_function("keeps_zones", 0, lambda: self.policy.minimum >= ZONES)
        connection.create_function("nobody_comes", 0, lambda: world.nobody_comes)

    def add_rows(self) -> None:
        """More that expires."""
        add_rows(self, self._clock.seconds())

    def database_clock(self) -> float | None:
        """What the database's clock says, if it has one."""
        ahead = self.database_ahead
        return None if ahead is None else float(self._clock.seconds() + ahead)

    def violations(self) -> list[str]:
        """What the database itself has noticed since the last time."""
        connection = self.database.connection
        if connection.in_transaction:
            return []
        found = [text for (text,) in connection.execute("SELECT what FROM violation").fetchall()]
        if found:
            connection.execute("DELETE FROM violation")
        return found

    def beats_now(self, launch_id: str) -> bool:
        """Whether the app server of a launch has just beaten, and goes on."""
        now = self._clock.seconds()
        pause = FALTERS[1] if now < self.falters_until + FALTERS[1] else INTERVAL
        return launch_id not in self._twice and any(
            m.launch_id == launch_id and m.alive and not m.frozen and now - m.heard <= pause
            for m in self.world.cloud.machines
        )

    def forget_instance(self, launch_id: str) -> None:
        """Nobody has noted which instance a launch has."""
        self.database.use()
        Server.update(instance_id=None).where(Server.id == launch_id).execute()

    def runs(self) -> int:
        """How many instances run."""
        return sum(machine.owner is self for machine in self.world.cloud.alive())

    @property
    def spreads(self) -> bool:
        """Whether it keeps servers in two zones."""
        return self.policy.minimum >= ZONES and len(self.config.subnet_ids) >= ZONES

    def replaces(self) -> bool:
        """Whether there is a server yet that is to be replaced."""
        self.database.use()
        return bool(running().where(Server.replace_asked).exists())

    def is_replaced(self) -> bool:
        """Whether there is one, and room for another."""
        return self.replaces() and running().count() < self.policy.maximum

    def churn(self) -> tuple[int, int]:
        """How many launches there were, and how many people were moved, so far."""
        machines = [machine for machine in self.world.cloud.machines if machine.owner is self]
        query = "SELECT count(*) FROM moves"
        moves = self.database.connection.execute(query).fetchone()[0]
        return sum(1 + machine.starts for machine in machines), moves

    # Login servers

    def start_login_server(self, host: Host | None = None) -> None:
        """One more, of which it is not known for how long it lives, on a machine of its own if not
        on this one."""
        if self.ended:
            return
        if host is None:
            host = Host()
            self.hosts.append(host)
        quiet = self.world.quiet
        life = None if quiet else int(self._chance.expovariate(1 / 300.0)) + 1
        server = LoginServer(self, life, host)
        server.database.faults = 0.0 if quiet else 0.01
        self.login_servers.append(server)
        self.world.tell("starts", server.id, self.name)

    def any_login_server(self) -> LoginServer | None:
        """Whom to ask, if anybody lives."""
        there = [server for server in self.login_servers if server.room is not None]
        return self._chance.choice(there) if there else None

    def died(self, server: LoginServer) -> None:
        """A login server is dead; a successor comes in a while."""
        self.world.tell("dies", server.id)
        self.login_servers.remove(server)
        for person in self.people:
            if person.asked is server:
                person.hang_up()
        self._clock.callLater(self._chance.uniform(1.0, 20.0), self.start_login_server, server.host)

    def begin_anew(self) -> None:
        """All login servers are started again."""
        for server in [*self.login_servers]:
            server.mortal.die()

    def end(self) -> None:
        """Its database and its login servers are lost, for good."""
        self.ended = True
        for server in [*self.login_servers]:
            server.mortal.die()
        self.world.tell("is lost", self.name)

    def hint(self, event: str) -> None:
        """A hint travels, or does not."""
        for server in self.login_servers:
            if self._chance.random() < 0.9:
                self._clock.callLater(
                    0.01,
                    lambda server=server: (
                        server.mortal.alive and server.room and server.hints.heard({})
                    ),
                )

    def moved(self, channel: str, event: Mapping[str, Any]) -> None:
        """Somebody is served elsewhere from now on."""
        self.world.tell("moved", self.name, channel, event["app_server"]["host"])

    # App servers

    def launched(self, machine: Machine) -> None:
        """An instance begins to boot."""
        machine.owner = self
        self.world.tell("launched", machine.instance_id, machine.launch_id, self.name)
        own = [m for m in self.world.cloud.alive() if m.owner is self and m.counts]
        counted = [m for m in own if not self._is_told_to_end(m)]
        self.peak = max(self.peak, len(counted))
        if sum(m.launch_id == machine.launch_id for m in self.world.cloud.machines) > 1:
            # A list may show the one that has ended and not the one that serves.
            self._twice.add(machine.launch_id)
        if sum(m.launch_id == machine.launch_id for m in own) > 1:
            self.world.complain(f"two instances of one launch: {machine.launch_id}")
        if len(counted) > self.policy.maximum:
            self.world.complain(f"more than the maximum of {self.policy.maximum} ran")
        if sum(_asked_as(m) == _asked_as(machine) for m in own) > 1:
            self.world.complain(f"launched twice under one token: {machine.launch_id}")
        self.boots(machine)

    def _is_told_to_end(self, machine: Machine) -> bool:
        """Whether its row is closed, as lists lied of it for long, and its app server works: it
        learns of it as soon as it beats, and ends."""
        if machine.reported is None or not self._works(machine, machine.started):
            return False
        query = "SELECT count(*) FROM server WHERE id = ? AND state = 'gone'"
        [closed] = self.database.connection.execute(query, (machine.launch_id,)).fetchone()
        return bool(closed)

    def boots(self, machine: Machine) -> None:
        """An instance has begun to boot, and its app server serves when it has, if it does."""
        if self.world.cloud.knowing == 1.0:
            machine.knows_address = True
        if machine.boots:
            begun = machine.started
            slower = self.world.cloud.slow_zones.get(machine.subnet_id, 1.0)
            self._clock.callLater(self.world.boot_time() * slower, self._boot, machine, begun)

    def _boot(self, machine: Machine, begun: float) -> None:
        if self._works(machine, begun) and machine.subnet_id not in self.world.cloud.dead_zones:
            host = machine.address if machine.knows_address else None
            self._ask(machine, begun, membership.report, machine.launch_id, 22223, host)
            self.hint("ready")

    def _beat(self, machine: Machine, begun: float) -> None:
        if self._works(machine, begun):
            self._ask(machine, begun, membership.beat, machine.launch_id, {})

    def _works(self, machine: Machine, begun: float) -> bool:
        """Whether it is the same run of the machine still."""
        return machine.alive and not machine.frozen and machine.started == begun

    def _ask(self, machine: Machine, begun: float, rule: Callable[..., Any], *rest: Any) -> None:
        now = self._clock.seconds()
        if not self.ended:
            self.database.run(rule, *rest).addCallback(self._go_on, machine, begun)
        elif now - machine.heard < LEASE_TIMEOUT:
            self._clock.callLater(INTERVAL, self._beat, machine, begun)
        else:
            self._power_off(machine)

    def _go_on(self, wanted: bool, machine: Machine, begun: float) -> None:
        if not wanted:
            self._power_off(machine)
            return
        machine.heard = self._clock.seconds()
        if machine.notice != machine.told:
            machine.told = machine.notice
            self.database.run(membership.warn, machine.launch_id, machine.notice)
        if machine.reported is None:
            machine.reported = machine.heard
            if machine.knows_address:
                self.database.run(membership.name_instance, machine.launch_id, machine.instance_id)
        falters = machine.heard < self.falters_until
        pause = self._chance.uniform(*FALTERS) if falters else INTERVAL
        self._clock.callLater(pause, self._beat, machine, begun)

    def _power_off(self, machine: Machine) -> None:
        self.world.tell("powers off", machine.instance_id)
        self.world.cloud.end(machine)


def people_of(fleet: Fleet, names: list[str], chance: Random) -> list[Person]:
    """People with accounts there."""
    return [
        Person(
            name,
            fleet.world.clock,
            chance,
            fleet.database,
            fleet.any_login_server,
            fleet.world.tell,
        )
        for name in names
    ]


def _asked_as(machine: Machine) -> tuple[Any, Any]:
    """By which call, and as which of those that were launched by it."""
    return machine.token, machine.number
