"""What a person types, and what goes over the wire."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.client.commands import COMMANDS, TABLE, Typed, typed, without_password
from bbs.commands import all_commands
from bbs.protocols.commands import Role

PROTOCOL = Path(__file__).parent.parent / "docs" / "protocol.md"


class TableTests(SynchronousTestCase):
    def test_is_the_tables_of_the_document(self) -> None:
        sections = re.split(r"^### ", PROTOCOL.read_text(), flags=re.MULTILINE)
        named = {section.split("\n")[0]: section for section in sections}
        for heading, role in (
            ("Login server", Role.LOGIN),
            ("App server", Role.APP),
            ("Either server", Role.EITHER),
        ):
            rows = re.findall(r"^\| `([^`]+)`", named[heading], re.MULTILINE)
            self.assertEqual([c.usage for c in TABLE if c.role is role], rows)

    def test_is_what_the_servers_have(self) -> None:
        served = all_commands(board)
        self.assertEqual(
            {(c.usage, c.role, c.takes_user, c.rest) for c in served if c.listed},
            {(c.usage, c.role, c.user, c.text) for c in TABLE},
        )

    def test_only_what_changes_nothing_may_be_sent_twice(self) -> None:
        harmless = {command.name for command in TABLE if command.harmless}
        self.assertEqual(
            harmless,
            {"list-invite", "list-friend", "receive-post", "list-group", "list-joined"}
            | {"login", "locate", "listen", "help", "ping", "quit", "events"},
        )


class TypedTests(SynchronousTestCase):
    def wire(self, line: str, token: str = "TOKEN") -> bytes:
        return Typed.parse(line).wire(token)

    def test_the_token_takes_the_place_of_the_name(self) -> None:
        self.assertEqual(self.wire("invite ann bob"), b"invite TOKEN bob\n")

    def test_the_message_stays_as_typed(self) -> None:
        self.assertEqual(
            self.wire("  send   ann  bob  two  words \\n ann "),
            b"  send   TOKEN  bob  two  words \\n ann \n",
        )
        self.assertEqual(Typed.parse("send ann  bob  two  words ").text, " two  words ")

    def test_without_a_token_the_place_is_empty(self) -> None:
        self.assertEqual(self.wire("logout dan", ""), b"logout \n")
        self.assertEqual(self.wire("invite ghost ann", ""), b"invite  ann\n")

    def test_only_user_is_a_place_for_a_token(self) -> None:
        for line in ("login ann 1", "register ann 1", "ping ann", "nonsense ann", "post"):
            self.assertEqual(self.wire(line), line.encode() + b"\n")
            self.assertEqual(Typed.parse(line).user, "")

    def test_words_and_text(self) -> None:
        for line, words, text in (
            ("post ann hello  you", ("post", "ann"), "hello  you"),
            ("post ann", ("post", "ann"), ""),
            ("send ann bob", ("send", "ann", "bob"), ""),
            ("send ann", ("send", "ann"), ""),
            ("login ann  1 2", ("login", "ann", "1", "2"), ""),
        ):
            request = Typed.parse(line)
            self.assertEqual((request.words, request.text), (words, text))

    def test_unknown_commands_go_to_the_login_server(self) -> None:
        self.assertIs(Typed.parse("nonsense ann").command.role, Role.LOGIN)
        self.assertFalse(Typed.parse("nonsense ann").command.harmless)

    def test_bytes_that_are_not_utf8_go_out_as_they_were(self) -> None:
        line = b"post ann \xc3( \xe9".decode("utf-8", "surrogateescape")
        self.assertEqual(self.wire(line), b"post TOKEN \xc3( \xe9\n")

    def test_a_byte_that_begins_telnet_commands_is_made_literal(self) -> None:
        line = b"ping \xff\xfa".decode("utf-8", "surrogateescape")
        self.assertEqual(self.wire(line), b"ping \xff\xff\xfa\n")

    def test_refuses_what_is_not_one_request(self) -> None:
        for line in ("", "   ", "ping\nquit", "ping\n", "ping\r", "\r"):
            self.assertRaises(ValueError, Typed.parse, line)

    @given(st.text(alphabet="ab é", max_size=30), st.sampled_from(sorted(COMMANDS)))
    def test_understands_lines_as_the_servers_do(self, rest: str, name: str) -> None:
        line = f"{name} {rest}"
        request = Typed.parse(line)
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
            typed("send", "ann", "bob", "  hi  there ").line, "send ann bob   hi  there "
        )
        self.assertEqual(typed("send", "ann", "bob", "  hi  there ").text, "  hi  there ")

    def test_refuses_what_would_be_read_otherwise(self) -> None:
        for arguments in (
            ("invite", "ann", "bob cat"),
            ("invite", "ann", ""),
            ("post", "a b", "hello"),
            ("post", "ann", "two\nlines"),
            ("post", "ann", "hello\r"),
        ):
            self.assertRaises(ValueError, typed, *arguments)


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
        ):
            self.assertEqual(without_password(line), kept)


class CompleteTests(SynchronousTestCase):
    def test_what_is_needed_is_there(self) -> None:
        for line in ("send a b c", "listen a", "listen a 1", "post a b", "ping", "list-friend a"):
            self.assertTrue(Typed.parse(line).is_complete, line)
        for line in ("send a b", "send a b  ", "listen", "post a", "login a"):
            self.assertFalse(Typed.parse(line).is_complete, line)
