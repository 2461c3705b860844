"""One person's conversation with the service, at whatever kind of terminal.

It holds what the faces for people share: which user is meant where no name is typed, messages to
one partner without repeating whom, passwords that are asked for, what is unread, and in words
which server is lost and which was found. A face gives it lines and shows what it says (`IScreen`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from bbs.client.client import ServiceClient
from bbs.client.echo_filter import SentLine
from bbs.client.errors import ClientError, TurnedAway
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply, Waiting, read_id
from bbs.client.request import ClientRequest
from bbs.core.addresses import Address
from bbs.protocols.presentation import Presentation, member
from bbs.ui import completion
from bbs.ui.builtins import builtin_commands
from bbs.ui.chat import Chat, Partner, is_for, is_said
from bbs.ui.completion import NameCache
from bbs.ui.interfaces import BuiltinCommand, IConversation, IScreen, PromptCancelled, UsageError
from bbs.ui.interpreter import interpret, parse_line
from bbs.ui.output import event_entry, notices_line, problem_line, visible
from bbs.ui.prompts import Confirmation, lacks_passwords, with_passwords


@dataclass(frozen=True)
class Status:
    """How it stands with the current user.

    `server` serves them; None while none is known, and then `lost` says that there was one.
    `waiting` is where a login stands that waits for an app server, whoever's it is.
    """

    server: Address | None = None
    lost: bool = False
    waiting: Waiting | None = None


class ServerStatus:
    """What is known of the servers of all users here; `screen` shows when that changes."""

    __slots__ = ("_screen", "_servers", "searching", "waiting")

    def __init__(self, screen: IScreen) -> None:
        self.waiting: Waiting | None = None
        self.searching = False
        """Whether the login server is away."""
        self._screen = screen
        self._servers: dict[str, Address | None] = {}

    def of(self, user: str | None) -> Status:
        server = self._servers.get(user or "")
        return Status(server, server is None and (user or "") in self._servers, self.waiting)

    def forget(self, user: str) -> None:
        self._servers.pop(user, None)

    def waits(self, waiting: Waiting | None) -> None:
        if waiting != self.waiting:
            self.waiting = waiting
            self._screen.changed()

    def searches(self, login_server: Address | None) -> None:
        self.searching = login_server is not None
        if login_server is None:
            self._screen.notice("The login server is there again.")
        else:
            self._screen.problem(f"The login server {login_server} is away. Looking for it…")

    def serves(self, user: str, address: Address | None) -> None:
        before = self._servers.get(user, address)
        unheard_of = user not in self._servers
        self._servers[user] = address
        if address is None:
            self._screen.problem(f"The server {before} is lost. Looking for another…")
        else:
            self.waiting = None
            if not unheard_of and before != address:
                self._screen.notice(f"{visible(user)} is served at {address} now.")
        self._screen.changed()


__all__ = ["Conversation", "Status"]

PASSIVE = ("listen", "events")
"""Commands for what happens by itself here."""

ENDING = ("exit", "quit")
"""Commands after which nothing more can be said, in a talk or at all."""

LEAVING = ("logout", "delete")
"""Commands after which their user is not here any more."""

GAVE_UP_PLACE = "Given up waiting for an app server."
GAVE_UP_ANSWER = "Given up: whether it was carried out is not known."


@implementer(IConversation)
class Conversation:
    """What one person does here, as any number of users, or (`alone`) as one at a time, whose name
    is never typed. `own` are further commands of the face's."""

    def __init__(
        self,
        client: ServiceClient,
        screen: IScreen,
        *,
        alone: bool = False,
        own: Mapping[str, BuiltinCommand] = MappingProxyType({}),
    ) -> None:
        self.current: str | None = None
        self.known = NameCache(client.vocabulary)
        self.alone = alone
        self.client = client
        self.screen = screen
        self._status = ServerStatus(screen)
        self._confirmation = Confirmation()
        self._chat = Chat(client, screen)
        self._leaving = ""
        self._sent = False
        self._over = False
        self._faces_own = own
        client.on_waiting(self._status.waits)
        client.on_searching(self._status.searches)
        client.on_event(self._was_told)
        client.on_sent(self._has_sent)
        client.on_serving(self._status.serves)
        client.on_logged_out(self._was_logged_out)

    @property
    def own(self) -> Mapping[str, BuiltinCommand]:
        """The client's own commands, by name. Which there are depends on what the service has."""
        return {each.name: each for each in builtin_commands(self)} | dict(self._faces_own)

    # What a face draws

    @property
    def _presentation(self) -> Presentation:
        return self.client.vocabulary.presentation

    @property
    def users(self) -> tuple[str, ...]:
        """Who is logged in here."""
        return self.client.users

    @property
    def status(self) -> Status:
        return self._status.of(self.current)

    @property
    def talk(self) -> Partner | None:
        """The partner that lines go to which are not commands."""
        return self._chat.partner

    @property
    def unread(self) -> Mapping[Partner, int]:
        """How many messages each partner of the current user wrote since they last talked."""
        return self._chat.unread.of(self.current or "")

    @property
    def unread_elsewhere(self) -> int:
        """How many messages are unread by the other users here."""
        return self._chat.unread.elsewhere(self.current or "")

    def completions(self, line: str) -> Sequence[completion.Completion]:
        """What the word at the end of `line` may become, from what is known."""
        return completion.completions(self, line)

    def hint(self, line: str) -> str:
        """How the command that `line` begins with is used; empty where there is nothing to say."""
        return completion.hint(self, line)

    # Lines

    def carry_out(self, line: str, as_text: bool = False) -> Deferred[bool]:
        """Do what a line says; fires with False when that ends the conversation. In a talk a line
        that is there `as_text` is said, whatever it begins with: it was pasted among others.

        Cancelled it waits no more, and fires with True: everybody stays logged in.
        """
        self._confirmation.next_line()
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
            if self._chat.missed(line, as_text):
                pass  # It is for nobody any more, and no command.
            elif as_text and self.talk and line.strip():
                await self._say(line)
            else:
                await self._do(line)
        except CancelledError:
            if self._status.searching or not self._sent:
                self.screen.notice("Given up.")  # What is looked for has been sent nothing.
            else:
                self.screen.notice(GAVE_UP_PLACE if self.status.waiting else GAVE_UP_ANSWER)
        except PromptCancelled:
            self.screen.notice("Given up.")
        except UsageError as problem:
            self.screen.problem(str(problem))
        except ClientError as problem:
            self.screen.problem(problem_line(problem))
        finally:
            self._status.waits(None)
        return not self._over

    async def _do(self, line: str) -> None:
        if self.talk and is_said(line):
            return await self._say(line[1:] if line.startswith("//") else line)
        if self.talk and line.rstrip(" ") in ENDING:
            self._confirmation.ask(
                self.current, line, f"end ends the talk; {line.strip()} once more leaves."
            )
        line = line.removeprefix("/")
        words = line.split()
        if not words:
            return
        if words[0].startswith("?"):
            words = ["help", *line.replace("?", " ", 1).split()]
        own = self.own.get(words[0])
        if own is None:
            return await self._ask(line)
        try:
            running = own.run(words[1:])
            if running is not None:
                await running
        except UsageError as problem:
            raise UsageError(str(problem) or f"Usage: {own.usage}") from None

    async def _ask(self, line: str) -> None:
        request = await interpret(self, self._confirmation, line)
        name, words = request.name, request.words
        if name == "login" and self.alone and self.current:
            raise UsageError(f"You are logged in as {visible(self.current)}; log out first.")
        if lacks_passwords(request):
            request = await parse_line(self, await with_passwords(self.screen, request))
        if name in PASSIVE:
            self.screen.notice("Messages come by themselves here.")
            return
        self._leaving = request.user if name in LEAVING else ""
        try:
            histories = self._presentation.histories
            with self._chat.asking() if name in histories else nullcontext():
                reply = await self._request(request)
                self._show(request, reply)
        finally:
            self._leaving = ""
        self.known.learn(request, reply)
        if reply.ok and name == "login":
            await self._logged_in(words[1], reply)
        elif reply.ok and name in LEAVING:
            self._gone(request.user)
        elif reply.ok and request.is_complete:
            self._talked(request)

    def _talked(self, request: ClientRequest) -> None:
        """A command was carried out: by some a user says something to a partner, by some nothing
        more is said to one."""
        user, name, presentation = request.user, request.name, self._presentation
        talk, said = presentation.sends(name), SentLine.by_request(presentation, request)
        if talk is not None and said is not None:
            return self._chat.read(user, Partner(talk, said.partner))
        gone = () if request.argument is None else (request.argument,)
        parting = {each.name for each in presentation.choices if name in each.removed_by}
        for talk in presentation.talks:
            if name in talk.ended_by:
                self._chat.parted(user, talk, (), user == self.current)
            elif talk.choices in parting:
                self._chat.parted(user, talk, gone, user == self.current)
        return None

    def _show(self, request: ClientRequest, reply: ServiceReply) -> None:
        user = request.user
        past = request.name in self._presentation.histories and reply.ok
        if past and self._chat.show(user, reply):
            return
        if not reply.ok and len(self.users) > 1 and user in self.users:
            said = f"{user}: {reply.message or 'Failed'}"
            reply = replace(reply, members={**reply.members, "message": said})
        self.screen.reply(request, reply)

    async def _request(self, request: ClientRequest) -> ServiceReply:
        self._sent = True
        return completion.corrected(self, request, await self.client.request(request.line))

    # Users

    async def _logged_in(self, user: str, reply: ServiceReply) -> None:
        self.known.begin(user)
        self.become(user)
        # The names are for completion only: nobody waits for them, or hears that this failed.
        Deferred.fromCoroutine(self._inquire(user)).addErrback(
            lambda failure: failure.trap(ClientError)
        )
        try:
            # The service says what of its reply people are told, and which events are messages.
            if not self.client.vocabulary.learned:
                await self.client.learn()
            if words := notices_line(self._presentation, reply):
                self.screen.notice(words)
            await self._listen(user, reply)
        except CancelledError:
            # The person waits no longer, but messages are to come.
            listening = self.client.learn().addCallback(lambda _: self._listen(user, reply))
            listening.addErrback(lambda failure: failure.trap(ClientError))
            self._say_later(user)
        except TurnedAway as problem:
            self.screen.problem(problem_line(problem))
            self._say_later(user)

    def _listen(self, user: str, reply: ServiceReply) -> Deferred[None]:
        """Listen for a user from where the reply to `login` says."""
        after = read_id(member(reply.members, self._presentation.after))
        return self.client.listen(user, self._heard, after=after)

    def _say_later(self, user: str) -> None:
        self.screen.notice(f"{visible(user)} is logged in; messages come once they can.")

    async def _inquire(self, user: str) -> None:
        await self.client.learn()  # What there is to be completed, the service says.
        asked = []
        for question in self.known.questions():
            request = await self.client.understand(f"{question} {user}")
            # Nobody completes among more than a first part has.
            asked.append((request, self.client.request(request.line, whole=False)))
        # They go together; each that fails has an answer of its own, and none is waited for here.
        for request, asking in asked:
            asking.addCallback(partial(self.known.learn, request))
            asking.addErrback(lambda failure: failure.trap(ClientError))

    def become(self, user: str | None) -> None:
        """Speak as another of `users`, or as nobody."""
        self.current = user
        self.end_talk()

    def _gone(self, user: str) -> None:
        self.known.forget(user)
        self._status.forget(user)
        self._chat.unread.forget(user)
        if user == self.current:
            self.become(self.users[-1] if self.users else None)

    # What the service says unasked

    def _was_logged_out(self, user: str) -> None:
        if user == self._leaving:
            return self._gone(user)
        self.screen.notice(f"{visible(user)} was logged out.")
        was_current = user == self.current
        self._gone(user)
        if was_current and self.users:
            # Lines that are typed next, or were already, must not become another user's words.
            self.become(None)
            self.screen.notice(f"use NAME to go on as {' or '.join(map(visible, self.users))}.")
        return None

    def _heard(self, user: str, message: ChatMessage) -> None:
        self.known.heard(user, message)
        # A message to a room reaches its sender too, who has just typed it.
        if message.sender != user or not self.client.was_said_here(message):
            self._show_message(user, message)

    def _has_sent(self, user: str, message: ChatMessage) -> None:
        self.known.heard(user, message)
        self._show_message(user, message)

    def _show_message(self, user: str, message: ChatMessage) -> None:
        self.screen.message(user, message, is_for(user, message))
        self._chat.heard(user, message, user == self.current)

    def _was_told(self, user: str, event: ServiceEvent) -> None:
        gone = self.known.told(user, event)
        for talk in self._presentation.talks:
            if (name := gone.get(talk.choices)) is not None:
                self._chat.parted(user, talk, (name,), user == self.current, unasked=True)
        if event_entry(self._presentation, event).text:
            self.screen.event(user, event)

    # Talking

    async def begin_talk(self, partner: Partner) -> None:
        """Have what is typed go to `partner`."""
        await self._chat.begin(self.current or "", partner)

    def end_talk(self) -> None:
        """Have what is typed be commands again."""
        self._chat.end()
        self.screen.changed()

    async def _say(self, text: str) -> None:
        request = self._chat.request(self.current or "", text)
        reply = await self._request(request)
        if not reply.ok:
            self._chat.not_sent(request, reply, len(self.users) > 1)
