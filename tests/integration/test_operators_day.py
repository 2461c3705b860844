"""An operator's day, at the shell, on a service that runs: somebody spams, somebody has forgotten a
password, the database is copied while people talk, and put up again elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.in_process import run_here
from tests.integration.service import Person, Service, eventually, together
from tests.integration.shared import SharedCase
from tests.integration.terminal import Terminal

SUCCESS = {"status": 0, "message": "Success!"}

CTRL_U = "\x15"
"""Takes away what is typed."""

LOGOUT = {"event": "logout"}

AT_ONCE = 10.0
"""Seconds for what takes one, on a machine that may have much else to do."""


class OperatorsDay(SharedCase):
    async def bbs(self, service: Service, *arguments: str | Path) -> None:
        """A command that goes well, in a process of its own."""
        process = service.bbs(*arguments, "--config", service.config)
        await process.ended(60.0)
        self.assertEqual((process.exit_code, process.errors), (0, ""))

    def bbs_here(self, service: Service, *arguments: str | Path) -> str:
        """What a command says that goes well, in this process."""
        ended = run_here(*arguments, "--config", service.config)
        self.assertEqual((ended.exit_code, ended.errors), (0, ""))
        return ended.output

    async def listener(self, service: Service, name: str) -> Person:
        person = await service.person(name)
        self.assertEqual(await person.asks("listen"), SUCCESS)
        return person

    async def is_out(self, person: Person) -> None:
        """The person is told, at once, and the session is no more."""
        await eventually(lambda: LOGOUT in person.wire.events, "who is out is told", AT_ONCE)
        self.assertEqual((await person.asks("list-friend"))["code"], "not-logged-in")

    def show(self, service: Service, name: str) -> Any:
        return json.loads(self.bbs_here(service, "user", "show", name, "--json"))

    async def test_somebody_who_types_is_suspended(self) -> None:
        service = await self.shared()
        await service.register("ann", "bob")
        bob = await self.listener(service, "bob")
        path = {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
        terminal = Terminal(service, environ=path)
        await terminal.prompts(">")
        await terminal.log_in("ann")
        terminal.type("post buy my w")
        how = ("--for", "7d", "--reason", "spam", "--data", service.data)
        await self.bbs(service, "user", "suspend", "ann", *how)
        await terminal.shows("ann was logged out.", AT_ONCE)
        ann = self.show(service, "ann")
        self.assertEqual((ann["state"], ann["sessions"]), ("suspended", 0))
        self.assertEqual(ann["suspended"]["reason"], "spam")
        terminal.type(CTRL_U)
        terminal.enter("login ann ann")
        await terminal.shows("This account is suspended")
        self.bbs_here(service, "user", "resume", "ann")
        self.assertIsNone((self.show(service, "ann"))["suspended"])
        # Nobody else has noticed anything.
        self.assertEqual(bob.wire.events, [])
        self.assertEqual((self.show(service, "bob"))["state"], "online")
        log = (service.data / "logs" / "security.log").read_text()
        self.assertIn('what=suspend outcome=done address=- name="ann" by=', log)

    async def test_a_kick_and_a_new_password(self) -> None:
        service = await self.shared()
        await service.register("ann")
        ann, other = await self.listener(service, "ann"), await self.listener(service, "ann")
        self.bbs_here(service, "user", "kick", "ann")
        await self.is_out(ann)
        await self.is_out(other)
        ann = await self.listener(service, "ann")
        file = service.folder / "password"
        file.write_text("sesame\n")
        file.chmod(0o600)
        self.bbs_here(service, "user", "password", "ann", "--password-file", file)
        await self.is_out(ann)
        client = service.bbs(
            *("client", "127.0.0.1", str(service.port)), stdin=b"login ann ann\nlogin ann sesame\n"
        )
        await client.ended()
        self.assertEqual(client.output, "No such user or password error\nSuccess!\n")

    async def test_an_announcement(self) -> None:
        service = await self.shared()
        await service.register("ann", "bob")
        ann, deaf = await self.listener(service, "ann"), await self.listener(service, "ann")
        self.assertEqual(await ann.wire.ask("events"), SUCCESS)
        path = {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
        terminal = Terminal(service, environ=path)
        await terminal.shows("help lists all commands")
        await terminal.log_in("bob")
        await self.bbs(service, "announce", "down at nine", "--until", "2h")
        await terminal.shows("Announcement: down at nine", AT_ONCE)
        await eventually(lambda: ann.wire.events, "whoever listens is told", AT_ONCE)
        later = Terminal(service, environ=path)
        await later.shows("help lists all commands")
        await later.log_in("bob")
        await later.shows("Announcement: down at nine", AT_ONCE)
        [event] = ann.wire.events
        self.assertEqual((event["event"], event["text"]), ("announcement", "down at nine"))
        self.assertEqual(deaf.wire.events, [])
        self.bbs_here(service, "announce", "--remove", f"{event['announcement']}")
        self.assertEqual(json.loads(self.bbs_here(service, "announce", "--list", "--json")), [])

    async def test_a_backup_while_people_talk_and_its_restoration(self) -> None:
        service, other = self.service(), self.service()
        up = await service.up()
        await service.register("ann", "bob", "carol")
        ann, bob, carol = [await service.person(name) for name in ("ann", "bob", "carol")]
        await service.befriend(ann, bob)
        await service.befriend(ann, carol)
        self.assertEqual(await ann.asks("send", "bob", "before"), SUCCESS)
        talking, said = [True], [0]

        async def talk() -> None:
            while talking[0]:
                said[0] += 1
                self.assertEqual(await ann.asks("send", "carol", f"{said[0]}"), SUCCESS)

        talks = together(talk() for _ in range(8))
        file = service.folder / "copy.sqlite3"
        await self.bbs(service, "backup", file)
        before = said[0]
        await eventually(lambda: said[0] > before, "they go on")
        talking[0] = False
        await talks
        # Not where it runs.
        refused = run_here("restore", file, "--force", "--config", service.config)
        self.assertEqual(refused.exit_code, 1)
        self.assertIn("is in use: stop it first", refused.errors)
        # Another machine is another folder.
        await self.bbs(other, "restore", file, "--keep-sessions", "--data", other.data)
        await other.up()
        there = await other.person("bob")
        self.assertEqual(await there.asks("listen"), SUCCESS)
        await eventually(lambda: there.wire.events, "what waited arrives")
        self.assertEqual([each["message"] for each in there.wire.events], ["before"])
        # Who was logged in is so still, and has a place with the next command.
        await other.find_again(carol)
        self.assertEqual(await carol.asks("listen"), SUCCESS)
        await eventually(lambda: carol.wire.events, "of what was said meanwhile, a beginning")
        said_to_carol = [int(each["message"]) for each in carol.wire.events]
        self.assertEqual(said_to_carol, [*range(1, 1 + len(said_to_carol))])
        # The service of before has noticed nothing.
        self.assertTrue(up.alive)
        self.assertEqual((await bob.asks("list-friend"))["friend"], ["ann"])
