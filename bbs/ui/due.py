"""Which messages are still on their way to users who are logged in here.

A script that sends to its own users waits for these before it logs a user out and before it ends,
and waits for nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from twisted.internet.defer import Deferred, succeed

from bbs.client.echoes import Said, partner_name
from bbs.client.typed import Typed
from bbs.client.values import ChatMessage
from bbs.client.vocabulary import Vocabulary

Room = tuple[str, str]
"""A room: what such a talk is called, and the room's name."""

Key = tuple[str, Room | None, str]
"""What tells one message of a reader from another: its sender, its room if any, its text."""


class Due:
    """Counts messages from before they are sent, as they may arrive before the reply does."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._keys: dict[str, Counter[Key]] = {}
        self._watched: tuple[str, ...] = ()
        self._watcher: Deferred[None] | None = None

    def expect(self, request: Typed, users: Collection[str]) -> None:
        """A message goes out: to its reader, or to any of `users` who are in its room."""
        for reader, key in self._readers(request, users):
            self._keys.setdefault(reader, Counter())[key] += 1

    def withdraw(self, request: Typed, users: Collection[str]) -> None:
        """That message was not sent after all."""
        for reader, key in self._readers(request, users):
            self._take(reader, key)

    def arrived(self, reader: str, message: ChatMessage) -> None:
        presentation = self._vocabulary.presentation
        talk = presentation.talk(message.talk, message.group is not None)
        room = (talk.name, partner_name(presentation, reader, message)) if talk.room else None
        self._take(reader, (message.sender, room, message.text))

    def rooms(self, reader: str) -> set[Room]:
        """The rooms whose messages are due to a reader, if the reader is in them."""
        return {room for _, room, _ in self._keys.get(reader, ()) if room is not None}

    def outside(self, reader: str, rooms: Iterable[Room]) -> None:
        """A reader was not in these rooms: nothing sent to them until now is due."""
        left_out = set(rooms)
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
        presentation = self._vocabulary.presentation
        said, talk = Said.by_request(presentation, request), presentation.sends(request.name)
        if said is None or talk is None:
            return []
        if talk.room:
            room = talk.name, said.partner
            return [(user, (said.user, room, said.text)) for user in users]
        key = said.user, None, said.text
        return [(said.partner, key)] if said.partner in users else []

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
