"""What a service offers, what a person types, and what goes over the wire."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.client import face
from bbs.client.catalog import CommandCatalog
from bbs.client.replies import code_of
from bbs.client.request import (
    MOST_OFFERS,
    MOST_USAGE,
    ClientRequest,
    make_request,
    read_command_infos,
)
from bbs.commands.common import all_commands
from bbs.protocols.commands import Command, Role
from bbs.ui.prompts import count_questions, without_password
from tests.paths import CHECKOUT

OLDEST = CommandCatalog(face).commands
"""What a client of the board takes a server to have that cannot say it."""

PROTOCOL = CHECKOUT / "docs" / "protocol.md"


class OldestTests(SynchronousTestCase):
    def test_its_commands_are_in_the_document_still(self) -> None:
        rows = re.findall(r"^\| `([^`]+)`", PROTOCOL.read_text(), re.MULTILINE)
        self.assertLessEqual({info.usage for info in OLDEST.values()}, set(rows))

    def test_the_servers_have_them_still(self) -> None:
        served = all_commands(board)
        self.assertLessEqual(
            {(o.usage, o.command.role, o.command.rest) for o in OLDEST.values()},
            {(c.usage, c.role, c.rest) for c in served},
        )

    def test_only_what_changes_nothing_may_be_sent_twice(self) -> None:
        self.assertEqual(
            {name for name, info in OLDEST.items() if info.harmless},
            {"list-invite", "list-friend", "receive-post", "list-group", "list-joined"}
            | {"login", "locate", "listen", "help", "ping", "quit", "events"},
        )

    def test_codes_of_old_words(self) -> None:
        for message, code in (
            ("Ask the login server", "ask-login-server"),
            ("No such user or password error", "wrong-credentials"),
            ("Not login yet", "not-logged-in"),
            ("Unknown command nonsense", "unknown-command"),
            ("Usage: login <id> <password>", "wrong-usage"),
            ("ann is not online", None),
        ):
            self.assertEqual(code_of(message), code)


class OffersTests(SynchronousTestCase):
    def names(self, value: object) -> list[str]:
        return [*(read_command_infos(value) or {})]

    def test_what_is_told(self) -> None:
        told = {"usage": "move <user> <game> <text>", "server": "app", "rest": True}
        commands = read_command_infos(
            [told, {"usage": "games", "server": "either", "harmless": True}]
        )
        assert commands is not None
        self.assertEqual(
            commands["move"].command, Command("move <user> <game> <text>", Role.APP, rest=True)
        )
        self.assertFalse(commands["move"].harmless)
        self.assertTrue(commands["games"].harmless)

    def test_in_the_order_of_every_help(self) -> None:
        told = [("a", "either"), ("b", "app"), ("c", "login"), ("d", "app"), ("b", "login")]
        self.assertEqual(
            self.names([{"usage": name, "server": server} for name, server in told]),
            ["c", "b", "d", "a"],
        )

    def test_what_is_none_is_passed_over(self) -> None:
        good = {"usage": "games", "server": "app"}
        strange: object
        for strange in (
            None,
            "games <user>",
            {},
            good | {"usage": 3},
            good | {"usage": ""},
            good | {"usage": "games user"},
            good | {"usage": "games [<a>] <b>"},
            good | {"usage": "games <a> <user>"},
            good | {"usage": "games  <user>"},
            good | {"rest": True},
            good | {"server": "both"},
            good | {"server": ["app"]},
            good | {"usage": "games " + "x" * 1_000_000},
            good | {"usage": " ".join(f"<a{n}>" for n in range(10_000))},
        ):
            self.assertEqual(self.names([strange, {"usage": "ok", "server": "app"}]), ["ok"])
        for strange in (None, {}, "games", 3):
            self.assertIsNone(read_command_infos(strange))

    def test_any_number(self) -> None:
        told = [{"usage": f"command{n}", "server": "app"} for n in range(100_000)]
        self.assertEqual(len(self.names(told)), MOST_OFFERS)

    def test_the_longest_usage(self) -> None:
        usage = "x" * MOST_USAGE
        self.assertEqual(self.names([{"usage": usage, "server": "app"}]), [usage])
        self.assertEqual(self.names([{"usage": f"{usage}x", "server": "app"}]), [])


class TypedTests(SynchronousTestCase):
    def wire(self, line: str, token: str = "TOKEN") -> bytes:
        return ClientRequest.parse(line, OLDEST).wire(token)

    def test_the_token_takes_the_place_of_the_name(self) -> None:
        self.assertEqual(self.wire("invite ann bob"), b"invite TOKEN bob\n")

    def test_the_message_stays_as_typed(self) -> None:
        self.assertEqual(
            self.wire("  send   ann  bob  two  words \\n ann "),
            b"  send   TOKEN  bob  two  words \\n ann \n",
        )
        self.assertEqual(
            ClientRequest.parse("send ann  bob  two  words ", OLDEST).text, " two  words "
        )

    def test_without_a_token_the_place_is_empty(self) -> None:
        self.assertEqual(self.wire("logout dan", ""), b"logout \n")
        self.assertEqual(self.wire("invite ghost ann", ""), b"invite  ann\n")

    def test_only_user_is_a_place_for_a_token(self) -> None:
        for line in ("login ann 1", "register ann 1", "ping ann", "nonsense ann", "post"):
            self.assertEqual(self.wire(line), line.encode() + b"\n")
            self.assertEqual(ClientRequest.parse(line, OLDEST).user, "")

    def test_words_and_text(self) -> None:
        for line, words, text in (
            ("post ann hello  you", ("post", "ann"), "hello  you"),
            ("post ann", ("post", "ann"), ""),
            ("send ann bob", ("send", "ann", "bob"), ""),
            ("send ann", ("send", "ann"), ""),
            ("login ann  1 2", ("login", "ann", "1", "2"), ""),
        ):
            request = ClientRequest.parse(line, OLDEST)
            self.assertEqual((request.words, request.text), (words, text))

    def test_unknown_commands_go_to_the_login_server(self) -> None:
        request = ClientRequest.parse("nonsense ann", OLDEST)
        self.assertIsNone(request.info)
        self.assertIs(request.role, Role.LOGIN)
        self.assertFalse(request.harmless)
        self.assertTrue(request.is_complete)

    def test_bytes_that_are_not_utf8_go_out_as_they_were(self) -> None:
        line = b"post ann \xc3( \xe9".decode("utf-8", "surrogateescape")
        self.assertEqual(self.wire(line), b"post TOKEN \xc3( \xe9\n")

    def test_a_byte_that_begins_telnet_commands_is_made_literal(self) -> None:
        line = b"ping \xff\xfa".decode("utf-8", "surrogateescape")
        self.assertEqual(self.wire(line), b"ping \xff\xff\xfa\n")

    def test_refuses_what_is_not_one_request(self) -> None:
        for line in ("", "   ", "ping\nquit", "ping\n", "ping\r", "\r"):
            self.assertRaises(ValueError, ClientRequest.parse, line, OLDEST)

    def test_of_a_command_that_another_service_means_otherwise(self) -> None:
        commands = read_command_infos(
            [{"usage": "send <user> <text>", "server": "app", "rest": True}]
        )
        assert commands is not None
        self.assertEqual(ClientRequest.parse("send ann bob hi", commands).text, "bob hi")
        self.assertEqual(ClientRequest.parse("send ann bob hi", OLDEST).text, "hi")

    def test_the_rest_of_a_line_may_be_all_of_it(self) -> None:
        commands = read_command_infos(
            [
                {"usage": "shout <text>", "server": "either", "rest": True},
                {"usage": "say <user> [<text>]", "server": "app", "rest": True},
            ]
        )
        assert commands is not None
        for line, words, text in (
            ("shout  hello  you ", ("shout",), " hello  you "),
            ("say ann  hello ", ("say", "ann"), " hello "),
            ("say ann", ("say", "ann"), ""),
        ):
            request = ClientRequest.parse(line, commands)
            self.assertEqual((request.words, request.text), (words, text))
        self.assertEqual(ClientRequest.parse("say ann  hi ", commands).wire("T"), b"say T  hi \n")
        self.assertFalse(ClientRequest.parse("shout  ", commands).is_complete)

    @given(st.text(alphabet="ab é", max_size=30), st.sampled_from(sorted(OLDEST)))
    def test_understands_lines_as_the_servers_do(self, rest: str, name: str) -> None:
        line = f"{name} {rest}"
        request = ClientRequest.parse(line, OLDEST)
        command = next(c for c in all_commands(board) if c.name == name)
        served_token, served = command.arguments(rest)
        self.assertEqual(served_token or "", request.user)
        words = list(request.words[1:])
        if command.takes_user:
            words = words[1:]
        if request.text.strip():
            words.append(request.text)
        self.assertEqual(tuple(words), served)
        if request.user:
            wire = request.wire("TOKEN").decode().removesuffix("\n")
            self.assertEqual(command.arguments(wire[len(name) :]), ("TOKEN", served))


class ArgumentsTests(SynchronousTestCase):
    def test_makes_a_line(self) -> None:
        self.assertEqual(
            make_request(OLDEST["send"], "ann", "bob", "  hi  there ").line,
            "send ann bob   hi  there ",
        )
        self.assertEqual(make_request(OLDEST["send"], "ann", "bob", "  hi ").text, "  hi ")

    def test_refuses_what_would_be_read_otherwise(self) -> None:
        for name, *arguments in (
            ("invite", "ann", "bob cat"),
            ("invite", "ann", ""),
            ("post", "a b", "hello"),
            ("post", "ann", "two\nlines"),
            ("post", "ann", "hello\r"),
        ):
            self.assertRaises(ValueError, make_request, OLDEST[name], *arguments)


class WithoutPasswordTests(SynchronousTestCase):
    def test_login_and_register_keep_the_name(self) -> None:
        for line, kept in (
            ("login ann secret", "login ann"),
            ("  register  ann   secret more", "  register  ann"),
            ("/login ann secret", "/login ann"),
            ("login ann\nsecret", "login ann\nsecret"),
            ("login ann ", "login ann"),
            ("login ann", "login ann"),
            ("login", "login"),
            ("post login ann secret", "post login ann secret"),
            ("logins ann secret", "logins ann secret"),
            (" /change-password old new", " /change-password"),
            ("change-password ann old new", "change-password"),
            ("change-password", "change-password"),
        ):
            self.assertEqual(without_password(line), kept)


class QuestionsTests(SynchronousTestCase):
    def test_passwords_that_are_not_on_the_line(self) -> None:
        for line, many in (
            ("login ann", 1),
            (" /login  ann ", 1),
            ("register ann", 2),
            ("login ann pw", 0),
            ("login", 0),
            ("change-password", 3),
            ("change-password ann", 3),
            ("change-password old new", 0),
            ("post login", 0),
            ("", 0),
        ):
            self.assertEqual(count_questions(line), many, line)

    def test_where_nobody_is_named(self) -> None:
        self.assertEqual(count_questions("change-password", users=False), 3)
        self.assertEqual(count_questions("change-password ann", users=False), 0)


class CompleteTests(SynchronousTestCase):
    def test_what_is_needed_is_there(self) -> None:
        for line in ("send a b c", "listen a", "listen a 1", "post a b", "ping", "list-friend a"):
            self.assertTrue(ClientRequest.parse(line, OLDEST).is_complete, line)
        for line in ("send a b", "send a b  ", "listen", "post a", "login a"):
            self.assertFalse(ClientRequest.parse(line, OLDEST).is_complete, line)
