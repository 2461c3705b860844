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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from zlib import crc32

from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import (
    StyleAndTextTuples,
    fragment_list_to_text,
    split_lines,
)
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth
from wcwidth import wcwidth

from bbs.client.catalog import CommandCatalog
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply
from bbs.ui.layout import MOST_COLUMNS, table_edge, wrap
from bbs.ui.output import (
    GAP,
    Stamp,
    Timestamps,
    event_entry,
    message_heading,
    reply_entries,
    visible,
    visible_in_line,
    visible_text,
)
from bbs.ui.terminal.interfaces import Fragments

EDGE = ("class:edge", "")
"""Stands in a line where its text begins, under which further rows of the line begin (`wrap`)."""


def rows(line: Fragments, size: Size) -> int:
    """The rows that a line takes in a window."""
    wide = (width(fragment_list_to_text(list(row))) for row in wrapped(line, size.columns))
    return sum(max(1, -(-each // size.columns)) for each in wide)


def wrapped(line: Fragments, columns: int, cut: bool = False) -> Sequence[Fragments]:
    """A line wrapped between words into rows of `columns`; `cut`: also within a longer word."""
    text = fragment_list_to_text(list(line))
    edge = None
    if EDGE in line:
        edge = len(fragment_list_to_text([*line][: [*line].index(EDGE)]))
    slices, indent = wrap(text, columns, get_cwidth, edge, cut)
    if slices == [(0, len(text))]:
        return [line]
    blanks = [("", " " * indent)] if indent else []
    return [
        [*(blanks if row else []), *_sliced(line, begin, end)]
        for row, (begin, end) in enumerate(slices)
    ]


def _sliced(line: Fragments, begin: int, end: int) -> Iterator[tuple[str, str]]:
    for style, text, *_ in line:
        if begin < len(text) and end > 0 and (part := text[max(0, begin) : end]):
            yield style, part
        begin -= len(text)
        end -= len(text)


def as_text(line: Fragments) -> str:
    """Lines without styles, for what wraps them itself."""
    rows = [row for part in split_lines(line) for row in wrapped(part, MOST_COLUMNS)]
    return "\n".join(fragment_list_to_text(list(row)) for row in rows)


class Sanitizer(Processor):
    """Shows the line with `visible_in_line`, and the cursor at the right place in it."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        typed = explode_text_fragments(transformation_input.fragments)
        looks = [visible_in_line(fragment[1]) for fragment in typed]
        if all(look == fragment[1] for look, fragment in zip(looks, typed, strict=True)):
            return Transformation(transformation_input.fragments)
        fragments: StyleAndTextTuples = [
            (fragment[0] if look == fragment[1] else f"{fragment[0]} class:escape", look)
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
        presentation = self.vocabulary.presentation
        for entry in reply_entries(presentation, reply, user, self._times.short, people=True):
            stamp = [] if entry.time is None else self._stamp(self._times.stamp(entry.time))
            names = [(style, entry.text[: entry.edge])] if entry.edge else []
            edge = [EDGE] if stamp or names else []
            fragments += [*stamp, *names, *edge, (style, entry.text[entry.edge :]), ("", "\n")]
        return fragments[:-1]

    def message(
        self,
        user: str,
        message: ChatMessage,
        several: bool,
        highlighted: bool = False,
        in_talk: bool = False,
    ) -> Fragments:
        """A message to `user`, one of `several` here or the only one; `in_talk` with its partner
        (`message_heading`)."""
        stamp = self._stamp(self._times.stamp(message.time))
        return [*stamp, *self._message(user, message, several, highlighted, in_talk)]

    def own(self, user: str, message: ChatMessage) -> Fragments:
        """A message that `user` says in a talk now."""
        return [*self._stamp(self._times.now()), *self._message(user, message)]

    def event(self, user: str, event: ServiceEvent, several: bool) -> Fragments:
        """An event for `user`, one of `several` here or the only one."""
        to = [("", " ("), (self._style(user), visible(user)), ("", ")")] if several else []
        entry = event_entry(self.vocabulary.presentation, event, self._times.short)
        stamp = self._times.now() if entry.time is None else self._times.stamp(entry.time)
        return [*self._stamp(stamp), EDGE, ("class:notice", entry.text), *to]

    def history(self, user: str) -> Callable[[ChatMessage], tuple[str, Fragments]]:
        """A function that draws the earlier messages of `user`, in their order. For each it gives
        the line of its day, empty if that is the same as before, and the message."""
        times = Timestamps(self.wall)

        def draw(message: ChatMessage) -> tuple[str, Fragments]:
            stamp = times.stamp(message.time) if self.shows_times else Stamp()
            time = [("class:time", f"{stamp.time} ")] if stamp.time else []
            return _day(stamp), [*time, *self._message(user, message)]

        return draw

    def _message(
        self,
        user: str,
        message: ChatMessage,
        several: bool = False,
        highlighted: bool = False,
        in_talk: bool = True,
    ) -> Sequence[tuple[str, str]]:
        style = self._style(message.sender) + (" class:highlight" if highlighted else "")
        heading = message_heading(message, user, several=several, in_talk=in_talk)
        named = [(style if is_sender else "", text) for text, is_sender in heading]
        return [*named, ("", GAP), EDGE, ("", visible_text(message.text))]

    def _style(self, name: str) -> str:
        return sender_style(name) if self.senders else "bold"

    def _stamp(self, stamp: Stamp) -> Sequence[tuple[str, str]]:
        if not self.shows_times:
            return []
        day = [("class:day", _day(stamp)), ("", "\n")] if stamp.day else []
        return [*day, *([("class:time", f"{stamp.time} ")] if stamp.time else [])]


def notice(text: str) -> Fragments:
    fragments: list[tuple[str, str]] = []
    for line in text.split("\n"):
        edge = table_edge(line)
        term = [] if edge is None else [("class:notice", line[:edge]), EDGE]
        fragments += [*term, ("class:notice", f"{line[edge or 0 :]}\n")]
    return [*fragments[:-1], ("class:notice", fragments[-1][1][:-1])]


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
