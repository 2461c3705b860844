"""Talks: what one user and one partner say to each other, from before and now."""

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
from bbs.ui.output import problem_line, visible


@dataclass(frozen=True)
class Partner:
    """A partner in conversation: somebody, or a room in which several hear what is said.

    A talk is known by its name (`kind`): what else the service says of it may change meanwhile.
    """

    talk: Talk = field(compare=False)
    name: str
    kind: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.talk.name)

    @property
    def is_room(self) -> bool:
        return self.talk.room


def partner_of(presentation: Presentation, user: str, message: ChatMessage) -> Partner:
    """With whom or in what room it was said, as `user` sees it."""
    talk = presentation.talk(message.talk, message.group is not None)
    return Partner(talk, partner_name(presentation, user, message))


def chat_lines(presentation: Presentation, reply: ServiceReply) -> Sequence[ChatMessage]:
    """The messages in the list of a reply, oldest first; `BadReply` where it has something else."""
    messages = []
    for entry in reply.lists.get(reply.list_name or "", (None,)):
        if not isinstance(entry, Mapping) or not (chat := presentation.chat(entry.get("event"))):
            raise BadReply("The server gave no usable list of messages")
        messages.append(ChatMessage.read(entry, chat))
    return messages


def is_for(user: str, message: ChatMessage) -> bool:
    """Whether a message is for `user` in particular: to nobody else, or with their name as a word
    in it, however it is written."""
    if message.sender == user:
        return False
    if message.group is None:
        return True
    named = rf"(?<!\w){re.escape(user)}(?!\w)"
    return re.search(named, message.text, re.IGNORECASE) is not None


ALONE = ("?", "exit", "quit")
"""Words that are commands in a talk too, if they are all there is. With a space before it one of
them is said."""


def is_said(line: str) -> bool:
    """Whether a line that is typed in a talk is said to the partner, and no command."""
    if line.strip(" ") in ("", "end") or line.rstrip(" ") in ALONE:
        return False
    return line[:1] != "/" or line[:2] == "//"


def history_line(user: str, partner: Partner) -> str:
    """The request for what `user` and a partner said before."""
    name = f" {partner.name}" if partner.talk.choices else ""
    return f"{partner.talk.history} {user}{name}"


def history_command(vocabulary: CommandCatalog) -> str:
    """The command by which people read what was said before; empty where there is none."""
    histories = vocabulary.presentation.histories
    return next((name for name in histories if name in vocabulary.commands), "")


class UnreadCounts:
    """How many messages each user's partners wrote since they last talked."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, dict[Partner, int]] = {}

    def of(self, user: str) -> Mapping[Partner, int]:
        return self._counts.get(user, {})

    def elsewhere(self, user: str) -> int:
        """How many are unread by all others."""
        others = (counts for other, counts in self._counts.items() if other != user)
        return sum(sum(counts.values()) for counts in others)

    def add(self, user: str, partner: Partner) -> None:
        counts = self._counts.setdefault(user, {})
        counts[partner] = counts.get(partner, 0) + 1

    def read(self, user: str, partner: Partner) -> bool:
        """A user has read all that a partner wrote; whether there was any."""
        return self._counts.get(user, {}).pop(partner, None) is not None

    def forget(self, user: str) -> None:
        self._counts.pop(user, None)


LAST = 20
"""Lines of a conversation that a talk begins with: most of a small window."""

MOST_BESIDE = 60
"""Characters that are shown of a text that was not sent, beside the reason."""

_Key = tuple[object, ...]
"""The identity of a message: its id, or without one its content."""


def _key(message: ChatMessage) -> _Key:
    if message.id >= 0:
        return (message.id,)
    return message.sender, message.to, message.group, message.text


class Chat:
    """Whom the current user talks to, and what is unread."""

    __slots__ = ("_client", "_ended", "_meanwhile", "_screen", "partner", "unread")

    def __init__(self, client: ServiceClient, screen: IScreen) -> None:
        self.partner: Partner | None = None
        self.unread = UnreadCounts()
        self._client = client
        self._screen = screen
        self._meanwhile: Counter[_Key] | None = None
        self._ended: Partner | None = None

    async def begin(self, user: str, partner: Partner) -> None:
        """Have what is typed go to `partner`, from the last lines of the conversation on."""
        with self.asking():
            before = await self._before(user, partner)
            if user not in self._client.users:
                return  # Logged out meanwhile, elsewhere: nobody would be talking.
            self.partner = partner
            self.read(user, partner)
            name = visible(partner.name)
            self._screen.notice(
                f"What you type goes to {name} now. /COMMAND is a command; end ends it."
            )
            if before is not None:
                self.show(user, before, LAST, partner)
        self._screen.changed()

    def end(self) -> None:
        """Take what is typed for commands again."""
        self.partner = self._ended = None

    def missed(self, line: str, as_text: bool) -> bool:
        """Whether a line was typed for a talk that has just ended by itself: the first line of
        such, and all that are pasted. The person reads that it was not sent."""
        ended = self._ended
        if ended is None or not line.strip(" "):
            return False
        if not as_text:
            self._ended = None
        if not as_text and not is_said(line):
            return False
        name = visible(ended.name)
        self._screen.problem(f"Not sent: {_beside(line)} (the talk with {name} has ended)")
        return True

    async def _before(self, user: str, partner: Partner) -> ServiceReply | None:
        """The last of what was said; None where the service does not say, or cannot now."""
        if not partner.talk.history:
            return None
        try:
            reply = await self._client.request(history_line(user, partner))
        except ClientError as problem:
            self._screen.problem(problem_line(problem))
            return None
        return reply if reply.ok else None

    def show(
        self,
        user: str,
        reply: ServiceReply,
        most: int | None = None,
        partner: Partner | None = None,
    ) -> bool:
        """Show the messages in the reply to a history command, the last `most` at the most; whether
        there were any. Messages that came meanwhile are not shown twice. Two partners may have one
        name: with `partner`, only messages of that one are shown."""
        try:
            lines = chat_lines(self._presentation, reply)
        except BadReply:
            return False
        unseen = [
            each for each in self._unseen(lines) if partner in (None, self._partner_of(user, each))
        ]
        shown = unseen if most is None else unseen[-most:]
        if shown:
            self.read(user, self._partner_of(user, shown[-1]))
            self._screen.past(user, shown, reply.has_more or len(shown) < len(unseen))
        return bool(shown)

    def _unseen(self, lines: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        """Those lines that did not come meanwhile; of equal ones the last ones did."""
        seen, unseen = Counter(self._meanwhile), []
        for line in reversed(lines):
            if seen[_key(line)]:
                seen[_key(line)] -= 1
            else:
                unseen.append(line)
        return unseen[::-1]

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A history is asked for and shown: what comes meanwhile is not shown with it again."""
        self._meanwhile = Counter()
        try:
            yield
        finally:
            self._meanwhile = None

    def request(self, user: str, text: str) -> ClientRequest:
        """What says `text` to the partner; `UsageError` where it cannot be said."""
        partner = self.partner
        info = self._client.vocabulary.commands.get(partner.talk.send) if partner else None
        if partner is None or info is None:
            raise UsageError(f"Not sent: {_beside(text)} (the service has no command for it)")
        names = (user, partner.name) if partner.talk.choices else (user,)
        try:
            return make_request(info, *names, text)
        except ValueError as problem:
            raise UsageError(visible(str(problem))) from None

    def not_sent(self, request: ClientRequest, reply: ServiceReply, several: bool) -> None:
        """That was refused; who said it is one of `several` here, or the only one."""
        speaker = f" as {visible(request.user)}" if several else ""
        reason = visible(reply.message or "Failed")
        self._screen.problem(f"Not sent{speaker}: {_beside(request.text)} ({reason})")

    def heard(self, user: str, message: ChatMessage, is_current: bool) -> None:
        """A message has been shown: it is unread, unless its reader talks with whom it is from."""
        if self._meanwhile is not None:
            self._meanwhile[_key(message)] += 1
        partner = self._partner_of(user, message)
        if message.sender == user:
            self.read(user, partner)  # Who answers, here or elsewhere, has read what there was.
        elif not (is_current and partner == self.partner):
            self.unread.add(user, partner)
            self._screen.changed()

    def parted(
        self, user: str, talk: Talk, names: Sequence[str], is_current: bool, unasked: bool = False
    ) -> None:
        """End a user's talks of a kind with these names, or without names with all; there is
        nothing unread any more. The person is told if nobody asked for that here."""
        for partner in [*self.unread.of(user), *([self.partner] if self.partner else [])]:
            if partner.kind == talk.name and (not names or partner.name in names):
                self.read(user, partner)
                if is_current and partner == self.partner:
                    self.end()
                    if unasked:
                        self._ended = partner
                        self._screen.notice(f"The talk with {visible(partner.name)} has ended.")
                    self._screen.changed()

    @property
    def _presentation(self) -> Presentation:
        return self._client.vocabulary.presentation

    def _partner_of(self, user: str, message: ChatMessage) -> Partner:
        return partner_of(self._presentation, user, message)

    def read(self, user: str, partner: Partner) -> None:
        """A user has read what a partner wrote."""
        if self.unread.read(user, partner):
            self._screen.changed()


def _beside(text: str) -> str:
    """The beginning of a text that was not sent."""
    return visible(text if len(text) <= MOST_BESIDE else f"{text[:MOST_BESIDE]}…")
