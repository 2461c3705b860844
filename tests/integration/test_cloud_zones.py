"""A zone of the tests' cloud (`tests/cloud`) that fails, with real processes: it accepts launches
and boots nothing, and at last the machines in it end."""

from __future__ import annotations

from collections import Counter

from tests.cloud import BOOT, Faults, Rule, hang
from tests.integration.service import Person, eventually, together
from tests.integration.test_ec2_service import CloudService, CloudServiceCase

CAPACITY, LAUNCH_TIMEOUT = 5, 20.0
CROWD, MORE = 25, 15


class Zones(CloudServiceCase):
    async def spread(self) -> tuple[CloudService, str, str]:
        """A service with a server in each of two zones."""
        service = await self.on_cloud(
            app={"capacity": CAPACITY},
            fleet={"minimum": 2, "launch_timeout": LAUNCH_TIMEOUT, "idle_grace": 5.0},
        )
        await service.login_server()
        await self.ready(service, 2)
        first, second = service.cloud.subnet_ids
        self.assertEqual(self.living(service), {first: 1, second: 1})
        return service, first, second

    async def ready(self, service: CloudService, count: int) -> None:
        await service.fleet_is(
            lambda servers: sum(s["state"] == "ready" for s in servers) >= count, "they are ready"
        )

    def living(self, service: CloudService) -> Counter[str]:
        return Counter(machine.subnet_id for machine in service.cloud.instances(alive=True))

    def launched(self, service: CloudService, subnet: str) -> int:
        return sum(machine.subnet_id == subnet for machine in service.cloud.instances())

    async def has_a_place(self, service: CloudService, person: Person) -> None:
        async def located() -> bool:
            login = await service.connect(service.port)
            reply = await login.ask("locate", person.token)
            login.close()
            return bool(reply["status"] == 0)

        await eventually(located, f"{person.name} has a place again", LAUNCH_TIMEOUT)

    async def test_a_zone_that_boots_nothing(self) -> None:
        service, first, dead = await self.spread()
        names = [f"p{number}" for number in range(CROWD + MORE)]
        await service.register(*names)
        service.cloud.faults = Faults(Rule(BOOT, hang(), where={"SubnetId": dead}))
        people = await together(service.person(name) for name in names[:CROWD])
        self.assertEqual(len(people), CROWD)
        at_once = self.launched(service, dead) - 1
        self.assertGreater(at_once, 0)
        # The rest is asked for elsewhere.
        people += await together(service.person(name) for name in names[CROWD:])
        self.assertEqual(len(people), CROWD + MORE)
        self.assertLessEqual(self.launched(service, dead) - 1, at_once + 1)
        # Now that zone dies as a whole.
        for machine in service.cloud.instances(alive=True):
            if machine.subnet_id == dead:
                await service.cloud.terminate(machine.instance_id)
        before = self.launched(service, dead)
        await eventually(
            lambda: self.living(service)[first] * CAPACITY >= len(people), "there is room", 60.0
        )
        await together(self.has_a_place(service, person) for person in people)
        self.assertEqual(self.launched(service, dead), before)
        for person in people:
            person.wire.close()

    async def test_the_last_one_of_a_zone_stays(self) -> None:
        """What is launched for a crowd ends after it; and the two that stay are in two zones."""
        service, first, second = await self.spread()
        await service.register(*(f"p{number}" for number in range(CROWD)))
        people = await together(service.person(f"p{number}") for number in range(CROWD))
        login = await service.connect(service.port)
        for person in people:
            reply = await login.ask("logout", person.token)
            self.assertEqual(reply["status"], 0, reply)
        await service.fleet_is(lambda servers: len(servers) == 2, "two are left", 120.0)
        await eventually(lambda: self.living(service).total() == 2, "two machines are left")
        self.assertEqual(self.living(service), {first: 1, second: 1})
