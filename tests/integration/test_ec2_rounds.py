"""Rounds of everything that can go wrong at once, on real processes: what is left when it is quiet.

In a round people come and go, while EC2 fails, login servers are killed, and instances die, never
boot, or are ended, stopped or taken away from outside; for a while lists are empty, lacking or
refused. Another fleet of the same name is in the same account, and nobody touches its servers.
`BBS_TEST_ROUNDS` is how many rounds are made, `BBS_TEST_TROUBLE` how many seconds each of them has
trouble, and `BBS_TEST_SEED` the first one's seed: the same seed has the same faults and people.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.task import LoopingCall, deferLater

from tests.cloud import Faults, everything
from tests.cloud.faults import Rule, empty, error, partial
from tests.cloud.machines import Machine
from tests.integration.service import Process, connect, eventually, mysql, run, wire_to
from tests.integration.test_ec2_service import CloudService, CloudServiceCase

ROUNDS = int(os.environ.get("BBS_TEST_ROUNDS", "1"))
SEED = int(os.environ.get("BBS_TEST_SEED", "1"))

TROUBLE = float(os.environ.get("BBS_TEST_TROUBLE", "5"))
"""Seconds for which things go wrong."""

NOTICE = 6.0
"""Seconds between the notice that an instance will be taken away, and that: two minutes on EC2."""

CAPACITY, MAXIMUM, PEOPLE = 3, 5, 12

QUIET_WITHIN = 120.0
"""Seconds after which nothing is left over: the fleet has to wait for what EC2 may not show yet."""


class Watch:
    """Looks all the time whether somebody has more than they may."""

    def __init__(self, service: CloudService) -> None:
        self.broken: list[str] = []
        self.most = 0
        self._service = service
        self.url = str(service.options["database.url"])
        self._looking = LoopingCall(self._look)

    def start(self) -> Deferred[Any]:
        """Look from now on, when there is a database; fails when looking does."""
        return self._looking.start(0.1)

    def rows(self) -> dict[str, tuple[str, int]]:
        """The servers that are not gone: state, and people."""
        found = mysql(
            self.url,
            "SELECT id, state, (SELECT COUNT(*) FROM place WHERE server_id = server.id)"
            " FROM server WHERE state != 'gone'",
        )
        return {id: (state, taken) for id, state, taken in found}

    def instances(self, alive: bool | None = True) -> list[Machine]:
        """This fleet's, by the id that they carry."""
        id = self.fleet()
        all_of_them = self._service.cloud.instances(alive)
        return [each for each in all_of_them if each.tags.get("bbs:fleet-id") == id]

    def fleet(self) -> str:
        """Which fleet this is."""
        found = mysql(self.url, "SELECT value FROM secret WHERE name = 'fleet'")
        return str(found[0][0]) if found else ""

    def taken_for_ended(self) -> list[str]:
        """The servers that had places, and of which somebody else ended the instance."""
        return [
            id
            for (id,) in mysql(
                self.url,
                "SELECT id FROM server WHERE ready IS NOT NULL AND reason LIKE 'ended%'",
            )
        ]

    def is_tidy(self) -> bool:
        """Whether each instance is a server, and each server has one and is ready."""
        rows = self.rows()
        owned = [each.tags["bbs:launch"] for each in self.instances()]
        stopped = [each for each in self.instances(None) if each.state in ("stopping", "stopped")]
        states = {state for state, _ in rows.values()}
        return sorted(owned) == sorted(rows) and states == {"ready"} and not stopped

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    def _look(self) -> None:
        rows = self.rows()
        if len(rows) > MAXIMUM:
            self.broken.append(f"{len(rows)} servers")
        self.broken += [f"{id} has {taken}" for id, (_, taken) in rows.items() if taken > CAPACITY]
        self.most = max(self.most, len(self.instances()))


class Round:
    """One round, with two login servers."""

    def __init__(self, service: CloudService, seed: int, watch: Watch) -> None:
        self.chance = Random(f"round:{seed}")
        self.service = service
        self.watch = watch
        self.ports = [service.port, service.another_port()]
        self.servers: dict[int, Process] = {}
        self.quiet = False

    async def run(self) -> None:
        """Trouble, and then quiet: everybody has a place in the end."""
        for port in self.ports:
            self.servers[port] = await self.service.login_server(port)
        looking = self.watch.start()
        names = [f"p{number}" for number in range(PEOPLE)]
        await self.service.register(*names)
        self.service.cloud.faults = Faults(
            *everything(self.chance.uniform(0.1, 0.3)), lag=self.chance.choice([0.0, 2.0])
        )
        lives = [run(self._live(name, Random(self.chance.random()))) for name in names]
        until = reactor.seconds() + TROUBLE
        while reactor.seconds() < until:
            await deferLater(reactor, self.chance.uniform(0.5, 2.0))
            await self.chance.choice(self._troubles)()
        self.service.cloud.faults = Faults()
        self.quiet = True
        await gatherResults(lives)
        if looking.called:
            await looking  # Raises what it failed with.

    # Trouble

    async def _kill_login_server(self) -> None:
        port = self.chance.choice(self.ports)
        await self.servers[port].kill()
        self.servers[port] = await self.service.login_server(port)

    async def _kill(self) -> None:
        self._some_instance(self.service.cloud.kill)

    async def _terminate(self) -> None:
        self._some_instance(self.service.cloud.terminate)

    async def _stop(self) -> None:
        self._some_instance(self.service.cloud.stop_instance)

    async def _interrupt(self) -> None:
        """Half of the instances are taken away, after a notice that is short here."""
        for machine in self.watch.instances()[::2]:
            self.service.cloud.interrupt(machine.instance_id, NOTICE)

    async def _lists(self) -> None:
        """Lists are bad for some seconds, while launches work."""
        fault = self.chance.choice([empty(), partial(0.5), error("UnauthorizedOperation")])
        faults = self.service.cloud.faults
        faults.add(Rule("DescribeInstances", fault, times=self.chance.randint(3, 20)))

    @property
    def _troubles(self) -> list[Callable[[], Any]]:
        often = [self._kill_login_server, self._kill, self._terminate]
        return [*often, self._stop, self._interrupt, self._lists]

    def _some_instance(self, does: Callable[[str], Any]) -> None:
        alive = self.watch.instances()
        if alive:
            does(self.chance.choice(alive).instance_id)

    # People

    async def _live(self, name: str, chance: Random) -> None:
        """Come and go; once it is quiet, come to stay."""
        while True:
            quiet = self.quiet
            served = False
            with contextlib.suppress(ConnectError, ConnectionError):
                served = await self._visit(name, chance, stay=quiet)
            if served and quiet:
                return
            await deferLater(reactor, chance.uniform(0.2, 1.5))

    async def _visit(self, name: str, chance: Random, stay: bool) -> bool:
        """Whether somebody was logged in, and served."""
        login = await connect(chance.choice(self.ports))
        try:
            reply = await login.ask("login", name, name)
            if reply["status"]:
                return False
            at = reply["app_server"]
            wire = await wire_to(at["host"], at["port"], timeout=5)
            try:
                answer = await wire.ask("list-friend", reply["token"])
            finally:
                wire.close()
            if not stay and chance.random() < 0.4:
                await login.ask("logout", reply["token"])
            return bool(answer["status"] == 0)
        finally:
            login.close()


class Rounds(CloudServiceCase):
    """Every round has a service and a cloud of its own."""

    timeout = 3600

    async def test_rounds(self) -> None:
        for seed in range(SEED, SEED + ROUNDS):
            await self.a_round(seed)

    async def a_round(self, seed: int) -> None:
        chance = Random(f"service:{seed}")
        minimum, spare = chance.choice([(0, 0), (1, 0), (1, 2)])
        fleet = {
            "minimum": minimum,
            "maximum": MAXIMUM,
            "spare": spare,
            "idle_grace": 2.0,
            "consolidate_after": chance.choice([0.0, 3.0]),
            "launch_timeout": 15.0,
            "heartbeat_interval": 0.5,
            "lost_after": 5.0,
        }
        service = await self.on_cloud(
            boot_seconds=1.0, seed=seed, app={"capacity": CAPACITY}, fleet=fleet
        )
        watch = Watch(service)
        self.addCleanup(watch.stop)
        neighbour = await self.neighbour(service, {**fleet, "minimum": 1, "maximum": 2, "spare": 0})
        beside = Watch(neighbour)
        began = reactor.seconds()
        await run(Round(service, seed, watch).run()).addTimeout(TROUBLE + QUIET_WITHIN, reactor)
        everybody = reactor.seconds() - began
        what = f"seed {seed}: each instance is a server, and each server has an instance"
        for each in (watch, beside):
            await eventually(each.is_tidy, what, QUIET_WITHIN)
        watch.stop()
        print(
            f"seed {seed}: everybody served after {everybody:.0f} s, tidy after"
            f" {reactor.seconds() - began:.0f} s, {len(service.cloud.calls)} calls,"
            f" {len(service.cloud.instances())} instances, at most {watch.most} at once"
        )
        self.assertEqual(watch.broken, [], f"seed {seed}")
        self.assertLessEqual(watch.most, MAXIMUM, f"seed {seed}")
        placed = sum(taken for _, taken in watch.rows().values())
        self.assertEqual(placed, PEOPLE, f"seed {seed}")
        self.assertNotEqual(watch.fleet(), beside.fleet())
        self.assertEqual(beside.taken_for_ended(), [], f"seed {seed}: nobody touches another fleet")
        everything_is = len(watch.instances()) + len(beside.instances())
        self.assertEqual(len(service.cloud.instances(alive=True)), everything_is, f"seed {seed}")
        await neighbour.remove()
        await service.remove()
        await service.cloud.stop()

    async def neighbour(self, service: CloudService, fleet: dict[str, object]) -> CloudService:
        """Another fleet of the same name in the same account, in which somebody is online."""
        other = self.on_this(service.cloud, app={"capacity": CAPACITY}, fleet=fleet)
        await other.login_server(other.port)
        await other.register("ann")
        (await other.person("ann")).wire.close()
        return other
