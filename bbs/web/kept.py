"""Answers that cost something: each is made once in a while, and given to everybody who asks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from bbs.gathering import Shared

MADE_EVERY = 1.0
"""Seconds for which an answer is given again (`limits.md`, "The page")."""

T = TypeVar("T")

Key = tuple[str | None, ...]
"""What an answer depends on; two that differ in anything that a reader may see have two keys."""


class Kept(Generic[T]):
    """What was made for a key, for `MADE_EVERY` seconds; while it is made, all wait for that."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._made: dict[Key, tuple[float, T]] = {}
        self._shared = Shared()

    async def get(self, key: Key, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What is kept under `key`, made if nothing is; fails as `make` does."""
        self._forget()
        if key not in self._made:
            await self._shared.join(repr(key), lambda: self._make(key, make))
        return self._made[key][1]

    async def _make(self, key: Key, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        made = await make()
        self._made[key] = (self._seconds(), made)

    def _forget(self) -> None:
        now = self._seconds()
        # A clock that was set back must not keep anything for longer.
        self._made = {
            key: kept for key, kept in self._made.items() if 0 <= now - kept[0] < MADE_EVERY
        }
