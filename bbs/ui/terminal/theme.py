"""How replies, events and the client's own words look above the line being typed, and that line.

Plain values in, styled fragments out; nothing here knows a terminal. All names and texts of other
people go through `visible`, so that nothing in them acts. A clipboard or the history may hold
characters that act on a terminal; in the line being typed they show as escapes, too, and are sent
as they were typed.

Each name has a colour, the same one every day, that reads on dark and on light. Every colour here
is in xterm's cube of 216, so that a terminal of 256 colours shows just that, and has a contrast
(WCAG 2.2, 1.4.3) of at least 4.2 with black and with white: no colour reaches more than 4.58 with
both. Names are bold besides. Terminals of 16 colours get the nearest of theirs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from zlib import crc32

from prompt_toolkit.formatted_text import StyleAndTextTuples, fragment_list_to_text
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth
from wcwidth import wcwidth

from bbs.client.catalog import CommandCatalog
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply
from bbs.protocols.presentation import Presentation
from bbs.ui.output import (
    Stamp,
    Timestamps,
    event_entry,
    message_pieces,
    reply_entries,
    visible,
    visible_in_line,
)
from bbs.ui.terminal.interfaces import Fragments, WindowSize


def rows(line: Fragments, size: WindowSize) -> int:
    """The rows that a line takes in a window of such a size."""
    return max(1, -(-width(fragment_list_to_text(list(line))) // size.columns))


def wrapped(line: Fragments, columns: int) -> Sequence[Fragments]:
    """A line broken into rows of so many columns at most."""
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
    """Shows the line with `visible_in_line`, and keeps the cursor where the text is."""

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
    """Shows nothing, not even how much: a password."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        return Transformation([], lambda place: 0, lambda place: 0)


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


def sender_style(name: str) -> str:
    """prompt_toolkit's style for a name."""
    return f"bold {PALETTE[crc32(name.encode('utf-8', 'replace')) % len(PALETTE)]}"


class Theme:
    """How things look to one person: with the times beside them, or not, and names in colours, or
    not. `wall` is the clock that is stamped by, and `vocabulary` knows the service's
    presentation."""

    def __init__(
        self,
        vocabulary: CommandCatalog,
        wall: Callable[[], float],
        *,
        shows_times: bool = True,
        senders: bool = True,
    ) -> None:
        self._vocabulary = vocabulary
        self._wall = wall
        self._shows_times = shows_times
        self._senders = senders
        self._times = Timestamps(wall)

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
        times = Timestamps(self._wall)

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
        return sender_style(name) if self._senders else "bold"

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


def width(text: str) -> int:
    """The columns that `text` takes, each character drawn for itself."""
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
"""Without colours, which would have to read on every background; senders have theirs."""


def style(own: Mapping[str, str]) -> Style:
    """All styles; those in `own` are somebody's own."""
    return Style.from_dict({**STYLES, **own})
