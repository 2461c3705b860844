"""How replies, events and times look, to people and to programs.

For people that is `docs/protocol.md`, section 7. Other people write names and texts, so nothing in
them may act on the terminal: control characters, line ends, and the characters that turn the
direction of writing round are shown as escapes. So are those that show nothing at all, by which one
name could pass for another (Unicode's property Default_Ignorable_Code_Point). Joiners and variation
selectors stay where they join or vary, for emoji and for scripts that need them, and so do the tags
that make a flag of a region.

For programs (`--json`) each reply and each event is one line of JSON, as on the wire
(`docs/protocol.md`, sections 3 and 4) but for two things: no reply has its `token`, and each
message and each event of the service's own says in `user` whose it is. Nothing but ASCII is
written, so it is safe on a terminal too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

from zope.interface import Interface, implementer

from bbs.client.catalog import CommandCatalog
from bbs.client.errors import BadReply, ClientError, Lost
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply, Waiting, read_id, read_time
from bbs.client.request import CommandInfo
from bbs.protocols.presentation import Line, Notice, Presentation, member

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

FORMER = "(no more)"
"""Stands behind the name of somebody who had it once."""

OLDER = "(older ones are not shown)"
"""Stands before the messages of a conversation of which only the last were asked for."""

_PLACES = re.compile(r"(\{(?:sender|to|text)\})")

_TEXT = Line()
"""How an event is written of which nothing is said: by its own text."""

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
class OutputLine:
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


def reply_lines(presentation: Presentation, reply: ServiceReply, user: str = "") -> list[str]:
    """The lines that a reply to `user` is shown as where no times stand beside them
    (`reply_entries`)."""
    return [entry.text for entry in reply_entries(presentation, reply, user)]


def reply_entries(
    presentation: Presentation,
    reply: ServiceReply,
    user: str = "",
    since: Callable[[float], str] = utc,
) -> list[OutputLine]:
    """The lines that a reply is shown as, whatever service it is of.

    That is its message; else the elements of its list, one a line; else, where it is not just one
    list, its members. A list that the presentation has is shown even where other members are beside
    it. Where others of the list are not there, a line says so, where they would be. `since` writes
    when something was.
    """
    entries = _entries(presentation, reply, user, since)
    listing = presentation.listing(reply.list_name)
    # Of a conversation the last ones were asked for, and no more.
    if not reply.has_more or (listing.recent and not reply.lacking):
        return entries
    why = visible(f": {reply.lacking[:MOST_REASON]}") if reply.lacking else ""
    if listing.backwards:
        return [OutputLine(f"(older ones are not shown{why})"), *entries]
    return [*entries, OutputLine(f"(others are not shown{why})")]


def _entries(
    presentation: Presentation, reply: ServiceReply, user: str, since: Callable[[float], str]
) -> list[OutputLine]:
    if reply.message is not None:
        return [OutputLine(visible(reply.message))]
    if not reply.ok:
        return [OutputLine("Failed")]
    members = {name: value for name, value in reply.members.items() if name not in _ASIDE}
    lists = {name: value for name, value in members.items() if isinstance(value, list)}
    known = [each.name for each in presentation.lists if each.name in lists]
    for name in known or (lists if len(lists) == 1 else ()):
        entries = [_entry(presentation, each, user, since) for each in lists[name]]
        return entries or [OutputLine(visible(presentation.listing(name).empty) or _NOTHING)]
    return [*map(OutputLine, _members(presentation, reply, members))] or [OutputLine("Success!")]


def _members(
    presentation: Presentation, reply: ServiceReply, members: dict[str, object]
) -> Iterator[str]:
    if [*members] == ["app_server"]:
        try:
            yield visible(str(reply.app_server))
            return
        except BadReply:
            pass  # Then it is shown as any other value.
    for name, value in members.items():
        shown = _entry(presentation, value, "", utc).text
        yield f"{visible(name)}: {shown}"


def _entry(
    presentation: Presentation, value: object, user: str, since: Callable[[float], str]
) -> OutputLine:
    if isinstance(value, str):
        return OutputLine(visible(value))
    if isinstance(value, dict):
        if (said := _message(presentation, value, user)) is not None:
            return said
        event = presentation.events.get(str(value.get("event")))
        for line in (*([event] if event else []), *presentation.lines):
            text: object = line.filled(value, _dated(since))
            if text is not None and not line.text:
                text = value.get("text")
            if isinstance(text, str):
                return OutputLine(visible(text), read_time(member(value, line.time)))
    return OutputLine(visible(json.dumps(value, ensure_ascii=False, separators=(",", ":"))))


def _message(
    presentation: Presentation, value: Mapping[str, object], user: str
) -> OutputLine | None:
    chat = presentation.chat(value.get("event"))
    if chat is None:
        return None
    try:
        message = ChatMessage.read(value, chat)
    except BadReply:
        return None
    return OutputLine(message_line(presentation, message, user), message.time)


def message_line(presentation: Presentation, message: ChatMessage, user: str = "") -> str:
    """A message of `user`'s in a line (`message_pieces`)."""
    return "".join(text for text, _ in message_pieces(presentation, message, user))


def message_pieces(
    presentation: Presentation, message: ChatMessage, user: str = ""
) -> Iterator[tuple[str, bool]]:
    """The line of a message that `user` reads, in pieces; True stands beside the sender's name. A
    mark stands behind the name of an account that is gone; that is never `user`."""
    is_room = message.group is not None
    of_sender = message.former and (is_room or message.sender != user)
    of_reader = message.former and not of_sender
    to = message.group if is_room else message.to
    for piece in _PLACES.split(presentation.talk(message.talk, is_room).line):
        match piece:
            case "{sender}":
                yield visible(message.sender), True
                if of_sender:
                    yield f" {FORMER}", False
            case "{to}":
                yield visible(f"{to} {FORMER}" if of_reader else f"{to}"), False
            case "{text}":
                yield visible(message.text), False
            case _:
                yield visible(piece), False


def event_entry(
    presentation: Presentation, event: ServiceEvent, since: Callable[[float], str] = utc
) -> OutputLine:
    """An event in a line, and its time where the presentation says which member that is; without a
    text when there is nothing to show."""
    line = presentation.events.get(str(event.members.get("event")), _TEXT)
    text = line.filled(event.members, _dated(since)) if line.text else event.text
    text = event.text if text is None else text
    shown = visible(text[:MOST_TEXT])
    if len(text) > MOST_TEXT or len(shown) > MOST_TEXT:
        shown = f"{shown[:MOST_TEXT]}…"
    return OutputLine(shown, read_time(member(event.members, line.time)))


def _dated(since: Callable[[float], str]) -> Callable[[float], str]:
    """Writes times, but those that no calendar has: they are empty."""
    return lambda seconds: "" if read_time(seconds) is None else since(seconds)


def waiting_line(waiting: Waiting) -> str:
    estimate = "" if waiting.seconds is None else f", about {waiting.seconds:.0f} s"
    return f"Waiting for an app server: position {waiting.position}{estimate}"


def notices_line(presentation: Presentation, reply: ServiceReply) -> str:
    """What a reply to `login` tells people; empty when that is nothing."""
    counts = [(each, read_id(member(reply.members, each.member))) for each in presentation.notices]
    return "; ".join(_notice(each, count) for each, count in counts if count)


def _notice(notice: Notice, count: int) -> str:
    reached = bool(notice.most) and count >= notice.most
    number = f"{notice.most:,} or more" if reached else f"{count:,}"
    words = notice.one if count == 1 else notice.many
    return visible(words.replace("{}", number))


def help_lines(commands: Iterable[CommandInfo]) -> list[str]:
    """The usage of every command that is offered, and of `exit`, which is the client's own."""
    return [*(visible(info.usage) for info in commands), "exit"]


def problem_line(problem: ClientError) -> str:
    """The line in the place of a reply that did not come."""
    if isinstance(problem, Lost):
        return visible(f"It is not known whether this was carried out: {problem}")
    return visible(str(problem))


_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
"""Not by the locale: a page in English has its days in English, and other people's terminals at a
gateway have nothing to do with the locale of its machine."""


@dataclass(frozen=True)
class Stamp:
    """When something was said. `day` is `Thursday 26 November 2026` where that is another day than
    the one before was, and else empty; `time` is `14:03`. Both are empty where it is not known."""

    day: str = ""
    time: str = ""


class Timestamps:
    """Writes times for one person, in the order in which that person reads them.

    `wall` is the clock that is stamped by, in seconds since the epoch, and `zone` where the person
    is; without one that is where this machine is.
    """

    __slots__ = ("_day", "_wall", "_zone")

    def __init__(self, wall: Callable[[], float], zone: tzinfo | None = None) -> None:
        self._wall = wall
        self._zone = zone
        self._day = self._today()

    def stamp(self, seconds: float | None) -> Stamp:
        """What to write before what was said then. It is what is read next: the day of the one
        after it is compared with this one's."""
        moment = self._moment(seconds)
        if moment is None:
            return Stamp()
        before, self._day = self._day, moment.date()
        return Stamp("" if self._day == before else _day(moment), f"{moment:%H:%M}")

    def now(self) -> Stamp:
        """The stamp of what happens right now."""
        return self.stamp(self._wall())

    def since(self, seconds: float) -> str:
        """A time beside others, in few words: `14:03` is today's, `25 November 14:03` this year's;
        of another year it is the day. Empty where it is no time that a calendar has."""
        moment, today = self._moment(seconds), self._today()
        if moment is None:
            return ""
        if moment.date() == today:
            return f"{moment:%H:%M}"
        day = f"{moment.day} {_MONTHS[moment.month - 1]}"
        same = today is not None and moment.year == today.year
        return f"{day} {moment:%H:%M}" if same else f"{day} {moment.year}"

    def _today(self) -> date | None:
        moment = self._moment(self._wall())
        return moment.date() if moment else None

    def _moment(self, seconds: float | None) -> datetime | None:
        if seconds is None:
            return None
        try:
            return datetime.fromtimestamp(seconds, self._zone)
        except (OverflowError, ValueError, OSError):  # Beyond the calendar, or not a number.
            return None


def _day(moment: datetime) -> str:
    return f"{_DAYS[moment.weekday()]} {moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


class IOutputFormat(Interface):
    """What is written for each thing that happens, as lines."""

    def reply(reply: ServiceReply, user: str = "") -> Sequence[str]:
        """The service's answer to a command, which may have been a user's."""

    def own(lines: Sequence[str]) -> Sequence[str]:
        """The client's own answer to a command that went well."""

    def failed(problem: ClientError) -> Sequence[str]:
        """In the place of an answer that did not come."""

    def aside(user: str, problem: ClientError) -> Sequence[str]:
        """Beside an answer: what did not work for a user after all."""

    def message(user: str, message: ChatMessage) -> Sequence[str]:
        """A message to a user, or one that a user has sent elsewhere."""

    def event(user: str, event: ServiceEvent) -> Sequence[str]:
        """An event for a user that is one of the service's own."""

    def logged_out(user: str) -> Sequence[str]:
        """A user is not logged in here any more, which was not asked for here."""

    def waiting(waiting: Waiting) -> Sequence[str]:
        """Where a login stands that waits for an app server."""


@implementer(IOutputFormat)
@dataclass(frozen=True)
class TextFormat:
    """As `docs/protocol.md`, section 7, has it; `vocabulary` knows the service's presentation."""

    vocabulary: CommandCatalog

    def reply(self, reply: ServiceReply, user: str = "") -> Sequence[str]:
        return reply_lines(self.vocabulary.presentation, reply, user)

    def own(self, lines: Sequence[str]) -> Sequence[str]:
        return lines

    def failed(self, problem: ClientError) -> Sequence[str]:
        return [problem_line(problem)]

    def aside(self, user: str, problem: ClientError) -> Sequence[str]:
        return [problem_line(problem)]

    def message(self, user: str, message: ChatMessage) -> Sequence[str]:
        return [message_line(self.vocabulary.presentation, message)]

    def event(self, user: str, event: ServiceEvent) -> Sequence[str]:
        line = event_entry(self.vocabulary.presentation, event).text
        return [line] if line else []

    def logged_out(self, user: str) -> Sequence[str]:
        return []  # The next command says so; the protocol has nothing between the lines.

    def waiting(self, waiting: Waiting) -> Sequence[str]:
        return [waiting_line(waiting)]


@implementer(IOutputFormat)
class JSONFormat:
    """One JSON object for each, on a line."""

    def reply(self, reply: ServiceReply, user: str = "") -> Sequence[str]:
        return _json({name: value for name, value in reply.members.items() if name != "token"})

    def own(self, lines: Sequence[str]) -> Sequence[str]:
        return _json({"status": 0, "message": "\n".join(lines)})

    def failed(self, problem: ClientError) -> Sequence[str]:
        return _json({"status": 1, "message": problem_line(problem)})

    def aside(self, user: str, problem: ClientError) -> Sequence[str]:
        return _json({"event": "problem", "user": user, "message": visible(str(problem))})

    def message(self, user: str, message: ChatMessage) -> Sequence[str]:
        return _json({**message.members, "user": user})

    def event(self, user: str, event: ServiceEvent) -> Sequence[str]:
        return _json({**event.members, "user": user})

    def logged_out(self, user: str) -> Sequence[str]:
        return _json({"event": "logout", "user": user})

    def waiting(self, waiting: Waiting) -> Sequence[str]:
        position, seconds = waiting.position, waiting.seconds
        return _json({"event": "waiting", "position": position, "seconds": seconds})


def _json(members: dict[str, object]) -> Sequence[str]:
    return [json.dumps(members)]
