"""A login server that keeps a fleet on EC2 stops soon, and says nothing secret, whatever EC2
does."""

from __future__ import annotations

import signal

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.cloud import LOGIN_SERVER, Faults, Rule, error, hang
from tests.integration.service import connect, eventually, run
from tests.integration.test_ec2_service import CloudServiceCase


class Stopping(CloudServiceCase):
    """The end of a login server."""

    async def test_calls_hang(self) -> None:
        """In under ten seconds, though its threads wait for answers that never come."""
        service = await self.on_cloud(boot_seconds=1000.0, fleet={"minimum": 3})
        service.cloud.faults = Faults(Rule("*", hang()))
        login = await service.login_server()
        await eventually(lambda: len(service.cloud.calls) > 1, "calls hang")
        # One more, at the worst moment for it.
        await deferLater(reactor, 0.5)
        seconds = await login.end(within=30.0)
        print(f"hanging: stopped in {seconds:.1f} s")
        self.assertLess(seconds, 10.0)
        # twistd ends by the signal itself, once it has stopped.
        self.assertEqual(login.signal, signal.SIGTERM)

    async def test_refused(self) -> None:
        """Who waits is answered, the log says what to do, and nothing says a credential."""
        service = await self.on_cloud(boot_seconds=1000.0, fleet={"minimum": 0, "spare": 0})
        service.cloud.faults = Faults(Rule("RunInstances", error("UnauthorizedOperation")))
        process = await service.login_server()
        await service.register("ann")
        login = await connect(service.port)
        began = reactor.seconds()
        reply = await login.ask("login", "ann", "ann")
        self.assertEqual((reply["status"], reply["code"]), (1, "unavailable"))
        self.assertLess(reactor.seconds() - began, 10.0)
        self.assertIn("UnauthorizedOperation", process.output)
        self.assertIn("docs/aws.md", process.output)
        self.assertEqual(service.cloud.instances(), [])
        for secret in (LOGIN_SERVER, service.cloud.environ["AWS_SECRET_ACCESS_KEY"]):
            self.assertNotIn(secret, process.output)
        run(process.end())
