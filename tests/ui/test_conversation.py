"""One person's conversation with the service: names, talk, passwords, what is unread."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import partial

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from bbs.board.client import face
from bbs.client import Address, ChatMessage, ServiceEvent, Waiting
from bbs.client.catalog import CommandCatalog
from bbs.client.replies import ServiceReply
from bbs.client.request import ClientRequest
from bbs.ui import completion
from bbs.ui.chat import Partner
from bbs.ui.conversation import Conversation, Status
from bbs.ui.interfaces import BuiltinCommand, IScreen, PromptCancelled, UsageError
from bbs.ui.output import GAP, event_entry, message_entry, message_heading, reply_entries
from bbs.ui.prompts import NO_SPACES
from tests.client.case import APP_1, APP_2, LOGIN, ClientTestCase

FRIEND, GROUP = face.talks


def _said(user: str, message: ChatMessage) -> str:
    """A message that names its reader."""
    heading = "".join(piece for piece, _ in message_heading(message, user, several=True))
    return f"{heading}{GAP}{message.text}"


@implementer(IScreen)
class Paper:
    """A screen that keeps everything, and types the passwords that it is given."""

    for_programs = False

    def __init__(self, vocabulary: CommandCatalog) -> None:
        self.vocabulary = vocabulary
        self.lines: list[str] = []
        self.prompts: list[str] = []
        self.passwords: list[str | None] = []
        self.answers: list[str | None] = []
        self.changes = 0
        self.for_you: list[bool] = []
        self.waiting = 0

    def reply(self, request: ClientRequest, reply: ServiceReply) -> None:
        entries = reply_entries(self.vocabulary.presentation, reply, request.user, people=True)
        self.lines += [entry.text for entry in entries]

    def message(self, user: str, message: ChatMessage, for_you: bool) -> None:
        self.lines.append(f"{user}: {_said(user, message)}")
        self.for_you.append(for_you)

    def past(self, user: str, messages: Sequence[ChatMessage], older: bool) -> None:
        self.lines += ["…"] if older else []
        for message in messages:
            self.lines.append(f"{user} before: {message_entry(message, user, in_talk=True).text}")

    def event(self, user: str, event: ServiceEvent) -> None:
        self.lines.append(f"{user}: {event_entry(self.vocabulary.presentation, event).text}")

    def notice(self, text: str) -> None:
        self.lines += [f"* {line}" for line in text.split("\n")]

    def problem(self, text: str) -> None:
        self.lines.append(f"! {text}")

    def ask_password(self, prompt: str) -> Deferred[str]:
        self.prompts.append(prompt)
        password = self.passwords.pop(0)
        return fail(PromptCancelled()) if password is None else succeed(password)

    def queued(self) -> int:
        return self.waiting

    def ask_line(self, prompt: str) -> Deferred[str]:
        self.prompts.append(prompt)
        answer = self.answers.pop(0)
        return fail(PromptCancelled()) if answer is None else succeed(answer)

    def discard_lines(self) -> None:
        self.lines.append("(lines that wait are dropped)")

    def changed(self) -> None:
        self.changes += 1


class ConversationCase(ClientTestCase):
    """A conversation in which ann, bob and cat are registered, and ann and bob are friends."""

    alone = False
    next_step = ". Try: mail bob TEXT"  # where bob is not online

    def setUp(self) -> None:
        super().setUp()
        self.register("ann", "bob", "cat", password="pw")
        self.acquaint()
        self.paper = Paper(self.client.vocabulary)
        verifyObject(IScreen, self.paper)
        self.conversation = Conversation(self.client, self.paper, single_user=self.alone)
        self.addCleanup(self.conversation.close)

    def acquaint(self) -> None:
        """Make ann and bob friends, where the service has any."""
        self.befriend("ann", "bob")

    def begin(self, line: str, as_text: bool = False) -> Deferred[bool]:
        """Type a line; what it does may not be over yet."""
        done = self.conversation.carry_out(line, as_text)
        self.network.flush()
        return done

    def type(self, *lines: str) -> list[str]:
        """Type lines; what is shown meanwhile."""
        self.paper.lines.clear()
        for line in lines:
            self.successResultOf(self.begin(line))
        self.network.flush()
        return [*self.paper.lines]

    def completions(self, line: str) -> list[str]:
        return [each.text for each in completion.completions(self.conversation, line)]


class Names(ConversationCase):
    """`<user>` may be left out."""

    def test_nobody_is_logged_in(self) -> None:
        self.assertEqual(self.type("list-friend"), ["You are not logged in. Try: login NAME"])
        self.assertEqual(self.type("list-friend ann"), ["You are not logged in. Try: login NAME"])
        self.assertIsNone(self.conversation.current)

    def test_the_current_user_is_meant(self) -> None:
        self.type("login ann pw")
        self.assertEqual(self.type("list-friend"), ["bob"])
        self.assertEqual(self.type("list-friend ann"), ["bob"])
        self.assertEqual(self.type("post  good   morning "), ["Posted to all your friends."])
        self.assertEqual(self.posts(), [("ann", " good   morning ")])

    def test_a_name_of_ones_own_comes_first(self) -> None:
        self.type("login ann pw", "login bob pw")
        self.assertEqual(self.conversation.current, "bob")
        self.type("post ann hello", "post hello")
        self.assertEqual(self.posts(), [("ann", "hello"), ("bob", "hello")])

    def test_a_name_that_too_little_follows_is_another_word(self) -> None:
        self.type("login bob pw", "login ann pw")
        self.assertIn("bob: ann → bob  hello", self.type("send bob hello"))
        self.type("post bob")
        self.assertEqual(self.posts(), [("ann", "bob")])

    def test_use(self) -> None:
        self.type("login ann pw", "login bob pw")
        self.assertEqual(self.type("use"), ["* ann", "* bob"])
        self.assertEqual(self.type("use ann", "list-friend"), ["bob"])
        self.assertEqual(self.conversation.current, "ann")
        self.assertEqual(self.type("use cat"), ["! cat is not logged in here. Try: login cat"])
        self.assertEqual(self.type("use ann bob"), ["! Type: use [NAME]"])

    def test_use_of_nobody(self) -> None:
        self.assertEqual(self.type("use"), ["* Nobody is logged in here."])

    def test_after_a_logout_another_is_current(self) -> None:
        self.type("login ann pw", "login bob pw")
        self.assertEqual(self.type("logout"), ["bob is logged out."])
        self.assertEqual(self.conversation.current, "ann")
        self.paper.answers = ["ann"]
        self.type("delete ann")
        self.assertIsNone(self.conversation.current)

    def test_logged_out_elsewhere(self) -> None:
        self.type("login ann pw")
        self.paper.lines.clear()
        self.log_out("ann")
        self.assertEqual(self.paper.lines, ["* ann was logged out."])
        self.assertIsNone(self.conversation.current)

    def test_nobody_becomes_somebody_else_unasked(self) -> None:
        self.type("login bob pw", "login ann pw")
        self.paper.lines.clear()
        self.log_out("ann")
        said = ["* ann was logged out.", "* use NAME to go on as bob."]
        self.assertEqual(self.paper.lines, said)
        self.assertEqual(
            self.type("post I quit my job"), ["You are not logged in. Try: login NAME"]
        )
        self.assertEqual(self.posts(), [])

    def test_logged_out_without_an_answer(self) -> None:
        self.type("login ann pw")
        self.lose_answer("logout")
        self.assertIn("! May not have been sent: logout (", self.type("logout")[0])
        self.assertIsNone(self.conversation.current)

    def test_blank_lines_say_nothing(self) -> None:
        self.assertEqual(self.type("", "   "), [])

    def test_what_is_no_line(self) -> None:
        self.assertEqual(self.type("ping\r"), ["! a request is one line"])

    def test_what_comes_by_itself(self) -> None:
        self.type("login ann pw")
        for line in ("listen", "listen ann", "events"):
            self.assertEqual(self.type(line), ["* Messages arrive by themselves here."])

    def test_the_end(self) -> None:
        self.assertTrue(self.successResultOf(self.begin("exit now")))
        self.assertEqual(self.paper.lines, ["! Type: exit"])
        for line in ("exit", "quit"):
            self.assertFalse(self.successResultOf(self.begin(line)))


DROPPED = "(lines that wait are dropped)"
ASKED = "* This deletes your account and everything in it, for ever. Type {} to confirm."


class Deleting(ConversationCase):
    """An account is not removed by a slip."""

    def setUp(self) -> None:
        super().setUp()
        self.type("login bob pw", "login ann pw")

    def test_the_name_is_asked_for(self) -> None:
        self.paper.answers = [" ann "]
        said = self.type("delete")
        self.assertEqual(
            said, [DROPPED, ASKED.format("ann"), "The account ann is deleted.", DROPPED]
        )
        self.assertEqual(self.paper.prompts, ["Name: "])
        self.assertEqual((self.users(), self.conversation.current), ({"bob", "cat"}, "bob"))

    def test_of_a_name_that_was_typed_too(self) -> None:
        self.paper.answers = ["bob"]
        self.assertIn(ASKED.format("bob"), self.type("delete bob"))
        self.assertEqual((self.users(), self.conversation.current), ({"ann", "cat"}, "ann"))

    def test_another_answer_deletes_nothing(self) -> None:
        self.paper.answers = ["", "Ann", "bob", "delete", None]
        for _ in range(4):
            self.assertEqual(self.type("delete")[2:], ["! Nothing was deleted."])
        self.assertEqual(self.type("delete")[2:], ["* Given up."])
        self.assertEqual(self.users(), {"ann", "bob", "cat"})

    def test_what_may_be_meant_for_another_command(self) -> None:
        for line in ("delete post 3", "delete cat", "delete ann now"):
            self.assertEqual(self.type(line), ["! Type: delete [NAME]"])
        self.assertEqual(self.asked("delete"), [])

    def test_nobody_is_logged_in(self) -> None:
        self.type("logout", "logout")
        words = "You are not logged in. Try: login NAME"
        self.assertEqual(self.type("delete ann"), [words])

    def test_nobody_speaks(self) -> None:
        self.log_out("ann")
        self.assertEqual(self.type("delete"), ["! Type: delete"])
        self.paper.answers = ["bob"]
        self.assertIn(ASKED.format("bob"), self.type("delete bob"))

    def test_it_is_not_suggested(self) -> None:
        for line in ("delte", "deletee", "/delet"):
            self.assertNotIn("Did you mean delete?", " ".join(self.type(line)))
        self.assertIn("Did you mean decline-all?", self.type("declne-all")[0])


REGISTERED = [
    "Made the account dan.",
    "Logged in as dan.",
    "* Try: invite NAME, talk NAME or help",
]
"""What dan reads who registers, and is logged in."""


class DeletingAlone(ConversationCase):
    """At the gateway."""

    alone = True

    def test_the_name_may_be_typed(self) -> None:
        self.type("login ann pw")
        self.paper.answers = ["ann", "ann"]
        self.assertEqual(self.type("delete bob"), ["! Type: delete"])
        self.assertIn(ASKED.format("ann"), self.type("delete ann"))
        self.assertEqual(self.users(), {"bob", "cat"})


class Registering(ConversationCase):
    """Who registers is logged in at once, by the same password."""

    def test_at_once(self) -> None:
        self.paper.passwords = ["new", "new"]
        self.assertEqual(self.type("register dan"), REGISTERED)
        self.assertEqual(self.paper.prompts, ["Password for dan: ", "Repeat the password: "])
        self.assertEqual(self.conversation.current, "dan")
        self.befriend("ann", "dan")
        self.send("ann", "dan", "hello")
        self.assertIn("dan: ann → dan  hello", self.paper.lines)

    def test_a_name_of_two_words(self) -> None:
        """The second is no password, as it stands on the screen."""
        for line in ("register Dave Müller", "/register Dave Müller 1", "register dan new"):
            self.assertEqual(self.type(line), [f"! {NO_SPACES}"])
        self.assertEqual(self.users(), {"ann", "bob", "cat"})

    def test_a_password_in_the_line_of_a_program(self) -> None:
        self.paper.for_programs = True
        self.type("register dan new")
        self.assertEqual(self.conversation.current, "dan")

    def test_not_where_it_is_refused(self) -> None:
        self.paper.passwords = ["new", "new"]
        self.assertEqual(self.type("register ann"), ["The name ann is taken"])
        self.assertEqual(self.asked("login"), [])
        self.assertIsNone(self.conversation.current)

    def test_beside_another(self) -> None:
        """A line of a talk that goes on must not become the new user's command."""
        self.type("login ann pw", "talk bob")
        self.paper.passwords = ["new", "new"]
        said = self.type("/register dan")
        self.assertEqual(said, ["Made the account dan.", "* Try: login dan"])
        self.assertEqual(self.conversation.users, ("ann",))
        self.type("post the letter")
        self.assertEqual(self.posts(), [])

    def test_who_logs_in_all_the_same(self) -> None:
        self.paper.passwords = ["new", "new"]
        said = self.type("register dan", "login dan new")
        self.assertEqual(said, [*REGISTERED, *REGISTERED[1:]])
        self.assertEqual(self.conversation.users, ("dan",))


class RegisteringAlone(ConversationCase):
    """At the gateway, where one is one person."""

    alone = True

    def test_who_logs_in_all_the_same(self) -> None:
        self.paper.passwords = ["new", "new"]
        said = self.type("register dan", "login dan new")
        self.assertEqual(said, [*REGISTERED, *REGISTERED[1:]])
        self.assertEqual(self.conversation.current, "dan")

    def test_for_somebody_else(self) -> None:
        self.type("login ann pw")
        said = ["Made the account dan.", "* You are still logged in as ann."]
        self.paper.passwords = ["new", "new"]
        self.assertEqual(self.type("register dan"), said)
        self.assertEqual((self.conversation.current, self.conversation.users), ("ann", ("ann",)))
        refused = "! You are logged in as ann. Log out first."
        self.assertEqual(self.type("login dan new"), [refused])


class Passwords(ConversationCase):
    def test_asked_for(self) -> None:
        self.paper.passwords = ["pw"]
        self.assertEqual(self.type("login ann")[0], "Logged in as ann.")
        self.assertEqual(self.paper.prompts, ["Password for ann: "])
        self.assertIn((LOGIN, "login ann pw"), self.network.requests)

    def test_asked_for_twice_where_it_is_new(self) -> None:
        self.paper.passwords = ["new", "new", "new", "old"]
        self.assertEqual(self.type("register dan"), REGISTERED)
        self.assertTrue(self.is_password("dan", "new"))
        different = "! The passwords differ. No account was made."
        self.assertEqual(self.type("register eve"), [different])
        self.assertNotIn("eve", self.users())

    def test_none_and_such_as_cannot_be(self) -> None:
        self.paper.passwords = ["", "two words", None]
        wrong = "! A password is one word, without spaces."
        self.assertEqual(self.type("login ann", "login ann", "login ann")[:2], [wrong, wrong])
        self.assertEqual(self.paper.lines[2:], ["* Given up."])
        self.assertEqual(self.asked("login"), [])

    def test_the_prompt_is_harmless(self) -> None:
        self.paper.passwords = [None]
        self.type("login a\x1b[2J")
        self.assertEqual(self.paper.prompts, ["Password for a\\x1b[2J: "])


class ForPrograms(ConversationCase):
    def setUp(self) -> None:
        super().setUp()
        self.paper.for_programs = True

    def test_a_success_is_the_services_message(self) -> None:
        said = self.type("login ann pw", "post hi", "logout", "invite bob")
        failed = "You are not logged in. Try: login NAME"
        self.assertEqual(said, ["Success!", "Success!", "Bye!", failed])


class Talking(ConversationCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_group("chess", "ann", "bob")
        self.make_group("go", "ann", "cat")
        self.type("login bob pw", "login ann pw")

    def test_a_friend(self) -> None:
        said = self.type("talk bob", "hello", " the end", "end of it")
        self.assertEqual(self.conversation.talk, Partner(FRIEND, "bob"))
        self.assertIn("bob: ann → bob  hello", said)
        self.assertIn("bob: ann → bob  end of it", said)
        self.assertNotIn("Success!", said)

    def test_the_end(self) -> None:
        self.type("talk bob", "end")
        self.assertIsNone(self.conversation.talk)
        self.assertEqual(self.type("list-friend"), ["bob"])
        self.assertEqual(self.type("end now"), ["! Type: end"])

    def test_a_group(self) -> None:
        self.type("talk go")
        self.assertEqual(self.conversation.talk, Partner(GROUP, "go"))
        self.assertEqual(self.type("e4"), [])
        self.assertEqual(self.messages()[-1], ("ann", "go", "e4"))
        self.send_group("cat", "go", "e4")
        self.assertEqual(self.paper.lines, ["ann: #go cat → ann  e4"])

    def test_commands_between(self) -> None:
        self.type("talk bob")
        self.assertEqual(self.type("/list-friend"), ["bob"])
        self.assertEqual(self.type("//hello"), ["bob: ann → bob  /hello"])
        self.assertEqual(self.type("/"), [])

    def test_lines_that_are_text_whatever_they_are(self) -> None:
        self.type("talk bob")
        for line in ("end", "/list-friend", "//"):
            self.paper.lines.clear()
            self.successResultOf(self.begin(line, as_text=True))
            self.network.flush()
            self.assertEqual(self.paper.lines, [f"bob: ann → bob  {line}"])
        self.successResultOf(self.begin("  ", as_text=True))
        self.type("end")
        self.paper.lines.clear()
        self.successResultOf(self.begin("list-friend", as_text=True))
        self.assertEqual(self.paper.lines, ["bob"])

    def test_a_failure_is_shown(self) -> None:
        self.type("talk bob", "/logout bob")
        said = f"! Not sent: hello (bob is not online{self.next_step})"
        self.assertEqual(self.type("hello"), [said])

    def test_neither_friend_nor_group(self) -> None:
        self.assertEqual(self.type("talk cat"), ["! You have no friend or group called cat"])
        self.assertEqual(self.type("talk group bob"), ["! You have no group called bob"])
        self.assertEqual(self.type("talk friend chess"), ["! You have no friend called chess"])
        self.assertIsNone(self.conversation.talk)

    def test_both(self) -> None:
        self.make_group("bob", "ann")
        both = "! bob is a friend and a group. Try: talk friend bob, or talk group bob"
        self.assertEqual(self.type("talk bob"), [both])
        self.type("talk group bob")
        self.assertEqual(self.conversation.talk, Partner(GROUP, "bob"))
        self.type("talk friend bob" if not self.conversation.talk else "/talk friend bob")
        self.assertEqual(self.conversation.talk, Partner(FRIEND, "bob"))

    def test_wrong_use(self) -> None:
        for line in ("talk", "talk a b", "talk friend bob now"):
            self.assertEqual(self.type(line), ["! Type: talk FRIEND|GROUP"])
        self.type("logout", "logout")
        self.assertEqual(self.type("talk bob"), ["! You are not logged in. Try: login NAME"])

    def test_another_user_talks_to_others(self) -> None:
        self.type("talk bob", "/use bob")
        self.assertIsNone(self.conversation.talk)


class Unread(ConversationCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_group("chess", "ann", "bob")
        self.type("login bob pw", "login ann pw")

    def test_counted_by_partner(self) -> None:
        self.send("bob", "ann", "hello")
        self.type("ping")
        self.send_group("bob", "chess", "hello")
        self.type("ping")
        self.send("bob", "ann", "hello")
        expected = {Partner(FRIEND, "bob"): 2, Partner(GROUP, "chess"): 1}
        self.assertEqual(self.conversation.unread, expected)
        self.type("talk bob")
        self.assertEqual(self.conversation.unread, {Partner(GROUP, "chess"): 1})

    def test_not_of_whom_one_talks_to(self) -> None:
        self.type("talk bob")
        self.send("bob", "ann", "hello")
        self.assertEqual(self.conversation.unread, {})

    def test_not_of_whom_one_has_answered(self) -> None:
        self.send("bob", "ann", "hello")
        self.type("ping")
        self.send_group("bob", "chess", "hello")
        self.type("send bob hello")
        self.assertEqual(self.conversation.unread, {Partner(GROUP, "chess"): 1})
        self.type("send-group chess hello")
        self.assertEqual(self.conversation.unread, {})

    def test_not_ones_own(self) -> None:
        self.hold_messages()
        self.type("send-group chess e4")
        self.release("ann")
        self.release("bob")
        self.assertEqual(self.conversation.unread, {})
        self.assertEqual(self.conversation.unread_elsewhere, 1)

    def test_of_the_other_users(self) -> None:
        self.type("send bob hello", "send bob hello")
        self.assertEqual(self.conversation.unread_elsewhere, 2)
        self.type("use bob")
        self.assertEqual(self.conversation.unread, {Partner(FRIEND, "ann"): 2})
        self.assertEqual(self.conversation.unread_elsewhere, 0)
        self.type("logout")
        self.assertEqual(self.conversation.unread_elsewhere, 0)


class Servers(ConversationCase):
    def test_lost_and_found(self) -> None:
        self.type("login ann pw")
        self.assertEqual(self.conversation.status, Status(APP_1))
        self.paper.lines.clear()
        self.network.kill(APP_1)
        self.assertEqual(self.conversation.status, Status(lost=True))
        self.network.advance(3.0)
        self.assertEqual(self.conversation.status, Status(APP_2))
        lost = "! Connection lost. Reconnecting…"
        self.assertEqual(self.paper.lines, [lost, "* Reconnected."])

    def test_lost_and_found_for_several(self) -> None:
        self.type("login ann pw", "login bob pw")
        self.paper.lines.clear()
        self.network.kill(APP_1)
        self.network.advance(5.0)
        said = [
            (f"! Connection of {each} lost. Reconnecting…", f"* Reconnected as {each}.")
            for each in ("ann", "bob")
        ]
        self.assertEqual({*self.paper.lines}, {line for lines in said for line in lines})

    def test_waiting_is_over_when_one_is_found(self) -> None:
        self.type("login ann pw")
        self.service.boots = False
        self.network.kill(APP_1)
        self.network.advance(3.0)
        self.assertEqual(self.conversation.status, Status(lost=True, waiting=Waiting(1, 0)))
        self.boot()
        self.network.advance(5.0)
        self.assertEqual(self.conversation.status, Status(APP_2))

    def test_the_login_server_is_away(self) -> None:
        self.network.unplug(LOGIN)
        self.paper.passwords = ["pw", "pw"]
        registering = self.begin("register dan")
        self.network.advance(3.0)
        away = "! Server unreachable. Retrying…"
        self.assertEqual(self.paper.lines, [away])
        self.network.plug(LOGIN)
        self.network.advance(3.0)
        self.assertTrue(self.successResultOf(registering))
        there = "* The server is there again."
        self.assertEqual(self.paper.lines[1:], [there, *REGISTERED])

    def test_looking_for_it_is_given_up(self) -> None:
        self.network.unplug(LOGIN)
        self.paper.passwords = ["pw", "pw"]
        registering = self.begin("register dan")
        self.network.advance(3.0)
        registering.cancel()
        self.assertTrue(self.successResultOf(registering))
        self.assertEqual(self.paper.lines[1:], ["! Not sent: register dan (given up)"])

    def test_moved(self) -> None:
        self.type("login ann pw")
        self.paper.lines.clear()
        self.drain(APP_1)
        self.assertEqual(self.paper.lines, ["* Reconnected."])

    def test_waiting_is_told_and_given_up(self) -> None:
        self.service.boots = False
        self.network.kill(APP_1)
        self.network.advance(1.0)
        waiting = self.begin("login ann pw")
        self.assertEqual(self.conversation.status, Status(waiting=Waiting(1, 0)))
        self.network.links[0].tell({"event": "waiting", "position": 3, "seconds": 24})
        self.network.flush()
        self.assertEqual(self.conversation.status, Status(waiting=Waiting(3, 24)))
        waiting.cancel()
        self.network.flush()
        self.assertTrue(self.successResultOf(waiting))
        self.assertEqual(self.paper.lines, ["* Given up waiting for a server."])
        self.assertEqual(self.conversation.status, Status())
        self.assertEqual(self.network.links, [])

    def test_listening_is_given_up(self) -> None:
        self.hold("listen")
        waiting = self.begin("login ann pw")
        waiting.cancel()
        self.network.flush()
        self.assertTrue(self.successResultOf(waiting))
        last = "* ann is logged in. Messages arrive as soon as they can."
        self.assertEqual([self.paper.lines[0], self.paper.lines[-1]], ["Logged in as ann.", last])
        self.assertEqual(self.completions("send b"), ["bob"])

    def test_an_answer_is_given_up(self) -> None:
        self.type("login ann pw")
        self.paper.lines.clear()
        self.hold("")
        waiting = self.begin("post hello")
        waiting.cancel()
        self.assertTrue(self.successResultOf(waiting))
        given_up = "! May not have been sent: post hello (given up)"
        self.assertEqual(self.paper.lines, [given_up])
        self.assertEqual(self.conversation.current, "ann")

    def test_no_answer(self) -> None:
        self.type("login ann pw")
        self.paper.lines.clear()
        self.hold("")
        waiting = self.begin("post hello")
        self.network.advance(31.0)
        self.assertTrue(self.successResultOf(waiting))
        lost = "! May not have been sent: post hello (no reply)"
        self.assertEqual(self.paper.lines[-1], lost)


def squeezed(line: str) -> str:
    """A row of help with one gap between its columns, and none before it."""
    return re.sub("(?<=[^ *])  +", "  ", line).replace("*   ", "* ")


class Alone(ConversationCase):
    """A face for one user at a time: names are never typed."""

    alone = True

    def test_names_are_never_typed(self) -> None:
        self.type("login ann pw")
        self.type("post ann says hello")
        self.assertEqual(self.posts(), [("ann", "ann says hello")])

    def test_one_at_a_time(self) -> None:
        self.type("login ann pw")
        self.assertEqual(self.type("login bob"), ["! You are logged in as ann. Log out first."])
        self.assertEqual(self.paper.prompts, [])

    def test_no_use(self) -> None:
        self.assertEqual(self.type("use ann"), ["Unknown command use. help lists all commands."])

    def test_help_is_without_names(self) -> None:
        said = self.type("help")
        self.assertTrue([each for each in said if "* send <friend> <message>  " in squeezed(each)])
        self.assertNotIn("<user>", " ".join(said))


class HelpAndHints(ConversationCase):
    newer: Collection[str] = ()  # Commands that the client does not explain.

    def said_by_help(self) -> list[str]:
        return [*map(squeezed, self.type("help"))]

    def test_help_says_what_may_be_left_out(self) -> None:
        sentence = "Sends one message to a friend who is online."
        self.assertIn(f"* send <friend> <message>  {sentence}", self.said_by_help())
        self.type("login ann pw")
        said = self.said_by_help()
        self.assertIn(f"* send <friend> <message>  {sentence}", said)
        self.assertTrue([each for each in said if each.startswith("* login <id> [<password>]  ")])
        self.assertNotIn("listen", " ".join(said))
        self.type("login bob pw")
        said = self.said_by_help()
        self.assertIn(f"* send [<user>] <friend> <message>  {sentence}", said)
        self.assertIn("Without it, a command is for bob.", said[-1])

    def test_help_is_grouped(self) -> None:
        said = self.type("help")
        headings = [each for each in said if not each.startswith("*  ")]
        names = ("People", "Messages", "Posts", "Groups", "Account", "Client")
        # An older server has a command that its client does not know.
        headings = [each for each in headings if each != "* Others:"]
        self.assertEqual(headings, [f"* {name}:" for name in names])
        for line in said:
            is_newer = line[1:].split()[:1] and line[1:].split()[0] in self.newer
            if line not in headings and not is_newer and line != "* Others:":
                self.assertRegex(line, r"^\*   \S.*  [A-Z].*\.$")
        columns = [line.index("  ", 4) for line in said if "  " in line[4:]]
        self.assertLess(max(columns), 40)

    def test_hints(self) -> None:
        self.type("login ann pw")
        hint = partial(completion.hint, self.conversation)
        self.assertEqual(hint(""), "")
        self.assertEqual(hint("sen"), "")
        self.assertEqual(hint("send b"), "send <friend> <message>")
        self.assertEqual(hint("use "), "use [<user>]  Speaks as another of your users.")
        self.type("login bob pw", "use ann", "talk bob")
        self.assertEqual(hint("hel"), "")
        self.assertEqual(hint("//x"), "")
        self.assertEqual(hint("/post"), "post [<user>] <message>")


class Completing(ConversationCase):
    def setUp(self) -> None:
        super().setUp()
        self.register("dan", "eve", "fay")
        self.befriend("cat", "ann")
        self.invite("dan", "ann")
        self.make_group("chess", "ann")
        self.make_group("go", "bob")
        self.type("login ann pw", "block fay")

    def test_commands(self) -> None:
        self.assertEqual(self.completions("sen"), ["send", "send-group"])
        self.assertEqual(self.completions("ta"), ["talk"])
        self.assertEqual(self.completions("nothing"), [])
        self.assertEqual(self.completions("ev"), [])

    def test_arguments(self) -> None:
        for line, expected in (
            ("send ", ["bob", "cat", "ann"]),
            ("send b", ["bob"]),
            ("send ann c", ["cat"]),
            ("send bob ", []),
            ("accept-invite ", ["dan", "ann"]),
            ("send-group ", ["chess", "ann"]),
            ("join-group ", ["go", "ann"]),
            ("list-friend ", ["ann"]),
            ("list-friend ann ", []),
            ("use ", ["ann"]),
            ("use ann ", []),
            ("talk ", ["chess", "bob", "cat"]),
            ("talk bob ", []),
            ("invite ", ["ann"]),
            ("nonsense ", []),
            ("help list-f", ["list-friend"]),
            ("? use ", []),
            ("msg b", ["bob"]),
            ("friends ", ["ann"]),
            ("decline-invite ", ["dan", "ann"]),
            ("history ", ["chess", "bob", "cat", "ann"]),
            ("/send b", ["bob"]),
            ("block ", ["dan", "bob", "cat", "ann"]),
            ("unblock ", ["fay", "ann"]),
        ):
            self.assertEqual(self.completions(line), expected, line)

    def test_where_it_stands(self) -> None:
        (found,) = completion.completions(self.conversation, "send bo")
        self.assertEqual((found.start, found.meaning), (5, "friend"))

    def test_not_any_number_of_groups(self) -> None:
        self.make_groups(2000)
        self.type("list-group")
        self.assertEqual(len(self.completions("join-group ")), 1000)

    def test_asks_nobody(self) -> None:
        before = len(self.network.requests)
        self.completions("send ")
        self.assertEqual(len(self.network.requests), before)

    def test_follows_what_is_done(self) -> None:
        self.type("accept-invite dan", "join-group go", "create-group tea")
        self.assertEqual(self.completions("send d"), ["dan"])
        self.assertEqual(self.completions("accept-invite d"), [])
        self.assertEqual(self.completions("send-group "), ["chess", "go", "tea", "ann"])

    def test_follows_what_is_heard(self) -> None:
        self.befriend("eve", "ann")
        self.make_group("owls", "eve", "ann")
        self.send_group("eve", "owls", "x")
        self.send("eve", "ann", "x")
        self.assertEqual(self.completions("send e"), ["eve"])
        self.assertEqual(self.completions("send-group o"), ["owls"])

    def test_follows_lists(self) -> None:
        self.make_group("new", "cat")
        self.type("list-group")
        self.assertEqual(self.completions("join-group n"), ["new"])

    def test_a_list_that_is_none(self) -> None:
        self.answer("list-friend", {"status": 0, "friend": "bob"})
        self.type("list-friend")
        self.assertEqual(self.completions("send b"), ["bob"])

    def test_in_a_talk(self) -> None:
        self.type("talk bob")
        self.assertEqual(self.completions("se"), [])
        self.assertEqual(self.completions("//se"), [])
        (first, second) = completion.completions(self.conversation, "/sen")
        self.assertEqual((first.text, first.start, second.text), ("send", 1, "send-group"))
        self.assertEqual(self.completions("/send b"), ["bob"])

    def test_nothing_of_those_who_left(self) -> None:
        self.type("logout")
        self.assertEqual(self.completions("send "), [])


class OwnCommands(ConversationCase):
    """A face adds commands of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.given: list[Sequence[str]] = []
        own = BuiltinCommand("encoding <name>", "how text is sent", self.run_own)
        self.conversation = Conversation(self.client, self.paper, builtins={"encoding": own})

    def run_own(self, words: Sequence[str]) -> None:
        if not words:
            raise UsageError("which?")
        self.given.append(words)

    def test_run(self) -> None:
        self.assertEqual(self.type("encoding  big5 "), [])
        self.assertEqual(self.given, [["big5"]])
        self.assertEqual(self.type("encoding"), ["! which?"])
        self.assertEqual(
            completion.hint(self.conversation, "encoding"), "encoding <name>  how text is sent"
        )
        self.assertIn("* encoding <name>  how text is sent", [*map(squeezed, self.type("help"))])


class Harmless(ConversationCase):
    """Nothing of a failure is lost on the way to the screen."""

    def test_a_bug_is_no_reply(self) -> None:
        def broken(words: Sequence[str]) -> None:
            raise ZeroDivisionError()

        own = BuiltinCommand("break", "break", broken)
        conversation = Conversation(self.client, self.paper, builtins={"break": own})
        failure: Failure = self.failureResultOf(conversation.carry_out("break"))
        failure.trap(ZeroDivisionError)

    def test_addresses_are_shown_as_they_are(self) -> None:
        self.assertEqual(str(Address("::1", 1)), "[::1]:1")
