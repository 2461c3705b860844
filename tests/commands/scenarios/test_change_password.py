"""`change-password`, and `login` to a suspended account: the whole service in memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bbs.core.values import Rate
from bbs.storage.models import Server, Session, Suspension, User
from bbs.testing import Peer
from tests.limits.scenarios.test_strangers_login import ATTACKER, HONEST, WRONG, StrangersCase

SUCCESS = "Success!"


class PasswordsCase(StrangersCase):
    """A service with `limits`, and ann, who has logged in twice."""

    limits: Mapping[str, Any] = MappingProxyType({"password_minimum": 2})

    def setUp(self) -> None:
        self.start_service(**self.limits)
        self.tokens = [self.service.people("ann")["ann"] for _ in range(2)]
        self.events.clear()

    def change(self, old: str, new: str, host: str = HONEST) -> str:
        """The words of the answer to her first session, asked from `host`."""
        return self.ask(f"change-password {self.tokens[0]} {old} {new}", host)

    def told(self) -> list[tuple[str, ...]]:
        """What the security log has of it: each time of her, and of nobody's password."""
        found = [event for event in self.events if event[0] != "login"]
        self.assertEqual({each[3] for each in found} - {"ann"}, set())
        return [(what, outcome, host) for what, outcome, host, *_ in found]


class Changing(PasswordsCase):
    def test_success(self) -> None:
        self.assertEqual(self.change("pw", "another"), SUCCESS)
        self.assertEqual(self.ask("login ann pw"), WRONG)
        self.assertEqual(self.ask("login ann another"), "in")
        self.assertEqual(self.told(), [("change-password", "done", HONEST)])

    def test_all_other_sessions_end(self) -> None:
        self.change("pw", "another")
        mine, other = (self.ask(f"locate {token}") for token in self.tokens)
        self.assertEqual((mine, other), ("", "Not login yet"))

    def test_servers_are_to_look_who_still_listens(self) -> None:
        hints: list[object] = []
        bus = self.service.serving(self.tokens[0]).serving.home.bus
        channel = User.get(User.name == "ann").channel
        bus.hear(channel, lambda hint, *_: hints.append(hint))
        listener = self.service.listening(self.tokens[0])
        self.change("wrong", "another")
        self.assertEqual(hints, [])
        self.change("pw", "another")
        self.assertEqual(hints, [{"event": "logout"}])
        # Her own session goes on where it is.
        self.service.settle()
        self.assertEqual(listener.heard(), [])
        self.assertEqual(listener.ask(f"list-friend {self.tokens[0]}")["status"], 0)

    def test_who_listens_by_another_session_is_sent_away(self) -> None:
        mine, other = (self.service.listening(token) for token in self.tokens)
        self.change("pw", "another")
        self.service.settle()
        self.assertEqual((mine.heard(), other.heard()), ([], [{"event": "logout"}]))
        self.assertEqual(other.ask(f"list-friend {self.tokens[1]}")["code"], "not-logged-in")

    def test_the_order_of_refusals(self) -> None:
        reply = self.peer().ask(f"change-password {self.tokens[0]} wrong x")
        self.assertEqual((reply["message"], reply["code"]), (WRONG, "wrong-credentials"))
        for new, words, code in (
            ("x", "Password too short", "password-too-short"),
            ("x" * 1025, "Password too long", "password-too-long"),
        ):
            reply = self.peer().ask(f"change-password {self.tokens[0]} pw {new}")
            self.assertEqual((reply["message"], reply["code"]), (words, code))
        outcomes = ("wrong", "refused", "refused")
        self.assertEqual(self.told(), [("change-password", each, HONEST) for each in outcomes])
        self.assertEqual(self.ask("login ann pw"), "in")
        self.assertEqual(self.ask(f"locate {self.tokens[1]}"), "")

    def test_guards_come_first(self) -> None:
        for line, words in (
            ("change-password", "Not login yet"),
            ("change-password nobody pw new", "Not login yet"),
            (f"change-password {self.tokens[0]} pw", "Usage: change-password <user> <old> <new>"),
            (
                f"change-password {self.tokens[0]} pw my new one",
                "Usage: change-password <user> <old> <new>",
            ),
        ):
            self.assertEqual(self.ask(line), words)
        peer = self.service.at_home(self.tokens[0])
        reply = peer.ask(f"change-password {self.tokens[0]} pw new")
        self.assertEqual(reply["code"], "ask-login-server")

    def test_to_the_same(self) -> None:
        self.assertEqual(self.change("pw", "pw"), SUCCESS)
        self.assertEqual(self.ask("login ann pw"), "in")


class Guessing(PasswordsCase):
    """Who has come by a token finds out the password no sooner than anybody else."""

    def test_as_often_as_at_login(self) -> None:
        guesses = [self.change("wrong", "mine", ATTACKER) for _ in range(25)]
        self.assertEqual(guesses[:20], [WRONG] * 20)
        self.assertEqual(set(guesses[20:]), {"Too many attempts, try again in 3 s"})
        # Whichever way is tried, it counts for both.
        self.assertEqual(self.ask("login ann pw", ATTACKER), guesses[20])
        self.assertEqual(self.change("pw", "mine", ATTACKER), guesses[20])
        self.assertEqual(self.ask("login ann pw"), "in")
        self.assertEqual(self.change("pw", "another"), SUCCESS)
        outcomes = ["wrong"] * 20 + ["refused"] * 6
        expected = [("change-password", outcome, ATTACKER) for outcome in outcomes]
        self.assertEqual(self.told(), [*expected, ("change-password", "done", HONEST)])

    def test_what_is_refused_is_no_work(self) -> None:
        threads = self.by_threads()
        for _ in range(25):
            peer = self.peer(ATTACKER)
            peer.say(f"change-password {self.tokens[0]} wrong mine")
            threads.work()
        self.change("wrong", "mine", ATTACKER)
        self.assertFalse(threads.work())

    def test_who_is_over_the_limit_does_not_wait_to_hear_of_it(self) -> None:
        for _ in range(20):
            self.change("wrong", "mine", ATTACKER)
        self.by_threads()
        for number in range(10):
            self.peer(ATTACKER).say(f"login name{number} wrong")
        peer = self.peer(ATTACKER)
        peer.say(f"change-password {self.tokens[0]} wrong mine")
        self.assertEqual(peer.heard()[0]["code"], "too-many-attempts")


class RightOnes(PasswordsCase):
    limits: Mapping[str, Any] = MappingProxyType({"logins": Rate(2, 60.0)})

    def test_they_have_a_rate(self) -> None:
        """Each makes the server hash twice."""
        self.assertEqual([self.change("pw", "pw") for _ in range(2)], [SUCCESS] * 2)
        self.assertIn("Too many attempts", self.change("pw", "pw"))


class Racing(PasswordsCase):
    """Others are faster while a password is looked at."""

    def asked(self, line: str) -> Peer:
        """Somebody whose password waits to be looked at."""
        peer = self.peer()
        peer.say(line)
        return peer

    def test_two_changes(self) -> None:
        threads = self.by_threads()
        lines = [f"change-password {token} pw new{token[:4]}" for token in self.tokens]
        one, other = self.asked(lines[0]), self.asked(lines[1])
        while threads.work():
            """All is hashed."""
        self.assertEqual(one.heard()[0]["message"], SUCCESS)
        self.assertEqual(other.heard()[0]["message"], "Not login yet")
        self.assertEqual(Session.select().count(), 1)
        self.assertEqual([each[1] for each in self.told()], ["done", "refused"])

    def test_two_changes_of_one_session(self) -> None:
        threads = self.by_threads()
        lines = [f"change-password {self.tokens[0]} pw {new}" for new in ("one", "two")]
        one, other = self.asked(lines[0]), self.asked(lines[1])
        while threads.work():
            """All is hashed."""
        self.assertEqual(one.heard()[0]["message"], SUCCESS)
        self.assertEqual(other.heard()[0]["message"], WRONG)

    def test_a_login_with_the_old_one(self) -> None:
        threads = self.by_threads()
        login = self.asked("login ann pw")
        change = self.asked(f"change-password {self.tokens[0]} pw another")
        verify_login = threads.waiting.popleft()
        while threads.work():
            """The password is changed."""
        self.assertEqual(change.heard()[0]["message"], SUCCESS)
        done, work = verify_login
        done.callback(work())
        self.assertEqual(login.heard()[0]["message"], WRONG)


class Suspended(StrangersCase):
    def suspend(self, name: str, until: float | None = None) -> None:
        user = User.get(User.name == name)
        Suspension.insert(user=user, since=self.service.wall(), until=until).execute()

    def test_who_knows_the_password_is_told_and_nobody_else(self) -> None:
        self.start_service()
        self.ask("register ann right")
        self.suspend("ann")
        self.events.clear()
        reply = self.peer().ask("login ann right")
        self.assertEqual(
            reply,
            {"status": 1, "message": "This account is suspended", "code": "account-suspended"},
        )
        self.assertEqual(self.ask("login ann wrong"), WRONG)
        outcomes = [outcome for what, outcome, *_ in self.events if what == "login"]
        self.assertEqual(outcomes, ["right", "suspended", "wrong"])
        self.assertEqual(Session.select().count(), 0)

    def test_until_the_clock_says_so(self) -> None:
        self.start_service()
        self.ask("register ann right")
        self.suspend("ann", self.service.wall() + 60)
        self.assertEqual(self.ask("login ann right"), "This account is suspended")
        self.service.clock.advance(60.0)
        self.assertEqual(self.ask("login ann right"), "in")

    def test_while_one_waits_for_a_place(self) -> None:
        self.start_service()
        self.service.boots = False
        self.ask("register ann right")
        Server.update(capacity=0).execute()
        waiting = self.peer()
        waiting.say("login ann right")
        self.assertEqual(waiting.heard(), [])
        self.suspend("ann")
        Server.update(capacity=1000).execute()
        self.service.advance(2)
        [reply] = waiting.heard()
        self.assertEqual(reply["code"], "account-suspended")
        self.assertEqual(Session.select().count(), 0)
