"""The look of replies, events and the client's own words, and of the line being typed.

All names and texts of other people go through `visible`, so that nothing in them acts on the
terminal. Such characters from the clipboard or the history show as escapes in the line being typed,
and are sent as they were typed.

Each name has a constant colour that is readable on dark and on light. Every colour here is in
xterm's cube of 216, so that a terminal of 256 colours shows exactly that, and has a contrast (WCAG
2.2, 1.4.3) of at least 4.2 with black and with white: no colour reaches more than 4.58 with both.
Names are also bold. Terminals of 16 colours show the nearest of theirs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from zlib import crc32

from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import StyleAndTextTuples, fragment_list_to_text
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth
from wcwidth import wcwidth

from bbs.client.catalog import CommandCatalog
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply
from bbs.ui.output import (
    Stamp,
    Timestamps,
    event_entry,
    message_pieces,
    reply_entries,
    visible,
    visible_in_line,
)
from bbs.ui.terminal.interfaces import Fragments


def rows(line: Fragments, size: Size) -> int:
    return max(1, -(-width(fragment_list_to_text(list(line))) // size.columns))


def wrapped(line: Fragments, columns: int) -> Sequence[Fragments]:
    """A line wrapped into rows of at most `columns`."""
    rows: list[list[tuple[str, str]]] = [[]]
    room = columns
    for style, text, *_ in line:
        begin = 0
        for at, character in enumerate(text):
            width = get_cwidth(character)
            if width > room and room < columns:
                rows[-1].append((style, text[begin:at]))
                rows.append([])
                begin, room = at, columns
            room -= width
        rows[-1].append((style, text[begin:]))
    return rows


class Sanitizer(Processor):
    """Shows the line with `visible_in_line`, and the cursor at the right place in it."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        typed = explode_text_fragments(transformation_input.fragments)
        looks = [visible_in_line(fragment[1]) for fragment in typed]
        if all(len(look) == 1 for look in looks):
            return Transformation(transformation_input.fragments)
        fragments: StyleAndTextTuples = [
            (fragment[0] if len(look) == 1 else f"{fragment[0]} class:escape", look)
            for fragment, look in zip(typed, looks, strict=True)
        ]
        starts = [0, *accumulate(map(len, looks))]

        def to_display(place: int) -> int:
            return starts[min(place, len(looks))] + max(0, place - len(looks))

        def to_source(place: int) -> int:
            return bisect_right(starts, place) - 1 + max(0, place - starts[-1])

        return Transformation(fragments, to_display, to_source)


class PasswordMask(Processor):
    """Shows nothing of a password, not even its length."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        return Transformation([], lambda place: 0, lambda place: 0)


PALETTE = (
    *("#af5f5f", "#af5f00", "#5f8700", "#008700", "#00875f", "#008787"),
    *("#5f5fff", "#875fd7", "#d700d7", "#d70087", "#af5f87"),
)


def sender_style(name: str) -> str:
    return f"bold {PALETTE[crc32(name.encode('utf-8', 'replace')) % len(PALETTE)]}"


@dataclass
class Theme:
    """The look of one person's output: with times or without, and names in colours (`senders`) or
    not. `wall` is the clock of the times; `vocabulary` has the service's presentation."""

    vocabulary: CommandCatalog
    wall: Callable[[], float]
    shows_times: bool = True
    senders: bool = True

    def __post_init__(self) -> None:
        self._times = Timestamps(self.wall)

    def reply(self, reply: ServiceReply, user: str = "") -> Fragments:
        style = "" if reply.ok else "class:problem"
        fragments: list[tuple[str, str]] = []
        for entry in reply_entries(self.vocabulary.presentation, reply, user, self._times.short):
            stamp = [] if entry.time is None else self._stamp(self._times.stamp(entry.time))
            fragments += [*stamp, (style, entry.text), ("", "\n")]
        return fragments[:-1]

    def message(
        self, user: str, message: ChatMessage, several: bool, highlighted: bool = False
    ) -> Fragments:
        """A message to `user`, one of `several` here or the only one, in the protocol's form. In a
        group's message, `user` is named too if there are several, who may all be members."""
        stamp = self._stamp(self._times.stamp(message.time))
        return [*stamp, *self._message(user, message, several, highlighted)]

    def event(self, user: str, event: ServiceEvent, several: bool) -> Fragments:
        """An event for `user`, one of `several` here or the only one."""
        to = [("", " to "), (self._style(user), visible(user))] if several else []
        entry = event_entry(self.vocabulary.presentation, event, self._times.short)
        stamp = self._times.now() if entry.time is None else self._times.stamp(entry.time)
        return [*self._stamp(stamp), ("class:notice", entry.text), *to]

    def history(self, user: str) -> Callable[[ChatMessage], tuple[str, Fragments]]:
        """A function that draws the earlier messages of `user`, in their order. For each it gives
        the line of its day, empty if that is the same as before, and the message."""
        times = Timestamps(self.wall)

        def draw(message: ChatMessage) -> tuple[str, Fragments]:
            stamp = times.stamp(message.time) if self.shows_times else Stamp()
            time = [("class:time", f"{stamp.time} ")] if stamp.time else []
            return _day(stamp), [*time, *self._message(user, message, False, False)]

        return draw

    def _message(
        self, user: str, message: ChatMessage, several: bool, highlighted: bool
    ) -> Sequence[tuple[str, str]]:
        style = self._style(message.sender) + (" class:highlight" if highlighted else "")
        pieces = message_pieces(self.vocabulary.presentation, message, user)
        to = [("", " to "), (self._style(user), visible(user))] if several and message.group else []
        return [*((style if is_sender else "", text) for text, is_sender in pieces), *to]

    def _style(self, name: str) -> str:
        return sender_style(name) if self.senders else "bold"

    def _stamp(self, stamp: Stamp) -> Sequence[tuple[str, str]]:
        if not self.shows_times:
            return []
        day = [("class:day", _day(stamp)), ("", "\n")] if stamp.day else []
        return [*day, *([("class:time", f"{stamp.time} ")] if stamp.time else [])]


def notice(text: str) -> Fragments:
    return [("class:notice", text)]


def problem(text: str) -> Fragments:
    return [("class:problem", text)]


def _day(stamp: Stamp) -> str:
    return f"── {stamp.day} ──" if stamp.day else ""


def width(text: str) -> int:
    return sum(max(0, wcwidth(character)) for character in text)


STYLES = {
    "prompt": "bold",
    "notice": "italic",
    "problem": "bold",
    "hint": "italic",
    "escape": "underline",
    "time": "dim",
    "day": "dim",
    "highlight": "reverse",
    "found": "reverse",
    "status": "reverse",
    "completion-toolbar.completion.current": "reverse",
}
"""Styles without colours, which would have to be readable on every background."""


def style(own: Mapping[str, str]) -> Style:
    """All styles; `own` are the person's."""
    return Style.from_dict({**STYLES, **own})
