"""Talks: what one user and one partner say to each other, from before and now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bbs.client.library import BBSClient
from bbs.client.typed import Typed, typed
from bbs.client.values import BadReply, ChatMessage, ClientError, Reply
from bbs.ui.aliases import is_familiar
from bbs.ui.screen import IScreen
from bbs.ui.talk import Talk, Unread, WrongUse, history_line, partner_of
from bbs.ui.text import problem_line, visible

LAST = 20
"""Lines of a conversation that a talk begins with: most of a small window."""

MOST_BESIDE = 60
"""Characters that are shown of a text that was not sent, beside the reason."""


class Talking:
    """Whom the current user talks to, and what is unread."""

    __slots__ = ("_client", "_meanwhile", "_screen", "partner", "unread")

    def __init__(self, client: BBSClient, screen: IScreen) -> None:
        self.partner: Talk | None = None
        self.unread = Unread()
        self._client = client
        self._screen = screen
        self._meanwhile: set[int] | None = None

    async def begin(self, user: str, partner: Talk) -> None:
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
        """What is typed is commands again."""
        self.partner = None

    async def _before(self, user: str, partner: Talk) -> Reply | None:
        """The last of what was said; None where the service does not say, or cannot now."""
        offer = self._client.vocabulary.offers.get("history")
        if offer is None or not is_familiar(offer):
            return None
        try:
            reply = await self._client.request(history_line(user, partner))
        except ClientError as problem:
            self._screen.problem(problem_line(problem))
            return None
        return reply if reply.ok else None

    def show(
        self, user: str, reply: Reply, most: int | None = None, partner: Talk | None = None
    ) -> bool:
        """Show messages of a `history`, the last `most` at the most; whether there were any. Of
        those that came while it was asked for, the reader has seen the lines already. A friend and
        a group may have one name: with `partner` only that one's are shown."""
        seen = self._meanwhile or ()
        try:
            unseen = [
                each
                for each in reply.messages
                if each.id not in seen and (partner is None or partner_of(user, each) == partner)
            ]
        except BadReply:
            return False
        shown = unseen if most is None else unseen[-most:]
        if shown:
            self.read(user, partner_of(user, shown[-1]))
            self._screen.past(user, shown, reply.has_more or len(shown) < len(unseen))
        return bool(shown)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A history is asked for and shown: what comes meanwhile is not shown with it again."""
        self._meanwhile = set()
        try:
            yield
        finally:
            self._meanwhile = None

    def request(self, user: str, text: str) -> Typed:
        """What says `text` to the partner; `WrongUse` where it cannot be said."""
        talk = self.partner or Talk("")
        try:
            return typed("send-group" if talk.group else "send", user, talk.name, text)
        except ValueError as problem:
            raise WrongUse(visible(str(problem))) from None

    def not_sent(self, request: Typed, reply: Reply, several: bool) -> None:
        """That was refused; who said it is one of `several` here, or the only one."""
        text = request.text
        speaker = f" as {visible(request.user)}" if several else ""
        beside = visible(text if len(text) <= MOST_BESIDE else f"{text[:MOST_BESIDE]}…")
        reason = visible(reply.message or "Failed")
        self._screen.problem(f"Not sent{speaker}: {beside} ({reason})")

    def heard(self, user: str, message: ChatMessage, is_current: bool) -> None:
        """A message has been shown: it is unread, unless its reader talks with whom it is from."""
        if self._meanwhile is not None:
            self._meanwhile.add(message.id)
        partner = partner_of(user, message)
        if message.sender == user:
            self.read(user, partner)  # Who answers, here or elsewhere, has read what there was.
        elif not (is_current and partner == self.partner):
            self.unread.add(user, partner)
            self._screen.changed()

    def parted(self, user: str, partner: Talk, is_current: bool) -> None:
        """A user says nothing more to a partner, and need not be reminded of what is unread."""
        self.read(user, partner)
        if is_current and partner == self.partner:
            self.end()
            self._screen.changed()

    def read(self, user: str, partner: Talk) -> None:
        """A user has read what a partner wrote."""
        if self.unread.read(user, partner):
            self._screen.changed()

    def of(self, user: str | None) -> Mapping[Talk, int]:
        """How many messages each partner of a user's wrote since they last talked."""
        return self.unread.of(user or "")
