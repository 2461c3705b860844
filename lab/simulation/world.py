"""One round: a time of faults, and quiet behind it, in which all has to become well.

`World(seed).run()` gives the complaints: none when all is well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from math import log2
from random import Random
from typing import Any
from unittest import mock

from bbs.config import EC2
from bbs.core.values import Policy
from bbs.rules import accounts, fleet_admin, fleets, servers
from bbs.scaling import waiting_room
from bbs.scaling.backoff import FAILED_LATELY
from bbs.scaling.ec2 import launch_batches
from bbs.scaling.pools import DOUBTFUL, HALF_LIFE, MOST
from bbs.storage import models
from bbs.storage.database import Database
from lab.simulation.breaks import Breaks
from lab.simulation.checks import held_up, people_on, stranded, too_soon, what_is_wrong
from lab.simulation.clock import FastClock
from lab.simulation.cloud import BOOT, LISTS, Cloud, Machine
from lab.simulation.expiring import left_behind
from lab.simulation.fleet import FALTERS, SET_AHEAD, Fleet, LoginServer, people_of
from lab.simulation.people import Person
from lab.simulation.troubles import NOTICE, Troubles
from tests.standins.ec2 import tags_of

START = 1_000_000.0

LONGEST_QUIET = 1800.0
"""Seconds in which all must be well again; a refusal may hold for ten minutes."""

STAYS_WELL = 120.0
"""Seconds for which it must stay so."""

BAD_LISTS_STILL = 260.0
"""Seconds in which who comes while lists are bad has a place: two launches may fail first."""

SPOT = 0.3
"""In how many of the rounds, for each fleet, Spot instances are asked for first."""

FLEETS = 0.8
"""In how many of the rounds login servers may ask for fleets of Spot instances."""

JUMPS = 0.4
"""In how many of the rounds clocks are far wrong for a while."""

WITH_CLOCK = 0.5
"""In how many of the databases there is a clock then, as in MariaDB."""

CLOCKS_JUMP = 150.0
"""Seconds for which they are far wrong while all else is well, in half of these rounds: sweeps come
twice."""

AN_HOUR = 0.1
"""In how many of the rounds in which lists are bad while all else is well they are for an hour."""

FALTERING = 30.0
LAUNCHES_END = 120.0
"""Seconds for which heartbeats falter: less than what absence from lists has to last."""

WAVES, WAVE = 6, (20.0, 90.0)
"""How often people come or go, and the seconds between."""

LATE, CHANGES = 0.8, 30
"""How many calls for instances are late or have no answer while capacity comes and goes, and how
often it does."""

REST = 600.0
"""Seconds in which nothing is launched and nobody is moved then, as nobody comes or goes."""

REPLACED = 0.5
"""In how many of the rounds all servers are replaced, before that."""

FORECAST_SETTLES = 2400.0
"""Seconds after the last who came until no forecast sinks any more: what it saw loses two thirds of
its weight in five minutes, and at last keeps one place spare."""

ZONES_SETTLE = HALF_LIFE * log2(MOST / DOUBTFUL)
"""Seconds after which no zone is doubtful any more, and servers are in two of them."""

RESTS = 0.5
"""In how many of the rounds that is looked at."""

LOOK = 5.0
"""Seconds between looks at which launches have failed."""


class Noticed(Exception):
    """Something is wrong, and that is enough to know where a protection is taken out."""


class Secrets:
    """What `secrets` gives, the same for the same seed: fleets' ids are in the tale of a round."""

    def __init__(self, seed: int) -> None:
        self._chance = Random(f"secrets {seed}")

    def token_hex(self, count: int) -> str:
        """As `secrets.token_hex`."""
        return self._chance.randbytes(count).hex()


class World:
    """Everything there is, from one seed."""

    def __init__(self, seed: int, breaks: Breaks | None = None) -> None:
        self.seed = seed
        self.chance = Random(seed)
        # Of their own, so that all else happens as it did before there were these.
        self.clocks = Random(-seed - 1)
        self.clocks_are_right = self.clocks.random() < 0.5
        """Whether the wall clocks of login servers are, in this round."""
        # So have clocks that are wrong by weeks for a while.
        self.far = Random(f"far {seed}")
        self.clocks_jump = self.far.random() < JUMPS
        # And so have the warm pool and Spot instances.
        self.extras = Random(f"extras {seed}")
        self._replacing = Random(f"replacing all {seed}")
        self.born: dict[str, float] = {}
        self.breaks = breaks or Breaks()
        self.clock = FastClock()
        self.clock.advance(START)
        self.quiet = False
        self.nobody_comes = False
        """Whether nobody comes or goes, and all is well but for what is being replaced."""
        self.trace: list[str] = []
        self.complaints: list[str] = []
        self.cloud = Cloud(self.clock, self.chance, self.breaks, self._launched, self._touched)
        self.cloud.allows_fleets = Random(f"fleets {seed}").random() < FLEETS
        self.fleets = [Fleet(self, "first", self._a_policy(), self._a_config())]
        self.troubles = Troubles(self)

    # The first fleet's

    @property
    def first(self) -> Fleet:
        """The one that there always is."""
        return self.fleets[0]

    @property
    def policy(self) -> Policy:
        """What is wanted of it."""
        return self.first.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.first.policy = policy

    @property
    def database(self) -> Database:
        """Its database."""
        return self.first.database

    @property
    def people(self) -> list[Person]:
        """Its people."""
        return self.first.people

    @property
    def login_servers(self) -> list[LoginServer]:
        """Its login servers."""
        return self.first.login_servers

    def open_database(self) -> None:
        """An empty one, which watches itself."""
        self.first.open_database()

    def start_login_server(self) -> None:
        """One more."""
        self.first.start_login_server()

    def any_login_server(self) -> LoginServer | None:
        """Whom to ask, if anybody lives."""
        return self.first.any_login_server()

    # A round

    def run(self) -> list[str]:
        """Live through it; returns what was wrong, once only each."""
        numbers = count(1)

        def new_id() -> str:
            id = f"{next(numbers):032x}"
            self.born[id] = self._now
            return id

        make_batches = launch_batches.batches

        def batches(*wanted: Any) -> Iterator[tuple[str, str]]:
            for id, strategy in make_batches(*wanted):
                self.born[id] = self._now
                yield id, strategy

        with (
            mock.patch.object(launch_batches, "secrets", Secrets(-self.seed - 2)),
            mock.patch.object(launch_batches, "batches", batches),
            # As large as fleets get here, half of them would never launch so many at once.
            mock.patch.object(launch_batches, "AT_ONCE", 1 if self.seed % 2 else 5),
            mock.patch.object(servers, "new_id", new_id),
            mock.patch.object(waiting_room, "new_id", new_id),
            mock.patch.object(fleets, "location_digest", lambda database: database.home),
            mock.patch.object(fleets, "secrets", Secrets(self.seed)),
            mock.patch.object(accounts, "secrets", Secrets(-self.seed - 1)),
            self.breaks.taken_out(),
        ):
            self._begin()
            try:
                self.troubles.begin()
                self.pass_time(self.chance.uniform(200.0, 500.0))
                self._quiet()
            except Noticed:
                pass
            finally:
                for fleet in self.fleets:
                    for person in fleet.people:
                        person.give_up()
                    fleet.database.close()
                models.database.initialize(None)
        return list(dict.fromkeys(self.complaints))

    def tell(self, *words: object) -> None:
        """Note what happens."""
        self.trace.append(" ".join(map(str, (f"{self.clock.seconds() - START:.2f}", *words))))

    def complain(self, text: str) -> None:
        """Something is wrong."""
        self.tell("WRONG", text)
        self.complaints.append(text)

    def boot_time(self) -> float:
        """Seconds from a launch until its app server serves."""
        return self.chance.uniform(*BOOT)

    def set_ahead(self) -> float:
        """How many seconds ahead of the others' the wall clock of some machine is."""
        return 0.0 if self.clocks_are_right else self.clocks.choice(SET_AHEAD)

    def database_ahead(self) -> float | None:
        """How many seconds ahead the clock of a new database is; None if it has none."""
        return 0.0 if self.clocks_jump and self.far.random() < WITH_CLOCK else None

    def pass_time(self, seconds: float) -> None:
        """Let everything happen that is due, each at its own moment."""
        end = self.clock.seconds() + seconds
        while end - self.clock.seconds() > LOOK:
            self.clock.live(LOOK)
            self._look()
            if self.breaks and self.complaints:
                raise Noticed
        self.clock.live(max(0.0, end - self.clock.seconds()))

    def _look(self) -> None:
        for fleet in self.fleets:
            if not fleet.ended:
                fleet.database.use()
                self.complaints += too_soon(fleet.policy, self.born, self._now)
                self.complaints += [*fleet.violations(), *held_up(fleet)]

    def _begin(self) -> None:
        chance, cloud = self.chance, self.cloud
        for kind in ("run", "describe", "terminate"):
            cloud.faults = {**cloud.faults, kind: chance.uniform(0.1, 0.3)}
        cloud.lag, cloud.hung_boots = chance.uniform(2.0, 20.0), chance.uniform(0.0, 0.3)
        cloud.gaps, cloud.stillborn = chance.uniform(0.0, 0.1), chance.uniform(0.0, 0.15)
        self.cloud.knowing = chance.choice((0.5, 0.8, 1.0))
        if "own-address" in self.breaks:
            self.cloud.knowing = 0.0
        self.cloud.tokens.memory = chance.choice((120.0, 600.0, 3600.0))
        if chance.random() < 0.25:
            self.fleets.append(Fleet(self, "second", self._a_policy(most=3), self._a_config()))
        for fleet in self.fleets:
            fleet.open_database()
            many = chance.randint(3, 20) if fleet is self.first else chance.randint(1, 5)
            fleet.people = people_of(fleet, [f"p{number}" for number in range(many)], chance)
            for _ in range(2 if fleet is self.first else 1):
                fleet.start_login_server()

    def _a_policy(self, most: int = 6) -> Policy:
        chance = self.chance
        foresees = chance.random() < 0.25
        policy = Policy(
            minimum=chance.randint(0, 2),
            maximum=chance.randint(2, most),
            spare=chance.randint(0, 4),
            capacity=chance.randint(1, 4),
            idle_grace=20.0,
            launch_timeout=60.0,
            lost_after=12.0,
            consolidate_after=chance.choice((0.0, 30.0)),
            foresees=foresees,
            warm=self.extras.choice((0, 0, 0, 1, 2)),
        )
        return replace(policy, **self.breaks.policy)

    def _a_config(self) -> EC2:
        chance = self.chance
        return EC2(
            region="nowhere",
            image_id="ami-1",
            instance_type=chance.choice([("t3.micro",), ("t3.micro", "t3.small")]),
            subnet_ids=chance.choice([(), ("subnet-a",), ("subnet-a", "subnet-b")]),
            launch_template=chance.choice(["", "", "bbs"]),
            spot=self.extras.random() < SPOT,
        )

    def _quiet(self) -> None:
        """No more faults; everything comes to rest, and stays so."""
        self.quiet = True
        self.troubles.end()
        if "own-address" not in self.breaks:
            self.cloud.knowing = 1.0
        self.tell("quiet")
        chance = self.chance
        if not self._comes_to_rest():
            return
        probe = chance.choice(
            (
                self._lists_are_bad,
                self._half_is_taken_away,
                self._people_come_and_go,
                self._one_freezes_unseen,
                self._capacity_comes_and_goes,
                None,
            )
        )
        if self.breaks.probe:
            probe = getattr(self, f"_{self.breaks.probe}")
        if probe is not None:
            probe()
            if not self._comes_to_rest():
                return
        jumps = self.clocks_jump and self.far.random() < 0.5 and not self.breaks.probe
        if jumps:
            self._clocks_jump()
            if not self._comes_to_rest():
                return
        if self._replacing.random() < REPLACED and probe != self._all_are_replaced:
            self._all_are_replaced()
            if not self._comes_to_rest():
                return
        if chance.random() < RESTS:
            self._rest()
        if self.clocks_are_right:
            for fleet in self._living():
                self.complaints += left_behind(fleet, self._now)

    def _all_are_replaced(self) -> None:
        """While all else is well: by fewer launches than there were servers, or as many, and one
        more at once."""
        self.tell("all are replaced")
        self.nobody_comes = True
        before = {}
        for fleet in self._living():
            fleet.peak = 0
            asked = fleet.database.call(fleet_admin.ask_replace, fleet.policy.maximum, None, None)
            before[fleet.name] = fleet.churn()[0], len(asked.servers), fleet.runs()
        end = self.clock.seconds() + LONGEST_QUIET
        while self.clock.seconds() < end and any(fleet.is_replaced() for fleet in self._living()):
            self.pass_time(10.0)
        self.nobody_comes = False
        for fleet in self._living():
            churn, count, ran = before[fleet.name]
            steady = not (fleet.policy.foresees or fleet.policy.warm)
            if steady and fleet.churn()[0] - churn > count:
                self.complain(f"{fleet.name}: {count} are replaced by more launches")
            if steady and fleet.peak > ran + 1:
                self.complain(f"{fleet.name}: {fleet.peak} ran where {ran} are replaced")

    def _lists_are_bad(self) -> None:
        """While all else is well: who comes has a place all the same."""
        cloud = self.cloud
        cloud.lists, cloud.lists_since = self.chance.choice(LISTS), self._now
        self.tell("lists are", cloud.lists)
        self.pass_time(100.0)
        for person in self._everybody():
            if not person.wants:
                person.come()
        self.pass_time(BAD_LISTS_STILL)
        self._nobody_is_stranded()
        if self.extras.random() < AN_HOUR:
            self.pass_time(3600.0 - BAD_LISTS_STILL)
            self._nobody_is_stranded()
        cloud.lists = ""

    def _nobody_is_stranded(self) -> None:
        for fleet in self._living():
            for name in stranded(fleet):
                lists = f"while lists are {self.cloud.lists}"
                self.complain(f"{fleet.name}: without a place {lists}: {name}")

    def _people_come_and_go(self) -> None:
        """In waves, while all else is well: servers are launched and given up, and nobody is moved
        too often."""
        self.tell("people come and go")
        for wave in range(WAVES):
            share = (0.4, 0.9)[wave % 2]
            for person in self._everybody():
                stays = self.chance.random() < share
                if stays != person.wants:
                    person.come() if stays else person.go()
            self.pass_time(self.chance.uniform(*WAVE))

    def _one_freezes_unseen(self) -> None:
        """While all else is well: an app server freezes that no list shows, and of whose instance
        nobody has noted the id. It counts to the maximum until it has ended."""
        self.tell("one freezes unseen")
        for fleet in self._living():
            serving = [m for m in self.cloud.alive() if m.owner is fleet and m.reported]
            if serving:
                machine = self.chance.choice(serving)
                machine.frozen = True
                fleet.forget_instance(machine.launch_id)
                fleet.begin_anew()
        self.cloud.lists, self.cloud.lists_since = "empty", self._now
        for person in self._everybody():
            if not person.wants:
                person.come()
        self.pass_time(BAD_LISTS_STILL)
        self.cloud.lists = ""

    def _launches_end_unheard(self) -> None:
        """While all else is well: all instances end, most launches of others have no answer, what
        they launch ends at once too, and lists do not show it."""
        self.tell("launches end unheard")
        cloud, faults = self.cloud, self.cloud.faults
        cloud.faults, cloud.stillborn = {"run": 0.7}, 1.0
        for machine in cloud.alive():
            cloud.end(machine)
        self.pass_time(LAUNCHES_END / 4)
        cloud.lists, cloud.lists_since = "old", self._now
        for person in self._everybody():
            person.come()
        self.pass_time(LAUNCHES_END)
        cloud.lists, cloud.faults, cloud.stillborn = "", faults, 0.0

    def _clocks_jump(self) -> None:
        """While all else is well: a clock of each fleet is far wrong, and all login servers are
        started again meanwhile."""
        for fleet in self._living():
            self.troubles.jump(fleet)
            fleet.begin_anew()
        self.pass_time(CLOCKS_JUMP)
        for fleet in self._living():
            self.troubles.set_right(fleet)

    def _beats_falter_unseen(self) -> None:
        """While all else is well: for a while heartbeats are late, but not so late that servers
        are silent, and lists are empty."""
        self.tell("beats falter")
        self.cloud.lists, self.cloud.lists_since = "empty", self._now
        for fleet in self._living():
            fleet.falters_until = self._now + FALTERING
        self.pass_time(FALTERING + FALTERS[1])
        self.cloud.lists = ""

    def _capacity_comes_and_goes(self) -> None:
        """In each type and subnet, while many calls for instances are late or have no answer, and
        no list shows what came of them: each launch has one instance all the same."""
        self.tell("capacity comes and goes")
        chance, cloud = self.chance, self.cloud
        pools = [
            (kind, subnet)
            for fleet in self._living()
            for kind in fleet.config.instance_type
            for subnet in (fleet.config.subnet_ids or ("",))
        ]
        cloud.faults, cloud.lists, cloud.lists_since = {"run": LATE}, "empty", self._now
        for person in self._everybody():
            person.come() if not person.wants else person.go()
        for _ in range(CHANGES):
            self.cloud.lacking.clear()
            self.cloud.lacking.update(pool for pool in pools if chance.random() < 0.5)
            self.pass_time(chance.uniform(1.0, 10.0))
        cloud.faults, cloud.lists = {}, ""
        self.cloud.lacking.clear()

    def _everybody(self) -> list[Person]:
        return [person for fleet in self._living() for person in fleet.people]

    def _half_is_taken_away(self) -> None:
        """While all else is well: nobody is on what is taken away, if there is room elsewhere."""
        self.tell("half is taken away")
        machines = self.cloud.alive()
        taken = self.chance.sample(machines, (len(machines) + 1) // 2)
        for machine in taken:
            fleet = machine.owner
            of_fleet = sum(m.owner is fleet for m in machines)
            to_go = sum(m.owner is fleet for m in taken)
            machine.has_successor = fleet.policy.maximum - of_fleet >= to_go
            self.troubles.take_away(machine)
        self.pass_time(NOTICE + 5.0)

    def _comes_to_rest(self) -> bool:
        """Whether all is well, and stays so."""
        longest = LONGEST_QUIET / 2 if self.breaks else LONGEST_QUIET
        well, end = 0.0, self.clock.seconds() + longest
        while well < STAYS_WELL:
            self.pass_time(10.0)
            wrong = self._wrong()
            well = 0.0 if wrong else well + 10.0
            if self.clock.seconds() > end:
                self.complaints += wrong or ["it does not stay well"]
                return False
        return True

    def _rest(self) -> None:
        """Nobody comes or goes, and so nothing happens, once no launch that failed holds anything
        up, and no forecast sinks any more; but where a full fleet waits to replace a server, which
        it does once there is room."""
        settles = FAILED_LATELY
        if any(fleet.policy.foresees for fleet in self._living()):
            settles = FORECAST_SETTLES
        if any(fleet.spreads for fleet in self._living()):
            settles = max(settles, ZONES_SETTLE)
        self.pass_time(settles)
        self.tell("rest")
        before = {fleet: fleet.churn() for fleet in self._living() if not fleet.replaces()}
        self.pass_time(REST)
        for fleet in before:
            launches, moves = (b - a for a, b in zip(before[fleet], fleet.churn(), strict=True))
            if launches or moves:
                self.complain(f"at rest {fleet.name} has {launches} launches and {moves} moves")
        for fleet in self._living():
            own = fleet.database.call(fleets.fleet_id)
            left = [
                name
                for name, made in self.cloud.templates.items()
                if tags_of(made["TagSpecifications"], "launch-template")["bbs:fleet-id"] == own
            ]
            if left and self.cloud.allows_fleets:
                names = ", ".join(left)
                self.complain(f"at rest {fleet.name} has launch templates: {names}")
        self.complaints += self._wrong()

    def _living(self) -> list[Fleet]:
        return [fleet for fleet in self.fleets if not fleet.ended]

    def _wrong(self) -> list[str]:
        return [text for fleet in self._living() for text in what_is_wrong(fleet)]

    def adopt(self, copy: Fleet, original: Fleet, by: fleet_admin.By) -> None:
        """The fleet of the copy is that of the original, which is lost."""
        if not copy.database.call(fleets.waiting_for_adopt):
            return
        self.tell("adopts")
        copy.database.run(fleets.adopt, by)
        original.heir = copy
        for machine in self.cloud.machines:
            if machine.owner is original:
                machine.owner, machine.counts = copy, False
        copy.begin_anew()

    @property
    def _now(self) -> float:
        now: float = self.clock.seconds()
        return now

    # The cloud's

    def taken_away(self, machine: Machine) -> None:
        """EC2 takes an instance away, as it has said."""
        if machine.alive:
            self.tell("takes away", machine.instance_id)
            if machine.has_successor and people_on(machine.owner, machine.launch_id):
                self.complain(f"people were on {machine.instance_id}, which was taken away")
            self.cloud.end(machine)

    def _launched(self, machine: Machine) -> None:
        owner = machine.owner or self.first
        if owner.heir:
            # By a call that was on its way as the fleet was lost: nobody knew of it.
            owner, machine.counts = owner.heir, False
        owner.launched(machine)

    def _touched(self, fleet: Fleet, machine: Machine, how: str) -> None:
        self.tell(fleet.name, how, machine.instance_id)
        # What one that is lost does yet it asked for when the instance was its own.
        if machine.owner is not fleet and not fleet.ended:
            self.complain(
                f"{fleet.name} {how} {machine.instance_id}, which is {machine.owner.name}'s"
            )
