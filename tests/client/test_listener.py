"""Listening: each message once, whatever ends in between."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import capturedLogs, formatEventAsClassicLogText

from bbs.board import BBSClient
from bbs.client import Address, ChatMessage, Refused, TurnedAway, Unreachable
from bbs.testing import Link
from tests.client.case import APP_1, APP_2, APP_3, LOGIN, ClientTestCase, failure


class ListenerTests(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log_in("ann", "bob")
        self.befriend("ann", "bob")
        self.shown: list[tuple[str, str]] = []
        self.network.requests.clear()

    def show(self, user: str, message: ChatMessage) -> None:
        self.shown.append((user, message.text))

    def listen(self, user: str = "bob") -> Deferred[None]:
        return self.client.listen(user, self.show)

    def write(self, *texts: str) -> None:
        """Messages from ann to bob, whatever the network does."""
        self.send("ann", "bob", *texts)

    def listens(self) -> list[str]:
        return [line for _, line in self.network.requests if line.startswith("listen")]

    def assertShown(self, *texts: str) -> None:
        self.assertEqual(self.shown, [("bob", text) for text in texts])

    def test_messages_come(self) -> None:
        self.result(self.listen())
        self.write("one", "two")
        self.assertShown("one", "two")
        self.assertEqual(self.listens(), ["listen token2"])

    def test_begins_with_what_waited(self) -> None:
        self.write("early")
        self.result(self.listen())
        self.write("late")
        self.assertShown("early", "late")

    def test_listening_twice_is_listening_once(self) -> None:
        self.result(self.listen())
        self.result(self.listen())
        self.write("one")
        self.assertShown("one")
        self.assertEqual(len(self.listens()), 1)

    def test_each_user_has_a_connection(self) -> None:
        self.make_group("chess", "ann", "bob")
        self.result(self.listen("ann"))
        self.result(self.listen("bob"))
        self.say("send-group ann chess e4")
        self.assertEqual(sorted(self.shown), [("ann", "e4"), ("bob", "e4")])

    def test_not_logged_in(self) -> None:
        self.assertEqual(self.problem(self.listen("dan"), Refused), "Not login yet")

    def test_resumes_after_the_last_that_was_shown(self) -> None:
        self.result(self.listen())
        self.write("one")
        self.network.cut(APP_1)
        self.write("two", "three")
        self.assertShown("one")
        self.network.advance(0.1)
        self.write("four")
        self.assertShown("one", "two", "three", "four")
        self.assertEqual(self.listens(), ["listen token2", "listen token2 1"])

    def test_a_message_that_comes_twice_is_shown_once(self) -> None:
        self.result(self.listen())
        self.write("one", "two")
        for number, text in enumerate(("one", "two"), 1):
            event = {"event": "message", "id": number, "from": "ann", "to": "bob"}
            self.tell("bob", event | {"message": text})
        self.assertShown("one", "two")

    def test_finds_another_server_when_that_one_died(self) -> None:
        self.result(self.listen())
        self.network.kill(APP_1)
        self.write("one")
        self.network.advance(1)
        self.assertShown("one")
        self.assertEqual(self.asked("listen")[-1], APP_2)

    def test_a_server_that_only_hangs_up_is_not_hammered(self) -> None:
        def to_servers(link: Link, line: str) -> str | None:
            if not line.startswith("listen"):
                return line
            link.ask(line)
            link.hang_up()
            return None

        self.network.to_servers = to_servers
        self.listen()
        self.network.advance(60)
        self.assertLess(len(self.listens()), 60)

    def test_is_found_a_place_where_there_is_none_as_yet(self) -> None:
        self.answer("listen", failure("ask-login-server"), failure("unavailable"))
        listening = self.listen()
        self.network.flush()
        self.assertNoResult(listening)
        self.network.advance(0.05)  # the first delay, not the second
        self.assertNoResult(listening)
        self.assertEqual(self.asked("locate"), [LOGIN])
        self.network.advance(0.5)
        self.result(listening)

    def test_is_told_what_keeps_it_from_listening(self) -> None:
        words = "You listen on 16 connections already"
        self.answer("listen", {"status": 1, "message": words, "code": "too-many-listeners"})
        self.assertEqual(self.problem(self.listen(), TurnedAway), words)
        self.network.advance(10)
        self.result(self.listen())

    def test_goes_where_it_is_moved_at_once(self) -> None:
        self.result(self.listen())
        moments: list[float] = []

        def to_clients(link: Link, line: str) -> str:
            if '"moved"' in line or moments:
                moments.append(self.clock.seconds())
            return line

        self.network.to_clients = to_clients
        self.drain(APP_1)
        self.assertEqual(self.asked("listen"), [APP_1, APP_2])
        told, confirmed = moments
        self.assertEqual(told, confirmed)
        self.write("one")
        self.assertShown("one")
        self.say("list-friend bob")
        self.assertEqual(self.asked("list-friend"), [APP_2])

    def test_a_server_that_moves_people_for_ever_is_not_hammered(self) -> None:
        def to_servers(link: Link, line: str) -> str | None:
            if not line.startswith("listen"):
                return line
            link.ask(line)
            link.tell({"event": "moved", "app_server": APP_1.as_json()})
            return None

        self.network.to_servers = to_servers
        self.listen()
        self.network.advance(60)
        self.assertLess(len(self.listens()), 60)

    def test_is_sent_on(self) -> None:
        self.drain(APP_1)
        self.listen()
        self.network.advance(0.1)
        self.assertEqual(self.asked("listen"), [APP_1, APP_2])
        self.assertEqual(self.network.to(APP_1), [])
        self.write("one")
        self.assertShown("one")

    def test_waits_for_a_service_that_cannot(self) -> None:
        self.answer_always("listen", failure("unavailable"))
        listening = self.listen()
        self.network.advance(100)
        self.assertNoResult(listening)
        self.assertLess(len(self.listens()), 110)
        self.pass_on()
        self.network.advance(2)
        self.result(listening)

    def test_waits_for_a_service_that_is_away(self) -> None:
        self.result(self.listen())
        self.network.unplug(LOGIN)
        self.network.unplug(APP_1)
        self.network.advance(200)
        self.write("one")
        self.network.plug(LOGIN)
        self.network.plug(APP_1)
        self.network.advance(3)
        self.assertShown("one")

    def test_a_server_that_vanished_without_a_word(self) -> None:
        self.result(self.listen())
        silent = lambda link, line: None if link.address == APP_1 else line  # noqa: E731
        self.network.to_servers = self.network.to_clients = silent
        self.network.advance(29)
        self.assertEqual(self.asked("ping"), [])
        self.network.advance(2)
        self.assertEqual(self.asked("ping"), [APP_1])
        self.drain(APP_1)
        self.assertEqual(self.asked("listen"), [APP_1])
        self.network.advance(10)
        self.assertEqual(self.asked("listen"), [APP_1, APP_2])

    def test_a_server_that_is_there_is_kept(self) -> None:
        self.result(self.listen())
        self.network.advance(100)
        self.assertEqual(self.asked("ping"), [APP_1] * 3)
        self.assertEqual(len(self.listens()), 1)

    def test_logout_ends_it(self) -> None:
        self.result(self.listen())
        self.say("logout bob")
        self.network.advance(1)
        self.assertEqual(self.network.to(APP_1), [])
        self.assertEqual(len(self.listens()), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_logout_ends_it_without_being_told(self) -> None:
        self.result(self.listen())
        self.network.to_clients = lambda link, line: None if '"logout"' in line else line
        self.say("logout bob")
        self.assertEqual(self.network.to(APP_1), [])

    def test_a_logout_elsewhere_ends_it_and_forgets_the_token(self) -> None:
        self.result(self.listen())
        self.log_out("bob")
        self.network.advance(1)
        self.assertEqual(self.client.users, ("ann",))
        self.assertEqual(len(self.listens()), 1)

    def test_a_logout_it_did_not_hear_of_ends_it_too(self) -> None:
        self.result(self.listen())
        self.network.kill(APP_1)
        self.log_out("bob")
        self.network.advance(1)
        self.assertEqual(self.client.users, ("ann",))
        self.assertEqual(self.asked("locate"), [LOGIN])

    def test_a_logout_while_it_is_refused(self) -> None:
        self.log_out("bob")
        self.assertEqual(self.problem(self.listen(), Refused), "Not login yet")
        self.assertEqual(self.client.users, ("ann",))

    def test_a_logout_of_an_earlier_login_does_not_end_it(self) -> None:
        self.result(self.listen())
        self.say("login bob 1")
        self.tell("bob", {"event": "logout"})
        self.write("one")
        self.assertShown("one")
        self.assertEqual(self.listens(), ["listen token2", "listen token3"])

    def test_who_logs_in_again_goes_on_from_there(self) -> None:
        self.result(self.listen())
        self.write("one")
        self.say("logout bob")
        self.say("login bob 1")
        self.result(self.listen())
        self.write("two")
        self.assertShown("one", "two")
        self.assertEqual(self.listens()[-1], "listen token3 1")

    def test_a_logout_heard_of_before_its_reply(self) -> None:
        self.result(self.listen())

        def to_clients(link: Link, line: str) -> str | None:
            if "Bye!" not in line:
                return line
            self.service.clock.callLater(1, link.tell, line)
            return None

        self.network.to_clients = to_clients
        said = self.client.logout("bob")
        self.network.flush()
        self.assertEqual(self.client.users, ("ann",))
        self.say("login bob 1")
        self.network.advance(1)
        self.result(said)
        self.assertEqual(self.client.users, ("ann", "bob"))

    def test_a_mistake_of_our_own_is_logged(self) -> None:
        def endpoint(address: Address) -> IStreamClientEndpoint:
            if address != LOGIN:
                raise TypeError
            return self.network.endpoint(address)

        self.client = BBSClient(self.clock, LOGIN, endpoint)
        self.log_in("bob")
        listening = self.listen()
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.problem(listening, Unreachable)
        self.problem(self.listen(), Unreachable)

    def test_waiting_may_be_given_up(self) -> None:
        self.network.kill(APP_1)
        listening = self.listen()
        listening.cancel()
        self.failureResultOf(listening, CancelledError)
        self.network.plug(APP_1)
        self.network.advance(3)
        self.write("one")
        self.assertShown("one")

    def test_closing_ends_it(self) -> None:
        self.result(self.listen("ann"))
        self.network.kill(APP_1)
        listening = self.listen("bob")
        self.network.advance(0.01)
        self.result(self.client.close())
        self.problem(listening, Unreachable)
        self.network.advance(0.01)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closing_ends_a_connection_being_made(self) -> None:
        self.network.away.add(APP_1)
        listening = self.listen()
        self.result(self.client.close())
        self.problem(listening, Unreachable)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_by_whom_it_told(self) -> None:
        left = self.listen()
        left.addCallback(lambda _: self.client.close())
        self.network.flush()
        self.successResultOf(left)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_message_handler_that_fails_harms_no_message(self) -> None:
        def fail(user: str, message: ChatMessage) -> None:
            self.show(user, message)
            raise ZeroDivisionError

        self.result(self.client.listen("bob", fail))
        self.write("one", "two")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertShown("one", "two")
        self.assertEqual(len(self.listens()), 1)

    def test_events_that_are_none(self) -> None:
        self.result(self.listen())
        self.tell("bob", {"event": "message", "id": "x"})
        with capturedLogs() as logged:
            for address in ("x", None, {"host": "127.0.0.1", "port": 99999}):
                self.tell("bob", {"event": "moved", "app_server": address})
        self.tell("bob", {"event": "news"})
        lines = [formatEventAsClassicLogText(event) or "" for event in logged]
        self.assertEqual(
            [line.count("\n") for line in lines if "dropped an event" in line], [1] * 3
        )
        self.assertEqual(self.flushLoggedErrors(), [])
        self.write("one")
        self.assertShown("one")
        self.assertEqual(len(self.listens()), 1)

    def test_a_redirect_to_nowhere(self) -> None:
        self.answer("listen", failure("moved", app_server=APP_1.as_json() | {"port": 0}))
        listening = self.listen()
        self.network.advance(1)
        self.result(listening)

    def test_tells_who_serves(self) -> None:
        told: list[object] = []
        self.client.on_serving(lambda user, address: told.append((user, address)))
        self.result(self.listen())
        self.drain(APP_1)
        self.assertEqual(told, [("bob", APP_1), ("bob", APP_2)])
        self.network.kill(APP_2)
        self.assertEqual(told[2:], [("bob", None)])
        self.network.advance(5)
        self.assertEqual(told[3:], [("bob", APP_3)])
        self.say("logout bob")
        self.assertEqual(len(told), 4)

    def test_tells_who_was_logged_out(self) -> None:
        told: list[str] = []
        self.client.on_logged_out(told.append)
        self.result(self.listen())
        self.tell("bob", {"event": "logout"})
        self.assertEqual(told, ["bob"])
