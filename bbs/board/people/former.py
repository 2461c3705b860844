"""Blocks that outlive the account that was blocked.

A user who deletes an account and makes another of the same name would come back to people who had
blocked it. When the account ends, each block of it therefore becomes a `FormerBlock` for a year,
and a new account of that name makes it a `Block` again. A name is the same if it is stored as the
same text (NFC): a name that only looks like it is not blocked.

The table tells no names: it has a digest of each, by a key of the service, and the name under a
keystream of that key, for the owner of the block to see whom it is about. The whole database
contains the key as well.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import shake_256
from typing import NamedTuple

import peewee

from bbs.board.lists import LENGTHS, padded
from bbs.board.people.tables import Block, FormerBlock
from bbs.framework import User, service_key
from bbs.framework.fast import statement, together
from bbs.framework.names import normalized

YEAR = 365 * 86_400.0
"""Seconds for which a block outlives an account: a grudge is older than that rarely, and nothing
that the board keeps of people is kept without an end."""

KEPT_AT_ONCE = LENGTHS[-1]
"""Blocks of an account that one transaction keeps, or a sweep looks at. If an account has
thousands, several transactions keep them before it is removed."""

_PURPOSE = "board: blocks of former accounts"


class _Seal:
    """Makes what stands for a name."""

    def __init__(self) -> None:
        self._key = service_key(_PURPOSE)

    def digest(self, name: str) -> str:
        return hmac.digest(self._key, _bytes(name), "sha256").hex()[:32]

    def close(self, name: str, user: int, digest: str) -> str:
        """The name for `user` to read again. No two blocks have the same keystream."""
        return self._mixed(_bytes(name), user, digest).hex()

    def open(self, sealed: str, user: int, digest: str) -> str:
        return self._mixed(bytes.fromhex(sealed), user, digest).decode("utf-8", "replace")

    def _mixed(self, text: bytes, user: int, digest: str) -> bytes:
        stream = shake_256(self._key + f"{user} {digest}".encode()).digest(len(text))
        return bytes(one ^ other for one, other in zip(text, stream, strict=True))


def _bytes(name: str) -> bytes:
    return normalized(name).encode("utf-8", "replace")


def keep_all(user: int) -> int:
    """Keep some of the blocks of `user`, who leaves the board, beyond the account; returns how many
    if there may be more, else 0. The blocks themselves go with the account, so that they hold until
    then."""
    if not _blocked(user):
        return 0
    seal = _Seal()
    [(name,)] = _name(user)
    digest = seal.digest(name)
    owners = [owner for (owner,) in _not_kept(user, digest, KEPT_AT_ONCE)]
    added = [(owner, digest, seal.close(name, owner, digest)) for owner in owners]
    _add.each(added)
    return len(owners) if len(owners) == KEPT_AT_ONCE else 0


def begin_again(user: int, name: str) -> None:
    """Block `user`, a new account called `name`, for all who had blocked that name."""
    digest = _Seal().digest(name)
    together(_block_again.of(digest, user), _forget.of(digest))


class Former(NamedTuple):
    """A block of an account that is gone: the id of its row, and the name."""

    id: int
    name: str


def names(owner: int, found: Sequence[tuple[int, str, str]]) -> list[Former]:
    """The names in rows of `of_owner`."""
    if not found:
        return []
    seal = _Seal()
    return [Former(id, seal.open(sealed, owner, digest)) for id, digest, sealed in found]


def lift(owner: int, name: str) -> bool:
    """End a block of a name that nobody has; returns whether there was one."""
    return bool(of_owner(owner, 0, 1)) and bool(_lift(owner, _Seal().digest(name)))


def forget(now: float) -> int:
    """Forget some blocks that have outlived their accounts for a `YEAR`; returns how many. Those
    that no sweep has seen before begin their year."""
    new = [id for (id,) in _new(KEPT_AT_ONCE)]
    if new:
        _begin(now, padded(new))
    old = [id for (id,) in _old(now - YEAR, KEPT_AT_ONCE)]
    if old:
        _remove(padded(old))
    return len(old)


@statement
def any_kept() -> peewee.Select:
    """A row if any block outlives an account."""
    return FormerBlock.select(FormerBlock.id).limit(1)


@statement
def of_owner(user: int, last: int, limit: int) -> peewee.Select:
    """The blocks of accounts that are gone: the id of each, digest and name."""
    found = FormerBlock.select(FormerBlock.id, FormerBlock.digest, FormerBlock.sealed)
    own = (FormerBlock.user == user) & (FormerBlock.id > last)
    return found.where(own).order_by(FormerBlock.id).limit(limit)


@statement
def _blocked(user: int) -> peewee.Select:
    return Block.select(Block.id).where(Block.other == user).limit(1)


@statement
def _name(user: int) -> peewee.Select:
    return User.select(User.name).where(User.id == user)


@statement
def _not_kept(user: int, digest: str, limit: int) -> peewee.Select:
    """Those who have blocked `user`, and of whom no block of the name is kept yet."""
    kept = (FormerBlock.user == Block.user) & (FormerBlock.digest == digest)
    found = Block.select(Block.user).left_outer_join(FormerBlock, on=kept)
    some = found.where((Block.other == user) & FormerBlock.id.is_null())
    return some.order_by(Block.user).limit(limit)


@statement
def _add(user: int, digest: str, sealed: str) -> peewee.Insert:
    return FormerBlock.insert(user=user, digest=digest, sealed=sealed)


@statement
def _block_again(digest: str, other: int) -> peewee.Insert:
    owners = FormerBlock.select(FormerBlock.user, peewee.Value(other))
    found = owners.where(FormerBlock.digest == digest).order_by(FormerBlock.id)
    return Block.insert_from(found, (Block.user, Block.other))


@statement
def _forget(digest: str) -> peewee.Delete:
    return FormerBlock.delete().where(FormerBlock.digest == digest)


@statement
def _lift(user: int, digest: str) -> peewee.Delete:
    own = (FormerBlock.user == user) & (FormerBlock.digest == digest)
    return FormerBlock.delete().where(own)


@statement
def _new(limit: int) -> peewee.Select:
    return FormerBlock.select(FormerBlock.id).where(FormerBlock.since.is_null()).limit(limit)


@statement
def _begin(now: float, ids: Sequence[int]) -> peewee.Update:
    return FormerBlock.update(since=now).where(FormerBlock.id.in_(ids))


@statement
def _old(before: float, limit: int) -> peewee.Select:
    return FormerBlock.select(FormerBlock.id).where(FormerBlock.since < before).limit(limit)


@statement
def _remove(ids: Sequence[int]) -> peewee.Delete:
    return FormerBlock.delete().where(FormerBlock.id.in_(ids))
