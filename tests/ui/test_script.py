"""The script face: what is printed, and what is waited for."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from bbs.board import BBSClient
from bbs.client import Unreachable
from bbs.testing import Link
from bbs.ui.output import TextFormat
from bbs.ui.script import IScriptConsole, Script
from tests.client.case import APP_1, LOGIN, ClientTestCase, failure
from tests.paths import CONFORMANCE


@implementer(IScriptConsole)
class ScriptTestCase(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_script()

    def run_script(self) -> None:
        """Begin a script."""
        self.printed: list[str] = []
        self.lines: list[str] = []
        self.wanted: Deferred[str | None] | None = None
        self.running = self.script(self.client)
        self.ended = Deferred.fromCoroutine(self.running.run())
        self.network.flush()

    def script(self, client: BBSClient) -> Script:
        return Script(
            self.clock,
            client,
            self,
            form=TextFormat(client.vocabulary),
        )

    def write(self, line: str) -> None:
        self.printed.append(line)

    def next_line(self) -> Deferred[str | None]:
        if self.lines:
            return succeed(self.lines.pop(0))
        self.wanted = Deferred()
        return self.wanted

    def type(self, *lines: str) -> list[str]:
        """Type lines; what they print without time passing."""
        self.printed.clear()
        self.feed(lines)
        self.network.flush()
        return self.printed

    def feed(self, lines: tuple[str, ...]) -> None:
        self.lines.extend(lines)
        if self.wanted is not None and self.lines:
            wanted, self.wanted = self.wanted, None
            wanted.callback(self.lines.pop(0))

    def end(self) -> None:
        """The input ends."""
        assert self.wanted is not None
        self.wanted.callback(None)
        self.network.flush()

    def people(self, *names: str) -> None:
        """Log in people who are all friends."""
        for number, name in enumerate(names):
            self.type(f"register {name} 1", f"login {name} 1")
            for other in names[:number]:
                self.befriend(other, name)


class ConformanceTests(ScriptTestCase):
    def conform(self, number: int) -> None:
        expected = (CONFORMANCE / f"{number}.expected").read_text().splitlines()
        replies, _, events = "\n".join(expected).partition("\n--\n")
        self.feed(tuple((CONFORMANCE / f"{number}.txt").read_text().splitlines()))
        self.network.advance(0.1)
        self.successResultOf(self.ended)
        pushed = [line for line in self.printed if line.startswith("<<<")]
        self.assertEqual([line for line in self.printed if line not in pushed], replies.split("\n"))
        self.assertEqual(Counter(pushed), Counter(filter(None, events.split("\n"))))

    def test_1(self) -> None:
        self.conform(1)

    def test_2(self) -> None:
        self.conform(2)

    def test_3(self) -> None:
        self.conform(3)

    def test_4(self) -> None:
        self.conform(4)

    def test_5(self) -> None:
        self.conform(5)

    def test_6(self) -> None:
        self.conform(6)

    def test_5_with_messages_that_take_their_time(self) -> None:
        def to_clients(link: Link, line: str) -> str | None:
            if '"event": "message"' not in line:
                return line
            self.clock.callLater(0.02, link.tell, line)
            return None

        self.network.to_clients = to_clients
        expected = (CONFORMANCE / "5.expected").read_text().splitlines()
        self.feed(tuple((CONFORMANCE / "5.txt").read_text().splitlines()))
        self.network.advance(20)
        self.successResultOf(self.ended)
        expected.remove("--")
        self.assertEqual(Counter(self.printed), Counter(expected))


class CommandTests(ScriptTestCase):
    def test_prints_what_the_server_says(self) -> None:
        self.assertEqual(self.type("register ann 1", "login ann"), ["Success!", USAGE])
        self.assertEqual(self.type("nonsense"), ["Unknown command nonsense"])

    def test_blank_lines_are_nothing(self) -> None:
        self.assertEqual(self.type("", "   ", "ping"), ["Pong!"])

    def test_one_after_the_other(self) -> None:
        let_go = self.hold("register ann")
        self.assertEqual(self.type("register ann 1", "ping"), [])
        self.assertEqual(self.asked("ping"), [])
        let_go()
        self.assertEqual(self.printed, ["Success!", "Pong!"])

    def test_ends_at_exit_at_quit_and_at_the_end(self) -> None:
        self.type("ping", " exit ", "ping")
        self.successResultOf(self.ended)
        self.assertEqual(self.asked("ping"), [LOGIN])
        self.run_script()
        self.assertEqual(self.type("quit", "ping"), ["Bye!"])
        self.successResultOf(self.ended)
        self.run_script()
        self.end()
        self.successResultOf(self.ended)

    def test_not_a_plain_exit(self) -> None:
        self.assertEqual(self.type("exit now", "ping"), ["Unknown command exit", "Pong!"])
        self.assertNoResult(self.ended)

    def test_help_needs_no_server(self) -> None:
        printed = self.type("help")
        self.assertIn("send-group <user> <group> <message>", printed)
        self.assertEqual(self.asked("help"), [])

    def test_help_of_one_command(self) -> None:
        self.assertEqual(
            self.type("help send", "help exit", "help ping"),
            [
                *("send <user> <friend> <message>", "Sends one message to a friend who is online."),
                *("exit", "Leaves. You stay logged in."),
                *("ping", "Checks that the service answers."),
            ],
        )
        self.assertEqual(self.type("help nonsense"), ["Unknown command nonsense"])
        self.assertEqual(self.running.refusal, "Unknown command nonsense")
        self.assertEqual(self.type("ping"), ["Pong!"])
        self.assertEqual(self.running.first_refusal, "Unknown command nonsense")

    def test_locate(self) -> None:
        self.people("ann")
        self.assertEqual(self.type("locate ann"), ["127.0.0.1:20001"])
        self.assertEqual(self.type("locate bob"), ["Not login yet"])

    def test_listen_is_done_anyway(self) -> None:
        self.people("ann")
        self.assertEqual(self.type("listen ann", "listen ann 1"), ["Success!", "Success!"])
        self.assertEqual(self.asked("listen"), [APP_1])
        self.assertEqual(self.type("listen bob"), ["Not login yet"])
        self.assertEqual(self.type("listen ann 1 2"), ["Usage: listen <user> [<id>]"])

    def test_events_tells_where_logins_stand(self) -> None:
        self.assertEqual(self.type("register ann 1", "events"), ["Success!", "Success!"])
        self.service.boots = False
        self.network.kill(APP_1)
        self.network.advance(1)
        first = "Waiting for an app server: position 1, about 0 s"
        self.assertEqual(self.type("login ann 1"), [first])
        self.network.links[-1].tell({"event": "waiting", "position": 2, "seconds": 9})
        self.network.flush()
        self.assertEqual(self.printed[1:], ["Waiting for an app server: position 2, about 9 s"])

    def test_an_unknown_outcome_is_said_in_a_line(self) -> None:
        self.people("ann")
        self.lose_answer("post")
        self.assertEqual(
            self.type("post ann hello", "ping"),
            [
                f"It is not known whether this was carried out: the connection to {APP_1} was lost",
                "Pong!",
            ],
        )

    def test_an_answer_outside_the_protocol(self) -> None:
        self.people("ann")
        self.answer("locate", {"status": 0, "app_server": 3})
        self.assertEqual(
            self.type("locate ann"), ["The server gave no usable address of an app server"]
        )

    def test_bytes_that_are_not_utf8_are_the_servers_to_answer(self) -> None:
        line = b"post ann \xe9\xff".decode("utf-8", "surrogateescape")
        self.assertEqual(self.type(line, "ping"), ["Invalid UTF-8", "Pong!"])

    def test_unreachable_at_the_start(self) -> None:
        self.network.unplug(LOGIN)
        client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        ended = Deferred.fromCoroutine(self.script(client).run())
        self.problem(ended, Unreachable)

    def test_lost_for_good(self) -> None:
        self.network.unplug(LOGIN)
        self.type("ping")
        self.network.advance(63)
        self.problem(self.ended, Unreachable)
        self.assertEqual(self.running.unsent(known=True), "; not sent: ping, and what follows")

    def test_what_a_signal_leaves_undone(self) -> None:
        self.people("ann")
        self.hold("")
        self.type("post ann hello")
        said = "; may not have been sent: post ann hello; not sent: what follows"
        self.assertEqual(self.running.unsent(known=False), said)

    def test_a_signal_leaves_nothing_undone_that_changes_nothing(self) -> None:
        self.type("ping")
        self.assertEqual(self.running.unsent(known=False), "")
        self.hold("")
        self.type("ping")
        self.assertEqual(self.running.unsent(known=False), "")

    def test_no_password_is_in_what_is_left_undone(self) -> None:
        self.hold("register")
        self.type("register eve secret")
        self.assertNotIn("secret", self.running.unsent(known=False))


USAGE = "Usage: login <id> <password>"


class ListeningTests(ScriptTestCase):
    def test_listens_before_the_next_command(self) -> None:
        self.type("register ann 1")
        let_go = self.hold("listen")
        self.assertEqual(self.type("login ann 1", "ping"), ["Success!"])
        let_go()
        self.assertEqual(self.printed, ["Success!", "Pong!"])

    def test_who_is_turned_away_is_told_and_listens_later(self) -> None:
        refusals = ("Too many connections", "You listen on 16 connections already")
        for name, code, words in zip(
            ("ann", "bob"), ("too-many-connections", "too-many-listeners"), refusals, strict=True
        ):
            self.answer("listen", {"status": 1, "message": words, "code": code})
            lines = (f"register {name} 1", f"login {name} 1", "ping")
            said = ["Success!", "Success!", words, "Pong!"]
            self.assertEqual(self.type(*lines), said)
        self.befriend("ann", "bob")
        self.send("ann", "bob", "hello")
        self.network.advance(9)
        self.assertEqual(self.printed[4:], [])
        self.network.advance(2)
        self.assertEqual(self.printed[4:], ["<<<ann->bob: hello>>>"])

    def test_a_failed_login_listens_to_nobody(self) -> None:
        self.type("login ann 1")
        self.assertEqual(self.asked("listen"), [])

    def test_logged_out_meanwhile(self) -> None:
        self.type("register ann 1")

        def to_servers(link: Link, line: str) -> str:
            if line.startswith("listen"):
                self.end_session("ann")
            return line

        self.network.to_servers = to_servers
        self.assertEqual(self.type("login ann 1", "ping"), ["Success!", "Not login yet", "Pong!"])

    def test_listening_that_is_refused(self) -> None:
        self.people("ann")
        self.end_session("ann")
        self.network.cut(APP_1)
        self.type("listen ann", "ping")
        self.network.advance(0.1)
        self.assertEqual(self.printed, ["Not login yet", "Pong!"])

    def test_no_server_to_listen_at(self) -> None:
        self.type("register ann 1")
        self.network.down.add(APP_1)
        self.type("login ann 1")
        self.network.advance(260.1)
        self.assertEqual(
            self.problem(self.ended, Unreachable), "no server at which to listen for ann"
        )
        self.assertEqual(self.running.unsent(known=True), "; not sent: what follows")

    def test_messages_are_printed_as_they_come(self) -> None:
        self.people("ann", "bob")
        self.printed.clear()
        self.send("ann", "bob", "\x1b")
        self.assertEqual(self.printed, ["<<<ann->bob: \\x1b>>>"])


class DueTests(ScriptTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.people("ann", "bob")
        self.hold_messages()

    def assertWaits(self, release: str, printed: str) -> None:
        """The script waits for the message to a user, and prints it."""
        self.network.advance(0.5)
        self.assertNoResult(self.ended)
        self.release(release)
        self.assertIn(printed, self.printed)

    def test_the_end_waits_for_a_message(self) -> None:
        self.type("send ann bob hi", "exit")
        self.assertWaits("bob", "<<<ann->bob: hi>>>")
        self.successResultOf(self.ended)

    def test_but_a_second_at_most(self) -> None:
        self.type("send ann bob hi", "send-group ann x y")
        self.end()
        self.network.advance(0.9)
        self.assertNoResult(self.ended)
        self.network.advance(0.15)
        self.successResultOf(self.ended)

    def test_and_not_when_nothing_is_due(self) -> None:
        self.type("send ann dan hi", "post ann x", "send ann", "create-group ann chess", "exit")
        self.successResultOf(self.ended)
        self.assertEqual(self.asked("list-joined"), [])

    def test_not_for_people_elsewhere(self) -> None:
        elsewhere = self.service.listening(self.service.people("dan")["dan"])
        self.befriend("ann", "dan")
        self.assertEqual(self.type("send ann dan hi", "login dan pw"), ["Success!"] * 2)
        self.assertEqual([event["message"] for event in elsewhere.events()], ["hi"])
        self.assertEqual(self.type("logout dan", "exit"), ["Bye!"])
        self.successResultOf(self.ended)

    def test_not_for_what_has_been_printed(self) -> None:
        self.network.to_clients = lambda link, line: line
        self.type("create-group ann chess", "join-group bob chess")
        self.type("send ann bob hi", "send ann bob hi", "send-group ann chess e4", "exit")
        self.successResultOf(self.ended)
        self.assertEqual(self.asked("list-joined"), [])

    def test_not_for_those_who_have_logged_out(self) -> None:
        self.type("send ann bob hi", "logout bob")
        self.network.advance(1.1)
        self.assertEqual(self.printed[-1], "Bye!")
        self.type("exit")
        self.successResultOf(self.ended)

    def test_not_for_somebody_else_of_that_name(self) -> None:
        self.type("send ann bob hi", "delete bob")
        self.network.advance(1.1)
        self.assertEqual(
            self.type("register bob 1", "login bob 1", "logout bob"),
            ["Success!", "Success!", "Bye!"],
        )

    def test_each_of_two_alike(self) -> None:
        self.type("send ann bob hi", "send ann bob hi", "exit")
        link, line = self.held.pop()
        self.release("bob")
        self.network.advance(0.5)
        self.assertNoResult(self.ended)
        link.tell(line)
        self.network.flush()
        self.successResultOf(self.ended)

    def test_logout_waits_for_messages_to_that_user(self) -> None:
        for command in ("logout", "delete"):
            self.type("send ann bob hi", f"{command} bob")
            self.assertWaits("bob", "<<<ann->bob: hi>>>")
            self.assertEqual(len(self.asked(command)), 1)
            self.type("login bob 1")

    def test_and_to_no_other(self) -> None:
        self.type("send ann bob hi", "logout ann")
        self.assertEqual(self.printed, ["Success!", "Bye!"])

    def test_a_group_is_its_members(self) -> None:
        self.type("create-group ann chess")
        self.type("send-group ann chess e4", "logout bob")
        self.assertEqual(self.printed, ["Success!", "Bye!"])
        self.assertEqual(self.asked("list-joined"), [APP_1])
        self.type("exit")
        self.assertWaits("ann", "<<<ann->GROUP<chess>: e4>>>")
        self.successResultOf(self.ended)

    def test_members_are_waited_for(self) -> None:
        self.type("create-group ann chess", "join-group bob chess")
        self.type("send-group ann chess e4", "logout bob")
        self.assertWaits("bob", "<<<ann->GROUP<chess>: e4>>>")
        self.assertEqual(self.printed, ["Success!", "<<<ann->GROUP<chess>: e4>>>", "Bye!"])

    def test_what_was_sent_before_joining_is_not_due(self) -> None:
        self.type("create-group ann chess")
        self.type("send-group ann chess e4", "join-group bob chess", "logout bob")
        self.assertEqual(self.printed, ["Success!", "Success!", "Bye!"])

    def test_a_message_that_comes_before_its_reply(self) -> None:
        def to_clients(link: Link, line: str) -> str | None:
            if not (link.requests[-1].startswith("send") and '"status"' in line):
                return line
            self.clock.callLater(0.1, link.tell, line)
            return None

        self.network.to_clients = to_clients
        self.type("send ann bob hi", "exit")
        self.assertEqual(self.printed, ["<<<ann->bob: hi>>>"])
        self.clock.advance(0.1)
        self.network.flush()
        self.successResultOf(self.ended)

    def test_a_service_that_is_gone_does_not_hold_up_the_end(self) -> None:
        self.type("create-group ann chess", "join-group bob chess")
        self.type("send-group ann chess e4")
        self.network.unplug(APP_1)
        self.network.unplug(LOGIN)
        self.type("exit")
        self.network.advance(1.1)
        self.successResultOf(self.ended)

    def test_a_refusal_meanwhile_does_not_either(self) -> None:
        self.type("create-group ann chess", "join-group bob chess")
        self.type("send-group ann chess e4")
        self.answer_always("", failure("unavailable"))
        self.type("exit")
        self.successResultOf(self.ended)
