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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bbs.client.commands import Offer
from bbs.client.values import (
    BadReply,
    ChatMessage,
    ClientError,
    Lost,
    Missed,
    Post,
    Presence,
    Reply,
    ServiceEvent,
    Waiting,
)

MOST_TEXT = 4000
"""Characters that are shown of the text of an event; what is left out is an ellipsis."""

MOST_COUNTED = 1000
"""Messages that a server counts for who logs in: it may be more."""

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
    "history": "No messages",
    "block": "Nobody is blocked",
    "member": "No members",
}

FORMER = "(no more)"
"""Stands behind the name of somebody who had it once."""

OLDER = "(older ones are not shown)"
"""Stands before the messages of a conversation of which only the last were asked for."""

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


@dataclass(frozen=True)
class Entry:
    """One line of a reply, and when what it says was said: in seconds since the epoch, None where
    there is no such time."""

    text: str
    time: float | None = None


def utc(seconds: float) -> str:
    """A time as programs read it, `2026-11-26T14:03:05Z` (RFC 3339); empty where it is none."""
    try:
        return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError):
        return ""


def reply_lines(reply: Reply, user: str = "") -> list[str]:
    """The lines that a reply to `user` is shown as where no times stand beside them
    (`reply_entries`)."""
    return [entry.text for entry in reply_entries(reply, user)]


def reply_entries(reply: Reply, user: str = "", since: Callable[[float], str] = utc) -> list[Entry]:
    """The lines that a reply is shown as, whatever service it is of.

    That is its message; else the elements of its list, one a line; else, where it is not just one
    list, its members. A list that the board has is shown even where other members are beside it.
    Where others of the list are not there, a line says so, where they would be. `since` writes when
    somebody was here last.
    """
    entries = _entries(reply, user, since)
    # Of a conversation the last ones were asked for, and no more.
    if not reply.has_more or (reply.list_name == "history" and not reply.lacking):
        return entries
    why = visible(f": {reply.lacking[:MOST_REASON]}") if reply.lacking else ""
    if reply.is_backwards:
        return [Entry(f"(older ones are not shown{why})"), *entries]
    return [*entries, Entry(f"(others are not shown{why})")]


def _entries(reply: Reply, user: str, since: Callable[[float], str]) -> list[Entry]:
    if reply.message is not None:
        return [Entry(visible(reply.message))]
    if not reply.ok:
        return [Entry("Failed")]
    members = {name: value for name, value in reply.members.items() if name not in _ASIDE}
    lists = {name: value for name, value in members.items() if isinstance(value, list)}
    known = [name for name in _EMPTY if name in lists]
    for name in known or (lists if len(lists) == 1 else ()):
        entries = [_entry(each, user, since) for each in lists[name]]
        return entries or [Entry(_EMPTY.get(name, _NOTHING))]
    return [*map(Entry, _members(reply, members))] or [Entry("Success!")]


def _members(reply: Reply, members: dict[str, object]) -> Iterator[str]:
    if [*members] == ["app_server"]:
        try:
            yield visible(str(reply.app_server))
            return
        except BadReply:
            pass  # Then it is shown as any other value.
    for name, value in members.items():
        shown = _entry(value, "", utc).text
        yield f"{visible(name)}: {shown}"


def _entry(value: object, user: str, since: Callable[[float], str]) -> Entry:
    if isinstance(value, str):
        return Entry(visible(value))
    if isinstance(value, dict):
        entry = _post(value) or _message(value, user) or _presence(value, since)
        if entry is not None:
            return entry
    return Entry(visible(json.dumps(value, ensure_ascii=False, separators=(",", ":"))))


def _post(value: Mapping[str, object]) -> Entry | None:
    try:
        post = Post.read(value)
    except TypeError:
        return None
    return Entry(visible(f"{post.author}: {post.text}"), post.time)


def _message(value: Mapping[str, object], user: str) -> Entry | None:
    if value.get("event") not in ("message", "sent"):
        return None
    try:
        message = ChatMessage.read(value)
    except BadReply:
        return None
    return Entry(message_line(message, user), message.time)


def _presence(value: Mapping[str, object], since: Callable[[float], str]) -> Entry | None:
    try:
        presence = Presence.read(value)
    except TypeError:
        return None
    name = visible(presence.name)
    if presence.online:
        return Entry(f"{name}  online")
    last = since(presence.last) if presence.last is not None else ""
    return Entry(f"{name}  offline since {last}" if last else f"{name}  offline")


def message_line(message: ChatMessage, user: str = "") -> str:
    """A message of `user`'s as an event is shown. In one from before, who had a name that is
    somebody else's by now, or nobody's, is told from who has it: never `user`."""
    sender, reader = message.sender, message.to
    if message.former and (sender != user or message.group is not None):
        sender = f"{sender} {FORMER}"
    elif message.former:
        reader = f"{reader} {FORMER}"
    if message.group is not None:
        reader = f"GROUP<{message.group}>"
    return visible(f"<<<{sender}->{reader}: {message.text}>>>")


def event_line(event: ServiceEvent) -> str:
    """The text of an event in a line; empty when there is nothing to show."""
    shown = visible(event.text[:MOST_TEXT])
    if len(event.text) > MOST_TEXT or len(shown) > MOST_TEXT:
        return f"{shown[:MOST_TEXT]}…"
    return shown


def waiting_line(waiting: Waiting) -> str:
    estimate = "" if waiting.seconds is None else f", about {waiting.seconds:.0f} s"
    return f"Waiting for an app server: position {waiting.position}{estimate}"


def missed_line(missed: Missed) -> str:
    """What waits for who has just logged in; empty when that is nothing."""
    parts = []
    if missed.invitations:
        waits = "invitation waits" if missed.invitations == 1 else "invitations wait"
        parts.append(f"{missed.invitations} {waits}: list-invite")
    if missed.messages:
        many = (
            f"{missed.messages:,}"
            if missed.messages < MOST_COUNTED
            else f"{MOST_COUNTED:,} or more"
        )
        what = "message" if missed.messages == 1 else "messages"
        parts.append(f"{many} {what} came while you were away")
    return "; ".join(parts)


def help_lines(offers: Iterable[Offer]) -> list[str]:
    """The usage of every command that is offered, and of `exit`, which is the client's own."""
    return [*(visible(offer.usage) for offer in offers), "exit"]


def problem_line(problem: ClientError) -> str:
    """The line in the place of a reply that did not come."""
    if isinstance(problem, Lost):
        return visible(f"It is not known whether this was carried out: {problem}")
    return visible(str(problem))
