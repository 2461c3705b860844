"""`bbs up --debug`: what it says of an extension that is being written, and its new code."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from textwrap import dedent
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from bbs.core.addresses import Address
from lab.rolling.people import Person, all_heard, befriended, counted
from tests.installed import install
from tests.integration.service import (
    START_TIMEOUT,
    Process,
    Service,
    ServiceCase,
    eventually,
    together,
)
from tests.paths import CHECKOUT

PEOPLE = 20
INTERVAL = 0.25  # seconds between a person's messages
WITHIN = 20.0  # seconds for something to be said, on whatever machine

SCRATCH = """\
    import time

    import peewee

    from bbs.framework import CommandTable, Extension, Refusal, Role, Table, read_only

    ANSWER = "old"

    class Mark(Table):
        text = peewee.CharField()

    commands = CommandTable()

    @commands.command("scratch", Role.APP)
    async def scratch(ask):
        return {"answer": ANSWER}

    @read_only
    def find():
        time.sleep(0.15)
        return [row.text for row in Mark.select().where(Mark.text == "x")]

    @commands.command("scratch-slow", Role.EITHER)
    async def slow(ask):
        print("looking")
        return {"found": await ask.database.run(find)}

    @commands.command("scratch-bug", Role.EITHER)
    async def bug(ask):
        raise ZeroDivisionError("a bug in scratch")

    class Itchy(Refusal):
        text = "It itches"

    @commands.command("scratch-more", Role.EITHER, refuses=())
    async def more(ask):
        raise Itchy()

    extension = Extension("scratch", commands=(commands,), models=(Mark,))
"""


class Debugging(ServiceCase):
    async def up(self, **sections: dict[str, object]) -> tuple[Service, Process]:
        service = self.service(**sections)
        self.site = service.folder / "site"
        self.source = self.site / "scratchbbs.py"
        install(self.site, "scratch", {"bbs.extensions": "scratch = scratchbbs:extension"})
        self.source.write_text(dedent(SCRATCH))
        path = os.pathsep.join([str(self.site), str(CHECKOUT)])
        process = await service.up("--debug", environ={"PYTHONPATH": path})
        return service, process

    def change(self, old: str, new: str) -> None:
        """Save another source, as an editor does."""
        text = self.source.read_text()
        self.assertIn(old, text)
        new_file = Path(f"{self.source}~")
        new_file.write_text(text.replace(old, new))
        new_file.replace(self.source)

    async def said(self, process: Process, text: str) -> None:
        await eventually(lambda: text in process.errors, f"{text!r} is said", WITHIN)

    async def served(self, process: Process, count: int) -> None:
        """Wait until so many changes are served."""
        await eventually(
            lambda: process.errors.count("New code: 2 app servers") == count,
            "new code",
            START_TIMEOUT,
        )

    async def test_what_is_said(self) -> None:
        service, process = await self.up()
        await service.register("ann")
        ann = await service.person("ann")
        reply = await ann.wire.ask("scratch-slow")
        self.assertEqual(reply["found"], [])
        await self.said(process, " app ")
        await self.said(process, ": looking")
        await self.said(process, "the rule scratchbbs.find took 0.1")
        await self.said(process, "its slowest statement took 0.0")
        await self.said(process, "the handler scratchbbs.slow took 0.1")
        await self.said(process, "a statement reads the whole table scratch_mark: SELECT ")
        for _ in range(2):
            reply = await ann.wire.ask("scratch-more")
            self.assertEqual(reply["message"], "It itches")
        undeclared = 'scratch-more refuses by scratchbbs.Itchy ("It itches"), which is not in its'
        await self.said(process, undeclared)
        self.assertEqual(process.errors.count(undeclared), 1)
        reply = await ann.wire.ask("scratch-bug")
        self.assertEqual(reply["code"], "internal-error")
        await self.said(process, 'raise ZeroDivisionError("a bug in scratch")')
        # A source that does not compile changes nothing.
        self.change('ANSWER = "old"', 'ANSWER = = "old"')
        await self.said(process, f"{self.source}, line 7: invalid syntax")
        self.assertEqual((await ann.wire.ask("scratch"))["answer"], "old")
        # Nor one that does not import.
        self.change('ANSWER = = "old"', "ANSWER = nothing")
        await self.said(process, "The app servers keep the old code: the new ones do not start.")
        self.assertEqual((await ann.wire.ask("scratch"))["answer"], "old")
        # What is right again is served at once.
        self.change("ANSWER = nothing", 'ANSWER = "new"')
        await self.said(process, "New code: 1 app server in ")
        await service.find_again(ann)
        self.assertEqual((await ann.wire.ask("scratch"))["answer"], "new")
        self.assertNotIn("the login server keeps", process.errors)
        self.change("models=(Mark,)", "models=(Mark,), sweep=lambda now: 0")
        await self.said(process, "the login server keeps the old code of its declarations until")

    async def test_there_is_no_room_for_new_ones(self) -> None:
        """What was launched is given up, so that no two servers have different code."""
        fleet: dict[str, object] = {"minimum": 2, "maximum": 3}
        service, process = await self.up(fleet=fleet)

        def are_two(servers: list[dict[str, Any]]) -> bool:
            return [server["state"] for server in servers] == ["ready", "ready"]

        before = await service.fleet_is(are_two, "two servers are ready")
        self.change('ANSWER = "old"', 'ANSWER = "new"')
        await self.said(process, "The app servers keep the old code: fleet.maximum (3) is reached")
        after = await service.fleet_is(are_two, "the third one is gone")
        self.assertEqual([each["id"] for each in after], [each["id"] for each in before])
        await service.register("ann")
        ann = await service.person("ann")
        self.assertEqual((await ann.wire.ask("scratch"))["answer"], "old")

    async def test_people_who_talk(self) -> None:
        """Nothing is lost when the source changes, and nobody is silent for long."""
        service, process = await self.up(fleet={"minimum": 2, "spare": 0})
        address = Address("127.0.0.1", service.port)
        people = [Person(f"p{number}", address, INTERVAL) for number in range(PEOPLE)]
        try:
            for first in range(0, PEOPLE, 5):
                await together(each.come() for each in people[first : first + 5])
            await together(befriended(people))
            for person in people:
                person.talk()
            await deferLater(reactor, 1.0)
            for count in range(1, 3):
                self.change("ANSWER =", f"N{count} = 1\nANSWER =")
                await self.served(process, count)
                await deferLater(reactor, 2.0)
            await together(person.hush() for person in people)
            await eventually(lambda: all_heard(people), "all has arrived", START_TIMEOUT)
            found = counted(people)
        finally:
            for person in people:
                await person.client.close()
        (service.folder / "found").write_text(f"{found}\n{process.errors}")
        self.assertEqual(found.noticed, 0, found)
        self.assertGreater(found.sent, PEOPLE * 10)


class Holes(ServiceCase):
    async def test_into_each_server(self) -> None:
        """A session in an app server and one in the login server, from its terminal's command."""
        folder = tempfile.mkdtemp()  # The path of a socket is short.
        self.addCleanup(shutil.rmtree, folder)
        service = self.service(manhole={"socket": f"{folder}/{{server}}.sock"})
        await service.up()
        [app] = await service.fleet()
        for server, lines, found in (
            (app["id"][:6], b"server.kind\nrun(lambda: 6 * 7)\n", ("'app'", "#1: 42")),
            (self.login_server(folder, app["id"]), b"server.kind\n", ("'login'",)),
        ):
            process = service.bbs("manhole", server, "--config", service.config, stdin=lines)
            await process.ended(START_TIMEOUT)
            self.assertEqual((process.exit_code, process.errors), (0, ""))
            for each in found:
                self.assertIn(each, process.output)
        log = (service.data / "logs/security.log").read_text()
        self.assertIn('what=manhole-line outcome=done address=- name="server.kind" by=', log)
        self.assertNotIn("42", log.partition("6 * 7")[2].partition("\n")[0])

    def login_server(self, folder: str, app: str) -> str:
        [path] = {*Path(folder).glob("*.sock")} - {Path(folder) / f"{app}.sock"}
        return str(path)
