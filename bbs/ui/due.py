"""Which messages are still on their way to users who are logged in here.

A script that sends to its own users waits for these before it logs a user out and before it ends,
and waits for nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from twisted.internet.defer import Deferred, succeed

from bbs.client.typed import Typed
from bbs.client.values import ChatMessage

Key = tuple[str, str | None, str]
"""What tells one message of a reader from another: its sender, its group if any, its text."""


class Due:
    """Counts messages from before they are sent, as they may arrive before the reply does."""

    def __init__(self) -> None:
        self._keys: dict[str, Counter[Key]] = {}
        self._watched: tuple[str, ...] = ()
        self._watcher: Deferred[None] | None = None

    def expect(self, request: Typed, users: Collection[str]) -> None:
        """A message goes out: to its reader, or to any of `users` who are in its group."""
        for reader, key in self._readers(request, users):
            self._keys.setdefault(reader, Counter())[key] += 1

    def withdraw(self, request: Typed, users: Collection[str]) -> None:
        """That message was not sent after all."""
        for reader, key in self._readers(request, users):
            self._take(reader, key)

    def arrived(self, reader: str, message: ChatMessage) -> None:
        self._take(reader, (message.sender, message.group, message.text))

    def groups(self, reader: str) -> set[str]:
        """The groups whose messages are due to a reader, if the reader is a member."""
        return {group for _, group, _ in self._keys.get(reader, ()) if group is not None}

    def outside(self, reader: str, groups: Iterable[str]) -> None:
        """A reader was no member of these groups: nothing sent to them until now is due."""
        left_out = set(groups)
        for key in [key for key in self._keys.get(reader, ()) if key[1] in left_out]:
            del self._keys[reader][key]
        self._check()

    def offline(self, reader: str) -> None:
        """A reader has logged out: nothing is due."""
        self._keys.pop(reader, None)
        self._check()

    def settled(self, readers: Iterable[str]) -> Deferred[None]:
        """Fires when nothing is due to any of these; one at a time may wait. May be cancelled."""
        self._watched = tuple(readers)
        if self._nothing_due():
            return succeed(None)
        self._watcher = Deferred(self._give_up)
        return self._watcher

    def _readers(self, request: Typed, users: Collection[str]) -> list[tuple[str, Key]]:
        if request.name not in ("send", "send-group") or not request.familiar:
            return []
        _, sender, to = request.words
        if request.name == "send":
            return [(to, (sender, None, request.text))] if to in users else []
        return [(user, (sender, to, request.text)) for user in users]

    def _take(self, reader: str, key: Key) -> None:
        keys = self._keys.get(reader)
        if keys and key in keys:
            keys[key] -= 1
            if not keys[key]:
                del keys[key]
            self._check()

    def _nothing_due(self) -> bool:
        return not any(self._keys.get(reader) for reader in self._watched)

    def _check(self) -> None:
        if self._watcher is not None and self._nothing_due():
            watcher, self._watcher = self._watcher, None
            watcher.callback(None)

    def _give_up(self, _: Deferred[None]) -> None:
        self._watcher = None
