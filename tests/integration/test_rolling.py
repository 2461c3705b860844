"""A few people on a few app servers, while all of it goes over to the next version: a small one of
`python -m lab.rolling`; and a login server that is to stop."""

from __future__ import annotations

import signal

from twisted.internet import reactor
from twisted.web.client import Agent, readBody

from bbs.core.database_urls import BY_ANY
from bbs.core.errors import Unavailable
from lab.rolling.roll import Numbers, Rolling, Story, sections
from tests.integration.service import ServiceCase, connect, eventually
from tests.integration.test_ec2_service import CloudServiceCase
from tests.services.servers import free_port


class Small(CloudServiceCase):
    async def test_nobody_notices(self) -> None:
        numbers = Numbers()
        own = sections(numbers)
        # The older version knows no `mysql+pymysql`, and takes that driver for this URL.
        own["database"]["url"] = self.mysql_database(BY_ANY)
        service = await self.on_cloud(0.2, 0, **own)
        told: list[str] = []
        found = await Rolling(service, numbers, Story(told.append)).carry_out()
        self.assertEqual(found.noticed, 0, (found, told))
        # All that a machine may say that is too slow for what it has to do.
        self.assertLessEqual({*found.refused}, {Unavailable().message})
        self.assertGreater(found.sent, 5 * numbers.people)


class Stopping(ServiceCase):
    async def test_it_serves_on_and_is_not_ready(self) -> None:
        page = free_port()
        service = self.service(
            # Until the end of the test.
            login={"drain_delay": 3600.0},
            web={"listen": f"tcp:{page}:interface=127.0.0.1"},
            fleet={"minimum": 0, "spare": 0},
        )
        server = await service.login_server()
        await eventually(lambda: f"BoundedSite starting on {page}" in server.output, "a page")
        url = f"http://127.0.0.1:{page}".encode()

        async def asked(path: bytes) -> tuple[int, bytes]:
            answer = await Agent(reactor).request(b"GET", url + path)
            return answer.code, await readBody(answer)

        self.assertEqual(await asked(b"/ready"), (200, b"ready\n"))
        before = await connect(service.port)
        server.send_signal(signal.SIGTERM)

        async def stops() -> bool:
            return await asked(b"/ready") == (503, b"this login server stops\n")

        await eventually(stops, "it says so")
        # For those who are there, and for who was sent here in the last moment.
        self.assertEqual((await before.ask("ping"))["message"], "Pong!")
        await service.register("ann")
        self.assertEqual(await asked(b"/health"), (200, b"ok\n"))
        before.close()
        await server.kill()
