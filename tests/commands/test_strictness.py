"""Mistakes in the declaration of a service are said when it starts, or at the call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import peewee
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.commands.service import ServiceUnusable
from bbs.commands.strictness import scanned
from bbs.framework import (
    Ask,
    Caller,
    Command,
    CommandTable,
    Role,
    Service,
    Table,
    User,
    paged,
    read_only,
)
from bbs.framework.fast import asks, bulk, question, statement
from bbs.framework.feeds import Cursor, Feed, Mailbox
from bbs.rules.auth import Question, asked_by
from bbs.storage.migrations import upgrade
from bbs.storage.transaction_guard import OutsideOfRule
from bbs.testing import MemoryService
from tests.database_case import DatabaseCase, on_both_databases


class Player(Table):
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    color = peewee.CharField(20)


class Stray(Table):
    name = peewee.CharField(20)


class TheirUser(Table):
    """A table of another declaration."""

    class Meta:
        table_name = "user"


def of(usage: str, handler: Any = None, rule: Any = None, **members: Any) -> Service:
    """A service with one command."""
    command = Command(usage, Role.APP, handler, rule=rule, **members)
    return Service("game", commands=(CommandTable(command),), models=(Player,))


async def handle(ask: Ask, *arguments: object) -> None: ...


class AtTheStart(SynchronousTestCase):
    def refused(self, declared: Service, reason: str) -> None:
        error = self.assertRaises(ServiceUnusable, MemoryService, declared)
        self.assertEqual(str(error), f"the service game: {reason}")

    def accepted(self, declared: Service) -> None:
        MemoryService(declared).close()

    def test_names_of_the_client(self) -> None:
        self.refused(
            of("use <user> <thing>", handle),
            "use <user> <thing>: at a terminal use is the client's own command: choose another"
            " name",
        )

    def test_rules_that_do_not_fit(self) -> None:
        def join(caller: Caller, lobby: str) -> None: ...

        @paged
        @read_only
        def players(caller: Caller, page: object, lobby: str) -> Any: ...

        self.accepted(of("join <user> <lobby>", rule=join))
        self.accepted(of("players <user> <lobby>", rule=players))
        self.accepted(of("join <user> <lobby>", rule=bulk(join)(lambda calls: calls)))
        self.refused(
            of("join <user>", rule=join),
            "join <user>: the rule AtTheStart.test_rules_that_do_not_fit.<locals>.join(caller,"
            " lobby) does not take the caller alone",
        )
        self.refused(
            of("join <user> <lobby> [<color>]", rule=join),
            "join <user> <lobby> [<color>]: the rule"
            " AtTheStart.test_rules_that_do_not_fit.<locals>.join(caller, lobby) does not take the"
            " caller and 2 arguments",
        )
        self.refused(
            of("players <user>", rule=players),
            "players <user>: the rule"
            " AtTheStart.test_rules_that_do_not_fit.<locals>.players(caller, page, lobby) does not"
            " take the caller and the page alone",
        )

    def test_handlers_that_do_not_fit(self) -> None:
        async def one(ask: Ask, lobby: str) -> None: ...

        @inlineCallbacks
        def decorated(ask: Ask, lobby: str) -> Any:
            yield None

        self.accepted(of("join <user> <lobby>", one))
        self.accepted(of("join <user> <lobby>", decorated))
        self.refused(
            of("join <user> <lobby> <color>", one),
            "join <user> <lobby> <color>: the handler"
            " AtTheStart.test_handlers_that_do_not_fit.<locals>.one(ask, lobby) does not take the"
            " ask and 2 arguments",
        )

        async def alone(ask: Ask) -> None: ...

        self.refused(
            of("leave <user>", alone, lambda caller: None),
            "leave <user>: the handler"
            " AtTheStart.test_handlers_that_do_not_fit.<locals>.alone(ask) does not take the ask"
            " and a result",
        )

    def test_decorators_that_add_an_argument(self) -> None:
        def in_lobby(wrapped: Any) -> Any:
            @wraps(wrapped)
            def rule(caller: Caller, text: str) -> Any:
                return wrapped(caller, "chess", text)

            return rule

        @in_lobby
        def say(caller: Caller, lobby: str, text: str) -> None: ...

        self.accepted(of("say <user> <text>", rule=say))

    def test_a_method_that_is_no_coroutine_function(self) -> None:
        error = self.assertRaises(ServiceUnusable, MemoryService, of("go <user>", self.id))
        self.assertIn("must be a coroutine function", str(error))

    def test_handlers_that_are_no_coroutine_functions(self) -> None:
        def wave(ask: Ask) -> None: ...

        self.refused(
            of("wave <user>", wave),
            "wave <user>: the handler"
            " AtTheStart.test_handlers_that_are_no_coroutine_functions.<locals>.wave(ask) must be a"
            " coroutine function",
        )

    def test_tables_that_are_not_declared(self) -> None:
        stray = (
            "the table stray (tests.commands.test_strictness.Stray) is used by a rule, but is not"
            " in models"
        )
        for rule in (uses_directly, uses_by_a_statement, uses_within):
            self.refused(of("stray <user>", rule=rule), stray)
        self.accepted(of("other <user>", rule=uses_another_declaration))
        self.accepted(of("base <user>", rule=uses_a_base))
        self.accepted(of("lazy <user>", rule=uses_a_stranger))

        async def runs(ask: Ask) -> None:
            await ask.database.run(uses_directly, ask.user)

        self.refused(of("stray <user>", runs), stray)

    def gaming(self, group: str) -> None:
        """Install a package with an entry point of this group."""
        folder = Path(self.mktemp()).absolute()
        made = folder / "gaming-1.dist-info"
        made.mkdir(parents=True)
        (made / "METADATA").write_text("Metadata-Version: 2.1\nName: gaming\nVersion: 1\n")
        (made / "entry_points.txt").write_text(f"[{group}]\nx = gaming:commands\n")
        self.patch(sys, "path", [str(folder), *sys.path])

    def test_groups_of_another_service(self) -> None:
        self.gaming("bbs.extensions")
        self.accepted(Service("lobby"))

    def test_groups_of_entry_points(self) -> None:
        self.gaming("game.comands")
        self.refused(
            Service("game"),
            "the package gaming has entry points in game.comands, which nothing reads: did you mean"
            " game.commands?",
        )

    def test_questions_without_an_index(self) -> None:
        self.refused(
            of("color <user> <color>", rule=by_color),
            "the question _of_color reads the whole table player: its model needs an index for the"
            " columns that it is found by",
        )
        self.accepted(of("color <user> <color>", rule=by_user))
        self.accepted(of("color <user> <color>", rule=by_latest))


def uses_directly(caller: Caller) -> int:
    count: int = Stray.select().count()
    return count


@statement
def _strays() -> peewee.Select:
    return Stray.select(Stray.name)


def uses_by_a_statement(caller: Caller) -> int:
    return len(_strays())


def uses_within(caller: Caller) -> list[int]:
    return [uses_directly(each) for each in [caller]]


def uses_another_declaration(caller: Caller) -> int:
    count: int = TheirUser.select().count()
    return count


def uses_a_base(caller: Caller) -> int:
    return len(Table.__subclasses__())


class Stranger:
    """Something of others that answers no question."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(name) if name == "__bases__" else RuntimeError(name)


stranger = Stranger()


def uses_a_stranger(caller: Caller) -> object:
    return stranger


@question
def _latest(query: peewee.ModelSelect[User], color: str) -> peewee.Select:
    latest = Player.select(Player.color).order_by(Player.user.desc()).limit(1)
    return query.select_extend(latest)


@asks(_latest)
def by_latest(caller: Caller, color: str) -> None: ...


@question
def _of_color(query: peewee.ModelSelect[User], color: str) -> peewee.Select:
    return query.select_extend(Player.user).left_outer_join(Player, on=(Player.color == color))


@asks(_of_color)
def by_color(caller: Caller, color: str) -> None: ...


@question
def _of_user(query: peewee.ModelSelect[User], color: str) -> peewee.Select:
    on = (Player.user == User.id) & (Player.color == color)
    return query.select_extend(Player.color).left_outer_join(Player, on=on)


@asks(_of_user)
def by_user(caller: Caller, color: str) -> None: ...


@on_both_databases
class Questions(DatabaseCase):
    def test_those_of_the_board(self) -> None:
        rules = [command.rule for table in board.commands for command in table]
        questions = {found for rule in rules if (found := asked_by(rule))}
        self.assertGreater(len(questions), 5)
        for each in questions:
            self.assertEqual(self.call(scanned, each), [], each.name)


@question
def _of_a_friend(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    friend = User.alias()
    theirs = query.left_outer_join(friend, on=(friend.name == name))
    colored = theirs.left_outer_join(Player, on=(Player.color == friend.name))
    return colored.select_extend(Player.user)


@on_both_databases
class QuestionsOfAService(DatabaseCase):
    service = of("color <user> <color>", rule=by_user)
    migrated = False

    def test_by_an_index_and_without_one(self) -> None:
        self.database.peewee.connect(reuse_if_open=True)
        upgrade(self.database.peewee, self.service.schema)
        found: list[Question[[str]]] = [_of_user, _latest]
        for each in found:
            self.assertEqual(self.call(scanned, each), [], each.name)
        missed: list[Question[[str]]] = [_of_color, _of_a_friend]
        for each in missed:
            self.assertEqual(self.call(scanned, each), ["player"], each.name)


class AtTheCall(SynchronousTestCase):
    def telling(self, channel: str, event: dict[str, object], feed: Feed | None = None) -> str:
        """The error of a handler that tells this; "" if there is none."""
        errors: list[str] = []

        async def tell(ask: Ask) -> None:
            try:
                await ask.tell(channel or ask.user.channel, event)
            except ValueError as error:
                errors.append(str(error))

        table = CommandTable(Command("tell <user>", Role.APP, tell))
        service = MemoryService(Service("game", commands=(table,), feed=feed))
        ann = service.people("ann")["ann"]
        service.at_home(ann).ask(f"tell {ann}")
        service.close()
        return "".join(errors)

    def test_a_name_where_a_channel_is_due(self) -> None:
        for channel in ("ann", "lobby.two words", "a.b.c"):
            self.assertEqual(
                self.telling(channel, {"event": "joined"}),
                f"{channel!r} is not a channel: a person's is Caller.channel or User.channel, and"
                " one of the service's own is KIND.NAME, of letters and digits",
            )
        self.assertEqual(self.telling("lobby.chess", {"event": "joined"}), "")
        self.assertEqual(self.telling("", {"event": "joined"}), "")

    def test_an_id_of_no_event_of_the_feed(self) -> None:
        def open_(caller: Caller, after: int | None) -> Mailbox:
            return Mailbox(Cursor(caller.id, 0), resumes=True)

        def fetch(cursors: Any) -> dict[Any, Any]:
            return {}

        def note(cursors: Any) -> None: ...

        feed = Feed(open_, fetch, note, events=("said",))
        self.assertEqual(self.telling("", {"event": "said", "id": 1}, feed), "")
        self.assertEqual(
            self.telling("", {"event": "joined", "id": 1}, feed),
            "the event joined has an id, so it would be looked for in the feed: leave the id out,"
            " or name the event in events of the Feed",
        )
        undeclared = Feed(open_, fetch, note)
        self.assertEqual(self.telling("", {"event": "joined", "id": 1}, undeclared), "")


@on_both_databases
class OutsideOfRules(DatabaseCase):
    def test_a_model_and_a_statement(self) -> None:
        self.database.close()
        self.database.refuse_here()
        uses: tuple[Callable[[], object], ...] = (User.select().count, lambda: _people(), User.get)
        for use in uses:
            error = self.assertRaises(OutsideOfRule, use)
            self.assertIn("call that by ask.database.run", str(error))


@statement
def _people() -> peewee.Select:
    return User.select(User.id)
