"""Strangers who try passwords and names, and people who want in meanwhile: the whole service in
memory."""

from __future__ import annotations

import json
import os
import unicodedata
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.logger import ILogObserver, LogEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.board import board
from bbs.config import Limits
from bbs.core import audit
from bbs.core.threads import IWorkers
from bbs.core.values import Rate, State
from bbs.daemons.composition import LoginServing, Runtime
from bbs.limits.connections import Networks
from bbs.limits.fair_queue import REFUSAL_DELAY
from bbs.limits.password_hashing import Hasher
from bbs.limits.rate_limits import GUESS_DELAY
from bbs.rules import accounts
from bbs.rules.auth import digest
from bbs.rules.presence import SILENT
from bbs.storage.models import KnownNetwork, Place, Server, Session, User, Waiter
from bbs.testing import MemoryService, Peer
from bbs.testing.service import HINT_KEY, QUICK
from bbs.testing.threads import Inline
from tests.memory_service import POLICY, configuration

SUCCESS = {"status": 0, "message": "Success!"}
WRONG = "No such user or password error"
HONEST, ATTACKER = "203.0.113.7", "198.51.100.1"
NEIGHBOUR, ELSEWHERE = "203.0.113.200", "192.0.2.77"


CORES, TURNS = 2, 4
"""How many cores there are, and so how many passwords have their turn at once; others wait."""


@implementer(IWorkers)
class Threads:
    """Hashes at once, or when the test says so, in the order in which it was asked for."""

    def __init__(self) -> None:
        self.at_once = True
        self.waiting: deque[tuple[Deferred[Any], Callable[[], Any]]] = deque()

    def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        if self.at_once:
            return maybeDeferred(work, *args, **kwargs)
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, lambda: work(*args, **kwargs)))
        return done

    def work(self) -> bool:
        """Do one piece; False if there is none."""
        if self.waiting:
            done, work = self.waiting.popleft()
            done.callback(work())
            return True
        return False


class StrangersCase(SynchronousTestCase):
    """A service with `limits`, whose security events are in `events`."""

    policy = replace(POLICY, capacity=1000)

    def start_service(self, gateway_secret: str = "", **limits: Any) -> None:
        """Start it; `threads` hash."""
        self.patch(os, "cpu_count", lambda: CORES)
        config = configuration(self.policy, gateway_secret)
        config = replace(config, limits=replace(Limits(trusted=()), **limits))
        self.service = MemoryService(board, config=config)
        self.addCleanup(self.service.close)
        self.threads = Threads()
        self.service.login = LoginServing(
            Runtime(
                board,
                config,
                self.service.database,
                self.service.broker.client(),
                self.service.clock,
                self.service.wall,
                HINT_KEY,
            ),
            me=self.service.me,
            hasher=Hasher(self.threads, QUICK),
            provider=self.service.provider,
            workers=Inline(),
        )
        self.service.start()
        self.events: list[tuple[str, ...]] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.events.append(
                (event["what"], event["outcome"], event["address"], event["name"], event["by"])
            )

        publisher: Any = audit.publisher
        publisher.addObserver(observe)
        self.addCleanup(publisher.removeObserver, observe)

    def peer(self, host: str = HONEST) -> Peer:
        """Somebody who connects from `host`."""
        return Peer(self.service.login.factory, host=host)

    def by_threads(self) -> Threads:
        """Passwords are hashed when the test says so, from now on."""
        self.threads.at_once = False
        return self.threads

    def ask(self, line: str, host: str = HONEST) -> str:
        """The words of the answer to somebody at `host`, who hangs up then; `in` to a login that
        succeeds."""
        peer = self.peer(host)
        reply = peer.ask(line)
        peer.protocol.connectionLost(Failure(ConnectionDone()))
        return str(reply.get("message", "")) if "token" not in reply else "in"


class Guessing(StrangersCase):
    def setUp(self) -> None:
        self.start_service()
        self.ask("register bob right")

    def test_nobody_keeps_bob_out_from_elsewhere(self) -> None:
        guesses = [self.ask("login bob wrong", ATTACKER) for _ in range(50)]
        self.assertEqual(guesses[:20], [WRONG] * 20)
        self.assertEqual(guesses[20:], ["Too many attempts, try again in 3 s"] * 30)
        self.assertEqual(self.ask("login bob right", ATTACKER), guesses[20])
        self.assertEqual(self.ask("login bob right"), "in")

    def test_while_wrong_ones_are_under_way(self) -> None:
        threads = self.by_threads()
        guessing = [self.peer(f"198.51.100.{number}") for number in range(50)]
        for peer in guessing:
            for _ in range(20):
                peer.say("login bob wrong")
        bob = self.peer()
        bob.say("login bob right")
        for _ in range(TURNS + 50 + 1):
            threads.work()
        (reply,) = bob.heard()
        self.assertIn("token", reply)

    def test_a_name_that_nobody_has(self) -> None:
        """It is answered, limited and worked for as one that somebody has."""
        threads = self.by_threads()
        told = []
        for name, host in (("bob", "192.0.2.1"), ("nobody", "192.0.2.2")):
            peer, works = self.peer(host), 0
            for _ in range(25):
                peer.say(f"login {name} wrong")
                works += threads.work()
            told.append((works, [reply["message"] for reply in peer.heard()]))
        self.assertEqual(told[0], told[1])
        self.assertEqual(told[0][0], 20)

    def test_however_the_name_is_typed(self) -> None:
        self.ask("register böb right")
        for name in ("bo\N{COMBINING DIAERESIS}b", "böb") * 10:
            self.assertEqual(self.ask(f"login {name} wrong", ATTACKER), WRONG)
        self.assertIn("Too many", self.ask("login bo\N{COMBINING DIAERESIS}b right", ATTACKER))
        self.assertEqual(self.ask("login bo\N{COMBINING DIAERESIS}b right"), "in")

    def test_a_password_longer_than_any_is_wrong_and_no_work(self) -> None:
        threads = self.by_threads()
        for name in ("bob", "nobody"):
            for _ in range(20):
                self.assertEqual(self.ask(f"login {name} {'x' * 1025}", ATTACKER), WRONG)
            self.assertIn("Too many attempts", self.ask(f"login {name} x", ATTACKER))
        self.assertFalse(threads.work())


class OtherLimits(StrangersCase):
    def test_right_ones_have_a_rate(self) -> None:
        self.start_service(logins=Rate(3, 60.0))
        self.ask("register bob right")
        for _ in range(3):
            self.assertEqual(self.ask("login bob right"), "in")
        self.assertEqual(self.ask("login bob right"), "Too many attempts, try again in 20 s")
        self.assertEqual(self.ask("login bob right", "192.0.2.1"), "in")

    def test_addresses_that_many_share_make_nobody_known(self) -> None:
        """As behind a proxy that is trusted."""
        self.start_service(failed_logins=Rate(3, 3600.0), trusted=(ip_network("203.0.113.0/24"),))
        self.ask("register bob right")
        self.ask("login bob right")
        for number in range(30):
            self.ask("login bob wrong", f"198.51.100.{number % 10}")
        self.assertIn("Too many", self.ask("login bob right"))

    def test_guesses_at_the_gateways_secret(self) -> None:
        limits = {"connections_per_address": 1000, "failed_logins": Rate(2, 600.0)}
        self.start_service("a-secret-of-tests", **limits)
        for _ in range(20):
            self.ask("forwarded-for 192.0.2.1 guess", ATTACKER)
        late = self.peer(ATTACKER)
        late.say("forwarded-for 192.0.2.1 guess")
        self.assertEqual(late.heard(), [])
        # The refusal, and the gateway's own secret, take as long.
        gateway = self.peer(ATTACKER)
        gateway.say("forwarded-for 192.0.2.1 a-secret-of-tests")
        self.service.advance(GUESS_DELAY)
        self.assertIn("Too many", late.heard()[0]["message"])
        self.assertEqual(gateway.heard(), [SUCCESS])
        outcomes = [("gateway", "wrong")] * 20 + [("gateway", "refused")]
        self.assertEqual(self.events, [(*each, ATTACKER, "", "") for each in outcomes])


class Quotas(StrangersCase):
    def test_who_has_too_much_is_told_of(self) -> None:
        self.start_service(groups=1)
        token = self.service.people("bob")["bob"]
        peer = Peer(self.service.serving(token).serving.factory, host=ATTACKER)
        peer.ask(f"create-group {token} a")
        self.assertEqual(peer.ask(f"create-group {token} b")["code"], "too-many-groups")
        self.assertEqual(self.events[-1], ("quota", "refused", ATTACKER, "", ""))


class KnownPeople(StrangersCase):
    """Ten addresses have used up what bob's name may fail; he comes from where he was before, or
    with the device that he had."""

    def setUp(self) -> None:
        self.start_service(failed_logins=Rate(3, 3600.0))
        self.ask("register bob right")
        reply = self.peer().ask("login bob right")
        self.device = str(reply["device"])
        self.use_up()

    def use_up(self) -> None:
        for number in range(30):
            self.ask("login bob wrong", f"198.51.100.{number % 10}")
        self.assertIn("Too many", self.ask("login bob right", ELSEWHERE))

    def login_with(self, device: str, host: str = ELSEWHERE) -> str:
        peer = self.peer(host)
        self.assertEqual(peer.ask(f"device {device}"), SUCCESS)
        reply = peer.ask("login bob right")
        return "in" if "token" in reply else str(reply["message"])

    def test_from_where_he_was_before(self) -> None:
        self.assertEqual(self.ask("login bob right"), "in")
        self.assertEqual(self.ask("login bob right", NEIGHBOUR), "in")

    def test_with_his_device(self) -> None:
        self.assertEqual(self.login_with(self.device), "in")

    def test_other_devices_prove_nothing(self) -> None:
        self.ask("register ann right")
        ann = str(self.peer().ask("login ann right")["device"])
        for device in (ann, self.device[:-1], "x", "x" * 60_000):
            self.assertIn("Too many", self.login_with(device))

    def test_a_device_is_no_password(self) -> None:
        peer = self.peer(ELSEWHERE)
        peer.ask(f"device {self.device}")
        answers = [peer.ask("login bob wrong")["message"] for _ in range(4)]
        self.assertEqual(answers, [WRONG] * 3 + ["Too many attempts, try again in 1200 s"])

    def test_another_password_ends_it(self) -> None:
        reply = self.peer().ask("login bob right")
        self.peer().ask(f"change-password {reply['token']} right other")
        peer = self.peer(ELSEWHERE)
        peer.ask(f"device {self.device}")
        self.assertIn("Too many", peer.ask("login bob other")["message"])
        peer.ask(f"device {reply['device']}")
        self.assertIn("Too many", peer.ask("login bob other")["message"])

    def test_he_may_change_his_password(self) -> None:
        token = self.peer().ask("login bob right")["token"]
        for host, said in ((ELSEWHERE, "Too many"), (HONEST, "Success!")):
            reply = self.peer(host).ask(f"change-password {token} right other")
            self.assertIn(said, reply["message"])

    def test_a_network_is_written_once_a_day(self) -> None:
        noted = KnownNetwork.get().used
        self.service.advance(60)
        self.ask("login bob right")
        self.assertEqual(KnownNetwork.get().used, noted)
        KnownNetwork.update(used=noted - 86_400).execute()
        self.ask("login bob right")
        self.assertEqual(KnownNetwork.get().used, self.service.wall())


class Crowding(StrangersCase):
    """Many passwords at once from one address, or from many."""

    def setUp(self) -> None:
        self.start_service(failed_logins=Rate(1000, 60.0))
        self.ask("register bob right")
        self.by_threads()

    def bobs_wait(self, at_most: int = 1000) -> int:
        """How many passwords are hashed until bob, who comes now, is in."""
        bob = self.peer()
        bob.say("login bob right")
        for works in range(1, at_most + 1):
            self.threads.work()
            if heard := bob.heard():
                self.assertIn("token", heard[0])
                return works
        raise AssertionError("bob still waits")

    def test_two_thousand_of_one_address(self) -> None:
        for number in range(200):
            peer = self.peer(ATTACKER)
            peer.protocol.dataReceived(
                b"".join(b"login name%d wrong\n" % (number * 10 + each) for each in range(10))
            )
        self.assertLessEqual(self.bobs_wait(), TURNS + 2)

    def test_fifty_addresses(self) -> None:
        for number in range(400):
            self.peer(f"198.51.100.{number % 50}").say(f"login name{number} wrong")
        self.assertLessEqual(self.bobs_wait(), TURNS + 50 + 1)

    def test_registrations_too(self) -> None:
        for number in range(100):
            self.peer(ATTACKER).say(f"register name{number} pw")
        self.assertLessEqual(self.bobs_wait(), TURNS + 2)
        # Of these, too, as many at a time.
        self.assertEqual(len(self.threads.waiting), TURNS)

    def test_whoever_has_most_waiting_is_refused(self) -> None:
        flood = [self.peer(f"198.51.100.{number % 20}") for number in range(2050)]
        for number, peer in enumerate(flood):
            peer.say(f"login name{number} wrong")
        self.service.advance(REFUSAL_DELAY)
        refused = [reply for peer in flood for reply in peer.heard()]
        self.assertEqual(
            {(reply["message"], reply["code"]) for reply in refused},
            {("Service unavailable, try again", "unavailable")},
        )
        self.assertGreaterEqual(len(refused), 2050 - 2000 - TURNS)
        self.assertLessEqual(self.bobs_wait(), TURNS + 20 + 1)

    def test_who_hangs_up_leaves_the_queue(self) -> None:
        for _ in range(5):
            for peer in [self.peer(ATTACKER) for _ in range(200)]:
                peer.say("login name wrong")
                peer.protocol.connectionLost(Failure(ConnectionDone()))
        works = 0
        while self.threads.work():
            works += 1
        self.assertLessEqual(works, TURNS)


class Registering(StrangersCase):
    def test_a_name_that_is_taken_counts(self) -> None:
        self.start_service(registrations=Rate(5, 60.0))
        self.assertEqual(self.ask("register bob pw"), "Success!")
        for _ in range(4):
            self.assertEqual(self.ask("register bob pw"), "bob is already used")
        for name in ("bob", "ann"):
            reply = self.ask(f"register {name} pw")
            self.assertEqual(reply, "Too many attempts, try again in 12 s")
        self.assertEqual(self.ask("register a\u200bn pw"), "Invalid id")
        self.assertEqual(self.ask("register ann pw", "192.0.2.1"), "Success!")

    def test_the_order_of_refusals(self) -> None:
        self.start_service(registrations=Rate(3, 60.0), password_minimum=4)
        self.assertEqual(self.ask("register bob 1234"), "Success!")
        self.assertEqual(self.ask("register b\tb 1"), "Invalid id")
        self.assertEqual(self.ask("register bob 1"), "bob is already used")
        self.assertEqual(self.ask("register ann 123"), "Password too short")
        self.assertEqual(self.ask("register b\tb 1"), "Invalid id")
        self.assertIn("Too many attempts", self.ask("register bob 1"))

    def test_closed(self) -> None:
        self.start_service(registration="closed", registrations=Rate(1, 60.0))
        for name in ("bob", "b\tb", "bob"):
            reply = self.peer().ask(f"register {name} pw")
            self.assertEqual(reply["message"], "Registration is closed")
            self.assertEqual(reply["code"], "registration-closed")
        self.assertEqual(User.select().count(), 0)

    def test_passwords(self) -> None:
        self.start_service(password_minimum=4)
        threads = self.by_threads()
        for password, message, code in (
            ("123", "Password too short", "password-too-short"),
            ("x" * 1025, "Password too long", "password-too-long"),
            ("ä" * 513, "Password too long", "password-too-long"),
        ):
            reply = self.peer().ask(f"register ann {password}")
            self.assertEqual((reply["message"], reply["code"]), (message, code))
        self.assertFalse(threads.work())

    def test_short_ones_where_nothing_is_said(self) -> None:
        self.start_service()
        self.assertEqual(self.peer().ask("register ann 1"), SUCCESS)


class Sessions(StrangersCase):
    def test_so_many_of_a_user(self) -> None:
        self.start_service(sessions_per_user=3)
        self.ask("register bob pw")
        tokens = []
        for _ in range(5):
            tokens.append(self.peer().ask("login bob pw")["token"])
            self.service.advance(1)
        self.assertEqual(Session.select().count(), 3)
        answers = [self.ask(f"locate {token}") for token in tokens]
        self.assertEqual(answers, ["Not login yet"] * 2 + [""] * 3)


class Forms(StrangersCase):
    def test_who_waits_by_a_name_in_another_form(self) -> None:
        """As typed it is longer than any name that is stored."""
        self.start_service()
        name = "\N{HANGUL SYLLABLE HAN}" * 100
        self.assertEqual(self.ask(f"register {name} pw"), "Success!")
        self.service.boots = False
        Server.delete().execute()
        peer = self.peer()
        peer.say(f"login {unicodedata.normalize('NFD', name)} pw")
        self.assertEqual([each.name for each in Waiter.select()], [name])


class Gateways(StrangersCase):
    def test_one_that_is_believed_is_counted_no_more(self) -> None:
        self.start_service(gateway_secret="a-secret-of-tests", connections_per_address=2)
        for _ in range(5):
            reply = self.peer().ask("forwarded-for 192.0.2.9 a-secret-of-tests")
            self.assertEqual(reply, SUCCESS)
        for _ in range(2):
            reply = self.peer().ask("forwarded-for 192.0.2.9 guess")
            self.assertEqual(reply["message"], WRONG)
        (reply,) = self.peer().heard()
        self.assertEqual(reply["message"], "Too many connections")


class Events(StrangersCase):
    def test_of_accounts(self) -> None:
        self.start_service(failed_logins=Rate(1, 60.0), registrations=Rate(4, 60.0))
        self.ask("register bob pw")
        self.ask("register bob pw")
        self.ask("login bob pw")
        self.ask("login bob wrong")
        self.ask("login bob pw")
        self.ask(f"login {'x' * 200} wrong", ATTACKER)
        self.ask("register \x1b[2J pw", ATTACKER)
        token = self.peer("192.0.2.1").ask("login bob pw")["token"]
        self.ask(f"delete {token}")
        self.assertEqual(
            self.events,
            [
                ("register", "done", HONEST, "bob", ""),
                ("register", "refused", HONEST, "bob", ""),
                ("login", "right", HONEST, "bob", ""),
                ("login", "wrong", HONEST, "bob", ""),
                ("login", "refused", HONEST, "bob", ""),
                ("login", "wrong", ATTACKER, "x" * 100, ""),
                ("register", "refused", ATTACKER, "\x1b[2J", ""),
                ("login", "right", "192.0.2.1", "bob", ""),
                ("delete", "done", HONEST, "bob", ""),
            ],
        )
        self.assertNotIn("wrong pw", json.dumps(self.events))

    def test_for_whom_a_gateway_speaks(self) -> None:
        self.start_service(gateway_secret="a-secret-of-tests")
        peer = self.peer("127.0.0.1")
        self.assertEqual(peer.ask("forwarded-for 192.0.2.9 a-secret-of-tests"), SUCCESS)
        peer.ask("login bob wrong")
        self.assertEqual(self.events, [("login", "wrong", "192.0.2.9", "bob", "")])


class Crowds(StrangersCase):
    """All connections are taken."""

    def setUp(self) -> None:
        self.start_service(connections=9)
        self.ask("register bob right")
        self.peers = [self.peer(ATTACKER) for _ in range(9)]
        for peer in self.peers:
            peer.ask("ping")

    def test_who_only_asks_gives_way(self) -> None:
        self.assertEqual(self.ask("login bob right"), "in")
        (reply,) = self.peers[0].heard()
        self.assertEqual(reply["message"], "Too many connections")

    def test_who_has_logged_in_or_used_a_token_stays(self) -> None:
        token = self.peers[0].ask("login bob right")["token"]
        for peer in self.peers[1:]:
            self.assertIn("app_server", peer.ask(f"locate {token}"))
        (reply,) = self.peer().heard()
        self.assertEqual(reply["message"], "Too many connections")

    def test_who_used_a_wrong_one_gives_way(self) -> None:
        for peer in self.peers:
            peer.ask("login bob wrong")
            peer.ask("locate " + "0" * 40)
        self.assertEqual(self.ask("login bob right"), "in")


class Logins(StrangersCase):
    def test_right_ones_have_a_rate_for_an_address(self) -> None:
        """Whatever the names, ten times that of one name; wrong ones do not count."""
        self.start_service(logins=Rate(1, 60.0), failed_logins=Rate(100, 60.0))
        for number in range(12):
            self.ask(f"register user{number} right")
        for number in range(9):
            self.assertEqual(self.ask(f"login user{number} wrong"), WRONG)
            self.assertEqual(self.ask(f"login user{number} right"), "in")
        self.assertEqual(self.ask("login user9 right"), "in")
        self.assertEqual(self.ask("login user10 right"), "Too many attempts, try again in 6 s")
        self.assertEqual(self.events[-1][:4], ("login", "refused", HONEST, "user10"))
        self.assertEqual(self.ask("login user10 right", ATTACKER), "in")
        self.service.advance(6.0)
        self.assertEqual(self.ask("login user10 right"), "in")


class PlacesCase(StrangersCase):
    """An address may have ten places of those that there are."""

    def setUp(self) -> None:
        self.start_service()
        self.service.settle()
        self.count = 0

    def register(self, count: int) -> list[str]:
        names = [f"user{self.count + number}" for number in range(count)]
        self.count += count
        stored = self.service.login.home.login.hasher.hash("pw")
        hashed: list[str] = []
        Deferred.fromCoroutine(stored).addCallback(hashed.append)
        for name in names:
            self.service.database.run(accounts.register, name, hashed[0], 0.0, board.on_register)
        return names

    def come(self, count: int, host: str = ATTACKER) -> list[Peer]:
        """So many people log in at `host`."""
        peers = []
        for name in self.register(count):
            peer = self.peer(host)
            peer.say(f"login {name} pw")
            peers.append(peer)
        self.service.settle()
        return peers

    def heard(self, peers: list[Peer]) -> list[str]:
        """What each was answered: `in`, the code, or nothing."""
        return [
            "in" if "token" in reply else reply["code"] for peer in peers for reply in peer.heard()
        ]

    @property
    def launched(self) -> int:
        return int(Server.select().where(Server.state != State.GONE).count())


class Places(PlacesCase):
    """Twenty places are there, and forty can be."""

    policy = replace(POLICY, capacity=5, minimum=4, maximum=8)

    def test_one_address_has_its_share_and_the_fleet_does_not_grow(self) -> None:
        greedy = self.come(30)
        self.assertEqual(self.heard(greedy), ["in"] * 10)
        self.service.advance(30.0)
        self.assertEqual((self.launched, Waiter.select().count()), (4, 0))
        honest = self.come(5, HONEST)
        self.assertEqual(self.heard(honest), ["in"] * 5)

    def test_who_is_held_back_is_told_so_in_the_end(self) -> None:
        greedy = self.come(12)
        self.heard(greedy)
        self.service.advance(self.policy.launch_timeout + 1.0)
        self.assertEqual(self.heard(greedy), ["too-many-places"] * 2)

    def test_who_is_held_back_gets_a_place_of_the_network_that_is_free_again(self) -> None:
        greedy = self.come(12)
        token = greedy[0].heard()[0]["token"]
        self.heard(greedy)
        greedy[1].ask(f"logout {token}")
        self.service.advance(2.0)
        self.assertEqual(self.heard(greedy), ["in"])

    def test_a_network_waits_for_as_many_servers_as_it_may_have_places(self) -> None:
        self.service.boots = False
        self.come(20, HONEST[:-1] + "1")
        self.come(10, HONEST[:-1] + "2")
        greedy = self.come(20)
        waiting = int(Waiter.select().count())
        self.assertEqual((self.heard(greedy), waiting), ([], 10))
        self.service.advance(10.0)
        # Ten wait, so two servers are launched, and not four.
        self.assertEqual(self.launched, 6)

    def test_those_who_are_trusted_have_no_limit(self) -> None:
        self.service.login.home.charges.trusted = Networks([ip_network(f"{ATTACKER}/32")])
        greedy = self.come(15)
        self.assertEqual(self.heard(greedy), ["in"] * 15)


class FullFleet(PlacesCase):
    """Three addresses have all places of a fleet that cannot grow."""

    policy = replace(POLICY, capacity=5, minimum=4, maximum=4)

    def setUp(self) -> None:
        super().setUp()
        crowd = [*self.come(10), *self.come(5, "198.51.100.2"), *self.come(5, HONEST)]
        self.tokens = [peer.heard()[0]["token"] for peer in crowd]

    def away(self) -> list[str]:
        """Where those logged in who are away."""
        return [place.origin for place in Place.select().where(Place.away == True)]  # noqa: E712

    def test_who_is_silent_gives_way_to_another_network(self) -> None:
        [newcomer] = self.come(1, "192.0.2.1")
        self.service.advance(SILENT - 5.0)
        self.assertEqual(self.heard([newcomer]), [])
        self.service.advance(10.0)
        self.assertEqual(self.heard([newcomer]), ["in"])
        self.assertEqual(self.away(), [ATTACKER])
        more = self.come(2, "192.0.2.1")
        self.service.advance(2.0)
        self.assertEqual(self.heard(more), ["in", "in"])
        self.assertEqual(self.away(), [ATTACKER] * 3)

    def test_who_gave_way_waits_at_the_next_command(self) -> None:
        self.service.advance(SILENT + 1.0)
        self.assertEqual(self.heard(self.come(1, "192.0.2.1")), ["in"])
        away = Place.get(Place.away == True).user_id  # noqa: E712
        [token] = [each for each in self.tokens if self.user_of(each) == away]
        elsewhere = next(each for each in self.tokens if self.user_of(each) != away)
        peer = self.service.at_home(elsewhere)
        reply = peer.ask(f"list-friend {token}")
        self.assertEqual(reply["code"], "ask-login-server")
        located = self.peer(ATTACKER)
        located.say(f"locate {token}")
        self.service.advance(2.0)
        self.assertEqual(self.heard([located]), [])
        self.peer(ATTACKER).ask(f"logout {elsewhere}")
        self.service.advance(2.0)
        (reply,) = located.heard()
        self.assertIn("app_server", reply)

    def test_nobody_of_the_greediest_network_gets_more(self) -> None:
        self.service.advance(SILENT + 1.0)
        greedy = [*self.come(2), *self.come(2, "198.51.100.3")]
        self.service.advance(5.0)
        # An address of the same network, with fewer.
        self.assertEqual(self.heard(greedy), ["in", "in"])
        self.assertEqual(self.away(), [ATTACKER] * 2)

    def test_who_listens_or_asks_keeps_the_place(self) -> None:
        peers = [self.service.listening(token) for token in self.tokens[1:]]
        [newcomer] = self.come(1, "192.0.2.1")
        home = self.service.at_home(self.tokens[0])
        for _ in range(3):
            self.service.advance(50.0)
            home.ask(f"list-friend {self.tokens[0]}")
            self.assertEqual(self.heard([newcomer]), [])
        self.assertEqual(self.away(), [])
        self.assertFalse(any(peer.heard() for peer in peers))

    def user_of(self, token: str) -> int:
        return int(Session.get(Session.digest == digest(token)).user_id)
