"""What people see."""

from __future__ import annotations

import unicodedata
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.client import face
from bbs.client import (
    BadReply,
    ChatMessage,
    Lost,
    Refused,
    Reply,
    ServiceEvent,
    Unreachable,
    Waiting,
)
from bbs.client.vocabulary import Vocabulary
from bbs.ui import text as written
from bbs.ui.text import (
    MOST_TEXT,
    Entry,
    help_lines,
    problem_line,
    visible,
    waiting_line,
)

reply_lines = partial(written.reply_lines, face)
reply_entries = partial(written.reply_entries, face)
message_line = partial(written.message_line, face)


def event_line(event: ServiceEvent) -> str:
    return written.event_entry(face, event).text


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
            ([each.text for each in reply_entries(told, since=str)], "1764086400.25"),
        ):
            self.assertEqual(shown, [line.format(when) for line in lines])

    def test_posts_have_their_times(self) -> None:
        told = reply(post=[{"id": "bob", "message": "hi", "post": 3, "time": 5}])
        self.assertEqual(reply_entries(told), [Entry("bob: hi", 5)])

    def test_a_member_without_a_name_is_no_time(self) -> None:
        told = reply(friend=[{"id": "bob", "online": True, "last": None, "": 5}])
        self.assertEqual(reply_entries(told), [Entry("bob  online")])

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

    def test_other_events(self) -> None:
        for text, shown in (
            ("carol invites you", "carol invites you"),
            ("a\x1b[2J\nb\u202e", "a\\x1b[2J\\x0ab\\u202e"),
            ("", ""),
            (None, ""),
            (["x"], ""),
            ("x" * MOST_TEXT, "x" * MOST_TEXT),
            ("x" * 1_000_000, "x" * MOST_TEXT + "…"),
        ):
            self.assertEqual(event_line(ServiceEvent({"event": "news", "text": text})), shown)
        self.assertEqual(event_line(ServiceEvent({"event": "news"})), "")
        escapes = event_line(ServiceEvent({"event": "news", "text": "\x1b" * MOST_TEXT}))
        self.assertEqual(len(escapes), MOST_TEXT + 1)

    def test_problems(self) -> None:
        self.assertEqual(
            problem_line(Lost("the connection was lost")),
            "It is not known whether this was carried out: the connection was lost",
        )
        self.assertEqual(problem_line(Unreachable("cannot\x1b")), "cannot\\x1b")
        self.assertEqual(problem_line(Refused(reply(1, message="No"))), "No")

    def test_help_lists_everything(self) -> None:
        lines = help_lines(Vocabulary(face).offers.values())
        self.assertEqual(lines[:2], ["register <id> <password>", "login <id> <password>"])
        self.assertIn("send <user> <friend> <message>", lines)
        self.assertEqual(lines[-1], "exit")
