"""What people and programs see: replies, events and times."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from bbs.board import Reply
from bbs.board.client import face
from bbs.cli.client import ScriptRun
from bbs.client import BadReply, ChatMessage, Lost, Refused, ServiceEvent, Unreachable, Waiting
from bbs.client.catalog import CommandCatalog
from bbs.client.replies import ServiceReply, read_line
from bbs.framework import Line, Notice
from bbs.testing import Link
from bbs.ui import output
from bbs.ui.output import (
    MOST_TEXT,
    IOutputFormat,
    JSONFormat,
    OutputLine,
    Stamp,
    TextFormat,
    Timestamps,
    help_lines,
    problem_line,
    visible,
    waiting_line,
)
from bbs.ui.process import LineReader
from tests.client.case import APP_1, ClientTestCase

reply_lines = partial(output.reply_lines, face)
reply_entries = partial(output.reply_entries, face)
message_line = partial(output.message_line, face)


def event_line(event: ServiceEvent) -> str:
    return output.event_entry(face, event).text


FLAG = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
FAMILY = "👩\u200d👩\u200d👧"


def reply(status: int = 0, /, **members: object) -> Reply:
    return Reply({"status": status} | members)


class VisibleTests(SynchronousTestCase):
    def test_text_stays_as_it_is(self) -> None:
        plain = ("hello", "  two  spaces ", "日本語 🎉 é", "\\n %s {} <b>&amp;</b>", "ב")
        for text in (*plain, FLAG, FAMILY, "نمی\u200cخواهم", "❤\ufe0f", "1\ufe0f\u20e3"):
            self.assertEqual(visible(text), text)

    def test_what_acts_is_shown(self) -> None:
        for text, shown in (
            ("\x1b[2J", "\\x1b[2J"),
            ("a\nb\rc\td", "a\\x0ab\\x0dc\\x09d"),
            ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
            ("\u202e\u2066\u2029", "\\u202e\\u2066\\u2029"),
            ("\ud800", "\\ud800"),
            ("eve\u200b\u200f\u061c", "eve\\u200b\\u200f\\u061c"),
            ("\u2060\ufeff\xad", "\\u2060\\ufeff\\xad"),
            ("eve\U000e0041", "eve\\U000e0041"),
            ("\u034f\u115f\u3164\uffa0", "\\u034f\\u115f\\u3164\\uffa0"),
            ("\u2800\ufe00\U000e0101\U0001d173", "\\u2800\\ufe00\\U000e0101\\U0001d173"),
            ("e\u200cve\ufe0f\u200d", "e\\u200cve\\ufe0f\\u200d"),
        ):
            self.assertEqual(visible(text), shown)

    @given(st.text(st.characters()))
    def test_no_control_character_gets_through(self, text: str) -> None:
        shown = visible(text)
        self.assertFalse([c for c in shown if unicodedata.category(c) in ("Cc", "Cs")])
        self.assertEqual(visible(shown), shown)
        shown.encode()


class ReplyTests(SynchronousTestCase):
    def test_a_message_prints_as_it_is(self) -> None:
        self.assertEqual(reply_lines(reply(message="Success!", token="t")), ["Success!"])
        self.assertEqual(reply_lines(reply(1, message="No \x07")), ["No \\x07"])

    def test_names_print_one_a_line(self) -> None:
        for member in ("invite", "friend", "group"):
            self.assertEqual(reply_lines(reply(**{member: ["a", "b\n"]})), ["a", "b\\x0a"])

    def test_a_history_is_its_events(self) -> None:
        event = {"event": "message", "id": 1, "time": 5.5, "from": "bob", "to": "ann"}
        other = {"event": "message", "id": 2, "from": "ann", "group": "chess", "message": "e4\x1b"}
        told = reply(history=[event | {"message": "hi"}, other])
        lines = ["<<<bob->ann: hi>>>", "<<<ann->GROUP<chess>: e4\\x1b>>>"]
        self.assertEqual(reply_lines(told), lines)
        self.assertEqual([entry.time for entry in reply_entries(told)], [5.5, None])

    def test_the_last_of_a_conversation_are_what_was_asked_for(self) -> None:
        event = {"event": "message", "id": 1, "from": "bob", "to": "ann", "message": "hi"}
        told = {"status": 0, "history": [event], "more": "x"}
        self.assertEqual(reply_lines(Reply(told)), ["<<<bob->ann: hi>>>"])
        self.assertIn("not shown: lost", reply_lines(Reply(told, lacking="lost"))[0])

    def test_who_had_a_name_once_is_told_from_who_has_it(self) -> None:
        event = {"event": "message", "id": 1, "former": True, "message": "hi"}
        to_ann = event | {"from": "bob", "to": "ann"}
        to_bob = event | {"from": "ann", "to": "bob"}
        in_group = event | {"from": "ann", "group": "chess"}
        self.assertEqual(
            reply_lines(reply(history=[to_ann, to_bob, in_group]), "ann"),
            [
                "<<<bob (no more)->ann: hi>>>",
                "<<<ann->bob (no more): hi>>>",
                "<<<ann (no more)->GROUP<chess>: hi>>>",
            ],
        )

    def test_who_is_there(self) -> None:
        friends = [
            {"id": "bob\x1b", "online": True, "last": 5},
            {"id": "cat", "online": False, "last": 1764086400.25},
            {"id": "dan", "online": False, "last": None},
            {"id": "eve", "online": False, "last": 1e300},
        ]
        lines = ["bob\\x1b  online", "cat  offline since {}", "dan  offline", "eve  offline"]
        told = reply(friend=friends)
        for shown, when in (
            (reply_lines(told), "2025-11-25T16:00:00Z"),
            ([each.text for each in reply_entries(told, format_time=str)], "1764086400.25"),
        ):
            self.assertEqual(shown, [line.format(when) for line in lines])

    def test_posts_have_their_times(self) -> None:
        told = reply(post=[{"id": "bob", "message": "hi", "post": 3, "time": 5}])
        self.assertEqual(reply_entries(told), [OutputLine("bob: hi", 5)])

    def test_a_member_without_a_name_is_no_time(self) -> None:
        told = reply(friend=[{"id": "bob", "online": True, "last": None, "": 5}])
        self.assertEqual(reply_entries(told), [OutputLine("bob  online")])

    def test_empty_lists_say_so(self) -> None:
        for member, line in (
            ("invite", "No invitations"),
            ("friend", "No friends"),
            ("group", "No groups"),
            ("post", "No posts"),
            ("history", "No messages"),
            ("block", "Nobody is blocked"),
            ("member", "No members"),
        ):
            self.assertEqual(reply_lines(reply(**{member: []})), [line])

    def test_posts(self) -> None:
        posts = [{"id": "bob", "message": "two  words"}, {"id": "c\x1b", "message": "\n"}]
        self.assertEqual(reply_lines(reply(post=posts)), ["bob: two  words", "c\\x1b: \\x0a"])

    def test_an_address(self) -> None:
        address = {"host": "203.0.113.7", "port": 22223}
        self.assertEqual(reply_lines(reply(app_server=address)), ["203.0.113.7:22223"])
        address = {"host": "2001:db8::1", "port": 22223}
        self.assertEqual(reply_lines(reply(app_server=address)), ["[2001:db8::1]:22223"])

    def test_nothing_at_all(self) -> None:
        self.assertEqual(reply_lines(reply()), ["Success!"])
        self.assertEqual(reply_lines(reply(1)), ["Failed"])

    def test_what_the_board_has_in_another_shape(self) -> None:
        for members, lines in (
            ({"friend": "ann"}, ["friend: ann"]),
            ({"friend": [1, "ann"]}, ["1", "ann"]),
            ({"friend": [{"id": "ann", "online": 1}]}, ['{"id":"ann","online":1}']),
            ({"post": [{"id": "ann"}, "x"]}, ['{"id":"ann"}', "x"]),
            ({"app_server": {"host": "", "port": 1}}, ['app_server: {"host":"","port":1}']),
            ({"app_server": "a:1"}, ["app_server: a:1"]),
            (
                {"app_server": {"host": "a", "port": 65536}},
                ['app_server: {"host":"a","port":65536}'],
            ),
        ):
            self.assertEqual(reply_lines(reply(**members)), lines)

    def test_a_list_of_another_service(self) -> None:
        games = ["chess\x1b", 2, None, {"name": "go\u202e", "open": True}, ["é"]]
        self.assertEqual(
            reply_lines(reply(game=games, total=5, code="x", token="t")),
            ["chess\\x1b", "2", "null", '{"name":"go\\u202e","open":true}', '["é"]'],
        )
        self.assertEqual(reply_lines(reply(game=[])), ["Nothing"])

    def test_a_list_with_others(self) -> None:
        others = "(others are not shown)"
        self.assertEqual(reply_lines(reply(game=["go"], more="x")), ["go", others])
        self.assertEqual(reply_lines(reply(friend=[], more="x")), ["No friends", others])
        self.assertEqual(
            reply_lines(reply(post=[{"id": "bob", "message": "hi"}], more="x")),
            ["(older ones are not shown)", "bob: hi"],
        )
        for more in ("", None, 1, ["x"]):
            self.assertEqual(reply_lines(reply(game=["go"], more=more)), ["go"])
        self.assertEqual(reply_lines(reply(name="go", more="x")), ["name: go"])
        self.assertEqual(reply_lines(reply(message="Success!", more="x")), ["Success!"])

    def test_members_of_another_service(self) -> None:
        self.assertEqual(
            reply_lines(reply(name="go\x1b", open=True, seats={"ann": 1}, token="t")),
            ["name: go\\x1b", "open: true", 'seats: {"ann":1}'],
        )
        self.assertEqual(
            reply_lines(reply(**{"a\nb": [], "c": ["d"]})), ["a\\x0ab: []", 'c: ["d"]']
        )
        self.assertEqual(reply_lines(reply(1, name="go")), ["Failed"])

    def test_more_than_the_list_of_the_board(self) -> None:
        self.assertEqual(reply_lines(reply(friend=["bob"], other=["x"], total=1)), ["bob"])

    def test_no_token_in_a_repr(self) -> None:
        self.assertNotIn("secret", repr(reply(token="secret")))
        self.assertNotIn("secret", repr(ChatMessage(1, "ann", "secret", to="bob")))

    def test_tokens_that_are_none(self) -> None:
        for token in (None, "", 1, "two words", "line\n"):
            self.assertRaises(BadReply, getattr, reply(token=token), "token")


class EventTests(SynchronousTestCase):
    def test_messages(self) -> None:
        self.assertEqual(
            message_line(ChatMessage(1, "ann", "hi  ", to="bob")), "<<<ann->bob: hi  >>>"
        )
        self.assertEqual(
            message_line(ChatMessage(1, "ann", "e4\x1b", group="chess")),
            "<<<ann->GROUP<chess>: e4\\x1b>>>",
        )

    def test_messages_that_are_none(self) -> None:
        good = {"event": "message", "id": 1, "from": "ann", "to": "bob", "message": "hi"}
        self.assertEqual(ChatMessage.read(good), ChatMessage(1, "ann", "hi", to="bob"))
        for member, value in (("id", "1"), ("from", None), ("to", None), ("message", 3)):
            self.assertRaises(BadReply, ChatMessage.read, good | {member: value})
        for told, time in (
            (5, 5),
            (1.5, 1.5),
            (-1, None),
            (True, None),
            (1e300, None),
            ("5", None),
        ):
            self.assertEqual(ChatMessage.read(good | {"time": told}).time, time)
        for told, former in ((True, True), (1, False), ("true", False)):
            self.assertEqual(ChatMessage.read(good | {"former": told}).former, former)

    def test_waiting(self) -> None:
        event = {"event": "waiting", "position": 3, "seconds": 24}
        self.assertEqual(
            waiting_line(Waiting.read(event)),
            "Waiting for an app server: position 3, about 24 s",
        )
        self.assertEqual(
            waiting_line(Waiting.read(event | {"seconds": None})),
            "Waiting for an app server: position 3",
        )
        self.assertRaises(BadReply, Waiting.read, event | {"position": "3"})
        self.assertRaises(BadReply, Waiting.read, event | {"seconds": "3"})

    def test_an_announcement_of_several_lines(self) -> None:
        members = {"event": "announcement", "announcement": 1, "text": "one\u2028two\x1b"}
        event = ServiceEvent({**members, "time": 5.0})
        self.assertEqual(event_line(event), " * Announcement: one\u2028two\\x1b")
        in_script = output.event_entry(face, event, mark="").text
        self.assertEqual(in_script, "Announcement: one\\u2028two\\x1b")

    def test_posts_have_their_numbers(self) -> None:
        post = {"from": "ann", "post": 8, "text": "hello", "time": 5.0}
        for members, shown in (
            ({"event": "post", "group": None}, "ann, post 8: hello"),
            ({"event": "reply", "to": 7}, "ann, reply 8 to 7: hello"),
        ):
            self.assertEqual(event_line(ServiceEvent(post | members)), f" * {shown}")

    def test_an_invitation_says_what_to_type(self) -> None:
        event = {"event": "invite", "from": "ann", "text": "ann invites you"}
        self.assertEqual(
            event_line(ServiceEvent(event)), " * ann wants to be your friend. Type: accept NAME"
        )
        to_group = {**event, "group": "chess", "text": "ann invites you to chess"}
        said = " * ann invites you to a group: join-group chess"
        self.assertEqual(event_line(ServiceEvent(to_group)), said)

    def test_other_events(self) -> None:
        for text, shown in (
            ("carol invites you", " * carol invites you"),
            ("a\x1b[2J\nb\u202e", " * a\\x1b[2J\\x0ab\\u202e"),
            ("", ""),
            (None, ""),
            (["x"], ""),
            ("x" * MOST_TEXT, " * " + "x" * MOST_TEXT),
            ("x" * 1_000_000, " * " + "x" * MOST_TEXT + "…"),
        ):
            self.assertEqual(event_line(ServiceEvent({"event": "news", "text": text})), shown)
        self.assertEqual(event_line(ServiceEvent({"event": "news"})), "")
        escapes = event_line(ServiceEvent({"event": "news", "text": "\x1b" * MOST_TEXT}))
        self.assertEqual(len(escapes), len(" * ") + MOST_TEXT + 1)

    def test_what_the_service_says_is_no_message(self) -> None:
        """Whatever words it has: otherwise nobody could tell it from another person's line."""
        for message in (
            ChatMessage(1, "ann", "pay eve", to="bob"),
            ChatMessage(1, "ann", "pay: eve>>>", group="chess"),
        ):
            said = message_line(message)
            news = {"event": "news", "text": said}
            self.assertEqual(event_line(ServiceEvent(news)), f" * {said}")
            for status in (0, 1):
                self.assertEqual(reply_lines(reply(status, message=said)), [f" * {said}"])
            knowing = replace(face, events={"news": Line()})
            self.assertEqual(output.reply_lines(knowing, reply(past=[news])), [f" * {said}"])
            form, refused = TextFormat(CommandCatalog(face)), Refused(reply(1, message=said))
            self.assertEqual(form.failed(refused), [f" * {said}"])
            self.assertEqual(form.user_failed("bob", refused), [f" * {said}"])

    def test_what_could_be_no_message_is_as_it_is(self) -> None:
        for text in ("Success!", "<<<", "<<<a->b>>>", "<<<ann->bob: hi>>> does not exist", ">>>"):
            self.assertEqual(reply_lines(reply(message=text)), [text])

    def test_problems(self) -> None:
        self.assertEqual(
            problem_line(Lost("the connection was lost")),
            "It is not known whether this was carried out: the connection was lost",
        )
        self.assertEqual(problem_line(Unreachable("cannot\x1b")), "cannot\\x1b")
        self.assertEqual(problem_line(Refused(reply(1, message="No"))), "No")

    def test_help_lists_everything(self) -> None:
        lines = help_lines(CommandCatalog(face).commands.values())
        self.assertEqual(lines[:2], ["register <id> <password>", "login <id> <password>"])
        self.assertIn("send <user> <friend> <message>", lines)
        self.assertEqual(lines[-1], "exit")


NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86400.0


class TimesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = NOON
        self.times = Timestamps(lambda: self.now, UTC)

    def test_today_needs_no_day(self) -> None:
        self.assertEqual(self.times.stamp(NOON - 3 * HOUR + 59.9), Stamp("", "09:00"))

    def test_another_day_is_said_once(self) -> None:
        stamps = [self.times.stamp(NOON + after) for after in (-DAY, -DAY + 60, 0, 60)]
        self.assertEqual(
            stamps,
            [
                Stamp("Wednesday 25 November 2026", "12:00"),
                Stamp("", "12:01"),
                Stamp("Thursday 26 November 2026", "12:00"),
                Stamp("", "12:01"),
            ],
        )

    def test_midnight(self) -> None:
        self.now = NOON + 12 * HOUR
        self.assertEqual(self.times.now(), Stamp("Friday 27 November 2026", "00:00"))

    def test_where_the_reader_is(self) -> None:
        times = Timestamps(lambda: NOON, timezone(timedelta(hours=13)))
        self.assertEqual(times.stamp(NOON - 2 * HOUR), Stamp("Thursday 26 November 2026", "23:00"))
        self.assertEqual(times.stamp(NOON), Stamp("Friday 27 November 2026", "01:00"))

    def test_no_time(self) -> None:
        for seconds in (None, 1e300, float("nan"), -1e20):
            self.assertEqual(self.times.stamp(seconds), Stamp())
        self.assertEqual(self.times.stamp(NOON), Stamp("", "12:00"))

    def test_since(self) -> None:
        for seconds, words in (
            (NOON - HOUR, "11:00"),
            (NOON - DAY, "25 November 12:00"),
            (NOON - 366 * DAY, "25 November 2025"),
            (NOON + 366 * DAY, "27 November 2027"),
            (1e300, ""),
        ):
            self.assertEqual(self.times.short(seconds), words)

    def test_a_clock_that_is_beyond_the_calendar(self) -> None:
        times = Timestamps(lambda: 1e300, UTC)
        self.assertEqual(times.stamp(NOON).time, "12:00")
        self.assertEqual(times.short(NOON), "26 November 2026")
        self.assertEqual(times.now(), Stamp())


class FormTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.form = JSONFormat()

    def test_both_say_everything(self) -> None:
        verifyObject(IOutputFormat, TextFormat(CommandCatalog(face)))
        verifyObject(IOutputFormat, self.form)

    def test_replies_without_tokens(self) -> None:
        reply = Reply({"status": 0, "message": "Success!", "token": "secret", "more": [1]})
        login = Reply({**reply.members, "device": "secret"})
        for each in (reply, login):
            self.assertEqual(
                self.form.reply(each), ['{"status": 0, "message": "Success!", "more": [1]}']
            )
        # Any other reply may have a device of the service's own.
        other = Reply({"status": 0, "device": "lamp"})
        self.assertEqual(self.form.reply(other), ['{"status": 0, "device": "lamp"}'])

    def test_own_answers(self) -> None:
        self.assertEqual(self.form.succeeded(["a", "b"]), ['{"status": 0, "message": "a\\nb"}'])
        self.assertEqual(TextFormat(CommandCatalog(face)).succeeded(["a", "b"]), ["a", "b"])

    def test_who_was_logged_out(self) -> None:
        self.assertEqual(self.form.logged_out("ann"), ['{"event": "logout", "user": "ann"}'])
        self.assertEqual(TextFormat(CommandCatalog(face)).logged_out("ann"), [])

    def test_problems(self) -> None:
        lost = "It is not known whether this was carried out: gone"
        self.assertEqual(
            self.form.failed(Lost("gone")), [json.dumps({"status": 1, "message": lost})]
        )
        self.assertEqual(TextFormat(CommandCatalog(face)).failed(Lost("gone")), [lost])
        refused = Refused(Reply({"status": 1, "message": "No\x1b"}))
        self.assertEqual(
            self.form.user_failed("ann", refused),
            ['{"event": "problem", "user": "ann", "message": "No\\\\x1b"}'],
        )
        self.assertEqual(TextFormat(CommandCatalog(face)).user_failed("ann", refused), ["No\\x1b"])

    def test_events_say_whose_they_are(self) -> None:
        to_bob = {
            "event": "message",
            "id": 41,
            "from": "ann",
            "to": "bob",
            "message": "hi\x1b\u202e",
        }
        to_group = {"event": "sent", "id": 42, "from": "ann", "group": "chess", "message": "e4"}
        for event in (to_bob, to_bob | {"time": 5}, to_group):
            (line,) = self.form.message("bob", ChatMessage.read(event))
            self.assertTrue(line.isascii())
            self.assertEqual(json.loads(line), event | {"user": "bob"})
            self.assertEqual(self.form.message("bob", ChatMessage.read(event)), [line])
        self.assertEqual(
            self.form.waiting(Waiting(3, 24)),
            ['{"event": "waiting", "position": 3, "seconds": 24}'],
        )


class ProgramTests(ClientTestCase):
    """`bbs client --json`, from its standard input to its exit code."""

    def setUp(self) -> None:
        super().setUp()
        self.register("ann", "bob")
        self.befriend("ann", "bob")
        self.end, self.start = os.pipe()
        self.addCleanup(os.close, self.end)

    def play(self, script: str, password: str | None = None, programs: bool = True) -> ScriptRun:
        pieces = [script.encode(), b""]

        def read() -> Deferred[bytes]:
            return succeed(pieces.pop(0))

        run = self.run_script(read, password, programs)
        self.network.advance(2)
        os.close(self.start)
        self.printed = os.read(self.end, 65536).decode().splitlines()
        return run

    def run_script(
        self, read: Callable[[], Deferred[bytes]], password: str | None, programs: bool
    ) -> ScriptRun:
        run = ScriptRun(
            self.clock,
            self.client,
            lines=LineReader(read),
            output=self.start,
            password=password,
            for_programs=programs,
        )
        run.start()
        return run

    def members(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.printed]

    def test_a_line_for_each_reply_and_event(self) -> None:
        run = self.play("login ann 1\nlogin bob 1\nhelp\nlisten ann\nevents\nsend ann bob hi\n")
        self.assertEqual(run.problem, "")
        here = {"status": 0, "message": "Success!"}
        login = here | {"app_server": {"host": APP_1.host, "port": APP_1.port}}
        first, second, usages, *others = self.members()
        login |= {"waiting": {"invitations": 0, "messages": 0, "after": 0, "posts": 0}}
        self.assertEqual((first, second), (login, login))
        self.assertIn("send <user>", str(usages["message"]))
        event = {"event": "message", "id": 1, "from": "ann", "to": "bob", "message": "hi"}
        (said,) = [each for each in others if "event" in each]
        self.assertIsInstance(said.pop("time"), float)
        self.assertCountEqual(others, [here, here, here, event | {"user": "bob"}])

    def test_only_what_is_json_is_printed(self) -> None:
        for number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999"):
            with self.assertRaises(ValueError):
                read_line(f'{{"status": 0, "score": {number}}}'.encode())

        def worse(link: Link, line: str) -> str:
            asked = link.requests[-1]
            if asked.startswith("listen"):
                link.tell('{"event": "turn", "score": 1e999}')
                link.tell('{"event": "turn", "score": NaN}')
                link.tell('{"event": "turn", "score": -1e99}')
            if asked == "register eve 1":
                return '{"status": 0, "score": 1e999}'
            return line

        self.network.to_clients = worse
        self.play("login ann 1\nregister eve 1\n")
        login, turn, lost = self.members()
        self.assertEqual(login["status"], 0)
        self.assertEqual(turn, {"event": "turn", "score": -1e99, "user": "ann"})
        self.assertEqual(lost["status"], 1)

    def test_the_last_status_is_the_exit_code(self) -> None:
        run = self.play("login ann wrong\nlist-friend ann\n")
        self.assertEqual(run.problem, "Not login yet")
        self.assertEqual([each["status"] for each in self.members()], [1, 1])

    def test_a_refusal_before_the_last_is_none(self) -> None:
        run = self.play("nonsense\nping\n")
        self.assertEqual(run.problem, "")

    def test_a_refusal_says_something(self) -> None:
        self.answer("ping", {"status": 1})
        pieces: list[Deferred[bytes]] = [succeed(b"ping\n"), succeed(b"")]
        read = lambda: pieces.pop(0)  # noqa: E731
        run = self.run_script(read, None, True)
        self.network.flush()
        self.network.advance(2)
        self.assertEqual(run.problem, "Failed")
        os.close(self.start)

    def test_a_script_for_people_has_the_exit_code_that_it_had(self) -> None:
        run = self.play("nonsense\n", programs=False)
        self.assertEqual((run.problem, self.printed), ("", ["Unknown command nonsense"]))

    def test_a_server_that_will_not_listen(self) -> None:
        self.answer_always("listen", {"status": 1, "message": "Unknown command listen"})
        run = self.play("login ann 1\nlisten ann\n")
        login, aside, listen = self.members()
        self.assertEqual(login["status"], 0)
        self.assertEqual(aside["event"], "problem", self.printed)
        self.assertEqual(listen["status"], 1)
        self.assertTrue(run.problem)

    def test_who_is_logged_out_elsewhere(self) -> None:
        more: Deferred[bytes] = Deferred()
        pieces = [succeed(b"login ann 1\nlogin bob 1\n"), more, succeed(b"")]
        run = self.run_script(lambda: pieces.pop(0), None, True)
        self.network.flush()
        self.log_out("ann")
        late: list[Callable[[], None]] = []

        def to_clients(link: Link, line: str) -> str | None:
            if "Bye!" not in line:
                return line
            late.append(lambda: link.tell(line))  # The event comes before the answer.
            return None

        self.network.to_clients = to_clients
        more.callback(b"logout bob\n")
        self.network.flush()
        late.pop()()
        self.network.advance(2)
        self.assertEqual(run.problem, "")
        os.close(self.start)
        self.printed = os.read(self.end, 65536).decode().splitlines()
        _, _, gone, bye = self.members()
        self.assertEqual(gone, {"event": "logout", "user": "ann"})
        self.assertEqual(bye, {"status": 0, "message": "Bye!"})

    def test_a_password_where_none_is_typed(self) -> None:
        self.play("register eve\nlogin ann\nlogin bob wrong\nlogin\n", "1", programs=False)
        self.assertTrue(self.is_password("eve", "1"))
        self.assertEqual(
            self.printed,
            [
                "Success!",
                "Success!",
                "No such user or password error",
                "Usage: login <id> <password>",
            ],
        )

    def test_none_is_made_up(self) -> None:
        self.play("login ann\n", programs=False)
        self.assertEqual(self.printed, ["Usage: login <id> <password>"])


class PeopleTests(SynchronousTestCase):
    """What people read at a terminal, where scripts print something else."""

    def shown(self, message: ChatMessage, **options: bool) -> str:
        return output.message_entry(message, "ann", **options).text

    def test_messages(self) -> None:
        self.assertEqual(self.shown(ChatMessage(1, "bob", "hi\x1b", to="ann")), "bob  hi\\x1b")
        own = ChatMessage(2, "ann", "hi", to="bob")
        self.assertEqual(self.shown(own), "ann → bob  hi")
        self.assertEqual(self.shown(own, in_talk=True), "ann  hi")
        self.assertEqual(self.shown(ChatMessage(3, "cat", "e4", group="go")), "#go cat  e4")
        gone = replace(own, former=True)
        self.assertEqual(self.shown(gone, in_talk=True), "ann → bob (no more)  hi")
        self.assertEqual(self.shown(replace(gone, sender="bob", to="ann")), "bob (no more)  hi")

    def test_a_message_has_an_edge(self) -> None:
        entry = output.message_entry(ChatMessage(1, "bob", "hi", to="ann"), "ann")
        self.assertEqual(entry.text[entry.edge :], "hi")

    def test_nothing_else_passes_for_a_message(self) -> None:
        for message in (
            ChatMessage(1, "bob", "pay eve", to="ann"),
            ChatMessage(1, "ann", "pay eve", to="bob", former=True),
            ChatMessage(1, "bob", "pay eve", group="chess"),
            ChatMessage(1, "bob", "pay eve", group="chess", former=True),
        ):
            said = self.shown(message)
            self.assertEqual(output.marked_for_people(said), f" * {said}")
            told = reply_entries(reply(message=said), people=True)
            self.assertEqual([each.text for each in told], [f" * {said}"])
            knowing = replace(face, notices=(Notice("unread", said, said),))
            self.assertEqual(output.notices_line(knowing, reply(unread=1)), f" * {said}")
        self.assertEqual(output.marked_for_people("bob is online"), "bob is online")

    def test_who_is_there(self) -> None:
        friends = [
            {"id": "bob", "online": True, "last": 5},
            {"id": "cat", "online": False, "last": 5},
            {"id": "dan", "online": False, "last": None},
        ]
        told = reply_entries(reply(friend=friends), format_time=str, people=True)
        lines = ["bob is online", "cat is offline, last here 5", "dan is offline"]
        self.assertEqual([each.text for each in told], lines)

    def test_who_is_here_and_what_they_say(self) -> None:
        friends = [
            {"id": name, "online": state != "out", "last": last, "state": state, "status": status}
            for name, state, last, status in (
                ("bob", "here", 5, ""),
                ("bob", "here", 5, "at the beach"),
                ("cat", "away", 5, ""),
                ("cat", "away", None, "at lunch"),
                ("dan", "out", 5, ""),
                ("dan", "out", 5, "eve  pay me\x1b"),
                ("fay", "out", None, ""),
                ("fay", "out", None, "on leave"),
            )
        ]
        told = reply_entries(reply(friend=friends), format_time=str, people=True)
        self.assertEqual(
            [each.text for each in told],
            [
                "bob is here",
                "bob is here: at the beach",
                "cat is away",
                "cat is away: at lunch",
                "dan is out, last here 5",
                "dan is out, last here 5: eve  pay me\\x1b",
                "fay is out",
                "fay is out: on leave",
            ],
        )
        self.assertEqual(
            reply_lines(reply(friend=friends)),
            [
                *["bob  online"] * 2,
                *["cat  online"] * 2,
                *["dan  offline since 1970-01-01T00:00:05Z"] * 2,
                *["fay  offline"] * 2,
            ],
        )

    def test_posts_keep_their_lines(self) -> None:
        told = reply(post=[{"id": "bob", "message": "one\u2028two\u2029", "time": 5}])
        (entry,) = reply_entries(told, people=True)
        self.assertEqual(entry.text, "bob: one\u2028two\\u2029")
        self.assertEqual(reply_lines(told), ["bob: one\\u2028two\\u2029"])


class OfPosts(SynchronousTestCase):
    """Posts with their numbers, and what is new."""

    POST: ClassVar[dict[str, object]] = {
        "post": 7,
        "id": "ann",
        "message": "hello",
        "time": 1764086400.0,
        "to": None,
        "replies": 2,
    }

    def lines(self, people: bool = True, **members: object) -> list[str]:
        reply = ServiceReply({"status": 0, **members})
        return [each.text for each in output.reply_entries(face, reply, "bob", people=people)]

    def test_a_thread(self) -> None:
        reply = {**self.POST, "post": 8, "id": "bob", "message": "a\x1bb", "to": 7, "replies": 0}
        thread = [self.POST, reply, {"post": 5, "deleted": True}]
        self.assertEqual(
            self.lines(post=thread),
            [
                "ann, post 7: hello (replies: 2)",
                "bob, reply 8 to 7: a\\x1bb",
                "Post 5 was deleted",
            ],
        )
        self.assertEqual(
            self.lines(False, post=thread),
            ["7 ann: hello (replies: 2)", "8 bob, in reply to 7: a\\x1bb", "5 was deleted"],
        )
        self.assertEqual(self.lines(post=[]), ["No posts"])

    def test_posts_of_before_are_as_before(self) -> None:
        post = {"id": "ann", "message": "hello", "post": 7, "time": 1764086400.0}
        self.assertEqual(self.lines(False, post=[post]), ["ann: hello"])

    def test_what_is_new(self) -> None:
        nothing: dict[str, object] = {"messages": 0, "invitations": 0, "posts": 0}
        nothing |= {"groups": [], "announcements": []}
        self.assertEqual(self.lines(new=nothing), ["Nothing new"])
        groups = [{"group": "chess", "posts": 3}, {"group": "go", "posts": 1}]
        told = [{"announcement": 1, "text": "Maintenance at noon", "time": 1764086400.0}]
        new = {"messages": 1, "invitations": 2, "posts": 1000, "groups": groups}
        self.assertEqual(
            self.lines(new={**new, "announcements": told}),
            [
                "1 message waits; 2 invitations wait: list-invite; 1,000 or more new posts: posts",
                "3 new in a group: group-posts chess",
                "1 new in a group: group-posts go",
                "Announcement: Maintenance at noon",
            ],
        )
