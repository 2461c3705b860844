"""What goes wrong in a round, while it is not quiet, and what people do meanwhile."""

from __future__ import annotations

import sqlite3
from random import Random
from typing import TYPE_CHECKING

from bbs.core.values import REBALANCE
from bbs.rules import fleet_admin, fleets
from lab.simulation.cloud import LISTS, Machine
from lab.simulation.expiring import DAY
from lab.simulation.fleet import Fleet
from lab.simulation.people import Person
from tests.standins.instances import BY_USER

if TYPE_CHECKING:
    from lab.simulation.world import World

CLOCK_SET = 60.0
"""Seconds between the times that somebody sets the wall clock of a login server, on average."""

JUMPS_EACH, JUMP = 120.0, (70.0, 200.0)
"""Seconds between the times that a clock goes far wrong, on average, where any does, and those for
which it is so: sweeps come once in a minute."""

FAR = (40 * DAY, 8 * DAY, -40 * DAY)
"""How many seconds ahead it is then."""

WANDERS = 60.0
"""Seconds for which somebody is there, or is not, on average."""

ALWAYS = ("end", "end", "freeze", "away", "lack", "refuse", "drain", "ask", "die")
"""What happens in every round."""

SOMETIMES = ("stop", "interrupt", "recommend", "lists", "clock_off", "template", "subnet")
"""What happens in half of the rounds, each."""

LATELY = ("throttle", "spot")
"""And so do these."""

SPOT_LACKS = (
    "InsufficientInstanceCapacity",
    "SpotMaxPriceTooLow",
    "MaxSpotInstanceCountExceeded",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
)
"""By which codes Spot instances are refused where others are had."""

GROUPS_STAY = 0.5
"""In how many of the rounds the launch template stays as it has become."""

NOTICE = 120.0
"""Seconds between the notice that a Spot instance will be taken away, and that."""

REPLACED = 0.5
"""In how many of the rounds operators want servers replaced now and then."""

ZONES_FAIL, ZONE_FAILS_EACH = 0.5, 120.0
"""In how many of the rounds zones fail, and the seconds between that, on average."""

ZONE_FAILS, SLOWER = (20.0, 200.0), (2.0, 10.0)
"""For how many seconds, and how many times as long boots take in a slow one."""

REPLACED_EACH = 90.0
"""Seconds between the times that they ask for it, on average."""

COPIED = 0.3
"""In how many of the rounds the database is copied."""

BAD_LISTS = (20.0, 250.0)
"""Seconds for which lists are bad."""

CLOCK_CODES = ("RequestExpired", "SignatureDoesNotMatch", "AuthFailure")
"""What EC2 answers whose clock is off by a day."""


class Troubles:
    """The misfortunes of one world, each for a while."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._clock = world.clock
        self._chance = world.chance
        self._wandering = Random(f"wandering {world.seed}")
        self._replacing = Random(f"replacing {world.seed}")
        self._zones = Random(f"zones {world.seed}")
        self._kinds = [*ALWAYS, *(kind for kind in SOMETIMES if self._chance.random() < 0.5)]
        self._kinds += [kind for kind in LATELY if world.extras.random() < 0.5]

    def begin(self) -> None:
        """From now on."""
        for fleet in self._world.fleets:
            for person in fleet.people:
                self._clock.callLater(self._chance.uniform(0.0, 60.0), self._change_mind, person)
                self._wander_later(person)
        self._misfortune_later()
        self._set_a_clock_later()
        if self._world.clocks_jump:
            self._jump_later()
        self._begin_copying()
        if self._replacing.random() < REPLACED:
            self._replace_later()
        if self._zones.random() < ZONES_FAIL:
            self._zone_later()

    def _begin_copying(self) -> None:
        """In some rounds a copy of the database is used, as it was at once or a while ago."""
        if self._chance.random() >= COPIED:
            return
        moment, age = self._chance.uniform(20.0, 150.0), self._chance.choice((0.0, 60.0))
        taken: list[sqlite3.Connection] = []

        def take() -> None:
            taken.append(sqlite3.connect(":memory:"))
            self._world.first.database.connection.backup(taken[0])

        self._clock.callLater(moment, take)
        self._clock.callLater(moment + age, lambda: self._copy(taken[0]))

    def _copy(self, contents: sqlite3.Connection) -> None:
        """The copy, beside the original, or after the end of that, which it then adopts."""
        world, chance, first = self._world, self._chance, self._world.first
        raw, lost = chance.random() < 0.5, chance.random() < 0.5
        copy = Fleet(world, "copy", first.policy, first.config)
        copy.copy_database(contents)
        world.tell("copies", "raw" if raw else "restored", "lost" if lost else "beside")
        if lost:
            first.end()
            copy.people, first.people = first.people, []
            for person in copy.people:
                person.change(copy.database, copy.any_login_server)
        by = fleet_admin.By("op", "here", self._clock.seconds())
        if not raw:
            copy.database.run(fleets.make_ours, by, "a copy")
        world.fleets.append(copy)
        if lost and chance.random() < 0.5:
            world.adopt(copy, first, by)
        elif lost:
            self._clock.callLater(chance.uniform(1.0, 60.0), world.adopt, copy, first, by)
        for _ in range(2):
            copy.start_login_server()

    def end(self) -> None:
        """Quiet: nothing is wrong with the cloud any more, and nobody dies."""
        cloud = self._world.cloud
        cloud.faults, cloud.gaps, cloud.hung_boots, cloud.lag = {}, 0.0, 0.0, 5.0
        cloud.stillborn = 0.0
        cloud.away = cloud.lacks_capacity = cloud.refuses = False
        cloud.lists = ""
        cloud.throttles, cloud.spot_lacks = False, ""
        if self._world.extras.random() >= GROUPS_STAY:
            cloud.template = {"ImageId": "ami-1"}
        cloud.lacking.clear()
        cloud.dead_zones.clear()
        cloud.slow_zones.clear()
        for fleet in self._world.fleets:
            for server in fleet.login_servers:
                server.mortal.life, server.database.faults = None, 0.0
                server.client.clock_is_off = False
            self.set_right(fleet)

    # People

    def _change_mind(self, person: Person) -> None:
        if self._world.quiet:
            return
        person.go() if person.wants else person.come()
        self._clock.callLater(self._chance.expovariate(1 / 80.0), self._change_mind, person)

    def _wander_later(self, person: Person) -> None:
        self._clock.callLater(self._wandering.expovariate(1 / WANDERS), self._wander, person)

    def _wander(self, person: Person) -> None:
        if self._world.quiet:
            return
        person.come_back() if person.away else person.leave()
        self._wander_later(person)

    # Misfortunes

    def _misfortune_later(self) -> None:
        self._clock.callLater(self._chance.expovariate(1 / 20.0), self._misfortune)

    def _misfortune(self) -> None:
        if self._world.quiet:
            return
        self._misfortune_later()
        what = self._chance.choice(self._kinds)
        self._world.tell("misfortune", what)
        getattr(self, f"_{what}")()

    def _fleet(self) -> Fleet:
        return self._chance.choice([fleet for fleet in self._world.fleets if not fleet.ended])

    def _for_a_while(self, name: str) -> None:
        cloud = self._world.cloud
        setattr(cloud, name, True)
        self._clock.callLater(self._chance.uniform(5.0, 60.0), setattr, cloud, name, False)

    def _away(self) -> None:
        self._for_a_while("away")

    def _lack(self) -> None:
        self._for_a_while("lacks_capacity")

    def _refuse(self) -> None:
        self._for_a_while("refuses")

    def _die(self) -> None:
        server = self._fleet().any_login_server()
        if server:
            server.mortal.die()

    def _ask(self) -> None:
        fleet = self._fleet()
        now = self._clock.seconds() + self._world.set_ahead()
        asked = fleet.database.run(
            fleet_admin.ask_launch, fleet.policy.capacity, fleet.policy.maximum, now
        )
        asked.addErrback(lambda failure: failure.trap(fleet_admin.FleetFull))

    def _drain(self) -> None:
        machines = self._world.cloud.alive()
        if machines:
            machine = self._chance.choice(machines)
            if not machine.owner.ended:
                asked = machine.owner.database.run(fleet_admin.ask_drain, machine.launch_id)
                asked.addErrback(lambda failure: failure.trap(fleet_admin.NoSuchServer))

    def _replace_later(self) -> None:
        self._clock.callLater(self._replacing.expovariate(1 / REPLACED_EACH), self._replace)

    def _replace(self) -> None:
        """Operators want others in place of some servers, or do not after all."""
        if self._world.quiet:
            return
        self._replace_later()
        chance = self._replacing
        fleet = chance.choice([fleet for fleet in self._world.fleets if not fleet.ended])
        most = chance.choice((None, 1, 2, 0))
        self._world.tell("wants replaced", fleet.name, most)
        if most == 0:
            fleet.database.run(fleet_admin.cancel_replace)
        else:
            fleet.database.run(fleet_admin.ask_replace, fleet.policy.maximum, None, most)

    def _zone_later(self) -> None:
        self._clock.callLater(self._zones.expovariate(1 / ZONE_FAILS_EACH), self._zone)

    def _zone(self) -> None:
        """A zone boots nothing, or slowly, or what is in it dies as well."""
        if self._world.quiet:
            return
        self._zone_later()
        cloud, chance = self._world.cloud, self._zones
        zone, how = chance.choice(("subnet-a", "subnet-b")), chance.choice(("dead", "slow", "dies"))
        self._world.tell("zone", zone, how)
        if how == "slow":
            cloud.slow_zones[zone] = chance.uniform(*SLOWER)
        else:
            cloud.dead_zones.add(zone)
        if how == "dies":
            for machine in cloud.alive():
                machine.frozen = machine.frozen or machine.subnet_id == zone

        def is_well() -> None:
            cloud.dead_zones.discard(zone)
            cloud.slow_zones.pop(zone, None)

        self._clock.callLater(chance.uniform(*ZONE_FAILS), is_well)

    def _end(self) -> None:
        machines = self._world.cloud.there()
        if machines:
            self._world.cloud.end(self._chance.choice(machines))

    def _freeze(self) -> None:
        machines = self._world.cloud.alive()
        if machines:
            self._chance.choice(machines).frozen = True

    def _stop(self) -> None:
        """Somebody stops an instance, and may start it again."""
        machines = [machine for machine in self._world.cloud.alive() if not machine.spot]
        if machines:
            machine = self._chance.choice(machines)
            machine.becomes("stopping", self._clock.seconds(), BY_USER)
            if self._chance.random() < 0.3:
                self._clock.callLater(self._chance.uniform(5.0, 100.0), self._start, machine)

    def _start(self, machine: Machine) -> None:
        if machine.stopped and not self._world.quiet:
            # It may run above the maximum, which is not the fleet's doing.
            machine.counts = False
            machine.becomes("pending", self._clock.seconds(), "")
            machine.owner.boots(machine)

    def _interrupt(self) -> None:
        """EC2 wants half of the instances back."""
        machines = self._world.cloud.alive()
        for machine in self._chance.sample(machines, (len(machines) + 1) // 2):
            self.take_away(machine)

    def take_away(self, machine: Machine) -> None:
        """It is ended when two minutes have passed, and its app server can know."""
        machine.notice = "Spot: terminate"
        machine.taken_away = self._clock.seconds() + NOTICE
        self._clock.callLater(NOTICE, self._world.taken_away, machine)

    def _recommend(self) -> None:
        """EC2 says of an instance that it may want it back."""
        machines = self._world.cloud.alive()
        if machines:
            self._chance.choice(machines).notice = REBALANCE

    def _lists(self) -> None:
        """Lists are bad, while launches work."""
        cloud = self._world.cloud
        if not cloud.lists:
            cloud.lists, cloud.lists_since = self._chance.choice(LISTS), self._clock.seconds()
            self._world.tell("lists are", cloud.lists)
            self._clock.callLater(self._chance.uniform(*BAD_LISTS), self._lists_are_well)

    def _lists_are_well(self) -> None:
        self._world.cloud.lists = ""

    def _clock_off(self) -> None:
        """The clock of a machine goes wrong by a day, until somebody sets it."""
        server = self._fleet().any_login_server()
        if server:
            self._world.cloud.clock_code = self._chance.choice(CLOCK_CODES)
            server.client.clock_is_off = True
            self._clock.callLater(
                self._chance.uniform(20.0, 100.0), setattr, server.client, "clock_is_off", False
            )

    def _template(self) -> None:
        """Somebody changes the launch template: security groups come into it, or go."""
        cloud = self._world.cloud
        groups = {} if "SecurityGroupIds" in cloud.template else {"SecurityGroupIds": ["sg-1"]}
        cloud.template = {"ImageId": "ami-1", **groups}
        cloud.template_version += 1

    def _subnet(self) -> None:
        """One type lacks in one subnet."""
        lacking = self._world.cloud.lacking
        way = self._chance.choice(("t3.micro", "t3.small")), self._chance.choice(("a", "b"))
        lacking.add((way[0], f"subnet-{way[1]}"))
        self._clock.callLater(self._chance.uniform(20.0, 200.0), lacking.clear)

    def _throttle(self) -> None:
        """Somebody else in the account calls too often."""
        cloud = self._world.cloud
        cloud.throttles = True
        self._clock.callLater(self._chance.uniform(10.0, 60.0), setattr, cloud, "throttles", False)

    def _spot(self) -> None:
        """There are no Spot instances."""
        cloud = self._world.cloud
        cloud.spot_lacks = self._chance.choice(SPOT_LACKS)
        self._clock.callLater(self._chance.uniform(20.0, 200.0), setattr, cloud, "spot_lacks", "")

    # Clocks

    def _set_a_clock_later(self) -> None:
        clocks = self._world.clocks
        self._clock.callLater(clocks.expovariate(1 / CLOCK_SET), self._set_a_clock)

    def _set_a_clock(self) -> None:
        self._set_a_clock_later()
        for fleet in self._world.fleets:
            if fleet.login_servers:
                server = self._world.clocks.choice(fleet.login_servers)
                server.set_ahead = self._world.set_ahead()
                self._world.tell("clock", server.id, server.set_ahead)

    def _jump_later(self) -> None:
        self._clock.callLater(self._world.far.expovariate(1 / JUMPS_EACH), self._jump)

    def _jump(self) -> None:
        if self._world.quiet:
            return
        self._jump_later()
        fleet = self._world.far.choice([fleet for fleet in self._world.fleets if not fleet.ended])
        self.jump(fleet)
        self._clock.callLater(self._world.far.uniform(*JUMP), self.set_right, fleet)

    def jump(self, fleet: Fleet) -> None:
        """A clock of a fleet goes far wrong: of the leader's machine, of another login server's, or
        the database's. An SQLite file has none: that of all the machines."""
        far = self._world.far
        who, ahead = far.choice(("leader", "another", "database")), far.choice(FAR)
        self._world.tell("jumps", fleet.name, who, ahead)
        fleet.add_rows()
        if who == "database" and fleet.database_ahead is not None:
            fleet.database_ahead = ahead
            return
        leading = {s.host for s in fleet.login_servers if s.room and s.controller.is_leader}
        for host in fleet.hosts:
            if who == "database" or (host in leading) == (who == "leader"):
                host.ahead = ahead

    def set_right(self, fleet: Fleet) -> None:
        """Somebody sets all clocks that are far wrong."""
        if self._world.clocks_jump:
            self._world.tell("clocks are set", fleet.name)
        for host in fleet.hosts:
            host.ahead = 0.0
        if fleet.database_ahead is not None:
            fleet.database_ahead = 0.0
