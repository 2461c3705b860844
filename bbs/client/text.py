"""How replies and events look to people (`docs/protocol.md`, section 7).

Other people write names and texts, so nothing in them may act on the terminal: control characters,
line ends, and the characters that turn the direction of writing round are shown as escapes. So are
those that show nothing at all, by which one name could pass for another (Unicode's property
Default_Ignorable_Code_Point). Joiners and variation selectors stay where they join or vary, for
emoji and for scripts that need them, and so do the tags that make a flag of a region.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from bbs.client.commands import Offer
from bbs.client.values import (
    BadReply,
    ChatMessage,
    ClientError,
    Lost,
    Post,
    Reply,
    ServiceEvent,
    Waiting,
)

MOST_TEXT = 4000
"""Characters that are shown of the text of an event; what is left out is an ellipsis."""

MOST_REASON = 200
"""Characters that are shown of why something is not."""

_UNPRINTABLE = re.compile(
    "(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]+\U000e007f)"  # flags of regions
    "|[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u2028-\u202e\u2066-\u2069\u061c\u200e\u200f"  # separators of lines, bidirectional controls
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u2800\u3164"
    "\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0100-\U000e01ef"  # no shape
    "\U000e0000-\U000e007f"  # tags
    "\ud800-\udfff]"  # surrogates: not characters at all
)

_STRAY = re.compile("()(?<![^\x00-\x7f])[\u200c\u200d\ufe0e\ufe0f]+(?!\u20e3)")
"""Joiners and selectors with nothing before them to join or vary. Keycaps, 1️⃣, have a digit."""

_EMPTY = {
    "invite": "No invitations",
    "friend": "No friends",
    "group": "No groups",
    "post": "No posts",
}

_NOTHING = "Nothing"
"""What is shown for an empty list of another kind."""

_ASIDE = ("status", "code", "token", "more")
"""Members that are for programs, or shown in their own way."""


def visible(text: str) -> str:
    """`text` with everything that would act instead of show as an escape, e.g. `\\x1b`."""
    if text.isascii() and text.isprintable():  # As most is, and has nothing to be looked for.
        return text
    return _STRAY.sub(_escape, _UNPRINTABLE.sub(_escape, text))


def _escape(found: re.Match[str]) -> str:
    return found[1] or "".join(map(_escaped, found[0]))


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_JOINING = frozenset("\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
"""Zero-width joiner, variation selectors, skin tones (Unicode Technical Standard #51)."""


def visible_in_line(character: str) -> str:
    """What stands for a character in a line that is edited: each is drawn for itself.

    What changes the emoji before it does not show: whether a terminal draws `👩‍🚀` as one picture
    or two is its own affair, and an editor that guesses wrong puts the cursor in the wrong column.
    """
    return "" if character in _JOINING else visible(character)


def reply_lines(reply: Reply) -> list[str]:
    """The lines that a reply is shown as, whatever service it is of.

    That is its message; else the elements of its list, one a line; else, where it is not just one
    list, its members. A list that the board has is shown even where other members are beside it.
    Where others of the list are not there, a line says so, where they would be.
    """
    if not reply.has_more:
        return _lines(reply)
    why = visible(f": {reply.lacking[:MOST_REASON]}") if reply.lacking else ""
    if reply.is_backwards:
        return [f"(older ones are not shown{why})", *_lines(reply)]
    return [*_lines(reply), f"(others are not shown{why})"]


def _lines(reply: Reply) -> list[str]:
    if reply.message is not None:
        return [visible(reply.message)]
    if not reply.ok:
        return ["Failed"]
    members = {name: value for name, value in reply.members.items() if name not in _ASIDE}
    lists = {name: value for name, value in members.items() if isinstance(value, list)}
    known = [name for name in _EMPTY if name in lists]
    for name in known or (lists if len(lists) == 1 else ()):
        return [_element(each) for each in lists[name]] or [_EMPTY.get(name, _NOTHING)]
    return [*_members(reply, members)] or ["Success!"]


def _members(reply: Reply, members: dict[str, object]) -> Iterator[str]:
    if [*members] == ["app_server"]:
        try:
            yield visible(str(reply.app_server))
            return
        except BadReply:
            pass  # Then it is shown as any other value.
    for name, value in members.items():
        yield f"{visible(name)}: {_element(value)}"


def _element(value: object) -> str:
    if isinstance(value, str):
        return visible(value)
    try:
        post = Post.read(value)
    except TypeError:
        return visible(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return visible(f"{post.author}: {post.text}")


def message_line(message: ChatMessage) -> str:
    if message.group is None:
        return visible(f"<<<{message.sender}->{message.to}: {message.text}>>>")
    return visible(f"<<<{message.sender}->GROUP<{message.group}>: {message.text}>>>")


def event_line(event: ServiceEvent) -> str:
    """The text of an event in a line; empty when there is nothing to show."""
    shown = visible(event.text[:MOST_TEXT])
    if len(event.text) > MOST_TEXT or len(shown) > MOST_TEXT:
        return f"{shown[:MOST_TEXT]}…"
    return shown


def waiting_line(waiting: Waiting) -> str:
    estimate = "" if waiting.seconds is None else f", about {waiting.seconds:.0f} s"
    return f"Waiting for an app server: position {waiting.position}{estimate}"


def help_lines(offers: Iterable[Offer]) -> list[str]:
    """The usage of every command that is offered, and of `exit`, which is the client's own."""
    return [*(visible(offer.usage) for offer in offers), "exit"]


def problem_line(problem: ClientError) -> str:
    """The line in the place of a reply that did not come."""
    if isinstance(problem, Lost):
        return visible(f"It is not known whether this was carried out: {problem}")
    return visible(str(problem))
