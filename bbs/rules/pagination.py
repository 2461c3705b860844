"""Lists that are answered in parts, so that no reply is longer than anybody can take.

    @paged
    @read_only
    def players(caller: Caller, page: Page) -> Part:
        return page.part("player", _players(page.last or 0, page.limit))

The rule reads `page.limit` rows at the most behind the position `page.last`, each with its position
before it, and the page makes of them what fits into a reply. Where there are others, the reply has
a cursor for `more`, which calls the rule again where it ended.

The client keeps the cursor, and no server remembers it. A cursor says itself where its list goes
on. A keyed hash over that and over whom it was given to shows that a server of this service wrote
it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, cast

from bbs.core.errors import Refusal
from bbs.rules.auth import Caller

P = ParamSpec("P")

Position = Any
"""Where a part ended: what the rule's rows are in order by, a number or a text. None where the list
begins."""

MOST_ENTRIES = 1000
"""Entries in one reply (`docs/protocol.md`, section 3)."""

MOST_BYTES = 2**20
"""Bytes of a list in one reply, as it is on the wire."""

PRICED_BYTES = 2**14
"""Bytes of a reply that cost as much as one command: 1 MiB costs 64."""

ESCAPED = 6
"""Bytes of a character on the wire at the most: those of `\\u0007`, as JSON has it."""

# As `bbs.protocols.line` writes it.
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Part(dict[str, Any]):
    """What a reply has of a list: its member, and nothing else. `last` is the position from which
    the next part goes on, None where nothing follows; `size` is about how many bytes the list
    has on the wire."""

    __slots__ = ("last", "size")

    def __init__(self, member: str, entries: Sequence[object], last: Position, size: int) -> None:
        self[member] = entries
        self.last = last
        self.size = size

    def price(self) -> int:
        """What it costs, in commands."""
        return max(1, -(-self.size // PRICED_BYTES))


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted: what comes behind the position `last`, at most `most`
    entries."""

    last: Position = None
    most: int = MOST_ENTRIES

    @property
    def limit(self) -> int:
        """How many rows a rule need read: one more than a reply has, which shows that there are
        others."""
        return self.most + 1

    @property
    def bytes(self) -> int:
        """How many bytes a reply has at the most: a rule whose entries are long need read no more
        behind those that have more together."""
        return MOST_BYTES

    def part(
        self,
        member: str,
        rows: Sequence[tuple[Any, object]],
        *,
        size: int | None = None,
        backwards: bool = False,
        most: int = MOST_ENTRIES,
    ) -> Part:
        """The reply's `member`, of rows of a position and an entry each, those nearest to `last`
        first: as many entries as fit, and one at least.

        :param size: the bytes of all entries as JSON, but for escapes, at least about; a rule that
            knows spares the page to find out.
        :param backwards: the entries are told in the other order: the latest are asked for, and
            read oldest first.
        :param most: entries, where the list has its own idea of a part.
        :raises ValueError: an entry is nothing that JSON has.
        """
        entries = [entry for _, entry in rows]
        del entries[min(most, self.most) :]
        if size is None:
            size = _size(entries)
        if size * ESCAPED > MOST_BYTES:
            count, size = _fitting(entries)
            del entries[count:]
        last = rows[len(entries) - 1][0] if len(entries) < len(rows) else None
        if backwards:
            entries.reverse()
        return Part(member, entries, last, size)


def _size(entries: Sequence[Any]) -> int:
    """The bytes of all entries as JSON, but for escapes; of texts about."""
    try:
        return len("".join(entries)) + len('"", ') * len(entries)
    except TypeError:
        return len(_to_json(entries).encode())


def _fitting(entries: Sequence[object]) -> tuple[int, int]:
    """How many of `entries` fit, and how many bytes they are."""
    size, count = len("[]"), 0
    for entry in entries:
        more = len(_to_json(entry).encode()) + (len(", ") if count else 0)
        if count and size + more > MOST_BYTES:
            break
        size, count = size + more, count + 1
    return count, size


# No zope interface: these cannot be generic over a rule's arguments, which type checkers hold here.
class PagedRule(Protocol[P]):
    """A rule that answers in parts: called as a rule it gives the first."""

    def __call__(self, caller: Caller, *args: P.args, **kwargs: P.kwargs) -> Part:
        """The first part."""

    def part(self, caller: Caller, page: Page, *args: P.args, **kwargs: P.kwargs) -> Part:
        """The part that `page` says."""


def paged(rule: Callable[Concatenate[Caller, Page, P], Part]) -> PagedRule[P]:
    """Mark a rule whose list may be long: it is given a `Page` behind its caller, and gives
    `page.part(…)`. Whatever else it is marked with holds of it too; it only reads."""

    @wraps(rule)
    def first(caller: Caller, *args: P.args, **kwargs: P.kwargs) -> Part:
        return rule(caller, FIRST, *args, **kwargs)

    first.part = first.__bbs_part__ = rule  # type: ignore[attr-defined]
    return cast("PagedRule[P]", first)


def part_of(rule: Callable[..., object] | None) -> Callable[..., Part] | None:
    """What gives any part of a list, if `rule` is marked so: `part(caller, page, *arguments)`."""
    return getattr(rule, "__bbs_part__", None)


FIRST = Page()


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
