"""What people read in place of a reply's message."""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

import bbs.board.service
import bbs.daemons.composition
from bbs.board.client import face
from bbs.board.client.face import LEGACY
from bbs.client import Refused, Unreachable
from bbs.client.errors import Lost
from bbs.client.replies import ServiceReply
from bbs.client.request import FRAMEWORK, ClientRequest, command_infos
from bbs.core.errors import Refusal
from bbs.framework import Presentation
from bbs.ui.wording import DONE, FAILURES, failure_text, problem_words, reply_words, typing_line
from tests.paths import CHECKOUT

COMMANDS = {**FRAMEWORK, **command_infos(*LEGACY.first, *LEGACY.later)}


def asked(line: str) -> ClientRequest:
    return ClientRequest.parse(line, COMMANDS)


def refused(code: str, message: str = "No") -> ServiceReply:
    return ServiceReply({"status": 1, "message": message, "code": code})


def succeeded(**members: object) -> ServiceReply:
    return ServiceReply({"status": 0, "message": "Success!", **members})


def refusals(base: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for each in base.__subclasses__():
        if each.__module__.startswith("bbs.") and "testing" not in each.__module__:
            yield each
        yield from refusals(each)


class Tables(SynchronousTestCase):
    def test_every_code_has_words(self) -> None:
        codes = {each.code for each in refusals()} - {"", "wrong-usage"}
        self.assertIn("not-logged-in", codes)
        self.assertIn("not-friends", codes)
        for code in codes | {"internal-error"}:
            self.assertTrue(face.failures.get(code) or FAILURES.get(code), f"no words for {code}")

    def test_every_documented_code_has_words(self) -> None:
        page = (CHECKOUT / "docs/client-authors.md").read_text()
        section = page.split("## When the answer is no")[1].split("\n## ")[0]
        codes = {
            code
            for line in section.splitlines()
            if line.startswith("- ")
            for code in re.findall(r"`([a-z]+(?:-[a-z0-9]+)+|moved|stopping|unavailable)`", line)
        } - {"wrong-usage"}
        self.assertGreater(len(codes), 40)
        words = {key.rpartition(" ")[2] for key in (*face.failures, *FAILURES)}
        commands = {each.name for each in bbs.board.service.commands} | {*FRAMEWORK}
        self.assertEqual(codes - commands - words, set())

    def test_every_command_that_only_succeeds_says_what_happened(self) -> None:
        lists = {name for each in face.choices for name in each.lists}
        lists |= {"history", "receive-post", "posts", "my-posts", "thread", "group-posts", "new"}
        for command in bbs.board.service.commands:
            if command.listed and command.name not in lists:
                self.assertIn(command.name, face.done)

    def test_nothing_of_the_wire(self) -> None:
        for words in (*face.done.values(), *face.failures.values(), *DONE.values()):
            self.assertNotRegex(words, r"Success!|<<<|\bhe\b|\bshe\b|<user>")


class Numbers(SynchronousTestCase):
    def test_a_new_post_has_its_own_number(self) -> None:
        commands = command_infos(*bbs.board.service.commands)
        request = ClientRequest.parse("reply ann 1 there", commands)
        self.assertEqual(reply_words(face, request, succeeded(post=2)), "Replied, as post 2.")
        request = ClientRequest.parse("delete-post ann 1", commands)
        self.assertEqual(reply_words(face, request, succeeded()), "Post 1 is deleted.")


class Words(SynchronousTestCase):
    def assert_words(self, line: str, reply: ServiceReply, words: str) -> None:
        self.assertEqual(reply_words(face, asked(line), reply), words)

    def test_a_success_says_what_happened(self) -> None:
        self.assert_words(
            "invite ann bob", succeeded(), "Invited bob. You can talk once bob accepts."
        )
        self.assert_words("post ann hello all", succeeded(), "Posted to all your friends.")
        self.assert_words("login ann pw", succeeded(token="t"), "Logged in as ann.")
        self.assert_words("logout ann", succeeded(), "ann is logged out.")

    def test_a_text_that_is_left_out(self) -> None:
        commands = command_infos(*bbs.board.service.commands)
        for line, words in (
            ("set-status ann busy", "Your friends see: busy"),
            ("set-status ann", "Your status is removed."),
            ("set-topic ann go e4", "The topic of go is now: e4"),
            ("set-topic ann go", "go has no topic now."),
        ):
            request = ClientRequest.parse(line, commands)
            self.assertEqual(reply_words(face, request, succeeded()), words)
        left = face.only({}, ())
        self.assertEqual(left.done, {})

    def test_nothing_new(self) -> None:
        commands = command_infos(*bbs.board.service.commands)
        for line, words in (
            ("posts ann", "No new posts."),
            ("group-posts ann go", "No new posts."),
            ("my-posts ann", ""),
        ):
            request = ClientRequest.parse(line, commands)
            empty_and_one: list[list[object]] = [[], [{}]]
            none, one = (ServiceReply({"status": 0, "post": posts}) for posts in empty_and_one)
            self.assertEqual(reply_words(face, request, none), words)
            self.assertEqual(reply_words(face, request, one), "")

    def test_a_failure_by_its_code(self) -> None:
        gone = refused("no-such-user", "No such user exist")
        for line, words in (
            ("invite ann bobb", "There is no user called bobb"),
            ("send ann bobb hello there", "There is no user called bobb"),
            ("history ann bobb", "You have no friend or group called bobb"),
        ):
            self.assert_words(line, gone, words)
        self.assert_words("register ann pw", refused("already-used"), "The name ann is taken")
        wrong = refused("wrong-credentials")
        self.assert_words("login ann pw", wrong, "Wrong name or password")
        self.assert_words("change-password ann a b", wrong, "The old password is wrong")

    def test_what_only_the_servers_text_has(self) -> None:
        later = refused("too-many-attempts", "Too many attempts, try again in 12 s")
        self.assert_words("login ann pw", later, "Too many attempts. Try again in 12 s.")
        failed = refused("internal-error", "Internal error a1b2")
        said = "The server failed. Tell its operators the reference a1b2."
        self.assert_words("ping", failed, said)

    def test_an_unknown_code_shows_the_servers_text(self) -> None:
        self.assert_words("invite ann bob", refused("in-no-mood", "Not today"), "")
        self.assertEqual(failure_text(face, asked("ping"), refused("x", "Not\x07")), "Not\\x07")

    def test_words_that_lack_an_argument_are_not_used(self) -> None:
        self.assert_words("post", refused("no-such-user"), "")
        self.assert_words("xyzzy ann", refused("no-such-user"), "")

    def test_lists_are_shown(self) -> None:
        self.assert_words("list-friend ann", ServiceReply({"status": 0, "friend": []}), "")

    def test_names_do_not_act_on_the_terminal(self) -> None:
        reply = refused("no-such-user")
        self.assert_words("invite ann b\x1bb", reply, "There is no user called b\\x1bb")

    def test_a_services_own_come_first(self) -> None:
        own = Presentation(
            done={"ping": "Pinged {seats} of {user}", "login": "In."},
            failures={"ping busy": "Busy: {where.room}", "busy": "Wait"},
        )
        self.assertEqual(reply_words(own, asked("login ann pw"), succeeded()), "In.")
        busy = ServiceReply({"status": 1, "code": "busy", "where": {"room": 5}})
        self.assertEqual(reply_words(own, asked("ping"), busy), "Busy: 5")
        self.assertEqual(reply_words(own, asked("ping"), refused("busy")), "Wait")
        # Nobody is named, so the first form does not fit.
        self.assertEqual(reply_words(own, asked("ping"), succeeded(seats=2)), "Done.")
        pong = ServiceReply({"status": 0, "message": "Pong!"})
        self.assertEqual(reply_words(own, asked("ping"), pong), "")

    def test_without_a_message(self) -> None:
        """Words are shown in place of members, and never in place of a list."""
        own = Presentation(done={"ping": "Pinged {seats}.", "list-friend": "Listed."})
        for members, words in (({"seats": 2}, "Pinged 2."), ({"others": 2}, "")):
            self.assertEqual(
                reply_words(own, asked("ping"), ServiceReply({"status": 0, **members})), words
            )
        friends = ServiceReply({"status": 0, "friend": ["bob"]})
        self.assertEqual(reply_words(own, asked("list-friend ann"), friends), "")

    def test_a_command_of_a_service_is_not_the_frameworks(self) -> None:
        login = ClientRequest.parse("login me", {})
        self.assertEqual(reply_words(Presentation(), login, succeeded()), "Done.")

    def test_within_a_sentence(self) -> None:
        said = failure_text(face, asked("send ann bob hi"), refused("inbox-full"))
        self.assertEqual(said, "The inbox of bob has no room for more from you. Try again later")

    def test_what_to_type(self) -> None:
        for usage, words in (
            ("register <id> [<password>]", "Type: register NAME"),
            ("change-password [<old> <new>]", "Type: change-password"),
            ("talk [<friend or group>]", "Type: talk [FRIEND|GROUP]"),
            ("send <name> <message>", "Type: send NAME MESSAGE"),
            ("times [on|off]", "Type: times [on|off]"),
        ):
            self.assertEqual(typing_line(usage), words)

    def test_problems(self) -> None:
        self.assertEqual(problem_words(Unreachable("no way")), "no way")
        full = Refused(refused("too-many-connections", "Too many connections"))
        self.assertEqual(problem_words(full), FAILURES["too-many-connections"])
        self.assertEqual(problem_words(Refused(refused("already-used", "x is"))), "x is")
        self.assertIn("not known", problem_words(Lost("cut")))
