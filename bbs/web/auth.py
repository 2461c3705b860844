"""Who is an operator: the password file, and the sessions of those who have logged in.

The file is `[web] password_file`: a line `NAME:PASSWORD` or `NAME:$argon2id$…` for each operator; a
line without a colon is the password of the one named `operator`. Only hashes are kept in memory.
"""

from __future__ import annotations

import os
import re
import stat
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError
from twisted.internet.interfaces import IReactorTime

from bbs.core import audit
from bbs.core.values import NAME_LENGTH, Rate
from bbs.limits.fair_queue import FairQueue
from bbs.limits.logins import LoginLimits
from bbs.limits.password_hashing import Hasher
from bbs.rules.accounts import new_token
from bbs.rules.auth import digest

LONE_OPERATOR = "operator"
"""Whose password a line without a name is."""

HASH = "$argon2id$"
"""What a hash begins with; no password of a person's does."""

_ANY_HASH = re.compile(r"\$[A-Za-z0-9-]+\$")

IDLE = 12 * 3600.0
"""Seconds after which a session that did nothing ends."""

MOST = 100
"""Sessions at once; of more the one longest idle ends."""


class PasswordFileUnusable(Exception):
    """The password file cannot be used; the text is one line, without a password."""


def read_passwords(path: str) -> Mapping[str, str]:
    """The operators' passwords, or their hashes, by name.

    :raises PasswordFileUnusable: it cannot be read, others than its owner and group can, or it has
        no password in it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & stat.S_IRWXO:
                raise PasswordFileUnusable(f"{path}: everybody may read it; chmod 600 it")
            lines = file.read().splitlines()
    except OSError as error:
        raise PasswordFileUnusable(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise PasswordFileUnusable(f"{path}: is no text file") from error
    found: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not colon:
            name, password = LONE_OPERATOR, line
        if _ANY_HASH.match(password) and not password.startswith(HASH):
            # It would be the password itself, and nobody would know why theirs is wrong.
            raise PasswordFileUnusable(f"{path}: line {number} has a hash that is not {HASH}…")
        if not _is_usable(name, password) or name in found:
            raise PasswordFileUnusable(f"{path}: line {number} is no NAME:PASSWORD of its own")
        found[name] = password
    if not found:
        raise PasswordFileUnusable(f"{path}: there is no password in it")
    return found


def _is_usable(name: str, password: str) -> bool:
    if password.startswith(HASH):
        try:
            extract_parameters(password)
        except InvalidHashError:
            return False
    return 0 < len(name) <= NAME_LENGTH and bool(password)


async def hashed(passwords: Mapping[str, str], hasher: Hasher) -> Mapping[str, str]:
    """The same with a hash in place of each password."""
    return {
        name: password if password.startswith(HASH) else await hasher.hash(password)
        for name, password in passwords.items()
    }


class Operators:
    """Checks the passwords whose `hashes` it has, within the limits that logins have: `rate` is how
    many may be wrong, for a name from one address; right ones are not counted.

    So it takes several addresses to keep an operator out, who is known by a name that can be
    guessed.

    :param queue: where attempts wait for their turn to be hashed.
    """

    def __init__(
        self,
        hashes: Mapping[str, str],
        hasher: Hasher,
        *,
        rate: Rate,
        clock: IReactorTime,
        queue: FairQueue,
    ) -> None:
        self._hashes = hashes
        self._hasher = hasher
        self._limits = LoginLimits(rate, None, clock, queue, _tell)

    async def check(self, name: str, password: str, address: str) -> None:
        """Raise `WrongCredentials` unless the password is the operator's, or `TooManyAttempts`, or
        `Unavailable` where too many wait."""
        verify = partial(self._hasher.verify, self._hashes.get(name), password)
        await self._limits.attempt(name, address, verify)


def _tell(outcome: str, address: str, name: str) -> None:
    # A name that is none is left out: people type their password there, too.
    by = name if outcome == "right" else ""
    audit.record("operator-login", outcome, address=address, by=by)


@dataclass
class _LoggedIn:
    operator: str
    used: float


class OperatorSessions:
    """The operators who are logged in, by the digest of the token that their browser keeps."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, _LoggedIn] = OrderedDict()

    def begin(self, operator: str) -> str:
        """A new session's token."""
        token = new_token()
        self._sessions[digest(token)] = _LoggedIn(operator, self._clock.seconds())
        while len(self._sessions) > MOST:
            self._sessions.popitem(last=False)
        return token

    def operator(self, token: str, acts: bool = False) -> str | None:
        """Whose session it is; None if it has ended. `acts`: it is used, and lives on."""
        key = digest(token)
        session = self._sessions.get(key)
        if session is None:
            return None
        if self._clock.seconds() - session.used > IDLE:
            del self._sessions[key]
            return None
        if acts:
            session.used = self._clock.seconds()
            self._sessions.move_to_end(key)
        return session.operator

    def end(self, token: str) -> None:
        """The operator logs out."""
        self._sessions.pop(digest(token), None)
