"""Talks: the earlier and the present messages between one user and one partner."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bbs.client.catalog import CommandCatalog
from bbs.client.client import ServiceClient
from bbs.client.echo_filter import partner_name
from bbs.client.errors import BadReply, ClientError
from bbs.client.replies import ChatMessage, ServiceReply
from bbs.client.request import ClientRequest, make_request
from bbs.protocols.presentation import Presentation, Talk
from bbs.ui.interfaces import IScreen, UsageError
from bbs.ui.output import visible
from bbs.ui.wording import failure_text, problem_words


@dataclass(frozen=True)
class Partner:
    """A partner in conversation: one person, or a room of several. Partners are equal by the talk's
    name (`kind`), as a service may change its other properties."""

    talk: Talk = field(compare=False)
    name: str
    kind: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.talk.name)


def partner_of(presentation: Presentation, user: str, message: ChatMessage) -> Partner:
    """The partner or room of a message, as `user` sees it."""
    talk = presentation.talk(message.talk, message.group is not None)
    return Partner(talk, partner_name(presentation, user, message))


def chat_lines(presentation: Presentation, reply: ServiceReply) -> Sequence[ChatMessage]:
    """The messages in a reply's list, oldest first; `BadReply` for a malformed list."""
    messages = []
    for entry in reply.lists.get(reply.list_name or "", (None,)):
        if not isinstance(entry, Mapping) or not (chat := presentation.chat(entry.get("event"))):
            raise BadReply("The server gave no usable list of messages")
        messages.append(ChatMessage.read(entry, chat))
    return messages


def is_for(user: str, message: ChatMessage) -> bool:
    """Whether a message is for `user` alone, or has their name as a word, in capitals or not."""
    if message.sender == user:
        return False
    if message.group is None:
        return True
    named = rf"(?<!\w){re.escape(user)}(?!\w)"
    return re.search(named, message.text, re.IGNORECASE) is not None


ALONE = ("?", "exit", "quit")
"""Lines that are commands in a talk too; a space before the word makes it a message."""


def is_said(line: str) -> bool:
    """Whether a line typed in a talk is a message to the partner, not a command."""
    if line.strip(" ") in ("", "end") or line.rstrip(" ") in ALONE:
        return False
    return line[:1] != "/" or line[:2] == "//"


def history_line(user: str, partner: Partner) -> str:
    """The request for the earlier messages of `user` and a partner."""
    name = f" {partner.name}" if partner.talk.choices else ""
    return f"{partner.talk.history} {user}{name}"


def history_command(vocabulary: CommandCatalog) -> str:
    """The command for reading earlier messages; empty if there is none."""
    histories = vocabulary.presentation.histories
    return next((name for name in histories if name in vocabulary.commands), "")


LAST = 20  # messages that a talk begins with: most of a small window
_Key = tuple[object, ...]  # the identity of a message: its id, or without one its content


def _key(message: ChatMessage) -> _Key:
    if message.id >= 0:
        return (message.id,)
    return message.sender, message.to, message.group, message.text


@dataclass(slots=True, eq=False, repr=False)
class Chat:
    """The current user's talk, and for each user and partner the number of unread messages."""

    _client: ServiceClient
    _screen: IScreen
    partner: Partner | None = None
    unread: dict[str, Counter[Partner]] = field(default_factory=dict)
    _meanwhile: Counter[_Key] | None = None
    _ended: Partner | None = None

    async def begin(self, user: str, partner: Partner) -> None:
        """Send the lines that follow to `partner`, and show the last earlier messages."""
        with self.loading():
            before = await self._load_history(user, partner)
            if user not in self._client.users:
                return  # Logged out elsewhere in the meantime: there is nobody to talk.
            self.partner = partner
            self.mark_read(user, partner)
            name = visible(partner.name)
            words = f"Talking to {name}. Type end to stop; start a command with /"
            self._screen.notice(words)
            if before is not None:
                self.show(user, before, LAST, partner)
        self._screen.changed()

    def end(self) -> None:
        self.partner = self._ended = None

    def reject_missed(self, line: str, as_text: bool) -> bool:
        """Say that a line was not sent, if the talk that it was typed for has just ended by itself:
        the first line after that, and all pasted ones. Returns whether it was."""
        ended = self._ended
        if ended is None or not line.strip(" "):
            return False
        if not as_text:
            self._ended = None
            if not is_said(line):
                return False
        name = visible(ended.name)
        self._screen.problem(f"Not sent: {_shortened(line)} (the talk with {name} has ended)")
        return True

    async def _load_history(self, user: str, partner: Partner) -> ServiceReply | None:
        """The latest messages; None if the service keeps none or the request fails."""
        if not partner.talk.history:
            return None
        try:
            reply = await self._client.request(history_line(user, partner))
        except ClientError as problem:
            self._screen.problem(problem_words(problem))
            return None
        return reply if reply.ok else None

    def show(
        self, user: str, reply: ServiceReply, most: int = 0, partner: Partner | None = None
    ) -> bool:
        """Show the messages in the reply to a history command, at most the last `most` (0: all),
        without those that arrived and were shown meanwhile; returns whether there were any. Two
        partners may have one name: `partner` limits the messages to that one's."""
        try:
            lines = chat_lines(self._client.vocabulary.presentation, reply)
        except BadReply:
            return False
        unseen = self._unseen(lines)
        if partner is not None:
            unseen = [each for each in unseen if self._partner_of(user, each) == partner]
        shown = unseen[-most:]
        if shown:
            self.mark_read(user, self._partner_of(user, shown[-1]))
            self._screen.past(user, shown, reply.has_more or len(shown) < len(unseen))
        return bool(shown)

    def _unseen(self, lines: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        """The messages that did not arrive meanwhile; of equal ones, the last did."""
        seen, unseen = Counter(self._meanwhile), []
        for line in reversed(lines):
            if seen[_key(line)]:
                seen[_key(line)] -= 1
            else:
                unseen.append(line)
        return unseen[::-1]

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Note the messages that arrive while a history is loaded, so as not to show them twice."""
        self._meanwhile = Counter()
        try:
            yield
        finally:
            self._meanwhile = None

    def request(self, user: str, text: str) -> ClientRequest:
        """The request that sends `text` to the partner; `UsageError` if there is none."""
        partner = self.partner
        info = self._client.vocabulary.commands.get(partner.talk.send) if partner else None
        if partner is None or info is None:
            raise UsageError(f"Not sent: {_shortened(text)} (the service has no command for it)")
        names = (user, partner.name) if partner.talk.choices else (user,)
        try:
            return make_request(info, *names, text)
        except ValueError as problem:
            raise UsageError(visible(str(problem))) from None

    def report_refused(self, request: ClientRequest, reply: ServiceReply, several: bool) -> None:
        """Say that a message was refused, and to whom of `several` users."""
        speaker = f" as {visible(request.user)}" if several else ""
        reason = failure_text(self._client.vocabulary.presentation, request, reply)
        self._screen.problem(f"Not sent{speaker}: {_shortened(request.text)} ({reason})")

    def count(self, user: str, message: ChatMessage, is_current: bool) -> None:
        """Count a message that was shown as unread, unless its reader talks with its sender."""
        if self._meanwhile is not None:
            self._meanwhile[_key(message)] += 1
        partner = self._partner_of(user, message)
        if message.sender == user:
            self.mark_read(user, partner)  # Answering, here or elsewhere, means having read.
        elif not (is_current and partner == self.partner):
            self.unread.setdefault(user, Counter())[partner] += 1
            self._screen.changed()

    def part(
        self, user: str, talk: Talk, names: Sequence[str], is_current: bool, unasked: bool = False
    ) -> None:
        """End a user's talks of a kind with the partners of these names (none: with all), and mark
        their messages as read. `unasked`: nobody here caused it, so tell the person."""
        unread = self.unread.get(user, ())
        for partner in [*unread, *([self.partner] if self.partner else [])]:
            if partner.kind == talk.name and (not names or partner.name in names):
                self.mark_read(user, partner)
                if is_current and partner == self.partner:
                    self.end()
                    if unasked:
                        self._ended = partner
                        self._screen.notice(f"The talk with {visible(partner.name)} has ended.")
                    self._screen.changed()

    def _partner_of(self, user: str, message: ChatMessage) -> Partner:
        return partner_of(self._client.vocabulary.presentation, user, message)

    def mark_read(self, user: str, partner: Partner) -> None:
        if self.unread.get(user, Counter()).pop(partner, 0):
            self._screen.changed()


def _shortened(text: str) -> str:
    """The first 60 characters of a text, to show next to the reason why it was not sent."""
    return visible(text if len(text) <= 60 else f"{text[:60]}…")
