"""Real faults of a fleet, and after how long each is an alarm: no app server can be started on this
machine, EC2's stand-in has no capacity, and a server run by hand is killed.

Somebody waits here, so that two launches that fail are an alarm. In `make soak` nobody does, and
the alarms come after `PATIENCE`; `tests/web/scenarios/test_ill_fleet.py` has that by a clock which
is passed in.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any
from urllib.request import urlopen

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from bbs.web.lacks import PATIENCE, RETURNS
from tests.cloud import Cloud, Faults, Rule, error
from tests.cloud.faults import CAPACITY
from tests.integration.service import POLL, Service, run, together
from tests.integration.test_ec2_service import CloudServiceCase
from tests.services.servers import free_port

NOBODY_WAITS = "BBS_TEST_ILL" in os.environ

ALARMS = {"failed", "too-few"} if NOBODY_WAITS else {"failed"}

SOON = 300.0
"""Seconds within which whoever is on call is to hear of it."""


def scraped(url: str) -> set[str]:
    """The causes of the alarms that a page tells a monitoring system. It blocks."""
    with urlopen(url, timeout=30) as answer:
        body = answer.read().decode()
    return {*re.findall(r'^bbs_fleet_alarm\{cause="(.+)"\} 1', body, re.MULTILINE)}


def all_are_ready(servers: Sequence[Mapping[str, Any]]) -> bool:
    return bool(servers) and all(each["state"] == "ready" for each in servers)


class Faulty(CloudServiceCase):
    async def alarms(self, service: Service) -> set[str]:
        """What there is an alarm for."""
        port = str(service.options["web.listen"]).split(":")[1]
        found: set[str] = await deferToThread(scraped, f"http://127.0.0.1:{port}/metrics")
        return found

    async def until(self, service: Service, told: Callable[[set[str]], bool]) -> float:
        """After how many seconds the alarms are like that."""
        began = monotonic()
        while not told(await self.alarms(service)):
            self.assertLess(monotonic() - began, SOON)
            await deferLater(reactor, 1.0)
        return monotonic() - began

    def page(self) -> Mapping[str, object]:
        """The section that gives a service a page."""
        return {"listen": f"tcp:{free_port()}:interface=127.0.0.1"}

    async def somebody_waits(self, service: Service) -> None:
        """Somebody logs in, again after each launch that fails, until there is a place."""
        await service.register("ann")
        wire = await service.connect(service.port)
        while (await wire.ask("login", "ann", "ann"))["status"]:
            await deferLater(reactor, POLL)

    def wait_somebody(self, service: Service) -> Deferred[None]:
        """Have somebody wait, but in `make soak`; fires when they have a place."""
        return succeed(None) if NOBODY_WAITS else run(self.somebody_waits(service))

    async def test_after_how_long(self) -> None:
        await together([self.on_this_machine(), self.without_capacity(), self.run_by_hand()])

    async def on_this_machine(self) -> None:
        """Each launch hangs until its time-out; the one server that there was is killed."""
        service = self.service(
            web=self.page(), fleet={"launch_timeout": 20.0 if NOBODY_WAITS else 8.0}
        )
        service.release_launches()
        await service.up(environ=service.held_launches())
        [server] = await service.fleet_is(all_are_ready, "a server is ready")
        service.hold_launches()
        os.kill(service.pid_of(server["id"]), signal.SIGKILL)
        await service.fleet_is(lambda fleet: not all_are_ready(fleet), "it is missed")
        waiting = self.wait_somebody(service)
        seconds = await self.until(service, ALARMS.issubset)
        print(f"\nno server can be started: alarms after {seconds:.0f} s, of {PATIENCE:.0f}")
        print(f"\nafter {service.launches() - 1} launches")
        service.release_launches()
        seconds = await self.until(service, lambda told: not told)
        await waiting
        print(f"\nservers start again: none after {seconds:.0f} s, of {RETURNS:.0f}")

    async def without_capacity(self) -> None:
        """EC2 has never launched anything."""
        cloud = Cloud(boot_seconds=0.5, seed=1)
        cloud.faults = Faults(Rule(CAPACITY, error("InsufficientInstanceCapacity")))
        await cloud.start()
        self.addCleanup(cloud.stop)
        service = self.on_this(cloud, web=self.page())
        await service.login_server()
        waiting = self.wait_somebody(service)
        seconds = await self.until(service, ALARMS.issubset)
        print(f"\nEC2 has no capacity: alarms after {seconds:.0f} s, of {PATIENCE:.0f}")
        cloud.faults = Faults()
        seconds = await self.until(service, lambda told: not told)
        await waiting
        print(f"\nEC2 has some: none after {seconds:.0f} s, of {RETURNS:.0f}")

    async def run_by_hand(self) -> None:
        service = self.big_service(
            web=self.page(),
            fleet={"provider": "none"},
            app={"listen": f"tcp:{free_port()}:interface=127.0.0.1"},
        )
        await service.login_server()
        server = service.app_server()
        await service.fleet_is(all_are_ready, "it is ready")
        self.assertEqual(await self.alarms(service), set())
        await server.kill()
        seconds = await self.until(service, {"by-hand-died"}.issubset)
        print(f"\na server run by hand is killed: alarm after {seconds:.0f} s")
        service.app_server()
        seconds = await self.until(service, lambda told: not told)
        print(f"\nit is started again: none after {seconds:.0f} s")
