"""A conversation at a terminal: what is asked and shown when, with an editor in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import fragment_list_to_text
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from bbs.board import BBSClient
from bbs.board.client import face
from bbs.client import Unreachable
from bbs.client.catalog import CommandCatalog
from bbs.ui.interfaces import IScreen, PromptCancelled
from bbs.ui.prompts import FOR_EVER
from bbs.ui.terminal.app import LineQueue, QueuedLine, TerminalApp
from bbs.ui.terminal.editor import PlainEditor
from bbs.ui.terminal.history_view import HistoryView
from bbs.ui.terminal.interfaces import (
    Fragments,
    IEditor,
    ILineOwner,
    IPager,
    ITerminal,
    More,
    SetAside,
)
from bbs.ui.terminal.remembered import RememberedSession
from bbs.ui.terminal.settings import Attention
from bbs.ui.terminal.theme import Theme
from tests.client.case import LOGIN, ClientTestCase

PLAIN = Theme(CommandCatalog(face), lambda: 0.0, shows_times=False)

STEPS = "Try: invite NAME, talk NAME or help"


@implementer(IEditor)
class Typist:
    """An editor whose Enter is `enter`; `asked` is the prompt that is shown, empty for none."""

    def __init__(self, face: TerminalApp) -> None:
        self.face = face
        self.printed: list[str] = []
        self.styles: list[str] = []
        self.asked = self.half = ""
        self.redrawn = self.set_asides = 0
        self.is_raw = self.is_lent = False
        self.bells = 0
        self.window: Size | None = None
        self._answer: Deferred[Any] = Deferred()
        self._words: Callable[[], str] | None = None

    @contextmanager
    def raw(self) -> Iterator[None]:
        self.is_raw = True
        yield
        self.is_raw = False

    def line(self) -> Deferred[str]:
        return self._ask("line")

    def password(self, prompt: Callable[[], str]) -> Deferred[str]:
        answer = self._ask(prompt())
        self._words = prompt
        return answer

    def _ask(self, prompt: str) -> Deferred[Any]:
        assert not self.asked, "two prompts at once"
        assert self.is_raw, "the terminal shows what is typed before"
        self.asked = prompt
        self._words = None
        self._answer = Deferred()
        return self._answer

    def set_aside(self) -> None:
        if self.asked:
            self.set_asides += 1
            self.asked = ""
            self._answer.errback(SetAside())

    end = set_aside

    def draft(self) -> str:
        return self.half

    def redraw(self) -> None:
        self.redrawn += 1
        if self.asked and self._words is not None:
            self.asked = self._words()

    def bell(self) -> None:
        self.bells += 1

    def size(self) -> Size | None:
        return self.window

    def more(self, words: str) -> Deferred[More]:
        return self._ask(words)

    def look_back(self, view: HistoryView) -> Deferred[None]:
        self.view = view
        return self._ask("view")

    @contextmanager
    def lent(self) -> Iterator[None]:
        assert not self.asked, "a prompt while the terminal is lent"
        self.is_lent = True
        yield
        self.is_lent = False

    def print(self, lines: Sequence[Fragments]) -> None:
        self.styles += [fragment[0] for line in lines for fragment in line]
        self.printed += [fragment_list_to_text(list(line)) for line in lines]

    def enter(self, text: str | More | Exception | None) -> None:
        """Answer what is asked: a line, what to do after a screenful, or that a view is left."""
        self.asked = ""
        if isinstance(text, Exception):
            self._answer.errback(text)
        else:
            self._answer.callback(text)


class FaceCase(ClientTestCase):
    password: str | None = None
    attention = Attention.HIGHLIGHT
    pager: IPager | None = None

    def setUp(self) -> None:
        super().setUp()
        self.register("ann", "bob")
        self.befriend("ann", "bob")
        self.face = TerminalApp(
            self.clock,
            self.client,
            LOGIN,
            self.sit_down,
            self.password,
            theme=PLAIN,
            attention=self.attention,
            pager=self.pager,
        )
        verifyObject(IScreen, self.face)
        self.running = Deferred.fromCoroutine(self.face.run())
        self.network.flush()
        self.addCleanup(self.client.close)

    def sit_down(self, face: TerminalApp) -> Typist:
        self.typist = Typist(face)
        verifyObject(IEditor, self.typist)
        return self.typist

    def type(self, *lines: str | More | Exception | None) -> list[str]:
        """Type lines, each as an answer to the prompt that is shown; what is printed."""
        self.typist.printed.clear()
        for line in lines:
            self.typist.enter(line)
            self.network.flush()
        self.network.advance(0.1)
        return [*self.typist.printed]


class FaceTests(FaceCase):
    def test_greeting(self) -> None:
        self.assertIn(f"Connected to {LOGIN.host}.\n", self.typist.printed[0])
        self.assertEqual(self.typist.asked, "line")
        self.assertEqual(self.face.prompt(80, True), "> ")

    def test_lines(self) -> None:
        self.assertEqual(
            self.type("ping\n\nlist-friend", "login ann 1"),
            [
                "Pong!",
                "You are not logged in. Try: login NAME",
                "Logged in as ann.",
                STEPS,
            ],
        )
        self.assertEqual(self.face.prompt(80, True), "ann> ")
        self.assertGreater(self.typist.redrawn, 0)
        self.assertEqual(self.type("send nobody hi"), ["There is no user called nobody"])

    def test_a_password_comes_before_anything_else(self) -> None:
        self.type("login ann")
        self.assertEqual(self.typist.asked, "Password for ann: ")
        self.assertEqual(self.type("1"), ["Logged in as ann.", STEPS])
        self.assertEqual(self.typist.asked, "line")

    def let(self, go_on: Callable[[], None]) -> None:
        """What waited for its answer has it."""
        go_on()
        self.network.advance(0.1)

    def test_a_password_is_hidden_before_it_is_asked_for(self) -> None:
        go_on = self.hold("ping")
        self.type("ping", "register eve")
        self.assertEqual(self.typist.asked, "Password for eve, once asked: ")
        self.let(go_on)
        self.assertEqual(self.typist.asked, "Password for eve: ")
        self.assertEqual(self.typist.set_asides, 0, "what is half typed is gone")
        self.assertIn("Made the account eve.", self.type("2", "2"))
        self.assertEqual(self.typist.asked, "line")

    def test_a_password_may_be_entered_before_it_is_asked_for(self) -> None:
        go_on = self.hold("ping")
        self.type("ping", "register eve", "2")
        self.assertEqual(self.typist.asked, "Password for eve, once asked: ")
        self.type("2")
        self.assertEqual(self.typist.asked, "line")
        self.type("login ann\nlogin eve", "1")
        self.assertEqual(self.typist.asked, "Password for eve, once asked: ")
        self.type("2")
        self.let(go_on)
        self.assertEqual(
            self.typist.printed,
            [
                "Pong!",
                "Made the account eve.",
                "Logged in as eve.",
                STEPS,
                "Logged in as ann.",
                STEPS,
                "Logged in as eve.",
                STEPS,
            ],
        )
        self.assertEqual(self.face.conversation.users, ("eve", "ann"))

    def test_another_password_may_be_entered_before_it_is_asked_for(self) -> None:
        self.type("login ann 1")
        go_on = self.hold("ping")
        asked = []
        for line in ("ping", "change-password", "1", "2", "2"):
            self.type(line)
            asked.append(self.typist.asked)
        words = ("Old password", "New password", "Repeat the password")
        self.assertEqual(asked, ["line", *(f"{each}, once asked: " for each in words), "line"])
        self.let(go_on)
        self.assertEqual(
            self.typist.printed,
            ["Pong!", "The password is changed. Your other sessions have ended."],
        )

    def test_a_password_that_nobody_asks_for_goes_nowhere(self) -> None:
        self.type("login ann 1")
        go_on = self.hold("ping")
        self.type("ping", "talk bob", "login eve")
        self.assertEqual(self.typist.asked, "Password for eve, once asked: ")
        self.let(go_on)
        self.assertEqual(self.typist.asked, "line")
        self.hold("send")
        self.type("login eve")
        self.assertEqual(self.typist.asked, "line")
        self.type("/login \t")
        self.assertEqual(self.typist.asked, "Password for \\x09, once asked: ")

    def test_lines_pasted_in_a_talk_ask_for_nothing(self) -> None:
        self.type("login ann 1", "talk bob")
        self.hold("send")
        self.type("/login eve\n/login eve")
        self.assertEqual(self.typist.asked, "line")

    def test_what_is_half_typed_is_for_one_line_alone(self) -> None:
        self.type("login ann 1")
        go_on = self.hold("ping")
        self.type("ping", "talk bob", "login eve\n/login eve")
        self.assertEqual(self.typist.asked, "Password for eve, once asked: ")
        self.let(go_on)
        # Once for each of the two, as both were messages by then.
        self.assertEqual((self.typist.asked, self.typist.set_asides), ("line", 2))

    def test_a_password_is_not_entered_before_it_is_asked_for(self) -> None:
        self.hold("ping")
        self.type("ping", "login ann\nhelp", PromptCancelled())
        self.assertEqual(self.typist.asked, "line")
        self.assertIn("Not sent: login ann", self.typist.printed)
        self.assertIn("Not sent: help", self.typist.printed)
        self.type("ping", "login ann")
        self.face.interrupt()
        self.assertEqual(self.typist.asked, "line")

    def test_a_question_that_nobody_could_foresee(self) -> None:
        self.face.ask_password("Password: ")
        self.assertEqual((self.typist.asked, self.typist.set_asides), ("Password: ", 1))

    def test_lines_pasted_in_a_talk_are_messages(self) -> None:
        self.type("login ann 1", "talk bob", "end\n/ping\nlogin bob")
        self.assertEqual(self.typist.asked, "line")
        self.assertEqual(self.face.prompt(80, False), "ann→bob> ")
        self.type("end")
        self.assertEqual(self.face.prompt(80, True), "ann> ")

    def test_a_line_to_the_partner_is_shown_as_it_is_sent(self) -> None:
        self.type("login ann 1", "talk bob")
        self.typist.printed.clear()
        self.assertTrue(self.face.show_own("//hello"))
        for line in ("end", "/ping", "exit", "?", ""):
            self.assertFalse(self.face.show_own(line), line)
        self.network.advance(0.1)
        self.assertEqual(self.typist.printed, ["ann  /hello"])

    def test_a_line_behind_a_command_is_not(self) -> None:
        """The command may end the talk."""
        self.type("login ann 1", "talk bob")
        let_go = self.hold("ping")
        self.type("/ping")
        self.assertFalse(self.face.show_own("hello"))
        self.let(let_go)
        let_go = self.hold("send")
        self.type("hello")
        self.assertTrue(self.face.show_own("hello"), "behind another message")
        self.let(let_go)
        self.assertTrue(self.face.show_own("hello"))

    def test_a_message_of_several_lines(self) -> None:
        self.log_in("bob")
        self.type("login ann 1", "talk bob")
        self.type("one\u2028two")
        self.assertEqual([text for *_, text in self.messages()], ["one\u2028two"])

    def test_the_last_name_is_meant_by_login(self) -> None:
        self.face.last_name = "ann"
        self.type("login")
        self.assertEqual(self.typist.asked, "Password for ann: ")
        self.assertEqual(self.type("1")[0], "Logged in as ann.")
        self.type("talk bob", "login")
        self.assertEqual(self.typist.asked, "line", "it is a message there")

    def test_the_last_name_is_of_the_last_login(self) -> None:
        self.face.last_name = "ann"
        self.type("login bob", "1", "logout", "login")
        self.assertEqual(self.typist.asked, "Password for bob: ")
        self.type("1", "logout", "register zoe", "2", "2", "logout", "login")
        self.assertEqual(self.typist.asked, "Password for zoe: ")

    def test_the_greeting_names_the_last_user(self) -> None:
        face = TerminalApp(
            self.clock, self.client, LOGIN, self.sit_down, theme=PLAIN, last_name="a\x07n"
        )
        running = Deferred.fromCoroutine(face.run())
        self.network.flush()
        self.assertIn("\nlogin to log in as a\\x07n,", self.typist.printed[0])
        face.leave()
        self.successResultOf(running)

    def test_the_line_below(self) -> None:
        self.assertEqual(self.face.hint(""), "login NAME · register NAME · help")
        self.type("login ann 1")
        self.assertEqual(self.face.hint(""), "talk NAME · help")
        self.assertEqual(self.face.hint("send b"), "send <friend> <message>")
        self.type("talk bob")
        self.assertEqual(self.face.hint(""), "bob out · PgUp history · /help")
        self.send("bob", "ann", "hi")
        self.network.advance(0.1)
        self.assertEqual(self.face.hint("hel"), "bob here · PgUp history · /help")
        self.assertEqual(self.face.hint("/pos"), "bob here · PgUp history · /help")
        self.network.advance(400)
        self.assertEqual(self.face.hint(""), "to bob · PgUp history · /help")
        self.type("are you there?")
        self.assertEqual(self.face.hint(""), "bob out · PgUp history · /help")
        self.assertEqual(len(self.asked("who")), 2)
        self.type("hello?")
        self.assertEqual(len(self.asked("who")), 2, "asked at most once a minute")

    def test_who_is_there_by_the_state(self) -> None:
        self.type("login ann 1")
        friend = {"id": "bob", "online": True, "last": None, "state": "away\x1b"}
        self.answer("who", {"status": 0, "friend": [friend]})
        self.type("talk bob")
        self.assertEqual(self.face.hint(""), "bob away\\x1b · PgUp history · /help")

    def test_a_password_that_is_not_said(self) -> None:
        self.assertEqual(self.type("login ann", PromptCancelled()), ["Given up."])
        self.assertEqual(self.typist.asked, "line")

    def test_a_question_that_is_withdrawn(self) -> None:
        self.type("login ann")
        self.face.interrupt()
        self.network.flush()
        self.assertEqual(self.typist.asked, "line")

    def test_the_next_line_answers_a_question(self) -> None:
        self.type("login ann 1", "talk bob")
        said = self.type("/delete")
        self.assertEqual(said, [FOR_EVER.format("ann")])
        self.assertEqual((self.typist.asked, self.face.prompt(80, False)), ("line", "Name: "))
        self.assertEqual((self.face.hint("an"), self.face.completions("he")), ("", ()))
        self.assertTrue(self.face.context("/ann", False).said, "the history does not keep it")
        self.clock.advance(1.0)
        self.assertEqual(self.type("hello"), ["Nothing was deleted."])
        self.assertEqual(self.face.prompt(80, False), "ann→bob> ")
        self.assertEqual(self.messages(), [])
        self.type("/delete")
        self.clock.advance(1.0)
        self.assertEqual(self.type("ann"), ["The account ann is deleted."])
        self.assertEqual(self.users(), {"bob"})

    def test_no_line_that_waits_answers_a_question(self) -> None:
        self.type("login ann 1")
        said = self.type("delete\nann\nlogin bob 1\npost hello")
        waiting = ["Not sent: ann", "Not sent: login bob", "Not sent: post hello"]
        self.assertEqual(said, [*waiting, FOR_EVER.format("ann")])
        self.assertEqual(self.face.prompt(80, False), "Name: ")
        said = self.type("ann", "login bob 1\npost hello")
        self.assertEqual(said, ["Not sent: ann", "Not sent: login bob", "Not sent: post hello"])
        self.clock.advance(1.0)
        self.assertEqual(self.type("ann\npost hello"), ["Nothing was deleted."])

    def test_no_password_is_wanted_for_a_line_that_is_dropped(self) -> None:
        self.type("login ann 1")
        go_on = self.hold("delete")
        self.type("delete")
        self.clock.advance(1.0)
        self.type("ann", "login bob", "1", "login bob")
        self.assertEqual(self.typist.asked, "Password for bob, once asked: ")
        self.let(go_on)
        self.assertEqual((self.typist.asked, self.users()), ("line", {"bob"}))
        self.assertEqual(self.face.conversation.users, ())
        self.assertEqual(self.type("ping"), ["Pong!"])

    def test_a_question_that_is_given_up(self) -> None:
        self.type("login ann 1", "delete")
        self.typist.printed.clear()
        self.face.interrupt()
        self.network.advance(0.1)
        self.assertEqual(self.typist.printed, ["Given up."])
        self.assertEqual(self.face.prompt(80, True), "ann> ")
        self.assertEqual(self.type("ping"), ["Pong!"])

    def test_messages(self) -> None:
        self.register("eve")
        self.make_group("go", "eve", "ann")
        self.type("login ann 1")
        self.send("bob", "ann", "hi")
        self.network.advance(0.1)
        self.assertEqual(self.typist.printed[-1], "bob  hi")
        self.type("login bob 1")
        self.send_group("eve", "go", "hi")
        self.network.advance(0.1)
        self.assertEqual(self.typist.printed[-1], "#go eve → ann  hi")
        self.assertEqual(self.face.prompt(99, False), "bob [others 2]> ")

    def test_interrupted(self) -> None:
        self.type("ping")
        self.typist.printed.clear()
        self.face.interrupt()
        self.network.advance(0.1)
        self.assertEqual(self.typist.printed, ["To leave, type exit or press Ctrl-D."])
        self.hold("ping")
        self.type("ping", "list-friend", "help")
        self.face.interrupt()
        self.network.advance(0.1)
        self.assertEqual(
            self.typist.printed,
            ["Given up.", "Not sent: list-friend", "Not sent: help"],
        )
        self.type("ping")
        self.face.interrupt()
        self.network.advance(0.1)
        self.assertEqual(len(self.typist.printed), 1)

    def test_problems(self) -> None:
        self.assertEqual(self.type("use eve"), ["eve is not logged in here. Try: login eve"])

    def test_what_is_a_command(self) -> None:
        self.type("login ann 1")
        self.assertTrue(self.face.is_command("hello"))
        self.type("talk bob")
        self.assertEqual(
            [self.face.is_command(line) for line in ("hello", "/ping", "//ping")],
            [False, True, False],
        )

    def test_end(self) -> None:
        for end in ("exit", EOFError()):
            self.assertNoResult(self.running)
            self.type(end)
            self.successResultOf(self.running)
            self.running = Deferred.fromCoroutine(
                TerminalApp(self.clock, self.client, LOGIN, self.sit_down, theme=PLAIN).run()
            )
            self.network.flush()
        self.face = self.typist.face
        self.face.leave()
        self.successResultOf(self.running)
        self.assertEqual(self.typist.asked, "")

    def test_no_service(self) -> None:
        self.network.unplug(LOGIN)
        face = TerminalApp(self.clock, self.client, LOGIN, self.sit_down, theme=PLAIN)
        self.network.cut(LOGIN)
        running = Deferred.fromCoroutine(face.run())
        self.network.flush()
        self.failureResultOf(running, Unreachable)
        self.assertEqual(self.typist.printed, [])

    def test_left_before_there_is_a_service(self) -> None:
        client = BBSClient(self.clock, LOGIN, lambda address: Nowhere())
        face = TerminalApp(self.clock, client, LOGIN, self.sit_down, theme=PLAIN)
        running = Deferred.fromCoroutine(face.run())
        self.assertNoResult(running)
        face.leave()
        self.failureResultOf(running, CancelledError)


@implementer(IStreamClientEndpoint)
class Nowhere:
    """An endpoint from which no answer comes."""

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred()


class PasswordTests(FaceCase):
    password = "1"

    def test_nobody_is_asked(self) -> None:
        self.assertEqual(self.type("login ann"), ["Logged in as ann.", STEPS])
        self.hold("ping")
        self.type("ping", "login bob")
        self.assertEqual(self.typist.asked, "line")

    def test_but_for_another_password(self) -> None:
        self.type("login ann", "change-password")
        self.assertEqual(self.typist.asked, "Old password for ann: ")
        shown = self.type("1", "2", "2")
        self.assertEqual(shown, ["The password is changed. Your other sessions have ended."])


@implementer(ITerminal)
class PlainTests(ClientTestCase):
    """The same on a terminal that can only write lines."""

    def setUp(self) -> None:
        super().setUp()
        self.register("ann")
        self.written = ""
        self.echoes: list[bool] = []
        self.wanted: Deferred[str | None] = Deferred()
        self.reads = 0
        self.face = TerminalApp(self.clock, self.client, LOGIN, self.sit_down, theme=PLAIN)
        self.running = Deferred.fromCoroutine(self.face.run())
        self.network.flush()
        self.addCleanup(self.client.close)

    def sit_down(self, face: TerminalApp) -> PlainEditor:
        verifyObject(ITerminal, self)
        editor = PlainEditor(self, face)
        verifyObject(IEditor, editor)
        return editor

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        self.interrupts = True
        yield
        self.interrupts = False

    def echo(self, on: bool) -> None:
        self.echoes.append(on)

    def write(self, text: str) -> None:
        self.written += text

    def next_line(self) -> Deferred[str | None]:
        self.reads += 1
        self.wanted = Deferred()
        return self.wanted

    def type(self, line: str | None) -> str:
        self.written = ""
        self.wanted.callback(line)
        self.network.flush()
        self.network.advance(0.1)
        return self.written

    def test_it(self) -> None:
        nobody = "> "
        self.assertTrue(self.written.endswith(f"commands.\n{nobody}"))
        self.assertTrue(self.interrupts)
        self.assertEqual(self.type("ping"), f"{nobody}\nPong!\n{nobody}")
        self.assertEqual(self.type("login ann"), "Password for ann: ")
        self.assertEqual(self.echoes, [False])
        self.assertEqual(self.type("1"), f"\n{nobody}\nLogged in as ann.\n{STEPS}\nann> ")
        self.assertEqual(self.echoes, [False, True])
        self.assertEqual(self.type("exit"), "")
        self.successResultOf(self.running)
        self.assertFalse(self.interrupts)

    def test_a_line_that_was_begun_answers_what_is_asked_then(self) -> None:
        go_on = self.hold("ping")
        self.type("ping")
        self.face.queue.add([QueuedLine("login ann")])
        go_on()
        self.assertEqual((self.reads, self.echoes), (2, [False]))
        self.assertIn("Logged in as ann.", self.type("1"))

    def test_a_password_is_hidden_before_it_is_asked_for(self) -> None:
        go_on = self.hold("ping")
        self.type("ping")
        self.assertEqual(self.type("login ann"), "Password for ann, once asked: ")
        self.written = ""
        go_on()
        self.network.advance(0.1)
        self.assertEqual(self.written, "\nPassword for ann: \nPong!\nPassword for ann: ")
        self.assertEqual((self.reads, self.echoes), (3, [False]))
        self.assertIn("Logged in as ann.", self.type("1"))

    def test_a_question_for_a_line(self) -> None:
        self.type("login ann 1")
        said = self.type("delete")
        self.assertTrue(said.endswith(f"\n{FOR_EVER.format('ann')}\nName: "), said)
        self.clock.advance(1.0)
        self.assertIn("The account ann is deleted.", self.type("ann"))
        self.assertEqual((self.users(), self.echoes), (set(), []))

    def test_the_end_of_the_input(self) -> None:
        self.type(None)
        self.successResultOf(self.running)

    def test_left_while_a_line_is_read(self) -> None:
        self.face.leave()
        self.successResultOf(self.running)
        self.wanted.callback("too late")

    def test_input_that_cannot_be_read(self) -> None:
        self.wanted.errback(ZeroDivisionError())
        self.failureResultOf(self.running, ZeroDivisionError)
        self.running = Deferred.fromCoroutine(
            TerminalApp(self.clock, self.client, LOGIN, self.sit_down, theme=PLAIN).run()
        )
        self.network.flush()

    def test_input_that_breaks_off_when_it_is_over(self) -> None:
        self.face.leave()
        self.wanted.errback(ZeroDivisionError())
        self.successResultOf(self.running)


@implementer(ILineOwner)
class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.begun: list[str] = []
        self.answers: dict[str, Deferred[bool]] = {}
        self.overs = 0
        self.queue = LineQueue(self)

    def carry_out(self, line: QueuedLine) -> Deferred[bool]:
        self.begun.append(line.text)
        return self.answers.get(line.text, succeed(True))

    def add(self, lines: Sequence[str]) -> None:
        self.queue.add(map(QueuedLine, lines))

    def leave(self) -> None:
        self.overs += 1

    def test_at_once_when_nothing_is_under_way(self) -> None:
        self.add(["a", "  ", "", "b"])
        self.assertEqual(self.begun, ["a", "b"])
        self.assertEqual((self.queue.under_way, self.queue.unsent), ("", 0))

    def test_one_after_the_other(self) -> None:
        self.answers["a"] = Deferred()
        self.add(["a", "b"])
        self.add(["c"])
        self.assertEqual((self.begun, self.queue.under_way, self.queue.unsent), (["a"], "a", 2))
        self.answers["a"].callback(True)
        self.assertEqual(self.begun, ["a", "b", "c"])

    def test_thousands_of_lines(self) -> None:
        self.add(["x"] * 10_000)
        self.assertEqual(len(self.begun), 10_000)

    def test_the_last(self) -> None:
        self.answers["exit"] = succeed(False)
        self.add(["exit", "b"])
        self.assertEqual((self.begun, self.overs, self.queue.unsent), (["exit"], 1, 0))

    def test_given_up(self) -> None:
        self.answers["a"] = Deferred(lambda waiting: waiting.callback(True))
        self.add(["a", "b", "c"])
        self.assertEqual(self.queue.give_up(), ["b", "c"])
        self.assertEqual((self.begun, self.queue.under_way), (["a"], ""))
        self.assertEqual(self.queue.give_up(), [])
        self.add(["d"])
        self.assertEqual(self.begun, ["a", "d"])

    def test_a_mistake_of_our_own_ends_nothing(self) -> None:
        self.answers["a"] = fail(ZeroDivisionError())
        self.add(["a", "b"])
        self.assertEqual((self.begun, self.overs), (["a", "b"], 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class RememberTests(FaceCase):
    """A session that goes on at the next start."""

    keyring: Deferred[Any] | None = None  # its answer to whatever it is asked

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())
        self.start()

    def keep_entry(self, entry: str) -> None:
        self.path.write_text(f'[["here:1", {entry}]]')

    def start(
        self, last_name: str = "", password: str | None = None, is_secure: bool = True
    ) -> None:
        """Begin anew."""
        self.face.leave()
        self.client.close()
        self.network.flush()
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.addCleanup(self.client.close)
        self.remembered = RememberedSession(
            self.path, "here:1", self.ask_keyring, is_secure=lambda: is_secure
        )
        self.face = TerminalApp(
            self.clock,
            self.client,
            LOGIN,
            self.sit_down,
            password,
            theme=PLAIN,
            last_name=last_name,
            remembered=self.remembered,
        )
        self.running = Deferred.fromCoroutine(self.face.run())
        self.network.advance(0.1)

    def ask_keyring(self, call: Callable[..., object], *arguments: str) -> Deferred[Any]:
        return self.keyring or maybeDeferred(call, *arguments)

    def remember(self) -> None:
        said = self.type("login ann", "1", "remember")[-1]
        until = "until you log out or type forget"
        kept = f"Kept in {self.path}, which only you can read."
        self.assertEqual(said, f"ann stays logged in here, {until}. {kept}")

    def test_in_without_a_password(self) -> None:
        self.remember()
        self.start("ann")
        self.assertEqual(self.typist.asked, "line")
        self.assertEqual(self.typist.printed, [f"Connected to {LOGIN.host}.", "Welcome back, ann."])
        self.assertEqual(self.face.prompt(80, True), "ann> ")
        self.assertEqual(self.type("list-friend"), ["bob"])
        self.assertEqual(self.face.completions("send b")[0].text, "bob")
        self.send("bob", "ann", "hello")
        self.assertEqual(self.typist.printed[-1], "bob  hello")

    def test_the_messages_meanwhile(self) -> None:
        self.remember()
        self.face.leave()
        self.client.close()
        self.network.flush()
        self.send("bob", "ann", "are you there?")
        self.start("ann")
        self.assertEqual(self.typist.printed[-1], "bob  are you there?")

    def test_what_waits(self) -> None:
        """Without messages, which show by themselves."""
        self.remember()
        self.face.leave()
        self.client.close()
        self.network.flush()
        self.register("cat")
        self.invite("cat", "ann")
        bob = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.addCleanup(bob.close)
        for ask in (lambda: bob.login("bob", "1"), lambda: bob.post("bob", "news")):
            asked = ask()
            self.network.flush()
            self.successResultOf(asked)
        self.start("ann")
        said = "1 invitation waits: list-invite; 1 new post: posts"
        self.assertEqual(self.typist.printed[1:], ["Welcome back, ann.", said])

    def test_a_session_that_has_ended(self) -> None:
        self.remember()
        self.end_session("ann")
        self.start("ann")
        said = "The session of ann has ended. Try: login ann"
        self.assertEqual(self.typist.printed[-1], said)
        self.assertNotIn("token", self.path.read_text())
        self.start("ann")
        self.assertIn("login to log in as ann", self.typist.printed[0])
        kept = f"Kept in {self.path}, which only you can read."
        self.assertIn(kept, " ".join(self.type("login", "1")))
        self.start("ann")
        self.assertEqual(self.typist.printed[-1], "Welcome back, ann.")

    def test_a_session_that_cannot_be_read(self) -> None:
        self.remember()
        self.keep_entry('{"user": "ann", "service": "bbs", "keyring": true}')
        self.start("ann")
        said = "The session of ann cannot be read. Try: login ann"
        self.assertEqual(self.typist.printed[-1], said)

    def test_no_longer(self) -> None:
        for line in ("forget", "logout"):
            self.remember()
            self.type(line)
            self.assertNotIn("ann", self.path.read_text())
            self.start("ann")
            self.assertIn("login to log in as ann", self.typist.printed[0])
        self.assertEqual(self.type("remember"), ["You are not logged in. Try: login NAME"])

    def test_one_row_of_help(self) -> None:
        rows = [each for each in self.type("help")[-1].split("\n") if "forget" in each]
        row = "  remember                       Logs you in at the next start; forget ends it."
        self.assertEqual(rows, [row])
        said = ["forget\nEnds remember; you stay logged in."]
        self.assertEqual(self.type("help forget"), said)
        self.assertEqual([each.text for each in self.face.completions("forg")], ["forget"])

    def test_another_users_logout_forgets_nothing(self) -> None:
        self.remember()
        self.type("login bob 1", "logout bob")
        self.start("bob")
        self.assertEqual(self.typist.printed[-1], "Welcome back, ann.")

    def test_who_comes_again_is_told_once(self) -> None:
        words = "Type remember to be logged in without a password at the next start."
        self.assertNotIn(words, self.type("login ann", "1"))
        self.start("ann", password="1")
        self.assertNotIn(words, self.type("login"))
        for told in (True, False):
            self.start("ann")
            self.assertEqual(self.type("login", "1")[2:], [words] if told else [])

    def test_a_keyring_that_asks_the_person_who_gives_up(self) -> None:
        for lines, entry in (
            (["login ann 1", "remember"], '{"user": ""}'),
            (["login ann 1"], '{"user": "ann"}'),
        ):
            self.keep_entry(entry)
            self.start("ann")
            self.type(*lines[:-1])
            self.keyring = Deferred()
            self.type(lines[-1])
            self.face.interrupt()
            self.network.advance(0.1)
            self.assertEqual(self.typist.printed[-1], "Given up.")
            self.assertEqual(self.path.read_text(), f'[["here:1", {entry}]]')
            self.keyring = None

    def test_a_keyring_that_fails(self) -> None:
        self.keep_entry('{"user": "ann"}')
        self.start("ann")
        self.keyring = fail(RuntimeError("locked"))
        said = self.type("login ann 1")
        self.assertEqual(said[-1], "Nothing is remembered: the system's keyring failed.")
        self.assertNotIn("token", self.path.read_text())

    def test_a_session_that_cannot_be_forgotten(self) -> None:
        self.remember()
        self.keyring = fail(RuntimeError("locked"))
        self.remembered._may_be_in_keyring = True
        said = "The session may still be kept here. Type logout to end it."
        self.assertEqual(self.type("forget"), [said])

    def test_nothing_is_sent_over_an_open_network(self) -> None:
        self.remember()
        self.start("ann", is_secure=False)
        self.assertIn("login to log in as ann", self.typist.printed[0])
        said = "Nothing is remembered: without --tls, others on the way could take the session."
        self.assertEqual(self.type("login ann 1", "remember")[-1], said)

    def test_another_service_there(self) -> None:
        """It does not get the token, and says nothing about the session."""
        self.remember()
        kept = self.path.read_text().replace('"bbs"', '"lobby"')
        self.path.write_text(kept)
        self.start("ann")
        said = "The session of ann is of another service. Try: login ann"
        self.assertEqual(self.typist.printed[-1], said)
        self.assertEqual(self.path.read_text(), kept)

    def test_a_server_that_cannot_say(self) -> None:
        """The session may be there still."""
        self.remember()
        self.answer("locate", {"status": 1, "message": "Later", "code": "unavailable"})
        self.start("ann")
        self.assertEqual(self.typist.printed[-1], "The service cannot answer now. Try again.")
        self.start("ann")
        self.assertEqual(self.typist.printed[-1], "Welcome back, ann.")

    def test_not_waited_for(self) -> None:
        self.remember()
        let_go = self.hold("locate")
        self.start("ann")
        self.face.interrupt()
        self.network.flush()
        self.assertEqual(self.typist.printed[-1], "Given up.")
        self.assertIn("Logged in as bob.", self.type("login bob 1"))
        let_go()

    def test_a_folder_that_takes_nothing(self) -> None:
        self.path.mkdir()
        said = self.type("login ann 1", "remember")[-1]
        self.assertEqual(said, f"Nothing is remembered: {self.path} cannot be written.")
        self.assertIn("Type: forget", self.type("forget it"))
        self.assertIn("Type: remember", self.type("remember me"))
