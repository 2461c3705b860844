"""What a client knows of the commands of its service, and how it comes to know it.

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

from collections.abc import Mapping
from contextlib import suppress

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.client.commands import EVERY_SERVICE, Offer, read_offers
from bbs.client.familiar import UNLISTED
from bbs.client.oldest import OLDEST
from bbs.client.routing import Router
from bbs.client.strangers import NotSecure
from bbs.client.typed import Typed, first_word
from bbs.client.values import ClientError, Lost, NotTrusted, Reply, Unreachable
from bbs.protocols.commands import UnknownCommand

TRUSTED = 60.0
"""Seconds in which an answer is taken for all there is: mistyped words cost at most one question
in that time."""

_COMMON = {name: offer for name, offer in OLDEST.items() if name in EVERY_SERVICE}
_QUESTION = Typed.parse("commands", {})


class Vocabulary:
    """The commands of one service, as far as they are known; any number of its clients may share
    it.

    `offers` are those that it lists. Until it has said anything, and where it cannot, as servers
    of version 0.1.0 cannot, what those had stands there.
    """

    def __init__(self) -> None:
        self.offers: Mapping[str, Offer] = OLDEST
        self._understood = self.offers
        self._parsed: Typed | None = None
        self.learned = False
        """Whether it is known what the service has, or that it cannot say."""
        self.traced = False
        """Whether the service takes the contexts of traces."""
        self._asked = 0.0
        self._silent = False

    def parse(self, line: str) -> Typed:
        """Understand a line, by what is known; ValueError when it is no request."""
        if self._parsed is not None and self._parsed.line == line:
            return self._parsed
        parsed = Typed.parse(line, self._understood)
        # A face understands a line before the library does, so the last is kept; not those of which
        # passwords may be a part.
        self._parsed = parsed if parsed.takes_user else None
        return parsed

    def lacks(self, word: str, now: float) -> bool:
        """Whether the service should be asked before a command by that name is understood."""
        if word in EVERY_SERVICE or (self.learned and word in self.offers):
            return False
        return not self.learned or now >= self._asked + TRUSTED

    def lacks_answer(self, now: float) -> bool:
        """Whether the service should be asked even if no command needs it."""
        return not self.learned or (self._silent and now >= self._asked + TRUSTED)

    def learn(self, answer: Reply, now: float) -> None:
        """Take in the answer to `commands`. One that has none is an old server's, or no news."""
        offers = read_offers(answer.members.get("commands")) if answer.ok else None
        if offers is not None:
            self.offers, self._understood = offers, {**UNLISTED, **_COMMON, **offers}
            self._parsed = None
            self.traced = answer.members.get("traceparent") is True
        elif not answer.ok and answer.code != UnknownCommand.code:
            return  # It could not answer now.
        self.learned, self._silent, self._asked = True, False, now

    def go_without(self, now: float) -> None:
        """The service was asked and said nothing that can be understood: what was known stands."""
        self._silent = self._silent or not self.learned
        self.learned, self._asked = True, now


class Learner:
    """Asks a service what it has, for one client; the answers go to `vocabulary`."""

    _log = Logger()

    def __init__(self, router: Router, vocabulary: Vocabulary) -> None:
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

    def understood(self, line: str) -> Typed | None:
        """A line, where nobody has to be asked or waited for; ValueError when it is no request."""
        if self._waiting or self._lacks(first_word(line)):
            return None
        return self.vocabulary.parse(line)

    async def understand(self, line: str) -> Typed:
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

    def _learned(self, answer: Reply) -> None:
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
