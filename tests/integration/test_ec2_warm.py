"""The warm pool on a cloud (`tests/cloud`): instances that have booted once, are stopped, and are
started when a crowd comes."""

from __future__ import annotations

from tests.cloud import Cloud
from tests.integration.service import eventually, together
from tests.integration.test_ec2_service import CloudServiceCase
from tests.integration.test_web import LOOPBACK, WebCase

BOOT = 2.0
"""Seconds that a machine takes which is launched; one that was stopped takes none."""


class Warm(CloudServiceCase, WebCase):
    """A warm pool of two."""

    async def test_a_crowd(self) -> None:
        """What stands by is started before anything is launched, is ready sooner than that would
        be, and the warm pool is filled again."""
        cloud = Cloud(boot_seconds=BOOT, start_seconds=0.0)
        await cloud.start()
        self.addCleanup(cloud.stop)
        service = self.on_this(
            cloud,
            app={"capacity": 2},
            fleet={"minimum": 0, "spare": 0, "warm": 2, "maximum": 4},
            web={"listen": LOOPBACK},
        )
        process = await service.login_server()
        web = await self.page_of(process)
        names = ["ann", "bob", "carol", "dave"]
        await service.register(*names)

        def stand_by() -> bool:
            return [machine.state for machine in cloud.instances(alive=True)].count("stopped") == 2

        await eventually(stand_by, "two stand by", 60.0)
        pool = {machine.instance_id for machine in cloud.instances(alive=True)}
        listed = await service.fleet_is(
            lambda servers: [each["state"] for each in servers] == ["warm", "warm"], "two are warm"
        )
        self.assertEqual({each["instance"] for each in listed}, pool)
        state = await self.until(web, lambda state: len(state["servers"]) == 2, "the page has them")
        self.assertEqual([each["state"] for each in state["servers"]], ["warm", "warm"])
        self.assertEqual((state["free_places"], service.asked("RunInstances")), (0, 2))
        # They come.
        people = await together(service.person(name) for name in names)
        self.assertEqual(
            {person.wire.transport.getPeer().host for person in people},
            {one.address for one in cloud.instances() if one.instance_id in pool},
        )
        started = [each for each in await service.fleet() if each["instance"] in pool]
        self.assertEqual([each["state"] for each in started], ["ready", "ready"])
        took = [each["launch_time"] for each in started]
        print(f"launched: {BOOT:g} s and more; started: {took} s")
        # It is filled again.
        await eventually(stand_by, "two others stand by", 60.0)
        self.assertEqual(service.asked("RunInstances"), 4)
        await service.fleet_is(
            lambda servers: [each["state"] for each in servers].count("warm") == 2, "they are warm"
        )
        for person in people:
            self.assertEqual((await person.asks("list-friend"))["status"], 0)
