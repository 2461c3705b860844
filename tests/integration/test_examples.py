"""The examples as other people have them: wheels in an environment of their own."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import sqlite3
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.examples import EXAMPLES, examples
from tests.integration.environments import build, environment, install, once, run, wheel
from tests.integration.service import START_TIMEOUT, Process, Service, eventually
from tests.integration.shared import SharedCase, SharedService
from tests.integration.terminal import TAB, Terminal
from tests.integration.test_telnet_gateway import Piped, Program

CTRL_U = "\x15"
"""The key that takes away the line up to the cursor."""

_environments = ExitStack()
atexit.register(_environments.close)


@once
def installed() -> Path:
    """The `bin` folder of an environment with the examples, made once. They are asked for by name,
    and no index is: all that pip finds is their wheels and ours."""
    folder = Path(tempfile.mkdtemp(prefix="bbs-examples-"))
    atexit.register(shutil.rmtree, folder)
    ignored = shutil.ignore_patterns("__pycache__", "dropin.cache", "_trial_temp*", "*.egg-info")
    sources = [folder / each.name for each in examples()]
    for example, source in zip(examples(), sources, strict=True):
        shutil.copytree(example, source, ignore=ignored)
    bin_folder = _environments.enter_context(environment())
    wheels = build(bin_folder, folder / "wheels", *sources)
    for source in sources:
        shutil.rmtree(source)
    names = [each.name.split("-")[0] for each in wheels]
    found = ("--find-links", folder / "wheels", "--find-links", wheel().parent)
    install(bin_folder, "--no-index", *found, *names)
    return bin_folder


class Alone(SynchronousTestCase):
    """What each example is by itself, installed."""

    def test_they_need_txbbs(self) -> None:
        """`bbs` on the package index is another project: nobody is to get that one."""
        code = """
from importlib.metadata import distributions
for each in distributions():
    if each.name.startswith("bbs"):
        print(each.name, [need for need in each.requires or () if "bbs" in need])
"""
        said = run(installed() / "python", "-c", code, cwd=installed()).splitlines()
        self.assertEqual(len(said), len(examples()))
        for line in said:
            self.assertRegex(line, r"^bbs-[a-z-]+ \['txbbs>=0.4'\]$")

    def test_their_own_tests(self) -> None:
        bin_folder = installed()
        for example in examples():
            folder = Path(self.mktemp()).absolute()
            folder.mkdir()
            (tests,) = example.glob("test_*.py")
            shutil.copy(tests, folder)
            said = run(bin_folder / "python", "-m", "twisted.trial", tests.stem, cwd=folder)
            self.assertRegex(said.splitlines()[-1], r"^PASSED \(successes=\d+\)$")

    def test_twistd_has_their_servers(self) -> None:
        offered = run(installed() / "twistd", "--help", cwd=installed())
        self.assertNotIn("Traceback", offered)
        for name in ("lobby-login", "lobby-app", "lobby-telnet", "bbs-login"):
            self.assertRegex(offered, rf"\n +{name} ")
            help = run(installed() / "twistd", name, "--help", cwd=installed())
            self.assertIn("Configuration file", help)

    def test_a_plugin_of_commands_loads_no_server(self) -> None:
        code = "import sys, lobby, poll; print(*sys.modules)"
        loaded = run(installed() / "python", "-c", code, cwd=installed()).split()
        self.assertEqual([each for each in loaded if each.startswith("bbs.daemons")], [])
        self.assertNotIn("twisted.internet.reactor", loaded)


class Client(Process):
    """A client between pipes, which is told what to do line by line."""

    def connectionMade(self) -> None:
        pass

    def enter(self, *lines: str) -> None:
        self.transport.write("".join(f"{line}\n" for line in lines).encode())

    def end_of_input(self) -> None:
        self.transport.closeStdin()

    def replies(self) -> list[dict[str, Any]]:
        """What `--json` has printed."""
        return [json.loads(line) for line in self.output.splitlines()]


class ExamplesCase(SharedCase):
    """Services by whatever command is in the environment."""

    def setUp(self) -> Any:
        self.bin = installed()
        return super().setUp()

    async def up(self, name: str) -> SharedService:
        """`NAME up`, ready."""
        return await self.shared(self.bin / name)

    def start_up(self, name: str, service: Service, *words: str, **options: Any) -> Process:
        place = ("--port", str(service.port), "--data", service.data)
        return service.start(self.bin / name, "up", *place, *words, **options)

    def client(self, service: Service, *options: str, name: str = "bbs") -> Client:
        """The client, as a command of the service `name`."""
        place = ("127.0.0.1", str(service.port))
        argv: list[str | Path] = [self.bin / name, "client", *options, *place]
        client = Client(argv, service.folder)
        service.processes.append(client)
        return client

    async def refused(self, service: Service, name: str, *words: str, **options: Any) -> None:
        """`NAME up` ends with one line, in which are all `words`."""
        process = self.start_up(name, service, **options)
        await process.ended(START_TIMEOUT)
        self.assert_refusal(process, f"{name} up", *words)

    def assert_refusal(self, process: Process, name: str, *words: str) -> None:
        self.assertEqual(process.exit_code, 1, process.errors)
        self.assertEqual(len(process.errors.splitlines()), 1, process.errors)
        self.assertTrue(process.errors.startswith(f"{name}: "), process.errors)
        for word in words:
            self.assertIn(word, process.errors)
        self.assertNotIn("Traceback", process.output + process.errors)
        self.assertEqual(process.children(), [])


LOBBY_HELP = """\
Lobbies:
  list-lobby
  join <lobby>
  leave
In a lobby:
  ready
  say <words>
  said
"""


class Lobby(ExamplesCase):
    """Each test is in a lobby of its own: what was said is there for up to a minute longer than
    those who said it."""

    async def test_by_the_client_of_the_board(self) -> None:
        service = await self.up("lobby")
        ann, bob = self.client(service), self.client(service, name="lobby")
        for client, name in ((ann, "ann"), (bob, "bob")):
            client.enter(f"register {name} secret", f"login {name} secret")
            await client.says("Success!\nSuccess!\n")
        ann.enter("list-lobby ann", "join ann chess", "ready ann")
        await ann.says("No lobby is open. Join one, and it is.\n")
        await ann.says("ann is ready in chess\n")
        bob.enter("join bob chess", "list-lobby bob", "said bob", "ready bob")
        await bob.says("chess: ann (ready), bob\n")
        await bob.says("Nobody has said anything yet.\n")
        await ann.says("bob is ready in chess\n")
        bob.enter("say bob good  game", "said bob", "leave bob", "leave bob")
        await bob.says("#chess bob: good  game\n")
        await bob.says("You are in no lobby\n")
        for text in ("bob joins chess", "#chess bob: good  game", "bob leaves chess"):
            await ann.says(f"{text}\n")
        ann.enter("help")
        await ann.says("join <user> <lobby>\nlist-lobby <user>\nready <user>\nleave <user>\n")
        self.assertNotIn("invite <user>", ann.output)
        for client in (ann, bob):
            client.end_of_input()
            await client.ended()
            self.assertEqual((client.exit_code, client.errors), (0, ""))

    async def test_at_a_terminal_by_the_client_of_the_board(self) -> None:
        service = await self.up("lobby")
        ann = Terminal(service)
        bob = Terminal(service)
        for terminal, name in ((ann, "ann"), (bob, "bob")):
            await terminal.prompts(">")
            terminal.enter(f"register {name}")
            for prompt in (f"Password for {name}:", "Repeat the password:"):
                await terminal.prompts(prompt)
                terminal.enter(name)
            await terminal.shows(f"Made the account {name}.")
            await terminal.log_in(name)
        bob.enter("list-lobby")
        await bob.shows("No lobby is open. Join one, and it is.")
        ann.enter("join go")
        await ann.shows("ann joins go")
        bob.enter("list-lobby")
        await bob.shows("go: ann")
        bob.type(f"jo{TAB}g{TAB}")
        await bob.prompts("bob> join go")
        bob.enter("")
        await ann.shows("bob joins go")
        ann.enter("said")
        await ann.shows("Nobody has said anything yet.")
        for terminal in (ann, bob):
            terminal.enter("talk")
            await terminal.shows("Talking to lobby.")
        ann.enter("good evening")
        await bob.shows("#go ann  good evening")
        bob.enter("and to you")
        await ann.shows("#go bob  and to you")
        self.assertEqual([each for each in ann.lines if "good evening" in each][1:], [])
        bob.enter("/leave")
        await ann.shows("bob leaves go")
        bob.enter("help join")
        await bob.shows("Goes into a lobby, and makes it if need be.")
        bob.enter("help")
        await bob.shows("Leaves. You stay logged in.")
        for line in LOBBY_HELP.splitlines():
            self.assertTrue([each for each in bob.lines if each.startswith(line)], line)
        stamped = [line for line in ann.lines if re.match(r"\d\d:\d\d ", line)]
        told = [" * ann joins go", " * bob joins go", "ann  good evening"]
        told += ["#go bob  and to you", " * bob leaves go"]
        self.assertEqual([line[6:] for line in stamped], told)

    async def test_for_programs(self) -> None:
        service = await self.up("lobby")
        ann = self.client(service, "--json")
        ann.enter("register ann secret", "login ann secret", "join ann bridge", "list-lobby ann")
        await ann.says('"people": "ann"')
        await ann.says('"joined"')
        ann.enter("say ann hello", "leave ann", "leave ann")
        await ann.says('"not-in-lobby"')
        await ann.says('"left"')
        told = [each for each in ann.replies() if "event" in each]
        for each in told:
            self.assertIsInstance(each.pop("time"), float)
        of_ann = {"who": "ann", "lobby": "bridge", "user": "ann"}
        self.assertEqual(
            told,
            [
                {"event": "joined", "text": "ann joins bridge", **of_ann},
                {"event": "said", "words": "hello", "text": "ann: hello", **of_ann},
                {"event": "left", "text": "ann leaves bridge", **of_ann},
            ],
        )
        self.assertIn({"status": 0, "lobby": [{"name": "bridge", "people": "ann"}]}, ann.replies())

    async def test_by_telnet_and_nc(self) -> None:
        service = await self.up("lobby")
        telnet = Program(service, service.telnet_port, "telnet")
        await telnet.prompts("lobby>")
        telnet.enter("register ann")
        for prompt in ("Password for ann:", "Repeat the password:"):
            await telnet.prompts(prompt)
            telnet.enter("secret")
        await telnet.shows("The lobby: meet here before the game. Press Enter to begin.")
        telnet.enter("login ann secret")
        await telnet.prompts("ann>")
        telnet.enter("list-lobby")
        await telnet.shows("No lobby is open. Join one, and it is.")
        telnet.enter("join whist")
        await telnet.shows("ann joins whist")
        nc = Piped(service, service.telnet_port, "nc")
        lines = ("register bob secret", "login bob secret", "join whist", "list-lobby")
        nc.transport.write("".join(f"{line}\n" for line in lines).encode())
        await nc.says(b"whist: ann, bob\n")
        await telnet.shows("bob joins whist")
        telnet.enter("ready")
        await nc.says(b"ann is ready in whist\n")
        telnet.enter("talk")
        await telnet.prompts("ann>lobby>")
        telnet.enter("hello bob")
        await nc.says(b"#whist ann  hello bob\n")
        nc.transport.write(b"say hello ann\n")
        await telnet.shows("#whist bob  hello ann")
        telnet.enter("end")
        await telnet.prompts("ann>")
        telnet.type(f"join {TAB}")
        await telnet.prompts("ann> join whist")
        telnet.type(CTRL_U)
        telnet.enter("help")
        await telnet.shows("Client:")
        for line in LOBBY_HELP.splitlines():
            self.assertTrue([each for each in telnet.lines if each.startswith(line)], line)
        self.assertTrue(any(re.match(r"\d\d:\d\d #whist bob  ", line) for line in telnet.lines))

    async def test_an_operator(self) -> None:
        service = await self.up("lobby")
        place = ("--data", service.data)
        status, fleet = (
            service.start(self.bin / "lobby", *part, *place)
            for part in (("db", "status"), ("fleet", "list", "--json"))
        )
        for each in (status, fleet):
            await each.ended(START_TIMEOUT)
        self.assertIn("lobby 3, this program's is 3", status.output)
        self.assertEqual([each["state"] for each in json.loads(fleet.output)], ["ready"])

    async def test_two_services_on_one_database(self) -> None:
        service = self.service()
        service.data.mkdir()
        url = f"sqlite:///{service.data}/shared.sqlite3"
        environ = {"BBS_DATABASE_URL": url}
        made = service.start(self.bin / "bbs", "db", "upgrade", environ=environ)
        await made.ended(START_TIMEOUT)
        self.assertEqual(made.exit_code, 0, made.errors)
        words = ("the database is the service bbs's", "lobby needs one of its own")
        await self.refused(service, "lobby", *words, environ=environ)
        upgrade = service.start(self.bin / "lobby", "db", "upgrade", environ=environ)
        await upgrade.ended(START_TIMEOUT)
        self.assert_refusal(upgrade, "lobby db", *words)

    async def test_a_database_of_a_newer_version(self) -> None:
        service = self.service()
        service.data.mkdir()
        made = service.start(self.bin / "lobby", "db", "upgrade", "--data", service.data)
        await made.ended(START_TIMEOUT)
        self.assertEqual(made.exit_code, 0, made.errors)
        with sqlite3.connect(service.data / "lobby.sqlite3") as database:
            database.execute("UPDATE service_version SET version = 4")
        database.close()
        await self.refused(service, "lobby", "version 4 of lobby", "upgrade lobby")


class Polls(ExamplesCase):
    """An extension of the board, which is installed, used, removed and installed again."""

    async def test_it_stands_beside_the_boards_own(self) -> None:
        service = await self.up("bbs")
        people = self.client(service)
        people.enter("help")
        await people.says("ask-friends <user> <question>\n")
        people.enter("register ann secret", "login ann secret")
        people.enter("register bob secret", "login bob secret")
        people.enter("invite ann bob", "accept-invite bob ann", "ask-friends ann tea or coffee?")
        await people.says("ann asks: tea or coffee? (vote 1 CHOICE)\n")
        people.enter("vote bob 1 tea", "poll ann 1")
        await people.says("tea: 1\n")


class Notices(ExamplesCase):
    """A provider of somebody else's, with pools, batches and notices."""

    async def test_an_app_server_that_will_be_ended(self) -> None:
        """The fleet asks for several in one go, and has another one before it ends one of which
        there is a notice."""
        notices = Path(self.mktemp()).absolute()
        notices.mkdir()
        processor = min(os.sched_getaffinity(0))
        service = self.service()
        config = service.folder / "popen.toml"
        config.write_text(
            '[fleet]\nprovider = "popen"\nminimum = 3\n'
            f'[popen]\nprocessors = ["{processor}", "{processor}-{processor}"]\n'
            f'notices = "{notices}"\n'
        )
        up = self.start_up("bbs", service, "--config", str(config))
        await eventually(lambda: service.log().count(" is ready") >= 3, "three", START_TIMEOUT)
        (batch,) = set(re.findall(r"server (\w+)-[012] is ready", service.log()))
        self.assertIn("launching 3 servers", service.log())
        self.assertIn(f"this server's machine: zone {processor}\n", up.output)
        (notices / f"{batch}-0").write_text("a reboot at noon\n")
        gone = f"server {batch}-0 is gone: a reboot at noon"
        await eventually(lambda: gone in service.log(), gone, START_TIMEOUT)
        self.assertIn("this machine will be taken away: a reboot at noon\n", up.output)
        await eventually(lambda: service.log().count(" is ready") >= 4, "another", START_TIMEOUT)


class Greeter(ExamplesCase):
    """Bots, which are users of the board: a program by `bbs client --json`, which imports nothing
    of bbs, and two by the library."""

    def bot(self, service: SharedService, program: str, password: str, most: int) -> Process:
        """A bot in a folder of its own, as the user `greeter`."""
        path = EXAMPLES / "greeter" / program
        self.assertLessEqual(len(path.read_text().splitlines()), most)
        shutil.copy(path, service.folder)
        file = service.folder / "password"
        file.write_text(f"{password}\n")
        file.chmod(0o600)
        place = ("127.0.0.1", str(service.port), "greeter", str(file))
        environ = {"PATH": f"{self.bin}:{os.environ['PATH']}"}
        return service.start(self.bin / "python", program, *place, environ=environ)

    async def test_it_accepts_and_greets(self) -> None:
        for program, most, rest in (
            ("greeter.py", 40, ", and say no more."),
            ("greeter_asyncio.py", 30, "."),
        ):
            await self.greets(program, most, rest)

    async def greets(self, program: str, most: int, rest: str) -> None:
        service = await self.up("bbs")
        people = self.client(service)
        people.enter("register greeter secret", "register ann a", "register bob b")
        people.enter("login ann a", "login bob b", "invite ann greeter")
        await people.says("Success!\n" * 6)
        greeter = self.bot(service, program, "secret", most)
        # The first invitation was there before, the other comes while it listens.
        await people.says(f"<<<greeter->ann: Hello ann! I am a program{rest}>>>\n")
        people.enter("invite bob greeter")
        await people.says(f"<<<greeter->bob: Hello bob! I am a program{rest}>>>\n")
        self.assertEqual(greeter.output, "ann is a friend now\nbob is a friend now\n")
        people.enter("unfriend ann greeter", "invite ann greeter")
        await greeter.says("ann is a friend now\nbob is a friend now\nann is a friend now\n")
        await service.remove()

    async def test_a_doorman(self) -> None:
        """By the client that `bbs stubs` writes."""
        service = await self.up("bbs")
        written = run(self.bin / "bbs", "stubs", cwd=service.folder)
        (service.folder / "bbs_client.py").write_text(written)
        people = self.client(service)
        people.enter("register greeter secret", "register ann a", "register bob b")
        people.enter("login greeter secret", "login ann a", "login bob b")
        for name in ("ann", "bob"):
            people.enter(f"invite {name} greeter", f"accept-invite greeter {name}")
        people.enter("logout greeter", "mail ann greeter who?")
        await people.says("Success!\n" * 10 + "Bye!\nSuccess!\n")
        doorman = self.bot(service, "doorman.py", "secret", 30)
        await people.says("<<<greeter->ann: Here: bob>>>\n")
        people.enter("logout ann", "mail bob greeter who?")
        await people.says("<<<greeter->bob: Here: nobody else>>>\n")
        self.assertEqual((doorman.output, doorman.errors), ("", ""))

    async def test_it_ends_where_it_is_not_let_in(self) -> None:
        service = await self.up("bbs")
        greeter = self.bot(service, "greeter.py", "wrong", 40)
        await greeter.ended(START_TIMEOUT)
        self.assertEqual(greeter.exit_code, 1)
        self.assertIn("greeter: No such user or password error\n", greeter.errors)


BAD = "import no_such_module\n"
"""A plugin that does not import."""


class BadPlugins(ExamplesCase):
    """Each ends a start in one line, which names the distribution."""

    def plugin(self, service: Service, source: str) -> dict[str, str]:
        """An environment in which the board has a plugin."""
        folder = service.folder / "plugin"
        metadata = folder / "bbs_waving-1.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bbs-waving\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text("[bbs.commands]\nwave = waving:commands\n")
        imports = "from bbs.framework import Command, CommandTable, Refusal, Role\n"
        (folder / "waving.py").write_text(imports + source)
        return {"PYTHONPATH": str(folder)}

    async def starts_badly(self, source: str, words: str) -> None:
        service = self.service()
        environ = self.plugin(service, source)
        named = ("plugin wave of bbs-waving (bbs.commands): ", words)
        await self.refused(service, "bbs", *named, environ=environ)
        config = ("--config", service.config)
        twistd = (self.bin / "twistd", "--nodaemon", "--pidfile=")
        login = service.start(*twistd, "bbs-login", *config, environ=environ)
        await login.ended(START_TIMEOUT)
        self.assert_refusal(login, "bbs-login", *named)

    async def test_it_is_named(self) -> None:
        """Others are in `tests.test_framework`."""
        await self.starts_badly(BAD, "ModuleNotFoundError: No module named")

    async def test_others_are_served(self) -> None:
        """A plugin of the board is none of the lobby's."""
        service = self.service()
        lobby = self.start_up("lobby", service, environ=self.plugin(service, BAD))
        await lobby.says("lobby is ready")
