"""An app server on the tests' cloud whose instance is stopped and started."""

from __future__ import annotations

from pathlib import Path

from tests.cloud import Machine
from tests.integration.service import eventually
from tests.integration.test_ec2_service import CloudServiceCase


class Again(CloudServiceCase):
    """The next boot."""

    async def test_the_same_server(self) -> None:
        """It is the app server that it was, with its configuration: no user data runs again."""
        service = await self.on_cloud(boot_seconds=0.5)
        login = await service.login_server()
        (machine,) = await eventually(service.cloud.instances, "it launches")
        await eventually(lambda: "--server-id=" in arguments(machine), "it runs")
        before = arguments(machine)
        # Nobody else is to decide about it.
        await login.end()
        await service.cloud.stop_instance(machine.instance_id)
        await eventually(lambda: machine.state == "stopped", "it stops")
        self.assertEqual(arguments(machine), "")
        await service.cloud.start_instance(machine.instance_id)
        again = await eventually(lambda: server_of(machine), "it runs again")
        self.assertEqual(again, server(before))
        self.assertEqual(again, machine.tags["bbs:launch"])


def arguments(machine: Machine) -> str:
    """The command line of a machine's process, while it has one."""
    path = Path(f"/proc/{machine.pid}/cmdline")
    return path.read_bytes().replace(b"\0", b" ").decode() if path.exists() else ""


def server(line: str) -> str:
    """The app server's id in a command line."""
    return line.partition("--server-id=")[2].split(" ")[0]


def server_of(machine: Machine) -> str:
    """The id of the app server that a machine runs now."""
    return server(arguments(machine))
