"""Lists that are sent in parts, so that no reply is longer than a client can read.

    @paged
    @read_only
    def players(caller: Caller, page: Page) -> Part:
        return page.part("player", _players(page.last or 0, page.limit))

The rule reads at most `page.limit` rows behind the position `page.last`, as pairs of position and
entry, and the page puts as many as fit into a reply. If there are more, the reply has a cursor for
the command `more`, which calls the rule again at the next position.

The client keeps the cursor, and no server stores it. A cursor contains the next position. A keyed
hash over that and the user's id proves that a server of this service wrote it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, cast

from bbs.core.errors import Refusal
from bbs.rules.auth import Caller

P = ParamSpec("P")

Position = Any  # The sort key of the rule's rows where a part ended; None at the start.

MOST_ENTRIES = 1000  # Entries in one reply (`docs/protocol.md`, section 3).
MOST_BYTES = 2**20  # Bytes of a list in one reply, on the wire.

PRICED_BYTES, PRICED_ROWS = 2**14, 100
"""Bytes and entries of a reply that cost as much as one command. A list of a thousand names takes a
server ten times as long as one of ten names; 1 MiB costs 64."""

ESCAPED = 6  # Bytes of one character on the wire at most: `\u0007` in JSON.

# As in `bbs.protocols.line`.
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def price_of(size: int, rows: int = 0) -> int:
    """The price in commands of a result of `size` bytes and so many rows: one at the least."""
    return max(1, -(-size // PRICED_BYTES), -(-rows // PRICED_ROWS))


class Part(dict[str, Any]):
    """The part of a list in one reply: a mapping whose one `member` has the `entries`. `last` is
    the position at which the next part begins, None at the end; `size` is about the bytes on the
    wire, `rows` the number of entries; `backwards`: the next part goes before this one."""

    __slots__ = ("backwards", "last", "rows", "size")

    def __init__(
        self,
        member: str,
        entries: Sequence[object],
        last: Position,
        size: int,
        backwards: bool = False,
    ) -> None:
        self[member] = entries
        self.last = last
        self.size = size
        self.rows = len(entries)
        self.backwards = backwards

    def price(self) -> int:
        """A command for each 16 KiB, or for each 100 entries if that is more."""
        return price_of(self.size, self.rows)


@dataclass(frozen=True)
class Page:
    """The part of a list to read: at most `most` entries behind the position `last`."""

    last: Position = None
    most: int = MOST_ENTRIES

    @cached_property
    def limit(self) -> int:
        """The number of rows to read: one more than in a reply shows whether more follow."""
        return self.most + 1

    @property
    def bytes(self) -> int:
        """The bytes of a reply at most: a rule with long entries need not read more."""
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
        """Make the reply's `member` of rows, each a position and an entry, in the order of reading:
        as many entries as fit, and at least one.

        :param size: about the bytes of all entries as JSON, without escapes, if the rule knows
            them: then the page need not count.
        :param backwards: reverse the entries: the rule reads the latest first, and the reply shows
            the oldest first.
        :param most: entries at most, for lists with parts of another size; by default 1,000.
        :raises ValueError: an entry cannot be encoded as JSON.
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
        return Part(member, entries, last, size, backwards)


def _size(entries: Sequence[Any]) -> int:
    """The bytes of all entries as JSON, without escapes; about, for texts."""
    try:
        return len("".join(entries)) + len('"", ') * len(entries)
    except TypeError:
        return len(_to_json(entries).encode())


def _fitting(entries: Sequence[object]) -> tuple[int, int]:
    """The number of `entries` that fit, and their bytes."""
    size, count = len("[]"), 0
    for entry in entries:
        more = len(_to_json(entry).encode()) + (len(", ") if count else 0)
        if count and size + more > MOST_BYTES:
            break
        size, count = size + more, count + 1
    return count, size


class ListCall(NamedTuple):
    """One call, by `caller` for `page`, of a rule for lists that takes many callers, which is
    marked `@paged @bulk(ListCall)`."""

    caller: Caller
    page: Page


# Not a zope interface, as these cannot be generic over a rule's arguments, for type checkers.
class PagedRule(Protocol[P]):
    """A rule that returns a list in parts."""

    def __call__(self, caller: Caller, *args: P.args, **kwargs: P.kwargs) -> Part:
        """Return the first part."""

    def part(self, caller: Caller, page: Page, *args: P.args, **kwargs: P.kwargs) -> Part:
        """Return the part for `page`."""


def paged(rule: Callable[Concatenate[Caller, Page, P], Part]) -> PagedRule[P]:
    """Mark a rule whose list may be long, and which only reads. The rule gets a `Page` after its
    caller, and returns `page.part(…)`. A call costs `Part.price`, unless `costs` says otherwise.
    Other marks of the rule stay in force."""

    @wraps(rule)
    def first(caller: Caller, *args: P.args, **kwargs: P.kwargs) -> Part:
        return rule(caller, FIRST, *args, **kwargs)

    first.part = first.__bbs_part__ = rule  # type: ignore[attr-defined]
    first.__bbs_price__ = Part.price  # type: ignore[attr-defined]
    first.__bbs_most__ = float(price_of(MOST_BYTES))  # type: ignore[attr-defined]
    takes_many: Any = getattr(rule, "each", None)
    if takes_many:
        first.each = lambda calls: takes_many(  # type: ignore[attr-defined]
            [(caller, FIRST, *arguments) for caller, *arguments in calls]
        )
    return cast("PagedRule[P]", first)


def part_of(rule: Callable[..., object] | None) -> Callable[..., Part] | None:
    """The function for any part, if `rule` is `paged`: `part(caller, page, *arguments)`."""
    return getattr(rule, "__bbs_part__", None)


FIRST = Page()

LIFETIME = 3600  # Seconds for which a cursor is valid (`docs/protocol.md`, section 3).
_LABEL = b"cursors of bbs"  # Derives the key of cursors: the secret has other uses.
_PROOF_BYTES = 16  # Bytes of the hash in a cursor; RFC 2104 advises at least half of it.


class CursorExpired(Refusal):
    text = "Cursor expired, ask again"  # After an hour; or it is malformed, or another user's.


@dataclass(frozen=True)
class Continuation:
    """The contents of a cursor: `command` with `arguments`, behind the position `last`."""

    command: str
    arguments: Sequence[str]
    last: Position


class Cursors:
    """Writes and reads cursors.

    :param secret: shared by all servers of the service.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, _LABEL, hashlib.sha256)

    def write(self, user: int, where: Continuation, now: float) -> str:
        """Make a cursor for `user` (an id), of letters, digits, `-` and `_`, that is valid for
        `LIFETIME` from `now` on (seconds since the epoch)."""
        values = [int(now) + LIFETIME, where.last, where.command, *where.arguments]
        content = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
        return urlsafe_b64encode(self._proof(user, content) + content).rstrip(b"=").decode()

    def read(self, user: int, cursor: str, now: float) -> Continuation:
        """Read the contents of `cursor`.

        :raises CursorExpired: it has expired, is malformed, or was written for another user.
        """
        try:
            whole = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except ValueError:
            raise CursorExpired() from None
        proof, content = whole[:_PROOF_BYTES], whole[_PROOF_BYTES:]
        if not hmac.compare_digest(proof, self._proof(user, content)):
            raise CursorExpired()
        until, last, command, *arguments = json.loads(content)
        if now > until:
            raise CursorExpired()
        return Continuation(command, arguments, last)

    def _proof(self, user: int, content: bytes) -> bytes:
        return hmac.digest(self._key, b"%d:%b" % (user, content), hashlib.sha256)[:_PROOF_BYTES]
