"""Hashes passwords by argon2id, on threads of their own."""

from __future__ import annotations

import os

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from bbs.core import tracing
from bbs.core.threads import IWorkers
from bbs.core.values import PASSWORD_BYTES, PasswordVerdict

OWASP = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
"""Argon2id, m = 19 MiB, t = 2, p = 1: OWASP's Password Storage Cheat Sheet."""


def threads() -> int:
    """How many passwords are hashed at once: as many as there are cores."""
    return os.cpu_count() or 1


class Hasher:
    """Hashes and verifies passwords on `workers`, without a limit: code that serves strangers has
    them wait for their turn (`bbs.limits.fair_queue`).

    An unknown name takes as long as a wrong password: it is verified against the hash of a random
    password.
    """

    def __init__(self, workers: IWorkers, parameters: PasswordHasher = OWASP) -> None:
        self._workers = workers
        self._parameters = parameters
        self._hash_of_unknown = parameters.hash(os.urandom(16))

    async def hash(self, password: str) -> str:
        """The hash to store for `password`."""
        with tracing.span("password"):
            return await self._workers.run(self._parameters.hash, password)

    async def verify(self, stored: str | None, password: str) -> PasswordVerdict:
        """Compare `password` with the hash `stored`; None for an unknown user. A password that is
        longer than any may be is wrong, and costs no work."""
        if len(password.encode(errors="replace")) > PASSWORD_BYTES:
            return PasswordVerdict(False)
        with tracing.span("password"):
            return await self._workers.run(self._verify, stored, password)

    def _verify(self, stored: str | None, password: str) -> PasswordVerdict:
        try:
            self._parameters.verify(stored or self._hash_of_unknown, password)
        except (VerificationError, InvalidHashError):
            return PasswordVerdict(False)
        if stored is None:
            return PasswordVerdict(False)
        outdated = self._parameters.check_needs_rehash(stored)
        return PasswordVerdict(True, self._parameters.hash(password) if outdated else None)
