"""How replies, events and the client's own words look above the line being typed.

Plain values in, styled fragments out; nothing here knows a terminal. All names and texts of other
people go through `visible`, so that nothing in them acts.

Each name has a colour, the same one every day, that reads on dark and on light. Every colour here
is in xterm's cube of 216, so that a terminal of 256 colours shows just that, and has a contrast
(WCAG 2.2, 1.4.3) of at least 4.2 with black and with white: no colour reaches more than 4.58 with
both. Names are bold besides. Terminals of 16 colours get the nearest of theirs.
"""

from __future__ import annotations

from zlib import crc32

from bbs.client.terminal.interfaces import Fragments
from bbs.client.text import event_line, message_line, reply_lines, visible
from bbs.client.values import ChatMessage, Reply, ServiceEvent

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


def reply(reply: Reply) -> Fragments:
    return [("" if reply.ok else "class:problem", "\n".join(reply_lines(reply)))]


def message(user: str, message: ChatMessage, several: bool) -> Fragments:
    """A message to `user`, who is one of `several` here or the only one: in the protocol's form,
    with the sender's name in colour. Of a group's several here may be members."""
    sender = visible(message.sender)
    rest = message_line(message).removeprefix(f"<<<{sender}")
    to = [("", " to "), (style_of(user), visible(user))] if several and message.group else []
    return [("", "<<<"), (style_of(message.sender), sender), ("", rest), *to]


def event(user: str, event: ServiceEvent, several: bool) -> Fragments:
    """An event of the service's own for `user`, who is one of `several` here or the only one."""
    to = [("", " to "), (style_of(user), visible(user))] if several else []
    return [("", event_line(event)), *to]


def notice(text: str) -> Fragments:
    return [("class:notice", text)]


def problem(text: str) -> Fragments:
    return [("class:problem", text)]
