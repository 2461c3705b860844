"""Keys by which rules make digests of what a copy of one table must not tell.

All servers of a service have the same keys. The table `secret` has them, and so does a backup.
"""

from __future__ import annotations

import hmac
import secrets

import peewee

from bbs.storage.models import Secret
from bbs.storage.statements import statement

NAME = "keys"  # of the row
BYTES = 32  # as long as a SHA-256 hash, as RFC 2104 advises for HMAC


def service_key(purpose: str) -> bytes:
    """A key of 32 bytes that the service has for `purpose` alone, such as `"board: blocks"`: the
    same at each call, on all servers. Call it in a rule. The first call of all writes, so a rule
    that only reads must have a sign that another rule has called it before.
    """
    found = _find(NAME)
    if not found:
        # If two servers make it at once, one loses the race, runs again and finds the other's.
        _make(NAME, secrets.token_hex(BYTES))
        found = _find(NAME)
    return hmac.digest(bytes.fromhex(found[0][0]), purpose.encode(), "sha256")


@statement
def _find(name: str) -> peewee.Select:
    return Secret.select(Secret.value).where(Secret.name == name)


@statement
def _make(name: str, value: str) -> peewee.Insert:
    return Secret.insert(name=name, value=value)
