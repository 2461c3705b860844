"""The client library: names for tokens, and the right server for each request."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from bbs.board import BBSClient, GroupInfo, Post, Reply
from bbs.client import Address, BadReply, ChatMessage, Lost, Refused, Unreachable, Waiting
from bbs.client.routing import LocalUser
from bbs.testing import Link
from tests.client.case import APP_1, APP_2, LOGIN, ClientTestCase, failure


class TokenTests(ClientTestCase):
    def test_the_token_goes_in_the_place_of_the_name(self) -> None:
        self.log_in("ann")
        self.say("post ann  hello  ann ")
        self.assertEqual(self.network.requests[-1], (APP_1, "post token1  hello  ann "))
        self.assertEqual(self.posts(), [("ann", " hello  ann ")])

    def test_who_is_not_logged_in_has_none(self) -> None:
        self.assertEqual(self.say("post dan hello"), "Not login yet")
        self.assertEqual(self.network.requests, [(LOGIN, "commands"), (LOGIN, "post  hello")])

    def test_logout_and_delete_forget_it(self) -> None:
        for command, message in (("logout", "Bye!"), ("delete", "Success!")):
            self.log_in("ann")
            self.assertEqual(self.client.users, ("ann",))
            self.assertEqual(self.say(f"{command} ann"), message)
            self.assertEqual(self.client.users, ())
            self.assertEqual(self.say("list-friend ann"), "Not login yet")
            self.assertEqual(self.network.requests[-1], (LOGIN, "list-friend "))

    def test_a_refused_logout_forgets_nothing(self) -> None:
        self.log_in("ann")
        self.say("logout ann now")
        self.assertEqual(self.client.users, ("ann",))

    def test_another_login_replaces_it(self) -> None:
        self.log_in("ann", "ann")
        self.say("ping")
        self.say("list-friend ann")
        self.assertEqual(self.network.requests[-1], (APP_1, "list-friend token2"))

    def test_no_token_in_a_repr(self) -> None:
        self.assertNotIn("token1", repr(LocalUser("ann", "token1", APP_1)))

    def test_unknown_commands_and_wrong_numbers_are_the_servers_to_answer(self) -> None:
        self.log_in("ann")
        self.assertEqual(self.say("nonsense ann"), "Unknown command nonsense")
        self.assertEqual(self.say("invite ann"), "Usage: invite <user> <id>")
        self.assertEqual(self.say("listen ann 1 2"), "Usage: listen <user> [<id>]")
        self.assertEqual(self.say("listen"), "Not login yet")

    def test_listen_is_a_method(self) -> None:
        self.log_in("ann")
        for line in ("listen ann", "listen ann 3"):
            self.assertRaises(ValueError, self.client.request, line)

    def test_a_login_that_says_nothing_useful(self) -> None:
        self.answer("login", {"status": 0, "message": "Success!", "token": "t"})
        self.problem(self.client.login("ann", "1"), BadReply)
        self.assertEqual(self.client.users, ())

    def test_tokens_that_are_none(self) -> None:
        for token in (None, 1, "", "a b", "a\r", "\ud800x", "é", "\x00", "\x7f"):
            server = {"app_server": APP_1.as_json()}
            self.answer("login", {"status": 0, "message": "Success!", "token": token} | server)
            self.problem(self.client.login("ann", "1"), BadReply)
            self.assertEqual(self.client.users, ())


class DeviceTests(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.devices: dict[str, str] = {}
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint, devices=self.devices)

    def shown(self) -> list[str]:
        """The lines that the login server has got with a login, and the login itself."""
        lines = [line for _, line in self.network.requests]
        return [line for line in lines if line.startswith(("device", "login"))]

    def test_it_is_kept_and_shown_at_the_next_login(self) -> None:
        self.log_in("ann")
        self.assertEqual(self.shown(), ["login ann 1"])
        (name, token), *rest = self.devices.items()
        self.assertEqual((name, rest), ("ann", []))
        self.network.requests.clear()
        self.result(self.client.login("ann", "1"))
        self.assertEqual(self.shown(), [f"device {token}", "login ann 1"])
        self.assertNotEqual(self.devices["ann"], token)

    def test_it_is_one_users(self) -> None:
        self.log_in("ann")
        self.log_in("bob")
        self.assertEqual(self.shown(), ["login ann 1", "login bob 1"])
        self.assertEqual(self.say("login"), "Usage: login <id> <password>")

    def test_a_server_that_knows_no_device(self) -> None:
        self.log_in("ann")
        self.answer("device", failure("unknown-command"))
        self.assertEqual(self.say("login ann 1"), "Success!")

    def test_a_connection_that_ends_at_it(self) -> None:
        self.log_in("ann")
        self.lose_answer("device")
        login = self.client.login("ann", "1")
        self.network.advance(5.0)
        self.result(login)

    def test_what_is_none(self) -> None:
        for device in (None, 1, "", "a b", "a\r", "\ud800x", "é", "\x00", "x" * 1001):
            reply = {"status": 0, "message": "Success!", "token": "t", "device": device}
            self.answer("login", reply | {"app_server": APP_1.as_json()})
            self.result(self.client.login("ann", "1"))
            self.assertEqual(self.devices, {})

    def test_none_are_kept_unless_somebody_keeps_them(self) -> None:
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.log_in("ann")
        self.result(self.client.login("ann", "1"))
        self.assertEqual(self.shown(), ["login ann 1", "login ann 1"])


class RoutingTests(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log_in("ann")
        self.say("list-friend ann")  # so that a connection to the app server is kept
        self.network.requests.clear()
        self.network.connected.clear()

    def test_each_command_goes_to_its_server_over_a_kept_connection(self) -> None:
        for line in ("list-friend ann", "post ann x", "ping", "register bob 1"):
            self.say(line)
        asked = [address for address, _ in self.network.requests]
        self.assertEqual(asked, [APP_1, APP_1, LOGIN, LOGIN])
        self.assertEqual(self.network.connected, [])

    def test_a_login_has_a_connection_of_its_own(self) -> None:
        let_go = self.hold("login")
        waiting = self.client.login("ann", "1")
        self.network.flush()
        self.assertEqual(self.say("ping"), "Pong!")
        self.assertNoResult(waiting)
        before = len(self.network.links)
        let_go()
        self.result(waiting)
        self.assertEqual(len(self.network.links), before - 1)

    def test_follows_a_redirect_and_stays_there(self) -> None:
        self.drain(APP_1)
        self.assertEqual(self.say("post ann hello"), "Success!")
        self.assertEqual(self.asked("post"), [APP_1, APP_2])
        self.say("post ann again")
        self.assertEqual(self.asked("post"), [APP_1, APP_2, APP_2])
        self.assertEqual(self.posts(), [("ann", "hello"), ("ann", "again")])

    def test_redirects_end_somewhere(self) -> None:
        def to_servers(link: Link, line: str) -> None:
            there = APP_2 if link.address == APP_1 else APP_1
            link.tell(failure("moved", message=f"Moved to {there}", app_server=there.as_json()))

        self.launch()
        self.network.to_servers = to_servers
        self.assertEqual(self.say("post ann hello"), f"Moved to {APP_1}")
        self.assertEqual(len(self.asked("post")), 6)

    def test_a_redirect_to_nowhere(self) -> None:
        self.answer("post", failure("moved", app_server={"host": "", "port": 0}))
        self.problem(self.client.post("ann", "x"), BadReply)

    def test_asked_to_ask_the_login_server_it_locates(self) -> None:
        self.drain(APP_1)
        self.answer("post", failure("ask-login-server"))
        self.assertEqual(self.say("post ann hello"), "Success!")
        self.assertEqual(self.asked("locate"), [LOGIN])
        self.assertEqual(self.asked("post"), [APP_1, APP_2])

    def test_a_login_servers_command_told_to_ask_it_is_answered(self) -> None:
        self.answer("register", failure("ask-login-server"))
        self.assertEqual(self.say("register bob 1"), "Ask the login server")

    def test_locate_is_learnt_from(self) -> None:
        self.drain(APP_1)
        self.assertEqual(self.result(self.client.locate("ann")), APP_2)
        self.say("post ann hello")
        self.assertEqual(self.asked("post"), [APP_2])

    def test_a_server_that_is_gone_is_located_anew(self) -> None:
        self.network.kill(APP_1)
        posted = self.client.post("ann", "hello")
        self.network.advance(1)
        self.result(posted)
        self.assertEqual(self.asked("locate"), [LOGIN])
        self.assertEqual(self.posts(), [("ann", "hello")])

    def test_goes_on_until_there_is_another(self) -> None:
        self.service.boots = False
        self.network.unplug(APP_1)
        posted = self.client.post("ann", "hello")
        self.network.advance(20)
        self.assertNoResult(posted)
        self.assertIn(len(self.asked("locate")), range(10, 40))
        self.network.kill(APP_1)
        self.network.advance(20)
        self.assertNoResult(posted)
        self.boot()
        self.network.advance(2)
        self.result(posted)
        self.assertEqual(self.posts(), [("ann", "hello")])

    def test_gives_up_after_a_minute(self) -> None:
        self.network.unplug(APP_1)
        posted = self.client.post("ann", "hello")
        self.network.advance(59)
        self.assertNoResult(posted)
        self.network.advance(3)
        self.assertEqual(
            self.problem(posted, Unreachable), f"cannot reach {APP_1}: connection refused"
        )

    def test_a_refusal_to_locate_is_the_answer(self) -> None:
        self.network.unplug(APP_1)
        for code in ("unavailable", "not-logged-in"):
            self.answer("locate", failure(code))
            posted = self.client.request("post ann hello")
            self.network.advance(0.1)
            self.assertEqual(self.result(posted).members, failure(code))

    def test_a_login_server_that_comes_back(self) -> None:
        self.network.unplug(LOGIN)
        registered = self.client.register("bob", "1")
        self.network.advance(10)
        self.assertNoResult(registered)
        self.network.plug(LOGIN)
        self.network.advance(2)
        self.result(registered)

    def test_a_kept_connection_that_died_is_opened_again(self) -> None:
        self.network.cut(APP_1)
        self.network.cut(LOGIN)
        self.assertEqual(self.say("post ann hello"), "Success!")
        self.assertEqual(self.say("ping"), "Pong!")
        self.assertEqual(self.asked("locate"), [])

    def test_what_may_have_been_carried_out_is_not_sent_again(self) -> None:
        for line in ("post ann x", "invite ann x", "register x 1", "logout ann"):
            for carry_out in (False, True):
                command = line.split()[0]
                self.network.requests.clear()
                self.lose_answer(command, carry_out=carry_out)
                asked = self.client.request(line)
                self.assertIn("was lost", self.problem(asked, Lost))
                self.network.advance(5)
                self.assertEqual(len(self.asked(command)), 1)

    def test_what_is_harmless_is_sent_again(self) -> None:
        for line in ("list-friend ann", "receive-post ann", "ping", "login ann 1", "locate ann"):
            command = line.split()[0]
            self.network.requests.clear()
            self.lose_answer(command)
            asked = self.client.request(line)
            self.network.advance(0.1)
            self.assertTrue(self.result(asked).ok)
            self.assertEqual(len(self.asked(command)), 2)

    def test_a_server_without_an_answer(self) -> None:
        self.hold("")
        posted, listed = self.client.post("ann", "x"), self.client.list_friend("ann")
        self.network.advance(31)
        self.assertEqual(self.problem(posted, Lost), f"{APP_1} did not answer within 30 s")
        self.assertNoResult(listed)
        self.network.advance(300)
        self.problem(listed, Unreachable)

    def test_a_login_may_take_minutes(self) -> None:
        let_go = self.hold("login")
        waiting = self.client.login("ann", "1")
        self.network.advance(199)
        self.assertNoResult(waiting)
        let_go()
        self.result(waiting)

    def test_several_requests_at_once_stay_in_order(self) -> None:
        posts = [self.client.post("ann", str(number)) for number in range(50)]
        for one in posts:
            self.result(one)
        self.assertEqual(self.posts(), [("ann", str(number)) for number in range(50)])
        self.assertEqual(self.network.connected, [])

    def test_a_request_given_up_disturbs_no_other(self) -> None:
        first, second = self.client.list_friend("ann"), self.client.list_group("ann")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.result(second), ())

    def test_connecting_fails_at_once(self) -> None:
        self.network.unplug(LOGIN)
        self.assertEqual(
            self.problem(self.client.connect(), Unreachable),
            f"cannot reach {LOGIN}: connection refused",
        )

    def test_closing_ends_what_is_under_way(self) -> None:
        self.hold("")
        listed, posted = self.client.list_friend("ann"), self.client.post("ann", "x")
        self.network.flush()
        self.result(self.client.close())
        self.problem(listed, Unreachable)
        self.problem(posted, Lost)
        self.assertEqual(self.network.links, [])

    def test_closing_ends_the_search_for_a_server(self) -> None:
        self.network.unplug(APP_1)
        posted = self.client.post("ann", "x")
        self.network.flush()
        self.result(self.client.close())
        self.network.advance(0.1)
        self.problem(posted, Unreachable)


class WaitingTests(ClientTestCase):
    def test_tells_where_a_login_stands(self) -> None:
        told: list[Waiting] = []
        self.client.on_waiting(told.append)
        self.say("register ann 1")
        self.service.boots = False
        self.network.kill(APP_1)
        self.network.advance(1)
        waiting = self.client.login("ann", "1")
        self.network.flush()
        link = self.network.links[-1]
        self.assertEqual(link.requests, ["events", "login ann 1"])
        self.assertEqual(told, [Waiting(1, 0)])
        link.tell({"event": "waiting", "position": 3, "seconds": None})
        link.tell({"event": "news"})
        link.tell({"event": "waiting", "position": "first"})
        link.tell({"event": "waiting", "position": 1, "seconds": 2.5})
        self.network.flush()
        self.assertNoResult(waiting)
        self.boot()
        self.network.advance(1)
        self.result(waiting)
        self.assertEqual(told[1:], [Waiting(3), Waiting(1, 2.5)])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_places_that_are_none(self) -> None:
        for position in (None, "1", 1.0, True, 0, -3):
            with self.assertRaises(BadReply):
                Waiting.read({"event": "waiting", "position": position})
        for seconds in ("1", 10**400, -1, 1e9, float("nan"), float("inf"), [1]):
            with self.assertRaises(BadReply):
                Waiting.read({"event": "waiting", "position": 1, "seconds": seconds})

    def test_says_no_events_unasked(self) -> None:
        self.log_in("ann")
        self.assertEqual(self.asked("events"), [])


class MethodTests(ClientTestCase):
    def test_a_conversation(self) -> None:
        c = self.client
        for name in ("ann", "bob"):
            self.result(c.register(name, "1"))
            self.result(c.login(name, "1"))
        self.result(c.invite("ann", "bob"))
        self.assertEqual(self.result(c.list_invite("bob")), ("ann",))
        self.result(c.accept_invite("bob", "ann"))
        self.assertEqual(self.result(c.list_friend("ann")), ("bob",))
        self.result(c.post("ann", "hello  bob "))
        (post,) = self.result(c.receive_post("bob"))
        self.assertEqual(post, Post("ann", "hello  bob ", self.service.wall()))
        self.result(c.send("ann", "bob", "hi"))
        self.result(c.create_group("ann", "chess"))
        self.result(c.join_group("bob", "chess"))
        self.assertEqual(self.result(c.list_group("ann")), ("chess",))
        self.assertEqual(self.result(c.list_joined("bob")), ("chess",))
        self.result(c.send_group("ann", "chess", "e4"))
        self.assertEqual(self.result(c.locate("ann")), APP_1)
        self.result(c.ping())
        self.result(c.logout("ann"))
        self.result(c.delete("bob"))
        self.assertEqual(c.users, ())

    def test_people(self) -> None:
        c = self.client
        self.log_in("ann", "bob", "cat")
        self.befriend("ann", "bob")
        (bob,) = self.result(c.who("ann"))
        self.assertEqual((bob.name, bob.online), ("bob", True))
        self.result(c.send("ann", "bob", "hi"))
        (said,) = self.result(c.history("bob", "ann"))
        expected = ChatMessage(said.id, "ann", "hi", to="bob", time=self.service.wall())
        self.assertEqual(said, expected)
        self.result(c.invite("cat", "ann"))
        self.result(c.decline_invite("ann", "cat"))
        self.assertEqual(self.result(c.list_invite("ann")), ())
        self.result(c.unfriend("bob", "ann"))
        self.assertEqual(self.result(c.list_friend("ann")), ())
        self.result(c.block("ann", "cat"))
        self.assertEqual(self.result(c.list_block("ann")), ("cat",))
        refused = self.problem(c.invite("cat", "ann"), Refused)
        self.assertEqual(refused, "ann takes nothing from you")
        self.result(c.unblock("ann", "cat"))
        self.make_group("chess", "ann", "bob")
        self.assertEqual(self.result(c.list_member("ann", "chess")), ("ann", "bob"))
        self.result(c.leave_group("ann", "chess"))
        self.assertEqual(self.result(c.list_joined("ann")), ())
        self.result(c.change_password("ann", "1", "2"))
        self.assertTrue(self.is_password("ann", "2"))

    def test_owners_of_groups(self) -> None:
        c = self.client
        self.log_in("ann", "bob", "cat")
        self.make_group("chess", "ann", "bob")
        self.result(c.set_topic("ann", "chess", "Openings, and ends"))
        self.result(c.close_group("ann", "chess"))
        self.result(c.invite_group("ann", "chess", "cat"))
        chess = GroupInfo("chess", "Openings, and ends", 2, True, "ann", False, True)
        self.assertEqual(self.result(c.groups("cat")), (chess,))
        self.result(c.join_group("cat", "chess"))
        self.result(c.kick("ann", "chess", "cat"))
        self.result(c.give_group("ann", "chess", "bob"))
        self.assertEqual(
            self.problem(c.open_group("ann", "chess"), Refused), "You do not own chess"
        )
        self.result(c.open_group("bob", "chess"))
        self.result(c.set_topic("bob", "chess", ""))
        chess = GroupInfo("chess", None, 2, False, "bob", True)
        self.assertEqual(self.result(c.groups("ann")), (chess,))
        self.result(c.delete_group("bob", "chess"))
        self.assertEqual(self.result(c.groups("ann")), ())

    def test_malformed_groups(self) -> None:
        whole: dict[str, object] = {"group": "a", "topic": None, "members": 1}
        whole |= {"private": False, "owner": None, "member": True}
        self.assertEqual(
            Reply({"group": [whole]}).groups, (GroupInfo("a", None, 1, False, None, True),)
        )
        changes: tuple[dict[str, object], ...] = ({"group": 1}, {"topic": 1}, {"members": True})
        changes += ({"private": 0}, {"member": None}, {"owner": 1})
        for entry in (*(whole | change for change in changes), "a"):
            self.assertRaises(BadReply, getattr, Reply({"group": [entry]}), "groups")

    def test_the_parts_of_a_thread_are_in_its_order(self) -> None:
        self.log_in("ann")
        self.result(self.client.post("ann", "first"))
        (first,) = self.result(self.client.my_posts("ann"))
        for number in range(20):
            self.result(self.client.reply("ann", first.number, f"{number:02}{'x' * 60_000}"))
        thread = self.result(self.client.thread("ann", first.number))
        numbers = [each.number for each in thread]
        self.assertEqual((len(numbers), numbers), (21, sorted(numbers)))
        own = [each.number for each in self.result(self.client.my_posts("ann"))]
        self.assertEqual(own, sorted(numbers, reverse=True))

    def test_a_history_is_its_last_part(self) -> None:
        self.log_in("ann", "bob")
        self.befriend("ann", "bob")
        self.send("ann", "bob", *map(str, range(110)))
        said = self.result(self.client.history("ann", "bob"))
        self.assertEqual([message.text for message in said], [*map(str, range(60, 110))])
        reply = self.result(self.client.request("history ann bob"))
        self.assertEqual((len(reply.messages), reply.has_more), (50, True))
        self.assertEqual(self.asked("more"), [])
        older = self.result(self.client.request(f"more ann {reply.cursor}"))
        self.assertEqual([message.text for message in older.messages], [*map(str, range(10, 60))])
        self.assertTrue(older.has_more)

    def test_no_is_a_failure_with_the_servers_words(self) -> None:
        self.log_in("ann")
        self.assertEqual(
            self.problem(self.client.invite("ann", "dan"), Refused), "dan does not exist"
        )
        self.assertEqual(self.problem(self.client.logout("dan"), Refused), "Not login yet")

    def test_arguments_that_cannot_be_sent(self) -> None:
        for call, arguments in (
            (self.client.login, ("a b", "1")),
            (self.client.register, ("a", "")),
            (self.client.post, ("a", "two\nlines")),
        ):
            self.assertRaises(ValueError, call, *arguments)

    def test_lists_that_are_none(self) -> None:
        self.log_in("ann")
        self.answer("list-friend", {"status": 0, "friend": "bob"})
        self.problem(self.client.list_friend("ann"), BadReply)

    def test_an_address(self) -> None:
        self.assertEqual(str(Address("a", 1)), "a:1")
