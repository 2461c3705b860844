"""Commands that the client was not written for: how it learns of them, and what it does with them.

The service here has a game beside the board's commands, or is a server of version 0.1.0.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import BBSClient, board
from bbs.cli.client import ScriptRun
from bbs.client import Lost, NoService, Refused, TurnedAway, Unreachable
from bbs.client import ServiceReply as Answer
from bbs.client.catalog import TRUSTED, CommandCatalog
from bbs.commands import strictness
from bbs.framework import Ask, CommandTable, Reply, Role, Service, success
from bbs.testing import Link
from bbs.ui import completion
from bbs.ui.conversation import Conversation
from bbs.ui.process import LineReader
from tests.client.case import APP_1, APP_2, LOGIN, ClientTestCase, failure
from tests.paths import CHECKOUT
from tests.ui.gateway.case import GatewayCase
from tests.ui.terminal.test_app import FaceCase
from tests.ui.test_conversation import ConversationCase, Paper
from tests.ui.test_script import ScriptTestCase


class Noting(ClientTestCase):
    """A service that remembers what was asked of it: by whom, where the command is somebody's, and
    with which words."""

    def make_service(self) -> Service:
        # Servers of before had no reserved names.
        self.patch(strictness, "RESERVED", ())
        self.noted: list[tuple[str, ...]] = []
        self.table = CommandTable()
        self.declare()
        return self.service_with(self.table)

    def declare(self) -> None:
        """Put commands into `table`."""

    def service_with(self, table: CommandTable) -> Service:
        """A service that has these commands."""
        return replace(board, commands=(*board.commands, table))

    def note(self, usage: str, role: Role, *, rest: bool = False) -> None:
        """Have a command that is noted."""

        @self.table.command(usage, role, rest=rest)
        async def note(ask: Ask, *words: str) -> Reply:
            self.noted.append((ask.caller.name, *words) if ask.caller else words)
            return success()


class Lobby(Noting):
    """The board with a game beside it."""

    def declare(self) -> None:
        self.note("move <user> <game> <note>", Role.APP, rest=True)
        self.note("rename <user> <new>", Role.LOGIN)
        self.note("shout <text>", Role.LOGIN, rest=True)
        self.note("resign <user>", Role.APP)
        self.note("challenge <user> <friend> <group>", Role.APP)
        self.note("e\x1bc <user>", Role.APP)
        self.note("talk <user> <nonsense>", Role.APP)

        @self.table.command("games <user>", Role.APP, harmless=True)
        async def games(ask: Ask) -> Reply:
            self.noted.append((ask.user.name,))
            return Reply({"status": 0, "game": ["go", "che\x1bss"]})

    def setUp(self) -> None:
        super().setUp()
        self.register(*{"ann", "bob"} - self.users())

    def hide(self, *names: str) -> None:
        """Have the service not know yet that it has these commands, until `pass_on`."""

        def name_of(info: dict[str, str]) -> str:
            return info["usage"].split()[0]

        def to_clients(link: Link, line: str) -> str:
            members = json.loads(line)
            if "commands" in members:
                told = [each for each in members["commands"] if name_of(each) not in names]
                members["commands"] = told
            return json.dumps(members)

        self.network.to_clients = to_clients


class VocabularyTests(SynchronousTestCase):
    def test_a_line_is_understood_anew_when_more_is_known(self) -> None:
        vocabulary = CommandCatalog()
        for usage, user in (("wave <user> <friend>", "ann"), ("wave <friend> <friend>", "")):
            info = {"usage": usage, "server": "app"}
            vocabulary.learn(Answer({"status": 0, "commands": [info]}), 0.0)
            self.assertEqual(vocabulary.parse("wave ann bob").user, user)


class LibraryTests(Lobby):
    def log_in(self, *names: str) -> None:
        for name in names:
            self.result(self.client.login(name, "1"))

    def asks(self) -> int:
        return len(self.asked("commands"))

    def test_the_token_takes_the_place_of_the_name(self) -> None:
        self.log_in("ann")
        self.assertEqual(self.say("move ann go  e4  e5 "), "Success!")
        self.assertEqual(self.network.requests[-1], (APP_1, "move token1 go  e4  e5 "))
        self.assertEqual(self.noted, [("ann", "go", " e4  e5 ")])

    def test_each_goes_to_its_server(self) -> None:
        self.log_in("ann")
        self.drain(APP_1)
        for line in ("move ann go x", "rename ann eve", "shout  hello  all "):
            self.assertEqual(self.say(line), "Success!")
        self.assertEqual(self.asked("move"), [APP_1, APP_2])
        self.assertEqual(self.asked("rename"), [LOGIN])
        self.assertEqual(self.noted[1:], [("ann", "eve"), (" hello  all ",)])

    def test_only_what_is_harmless_is_sent_again(self) -> None:
        self.log_in("ann")
        self.say("games ann")
        self.lose_answer("games")
        listed = self.client.request("games ann")
        self.network.advance(0.1)
        self.assertEqual(self.result(listed).members["game"], ["go", "che\x1bss"])
        self.lose_answer("move")
        self.problem(self.client.request("move ann go x"), Lost)
        self.assertEqual(len(self.asked("move")), 1)

    def test_asked_once_for_all_connections(self) -> None:
        self.log_in("ann", "bob")
        for line in ("games ann", "move bob go x", "ping", "locate ann"):
            self.say(line)
        self.network.cut(LOGIN)
        self.network.cut(APP_1)
        self.say("games ann")
        self.assertEqual(self.asks(), 1)

    def test_asked_when_connected_and_not_waited_for(self) -> None:
        let_go = self.hold("commands")
        self.result(self.client.connect())
        self.assertEqual(self.asks(), 1)
        login = self.client.login("ann", "1")
        self.assertTrue(self.result(self.client.request("login bob 1")).ok)
        self.result(login)
        waiting = self.client.request("games ann")
        behind = self.client.request("login ann 1")
        self.network.flush()
        self.assertNoResult(waiting)
        self.assertNoResult(behind)
        let_go()
        self.assertEqual(self.result(waiting).members["game"], ["go", "che\x1bss"])
        self.result(behind)
        self.assertEqual(self.asks(), 1)

    def test_met_when_it_answers(self) -> None:
        """To `commands`, however slowly, or to `ping`."""
        for silent in ((), ("commands",)):
            self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)
            let_go = self.hold(*silent) if silent else lambda: None
            met = self.client.meet()
            self.network.advance(5.5 if silent else 0)
            self.result(met)
            let_go()
        let_go = self.hold("ping", "commands")
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        met = self.client.meet()
        self.network.advance(8)
        self.assertNoResult(met)
        let_go()
        self.result(met)

    def test_met_where_there_is_no_room(self) -> None:
        words = "Too many connections"
        refusal = {"status": 1, "message": words, "code": "too-many-connections"}
        self.answer("commands", refusal)
        self.answer("ping", refusal)
        self.assertEqual(self.problem(self.client.meet(), TurnedAway), words)

    def test_nobody_there_who_answers(self) -> None:
        self.hold("ping", "commands")
        met = self.client.meet()
        self.network.advance(8.5)
        self.assertNoResult(met)
        self.network.advance(1)
        told = f"{LOGIN} is not a login server: it says nothing"
        self.assertEqual(self.problem(met, NoService), told)

    def test_it_goes_beside_the_first_request_on_a_connection_that_ends(self) -> None:
        self.say("ping")
        self.assertEqual(self.network.requests, [(LOGIN, "commands"), (LOGIN, "ping")])
        self.assertEqual([link.requests for link in self.network.links], [["ping"]])

    def test_behind_a_login_while_the_login_server_is_there(self) -> None:
        self.say("login ann 1")
        self.network.unplug(LOGIN)
        self.assertTrue(self.result(self.client.request("games ann")).ok)

    def test_methods_ask_nothing(self) -> None:
        self.log_in("ann")
        self.result(self.client.post("ann", "x"))
        self.result(self.client.ping())
        self.assertEqual(self.asks(), 0)

    def test_those_who_wait_may_give_up(self) -> None:
        let_go = self.hold("commands")
        first, second = self.client.request("games ann"), self.client.request("games ann")
        self.network.flush()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        let_go()
        self.assertEqual(self.result(second).message, "Not login yet")
        self.assertEqual(self.asked("games"), [LOGIN])

    def test_a_new_word_is_asked_about(self) -> None:
        self.log_in("ann")
        self.hide("resign")
        self.say("games ann")
        self.pass_on()
        self.assertEqual(self.say("resign ann"), "Not login yet")
        self.clock.advance(TRUSTED)
        self.assertEqual(self.say("resign ann"), "Success!")
        self.assertEqual(self.noted[-1], ("ann",))
        self.assertEqual(self.asks(), 2)

    def test_mistyped_words_cost_little(self) -> None:
        self.say("games ann")
        self.clock.advance(TRUSTED)
        for number in range(100):
            self.assertEqual(self.say(f"gmaes{number} ann"), f"Unknown command gmaes{number}")
        self.assertEqual(self.asks(), 2)

    def test_without_an_answer_what_was_known_stays(self) -> None:
        self.say("games ann")
        self.clock.advance(TRUSTED)
        for answer in (failure("unavailable"), {"status": 0, "commands": 3}):
            self.answer("commands", answer)
            self.assertEqual(self.say("gmaes"), "Unknown command gmaes")
            self.assertIn("games", self.client.vocabulary.commands)
        self.assertEqual(self.asks(), 3)

    def test_a_server_that_cannot_say_now_is_asked_again(self) -> None:
        self.answer("commands", failure("unavailable"), failure("unavailable"))
        self.log_in("ann")
        self.assertEqual(self.say("games ann"), "Not login yet")
        self.assertTrue(self.result(self.client.request("games ann")).ok)

    def test_a_login_server_that_is_away_is_looked_for(self) -> None:
        self.log_in("ann")
        self.network.unplug(LOGIN)
        listed = self.client.request("games ann")
        self.network.advance(10)
        self.assertNoResult(listed)
        self.network.plug(LOGIN)
        self.network.advance(3)
        self.assertTrue(self.result(listed).ok)
        self.network.unplug(LOGIN)
        self.clock.advance(TRUSTED)
        self.assertTrue(self.result(self.client.request("games ann")).ok)
        listed = BBSClient(self.clock, LOGIN, self.network.endpoint).request("games ann")
        self.network.advance(65)
        self.problem(listed, Unreachable)

    def test_closing_ends_it(self) -> None:
        self.hold("commands")
        listed = self.client.request("games ann")
        self.network.flush()
        self.result(self.client.close())
        self.problem(listed, Unreachable)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_mistake_of_our_own_is_logged_and_keeps_nobody(self) -> None:
        broken = Broken()
        client = BBSClient(self.clock, LOGIN, self.network.endpoint, vocabulary=broken)
        listed = client.learn()
        self.network.flush()
        self.successResultOf(listed)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class Broken(CommandCatalog):
    """One that has a mistake of our own."""

    def learn(self, answer: Answer, now: float) -> None:
        raise TypeError


class BadAnswerTests(Lobby):
    """A server that answers every request but `commands`."""

    def mishandle(self, how: Callable[[Link], None]) -> None:
        before = self.network.to_servers

        def to_servers(link: Link, line: str) -> str | None:
            if line != "commands":
                return before(link, line)
            how(link)
            return None

        self.network.to_servers = to_servers
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)

    def test_nonsense_is_an_old_servers_answer(self) -> None:
        bad = ("hello", "[]", '{"status": 7}', '{"message": "\udcfc"}', "[" * 100_000, '{"a": NaN}')
        for answer in bad:
            self.mishandle(partial(Link.tell, line=answer))
            self.assertEqual(self.say("list-friend ann"), "Not login yet")
            self.assertEqual(self.network.requests[-1], (LOGIN, "list-friend "))
            self.network.to_servers = lambda link, line: line

    def test_so_is_an_end(self) -> None:
        for end in (Link.cut, Link.hang_up):
            self.mishandle(end)
            self.assertEqual(self.say("list-friend ann"), "Not login yet")

    def test_an_answer_that_never_comes_is_not_waited_for_long(self) -> None:
        self.mishandle(lambda link: None)
        listed = self.client.request("list-friend ann")
        self.network.advance(4)
        self.assertNoResult(listed)
        self.network.advance(2)
        self.assertEqual(self.result(listed).message, "Not login yet")
        self.assertEqual(self.say("list-invite ann"), "Not login yet")

    def test_what_was_asked_for_is_not_lost_by_it(self) -> None:
        for number, end in enumerate((Link.cut, Link.hang_up, lambda link: None)):
            self.mishandle(end)
            self.assertEqual(self.say(f"register eve{number} 1"), "Success!")
            self.assertEqual(len(self.asked("register")), number + 1)

    def test_a_refusal_to_nowhere(self) -> None:
        nowhere = failure("moved", app_server="x")
        self.mishandle(partial(Link.tell, line=nowhere))
        self.assertEqual(self.say("list-friend ann"), "Not login yet")
        self.answer("register", nowhere)
        self.assertEqual(self.say("register eve 1"), "Moved")

    def test_one_that_learns_to_answer_is_understood_later(self) -> None:
        self.mishandle(Link.cut)
        for _ in range(10):
            self.say("list-friend ann")
        self.assertEqual(len(self.asked("commands")), 1)
        self.pass_on()
        self.clock.advance(TRUSTED)
        self.say("ping")
        self.assertIn("games", self.client.vocabulary.commands)
        self.assertEqual(len(self.asked("commands")), 2)

    def test_what_it_said_before_stands(self) -> None:
        self.say("games ann")
        self.lose_answer("commands")
        self.clock.advance(TRUSTED)
        self.assertEqual(self.say("gmaes"), "Unknown command gmaes")
        self.assertEqual(self.say("gmaes"), "Unknown command gmaes")
        self.assertIn("games", self.client.vocabulary.commands)
        self.assertEqual(len(self.asked("commands")), 2)


class ElsewhereTests(Noting):
    """A service that has not the board's commands, and means something else by some of their
    names."""

    def declare(self) -> None:
        self.note("send <user> <text>", Role.APP, rest=True)
        self.note("list-friend <user> <game>", Role.APP)

    def service_with(self, table: CommandTable) -> Service:
        return Service("elsewhere", commands=(table,))

    def setUp(self) -> None:
        super().setUp()
        self.register("ann")

    def test_another_services_command_of_the_boards_name(self) -> None:
        self.result(self.client.login("ann", "1"))
        self.assertEqual(self.say("send ann bob hi"), "Success!")
        self.assertEqual(self.noted, [("ann", "bob hi")])

    def test_a_service_without_the_boards_lists(self) -> None:
        conversation = Conversation(self.client, Paper(self.client.vocabulary))
        self.result(conversation.carry_out("login ann 1"))
        self.assertEqual(conversation.current, "ann")
        for question in ("list-friend", "list-invite", "list-joined", "list-group"):
            self.assertEqual(self.asked(question), [])


class ManyTests(Noting):
    def declare(self) -> None:
        for number in range(3000):
            self.note(f"c{number} <user>", Role.APP)

    def test_any_number_of_them(self) -> None:
        self.say("ping")
        self.assertEqual(len(self.client.vocabulary.commands), 1000)


class CodeTests(Lobby):
    """What follows from a failure follows from its code, whatever its words."""

    def setUp(self) -> None:
        super().setUp()
        self.network.to_clients = lambda link, line: line.replace(
            "Not login yet", "Nicht angemeldet"
        )

    def test_asked_to_ask_the_login_server(self) -> None:
        self.result(self.client.login("ann", "1"))
        self.answer("post", failure("ask-login-server", message="Das macht der andere"))
        self.result(self.client.post("ann", "x"))
        self.assertEqual(self.asked("locate"), [LOGIN])

    def test_listening_that_is_over(self) -> None:
        self.result(self.client.login("ann", "1"))
        self.end_session("ann")
        refused = self.client.listen("ann", lambda user, message: None)
        self.assertEqual(self.problem(refused, Refused), "Nicht angemeldet")
        self.assertEqual(self.client.users, ())


class OldServerTests(Lobby):
    """Servers of version 0.1.0."""

    def setUp(self) -> None:
        super().setUp()
        self.be_old()
        self.log_in("ann", "bob")
        self.befriend("ann", "bob")

    def test_they_do_what_they_did(self) -> None:
        for line in ("post ann x", "list-friend ann", "send ann bob  hi ", "join-group ann x"):
            self.say(line)
        self.assertEqual(self.messages(), [("ann", "bob", " hi ")])
        self.assertEqual(len(self.asked("commands")), 1)
        self.assertTrue(self.client.vocabulary.learned)

    def test_unknown_words_are_asked_about_as_seldom(self) -> None:
        for _ in range(10):
            self.assertEqual(self.say("nonsense ann"), "Unknown command nonsense")
        self.assertEqual(len(self.asked("commands")), 1)

    def test_one_that_becomes_a_new_one(self) -> None:
        self.assertEqual(self.say("games ann"), "Not login yet")
        self.pass_on()
        self.clock.advance(TRUSTED)
        games = self.result(self.client.request("games ann"))
        self.assertEqual(games.members["game"], ["go", "che\x1bss"])

    def test_redirects(self) -> None:
        self.answer("post", {"status": 1, "message": "Ask the login server"})
        self.assertEqual(self.say("post ann x"), "Success!")
        self.assertEqual(self.asked("locate"), [LOGIN])

    def test_listening_that_is_over(self) -> None:
        self.end_session("ann")
        refused = self.client.listen("ann", lambda user, message: None)
        self.assertEqual(self.problem(refused, Refused), "Not login yet")
        self.assertEqual(self.client.users, ("bob",))


class ScriptTests(Lobby, ScriptTestCase):
    def test_help_lists_them(self) -> None:
        printed = self.type("help")
        self.assertLess(printed.index("rename <user> <new>"), printed.index("invite <user> <id>"))
        self.assertLess(printed.index("move <user> <game> <note>"), printed.index("ping"))
        self.assertEqual(printed[-1], "exit")

    def test_they_are_carried_out(self) -> None:
        self.assertEqual(
            self.type("login ann 1", "move ann go  e4 ", "games ann", "shout hi"),
            ["Success!", "Success!", "go", "che\\x1bss", "Success!"],
        )
        self.assertEqual(self.noted, [("ann", "go", " e4 "), ("ann",), ("hi",)])

    def test_events(self) -> None:
        self.type("login ann 1")
        self.announce("ann", {"event": "turn", "text": "your\nturn \x1b"})
        self.announce("ann", {"event": "turn", "game": "go"})
        self.announce("ann", {"event": "message", "text": "of another shape"})
        self.tell("ann", {"event": 3, "text": "none"})
        self.announce("ann", {"event": "turn", "text": "x" * 1_000_000})
        first, second, third = self.printed[1:]
        self.assertEqual((first, second), ("your\\x0aturn \\x1b", "of another shape"))
        self.assertEqual(third, "x" * 4000 + "…")


class OldScriptTests(ScriptTestCase):
    """`help` prints what the board says that it has, and what it always had where it cannot say."""

    def test_help(self) -> None:
        printed = [*self.type("help")]
        rows = [line for line in HELP.splitlines() if line]
        self.assertEqual([line for line in printed if line in rows], rows)
        self.assertIn("unfriend <user> <friend>", printed)
        self.be_old()
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.run_script()
        self.assertEqual(self.type("help"), rows)
        self.assertEqual(len(self.asked("commands")), 2)

    def test_help_without_a_server(self) -> None:
        self.network.unplug(LOGIN)
        self.assertEqual(self.type("help")[-1], "exit")


HELP = """
register <id> <password>
login <id> <password>
logout <user>
delete <user>
locate <user>
invite <user> <id>
list-invite <user>
accept-invite <user> <id>
list-friend <user>
post <user> <message>
receive-post <user>
send <user> <friend> <message>
create-group <user> <group>
list-group <user>
list-joined <user>
join-group <user> <group>
send-group <user> <group> <message>
listen <user> [<id>]
help
ping
quit
events
exit
"""


class ProgramTests(Lobby):
    """`bbs client --json`."""

    def play(self, script: str) -> list[dict[str, object]]:
        end, start = os.pipe()
        self.addCleanup(os.close, end)
        pieces: list[Deferred[bytes]] = [succeed(script.encode()), Deferred()]
        run = ScriptRun(
            self.clock,
            self.client,
            lines=LineReader(lambda: pieces.pop(0)),
            output=start,
            for_programs=True,
        )
        run.start()
        self.network.advance(1)
        event = {"event": "turn", "game": {"name": "go"}, "text": "\x1b" * 2000}
        self.announce("ann", event)
        os.close(start)
        return [json.loads(line) for line in os.read(end, 1 << 20).decode().splitlines()]

    def test_commands_and_events(self) -> None:
        login, moved, listed, event = self.play("login ann 1\nmove ann go x\ngames ann\n")
        self.assertEqual((login["status"], moved["message"]), (0, "Success!"))
        self.assertEqual(listed, {"status": 0, "game": ["go", "che\x1bss"]})
        self.assertEqual(
            event,
            {"event": "turn", "game": {"name": "go"}, "text": "\x1b" * 2000, "user": "ann"},
        )


class ConversationTests(Lobby, ConversationCase):
    def test_the_current_user_is_meant(self) -> None:
        self.type("login bob pw", "login ann pw", "move go  e4", "move bob go  d4")
        self.assertEqual(self.noted, [("ann", "go", " e4"), ("bob", "go", " d4")])

    def test_as_the_first_line(self) -> None:
        self.assertEqual(self.type("games"), ["You are not logged in. Try: login NAME"])
        self.assertEqual(self.type("shout  hi"), ["Done."])

    def test_help_hints_and_completion(self) -> None:
        self.hide("challenge")
        self.assertIn("*   move <game> <note>", self.type("help"))
        self.type("login ann pw")
        self.assertIn("*   move <game> <note>", self.type("help"))
        self.assertEqual(completion.hint(self.conversation, "move "), "move <game> <note>")
        self.assertEqual(self.completions("mov"), ["move"])
        self.assertEqual(self.completions("move "), ["ann"])
        self.pass_on()
        self.make_group("chess", "ann")
        self.clock.advance(TRUSTED)
        self.type("challenge x y", "list-joined")
        self.assertEqual(self.completions("challenge b"), ["bob"])
        self.assertEqual(self.completions("challenge bob "), ["chess"])

    def test_usages_are_harmless(self) -> None:
        self.assertIn("*   e\\x1bc", self.type("help"))
        self.assertEqual(completion.hint(self.conversation, "e\x1bc"), "e\\x1bc")

    def test_a_command_of_the_clients_own_comes_first(self) -> None:
        self.assertIn("talk <friend or group>  ", "".join(self.type("help")))
        self.assertNotIn("talk <nonsense>", "".join(self.paper.lines))

    def test_nobody_talks_where_nothing_can_be_sent(self) -> None:
        self.hide("send", "send-group")
        printed = self.type("help")
        self.assertNotIn("talk <friend or group>  ", "".join(printed))
        self.assertIn("*   talk <nonsense>", printed)

    def test_events(self) -> None:
        self.type("login ann pw")
        self.paper.lines.clear()
        self.announce("ann", {"event": "turn", "text": "your turn\x1b"})
        self.announce("ann", {"event": "turn"})
        self.tell("ann", {"event": "message", "id": 1, "text": "a", "from": "bob"})
        self.tell("ann", {"event": "message", "id": 1, "text": "again", "from": "bob"})
        self.assertEqual(self.paper.lines, ["ann:  * your turn\\x1b", "ann:  * a"])
        self.assertEqual(self.conversation.unread, {})

    def test_given_up_before_it_was_sent(self) -> None:
        self.hold("commands")
        waiting = self.begin("games ann")
        waiting.cancel()
        self.assertTrue(self.successResultOf(waiting))
        self.assertEqual(self.paper.lines, ["* Given up."])


class TerminalTests(Lobby, FaceCase):
    def test_commands_and_events(self) -> None:
        self.assertEqual(
            self.type("login ann 1", "games", "move go e4"),
            [
                "Logged in as ann.",
                "Try: invite NAME, talk NAME or help",
                "go\nche\\x1bss",
                "Done.",
            ],
        )
        self.announce("ann", {"event": "turn", "text": "your turn\x1b"})
        self.network.advance(0.2)
        self.assertEqual(self.typist.printed[-1], " * your turn\\x1b")
        self.assertIn("  move <game> <note>\n", self.type("help")[0])


class TelnetTests(Lobby, GatewayCase):
    def test_commands_and_events(self) -> None:
        nc = self.pipe("login ann 1", "move go  e4 ", "games")
        self.assertTrue(nc.text.endswith("ann> Success!\nann> go\nche\\x1bss\nann> "))
        self.assertEqual(self.noted, [("ann", "go", " e4 "), ("ann",)])
        texts = ("your turn\x1b", "", "y" * 5000)
        self.announce("ann", *({"event": "turn", "text": text} for text in texts))
        nc.settle()
        now = self.time()
        self.assertEqual(nc.text, f"\n{now}  * your turn\\x1b\n{now}  * {'y' * 4000}…\nann> ")
        nc.send("help\n")
        self.assertIn("\n  move <game> <note>\n", nc.text)

    def test_completion(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send("mo\t")
        self.assertEqual(telnet.last(), "ann> move")

    def test_what_one_has_learned_all_know(self) -> None:
        self.pipe("login ann 1", "games")
        self.pipe("login bob 1", "games")
        self.assertEqual(len(self.asked("commands")), 1)

    def test_a_crowd_asks_once(self) -> None:
        go_on = self.hold("commands")
        crowd = [self.pipe("help") for _ in range(5)]
        asked = [line for _, line in self.network.requests if line == "commands"]
        self.assertEqual(asked, ["commands"])
        crowd[0].leave()  # Then another asks.
        go_on()
        self.network.flush()
        for each in crowd[1:]:
            self.assertIn("games", each.text)

    def test_a_wrong_password_by_an_old_server_is_one_too(self) -> None:
        self.be_old()
        nc = self.pipe(*["login ann x"] * 5)
        self.assertTrue(nc.is_over)


class ImportTests(SynchronousTestCase):
    def test_the_rooms_import_of_this_project_what_lies_below_them(self) -> None:
        below = ("bbs.core", "bbs.protocols", "bbs.client")
        of_the_faces = (*below, "bbs.ui", "bbs.limits")
        for room, allowed in (("client", below), ("ui", of_the_faces)):
            for path in (CHECKOUT / "bbs" / room).rglob("*.py"):
                text = path.read_text().replace("from bbs import ", "import bbs.")
                text = re.sub(r"^if TYPE_CHECKING:\n( .*\n|\n)+", "", text, flags=re.MULTILINE)
                names = re.findall(r"^ *(?:from|import) (bbs[.\w]*)", text, re.MULTILINE)
                for name in names:
                    self.assertTrue(f"{name}.".startswith(tuple(f"{a}." for a in allowed)), path)

    def test_a_library_for_others_needs_no_server(self) -> None:
        check = (
            "import sys, bbs.client;"
            "print(*{n.split('.')[0] for n in sys.modules} & {'peewee', 'playhouse', 'boto3',"
            " 'argon2', 'prompt_toolkit', 'stomper', 'pymysql', 'prometheus_client'},"
            " *(n for n in sys.modules if n.startswith(('bbs.config', 'bbs.rules', 'bbs.storage',"
            " 'bbs.board', 'bbs.commands', 'bbs.scaling', 'bbs.delivery', 'bbs.daemons'))))"
        )
        done = subprocess.run(
            [sys.executable, "-c", check],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        )
        self.assertEqual(done.stdout, "\n")
