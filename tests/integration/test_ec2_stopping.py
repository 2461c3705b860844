"""A login server that keeps a fleet on EC2 stops soon, and says nothing secret, whatever EC2
does."""

from __future__ import annotations

import signal

from tests.cloud import LOGIN_SERVER, Faults, Rule, error, hang
from tests.integration.service import connect, eventually
from tests.integration.test_ec2_service import CloudServiceCase


class Stopping(CloudServiceCase):
    """The end of a login server."""

    async def test_calls_hang(self) -> None:
        """It ends by itself, though calls wait for answers that never come."""
        service = await self.on_cloud(boot_seconds=1000.0, fleet={"minimum": 3})
        service.cloud.faults = Faults(Rule("*", hang()))
        login = await service.login_server()
        await eventually(lambda: len(service.cloud.calls) > 1, "calls hang")
        print(f"hanging: stopped in {await login.end():.1f} s")
        # twistd ends by the signal itself, once it has stopped.
        self.assertEqual(login.signal, signal.SIGTERM)

    async def test_refused(self) -> None:
        """Who waits is answered, the log says what to do, and nothing says a credential."""
        service = await self.on_cloud(boot_seconds=1000.0, fleet={"minimum": 0, "spare": 0})
        service.cloud.faults = Faults(Rule("RunInstances", error("UnauthorizedOperation")))
        process = await service.login_server()
        await service.register("ann")
        login = await connect(service.port)
        reply = await login.ask("login", "ann", "ann")
        self.assertEqual((reply["status"], reply["code"]), (1, "unavailable"))
        self.assertIn("UnauthorizedOperation", process.output)
        self.assertIn("docs/aws.md", process.output)
        self.assertEqual(service.cloud.instances(), [])
        for secret in (LOGIN_SERVER, service.cloud.environ["AWS_SECRET_ACCESS_KEY"]):
            self.assertNotIn(secret, process.output)
