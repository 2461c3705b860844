"""Passwords: parameters, bounds, and that nobody learns who exists."""

from __future__ import annotations

from typing import Literal
from unittest import mock

from argon2 import PasswordHasher, Type, extract_parameters
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import PasswordVerdict
from bbs.limits import password_hashing
from bbs.limits.password_hashing import OWASP, Hasher
from bbs.testing.threads import Inline

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.ID)
QUICKEST_OF_OLD = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.I)

PASSWORDS = ["secret", "pässwörd \N{GRINNING FACE}", "x" * 1024, "NUL \0 and more", "%s{}'\""]


class MatchingHasher(PasswordHasher):
    """One to which every password is right."""

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        return True


class CountingHasher(PasswordHasher):
    """Says how often it was asked to verify, and against what."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified: list[str | bytes] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        self.verified.append(hash)
        return super().verify(hash, password)


class HasherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hasher = Hasher(Inline(), QUICK)

    def hash(self, password: str) -> str:
        return self.successResultOf(Deferred.fromCoroutine(self.hasher.hash(password)))

    def verify(self, stored: str | None, password: str) -> PasswordVerdict:
        return self.successResultOf(Deferred.fromCoroutine(self.hasher.verify(stored, password)))

    def test_the_parameters_are_owasps(self) -> None:
        stored = OWASP.hash("secret")
        self.assertTrue(stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$"), stored)
        self.assertLessEqual(len(stored), 255)

    def test_right_and_wrong(self) -> None:
        for password in PASSWORDS:
            stored = self.hash(password)
            self.assertNotIn(password[:6], stored)
            self.assertEqual(self.verify(stored, password), PasswordVerdict(True))
            self.assertEqual(self.verify(stored, password[:-1] + "y"), PasswordVerdict(False))
            self.assertEqual(self.verify(stored, password.upper()), PasswordVerdict(False))

    def test_every_hash_has_its_salt(self) -> None:
        self.assertNotEqual(self.hash("secret"), self.hash("secret"))

    def test_one_that_is_too_long_is_wrong_and_no_work(self) -> None:
        counting = CountingHasher()
        for password in ("x" * 1025, "\N{GRINNING FACE}" * 257, "x" * 60_000):
            stored = counting.hash(password)
            self.hasher = Hasher(Inline(), counting)
            self.assertEqual(self.verify(stored, password), PasswordVerdict(False))
        self.assertEqual(counting.verified, [])
        longest = "\N{GRINNING FACE}" * 256
        self.assertEqual(self.verify(counting.hash(longest), longest), PasswordVerdict(True))

    def test_nobody_costs_what_somebody_costs(self) -> None:
        counting = CountingHasher()
        self.hasher = Hasher(Inline(), counting)
        stored = self.hash("secret")
        self.assertEqual(self.verify(None, "secret"), PasswordVerdict(False))
        self.assertEqual(self.verify(stored, "wrong"), PasswordVerdict(False))
        nobody, somebody = map(extract_parameters, map(str, counting.verified))
        self.assertEqual(nobody, somebody)

    def test_nobody_never_matches(self) -> None:
        """Not even by the password of nobody."""
        self.hasher = Hasher(Inline(), MatchingHasher(1, 8, 1))
        self.assertTrue(self.verify(QUICK.hash("secret"), "another").matches)
        self.assertEqual(self.verify(None, "secret"), PasswordVerdict(False))

    def test_a_hash_of_lower_parameters_is_replaced(self) -> None:
        for older in (QUICK, QUICKEST_OF_OLD):
            stored = older.hash("secret")
            better = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
            self.hasher = Hasher(Inline(), better)
            verdict = self.verify(stored, "secret")
            self.assertTrue(verdict.matches)
            self.assertEqual(extract_parameters(str(verdict.new_hash)).memory_cost, 16)
            self.assertEqual(self.verify(verdict.new_hash, "secret"), PasswordVerdict(True))
            self.assertEqual(self.verify(stored, "wrong"), PasswordVerdict(False))

    def test_what_is_no_hash_matches_nothing(self) -> None:
        for stored in ("", "secret", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"):
            self.assertEqual(self.verify(stored, "secret"), PasswordVerdict(False))
            self.assertEqual(self.verify(stored, stored), PasswordVerdict(False))

    def test_one_thread_for_each_core(self) -> None:
        with mock.patch("os.cpu_count", return_value=6):
            self.assertEqual(password_hashing.threads(), 6)
        with mock.patch("os.cpu_count", return_value=None):
            self.assertEqual(password_hashing.threads(), 1)
