"""A fleet that processes of their own control (`fleet.controller = "own"`): login servers, which
strangers reach, touch no provider."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.installed import install
from tests.integration.service import (
    BIN,
    Process,
    Service,
    ServiceCase,
    eventually,
    lives,
    run,
)
from tests.services.servers import free_port

RECORDED = """
import os

from bbs.providers import Provider
from bbs.scaling.local import LocalProvider


def note(what):
    with open(os.environ["RECORD"], "a") as record:
        record.write(f"{os.getpid()} {what}\\n")


class Recorded(LocalProvider):
    def launch(self, launch_id):
        note("launch")
        return super().launch(launch_id)

    def list(self):
        note("list")
        return super().list()

    def terminate(self, launch_id):
        note("terminate")
        return super().terminate(launch_id)


def make(kit):
    note("made")
    return Recorded(kit)


recorded = Provider("recorded", None, make)
"""


class OwnProcess(ServiceCase):
    def fleet_of(self, **keys: object) -> tuple[Service, dict[str, str]]:
        """A service whose provider writes down who asks it for what, and the environment of its
        processes."""
        fleet = {"controller": "own", "provider": "recorded", "minimum": 1, "spare": 0}
        site = Path(self.mktemp()).absolute()
        points = {"bbs.providers": "recorded = acme_recorded:recorded"}
        install(site, "acme-recorded", points, acme_recorded=RECORDED)
        path = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.record = site / "record"
        self.record.touch()
        environ = {"PYTHONPATH": os.pathsep.join(path), "RECORD": str(self.record)}
        service = self.big_service()
        service.write_config(fleet__heartbeat_interval=0.5, fleet__lost_after=4.0)
        # The provider is only known to the processes of the service.
        lines = "".join(
            f'{key} = "{value}"\n' if isinstance(value, str) else f"{key} = {value}\n"
            for key, value in {**fleet, **keys}.items()
        )
        text = service.config.read_text()
        service.config.write_text(text.replace("[fleet]\n", f"[fleet]\n{lines}"))
        return service, environ

    def told(self, what: str) -> set[int]:
        """The processes that have asked the provider for `what`."""
        lines = (line.split() for line in self.record.read_text().splitlines())
        return {int(pid) for pid, asked in lines if what in ("", asked)}

    async def asks_for(self, service: Service, environ: dict[str, str], *words: str) -> Process:
        """`bbs fleet …`, which must succeed."""
        process = service.bbs("fleet", *words, "--config", service.config, environ=environ)
        await process.ended()
        self.assertEqual(process.exit_code, 0, process.errors)
        return process

    async def test_who_asks_the_provider(self) -> None:
        """Only the fleet's process, which is killed and comes back."""
        service, environ = self.fleet_of()
        login = await service.login_server(environ=environ)
        await service.register("ann", "bob")
        waiting = run(service.person("ann"))
        # Nothing controls the fleet yet, whatever login servers run.
        said = await self.asks_for(service, environ, "launch")
        self.assertIn("no bbs-fleet is running", said.errors)
        self.assertEqual(self.told(""), set())
        fleet = await service.fleet_process(environ=environ)
        ann = await waiting
        await self.asks_for(service, environ, "launch")
        await eventually(lambda: len(fleet.children()) == 2, "two servers, one asked for")
        self.assertEqual(login.children(), [])
        listed = await self.asks_for(service, environ, "list")
        self.assertRegex(listed.output, r"fleet processes: 1 of version \S+\nlogin servers: 1 of ")
        first = fleet.children()
        await fleet.kill()
        await eventually(lambda: not any(map(lives, first)), "its children end")
        again = await service.fleet_process(environ=environ)
        await service.find_again(ann)
        self.assertIn("this process leads the fleet", again.output)
        bob = await service.person("bob")
        self.assertEqual((await bob.asks("list-friend"))["status"], 0)
        (server,) = again.children()
        (id,) = [line.split()[0] for line in await self.serving(service, environ)]
        await self.asks_for(service, environ, "drain", id)
        await eventually(lambda: not lives(server), "it is drained and ended")
        self.assertEqual(login.children(), [])
        self.assertEqual(self.told(""), {fleet.pid, again.pid})
        self.assertEqual(self.told("launch"), {fleet.pid, again.pid})
        await again.end()
        self.assertEqual((again.signal, again.errors), (signal.SIGTERM, ""))
        self.assertIn(again.pid, self.told("terminate"))
        self.assertTrue(login.alive)

    async def serving(self, service: Service, environ: dict[str, str]) -> list[str]:
        """The lines of the list that are about servers that are ready."""
        said = await self.asks_for(service, environ, "list")
        return [line for line in said.output.splitlines() if " ready " in line]

    async def test_two(self) -> None:
        """One controls the fleet, and the other takes over: at once from one that stops, or that
        dies on its machine."""
        service, environ = self.fleet_of()
        first = await service.fleet_process(environ=environ)
        await first.says("this process leads the fleet")
        second = await service.fleet_process(environ=environ)
        await service.login_server(environ=environ)
        await service.register("ann")
        ann = await service.person("ann")
        self.assertEqual((len(first.children()), second.children()), (1, []))
        self.assertEqual(self.told("launch"), {first.pid})
        await first.kill()
        await service.find_again(ann)
        self.assertEqual(len(second.children()), 1)
        third = await service.fleet_process(environ=environ)
        await second.end()
        await service.find_again(ann)
        self.assertEqual(len(third.children()), 1)

    async def test_beside_a_login_server_that_controls(self) -> None:
        """As while a fleet goes over to processes of its own: whoever has the lease controls it,
        and a login server that goes leaves it to them."""
        service, environ = self.fleet_of(controller="login")
        older = await service.login_server(free_port(), environ=environ)
        await older.says("this login server leads the fleet")
        text = service.config.read_text()
        service.config.write_text(text.replace('controller = "login"', 'controller = "own"'))
        fleet = await service.fleet_process(environ=environ)
        newer = await service.login_server(environ=environ)
        await service.register("ann")
        ann = await service.person("ann")
        listed = await self.asks_for(service, environ, "list")
        self.assertRegex(listed.output, r"fleet processes: 1 of version \S+\nlogin servers: 2 of ")
        await self.asks_for(service, environ, "launch")
        await eventually(lambda: len(older.children()) == 2, "it controls the fleet as before")
        self.assertEqual(self.told("launch"), {older.pid})
        await older.end()
        await fleet.says("this process leads the fleet")
        await service.find_again(ann)
        self.assertEqual((newer.children(), self.told("launch")), ([], {older.pid, fleet.pid}))

    async def refused(self, service: Service, environ: dict[str, str], reason: str) -> None:
        service.data.mkdir(exist_ok=True)
        twistd = (BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-fleet")
        process = service.start(*twistd, "--config", service.config, environ=environ)
        await process.ended()
        self.assertEqual((process.exit_code, process.errors), (1, f"bbs-fleet: {reason}\n"))

    async def test_refusals(self) -> None:
        service, environ = self.fleet_of(controller="login")
        await self.refused(
            service,
            environ,
            'fleet.controller: login servers control this fleet; set "own" here and for them',
        )
        service = self.service(fleet={"controller": "own"})
        await self.refused(
            service,
            environ,
            "broker.url: the embedded broker is inside a login server; name another broker",
        )
        self.assertEqual(self.told(""), set())

    async def test_up(self) -> None:
        """`bbs up` has the controller in it, whatever the key says."""
        service = self.service(fleet={"controller": "own", "minimum": 1})
        up = await service.up()
        self.assertEqual(len(up.children()), 1)
