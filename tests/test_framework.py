"""A service is declared by the public names alone, and is served as declared: `bbs.framework`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from peewee import CharField, ForeignKeyField
from twisted.trial.unittest import SynchronousTestCase

import bbs.framework
from bbs import __version__
from bbs.board import board
from bbs.commands.common import all_commands
from bbs.commands.service import ServiceUnusable
from bbs.config import Configuration
from bbs.core.lazy import moved
from bbs.core.plugins import PluginUnusable
from bbs.framework import (
    Ask,
    Caller,
    Command,
    CommandTable,
    Refusal,
    Reply,
    Role,
    Service,
    Table,
    User,
    WrongUsage,
    read_only,
    setting,
    success,
)
from bbs.framework.feeds import Feed
from bbs.operators import Counter
from bbs.testing import MemoryService, Peer
from tests.installed import InstalledCase, install
from tests.paths import CHECKOUT

commands = CommandTable()


class NobodyThere(Refusal):
    text = "Nobody is called {}"


class OnlyOne(Refusal):
    text = "Only one"
    code = "one"


def nod(caller: Caller) -> None:
    """Nothing more is to be said."""


@read_only
def about(caller: Caller, name: str) -> Mapping[str, object]:
    if not User.select().where(User.name == name).exists():
        raise NobodyThere(name)
    return {"name": name, "asked": [caller.name, str(caller.id), str(caller.now)]}


def number(caller: Caller) -> int:
    return 7


commands.declare(Command("nod <user>", Role.APP, rule=nod))
commands.declare(Command("about <user> <name>", Role.APP, rule=about))
commands.declare(Command("number <user>", Role.APP, rule=number))


@commands.command("wave <user> <name>", Role.APP)
async def wave(ask: Ask, name: str) -> Reply:
    """Tell somebody, who hears it only now."""
    channel = await ask.database.run(channel_of, name)
    ask.count("waves")
    text = f"{ask.user.name} waves"
    await ask.tell(channel, {"event": "wave", "from": ask.user.name, "text": text})
    return success("Waved!", times=1)


@commands.command("count <user>", Role.APP)
async def count(ask: Ask) -> Reply:
    ask.count("nobody knows this")
    return success()


@commands.command("meet <user> <room>", Role.APP)
async def meet(ask: Ask, room: str) -> Reply:
    """A channel of the service's own."""
    await ask.hear(f"room.{room}")
    await ask.tell(f"room.{room}", {"event": "met", "id": room, "text": f"{ask.user.name} is here"})
    return success()


@commands.command("odd <user> <kind>", Role.APP)
async def odd(ask: Ask, kind: str) -> object:
    """No reply that can be sent."""
    members: dict[str, object] = {
        "status": {"status": "open"},
        "event": {"event": "met"},
        "number": {"number": float("nan")},
    }
    return members.get(kind) or success(status=7)


@commands.command("pretend <user> <event>", Role.APP)
async def pretend(ask: Ask, event: str) -> None:
    """Whatever it is called."""
    await ask.tell(ask.user.channel, {"event": event, "text": "…"})


@commands.command("free <text>", Role.EITHER, rest=True)
async def free(ask: Ask, text: str) -> Reply:
    """Needs no user."""
    if text == "one":
        raise OnlyOne()
    if text == "usage":
        raise WrongUsage(ask.command.usage)
    return success(text)


@read_only
def channel_of(name: str) -> str:
    user = User.get_or_none(User.name == name)
    if user is None:
        raise NobodyThere(name)
    channel: str = user.channel
    return channel


class Room(Table):
    name = CharField()


class Seat(Table):
    room = ForeignKeyField(Room)


async def later(*arguments: object) -> Any:
    """Nothing that can be run on a thread."""


@dataclass(frozen=True)
class Bells:
    count: int = setting(1, "bells")


ringing = CommandTable()


@ringing.command("bells", Role.EITHER)
async def bells(ask: Ask) -> Reply:
    return success(bells=ask.settings.count)


noted: list[tuple[int, Bells]] = []


def note_bells(user: int, settings: Bells) -> None:
    noted.append((user, settings))


registered: list[int] = []

waving = Service("waving", commands=(commands,), on_register=registered.append, counters=("waves",))

WAVES = Counter(
    "waves", metric="a_waves", help="Waves", member="waves_per_second", arrival="They come"
)


class ServedAsDeclared(SynchronousTestCase):
    def setUp(self) -> None:
        registered.clear()
        self.service = MemoryService(waving)
        self.addCleanup(self.service.close)
        self.tokens = self.service.people("ann", "bob")
        self.peer = self.service.at_home(self.tokens["ann"])

    def ask(self, line: str) -> dict[str, object]:
        """What ann is answered to a line, which has her token after the command."""
        command, _, rest = line.partition(" ")
        return self.peer.ask(f"{command} {self.tokens['ann']} {rest}".strip())

    def test_a_rule_that_returns_nothing_is_a_success(self) -> None:
        self.assertEqual(self.ask("nod"), {"status": 0, "message": "Success!"})

    def test_a_mapping_is_the_reply(self) -> None:
        now = str(self.service.clock.seconds())
        self.assertEqual(
            self.ask("about bob"), {"status": 0, "name": "bob", "asked": ["ann", "1", now]}
        )

    def test_a_refusal_is_told_in_its_words_and_code(self) -> None:
        told = {"status": 1, "message": "Nobody is called cat", "code": "nobody-there"}
        self.assertEqual(self.ask("about cat"), told)
        self.assertEqual(self.ask("wave cat"), told)
        self.assertEqual(
            self.peer.ask("free one"), {"status": 1, "message": "Only one", "code": "one"}
        )
        self.assertEqual(self.peer.ask("free usage")["message"], "Usage: free <text>")

    def test_what_is_no_reply_is_a_bug_that_no_peer_hears_of(self) -> None:
        reply = self.ask("number")
        self.assertEqual((reply["status"], reply["code"]), (1, "internal-error"))
        self.assertRegex(str(reply["message"]), "^Internal error [0-9a-f]{8}$")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_nor_of_one_that_clients_would_take_for_something_else(self) -> None:
        """They part replies from events by their members."""
        for kind in ("status", "event", "number", "answer"):
            self.assertEqual(self.ask(f"odd {kind}")["code"], "internal-error")
        self.assertEqual(len(self.flushLoggedErrors(TypeError, ValueError)), 4)

    def test_a_command_without_a_user(self) -> None:
        self.assertEqual(self.peer.ask("free to  speak")["message"], "to  speak")
        self.assertEqual(self.service.peer().ask("free to speak")["message"], "to speak")

    def test_events_of_any_name_reach_those_who_listen_now(self) -> None:
        self.assertEqual(self.ask("wave bob")["message"], "Waved!")
        listener = self.service.listening(self.tokens["bob"])
        self.assertEqual(listener.heard(), [])
        self.ask("wave bob")
        self.assertEqual(listener.heard(), [{"event": "wave", "from": "ann", "text": "ann waves"}])

    def test_events_of_the_frameworks_own_are_not_told(self) -> None:
        listener = self.service.listening(self.tokens["ann"])
        for event in ("moved", "logout", "waiting", "problem"):
            self.assertEqual(self.ask(f"pretend {event}")["code"], "internal-error")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 4)
        self.ask("pretend removed")
        self.assertEqual([event["event"] for event in listener.heard()], ["removed"])

    def test_one_who_does_not_read_is_not_waited_for(self) -> None:
        listener = self.service.listening(self.tokens["bob"])
        listener.protocol.pauseProducing()
        self.ask("wave bob")
        listener.protocol.resumeProducing()
        self.ask("wave bob")
        self.assertEqual(len(listener.heard()), 1)

    def test_channels_of_its_own(self) -> None:
        """An `id` is nothing special to a service without a feed."""
        listener = self.service.listening(self.tokens["ann"])
        self.ask("meet chess")
        self.service.at_home(self.tokens["bob"]).ask(f"meet {self.tokens['bob']} chess")
        self.assertEqual(
            [event["text"] for event in listener.events()], ["ann is here", "bob is here"]
        )
        self.assertEqual(self.ask("meet a.b")["code"], "internal-error")
        self.flushLoggedErrors()

    def test_listening_from_an_id_where_nothing_is_kept(self) -> None:
        self.assertEqual(self.ask("listen 41")["status"], 0)
        self.assertEqual(self.ask("listen x")["code"], "wrong-usage")

    def test_counting(self) -> None:
        self.ask("wave bob")
        home = self.service.serving(self.tokens["ann"]).serving.home
        self.assertEqual(home.tally.counts, {"waves": 1})
        self.assertEqual(self.ask("count")["code"], "internal-error")
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_registering(self) -> None:
        self.assertEqual(registered, [1, 2])

    def test_it_has_no_command_of_the_board(self) -> None:
        self.assertEqual(self.ask("list-friend")["code"], "unknown-command")

    def test_what_it_has(self) -> None:
        for peer in (self.service.peer(), self.peer):
            reply = peer.ask("commands")
            self.assertEqual(
                [reply[key] for key in ("service", "version", "protocol")],
                ["waving", __version__, 2],
            )
            offers = {each["usage"]: each for each in reply["commands"]}
            self.assertEqual(
                offers["about <user> <name>"],
                {
                    "usage": "about <user> <name>",
                    "server": "app",
                    "rest": False,
                    "harmless": True,
                },
            )
            self.assertEqual(
                offers["free <text>"],
                {"usage": "free <text>", "server": "either", "rest": True, "harmless": False},
            )
            self.assertNotIn("forwarded-for <address> <secret>", offers)
            self.assertNotIn("commands", offers)


class TheBoard(SynchronousTestCase):
    def test_what_it_has(self) -> None:
        """What may be sent again, of the framework's commands and of the board's."""
        service = MemoryService(board)
        self.addCleanup(service.close)
        offers = service.peer().ask("commands")["commands"]
        self.assertEqual(
            {each["usage"].split()[0] for each in offers if each["harmless"]},
            {"list-invite", "list-friend", "receive-post", "list-group", "list-joined"}
            | {"list-block", "list-member", "groups", "history", "who"}
            | {"new", "my-posts", "thread"}
            | {"login", "locate", "listen", "help", "ping", "quit", "events"},
        )


class Declaring(SynchronousTestCase):
    def test_what_is_no_service(self) -> None:
        for name in ("", "Lobby", "a b", "a.b", "a-b", "1a", "a" * 33, "ä"):
            self.assertRaises(ValueError, Service, name)
        self.assertRaises(ValueError, Service, "a", commands=commands)
        self.assertRaises(ValueError, Service, "a", models=(User,))
        self.assertRaises(ValueError, Service, "a", version=2)
        unrunnable: Any = later
        unrunnable = Feed(unrunnable, unrunnable, unrunnable)
        wrong: Any
        for wrong in (
            {"commands": [Command("nod <user>", Role.APP, rule=nod)]},
            {"models": User},
            {"models": (Command,)},
            {"models": (Seat, Room)},
            {"models": (Room, Room)},
            {"version": 2, "steps": {2: later}},
            {"counters": "ab"},
            {"counters": (7,)},
            {"counters": Counter("b")},
            {"feed": later},
            {"feed": unrunnable},
            {"sweep": later},
            {"on_register": 7},
            {"on_delete": later},
            {"greeting": 7},
            {"settings": 7},
            {"settings": Room},
            {"settings": type(Configuration().login)},
        ):
            self.assertRaises(ValueError, Service, "a", **wrong)
        Service("a", models=(Room, Seat))

    def test_what_is_counted(self) -> None:
        service = Service("a", counters=["nods", WAVES])
        self.assertEqual(service.counted, {"nods": Counter("nods"), "waves": WAVES})
        self.assertEqual(service.counters, ["nods", WAVES])

    def test_settings_are_for_handlers_and_new_accounts(self) -> None:
        service = Service(
            "ringing", commands=(ringing,), on_register=note_bells, settings=Bells, version=1
        )
        config = Configuration(service={"bells": Bells(3)})
        memory = MemoryService(service, config=config)
        self.addCleanup(memory.close)
        noted.clear()
        self.assertEqual(memory.people("ann").keys(), {"ann"})
        self.assertEqual(noted, [(1, Bells(3))])
        self.assertEqual(memory.peer().ask("bells")["bells"], 3)

    def test_what_is_no_counter(self) -> None:
        wrong: Any
        for wrong in (
            {"name": ""},
            {"name": "two words"},
            {"name": 7},
            {"metric": "a_waves"},
            {"help": "Waves"},
            {"metric": "a-waves", "help": "Waves"},
            {"metric": "a_waves_total", "help": "Waves"},
            {"metric": 0, "help": "Waves"},
            {"metric": "a_waves", "help": "Waves\nand nods"},
            {"metric": "a_waves", "help": b"Waves"},
            {"metric": "a_waves", "help": "\ud800"},
            {"member": "counters"},
            {"member": "waves a second_per_second"},
            {"member": None},
            {"arrival": "waves\narrive"},
            {"arrival": "they wave " * 100},
            {"arrival": True},
        ):
            error = self.assertRaises(ValueError, Counter, **{"name": "waves", **wrong})
            self.assertEqual(len(str(error).splitlines()), 1)

    def test_counters_that_are_wrong_in_a_service(self) -> None:
        for counters, text in (
            (("two words",), "a: malformed name of a counter: 'two words'"),
            (("b", Counter("b")), "a: two counters have the same name"),
            ((WAVES, replace(WAVES, name="b", member="")), "a: two counters have the same metric"),
            (
                (WAVES, Counter("b", member=WAVES.member)),
                "a: two counters have the same member",
            ),
        ):
            error = self.assertRaises(ValueError, Service, "a", counters=counters)
            self.assertEqual(str(error), text)

    def test_what_is_no_command(self) -> None:
        wrong: Any
        for wrong in (
            ("nod <user>", "app", wave),
            ("nod <user>", Role.APP, "wave"),
        ):
            self.assertRaises(ValueError, Command, *wrong)
        self.assertRaises(ValueError, Command, "nod <user>", Role.APP, rule=later)

    def test_a_command_that_nothing_carries_out(self) -> None:
        self.assertRaises(ValueError, CommandTable().declare, Command("nod <user>", Role.APP))

    def test_a_name_that_every_service_has(self) -> None:
        table = CommandTable()
        table.declare(Command("listen <user>", Role.APP, rule=nod))
        error = self.assertRaises(ServiceUnusable, all_commands, Service("a", commands=(table,)))
        self.assertEqual(
            str(error), "the service a: the command listen already exists, in every service"
        )


PLUGINS = {
    "added": "table.declare(Command('poke <user>', Role.APP, rule=rule))",
    "taken": "table.declare(Command('ping <user>', Role.APP, rule=rule))",
    "usage": "table.declare(Command('poke user', Role.APP, rule=rule))",
    "speechless": "\nfrom bbs.framework import Refusal\nclass Speechless(Refusal): pass",
    "broken": "import nothing_of_this_name",
    "other": "table = 7",
}


class Plugins(InstalledCase):
    """Commands from elsewhere, as `NAME.commands` has them."""

    def commands_with(self, plugin: str) -> CommandTable:
        self.clean_site()
        install(
            self.site,
            f"bbs-{plugin}",
            {"waving.commands": f"{plugin} = {plugin}_plugin:table"},
            **{
                f"{plugin}_plugin": "from bbs.framework import Command, CommandTable, Role\n"
                "table = CommandTable()\n"
                "def rule(caller): pass\n" + PLUGINS[plugin]
            },
        )
        return all_commands(waving)

    def test_they_are_added(self) -> None:
        self.assertIn("poke", [command.name for command in self.commands_with("added")])

    def refusal(self, plugin: str) -> str:
        line = str(self.assertRaises(PluginUnusable, self.commands_with, plugin))
        self.assertNotIn("\n", line)
        self.assertTrue(line.startswith(f"plugin {plugin} of bbs-{plugin} (waving.commands): "))
        return line.partition(": ")[2]

    def test_one_that_is_unusable_is_named_with_its_distribution(self) -> None:
        for plugin, reason in (
            ("taken", "ValueError: the command ping already exists, in every service"),
            ("usage", "ValueError: 'poke user': 'user' is neither <name> nor [<name>]"),
            ("speechless", "TypeError: Speechless is a Refusal and needs a text"),
            ("broken", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
            ("other", "TypeError: it is not a CommandTable"),
        ):
            self.assertEqual(self.refusal(plugin), reason)


IMPORT = re.compile(r"^ *from (bbs[\w.]*) import (\([^)]*\)|.*)$", re.M)


class Surface(SynchronousTestCase):
    def test_every_name_is_there(self) -> None:
        for name in bbs.framework.__all__:
            self.assertIsNotNone(getattr(bbs.framework, name))
        self.assertEqual(dir(bbs.framework), sorted(bbs.framework.__all__))
        self.assertRaises(AttributeError, getattr, bbs.framework, "Database")

    def test_what_a_service_needs_first(self) -> None:
        names = """Service Command CommandTable Role Ask Caller success Reply Refusal read_only
        for_update Table User NAME_LENGTH RisingIdField setting login_server app_server
        telnet_gateway command_line"""
        self.assertLessEqual(set(names.split()), set(bbs.framework.__all__))
        self.assertLess(len(bbs.framework.__all__), 50)

    def test_old_places(self) -> None:
        """Services of version 0.4.0 import from there."""
        for name, module in moved(bbs.framework).items():
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                public = getattr(bbs.framework, name)
            self.assertIs(public, getattr(import_module(module), name))
            where = f"bbs.framework.{name} goes in version 1.0: use {module}.{name}"
            self.assertEqual([str(each.message) for each in told], [where])

    def test_nothing_of_ours_uses_them(self) -> None:
        """Modules of bbs, with the projects that `bbs new` makes, and the examples. Their tests
        pass with `-W error::DeprecationWarning`, too."""
        old = {module: moved(import_module(module)) for module in ("bbs.framework", "bbs.client")}
        for folder in ("bbs", "examples"):
            for path in (CHECKOUT / folder).rglob("*.py"):
                for module, names in IMPORT.findall(path.read_text()):
                    used = old.get(module, {}).keys() & re.findall(r"\w+", names)
                    self.assertLessEqual(used, set(), path)

    def test_peers(self) -> None:
        """What `bbs.testing` gives is what the daemons make their connections with."""
        service = MemoryService(waving)
        self.addCleanup(service.close)
        self.assertIsInstance(service.peer(), Peer)
