"""Passwords, hashed by argon2id on a pool of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import Deferred

from bbs.errors import Unavailable, WrongCredentials
from bbs.workers import IWorkers

T = TypeVar("T")

OWASP = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
"""Argon2id, m = 19 MiB, t = 2, p = 1: OWASP's Password Storage Cheat Sheet."""

MAX_WAITING = 2000
"""Passwords that may wait for a thread: some 20 s of work on two cores. More are turned away."""


def threads() -> int:
    """How many hash at once: as many as there are cores."""
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Verdict:
    """Whether a password matches, and the hash to store instead if today's parameters rose."""

    matches: bool
    new_hash: str | None = None


class Hasher:
    """Hashes and verifies on `workers`.

    A name that nobody has costs the same time as a wrong password: it is verified against the hash
    of a password that nobody knows.
    """

    def __init__(self, workers: IWorkers, parameters: PasswordHasher = OWASP) -> None:
        self._workers = workers
        self._parameters = parameters
        self._nobody = parameters.hash(os.urandom(16))
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The hash to store for `password`."""
        return await self._work(self._parameters.hash, password)

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """Hold `password` against the hash `stored`, None for a user who does not exist."""
        return await self._work(self._verify, stored, password)

    def _work(self, work: Callable[..., T], *arguments: Any) -> Deferred[T]:
        if self._waiting >= MAX_WAITING:
            raise Unavailable()
        self._waiting += 1
        done: Deferred[T] = self._workers.run(work, *arguments)
        return done.addBoth(self._finished)

    def _finished(self, result: T) -> T:
        self._waiting -= 1
        return result

    def _verify(self, stored: str | None, password: str) -> Verdict:
        try:
            self._parameters.verify(stored or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return Verdict(False)
        if stored is None:
            return Verdict(False)
        outdated = self._parameters.check_needs_rehash(stored)
        return Verdict(True, self._parameters.hash(password) if outdated else None)


class Limit(Protocol):
    """Counts attempts for each key: see `bbs.limits.attempts`."""

    def check(self, key: str) -> None: ...

    def note(self, key: str) -> None: ...


async def verify_within(
    limits: Sequence[tuple[Limit, str]], hasher: Hasher, stored: str | None, password: str
) -> Verdict:
    """What `hasher` says to a password that matches the hash `stored` (None: nobody's).

    :raises TooManyAttempts: one of `limits`, each with its key, allows no attempt now.
    :raises WrongCredentials: it does not match, which counts for all of them.
    """
    for attempts, key in limits:
        attempts.check(key)
    verdict = await hasher.verify(stored, password)
    # Once more: of many guesses that were sent at once, only as many as are allowed are answered.
    for attempts, key in limits:
        attempts.check(key)
    if not verdict.matches:
        for attempts, key in limits:
            attempts.note(key)
        raise WrongCredentials()
    return verdict
