"""Processes killed in the middle of a stream of numbered messages.

Every message that was answered with `Success!` arrives, and no message arrives twice.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs.client import Address, BBSClient, ChatMessage, Lost, Refused
from tests.integration.service import (
    Process,
    Service,
    ServiceCase,
    eventually,
    run,
    together,
)
from tests.services import OwnActiveMQ

KILLS = int(os.environ.get("BBS_TEST_KILLS", "10"))
"""How often each is killed."""

STREAMS = int(os.environ.get("BBS_TEST_STREAMS", "4"))
"""How many people send at the same time, so that many writes share a transaction."""

BETWEEN = 30
"""Messages of each that are answered with success between one kill and the next."""

PATIENCE = 60.0

ONE: Mapping[str, Mapping[str, object]] = {
    "fleet": {"minimum": 1, "spare": 0},
    "app": {"capacity": 2 * STREAMS},
}
"""One app server, which has room for all."""

_log = Logger()


class Stream:
    """Numbered messages from an ann to a bob, one after the other, until it is told to stop."""

    def __init__(self, case: ServiceCase, service: Service, number: int) -> None:
        self.sender, self.reader = f"ann{number}", f"bob{number}"
        self.safe: list[str] = []
        """Those that were answered with success."""
        self.unsure: list[str] = []
        """Those of which nobody said whether they were carried out."""
        self.arrived: list[str] = []
        self.ids: list[int] = []
        self._stopping = False
        address = Address("127.0.0.1", service.port)
        # Of two people's machines, neither knows the other's connections.
        self._ann, self._bob = BBSClient(reactor, address), BBSClient(reactor, address)
        case.addCleanup(self._ann.close)
        case.addCleanup(self._bob.close)

    async def begin(self) -> None:
        for client, name in ((self._ann, self.sender), (self._bob, self.reader)):
            await client.register(name, name)
            await client.login(name, name)
        await self._ann.invite(self.sender, self.reader)
        await self._bob.accept_invite(self.reader, self.sender)
        await self._bob.listen(self.reader, self._heard)
        self.ended: Deferred[None] = run(self._send())

    def _heard(self, user: str, message: ChatMessage) -> None:
        self.arrived.append(message.text)
        self.ids.append(message.id)

    async def _send(self) -> None:
        number = 0
        while not self._stopping:
            number += 1
            text = f"message {number}"
            try:
                await self._ann.send(self.sender, self.reader, text)
            except Lost:
                self.unsure.append(text)
            except Refused:
                pass  # It was not carried out, in no part.
            else:
                self.safe.append(text)

    async def goes_on(self) -> None:
        """Wait until some more messages are safe."""
        goal = len(self.safe) + BETWEEN
        await eventually(lambda: len(self.safe) >= goal, "the stream goes on", PATIENCE)

    async def stop(self) -> None:
        """Send no more, and wait for what must arrive."""
        self._stopping = True
        await self.ended
        safe = set(self.safe)
        await eventually(lambda: safe <= set(self.arrived), "all that is safe arrives", PATIENCE)


class Storms(ServiceCase):
    timeout = 500 + 50 * KILLS

    async def storm(
        self, service: Service, kill: Callable[[], Awaitable[object]], kills: int = KILLS
    ) -> None:
        streams = [Stream(self, service, number) for number in range(STREAMS)]
        await together(stream.begin() for stream in streams)
        for _ in range(kills):
            await together(stream.goes_on() for stream in streams)
            await kill()
        await together(stream.goes_on() for stream in streams)
        await together(stream.stop() for stream in streams)
        for stream in streams:
            self.check(stream, kills)
        _log.info(
            "{test}: {safe} safe, {unsure} unsure, {arrived} arrived",
            test=self.id(),
            safe=sum(len(stream.safe) for stream in streams),
            unsure=sum(len(stream.unsure) for stream in streams),
            arrived=sum(len(stream.arrived) for stream in streams),
        )
        self.assertNotIn("Traceback", service.log())

    def check(self, stream: Stream, kills: int) -> None:
        """Whether one got what was sent to it: nothing is lost, doubled or out of order."""
        self.assertEqual([text for text, n in Counter(stream.arrived).items() if n > 1], [])
        self.assertEqual(set(stream.safe) - set(stream.arrived), set())
        self.assertEqual(set(stream.arrived) - set(stream.safe) - set(stream.unsure), set())
        self.assertEqual(stream.ids, sorted(set(stream.ids)))
        self.assertGreaterEqual(len(stream.safe), kills * BETWEEN)
        # One message is under way at a time. A process that is ending may still take a connection.
        self.assertLessEqual(len(stream.unsure), 2 * kills)

    async def test_login_server(self) -> None:
        """With it go the app servers that it launched."""
        service = self.service(**ONE)
        process = await service.up()

        async def kill() -> None:
            nonlocal process
            await process.kill()
            process = await service.up()

        await self.storm(service, kill)

    async def test_app_server(self) -> None:
        service = self.service(**ONE)
        process = await service.up()
        await self.storm(service, lambda: self.kill_app_server(process))

    async def kill_app_server(self, login: Process) -> None:
        """The app server that serves; the one that ends is not counted."""
        (pid,) = await eventually(login.children, "there is an app server")
        os.kill(pid, signal.SIGKILL)

    async def test_broker(self) -> None:
        broker = OwnActiveMQ()
        self.addCleanup(broker.remove)
        await broker.start()
        service = self.service(**ONE, broker={"url": broker.url})
        await service.up()

        async def kill() -> None:
            await broker.kill()
            await broker.start()

        await self.storm(service, kill)

    async def test_login_and_app_server_on_mariadb(self) -> None:
        service = self.big_service(**ONE)
        process = await service.login_server()

        async def kill() -> None:
            nonlocal process
            await self.kill_app_server(process)
            await process.kill()
            process = await service.login_server()

        await self.storm(service, kill, kills=max(3, KILLS // 3))
