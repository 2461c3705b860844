"""How replies, events and the client's own words look above the line being typed.

Plain values in, styled fragments out; nothing here knows a terminal. All names and texts of other
people go through `visible`, so that nothing in them acts.

Each name has a colour, the same one every day, that reads on dark and on light. Every colour here
is in xterm's cube of 216, so that a terminal of 256 colours shows just that, and has a contrast
(WCAG 2.2, 1.4.3) of at least 4.2 with black and with white: no colour reaches more than 4.58 with
both. Names are bold besides. Terminals of 16 colours get the nearest of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zlib import crc32

from bbs.client.values import ChatMessage, ServiceEvent, ServiceReply
from bbs.client.vocabulary import Vocabulary
from bbs.protocols.presentation import Presentation
from bbs.ui.terminal.interfaces import Fragments
from bbs.ui.text import event_entry, message_pieces, reply_entries, visible
from bbs.ui.times import Stamp, Times

PALETTE = (
    "#af5f5f",
    "#af5f00",
    "#5f8700",
    "#008700",
    "#00875f",
    "#008787",
    "#5f5fff",
    "#875fd7",
    "#d700d7",
    "#d70087",
    "#af5f87",
)


def style_of(name: str) -> str:
    """prompt_toolkit's style for a name."""
    return f"bold {PALETTE[crc32(name.encode('utf-8', 'replace')) % len(PALETTE)]}"


class Looks:
    """How things look to one person: with the times beside them, or not, and names in colours, or
    not. `wall` is the clock that is stamped by, and `vocabulary` knows the service's
    presentation."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        wall: Callable[[], float],
        *,
        shows_times: bool = True,
        senders: bool = True,
    ) -> None:
        self._vocabulary = vocabulary
        self._wall = wall
        self._shows_times = shows_times
        self._senders = senders
        self._times = Times(wall)

    def reply(self, reply: ServiceReply, user: str = "") -> Fragments:
        """A reply to `user`."""
        style = "" if reply.ok else "class:problem"
        fragments: list[tuple[str, str]] = []
        for entry in reply_entries(self._presentation, reply, user, self._times.since):
            stamp = [] if entry.time is None else self._stamp(self._times.stamp(entry.time))
            fragments += [*stamp, (style, entry.text), ("", "\n")]
        return fragments[:-1]

    def message(
        self, user: str, message: ChatMessage, several: bool, highlighted: bool = False
    ) -> Fragments:
        """A message to `user`, who is one of `several` here or the only one: in the protocol's
        form, with the sender's name in colour. Of a group's several here may be members."""
        stamp = self._stamp(self._times.stamp(message.time))
        return [*stamp, *self._message(user, message, several, highlighted)]

    def event(self, user: str, event: ServiceEvent, several: bool) -> Fragments:
        """An event of the service's own for `user`, who is one of `several` here or the only
        one."""
        to = [("", " to "), (self._style(user), visible(user))] if several else []
        entry = event_entry(self._presentation, event, self._times.since)
        stamp = self._times.now() if entry.time is None else self._times.stamp(entry.time)
        return [*self._stamp(stamp), ("", entry.text), *to]

    def back_in(self, user: str) -> Callable[[ChatMessage], tuple[str, Fragments]]:
        """Begins to draw a conversation of `user`'s from before: of each message, in their order,
        the line of its day, empty where that is the same, and the message."""
        times = Times(self._wall)

        def draw(message: ChatMessage) -> tuple[str, Fragments]:
            stamp = times.stamp(message.time) if self._shows_times else Stamp()
            time = [("class:time", f"{stamp.time} ")] if stamp.time else []
            return _day(stamp), [*time, *self._message(user, message, False, False)]

        return draw

    def _message(
        self, user: str, message: ChatMessage, several: bool, highlighted: bool
    ) -> Sequence[tuple[str, str]]:
        style = self._style(message.sender) + (" class:highlight" if highlighted else "")
        pieces = message_pieces(self._presentation, message, user)
        to = [("", " to "), (self._style(user), visible(user))] if several and message.group else []
        return [*((style if is_sender else "", text) for text, is_sender in pieces), *to]

    @property
    def _presentation(self) -> Presentation:
        return self._vocabulary.presentation

    def _style(self, name: str) -> str:
        return style_of(name) if self._senders else "bold"

    def _stamp(self, stamp: Stamp) -> Sequence[tuple[str, str]]:
        if not self._shows_times:
            return []
        day = [("class:day", _day(stamp)), ("", "\n")] if stamp.day else []
        return [*day, *([("class:time", f"{stamp.time} ")] if stamp.time else [])]


def notice(text: str) -> Fragments:
    return [("class:notice", text)]


def problem(text: str) -> Fragments:
    return [("class:problem", text)]


def _day(stamp: Stamp) -> str:
    return f"── {stamp.day} ──" if stamp.day else ""
