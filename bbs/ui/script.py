"""Scripts: commands from standard input, carried out one after the other, and their output.

After a login, the client listens for the user before it carries out the next command, so that no
message is missed. Messages are printed as they arrive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface

from bbs.client.catalog import CommandCatalog
from bbs.client.client import ServiceClient
from bbs.client.echo_filter import SentLine, partner_name
from bbs.client.errors import BadReply, ClientError, Lost, Unreachable
from bbs.client.replies import ChatMessage
from bbs.client.request import ClientRequest
from bbs.client.routing import PATIENCE, WAITING_DEADLINE
from bbs.ui.completion import fetch_partners
from bbs.ui.help import script_help
from bbs.ui.interfaces import UsageError
from bbs.ui.output import IOutputFormat, help_lines, problem_line, visible
from bbs.ui.unsent import typed_line

Room = tuple[str, str]  # the name of a room's talk, and the room's own

MessageKey = tuple[str, Room | None, str]
"""The identity of one reader's message: its sender, its room if any, its text."""


@dataclass(slots=True, eq=False, repr=False)
class PendingMessages:
    """Messages that are sent and have not arrived at users here, counted before they are sent, as
    they may arrive before the reply does."""

    _vocabulary: CommandCatalog
    _keys: dict[str, Counter[MessageKey]] = field(default_factory=dict)
    _watched: tuple[str, ...] = ()
    _watcher: Deferred[None] | None = None

    def expect(self, request: ClientRequest, users: Collection[str]) -> None:
        """Count a message that is about to be sent: for its reader, or all `users` in its room."""
        for reader, key in self._readers(request, users):
            self._keys.setdefault(reader, Counter())[key] += 1

    def withdraw(self, request: ClientRequest, users: Collection[str]) -> None:
        for reader, key in self._readers(request, users):
            self._take(reader, key)

    def arrived(self, reader: str, message: ChatMessage) -> None:
        """Stop waiting for a message that has reached its reader."""
        presentation = self._vocabulary.presentation
        talk = presentation.talk(message.talk, message.group is not None)
        room = (talk.name, partner_name(presentation, reader, message)) if talk.room else None
        self._take(reader, (message.sender, room, message.text))

    def rooms(self, reader: str) -> set[Room]:
        """The rooms with pending messages for a reader, who may not be in them."""
        return {room for _, room, _ in self._keys.get(reader, ()) if room is not None}

    def discard_rooms(self, reader: str, rooms: Iterable[Room]) -> None:
        """Stop waiting for messages in rooms that a reader was not in."""
        left_out = set(rooms)
        for key in [key for key in self._keys.get(reader, ()) if key[1] in left_out]:
            del self._keys[reader][key]
        self._check()

    def discard(self, reader: str) -> None:
        self._keys.pop(reader, None)
        self._check()

    def settled(self, readers: Iterable[str]) -> Deferred[None]:
        """Fires when these readers have all messages; for one caller at a time, who may cancel."""
        self._watched = tuple(readers)
        if self._are_settled():
            return succeed(None)
        self._watcher = Deferred(self._give_up)
        return self._watcher

    def _readers(
        self, request: ClientRequest, users: Collection[str]
    ) -> list[tuple[str, MessageKey]]:
        presentation = self._vocabulary.presentation
        said, talk = SentLine.by_request(presentation, request), presentation.sends(request.name)
        if said is None or talk is None:
            return []
        if talk.room:
            room = talk.name, said.partner
            return [(user, (said.user, room, said.text)) for user in users]
        key = said.user, None, said.text
        return [(said.partner, key)] if said.partner in users else []

    def _take(self, reader: str, key: MessageKey) -> None:
        keys = self._keys.get(reader)
        if keys and key in keys:
            keys[key] -= 1
            if not keys[key]:
                del keys[key]
            self._check()

    def _are_settled(self) -> bool:
        return not any(self._keys.get(reader) for reader in self._watched)

    def _check(self) -> None:
        if self._watcher is not None and self._are_settled():
            watcher, self._watcher = self._watcher, None
            watcher.callback(None)

    def _give_up(self, _: Deferred[None]) -> None:
        self._watcher = None


SETTLE_TIME = 1.0  # longest wait for messages that are still on their way, in seconds

LISTEN_PATIENCE = PATIENCE + WAITING_DEADLINE
"""Longest wait until the client listens for a user, in seconds; an app server may have to start."""


class IScriptConsole(Interface):
    """The input and output of a script."""

    def next_line() -> Awaitable[str | None]:
        """The next line, None after the last."""

    def write(line: str) -> None:
        """Print a line."""


@dataclass(eq=False, repr=False)
class Script:
    """Carries out the lines of `console`, which prints the output in the format `form`.

    Two commands are the client's own: `help` lists the commands of both kinds of server or explains
    one, and `events` turns on output that is off at first: places in the queue for an app server,
    invitations, and messages that a user sent elsewhere. `listen` does nothing more, as a login
    listens already. `password` is for logins and registrations typed without one.
    """

    _clock: IReactorTime
    _client: ServiceClient
    _console: IScriptConsole
    _: KW_ONLY
    form: IOutputFormat
    password: str | None = None
    refusal: str = ""  # why the last command was refused; empty if it was not
    first_refusal: str = ""  # why the first refused command was
    _leaving: str = ""
    _has_begun: bool = False
    _unanswered: ClientRequest | None = None

    def __post_init__(self) -> None:
        self._pending = PendingMessages(self._client.vocabulary)
        self._client.on_event(lambda user, event: self._write(self.form.event(user, event)))
        self._client.on_logged_out(self._was_logged_out)

    async def run(self) -> None:
        """Run until `exit`, `quit` or the end of input; `Unreachable` if the service is lost."""
        await self._client.connect()
        while (line := await self._console.next_line()) is not None:
            if not line.strip(" "):
                continue
            if line.strip(" ") == "exit":
                break
            request = await self._client.understand(line)
            await self._carry_out(request)
            self.first_refusal = self.first_refusal or self.refusal
            if request.words == ("quit",):
                break
        await self._settle(self._client.users)

    def unsent(self, *, known: bool) -> str:
        """The end of a reason why the script ends early: which line was not sent or, if that is not
        `known`, may not have been. Empty if it ends between two lines."""
        request = self._unanswered
        if request is None:
            return "; not sent: what follows" if known and self._has_begun else ""
        if request.harmless and not known:
            return ""
        line = visible(typed_line(request, request.line))
        if known:
            return f"; not sent: {line}, and what follows"
        return f"; may not have been sent: {line}; not sent: what follows"

    async def _carry_out(self, request: ClientRequest) -> None:
        name, listening = request.name, request.user in self._client.users
        self.refusal, self._has_begun = "", True
        if name == "help" and len(request.words) == 2:
            await self._client.learn()
            self._help(request.words[1])
        elif name == "help":
            await self._client.learn()
            self._write(self.form.succeeded(help_lines(self._client.vocabulary.commands.values())))
        elif name == "events":
            self._client.on_waiting(lambda waiting: self._write(self.form.waiting(waiting)))
            self._client.on_sent(self._show_sent)
            self._write(self.form.succeeded(["Success!"]))
        elif name == "listen" and listening and len(request.words) <= 3:
            problem = await self._listen(request.user)
            self._write(self.form.failed(problem) if problem else self.form.succeeded(["Success!"]))
            self.refusal = str(problem or "")
        else:
            if self.password and name in ("login", "register") and len(request.words) == 2:
                request = await self._client.understand(f"{request.line} {self.password}")
            if name in ("logout", "delete") and listening:
                await self._settle((request.user,))
            await self._ask(request)

    def _help(self, word: str) -> None:
        try:
            self._write(self.form.succeeded(script_help(self._client.vocabulary, word)))
        except UsageError as problem:
            self.refusal = str(problem)
            self._write(self.form.failed(ClientError(self.refusal)))

    async def _ask(self, request: ClientRequest) -> None:
        users = self._client.users
        # Before the request, as the message may come before the reply does.
        self._pending.expect(request, users)
        self._leaving = request.user if request.name in ("logout", "delete") else ""
        try:
            self._unanswered = request
            reply = await self._client.request(request.line)
            self._unanswered = None
            lines = self.form.reply(reply, request.user)
            refusal = "" if reply.ok else reply.message or "Failed"
        except (Lost, BadReply) as failure:
            self._unanswered = None
            lines, refusal = self.form.failed(failure), problem_line(failure)
        finally:
            self._leaving = ""
        self._write(lines)
        self.refusal = refusal
        if refusal:
            self._pending.withdraw(request, users)
        elif request.name == "login":
            user = request.words[1]
            problem = await self._listen(user)
            if problem is not None:
                self._write(self.form.user_failed(user, problem))
        elif request.name in ("logout", "delete"):
            self._pending.discard(request.user)
        else:
            self._pending.discard_rooms(request.user, self._entered(request))

    def _entered(self, request: ClientRequest) -> Collection[Room]:
        """The rooms that a command makes its user enter."""
        presentation = self._client.vocabulary.presentation
        added = [each.name for each in presentation.choices if request.name in each.added_by]
        rooms = [talk.name for talk in presentation.talks if talk.room and talk.choices in added]
        return [(talk, request.argument) for talk in rooms if request.argument is not None]

    async def _listen(self, user: str) -> ClientError | None:
        """Listen for a user; returns the error, if that fails."""
        if not self._client.vocabulary.learned:
            await self._client.learn()  # The service declares which events are messages.
        listening = self._client.listen(user, self._show_message)
        try:
            await listening.addTimeout(LISTEN_PATIENCE, self._clock)
        except TimeoutError:
            raise Unreachable(f"no server at which to listen for {user}") from None
        except ClientError as problem:
            return problem
        return None

    async def _settle(self, users: Collection[str]) -> None:
        """Wait until these users have all their messages, for at most `SETTLE_TIME`."""
        settled = Deferred.fromCoroutine(self._settled(users))
        with suppress(TimeoutError, ClientError):
            await settled.addTimeout(SETTLE_TIME, self._clock)

    async def _settled(self, users: Collection[str]) -> None:
        for user in users:
            pending = self._pending.rooms(user)
            for talk in self._client.vocabulary.presentation.talks:
                rooms = {room for room in pending if room[0] == talk.name}
                if rooms and (names := await fetch_partners(self._client, user, talk)) is not None:
                    self._pending.discard_rooms(user, rooms - {(talk.name, name) for name in names})
        await self._pending.settled(users)

    def _show_message(self, user: str, message: ChatMessage) -> None:
        self._pending.arrived(user, message)
        self._show_sent(user, message)

    def _show_sent(self, user: str, message: ChatMessage) -> None:
        self._write(self.form.message(user, message))

    def _was_logged_out(self, user: str) -> None:
        if user != self._leaving:
            self._write(self.form.logged_out(user))

    def _write(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._console.write(line)
