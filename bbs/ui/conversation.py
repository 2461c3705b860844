"""One person's conversation with the service, at whatever kind of terminal.

A `Conversation` has what all interfaces for people share: the current user, who is meant when no
name is typed, talks with one partner, password prompts, unread counts, help and the client's other
own commands, and notices about servers that are lost and found. An interface gives it lines and
shows its output (`IScreen`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall

from bbs.client.client import ServiceClient
from bbs.client.echo_filter import SentLine
from bbs.client.errors import ClientError, GivenUp, TurnedAway
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply, Waiting, read_id
from bbs.client.request import ClientRequest
from bbs.core.addresses import Address
from bbs.protocols.commands import WrongUsage
from bbs.protocols.forms import member
from bbs.protocols.presentation import Presentation
from bbs.ui.chat import PRESENCE_AGE, Chat, Partner, is_for, is_said, said_text
from bbs.ui.completion import NameCache, fetch_partners, usage
from bbs.ui.help import EXIT_HELP, help_lines, help_of
from bbs.ui.interfaces import BuiltinCommand, IScreen, PromptCancelled, UsageError
from bbs.ui.interpreter import (
    IRREVOCABLE,
    interpret,
    parse_line,
)
from bbs.ui.lookalikes import LookalikeWarnings
from bbs.ui.output import event_entry, notices_line, visible
from bbs.ui.prompts import (
    NO_SPACES,
    Confirmation,
    confirm_deletion,
    lacks_passwords,
    with_passwords,
    without_password,
)
from bbs.ui.unsent import (
    GIVEN_UP,
    OF_SERVICE,
    failed_line,
    refused_line,
    typed_line,
    unsent_line,
    unsent_lines,
)
from bbs.ui.wording import FAILURES, failure_text, problem_words, reply_words, typing_line


@dataclass(frozen=True)
class Status:
    """The connection of the current user. `server` serves them, None while it is unknown; `lost`
    says that there was one. `waiting` is the place in the queue of any login that waits for an app
    server."""

    server: Address | None = None
    lost: bool = False
    waiting: Waiting | None = None


@dataclass(slots=True, eq=False, repr=False)
class ServerStatus:
    """The servers of all users here; the screen shows changes."""

    _screen: IScreen
    waiting: Waiting | None = None
    searching: bool = False  # the login server is away
    _servers: dict[str, Address | None] = field(default_factory=dict)

    def of(self, user: str | None) -> Status:
        server = self._servers.get(user or "")
        return Status(server, server is None and (user or "") in self._servers, self.waiting)

    def forget(self, user: str) -> None:
        self._servers.pop(user, None)

    def set_waiting(self, waiting: Waiting | None) -> None:
        if waiting != self.waiting:
            self.waiting = waiting
            self._screen.changed()

    def set_searching(self, login_server: Address | None) -> None:
        self.searching = login_server is not None
        if login_server is None:
            self._screen.notice("The server is there again.")
        else:
            self._screen.problem("Server unreachable. Retrying…")

    def set_server(self, user: str, address: Address | None) -> None:
        before = self._servers.get(user, address)
        unheard_of = user not in self._servers
        self._servers[user] = address
        whose = f" of {visible(user)}" if len(self._servers) > 1 else ""
        if address is None:
            self._screen.problem(f"Connection{whose} lost. Reconnecting…")
        else:
            self.waiting = None
            if not unheard_of and before != address:
                self._screen.notice(f"Reconnected{whose and f' as {visible(user)}'}.")
        self._screen.changed()


FOLDED = 1.0
"""Seconds in which further events with the same words become one line."""


@dataclass(slots=True, eq=False, repr=False)
class _Burst:
    """Events with the same words: how many have come, and the last of those not shown yet."""

    total: int = 1
    held: int = 0
    last: ServiceEvent | None = None
    timer: IDelayedCall | None = None


@dataclass(slots=True, eq=False, repr=False)
class EventFolding:
    """Shows events. The first is shown at once; those that follow within `FOLDED` seconds and have
    the same words for many (`Line.many`) become one line, with the number of all so far. A program
    that reads the screen gets every event."""

    _client: ServiceClient
    _screen: IScreen
    _bursts: dict[tuple[str, str], _Burst] = field(default_factory=dict)

    def show(self, user: str, event: ServiceEvent) -> None:
        line = self._client.vocabulary.presentation.event(event.members)
        words = None if self._screen.for_programs else line.repeated(event.members, str, 0)
        if words is None:
            return self._screen.event(user, event)
        burst = self._bursts.get((user, words))
        if burst is None:
            self._bursts[user, words] = burst = _Burst()
            self._wait(burst, user, words)
            return self._screen.event(user, event)
        burst.total, burst.held, burst.last = burst.total + 1, burst.held + 1, event
        return None

    def forget(self, *users: str) -> None:
        """Show nothing more of what is held for these users."""
        for key in [key for key in self._bursts if key[0] in users]:
            timer = self._bursts.pop(key).timer
            if timer is not None:
                timer.cancel()

    def _wait(self, burst: _Burst, user: str, words: str) -> None:
        burst.timer = self._client.clock.callLater(FOLDED, self._show_held, burst, user, words)

    def _show_held(self, burst: _Burst, user: str, words: str) -> None:
        held, event = burst.held, burst.last
        if event is None:
            del self._bursts[user, words]
            return
        burst.held, burst.last = 0, None
        self._wait(burst, user, words)
        self._screen.event(user, event if held == 1 else replace(event, times=burst.total))


OWN_EVENT = 10.0
"""Seconds after a user's command in which the event that it caused may come. Later ones tell of
something that the user did at another terminal."""


@dataclass(slots=True, eq=False, repr=False)
class _Act:
    """A command that changes something, with its last argument, and when its reply came. The event
    that it causes comes by the connection that listens, before the reply or after it."""

    user: str
    argument: str
    answered: float = math.inf

    def has_caused(self, event: ServiceEvent, by: str) -> bool:
        """Whether an event may tell of this act, with its user in the member `by`."""
        if not by or member(event.members, by) != self.user:
            return False
        values = [each for each in event.members.values() if isinstance(each, str | int)]
        return self.argument in [str(each).strip() for each in values]


PASSIVE = ("listen", "events")  # commands that a conversation carries out by itself
ENDING = ("exit", "quit")  # commands that end the conversation
LEAVING = ("logout", "delete")  # commands that log their user out

GAVE_UP = "Given up."
GAVE_UP_PLACE = "Given up waiting for a server."


class Conversation:
    """One person's conversation, as any number of users, or one at a time whose name is never typed
    (`single_user`); `builtins` are further commands of the interface. `current` is the user who
    speaks, if one is logged in; `known` are the names for completion."""

    def __init__(
        self,
        client: ServiceClient,
        screen: IScreen,
        *,
        single_user: bool = False,
        builtins: Mapping[str, BuiltinCommand] = MappingProxyType({}),
    ) -> None:
        self.current: str | None = None
        self.known = NameCache(client.vocabulary)
        self.single_user = single_user
        self.client = client
        self.screen = screen
        self._status = ServerStatus(screen)
        self._confirmation = Confirmation()
        self._chat = Chat(client, screen, not single_user)  # a gateway has no line for it
        self._leaving = ""
        self._line = ""
        self._request_made: ClientRequest | None = None
        self._lookalikes = LookalikeWarnings(client, screen, self.known)
        self._events = EventFolding(client, screen)
        self._acts: list[_Act] = []  # Their events may yet come.
        self._over = False
        self._more_builtins = builtins
        client.on_waiting(self._status.set_waiting)
        client.on_searching(self._status.set_searching)
        client.on_event(self._event)
        client.on_sent(self._show_message)
        client.on_serving(self._status.set_server)
        client.on_logged_out(self._was_logged_out)

    @property
    def builtins(self) -> Mapping[str, BuiltinCommand]:
        """The client's own commands, by name; they depend on the service's presentation."""
        return {each.name: each for each in builtin_commands(self)} | dict(self._more_builtins)

    @property
    def users(self) -> tuple[str, ...]:
        return self.client.users

    @property
    def status(self) -> Status:
        return self._status.of(self.current)

    @property
    def talk(self) -> Partner | None:
        """The partner who gets the lines that are not commands."""
        return self._chat.partner

    @property
    def presence(self) -> str:
        """A word that says whether the partner is there, such as `here`; empty if unknown."""
        return self._chat.presence(self.current or "")

    @property
    def unread(self) -> Mapping[Partner, int]:
        """How many messages each partner of the current user wrote since they last talked."""
        return self._chat.unread.get(self.current or "", {})

    @property
    def unread_elsewhere(self) -> int:
        """How many messages the other users here have not read."""
        counts = self._chat.unread.items()
        return sum(each.total() for user, each in counts if user != self.current)

    def carry_out(self, line: str, as_text: bool = False) -> Deferred[bool]:
        """Carry out a line; fires with False if it ends the conversation. In a talk, a line
        `as_text` (pasted among others) is a message, whatever it begins with. Cancelling stops the
        wait: it fires with True, and everybody stays logged in."""
        self._confirmation.next_line()
        return Deferred.fromCoroutine(self._carry_out(line, as_text))

    async def resume(self, user: str, token: str) -> None:
        """Go on with a session of an earlier run. Fails as `client.resume` does."""
        await self.client.resume(user, token)
        self.screen.notice(f"Welcome back, {visible(user)}.")
        try:
            await self._logged_in(user, None)
        finally:
            self._status.set_waiting(None)

    def end(self) -> None:
        """End the conversation after the line that is being carried out."""
        self._over = True

    def stop_listening(self) -> None:
        """Get no more messages: they wait for the next login."""
        self.client.stop_listening()

    def close(self) -> Deferred[None]:
        """End all connections; users stay logged in at the service."""
        self._events.forget(*self.users)
        return self.client.close()

    def drop(self, lines: Iterable[str | None]) -> None:
        """Say that the lines that waited are not sent; None is one that was typed hidden."""
        self._chat.forget_missed()
        for words in unsent_lines(lines):
            self.screen.problem(words)

    async def _carry_out(self, line: str, as_text: bool) -> bool:
        self._line, self._request_made = without_password(line), None
        try:
            if self._chat.reject_missed(line, as_text):
                pass  # Its talk has ended, and it is no command.
            elif as_text and self.talk and line.strip():
                await self._say(line)
            else:
                await self._do(line)
        except CancelledError as problem:
            self._report_given_up(was_sent=isinstance(problem, GivenUp))
        except PromptCancelled:
            self.screen.notice(GAVE_UP)
        except UsageError as problem:
            self.screen.problem(str(problem))
        except ClientError as problem:
            self.screen.problem(failed_line(self._line, problem, self._speaker))
        except Exception:
            why = "a fault of this client"
            self.screen.problem(unsent_line(self._line, why, known=False, speaker=self._speaker))
            raise
        finally:
            self._status.set_waiting(None)
        return not self._over

    @property
    def _speaker(self) -> str:
        """The user of the last request, if several are here."""
        request, several = self._request_made, len(self.users) > 1
        return request.user if several and request is not None else ""

    def _report_given_up(self, was_sent: bool) -> None:
        request = self._request_made
        if request is None or request.harmless:
            self.screen.notice(GAVE_UP_PLACE if self.status.waiting else GAVE_UP)
        else:
            speaker = self._speaker
            self.screen.problem(
                unsent_line(self._line, GIVEN_UP, known=not was_sent, speaker=speaker)
            )

    async def _do(self, line: str) -> None:
        if self.talk and is_said(line):
            return await self._say(said_text(line))
        if self.talk and line.rstrip(" ") in ENDING:
            question = f"Type end to stop talking, or {line.strip()} again to leave."
            self._confirmation.ask(self.current, line, question)
        line = line.removeprefix("/")
        words = line.split()
        if not words:
            return
        if words[0].startswith("?"):
            words = ["help", *line.replace("?", " ", 1).split()]
        own = self.builtins.get(words[0])
        if own is None:
            return await self._ask(line)
        try:
            running = own.run(words[1:])
            if running is not None:
                await running
        except UsageError as problem:
            raise UsageError(str(problem) or self._how_to_type(own.usage)) from None

    async def _ask(self, line: str) -> None:
        request = await interpret(self, self._confirmation, line)
        name, words = request.name, request.words
        alone = self.current if self.single_user else None
        if name == "login" and alone and alone not in words[1:2]:
            raise UsageError(f"You are logged in as {visible(alone)}. Log out first.")
        if name == "register" and len(words) > 2 and not self.screen.for_programs:
            raise UsageError(NO_SPACES)
        if lacks_passwords(request):
            request = await parse_line(self, await with_passwords(self.screen, request))
        if name in PASSIVE:
            self.screen.notice("Messages arrive by themselves here.")
            return
        if name in IRREVOCABLE and self.users:
            await self._confirm_deletion(request)
        await self._ask_service(request)

    async def _confirm_deletion(self, request: ClientRequest) -> None:
        if request.user not in self.users or len(request.words) > 2:
            raise UsageError(self._how_to_type(usage(self, request.info)) if request.info else "")
        self.screen.discard_lines()  # None of them may answer the question.
        await confirm_deletion(self.screen, request.user)

    async def _ask_service(self, request: ClientRequest) -> None:
        name, words = request.name, request.words
        self._leaving = request.user if name in LEAVING else ""
        self._line = typed_line(request, self._line)
        try:
            histories = self.client.vocabulary.presentation.histories
            with self._chat.loading() if name in histories else nullcontext():
                reply = await self._request(request)
                self._show(request, reply)
        finally:
            self._leaving = ""
        self.known.learn(request, reply)
        if reply.ok and name == "login":
            await self._logged_in(words[1], reply)
        elif reply.ok and name == "register":
            await self._registered(*words[1:])
        elif reply.ok and name in LEAVING:
            if name in IRREVOCABLE:
                self.screen.discard_lines()  # They were for an account that is gone.
            self._leave(request.user)
        elif reply.ok and request.is_complete:
            self._lookalikes.check_list(request, reply)
            self._update_talks(request)

    async def _registered(self, user: str, password: str) -> None:
        """Log a new user in, unless somebody is here: their talk would end by it."""
        if self.current is None:
            await self._ask_service(await parse_line(self, f"login {user} {password}"))
        elif not self.screen.for_programs:
            here = visible(self.current)
            step = f"You are still logged in as {here}." if self.single_user else ""
            self.screen.notice(step or f"Try: login {visible(user)}")

    def _update_talks(self, request: ClientRequest) -> None:
        """Mark a partner as read after a message to them; end the talks that a command ends."""
        user, name, presentation = request.user, request.name, self.client.vocabulary.presentation
        talk, said = presentation.sends(name), SentLine.by_request(presentation, request)
        if talk is not None and said is not None:
            return self._chat.mark_read(user, Partner(talk, said.partner))
        removed = () if request.argument is None else (request.argument,)
        parting = {each.name for each in presentation.choices if name in each.removed_by}
        for talk in presentation.talks:
            if name in talk.ended_by:
                self._chat.part(user, talk, (), user == self.current)
            elif talk.choices in parting:
                self._chat.part(user, talk, removed, user == self.current)
        return None

    def _show(self, request: ClientRequest, reply: ServiceReply) -> None:
        user = request.user
        if reply.code in OF_SERVICE and not request.harmless:
            return self._say_refused(request, reply)
        past = request.name in self.client.vocabulary.presentation.histories and reply.ok
        if past and self._chat.show(user, reply):
            return None
        said = ""
        if not (reply.ok and self.screen.for_programs):
            said = reply_words(self.client.vocabulary.presentation, request, reply)
        if not reply.ok and len(self.users) > 1 and user in self.users:
            said = f"{user}: {said or reply.message or 'Failed'}"
        if said:
            # An older server's reply has its code in its text alone.
            code = {"code": reply.code} if reply.code else {}
            reply = replace(reply, members={**reply.members, **code, "message": said})
        return self.screen.reply(request, reply)

    async def _request(self, request: ClientRequest) -> ServiceReply:
        self._request_made = request
        acts = request.takes_user and not request.harmless
        act = _Act(request.user, request.text.strip() or request.words[-1])
        self._acts = [*self._recent_acts(), *([act] if acts else [])]
        try:
            reply = await self.client.request(request.line)
        finally:
            act.answered = self.client.clock.seconds()
        if not reply.ok and act in self._acts:
            self._acts.remove(act)
        info = self.client.vocabulary.commands.get(request.name)
        if info is None or reply.code != WrongUsage.code:
            return reply
        # The server does not know which arguments need not be typed here.
        message = self._how_to_type(usage(self, info))
        return replace(reply, members={**reply.members, "message": message})

    def _how_to_type(self, text: str) -> str:
        return f"Usage: {text}" if self.screen.for_programs else typing_line(text)

    async def _logged_in(self, user: str, reply: ServiceReply | None) -> None:
        """Begin as a user; `reply` is that to the login, None where a session goes on."""
        self.known.begin(user)
        self._lookalikes.begin(user)
        self.become(user)
        # The names are for completion only, so nothing waits for them and failures are silent.
        names = Deferred.fromCoroutine(self._load_names(user))
        names.addErrback(lambda failure: failure.trap(ClientError))
        names.addCallback(lambda _: self._lookalikes.names_loaded(user))
        try:
            # The service declares the notices in its reply, and which events are messages.
            if not self.client.vocabulary.learned:
                await self.client.learn()
            presentation = self.client.vocabulary.presentation
            told = reply or await self._ask_notices(user)
            words = notices_line(presentation, told) if told else ""
            if reply and not words and not self.screen.for_programs:
                words = _next_steps(self)
            if words:
                self.screen.notice(words)
            await self._listen(user, reply)
        except CancelledError:
            # The person waits no longer, but still gets messages.
            listening = self.client.learn().addCallback(lambda _: self._listen(user, reply))
            listening.addErrback(lambda failure: failure.trap(ClientError))
            self._say_later(user)
        except TurnedAway as problem:
            self.screen.problem(problem_words(problem))
            self._say_later(user)

    async def _ask_notices(self, user: str) -> ServiceReply | None:
        """The numbers that a login would have told; None without."""
        if command := self.client.vocabulary.presentation.notices_by:
            with suppress(ClientError):
                return await self.client.request(f"{command} {user}")
        return None

    def _listen(self, user: str, reply: ServiceReply | None) -> Deferred[None]:
        """Listen for a user, from the id in the reply to `login` on."""
        members = reply.members if reply else {}
        after = read_id(member(members, self.client.vocabulary.presentation.after))
        return self.client.listen(user, self._received, after=after)

    def _say_later(self, user: str) -> None:
        self.screen.notice(f"{visible(user)} is logged in. Messages arrive as soon as they can.")

    async def _load_names(self, user: str) -> None:
        await self.client.learn()  # The service declares what is completed.
        asked = []
        for question in self.known.questions():
            request = await self.client.understand(f"{question} {user}")
            # The first part has more names than anybody completes among.
            asked.append((request, self.client.request(request.line, whole=False)))
        # The requests run side by side, and each may fail by itself.
        for request, asking in asked:
            asking.addCallback(partial(self.known.learn, request))
            asking.addErrback(lambda failure: failure.trap(ClientError))
        for _, asking in asked:
            await asking

    def become(self, user: str | None) -> None:
        """Speak as another of `users`, or as nobody."""
        self.current = user
        self.end_talk()

    def _forget(self, user: str) -> None:
        self.known.forget(user)
        self._status.forget(user)
        self._chat.unread.pop(user, None)
        self._lookalikes.forget(user)
        self._events.forget(user)
        if user == self.current:
            self.become(self.users[-1] if self.users else None)

    def _leave(self, user: str) -> None:
        """Forget a user who left; lines typed for the talk must not become commands of another
        user."""
        talk = self.talk if user == self.current else None
        self._forget(user)
        if talk is not None:
            self._chat.miss(f"{user} is logged out", next_too=False)

    def _was_logged_out(self, user: str) -> None:
        if user == self._leaving:
            return self._leave(user)
        self.screen.notice(f"{visible(user)} was logged out.")
        was_current, talk = user == self.current, self.talk
        self._forget(user)
        if was_current and self.users:
            # Lines that were typed already must not be sent as another user.
            self.become(None)
            self.screen.notice(f"use NAME to go on as {' or '.join(map(visible, self.users))}.")
        if was_current and talk is not None:
            self._chat.miss(f"{user} was logged out")

    def _received(self, user: str, message: ChatMessage) -> None:
        # A message to a room reaches its sender too, who has just typed it.
        if message.sender == user and self.client.was_said_here(message):
            self.known.learn_partner(user, message)
        else:
            self._show_message(user, message)

    def _show_message(self, user: str, message: ChatMessage) -> None:
        self.known.learn_partner(user, message)
        self.screen.message(user, message, is_for(user, message))
        self._lookalikes.check_event(user, message.members)
        self._chat.count(user, message, user == self.current)

    def _event(self, user: str, event: ServiceEvent) -> None:
        removed = self.known.learn_event(user, event)
        is_own = not self.screen.for_programs and self._was_done_here(user, event)
        if not is_own and event_entry(self.client.vocabulary.presentation, event).text:
            self._events.show(user, event)
        for talk in self.client.vocabulary.presentation.talks:
            if (name := removed.get(talk.choices)) is not None:
                self._chat.part(user, talk, (name,), user == self.current, unasked=True)
        self._lookalikes.check_event(user, event.members)

    def _was_done_here(self, user: str, event: ServiceEvent) -> bool:
        """Whether an event tells a user of an act whose reply says so here. Each has one event."""
        by = self.client.vocabulary.presentation.event(event.members).by
        for act in self._recent_acts():
            if act.user == user and act.has_caused(event, by):
                self._acts.remove(act)
                return True
        return False

    def _recent_acts(self) -> list[_Act]:
        since = self.client.clock.seconds() - OWN_EVENT
        self._acts = [each for each in self._acts if each.answered > since]
        return self._acts

    async def begin_talk(self, partner: Partner) -> None:
        await self._chat.begin(self.current or "", partner)

    def talk_failed(self) -> None:
        """Keep the lines that wait, which were typed for a talk that did not begin, from being
        carried out as commands or said to another partner."""
        self._chat.miss("the talk did not begin", next_too=False)

    def end_talk(self) -> None:
        self._chat.end()
        self.screen.changed()

    async def _say(self, text: str) -> None:
        self._line = text
        request = self._chat.request(self.current or "", text)
        self._chat.ask_presence(self.current or "", PRESENCE_AGE)
        reply = await self._request(request)
        if not reply.ok:
            self._say_refused(request, reply)

    def _say_refused(self, request: ClientRequest, reply: ServiceReply) -> None:
        reason = failure_text(self.client.vocabulary.presentation, request, reply)
        self.screen.problem(refused_line(self._line, reply, reason, self._speaker))


def builtin_commands(conversation: Conversation) -> Sequence[BuiltinCommand]:
    """The commands of every interface; `use` only where several users may be logged in."""

    def use(words: Sequence[str]) -> None:
        if not words:
            names = "\n".join(map(visible, conversation.users))
            return conversation.screen.notice(names or "Nobody is logged in here.")
        (user,) = _require_words(words, 1)
        if user not in conversation.users:
            raise UsageError(f"{visible(user)} is not logged in here. Try: login {visible(user)}")
        return conversation.become(user)

    async def talk(words: Sequence[str]) -> None:
        try:
            partner = await _find_partner(conversation, words)
        except (ClientError, UsageError):
            conversation.talk_failed()
            raise
        await conversation.begin_talk(partner)

    def end(words: Sequence[str]) -> None:
        _require_words(words, 0)
        conversation.end_talk()

    async def help(words: Sequence[str]) -> None:
        await conversation.client.learn()
        shown = help_lines(conversation)
        if words:
            shown = help_of(conversation, *_require_words(words, 1))
        conversation.screen.notice("\n".join(shown))

    def exit(words: Sequence[str]) -> None:
        _require_words(words, 0)
        conversation.end()

    commands = []
    if not conversation.single_user:
        commands.append(BuiltinCommand("use [<user>]", "Speaks as another of your users.", use))
    presentation = conversation.client.vocabulary.presentation
    if presentation.open_talks:
        syntax = _usage_of_talk(presentation)
        commands.append(BuiltinCommand(syntax, "Begins a conversation.", talk))
        commands.append(BuiltinCommand("end", "Ends the conversation.", end))
    return (
        *commands,
        BuiltinCommand("help [<command>]", "Lists the commands, or explains one.", help),
        BuiltinCommand("exit", EXIT_HELP, exit),
        BuiltinCommand("quit", EXIT_HELP, exit),
    )


def _next_steps(conversation: Conversation) -> str:
    """`Try: invite NAME, talk NAME or help`; empty without steps, or if one is unknown here."""
    vocabulary = conversation.client.vocabulary
    known = {*vocabulary.commands, *conversation.builtins}
    steps = vocabulary.presentation.next_steps
    are_known = all(each.split(" ")[0] in known for each in steps)
    *others, last = map(visible, steps if steps and are_known else [""])
    return last and f"Try: {', '.join(others)}{' or ' if others else ''}{last}"


def _require_words(words: Sequence[str], count: int) -> Sequence[str]:
    if len(words) != count:
        raise UsageError()
    return words


def _usage_of_talk(presentation: Presentation) -> str:
    talks = presentation.open_talks
    names = " or ".join(visible(each.name) for each in talks if each.choices)
    if not names:
        return "talk"
    return f"talk <{names}>" if all(each.choices for each in talks) else f"talk [<{names}>]"


async def _find_partner(conversation: Conversation, words: Sequence[str]) -> Partner:
    """The partner whom the words after `talk` name, by asking the service."""
    presentation = conversation.client.vocabulary.presentation
    talks = {each.name: each for each in presentation.open_talks}
    user = conversation.current
    alone = [each for each in talks.values() if not each.choices and words in ([], [each.name])]
    *kind, name = words or [""]
    named = [each.name for each in talks.values() if each.choices]
    wanted = kind or named
    if not alone and (not name or len(kind) > 1 or not wanted or not {*wanted} <= {*named}):
        raise UsageError()
    if user is None:
        raise UsageError(FAILURES["not-logged-in"])
    if alone:
        return Partner(alone[0], alone[0].name)
    found = []
    for talk in [talks[each] for each in wanted]:
        names = await fetch_partners(conversation.client, user, talk)
        if names is None or name in names:  # A service without such a list refuses the message.
            found.append(talk)
    shown = visible(name)
    if len(found) > 1:
        names = [visible(each.name) for each in found]
        ways = ", or ".join(f"talk {each} {shown}" for each in names)
        raise UsageError(f"{shown} is a {' and a '.join(names)}. Try: {ways}")
    if not found:
        kinds = " or ".join(map(visible, wanted))
        raise UsageError(f"You have no {kinds} called {shown}")
    return Partner(found[0], name)
