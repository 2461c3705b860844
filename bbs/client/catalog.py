"""The commands and the presentation of a service, as its client learns them.

The client sends `commands` to the login server once, as soon as it is connected or has a first
request (after a `login` or `locate`). The question has a connection of its own, so that it cannot
break a person's request. Commands that every service has never wait for the answer; others do.
Later, an unknown word makes the client ask again if the answer is older than `TRUSTED`: services
get new commands, and people mistype.

A server that gives no answer, or nonsense, counts as one of version 0.1.0. As the server may only
have been about to stop, the client asks again after `TRUSTED`; requests do not wait for that.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.logger import Logger

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
from bbs.protocols.presentation import Legacy, Presentation, from_json

TRUSTED = 60.0
"""Seconds in which an answer counts as complete, and mistyped words cost at most one question."""

_QUESTION = ClientRequest.parse("commands", {})
_NO_PRESENTATION = Presentation()


class CommandCatalog:
    """The known commands of one service, and its presentation. Clients of one service may share it.

    `commands` are those that the service lists; before its answer, and for a service of version
    0.1.0, they are those of version 0.1.0. `own` is the client's own presentation, for a service
    that sends none: it then applies to commands with the usages in its `legacy`.
    """

    def __init__(self, own: Presentation = _NO_PRESENTATION) -> None:
        legacy = own.legacy or Legacy()
        self._own = own
        self._legacy = command_infos(*legacy.first, *legacy.later)
        self.commands = in_order({**command_infos(*legacy.first), **BASICS})
        # Without known commands, no part of it can be ruled out.
        self.presentation = self._own_for(self.commands) if own.legacy else own
        self._understood = self.commands
        self._parsed: ClientRequest | None = None
        self.service = ""  # Its name, as the service says it.
        self.learned = False  # Whether the service has answered, or is known to give no answer.
        self.traced = False  # Whether the service takes the contexts of traces.
        self.loaders: list[CatalogLoader] = []  # They wait for an answer; the first asked.
        self._asked = 0.0
        self._silent = False

    def parse(self, line: str) -> ClientRequest:
        """Parse a line with the known commands; ValueError if the line is not a request."""
        if self._parsed is not None and self._parsed.line == line:
            return self._parsed
        parsed = ClientRequest.parse(line, self._understood)
        # The last one is kept, as user interfaces parse a line before the library does. Lines that
        # may have passwords are not kept.
        self._parsed = parsed if parsed.takes_user else None
        return parsed

    @property
    def is_blank(self) -> bool:
        """Whether neither the client nor, so far, the service has given a presentation."""
        return self._own == _NO_PRESENTATION and not self.learned

    def is_unlisted(self, word: str) -> bool:
        """Whether a word is a command that the service does not list."""
        return word in self._understood and word not in self.commands

    def lacks(self, word: str, now: float) -> bool:
        """Whether the service should be asked before a line with this command is parsed."""
        if word in EVERY_SERVICE or (self.learned and word in self.commands):
            return False
        return not self.learned or now >= self._asked + TRUSTED

    def lacks_answer(self, now: float) -> bool:
        """Whether the service should be asked even if no line needs it."""
        return not self.learned or (self._silent and now >= self._asked + TRUSTED)

    def doubt(self) -> None:
        """Let the service, which was away, be asked again, but at most every `TRUSTED` seconds."""
        self._silent = True

    def learn(self, answer: ServiceReply, now: float) -> None:
        """Take the answer to `commands`. An old server does not know it; failures are ignored."""
        commands = read_command_infos(answer.members.get("commands")) if answer.ok else None
        if commands is not None:
            sent = from_json(answer.members.get("presentation"))
            # Servers without a presentation do not tell their unlisted commands.
            old = {name: info for name, info in self._legacy.items() if not info.command.listed}
            unlisted = read_command_infos(answer.members.get("unlisted")) if sent else old
            understood = {"more": FRAMEWORK["more"], **(unlisted or {}), **BASICS, **commands}
            self.commands, self._understood, self._parsed = commands, understood, None
            if sent:
                self.presentation = _fitting(sent, understood)
            else:
                self.presentation = _without_recent(self._own_for(understood), commands)
            name = answer.members.get("service")
            self.service = name if isinstance(name, str) else ""
            self.traced = answer.members.get("traceparent") is True
        elif not answer.ok and answer.code != UnknownCommand.code:
            return
        self.learned, self._silent, self._asked = True, False, now

    def _own_for(self, commands: Mapping[str, CommandInfo]) -> Presentation:
        """The client's own presentation, for the commands with the expected usages."""
        if self._own.legacy is None:
            return _fitting(self._own, commands)
        legacy = self._legacy
        expected = {
            name: info
            for name, info in commands.items()
            if name in legacy and info.is_same(legacy[name].command)
        }
        return _fitting(self._own, expected)

    def go_without(self, now: float) -> None:
        """Note that the service gave no usable answer; the commands stay as they are."""
        self._silent = self._silent or not self.learned
        self.learned, self._asked = True, now


def _fitting(presentation: Presentation, commands: Mapping[str, CommandInfo]) -> Presentation:
    """A presentation without the commands that a service lacks."""
    return presentation.only(
        {name: info.command for name, info in commands.items()},
        {name for name, info in commands.items() if info.harmless},
    )


def _without_recent(presentation: Presentation, listed: Container[str]) -> Presentation:
    """A presentation without recent lists, if the service lists no command for earlier messages:
    people want all parts of other lists."""
    if any(name in listed for name in presentation.histories):
        return presentation
    lists = [replace(each, recent=False) for each in presentation.lists]
    return replace(presentation, lists=lists)


class CatalogLoader:
    """Asks a service for its commands, for one client; the answers go to `vocabulary`."""

    _log = Logger()

    def __init__(self, router: Router, vocabulary: CommandCatalog) -> None:
        self.vocabulary = vocabulary
        self.answered = False  # Whether the service has answered this client, in any way.
        self._router = router
        self._asking = self._unreached = False
        self._waiting: list[Deferred[None]] = []

    def begin(self) -> None:
        """Ask, unless the answer is known or on its way."""
        if self.vocabulary.lacks_answer(self._router.clock.seconds()):
            self._ask()

    def learn(self) -> Deferred[None]:
        """Ask, unless the answer is known; fires after the answer or a failure, or is cancelled."""
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        self.begin()
        self._release()
        return waiter

    async def understand(self, line: str) -> ClientRequest:
        """Parse a line, after the service's answer if necessary. ValueError if the line is not a
        request, and `Unreachable` if the service had to be asked and could not be."""
        word = first_word(line)
        if self._lacks(word):
            self._ask()
        if self._waiting or self._lacks(word):
            # Also behind those that wait already, so that requests stay in order.
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
            # One question for all: a crowd at a gateway comes before the first is answered.
            self.vocabulary.loaders.append(self)
            if self.vocabulary.loaders[0] is self:
                Deferred.fromCoroutine(self._learn())

    async def _learn(self) -> None:
        try:
            answer = await self._router.ask_aside(_QUESTION)
            self.answered = True
            self.vocabulary.learn(answer, self._router.clock.seconds())
        except Lost:
            if not self._router.is_closed:
                self.vocabulary.go_without(self._router.clock.seconds())
        except Unreachable:
            self._unreached = True
        except ClientError:
            pass
        except Exception:
            self._log.failure("the service was not asked for its commands")
        self._answered()

    def _answered(self) -> None:
        """Let all go on who wait for this answer, or failure."""
        waiting = self.vocabulary.loaders
        waiting.remove(self)
        done = [self, *waiting]
        if self._router.is_closed:
            # Closing this client does not clear the cache's question; the next client asks again.
            done = [each for each in done if each._router.is_closed]
        self.vocabulary.loaders = left = [each for each in waiting if each not in done]
        if left:
            Deferred.fromCoroutine(left[0]._learn())
        for each in done:
            each._asking = False
            each.answered |= self.answered
            each._unreached = self._unreached
            each._release()

    def _release(self) -> None:
        while self._waiting and not self._asking:
            self._waiting.pop(0).callback(None)
