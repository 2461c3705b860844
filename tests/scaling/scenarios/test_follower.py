"""A login server in a fleet that processes of their own control."""

from __future__ import annotations

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.core.errors import Unavailable
from bbs.daemons.composition import FleetServing, FollowingLogin, Launching, Runtime
from bbs.limits.password_hashing import Hasher
from bbs.rules import membership, overview
from bbs.rules.membership import FLEET_LEASE, Member
from bbs.storage.models import HeartbeatRow, Lease, LoginServer
from bbs.testing import MemoryService
from bbs.testing.service import QUICK, Peer
from bbs.testing.threads import Inline
from tests.memory_service import POLICY, configuration, memory_service

LOGIN, FLEET = Member("1" * 32, "host:nowhere:2", "1.0"), Member("2" * 32, "host:nowhere:3", "1.0")


class Following(SynchronousTestCase):
    def setUp(self) -> None:
        self.service: MemoryService = memory_service()
        self.addCleanup(self.service.close)
        # Only its app servers and its clock are needed.
        self.login = FollowingLogin(
            self.runtime(), me=LOGIN, hasher=Hasher(Inline(), QUICK), workers=Inline()
        )
        self.login.member.startService()
        self.addCleanup(self.stop, self.login.member)
        self.provider = self.service.provider
        self.fleet = FleetServing(
            self.runtime(), me=FLEET, workers=Inline(), launching=Launching(self.provider)
        )

    def runtime(self) -> Runtime:
        service = self.service
        client, config = service.broker.client(), configuration(POLICY)
        return Runtime(board, config, service.database, client, service.clock, service.wall, b"key")

    def stop(self, member: object) -> None:
        if getattr(member, "running", False):
            member.stopService()  # type: ignore[attr-defined]
            self.service.advance(1)

    def begin_fleet(self) -> None:
        self.fleet.controller.startService()
        self.addCleanup(self.stop, self.fleet.controller)
        self.service.settle()

    def log_in(self, name: str = "ann") -> Peer:
        peer = Peer(self.login.factory)
        self.assertEqual(peer.ask(f"register {name} pw")["status"], 0)
        peer.say(f"login {name} pw")
        self.service.settle()
        return peer

    def beats(self) -> int:
        (row,) = HeartbeatRow.select().where(HeartbeatRow.server == LOGIN.id)
        return int(row.beats)

    def test_it_leaves_the_lease_alone(self) -> None:
        self.service.advance(60)
        self.assertGreater(self.beats(), 20)
        self.assertEqual(Lease.select().count(), 0)
        self.assertEqual(self.provider.launched, [])
        self.assertEqual(membership.signs(), {})

    def test_people_wait_for_the_fleets_process(self) -> None:
        peer = self.log_in()
        self.assertEqual(peer.heard(), [])
        self.begin_fleet()
        (reply,) = peer.heard()
        self.assertEqual(reply["status"], 0, reply)
        self.assertEqual(len(self.provider.launched), 1)
        (lease,) = Lease.select().where(Lease.name == FLEET_LEASE)
        self.assertEqual(lease.holder, FLEET.id)

    def test_it_is_told_at_once(self) -> None:
        """Who waits is a hint to the fleet's process, whose next round would be in 2 s."""
        self.begin_fleet()
        for name in ("ann", "bob", "carol"):
            self.service.advance(3)
            self.assertEqual([each["status"] for each in self.log_in(name).heard()], [0])
        self.assertEqual(len(self.provider.launched), 2)

    def test_it_is_found_dead_and_comes_back(self) -> None:
        self.begin_fleet()
        self.service.advance(5)
        LoginServer.delete().where(LoginServer.id == LOGIN.id).execute()
        self.service.advance(5)
        self.assertTrue(LoginServer.select().where(LoginServer.id == LOGIN.id).exists())
        self.assertGreater(self.beats(), 0)

    def test_without_a_database(self) -> None:
        """Its heart beats again when the database is back."""
        database = self.service.database
        run = database.run
        for error in (Unavailable, ZeroDivisionError):
            self.patch(database, "run", lambda *_, error=error: fail(error()))
            before = self.beats()
            self.service.advance(10)
            self.assertEqual(self.beats(), before)
            self.patch(database, "run", run)
            self.service.advance(10)
            self.assertGreater(self.beats(), before)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)

    def test_stop(self) -> None:
        stopped = self.login.member.stopService()
        self.service.settle()
        self.successResultOf(stopped)
        self.assertEqual(LoginServer.select().count(), 0)

    def test_kinds(self) -> None:
        """Operators see which of the members let people in."""
        self.begin_fleet()
        self.service.advance(5)
        kinds = {each.id: each.is_fleet_only for each in overview.login_servers()}
        self.assertEqual(kinds, {LOGIN.id: False, FLEET.id: True})
        self.assertEqual({*membership.signs()}, {FLEET.id, f"lease of {FLEET.id}"})
