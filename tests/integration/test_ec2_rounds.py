"""Rounds of everything that can go wrong at once, on real processes: what is left when it is quiet.

In a round people come and go, while EC2 fails, login servers are killed, and instances die, never
boot or are ended from outside. `BBS_TEST_ROUNDS` is how many rounds are made, `BBS_TEST_SEED` the
first one's seed: the same seed has the same faults and the same people.
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
from tests.integration.service import Process, connect, eventually, mysql, run, wire_to
from tests.integration.test_ec2_service import CloudService, CloudServiceCase

ROUNDS = int(os.environ.get("BBS_TEST_ROUNDS", "1"))
SEED = int(os.environ.get("BBS_TEST_SEED", "1"))

TROUBLE = 15.0
"""Seconds for which things go wrong."""

CAPACITY, MAXIMUM, PEOPLE = 3, 5, 12

QUIET_WITHIN = 120.0
"""Seconds after which nothing is left over: the fleet has to wait for what EC2 may not show yet."""


class Watch:
    """Looks all the time whether somebody has more than they may."""

    def __init__(self, service: CloudService) -> None:
        self.broken: list[str] = []
        self.most = 0
        self._service = service
        self._url = str(service.options["database.url"])
        self._looking = LoopingCall(self._look)

    def start(self) -> Deferred[Any]:
        """Look from now on, when there is a database; fails when looking does."""
        return self._looking.start(0.1)

    def rows(self) -> dict[str, tuple[str, int]]:
        """The servers that are not gone: state, and people."""
        found = mysql(
            self._url,
            "SELECT id, state, (SELECT COUNT(*) FROM place WHERE server_id = server.id)"
            " FROM server WHERE state != 'gone'",
        )
        return {id: (state, taken) for id, state, taken in found}

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    def _look(self) -> None:
        rows = self.rows()
        if len(rows) > MAXIMUM:
            self.broken.append(f"{len(rows)} servers")
        self.broken += [f"{id} has {taken}" for id, (_, taken) in rows.items() if taken > CAPACITY]
        self.most = max(self.most, len(self._service.cloud.instances(alive=True)))


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
            await self.chance.choice([self._kill_login_server, self._kill, self._terminate])()
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

    def _some_instance(self, does: Callable[[str], Any]) -> None:
        alive = self.service.cloud.instances(alive=True)
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
        service = await self.on_cloud(
            boot_seconds=1.0,
            seed=seed,
            app={"capacity": CAPACITY},
            fleet={
                "minimum": minimum,
                "maximum": MAXIMUM,
                "spare": spare,
                "idle_grace": 2.0,
                "launch_timeout": 15.0,
                "heartbeat_interval": 0.5,
                "lost_after": 5.0,
            },
        )
        watch = Watch(service)
        self.addCleanup(watch.stop)
        began = reactor.seconds()
        await run(Round(service, seed, watch).run()).addTimeout(TROUBLE + QUIET_WITHIN, reactor)
        everybody = reactor.seconds() - began

        def tidy() -> bool:
            rows = watch.rows()
            owned = [each.tags["bbs:launch"] for each in service.cloud.instances(alive=True)]
            states = {state for state, _ in rows.values()}
            return sorted(owned) == sorted(rows) and states == {"ready"}

        what = f"seed {seed}: each instance is a server, and each server has an instance"
        await eventually(tidy, what, QUIET_WITHIN)
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
        await service.remove()
        await service.cloud.stop()
