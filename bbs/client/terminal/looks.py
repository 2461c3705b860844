"""How replies, messages and the client's own words look above the line being typed.

Plain values in, styled fragments out; nothing here knows a terminal. All names and texts of other
people go through `visible`, so that nothing in them acts.
"""

from __future__ import annotations

from bbs.client.terminal.colours import style_of
from bbs.client.terminal.interfaces import Fragments
from bbs.client.text import message_line, problem_line, reply_lines, visible
from bbs.client.values import BadReply, Message, Reply


def reply(reply: Reply) -> Fragments:
    try:
        text = "\n".join(reply_lines(reply))
    except BadReply as strange:
        return problem(problem_line(strange))
    return [("" if reply.ok else "class:problem", text)]


def message(user: str, message: Message, several: bool) -> Fragments:
    """A message to `user`, who is one of `several` here or the only one: in the protocol's form,
    with the sender's name in colour. Of a group's several here may be members."""
    sender = visible(message.sender)
    rest = message_line(message).removeprefix(f"<<<{sender}")
    to = [("", " to "), (style_of(user), visible(user))] if several and message.group else []
    return [("", "<<<"), (style_of(message.sender), sender), ("", rest), *to]


def notice(text: str) -> Fragments:
    return [("class:notice", text)]


def problem(text: str) -> Fragments:
    return [("class:problem", text)]
