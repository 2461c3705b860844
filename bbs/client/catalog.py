"""The commands and the presentation of a service, as its client learns them.

`commands` is asked of the login server once, as soon as the client is connected or has a first
request (behind a `login` or `locate`). It goes on a connection of its own: nobody asked for it, so
it must not take down what somebody did ask for. Who types a word that every service has never
waits; another waits until the answer is there. After that a word that is not in the answer
has the question asked again, if the answer is older than `TRUSTED`: services learn new commands,
and people mistype.

A server that is there and gives no answer, or nonsense, counts as one of version 0.1.0. It may have
been only about to end, so it is asked again after `TRUSTED`, while nobody waits.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.client.errors import ClientError, Lost, NotSecure, NotTrusted, Unreachable
from bbs.client.replies import ServiceReply
from bbs.client.request import (
    BASICS,
    EVERY_SERVICE,
    FRAMEWORK,
    ClientRequest,
    CommandInfo,
    command_infos,
    first_word,
    in_order,
    read_command_infos,
)
from bbs.client.routing import Router
from bbs.protocols.commands import UnknownCommand
from bbs.protocols.presentation import Legacy, Presentation
from bbs.protocols.presentation_json import from_json

TRUSTED = 60.0
"""Seconds in which an answer is taken for all there is: mistyped words cost at most one question
in that time."""

_QUESTION = ClientRequest.parse("commands", {})
_NONE = Presentation()


class CommandCatalog:
    """The known commands of one service, and its presentation. Clients of one service may share it.

    `commands` are those that the service lists. Until it has answered, and if it is of version
    0.1.0 and cannot, they are those of version 0.1.0. `own` is the client's own presentation, for a
    service that sends none; it then counts for commands that have the usages in its `legacy`.
    """

    def __init__(self, own: Presentation = _NONE) -> None:
        legacy = own.legacy or Legacy()
        self._own = own
        self._legacy = command_infos(*legacy.first, *legacy.later)
        self.commands = in_order({**command_infos(*legacy.first), **BASICS})
        # With no commands known, nobody can say which of its parts fit.
        self.presentation = self._own_for(self.commands) if own.legacy else own
        self._understood = self.commands
        self._parsed: ClientRequest | None = None
        self.learned = False
        """Whether it is known what the service has, or that it cannot say."""
        self.traced = False
        """Whether the service takes the contexts of traces."""
        self._asked = 0.0
        self._silent = False

    def parse(self, line: str) -> ClientRequest:
        """Understand a line, by what is known; ValueError when it is no request."""
        if self._parsed is not None and self._parsed.line == line:
            return self._parsed
        parsed = ClientRequest.parse(line, self._understood)
        # A face understands a line before the library does, so the last is kept; not those of which
        # passwords may be a part.
        self._parsed = parsed if parsed.takes_user else None
        return parsed

    @property
    def is_blank(self) -> bool:
        """Whether the service has still to say how it is presented, as the client does not know."""
        return self._own == _NONE and not self.learned

    def is_unlisted(self, word: str) -> bool:
        """Whether a word is a command that the service does not list."""
        return word in self._understood and word not in self.commands

    def lacks(self, word: str, now: float) -> bool:
        """Whether the service should be asked before a command by that name is understood."""
        if word in EVERY_SERVICE or (self.learned and word in self.commands):
            return False
        return not self.learned or now >= self._asked + TRUSTED

    def lacks_answer(self, now: float) -> bool:
        """Whether the service should be asked even if no command needs it."""
        return not self.learned or (self._silent and now >= self._asked + TRUSTED)

    def doubt(self) -> None:
        """The service was away, and may have other commands now: it is to be asked again, but not
        more often than every `TRUSTED` seconds."""
        self._silent = True

    def learn(self, answer: ServiceReply, now: float) -> None:
        """Take in the answer to `commands`. One that has none is an old server's, or no news."""
        commands = read_command_infos(answer.members.get("commands")) if answer.ok else None
        if commands is not None:
            told = from_json(answer.members.get("presentation"))
            unlisted = (
                read_command_infos(answer.members.get("unlisted")) if told else self._unlisted
            )
            understood = {"more": FRAMEWORK["more"], **(unlisted or {}), **BASICS, **commands}
            self.commands, self._understood, self._parsed = commands, understood, None
            if told:
                self.presentation = _fitting(told, understood)
            else:
                self.presentation = _without_recent(self._own_for(understood), commands)
            self.traced = answer.members.get("traceparent") is True
        elif not answer.ok and answer.code != UnknownCommand.code:
            return  # It could not answer now.
        self.learned, self._silent, self._asked = True, False, now

    @property
    def _unlisted(self) -> Mapping[str, CommandInfo]:
        """The commands that servers have, without a presentation, and list nowhere."""
        return {name: info for name, info in self._legacy.items() if not info.command.listed}

    def _own_for(self, commands: Mapping[str, CommandInfo]) -> Presentation:
        """The client's own presentation, for the commands that are used as it expects."""
        if self._own.legacy is None:
            return _fitting(self._own, commands)
        expected = self._legacy
        meant = {
            name: info
            for name, info in commands.items()
            if name in expected and info.is_same(expected[name].command)
        }
        return _fitting(self._own, meant)

    def go_without(self, now: float) -> None:
        """The service was asked and said nothing that can be understood: what was known stands."""
        self._silent = self._silent or not self.learned
        self.learned, self._asked = True, now


def _fitting(presentation: Presentation, commands: Mapping[str, CommandInfo]) -> Presentation:
    """A presentation without the commands that a service lacks."""
    return presentation.only(
        {name: info.command for name, info in commands.items()},
        {name for name, info in commands.items() if info.harmless},
    )


def _without_recent(presentation: Presentation, listed: Container[str]) -> Presentation:
    """A presentation without recent lists, if the service lists no command for earlier messages: of
    another command's list people want all parts."""
    if any(name in listed for name in presentation.histories):
        return presentation
    lists = [replace(each, recent=False) for each in presentation.lists]
    return replace(presentation, lists=lists)


class CatalogLoader:
    """Asks a service what it has, for one client; the answers go to `vocabulary`."""

    _log = Logger()

    def __init__(self, router: Router, vocabulary: CommandCatalog) -> None:
        self.vocabulary = vocabulary
        self.answered = False
        """Whether the service has answered this client, whatever that was."""
        self._router = router
        self._asking = self._unreached = False
        self._waiting: list[Deferred[None]] = []

    def begin(self) -> None:
        """Ask, unless it is known or asked already; nobody waits for it."""
        if self.vocabulary.lacks_answer(self._router.clock.seconds()):
            self._ask()

    def learn(self) -> Deferred[None]:
        """Ask, unless it is known. Fires when there is an answer, or none to be had now; may be
        cancelled."""
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        self.begin()
        self._release()
        return waiter

    def understood(self, line: str) -> ClientRequest | None:
        """A line, where nobody has to be asked or waited for; ValueError when it is no request."""
        if self._waiting or self._lacks(first_word(line)):
            return None
        return self.vocabulary.parse(line)

    async def understand(self, line: str) -> ClientRequest:
        """A line, with what the service has to say of its command; ValueError when it is no
        request, and `Unreachable` when nobody could be asked who had to be."""
        if (understood := self.understood(line)) is not None:
            return understood
        word = first_word(line)
        if self._lacks(word):
            self._ask()
        if self._waiting or self._lacks(word):
            # Behind those that wait already too, so that requests stay in order.
            await self.learn()
        if self._unreached and self._lacks(word) and not self.vocabulary.learned:
            with suppress(NotTrusted, NotSecure):  # The request itself will fail with it.
                await self._router.find()
                await self.learn()
        return self.vocabulary.parse(line)

    def _lacks(self, word: str) -> bool:
        return self.vocabulary.lacks(word, self._router.clock.seconds())

    def _ask(self) -> None:
        if not self._asking:
            self._asking, self._unreached = True, False
            asked = Deferred.fromCoroutine(self._router.ask_aside(_QUESTION))
            asked.addCallback(self._learned).addErrback(self._failed).addBoth(self._answered)

    def _learned(self, answer: ServiceReply) -> None:
        self.answered = True
        self.vocabulary.learn(answer, self._router.clock.seconds())

    def _failed(self, failure: Failure) -> None:
        if failure.check(Lost):
            self.vocabulary.go_without(self._router.clock.seconds())
        elif failure.check(Unreachable):
            self._unreached = True
        elif not failure.check(ClientError):
            self._log.failure("what the service has was not asked", failure)

    def _answered(self, _: object) -> None:
        self._asking = False
        self._release()

    def _release(self) -> None:
        while self._waiting and not self._asking:
            self._waiting.pop(0).callback(None)
