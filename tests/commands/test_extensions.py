"""Extensions of a service: their commands, tables, settings, counters and words."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.cli import command_line
from bbs.commands.common import all_commands
from bbs.commands.extensions import extended
from bbs.commands.service import ServiceUnusable
from bbs.config import Configuration
from bbs.core.plugins import PluginUnusable
from bbs.framework import (
    Ask,
    Caller,
    Command,
    CommandTable,
    Extension,
    Presentation,
    Refusal,
    Role,
    Service,
    Table,
    User,
    setting,
)
from bbs.operators import ActResult, ListRow, OperatorAct, OperatorColumn, OperatorList, Subcommand
from bbs.protocols.presentation import from_json
from bbs.testing import MemoryService


class Wave(Table):
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    many = peewee.IntegerField(default=0, constraints=[peewee.SQL("DEFAULT 0")])


@dataclass(frozen=True)
class Waving:
    most: int = setting(2, "waves of one person", minimum=1)


def last_wave(user: int, seen: float | None) -> dict[str, object]:
    return {"waved": Wave.select().where(Wave.user == user).count()}


def stop(now: float, key: str) -> ActResult:
    return ActResult(key, {})


def no_rows(now: float, search: str, behind: str, limit: int) -> list[ListRow]:
    return []


class WavedEnough(Refusal):
    text = "You have waved {} times"


def wave(caller: Caller) -> int:
    Wave.insert(user=caller.id).execute()
    return Wave.select().where(Wave.user == caller.id).count()


commands = CommandTable()


@commands.command("wave <user>", Role.APP, rule=wave)
async def waved(ask: Ask, count: int) -> None:
    if count > ask.settings.most:
        raise WavedEnough(count)
    ask.count("waves")
    event = {"event": "waved", "text": f"{ask.user.name} waves", "id": count}
    await ask.tell(ask.user.channel, {k: v for k, v in event.items() if k != "id"})


@commands.command("wave-twice <user>", Role.APP)
async def waved_with_an_id(ask: Ask) -> None:
    await ask.tell(ask.user.channel, {"event": "waved", "text": "twice", "id": 7})


registered: list[int] = []


def greet(user: int, settings: Waving) -> None:
    registered.append(settings.most)


def forget(user: int) -> int:
    removed: int = Wave.delete().where(Wave.user == user).execute()
    return removed


face = Presentation(help={"wave": "Waves."}, groups={"People": ["wave"]})
other_face = Presentation(help={"look": "Looks.", "wave": "Is lost."}, groups={"People": ["look"]})

WAVING = Extension(
    "waving",
    commands=(commands,),
    models=(Wave,),
    on_register=greet,
    on_delete=forget,
    counters=("waves",),
    settings=Waving,
    client="tests.commands.test_extensions:face",
)

looking = CommandTable()


@looking.command("look", Role.EITHER, harmless=True)
async def look(ask: Ask) -> dict[str, object]:
    return {"settings": str(ask.settings)}


def service(*extensions: Extension, **members: Any) -> Service:
    return Service("hall", commands=(looking,), extensions=extensions, **members)


class Serving(SynchronousTestCase):
    def start(self, config: Configuration | None = None, **members: Any) -> None:
        self.service = MemoryService(service(WAVING, **members), config=config)
        self.addCleanup(self.service.close)
        self.token = self.service.people("ann")["ann"]
        self.peer = self.service.listening(self.token)

    def test_its_commands_are_the_services(self) -> None:
        self.start()
        self.assertEqual(self.peer.ask(f"wave {self.token}")["status"], 0)
        self.assertEqual(self.peer.events(), [{"event": "waved", "text": "ann waves"}])
        self.assertIn("wave <user>", self.peer.ask("help")["message"].splitlines())

    def test_its_handlers_have_its_settings(self) -> None:
        self.start()
        replies = [self.peer.ask(f"wave {self.token}") for _ in range(3)]
        self.assertEqual(replies[-1]["message"], "You have waved 3 times")
        self.assertEqual(self.peer.ask("look")["settings"], "None", "the service has none")

    def test_it_counts(self) -> None:
        self.start()
        self.peer.ask(f"wave {self.token}")
        [server] = self.service.servers.values()
        self.assertEqual(server.serving.tally().counts, {"waves": 1})

    def test_only_events_of_the_feed_have_an_id(self) -> None:
        self.start()
        self.peer.ask(f"wave-twice {self.token}")
        [error] = self.flushLoggedErrors(ValueError)
        self.assertIn("name the event in feed_events", str(error.value))

    def test_its_rule_for_new_accounts_has_its_settings(self) -> None:
        registered.clear()
        config = Configuration(service={"waving": Waving(5)})
        self.start(config)
        self.assertEqual(registered, [5])

    def test_what_a_deleted_account_leaves_is_its_own(self) -> None:
        calls: list[int] = []

        def last(user: int) -> int:
            calls.append(Wave.select().count())
            return 0

        self.start(on_delete=last)
        self.peer.ask(f"wave {self.token}")
        self.assertEqual(self.service.peer().ask(f"delete {self.token}")["status"], 0)
        self.assertEqual(calls, [0], "the extension's rows went first")

    def test_its_words_are_added(self) -> None:
        self.start(client="tests.commands.test_extensions:other_face")
        sent = self.peer.ask("commands")["presentation"]
        self.assertEqual(sent["help"], {"wave": "Is lost.", "look": "Looks."})
        self.assertEqual(sent["groups"], {"People": ["look", "wave"]})

    def test_a_service_without_words_gets_those_of_the_extension_too(self) -> None:
        self.start()
        sent = from_json(self.peer.ask("commands")["presentation"])
        assert sent is not None
        self.assertEqual(sent.help["wave"], "Waves.")
        self.assertIsNotNone(sent.chat("message"), "as clients have it that are told nothing")
        self.assertNotIn("list-friend", sent.help)


class Declaring(SynchronousTestCase):
    def test_tables_begin_with_its_name(self) -> None:
        self.assertEqual(Wave._meta.table_name, "waving_wave")  # type: ignore[attr-defined]
        Extension("waving", models=(Wave,))
        self.assertEqual(Wave._meta.table_name, "waving_wave")  # type: ignore[attr-defined]

    def test_what_is_malformed(self) -> None:
        for members, reason in (
            ({"name": "Waving"}, "'Waving' is not a name of an extension"),
            ({"commands": commands}, "waving: commands are tables, (table,) if one"),
            ({"models": Wave}, "waving: models are classes of tables"),
            ({"feed_events": "waved"}, "waving: feed_events are names of events"),
            ({"on_delete": look}, "waving: rules are plain functions"),
            ({"client": "face"}, "waving: client is 'face'"),
            ({"settings": int}, "waving: the section int must be a dataclass(frozen=True)"),
            ({"version": 2}, "waving: schema 2 needs a step"),
        ):
            given: Any = {"name": "waving", **members}
            error = self.assertRaises(ValueError, partial(Extension, **given))
            self.assertIn(reason, str(error))

    def test_rows_that_would_keep_an_account(self) -> None:
        class Held(Table):
            user = peewee.ForeignKeyField(User)

        error = self.assertRaises(ValueError, Extension, "waving", models=(Held,))
        self.assertEqual(
            str(error),
            'waving: Held.user needs on_delete="CASCADE" or "SET NULL": without the extension,'
            " nobody could delete an account",
        )

    def test_what_does_not_fit(self) -> None:
        other = Extension("waving")
        error = self.assertRaises(ValueError, service, WAVING, other)
        self.assertEqual(str(error), "hall: the name of the extension waving is taken")
        error = self.assertRaises(ValueError, service, WAVING, Extension("b", settings=Waving))
        self.assertEqual(str(error), "hall: there are two sections [waving]")
        error = self.assertRaises(ValueError, service, WAVING, counters=("waves",))
        self.assertEqual(str(error), "hall: two counters have the same name")
        twice = service(Extension("look", commands=(looking,)))
        error = self.assertRaises(ServiceUnusable, MemoryService, twice)
        self.assertIn("the service hall: ", str(error))


class Installed(SynchronousTestCase):
    """Extensions of other distributions."""

    def install(self, name: str, code: str) -> str:
        """Make a package in a folder from which Python imports, which is returned."""
        folder = Path(self.mktemp()).absolute()
        made = folder / f"{name}-1.dist-info"
        made.mkdir(parents=True)
        (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (made / "entry_points.txt").write_text(f"[hall.extensions]\n{name} = {name}:extension\n")
        (folder / f"{name}.py").write_text(code)
        self.patch(sys, "path", [os.fspath(folder), *sys.path])
        self.addCleanup(sys.modules.pop, name, None)
        return os.fspath(folder)

    def test_found(self) -> None:
        self.install("xbowing", "from bbs.framework import Extension\nextension = Extension('bow')")
        found = extended(service(WAVING))
        self.assertEqual([each.name for each in found.extensions], ["waving", "bow"])
        self.assertEqual(extended(found), found)

    def test_two_of_one_name(self) -> None:
        code = "from bbs.framework import Extension\nextension = Extension('bow')"
        self.install("xfirst", code)
        self.install("xsecond", code)
        error = self.assertRaises(PluginUnusable, extended, service())
        self.assertEqual(
            str(error),
            "plugin xsecond of xsecond (hall.extensions): hall: the name of the extension bow is"
            " taken",
        )

    def test_unusable(self) -> None:
        for name, code, reason in (
            ("xmissing", "", "has no attribute 'extension'"),
            ("xnone", "extension = 3", "TypeError: it is not an Extension"),
            (
                "xtaken",
                "from bbs.framework import Extension\n"
                "from tests.commands.test_extensions import Waving\n"
                "extension = Extension('taken', settings=Waving)",
                "hall: there are two sections [waving]",
            ),
        ):
            folder = self.install(name, code)
            error = self.assertRaises(PluginUnusable, extended, service(WAVING))
            self.assertTrue(str(error).startswith(f"plugin {name} of {name} (hall.extensions): "))
            self.assertTrue(str(error).endswith(reason), str(error))
            sys.path.remove(folder)

    def test_the_command_line_says_why(self) -> None:
        self.install("xbad", "extension = 3")
        said = Path(self.mktemp())
        with said.open("w") as file:
            self.patch(sys, "stderr", file)
            main: Any = command_line(service())
            self.assertEqual(main(["db", "status"]), 1)
        self.assertEqual(
            said.read_text(),
            "hall: plugin xbad of xbad (hall.extensions): TypeError: it is not an Extension\n",
        )

    def test_a_subcommand_of_every_services(self) -> None:
        code = (
            "from bbs.framework import Extension, Subcommand\n"
            "extension = Extension('up', subcommands={'user wave': Subcommand('wave', print)})"
        )
        self.install("xup", code)
        said = Path(self.mktemp())
        with said.open("w") as file:
            self.patch(sys, "stderr", file)
            main: Any = command_line(service())
            self.assertEqual(main(["db", "status"]), 1)
        self.assertEqual(
            said.read_text(), "hall: extension up: every service has a command user already\n"
        )


class Clashes(SynchronousTestCase):
    """Who has a name already is said, and who wants it, too."""

    def test_commands(self) -> None:
        looks = Extension("looking", commands=(looking,))
        pings = CommandTable(Command("ping", Role.EITHER, look))
        for extensions, line in (
            ((looks,), "the extension looking: the command look already exists, in the service"),
            (
                (Extension("pinging", commands=(pings,)),),
                "the extension pinging: the command ping already exists, in every service",
            ),
            (
                (WAVING, Extension("other", commands=(commands,))),
                "the extension other: the command wave already exists, in the extension waving",
            ),
        ):
            error = self.assertRaises(ServiceUnusable, all_commands, service(*extensions))
            self.assertEqual(str(error), f"the service hall: {line}")


class LikeAService(SynchronousTestCase):
    """What an extension has of what a service has."""

    def extension(self, name: str = "waving", **members: Any) -> Extension:
        return Extension(name, **members)

    def test_logging_in(self) -> None:
        """Each part returns members of the reply."""
        waving = self.extension(commands=(commands,), models=(Wave,), on_login=last_wave)
        here = MemoryService(service(waving, on_login=lambda user, seen: {"hall": "large"}))
        self.addCleanup(here.close)
        here.people("ann")
        reply = here.peer().ask("login ann pw")
        self.assertEqual((reply["hall"], reply["waved"]), ("large", 0))

    def test_alone(self) -> None:
        self.assertIs(service(self.extension(on_login=last_wave)).on_any_login, last_wave)
        self.assertIs(service(self.extension(), on_login=last_wave).on_any_login, last_wave)
        self.assertIsNone(service(self.extension()).on_any_login)

    def test_the_same_member(self) -> None:
        both = service(
            self.extension(person=lambda user: {"waves": 1}), person=lambda user: {"waves": 3}
        )
        assert both.any_person is not None
        with self.assertRaisesRegex(ValueError, "two parts of the service return waves"):
            both.any_person(1)

    def test_a_persons_figures(self) -> None:
        both = service(
            self.extension(person=lambda user: {"waves": user}),
            self.extension("bowing", person=lambda user: {"bows": 2}),
            person=lambda user: {"looks": 3},
        )
        assert both.any_person is not None
        self.assertEqual(both.any_person(1), {"looks": 3, "waves": 1, "bows": 2})

    def test_operators(self) -> None:
        act = OperatorAct(
            "wave-stop", "stopped the wave {}", rule=stop, label="Stop", title="Stop it?"
        )
        rows = OperatorList("waves", "Waves", (OperatorColumn("Name"),), no_rows, acts=(act,))
        count = Subcommand("count the waves", print)
        other = OperatorAct("wave-all", "waved to {}")
        waving = self.extension(lists=(rows,), acts=(other,), subcommands={"wave count": count})
        found = service(waving)
        self.assertEqual(found.all_lists, [rows])
        self.assertEqual({*found.own_acts}, {"wave-stop", "wave-all"})
        self.assertEqual(found.all_subcommands, {"wave count": count})
        for members, why in (
            ({"subcommands": {"wave count": count}}, "two subcommands have the name wave count"),
            ({"lists": (rows,)}, "two lists have the same name"),
            (
                {"acts": (OperatorAct("wave-all", "x {}"),)},
                "two acts have the same name",
            ),
        ):
            with self.assertRaisesRegex(ValueError, why):
                service(waving, **members)

    def test_malformed(self) -> None:
        for members, why in (
            ({"subcommands": {"Wave": Subcommand("wave", print)}}, "subcommands are Subcommands"),
            ({"lists": (1,)}, "lists are OperatorLists"),
            ({"acts": (1,)}, "acts are OperatorActs"),
            ({"on_login": 1}, "rules are plain functions"),
            ({"person": 1}, "rules are plain functions"),
        ):
            with self.assertRaisesRegex(ValueError, f"waving: {why}"):
                self.extension(**members)
