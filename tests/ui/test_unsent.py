"""Lines that fail: each is shown with its text, or sent later, once."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.client import NotSecure, ServiceReply
from bbs.client.errors import Lost, TurnedAway
from bbs.client.request import CommandInfo, make_request
from bbs.protocols.commands import Command, Role
from bbs.ui.unsent import (
    UnsentFile,
    failed_line,
    overlong_line,
    refused_line,
    typed_line,
    unsent_lines,
)
from tests.client.case import APP_1, LOGIN, failure
from tests.ui.test_conversation import DROPPED, ConversationCase

HELLO = "! Not sent: hello"
MAY_HELLO = "! May not have been sent: hello"


class TalkCase(ConversationCase):
    """ann talks to bob, who is logged in elsewhere."""

    def setUp(self) -> None:
        super().setUp()
        self.service.people("bob")
        self.type("login ann pw", "talk bob")
        self.paper.lines.clear()

    def unplug(self) -> None:
        """Have no server be reached any more."""
        for address in (APP_1, LOGIN):
            self.network.unplug(address)
            self.network.cut(address)
        self.network.flush()

    def plug(self) -> None:
        for address in (APP_1, LOGIN):
            self.network.plug(address)

    def says(self, line: str = "hello", seconds: float = 0.0) -> list[str]:
        """Say a line, and let time pass; what is shown about it in the end."""
        done = self.begin(line)
        self.paper.lines.clear()
        self.network.advance(seconds)
        self.assertTrue(self.successResultOf(done))
        return [line for line in self.paper.lines if "sent: " in line]

    def texts(self) -> list[str]:
        """What bob has got."""
        return [text for _, _, text in self.messages()]


class Connections(TalkCase):
    def test_nothing_can_be_reached(self) -> None:
        self.unplug()
        self.assertEqual(self.says(seconds=80.0), [f"{HELLO} (no connection)"])
        self.plug()
        self.network.advance(20.0)
        self.assertEqual(self.texts(), [])
        self.type("again")
        self.assertEqual(self.texts(), ["again"])

    def test_it_is_sent_once_a_server_is_reached_again(self) -> None:
        self.unplug()
        done = self.begin("hello")
        self.network.advance(20.0)
        self.assertNoResult(done)
        self.plug()
        self.network.advance(10.0)
        self.assertTrue(self.successResultOf(done))
        self.assertEqual(self.texts(), ["hello"])
        self.assertEqual(self.paper.lines[-1], "* Reconnected.")

    def test_the_server_is_replaced(self) -> None:
        self.network.kill(APP_1)
        self.assertEqual(self.says(seconds=5.0), [])
        self.assertEqual(self.texts(), ["hello"])

    def test_the_user_is_moved(self) -> None:
        self.drain(APP_1)
        self.assertEqual(self.says(), [])
        self.assertEqual(self.texts(), ["hello"])

    def test_redirected(self) -> None:
        there = {"host": APP_1.host, "port": APP_1.port}
        self.answer("send", failure("moved", app_server=there))
        self.assertEqual(self.says(), [])
        self.assertEqual((self.texts(), len(self.asked("send"))), (["hello"], 2))

    def test_the_connection_is_lost_before_the_reply(self) -> None:
        for carried_out in (True, False):
            self.lose_answer("send", carry_out=carried_out)
            before = len(self.asked("send"))
            self.assertIn(f"{MAY_HELLO} (no reply)", self.type("hello"))
            self.network.advance(80.0)
            self.assertEqual(len(self.asked("send")), before + 1)

    def test_a_server_that_does_not_answer(self) -> None:
        self.hold("send")
        self.assertEqual(self.says(seconds=31.0), [f"{MAY_HELLO} (no reply)"])

    def test_a_malformed_reply(self) -> None:
        self.answer("send", failure("moved", app_server=3))
        self.assertEqual(self.type("hello"), [f"{MAY_HELLO} (malformed reply)"])

    def test_the_login_server_is_away_too(self) -> None:
        self.network.unplug(LOGIN)
        self.answer_always("send", failure("ask-login-server"))
        self.assertEqual(self.says(seconds=80.0), [f"{HELLO} (no connection)"])

    def test_the_login_server_is_away_for_a_command(self) -> None:
        self.network.unplug(LOGIN)
        for line, shown in (("/login dan secret", "login dan"), ("/logout", "/logout")):
            self.assertEqual(self.says(line, 80.0), [f"! Not sent: {shown} (no connection)"])

    def test_commands_have_their_text_too(self) -> None:
        self.lose_answer("post")
        said = "! May not have been sent: /post  good day (no reply)"
        self.assertEqual(self.type("/post  good day"), [said])

    def test_whose_line_it_is_where_there_are_several(self) -> None:
        self.type("/login cat pw", "use ann", "talk bob")
        self.lose_answer("send")
        self.assertIn("! May not have been sent as ann: hello (no reply)", self.type("hello"))


class Refusals(TalkCase):
    def refused(self, code: str, words: str) -> list[str]:
        self.answer("send", {"status": 1, "message": words, "code": code})
        return self.type("hello")

    def test_of_a_limit(self) -> None:
        for code, words in (
            ("inbox-full", "The inbox of bob has no room for more from you. Try again later"),
            ("too-many-connections", "There are too many connections. Try again later"),
            ("line-too-long", "The line is too long for the server"),
            ("another-limit", "Too much"),
        ):
            self.assertEqual(self.refused(code, "Too much"), [f"{HELLO} ({words})"])

    def test_of_a_server_that_may_have_carried_it_out(self) -> None:
        for code, words in (
            ("unavailable", "The service cannot answer now. Try again"),
            ("internal-error", "The server failed. Tell its operators the reference log"),
        ):
            self.assertEqual(self.refused(code, words), [f"{MAY_HELLO} ({words})"])

    def test_of_a_command(self) -> None:
        self.answer("post", failure("unavailable"))
        said = "! May not have been sent: /post hello (The service cannot answer now. Try again)"
        self.assertEqual(self.type("/post hello"), [said])
        self.answer("list-friend", failure("unavailable"))
        self.assertEqual(self.type("/list-friend"), ["The service cannot answer now. Try again."])

    def test_turned_away(self) -> None:
        """The app server has no room for the connection."""
        full = {"status": 1, "message": "Too many connections", "code": "too-many-connections"}
        self.answer("send", full)
        self.assertEqual(
            self.type("hello"), [f"{HELLO} (There are too many connections. Try again later)"]
        )

    def test_of_a_token_that_has_expired(self) -> None:
        self.end_session("ann")
        self.assertEqual(self.type("hello")[0], f"{HELLO} (You are not logged in. Try: login NAME)")


class GivingUp(TalkCase):
    def given_up(self, line: str = "hello") -> list[str]:
        done = self.begin(line)
        self.paper.lines.clear()
        done.cancel()
        self.assertTrue(self.successResultOf(done))
        return [*self.paper.lines]

    def test_before_it_was_sent(self) -> None:
        self.unplug()
        self.assertEqual(self.given_up(), [f"{HELLO} (given up)"])
        self.plug()
        self.network.advance(60.0)
        self.assertEqual(self.texts(), [])

    def test_while_the_user_waits_for_a_server(self) -> None:
        self.service.boots = False
        self.network.kill(APP_1)
        self.network.advance(3.0)
        self.assertIsNotNone(self.conversation.status.waiting)
        self.assertEqual(self.given_up(), [f"{HELLO} (given up)"])

    def test_after_it_was_sent(self) -> None:
        self.hold("send")
        self.assertEqual(self.given_up(), [f"{MAY_HELLO} (given up)"])

    def test_a_command_that_changes_nothing(self) -> None:
        self.hold("list-friend")
        self.assertEqual(self.given_up("/list-friend"), ["* Given up."])


class Queued(TalkCase):
    """Lines that were entered for a talk are never commands, nor said to anybody else."""

    def test_the_session_ends_elsewhere(self) -> None:
        self.paper.waiting = 2
        self.log_out("ann")
        said = self.type("hello", "", "post secret", "list-friend")
        ended = "(ann was logged out)"
        self.assertEqual(
            said,
            [
                f"{HELLO} {ended}",
                f"! Not sent: post secret {ended}",
                "You are not logged in. Try: login NAME",
            ],
        )
        self.assertEqual(self.posts(), [])

    def test_a_command_between_them_is_one(self) -> None:
        self.paper.waiting = 3
        self.log_out("ann")
        said = self.type("/ping", "hello", "end", "ping")
        self.assertEqual(said, ["Pong!", f"{HELLO} (ann was logged out)", "Pong!"])

    def test_one_logs_out(self) -> None:
        self.paper.waiting = 1
        said = self.type("/logout", "post x", "ping")
        self.assertEqual(
            said, ["ann is logged out.", "! Not sent: post x (ann is logged out)", "Pong!"]
        )

    def test_the_account_is_deleted(self) -> None:
        """The lines that wait were for nobody else."""
        self.type("/login cat pw", "use ann", "talk bob")
        self.paper.answers = ["ann"]
        self.assertEqual(self.type("/delete")[2:], ["The account ann is deleted.", DROPPED])

    def test_the_talk_does_not_begin(self) -> None:
        self.paper.waiting = 2
        said = self.type("/talk cat", "hello", "delete", "end")
        self.assertEqual(
            said[1:],
            [f"{HELLO} (the talk did not begin)", "! Not sent: delete (the talk did not begin)"],
        )
        self.assertEqual(self.texts(), [])

    def test_it_does_not_begin_without_a_connection(self) -> None:
        self.unplug()
        self.paper.waiting = 1
        self.assertEqual(self.says("/talk bob", 80.0), ["! Not sent: /talk bob (no connection)"])
        self.assertEqual(self.type("hello"), [f"{HELLO} (the talk did not begin)"])

    def test_the_next_line_is_free_where_none_waited(self) -> None:
        self.type("end", "talk cat")
        self.assertEqual(self.type("list-friend"), ["bob"])

    def test_dropped_ones_are_not_waited_for(self) -> None:
        self.type("end")
        self.paper.waiting = 2
        self.type("talk cat")
        self.paper.lines.clear()
        self.conversation.drop(["hello", " ", None, "login ann secret"])
        self.assertEqual(
            self.paper.lines, [HELLO, "! Not sent: login ann", "! Not sent: 1 hidden line"]
        )
        self.assertEqual(self.type("list-friend"), ["bob"])


class Texts(SynchronousTestCase):
    def test_failures(self) -> None:
        full = ServiceReply({"status": 1, "message": "Too many connections"})
        for problem, said in (
            (NotSecure("its certificate has expired"), "Not sent: x (its certificate has expired)"),
            (TurnedAway(LOGIN, full), "Not sent: x (Too many connections)"),
            (Lost("gone"), "May not have been sent: x (no reply)"),
        ):
            self.assertEqual(failed_line("x", problem), said)

    def test_control_codes_are_shown(self) -> None:
        reply = ServiceReply({"status": 1, "message": "no"})
        self.assertEqual(refused_line("a\x1b[2J", reply, "\x07"), "Not sent: a\\x1b[2J (\\x07)")

    def test_what_is_too_long_has_its_beginning(self) -> None:
        said = overlong_line("é" * 100 + "\nmore", "too long")
        self.assertEqual(said, f"Not sent: {'é' * 60}… (too long)")

    def test_no_passwords(self) -> None:
        for usage, line, shown in (
            ("login <id> <password>", "login ann secret", "login ann"),
            ("change-password <user> <old> <new>", "change-password a b c", "change-password a"),
            ("post <user> <text>", "post ann hello", " post hello "),
        ):
            info = CommandInfo(Command(usage, Role.LOGIN))
            request = make_request(info, *line.split()[1:])
            self.assertEqual(typed_line(request, " post hello "), shown.strip())
        self.assertEqual(unsent_lines(["/login ann secret"]), ["Not sent: /login ann"])
        self.assertEqual(unsent_lines(["change-password a b c"]), ["Not sent: change-password"])

    def test_hidden_lines_are_counted(self) -> None:
        self.assertEqual(unsent_lines([None, None]), ["Not sent: 2 hidden lines"])


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "bbs" / "unsent"
        self.file = UnsentFile(self.path)

    def test_taken_once(self) -> None:
        self.file.add(["Not sent: a"])
        self.file.add(["Not sent: b\x1b"])
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(self.file.take(), ["Not sent: a", "Not sent: b\\x1b"])
        self.assertEqual((self.file.take(), self.path.exists()), ([], False))

    def test_nothing_to_keep(self) -> None:
        self.file.add([])
        self.assertFalse(self.path.exists())

    def test_malformed(self) -> None:
        self.path.parent.mkdir(parents=True)
        for content in ("", "{", "3", json.dumps(["a", 3])):
            self.path.write_text(content)
            self.assertIn(self.file.take(), ([], ["a"]))
