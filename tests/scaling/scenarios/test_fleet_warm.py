"""The warm pool: stopped machines that are started when a crowd comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, succeed

from bbs import __version__
from bbs.core.values import Instance, Policy, State
from bbs.rules import fleet_admin, fleet_transitions, membership
from bbs.scaling.interfaces import LaunchFailed, LaunchRefused
from bbs.scaling.observer import CONSISTENCY_GRACE
from bbs.storage.models import Server
from bbs.testing.provider import MemoryProvider, WarmMemoryProvider
from tests.memory_service import POLICY, another_controller, memory_service
from tests.scaling.scenarios.test_fleet_cloud import AWAY, CloudCase, CloudInMemory


class WarmCloud(CloudInMemory, WarmMemoryProvider):
    """A cloud that stops and starts machines. `left` are those whose app servers have said that
    they stop; `launched_to_stop` those that were launched for that."""

    def __init__(self) -> None:
        super().__init__()
        self.service: Any = None
        self.launched_to_stop: list[str] = []
        self.versions: dict[str, str] = {}

    def launch_to_stop(self, launch_id: str) -> Deferred[None]:
        self.launched_to_stop.append(launch_id)
        return self.launch(launch_id)

    def stop(self, launch_id: str) -> Deferred[None]:
        self.calls.append(("stop", launch_id))
        return self._troubled("stop", lambda: self.stop_quietly(launch_id))

    def start(self, launch_id: str) -> Deferred[None]:
        self.calls.append(("start", launch_id))
        return self._troubled("start", lambda: WarmMemoryProvider.start(self, launch_id))

    def stop_quietly(self, launch_id: str) -> Deferred[None]:
        """Somebody else stops it."""
        if self.service.servers.pop(launch_id, None):
            # Its app server is told to end, and says so.
            self.service.database.run(membership.leave, launch_id)
        return WarmMemoryProvider.stop(self, launch_id)

    def _list(self) -> Deferred[Mapping[str, Instance]]:
        listed: dict[str, Instance] = self.successful(super()._list())
        return succeed(
            {
                id: replace(
                    one,
                    host=None if one.stopped else one.host,
                    version=self.versions.get(id, __version__),
                )
                for id, one in listed.items()
            }
        )

    def successful(self, deferred: Deferred[Any]) -> Any:
        found: list[Any] = []
        deferred.addCallback(found.append)
        return found[0]

    def standing(self) -> set[str]:
        """The ids of the stopped instances."""
        return {id for id, one in self._instances.items() if one.stopped}


class WarmCase(CloudCase):
    """A service on such a cloud, with one app server that serves and as many as are wanted warm."""

    policy: Policy = replace(POLICY, warm=1, maximum=4)
    cloud: WarmCloud

    def setUp(self) -> None:
        self.cloud = WarmCloud()
        self.service = memory_service(policy=self.policy, provider=self.cloud)
        self.cloud.service = self.service
        self.addCleanup(self.service.close)
        self.service.start()
        self.pass_time(20)

    def warm(self) -> str:
        """The one that stands by."""
        [id] = self.cloud.standing()
        self.assertEqual(Server.get(Server.id == id).state, State.WARM)
        return id

    def crowd(self, *names: str) -> Any:
        """More than there are places for, two a server: the last of them."""
        self.service.people(*names[:-1])
        return self.waiting(names[-1])


class Filling(WarmCase):
    def test_one_boots_once_and_is_stopped(self) -> None:
        self.assertEqual(self.states(), ["ready", "warm"])
        id = self.warm()
        row = Server.get(Server.id == id)
        self.assertEqual((row.host, row.port, row.ready), (None, None, None))
        self.assertEqual(self.cloud.launched_to_stop, [id])
        self.pass_time(10 * CONSISTENCY_GRACE)
        self.assertEqual(self.states(), ["ready", "warm"])
        self.assertEqual(self.cloud.count("terminate"), 0)
        self.assertLess(self.cloud.count("stop"), 4)

    def test_it_waits_until_nobody_does(self) -> None:
        self.cloud.trouble["start"] = AWAY
        self.crowd("ann", "bob", "cat")
        self.pass_time(30)
        self.assertEqual(self.states(), ["ready", "launching"])
        self.cloud.trouble.clear()
        self.pass_time(40)
        self.assertEqual(self.states(), ["ready", "ready", "warm"])

    def test_a_stop_that_is_lost_is_asked_for_again(self) -> None:
        id = self.warm()
        self.crowd("ann", "bob", "cat")
        self.cloud.trouble["stop"] = "lost"
        self.pass_time(30)
        self.assertEqual(self.states(), ["ready", "ready", "warm"])
        self.assertNotEqual(self.warm(), id)

    def test_one_that_cannot_be_stopped_is_ended(self) -> None:
        self.cloud.trouble["stop"] = LaunchFailed("it is a Spot instance")
        self.crowd("ann", "bob", "cat")
        self.pass_time(60)
        self.assertGreater(self.cloud.count("terminate"), 0)
        self.assertEqual(self.states()[:2], ["ready", "ready"])
        # Launches back off meanwhile.
        self.assertLess(self.cloud.count("launch"), 10)


class Waking(WarmCase):
    def test_who_waits_has_it(self) -> None:
        id = self.warm()
        launches = self.cloud.count("launch")
        peer = self.crowd("ann", "bob", "cat")
        self.pass_time(2)
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])
        row = Server.get(Server.id == id)
        self.assertEqual((row.state, row.shelved, row.leaving), (State.READY, False, False))
        self.assertEqual(self.cloud.count("start"), 1)
        self.pass_time(20)
        # The warm pool is filled again.
        self.assertEqual(self.states(), ["ready", "ready", "warm"])
        self.assertEqual(self.cloud.count("launch"), launches + 1)

    def test_one_that_no_list_has_shown_yet_as_stopped(self) -> None:
        self.crowd("ann", "bob", "cat")
        while self.states() != ["ready", "ready", "warm"]:
            self.pass_time(2)
        id = self.warm()
        self.cloud.trouble["list"] = AWAY
        self.crowd("dan", "eve")
        self.pass_time(4)
        self.assertEqual(Server.get(Server.id == id).state, State.READY)

    def test_where_there_is_no_capacity_another_is_launched_at_once(self) -> None:
        id = self.warm()
        self.cloud.trouble["start"] = LaunchFailed("no capacity")
        peer = self.crowd("ann", "bob", "cat")
        self.pass_time(4)
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])
        self.pass_time(20)
        self.assertNotIn(id, self.cloud.standing() | self.cloud.alive())
        self.assertEqual(Server.get(Server.id == id).reason, "cannot be started: no capacity")
        self.assertEqual(self.states(), ["ready", "ready", "warm"])

    def test_a_start_that_is_lost_is_asked_for_again(self) -> None:
        id = self.warm()
        self.cloud.trouble["start"] = AWAY
        self.crowd("ann", "bob", "cat")
        self.pass_time(10)
        self.assertEqual(Server.get(Server.id == id).state, State.LAUNCHING)
        self.cloud.trouble.clear()
        self.pass_time(10)
        self.assertEqual(Server.get(Server.id == id).state, State.READY)

    def test_lists_that_lack_it_do_not_hide_it(self) -> None:
        id = self.warm()
        self.cloud.hidden.add(id)
        self.pass_time(3 * CONSISTENCY_GRACE)
        self.assertEqual(self.states(), ["ready", "warm"])
        peer = self.crowd("ann", "bob", "cat")
        self.pass_time(2)
        self.assertIn(("start", id), self.cloud.calls)
        # This cloud's app servers do not say where they are.
        self.cloud.hidden.clear()
        self.pass_time(10)
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])
        self.assertEqual(Server.get(Server.id == id).state, State.READY)

    def test_another_controller_goes_on(self) -> None:
        id = self.warm()
        self.cloud.trouble["start"] = AWAY
        self.crowd("ann", "bob", "cat")
        self.pass_time(4)
        self.service.database.run(membership.resign, self.service.me)
        self.cloud.trouble.clear()
        launches = self.cloud.count("launch")
        self.pass_time(30)
        self.assertEqual(Server.get(Server.id == id).state, State.READY)
        # One for the warm pool.
        self.assertEqual(self.cloud.count("launch"), launches + 1)

    def test_a_refusal_is_for_an_operator_and_the_warm_pool_stays(self) -> None:
        id = self.warm()
        self.cloud.trouble["start"] = LaunchRefused("not allowed: ec2:StartInstances")
        peer = self.crowd("ann", "bob", "cat")
        self.pass_time(6)
        self.assertEqual(peer.heard()[-1]["code"], "unavailable")
        hold = self.successResultOf(self.service.database.run(fleet_admin.refusal))
        self.assertIn("cannot start a warm server: not allowed", hold.reason if hold else "")
        self.assertEqual((self.warm(), self.cloud.count("start")), (id, 1))
        self.cloud.trouble.clear()
        self.pass_time(90)
        self.waiting("eve")
        self.pass_time(10)
        self.assertEqual(Server.get(Server.id == id).state, State.READY)
        self.assertIs(self.successResultOf(self.service.database.run(fleet_admin.refusal)), None)


class AtTheMaximum(WarmCase):
    policy = replace(POLICY, warm=1, maximum=2)

    def test_what_is_stopped_does_not_count(self) -> None:
        self.warm()
        peer = self.crowd("ann", "bob", "cat")
        self.pass_time(4)
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])
        self.pass_time(60)
        # Now there is no room to fill the warm pool.
        self.assertEqual(self.states(), ["ready", "ready"])
        self.assertEqual(len(self.cloud.alive()), 2)

    def test_what_boots_for_it_goes_to_those_who_wait(self) -> None:
        self.crowd("ann", "bob", "cat")
        self.pass_time(4)
        second = self.cloud.launched[-1]
        Server.update(state=State.GONE).where(Server.id == second).execute()
        self.cloud.end_quietly(second)
        self.service.boots = False
        self.pass_time(80)
        booting = Server.select().where(Server.state == State.LAUNCHING)
        self.assertEqual(booting.count(), 1)

    def test_what_has_not_stopped_yet_counts(self) -> None:
        id = self.warm()
        self.cloud.trouble["stop"] = AWAY
        self.service.boots = False
        self.successResultOf(WarmMemoryProvider.start(self.cloud, id))
        self.pass_time(40)
        self.crowd("ann", "bob", "cat")
        self.pass_time(6)
        self.assertEqual(len(self.cloud.alive()), 2)
        self.assertEqual(self.states(), ["ready", "warm"])


class Ending(WarmCase):
    def ended(self, id: str, reason: str) -> None:
        """It is gone for this, and another stands by."""
        row = Server.get(Server.id == id)
        self.assertEqual((row.state, row.reason), (State.GONE, reason))
        self.assertNotIn(id, self.cloud.standing() | self.cloud.alive())
        self.assertEqual(self.states(), ["ready", "warm"])

    def test_one_that_vanishes(self) -> None:
        id = self.warm()
        self.successResultOf(MemoryProvider.terminate(self.cloud, id))
        self.cloud.account[id] = Instance(id, None, False, "terminated")
        self.pass_time(90)
        self.ended(id, "ended: terminated")

    def test_one_of_another_version(self) -> None:
        id = self.warm()
        self.cloud.versions[id] = "0.0.1"
        self.pass_time(90)
        self.ended(id, "of another version")

    def test_one_that_somebody_started(self) -> None:
        id = self.warm()
        self.pass_time(200)
        self.service.boots = False
        self.successResultOf(WarmMemoryProvider.start(self.cloud, id))
        self.service.boots = True
        self.pass_time(130)
        self.ended(id, "runs on the shelf")

    def test_its_app_server_is_told_that_nobody_waits_for_it(self) -> None:
        id = self.warm()
        self.assertIs(
            self.successResultOf(self.service.database.run(membership.report, id, 1)), False
        )

    def test_one_that_an_operator_drains(self) -> None:
        id = self.warm()
        self.successResultOf(self.service.database.run(fleet_admin.ask_drain, id[:8]))
        self.pass_time(60)
        self.ended(id, "asked for")

    def test_those_of_another_fleet_cannot_be_started(self) -> None:
        id = self.warm()
        Server.update(scope="ec2:here:another").where(Server.id == id).execute()
        self.pass_time(6)
        row = Server.get(Server.id == id)
        self.assertEqual((row.state, row.reason), (State.GONE, "ended: this fleet cannot start it"))

    def test_one_too_many(self) -> None:
        id = self.warm()
        self.service.login.controller.stopService()
        self.service.settle()
        controller = another_controller(
            self.service, "host:other:2", self.cloud, replace(self.policy, warm=0)
        )
        controller.startService()
        self.pass_time(90)
        self.assertEqual(self.states(), ["ready"])
        self.assertEqual(Server.get(Server.id == id).reason, "beyond fleet.warm")
        self.assertEqual(self.cloud.standing(), set())
        controller.stopService()
        self.service.settle()


class Stopped(WarmCase):
    """What somebody else has stopped."""

    def test_one_that_serves_is_lost_and_ended(self) -> None:
        [id] = self.cloud.alive()
        self.successResultOf(self.cloud.stop_quietly(id))
        Server.update(leaving=False).where(Server.id == id).execute()
        self.pass_time(90)
        self.assertEqual(Server.get(Server.id == id).state, State.GONE)
        self.assertEqual(self.cloud.standing() & {id}, set())

    def test_one_that_boots_is_started(self) -> None:
        self.service.boots = False
        asked = self.service.database.run(
            fleet_admin.ask_launch, 2, 9, self.service.clock.seconds()
        )
        id = self.successResultOf(asked)
        self.pass_time(4)
        self.successResultOf(self.cloud.stop_quietly(id))
        Server.update(host="198.51.100.9").where(Server.id == id).execute()
        start, hosts = self.cloud.start, []

        def noting(launch_id: str) -> Deferred[None]:
            self.service.database.run(Server.get_by_id, id).addCallback(
                lambda server: hosts.append(server.host)
            )
            return start(launch_id)

        self.cloud.start = noting  # type: ignore[method-assign]
        self.service.boots = True
        self.pass_time(20)
        self.assertEqual(Server.get(Server.id == id).state, State.READY)
        # It gets another address, and a list may be late to tell it.
        self.assertEqual(hosts, [None])

    def test_one_that_no_list_shows_yet_has_no_host_to_forget(self) -> None:
        """As each of many that were launched together: it costs no transaction."""
        forgotten = []
        self.patch(fleet_transitions, "forget_host", lambda me, id: forgotten.append(id))
        self.service.boots = False
        self.cloud.on_launch = self.cloud.hidden.add
        now = self.service.clock.seconds()
        id = self.successResultOf(self.service.database.run(fleet_admin.ask_launch, 2, 9, now))
        self.pass_time(4)
        Server.update(instance_id=f"i-{id}").where(Server.id == id).execute()
        self.pass_time(10)
        self.assertIn(("start", id), self.cloud.calls)
        self.assertEqual(forgotten, [])

    def test_an_orphan_that_is_stopped_is_ended(self) -> None:
        self.launch_unseen("orphan")
        self.successResultOf(self.cloud.stop_quietly("orphan"))
        self.pass_time(CONSISTENCY_GRACE + 40)
        self.assertNotIn("orphan", self.cloud.standing() | self.cloud.alive())
