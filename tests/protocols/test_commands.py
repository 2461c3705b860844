"""A declaration gives a command's parsing, arity, usage and help (protocol.md, section 2)."""

from collections.abc import Awaitable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.commands import Command, CommandTable, Request, Role, UnknownCommand


async def handler(context: object, *arguments: str) -> tuple[str, ...]:
    return arguments


def rule(caller: object, *arguments: str) -> None:
    """A rule does nothing here."""


def command(usage: str, *, rest: bool = False, role: Role = Role.APP) -> Command:
    return Command(usage, role, handler, rest=rest)


class DeclarationTests(SynchronousTestCase):
    def test_name_alone(self) -> None:
        ping = command("ping")
        self.assertEqual((ping.name, ping.parameters, ping.takes_user), ("ping", (), False))
        self.assertEqual((ping.minimum, ping.maximum), (0, 0))

    def test_parameters(self) -> None:
        register = command("register <id> <password>")
        self.assertEqual(register.parameters, ("id", "password"))
        self.assertEqual((register.minimum, register.maximum), (2, 2))
        self.assertFalse(register.takes_user)

    def test_the_user_is_no_argument(self) -> None:
        send = command("send <user> <friend> <message>", rest=True)
        self.assertTrue(send.takes_user)
        self.assertEqual(send.parameters, ("friend", "message"))
        self.assertEqual((send.minimum, send.maximum), (2, 2))

    def test_what_can_be_left_out(self) -> None:
        listen = command("listen <user> [<id>]")
        self.assertEqual((listen.parameters, listen.minimum, listen.maximum), (("id",), 0, 1))

    def test_wrong_declarations(self) -> None:
        for usage in (
            "",
            " ping",
            "ping ",
            "<user>",
            "send <user>  <message>",
            "send user",
            "send <>",
            "send <a b>",
            "send <a",
            "send [a]",
            "send <a>>",
            "send [<a>",
            "send <a>...",
            "listen [<id>] <user>",
            "listen [<a>] <b>",
            "listen <id> <user>",
            "listen [<user>]",
            "listen <user> <user>",
            "send <a> <a>",
            "send <a> [<a>]",
            "pi\tng",
        ):
            with self.assertRaises(ValueError, msg=usage) as caught:
                command(usage)
            self.assertIn(repr(usage), str(caught.exception))

    def test_a_rest_of_nothing(self) -> None:
        for usage in ("ping", "ping <user>"):
            self.assertRaises(ValueError, command, usage, rest=True)

    def test_a_rule_serves_a_user(self) -> None:
        self.assertIs(
            Command("post <user> <m>", Role.APP, handler, rest=True, rule=rule).rule, rule
        )
        self.assertRaises(ValueError, Command, "post <m>", Role.APP, handler, rule=rule)

    def test_is_frozen(self) -> None:
        with self.assertRaises(AttributeError):
            command("ping").name = "pong"  # type: ignore[misc]

    def test_served_by(self) -> None:
        served = {
            role: [
                server
                for server in (Role.LOGIN, Role.APP)
                if command("x", role=role).served_by(server)
            ]
            for role in Role
        }
        self.assertEqual(
            served,
            {
                Role.LOGIN: [Role.LOGIN],
                Role.APP: [Role.APP],
                Role.EITHER: [Role.LOGIN, Role.APP],
            },
        )


class ParseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = CommandTable()
        for usage in (
            "ping",
            "register <id> <password>",
            "list-friend <user>",
            "invite <user> <id>",
            "listen <user> [<id>]",
        ):
            self.table.declare(command(usage))
        for usage in ("post <user> <message>", "send <user> <friend> <message>", "say [<words>]"):
            self.table.declare(command(usage, rest=True))

    def parse(self, line: str) -> tuple[str, str | None, tuple[str, ...], bool]:
        request = self.table.parse(line)
        return request.command.name, request.token, request.arguments, request.usage_error

    def test_name_alone(self) -> None:
        self.assertEqual(self.parse("ping"), ("ping", None, (), False))

    def test_runs_of_spaces_separate(self) -> None:
        self.assertEqual(
            self.parse("  register   ann  111  "), ("register", None, ("ann", "111"), False)
        )

    def test_only_spaces_separate(self) -> None:
        self.assertEqual(
            self.parse("register a\tn\u00a0n 1\x0b1"),
            ("register", None, ("a\tn\u00a0n", "1\x0b1"), False),
        )

    def test_too_few_and_too_many(self) -> None:
        self.assertEqual(self.parse("register ann"), ("register", None, ("ann",), True))
        self.assertEqual(self.parse("ping x"), ("ping", None, ("x",), True))
        self.assertEqual(self.parse("invite T a b"), ("invite", "T", ("a", "b"), True))

    def test_the_token(self) -> None:
        self.assertEqual(self.parse("invite T bob"), ("invite", "T", ("bob",), False))

    def test_without_a_token(self) -> None:
        self.assertEqual(self.parse("list-friend"), ("list-friend", None, (), False))
        self.assertEqual(self.parse("list-friend  "), ("list-friend", None, (), False))
        self.assertEqual(self.parse("invite  bob"), ("invite", "bob", (), True))

    def test_a_parameter_left_out(self) -> None:
        self.assertEqual(self.parse("listen T"), ("listen", "T", (), False))
        self.assertEqual(self.parse("listen T 41"), ("listen", "T", ("41",), False))
        self.assertEqual(self.parse("listen T 41 42"), ("listen", "T", ("41", "42"), True))

    def test_the_rest_is_kept_as_typed(self) -> None:
        self.assertEqual(self.parse("post T hello"), ("post", "T", ("hello",), False))
        self.assertEqual(self.parse("post T  a  b "), ("post", "T", (" a  b ",), False))
        self.assertEqual(
            self.parse("send  T   bob   hi\t "), ("send", "T", ("bob", "  hi\t "), False)
        )

    def test_a_rest_of_blanks_is_missing(self) -> None:
        for rest in ("", " ", "   ", " \t ", " \u00a0\u3000"):
            self.assertEqual(self.parse("post T" + rest), ("post", "T", (), True), repr(rest))
            self.assertEqual(self.parse("send T bob" + rest), ("send", "T", ("bob",), True))
        self.assertEqual(self.parse("say    "), ("say", None, (), False))

    def test_a_rest_without_what_comes_before(self) -> None:
        self.assertEqual(self.parse("send T"), ("send", "T", (), True))
        self.assertEqual(self.parse("post"), ("post", None, (), True))

    def test_a_rest_with_nothing_before(self) -> None:
        self.assertEqual(self.parse("say  a b"), ("say", None, (" a b",), False))

    def test_unknown_command(self) -> None:
        for line, name in (
            ("Ping", "Ping"),
            ("pin g", "pin"),
            ("\tping x", "\tping"),
            ("pìng", "pìng"),
        ):
            with self.assertRaises(UnknownCommand) as caught:
                self.table.parse(line)
            self.assertEqual(caught.exception.args, (name,))

    def is_whole(self, line: str) -> bool:
        return self.table.is_whole(line, "TOKEN".__eq__)

    def test_nothing_can_be_added_to_a_token_that_is_all(self) -> None:
        for line in ("list-friend TOKEN", "  list-friend   TOKEN"):
            self.assertTrue(self.is_whole(line), line)

    def test_a_token_is_not_all_or_not_a_token(self) -> None:
        for line in ("", "list-friend", "list-friend ", "list-friend TOKE", "list-friend TOKENS"):
            self.assertFalse(self.is_whole(line), line)

    def test_a_token_and_more(self) -> None:
        for line in ("list-friend TOKEN ", "list-friend TOKEN x", "list-friend x TOKEN"):
            self.assertFalse(self.is_whole(line), line)

    def test_something_may_follow_the_token(self) -> None:
        for line in ("listen TOKEN", "invite TOKEN", "invite TOKEN TOKEN", "post TOKEN TOKEN"):
            self.assertFalse(self.is_whole(line), line)

    def test_where_no_token_is_taken_none_is_all(self) -> None:
        for line in ("ping", "ping TOKEN", "register a TOKEN", "say TOKEN", "what TOKEN", "TOKEN"):
            self.assertFalse(self.is_whole(line), line)

    def test_no_secret_in_its_representation(self) -> None:
        self.assertNotIn("111", repr(self.table.parse("register ann 111")))
        self.assertNotIn("TOKEN", repr(self.table.parse("list-friend TOKEN")))

    words = st.text(st.characters(exclude_characters=" ", exclude_categories=["Cs"]), min_size=1)
    spaces = st.integers(1, 3).map(lambda count: " " * count)

    @given(words, words, spaces, spaces, st.text(st.characters(exclude_categories=["Cs"])))
    def test_any_message(self, token: str, friend: str, a: str, b: str, message: str) -> None:
        expected = (friend, message) if message.strip() else (friend,)
        self.assertEqual(
            self.parse(f"send{a}{token}{b}{friend} {message}"),
            ("send", token, expected, not message.strip()),
        )

    @given(st.text())
    def test_any_line(self, line: str) -> None:
        try:
            request = self.table.parse(line)
        except UnknownCommand as unknown:
            self.assertNotIn(" ", unknown.args[0])
        else:
            self.assertIsInstance(request, Request)


class TableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = CommandTable()

    def test_decorator(self) -> None:
        @self.table.command("send <user> <friend> <message>", Role.APP, rest=True, rule=rule)
        async def send(context: object, result: object) -> None:
            """The reply to send."""

        (declared,) = self.table
        self.assertIs(declared.handler, send)
        self.assertEqual(
            declared,
            Command("send <user> <friend> <message>", Role.APP, send, rest=True, rule=rule),
        )

    def test_takes_no_rest_unless_it_says_so(self) -> None:
        self.table.command("ping", Role.APP)(handler)
        (declared,) = self.table
        self.assertEqual(declared, Command("ping", Role.APP, handler))
        self.assertFalse(declared.rest)

    def test_duplicate_names(self) -> None:
        self.table.declare(command("ping"))
        self.assertRaises(ValueError, self.table.declare, command("ping <x>"))
        self.assertEqual([each.usage for each in self.table], ["ping"])

    def test_a_table_of_another_module(self) -> None:
        social = CommandTable()
        for usage in ("invite <user> <id>", "post <user> <message>"):
            social.declare(command(usage))
        self.table.declare(command("ping"))
        self.table.include(social)
        self.assertEqual([each.name for each in self.table], ["ping", "invite", "post"])
        self.assertRaises(ValueError, self.table.include, social)

    def test_a_wrong_declaration_shows_where_it_is_made(self) -> None:
        with self.assertRaises(ValueError):
            self.table.command("send <x> <user>", Role.APP)(handler)

    def test_help(self) -> None:
        for usage, role in (
            ("login <id> <password>", Role.LOGIN),
            ("post <user> <message>", Role.APP),
            ("help", Role.EITHER),
            ("logout <user>", Role.LOGIN),
        ):
            self.table.declare(command(usage, role=role))
        self.assertEqual(self.table.help(Role.LOGIN), "login <id> <password>\nhelp\nlogout <user>")
        self.assertEqual(self.table.help(Role.APP), "post <user> <message>\nhelp")

    def test_handlers_are_called_with_the_arguments(self) -> None:
        self.table.declare(command("invite <user> <id>"))
        request = self.table.parse("invite T bob")
        assert request.command.handler is not None
        awaiting: Awaitable[Any] = request.command.handler(object(), *request.arguments)
        with self.assertRaises(StopIteration) as done:
            awaiting.send(None)  # type: ignore[attr-defined]
        self.assertEqual(done.exception.value, ("bob",))
