"""Cursors: where a list goes on, as the client that is to ask for it keeps it.

No server remembers one. A cursor says itself what it stands for, and a keyed hash over that and
over whom it was given to shows that a server of this service has written it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from bbs.errors import Refusal
from bbs.rules.pages import Position

LIFETIME = 3600
"""Seconds for which a cursor is good (`docs/protocol.md`, section 3)."""

_LABEL = b"cursors of bbs"
"""What the key of cursors is derived by: the secret that it comes from has other uses."""

_PROOF_BYTES = 16
"""Of the hash; RFC 2104 advises half of it at least."""


class CursorExpired(Refusal):
    """The cursor is older than an hour, or another user's, or none."""

    text = "Cursor expired, ask again"


@dataclass(frozen=True)
class Continuation:
    """What a cursor stands for: `command` with `arguments`, behind the position `last`."""

    command: str
    arguments: Sequence[str]
    last: Position


class Cursors:
    """Writes and reads cursors.

    :param secret: what all servers of the service know, and nobody else.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, _LABEL, hashlib.sha256)

    def write(self, user: int, where: Continuation, now: float) -> str:
        """A cursor for `user` (an id), of letters, digits, `-` and `_`, good from `now` on (seconds
        since the epoch)."""
        until = int(now) + LIFETIME
        said = json.dumps(
            [until, where.last, where.command, *where.arguments],
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()
        return urlsafe_b64encode(self._proof(user, said) + said).rstrip(b"=").decode()

    def read(self, user: int, cursor: str, now: float) -> Continuation:
        """What `cursor` stands for.

        :raises CursorExpired: it was not written for `user`, or is no longer good.
        """
        try:
            whole = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except ValueError:
            raise CursorExpired() from None
        proof, said = whole[:_PROOF_BYTES], whole[_PROOF_BYTES:]
        if not hmac.compare_digest(proof, self._proof(user, said)):
            raise CursorExpired()
        until, last, command, *arguments = json.loads(said)
        if now > until:
            raise CursorExpired()
        return Continuation(command, arguments, last)

    def _proof(self, user: int, said: bytes) -> bytes:
        return hmac.digest(self._key, b"%d:%b" % (user, said), hashlib.sha256)[:_PROOF_BYTES]
