"""The operators' password file, and their sessions."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.core import audit
from bbs.core.errors import TooManyAttempts, WrongCredentials
from bbs.core.values import Rate
from bbs.limits.connections import Networks
from bbs.limits.fair_queue import FairQueue
from bbs.limits.password_hashing import Hasher
from bbs.testing.service import QUICK
from bbs.testing.threads import Inline
from bbs.web.auth import (
    DEVICE_LIFE,
    IDLE,
    MOST_SESSIONS,
    OperatorDevices,
    Operators,
    OperatorSessions,
    PasswordFileUnusable,
    device_keys,
    hashed,
    read_passwords,
)

HASH = QUICK.hash("secret")


class PasswordFile(SynchronousTestCase):
    def write(self, text: str | bytes, mode: int = 0o600) -> str:
        """A password file."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        os.chmod(path, mode)
        return path

    def refusal(self, text: str | bytes, mode: int = 0o600) -> str:
        """Why the file cannot be used."""
        path = self.write(text, mode)
        error = self.assertRaises(PasswordFileUnusable, read_passwords, path)
        self.assertTrue(str(error).startswith(f"{path}: "))
        return str(error).removeprefix(f"{path}: ")

    def test_lines(self) -> None:
        path = self.write(f"# operators\n\n  liz:pass word:with colon \nmax:{HASH}\njust this\n")
        self.assertEqual(
            read_passwords(path),
            {"liz": "pass word:with colon", "max": HASH, "operator": "just this"},
        )

    def test_a_hash_alone(self) -> None:
        self.assertEqual(read_passwords(self.write(HASH)), {"operator": HASH})

    def test_group_may_read_it(self) -> None:
        self.assertEqual(read_passwords(self.write("secret", 0o640)), {"operator": "secret"})

    def test_others_may_not(self) -> None:
        self.assertIn("chmod 600", self.refusal("secret", 0o644))
        self.assertIn("chmod 600", self.refusal("secret", 0o602))

    def test_nothing_in_it(self) -> None:
        for text in ("", "\n\n", "# secret\n"):
            self.assertEqual(self.refusal(text), "has no password in it")

    def test_lines_that_are_none(self) -> None:
        for line in (":secret", "liz:", "a" * 101 + ":secret", "liz:$argon2id$nonsense"):
            reason = self.refusal(f"max:pw\n{line}\n")
            self.assertEqual(reason, "line 2 must be NAME:PASSWORD, with a name of its own")
        self.assertIn("line 2 ", self.refusal("liz:secret\nliz:other\n"))

    def test_hashes_of_another_kind(self) -> None:
        for line in ("$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "$2y$05$abc", "$apr1$a$b"):
            reason = self.refusal(f"max:pw\nliz:{line}\n")
            self.assertEqual(reason, "line 2 has a hash that is not $argon2id$…")
            self.assertIn("line 1 ", self.refusal(line))
        money = self.write("liz:$100 or $200\n")
        self.assertEqual(read_passwords(money), {"liz": "$100 or $200"})

    def test_no_such_file(self) -> None:
        error = self.assertRaises(PasswordFileUnusable, read_passwords, "/nowhere/at all")
        self.assertEqual(str(error), "/nowhere/at all: No such file or directory")

    def test_no_text(self) -> None:
        self.assertEqual(self.refusal(b"\xff\xfe"), "not a text file")

    def test_hashes(self) -> None:
        hasher = Hasher(Inline(), QUICK)
        passwords = {"liz": HASH, "max": "secret"}
        hashes = self.successResultOf(Deferred.fromCoroutine(hashed(passwords, hasher)))
        self.assertEqual(hashes["liz"], HASH)
        self.assertTrue(QUICK.verify(hashes["max"], "secret"))


class Checking(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.operators = self.checking(Hasher(Inline(), QUICK))

    def checking(self, hasher: Hasher) -> Operators:
        """They check by `hasher`."""
        queue = FairQueue(4, 200, Networks(()), self.clock)
        return Operators({"liz": HASH}, hasher, Rate(3, 60.0), self.clock, queue)

    def check(self, name: str, password: str, address: str = "192.0.2.1") -> Deferred[None]:
        return Deferred.fromCoroutine(self.operators.check(name, password, address))

    def test_right_ones_are_not_limited(self) -> None:
        for _ in range(10):
            self.successResultOf(self.check("liz", "secret"))

    def test_wrong_ones_are(self) -> None:
        for _ in range(3):
            self.failureResultOf(self.check("liz", "wrong"), WrongCredentials)
        self.failureResultOf(self.check("liz", "secret"), TooManyAttempts)

    def test_somebody_elses_wrong_ones_keep_nobody_out(self) -> None:
        for _ in range(3):
            self.failureResultOf(self.check("liz", "wrong"), WrongCredentials)
        self.failureResultOf(self.check("liz", "wrong"), TooManyAttempts)
        self.successResultOf(self.check("liz", "secret", "192.0.2.2"))

    def test_wrong_ones_from_many_addresses(self) -> None:
        for number in range(30):
            guess = self.check("liz", "wrong", f"192.0.2.{number}")
            self.failureResultOf(guess, WrongCredentials)
        self.failureResultOf(self.check("liz", "secret", "192.0.2.99"), TooManyAttempts)
        self.clock.advance(60)
        self.successResultOf(self.check("liz", "secret", "192.0.2.99"))

    def test_security_events(self) -> None:
        """Whose name is none has perhaps typed a password there."""
        told: list[tuple[str, ...]] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            told.append(tuple(event[key] for key in ("what", "outcome", "address", "name", "by")))

        audit.publisher.addObserver(observe)
        self.addCleanup(audit.publisher.removeObserver, observe)
        self.successResultOf(self.check("liz", "secret"))
        for _ in range(3):
            self.failureResultOf(self.check("secret", "wrong"), WrongCredentials)
        self.failureResultOf(self.check("secret", "wrong"), TooManyAttempts)
        outcomes = ["right", "wrong", "wrong", "wrong", "refused"]
        self.assertEqual([outcome for _, outcome, *_ in told], outcomes)
        self.assertEqual(told[0], ("operator-login", "right", "192.0.2.1", "", "liz"))
        self.assertEqual(told[1], ("operator-login", "wrong", "192.0.2.1", "", ""))

    def test_many_at_once(self) -> None:
        """Of guesses that are all under way no more are answered than are allowed."""
        waiting: list[tuple[Deferred[object], object]] = []

        class Slow:
            def run(self, work: object, *arguments: object) -> Deferred[object]:
                done: Deferred[object] = Deferred()
                waiting.append((done, work(*arguments)))  # type: ignore[operator]
                return done

        hasher = Hasher(Slow(), QUICK)  # type: ignore[arg-type]
        self.operators = self.checking(hasher)
        guesses = [self.check("liz", password) for password in ("a", "b", "c", "d", "secret")]
        for done, verdict in waiting:
            done.callback(verdict)
        for guess in guesses[:3]:
            self.failureResultOf(guess, WrongCredentials)
        for guess in guesses[3:]:
            self.failureResultOf(guess, TooManyAttempts)


class Devices(SynchronousTestCase):
    """The browsers from which operators have logged in."""

    def setUp(self) -> None:
        self.now = 1.8e9
        self.devices = self.of({"liz": "secret", "zoë": "other"})

    def of(self, passwords: dict[str, str], secret: bytes = b"shared") -> OperatorDevices:
        return OperatorDevices(device_keys(passwords, secret), lambda: self.now)

    def test_whose_it_is(self) -> None:
        for name in ("liz", "zoë"):
            self.assertEqual(self.devices.operator(self.devices.cookie(name)), name)

    def test_it_lasts_over_a_restart_and_at_another_login_server(self) -> None:
        cookie = self.devices.cookie("liz")
        self.assertEqual(self.of({"liz": "secret"}).operator(cookie), "liz")

    def test_it_ends_with_the_password_and_with_the_operator(self) -> None:
        cookie = self.devices.cookie("liz")
        self.assertIsNone(self.of({"liz": "new"}).operator(cookie))
        self.assertIsNone(self.of({"max": "secret"}).operator(cookie))
        self.assertIsNone(self.of({"liz": "secret"}, b"another").operator(cookie))

    def test_it_ends_by_itself(self) -> None:
        cookie = self.devices.cookie("liz")
        self.now += DEVICE_LIFE
        self.assertEqual(self.devices.operator(cookie), "liz")
        self.now += 1
        self.assertIsNone(self.devices.operator(cookie))

    def test_forged_ones(self) -> None:
        at, name, hashed = self.devices.cookie("liz").split(".")
        nobody = OperatorDevices({}, lambda: self.now).cookie("eve")
        for cookie in (
            "", ".", "..", "x", f"{at}.{name}", f"{at}.{name}.", f"{int(at) + 1}.{name}.{hashed}",
            f"{at}.{b'eve'.hex()}.{hashed}", f"{at}.{name}.{hashed[:-1]}", f"{at}.f.{hashed}",
            f"{at}.ff.{hashed}", f"{at}.{name}.\ufffd", f"{'9' * 5000}.{name}.{hashed}", nobody,
        ):  # fmt: skip
            self.assertIsNone(self.devices.operator(cookie), cookie[:50])


class SessionsOfOperators(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sessions = OperatorSessions(self.clock)

    def test_whose_it_is(self) -> None:
        token = self.sessions.begin("liz")
        self.assertEqual(self.sessions.operator(token), "liz")
        for other in ("", token[:-1], token.upper()):
            self.assertIsNone(self.sessions.operator(other))
        self.sessions.end(token)
        self.sessions.end(token)
        self.assertIsNone(self.sessions.operator(token))

    def test_tokens_are_not_kept(self) -> None:
        token = self.sessions.begin("liz")
        self.assertNotIn(token, str(vars(self.sessions)))

    def test_an_idle_one_ends(self) -> None:
        token = self.sessions.begin("liz")
        self.clock.advance(IDLE)
        self.assertEqual(self.sessions.operator(token), "liz")
        self.clock.advance(1)
        self.assertIsNone(self.sessions.operator(token))

    def test_one_that_acts_lives_on(self) -> None:
        token = self.sessions.begin("liz")
        self.clock.advance(IDLE)
        self.sessions.operator(token, is_action=True)
        self.clock.advance(IDLE)
        self.assertEqual(self.sessions.operator(token), "liz")

    def test_a_bounded_number(self) -> None:
        first, second = self.sessions.begin("liz"), self.sessions.begin("max")
        self.sessions.operator(first, is_action=True)
        for _ in range(MOST_SESSIONS - 1):
            self.sessions.begin("eve")
        self.assertEqual(self.sessions.operator(first), "liz")
        self.assertIsNone(self.sessions.operator(second))
