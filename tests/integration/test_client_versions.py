"""Clients and servers of 0.3.0, whose servers tell no presentation, with those of today; and
services that were built on 0.3.0, on today's framework."""

from __future__ import annotations

import atexit
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from twisted.trial.unittest import SkipTest

from lab.rolling.versions import environ, unpack
from tests.conforms import conforms
from tests.integration.service import BIN, Person, Process, Service, eventually
from tests.integration.shared import SharedCase, SharedService, forget_everybody
from tests.integration.terminal import TAB, Terminal
from tests.integration.test_telnet_gateway import Program
from tests.paths import CHECKOUT, CONFORMANCE, FIXTURES

OLDER = "0.3.0"
"""The last version whose servers tell no presentation, and whose clients know the board's alone."""

EXAMPLES = "0c6d60d9ae97de72e59cc13834cb813a6c82c78e"
"""A commit that has the examples as they were with that version."""

SCRIPT_TIMEOUT = 60.0

TODAY: Mapping[str, str] = {}
"""The environment of a process of today's."""

MOST_OF_A_PART = 30_000
"""Characters in a post of which 35 are more than one part of a list."""


@cache
def folder() -> Path:
    """One for all tests of this process."""
    made = Path(tempfile.mkdtemp(prefix="bbs-versions-"))
    atexit.register(shutil.rmtree, made)
    return made


@cache
def older(version: str = OLDER) -> Mapping[str, str]:
    """The environment of a process of an older version."""
    return environ(unpack(folder(), version))


def command(name: str, paths: Mapping[str, str], *argv: str | Path) -> Path:
    """A command that runs another with these variables."""
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [*(f"{name}={value}" for name, value in paths.items()), *map(str, argv)]
    path.write_text(f'#!/bin/sh\nexec env {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
    return path


@cache
def older_bbs(version: str = OLDER) -> Path:
    """`bbs` of an older version."""
    return command(f"{version}/bbs", older(version), BIN / "bbs")


def beside(*places: Path) -> Mapping[str, str]:
    """The environment of a process of today's that finds these folders' packages."""
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {"PYTHONPATH": os.pathsep.join([*map(str, places), *inherited])}


@cache
def examples() -> Path:
    """The examples as they were with 0.3.0, unchanged."""
    try:
        packed = subprocess.run(
            ["git", "archive", EXAMPLES, "examples/lobby", "examples/poke"],
            cwd=CHECKOUT,
            capture_output=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        raise SkipTest(f"the history up to {EXAMPLES[:7]} is not here") from None
    subprocess.run(["tar", "-x", "-C", folder()], input=packed, check=True)
    # What an installed package is found by.
    made = folder() / "examples/poke/src/bbs_poke-0.1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: bbs-poke\nVersion: 0.1.0\n")
    (made / "entry_points.txt").write_text("[bbs.commands]\npoke = poke:commands\n")
    return folder() / "examples"


def run_main(module: str) -> tuple[str, ...]:
    return sys.executable, "-P", "-c", f"from {module} import main; raise SystemExit(main())"


@cache
def lobby() -> Path:
    """`lobby`, the example's."""
    return command("lobby", beside(examples() / "lobby/src"), *run_main("lobby.daemons"))


@cache
def notes() -> Path:
    """`notes`, of a service with durable events."""
    place = FIXTURES / "older/notes"
    return command("notes", beside(place), *run_main("notes"))


@cache
def poked() -> Path:
    """`bbs` with the example's command in it."""
    return command("poked/bbs", beside(examples() / "poke/src"), BIN / "bbs")


@dataclass(frozen=True)
class Face:
    """What people read at a terminal, by a client of today or of 0.3.0."""

    terminal: Terminal
    today: bool

    def said(self, sender: str, to: str, text: str) -> str:
        is_group = to.startswith("#")
        if self.today:
            return f"{to} {sender}  {text}" if is_group else f"{sender}  {text}"
        return f"{sender}->{f'GROUP<{to[1:]}>' if is_group else to}: {text}"

    def usage(self, usage: str) -> str:
        name, space, rest = usage.partition(" ")
        return usage if self.today else f"{name} [<user>]{space}{rest}"

    async def unread(self, listed: str) -> None:
        if self.today:
            await self.terminal.shows(f"new: {listed}")
        else:
            await self.terminal.prompts(rf".* \[{listed}\]>")

    async def talks(self, name: str, unread: str = "") -> None:
        if self.today:
            await self.terminal.talks_to(name)
        else:
            await self.terminal.prompts(f"ann→{name}{rf' .{unread}.' if unread else ''}>")

    async def succeeds(self, line: str, said: str) -> None:
        """The rest of a line is entered, and that works."""
        said = said if self.today else "Success!"

        def successes() -> int:
            return sum(each.startswith(said) for each in self.terminal.lines)

        before = successes()
        self.terminal.enter(line)
        dump = self.terminal.dump()
        await eventually(lambda: successes() > before, f"{line!r} works: see {dump}")


class VersionsCase(SharedCase):
    """Somebody at a client, whose environment says of which version it is."""

    def client(
        self,
        service: Service,
        paths: Mapping[str, str],
        script: str | Path,
        *options: str,
        program: Path = BIN / "bbs",
    ) -> Process:
        """A client that carries out a script from a file."""
        if isinstance(script, str):
            path = service.folder / f"script-{len(service.processes)}"
            path.write_text(script)
            script = path
        words = [program, "client", *options, "127.0.0.1", service.port]
        line = f"exec {shlex.join(map(str, words))} < {shlex.quote(str(script))}"
        return service.start("/bin/sh", "-c", line, environ=paths)

    async def printed(self, *arguments: Any, **options: Any) -> str:
        """What such a client prints, which ends well."""
        client = self.client(*arguments, **options)
        await client.ended(SCRIPT_TIMEOUT)
        self.assertEqual((client.exit_code, client.errors), (0, ""))
        return client.output

    async def objects(self, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        """What it prints by `--json`, without what differs each time."""
        script, rest = arguments[:3], arguments[3:]
        said = await self.printed(*script, "--json", *rest, **options)
        objects = [json.loads(line) for line in said.splitlines()]
        return [cast("dict[str, Any]", _settled(each)) for each in objects]

    async def check_scripts(
        self, service: Service, paths: Mapping[str, str], scripts: str = "123456"
    ) -> None:
        """The published conversations."""
        for script in scripts:
            printed = await self.printed(service, paths, CONFORMANCE / f"{script}.txt")
            expected = (CONFORMANCE / f"{script}.expected").read_text()
            if not conforms(printed, expected):
                self.assertEqual(printed.splitlines(), expected.splitlines(), script)
            forget_everybody(str(service.options["database.url"]))

    async def friends(self, service: Service) -> Person:
        """ann and bob are friends, and bob, who is here by wire, has written while she was away;
        eve has invited her."""
        await service.register("ann", "bob", "eve")
        ann, bob, eve = [await service.person(name) for name in ("ann", "bob", "eve")]
        await service.befriend(ann, bob)
        for reply in (
            await bob.asks("send", "ann", "while you were away"),
            await bob.asks("create-group", "chess"),
            await eve.asks("invite", "ann"),
            await bob.asks("listen"),
        ):
            self.assertEqual(reply["status"], 0, reply)
        ann.wire.close()
        return bob

    async def converse(self, service: Service, paths: Mapping[str, str]) -> None:
        """What ann does at a terminal, and sees, whatever the versions."""
        bob = await self.friends(service)
        terminal = Terminal(service, environ=paths)
        await terminal.log_in("ann")
        await terminal.shows("1 invitation waits: list-invite; 1 message came while you were away")
        face = Face(terminal, today=paths is TODAY)
        await terminal.shows(face.said("bob", "ann", "while you were away"))
        await face.unread("bob 1")

        # What is completed, and how it is used.
        terminal.type("accept-invite ")
        await terminal.shows(face.usage("accept-invite <id>"))
        await self.completes(terminal, "", "accept-invite eve")
        await face.succeeds("", "You and eve are friends now.")
        await self.completes(terminal, "send b", "send bob")
        await face.succeeds("hello", "Sent to bob.")
        await self.completes(terminal, "join-group c", "join-group chess")
        await face.succeeds("", "You are in chess now.")
        await self.completes(terminal, "send-group c", "send-group chess")
        await face.succeeds("to all", "Sent to chess.")
        await self.completes(terminal, "talk e", "talk eve")
        terminal.enter("")
        await face.talks("eve")
        terminal.enter("end")

        # Shorter names, and what commands do.
        for line, shown in (
            ("w", "bob is online" if face.today else "bob  online"),
            ("msg bob by another name", "Sent to bob." if face.today else "Success!"),
            ("help who", "friends are" if face.today else "which of your friends are online, and"),
            ("help send", "In short: msg"),
            ("help talk", "talk <friend or group>"),
            ("help list-block", face.usage("list-block")),
            ("frends", "Did you mean friends?"),
        ):
            terminal.enter(line)
            await terminal.shows(shown)

        # Unread messages, and talks, which begin with what was said before.
        for text, to in (("one", "ann"), ("two", "ann")):
            await bob.asks("send", to, text)
        await bob.asks("send-group", "chess", "e4")
        await terminal.shows(face.said("bob", "#chess", "e4"))
        await face.unread("bob 2, #chess 1")
        terminal.enter("talk bob")
        await face.talks("bob", "#chess 1")
        one = face.said("bob", "ann", "one")
        await eventually(
            lambda: sum(one in line for line in terminal.lines) == 2, "it is shown again"
        )
        terminal.enter("so I say")
        await face.talks("bob", "#chess 1")
        terminal.enter("/talk chess")
        await face.talks("#chess")
        terminal.enter("to everybody")
        terminal.enter("end")
        terminal.enter("history bob")
        await terminal.shows(face.said("ann", "bob", "so I say"))

        # What she says elsewhere is shown here, and what she says here is not shown twice.
        script = "login ann ann\nsend ann bob from elsewhere\n"
        await self.printed(service, paths, script)
        await terminal.shows("ann → bob  from elsewhere" if face.today else "->bob: from elsewhere")
        terminal.enter("leave-group chess")
        terminal.enter("ping")
        await terminal.shows("Pong!")
        everybody = [each for each in terminal.lines if "to everybody" in each]
        self.assertEqual(len(everybody), 1, everybody)
        heard = [each["message"] for each in bob.wire.events if each["event"] == "message"]
        self.assertEqual(
            [each for each in heard if each not in ("e4",)],
            ["hello", "to all", "by another name", "so I say", "to everybody", "from elsewhere"],
        )
        terminal.enter("exit")
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 0)

    async def completes(self, terminal: Terminal, typed: str, line: str) -> None:
        """Tab makes one of the other."""
        name = line.split(" ")[-1]
        terminal.type(typed)
        await terminal.shows(f" {name}")
        terminal.type(TAB)
        await terminal.prompts(f".*> {line}")

    async def check_programs(self, service: Service) -> None:
        """For programs both clients print the same."""
        said: list[list[dict[str, Any]]] = []
        for paths in (older(), TODAY):
            script = (
                "events\nregister ann a\nregister bob b\nlogin ann a\nlogin bob b\n"
                "invite ann bob\nlist-invite bob\naccept-invite bob ann\nlist-friend ann\nwho ann\n"
                "post ann hello, all\nreceive-post bob\nsend ann bob hi\ncreate-group ann chess\n"
                "join-group bob chess\nsend-group bob chess e4\nlist-member ann chess\n"
                "history ann bob\nhistory-group ann chess\nsend ann nobody hi\nnonsense ann\n"
                "history ann\nlist-block ann\nlocate ann\nping\ncommands\nlogout bob\nlogin bob b\n"
                "delete ann\ndelete bob\nlist-friend ann\nping\n"
            )
            for name in ("ann", "bob", "chess"):
                script = script.replace(name, f"{name}{len(said)}")
            said.append(await self.objects(service, paths, script))
        older_said, today_said = said
        self.assertEqual(_in_order(today_said), _in_order(older_said))
        self.assertGreater(len(today_said), 31)

    async def check_parts(self, service: Service, paths: Mapping[str, str]) -> None:
        """Posts come in parts, the latest first, and are shown in order."""
        await self.friends(service)
        await service.person("bob")
        script = "login bob bob\n" + "".join(
            f"post bob {number} {'x' * MOST_OF_A_PART}\n" for number in range(40)
        )
        await self.printed(service, TODAY, script)
        ann = await service.person("ann")
        self.assertTrue((await ann.asks("receive-post")).get("more"))
        shown = await self.printed(service, paths, "login ann ann\nreceive-post ann\n")
        numbers = [int(each) for each in re.findall(r"^bob: (\d+) x", shown, re.MULTILINE)]
        self.assertEqual(numbers, [*range(40)])


def _settled(value: object) -> object:
    """What does not differ from one time to the next: no message from those who are gone either, as
    SQLite gives the number of a group that was removed to the next."""
    if isinstance(value, dict):
        # How many messages wait depends on what has been noted as delivered by then. Older clients
        # print the device token, which they do not know, and today's keeps it to itself.
        varying = ("id", "time", "last", "port", "after", "post", "messages")
        return {
            name: "…" if name in varying and isinstance(each, int | float) else _settled(each)
            for name, each in value.items()
            if name != "device"
        }
    if isinstance(value, str):
        return re.sub("(ann|bob|chess)[01]", r"\1", value)
    if isinstance(value, list):
        gone = [each for each in value if isinstance(each, dict) and each.get("former")]
        return [_settled(each) for each in value if each not in gone]
    return value


def _in_order(objects: list[dict[str, Any]]) -> list[str]:
    events = sorted(json.dumps(each) for each in objects if "event" in each)
    return [*(json.dumps(each) for each in objects if "event" not in each), *events]


class OlderClient(VersionsCase):
    """The client of 0.3.0 on today's board."""

    async def test_scripts(self) -> None:
        await self.check_scripts(await self.shared(), older())

    async def test_for_programs(self) -> None:
        await self.check_programs(await self.shared())

    async def test_at_a_terminal(self) -> None:
        await self.converse(await self.shared(), older())

    async def test_mail_from_before(self) -> None:
        """That is a message which waits, as those of `send` are."""
        service = await self.shared()
        await service.register("ann", "bob")
        ann, bob = [await service.person(name) for name in ("ann", "bob")]
        await service.befriend(ann, bob)
        for number, version in enumerate((OLDER, "0.2.0")):
            await self.printed(service, TODAY, "login ann ann\nlogout ann\n")
            self.assertEqual((await bob.asks("send", "ann", "no"))["code"], "not-online")
            self.assertEqual((await bob.asks("mail", "ann", f"mail {number}"))["status"], 0)
            script = "login ann ann\n" + "list-friend ann\n" * 3
            shown = await self.printed(service, older(version), script)
            self.assertEqual(shown.count(f"<<<bob->ann: mail {number}>>>\n"), 1, shown)
            self.assertNotIn(">>>", await self.printed(service, older(version), script))

    async def test_a_text_of_several_lines(self) -> None:
        """Its U+2028 ends no line of theirs."""
        service = await self.shared()
        await service.register("ann", "bob")
        ann, bob = [await service.person(name) for name in ("ann", "bob")]
        await service.befriend(ann, bob)
        for number, version in enumerate((OLDER, "0.2.0")):
            await self.printed(service, TODAY, "login ann ann\nlogout ann\n")
            text = f"{number}\u2028<<<carol->ann: fake>>>"
            for command in (("mail", "ann"), ("post",)):
                self.assertEqual((await bob.asks(*command, text))["status"], 0)
            script = "login ann ann\nreceive-post ann\n" + "list-friend ann\n" * 3
            shown = await self.printed(service, older(version), script)
            said = f"{number}\\u2028<<<carol->ann: fake>>>"
            self.assertIn(f"<<<bob->ann: {said}>>>\n", shown)
            self.assertIn(f"\nbob: {said}\n", shown)
            self.assertNotIn("\u2028", shown)

    async def test_posts_in_parts(self) -> None:
        await self.check_parts(await self.shared(), older())


class OlderBoard(VersionsCase):
    """Today's client on a board of 0.3.0."""

    async def older(self) -> SharedService:
        return await self.shared(older_bbs())

    async def test_scripts(self) -> None:
        await self.check_scripts(await self.older(), TODAY)

    async def test_for_programs(self) -> None:
        await self.check_programs(await self.older())

    async def test_at_a_terminal(self) -> None:
        await self.converse(await self.older(), TODAY)

    async def test_posts_in_parts(self) -> None:
        await self.check_parts(await self.older(), TODAY)


class Oldest(VersionsCase):
    """The same with 0.2.0, as far as it goes."""

    async def test_its_client_on_todays_board(self) -> None:
        await self.check_scripts(await self.shared(), older("0.2.0"), "12345")

    async def test_todays_client_on_its_board(self) -> None:
        await self.check_scripts(await self.shared(older_bbs("0.2.0")), TODAY, "12345")


class OlderLobby(VersionsCase):
    """The lobby of 0.3.0's examples on today's framework: its README, and its tests."""

    def test_its_own_tests(self) -> None:
        for name in ("lobby", "poke"):
            place = examples() / name
            ended = subprocess.run(
                [sys.executable, "-m", "twisted.trial", f"test_{name}"],
                cwd=place,
                env={**os.environ, **beside(place / "src", place)},
                capture_output=True,
                text=True,
            )
            self.assertRegex(ended.stdout.splitlines()[-1], r"^PASSED \(successes=\d+\)$")

    async def test_by_scripts(self) -> None:
        """As the board's client has it, and its own; of both versions."""
        service = await self.shared(lobby())
        script = (
            "register ann a\nlogin ann a\njoin ann chess\nlist-lobby ann\nready ann\n"
            "list-lobby ann\nleave ann\nleave ann\nsend ann bob hi\ndelete ann\n"
        )
        expected = [
            *("Success!", "Success!", "Success!", "chess: ann", "Success!", "chess: ann (ready)"),
            *("Success!", "You are in no lobby", "Unknown command send", "Success!"),
        ]
        told = ["ann is ready in chess", "ann joins chess", "ann leaves chess"]
        for paths, program in ((older(), BIN / "bbs"), (TODAY, BIN / "bbs"), (TODAY, lobby())):
            lines = (await self.printed(service, paths, script, program=program)).splitlines()
            self.assertEqual(sorted(each for each in lines if each in told), told)
            self.assertEqual([each for each in lines if each not in told], expected)

    async def test_for_programs(self) -> None:
        service = await self.shared(lobby())
        script = "register ann a\nlogin ann a\njoin ann chess\nlist-lobby ann\nleave ann\n"
        said = [
            await self.objects(service, paths, f"{script}leave ann\nhelp\ndelete ann\n")
            for paths in (older(), TODAY)
        ]
        # The last event may come when the script has ended.
        certain = [[each for each in one if each.get("event") != "left"] for one in said]
        self.assertEqual(*map(_in_order, certain))
        joined = {"event": "joined", "who": "ann", "lobby": "chess", "text": "ann joins chess"}
        self.assertIn({**joined, "user": "ann"}, said[1])
        self.assertIn({"status": 0, "lobby": ["chess: ann"]}, said[1])

    async def test_at_terminals(self) -> None:
        """By today's client and by its own gateway: nothing of the board's is there."""
        service = await self.shared(lobby())
        await service.register("ann", "bob")
        terminal = Terminal(service)
        await terminal.log_in("ann")
        telnet = Program(service, service.telnet_port, "telnet")
        await telnet.prompts("lobby>")
        telnet.enter("")
        await telnet.shows("The lobby: meet here before the game.")
        telnet.enter("login bob bob")
        await telnet.prompts("bob>")
        telnet.enter("join chess")
        await telnet.shows("Done.")
        terminal.type("list-l")
        await terminal.shows(" list-lobby")
        terminal.type(TAB)
        terminal.enter("")
        await terminal.shows("chess: bob")
        terminal.enter("join chess")
        await telnet.shows("ann joins chess")
        telnet.enter("ready")
        await terminal.shows("bob is ready in chess")
        for line, shown in (
            ("help join", "join <lobby>"),
            ("help", "list-lobby"),
            ("w", "Unknown command w"),
            ("talk bob", "Unknown command talk"),
        ):
            terminal.enter(line)
            await terminal.shows(shown)
        text = "\n".join(terminal.lines)
        self.assertNotIn("invite", text)


class OlderCommand(VersionsCase):
    """A command for the board of 0.3.0's examples, on today's."""

    async def test_poke(self) -> None:
        service = await self.shared(poked())
        bob = await self.friends(service)
        terminal = Terminal(service)
        await terminal.log_in("ann")
        await terminal.shows("while you were away")
        await self.completes(terminal, "poke b", "poke bob")
        await terminal.shows("poke <friend>")
        terminal.enter("")
        await terminal.shows("Done.")
        terminal.enter("poke eve")
        await terminal.shows("No friend of yours called eve is online")
        [poke] = [each for each in bob.wire.events if each["event"] == "poke"]
        self.assertEqual(poke, {"event": "poke", "from": "ann", "text": "ann pokes you"})
        await bob.asks("poke", "ann")
        await terminal.shows("bob pokes you")
        terminal.enter("help poke")
        await terminal.shows("poke <friend>")


class OlderNotes(VersionsCase):
    """A service of 0.3.0 that declares nothing to clients and has durable events, of which some are
    called `message` and others are not."""

    async def test_as_before(self) -> None:
        service = await self.shared(notes())
        script = (
            "register ann a\nregister bob b\nlogin bob b\nlogin ann a\nsay ann bob hello\n"
            "roll ann bob\nlist-note bob\nlist-numbered bob\nsay ann nobody x\nlogout ann\n"
            "delete bob\nlogin ann a\ndelete ann\n"
        )
        told = {"<<<ann->bob: hello>>>", "ann rolls 6 for you"}
        said = []
        for paths, program in ((older(), BIN / "bbs"), (TODAY, BIN / "bbs"), (TODAY, notes())):
            lines = (await self.printed(service, paths, script, program=program)).splitlines()
            self.assertEqual({each for each in lines if each in told}, told)
            said.append([re.sub(r"\d+", "…", each) for each in lines if each not in told])
        self.assertEqual(said[1:], [said[0]] * 2)

    async def test_at_terminals(self) -> None:
        """Whoever comes back listens on behind the last message."""
        service = await self.shared(notes())
        await service.register("ann", "bob")
        own = Terminal(service)
        await own.log_in("ann")
        telnet = Program(service, service.telnet_port, "telnet")
        await telnet.prompts("notes>")
        telnet.enter("")
        telnet.enter("login bob bob")
        await telnet.prompts("bob>")
        telnet.enter("say ann good morning")
        await own.shows("bob  good morning")
        own.enter("say bob and to you")
        await telnet.shows("ann  and to you")
        own.enter("roll bob")
        await telnet.shows("ann rolls 6 for you")
