"""The operators: their password file, the sessions of those who have logged in, and the browsers
from which they did.

The file is `[web] password_file`: a line `NAME:PASSWORD` or `NAME:$argon2id$…` for each operator. A
line without a colon is the password of `operator`. Memory holds hashes only.
"""

from __future__ import annotations

import hmac
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError
from twisted.internet.interfaces import IReactorTime

from bbs.core import audit
from bbs.core.values import NAME_LENGTH, Rate
from bbs.limits.fair_queue import FairQueue
from bbs.limits.password_hashing import Hasher
from bbs.limits.rate_limits import LoginLimits
from bbs.rules.accounts import new_token
from bbs.rules.auth import digest

LONE_OPERATOR = "operator"  # the name of a line that has none
HASH = "$argon2id$"  # what a hash begins with; no password of a person does
IDLE = 12 * 3600.0  # seconds without an action after which a session ends
MOST_SESSIONS = 100  # of more, the one longest idle ends

DEVICE_LIFE = 180 * 86400.0
"""Seconds for which a browser is known from which an operator has logged in."""

_ANY_HASH = re.compile(r"\$[A-Za-z0-9-]+\$")


class PasswordFileUnusable(Exception):
    """The password file cannot be used. The text is one line, and has no password in it."""


def read_passwords(path: str) -> Mapping[str, str]:
    """Read the operators' passwords, or their hashes, by name.

    :raises PasswordFileUnusable: the file cannot be read, is malformed, has no password in it, or
        others than its owner and group can read it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & stat.S_IRWXO:
                raise PasswordFileUnusable(f"{path}: everybody may read it; chmod 600 it")
            lines = file.read().splitlines()
    except OSError as error:
        raise PasswordFileUnusable(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise PasswordFileUnusable(f"{path}: not a text file") from error
    found: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not colon:
            name, password = LONE_OPERATOR, line
        if _ANY_HASH.match(password) and not password.startswith(HASH):
            # Else this would be the password itself, and nobody would know why theirs is wrong.
            raise PasswordFileUnusable(f"{path}: line {number} has a hash that is not {HASH}…")
        if not _is_usable(name, password) or name in found:
            raise PasswordFileUnusable(
                f"{path}: line {number} must be NAME:PASSWORD, with a name of its own"
            )
        found[name] = password
    if not found:
        raise PasswordFileUnusable(f"{path}: has no password in it")
    return found


def _is_usable(name: str, password: str) -> bool:
    if password.startswith(HASH):
        try:
            extract_parameters(password)
        except InvalidHashError:
            return False
    return 0 < len(name) <= NAME_LENGTH and bool(password)


async def hashed(passwords: Mapping[str, str], hasher: Hasher) -> Mapping[str, str]:
    """Hash the passwords that are not hashes yet."""
    return {
        name: password if password.startswith(HASH) else await hasher.hash(password)
        for name, password in passwords.items()
    }


class Operators:
    """Checks operators' passwords by their `hashes`, within the limits of logins.

    :param rate: the wrong passwords allowed for a name from one address: a stranger who guesses a
        name needs several addresses to keep its operator out, but for a browser that is known.
    :param queue: where attempts wait to be hashed.
    """

    def __init__(
        self,
        hashes: Mapping[str, str],
        hasher: Hasher,
        rate: Rate,
        clock: IReactorTime,
        queue: FairQueue,
    ) -> None:
        self._hashes = hashes
        self._hasher = hasher
        self._queue = queue
        self._limits = LoginLimits(rate, None, clock, queue, _tell)
        # Of their own, so that what strangers guess does not count for those who are known.
        self._limits_of_known = LoginLimits(rate, None, clock, queue, _tell)

    async def check(self, name: str, password: str, address: str, known: bool = False) -> None:
        """Check that the password is the operator's.

        :param known: whether the operator has logged in from this browser before.
        :raises WrongCredentials: it is not.
        :raises TooManyAttempts: there were too many wrong ones.
        :raises Unavailable: too many wait.
        """
        verify = partial(self._hasher.verify, self._hashes.get(name), password)
        limits = self._limits_of_known if known else self._limits
        await limits.attempt(name, address, verify, known="a browser" if known else "")

    async def hash(self, password: str, address: str) -> str:
        """Hash a password that an operator at `address` sets, in the turns of the queue."""
        return await self._queue.run(address, partial(self._hasher.hash, password))


def _tell(outcome: str, address: str, name: str) -> None:
    # Without the name if the login failed: people type their password there, too.
    by = name if outcome == "right" else ""
    audit.record("operator-login", outcome, address=address, by=by)


def device_keys(passwords: Mapping[str, str], secret: bytes) -> Mapping[str, bytes]:
    """The key of each operator's devices, made of the line of the password file: another password
    makes another key. Nobody can try passwords with it who does not have the servers' `secret`."""
    return {
        name: hmac.digest(secret, f"operator's device\0{name}\0{line}".encode(), "sha256")
        for name, line in passwords.items()
    }


class OperatorDevices:
    """The browsers from which operators have logged in, known by a cookie: the time, the name in
    hex, and a keyed hash of both.

    :param keys: of each operator (`device_keys`).
    :param wall: the time in seconds since the epoch.
    """

    def __init__(self, keys: Mapping[str, bytes], wall: Callable[[], float]) -> None:
        self._keys = keys
        self._wall = wall

    def cookie(self, operator: str) -> str:
        """The cookie for the browser from which `operator` logs in now."""
        signed = f"{self._wall():.0f}.{operator.encode().hex()}"
        return f"{signed}.{self._hash(operator, signed)}"

    def operator(self, cookie: str) -> str | None:
        """The operator whom a browser with `cookie` is known for; None if it is not."""
        signed, _, given = cookie.rpartition(".")
        matched = re.fullmatch(r"([0-9]{1,12})\.((?:[0-9a-f]{2})+)", signed, re.ASCII)
        if matched is None or not given.isascii():
            return None
        operator = bytes.fromhex(matched[2]).decode("utf-8", "replace")
        is_right = hmac.compare_digest(given, self._hash(operator, signed))
        is_live = self._wall() - int(matched[1]) <= DEVICE_LIFE
        return operator if is_right and is_live and operator in self._keys else None

    def _hash(self, operator: str, signed: str) -> str:
        key = self._keys.get(operator, b"")
        return hmac.digest(key, signed.encode(), "sha256").hex()


@dataclass
class _Session:
    operator: str
    used: float


class OperatorSessions:
    """The sessions of operators, by the digest of the token that the browser keeps."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def begin(self, operator: str) -> str:
        """Begin a session; returns its token."""
        token = new_token()
        self._sessions[digest(token)] = _Session(operator, self._clock.seconds())
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return token

    def operator(self, token: str, is_action: bool = False) -> str | None:
        """The operator of a session, None if it has ended; an action keeps it alive."""
        key = digest(token)
        session = self._sessions.get(key)
        if session is None:
            return None
        if self._clock.seconds() - session.used > IDLE:
            del self._sessions[key]
            return None
        if is_action:
            session.used = self._clock.seconds()
            self._sessions.move_to_end(key)
        return session.operator

    def end(self, token: str) -> None:
        self._sessions.pop(digest(token), None)
