"""One person's conversation with the service, at whatever kind of terminal.

It holds what the faces for people share: which user is meant where no name is typed, messages to
one partner without repeating whom, passwords that are asked for, what is unread, and in words
which server is lost and which was found. A face gives it lines and shows what it says (`IScreen`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from twisted.internet.defer import CancelledError, Deferred

from bbs.addresses import Address
from bbs.client import completing
from bbs.client.known import QUESTIONS, Known
from bbs.client.library import BBSClient
from bbs.client.own import own_commands
from bbs.client.screen import GivenUp, IScreen
from bbs.client.talk import OwnCommand, Talk, Unread, WrongUse, is_for, partner_of
from bbs.client.text import problem_line, visible
from bbs.client.typed import Typed, typed
from bbs.client.values import ChatMessage, ClientError, Reply, ServiceEvent, Waiting

PASSIVE = ("listen", "events")
"""Commands for what happens by itself here."""

IRREVOCABLE = ("delete",)
"""Commands that are asked about where it was not typed for whom they are."""

SENDING = ("send", "send-group")
"""Commands by which somebody is answered."""

LEAVING = ("logout", "delete")
"""Commands after which their user is not here any more."""

GAVE_UP_PLACE = "Given up waiting for an app server."
GAVE_UP_ANSWER = "Given up: whether it was carried out is not known."


@dataclass(frozen=True)
class Status:
    """How it stands with the current user.

    `server` serves them; None while none is known, and then `lost` says that there was one.
    `waiting` is where a login stands that waits for an app server, whoever's it is.
    """

    server: Address | None = None
    lost: bool = False
    waiting: Waiting | None = None


class Conversation:
    """What one person does here, as any number of users, or (`alone`) as one at a time, whose name
    is never typed. `own` are further commands of the face's."""

    def __init__(
        self,
        client: BBSClient,
        screen: IScreen,
        *,
        alone: bool = False,
        own: Mapping[str, OwnCommand] = MappingProxyType({}),
    ) -> None:
        self.current: str | None = None
        self.talk: Talk | None = None
        self.known = Known()
        self.alone = alone
        self.client = client
        self.screen = screen
        self._servers: dict[str, Address | None] = {}
        self._waiting: Waiting | None = None
        self._unread = Unread()
        self._leaving = ""
        self._searching = False
        self._sent = False
        self._asked: tuple[str | None, str] | None = None
        self._confirmed: tuple[str | None, str] | None = None
        self._over = False
        self._faces_own = own
        client.on_waiting(self._waits)
        client.on_searching(self._searches)
        client.on_event(self._was_told)
        client.on_serving(self._serves)
        client.on_logged_out(self._was_logged_out)

    @property
    def own(self) -> Mapping[str, OwnCommand]:
        """The client's own commands, by name. Which there are depends on what the service has."""
        return {each.name: each for each in own_commands(self)} | dict(self._faces_own)

    # What a face draws

    @property
    def users(self) -> tuple[str, ...]:
        """Who is logged in here."""
        return self.client.users

    @property
    def status(self) -> Status:
        user = self.current or ""
        server = self._servers.get(user)
        return Status(server, server is None and user in self._servers, self._waiting)

    @property
    def unread(self) -> Mapping[Talk, int]:
        """How many messages each partner of the current user wrote since they last talked."""
        return self._unread.of(self.current or "")

    @property
    def unread_elsewhere(self) -> int:
        """How many messages are unread by the other users here."""
        return self._unread.elsewhere(self.current or "")

    def completions(self, line: str) -> Sequence[completing.Completion]:
        """What the word at the end of `line` may become, from what is known."""
        return completing.completions(self, line)

    def hint(self, line: str) -> str:
        """How the command that `line` begins with is used; empty where there is nothing to say."""
        return completing.hint(self, line)

    # Lines

    def carry_out(self, line: str, as_text: bool = False) -> Deferred[bool]:
        """Do what a line says; fires with False when that ends the conversation. In a talk a line
        that is there `as_text` is said, whatever it begins with: it was pasted among others.

        Cancelled it waits no more, and fires with True: everybody stays logged in.
        """
        self._confirmed, self._asked = self._asked, None
        return Deferred.fromCoroutine(self._carry_out(line, as_text))

    def end(self) -> None:
        """Let the line that is being carried out be the last."""
        self._over = True

    def close(self) -> Deferred[None]:
        """End all connections; users stay logged in at the service."""
        return self.client.close()

    async def _carry_out(self, line: str, as_text: bool) -> bool:
        self._sent = False
        try:
            if as_text and self.talk and line.strip():
                await self._say(self.talk, line)
            else:
                await self._do(line)
        except CancelledError:
            if self._searching or not self._sent:
                self.screen.notice("Given up.")  # What is looked for has been sent nothing.
            else:
                self.screen.notice(GAVE_UP_PLACE if self._waiting else GAVE_UP_ANSWER)
        except GivenUp:
            self.screen.notice("Given up.")
        except WrongUse as problem:
            self.screen.problem(str(problem))
        except ClientError as problem:
            self.screen.problem(problem_line(problem))
        finally:
            self._waits(None)
        return not self._over

    async def _do(self, line: str) -> None:
        if self.talk and line.strip() not in ("", "end"):
            command, line = line.startswith("/"), line.removeprefix("/")
            if not command or line.startswith("/"):
                return await self._say(self.talk, line)
        words = line.split()
        if not words:
            return
        own = self.own.get(words[0])
        if own is None:
            return await self._ask(line)
        try:
            running = own.run(words[1:])
            if running is not None:
                await running
        except WrongUse as problem:
            raise WrongUse(str(problem) or f"Usage: {own.usage}") from None

    async def _ask(self, line: str) -> None:
        request = await self._meant(line)
        name, words = request.name, request.words
        if name == "login" and self.alone and self.current:
            raise WrongUse(f"You are logged in as {visible(self.current)}; log out first.")
        if name in ("login", "register") and len(words) == 2:
            password = await self._password(name, visible(words[1]))
            request = await self._understood(f"{name} {words[1]} {password}")
        if name in PASSIVE:
            self.screen.notice("Messages come by themselves here.")
            return
        self._leaving = request.user if name in LEAVING else ""
        try:
            reply = await self._request(request)
        finally:
            self._leaving = ""
        self.screen.reply(request, reply)
        self.known.learn(request, reply)
        if reply.ok and name == "login":
            await self._logged_in(request.words[1])
        elif reply.ok and name in LEAVING:
            self._gone(request.user)
        elif reply.ok and request.familiar in SENDING:
            self._read(request.user, Talk(words[2], group=name == "send-group"))

    async def _request(self, request: Typed) -> Reply:
        self._sent = True
        return await self.client.request(request.line)

    async def _understood(self, line: str) -> Typed:
        """A request to this service; `WrongUse` if it is none."""
        try:
            return await self.client.understand(line)
        except ValueError as problem:
            raise WrongUse(visible(str(problem))) from None

    async def _meant(self, line: str) -> Typed:
        """The request that a line means: with the current user's name where none is typed."""
        request = await self._understood(line)
        # The name of a user here comes first where a name is typed; if too little follows, it is
        # something else: a friend who is logged in here too, or the beginning of a text.
        named = not self.alone and request.user in self.users and request.is_complete
        if not request.takes_user or named or self.current is None:
            return request
        if request.name in IRREVOCABLE and self._confirmed != (self.current, line):
            self._asked = self.current, line
            name = visible(self.current)
            raise WrongUse(f"That is for good. Type it once more, and {name} is no more.")
        command, space, rest = line.lstrip(" ").partition(" ")
        return await self._understood(f"{command} {self.current}{space}{rest}")

    async def _password(self, command: str, name: str) -> str:
        password = await self.screen.ask_password(f"Password for {name}: ")
        if not password or " " in password:
            raise WrongUse("A password is one word, without spaces.")
        again = "The same once more: "
        if command == "register" and await self.screen.ask_password(again) != password:
            raise WrongUse("These are two passwords; nothing was registered.")
        return password

    # Users

    async def _logged_in(self, user: str) -> None:
        self.known.begin(user)
        self.become(user)
        # What is known is for completion only: nobody waits for it, or is told that it failed.
        Deferred.fromCoroutine(self._inquire(user)).addErrback(
            lambda failure: failure.trap(ClientError)
        )
        try:
            await self.client.listen(user, self._heard)
        except CancelledError:
            self.screen.notice(f"{visible(user)} is logged in; messages come once they can.")

    async def _inquire(self, user: str) -> None:
        asked = []
        for question in QUESTIONS:
            request = await self.client.understand(f"{question} {user}")
            if request.familiar:
                # Nobody completes among more than a first part has.
                asked.append((request, self.client.request(request.line, whole=False)))
        # They go together; each that fails has an answer of its own, and none is waited for here.
        for request, asking in asked:
            asking.addCallback(partial(self.known.learn, request))
            asking.addErrback(lambda failure: failure.trap(ClientError))

    def become(self, user: str | None) -> None:
        """Speak as another of `users`, or as nobody."""
        self.current, self.talk = user, None
        self.screen.changed()

    def _gone(self, user: str) -> None:
        self.known.forget(user)
        self._servers.pop(user, None)
        self._unread.forget(user)
        if user == self.current:
            self.become(self.users[-1] if self.users else None)

    # What the service says unasked

    def _waits(self, waiting: Waiting | None) -> None:
        if waiting != self._waiting:
            self._waiting = waiting
            self.screen.changed()

    def _searches(self, login_server: Address | None) -> None:
        self._searching = login_server is not None
        if login_server is None:
            self.screen.notice("The login server is there again.")
        else:
            self.screen.problem(f"The login server {login_server} is away. Looking for it…")

    def _serves(self, user: str, address: Address | None) -> None:
        before = self._servers.get(user, address)
        unheard_of = user not in self._servers
        self._servers[user] = address
        if address is None:
            self.screen.problem(f"The server {before} is lost. Looking for another…")
        else:
            self._waiting = None
            if not unheard_of and before != address:
                self.screen.notice(f"{visible(user)} is served at {address} now.")
        self.screen.changed()

    def _was_logged_out(self, user: str) -> None:
        if user == self._leaving:
            return self._gone(user)
        self.screen.notice(f"{visible(user)} was logged out.")
        was_current = user == self.current
        self._gone(user)
        if was_current and self.users:
            # What is typed next, or was already, must not become somebody else's words unasked.
            self.become(None)
            self.screen.notice(f"use NAME to go on as {' or '.join(map(visible, self.users))}.")
        return None

    def _heard(self, user: str, message: ChatMessage) -> None:
        self.known.heard(user, message)
        self.screen.message(user, message, is_for(user, message))
        partner = partner_of(user, message)
        if message.sender != user and not (user == self.current and partner == self.talk):
            self._unread.add(user, partner)
            self.screen.changed()

    def _was_told(self, user: str, event: ServiceEvent) -> None:
        if event.text:
            self.screen.event(user, event)

    # Talking

    def begin_talk(self, partner: Talk | None) -> None:
        """Have what is typed go to `partner`; None: be commands again."""
        self.talk = partner
        if partner is not None:
            self._read(self.current or "", partner)
        self.screen.changed()

    def _read(self, user: str, partner: Talk) -> None:
        """Who answers has read what there was."""
        if self._unread.read(user, partner):
            self.screen.changed()

    async def _say(self, talk: Talk, text: str) -> None:
        command = "send-group" if talk.group else "send"
        try:
            request = typed(command, self.current or "", talk.name, text)
        except ValueError as problem:
            raise WrongUse(visible(str(problem))) from None
        reply = await self._request(request)
        if not reply.ok:
            self.screen.reply(request, reply)
