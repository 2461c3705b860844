"""Which fleet a login server is of: what it finds at its start."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bbs.rules.fleets import ELSEWHERE, HOME, FleetIdentity
from bbs.scaling import identity
from bbs.storage.models import Secret, Server
from bbs.testing.provider import MemoryProvider
from tests.database_case import on_both_databases
from tests.rules.fleet_case import FleetCase

PATIENCE = 10.0


@on_both_databases
class Founding(FleetCase):
    def setUp(self) -> None:
        super().setUp()
        self.keep()
        self.reactor = Clock()

    def find(self) -> Deferred[FleetIdentity]:
        return Deferred.fromCoroutine(
            identity.find_fleet(self.database, self.reactor, lambda: self.now, PATIENCE, True)
        )

    def found(self) -> FleetIdentity:
        """What is found at once."""
        fleet: FleetIdentity = self.successResultOf(self.find())
        return fleet

    def move(self) -> None:
        Secret.update(value=ELSEWHERE).where(Secret.name == HOME).execute()

    def served(self, scope: str) -> str:
        [server] = self.launch(scope=scope)
        Server.update(port=1).where(Server.id == server).execute()
        return server

    def beat(self, server: str) -> None:
        Server.update(beats=Server.beats + 1).where(Server.id == server).execute()

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / identity.LOOK)):
            self.reactor.advance(identity.LOOK)

    def test_at_home_nobody_waits(self) -> None:
        first = self.found()
        self.served(f"ec2:here:{first.id}")
        self.assertEqual(self.found(), first)

    def test_a_copy_without_servers_is_one_at_once(self) -> None:
        first = self.found()
        self.move()
        fleet = self.found()
        self.assertEqual(fleet.before and fleet.before.id, first.id)

    def test_one_whose_servers_are_silent_is_a_copy(self) -> None:
        first = self.found()
        self.served(f"ec2:here:{first.id}")
        self.move()
        finding = [self.find(), self.find()]
        self.pass_time(PATIENCE - 1)
        for each in finding:
            self.assertNoResult(each)
        self.pass_time(1)
        one, other = (self.successResultOf(each) for each in finding)
        self.assertNotEqual(one.id, first.id)
        self.assertEqual((other.id, other.before), (one.id, one.before))

    def test_one_whose_server_lives_has_been_moved(self) -> None:
        """The database's server went over to another machine, for one."""
        first = self.found()
        self.served(f"ec2:here:{first.id}")
        alive = self.served(f"ec2:here:{first.id}")
        self.move()
        finding = self.find()
        self.pass_time(3)
        self.assertNoResult(finding)
        self.beat(alive)
        self.pass_time(identity.LOOK)
        self.assertEqual(self.successResultOf(finding), first)
        self.assertEqual(self.found(), first)

    def test_those_of_before_who_live_are_taken_over(self) -> None:
        provider: Any = MemoryProvider("ec2:here:0123456789abcdef")
        take_over = lambda: Deferred.fromCoroutine(  # noqa: E731
            identity.take_over_launches(
                self.database, provider, self.reactor, lambda: self.now, PATIENCE
            )
        )
        live, silent = self.served("ec2:here:bbs"), self.served("ec2:here:bbs")
        self.successResultOf(take_over())
        provider.former_scope = "ec2:here:bbs"
        taking = take_over()
        self.beat(live)
        self.pass_time(PATIENCE - 1)
        self.assertNoResult(taking)
        self.pass_time(1)
        self.successResultOf(taking)
        self.assertEqual(
            (self.row(live).scope, self.row(silent).scope), (provider.scope, "ec2:here:bbs")
        )
        provider.former_scope = "ec2:here:other"
        self.successResultOf(take_over())
