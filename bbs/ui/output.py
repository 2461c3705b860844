"""The output of replies, events and times, for people and for programs.

`docs/protocol.md`, section 7, has the format for people. Other people write names and texts, so
nothing in them may act on the terminal: control characters, line ends and characters that reverse
the writing direction are shown as escapes, and also invisible characters, which could make one name
pass for another (`bbs.core.characters`). Joiners and variation selectors
stay where they join or vary, as emoji and some scripts need them, and so do the tags in the flag of
a region.

Scripts print a message in the form that the service's presentation has for it. At a terminal and at
a gateway it begins with names, and two spaces separate these from the text: `ann  hello`, or
`#chess carol  e4`. U+2028 in a text is a line end of its own there, and the next row begins under
the text. An event that is not a message begins with `MARK` where people read it at once, and so
does any other text that could pass for a message. Programs read what scripts print, so there only
the latter has it.

For programs (`--json`), each reply and event is one line of JSON, as on the wire
(`docs/protocol.md`, sections 3 and 4) with two differences: replies lack their `token`, and
messages and the service's own events have a member `user`, their recipient. All of it is ASCII, so
it is safe on a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo

from zope.interface import Interface, implementer

from bbs.client.catalog import CommandCatalog
from bbs.client.errors import BadReply, ClientError, Lost
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply, Waiting, read_id, read_time
from bbs.client.request import CommandInfo
from bbs.core.characters import BLANKS, CONTROLS, DEFAULT_IGNORABLE, FORMATS, pattern
from bbs.protocols.forms import member, of_event
from bbs.protocols.presentation import Notice, Presentation
from bbs.ui.layout import LINE_END

MOST_TEXT = 4000  # characters shown of an event's text; an ellipsis stands for the rest
MOST_REASON = 200  # characters shown of the reason why a list is incomplete

_FLAG = "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]+\U000e007f"  # of a region

_JOINS_OR_VARIES = "\u200c\u200d\ufe0e\ufe0f"  # joiners, and selectors of text or picture

_UNPRINTABLE = re.compile(
    f"({_FLAG})|{pattern((*CONTROLS, *DEFAULT_IGNORABLE, *FORMATS, *BLANKS))}"
    f"(?<![{_JOINS_OR_VARIES}])"
)

_STRAY = re.compile(f"()(?<![^\x00-\x7f])[{_JOINS_OR_VARIES}]+(?!\u20e3)")
"""Joiners and selectors with nothing before them; keycaps (1️⃣) begin with a digit."""

MARK = " * "
"""Precedes events of the service. No name has a space, so no line of a person's begins like it."""

FORMER = "(no more)"  # follows the name of an account that was deleted

OLDER = "(older ones are not shown)"
"""Precedes the last messages of a conversation that has earlier ones."""

_PLACES = re.compile(r"(\{(?:sender|to|text)\})")

_OF_LOGINS = ("token", "device")

GAP = "  "  # between the names and the text of a message

_ASIDE = ("status", "code", "token", "more", "backwards")
"""Members that are for programs, or shown in their own way."""


def visible(text: str) -> str:
    """`text` with an escape, such as `\\x1b`, for every character that would act on a terminal."""
    if text.isascii() and text.isprintable():  # Most text is, and needs no search.
        return text
    return _STRAY.sub(_escape, _UNPRINTABLE.sub(_escape, text))


def _escape(found: re.Match[str]) -> str:
    return found[1] or "".join(map(_escaped, found[0]))


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible_text(text: str) -> str:
    """`text` as `visible` has it, with its line ends (`LINE_END`)."""
    if LINE_END not in text:
        return visible(text)
    return LINE_END.join(map(visible, text.split(LINE_END)))


_JOINING = frozenset("\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
"""Zero-width joiner, variation selectors, skin tones (Unicode Technical Standard #51)."""


def visible_in_line(character: str) -> str:
    """A character as shown in a line that is edited, where each is drawn for itself. Modifiers of
    an emoji are hidden: terminals differ in whether they draw `👩‍🚀` as one picture or two, and a
    wrong guess would put the cursor in the wrong column."""
    if character == LINE_END:
        return "↵"
    return "" if character in _JOINING else visible(character)


@dataclass(frozen=True)
class OutputLine:
    """One line of a reply, and the time of its content in seconds since the epoch, if known. `edge`
    is the place in the text under which further rows of it begin (`wrap`)."""

    text: str
    time: float | None = None
    edge: int = 0


def utc(seconds: float) -> str:
    """A time for programs, `2026-11-26T14:03:05Z` (RFC 3339); empty for an invalid one."""
    try:
        return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError):
        return ""


def reply_lines(presentation: Presentation, reply: ServiceReply, user: str = "") -> list[str]:
    """The lines of a reply to `user`, without times (`reply_entries`)."""
    return [entry.text for entry in reply_entries(presentation, reply, user)]


def reply_entries(
    presentation: Presentation,
    reply: ServiceReply,
    user: str = "",
    format_time: Callable[[float], str] = utc,
    *,
    people: bool = False,
) -> list[OutputLine]:
    """The lines of a reply of any service. A reply is shown as its message; else the elements of
    its list, one a line; else its members. A list that the presentation declares is shown even if
    the reply has other members. A line marks where elements of a list are missing. `people`: for
    people at a terminal or a gateway, not for a script."""
    entries = _Formatter(presentation, user, format_time, people).entries(reply)
    listing = presentation.listing(reply.list_name)
    # Only the latest messages of a conversation were requested, so none are missing.
    if not reply.has_more or (listing.recent and not reply.lacking):
        return entries
    why = visible(f": {reply.lacking[:MOST_REASON]}") if reply.lacking else ""
    if listing.backwards or reply.older_follow:
        return [OutputLine(f"(older ones are not shown{why})"), *entries]
    return [*entries, OutputLine(f"(others are not shown{why})")]


@dataclass(frozen=True)
class _Formatter:
    """Formats replies to `user`."""

    presentation: Presentation
    user: str
    format_time: Callable[[float], str]
    people: bool = False

    def entries(self, reply: ServiceReply) -> list[OutputLine]:
        if reply.message is not None:
            return [OutputLine(self._marked(visible(reply.message)))]
        if not reply.ok:
            return [OutputLine("Failed")]
        members = {name: value for name, value in reply.members.items() if name not in _ASIDE}
        lists = {name: value for name, value in members.items() if isinstance(value, list)}
        known = [each.name for each in self.presentation.lists if each.name in lists]
        for name in known or (lists if len(lists) == 1 else ()):
            empty = visible(self.presentation.listing(name).empty) or "Nothing"
            return [*map(self._entry, lists[name])] or [OutputLine(empty)]
        return [*map(OutputLine, self._members(reply, members))] or [OutputLine("Success!")]

    def _members(self, reply: ServiceReply, members: dict[str, object]) -> Iterator[str]:
        if [*members] == ["app_server"]:
            try:
                yield visible(str(reply.app_server))
                return
            except BadReply:
                pass  # Show it like any other value.
        plain = _Formatter(self.presentation, "", utc)
        for name, value in members.items():
            is_told = any(each.member.startswith(f"{name}.") for each in self.presentation.notices)
            if self.people and isinstance(value, dict) and is_told:
                yield from self._summary(reply, value)
            else:
                yield f"{visible(name)}: {plain._entry(value).text}"

    def _summary(self, reply: ServiceReply, values: Mapping[str, object]) -> Iterator[str]:
        """The numbers of a reply as notices have them, and what is in the lists beside them."""
        lists = [each for each in values.values() if isinstance(each, list)]
        entries = [self._entry(entry).text for each in lists for entry in each]
        words = notices_line(self.presentation, reply)
        yield from [*([words] if words else []), *entries] or ["Nothing new"]

    def _entry(self, value: object) -> OutputLine:
        if isinstance(value, str):
            return OutputLine(visible(value))
        if isinstance(value, dict):
            if (message := self._message(value)) is not None:
                return message
            event = of_event(self.presentation.events, value, None)
            for line in (*([event] if event else []), *self.presentation.lines):
                text: object = line.filled(value, _dated(self.format_time), self.people)
                if text is not None and not line.text:
                    text = value.get("text")
                if isinstance(text, str):
                    said = self._marked(visible_text(text) if self.people else visible(text))
                    return OutputLine(said, read_time(member(value, line.time)))
        return OutputLine(visible(json.dumps(value, ensure_ascii=False, separators=(",", ":"))))

    def _message(self, value: Mapping[str, object]) -> OutputLine | None:
        chat = self.presentation.chat(value.get("event"))
        if chat is None:
            return None
        try:
            message = ChatMessage.read(value, chat)
        except BadReply:
            return None
        if self.people:
            return message_entry(message, self.user, in_talk=True)
        return OutputLine(message_line(self.presentation, message, self.user), message.time)

    def _marked(self, text: str) -> str:
        return marked_for_people(text) if self.people else marked(self.presentation, text)


def message_line(presentation: Presentation, message: ChatMessage, user: str = "") -> str:
    """A message that `user` reads, in one line, as scripts print it. `FORMER` follows the name of a
    deleted account, which is never `user`."""
    of_sender, of_reader = _former(message, user)
    values = {
        "{sender}": f"{message.sender} {FORMER}" if of_sender else message.sender,
        "{to}": f"{_reader(message)} {FORMER}" if of_reader else _reader(message),
        "{text}": message.text,
    }
    form = presentation.talk(message.talk, message.group is not None).line
    return "".join(visible(values.get(piece, piece)) for piece in _PLACES.split(form))


def message_heading(
    message: ChatMessage, user: str, *, several: bool = False, in_talk: bool = False
) -> Iterator[tuple[str, bool]]:
    """The names before the text of a message that `user` reads at a terminal, in pieces; True marks
    the sender's name: `carol`, or `#chess carol` in a group. `in_talk`: the partner is known, so a
    line of one's own does not name its reader as in `ann → bob`. With `several` users here each
    line does."""
    of_sender, of_reader = _former(message, user)
    is_direct = message.group is None
    if not is_direct:
        yield f"#{visible(_reader(message))} ", False
    yield visible(message.sender), True
    if of_sender:
        yield f" {FORMER}", False
    if of_reader and is_direct:
        yield f" → {visible(_reader(message))} {FORMER}", False
    elif several or (is_direct and message.sender == user and not in_talk):
        yield f" → {visible(_reader(message) if is_direct else user)}", False


def message_entry(message: ChatMessage, user: str, *, in_talk: bool = False) -> OutputLine:
    """A message that `user`, the only one here, reads at a terminal or a gateway."""
    heading = "".join(piece for piece, _ in message_heading(message, user, in_talk=in_talk)) + GAP
    return OutputLine(f"{heading}{visible_text(message.text)}", message.time, len(heading))


def _former(message: ChatMessage, user: str) -> tuple[bool, bool]:
    """Whether the sender's account, and the reader's, is gone."""
    of_sender = message.former and (message.group is not None or message.sender != user)
    return of_sender, message.former and not of_sender


def _reader(message: ChatMessage) -> str:
    return str(message.to if message.group is None else message.group)


_LIKE_A_MESSAGE = re.compile(r"(?:#\S+ )?\S+(?: \(no more\))?(?: → \S+(?: \(no more\))?)?" + GAP)


def marked_for_people(text: str) -> str:
    """A visible `text` of the service or the client, with `MARK` if it has the form of a person's
    message at a terminal."""
    return f"{MARK}{text}" if _LIKE_A_MESSAGE.match(text) else text


def marked(presentation: Presentation, text: str) -> str:
    """A visible `text` of the service, with `MARK` if it has the form in which scripts print a
    person's message."""
    for talk in presentation.talks:
        literals, at = [*map(visible, _PLACES.split(talk.line)[::2])], 0
        for literal in literals:
            at = text.find(literal, at)
            if at < 0:
                break
            at += len(literal)
        if at >= 0 and text.startswith(literals[0]) and text.endswith(literals[-1]):
            return f"{MARK}{text}"
    return text


def event_entry(
    presentation: Presentation,
    event: ServiceEvent,
    format_time: Callable[[float], str] = utc,
    *,
    mark: str = MARK,
) -> OutputLine:
    """An event behind `mark`, with its time if the presentation names the member; the text is empty
    if there is nothing to show. An event that is not in the presentation shows its own text. A text
    keeps its line ends behind a mark, which is for people; without one it is one line."""
    line, dated = presentation.event(event.members), _dated(format_time)
    text = line.filled(event.members, dated, bool(mark)) if line.text else event.text
    if event.times > 1:
        text = line.repeated(event.members, dated, event.times) or text
    text = event.text if text is None else text
    shown = (visible_text if mark else visible)(text[:MOST_TEXT])
    if len(text) > MOST_TEXT or len(shown) > MOST_TEXT:
        shown = f"{shown[:MOST_TEXT]}…"
    return OutputLine(shown and f"{mark}{shown}", read_time(member(event.members, line.time)))


def _dated(format_time: Callable[[float], str]) -> Callable[[float], str]:
    """A formatter of times that gives an empty text for those outside the calendar."""
    return lambda seconds: "" if read_time(seconds) is None else format_time(seconds)


def waiting_line(waiting: Waiting) -> str:
    return f"Waiting for an app server: position {waiting.position}{_estimate(waiting)}"


def waiting_words(waiting: Waiting) -> str:
    """What people read of a place in the queue for an app server."""
    place = "you are next" if waiting.position == 1 else f"place {waiting.position}"
    return f"the service is full, {place}{_estimate(waiting)}"


def _estimate(waiting: Waiting) -> str:
    return "" if waiting.seconds is None else f", about {waiting.seconds:.0f} s"


def notices_line(presentation: Presentation, reply: ServiceReply) -> str:
    """The notices in a reply; empty if there are none."""
    counts = [(each, read_id(member(reply.members, each.member))) for each in presentation.notices]
    words = "; ".join(_notice(each, count) for each, count in counts if count)
    return marked_for_people(words)


def _notice(notice: Notice, count: int) -> str:
    reached = bool(notice.most) and count >= notice.most
    number = f"{notice.most:,} or more" if reached else f"{count:,}"
    words = notice.one if count == 1 else notice.many
    return visible(words.replace("{}", number))


def help_lines(commands: Iterable[CommandInfo]) -> list[str]:
    """The usage of every command, and of `exit`, which is the client's own."""
    return [*(visible(info.usage) for info in commands), "exit"]


def problem_line(problem: ClientError) -> str:
    """The line shown instead of a reply that did not arrive."""
    if isinstance(problem, Lost):
        return visible(f"It is not known whether this was carried out: {problem}")
    return visible(str(problem))


_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTHS = [
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
]
"""Not by the locale: all output is in English, and a gateway's people have other locales."""


@dataclass(frozen=True)
class Stamp:
    """The time of a message. `day` is `Thursday 26 November 2026`, empty if it is that of the
    previous one; `time` is `14:03`. Both are empty if the time is unknown."""

    day: str = ""
    time: str = ""


@dataclass(slots=True, eq=False, repr=False)
class Timestamps:
    """Formats times for one person, in the order in which that person reads them. `_wall` is the
    clock, in seconds since the epoch; `_zone` is the person's time zone, by default this
    machine's."""

    _wall: Callable[[], float]
    _zone: tzinfo | None = None
    _day: date | None = field(init=False)

    def __post_init__(self) -> None:
        self._day = self._today()

    def stamp(self, seconds: float | None) -> Stamp:
        """The stamp of the next message; the call after it compares its day with this one's."""
        moment = self._moment(seconds)
        if moment is None:
            return Stamp()
        before, self._day = self._day, moment.date()
        day = f"{_DAYS[moment.weekday()]} {moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
        return Stamp("" if self._day == before else day, f"{moment:%H:%M}")

    def now(self) -> Stamp:
        return self.stamp(self._wall())

    def short(self, seconds: float) -> str:
        """`14:03` today, `25 November 14:03` this year, else the day; empty beyond the calendar."""
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


class IOutputFormat(Interface):
    """A format of a script's output: the lines for each thing that happens."""

    def reply(reply: ServiceReply, user: str = "") -> Sequence[str]:
        """The service's answer to a command, which may be a user's."""

    def succeeded(lines: Sequence[str]) -> Sequence[str]:
        """The client's own answer to a command that succeeded."""

    def failed(problem: ClientError) -> Sequence[str]:
        """An error instead of an answer."""

    def user_failed(user: str, problem: ClientError) -> Sequence[str]:
        """An error that concerns a user, in addition to an answer."""

    def message(user: str, message: ChatMessage) -> Sequence[str]:
        """A message to a user, or one that a user sent elsewhere."""

    def event(user: str, event: ServiceEvent) -> Sequence[str]:
        """One of the service's own events, for a user."""

    def logged_out(user: str) -> Sequence[str]:
        """A user was logged out, without a command from here."""

    def waiting(waiting: Waiting) -> Sequence[str]:
        """The place of a login in the queue for an app server."""


@implementer(IOutputFormat)
@dataclass(frozen=True)
class TextFormat:
    """The format in `docs/protocol.md`, section 7; `vocabulary` has the service's presentation."""

    vocabulary: CommandCatalog

    def reply(self, reply: ServiceReply, user: str = "") -> Sequence[str]:
        return reply_lines(self.vocabulary.presentation, reply, user)

    def succeeded(self, lines: Sequence[str]) -> Sequence[str]:
        return lines

    def failed(self, problem: ClientError) -> Sequence[str]:
        return [marked(self.vocabulary.presentation, problem_line(problem))]

    def user_failed(self, user: str, problem: ClientError) -> Sequence[str]:
        return self.failed(problem)

    def message(self, user: str, message: ChatMessage) -> Sequence[str]:
        return [message_line(self.vocabulary.presentation, message)]

    def event(self, user: str, event: ServiceEvent) -> Sequence[str]:
        presentation = self.vocabulary.presentation
        line = event_entry(presentation, event, mark="").text
        return [marked(presentation, line)] if line else []

    def logged_out(self, user: str) -> Sequence[str]:
        return []  # The reply to the next command says so; the format has no line of its own.

    def waiting(self, waiting: Waiting) -> Sequence[str]:
        return [waiting_line(waiting)]


@implementer(IOutputFormat)
class JSONFormat:
    """One JSON object in a line for each thing that happens."""

    def reply(self, reply: ServiceReply, user: str = "") -> Sequence[str]:
        # With a login's token goes its device token: the client keeps both for itself.
        hidden = _OF_LOGINS if "token" in reply.members else ()
        members = {name: value for name, value in reply.members.items() if name not in hidden}
        return _json(members)

    def succeeded(self, lines: Sequence[str]) -> Sequence[str]:
        return _json({"status": 0, "message": "\n".join(lines)})

    def failed(self, problem: ClientError) -> Sequence[str]:
        return _json({"status": 1, "message": problem_line(problem)})

    def user_failed(self, user: str, problem: ClientError) -> Sequence[str]:
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
