"""`NAME stubs` and `NAME spec`: typed clients and descriptions, from the declaration."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.__main__ import main as bbs
from bbs.cli.description import UNRELEASED
from bbs.client import BadReply, ServiceClient, aio
from bbs.framework import (
    Ask,
    ChatEvent,
    CommandTable,
    Event,
    Extension,
    Line,
    Presentation,
    Refusal,
    Reply,
    Role,
    Service,
    command_line,
    success,
)
from bbs.framework.feeds import Feed
from bbs.testing import MemoryNetwork
from tests.memory_service import AsInProduction

HERE = "tests.cli.test_description"


@dataclass(frozen=True)
class Song:
    by: str
    event: str = "sang"
    notes: list[int] = field(default_factory=list)


class TooOdd(Refusal):
    text = "{} is too odd"


class _Inner:
    @dataclass(frozen=True)
    class Odd:
        """Has "quotation marks" and a \\ and

        a second paragraph."""

        from_: str
        tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Odd:
    inner: _Inner.Odd | None
    counts: dict[str, int]
    whatever: object
    share: float = 0.5
    more_odds: list[_Inner.Odd] = field(default_factory=list)


@dataclass(frozen=True)
class Nothing:
    pass


ODD = {
    "inner": {"from": "ann", "tags": ["x"]},
    "counts": {"a": 1},
    "whatever": [1],
    "share": 1,
    "more_odds": [{"from": "bob"}],
}

commands = CommandTable()


async def answer(ask: Ask, *words: str) -> Reply:
    """Answer with the command and its arguments."""
    return success(words=[ask.command.name, *words])


for usage, rest in {
    "class <user> <from> [<self>] [<each>]": False,
    "close <user>": False,
    "str <user> <user-name> <user_name>": False,
    "a/b <user> <text>": True,
    "a_b <user>": False,
    "2nd": False,
    "Nothing <user>": False,
    "Odd <user>": False,
}.items():
    role = Role.APP if "<user>" in usage else Role.LOGIN
    commands.command(usage, role, rest=rest)(answer)
commands.command("hidden <user>", Role.APP, listed=False)(answer)
commands.command("bid <user> <lot:int> <to> [<until:time>]", Role.APP)(answer)


@commands.command("odd <user>", Role.APP, reply=Odd, harmless=True)
async def odd(ask: Ask) -> Reply:
    if ask.user.name == "zoe":
        raise TooOdd(ask.user.name)
    return success(**(ODD if ask.user.name == "ann" else {"inner": 7}))


@commands.command("nothing <user>", Role.APP, reply=Nothing)
async def nothing(ask: Ask) -> Reply:
    return success()


face = Presentation(
    help={"odd": 'Says """odd\n\\things".', "close": "Closes."},
    chats=[
        ChatEvent("told", sender="by.name", text="words", to="", room="where", time="at"),
    ],
    events={
        "rain": Line("{where} since {since:time}", time="at", by="by", when={"wet": True}),
        "rain umbrella": Line("{umbrella:text} helps"),
    },
)

_extension = Extension("extra", feed_events=("extra",))


def _refuse(*_: object) -> Any:
    raise AssertionError


odds = Service(
    "odds",
    commands=(commands,),
    client=f"{HERE}:face",
    greeting="Odd\x1b things.",
    feed=Feed(_refuse, _refuse, _refuse, events=("told",)),
    extensions=(_extension,),
)

main = command_line(odds)

_numbers = iter(range(1000))


def printed(*arguments: str, run: Any = bbs) -> tuple[int, str, str]:
    """The exit code of a command, and what it prints."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = run(arguments)
    return code, output.getvalue(), errors.getvalue()


def client_module(*arguments: str) -> Any:
    """The module that `bbs stubs` prints."""
    code, text, errors = printed("stubs", *arguments)
    assert (code, errors) == (0, ""), errors
    module = ModuleType(f"written_{next(_numbers)}")
    sys.modules[module.__name__] = module  # where types of its dataclasses are looked up
    exec(compile(text, module.__name__, "exec"), module.__dict__)
    return module


class Stubs(SynchronousTestCase):
    def setUp(self) -> None:
        service = AsInProduction(Service("odds", commands=(commands,), client=f"{HERE}:face"))
        self.addCleanup(service.close)
        self.network = MemoryNetwork(service)
        self.module = client_module(f"{HERE}:odds")
        self.client = self.module.OddsClient(
            service.clock, self.network.login_server, self.network.endpoint
        )
        self.addCleanup(self.client.close)
        for name in ("ann", "bob", "zoe"):
            self.result(self.client.register(name, "1"))
            self.result(self.client.login(name, "1"))

    def result(self, deferred: Any) -> Any:
        self.network.flush()
        return self.successResultOf(deferred)

    def words(self, deferred: Any) -> Any:
        return self.result(deferred).members["words"]

    def test_a_method_for_each_command(self) -> None:
        client = self.client
        self.assertIsInstance(client, ServiceClient)
        for deferred, words in (
            (client.class_("ann", from_="x"), ["class", "x"]),
            (client.class_("ann", "x", each_="y"), ["class", "x", "y"]),
            (client.class_("ann", "x", self_="y", each_="z"), ["class", "x", "y", "z"]),
            (client.close_("ann"), ["close"]),
            (client.str_("ann", user_name="x", user_name_="y"), ["str", "x", "y"]),
            (client.a_b("ann", text="two  words"), ["a/b", "two  words"]),
            (client.a_b_("ann"), ["a_b"]),
            (client.command_2nd(), ["2nd"]),
            (client.Nothing("ann"), ["Nothing"]),
            (client.Odd("ann"), ["Odd"]),
            (client.bid("ann", 7, "bob"), ["bid", 7, "bob"]),
            (client.bid("ann", lot=7, to="bob", until=5.5), ["bid", 7, "bob", 5.5]),
        ):
            self.assertEqual(self.words(deferred), words)
        self.assertFalse(hasattr(client, "hidden"))

    def test_replies_are_values(self) -> None:
        module = self.module
        found = self.result(self.client.odd("ann"))
        inner = module.Odd_(from_="ann", tags=("x",))
        more = [module.Odd_(from_="bob")]
        self.assertEqual(found, module.Odd__(inner, {"a": 1}, [1], 1, more))
        self.assertEqual(self.result(self.client.nothing("ann")), module.Nothing_())
        failing = self.client.odd("bob")
        self.network.flush()
        self.failureResultOf(failing, BadReply)

    def test_help_is_there(self) -> None:
        self.assertEqual(self.module.OddsClient.odd.__doc__, 'Says """odd\n\\things".')
        self.assertEqual(self.module.OddsClient.close_.__doc__, "Closes.")
        self.assertEqual(self.module.OddsClient.__doc__, "Odd\x1b things.")
        self.assertEqual(
            self.module.Odd_.__doc__, 'Has "quotation marks" and a \\ and a second paragraph.'
        )

    def test_nothing_acts_on_a_terminal(self) -> None:
        _, text, _ = printed("stubs", f"{HERE}:odds")
        self.assertEqual([each for each in text if not each.isprintable() and each != "\n"], [])

    def test_what_the_library_has_stays(self) -> None:
        for name in ("login", "listen", "close", "change_password"):
            self.assertNotIn(name, vars(self.module.OddsClient))

    def test_for_asyncio(self) -> None:
        module = client_module("--asyncio", f"{HERE}:main")
        self.assertTrue(issubclass(module.OddsClient, aio.Client))
        self.assertFalse({"login", "events", "listen"} & vars(module.OddsClient).keys())


class Which(SynchronousTestCase):
    """Of which service."""

    def test_its_own(self) -> None:
        for arguments in ((), ("bbs",), ("bbs.board:board",)):
            self.assertIn("class BbsClient(", printed("stubs", *arguments)[1])
        self.assertIn("class OddsClient(", printed("stubs", run=main)[1])

    def test_of_an_installed_command(self) -> None:
        from bbs.cli import description

        class Point:
            @staticmethod
            def load() -> object:
                return main

        def points(group: str, name: str) -> list[object]:
            return [Point] if (group, name) == ("console_scripts", "odds") else []

        self.patch(description, "entry_points", points)
        self.assertIn("class OddsClient(", printed("stubs", "odds")[1])

    def test_of_none(self) -> None:
        how = "name a service by its command, or by package.module:service\n"
        for name, reason in (
            ("nowhere", f"no command nowhere is installed; {how}"),
            ("pip", f"pip is not a service, nor its command; {how}"),
            ("json:loads", f"json:loads is not a service, nor its command; {how}"),
            ("no.such:name", "no.such:name: No module named 'no'\n"),
            ("json:nothing", "json:nothing: module 'json' has no attribute 'nothing'\n"),
        ):
            for part in ("stubs", "spec"):
                self.assertEqual(printed(part, name), (1, "", f"bbs {part}: {reason}"))


class Spec(SynchronousTestCase):
    def document(self, *arguments: str, **options: Any) -> Any:
        code, text, errors = printed("spec", *arguments, **options)
        self.assertEqual((code, errors), (0, ""))
        return json.loads(text)

    def test_commands(self) -> None:
        document = self.document(run=main)
        operation = document["operations"]["command.class"]
        self.assertEqual(operation["action"], "receive")
        parameters = (("from", True), ("self", False), ("each", False))
        self.assertEqual(
            operation["x-command"],
            {
                "usage": "class <user> <from> [<self>] [<each>]",
                "server": "app",
                "user": True,
                "parameters": [{"name": name, "required": needed} for name, needed in parameters],
                "rest": False,
                "harmless": False,
                "listed": True,
            },
        )
        self.assertEqual(document["operations"]["command.close"]["summary"], "Closes.")
        self.assertEqual(document["operations"]["command.login"]["channel"], ref("channels/login"))
        self.assertIn("command.a_2f_b", document["operations"])
        self.assertIs(document["operations"]["command.hidden"]["x-command"]["listed"], False)
        self.assertEqual(document["info"]["description"], "Odd\x1b things.")
        self.assertEqual(document["info"]["version"], UNRELEASED)  # It is of no distribution.

    def test_kinds_of_arguments(self) -> None:
        parameters = self.document(run=main)["operations"]["command.bid"]["x-command"]["parameters"]
        self.assertEqual([each.get("type") for each in parameters], ["integer", None, "number"])

    def test_refusals(self) -> None:
        """Where a command declares its own, they are there by their codes."""
        operations = self.document()["operations"]
        refuses = operations["command.unblock"]["x-command"]["refuses"]
        self.assertEqual(
            refuses, {"no-such-user": "{} does not exist", "not-blocked": "{} is not blocked"}
        )
        self.assertEqual(operations["command.post"]["x-command"]["refuses"], {})
        self.assertNotIn("refuses", operations["command.register"]["x-command"])

    def test_requests_are_lines(self) -> None:
        messages = self.document(run=main)["components"]["messages"]
        for name, right, wrong in (
            ("class", ("class t x", "class t x y z "), ("class t", "class t a b c d", "close t")),
            ("a_2f_b", ("a/b t two  words",), ("a/b t", "a_b t x")),
            ("2nd", ("2nd",), ("2nd x",)),
        ):
            pattern = messages[f"request.{name}"]["payload"]["pattern"]
            for line in right:
                self.assertRegex(line, pattern)
            for line in wrong:
                self.assertNotRegex(line, pattern)

    def test_replies(self) -> None:
        components = self.document(run=main)["components"]
        plain, own = components["messages"]["reply.odd"]["payload"]["allOf"]
        self.assertEqual(plain["properties"]["status"], {"const": 0})
        self.assertEqual(own, ref("components/schemas/Odd"))
        schema = components["schemas"]["Odd"]
        self.assertEqual(schema["required"], ["inner", "counts", "whatever"])
        self.assertEqual(
            schema["properties"],
            {
                "inner": {"anyOf": [ref("components/schemas/Odd_"), {"type": "null"}]},
                "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                "whatever": {},
                "share": {"type": "number"},
                "more_odds": {"type": "array", "items": ref("components/schemas/Odd_")},
            },
        )
        self.assertEqual([*components["schemas"]["Odd_"]["properties"]], ["from", "tags"])

    def test_codes(self) -> None:
        codes = self.document(run=main)["components"]["messages"]["failure"]["x-codes"]
        self.assertEqual(codes["too-odd"], "{} is too odd")
        self.assertEqual(codes["not-logged-in"], "Not login yet")
        self.assertNotIn("not-friends", codes)
        codes = self.document()["components"]["messages"]["failure"]["x-codes"]
        self.assertIn("not-friends", codes)
        self.assertNotIn("too-odd", codes)

    def test_declared_events(self) -> None:
        """A record has the members, and may have the name among them."""
        service = Service("birds", events=(Event("sang", Song), Event("flew")))
        messages = self.document(run=command_line(service))["components"]["messages"]
        sang = messages["event.sang"]["payload"]
        self.assertEqual(sang["required"], ["event", "by"])
        self.assertEqual(
            sang["properties"],
            {
                "event": {"const": "sang"},
                "by": {"type": "string"},
                "notes": {"type": "array", "items": {"type": "integer"}},
            },
        )
        flew = messages["event.flew"]["payload"]["properties"]
        self.assertEqual(flew, {"event": {"const": "flew"}, "text": {"type": "string"}})

    def test_events(self) -> None:
        document = self.document(run=main)
        operations, messages = document["operations"], document["components"]["messages"]
        told = messages["event.told"]["payload"]
        self.assertEqual(told["required"], ["event", "by", "words", "id"])
        self.assertEqual(told["properties"]["event"], {"const": "told"})
        names = told["properties"]["by"]["properties"]
        self.assertEqual((names, told["properties"]["at"]), ({"name": TEXT}, {"type": "number"}))
        rain = messages["event.rain"]["payload"]["properties"]
        self.assertEqual(rain["since"], {"type": "number"})
        self.assertEqual(rain["umbrella"], TEXT)
        self.assertEqual(rain["wet"], {"type": "boolean"})
        stored = {name: each["x-stored"] for name, each in operations.items() if "x-stored" in each}
        self.assertEqual(
            {name for name, is_stored in stored.items() if is_stored}, {"event.told", "event.extra"}
        )
        self.assertEqual(operations["event.told"]["action"], "send")
        self.assertLessEqual({"event.moved", "event.logout", "event.waiting"}, stored.keys())


TEXT = {"type": "string"}


def ref(where: str) -> Mapping[str, str]:
    return {"$ref": f"#/{where}"}
