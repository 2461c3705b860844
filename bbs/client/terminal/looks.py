"""How replies, messages and the client's own words look above the line being typed.

Plain values in, styled fragments out; nothing here knows a terminal. All names and texts of other
people go through `visible`, so that nothing in them acts.
"""

from __future__ import annotations

from bbs.client.terminal.colours import style_of
from bbs.client.terminal.interfaces import Fragments
from bbs.client.text import problem_line, reply_lines, visible
from bbs.client.values import BadReply, Message, Reply


def reply(reply: Reply) -> Fragments:
    try:
        text = "\n".join(reply_lines(reply))
    except BadReply as strange:
        return problem(problem_line(strange))
    return [("" if reply.ok else "class:problem", text)]


def message(user: str, message: Message, several: bool) -> Fragments:
    """A message to `user`, who is one of `several` here or the only one."""
    sender = (style_of(message.sender), visible(message.sender))
    before = [("class:group", f"#{visible(message.group)} ")] if message.group is not None else []
    to = [("", "→"), (style_of(user), visible(user))] if several else []
    return [*before, sender, *to, ("", f": {visible(message.text)}")]


def notice(text: str) -> Fragments:
    return [("class:notice", text)]


def problem(text: str) -> Fragments:
    return [("class:problem", text)]
