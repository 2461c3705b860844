"""What a server says that its service has, for clients that were not written for it; and how a
service is refused whose presentation cannot be told."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import replace
from typing import Any, cast

from twisted.internet.testing import MemoryReactorClock

from bbs.board import board
from bbs.board.client import face
from bbs.cli import Program, run
from bbs.commands.common import all_commands
from bbs.commands.service import ServiceUnusable, described
from bbs.config import Configuration
from bbs.core.clock import IReactor
from bbs.daemons.composition import AppServing, LoginServing, Runtime
from bbs.daemons.daemon import REASONS
from bbs.daemons.telnet import TelnetGateway
from bbs.framework import CommandTable, Role, Service, success
from bbs.limits.password_hashing import Hasher
from bbs.protocols.line import Reply
from bbs.protocols.presentation import from_json
from bbs.testing import MemoryService
from bbs.testing.service import QUICK
from bbs.testing.threads import Inline
from tests.installed import InstalledCase

table = CommandTable()


@table.command("say <user> <text>", Role.APP, rest=True)
async def say(ask: object, text: str) -> Reply:
    """Nothing comes of it."""
    return success()


@table.command("said <user>", Role.APP, listed=False, harmless=True)
async def said(ask: object) -> Reply:
    """What was said."""
    return success()


FACE = """
from bbs.framework import *
face = Presentation(
    help={"say": "Says it."}, talks=[Talk("all", send="say", history="said", ended_by=["quit"])]
)
stranger = Presentation(help={"sing": "Sings."})
other = Presentation(complete={"say song": []})
untalked = Presentation(talks=[Talk("all", send="said")])
number = 7
"""

BROKEN = (
    ("nowhere_at_all:face", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    ("its_face:none", "AttributeError: module 'its_face' has no attribute 'none'"),
    ("its_face:number", "it is not a Presentation"),
    ("its_broken:face", "ValueError: Choices: name is empty"),
)
"""What cannot be loaded, and why."""

WRONG = (
    ("its_face:stranger", "help: there is no command sing"),
    ("its_face:other", "complete: say <user> <text> has no <song>"),
    ("its_face:untalked", "talk all: said <user> is not said <user> <text>, with rest=True"),
)
"""What is not about the service's commands, and why."""


class DescribedCase(InstalledCase):
    def setUp(self) -> None:
        super().setUp()
        (self.site / "its_face.py").write_text(FACE)
        (self.site / "its_broken.py").write_text("from bbs.framework import *\nChoices('')\n")

    def service(self, client: str) -> Service:
        return Service("a", commands=(table,), client=client)


class Told(DescribedCase):
    def replies(self, service: Service) -> list[dict[str, Any]]:
        """What the login server and an app server answer."""
        memory = MemoryService(service)
        self.addCleanup(memory.close)
        (token,) = memory.people("ann").values()
        return [peer.ask("commands") for peer in (memory.peer(), memory.at_home(token))]

    def test_of_a_service_with_a_presentation(self) -> None:
        for reply in self.replies(self.service("its_face:face")):
            talk = {"name": "all", "send": "say", "history": "said", "ended_by": ["quit"]}
            talk["line"] = "{sender} to {to}: {text}"
            self.assertEqual(reply["presentation"], {"help": {"say": "Says it."}, "talks": [talk]})
            told = {"usage": "said <user>", "server": "app", "rest": False, "harmless": True}
            self.assertEqual(reply["unlisted"], [told])
            self.assertNotIn(told, reply["commands"])

    def test_of_one_without(self) -> None:
        for reply in self.replies(self.service("")):
            self.assertEqual({*reply} & {"presentation", "unlisted"}, set())
            self.assertIn("say <user> <text>", [each["usage"] for each in reply["commands"]])

    def test_of_the_board(self) -> None:
        reply, _ = self.replies(board)
        self.assertEqual(from_json(reply["presentation"]), replace(face, legacy=None))
        unlisted = [each["usage"] for each in reply["unlisted"]]
        self.assertEqual(unlisted, ["history-group <user> <group>"])


class Refused(DescribedCase):
    """In one line, before anybody is served."""

    def test_by_servers(self) -> None:
        memory = MemoryService(self.service("its_face:face"))
        self.addCleanup(memory.close)
        for client, reason in (*BROKEN, *WRONG):
            service = self.service(client)
            line = f"the service a: client {client}: {reason}"
            error = self.assertRaises(ServiceUnusable, described, service, all_commands(service))
            self.assertEqual(str(error), line)
            self.assertIsInstance(error, REASONS)
            ground = Runtime(
                service,
                memory.config,
                memory.database,
                memory.broker.client(),
                memory.clock,
                memory.wall,
                b"",
            )
            app = self.assertRaises(ServiceUnusable, AppServing, ground, Inline())
            parts: dict[str, Any] = {
                "me": memory.me,
                "hasher": Hasher(Inline(), QUICK),
                "provider": memory.provider,
                "workers": Inline(),
            }
            login = self.assertRaises(ServiceUnusable, LoginServing, ground, **parts)
            self.assertEqual((str(app), str(login)), (line, line))

    def test_by_the_gateway(self) -> None:
        for client, reason in BROKEN:
            said: list[str] = []
            reactor = MemoryReactorClock()
            gateway = TelnetGateway(
                self.service(client), Configuration(), cast("IReactor", reactor), said.append
            )
            gateway.startService()
            self.assertEqual(said, [f"a-telnet: the service a: client {client}: {reason}"])
            self.assertEqual(reactor.tcpServers, [])
            self.successResultOf(gateway.stopService())

    def test_by_the_client(self) -> None:
        self.patch(os, "environ", {**os.environ, "XDG_STATE_HOME": self.mktemp()})
        for client, reason in BROKEN:
            output, errors = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                service = self.service(client)
                program = Program("a", lambda: service, service.client)  # noqa: B023
                code = run(program, ("client", "127.0.0.1", "1"))
            self.assertEqual((code, output.getvalue()), (1, ""))
            self.assertEqual(errors.getvalue(), f"a client: client {client}: {reason}\n")

    def test_a_reference_that_is_none(self) -> None:
        wrong: Any
        for wrong in ("its_face", "its_face.face", "its_face:", ":face", "a b:c", None, 7, face):
            error = self.assertRaises(ValueError, Service, "a", client=wrong)
            line = str(error)
            self.assertTrue(line.startswith("a: client is "), line)
            self.assertTrue(line.endswith(', and not "package.module:name"'), line)
            self.assertEqual(len(line.splitlines()), 1)
